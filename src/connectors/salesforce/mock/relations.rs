//! Which fields lead to other records, and by which names one walks along them.

use super::objects::{ObjectType, is_name};
use super::{errors::ApiError, ids};
use crate::connectors::mock::{Object, Table};
use crate::engine::record::Value;

/// A field that leads to a record.
struct Relation {
    /// The type that has the field; `None` for all.
    of: Option<&'static str>,
    field: &'static str,
    name: &'static str,
    to: &'static str,
    /// What the other side calls those that lead to it.
    children: Option<&'static str>,
}

const fn relation(
    of: Option<&'static str>,
    field: &'static str,
    name: &'static str,
    to: &'static str,
    children: Option<&'static str>,
) -> Relation {
    Relation { of, field, name, to, children }
}

const RELATIONS: &[Relation] = &[
    relation(None, "CreatedById", "CreatedBy", "User", None),
    relation(None, "LastModifiedById", "LastModifiedBy", "User", None),
    relation(Some("Account"), "ParentId", "Parent", "Account", Some("ChildAccounts")),
    relation(Some("Contact"), "AccountId", "Account", "Account", Some("Contacts")),
];

impl Relation {
    fn is_of(&self, object: &str) -> bool {
        self.of.is_none_or(|of| of == object)
    }
}

/// Tells of a field that leads somewhere: the name of the relationship, and the type that it leads to.
pub fn by_field(object: &str, field: &str) -> Option<(&'static str, &'static str)> {
    let found = RELATIONS.iter().find(|known| known.is_of(object) && known.field == field)?;
    Some((found.name, found.to))
}

/// Finds the field behind a relationship's name, and the type that it leads to. In an open type every `NameId` and
/// `Name__c` leads to whatever its ids are of.
pub fn by_name(object: &ObjectType, name: &str) -> Option<(String, Option<&'static str>)> {
    let known =
        RELATIONS.iter().find(|known| known.is_of(&object.name) && known.name.eq_ignore_ascii_case(name));
    match known {
        Some(known) => Some((known.field.to_owned(), Some(known.to))),
        None if object.open && is_name(name) => Some((
            match name.strip_suffix("__r") {
                Some(stem) => format!("{stem}__c"),
                None => format!("{name}Id"),
            },
            None,
        )),
        None => None,
    }
}

/// Finds the type and field behind what a type calls those that lead to it.
pub fn by_children(object: &str, name: &str) -> Option<(&'static str, &'static str)> {
    let known = |known: &&Relation| {
        known.to == object && known.children.is_some_and(|children| children.eq_ignore_ascii_case(name))
    };
    let found = RELATIONS.iter().find(known)?;
    Some((found.of?, found.field))
}

/// Lists the types that lead to this one: type, field, and the name from here.
pub fn children_of(object: &str) -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
    let leads = move |known: &&Relation| known.to == object;
    RELATIONS.iter().filter(leads).filter_map(|known| Some((known.of?, known.field, known.children?)))
}

/// Puts in the place of `"Account": {"External_Id__c": "v"}` the id of the record that is meant.
pub fn resolved(table: &mut Table, object: &ObjectType, incoming: &Object) -> Result<Object, ApiError> {
    let mut out = Object::new();
    for (name, value) in incoming {
        match (&value, by_name(object, name)) {
            (Value::Json(text), Some((field, to))) if to.is_some() || name.ends_with("__r") => {
                let Some((key, wanted)) = reference(text) else {
                    let message = format!("{name}: a record is named by one external id");
                    return Err(ApiError::new(400, "INVALID_FIELD", message));
                };
                if wanted == Value::Null {
                    out.insert(field.into(), Value::Null);
                    continue;
                }
                let to = to.map_or_else(|| name.trim_end_matches("__r").to_owned(), str::to_owned);
                let id = find(table, object.open, &to, &key, &wanted)?;
                out.insert(field.into(), Value::text(id));
            }
            _ => {
                out.insert(name.clone(), value);
            }
        }
    }
    Ok(out)
}

/// Finds the record of a type that an external id names.
fn find(table: &mut Table, open: bool, to: &str, key: &str, wanted: &Value) -> Result<String, ApiError> {
    let unknown = || {
        let text = String::from(wanted.to_plain().unwrap_or_default());
        let message = format!("Foreign key external ID: {text} not found for field {key} in entity {to}");
        ApiError::save("INVALID_FIELD", message, &[])
    };
    let target = ObjectType::find(table, !open, to).ok_or_else(unknown)?;
    if key.eq_ignore_ascii_case("Id") {
        return wanted.as_text().and_then(ids::long).ok_or_else(unknown);
    }
    let field = target.field(key).filter(|field| field.flags.external_id || open).cloned();
    let field = field.ok_or_else(|| {
        let message = format!("{key} is no external id of {to}");
        ApiError::save("INVALID_FIELD", message, &[])
    })?;
    match super::rows::find_live(table, &target, &field, wanted).as_slice() {
        [id] => Ok(id.clone()),
        [] => Err(unknown()),
        _ => {
            let message = format!("{key}: more than one record found");
            Err(ApiError::save("DUPLICATE_EXTERNAL_ID", message, &[]))
        }
    }
}

/// Reads the one member of a reference, past `attributes`.
fn reference(text: &str) -> Option<(String, Value)> {
    let members = crate::connectors::mock::object_from_json(text).ok()?;
    let mut members = members.into_iter().filter(|(name, _)| name != "attributes");
    let (key, value) = members.next()?;
    members.next().is_none().then(|| (key.to_string(), value))
}
