//! What the mock remembers beside its records, so that many of them are no strain.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::value::RawValue;

use super::super::super::mock::{Object, Table, object_json};
use super::super::settings::{Find, Stream};
use super::super::wire::{Hole, Pointer, Template, truthy};
use crate::engine::record::{Value, value_from_raw};

/// Orders of the records of all streams, made from the table when a stream is first used.
///
/// Invariant: holds just what the table holds; whoever changes the table tells this too.
#[derive(Default)]
pub struct Orders {
    streams: BTreeMap<String, Order>,
}

/// An id in an order that counts numbers as numbers.
pub type Ranked = (usize, String);

/// Ranks an id.
pub fn ranked(id: &str) -> Ranked {
    (id.len(), id.to_owned())
}

/// Orders of one stream's records.
#[derive(Default)]
pub struct Order {
    /// All ids, those of deleted records too.
    pub ids: BTreeSet<Ranked>,
    pub by_stamp: BTreeSet<(i64, Ranked)>,
    /// Ids of records that are marked as deleted.
    pub deleted: BTreeSet<String>,
    /// By the text of the searched field, in lower case.
    by_field: BTreeMap<String, BTreeSet<String>>,
}

impl Orders {
    /// Gives the orders of a stream.
    pub fn of(&mut self, table: &Table, name: &str, stream: &Stream) -> &mut Order {
        self.streams.entry(name.to_owned()).or_insert_with(|| {
            let mut order = Order::default();
            for (id, object) in table.rows(name) {
                order.add(stream, id, object);
            }
            order
        })
    }
}

impl Order {
    /// Learns of a record.
    pub fn add(&mut self, stream: &Stream, id: &str, object: &Object) {
        self.ids.insert(ranked(id));
        self.by_stamp.insert((stamp_of(stream, object), ranked(id)));
        if is_deleted(stream, object) {
            self.deleted.insert(id.to_owned());
        }
        if let Some(text) = searched_text(stream, object) {
            self.by_field.entry(text).or_default().insert(id.to_owned());
        }
    }

    /// Forgets a record.
    pub fn drop(&mut self, stream: &Stream, id: &str, object: &Object) {
        self.ids.remove(&ranked(id));
        self.by_stamp.remove(&(stamp_of(stream, object), ranked(id)));
        self.deleted.remove(id);
        let text = searched_text(stream, object);
        if let Some(ids) = text.as_ref().and_then(|text| self.by_field.get_mut(text)) {
            ids.remove(id);
        }
    }

    /// Finds the ids of the records whose searched field has a text, case ignored.
    pub fn find(&self, text: &str) -> Vec<String> {
        let found = self.by_field.get(&text.to_lowercase()).into_iter().flatten();
        found.filter(|id| !self.deleted.contains(*id)).cloned().collect()
    }
}

/// Reads a place of a record.
pub fn at(object: &Object, place: &Pointer) -> Option<Value> {
    match place.steps() {
        [only] => object.get(only),
        _ => {
            let text = object_json(object);
            let raw: &RawValue = serde_json::from_str(&text).ok()?;
            value_from_raw(place.find(raw)?).ok()
        }
    }
}

/// Returns a record's stamp in milliseconds.
pub fn stamp_of(stream: &Stream, object: &Object) -> i64 {
    let stamp = stream.stamp.as_ref().and_then(|place| at(object, place));
    stamp.and_then(|stamp| stream.stamp_format.read(&stamp)).map_or(0, |stamp| stamp.0)
}

/// Tells whether a record is marked as deleted.
pub fn is_deleted(stream: &Stream, object: &Object) -> bool {
    let Some(place) = &stream.deleted else { return false };
    let text = object_json(object);
    let raw: Result<&RawValue, _> = serde_json::from_str(&text);
    raw.is_ok_and(|raw| place.find(raw).is_some_and(truthy))
}

/// Says where a field stands.
pub fn place_of(stream: &Stream, field: &str) -> Pointer {
    match stream.paths.get(field) {
        Some(place) => place.clone(),
        None if field == stream.id_field() => stream.id.clone(),
        None => stream.values.member(field),
    }
}

/// Names the field that is searched, or that an upsert goes by.
pub fn searched(stream: &Stream) -> Option<String> {
    let upserted = stream.create.as_ref().and_then(|create| create.upsert.clone());
    let told = stream.find.as_ref().and_then(|find| find.field.clone());
    told.or(upserted).or_else(|| stream.find.as_ref().and_then(parameter))
}

/// A parameter that carries the key is named as the field is, where nothing else is said.
fn parameter(find: &Find) -> Option<String> {
    let carries = |template: &Template| {
        template.holes().any(|hole| matches!(hole, Hole::Key | Hole::Keys | Hole::KeyField(_)))
    };
    find.query.iter().find(|(_, template)| carries(template)).map(|(name, _)| name.clone())
}

fn searched_text(stream: &Stream, object: &Object) -> Option<String> {
    let text = at(object, &place_of(stream, &searched(stream)?))?.to_plain()?;
    Some(text.to_lowercase().into())
}
