//! Conditional requests: by the moment of the last change, and for accounts by a tag.
//!
//! Moments have a grain of a second, as HTTP's have: two changes within one second can't be told apart by them.

use super::errors::ApiError;
use crate::connectors::mock::{Object, Reply, Request, object_json};
use crate::connectors::salesforce::wire::parse_datetime;
use crate::engine::record::Timestamp;

/// Answers at once where the request's conditions do not hold: 304 to a read, 412 to everything else.
pub fn unmet(request: &Request, changed: Option<Timestamp>, tag: Option<&str>) -> Option<Reply> {
    let moment = |name: &str| request.header(name).and_then(http_moment);
    let names = |name: &str| {
        let tags = request.header(name)?;
        let named = |other: &str| other.trim() == "*" || Some(other.trim()) == tag;
        Some(tags.split(',').any(named))
    };
    let reads = matches!(request.method.as_str(), "GET" | "HEAD");
    if tag.is_some() && names("if-match") == Some(false) {
        return Some(Reply::empty(412));
    }
    if tag.is_some() && names("if-none-match") == Some(true) {
        return Some(Reply::empty(if reads { 304 } else { 412 }));
    }
    let changed = changed?;
    if moment("if-unmodified-since").is_some_and(|since| changed > since) {
        return Some(Reply::empty(412));
    }
    if reads && moment("if-modified-since").is_some_and(|since| changed <= since) {
        return Some(Reply::empty(304));
    }
    None
}

/// Tells when a row was last changed.
pub fn changed(row: &Object) -> Option<Timestamp> {
    row.text("LastModifiedDate").and_then(parse_datetime)
}

/// Makes the tag of a row, for the types that have them.
pub fn tag(object: &str, row: &Object) -> Option<String> {
    let hash = || xxhash_rust::xxh3::xxh3_64(object_json(row).as_bytes());
    (object == "Account").then(|| format!("\"{:016x}\"", hash()))
}

/// Refuses what is longer than the service takes.
pub fn too_long(request: &Request) -> Option<Reply> {
    const BYTES_MAX: usize = 16_384;
    let uri = request.path.len() + request.query.len();
    let headers: usize = request.headers.iter().map(|(name, text)| name.len() + text.len()).sum();
    let error = |status, code, message| Some(ApiError::new(status, code, message).reply());
    match (uri > BYTES_MAX, uri + headers > BYTES_MAX) {
        (true, _) => error(414, "URI_TOO_LONG", "The URI is longer than 16,384 bytes"),
        (_, true) => {
            error(431, "REQUEST_HEADER_FIELDS_TOO_LARGE", "URI and headers are longer than 16,384 bytes")
        }
        _ => None,
    }
}

fn http_moment(text: &str) -> Option<Timestamp> {
    let moment = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text.trim()).ok()?;
    Some(Timestamp(moment.as_millisecond()))
}
