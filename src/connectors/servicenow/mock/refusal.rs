//! Refusals in the service's words.

use serde_json::{Value as Json, json};

use crate::connectors::mock::Reply;

/// Why a request is refused.
#[derive(Debug)]
pub struct Refused {
    status: u16,
    message: String,
    detail: Json,
}

impl Refused {
    fn new(status: u16, message: impl Into<String>, detail: impl Into<Json>) -> Self {
        Self { status, message: message.into(), detail: detail.into() }
    }

    /// Nobody is logged in.
    pub fn login() -> Self {
        Self::new(401, "User is not authenticated", "Required to provide Auth information")
    }

    pub fn table(name: &str) -> Self {
        Self::new(400, format!("Invalid table {name}"), Json::Null)
    }

    pub fn route() -> Self {
        Self::new(400, "Requested URI does not represent any resource", Json::Null)
    }

    pub fn record() -> Self {
        Self::new(404, "No Record found", "Record doesn't exist or ACL restricts the record retrieval")
    }

    pub fn body() -> Self {
        Self::new(400, "Exception while reading request", "The payload is not valid JSON")
    }

    /// What a strict mock says to a field that the table lacks.
    pub fn field(name: &str) -> Self {
        Self::new(400, format!("Invalid field {name}"), "The table has no such field")
    }

    pub fn parameter(name: &str, why: &str) -> Self {
        Self::new(400, format!("Invalid value for {name}"), why)
    }

    /// `verb`: Insert, Update or Delete.
    pub fn acl(verb: &str) -> Self {
        let detail = format!("ACL Exception {verb} Failed due to security constraints");
        Self::new(403, "Operation Failed", detail)
    }

    pub fn rule(table: &str) -> Self {
        let detail =
            format!("Operation against file '{table}' was aborted by Business Rule 'As the test asked'");
        Self::new(403, "Operation Failed", detail)
    }

    pub fn method() -> Self {
        Self::new(405, "Method not supported", Json::Null)
    }

    pub fn accept() -> Self {
        Self::new(406, "Unsupported Accept media type", "Supported: application/json")
    }

    pub fn media_type() -> Self {
        Self::new(415, "Unsupported media type", "Supported: application/json")
    }

    pub fn rate(limit: u64) -> Self {
        let detail = format!("Rate limit of {limit} requests per hour for Table API exceeded");
        Self::new(429, "Rate limit exceeded", detail)
    }

    pub fn unavailable() -> Self {
        Self::new(503, "Service unavailable", "The instance is being maintained")
    }

    /// Returns what went wrong in one sentence.
    pub fn sentence(&self) -> String {
        match self.detail.as_str() {
            Some(detail) => format!("{}: {detail}", self.message),
            None => self.message.clone(),
        }
    }

    pub fn reply(&self) -> Reply {
        let error = json!({ "message": self.message, "detail": self.detail });
        let reply = Reply::json(self.status, json!({ "error": error, "status": "failure" }).to_string());
        match self.status {
            401 => reply.with_header("www-authenticate", "BASIC realm=\"Service-now\""),
            _ => reply,
        }
    }
}
