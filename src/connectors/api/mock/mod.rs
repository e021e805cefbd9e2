//! The built-in REST service: it answers as the description says that the real one does.
//!
//! An object of the table is a whole record as replies show it. Ids count up from 1 in each stream; stamps
//! move strictly. What the description leaves open, it answers in the plainest way.

mod gatekeeper;
mod list;
mod order;
mod refusal;
mod route;
mod write;

use std::collections::BTreeMap;

use super::super::mock::{
    Desk, Luck, Mock, MockSettings, Object, Pace, Refusal, Reply, Request, Service, Table, http_date,
    object_json,
};
use super::settings::{Settings, Stream};
use super::wire::truthy;
use crate::engine::record::{Record, Timestamp, Value};
use gatekeeper::Gatekeeper;
use refusal::Refused;
use route::Op;

/// A mock of one described system.
pub struct ApiMock {
    desk: Desk,
    strict: bool,
    /// What is wrong with a description that can't be played.
    described: Result<Described, String>,
}

/// What is played.
struct Described {
    settings: Settings,
    gatekeeper: Gatekeeper,
}

/// A request to one stream.
struct Visit<'r> {
    request: &'r Request,
    settings: &'r Settings,
    name: &'r str,
    stream: &'r Stream,
    strict: bool,
    now: Timestamp,
}

impl ApiMock {
    /// Opens a service. A description that can't be played does not stop the program: every request is
    /// answered with the reason.
    pub fn new(settings: &MockSettings) -> Self {
        let described = Settings::parse(&settings.description)
            .map_err(|error| format!("{}: {}", error.path.join("."), error.message))
            .map(|described| Described {
                gatekeeper: Gatekeeper::new(&described, settings.seed),
                settings: described,
            });
        Self { desk: Desk::new(settings), strict: settings.strict, described }
    }

    fn route(
        &self,
        described: &Described,
        request: &Request,
        table: &mut Table,
        luck: &mut Luck,
        now: Timestamp,
    ) -> Result<Reply, Refused> {
        let settings = &described.settings;
        if let Some(reply) = described.gatekeeper.token(settings, request, now) {
            return Ok(reply);
        }
        described.gatekeeper.check_login(settings, request, now)?;
        let Some((name, stream, found)) = route::find(settings, request) else {
            return Err(Refused::not_found(format!("There is no {} {}.", request.method, request.path)));
        };
        let visit = Visit { request, settings, name, stream, strict: self.strict, now };
        order::keep(table, name, stream);
        match found.op {
            Op::List(list) => list::list(&visit, table, list, false, luck),
            Op::Changes(list) => list::list(&visit, table, &list, true, luck),
            Op::Get(get) => list::get(&visit, table, get, &found),
            Op::Find(find) => list::find(&visit, table, find, &found),
            Op::Write(sent, write) => write::write(&visit, table, luck, sent, write, &found),
        }
    }
}

impl Service for ApiMock {
    fn answer(&self, request: &Request, table: &mut Table, luck: &mut Luck, now: Timestamp) -> Reply {
        match &self.described {
            Ok(described) => self
                .route(described, request, table, luck, now)
                .unwrap_or_else(|refused| refused.reply(&described.settings)),
            Err(reason) => Refused::new(500, format!("The description can't be played: {reason}")).plain(),
        }
    }

    fn pace(&self) -> Pace {
        // Nobody knows; as a small service nearby.
        Pace { call_ms: (20, 100), kib_us: 1_000 }
    }

    fn refuse(&self, refusal: Refusal) -> Reply {
        let refused = match refusal {
            Refusal::TooMany { .. } => Refused::new(429, "Too many requests."),
            Refusal::Unavailable => Refused::new(503, "The service is down for maintenance."),
        };
        match &self.described {
            Ok(described) => refused.reply(&described.settings),
            Err(_) => refused.plain(),
        }
    }

    fn is_deleted(&self, object: &Object) -> bool {
        // Which stream it is of is not said: one flag of any of them counts.
        let Ok(described) = &self.described else { return false };
        let text = object_json(object);
        let Ok(raw) = serde_json::from_str::<&serde_json::value::RawValue>(&text) else { return false };
        let places = described.settings.streams.values().filter_map(|stream| stream.deleted.as_ref());
        places.filter_map(|place| place.find(raw)).any(truthy)
    }
}

impl Mock for ApiMock {
    fn handle(&self, request: &Request, now: Timestamp) -> Reply {
        let mut reply = match &self.described {
            Ok(described) if !request.path.starts_with("/__admin/") => {
                match described.gatekeeper.admit(&described.settings, self.desk.clock(now)) {
                    Ok(()) => self.desk.handle(self, request, now),
                    Err(refused) => {
                        let seconds = refused.wait_seconds();
                        refused.reply(&described.settings).with_header("retry-after", seconds.to_string())
                    }
                }
            }
            _ => return self.desk.handle(self, request, now),
        };
        if let Ok(described) = &self.described {
            reply = described.gatekeeper.tell(&described.settings, reply, self.desk.clock(now));
        }
        match http_date(self.desk.clock(now)) {
            Some(date) => reply.with_header("date", date),
            None => reply,
        }
    }

    fn push(
        &self,
        stream: Option<&str>,
        key_field: &str,
        record: &Record,
        now: Timestamp,
    ) -> Result<String, String> {
        let described = self.described.as_ref().map_err(Clone::clone)?;
        let streams: &BTreeMap<String, Stream> = &described.settings.streams;
        let name = match (stream, streams.keys().next()) {
            (Some(name), _) => name,
            (None, Some(first)) => first,
            (None, None) => return Err("the system has no stream".to_owned()),
        };
        let stream = streams.get(name).ok_or_else(|| format!("there is no stream {name}"))?;
        let key = record.get(key_field);
        if matches!(key, Value::Absent | Value::Null | Value::Unknown) {
            return Err(format!("the record has no {key_field}, by which it is found"));
        }
        let now = self.desk.clock(now);
        self.desk.with_table(|table| write::push(name, stream, table, (key_field, key), record, now))?
    }
}
