//! Who comes in, and how often.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use secrecy::ExposeSecret;

use super::super::super::mock::{Reply, Request, query_pairs};
use super::super::super::rest::basic;
use super::super::auth::{
    MOCK_CLIENT_ID, MOCK_CLIENT_SECRET, MOCK_PASSWORD, MOCK_TOKEN, MOCK_USERNAME, secret_or, token_path,
};
use super::super::settings::{AuthKind, CredentialsIn, Settings};
use super::refusal::Refused;
use crate::engine::record::Timestamp;

/// How long an access token lives.
const TOKEN_SECONDS: i64 = 3600;

/// Knows the credentials of the description, and counts requests.
pub struct Gatekeeper {
    seed: u64,
    /// What the header has to hold, for logins that need no token.
    expected: Option<(String, String)>,
    arrivals: Mutex<VecDeque<i64>>,
    /// How many tokens were given out.
    tokens: AtomicU64,
}

impl Gatekeeper {
    /// Learns the credentials.
    pub fn new(settings: &Settings, seed: u64) -> Self {
        let auth = &settings.auth;
        let expected = match auth.kind {
            AuthKind::None | AuthKind::Oauth => None,
            AuthKind::Basic => {
                let username = auth.username.as_deref().unwrap_or(MOCK_USERNAME);
                Some(("authorization".to_owned(), basic(username, &secret_or(&auth.password, MOCK_PASSWORD))))
            }
            AuthKind::Bearer => {
                let token = secret_or(&auth.token, MOCK_TOKEN);
                Some(("authorization".to_owned(), format!("Bearer {}", token.expose_secret())))
            }
            AuthKind::ApiKey => {
                let key = secret_or(&auth.api_key, MOCK_TOKEN);
                let name = auth.header.as_deref().unwrap_or("x-api-key").to_ascii_lowercase();
                Some((name, format!("{}{}", auth.prefix, key.expose_secret())))
            }
        };
        Self { seed, expected, arrivals: Mutex::default(), tokens: AtomicU64::new(0) }
    }

    /// Answers a request for a token; `None` for any other.
    pub fn token(&self, settings: &Settings, request: &Request, now: Timestamp) -> Option<Reply> {
        let auth = &settings.auth;
        if auth.kind != AuthKind::Oauth || request.method != "POST" || request.path != token_path(settings) {
            return None;
        }
        let form = query_pairs(&String::from_utf8_lossy(&request.body));
        let field =
            |name: &str| form.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
        let client_id = auth.client_id.as_deref().unwrap_or(MOCK_CLIENT_ID);
        let secret = secret_or(&auth.client_secret, MOCK_CLIENT_SECRET);
        let is_known = match auth.credentials {
            CredentialsIn::Header => {
                request.header("authorization") == Some(basic(client_id, &secret).as_str())
            }
            CredentialsIn::Body => {
                field("client_id") == Some(client_id)
                    && field("client_secret") == Some(secret.expose_secret())
            }
        };
        let refuse =
            |status: u16, error: &str| Reply::json(status, serde_json::json!({ "error": error }).to_string());
        Some(match (is_known, field("grant_type")) {
            (false, _) => refuse(401, "invalid_client"),
            (true, Some("client_credentials")) => {
                let ends = now.0.saturating_add(TOKEN_SECONDS * 1000);
                let serial = self.tokens.fetch_add(1, Ordering::Relaxed);
                let token = format!("rest-access-{ends}-{serial}-{:016x}", self.seal(ends, serial));
                let body = serde_json::json!({"access_token": token, "token_type": "Bearer", "expires_in": TOKEN_SECONDS});
                Reply::json(200, body.to_string())
            }
            (true, _) => refuse(400, "unsupported_grant_type"),
        })
    }

    /// Refuses whoever is not known.
    pub fn check_login(&self, settings: &Settings, request: &Request, now: Timestamp) -> Result<(), Refused> {
        let auth = &settings.auth;
        let is_in = match (auth.kind, &self.expected, &auth.query) {
            (AuthKind::None, ..) => true,
            (AuthKind::Oauth, ..) => self.is_live(request, now),
            (AuthKind::ApiKey, Some((_, key)), Some(parameter)) => {
                request.query_value(parameter).as_ref() == Some(key)
            }
            (_, Some((name, value)), _) => request.header(name) == Some(value.as_str()),
            (_, None, _) => false,
        };
        if is_in { Ok(()) } else { Err(Refused::new(401, "The credentials are missing or wrong.")) }
    }

    fn is_live(&self, request: &Request, now: Timestamp) -> bool {
        let parse = || -> Option<bool> {
            let token = request.header("authorization")?.strip_prefix("Bearer rest-access-")?;
            let mut parts = token.split('-');
            let ends: i64 = parts.next()?.parse().ok()?;
            let serial: u64 = parts.next()?.parse().ok()?;
            let seal = u64::from_str_radix(parts.next()?, 16).ok()?;
            Some(now.0 < ends && seal == self.seal(ends, serial))
        };
        parse().unwrap_or(false)
    }

    /// Seals a token, so that it outlives a restart of the mock without being stored.
    fn seal(&self, ends: i64, serial: u64) -> u64 {
        xxhash_rust::xxh3::xxh3_64_with_seed(format!("rest-{ends}-{serial}").as_bytes(), self.seed)
    }

    /// Counts a request; refuses it where the description's limit is spent.
    pub fn admit(&self, settings: &Settings, now: Timestamp) -> Result<(), Refused> {
        let Some((requests, window)) = limit(settings) else { return Ok(()) };
        let mut arrivals = self.arrivals.lock().unwrap_or_else(PoisonError::into_inner);
        while arrivals.front().is_some_and(|at| now.0.saturating_sub(*at) >= window) {
            arrivals.pop_front();
        }
        if arrivals.len() as u64 >= requests {
            let oldest = arrivals.front().copied().unwrap_or(now.0);
            let wait = window.saturating_sub(now.0.saturating_sub(oldest)).max(0);
            return Err(Refused::too_many(u64::try_from(wait).unwrap_or(0).div_ceil(1000).max(1)));
        }
        arrivals.push_back(now.0);
        Ok(())
    }

    /// Tells what is left, in the described headers.
    pub fn tell(&self, settings: &Settings, mut reply: Reply, now: Timestamp) -> Reply {
        let Some((requests, window)) = limit(settings) else { return reply };
        let arrivals = self.arrivals.lock().unwrap_or_else(PoisonError::into_inner);
        let oldest = arrivals.front().copied().unwrap_or(now.0);
        let left = window.saturating_sub(now.0.saturating_sub(oldest)).max(0);
        let rate = &settings.rate;
        let told = [
            (&rate.limit, requests.to_string()),
            (&rate.remaining, requests.saturating_sub(arrivals.len() as u64).to_string()),
            (&rate.reset, left.div_euclid(1000).saturating_add(1).to_string()),
            (&rate.reset_ms, left.to_string()),
        ];
        for (name, value) in told {
            if let Some(name) = name {
                reply = reply.with_header(&name.to_ascii_lowercase(), value);
            }
        }
        reply
    }
}

/// Returns requests and milliseconds of the described limit.
fn limit(settings: &Settings) -> Option<(u64, i64)> {
    let seconds = i64::try_from(settings.rate.seconds?).ok()?;
    Some((settings.rate.requests?, seconds.saturating_mul(1000)))
}
