//! Rows of the Table API into records.
//!
//! Invariant: every value is text as the service wrote it; empty text is null, a reference is its sys_id.

use std::borrow::Cow;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::moment::parse_moment;
use super::reply::{ErrorBody, failure_in_success};
use crate::connectors::rest::{Members, RawReply, malformed};
use crate::engine::fault::{Fault, FaultCode};
use crate::engine::record::{Key, Malformed, Meta, Record, Schema, Value, value_from_raw};

/// One record with its place.
#[derive(Debug)]
pub struct Row {
    pub record: Record,
    pub id: String,
    /// `sys_updated_on` in seconds since 1970; nothing where the row has none.
    pub stamp: Option<i64>,
    /// The hash of the raw text: two rows with the same hash say the same.
    pub hash: u64,
}

/// Rows as they came.
pub type Page = Vec<Result<Row, Malformed>>;

/// Reads rows of one table; keeps the schema between pages so that records share it.
#[derive(Clone, Debug)]
pub struct Decoder {
    key: Vec<String>,
    schema: Arc<Schema>,
}

#[derive(Deserialize)]
struct Document<'a> {
    #[serde(borrow, default)]
    result: Option<&'a RawValue>,
    #[serde(default)]
    error: Option<ErrorBody>,
}

/// A value with its ways to be shown.
#[derive(Deserialize)]
struct Shown<'a> {
    #[serde(borrow)]
    value: &'a RawValue,
}

/// One row taken apart, before it has a schema.
struct Parsed<'a> {
    fields: Vec<(Cow<'a, str>, &'a RawValue)>,
}

impl Decoder {
    /// Starts with the fields that are known beforehand, so that they come first in the schema.
    pub fn new<'n>(key: &'n [String], fields: impl IntoIterator<Item = &'n str>) -> Self {
        let names = key.iter().map(String::as_str).chain(fields);
        Self { key: key.to_vec(), schema: Schema::new(names) }
    }

    /// Reads a list of rows.
    pub fn page(&mut self, operation: &str, body: &[u8]) -> Result<Page, Fault> {
        let result = result_of(operation, body)?;
        let rows: Vec<&RawValue> =
            serde_json::from_str(result.get()).map_err(|_| unreadable(operation, "its result is no list"))?;
        let parsed: Vec<_> = rows.iter().map(|raw| (*raw, take_apart(raw))).collect();
        self.learn(parsed.iter().filter_map(|(_, parsed)| parsed.as_ref().ok()));
        let row = |(raw, parsed): (&RawValue, Result<Parsed<'_>, String>)| match parsed {
            Ok(parsed) => self
                .row(raw, &parsed)
                .map_err(|reason| Malformed { key: self.key_in(&parsed), ..malformed(raw.get(), reason) }),
            Err(reason) => Err(malformed(raw.get(), reason)),
        };
        Ok(parsed.into_iter().map(row).collect())
    }

    /// Reads the one row of a reply to a create, an update or a get.
    pub fn single(&mut self, operation: &str, body: &[u8]) -> Result<Row, Fault> {
        let raw = result_of(operation, body)?;
        let parsed = take_apart(raw).map_err(|reason| unreadable(operation, &reason))?;
        self.learn([&parsed]);
        self.row(raw, &parsed).map_err(|reason| unreadable(operation, &reason))
    }

    /// Reads a list of rows of which only the fields matter.
    pub fn plain_rows(&mut self, operation: &str, body: &[u8]) -> Result<Vec<Record>, Fault> {
        let result = result_of(operation, body)?;
        let rows: Vec<&RawValue> =
            serde_json::from_str(result.get()).map_err(|_| unreadable(operation, "its result is no list"))?;
        let record = |raw: &&RawValue| {
            let parsed = take_apart(raw)?;
            self.learn([&parsed]);
            self.record(&parsed)
        };
        let records: Result<_, String> = rows.iter().map(record).collect();
        records.map_err(|reason| unreadable(operation, &reason))
    }

    fn learn<'p, 'a: 'p>(&mut self, parsed: impl IntoIterator<Item = &'p Parsed<'a>>) {
        let names = parsed.into_iter().flat_map(|parsed| parsed.fields.iter().map(|(name, _)| name.as_ref()));
        if let Some(grown) = self.schema.grown(names) {
            self.schema = grown;
        }
    }

    fn record(&self, parsed: &Parsed<'_>) -> Result<Record, String> {
        let mut values = vec![Value::Absent; self.schema.len()];
        for (name, raw) in &parsed.fields {
            let value = value_of(raw).map_err(|reason| format!("{name}: {reason}"))?;
            if let Some(place) = self.schema.position(name).and_then(|at| values.get_mut(at)) {
                *place = value;
            }
        }
        Ok(Record { schema: Arc::clone(&self.schema), values: values.into(), meta: Meta::default() })
    }

    fn row(&self, raw: &RawValue, parsed: &Parsed<'_>) -> Result<Row, String> {
        let mut record = self.record(parsed)?;
        let id = record.get("sys_id").as_text().ok_or("the row lacks its sys_id")?.to_owned();
        let stamp = record.get("sys_updated_on").as_text().and_then(parse_moment);
        let hash = xxhash_rust::xxh3::xxh3_64(raw.get().as_bytes());
        let count = record.get("sys_mod_count").to_plain().unwrap_or_default();
        // Two changes within a second differ by their count; server code may change a row without either.
        let revision =
            stamp.map(|at| compact_str::format_compact!("{}~{count}~{hash:016x}", at.0.div_euclid(1000)));
        record.meta = Meta { id: Some(id.as_str().into()), revision, modified_at: stamp, ours: false };
        Ok(Row { record, id, stamp: stamp.map(|at| at.0.div_euclid(1000)), hash })
    }

    fn key_in(&self, parsed: &Parsed<'_>) -> Option<Key> {
        let value = |name: &String| {
            let field = parsed.fields.iter().find(|(known, _)| known.as_ref() == name.as_str());
            field.and_then(|(_, raw)| value_of(raw).ok())
        };
        let values: Vec<Value> = self.key.iter().map(value).collect::<Option<_>>()?;
        Key::from_values(&values).ok()
    }
}

/// Gives a record's key, where all key fields hold something that can be one.
pub fn key_of(record: &Record, key: &[String]) -> Option<Key> {
    Key::from_values(key.iter().map(|name| record.get(name))).ok()
}

/// Reads how many rows a query matches over all pages, where the reply tells it.
pub fn total_count(reply: &RawReply) -> Option<u64> {
    reply.header("x-total-count")?.trim().parse().ok()
}

fn result_of<'a>(operation: &str, body: &'a [u8]) -> Result<&'a RawValue, Fault> {
    let document: Document<'a> = serde_json::from_slice(body).map_err(|error| {
        // A reply that is cut or not JSON at all comes from something in between; another try may help.
        let (line, column) = (error.line(), error.column());
        unreadable(operation, &format!("it is no JSON at line {line}, column {column}"))
    })?;
    if let Some(error) = &document.error {
        return Err(failure_in_success(operation, error));
    }
    document.result.ok_or_else(|| unreadable(operation, "it holds no result"))
}

fn unreadable(operation: &str, reason: &str) -> Fault {
    Fault::transient(FaultCode::Protocol, format!("{operation}: the reply can't be read: {reason}"))
}

fn take_apart(raw: &RawValue) -> Result<Parsed<'_>, String> {
    let members: Members<'_> = serde_json::from_str(raw.get()).map_err(|error| error.to_string())?;
    Ok(Parsed { fields: members.0 })
}

/// Reads one field: a text, or an object that holds one as its `value`.
fn value_of(raw: &RawValue) -> Result<Value, String> {
    let inner = match raw.get().as_bytes().first() {
        Some(b'{') => serde_json::from_str::<Shown<'_>>(raw.get()).map_or(raw, |shown| shown.value),
        _ => raw,
    };
    match value_from_raw(inner).map_err(|error| error.to_string())? {
        Value::Text(text) if text.is_empty() => Ok(Value::Null),
        value => Ok(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIELDS: [&str; 4] = ["short_description", "caller_id", "active", "count"];

    fn decoder() -> Decoder {
        Decoder::new(&[], FIELDS)
    }

    #[test]
    fn a_row_is_text_references_and_nulls() {
        let body = br#"{"result":[{"sys_id":"0f","sys_updated_on":"2025-03-01 09:15:00","sys_mod_count":"3",
            "short_description":"","caller_id":{"link":"https://x/api/now/table/sys_user/68","value":"68"},
            "active":{"display_value":"True","value":"true"},"count":"12345678901234567890.10"}]}"#;
        let page = decoder().page("read incident", body).expect("a page");
        let row = page[0].as_ref().expect("a row");
        assert_eq!((row.id.as_str(), row.stamp), ("0f", Some(1_740_820_500)));
        let record = &row.record;
        assert_eq!(record.get("short_description"), &Value::Null, "empty is null");
        assert_eq!(record.get("caller_id"), &Value::text("68"));
        assert_eq!(record.get("active"), &Value::text("true"));
        assert_eq!(record.get("count"), &Value::text("12345678901234567890.10"), "no digit is lost");
        assert!(record.meta.revision.as_ref().is_some_and(|text| text.starts_with("1740820500~3~")));
    }

    #[test]
    fn what_is_no_page_is_a_fault_and_what_is_no_row_is_malformed() {
        // (body, why)
        let faults = [
            ("", "nothing"),
            ("{}", "no result"),
            ("[]", "no object"),
            (r#"{"result":{}}"#, "no list"),
            (r#"{"result":[{"sys_id":"0f"}],"error":{"message":"m"},"status":"failure"}"#, "half a list"),
        ];
        for (body, why) in faults {
            assert!(decoder().page("read", body.as_bytes()).is_err(), "{why}");
        }
        for (row, why) in [
            ("7", "no object"),
            (r#"{"a":"b"}"#, "no sys_id"),
            (r#"{"sys_id":""}"#, "an empty one"),
            (r#"{"sys_id":"\ud800"}"#, "half a character"),
        ] {
            let body = format!(r#"{{"result":[{row}]}}"#);
            let page = decoder().page("read", body.as_bytes()).expect("a page");
            assert!(page[0].is_err(), "{why}");
        }
    }
}
