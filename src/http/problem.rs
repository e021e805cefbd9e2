//! Errors as RFC 9457 says: `application/problem+json` with what is wrong and what to do.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::engine::fault::{Fault, FaultKind};
use crate::runtime::jobs::JobProblem;
use crate::runtime::operate::OperateError;
use crate::runtime::reload::ReloadError;
use crate::runtime::supervisor::StartError;
use crate::store::StoreError;

/// What a client reads of an error.
#[derive(Clone, Debug, serde::Serialize, utoipa::ToSchema)]
pub struct Problem {
    /// Always `about:blank`: status and title say the kind.
    #[serde(rename = "type")]
    pub kind: &'static str,
    pub title: String,
    pub status: u16,
    pub detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
    /// In seconds: the header `Retry-After`.
    #[serde(skip)]
    pub retry_after: Option<u64>,
    /// Further members, such as `record_id` or `line`.
    #[serde(skip)]
    pub more: serde_json::Map<String, serde_json::Value>,
}

impl Problem {
    /// Makes a problem with the status's own title.
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self {
            kind: "about:blank",
            title: status.canonical_reason().unwrap_or("Error").to_owned(),
            status: status.as_u16(),
            detail: detail.into(),
            remedy: None,
            retry_after: None,
            more: serde_json::Map::new(),
        }
    }

    /// Makes a 404.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, detail)
    }

    /// Makes a 422.
    pub fn invalid(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, detail)
    }

    /// Adds what to do.
    #[must_use]
    pub fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }

    /// Says after how many seconds to try again.
    #[must_use]
    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// Adds a member.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<serde_json::Value>) -> Self {
        self.more.insert(name.to_owned(), value.into());
        self
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let retry_after = self.retry_after;
        let mut body = serde_json::to_value(&self).unwrap_or_default();
        // A member of its own goes before the general one: an unknown record has the status `unknown`.
        if let Some(body) = body.as_object_mut() {
            body.extend(self.more);
        }
        let body = body.to_string();
        let mut response = (status, body).into_response();
        let kind = HeaderValue::from_static("application/problem+json");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        if let Some(seconds) = retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if status == StatusCode::PAYLOAD_TOO_LARGE {
            // The rest of the body stays unread, so the connection can't be used again; say so.
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        let status = match error {
            StoreError::Full(_) => StatusCode::INSUFFICIENT_STORAGE,
            _ => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self::new(status, error.to_string())
    }
}

impl From<StartError> for Problem {
    fn from(error: StartError) -> Self {
        match error {
            StartError::BadCustomer(_) => Self::invalid(error.to_string()),
            StartError::UnknownLink { .. } => Self::not_found(error.to_string()),
            StartError::Store(error) => error.into(),
            StartError::Book(_) => Self::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string())
                .remedy("mend the rules file; the service takes it in within a second"),
        }
    }
}

impl From<OperateError> for Problem {
    fn from(error: OperateError) -> Self {
        match error {
            OperateError::Start(error) => error.into(),
            OperateError::Store(error) => error.into(),
            OperateError::Fault(fault) => fault.into(),
            OperateError::UnknownCrm { .. } | OperateError::NoConflict(_) => {
                Self::not_found(error.to_string())
            }
            OperateError::NotOpen(_) => Self::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string()),
            OperateError::NoWay { .. } | OperateError::BadKey(..) | OperateError::BadPick(_) => {
                Self::invalid(error.to_string())
            }
            OperateError::Unreadable { .. } => Self::new(StatusCode::CONFLICT, error.to_string())
                .remedy("mend the stream: the direction runs again by itself as soon as it can be read"),
        }
    }
}

impl From<JobProblem> for Problem {
    fn from(error: JobProblem) -> Self {
        match error {
            JobProblem::Operate(error) => error.into(),
            JobProblem::Store(error) => error.into(),
            JobProblem::Unknown(_) => Self::not_found(error.to_string()),
            JobProblem::Standing { standing } => Self::new(StatusCode::CONFLICT, error.to_string())
                .remedy(format!("follow it at /v1/jobs/{standing}, or cancel it there"))
                .with("job_id", standing),
            JobProblem::Not { id, state, .. } => {
                Self::new(StatusCode::CONFLICT, error.to_string()).with("job_id", id).with("state", state)
            }
        }
    }
}

impl From<ReloadError> for Problem {
    fn from(error: ReloadError) -> Self {
        match error {
            ReloadError::Rules(error) => {
                Self::invalid(error.to_string()).with("line", error.line).with("column", error.column)
            }
            ReloadError::Store(error) => error.into(),
            ReloadError::Write { .. } => Self::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
        }
    }
}

impl From<Fault> for Problem {
    fn from(fault: Fault) -> Self {
        let status = match fault.kind {
            FaultKind::Rejected => StatusCode::UNPROCESSABLE_ENTITY,
            FaultKind::Throttled { .. } => StatusCode::TOO_MANY_REQUESTS,
            FaultKind::Stale => StatusCode::CONFLICT,
            FaultKind::Transient | FaultKind::Fatal => StatusCode::BAD_GATEWAY,
        };
        let problem = Self::new(status, fault.message.clone()).with("code", fault.code.as_str());
        match fault.remedy {
            Some(remedy) => problem.remedy(remedy),
            None => problem,
        }
    }
}
