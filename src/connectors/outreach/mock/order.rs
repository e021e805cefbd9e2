//! What the mock has its table keep beside the objects, so that a million of them are no strain.

use compact_str::CompactString;

use super::super::super::mock::{Object, Rank, Table};
use super::filter::items;
use crate::engine::record::{Timestamp, Value};

/// The order of (stamp, id).
pub const BY_STAMP: &str = "updatedAt";
/// The order of ids.
pub const BY_ID: &str = "id";
/// The index of mail addresses.
pub const BY_EMAIL: &str = "emails of a list";

/// Has a stream's objects kept in the order of (stamp, id).
pub fn keep_by_stamp(table: &mut Table, stream: &str) {
    table.keep_order(stream, BY_STAMP, Rank::Length, |object| Some(stamp_of(object)));
}

/// Has a stream's objects kept in the order of their ids.
pub fn keep_by_id(table: &mut Table, stream: &str) {
    table.keep_order(stream, BY_ID, Rank::Length, |object| match object.get("id") {
        Some(Value::Int(id)) => Some(id),
        _ => None,
    });
}

/// Has a stream's objects found by their mail addresses.
pub fn keep_emails(table: &mut Table, stream: &str) {
    table.keep_index(stream, BY_EMAIL, emails_of);
}

/// Returns an object's stamp in milliseconds.
fn stamp_of(object: &Object) -> i64 {
    object.text("updatedAt").and_then(Timestamp::parse_rfc3339).map_or(0, |stamp| stamp.0)
}

/// Returns the mail addresses of an object.
pub fn emails_of(object: &Object) -> Vec<CompactString> {
    match object.get("emails") {
        Some(Value::Json(list)) => {
            items(&list).iter().filter_map(Value::as_text).map(CompactString::from).collect()
        }
        _ => Vec::new(),
    }
}
