//! Single records and their descriptions: `/sobjects/…`.

use serde_json::json;

use super::auth::organization_id;
use super::errors::ApiError;
use super::objects::ObjectType;
use super::query::{all_columns, push_row};
use super::rows::{self, Actor, Saved};
use super::{Visit, conditions, ids};
use crate::connectors::mock::{Object, Reply, object_from_json};
use crate::engine::record::{Timestamp, Value};

impl Visit<'_> {
    pub(super) fn sobjects(&mut self, rest: &[&str]) -> Result<Reply, ApiError> {
        let root = self.root();
        let [name, rest @ ..] = rest else {
            return match self.request.method.as_str() {
                "GET" => match conditions::unmet(self.request, self.described_at(), None) {
                    Some(reply) => Ok(reply),
                    None => Ok(self.global_describe(&root)),
                },
                _ => Err(ApiError::method("GET")),
            };
        };
        let object = self.object(name).ok_or_else(ApiError::not_found)?;
        match (self.request.method.as_str(), rest) {
            ("GET", []) => {
                let answer = json!({ "objectDescribe": object.summary(&root), "recentItems": [] });
                Ok(Reply::json(200, answer.to_string()))
            }
            ("POST", [] | ["Id" | "id"]) => self.create(object),
            ("GET", ["describe"]) => match conditions::unmet(self.request, self.described_at(), None) {
                Some(reply) => Ok(reply),
                None => Ok(Reply::json(200, object.describe(&root).to_string())),
            },
            ("GET", ["deleted"]) => self.deleted(&object),
            ("GET", ["updated"]) => self.updated(&object),
            (method, [id]) => self.by_id(method, object, id),
            (method, [field, value]) => self.by_external_id(method, object, field, value),
            _ => Err(ApiError::not_found()),
        }
    }

    /// Tells when what describes the org last changed: a strict one never does. An open one grows with any save.
    fn described_at(&self) -> Option<Timestamp> {
        let founded = self.table.get("Organization", &organization_id())?;
        if self.org.strict { conditions::changed(founded) } else { None }
    }

    fn global_describe(&self, root: &str) -> Reply {
        let all = ObjectType::all(self.table, self.org.strict);
        let sobjects: Vec<_> = all.iter().map(|object| object.summary(root)).collect();
        let answer = json!({ "encoding": "UTF-8", "maxBatchSize": 200, "sobjects": sobjects });
        Reply::json(200, answer.to_string())
    }

    fn create(&mut self, mut object: ObjectType) -> Result<Reply, ApiError> {
        let incoming = self.body()?;
        self.luck.records = 1;
        let actor = Actor { user: &self.user, now: self.now, luck: self.luck };
        let id = rows::create(self.table, &mut object, &incoming, &actor)?;
        let location = format!("{}/sobjects/{}/{id}", self.root(), object.name);
        let answer = json!({ "id": id, "success": true, "errors": [] });
        Ok(Reply::json(201, answer.to_string()).with_header("location", location))
    }

    fn by_id(&mut self, method: &str, mut object: ObjectType, id: &str) -> Result<Reply, ApiError> {
        let Some(id) = ids::long(id).filter(|id| id.starts_with(&object.prefix)) else {
            let message = format!("Provided external ID field does not exist or is not accessible: {id}");
            return Err(ApiError::new(404, "NOT_FOUND", message));
        };
        if matches!(method, "GET" | "PATCH")
            && let Some(row) = self.table.get(&object.name, &id)
        {
            let tag = conditions::tag(&object.name, row);
            if let Some(reply) = conditions::unmet(self.request, conditions::changed(row), tag.as_deref()) {
                return Ok(reply);
            }
        }
        match method {
            "GET" => self.read(&object, &id),
            "PATCH" => {
                let incoming = self.body()?;
                self.luck.records = 1;
                let actor = Actor { user: &self.user, now: self.now, luck: self.luck };
                rows::update(self.table, &mut object, &id, &incoming, &actor)?;
                Ok(Reply::empty(204))
            }
            "DELETE" => {
                self.luck.records = 1;
                let actor = Actor { user: &self.user, now: self.now, luck: self.luck };
                rows::delete(self.table, &object, &id, &actor)?;
                Ok(Reply::empty(204))
            }
            _ => Err(ApiError::method("GET,HEAD,PATCH,DELETE")),
        }
    }

    fn read(&self, object: &ObjectType, id: &str) -> Result<Reply, ApiError> {
        let row = self.table.get(&object.name, id).ok_or_else(ApiError::not_found)?;
        if rows::is_deleted(row) {
            return Err(ApiError::deleted());
        }
        let columns = match self.request.query_value("fields") {
            None => all_columns(object),
            Some(list) => columns(object, list.split(','))?,
        };
        let mut body = String::new();
        push_row(&mut body, &self.root(), &object.name, id, row, &columns);
        let reply = Reply::json(200, body);
        Ok(match conditions::tag(&object.name, row) {
            Some(tag) => reply.with_header("etag", tag),
            None => reply,
        })
    }

    fn by_external_id(
        &mut self,
        method: &str,
        mut object: ObjectType,
        field: &str,
        text: &str,
    ) -> Result<Reply, ApiError> {
        let value = Value::text(text);
        let field = external_id(&mut object, self, field, &value)?;
        if method == "PATCH" {
            let incoming = self.body()?;
            self.luck.records = 1;
            if incoming.keys().any(|name| name.eq_ignore_ascii_case(&field.name)) {
                let message =
                    format!("The {} field should not be specified in the sobject data.", field.name);
                return Err(ApiError::save("INVALID_FIELD", message, &[&field.name]));
            }
            let may_create = self.request.query_value("updateOnly").as_deref() != Some("true");
            let actor = Actor { user: &self.user, now: self.now, luck: self.luck };
            let saved =
                rows::upsert(self.table, &mut object, (&field, &value), &incoming, &actor, may_create);
            return match saved {
                Ok(saved) => Ok(self.upserted(&saved)),
                Err(error) => self.several(&object, error),
            };
        }
        let found = rows::find_live(self.table, &object, &field, &value);
        let [id] = found.as_slice() else {
            let several = ApiError { fields: Some(found.clone()), ..ApiError::new(300, "", "") };
            let error = if found.is_empty() { ApiError::not_found() } else { several };
            return self.several(&object, error);
        };
        self.by_id(method, object, id)
    }

    fn upserted(&self, saved: &Saved) -> Reply {
        if !saved.created && self.version < 46 {
            return Reply::empty(204);
        }
        let answer = json!({ "id": saved.id, "success": true, "errors": [], "created": saved.created });
        Reply::json(if saved.created { 201 } else { 200 }, answer.to_string())
    }

    /// Several records answer with their paths, every other error as ever.
    fn several(&self, object: &ObjectType, error: ApiError) -> Result<Reply, ApiError> {
        if error.status != 300 {
            return Err(error);
        }
        let root = self.root();
        let paths: Vec<String> = error.fields.unwrap_or_default();
        let paths: Vec<_> = paths.iter().map(|id| format!("{root}/sobjects/{}/{id}", object.name)).collect();
        Ok(Reply::json(300, json!(paths).to_string()))
    }

    /// Reads the body as one record.
    fn body(&self) -> Result<Object, ApiError> {
        let text = std::str::from_utf8(&self.request.body).map_err(|_| ApiError::json("not UTF-8"))?;
        object_from_json(text).map_err(|error| ApiError::json(&error.to_string()))
    }
}

/// Finds the external id field of an upsert.
pub(super) fn external_id(
    object: &mut ObjectType,
    visit: &mut Visit,
    name: &str,
    value: &Value,
) -> Result<super::objects::Field, ApiError> {
    let unfit = || {
        let message = format!("Provided external ID field does not exist or is not accessible: {name}");
        ApiError::new(404, "NOT_FOUND", message)
    };
    match object.field(name) {
        Some(field) if field.flags.external_id || object.open && !field.flags.read_only => Ok(field.clone()),
        Some(_) => Err(unfit()),
        None if object.open => object.field_to_write(visit.table, name, value).map_err(|_| unfit()),
        None => Err(unfit()),
    }
}

/// Resolves a list of field names.
pub(super) fn columns<'n>(
    object: &ObjectType,
    names: impl Iterator<Item = &'n str>,
) -> Result<Vec<String>, ApiError> {
    names
        .map(|name| match object.field(name.trim()) {
            Some(field) => Ok(field.name.clone()),
            None if object.open && super::objects::is_name(name.trim()) => Ok(name.trim().to_owned()),
            None => {
                let message = format!("No such column '{name}' on sobject of type {}", object.name);
                Err(ApiError::new(400, "INVALID_FIELD", message))
            }
        })
        .collect()
}
