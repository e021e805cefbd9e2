//! What a refusal means: the one place that looks at status codes and error codes.

use std::time::Duration;

use serde::Deserialize;

use crate::connectors::Report;
use crate::connectors::rest::{RawReply, limits_quota, plain_report, told_wait};
use crate::engine::fault::{Fault, FaultCode};
use crate::engine::record::Timestamp;

/// The daily and the concurrency limit come without `Retry-After`.
const LIMIT_WAIT: Duration = Duration::from_secs(60);
/// Characters of a message that are passed on.
const MESSAGE_MAX: usize = 300;

/// One error as the API writes it: `errorCode` for a request, `statusCode` for a record of many.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Refusal {
    #[serde(alias = "statusCode", default)]
    #[serde(rename = "errorCode")]
    pub code: String,
    #[serde(default)]
    pub message: String,
    #[serde(default)]
    pub fields: Vec<String>,
}

/// Bytes of the largest `/limits` reply; the real one has about ten thousand.
const LIMITS_BYTES_MAX: usize = 64 * 1024;

/// Tells limiter and breaker how a request ended.
pub fn report(reply: &RawReply, now: Timestamp) -> Report {
    let mut report = plain_report(reply, now);
    if report.quota.is_none() && reply.is_success() && reply.body.len() <= LIMITS_BYTES_MAX {
        report.quota = limits_quota(&reply.body);
    }
    if report.retry_after.is_none() && reply.status == 403 {
        let limited = refusals(&reply.body).iter().any(|refusal| refusal.code == "REQUEST_LIMIT_EXCEEDED");
        report.retry_after = limited.then_some(LIMIT_WAIT);
    }
    report
}

/// Classifies a reply that is no success. `operation` says what was asked, `write` whether it could
/// have changed something.
pub fn classify(operation: &str, reply: &RawReply, write: bool, now: Timestamp) -> Fault {
    let refusal = refusals(&reply.body).into_iter().next().unwrap_or_default();
    let shown = shown(&refusal);
    let said = match shown.is_empty() {
        true => format!("{operation}: status {}", reply.status),
        false => format!("{operation}: status {}, {shown}", reply.status),
    };
    let retry_after = told_wait(reply, now);
    let configuration = |remedy: &str| Fault::fatal(FaultCode::Configuration, said.clone(), remedy);
    let unavailable = || Fault::transient(FaultCode::Unavailable, said.clone());
    match (reply.status, refusal.code.as_str()) {
        (_, "REQUEST_LIMIT_EXCEEDED" | "rate_limit_exceeded") => {
            Fault::throttled(retry_after.or(Some(LIMIT_WAIT)), said)
        }
        (429, _) => Fault::throttled(retry_after, said),
        (_, "UNABLE_TO_LOCK_ROW") => Fault::transient(FaultCode::Conflict, said),
        (_, "QUERY_TIMEOUT") => Fault::transient(FaultCode::Timeout, said),
        (_, "SERVER_UNAVAILABLE") | (503, _) => match retry_after {
            Some(wait) => Fault::throttled(Some(wait), said),
            None => unavailable(),
        },
        (_, "ENTITY_IS_DELETED") | (412, _) => Fault::stale(said),
        (_, "INVALID_SESSION_ID") | (401, _) => auth(said),
        (
            400,
            "invalid_grant"
            | "invalid_client_id"
            | "invalid_client"
            | "invalid_client_credentials"
            | "unsupported_grant_type"
            | "inactive_user"
            | "inactive_org",
        ) => auth(said),
        (_, "API_DISABLED_FOR_ORG" | "INSUFFICIENT_ACCESS_OR_READONLY" | "INSUFFICIENT_ACCESS") => auth(said),
        (_, "INVALID_TYPE") => {
            configuration("write an object that exists and that the user may see as the stream")
        }
        (_, "INVALID_FIELD") => {
            configuration("take the field out of the rules, or give the user access to it")
        }
        (_, "INVALID_QUERY_LOCATOR") => Fault::transient(FaultCode::Protocol, said),
        (404 | 410, _) => configuration("check the stream, the external id field, and api_version"),
        (300..=399, _) => {
            configuration("write the org's own address as base_url, https://NAME.my.salesforce.com")
        }
        (403, _) => auth(said),
        (408 | 420 | 500.., _) => {
            // An error page may hide a save that went through.
            if write { unavailable().and_may_have_happened() } else { unavailable() }
        }
        (413 | 414 | 431, _) => configuration("lower batch_size of this system"),
        _ => Fault::rejected(FaultCode::Validation, said),
    }
}

/// Tells whether a refusal says that what was asked for is not there.
pub fn is_not_there(reply: &RawReply) -> bool {
    matches!(reply.status, 404 | 410)
}

/// Classifies the errors of one record among many.
pub fn item_fault(operation: &str, errors: &[Refusal]) -> Fault {
    let refusal = errors.first().cloned().unwrap_or_default();
    let said = format!("{operation}: {}", shown(&refusal));
    match refusal.code.as_str() {
        "UNABLE_TO_LOCK_ROW" => Fault::transient(FaultCode::Conflict, said),
        "UNKNOWN_EXCEPTION"
        | "SERVER_UNAVAILABLE"
        | "QUERY_TIMEOUT"
        | "ALL_OR_NONE_OPERATION_ROLLED_BACK"
        | "PROCESSING_HALTED"
        | "TXN_SECURITY_METERING_ERROR" => Fault::transient(FaultCode::Unavailable, said),
        "REQUEST_LIMIT_EXCEEDED" => Fault::throttled(Some(LIMIT_WAIT), said),
        "STORAGE_LIMIT_EXCEEDED" => {
            Fault::fatal(FaultCode::Storage, said, "free storage in the org, or buy more")
        }
        "ENTITY_IS_DELETED" => Fault::stale(said),
        "NOT_FOUND" => Fault::rejected(FaultCode::NotFound, said),
        "DUPLICATE_VALUE" | "DUPLICATES_DETECTED" | "DUPLICATE_EXTERNAL_ID" => {
            Fault::rejected(FaultCode::Conflict, said)
        }
        code => {
            Fault { remedy: remedy(code).map(str::to_owned), ..Fault::rejected(FaultCode::Validation, said) }
        }
    }
}

/// Says what to do about a value that its field does not take.
fn remedy(code: &str) -> Option<&'static str> {
    Some(match code {
        "INVALID_TYPE_ON_FIELD_IN_RECORD" | "JSON_PARSER_ERROR" => {
            "convert the value in the mapping (`to_int`, `to_bool`, `date` …), or correct it at the source"
        }
        "STRING_TOO_LONG" => {
            "shorten the value in the mapping (`truncate(255)`), or map it to a longer field"
        }
        "INVALID_EMAIL_ADDRESS" => "correct the address at the source, or hold it back with a filter",
        "REQUIRED_FIELD_MISSING" => "map a value to the field, or give the mapping a default",
        "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST" => "map to one of the picklist's values",
        "INVALID_FIELD_FOR_INSERT_UPDATE" => "take the field out of the mapping, or let our user write it",
        _ => return None,
    })
}

impl Refusal {
    /// Tells whether this says that the record named by its id is not there.
    pub fn is_gone(&self) -> bool {
        match self.code.as_str() {
            "ENTITY_IS_DELETED" | "NOT_FOUND" => true,
            // The same code speaks of bad links to parents, but then it names the field.
            "INVALID_CROSS_REFERENCE_KEY" => self.fields.is_empty(),
            _ => false,
        }
    }
}

fn auth(said: String) -> Fault {
    Fault::fatal(
        FaultCode::Auth,
        said,
        "check client_id, client_secret, user and login_url, and what the user may do",
    )
}

/// Reads an error body: an array, the flat object of OAuth, or nothing that can be read.
pub(super) fn refusals(body: &[u8]) -> Vec<Refusal> {
    #[derive(Deserialize)]
    struct OAuth {
        error: String,
        #[serde(default)]
        error_description: String,
    }
    if let Ok(refusals) = serde_json::from_slice::<Vec<Refusal>>(body) {
        return refusals;
    }
    match serde_json::from_slice::<OAuth>(body) {
        Ok(oauth) => {
            vec![Refusal { code: oauth.error, message: oauth.error_description, fields: Vec::new() }]
        }
        Err(_) => Vec::new(),
    }
}

/// Codes whose messages are about names and rules; those of the others may quote a record's values
/// or the query that holds them, which must not reach logs and statuses.
const SPEAKABLE: &[&str] = &[
    "REQUIRED_FIELD_MISSING",
    "STRING_TOO_LONG",
    "FIELD_CUSTOM_VALIDATION_EXCEPTION",
    "INVALID_FIELD_FOR_INSERT_UPDATE",
    "DUPLICATE_VALUE",
    "UNABLE_TO_LOCK_ROW",
    "INVALID_TYPE",
    "INVALID_SESSION_ID",
    "REQUEST_LIMIT_EXCEEDED",
    "SERVER_UNAVAILABLE",
    "ENTITY_IS_DELETED",
    "NOT_FOUND",
    "METHOD_NOT_ALLOWED",
    "API_DISABLED_FOR_ORG",
    "INSUFFICIENT_ACCESS_OR_READONLY",
    "STORAGE_LIMIT_EXCEEDED",
    "MISSING_ARGUMENT",
    "invalid_grant",
    "invalid_client_id",
    "invalid_client",
    "invalid_client_credentials",
    "unsupported_grant_type",
    "inactive_user",
    "inactive_org",
];

fn shown(refusal: &Refusal) -> String {
    let Refusal { code, message, fields } = refusal;
    let mut out = code.clone();
    if SPEAKABLE.contains(&code.as_str()) && !message.is_empty() {
        out.push_str(": ");
        out.extend(message.chars().take(MESSAGE_MAX));
    } else if let Some(column) = missing_column(code, message) {
        out.push_str(&format!(": no such field {column}"));
    } else if !fields.is_empty() {
        out.push_str(&format!(" in {}", fields.join(", ")));
    }
    out
}

/// Says why a job failed as a whole, without what may quote a record.
pub fn job_trouble(message: &str) -> String {
    let (code, rest) = message.split_once(':').unwrap_or((message, ""));
    let (what, name) = rest.rsplit_once(':').unwrap_or((rest, ""));
    let (what, name) = (what.trim(), name.trim());
    match what == "Field name not found" && super::describe::is_name(name) {
        true => format!("{}: there is no field {name}", code.trim()),
        false => code.trim().chars().take(60).collect(),
    }
}

/// Cuts the name out of an INVALID_FIELD message, the rest of which quotes the query.
fn missing_column<'m>(code: &str, message: &'m str) -> Option<&'m str> {
    let (_, rest) = message.split_once("No such column '")?;
    let (name, _) = rest.split_once('\'')?;
    (code == "INVALID_FIELD" && super::describe::is_name(name)).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::fault::FaultKind;

    fn reply(status: u16, body: &str) -> RawReply {
        RawReply { status, body: body.as_bytes().to_vec(), ..RawReply::default() }
    }

    fn coded(status: u16, code: &str) -> RawReply {
        reply(status, &format!(r#"[{{"message":"m","errorCode":"{code}"}}]"#))
    }

    #[test]
    fn every_refusal_has_its_meaning() {
        let throttled = |seconds| FaultKind::Throttled { retry_after: Some(Duration::from_secs(seconds)) };
        let oauth = r#"{"error":"invalid_grant","error_description":"authentication failure"}"#;
        let mut told = reply(429, "");
        told.headers.insert("retry-after", "7".parse().expect("a header"));
        let mut away = reply(503, "");
        away.headers.insert("retry-after", "9".parse().expect("a header"));
        // (reply, kind, code, why)
        let cases = [
            (coded(403, "REQUEST_LIMIT_EXCEEDED"), throttled(60), FaultCode::RateLimited, "the daily limit"),
            (told, throttled(7), FaultCode::RateLimited, "waits as told"),
            (
                reply(429, "<html>"),
                FaultKind::Throttled { retry_after: None },
                FaultCode::RateLimited,
                "no word",
            ),
            (
                coded(400, "UNABLE_TO_LOCK_ROW"),
                FaultKind::Transient,
                FaultCode::Conflict,
                "somebody else saves",
            ),
            (coded(503, "SERVER_UNAVAILABLE"), FaultKind::Transient, FaultCode::Unavailable, "overloaded"),
            (away, throttled(9), FaultCode::RateLimited, "overloaded, and says how long"),
            (reply(502, "<html>bad gateway"), FaultKind::Transient, FaultCode::Unavailable, "an edge error"),
            (reply(420, ""), FaultKind::Transient, FaultCode::Unavailable, "an edge error without a body"),
            (coded(500, "UNKNOWN_EXCEPTION"), FaultKind::Transient, FaultCode::Unavailable, "their defect"),
            (coded(401, "INVALID_SESSION_ID"), FaultKind::Fatal, FaultCode::Auth, "no session"),
            (reply(400, oauth), FaultKind::Fatal, FaultCode::Auth, "wrong password"),
            (coded(403, "API_DISABLED_FOR_ORG"), FaultKind::Fatal, FaultCode::Auth, "no right to the API"),
            (coded(404, "ENTITY_IS_DELETED"), FaultKind::Stale, FaultCode::Conflict, "in the bin"),
            (coded(400, "INVALID_TYPE"), FaultKind::Fatal, FaultCode::Configuration, "no such object"),
            (coded(400, "INVALID_FIELD"), FaultKind::Fatal, FaultCode::Configuration, "no such field"),
            (coded(404, "NOT_FOUND"), FaultKind::Fatal, FaultCode::Configuration, "no such path"),
            (reply(302, ""), FaultKind::Fatal, FaultCode::Configuration, "another host"),
            (coded(400, "JSON_PARSER_ERROR"), FaultKind::Rejected, FaultCode::Validation, "not JSON to them"),
            (coded(400, "QUERY_TIMEOUT"), FaultKind::Transient, FaultCode::Timeout, "a slow query"),
        ];
        for (reply, kind, code, why) in cases {
            let fault = classify("query X", &reply, false, Timestamp(0));
            assert_eq!((fault.kind, fault.code), (kind, code), "{why}");
        }
    }

    #[test]
    fn a_record_among_many_has_its_own_meaning() {
        // (code, kind, why)
        let cases = [
            ("UNABLE_TO_LOCK_ROW", FaultKind::Transient, "again later"),
            ("ENTITY_IS_DELETED", FaultKind::Stale, "plan again"),
            ("REQUIRED_FIELD_MISSING", FaultKind::Rejected, "never as it is"),
            ("DUPLICATES_DETECTED", FaultKind::Rejected, "a duplicate rule"),
            ("SOMETHING_NEW", FaultKind::Rejected, "unknown: a person looks"),
            ("STORAGE_LIMIT_EXCEEDED", FaultKind::Fatal, "nothing fits any more"),
        ];
        for (code, kind, why) in cases {
            let errors = [Refusal { code: code.to_owned(), ..Refusal::default() }];
            assert_eq!(item_fault("save X", &errors).kind, kind, "{why}");
        }
    }

    #[test]
    fn no_value_of_a_record_is_repeated() {
        let body = r#"[{"message":"Email: invalid email address: secret@x","errorCode":"INVALID_EMAIL_ADDRESS","fields":["Email"]}]"#;
        let said = classify("save X", &reply(400, body), true, Timestamp(0)).message;
        assert_eq!(said, "save X: status 400, INVALID_EMAIL_ADDRESS in Email");
        let body = r#"[{"message":"\nWHERE K IN ('secret')\nNo such column 'Nope' on entity 'X'.","errorCode":"INVALID_FIELD"}]"#;
        let said = classify("query X", &reply(400, body), false, Timestamp(0)).message;
        assert_eq!(said, "query X: status 400, INVALID_FIELD: no such field Nope");
    }
}
