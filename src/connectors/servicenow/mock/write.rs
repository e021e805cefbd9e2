//! Changing: insert, update, delete, and the test's own push.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

use super::catalogue::{Catalogue, Kind, id_of, text_of};
use super::list::{Parameters, single, undisplayed};
use super::refusal::Refused;
use super::tables::table_kind;
use super::{State, Visit};
use crate::connectors::mock::{Luck, Object, Reply, Table};
use crate::connectors::servicenow::source::GRAVEYARD;
use crate::connectors::servicenow::wire::{SYSTEM_FIELDS, format_moment, is_sys_id, parse_moment};
use crate::engine::record::{Record, Timestamp, Value, value_from_raw};

/// The last stamp that was given out, in milliseconds, and the last ids.
const STAMP: &str = "stamp";
const SERIAL: &str = "serial";

/// Whoever changes a row, and when.
pub struct Hand<'h> {
    pub user: &'h str,
    pub now: Timestamp,
    pub seed: u64,
}

/// Answers `POST /table/incident`.
pub fn insert(
    visit: &Visit<'_>,
    state: &mut State,
    table: &mut Table,
    luck: &mut Luck,
) -> Result<Reply, Refused> {
    let mut changes = read_body(visit, state, table, luck)?;
    let wanted = changes.remove("sys_id").and_then(|id| id.to_plain()).filter(|id| is_sys_id(id));
    if wanted.as_ref().is_some_and(|id| table.get(&visit.stream, id).is_some()) {
        return Err(Refused::acl("Insert"));
    }
    let id = add(&visit.hand(), &visit.stream, table, wanted.map(String::from), changes);
    let object = table.get(&visit.stream, &id).ok_or_else(Refused::record)?;
    let place = format!("{}/api/now/table/{}/{id}", visit.request.base_url, visit.stream);
    Ok(single(visit, 201, &state.catalogue, table, object).with_header("location", place))
}

/// Answers `PATCH /table/incident/0f…` and `PUT`, which do the same.
pub fn update(
    visit: &Visit<'_>,
    state: &mut State,
    table: &mut Table,
    luck: &mut Luck,
    id: &str,
) -> Result<Reply, Refused> {
    if table.get(&visit.stream, id).is_none() {
        return Err(Refused::record());
    }
    let mut changes = read_body(visit, state, table, luck)?;
    changes.remove("sys_id");
    change(&visit.hand(), &visit.stream, table, id, changes);
    let object = table.get(&visit.stream, id).ok_or_else(Refused::record)?;
    Ok(single(visit, 200, &state.catalogue, table, object))
}

/// Answers `DELETE /table/incident/0f…`.
pub fn delete(visit: &Visit<'_>, table: &mut Table, luck: &mut Luck, id: &str) -> Result<Reply, Refused> {
    luck.records = luck.records.saturating_add(1);
    let object = table.get(&visit.stream, id).cloned().ok_or_else(Refused::record)?;
    table.remove(&visit.stream, id);
    if visit.stream != GRAVEYARD {
        bury(&visit.hand(), &visit.stream, table, id, &object);
    }
    Ok(Reply::empty(204))
}

/// Tells of a deletion where clients look for it.
fn bury(hand: &Hand<'_>, stream: &str, table: &mut Table, id: &str, object: &Object) {
    let display = table_kind(stream).map_or("sys_id", |kind| kind.display);
    let cell = |(name, value): (&compact_str::CompactString, Value)| {
        let text = value.to_plain().unwrap_or_default();
        let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        format!("<{name}>{text}</{name}>")
    };
    let cells: String = object.iter().map(cell).collect();
    let grave: Object = [
        ("tablename", Value::text(stream)),
        ("documentkey", Value::text(id)),
        ("display_value", Value::text(text_of(object, display))),
        ("payload", Value::text(format!("<{stream} action=\"INSERT_OR_UPDATE\">{cells}</{stream}>"))),
    ]
    .into_iter()
    .map(|(name, value)| (name.into(), value))
    .collect();
    add(hand, GRAVEYARD, table, None, grave);
}

/// Puts a flat record in, changing the one with the same key.
pub fn push(
    hand: &Hand<'_>,
    stream: &str,
    state: &mut State,
    table: &mut Table,
    (key_field, key): (&str, &Value),
    record: &Record,
    luck: &Luck,
) -> Result<String, Refused> {
    let mut changes = Object::new();
    for (name, value) in record.schema.names().zip(&record.values) {
        if SYSTEM_FIELDS.contains(&name) || value.is_missing() {
            continue;
        }
        let text = Value::text(value.to_plain().unwrap_or_default());
        let stored = fitted(state, table, stream, name, luck.stored(text))?;
        changes.insert(name.into(), stored);
    }
    let text = key.to_plain().unwrap_or_default();
    let found = match key_field {
        "sys_id" => Some(text.clone()).filter(|id| table.get(stream, id).is_some()),
        _ => {
            let found = table.find(stream, key_field, &text).into_iter().find(|id| {
                table.get(stream, id).is_some_and(|object| text_of(object, key_field) == text.as_str())
            });
            found.map(|id| (&*id).into())
        }
    };
    match found {
        Some(id) => {
            change(hand, stream, table, &id, changes);
            Ok(id.into())
        }
        None => Ok(add(hand, stream, table, None, changes)),
    }
}

/// Reads the fields of a body.
fn read_body(
    visit: &Visit<'_>,
    state: &mut State,
    table: &mut Table,
    luck: &mut Luck,
) -> Result<Object, Refused> {
    luck.records = luck.records.saturating_add(1);
    let members: BTreeMap<String, &RawValue> =
        serde_json::from_slice(&visit.request.body).map_err(|_| Refused::body())?;
    if luck.record_fails() {
        return Err(Refused::rule(&visit.stream));
    }
    let displayed = Parameters::of(visit).flag("sysparm_input_display_value");
    let mut changes = Object::new();
    for (name, raw) in members {
        if name != "sys_id" && SYSTEM_FIELDS.contains(&name.as_str()) {
            continue;
        }
        let value = value_from_raw(raw).map_err(|_| Refused::body())?;
        let mut text = String::from(value.to_plain().unwrap_or_default());
        if displayed {
            text = undisplayed(table, &state.catalogue, &visit.stream, &name, &text);
        }
        let value = match name.as_str() {
            "sys_id" => Value::text(text),
            _ => fitted(state, table, &visit.stream, &name, luck.stored(Value::text(text)))?,
        };
        changes.insert(name.as_str().into(), value);
    }
    Ok(changes)
}

/// Makes of a text what its field holds of it: the service cuts long texts and empties what it can't read.
fn fitted(
    state: &mut State,
    table: &mut Table,
    stream: &str,
    name: &str,
    value: Value,
) -> Result<Value, Refused> {
    if !state.catalogue.takes(table, stream, name) {
        return Err(Refused::field(name));
    }
    let text = String::from(value.to_plain().unwrap_or_default());
    let Some(field) = Catalogue::declared(stream, name) else { return Ok(Value::text(text)) };
    let fitted = match field.kind {
        Kind::Text | Kind::Email => text.chars().take(field.length).collect(),
        Kind::Integer if text.parse::<i64>().is_err() => String::new(),
        Kind::Decimal if text.parse::<f64>().is_err() => String::new(),
        Kind::Boolean => match text.as_str() {
            "1" | "true" | "True" | "TRUE" => "true".to_owned(),
            _ => "false".to_owned(),
        },
        Kind::Moment if text.len() == 10 => {
            let midnight = format!("{text} 00:00:00");
            parse_moment(&midnight).map(|_| midnight).unwrap_or_default()
        }
        Kind::Moment if parse_moment(&text).is_none() => String::new(),
        _ => text,
    };
    Ok(Value::text(fitted))
}

/// Puts a new row in; gives its id.
pub fn add(hand: &Hand<'_>, stream: &str, table: &mut Table, id: Option<String>, changes: Object) -> String {
    let id = id.unwrap_or_else(|| id_of(&format!("{} {stream} {}", hand.seed, next(table, SERIAL))));
    let stamp = Value::text(format_moment(next_stamp(table, hand.now)));
    let mut object = Object::new();
    let mut set = |name: &str, value: Value| object.insert(name.into(), value);
    for field in Catalogue::defaults(stream) {
        set(field.name, Value::text(field.default));
    }
    if let Some(prefix) = table_kind(stream).and_then(|kind| kind.prefix) {
        let serial = 10_000 + next(table, &format!("number {stream}"));
        set("number", Value::text(format!("{prefix}{serial:07}")));
    }
    for (name, value) in [("opened_at", stamp.clone()), ("sys_class_name", Value::text(stream))] {
        if Catalogue::declared(stream, name).is_some() {
            set(name, value);
        }
    }
    object.extend(changes);
    let own = [
        ("sys_id", Value::text(&id)),
        ("sys_created_on", stamp.clone()),
        ("sys_created_by", Value::text(hand.user)),
        ("sys_updated_on", stamp),
        ("sys_updated_by", Value::text(hand.user)),
        ("sys_mod_count", Value::text("0")),
    ];
    object.extend(own.into_iter().map(|(name, value)| (name.into(), value)));
    name_person(stream, &mut object);
    table.put(stream, &id, object);
    id
}

/// Changes a row; one that says the same already stays as it is, stamp and all.
fn change(hand: &Hand<'_>, stream: &str, table: &mut Table, id: &str, changes: Object) {
    let Some(before) = table.get(stream, id).cloned() else { return };
    let says = |(name, value): (&compact_str::CompactString, Value)| {
        text_of(&before, name) == value.to_plain().unwrap_or_default().as_str()
    };
    if changes.iter().all(says) {
        return;
    }
    let mut object = before.clone();
    object.extend(changes);
    let count = text_of(&before, "sys_mod_count").parse::<u64>().unwrap_or(0) + 1;
    let stamp = format_moment(next_stamp(table, hand.now));
    for (name, text) in [
        ("sys_updated_on", stamp.as_str()),
        ("sys_updated_by", hand.user),
        ("sys_mod_count", &count.to_string()),
    ] {
        object.insert(name.into(), Value::text(text));
    }
    name_person(stream, &mut object);
    table.put(stream, id, object);
}

/// A business rule that every instance has: a user's name is made of its parts.
fn name_person(stream: &str, object: &mut Object) {
    if !matches!(stream, "sys_user" | "customer_contact") {
        return;
    }
    let parts = ["first_name", "last_name"].map(|name| text_of(object, name).into_owned());
    if parts.iter().any(|part| !part.is_empty()) {
        object.insert("name".into(), Value::text(parts.join(" ").trim()));
    }
}

fn next(table: &mut Table, fact: &str) -> u64 {
    let next = table.fact(fact).and_then(|last| last.parse().ok()).unwrap_or(0_u64) + 1;
    table.set_fact(fact, next.to_string());
    next
}

/// Gives the stamp of a write: never back behind the last one, unless a test wants another.
fn next_stamp(table: &mut Table, now: Timestamp) -> Timestamp {
    if let Some(wanted) = table.stamp(now) {
        return wanted;
    }
    let last = table.fact(STAMP).and_then(|last| last.parse::<i64>().ok()).unwrap_or(i64::MIN);
    let stamp = Timestamp(now.0.max(last));
    if stamp.0 != last {
        table.set_fact(STAMP, stamp.0.to_string());
    }
    stamp
}
