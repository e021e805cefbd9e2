//! What a reply means: faults, and the service's own words.

use std::time::Duration;

use serde_json::value::RawValue;

use super::super::super::rest::{RawReply, parse_http_date, told_wait};
use super::Pointer;
use crate::engine::fault::{Fault, FaultCode, FaultKind};
use crate::engine::record::{Timestamp, Value, value_from_raw};

/// Characters of an error's own words that are kept.
const DETAIL_CHARS_MAX: usize = 300;

/// Where services commonly say why.
const COMMON: [&str; 10] = [
    "/message",
    "/error/message",
    "/error_description",
    "/error",
    "/errors/0/message",
    "/errors/0/detail",
    "/errors/0",
    "/detail",
    "/title",
    "/0/message",
];

/// Checks the status of one reply. `write` says that the request changes a record; where it does not, a
/// refusal can only mean the request itself.
pub fn check(
    operation: &str,
    write: bool,
    reply: &RawReply,
    now: Timestamp,
    errors: &[Pointer],
) -> Result<(), Fault> {
    if reply.is_success() {
        return Ok(());
    }
    let why = serde_json::from_slice::<&RawValue>(&reply.body).ok().and_then(|body| said(body, errors));
    let message = match why {
        Some(why) => format!("{operation}: HTTP {}: {why}", reply.status),
        None => format!("{operation}: HTTP {}", reply.status),
    };
    Err(by_status(reply.status, write, told_wait(reply, now), message))
}

/// Tells what a status means; of a reply, or of one result in it.
pub fn by_status(status: u16, write: bool, wait: Option<Duration>, message: String) -> Fault {
    let fatal = |code: FaultCode, remedy: &str| Fault::fatal(code, message.clone(), remedy);
    let refused = |code: FaultCode, remedy: &str| match write {
        true => Fault { remedy: Some(remedy.to_owned()), ..Fault::rejected(code, message.clone()) },
        false => fatal(code, remedy),
    };
    match status {
        429 | 420 => Fault::throttled(wait, message),
        // Announced unavailability is no failure of the record: it waits and costs no attempt.
        503 if wait.is_some() => {
            Fault::new(FaultKind::Throttled { retry_after: wait }, FaultCode::Unavailable, message)
        }
        // 503 says that nothing was done; the others may come from a proxy in front of a done deed.
        503 => Fault::transient(FaultCode::Unavailable, message),
        408 | 425 | 500.. => {
            let code = if matches!(status, 408 | 504) { FaultCode::Timeout } else { FaultCode::Unavailable };
            let fault = Fault::transient(code, message);
            if write { fault.and_may_have_happened() } else { fault }
        }
        401 => fatal(FaultCode::Auth, "check the credentials under `auth` of this system"),
        403 => refused(FaultCode::Auth, "give these credentials the right to do that"),
        404 | 410 if write => Fault::rejected(FaultCode::NotFound, message),
        404 | 410 => fatal(FaultCode::Configuration, "check base_url and the path of this request"),
        405 | 406 | 415 => fatal(FaultCode::Protocol, "check the path and the method of this request"),
        409 | 412 => Fault::stale(message),
        413 => refused(FaultCode::Validation, "shorten the record, or lower the batch's max"),
        300..400 => {
            fatal(FaultCode::Configuration, "base_url leads elsewhere: write the address that it leads to")
        }
        400 | 422 => refused(
            FaultCode::Validation,
            match write {
                true => "mend the record or the mapping of the named field",
                false => "mend the parameters of this request in the description",
            },
        ),
        _ => refused(FaultCode::Protocol, "check the description of this request"),
    }
}

/// Tells whether a fault says that the record is not there.
pub fn is_not_found(fault: &Fault) -> bool {
    fault.kind == FaultKind::Rejected && fault.code == FaultCode::NotFound
}

/// Finds the service's own words; `errors` is where it has them, the common places where that is empty.
pub fn said(body: &RawValue, errors: &[Pointer]) -> Option<String> {
    let common: Vec<Pointer>;
    let places = match errors {
        [] => {
            common = COMMON.iter().filter_map(|place| Pointer::parse(place).ok()).collect();
            &common
        }
        told => told,
    };
    let text =
        places.iter().filter_map(|place| place.find(body)).find_map(|raw| match value_from_raw(raw) {
            Ok(value @ (Value::Text(_) | Value::Int(_) | Value::Number(_))) => value.to_plain(),
            _ => None,
        })?;
    let text: String = text.chars().filter(|letter| !letter.is_control()).take(DETAIL_CHARS_MAX).collect();
    (!text.is_empty()).then_some(text)
}

/// Returns the moment at the server by its own word.
pub fn server_time(reply: &RawReply) -> Option<Timestamp> {
    reply.header("date").and_then(parse_http_date)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_769_853_600_000);

    fn reply(status: u16, after: Option<&'static str>, body: &str) -> RawReply {
        let mut reply = RawReply { status, body: body.into(), ..RawReply::default() };
        if let Some(after) = after {
            reply.headers.insert("retry-after", after.parse().expect("a header"));
        }
        reply
    }

    #[test]
    fn every_status_has_one_meaning() {
        use FaultCode::*;
        let throttled =
            |seconds: Option<u64>| FaultKind::Throttled { retry_after: seconds.map(Duration::from_secs) };
        let (fatal, rejected, transient) = (FaultKind::Fatal, FaultKind::Rejected, FaultKind::Transient);
        // (status, Retry-After, write, kind, code, may have happened, why)
        let cases = [
            (429, Some("30"), true, throttled(Some(30)), RateLimited, false, "told how long"),
            (429, None, false, throttled(None), RateLimited, false, "without a word"),
            (503, Some("60"), true, throttled(Some(60)), Unavailable, false, "maintenance with an end"),
            (503, None, true, transient.clone(), Unavailable, false, "503 says that nothing was done"),
            (500, None, true, transient.clone(), Unavailable, true, "who knows how far it got"),
            (502, None, false, transient.clone(), Unavailable, false, "a read has no effect"),
            (504, None, true, transient.clone(), Timeout, true, "a proxy lost patience"),
            (408, None, true, transient, Timeout, true, "a slow request"),
            (401, None, true, fatal.clone(), Auth, false, "wrong credentials"),
            (403, None, true, rejected.clone(), Auth, false, "this record can't"),
            (403, None, false, fatal.clone(), Auth, false, "the stream can't be read"),
            (404, None, true, rejected.clone(), NotFound, false, "gone"),
            (410, None, true, rejected.clone(), NotFound, false, "gone for good"),
            (404, None, false, fatal.clone(), Configuration, false, "no such list"),
            (409, None, true, FaultKind::Stale, Conflict, false, "it moved"),
            (412, None, true, FaultKind::Stale, Conflict, false, "If-Match did not match"),
            (415, None, true, fatal.clone(), Protocol, false, "our own mistake"),
            (422, None, true, rejected.clone(), Validation, false, "a bad record"),
            (422, None, false, fatal.clone(), Validation, false, "a bad parameter"),
            (400, None, true, rejected, Validation, false, "a bad record"),
            (302, None, false, fatal.clone(), Configuration, false, "another address"),
            (418, None, false, fatal, Protocol, false, "anything else"),
        ];
        for (status, after, write, kind, code, happened, why) in cases {
            let reply = reply(status, after, r#"{"message":"M."}"#);
            let fault = check("op", write, &reply, NOW, &[]).expect_err("a fault");
            assert_eq!(
                (fault.kind, fault.code, fault.may_have_happened),
                (kind, code, happened),
                "{status}: {why}"
            );
            assert_eq!(fault.message, format!("op: HTTP {status}: M."));
        }
        assert_eq!(check("op", true, &reply(204, None, ""), NOW, &[]), Ok(()));
    }

    #[test]
    fn the_service_is_quoted_where_it_says_something() {
        let own = [Pointer::parse("/fault/why").expect("a pointer")];
        // (body, own place, words, why)
        let cases: [(&str, bool, Option<&str>, &str); 7] = [
            (r#"{"message":"a"}"#, false, Some("a"), "plain"),
            (r#"{"error":{"message":"b"}}"#, false, Some("b"), "deeper"),
            (r#"{"errors":["c"]}"#, false, Some("c"), "a list of texts"),
            (r#"[{"message":"d"}]"#, false, Some("d"), "a list"),
            (r#"{"fault":{"why":"e\nf"}}"#, true, Some("ef"), "its own place, in one line"),
            (r#"{"message":"a"}"#, true, None, "nothing else is looked at"),
            (r#"{"error":true}"#, false, None, "no words"),
        ];
        for (body, is_own, words, why) in cases {
            let raw: &RawValue = serde_json::from_str(body).expect("JSON");
            assert_eq!(said(raw, if is_own { &own } else { &[] }).as_deref(), words, "{why}");
        }
    }
}
