//! What a reply means: faults, budget, tokens.

use serde::Deserialize;

use super::super::super::rest::{self, RawReply, TokenReply, told_wait};
use crate::engine::fault::{Fault, FaultCode, FaultKind};
use crate::engine::record::Timestamp;

/// Characters of an error's own words that are kept.
const DETAIL_CHARS_MAX: usize = 300;

#[derive(Default, Deserialize)]
struct Errors {
    #[serde(default)]
    errors: Vec<ErrorObject>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ErrorObject {
    id: Option<String>,
    title: Option<String>,
    detail: Option<String>,
    /// The portal's sample of a 415 has its text here.
    details: Option<String>,
    source: Option<ErrorSource>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ErrorSource {
    pointer: Option<String>,
}

/// Checks one reply to a request other than a token request. `write` says that the request changes
/// a record; where it does not, a refusal can only mean the request itself.
pub fn check(operation: &str, write: bool, reply: &RawReply, now: Timestamp) -> Result<(), Fault> {
    if reply.is_success() {
        return Ok(());
    }
    let errors: Errors = serde_json::from_slice(&reply.body).unwrap_or_default();
    let first = errors.errors.first();
    let id = first.and_then(|error| error.id.as_deref()).unwrap_or_default();
    let message = format!("{operation}: {}", describe(reply.status, &errors.errors));
    let fatal = |code: FaultCode, remedy: &str| Fault::fatal(code, message.clone(), remedy);
    let refused = |code: FaultCode, remedy: &str| match write {
        true => Fault { remedy: Some(remedy.to_owned()), ..Fault::rejected(code, message.clone()) },
        false => fatal(code, remedy),
    };
    Err(match (reply.status, id) {
        (429, _) => Fault::throttled(told_wait(reply, now), message.clone()),
        // Announced maintenance is no failure of the record: it waits and costs no attempt.
        (503, _) if id == "scheduledServerMaintenance" || told_wait(reply, now).is_some() => {
            let kind = FaultKind::Throttled { retry_after: told_wait(reply, now) };
            Fault::new(kind, FaultCode::Unavailable, message.clone())
        }
        // 503 says that nothing was done; the others may come from a proxy in front of a done deed.
        (503, _) => Fault::transient(FaultCode::Unavailable, message.clone()),
        (408 | 500.., _) => {
            let code =
                if matches!(reply.status, 408 | 504) { FaultCode::Timeout } else { FaultCode::Unavailable };
            let fault = Fault::transient(code, message.clone());
            if write { fault.and_may_have_happened() } else { fault }
        }
        (401, _) => fatal(FaultCode::Auth, "log in again: mint a new refresh_token for this app and user"),
        (403, "unauthorizedOauthScope") => {
            fatal(FaultCode::Auth, "add the named scope to the app and mint a new refresh_token")
        }
        (403, _) => refused(FaultCode::Auth, "give the user of this refresh_token the right to do that"),
        (404, "routeNotFound") => fatal(
            FaultCode::Configuration,
            "name a stream that the service has, for instance prospects or accounts",
        ),
        (404, _) => Fault::rejected(FaultCode::NotFound, message.clone()),
        (405 | 406 | 415, _) => {
            fatal(FaultCode::Protocol, "check that base_url is the root of the API's host")
        }
        (409, _) => Fault::stale(message.clone()),
        (413, _) => refused(FaultCode::Validation, "shorten the record's fields"),
        (300..400, _) => {
            fatal(FaultCode::Configuration, "base_url leads elsewhere: write the host that it leads to")
        }
        (400 | 422, _) => refused(
            FaultCode::Validation,
            if write {
                "mend the record or the mapping of the named field"
            } else {
                "name other fields or another key"
            },
        ),
        _ => refused(FaultCode::Protocol, "check that base_url is the root of the API's host"),
    })
}

/// Tells whether a fault says that the record is not there.
pub fn is_not_found(fault: &Fault) -> bool {
    fault.kind == FaultKind::Rejected && fault.code == FaultCode::NotFound
}

/// Says what came back in the service's own words.
fn describe(status: u16, errors: &[ErrorObject]) -> String {
    let mut text = format!("HTTP {status}");
    for error in errors.iter().take(3) {
        let detail = error.detail.as_ref().or(error.details.as_ref());
        for part in [error.id.as_ref(), error.title.as_ref(), detail].into_iter().flatten() {
            text.push_str(if text.ends_with(['.', '!']) { " " } else { ": " });
            text.extend(part.chars().filter(|letter| !letter.is_control()).take(DETAIL_CHARS_MAX));
        }
        if let Some(pointer) = error.source.as_ref().and_then(|source| source.pointer.as_ref()) {
            text.push_str(" at ");
            text.extend(pointer.chars().filter(|letter| !letter.is_control()).take(DETAIL_CHARS_MAX));
        }
    }
    text
}

/// Reads the reply to a token request.
pub fn decode_token(reply: &RawReply, now: Timestamp) -> Result<TokenReply, Fault> {
    const OPERATION: &str = "refresh the access token";
    let remedy = |word: &str| match word {
        "invalid_client" => "check client_id and client_secret",
        _ => "mint a new refresh_token for this app and user: one lives for 14 days",
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

    fn error(id: &str) -> String {
        format!(
            r#"{{"errors":[{{"id":"{id}","title":"T","detail":"D.","source":{{"pointer":"/data/x"}}}}]}}"#
        )
    }

    #[test]
    fn every_reply_has_one_meaning() {
        use FaultCode::*;
        let throttled =
            |seconds: Option<u64>| FaultKind::Throttled { retry_after: seconds.map(Duration::from_secs) };
        let (fatal, rejected, transient) = (FaultKind::Fatal, FaultKind::Rejected, FaultKind::Transient);
        // (status, error id, Retry-After, write, kind, code, may have happened, why)
        let cases = [
            (429, "rateLimitExceeded", Some("30"), true, throttled(Some(30)), RateLimited, false, "seconds"),
            (
                429,
                "rateLimitExceeded",
                Some("1736935860"),
                false,
                throttled(Some(60)),
                RateLimited,
                false,
                "epoch",
            ),
            (429, "", None, true, throttled(None), RateLimited, false, "without a word"),
            (
                503,
                "scheduledServerMaintenance",
                Some("2025-01-15T10:30:00Z"),
                true,
                throttled(Some(1200)),
                Unavailable,
                false,
                "maintenance tells its end as a date and costs no attempt",
            ),
            (503, "", None, true, transient.clone(), Unavailable, false, "503 says that nothing was done"),
            (500, "", None, true, transient.clone(), Unavailable, true, "who knows how far it got"),
            (502, "", None, false, transient.clone(), Unavailable, false, "a read has no effect"),
            (504, "", None, true, transient.clone(), Timeout, true, "a proxy lost patience"),
            (401, "", None, true, fatal.clone(), Auth, false, "a token that was refused twice"),
            (
                403,
                "unauthorizedOauthScope",
                None,
                true,
                fatal.clone(),
                Auth,
                false,
                "no record can be written",
            ),
            (403, "unauthorizedRequest", None, true, rejected.clone(), Auth, false, "this record can't"),
            (403, "unauthorizedRequest", None, false, fatal.clone(), Auth, false, "the stream can't be read"),
            (404, "resourceNotFound", None, true, rejected.clone(), NotFound, false, "gone"),
            (404, "routeNotFound", None, true, fatal.clone(), Configuration, false, "no such stream"),
            (409, "", None, true, FaultKind::Stale, Conflict, false, "it moved"),
            (415, "unsupportedMediaType", None, true, fatal.clone(), Protocol, false, "our own mistake"),
            (422, "validationError", None, true, rejected.clone(), Validation, false, "a bad record"),
            (422, "validationError", None, false, fatal.clone(), Validation, false, "a bad filter"),
            (400, "", None, true, rejected, Validation, false, "a bad record"),
            (302, "", None, false, fatal.clone(), Configuration, false, "another host"),
            (418, "", None, false, fatal, Protocol, false, "anything else"),
        ];
        for (status, id, after, write, kind, code, happened, why) in cases {
            let headers: Vec<_> = after.map(|after| ("retry-after", after)).into_iter().collect();
            let fault = check("op", write, &reply(status, &headers, &error(id)), NOW).expect_err("a fault");
            assert_eq!(
                (fault.kind, fault.code, fault.may_have_happened),
                (kind, code, happened),
                "{status}: {why}"
            );
            assert!(fault.message.starts_with(&format!("op: HTTP {status}")), "{}", fault.message);
        }
        assert_eq!(check("op", true, &reply(204, &[], ""), NOW), Ok(()));
        assert!(
            check("op", true, &reply(422, &[], "<html>"), NOW).is_err(),
            "a proxy's page is still a refusal"
        );
    }

    #[test]
    fn the_service_is_quoted() {
        let fault = check("create prospect", true, &reply(422, &[], &error("validationError")), NOW);
        let message = fault.expect_err("a fault").message;
        assert_eq!(message, "create prospect: HTTP 422: validationError: T: D. at /data/x");
    }

    #[test]
    fn a_refused_login_says_what_to_mend_and_no_secret() {
        let cases = [
            (401, r#"{"error":"invalid_client"}"#, "client_secret"),
            (400, r#"{"error":"invalid_grant","error_description":"expired"}"#, "refresh_token"),
            (401, "", "refresh_token"),
        ];
        for (status, body, remedy) in cases {
            let fault = decode_token(&reply(status, &[], body), NOW).err().expect("a fault");
            assert_eq!((fault.kind, fault.code), (FaultKind::Fatal, FaultCode::Auth));
            assert!(fault.remedy.is_some_and(|text| text.contains(remedy)), "{body}");
        }
        let fault = decode_token(&reply(503, &[], ""), NOW).err().expect("a fault");
        assert_eq!(fault.kind, FaultKind::Transient, "no verdict on the credentials");
        let fault = decode_token(&reply(429, &[("retry-after", "60")], ""), NOW).err().expect("a fault");
        assert!(matches!(fault.kind, FaultKind::Throttled { .. }), "tokens are minted once a minute");
        let fault = decode_token(&reply(200, &[], r#"{"access":"canary"}"#), NOW).err().expect("a fault");
        assert!(!fault.to_string().contains("canary"));
    }
}
