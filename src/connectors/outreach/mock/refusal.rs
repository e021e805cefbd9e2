//! Errors in the service's words.

use super::super::super::mock::Reply;

/// Why a request is refused, as one error object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    pub status: u16,
    pub id: &'static str,
    pub title: &'static str,
    pub detail: String,
    /// A JSON Pointer into the request, or a parameter's name.
    pub pointer: Option<String>,
    pub parameter: Option<String>,
}

impl Refused {
    fn new(status: u16, id: &'static str, title: &'static str, detail: impl Into<String>) -> Self {
        Self { status, id, title, detail: detail.into(), pointer: None, parameter: None }
    }

    /// An attribute or relationship that can't be stored.
    pub fn validation(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        let refused = Self::new(422, "validationError", "Validation Error", detail);
        Self { pointer: Some(pointer.into()), ..refused }
    }

    /// A query parameter that means nothing here; how the service says so is not documented.
    pub fn parameter(name: &str, why: &str) -> Self {
        let refused = Self::new(400, "invalidParameter", "Invalid Parameter", format!("'{name}' {why}."));
        Self { parameter: Some(name.to_owned()), ..refused }
    }

    /// A body that is no document.
    pub fn body(detail: impl Into<String>) -> Self {
        Self::new(400, "badRequest", "Bad Request", detail)
    }

    /// No such record.
    pub fn record(singular: &str, id: &str) -> Self {
        let detail = format!("Could not find '{singular}' with ID '{id}'.");
        Self::new(404, "resourceNotFound", "Resource Not Found", detail)
    }

    /// No such path.
    pub fn route() -> Self {
        Self::new(404, "routeNotFound", "Route Not Found", "Route Not Found")
    }

    /// No token, or none that lives.
    pub fn token() -> Self {
        Self::new(401, "unauthorized", "Unauthorized", "The access token is missing, expired or revoked.")
    }

    /// A body of another type.
    pub fn media_type() -> Self {
        let detail = "Requests with a body must have the Content-Type 'application/vnd.api+json'.";
        Self::new(415, "unsupportedMediaType", "Unsupported Media Type", detail)
    }

    /// The hourly budget is spent.
    pub fn rate(limit: u64, again_at: &str) -> Self {
        let detail = format!(
            "You have exceeded your permitted rate limit of {}; please try again at {again_at}.",
            thousands(limit)
        );
        Self::new(429, "rateLimitExceeded", "Rate Limit Exceeded", detail)
    }

    /// Down.
    pub fn unavailable() -> Self {
        Self::new(503, "serviceUnavailable", "Service Unavailable", "Please try again later.")
    }

    /// Writes the reply.
    pub fn reply(&self) -> Reply {
        // The portal's sample of a 415 has its text in `details`.
        let detail = if self.status == 415 { "details" } else { "detail" };
        let source = match (&self.pointer, &self.parameter) {
            (Some(pointer), _) => Some(serde_json::json!({ "pointer": pointer })),
            (None, Some(parameter)) => Some(serde_json::json!({ "parameter": parameter })),
            (None, None) => None,
        };
        let mut error = serde_json::Map::new();
        error.insert("id".to_owned(), self.id.into());
        error.insert("title".to_owned(), self.title.into());
        error.insert(detail.to_owned(), self.detail.clone().into());
        error.extend(source.map(|source| ("source".to_owned(), source)));
        super::document_reply(self.status, serde_json::json!({ "errors": [error] }).to_string())
    }
}

fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
