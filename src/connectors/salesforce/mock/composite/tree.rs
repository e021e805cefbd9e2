//! `/composite/tree/X`: records and those that hang on them, all or none.

use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use crate::connectors::mock::{Object, Reply, object_from_json};
use crate::connectors::salesforce::mock::Visit;
use crate::connectors::salesforce::mock::errors::ApiError;
use crate::connectors::salesforce::mock::objects::ObjectType;
use crate::connectors::salesforce::mock::relations::by_children;
use crate::connectors::salesforce::mock::rows::{self, Actor};
use crate::engine::record::Value;

/// Records of one request, those that hang on others included.
const RECORDS_MAX: usize = 200;
/// Records that hang on records that hang on …
const LEVELS_MAX: usize = 5;

#[derive(Deserialize)]
struct List<'b> {
    #[serde(borrow)]
    records: Vec<&'b RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Attributes {
    r#type: String,
    reference_id: String,
}

/// What became of the records: the id of each, or its error.
#[derive(Default)]
struct Told {
    made: Vec<(String, String)>,
    refused: Vec<(String, ApiError)>,
}

impl Visit<'_> {
    pub(super) fn tree(&mut self, name: &str) -> Result<Reply, ApiError> {
        let object = self.object(name).ok_or_else(ApiError::not_found)?;
        let text = std::str::from_utf8(&self.request.body).map_err(|_| ApiError::json("not UTF-8"))?;
        let list: List = serde_json::from_str(text).map_err(|error| ApiError::json(&error.to_string()))?;
        let mut told = Told::default();
        self.table.mark();
        let grown = self.grow(&object, &list.records, None, 1, &mut told);
        let whole = grown.is_ok() && told.refused.is_empty() && !told.made.is_empty();
        self.table.release(!whole);
        grown?;
        self.luck.records = told.made.len() + told.refused.len();
        if told.made.is_empty() && told.refused.is_empty() {
            return Err(ApiError::new(400, "REQUIRED_FIELD_MISSING", "At least 1 record is required"));
        }
        if !told.refused.is_empty() {
            let results: Vec<_> = told
                .refused
                .iter()
                .map(|(reference, error)| {
                    let fields = error.fields.clone().unwrap_or_default();
                    let error =
                        json!({ "statusCode": error.code, "message": error.message, "fields": fields });
                    json!({ "referenceId": reference, "errors": [error] })
                })
                .collect();
            return Ok(Reply::json(400, json!({ "hasErrors": true, "results": results }).to_string()));
        }
        let results: Vec<_> =
            told.made.iter().map(|(reference, id)| json!({ "referenceId": reference, "id": id })).collect();
        Ok(Reply::json(201, json!({ "hasErrors": false, "results": results }).to_string()))
    }

    /// Makes records and what hangs on them; `parent` is the field that leads up and what it leads to.
    fn grow(
        &mut self,
        object: &ObjectType,
        records: &[&RawValue],
        parent: Option<(&str, &str)>,
        level: usize,
        told: &mut Told,
    ) -> Result<(), ApiError> {
        if level > LEVELS_MAX {
            return Err(ApiError::new(400, "INVALID_INPUT", "The tree is more than 5 levels deep"));
        }
        for raw in records {
            if told.made.len() + told.refused.len() == RECORDS_MAX {
                let message = format!("Maximum number of records allowed is {RECORDS_MAX}");
                return Err(ApiError::new(400, "INVALID_INPUT", message));
            }
            let mut incoming =
                object_from_json(raw.get()).map_err(|error| ApiError::json(&error.to_string()))?;
            let attributes = attributes_of(&incoming)?;
            let mut typed = self
                .object(&attributes.r#type)
                .filter(|typed| typed.name == object.name)
                .ok_or_else(|| ApiError::new(400, "INVALID_INPUT", "attributes.type is of another type"))?;
            let branches = branches_of(&mut incoming);
            if let Some((field, id)) = parent {
                incoming.insert(field.into(), Value::text(id));
            }
            let actor = Actor { user: &self.user, now: self.now, luck: self.luck };
            match rows::create(self.table, &mut typed, &incoming, &actor) {
                Ok(id) => {
                    told.made.push((attributes.reference_id, id.clone()));
                    for (name, text) in branches {
                        let (child, field) = by_children(&typed.name, &name).ok_or_else(|| {
                            let message =
                                format!("No such column '{name}' on sobject of type {}", typed.name);
                            ApiError::new(400, "INVALID_FIELD", message)
                        })?;
                        let child = self.object(child).ok_or_else(ApiError::not_found)?;
                        let list: List = serde_json::from_str(&text)
                            .map_err(|error| ApiError::json(&error.to_string()))?;
                        self.grow(&child, &list.records, Some((field, &id)), level + 1, told)?;
                    }
                }
                Err(error) => told.refused.push((attributes.reference_id, error)),
            }
        }
        Ok(())
    }
}

fn attributes_of(incoming: &Object) -> Result<Attributes, ApiError> {
    let text = match incoming.get("attributes") {
        Some(Value::Json(text)) => text.to_string(),
        _ => String::new(),
    };
    serde_json::from_str(&text)
        .map_err(|_| ApiError::new(400, "INVALID_INPUT", "Include a type and a referenceId in attributes"))
}

/// Takes out what hangs on a record: members that hold a list of records.
fn branches_of(incoming: &mut Object) -> Vec<(String, String)> {
    let holds = |value: &Value| matches!(value, Value::Json(text) if text.trim_start().starts_with('{'));
    let names: Vec<_> = incoming
        .iter()
        .filter(|(name, value)| *name != "attributes" && holds(value))
        .map(|(name, _)| name.clone())
        .collect();
    let mut branches = Vec::new();
    for name in names {
        let Some(Value::Json(text)) = incoming.get(&name) else { continue };
        if serde_json::from_str::<List>(&text).is_ok() {
            branches.push((name.to_string(), text.to_string()));
            incoming.remove(&name);
        }
    }
    branches
}
