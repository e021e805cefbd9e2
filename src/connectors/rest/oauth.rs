//! The replies of OAuth 2.0 token endpoints (RFC 6749 §5).

use serde::Deserialize;

use super::reply::RawReply;
use crate::engine::fault::{Fault, FaultCode};

/// Characters of an error's own words that are kept.
const DETAIL_CHARS_MAX: usize = 300;

/// The reply to a token request. Not to be printed: it holds tokens.
#[derive(Deserialize)]
pub struct TokenReply {
    pub access_token: String,
    /// Seconds.
    #[serde(default)]
    pub expires_in: Option<u64>,
    /// The next refresh token, where the service gives one.
    #[serde(default)]
    pub refresh_token: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct TokenError {
    error: Option<String>,
    error_description: Option<String>,
}

/// Tells whether a token request was refused for what was shown for the token: a refresh token that is spent, for
/// instance (RFC 6749 §5.2).
pub fn is_invalid_grant(reply: &RawReply) -> bool {
    let error: TokenError = serde_json::from_slice(&reply.body).unwrap_or_default();
    matches!(reply.status, 400 | 401) && error.error.as_deref() == Some("invalid_grant")
}

/// Reads the reply to a token request: the token, or why the credentials are refused. `remedy` says what to do
/// about an error word, `check` what a reply means that says nothing of the credentials.
pub fn decode_token(
    operation: &str,
    reply: &RawReply,
    remedy: impl Fn(&str) -> &'static str,
    check: impl FnOnce() -> Result<(), Fault>,
) -> Result<TokenReply, Fault> {
    if reply.is_success() {
        // The reason would quote the body, which holds tokens.
        return serde_json::from_slice(&reply.body).map_err(|_| {
            Fault::transient(FaultCode::Protocol, format!("{operation}: the reply holds no access_token"))
        });
    }
    if !matches!(reply.status, 400 | 401 | 403) {
        let unknown = || Fault::transient(FaultCode::Protocol, format!("{operation}: HTTP {}", reply.status));
        return Err(check().err().unwrap_or_else(unknown));
    }
    let error: TokenError = serde_json::from_slice(&reply.body).unwrap_or_default();
    let word = error.error.unwrap_or_default();
    let message = match error.error_description {
        Some(text) => {
            let text: String = text.chars().take(DETAIL_CHARS_MAX).collect();
            format!("{operation}: {word}: {text}")
        }
        None => format!("{operation}: HTTP {} {word}", reply.status),
    };
    Err(Fault::fatal(FaultCode::Auth, message, remedy(&word)))
}
