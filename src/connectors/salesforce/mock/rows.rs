//! What a save does to a row, and when it is refused.

use super::duplicates;
use super::errors::ApiError;
use super::objects::{Field, Kind, ObjectType};
use super::{ids, relations};
use crate::connectors::mock::{Luck, Object, Table};
use crate::connectors::salesforce::wire::{format_datetime, parse_datetime};
use crate::engine::record::{Timestamp, Value};

/// Who saves, and when.
pub struct Actor<'a> {
    pub user: &'a str,
    pub now: Timestamp,
    pub luck: &'a Luck,
}

/// A row that was saved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Saved {
    pub id: String,
    pub created: bool,
}

/// Tells whether a row lies in the bin.
pub fn is_deleted(row: &Object) -> bool {
    matches!(row.get("IsDeleted"), Some(Value::Bool(true)))
}

/// Finds the live rows whose field has a value. Case is ignored where the field is a declared
/// external id; a field that grew tells its values apart exactly.
pub fn find_live(table: &mut Table, object: &ObjectType, field: &Field, value: &Value) -> Vec<String> {
    let Some(text) = value.to_plain() else { return Vec::new() };
    let exact = !field.flags.external_id;
    let ids = table.find(&object.name, &field.name, &text);
    let matching = ids.into_iter().filter(|id| {
        let row = table.get(&object.name, id);
        row.is_some_and(|row| {
            let same = row.plain(&field.name);
            !is_deleted(row) && (!exact || same.as_ref() == Some(&text))
        })
    });
    matching.map(|id| id.to_string()).collect()
}

/// Makes a row.
pub fn create(
    table: &mut Table,
    object: &mut ObjectType,
    incoming: &Object,
    actor: &Actor,
) -> Result<String, ApiError> {
    let changes = checked(table, object, incoming, None, actor)?;
    let missing: Vec<&str> = object
        .fields
        .iter()
        .filter(|field| field.flags.required && is_null(changes.get(&field.name).as_ref()))
        .map(|field| field.name.as_str())
        .collect();
    if !missing.is_empty() {
        return Err(required(&missing));
    }
    if actor.luck.duplicate_rules() {
        duplicates::refuse(table, object, &changes, None)?;
    }
    let serial_name = format!("serial:{}", object.prefix);
    let serial = table.fact(&serial_name).and_then(|text| text.parse::<u64>().ok()).unwrap_or(0) + 1;
    table.set_fact(&serial_name, serial.to_string());
    let id = ids::make(&object.prefix, serial);
    let stamp = stamp(table, actor.now);
    let mut row = changes;
    let user = Value::text(actor.user);
    row.insert("Id".into(), Value::text(&id));
    row.insert("IsDeleted".into(), Value::Bool(false));
    row.insert("CreatedDate".into(), stamp.clone());
    row.insert("CreatedById".into(), user.clone());
    touch(&mut row, stamp, user);
    complete(object, &mut row);
    table.put(&object.name, &id, row);
    Ok(id)
}

/// Changes a row: absent fields stay, null clears.
pub fn update(
    table: &mut Table,
    object: &mut ObjectType,
    id: &str,
    incoming: &Object,
    actor: &Actor,
) -> Result<(), ApiError> {
    let mut row = live(table, object, id)?;
    let changes = checked(table, object, incoming, Some(id), actor)?;
    let emptied: Vec<&str> = object
        .fields
        .iter()
        .filter(|field| field.flags.required && matches!(changes.get(field.name.as_str()), Some(Value::Null)))
        .map(|field| field.name.as_str())
        .collect();
    if !emptied.is_empty() {
        return Err(required(&emptied));
    }
    if actor.luck.duplicate_rules() {
        duplicates::refuse(table, object, &changes, Some(id))?;
    }
    row.extend(changes);
    touch(&mut row, stamp(table, actor.now), Value::text(actor.user));
    complete(object, &mut row);
    table.put(&object.name, id, row);
    Ok(())
}

/// Creates or changes the row whose external id has a value. Several such rows are error 300 with
/// their ids as `fields`.
pub fn upsert(
    table: &mut Table,
    object: &mut ObjectType,
    key: (&Field, &Value),
    incoming: &Object,
    actor: &Actor,
    may_create: bool,
) -> Result<Saved, ApiError> {
    let (field, value) = key;
    let value = match (object.open, value) {
        (false, Value::Text(text)) => &Value::text(text.trim()),
        (_, value) => value,
    };
    let found = find_live(table, object, field, value);
    match found.as_slice() {
        [] if !may_create => Err(ApiError::not_found()),
        [] => {
            let mut incoming = incoming.clone();
            incoming.insert(field.name.as_str().into(), value.clone());
            let id = create(table, object, &incoming, actor)?;
            Ok(Saved { id, created: true })
        }
        [id] => {
            update(table, object, id, incoming, actor)?;
            Ok(Saved { id: id.clone(), created: false })
        }
        several => Err(ApiError {
            fields: Some(several.to_vec()),
            ..ApiError::new(
                300,
                "DUPLICATE_EXTERNAL_ID",
                format!("{}: more than one record found", field.name),
            )
        }),
    }
}

/// Puts a row into the bin.
pub fn delete(table: &mut Table, object: &ObjectType, id: &str, actor: &Actor) -> Result<(), ApiError> {
    let mut row = live(table, object, id)?;
    row.insert("IsDeleted".into(), Value::Bool(true));
    touch(&mut row, stamp(table, actor.now), Value::text(actor.user));
    table.put(&object.name, id, row);
    Ok(())
}

/// Returns the moment that the rows saved now carry: whole seconds, never going back.
pub fn stamp(table: &mut Table, now: Timestamp) -> Value {
    if let Some(wanted) = table.stamp(now) {
        return Value::text(format_datetime(Timestamp(wanted.0.div_euclid(1000) * 1000)));
    }
    let last = table.fact("stamp").and_then(|text| text.parse::<i64>().ok()).unwrap_or(i64::MIN);
    let second = now.0.div_euclid(1000);
    if second > last {
        table.set_fact("stamp", second.to_string());
    }
    Value::text(format_datetime(Timestamp(second.max(last).saturating_mul(1000))))
}

fn live(table: &Table, object: &ObjectType, id: &str) -> Result<Object, ApiError> {
    match table.get(&object.name, id) {
        None => Err(ApiError::not_found()),
        Some(row) if is_deleted(row) => Err(ApiError::deleted()),
        Some(row) => Ok(row.clone()),
    }
}

pub fn touch(row: &mut Object, stamp: Value, user: Value) {
    row.insert("LastModifiedDate".into(), stamp.clone());
    row.insert("SystemModstamp".into(), stamp);
    row.insert("LastModifiedById".into(), user);
}

/// Fills in what the system itself makes of other fields.
fn complete(object: &ObjectType, row: &mut Object) {
    let of_people = !object.open && matches!(object.name.as_str(), "Contact" | "User");
    if of_people {
        let part = |name: &str| row.text(name).unwrap_or_default().to_owned();
        let name = format!("{} {}", part("FirstName"), part("LastName"));
        row.insert("Name".into(), Value::text(name.trim()));
    }
}

/// Checks what a save brings, field by field, and gives it under the declared names.
fn checked(
    table: &mut Table,
    object: &mut ObjectType,
    incoming: &Object,
    id: Option<&str>,
    actor: &Actor,
) -> Result<Object, ApiError> {
    let mut changes = Object::new();
    let incoming = &relations::resolved(table, object, incoming)?;
    for (name, value) in incoming {
        if name == "attributes" {
            continue;
        }
        let field = object.field_to_write(table, name, &value)?;
        if field.flags.read_only {
            let message = format!(
                "Unable to create/update fields: {}. Please check the security settings of this field and verify that it is read/write for your profile or permission set.",
                field.name
            );
            return Err(ApiError::save("INVALID_FIELD_FOR_INSERT_UPDATE", message, &[&field.name]));
        }
        let value = if object.open { value } else { fitted(&field, &value)? };
        let value = actor.luck.stored(value);
        if field.flags.external_id {
            refuse_duplicate(table, object, &field, &value, id)?;
        }
        changes.insert(field.name.into(), value);
    }
    Ok(changes)
}

fn refuse_duplicate(
    table: &mut Table,
    object: &ObjectType,
    field: &Field,
    value: &Value,
    id: Option<&str>,
) -> Result<(), ApiError> {
    let others = find_live(table, object, field, value);
    match others.iter().find(|other| Some(other.as_str()) != id) {
        None => Ok(()),
        Some(other) => {
            let message =
                format!("duplicate value found: {} duplicates value on record with id: {other}", field.name);
            Err(ApiError::save("DUPLICATE_VALUE", message, &[]))
        }
    }
}

/// Brings a value into the form in which a declared field stores it.
fn fitted(field: &Field, value: &Value) -> Result<Value, ApiError> {
    let name = field.name.as_str();
    let wrong = || {
        let kind = format!("{:?}", field.kind).to_lowercase();
        let message = format!("{name}: value not of required type: {kind}");
        Err(ApiError::save("INVALID_TYPE_ON_FIELD_IN_RECORD", message, &[name]))
    };
    let text = match (field.kind, value) {
        (Kind::Boolean, Value::Null) => return Ok(Value::Bool(false)),
        (_, Value::Null) | (Kind::Boolean, Value::Bool(_)) | (Kind::Int, Value::Int(_)) => {
            return Ok(value.clone());
        }
        (Kind::Double | Kind::Currency, Value::Int(_) | Value::Number(_)) => return Ok(value.clone()),
        (Kind::Boolean | Kind::Int | Kind::Double | Kind::Currency, _) => return wrong(),
        (_, Value::Text(text)) => text.trim(),
        _ => return wrong(),
    };
    if text.is_empty() {
        return Ok(Value::Null);
    }
    if text.chars().count() > field.length_max() {
        let message = format!("{name}: data value too large: (max length={})", field.length_max());
        return Err(ApiError::save("STRING_TOO_LONG", message, &[name]));
    }
    match field.kind {
        Kind::Email if !is_email(text) => {
            let message = format!("{name}: invalid email address: {text}");
            Err(ApiError::save("INVALID_EMAIL_ADDRESS", message, &[name]))
        }
        Kind::Id | Kind::Reference => match ids::long(text) {
            Some(id) => Ok(Value::text(id)),
            None => {
                let message = format!("{name}: id value of incorrect type: {text}");
                Err(ApiError::save("MALFORMED_ID", message, &[name]))
            }
        },
        // The parser takes other spellings of a day as well, and moments.
        Kind::Date if text.len() != 10 || text.parse::<jiff::civil::Date>().is_err() => wrong(),
        Kind::Datetime => match parse_datetime(text) {
            Some(at) => Ok(Value::text(format_datetime(at))),
            None => wrong(),
        },
        _ => Ok(Value::text(text)),
    }
}

fn is_email(text: &str) -> bool {
    let Some((local, domain)) = text.split_once('@') else { return false };
    !local.is_empty()
        && domain.contains('.')
        && !domain.starts_with('.')
        && !domain.ends_with('.')
        && !text.contains([' ', ',', ';'])
        && !domain.contains('@')
}

fn is_null(value: Option<&Value>) -> bool {
    matches!(value, None | Some(Value::Null))
}

fn required(missing: &[&str]) -> ApiError {
    let message = format!("Required fields are missing: [{}]", missing.join(", "));
    ApiError::save("REQUIRED_FIELD_MISSING", message, missing)
}
