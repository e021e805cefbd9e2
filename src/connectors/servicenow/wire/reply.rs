//! What a reply means: faults, tokens.

use serde::Deserialize;

use crate::connectors::rest::{self, RawReply, TokenReply, told_wait};
use crate::engine::fault::{Fault, FaultCode, FaultKind};
use crate::engine::record::Timestamp;

/// Characters of an error's own words that are kept.
const DETAIL_CHARS_MAX: usize = 300;

/// How the service says that a transaction took too long.
const CANCELLED: &str = "Transaction cancelled";

/// What stands under `error`.
#[derive(Deserialize)]
#[serde(untagged)]
pub enum ErrorBody {
    Told {
        #[serde(default)]
        message: Option<String>,
        #[serde(default)]
        detail: Option<String>,
    },
    /// The form of OAuth.
    Word(String),
    Other(serde::de::IgnoredAny),
}

#[derive(Default, Deserialize)]
struct Failure {
    #[serde(default)]
    error: Option<ErrorBody>,
}

impl ErrorBody {
    fn message(&self) -> &str {
        match self {
            Self::Told { message, .. } => message.as_deref().unwrap_or_default(),
            Self::Word(word) => word,
            Self::Other(_) => "",
        }
    }

    fn detail(&self) -> &str {
        match self {
            Self::Told { detail, .. } => detail.as_deref().unwrap_or_default(),
            Self::Word(_) | Self::Other(_) => "",
        }
    }

    fn says(&self, words: &str) -> bool {
        let words = words.to_ascii_lowercase();
        [self.message(), self.detail()].iter().any(|text| text.to_ascii_lowercase().contains(&words))
    }

    /// Quotes the service's own words, cut to a bearable length.
    fn quoted(&self) -> String {
        let mut text = String::new();
        for part in [self.message(), self.detail()] {
            if part.is_empty() {
                continue;
            }
            text.push_str(": ");
            text.extend(part.chars().filter(|letter| !letter.is_control()).take(DETAIL_CHARS_MAX));
        }
        text
    }
}

/// Classifies an error that came with a good status: a transaction that was cancelled half-way.
pub fn failure_in_success(operation: &str, error: &ErrorBody) -> Fault {
    let message = format!("{operation}: an error came with a good status{}", error.quoted());
    match error.says(CANCELLED) {
        true => Fault {
            remedy: Some("lower page_size of this system".to_owned()),
            ..Fault::transient(FaultCode::Timeout, message)
        },
        false => Fault::transient(FaultCode::Protocol, message),
    }
}

/// Tells whether a fault says that the service gave up because it took too long.
pub fn cancelled(fault: &Fault) -> bool {
    fault.code == FaultCode::Timeout && fault.message.contains(CANCELLED)
}

/// Checks one reply to a request other than a token request, also one inside a batch. `write` says that the
/// request changes a record; where it does not, a refusal can only mean the request itself.
pub fn check(operation: &str, write: bool, reply: &RawReply, now: Timestamp) -> Result<(), Fault> {
    if reply.is_success() {
        return Ok(());
    }
    let failure: Failure = serde_json::from_slice(&reply.body).unwrap_or_default();
    let error = failure.error.unwrap_or(ErrorBody::Word(String::new()));
    let message = format!("{operation}: HTTP {}{}", reply.status, error.quoted());
    let fatal = |code: FaultCode, remedy: &str| Fault::fatal(code, message.clone(), remedy);
    let refused = |code: FaultCode, remedy: &str| match write {
        true => Fault { remedy: Some(remedy.to_owned()), ..Fault::rejected(code, message.clone()) },
        false => fatal(code, remedy),
    };
    Err(match reply.status {
        429 => Fault::throttled(told_wait(reply, now), message),
        // Announced: it waits and costs no attempt.
        503 if told_wait(reply, now).is_some() => {
            let kind = FaultKind::Throttled { retry_after: told_wait(reply, now) };
            Fault::new(kind, FaultCode::Unavailable, message)
        }
        // 503 says that nothing was done; the others may come from a proxy in front of a done deed.
        503 => Fault::transient(FaultCode::Unavailable, message),
        408 | 500.. => {
            let late = matches!(reply.status, 408 | 504) || error.says(CANCELLED);
            let code = if late { FaultCode::Timeout } else { FaultCode::Unavailable };
            let fault = Fault::transient(code, message);
            if write { fault.and_may_have_happened() } else { fault }
        }
        401 => {
            fatal(FaultCode::Auth, "check the credentials, and that the user is active and may use the API")
        }
        403 if error.says("aborted by Business Rule") || error.says("data policy") => {
            refused(FaultCode::Validation, "mend the record, or change the rule that refuses it")
        }
        403 => refused(FaultCode::Auth, "give the user a role that may do this on the table and its fields"),
        400 if error.says("Invalid table") => fatal(
            FaultCode::Configuration,
            "name a table that exists and that the user may see as the stream",
        ),
        400 if error.says("does not represent any resource") => fatal(
            FaultCode::Configuration,
            "write the instance's root as base_url, https://NAME.service-now.com",
        ),
        404 if error.says("No Record found") || write => Fault::rejected(FaultCode::NotFound, message),
        404 => fatal(FaultCode::Configuration, "check base_url and the stream"),
        405 | 406 | 415 => fatal(FaultCode::Protocol, "check that base_url is the instance's root"),
        409 => Fault::stale(message),
        413 => refused(FaultCode::Validation, "shorten the record's fields"),
        300..400 => {
            fatal(FaultCode::Configuration, "base_url leads elsewhere: write the host that it leads to")
        }
        400 | 422 => refused(
            FaultCode::Validation,
            if write {
                "mend the record or the mapping of the named field"
            } else {
                "name other fields or another key"
            },
        ),
        _ => refused(FaultCode::Protocol, "check that base_url is the instance's root"),
    })
}

/// Tells whether a fault says that the record is not there; one that the user may not see looks the same.
pub fn is_not_found(fault: &Fault) -> bool {
    fault.kind == FaultKind::Rejected && fault.code == FaultCode::NotFound
}

/// Tells a request that our user may not make from a login that is refused.
pub fn is_forbidden(fault: &Fault) -> bool {
    fault.code == FaultCode::Auth && fault.message.contains(": HTTP 403")
}

/// Reads the reply to a token request.
pub fn decode_token(reply: &RawReply, now: Timestamp) -> Result<TokenReply, Fault> {
    const OPERATION: &str = "log in to ServiceNow";
    let remedy = |word: &str| match word {
        "invalid_client" => "check client_id and client_secret",
        "invalid_grant" => "check username and password, or mint a new refresh_token: one lives for 100 days",
        _ => "check client_id, client_secret and the user of the OAuth application",
    };
    rest::decode_token(OPERATION, reply, remedy, || check(OPERATION, false, reply, now))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const NOW: Timestamp = Timestamp(1_736_935_800_000);

    fn reply(status: u16, headers: &[(&'static str, &str)], body: &str) -> RawReply {
        let mut reply = RawReply { status, body: body.into(), ..RawReply::default() };
        for (name, value) in headers {
            reply.headers.insert(*name, value.parse().expect("a header"));
        }
        reply
    }

    fn error(message: &str, detail: &str) -> String {
        format!(r#"{{"error":{{"message":"{message}","detail":"{detail}"}},"status":"failure"}}"#)
    }

    #[test]
    fn every_reply_has_one_meaning() {
        use FaultCode::*;
        let throttled =
            |seconds: Option<u64>| FaultKind::Throttled { retry_after: seconds.map(Duration::from_secs) };
        let (fatal, rejected, transient) = (FaultKind::Fatal, FaultKind::Rejected, FaultKind::Transient);
        let limit = "Rate limit of 100 requests per hour for Table API exceeded";
        let acl = "ACL Exception Update Failed due to security constraints";
        let rule = "Operation against file 'incident' was aborted by Business Rule 'Guard^1'";
        let gone = "Record doesn't exist or ACL restricts the record retrieval";
        let late = "Transaction cancelled: maximum execution time exceeded";
        let uri = "Requested URI does not represent any resource";
        type Header = Option<(&'static str, &'static str)>;
        let after: Header = Some(("retry-after", "30"));
        let reset: Header = Some(("x-ratelimit-reset", "1736935860"));
        // (status, message, detail, header, write, kind, code, may have happened, why)
        let cases = [
            (
                429,
                "Rate limit exceeded",
                limit,
                after,
                true,
                throttled(Some(30)),
                RateLimited,
                false,
                "seconds",
            ),
            (
                429,
                "Rate limit exceeded",
                limit,
                reset,
                false,
                throttled(Some(60)),
                RateLimited,
                false,
                "the window's end",
            ),
            (429, "", "", None, true, throttled(None), RateLimited, false, "a semaphore: no word of when"),
            (503, "", "", after, true, throttled(Some(30)), Unavailable, false, "maintenance tells its end"),
            (
                503,
                "",
                "",
                None,
                true,
                transient.clone(),
                Unavailable,
                false,
                "503 says that nothing was done",
            ),
            (500, "", "", None, true, transient.clone(), Unavailable, true, "who knows how far it got"),
            (500, late, "", None, false, transient.clone(), Timeout, false, "a quota ended the read"),
            (
                500,
                late,
                "",
                None,
                true,
                transient.clone(),
                Timeout,
                true,
                "a quota ended the write, or after it",
            ),
            (502, "", "", None, false, transient.clone(), Unavailable, false, "a read has no effect"),
            (504, "", "", None, true, transient, Timeout, true, "a proxy lost patience"),
            (
                401,
                "User is not authenticated",
                "Required to provide Auth information",
                None,
                true,
                fatal.clone(),
                Auth,
                false,
                "a login",
            ),
            (
                403,
                "Operation Failed",
                acl,
                None,
                true,
                rejected.clone(),
                Auth,
                false,
                "this record or field can't",
            ),
            (
                403,
                "Operation Failed",
                rule,
                None,
                true,
                rejected.clone(),
                Validation,
                false,
                "a rule of theirs",
            ),
            (
                403,
                "Insufficient rights to query records",
                "",
                None,
                false,
                fatal.clone(),
                Auth,
                false,
                "the table can't be read",
            ),
            (404, "No Record found", gone, None, true, rejected.clone(), NotFound, false, "gone, or hidden"),
            (
                404,
                "No Record found",
                gone,
                None,
                false,
                rejected.clone(),
                NotFound,
                false,
                "the same for a read",
            ),
            (404, "", "", None, false, fatal.clone(), Configuration, false, "no such place"),
            (
                400,
                "Invalid table incidnt",
                "",
                None,
                true,
                fatal.clone(),
                Configuration,
                false,
                "no such stream",
            ),
            (400, uri, "", None, false, fatal.clone(), Configuration, false, "another base"),
            (
                400,
                "Exception while reading request",
                "",
                None,
                true,
                rejected.clone(),
                Validation,
                false,
                "a bad record",
            ),
            (400, "Invalid query", "", None, false, fatal.clone(), Validation, false, "a bad filter"),
            (409, "", "", None, true, FaultKind::Stale, Conflict, false, "it moved"),
            (413, "", "", None, true, rejected, Validation, false, "too long"),
            (415, "", "", None, true, fatal.clone(), Protocol, false, "our own mistake"),
            (302, "", "", None, false, fatal.clone(), Configuration, false, "another host"),
            (418, "", "", None, false, fatal, Protocol, false, "anything else"),
        ];
        for (status, message, detail, header, write, kind, code, happened, why) in cases {
            let headers: Vec<_> = header.into_iter().collect();
            let fault = check("op", write, &reply(status, &headers, &error(message, detail)), NOW);
            let fault = fault.expect_err("a fault");
            let got = (fault.kind.clone(), fault.code, fault.may_have_happened);
            assert_eq!(got, (kind, code, happened), "{status}: {why}");
            assert!(fault.message.starts_with(&format!("op: HTTP {status}")), "{}", fault.message);
            let mendable = matches!(fault.kind, FaultKind::Fatal) || code == Auth || code == Validation;
            assert!(!mendable || fault.remedy.is_some(), "{why}: what can a person do? {fault}");
        }
        assert_eq!(check("op", true, &reply(204, &[], ""), NOW), Ok(()));
        let page = check("op", true, &reply(400, &[], "<html>"), NOW);
        assert!(page.is_err(), "a proxy's page is still a refusal");
        let quoted = check("op", true, &reply(403, &[], &error("Operation Failed", "Why not")), NOW);
        assert_eq!(quoted.expect_err("a fault").message, "op: HTTP 403: Operation Failed: Why not");
    }

    #[test]
    fn an_error_with_a_good_status_is_a_failure() {
        let told = |text: &str| serde_json::from_str::<ErrorBody>(text).expect("an error");
        let fault = failure_in_success(
            "read",
            &told(r#"{"message":"Transaction cancelled: maximum execution time exceeded"}"#),
        );
        assert!(fault.code == FaultCode::Timeout && cancelled(&fault) && fault.remedy.is_some());
        for text in [r#"{"message":"m","detail":null}"#, r#""word""#, "7", "{}"] {
            let fault = failure_in_success("read", &told(text));
            assert_eq!((fault.kind, fault.code), (FaultKind::Transient, FaultCode::Protocol), "{text}");
        }
    }

    #[test]
    fn a_refused_login_says_what_to_mend_and_no_secret() {
        let cases = [
            (401, r#"{"error":"invalid_client"}"#, "client_secret"),
            (401, r#"{"error":"invalid_grant","error_description":"expired"}"#, "refresh_token"),
            (401, r#"{"error":"server_error","error_description":"access_denied"}"#, "OAuth"),
        ];
        for (status, body, remedy) in cases {
            let fault = decode_token(&reply(status, &[], body), NOW).err().expect("a fault");
            assert_eq!((fault.kind, fault.code), (FaultKind::Fatal, FaultCode::Auth));
            assert!(fault.remedy.is_some_and(|text| text.contains(remedy)), "{body}");
        }
        let fault = decode_token(&reply(503, &[], ""), NOW).err().expect("a fault");
        assert_eq!(fault.kind, FaultKind::Transient, "no verdict on the credentials");
        let fault = decode_token(&reply(200, &[], r#"{"access":"canary"}"#), NOW).err().expect("a fault");
        assert!(!fault.to_string().contains("canary"));
    }
}
