//! What the mock has its table keep beside the records, so that many of them are no strain.

use serde_json::value::RawValue;

use super::super::super::mock::{Id, Object, Rank, Table, object_json};
use super::super::settings::{Find, Stream};
use super::super::wire::{Hole, Pointer, Template, truthy};
use crate::engine::record::{Number, Value, value_from_raw, write_json};

/// The order of the ids of those that are not marked as deleted.
pub const BY_ID: &str = "id";
/// The order of (stamp, id).
pub const BY_STAMP: &str = "stamp";
/// The index of the searched field.
const SEARCHED: &str = "searched";

/// Has a stream's records kept in order, and found by the field that is searched.
pub fn keep(table: &mut Table, name: &str, stream: &Stream) {
    if table.order(name, BY_ID).is_some() {
        return;
    }
    let own = stream.clone();
    table.keep_order(name, BY_ID, Rank::Length, move |object| (!is_deleted(&own, object)).then_some(0));
    let own = stream.clone();
    table.keep_order(name, BY_STAMP, Rank::Length, move |object| Some(stamp_of(&own, object)));
    if let Some(place) = searched(stream).map(|field| place_of(stream, &field)) {
        let texts =
            move |object: &Object| at(object, &place).and_then(|it| it.to_plain()).into_iter().collect();
        table.keep_index(name, SEARCHED, texts);
    }
}

/// Finds the ids of the records whose searched field has a text, case ignored.
pub fn find(table: &Table, name: &str, stream: &Stream, text: &str) -> Vec<Id> {
    let stands = |id: &Id| table.get(name, id).is_some_and(|object| !is_deleted(stream, object));
    let mut ids = table.look_up(name, SEARCHED, text);
    ids.retain(stands);
    ids
}

/// Finds the first record that stands and whose field agrees with a key.
pub fn find_agreeing(
    table: &mut Table,
    name: &str,
    stream: &Stream,
    field: &str,
    key: &Value,
) -> Option<String> {
    let place = place_of(stream, field);
    let same = |object: &Object| {
        !is_deleted(stream, object) && at(object, &place).is_some_and(|own| own.agrees(key))
    };
    let by_index = searched(stream).as_deref() == Some(field);
    if let Some(text) = key.as_text().filter(|text| by_index && is_just_itself(text)) {
        keep(table, name, stream);
        let ids = table.look_up(name, SEARCHED, text);
        return ids.iter().find(|id| table.get(name, id).is_some_and(same)).map(|id| id.to_string());
    }
    table.rows(name).find(|(_, object)| same(object)).map(|(id, _)| id.to_string())
}

/// Tells whether no other value agrees with a text: no number, no flag, nothing nested.
fn is_just_itself(text: &str) -> bool {
    Number::parse(text).is_none() && !matches!(text, "true" | "false") && !text.starts_with(['[', '{'])
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
fn stamp_of(stream: &Stream, object: &Object) -> i64 {
    let stamp = stream.stamp.as_ref().and_then(|place| at(object, place));
    stamp.and_then(|stamp| stream.stamp_format.read(&stamp)).map_or(0, |stamp| stamp.0)
}

/// Tells whether a record is marked as deleted.
pub fn is_deleted(stream: &Stream, object: &Object) -> bool {
    let Some(mark) = stream.deleted.as_ref().and_then(|place| at(object, place)) else { return false };
    let mut text = String::new();
    write_json(&mark, &mut text);
    serde_json::from_str::<&RawValue>(&text).is_ok_and(truthy)
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
fn searched(stream: &Stream) -> Option<String> {
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
