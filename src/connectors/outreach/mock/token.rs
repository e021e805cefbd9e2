//! The login of the mock: refresh tokens into access tokens.
//!
//! An access token carries its end and a seal made from the seed, so that it outlives a restart of
//! the mock without being stored.

use super::super::super::mock::{Luck, Reply, Request, Table, query_pairs};
use crate::engine::record::Timestamp;

const CLIENT_ID: &str = "client-id";
const CLIENT_SECRET: &str = "client-secret";
/// All of these, as settings of the connector.
pub const LOGINS: &[(&str, &str)] =
    &[("client_id", CLIENT_ID), ("client_secret", CLIENT_SECRET), ("refresh_token", "or-refresh-1")];
const REFRESH_PREFIX: &str = "or-refresh-";
/// How many refresh tokens were given out, the first of which everybody knows.
const SERIAL: &str = "refresh tokens";
const LIFE_SECONDS: i64 = 7200;

/// Answers a token request.
pub fn grant(request: &Request, table: &mut Table, luck: &Luck, seed: u64, now: Timestamp) -> Reply {
    let body = String::from_utf8_lossy(&request.body);
    let mut fields = query_pairs(&body);
    fields.extend(query_pairs(&request.query));
    let field = |name: &str| {
        fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str()).unwrap_or_default()
    };
    if field("client_id") != CLIENT_ID || field("client_secret") != CLIENT_SECRET {
        return refuse(401, "invalid_client", "Client authentication failed due to unknown client.");
    }
    if field("grant_type") != "refresh_token" {
        return refuse(400, "unsupported_grant_type", "The authorization grant type is not supported.");
    }
    let serial: u64 = table.fact(SERIAL).and_then(|serial| serial.parse().ok()).unwrap_or(1);
    let number = field("refresh_token").strip_prefix(REFRESH_PREFIX).and_then(|text| text.parse().ok());
    let oldest = if luck.takes_tokens_once() { serial } else { 1 };
    if !number.is_some_and(|number: u64| (oldest..=serial).contains(&number)) {
        return refuse(
            400,
            "invalid_grant",
            "The provided authorization grant is invalid, expired, revoked or was issued to another client.",
        );
    }
    let serial = serial + 1;
    table.set_fact(SERIAL, serial.to_string());
    let ends = now.0.saturating_add(LIFE_SECONDS * 1000);
    let body = serde_json::json!({
        "access_token": format!("or-access-{ends}-{serial}-{:016x}", seal(seed, ends, serial)),
        "token_type": "Bearer",
        "expires_in": LIFE_SECONDS,
        "refresh_token": format!("{REFRESH_PREFIX}{serial}"),
        "scope": "prospects.all accounts.all stages.all users.all",
        "created_at": now.0.div_euclid(1000),
    });
    Reply::json(200, body.to_string())
}

/// Tells whether a request carries an access token that is ours and has not ended.
pub fn is_live(request: &Request, seed: u64, now: Timestamp) -> bool {
    let parse = || -> Option<bool> {
        let (scheme, token) = request.header("authorization")?.split_once(' ')?;
        let mut parts = token.trim().strip_prefix("or-access-")?.split('-');
        let ends: i64 = parts.next()?.parse().ok()?;
        let serial: u64 = parts.next()?.parse().ok()?;
        let sealed = u64::from_str_radix(parts.next()?, 16).ok()?;
        Some(scheme.eq_ignore_ascii_case("bearer") && sealed == seal(seed, ends, serial) && now.0 < ends)
    };
    parse().unwrap_or(false)
}

fn seal(seed: u64, ends: i64, serial: u64) -> u64 {
    xxhash_rust::xxh3::xxh3_64_with_seed(format!("{ends}-{serial}").as_bytes(), seed)
}

fn refuse(status: u16, error: &str, description: &str) -> Reply {
    let body = serde_json::json!({ "error": error, "error_description": description });
    Reply::json(status, body.to_string())
}
