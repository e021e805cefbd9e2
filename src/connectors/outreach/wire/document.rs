//! JSON:API documents into records.
//!
//! Invariant: values pass through their own JSON text, so that no digit is lost.

use std::borrow::Cow;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::super::super::rest::Members;
use crate::engine::fault::{Fault, FaultCode};
use crate::engine::record::{
    Change, Key, Malformed, Meta, Number, Record, Revision, Schema, Timestamp, Tombstone, Value,
    value_from_raw,
};

/// Bytes of a malformed resource that are kept.
const RAW_BYTES_MAX: usize = 64 * 1024;

/// One page of resource objects.
#[derive(Debug)]
pub struct Page {
    pub changes: Vec<Change>,
    /// `links.next` as it came.
    pub next: Option<String>,
    /// The latest `updatedAt` of the page, also that of a resource that is malformed elsewhere.
    pub latest: Option<Timestamp>,
}

/// Reads documents of one stream; keeps the schema between pages so that records share it.
#[derive(Clone, Debug)]
pub struct Decoder {
    key: Vec<String>,
    schema: Arc<Schema>,
}

#[derive(Deserialize)]
struct Document<'a> {
    #[serde(borrow)]
    data: Vec<&'a RawValue>,
    #[serde(borrow, default)]
    links: Option<Links<'a>>,
}

#[derive(Deserialize)]
struct Links<'a> {
    #[serde(borrow, default)]
    next: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Single<'a> {
    #[serde(borrow)]
    data: &'a RawValue,
}

#[derive(Deserialize)]
struct Object<'a> {
    #[serde(borrow)]
    id: &'a RawValue,
    #[serde(borrow, default)]
    attributes: Members<'a>,
    #[serde(borrow, default)]
    relationships: Members<'a>,
}

/// The `data` of a relationship that points to one resource.
#[derive(Deserialize)]
struct Relation<'a> {
    #[serde(borrow)]
    data: &'a RawValue,
}

#[derive(Deserialize)]
struct Identifier<'a> {
    #[serde(borrow)]
    id: &'a RawValue,
}

/// One resource object taken apart, before it has a schema.
struct Parsed<'a> {
    id: Value,
    fields: Vec<(Cow<'a, str>, &'a RawValue)>,
    relations: Vec<(String, Value)>,
    updated_at: Option<Timestamp>,
}

impl Decoder {
    /// Starts with the fields that are known beforehand, so that they come first in the schema.
    pub fn new<'n>(key: &'n [String], fields: impl IntoIterator<Item = &'n str>) -> Self {
        let names = ["id"].into_iter().chain(key.iter().map(String::as_str)).chain(fields);
        Self { key: key.to_vec(), schema: Schema::new(names) }
    }

    /// Reads a list document.
    pub fn page(&mut self, operation: &str, body: &[u8]) -> Result<Page, Fault> {
        let document: Document<'_> = parse(operation, body)?;
        let parsed: Vec<_> = document.data.iter().map(|raw| (*raw, take_apart(raw))).collect();
        let readable = || parsed.iter().filter_map(|(_, parsed)| parsed.as_ref().ok());
        self.learn(readable());
        let latest = readable().filter_map(|parsed| parsed.updated_at).max();
        let changes: Vec<Change> = parsed
            .into_iter()
            .map(|(raw, parsed)| match parsed.and_then(|parsed| self.record(parsed)) {
                Ok(record) => self.change(record),
                Err(reason) => Change::Malformed(self.malformed(raw, reason)),
            })
            .collect();
        Ok(Page { changes, next: document.links.and_then(|links| links.next).map(Cow::into_owned), latest })
    }

    /// Reads a document of one resource, the reply to a create, an update or a get.
    pub fn single(&mut self, operation: &str, body: &[u8]) -> Result<Record, Fault> {
        let document: Single<'_> = parse(operation, body)?;
        let protocol = |reason: String| {
            Fault::transient(FaultCode::Protocol, format!("{operation}: the reply can't be read: {reason}"))
        };
        let parsed = take_apart(document.data).map_err(protocol)?;
        self.learn([&parsed]);
        self.record(parsed).map_err(protocol)
    }

    /// Adds the names that are new to the schema; the places of the known ones stay.
    fn learn<'p, 'a: 'p>(&mut self, parsed: impl IntoIterator<Item = &'p Parsed<'a>>) {
        let names = parsed.into_iter().flat_map(|parsed| {
            let names = parsed.fields.iter().map(|(name, _)| name.as_ref());
            names.chain(parsed.relations.iter().map(|(name, _)| name.as_str()))
        });
        if let Some(grown) = self.schema.grown(names) {
            self.schema = grown;
        }
    }

    fn record(&self, parsed: Parsed<'_>) -> Result<Record, String> {
        let mut values = vec![Value::Absent; self.schema.len()];
        let mut set = |name: &str, value: Value| {
            if let Some(place) = self.schema.position(name).and_then(|at| values.get_mut(at)) {
                *place = value;
            }
        };
        for (name, raw) in &parsed.fields {
            set(name, value_from_raw(raw).map_err(|error| format!("attribute {name}: {error}"))?);
        }
        for (name, value) in parsed.relations {
            set(&name, value);
        }
        let id = parsed.id.to_plain();
        set("id", parsed.id);
        let mut record =
            Record { schema: Arc::clone(&self.schema), values: values.into(), meta: Meta::default() };
        let revision = record.get("updatedAt").as_text().map(Revision::from);
        record.meta = Meta { id, revision, modified_at: parsed.updated_at, ours: false };
        Ok(record)
    }

    /// A trashed record is gone; the service only remembers it.
    fn change(&self, record: Record) -> Change {
        let Some(trashed) = record.get("trashedAt").as_text() else { return Change::Upsert(record) };
        let at = Timestamp::parse_rfc3339(trashed);
        let key = key_of(&record, &self.key);
        Change::Delete(Tombstone { key, id: record.meta.id, at })
    }

    fn malformed(&self, raw: &RawValue, reason: String) -> Malformed {
        let text = raw.get();
        let mut end = text.len().min(RAW_BYTES_MAX);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let key = take_apart(raw).ok().and_then(|parsed| {
            let value = |name: &String| {
                let field = parsed.fields.iter().find(|(known, _)| known.as_ref() == name.as_str());
                field.and_then(|(_, raw)| value_from_raw(raw).ok())
            };
            let values: Vec<Value> = self.key.iter().map(value).collect::<Option<_>>()?;
            Key::from_values(&values).ok()
        });
        Malformed { key, raw: text.get(..end).unwrap_or_default().to_owned(), reason }
    }
}

/// Gives a record's key, where all key fields hold something that can be one.
pub fn key_of(record: &Record, key: &[String]) -> Option<Key> {
    Key::from_values(key.iter().map(|name| record.get(name))).ok()
}

fn parse<'a, T: Deserialize<'a>>(operation: &str, body: &'a [u8]) -> Result<T, Fault> {
    // A reply that is cut or not JSON at all comes from something in between; another try may help.
    serde_json::from_slice(body).map_err(|error| {
        Fault::transient(
            FaultCode::Protocol,
            format!("{operation}: the reply is no JSON:API document: {error}"),
        )
    })
}

fn take_apart(raw: &RawValue) -> Result<Parsed<'_>, String> {
    let object: Object<'_> = serde_json::from_str(raw.get()).map_err(|error| error.to_string())?;
    let id = match value_from_raw(object.id).map_err(|error| error.to_string())? {
        // JSON:API wants text, this service gives integers; both are the same id.
        Value::Text(text) => Number::parse(&text).unwrap_or(Value::Text(text)),
        id @ Value::Int(_) => id,
        other => return Err(format!("the id is {}", other.kind())),
    };
    let relations = object.relationships.0.iter().filter_map(|(name, raw)| {
        let relation: Relation<'_> = serde_json::from_str(raw.get()).ok()?;
        let value = match relation.data.get().as_bytes().first() {
            Some(b'n') => Value::Null,
            Some(b'{') => {
                let identifier: Identifier<'_> = serde_json::from_str(relation.data.get()).ok()?;
                match value_from_raw(identifier.id).ok()? {
                    Value::Text(text) => Number::parse(&text).unwrap_or(Value::Text(text)),
                    id => id,
                }
            }
            // A list: this relationship points to many.
            _ => return None,
        };
        Some((format!("{name}.id"), value))
    });
    let relations = relations.collect();
    let mut fields = object.attributes.0;
    // An attribute can't hide the id.
    fields.retain(|(name, _)| name != "id");
    let updated_at = fields
        .iter()
        .find(|(name, _)| name == "updatedAt")
        .and_then(|(_, raw)| Timestamp::parse_rfc3339(raw.get().strip_prefix('"')?.strip_suffix('"')?));
    Ok(Parsed { id, fields, relations, updated_at })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoder() -> Decoder {
        Decoder::new(&["customId".to_owned()], ["name"])
    }

    #[test]
    fn a_resource_becomes_a_record_with_everything_in_its_place() {
        let body = br#"{"data":[
            {"type":"account","id":7,
             "attributes":{"customId":"c-7","name":null,"big":9007199254740993.10,"tags":["b", "a"],"id":"x",
                           "updatedAt":"2025-01-15T10:30:00.417Z"},
             "relationships":{"owner":{"data":{"type":"user","id":"3"}},"parent":{"data":null},
                              "calls":{"links":{"related":"x"}},"many":{"data":[]}}},
            {"type":"account","id":8,"attributes":{"customId":"c-8","updatedAt":"2025-01-15T10:30:00.400Z"}}],
            "meta":{"count":2},"links":{"next":"http://h/api/v2/accounts?page%5Bafter%5D=x"}}"#;
        let page = decoder().page("list accounts", body).expect("a page");
        assert_eq!(page.next.as_deref(), Some("http://h/api/v2/accounts?page%5Bafter%5D=x"));
        assert_eq!(page.latest, Timestamp::parse_rfc3339("2025-01-15T10:30:00.417Z"));
        let [Change::Upsert(first), Change::Upsert(second)] = page.changes.as_slice() else {
            panic!("two records: {:?}", page.changes)
        };
        let expected = [
            ("id", Value::Int(7), "the id is a field, and an attribute can't hide it"),
            ("customId", "c-7".into(), "an attribute"),
            ("name", Value::Null, "null is not absent"),
            ("big", Number::parse("9007199254740993.10").expect("a number"), "no digit is lost"),
            ("tags", Value::Json(r#"["b","a"]"#.into()), "a list keeps its order"),
            ("owner.id", Value::Int(3), "a relationship to one, the id as text"),
            ("parent.id", Value::Null, "to none"),
            ("calls.id", Value::Absent, "only a link"),
            ("many.id", Value::Absent, "a relationship to many"),
        ];
        for (name, value, why) in expected {
            assert_eq!(*first.get(name), value, "{why}");
        }
        assert!(Arc::ptr_eq(&first.schema, &second.schema), "one schema a chunk");
        assert_eq!(*second.get("big"), Value::Absent);
        let meta = Meta {
            id: Some("7".into()),
            revision: Some("2025-01-15T10:30:00.417Z".into()),
            modified_at: page.latest,
            ours: false,
        };
        assert_eq!(first.meta, meta);
    }

    #[test]
    fn places_in_the_schema_stay_from_page_to_page() {
        let mut decoder = decoder();
        let page = |extra: &str| {
            format!(r#"{{"data":[{{"id":1,"attributes":{{"customId":"a"{extra}}}}}]}}"#).into_bytes()
        };
        decoder.page("list", &page("")).expect("a page");
        let before = Arc::clone(&decoder.schema);
        decoder.page("list", &page("")).expect("a page");
        assert!(Arc::ptr_eq(&before, &decoder.schema), "nothing new, the same schema");
        decoder.page("list", &page(r#","later":1"#)).expect("a page");
        for (at, name) in before.names().enumerate() {
            assert_eq!(decoder.schema.position(name), Some(at), "{name} keeps its place");
        }
        assert!(decoder.schema.position("later").is_some());
    }

    #[test]
    fn what_is_no_record_says_what_it_is() {
        // (resource, what it becomes, why)
        let cases = [
            (r#"{"id":1,"attributes":{"customId":"k","name":"\ud800"}}"#, "malformed k", "half a character"),
            (r#"{"id":null,"attributes":{"customId":"k"}}"#, "malformed ?", "no id"),
            (r#"{"attributes":{"customId":"k"}}"#, "malformed ?", "no id at all"),
            (r#"7"#, "malformed ?", "no object"),
            (
                r#"{"id":1,"attributes":{"customId":"k","trashedAt":"2025-01-15T10:30:00.000Z"}}"#,
                "gone k",
                "soft",
            ),
            (r#"{"id":1,"attributes":{"customId":"k","trashedAt":null}}"#, "there k", "not trashed"),
            (r#"{"id":1,"attributes":null}"#, "there ?", "a record without a key is the rules' business"),
        ];
        for (resource, expected, why) in cases {
            let body = format!(r#"{{"data":[{resource}]}}"#);
            let page = decoder().page("list", body.as_bytes()).expect("a page");
            let shown = |key: Option<Key>| key.map_or("?".to_owned(), |key| key.to_string());
            let got = match &page.changes[0] {
                Change::Upsert(record) => format!("there {}", shown(key_of(record, &decoder().key))),
                Change::Delete(tombstone) => format!("gone {}", shown(tombstone.key.clone())),
                Change::Malformed(malformed) => format!("malformed {}", shown(malformed.key.clone())),
            };
            assert_eq!(got, expected, "{why}");
        }
        for body in ["", "<html>", "{}", r#"{"data":{}}"#, r#"{"data":[{"id":1}"#] {
            assert!(
                decoder().page("list", body.as_bytes()).is_err(),
                "{body:?} is no page, not an empty one"
            );
        }
    }
}
