//! Replies into records.
//!
//! Invariant: values pass through their own JSON text, so that no digit is lost.

use std::borrow::Cow;
use std::sync::Arc;

use serde_json::value::RawValue;

use super::super::super::rest::Members;
use super::super::settings::Stream;
use super::Pointer;
use crate::engine::fault::{Fault, FaultCode};
use crate::engine::record::{
    Change, Key, Malformed, Meta, Record, RemoteId, Revision, Schema, SchemaBuilder, Timestamp, Tombstone,
    Value, value_from_raw,
};

/// Bytes of a malformed record that are kept.
const RAW_BYTES_MAX: usize = 64 * 1024;

/// Records of one reply.
#[derive(Debug)]
pub struct Listed {
    pub changes: Vec<Change>,
    /// The ids in the order in which they came; empty for what has none.
    pub ids: Vec<RemoteId>,
    /// The latest stamp.
    pub latest: Option<Timestamp>,
}

/// Reads records of one stream; keeps the schema between replies so that records share it.
#[derive(Clone, Debug)]
pub struct Decoder {
    stream: Arc<Stream>,
    key: Vec<String>,
    schema: Arc<Schema>,
}

/// One record taken apart, before it has a schema.
struct Parsed<'a> {
    id: Value,
    fields: Vec<(Cow<'a, str>, Found<'a>)>,
    stamp: Option<Timestamp>,
    revision: Option<Revision>,
    is_deleted: bool,
}

enum Found<'a> {
    Raw(&'a RawValue),
    Null,
}

impl Decoder {
    /// Starts with the fields that are known beforehand, so that they come first in the schema.
    pub fn new<'n>(
        stream: Arc<Stream>,
        key: &'n [String],
        fields: impl IntoIterator<Item = &'n str>,
    ) -> Self {
        let mut names = SchemaBuilder::default();
        names.position(stream.id_field());
        key.iter().map(String::as_str).chain(fields).for_each(|name| {
            names.position(name);
        });
        let schema = names.build();
        Self { stream, key: key.to_vec(), schema }
    }

    /// Reads a reply with a list of records.
    pub fn list(&mut self, operation: &str, body: &[u8], records: &Pointer) -> Result<Listed, Fault> {
        let raws = list_at(operation, body, records)?;
        let parsed: Vec<_> = raws.iter().map(|raw| (*raw, self.take_apart(raw))).collect();
        self.learn(parsed.iter().filter_map(|(_, parsed)| parsed.as_ref().ok()));
        let mut listed = Listed { changes: Vec::with_capacity(parsed.len()), ids: Vec::new(), latest: None };
        for (raw, parsed) in parsed {
            listed.latest = listed.latest.max(parsed.as_ref().ok().and_then(|parsed| parsed.stamp));
            let id = parsed.as_ref().ok().and_then(|parsed| parsed.id.to_plain());
            listed.ids.push(id.unwrap_or_default());
            let change = parsed.and_then(|parsed| self.change(parsed));
            listed
                .changes
                .push(change.unwrap_or_else(|reason| Change::Malformed(self.malformed(raw, reason))));
        }
        Ok(listed)
    }

    /// Reads one record that stands somewhere in a reply; `None` where it is deleted.
    pub fn single(&mut self, operation: &str, raw: &RawValue) -> Result<Option<Record>, Fault> {
        let read = |decoder: &mut Self| {
            let parsed = decoder.take_apart(raw)?;
            decoder.learn([&parsed]);
            decoder.change(parsed)
        };
        match read(self) {
            Ok(Change::Upsert(record)) => Ok(Some(record)),
            Ok(_) => Ok(None),
            Err(reason) => Err(Fault::transient(
                FaultCode::Protocol,
                format!("{operation}: the record can't be read: {reason}"),
            )),
        }
    }

    fn take_apart<'a>(&self, raw: &'a RawValue) -> Result<Parsed<'a>, String> {
        let stream = &*self.stream;
        let value = |pointer: &Pointer| pointer.find(raw).map(value_from_raw);
        let id = match value(&stream.id) {
            None => return Err(format!("there is no id at {}", stream.id)),
            Some(read) => match read.map_err(|error| format!("the id: {error}"))? {
                id @ (Value::Int(_) | Value::Number(_)) => id,
                Value::Text(text) if !text.is_empty() => Value::Text(text),
                other => return Err(format!("the id at {} is {}", stream.id, other.kind())),
            },
        };
        let values = stream.values.find(raw).map(|values| serde_json::from_str::<Members<'a>>(values.get()));
        let Some(Ok(Members(members))) = values else {
            return Err(format!("there is no object at {}", stream.values));
        };
        let id_field = stream.id_field();
        let mut fields: Vec<(Cow<'a, str>, Found<'a>)> = members
            .into_iter()
            .filter(|(name, _)| name != id_field && !stream.paths.contains_key(&**name))
            .map(|(name, raw)| (name, Found::Raw(raw)))
            .collect();
        for (name, pointer) in &stream.paths {
            let found = match pointer.find(raw) {
                Some(found) => Some(Found::Raw(found)),
                // What holds it is there and empty: so is the field.
                None => top(pointer).find(raw).map(|_| Found::Null),
            };
            fields.extend(found.map(|found| (Cow::Owned(name.clone()), found)));
        }
        let stamp = stream.stamp.as_ref().and_then(value).and_then(Result::ok);
        let revision = stream.revision.as_ref().and_then(value).and_then(Result::ok);
        let revision = revision.as_ref().or(stamp.as_ref()).and_then(Value::to_plain);
        let is_deleted = stream.deleted.as_ref().and_then(|pointer| pointer.find(raw)).is_some_and(truthy);
        let stamp = stamp.and_then(|stamp| stream.stamp_format.read(&stamp));
        Ok(Parsed { id, fields, stamp, revision, is_deleted })
    }

    /// Adds the names that are new to the schema; the places of the known ones stay.
    fn learn<'p, 'a: 'p>(&mut self, parsed: impl IntoIterator<Item = &'p Parsed<'a>>) {
        let names = parsed.into_iter().flat_map(|parsed| parsed.fields.iter().map(|(name, _)| name.as_ref()));
        if let Some(grown) = self.schema.grown(names) {
            self.schema = grown;
        }
    }

    fn change(&self, parsed: Parsed<'_>) -> Result<Change, String> {
        let mut values = vec![Value::Absent; self.schema.len()];
        let mut set = |name: &str, value: Value| {
            if let Some(place) = self.schema.position(name).and_then(|at| values.get_mut(at)) {
                *place = value;
            }
        };
        for (name, found) in &parsed.fields {
            let value = match found {
                Found::Raw(raw) => value_from_raw(raw).map_err(|error| format!("field {name}: {error}"))?,
                Found::Null => Value::Null,
            };
            set(name, value);
        }
        let id = parsed.id.to_plain();
        set(self.stream.id_field(), parsed.id);
        let meta = Meta { id, revision: parsed.revision, modified_at: parsed.stamp, ours: false };
        let record = Record { schema: Arc::clone(&self.schema), values: values.into(), meta };
        if parsed.is_deleted {
            let key = key_of(&record, &self.key);
            return Ok(Change::Delete(Tombstone { key, id: record.meta.id, at: record.meta.modified_at }));
        }
        Ok(Change::Upsert(record))
    }

    fn malformed(&self, raw: &RawValue, reason: String) -> Malformed {
        let text = raw.get();
        let mut end = text.len().min(RAW_BYTES_MAX);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let place = |name: &String| match self.stream.paths.get(name) {
            Some(pointer) => pointer.clone(),
            None if name == self.stream.id_field() => self.stream.id.clone(),
            None => self.stream.values.member(name),
        };
        let value = |name: &String| value_from_raw(place(name).find(raw)?).ok();
        let values: Option<Vec<Value>> = self.key.iter().map(value).collect();
        let key = values.and_then(|values| Key::from_values(&values).ok());
        Malformed { key, raw: text.get(..end).unwrap_or_default().to_owned(), reason }
    }
}

/// Returns the first step of a pointer.
fn top(pointer: &Pointer) -> Pointer {
    pointer.steps().first().map(|step| Pointer::default().member(step)).unwrap_or_default()
}

/// Takes the list out of a reply. A null is an empty one.
fn list_at<'a>(operation: &str, body: &'a [u8], records: &Pointer) -> Result<Vec<&'a RawValue>, Fault> {
    // A reply that is cut or not JSON at all comes from something in between; another try may help.
    let protocol = |reason: String| Fault::transient(FaultCode::Protocol, format!("{operation}: {reason}"));
    let whole: &RawValue =
        serde_json::from_slice(body).map_err(|error| protocol(format!("the reply is no JSON: {error}")))?;
    let list = records.find(whole);
    let list = list.ok_or_else(|| protocol(format!("the reply has no list of records at {records}")))?;
    serde_json::from_str::<Option<Vec<&RawValue>>>(list.get())
        .map(Option::unwrap_or_default)
        .map_err(|_| protocol(format!("what the reply has at {records} is no list of records")))
}

/// Gives a record's key, where all key fields hold something that can be one.
pub fn key_of(record: &Record, key: &[String]) -> Option<Key> {
    Key::from_values(key.iter().map(|name| record.get(name))).ok()
}

/// Tells whether a flag is set: neither null, false, 0, an empty text nor something empty.
pub fn truthy(raw: &RawValue) -> bool {
    match value_from_raw(raw) {
        Ok(Value::Bool(flag)) => flag,
        Ok(Value::Int(number)) => number != 0,
        Ok(Value::Number(number)) => !number.equals_int(0),
        Ok(Value::Text(text)) => !matches!(text.as_str(), "" | "0" | "false" | "False" | "FALSE"),
        Ok(Value::Json(text)) => !matches!(&*text, "{}" | "[]"),
        _ => false,
    }
}

/// Tells whether a record that a reply shows has all the fields that were sent; one that shows less says
/// nothing of what stands there.
pub fn fits(record: &Record, shape: &Schema, values: &[Value]) -> bool {
    shape.names().zip(values).all(|(name, value)| value.is_missing() || !record.get(name).is_missing())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::record::Number;

    fn decoder(stream: serde_json::Value) -> Decoder {
        let stream: Stream = serde_json::from_value(stream).expect("a stream");
        Decoder::new(Arc::new(stream), &["record_id".to_owned()], ["name"])
    }

    fn hubspot() -> serde_json::Value {
        serde_json::json!({"values": "/properties", "stamp": "/updatedAt", "deleted": "/archived",
            "paths": {"city": "/properties/address/city", "mail": "/emails/0/value"}})
    }

    #[test]
    fn a_record_is_found_wherever_its_parts_stand() {
        let body = br#"{"results":[{"id":"7","updatedAt":"2026-01-31T10:00:00.417Z","archived":false,
            "emails":[{"value":"a@b.test"}],
            "properties":{"record_id":"k7","big":9007199254740993.10,"tags":["b", "a"],"none":null,"id":"x",
                          "address":{"city":"Bern"}}},
            {"id":8,"properties":{"record_id":"k8"},"emails":[]},
            {"id":9,"archived":true,"properties":{"record_id":"k9"}}]}"#;
        let mut decoder = decoder(hubspot());
        let records = Pointer::parse("/results").expect("a pointer");
        let listed = decoder.list("list", body, &records).expect("records");
        let [Change::Upsert(first), Change::Upsert(second), Change::Delete(gone)] = listed.changes.as_slice()
        else {
            panic!("two records and a tombstone: {:?}", listed.changes)
        };
        let expected = [
            ("id", Value::text("7"), "the id is a field, and a property can't hide it"),
            ("record_id", "k7".into(), "a member of the values"),
            ("big", Number::parse("9007199254740993.10").expect("a number"), "no digit is lost"),
            ("tags", Value::Json(r#"["b","a"]"#.into()), "a list keeps its order"),
            ("none", Value::Null, "null is not absent"),
            ("city", "Bern".into(), "a place inside"),
            ("mail", "a@b.test".into(), "a place in a list"),
            ("name", Value::Absent, "what is not there"),
        ];
        for (name, value, why) in expected {
            assert_eq!(*first.get(name), value, "{why}");
        }
        assert_eq!(*second.get("mail"), Value::Null, "the list is there and empty");
        assert_eq!(*second.get("city"), Value::Null, "its container is there");
        assert!(Arc::ptr_eq(&first.schema, &second.schema), "one schema a reply");
        assert_eq!(first.meta.id.as_deref(), Some("7"));
        assert_eq!(first.meta.modified_at, Timestamp::parse_rfc3339("2026-01-31T10:00:00.417Z"));
        assert_eq!(first.meta.revision.as_deref(), Some("2026-01-31T10:00:00.417Z"));
        assert_eq!(gone.key, Key::from_text("k9").ok());
        assert_eq!(listed.ids, ["7", "8", "9"]);
    }

    #[test]
    fn what_is_no_record_says_what_it_is() {
        // (record, key, why)
        let cases = [
            (r#"{"properties":{"record_id":"k"}}"#, Some("k"), "no id"),
            (r#"{"id":"","properties":{"record_id":"k"}}"#, Some("k"), "an empty one"),
            (r#"{"id":[1],"properties":{"record_id":"k"}}"#, Some("k"), "a list"),
            (r#"{"id":1,"properties":7}"#, None, "no values"),
            (r#"{"id":1,"properties":{"record_id":"k","x":"\ud800"}}"#, Some("k"), "half a character"),
            ("7", None, "no object"),
        ];
        for (record, key, why) in cases {
            let mut decoder = decoder(hubspot());
            let body = format!("[{record}]");
            let listed = decoder.list("list", body.as_bytes(), &Pointer::default()).expect("a list");
            let [Change::Malformed(malformed)] = listed.changes.as_slice() else {
                panic!("{why}: {listed:?}")
            };
            assert_eq!(malformed.key, key.and_then(|key| Key::from_text(key).ok()), "{why}");
            assert!(!malformed.reason.is_empty(), "{why}");
        }
    }

    #[test]
    fn a_reply_without_the_list_is_no_empty_one() {
        let records = Pointer::parse("/data").expect("a pointer");
        for body in ["", "{", r#"{"error":"x"}"#, r#"{"data":{}}"#, r#"{"data":7}"#, "[]"] {
            let fault = decoder(hubspot()).list("list", body.as_bytes(), &records).expect_err(body);
            assert_eq!(fault.code, FaultCode::Protocol, "{body}");
        }
        let empty = decoder(hubspot()).list("list", br#"{"data":null}"#, &records).expect("an empty list");
        assert!(empty.changes.is_empty());
    }
}
