//! The service's log of deletions: how it is asked, what it tells, and when it can't be asked.

use std::borrow::Cow;

use serde::Deserialize;

use super::classify::refusals;
use super::ids::long_id;
use super::time::{parse_datetime, soql_datetime};
use crate::connectors::rest::RawReply;
use crate::engine::fault::{Fault, FaultKind};
use crate::engine::record::Timestamp;

/// A record that was deleted. The id has 18 characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gone {
    pub id: String,
    pub at: Timestamp,
}

/// Why the log does not tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unheard {
    /// Not of this span: it begins too early, or holds too many ids.
    Span,
    /// Not of this object.
    Object,
}

/// Writes the path that asks what was deleted within a span. The service cuts the seconds off both ends.
pub fn deleted_path(object: &str, start: Timestamp, end: Timestamp) -> String {
    let query = url::form_urlencoded::Serializer::new(String::new())
        .append_pair("start", &soql_datetime(start))
        .append_pair("end", &soql_datetime(end))
        .finish();
    format!("sobjects/{object}/deleted/?{query}")
}

/// Reads what was deleted, and until when everything is told. What has no id or no date is left out.
pub fn decode_deleted(body: &[u8]) -> Result<(Vec<Gone>, Option<Timestamp>), serde_json::Error> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Answer<'b> {
        #[serde(borrow)]
        deleted_records: Vec<Deleted<'b>>,
        latest_date_covered: Option<String>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Deleted<'b> {
        #[serde(borrow, default)]
        id: Cow<'b, str>,
        #[serde(borrow, default)]
        deleted_date: Cow<'b, str>,
    }
    let answer: Answer<'_> = serde_json::from_slice(body)?;
    let gone =
        |told: &Deleted<'_>| Some(Gone { id: long_id(&told.id)?, at: parse_datetime(&told.deleted_date)? });
    let covered = answer.latest_date_covered.and_then(|text| parse_datetime(&text));
    Ok((answer.deleted_records.iter().filter_map(gone).collect(), covered))
}

/// Tells whether a refusal is about what was asked, and not about who asks, how often, or when; `fault` is what it
/// means in general.
pub fn unheard(reply: &RawReply, fault: &Fault) -> Option<Unheard> {
    let code = refusals(&reply.body).into_iter().next().unwrap_or_default().code;
    match (reply.status, code.as_str()) {
        (_, "INVALID_REPLICATION_DATE" | "EXCEEDED_ID_LIMIT") => Some(Unheard::Span),
        (_, "INVALID_TYPE" | "INSUFFICIENT_ACCESS" | "INSUFFICIENT_ACCESS_OR_READONLY") | (404 | 410, _) => {
            Some(Unheard::Object)
        }
        _ => matches!(fault.kind, FaultKind::Rejected).then_some(Unheard::Object),
    }
}

#[cfg(test)]
mod tests {
    use super::super::classify::classify;
    use super::*;

    #[test]
    fn the_log_is_asked_in_utc_and_read_in_either_form_of_an_id() {
        let at = Timestamp(1_725_914_460_000);
        assert_eq!(
            deleted_path("Contact", at, Timestamp(at.0 + 600_000)),
            "sobjects/Contact/deleted/?start=2024-09-09T20%3A41%3A00Z&end=2024-09-09T20%3A51%3A00Z"
        );
        let body = br#"{"deletedRecords":[
            {"id":"003ak000003dQCG","deletedDate":"2024-09-09T20:41:00.000+0000"},
            {"id":"003ak000003dQCGAA2","deletedDate":"2024-09-09T20:41:00.000+0000"},
            {"id":"?","deletedDate":"2024-09-09T20:41:00.000+0000"},{"id":"003ak000003dQCGAA2"}],
            "earliestDateAvailable":"2024-09-01T20:41:00.000+0000","latestDateCovered":"2024-09-09T20:41:00.000+0000"}"#;
        let (gone, covered) = decode_deleted(body).expect("an answer");
        let known = Gone { id: "003ak000003dQCGAA2".to_owned(), at };
        assert_eq!((gone, covered), (vec![known.clone(), known], Some(at)));
        assert!(decode_deleted(b"<html>").is_err());
    }

    #[test]
    fn only_what_was_asked_is_let_go() {
        // (status, code, meaning, why)
        let cases = [
            (400, "INVALID_REPLICATION_DATE", Some(Unheard::Span), "too far back"),
            (400, "EXCEEDED_ID_LIMIT", Some(Unheard::Span), "too many"),
            (400, "INVALID_TYPE", Some(Unheard::Object), "not replicateable"),
            (400, "SOMETHING_NEW", Some(Unheard::Object), "whatever it is, it is about the question"),
            (403, "INSUFFICIENT_ACCESS", Some(Unheard::Object), "not for our user"),
            (404, "NOT_FOUND", Some(Unheard::Object), "no such resource"),
            (405, "METHOD_NOT_ALLOWED", Some(Unheard::Object), "not to be asked"),
            (401, "INVALID_SESSION_ID", None, "who asks"),
            (403, "API_DISABLED_FOR_ORG", None, "who asks"),
            (403, "REQUEST_LIMIT_EXCEEDED", None, "how often"),
            (429, "", None, "how often"),
            (503, "SERVER_UNAVAILABLE", None, "when"),
            (400, "QUERY_TIMEOUT", None, "when"),
            (500, "UNKNOWN_EXCEPTION", None, "their defect"),
        ];
        for (status, code, meaning, why) in cases {
            let body = format!(r#"[{{"message":"m","errorCode":"{code}"}}]"#).into_bytes();
            let reply = RawReply { status, body, ..RawReply::default() };
            let fault = classify("ask", &reply, false, Timestamp(0));
            assert_eq!(unheard(&reply, &fault), meaning, "{status} {code}: {why}");
        }
    }
}
