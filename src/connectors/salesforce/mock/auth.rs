//! Tokens: who may get one, and who it is for.

use std::collections::BTreeMap;

use base64::Engine;
use serde_json::json;

use super::{ids, jwt};
use crate::connectors::mock::{Reply, Request, Table, query_pairs};
use crate::engine::record::Timestamp;

pub const CLIENT_ID: &str = "client-id";
pub const CLIENT_SECRET: &str = "client-secret";
pub const USERNAME: &str = "sync@example.test";
pub const PASSWORD: &str = "pa55word";
pub const SECURITY_TOKEN: &str = "sectoken";
/// All of these, as settings of the connector.
pub const LOGINS: &[(&str, &str)] = &[
    ("client_id", CLIENT_ID),
    ("client_secret", CLIENT_SECRET),
    ("username", USERNAME),
    ("password", PASSWORD),
    ("security_token", SECURITY_TOKEN),
    ("refresh_token", "sf-refresh-1"),
];
/// Of refresh tokens: the first, which everybody knows, ends in 1.
const REFRESH_PREFIX: &str = "sf-refresh-";
/// How many refresh tokens there have been.
const REFRESH_SERIAL: &str = "refresh tokens";

const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

/// Milliseconds that a session lasts, as the real default of two hours.
pub const SESSION_MS: i64 = 2 * 60 * 60 * 1000;
/// Sessions that are remembered; the oldest go first.
const SESSIONS_MAX: usize = 1000;

/// The users of the mock org, by the serial numbers of their ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum User {
    /// Runs what comes in with client credentials.
    Integration = 1,
    /// The user of the known user name.
    Sync = 2,
    /// Edits what is pushed straight in.
    Person = 3,
}

impl User {
    pub const ALL: [Self; 3] = [Self::Integration, Self::Sync, Self::Person];

    pub fn id(self) -> String {
        ids::make("005", self as u64)
    }

    pub fn username(self) -> &'static str {
        match self {
            Self::Integration => "integration@example.test",
            Self::Sync => USERNAME,
            Self::Person => "person@example.test",
        }
    }
}

/// Returns the org's id.
pub fn organization_id() -> String {
    ids::make("00D", 1)
}

/// The sessions that are open.
#[derive(Default)]
pub struct Sessions {
    /// By token: the user and when the session began.
    open: BTreeMap<String, (User, Timestamp)>,
    serial: u64,
    /// Milliseconds that a session lasts, where a test wants less than usual.
    life_ms: Option<i64>,
}

impl Sessions {
    /// Tells whose the request's token is; `None` for none, an unknown or an expired one.
    pub fn user(&self, request: &Request, now: Timestamp) -> Option<User> {
        let header = request.header("authorization")?;
        let (scheme, token) = header.split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("bearer") && !scheme.eq_ignore_ascii_case("oauth") {
            return None;
        }
        self.user_of(token.trim(), now)
    }

    /// Tells whose a token is.
    pub fn user_of(&self, token: &str, now: Timestamp) -> Option<User> {
        let life_ms = self.life_ms.unwrap_or(SESSION_MS);
        let lives = |began: &Timestamp| now.0 < began.0.saturating_add(life_ms);
        self.open.get(token).filter(|(_, began)| lives(began)).map(|(user, _)| *user)
    }

    /// Sets how long sessions last, those that are open included; `None` for as long as usual.
    pub fn live_for(&mut self, seconds: Option<u64>) {
        self.life_ms = seconds.map(|seconds| i64::try_from(seconds).unwrap_or(i64::MAX).saturating_mul(1000));
    }

    /// Answers `POST /services/oauth2/token`.
    pub fn token(
        &mut self,
        request: &Request,
        (table, single_use): (&mut Table, bool),
        seed: u64,
        now: Timestamp,
    ) -> Reply {
        let form: BTreeMap<String, String> =
            query_pairs(&String::from_utf8_lossy(&request.body)).into_iter().collect();
        let of = |name: &str| form.get(name).map(String::as_str).unwrap_or_default();
        let (client_id, client_secret) = match basic(request) {
            Some(pair) => pair,
            None => (of("client_id").to_owned(), of("client_secret").to_owned()),
        };
        let grant = of("grant_type");
        if grant == JWT_BEARER {
            return match jwt::user(of("assertion"), &request.base_url, now) {
                Ok(user) => self.granted(user, None, &request.base_url, seed, now),
                Err((error, description)) => refused(error, description),
            };
        }
        if !matches!(grant, "client_credentials" | "password" | "refresh_token") {
            return refused("unsupported_grant_type", "grant type not supported");
        }
        if client_id != CLIENT_ID {
            return refused("invalid_client_id", "client identifier invalid");
        }
        if client_secret != CLIENT_SECRET {
            return refused("invalid_client", "invalid client credentials");
        }
        let mut renewed = None;
        let user = match grant {
            "client_credentials" => User::Integration,
            "refresh_token" => match refreshed(of("refresh_token"), table, single_use) {
                Some(next) => {
                    renewed = next;
                    User::Sync
                }
                None => return refused("invalid_grant", "expired access/refresh token"),
            },
            _ if of("username") == USERNAME && of("password") == format!("{PASSWORD}{SECURITY_TOKEN}") => {
                User::Sync
            }
            _ => return refused("invalid_grant", "authentication failure"),
        };
        self.granted(user, renewed, &request.base_url, seed, now)
    }

    /// Opens a session and tells of it; `renewed` is the refresh token that takes the place of the used one.
    fn granted(
        &mut self,
        user: User,
        renewed: Option<String>,
        base_url: &str,
        seed: u64,
        now: Timestamp,
    ) -> Reply {
        let token = self.open(user, seed, now);
        let id = format!("{base_url}/id/{}/{}", organization_id(), user.id());
        let mut answer = json!({
            "access_token": token, "signature": "bm90IGNoZWNrZWQ=", "scope": "api refresh_token",
            "instance_url": base_url, "id": id, "token_type": "Bearer",
            "issued_at": now.0.to_string(),
        });
        if let (Some(renewed), Some(members)) = (renewed, answer.as_object_mut()) {
            members.insert("refresh_token".to_owned(), json!(renewed));
        }
        Reply::json(200, answer.to_string())
    }

    /// Opens a session; gives its token: the short org id, `!`, and text that nobody guesses.
    pub fn open(&mut self, user: User, seed: u64, now: Timestamp) -> String {
        self.serial += 1;
        let opaque = xxhash_rust::xxh3::xxh3_128(format!("{seed}/{}/{}", self.serial, now.0).as_bytes());
        let org = organization_id();
        let token = format!("{}!AQ{opaque:032x}.{:x}", org.get(..15).unwrap_or_default(), self.serial);
        if self.open.len() >= SESSIONS_MAX {
            let oldest =
                self.open.iter().min_by_key(|(_, (_, began))| *began).map(|(token, _)| token.clone());
            oldest.and_then(|oldest| self.open.remove(&oldest));
        }
        self.open.insert(token.clone(), (user, now));
        token
    }

    /// Ends a session, or all of them.
    pub fn revoke(&mut self, token: Option<&str>) {
        match token {
            Some(token) => {
                self.open.remove(token);
            }
            None => self.open.clear(),
        }
    }
}

/// Takes a refresh token; gives the one that follows it where tokens are good for once, and `None` for one that is
/// none. Otherwise each that there has been stays good.
fn refreshed(token: &str, table: &mut Table, single_use: bool) -> Option<Option<String>> {
    let last: u64 = table.fact(REFRESH_SERIAL).and_then(|serial| serial.parse().ok()).unwrap_or(1);
    let number: u64 = token.strip_prefix(REFRESH_PREFIX)?.parse().ok()?;
    let good = if single_use { number == last } else { (1..=last).contains(&number) };
    if !good {
        return None;
    }
    Some(single_use.then(|| {
        table.set_fact(REFRESH_SERIAL, (last + 1).to_string());
        format!("{REFRESH_PREFIX}{}", last + 1)
    }))
}

fn basic(request: &Request) -> Option<(String, String)> {
    let coded = request.header("authorization")?.strip_prefix("Basic ")?;
    let plain = base64::engine::general_purpose::STANDARD.decode(coded.trim()).ok()?;
    let plain = String::from_utf8(plain).ok()?;
    let (id, secret) = plain.split_once(':')?;
    Some((id.to_owned(), secret.to_owned()))
}

/// OAuth errors are flat objects, unlike those of the API.
fn refused(error: &str, description: &str) -> Reply {
    Reply::json(400, json!({ "error": error, "error_description": description }).to_string())
}
