//! sObject Collections: up to 200 records in one call, answered one by one.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

use super::errors::ApiError;
use super::objects::{Field, ObjectType};
use super::query::push_row;
use super::rows::{self, Actor, Saved};
use super::sobjects::{columns, external_id};
use super::{Visit, ids};
use crate::connectors::mock::{Object, Reply, Request, Table, object_from_json};
use crate::engine::record::Value;

const RECORDS_MAX: usize = 200;
const READ_MAX: usize = 2_000;

/// What is to be done with each record of a call.
enum Verb {
    Create,
    Update,
    Upsert(ObjectType, Field),
}

impl Visit<'_> {
    pub(super) fn collections(&mut self, rest: &[&str]) -> Result<Reply, ApiError> {
        match (self.request.method.as_str(), rest) {
            ("POST", []) => self.save(&Verb::Create),
            ("PATCH", []) => self.save(&Verb::Update),
            ("DELETE", []) => self.delete_all(),
            ("PATCH", [name, field]) => {
                let mut object = self.object(name).ok_or_else(ApiError::not_found)?;
                if field.eq_ignore_ascii_case("Id") {
                    return self.save(&Verb::Update);
                }
                let field = external_id(&mut object, self, field, &Value::Null)?;
                self.save(&Verb::Upsert(object, field))
            }
            ("GET" | "POST", [name]) => self.retrieve(name),
            _ => Err(ApiError::not_found()),
        }
    }

    fn save(&mut self, verb: &Verb) -> Result<Reply, ApiError> {
        let (all_or_none, records) = records(self.request)?;
        self.luck.records = records.len();
        if all_or_none {
            self.table.mark();
        }
        let mut results = Vec::with_capacity(records.len());
        for record in records {
            results.push(self.save_one(verb, record));
        }
        let roll_back = all_or_none && results.iter().any(|(_, result)| result.is_err());
        if all_or_none {
            self.table.release(roll_back);
        }
        if roll_back {
            for (_, result) in results.iter_mut().filter(|(_, result)| result.is_ok()) {
                let message = "Record rolled back because not all records were valid and the request was using AllOrNone header";
                *result = Err(ApiError::new(400, "ALL_OR_NONE_OPERATION_ROLLED_BACK", message));
            }
        }
        let items = results.iter().map(|(id, result)| match result {
            Ok(saved) => {
                let created = match verb {
                    Verb::Upsert(..) => format!(r#","created":{}"#, saved.created),
                    _ => String::new(),
                };
                format!(r#"{{"id":"{}","success":true,"errors":[]{created}}}"#, saved.id)
            }
            Err(error) => error.item(id.as_deref()),
        });
        Ok(Reply::json(200, format!("[{}]", items.collect::<Vec<_>>().join(","))))
    }

    /// Saves one record; gives the id that the request named beside the result.
    fn save_one(&mut self, verb: &Verb, record: &RawValue) -> (Option<String>, Result<Saved, ApiError>) {
        let mut incoming = match object_from_json(record.get()) {
            Ok(incoming) => incoming,
            Err(error) => return (None, Err(ApiError::json(&error.to_string()))),
        };
        let named = incoming.keys().find(|name| name.eq_ignore_ascii_case("id")).cloned();
        let id = named.and_then(|name| incoming.remove(&name));
        let id = id.and_then(|id| ids::long(id.as_text()?));
        if self.luck.record_fails() {
            let message = "unable to obtain exclusive access to this record or 1 records";
            return (id, Err(ApiError::new(400, "UNABLE_TO_LOCK_ROW", message)));
        }
        let result = self.saved(verb, id.as_deref(), incoming);
        (id, result)
    }

    fn saved(&mut self, verb: &Verb, id: Option<&str>, mut incoming: Object) -> Result<Saved, ApiError> {
        let named = type_of(&incoming);
        let named = named.and_then(|name| ObjectType::find(self.table, self.org.strict, &name));
        let Some(mut object) = named else {
            return Err(ApiError::new(400, "INVALID_TYPE", "attributes.type names no sObject type"));
        };
        let actor = Actor { user: &self.user, now: self.now, luck: self.luck };
        match verb {
            Verb::Create => {
                let id = rows::create(self.table, &mut object, &incoming, &actor)?;
                Ok(Saved { id, created: true })
            }
            Verb::Update => {
                let id = id.ok_or_else(|| {
                    ApiError::new(400, "MISSING_ARGUMENT", "Id not specified in an update call")
                })?;
                rows::update(self.table, &mut object, id, &incoming, &actor)?;
                Ok(Saved { id: id.to_owned(), created: false })
            }
            Verb::Upsert(target, field) => {
                if target.name != object.name {
                    return Err(ApiError::new(400, "INVALID_TYPE", "the record is of another type"));
                }
                let name = incoming.keys().find(|name| name.eq_ignore_ascii_case(&field.name)).cloned();
                let key = name.and_then(|name| incoming.remove(&name)).filter(|key| *key != Value::Null);
                let key = key.ok_or_else(|| {
                    ApiError::new(400, "MISSING_ARGUMENT", format!("{} not specified", field.name))
                })?;
                rows::upsert(self.table, &mut object, (field, &key), &incoming, &actor, true)
            }
        }
    }

    fn delete_all(&mut self) -> Result<Reply, ApiError> {
        let list = self.request.query_value("ids").unwrap_or_default();
        let asked: Vec<&str> = list.split(',').map(str::trim).filter(|id| !id.is_empty()).collect();
        check_count(asked.len(), RECORDS_MAX)?;
        self.luck.records = asked.len();
        let mut items = Vec::with_capacity(asked.len());
        for text in asked {
            let fails = self.luck.record_fails();
            let actor = Actor { user: &self.user, now: self.now, luck: self.luck };
            let deleted = match ids::long(text) {
                _ if fails => {
                    let message = "unable to obtain exclusive access to this record or 1 records";
                    Err(ApiError::new(400, "UNABLE_TO_LOCK_ROW", message))
                }
                None => Err(ApiError::new(400, "MALFORMED_ID", format!("malformed id {text}"))),
                Some(id) => match object_of(self.table, self.org.strict, &id) {
                    None => {
                        Err(ApiError::new(400, "INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id"))
                    }
                    Some(object) => rows::delete(self.table, &object, &id, &actor).map(|()| id),
                },
            };
            items.push(match deleted {
                Ok(id) => format!(r#"{{"id":"{id}","success":true,"errors":[]}}"#),
                Err(error) => error.item(ids::long(text).as_deref()),
            });
        }
        Ok(Reply::json(200, format!("[{}]", items.join(","))))
    }

    fn retrieve(&mut self, name: &str) -> Result<Reply, ApiError> {
        let object = self.object(name).ok_or_else(ApiError::not_found)?;
        let (ids, fields) = self.retrieve_lists()?;
        check_count(ids.len(), READ_MAX)?;
        let columns = columns(&object, fields.iter().map(String::as_str))?;
        let root = self.root();
        let mut body = String::from("[");
        for (at, text) in ids.iter().enumerate() {
            if at > 0 {
                body.push(',');
            }
            let id = ids::long(text);
            let row = id.as_ref().and_then(|id| self.table.get(&object.name, id).map(|row| (id, row)));
            match row.filter(|(_, row)| !rows::is_deleted(row)) {
                Some((id, row)) => push_row(&mut body, &root, &object.name, id, row, &columns),
                None => body.push_str("null"),
            }
        }
        body.push(']');
        Ok(Reply::json(200, body))
    }

    fn retrieve_lists(&self) -> Result<(Vec<String>, Vec<String>), ApiError> {
        if self.request.method == "GET" {
            let list = |name: &str| -> Vec<String> {
                let text = self.request.query_value(name).unwrap_or_default();
                text.split(',').filter(|part| !part.is_empty()).map(str::to_owned).collect()
            };
            return Ok((list("ids"), list("fields")));
        }
        #[derive(serde::Deserialize)]
        struct Wanted {
            ids: Vec<String>,
            fields: Vec<String>,
        }
        let wanted: Wanted =
            serde_json::from_slice(&self.request.body).map_err(|error| ApiError::json(&error.to_string()))?;
        Ok((wanted.ids, wanted.fields))
    }
}

/// Reads the body as records, still raw: one that can't be read fails alone.
fn records(request: &Request) -> Result<(bool, Vec<&RawValue>), ApiError> {
    let text = std::str::from_utf8(&request.body).map_err(|_| ApiError::json("not UTF-8"))?;
    let parse = |error: serde_json::Error| ApiError::json(&error.to_string());
    let members: BTreeMap<String, &RawValue> = serde_json::from_str(text).map_err(parse)?;
    let all_or_none = members.get("allOrNone").is_some_and(|raw| raw.get() == "true");
    let records = members.get("records").map_or("[]", |raw| raw.get());
    let records: Vec<&RawValue> = serde_json::from_str(records).map_err(parse)?;
    check_count(records.len(), RECORDS_MAX)?;
    Ok((all_or_none, records))
}

fn check_count(count: usize, max: usize) -> Result<(), ApiError> {
    match count {
        0 => Err(ApiError::new(400, "REQUIRED_FIELD_MISSING", "At least 1 record is required")),
        count if count > max => {
            let message = format!("Maximum number of records allowed is {max}");
            Err(ApiError::new(400, "EXCEEDED_ID_LIMIT", message))
        }
        _ => Ok(()),
    }
}

/// Reads `attributes.type`.
fn type_of(incoming: &Object) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Attributes {
        r#type: String,
    }
    match incoming.get("attributes")? {
        Value::Json(text) => serde_json::from_str::<Attributes>(&text).ok().map(|found| found.r#type),
        _ => None,
    }
}

/// Finds the type to which an id belongs.
fn object_of(table: &Table, strict: bool, id: &str) -> Option<ObjectType> {
    ObjectType::all(table, strict).into_iter().find(|object| id.starts_with(&object.prefix))
}
