//! The built-in Salesforce: an org with the parts of the REST API that a sync needs.
//!
//! Without `strict` unknown objects and fields exist from their first use on, and any field works
//! as an external id; with it, there are Account, Contact, Organization and User as declared in
//! `objects.rs`, and nothing else.

mod auth;
mod bin;
mod bulk;
mod collections;
mod composite;
mod conditions;
mod duplicates;
mod errors;
mod found;
mod ids;
mod jwt;
mod objects;
mod query;
mod quota;
mod relations;
mod replication;
mod rows;
mod soap;
mod sobjects;
mod soql;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::json;

pub use auth::{CLIENT_ID, CLIENT_SECRET};
use auth::{Sessions, User, organization_id};
use bulk::Jobs;
use errors::ApiError;
use objects::ObjectType;
use query::Locators;
use quota::Quota;
use rows::Actor;

use crate::connectors::mock::{
    Desk, Luck, Mock, MockSettings, Object, Pace, Refusal, Reply, Request, Service, Table,
};
use crate::engine::record::{Record, Timestamp, Value};

/// Versions that answer. Older ones are retired in the real service, too.
const VERSIONS: std::ops::RangeInclusive<u32> = 45..=61;
/// Calls of a day; an open mock has more than any test uses.
const DAILY_MAX_STRICT: u64 = 15_000;
const DAILY_MAX_OPEN: u64 = 10_000_000;

/// Makes the mock.
pub fn make(settings: MockSettings) -> Arc<dyn Mock> {
    Arc::new(SalesforceMock { desk: Desk::new(&settings), org: Org::new(&settings) })
}

struct SalesforceMock {
    desk: Desk,
    org: Org,
}

/// The org beside its rows.
struct Org {
    seed: u64,
    strict: bool,
    sessions: Mutex<Sessions>,
    locators: Mutex<Locators>,
    jobs: Mutex<Jobs>,
    calls: Mutex<Quota>,
}

/// One authorised request on its way through the routes.
struct Visit<'v> {
    org: &'v Org,
    request: &'v Request,
    table: &'v mut Table,
    luck: &'v mut Luck,
    now: Timestamp,
    user: String,
    version: u32,
    /// Calls of the day that are left, and all of them.
    budget: (u64, u64),
}

impl Mock for SalesforceMock {
    fn handle(&self, request: &Request, now: Timestamp) -> Reply {
        self.desk.handle(&self.org, request, now)
    }

    fn logins(&self) -> &'static [(&'static str, &'static str)] {
        auth::LOGINS
    }

    fn push(
        &self,
        stream: Option<&str>,
        key_field: &str,
        record: &Record,
        now: Timestamp,
    ) -> Result<String, String> {
        let incoming: Object = record
            .schema
            .names()
            .zip(&record.values)
            .filter(|(_, value)| !value.is_missing())
            .map(|(name, value)| (name.into(), value.clone()))
            .collect();
        let luck = self.desk.luck();
        let now = self.desk.clock(now);
        self.desk.with_table(|table| self.org.push(table, stream, key_field, incoming, &luck, now))?
    }
}

impl Service for Org {
    fn answer(&self, request: &Request, table: &mut Table, luck: &mut Luck, now: Timestamp) -> Reply {
        self.found(table, now);
        lock(&self.sessions).live_for(luck.token_seconds());
        let segments = request.segments();
        let parts: Vec<&str> = segments.iter().map(String::as_str).collect();
        let reply = match parts.as_slice() {
            ["services", "oauth2", rest @ ..] => self.oauth(request, rest, (table, luck), now),
            ["services", "Soap", rest @ ..] => self.soap(request, rest, now),
            ["id", _, _] => self.identity(request, now),
            ["services", "data"] => return Reply::json(200, versions()),
            ["services", "data", version, rest @ ..] => {
                return self.data(request, table, luck, now, (version, rest));
            }
            _ => ApiError::not_found().reply(),
        };
        dated(reply, now)
    }

    fn pace(&self) -> Pace {
        // The vendor's status site shows averages below 300 ms for a call; a query of 2,000 rows and a collection of 200
        // take about a second.
        Pace { call_ms: (100, 500), kib_us: 3_000 }
    }

    fn refuse(&self, refusal: Refusal) -> Reply {
        match refusal {
            Refusal::TooMany { .. } => {
                let message = "Too many requests in a short time.";
                ApiError::new(429, "REQUEST_LIMIT_EXCEEDED", message).reply()
            }
            Refusal::Unavailable => {
                ApiError::new(503, "SERVER_UNAVAILABLE", "The server is temporarily unavailable").reply()
            }
        }
    }

    /// The bin as an administrator handles it: `DELETE …/bin/{object}` empties it,
    /// `POST …/bin/{object}/{id}` takes a record out of it again.
    fn door(&self, method: &str, path: &[&str], table: &mut Table, now: Timestamp) -> Option<Reply> {
        let (name, id) = match (method, path) {
            ("DELETE", ["bin", name]) => (name, None),
            ("POST", ["bin", name, id]) => (name, Some(id)),
            _ => return None,
        };
        let Some(object) = ObjectType::find(table, self.strict, name) else {
            return Some(ApiError::unknown_object(name).reply());
        };
        let Some(id) = id else {
            bin::empty(table, &object.name, now);
            return Some(Reply::empty(204));
        };
        let restored = ids::long(id).ok_or_else(ApiError::not_found);
        let restored =
            restored.and_then(|id| bin::restore(table, &object.name, &id, &User::Person.id(), now));
        Some(restored.map_or_else(|error| error.reply(), |()| Reply::empty(204)))
    }

    fn is_deleted(&self, object: &Object) -> bool {
        rows::is_deleted(object)
    }
}

impl Org {
    fn new(settings: &MockSettings) -> Self {
        Self {
            seed: settings.seed,
            strict: settings.strict,
            sessions: Mutex::default(),
            locators: Mutex::default(),
            jobs: Mutex::default(),
            calls: Mutex::default(),
        }
    }

    /// Puts the rows in that every org has.
    fn found(&self, table: &mut Table, now: Timestamp) {
        let organization = organization_id();
        if table.get("Organization", &organization).is_some() {
            return;
        }
        let stamp = rows::stamp(table, now);
        let mut put = |stream: &str, id: String, own: &[(&str, Value)]| {
            let mut row: Object = own.iter().map(|(name, value)| ((*name).into(), value.clone())).collect();
            for name in ["CreatedDate", "LastModifiedDate", "SystemModstamp"] {
                row.insert(name.into(), stamp.clone());
            }
            for name in ["CreatedById", "LastModifiedById"] {
                row.insert(name.into(), Value::text(User::Integration.id()));
            }
            row.insert("Id".into(), Value::text(&id));
            row.insert("IsDeleted".into(), Value::Bool(false));
            table.put(stream, &id, row);
        };
        let text = |text: &str| Value::text(text);
        put(
            "Organization",
            organization,
            &[
                ("Name", text("Mock Org")),
                ("InstanceName", text("MOCK1")),
                ("OrganizationType", text("Developer Edition")),
                ("IsSandbox", Value::Bool(false)),
            ],
        );
        for user in User::ALL {
            put(
                "User",
                user.id(),
                &[
                    ("Username", text(user.username())),
                    ("Email", text(user.username())),
                    ("LastName", text(&format!("{user:?}"))),
                    ("Name", text(&format!("{user:?}"))),
                    ("IsActive", Value::Bool(true)),
                ],
            );
        }
    }

    fn oauth(
        &self,
        request: &Request,
        rest: &[&str],
        (table, luck): (&mut Table, &Luck),
        now: Timestamp,
    ) -> Reply {
        match (request.method.as_str(), rest) {
            ("POST", ["token"]) => {
                lock(&self.sessions).token(request, (table, luck.takes_tokens_once()), self.seed, now)
            }
            ("POST" | "GET", ["revoke"]) => {
                let form = String::from_utf8_lossy(&request.body).into_owned();
                let pairs = crate::connectors::mock::query_pairs(&format!("{}&{form}", request.query));
                let token = pairs.into_iter().find(|(name, _)| name == "token");
                if let Some((_, token)) = token {
                    lock(&self.sessions).revoke(Some(&token));
                }
                Reply::empty(200)
            }
            ("POST" | "GET", ["userinfo"]) => self.identity(request, now),
            _ => ApiError::not_found().reply(),
        }
    }

    fn identity(&self, request: &Request, now: Timestamp) -> Reply {
        let sessions = lock(&self.sessions);
        let by_query = request.query_value("oauth_token").and_then(|token| sessions.user_of(&token, now));
        let Some(user) = sessions.user(request, now).or(by_query) else {
            return Reply::json(403, r#""Bad_OAuth_Token""#);
        };
        let (organization, id) = (organization_id(), user.id());
        let url = format!("{}/id/{organization}/{id}", request.base_url);
        let answer = json!({
            "id": url, "sub": url, "user_id": id, "organization_id": organization,
            "username": user.username(), "preferred_username": user.username(), "active": true,
            "urls": { "rest": format!("{}/services/data/v{{version}}/", request.base_url) },
        });
        Reply::json(200, answer.to_string())
    }

    /// Answers below `/services/data/vNN.0`.
    fn data(
        &self,
        request: &Request,
        table: &mut Table,
        luck: &mut Luck,
        now: Timestamp,
        (version, rest): (&str, &[&str]),
    ) -> Reply {
        let Some(version) = version_of(version) else {
            return dated(ApiError::not_found().reply(), now);
        };
        if let Some(refused) = conditions::too_long(request) {
            return dated(refused, now);
        }
        let Some(user) = lock(&self.sessions).user(request, now) else {
            let expired = ApiError::new(401, "INVALID_SESSION_ID", "Session expired or invalid");
            return dated(expired.reply(), now);
        };
        let usual = if self.strict { DAILY_MAX_STRICT } else { DAILY_MAX_OPEN };
        let daily_max = luck.daily_calls().unwrap_or(usual);
        let counted = lock(&self.calls).call(daily_max, now);
        let used = counted.unwrap_or(daily_max);
        let usage = format!("api-usage={used}/{daily_max}");
        let budget = (daily_max.saturating_sub(used), daily_max);
        if duplicates::overruled(request) {
            luck.overrule_duplicates();
        }
        let mut visit = Visit { org: self, request, table, luck, now, user: user.id(), version, budget };
        let result = match counted {
            Err(_) => Err(ApiError::new(403, "REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded.")),
            Ok(_) => {
                visit.work_on_jobs();
                visit.route(rest)
            }
        };
        let reply = result.unwrap_or_else(|error| error.reply());
        dated(reply, now).with_header("sforce-limit-info", usage)
    }

    fn push(
        &self,
        table: &mut Table,
        stream: Option<&str>,
        key_field: &str,
        mut incoming: Object,
        luck: &Luck,
        now: Timestamp,
    ) -> Result<String, String> {
        self.found(table, now);
        let stream = stream.unwrap_or("Contact");
        let mut object = ObjectType::find(table, self.strict, stream)
            .ok_or_else(|| format!("the mock has no object {stream}"))?;
        let named = incoming.keys().find(|name| name.eq_ignore_ascii_case(key_field)).cloned();
        let key = named.and_then(|name| incoming.remove(&name)).filter(|value| *value != Value::Null);
        let key = key.ok_or_else(|| format!("the record has no {key_field}"))?;
        let field = object.field_to_write(table, key_field, &key).map_err(|error| error.message)?;
        let user = User::Person.id();
        let actor = Actor { user: &user, now, luck };
        let saved = rows::upsert(table, &mut object, (&field, &key), &incoming, &actor, true);
        saved.map(|saved| saved.id).map_err(|error| format!("{}: {}", error.code, error.message))
    }
}

impl Visit<'_> {
    fn route(&mut self, rest: &[&str]) -> Result<Reply, ApiError> {
        match (self.request.method.as_str(), rest) {
            ("GET", []) => Ok(self.resources()),
            ("GET", ["limits"]) => Ok(self.limits()),
            ("GET", ["query"]) => self.query(false),
            ("GET", ["queryAll"]) => self.query(true),
            ("GET", ["query" | "queryAll", locator]) => self.query_more(locator),
            (_, ["sobjects", rest @ ..]) => self.sobjects(rest),
            (_, ["composite", rest @ ..]) => self.composite(rest),
            (_, ["jobs", rest @ ..]) => self.jobs(rest),
            (_, [] | ["limits"] | ["query" | "queryAll", ..]) => Err(ApiError::method("GET")),
            _ => Err(ApiError::not_found()),
        }
    }

    fn resources(&self) -> Reply {
        let root = self.root();
        let mut answer = serde_json::Map::new();
        for name in ["sobjects", "query", "queryAll", "limits", "composite", "jobs"] {
            answer.insert(name.to_owned(), json!(format!("{root}/{name}")));
        }
        let identity = format!("{}/id/{}/{}", self.request.base_url, organization_id(), self.user);
        answer.insert("identity".to_owned(), json!(identity));
        Reply::json(200, serde_json::Value::Object(answer).to_string())
    }

    fn limits(&self) -> Reply {
        let (remaining, max) = self.budget;
        let of = |max: u64, used: u64| json!({ "Max": max, "Remaining": max.saturating_sub(used) });
        let jobs = lock(&self.org.jobs);
        let answer = json!({
            "DailyApiRequests": { "Max": max, "Remaining": remaining },
            "DailyBulkApiBatches": of(bulk::BATCHES_MAX, jobs.batches),
            "DailyBulkV2QueryJobs": of(bulk::QUERY_JOBS_MAX, jobs.queries),
            "DailyBulkV2QueryFileStorageMB": of(976_562, 0),
        });
        Reply::json(200, answer.to_string())
    }

    /// Returns what paths in answers begin with: root-relative, the mount path included.
    fn root(&self) -> String {
        let base = self.request.base_url.splitn(4, '/').nth(3).unwrap_or_default();
        let slash = if base.is_empty() { "" } else { "/" };
        format!("{slash}{base}/services/data/v{}.0", self.version)
    }

    fn object(&self, name: &str) -> Option<ObjectType> {
        ObjectType::find(self.table, self.org.strict, name)
    }
}

/// Reads `v59.0`; `None` for a version that does not answer.
fn version_of(text: &str) -> Option<u32> {
    let number = text.strip_prefix('v').and_then(|text| text.strip_suffix(".0"));
    number.and_then(|text| text.parse().ok()).filter(|number| VERSIONS.contains(number))
}

fn versions() -> String {
    let list: Vec<_> = VERSIONS
        .map(|number| {
            json!({
                "label": format!("Release {number}"), "url": format!("/services/data/v{number}.0"),
                "version": format!("{number}.0"),
            })
        })
        .collect();
    json!(list).to_string()
}

/// Adds the server's own time, by which clients reckon.
fn dated(reply: Reply, now: Timestamp) -> Reply {
    let at = jiff::Timestamp::from_millisecond(now.0).unwrap_or_default();
    reply.with_header("date", at.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string())
}

/// Locks; a panic elsewhere leaves plain data behind, so its mark is ignored.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
