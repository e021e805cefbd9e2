//! Errors in the two forms that the API has: an array for a request, an item for a record.

use serde_json::{Value as Json, json};

use crate::connectors::mock::Reply;

/// Why a request or a record is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiError {
    pub status: u16,
    pub code: &'static str,
    pub message: String,
    /// Save errors name the fields; others have no such member outside collections.
    pub fields: Option<Vec<String>>,
    /// The records that a duplicate rule found.
    pub duplicates: Option<Json>,
}

impl ApiError {
    pub fn new(status: u16, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), fields: None, duplicates: None }
    }

    /// Refuses a save because of its fields.
    pub fn save(code: &'static str, message: impl Into<String>, fields: &[&str]) -> Self {
        let fields = fields.iter().map(|field| (*field).to_owned()).collect();
        Self { fields: Some(fields), ..Self::new(400, code, message) }
    }

    pub fn not_found() -> Self {
        Self::new(404, "NOT_FOUND", "The requested resource does not exist")
    }

    pub fn deleted() -> Self {
        Self { fields: Some(Vec::new()), ..Self::new(404, "ENTITY_IS_DELETED", "entity is deleted") }
    }

    pub fn method(allowed: &str) -> Self {
        let message = format!("HTTP Method not allowed. Allowed are {allowed}");
        Self::new(405, "METHOD_NOT_ALLOWED", message)
    }

    pub fn unknown_object(name: &str) -> Self {
        let message = format!(
            "sObject type '{name}' is not supported. If you are attempting to use a custom object, be sure to append the '__c' after the entity name. Please reference your WSDL or the describe call for the appropriate names."
        );
        Self::new(400, "INVALID_TYPE", message)
    }

    pub fn json(detail: &str) -> Self {
        Self::new(400, "JSON_PARSER_ERROR", detail)
    }

    /// Writes the reply to the whole request.
    pub fn reply(&self) -> Reply {
        let mut item = json!({ "message": self.message, "errorCode": self.code });
        if let Some(item) = item.as_object_mut() {
            item.extend(self.fields.iter().map(|fields| ("fields".to_owned(), json!(fields))));
            item.extend(self.duplicates.iter().map(|found| ("duplicateResult".to_owned(), found.clone())));
        }
        Reply::json(self.status, json!([item]).to_string())
    }

    /// Writes one record's part of a collections reply.
    pub fn item(&self, id: Option<&str>) -> String {
        let fields = self.fields.clone().unwrap_or_default();
        let mut error = json!({ "statusCode": self.code, "message": self.message, "fields": fields });
        if let (Some(found), Some(error)) = (&self.duplicates, error.as_object_mut()) {
            error.insert("duplicateResult".to_owned(), found.clone());
        }
        match id {
            Some(id) => json!({ "id": id, "success": false, "errors": [error] }).to_string(),
            None => json!({ "success": false, "errors": [error] }).to_string(),
        }
    }
}
