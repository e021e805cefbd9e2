//! The built-in Outreach: one organisation that answers as the service does.
//!
//! An object of the table holds attributes by name, relationships to one as `account.id`, and `id`.
//! Ids count up from 1 in each stream; `updatedAt` has a grain of milliseconds and moves strictly,
//! so that no two writes have the same stamp.

mod filter;
mod include;
mod list;
mod order;
mod refusal;
mod render;
mod token;
mod write;

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use super::super::mock::{
    Desk, Luck, Mock, MockSettings, Object, Pace, Refusal, Reply, Request, Service, Table, http_date,
};
use super::service::MEDIA_TYPE;
use super::wire::{Kind, Resource, kind_of};
use crate::engine::record::{Record, Timestamp, Value};
use refusal::Refused;

/// Requests an hour, as told and not enforced. The service's own 10,000 would end a first read of a
/// test's 10,000 records half-way.
const HOURLY_LIMIT: u64 = 1_000_000;
const HOUR_MS: i64 = 3_600_000;

/// A mock of one organisation.
pub struct OutreachMock {
    desk: Desk,
    strict: bool,
    seed: u64,
    /// The hour that is being counted, and its requests.
    hour: AtomicI64,
    requests: AtomicU64,
}

/// A request to one stream, with what may be asked of it.
struct Visit<'r> {
    request: &'r Request,
    resource: Resource,
    /// What a strict mock holds the request to.
    kind: Option<&'static Kind>,
    now: Timestamp,
}

impl OutreachMock {
    /// Opens an organisation.
    pub fn new(settings: &MockSettings) -> Self {
        Self {
            desk: Desk::new(settings),
            strict: settings.strict,
            seed: settings.seed,
            hour: AtomicI64::new(i64::MIN),
            requests: AtomicU64::new(0),
        }
    }

    fn kind(&self, resource: &Resource) -> Option<&'static Kind> {
        if self.strict { kind_of(resource) } else { None }
    }

    /// Gives the resource of a path's segment; a strict mock has only the known ones.
    fn resource(&self, plural: &str) -> Result<Resource, Refused> {
        Resource::parse(plural)
            .filter(|resource| resource.plural == plural && (!self.strict || kind_of(resource).is_some()))
            .ok_or_else(Refused::route)
    }

    fn route(
        &self,
        request: &Request,
        table: &mut Table,
        luck: &mut Luck,
        now: Timestamp,
    ) -> Result<Reply, Refused> {
        let segments = request.segments();
        let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
        let method = request.method.as_str();
        if let ("POST", ["oauth", "token"]) = (method, segments.as_slice()) {
            return Ok(token::grant(request, table, luck, self.seed, now));
        }
        let ["api", "v2", plural, rest @ ..] = segments.as_slice() else { return Err(Refused::route()) };
        if !token::is_live(request, self.seed, now) {
            return Err(Refused::token());
        }
        let resource = self.resource(plural)?;
        let visit = Visit { request, kind: self.kind(&resource), resource, now };
        match (method, rest) {
            ("GET", []) => list::list(&visit, table, luck),
            ("POST", []) => write::create(&visit, table, luck),
            ("GET", [id]) => list::get(&visit, table, id),
            ("PATCH", [id]) => write::update(&visit, table, luck, id),
            ("DELETE", [id]) => write::delete(&visit, table, luck, id),
            _ => Err(Refused::route()),
        }
    }

    /// Counts a request and tells what is left of the hour.
    fn with_budget(&self, reply: Reply, now: Timestamp) -> Reply {
        let hour = now.0.div_euclid(HOUR_MS);
        if self.hour.swap(hour, Ordering::Relaxed) != hour {
            self.requests.store(0, Ordering::Relaxed);
        }
        let used = self.requests.fetch_add(1, Ordering::Relaxed) + 1;
        let hour_ends = (hour + 1).saturating_mul(HOUR_MS) / 1000;
        let asked_to_wait = reply.headers.iter().find(|(name, _)| name == "retry-after");
        let wait = asked_to_wait.and_then(|(_, seconds)| seconds.parse::<i64>().ok());
        let (remaining, reset) = match (reply.status, wait) {
            (429, wait) => (0, now.0.div_euclid(1000) + wait.unwrap_or(0)),
            // Never nothing: nobody is refused for it.
            _ => (HOURLY_LIMIT.saturating_sub(used).max(HOURLY_LIMIT / 2), hour_ends),
        };
        reply
            .with_header("x-ratelimit-limit", HOURLY_LIMIT.to_string())
            .with_header("x-ratelimit-remaining", remaining.to_string())
            .with_header("x-ratelimit-reset", reset.to_string())
    }
}

impl Service for OutreachMock {
    fn answer(&self, request: &Request, table: &mut Table, luck: &mut Luck, now: Timestamp) -> Reply {
        self.route(request, table, luck, now).unwrap_or_else(|refused| refused.reply())
    }

    fn pace(&self) -> Pace {
        // Nothing is published; as a service of its kind.
        Pace { call_ms: (100, 500), kib_us: 3_000 }
    }

    fn refuse(&self, refusal: Refusal) -> Reply {
        match refusal {
            Refusal::TooMany { .. } => Refused::rate(HOURLY_LIMIT, "the time that Retry-After names").reply(),
            Refusal::Unavailable => Refused::unavailable().reply(),
        }
    }

    fn stream_name(&self, asked: &str) -> String {
        Resource::parse(asked).map_or_else(|| asked.to_owned(), |resource| resource.plural)
    }

    fn is_deleted(&self, object: &Object) -> bool {
        object.get("trashedAt").is_some_and(|at| !at.is_blank())
    }
}

impl Mock for OutreachMock {
    fn handle(&self, request: &Request, now: Timestamp) -> Reply {
        let reply = self.desk.handle(self, request, now);
        if request.path.starts_with("/__admin/") {
            return reply;
        }
        let reply = self.with_budget(reply, now);
        match http_date(self.desk.clock(now)) {
            Some(date) => reply.with_header("date", date),
            None => reply,
        }
    }

    fn logins(&self) -> &'static [(&'static str, &'static str)] {
        token::LOGINS
    }

    fn push(
        &self,
        stream: Option<&str>,
        key_field: &str,
        record: &Record,
        now: Timestamp,
    ) -> Result<String, String> {
        let stream = stream.unwrap_or("prospects");
        let resource = Resource::parse(stream)
            .and_then(|resource| self.resource(&resource.plural).ok())
            .ok_or_else(|| format!("there is no stream {stream}"))?;
        let key = record.get(key_field);
        if matches!(key, Value::Absent | Value::Null | Value::Unknown) {
            return Err(format!("the record has no {key_field}, by which it is found"));
        }
        let kind = self.kind(&resource);
        let now = self.desk.clock(now);
        self.desk.with_table(|table| {
            write::push(&resource, kind, table, (key_field, key), record, now)
                .map_err(|refused| refused.detail)
        })?
    }
}

/// Builds a reply with a JSON:API document.
fn document_reply(status: u16, body: impl Into<Vec<u8>>) -> Reply {
    let mut reply = Reply::json(status, body);
    reply.headers = vec![("content-type".to_owned(), MEDIA_TYPE.to_owned())];
    reply
}
