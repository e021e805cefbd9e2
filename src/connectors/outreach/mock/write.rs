//! Changing: create, update, delete, and the test's own push.

use compact_str::CompactString;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::super::super::mock::{Luck, Object, Reply, Table};
use super::super::super::rest::Members;
use super::super::service::MEDIA_TYPE;
use super::super::wire::{Field, Kind, Resource, is_id, kind_of};
use super::list::single;
use super::order::{BY_EMAIL, emails_of, keep_emails};
use super::refusal::Refused;
use super::{Visit, document_reply};
use crate::engine::record::{Number, Record, Timestamp, Value, value_from_raw};

#[derive(Deserialize)]
struct Document<'a> {
    #[serde(borrow)]
    data: Data<'a>,
}

#[derive(Deserialize)]
struct Data<'a> {
    #[serde(rename = "type")]
    kind: String,
    #[serde(borrow, default)]
    id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    attributes: Members<'a>,
    #[serde(borrow, default)]
    relationships: Members<'a>,
}

#[derive(Deserialize)]
struct Relation<'a> {
    #[serde(borrow)]
    data: Option<Identifier<'a>>,
}

#[derive(Deserialize)]
struct Identifier<'a> {
    #[serde(borrow)]
    id: &'a RawValue,
}

/// Answers `POST /prospects`.
pub fn create(visit: &Visit<'_>, table: &mut Table, luck: &mut Luck) -> Result<Reply, Refused> {
    let (id, changes) = read_document(visit, luck)?;
    if id.is_some() {
        return Err(Refused::validation("/data/id", "Id can't be given."));
    }
    let mut object = Object::new();
    if kind_of(&visit.resource).is_some_and(|kind| kind.has("externalSource")) {
        object.insert("externalSource".into(), Value::text("outreach-api"));
    }
    object.extend(changes);
    let id = insert(&visit.resource, visit.kind, table, object, visit.now)?;
    let object = table
        .get(&visit.resource.plural, &id)
        .ok_or_else(|| Refused::record(&visit.resource.singular, &id))?;
    Ok(single(visit, 201, object))
}

/// Answers `PATCH /prospects/1`.
pub fn update(visit: &Visit<'_>, table: &mut Table, luck: &mut Luck, id: &str) -> Result<Reply, Refused> {
    let there = table.get(&visit.resource.plural, id).cloned();
    let mut object = there.ok_or_else(|| Refused::record(&visit.resource.singular, id))?;
    let (named, changes) = read_document(visit, luck)?;
    if named.as_deref() != Some(id) {
        return Err(Refused::validation("/data/id", "Id must be that of the URL."));
    }
    object.extend(changes);
    replace(&visit.resource, visit.kind, table, id, object, visit.now)?;
    let object =
        table.get(&visit.resource.plural, id).ok_or_else(|| Refused::record(&visit.resource.singular, id))?;
    Ok(single(visit, 200, object))
}

/// Answers `DELETE /prospects/1`.
pub fn delete(visit: &Visit<'_>, table: &mut Table, luck: &mut Luck, id: &str) -> Result<Reply, Refused> {
    luck.records = 1;
    let plural = &visit.resource.plural;
    if !table.remove(plural, id) {
        return Err(Refused::record(&visit.resource.singular, id));
    }
    Ok(document_reply(204, ""))
}

/// Puts a flat record in, changing the one with the same key.
pub fn push(
    resource: &Resource,
    kind: Option<&'static Kind>,
    table: &mut Table,
    (key_field, key): (&str, &Value),
    record: &Record,
    now: Timestamp,
) -> Result<String, Refused> {
    let mut changes = Object::new();
    for (name, value) in record.schema.names().zip(&record.values) {
        let own = matches!(name, "id" | "createdAt" | "updatedAt");
        if own || value.is_missing() {
            continue;
        }
        let value = match Field::parse(name) {
            Field::ToOne(relation) => relation_id(relation, value)?,
            _ => value.clone(),
        };
        changes.insert(name.into(), value);
    }
    check_names(kind, &changes)?;
    let text = key.to_plain().unwrap_or_default();
    let there = match key_field {
        "id" => Some(text.clone()).filter(|id| table.get(&resource.plural, id).is_some()),
        _ => {
            let found = table.find(&resource.plural, key_field, &text).into_iter().find(|id| {
                table
                    .get(&resource.plural, id)
                    .and_then(|object| object.get(key_field))
                    .is_some_and(|own| own.agrees(key))
            });
            found.map(|id| (&*id).into())
        }
    };
    match there {
        Some(id) => {
            let mut object = table.get(&resource.plural, &id).cloned().unwrap_or_default();
            object.extend(changes);
            replace(resource, kind, table, &id, object, now)?;
            Ok(id.into())
        }
        None => insert(resource, kind, table, changes, now),
    }
}

/// Reads a document's id and what it changes, as far as these stand for themselves.
fn read_document(visit: &Visit<'_>, luck: &mut Luck) -> Result<(Option<String>, Object), Refused> {
    luck.records = 1;
    let media_type = visit.request.header("content-type").unwrap_or_default();
    if media_type.split(';').next().map(str::trim) != Some(MEDIA_TYPE) {
        return Err(Refused::media_type());
    }
    let document: Document<'_> = serde_json::from_slice(&visit.request.body)
        .map_err(|error| Refused::body(format!("The body is no document: {error}.")))?;
    let data = document.data;
    if data.kind != visit.resource.singular {
        return Err(Refused::validation(
            "/data/type",
            format!("Type must be '{}'.", visit.resource.singular),
        ));
    }
    if luck.record_fails() {
        return Err(Refused::validation("/data", "This record is refused, as the test asked."));
    }
    let id = data.id.map(|raw| raw.get().trim_matches('"').to_owned());
    let mut changes = Object::new();
    for (name, raw) in data.attributes.0 {
        let pointer = || format!("/data/attributes/{name}");
        let value =
            value_from_raw(raw).map_err(|error| Refused::validation(pointer(), format!("{error}.")))?;
        if !matches!(Field::parse(&name), Field::Attribute(_)) || matches!(&*name, "createdAt" | "updatedAt")
        {
            return Err(Refused::validation(pointer(), format!("{name} can't be set.")));
        }
        changes.insert(name.as_ref().into(), luck.stored(value));
    }
    for (name, raw) in data.relationships.0 {
        let pointer = || format!("/data/relationships/{name}");
        let relation: Relation<'_> = serde_json::from_str(raw.get())
            .map_err(|_| Refused::validation(pointer(), format!("{name} can't be written.")))?;
        let id = match relation.data {
            None => Value::Null,
            Some(identifier) => value_from_raw(identifier.id).unwrap_or_default(),
        };
        changes.insert(format!("{name}.id").into(), relation_id(&name, &id)?);
    }
    check_names(visit.kind, &changes)?;
    Ok((id, changes))
}

fn relation_id(relation: &str, value: &Value) -> Result<Value, Refused> {
    match value.to_plain() {
        None => Ok(Value::Null),
        Some(id) if is_id(&id) => Ok(Number::parse(&id).unwrap_or_default()),
        Some(_) => {
            let pointer = format!("/data/relationships/{relation}");
            Err(Refused::validation(pointer, format!("{relation} must have a whole number as its id.")))
        }
    }
}

/// Holds a strict mock's clients to what exists and may be set.
fn check_names(kind: Option<&Kind>, changes: &Object) -> Result<(), Refused> {
    let Some(kind) = kind else { return Ok(()) };
    for (name, value) in changes {
        match Field::parse(name) {
            Field::Id => {}
            Field::ToOne(relation) => {
                if !kind.to_one.contains(&relation) {
                    let pointer = format!("/data/relationships/{relation}");
                    return Err(Refused::validation(pointer, format!("{relation} is not a relationship.")));
                }
            }
            Field::Attribute(name) => {
                let pointer = format!("/data/attributes/{name}");
                if !kind.has(name) {
                    return Err(Refused::validation(pointer, format!("{name} is not an attribute.")));
                }
                if kind.read_only.contains(&name) {
                    return Err(Refused::validation(pointer, format!("{name} is read-only.")));
                }
                let list = matches!(value, Value::Null)
                    || matches!(value, Value::Json(text) if text.starts_with('['));
                if kind.lists.contains(&name) && !list {
                    return Err(Refused::validation(pointer, format!("{name} must be a list.")));
                }
            }
        }
    }
    Ok(())
}

/// Holds an object to what the organisation demands of it.
fn check_object(
    resource: &Resource,
    kind: Option<&Kind>,
    table: &mut Table,
    id: Option<&str>,
    object: &Object,
) -> Result<(), Refused> {
    for name in kind.into_iter().flat_map(|kind| kind.required) {
        if object.get(name).is_none_or(|value| value.is_blank()) {
            let capital = format!(
                "{}{}",
                name.get(..1).unwrap_or_default().to_uppercase(),
                name.get(1..).unwrap_or_default()
            );
            return Err(Refused::validation(
                format!("/data/attributes/{name}"),
                format!("{capital} can't be blank."),
            ));
        }
    }
    if resource.singular != "prospect" {
        return Ok(());
    }
    keep_emails(table, &resource.plural);
    let others = |email: &CompactString| table.look_up(&resource.plural, BY_EMAIL, email);
    let taken = emails_of(object).iter().any(|email| others(email).iter().any(|other| Some(&**other) != id));
    if taken {
        return Err(Refused::validation("/data/attributes/emails", "Contacts email has already been taken."));
    }
    Ok(())
}

fn insert(
    resource: &Resource,
    kind: Option<&Kind>,
    table: &mut Table,
    mut object: Object,
    now: Timestamp,
) -> Result<String, Refused> {
    check_object(resource, kind, table, None, &object)?;
    let serial = format!("serial {}", resource.plural);
    let id = table.fact(&serial).and_then(|last| last.parse::<i64>().ok()).unwrap_or(0) + 1;
    table.set_fact(&serial, id.to_string());
    let stamp = Value::text(table.next_stamp(now).to_string());
    object.insert("id".into(), Value::Int(id));
    object.insert("createdAt".into(), stamp.clone());
    object.insert("updatedAt".into(), stamp);
    let id = id.to_string();
    table.put(&resource.plural, &id, object);
    Ok(id)
}

fn replace(
    resource: &Resource,
    kind: Option<&Kind>,
    table: &mut Table,
    id: &str,
    mut object: Object,
    now: Timestamp,
) -> Result<(), Refused> {
    check_object(resource, kind, table, Some(id), &object)?;
    object.insert("updatedAt".into(), Value::text(table.next_stamp(now).to_string()));
    table.put(&resource.plural, id, object);
    Ok(())
}
