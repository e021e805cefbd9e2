//! Who asks: users with their passwords, tokens that end.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use crate::connectors::mock::{Reply, Request, Table, query_pairs};
use crate::engine::record::Timestamp;

pub const USER: &str = "sync@example.test";
const PASSWORD: &str = "pa55word";
const CLIENT_ID: &str = "client-id";
const CLIENT_SECRET: &str = "client-secret";
/// All of these, as settings of the connector.
pub const LOGINS: &[(&str, &str)] =
    &[("username", USER), ("password", PASSWORD), ("client_id", CLIENT_ID), ("client_secret", CLIENT_SECRET)];

const LIFE_SECONDS: i64 = 1_800;
const REFRESH_LIFE_SECONDS: i64 = 100 * 24 * 3_600;
/// How many tokens were given out.
const SERIAL: &str = "tokens";

/// Answers `POST /oauth_token.do`.
pub fn grant(request: &Request, table: &mut Table, seed: u64, now: Timestamp) -> Reply {
    let body = String::from_utf8_lossy(&request.body);
    let mut fields = query_pairs(&body);
    fields.extend(query_pairs(&request.query));
    let field = |name: &str| {
        fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str()).unwrap_or_default()
    };
    // An application shows itself in the form or in the header.
    let (id, secret) = match basic(request) {
        Some(pair) => pair,
        None => (field("client_id").to_owned(), field("client_secret").to_owned()),
    };
    if (id.as_str(), secret.as_str()) != (CLIENT_ID, CLIENT_SECRET) {
        return refuse("invalid_client");
    }
    let with_refresh = match field("grant_type") {
        "password" if (field("username"), field("password")) != (USER, PASSWORD) => {
            return refuse("server_error");
        }
        "refresh_token" if !is_sealed(field("refresh_token"), "refresh", seed, now) => {
            return refuse("invalid_grant");
        }
        "password" | "refresh_token" => true,
        "client_credentials" => false,
        _ => return refuse("unsupported_grant_type"),
    };
    let serial = table.fact(SERIAL).and_then(|serial| serial.parse().ok()).unwrap_or(0_u64) + 1;
    table.set_fact(SERIAL, serial.to_string());
    let access = sealed("access", seed, now, LIFE_SECONDS, serial);
    let life = LIFE_SECONDS - 1;
    let told = match (with_refresh, field("refresh_token")) {
        (false, _) => {
            json!({ "access_token": access, "scope": "useraccount", "token_type": "Bearer", "expires_in": life })
        }
        (true, shown) => {
            // The one that was shown lives on.
            let fresh = || sealed("refresh", seed, now, REFRESH_LIFE_SECONDS, serial);
            let refresh = if shown.is_empty() { fresh() } else { shown.to_owned() };
            json!({ "access_token": access, "refresh_token": refresh, "scope": "useraccount",
                "token_type": "Bearer", "expires_in": life })
        }
    };
    Reply::json(200, told.to_string())
}

/// Names the user of a request; `None` where it is nobody's.
pub fn user(request: &Request, seed: u64, now: Timestamp) -> Option<&'static str> {
    let known = match request.header("authorization")?.split_once(' ')? {
        (scheme, token) if scheme.eq_ignore_ascii_case("bearer") => {
            is_sealed(token.trim(), "access", seed, now)
        }
        _ => basic(request).is_some_and(|(user, password)| user == USER && password == PASSWORD),
    };
    known.then_some(USER)
}

fn basic(request: &Request) -> Option<(String, String)> {
    let (scheme, pair) = request.header("authorization")?.split_once(' ')?;
    let decoded = STANDARD.decode(pair.trim()).ok().filter(|_| scheme.eq_ignore_ascii_case("basic"))?;
    let (user, password) = std::str::from_utf8(&decoded).ok()?.split_once(':')?;
    // Clients of OAuth encode both parts.
    let plain = |text: &str| percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned();
    Some((plain(user), plain(password)))
}

/// Makes a token that says by itself when it ends.
fn sealed(kind: &str, seed: u64, now: Timestamp, life_seconds: i64, serial: u64) -> String {
    let ends = now.0.saturating_add(life_seconds * 1000);
    format!("sn-{kind}-{ends}-{serial}-{:016x}", seal(kind, seed, ends, serial))
}

fn is_sealed(token: &str, kind: &str, seed: u64, now: Timestamp) -> bool {
    let parse = || -> Option<bool> {
        let mut parts = token.strip_prefix("sn-")?.strip_prefix(kind)?.strip_prefix('-')?.split('-');
        let ends: i64 = parts.next()?.parse().ok()?;
        let serial: u64 = parts.next()?.parse().ok()?;
        let seen = u64::from_str_radix(parts.next()?, 16).ok()?;
        Some(seen == seal(kind, seed, ends, serial) && now.0 < ends)
    };
    parse().unwrap_or(false)
}

fn seal(kind: &str, seed: u64, ends: i64, serial: u64) -> u64 {
    xxhash_rust::xxh3::xxh3_64_with_seed(format!("{kind}-{ends}-{serial}").as_bytes(), seed)
}

fn refuse(error: &str) -> Reply {
    Reply::json(401, json!({ "error": error, "error_description": "access_denied" }).to_string())
}
