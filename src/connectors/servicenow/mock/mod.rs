//! The built-in ServiceNow: an instance with the parts of its APIs that a sync needs.
//!
//! Rows hold texts, as the service's do. Without `strict` any table and any field exists from its first use on;
//! with it there are those of `tables.rs`, and nothing else. Stamps have a grain of a second.

mod batch;
mod catalogue;
mod limits;
mod list;
mod login;
mod query;
mod refusal;
mod render;
mod tables;
mod write;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use self::catalogue::{Catalogue, id_of, text_of};
use self::limits::{Hour, Rule};
use self::query::Asker;
use self::refusal::Refused;
use self::write::Hand;
use crate::connectors::mock::{
    Desk, Luck, Mock, MockSettings, Object, Pace, Refusal, Reply, Request, Service, Table, http_date,
};
use crate::engine::record::{Record, Timestamp, Value};

/// The limit that a refusal on demand speaks of.
const TOLD_LIMIT: u64 = 100;

/// Makes the mock.
pub fn make(settings: MockSettings) -> Arc<dyn Mock> {
    let instance = Instance {
        strict: settings.strict,
        seed: settings.seed,
        state: Mutex::new(None),
        hour: Mutex::default(),
    };
    Arc::new(ServiceNowMock { desk: Desk::new(&settings), instance })
}

struct ServiceNowMock {
    desk: Desk,
    instance: Instance,
}

/// The instance beside its rows.
struct Instance {
    strict: bool,
    seed: u64,
    /// Read from the rows when it is first needed.
    state: Mutex<Option<State>>,
    hour: Mutex<Hour>,
}

/// What is known beside the rows.
pub struct State {
    pub catalogue: Catalogue,
}

/// A request to one table.
pub struct Visit<'r> {
    pub request: &'r Request,
    pub stream: String,
    pub now: Timestamp,
    user: &'static str,
    seed: u64,
    /// Version 1 says 404 where nothing is found.
    pub old: bool,
}

impl Visit<'_> {
    fn hand(&self) -> Hand<'_> {
        Hand { user: self.user, now: self.now, seed: self.seed }
    }
}

/// Returns the sys_id of the user that clients log in as.
fn user_id() -> String {
    id_of("sys_user sync")
}

/// Returns the user that clients log in as, with the time zone of its row.
pub fn asker(table: &Table, now: Timestamp) -> Asker {
    let user = user_id();
    let zone = table.get("sys_user", &user).map(|row| text_of(row, "time_zone")).unwrap_or_default();
    Asker::new(user, &zone, now)
}

impl Instance {
    fn state(&self) -> MutexGuard<'_, Option<State>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts the rows in that every instance has, and reads what was learnt.
    fn found<'s>(&self, state: &'s mut Option<State>, table: &mut Table, now: Timestamp) -> &'s mut State {
        let made = state.get_or_insert_with(|| State { catalogue: Catalogue::open(self.strict, table) });
        let id = user_id();
        if table.get("sys_user", &id).is_none() {
            let hand = Hand { user: "system", now, seed: self.seed };
            let row: Object = [
                ("user_name", login::USER),
                ("first_name", "Sync"),
                ("last_name", "User"),
                ("email", login::USER),
                ("time_zone", "GMT"),
            ]
            .into_iter()
            .map(|(name, text)| (name.into(), Value::text(text)))
            .collect();
            write::add(&hand, "sys_user", table, Some(id), row);
        }
        made
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
        if let ["oauth_token.do"] = segments.as_slice() {
            return Ok(login::grant(request, table, self.seed, now));
        }
        let user = login::user(request, self.seed, now).ok_or_else(Refused::login)?;
        let (version, rest) = match segments.as_slice() {
            ["api", "now", version @ ("v1" | "v2"), rest @ ..] => (*version, rest),
            ["api", "now", rest @ ..] => ("", rest),
            _ => return Err(Refused::route()),
        };
        let method = request.header("x-http-method-override").unwrap_or(&request.method).to_uppercase();
        check_headers(request, &method)?;
        let mut guard = self.state();
        let state = self.found(&mut guard, table, now);
        match (method.as_str(), rest) {
            ("POST", ["batch"]) => batch::batch(request, |inner| {
                let answered = self.inner(inner, state, table, luck, now, user);
                dated(answered.unwrap_or_else(|refused| refused.reply()), now)
            }),
            (_, ["batch"]) => Err(Refused::method()),
            (_, ["table", stream, rest @ ..]) => {
                let visit = Visit {
                    request,
                    stream: (*stream).to_owned(),
                    now,
                    user,
                    seed: self.seed,
                    old: version == "v1",
                };
                self.rows(&visit, state, table, luck, &method, rest)
            }
            _ => Err(Refused::route()),
        }
    }

    /// Answers one request of a batch.
    fn inner(
        &self,
        request: &Request,
        state: &mut State,
        table: &mut Table,
        luck: &mut Luck,
        now: Timestamp,
        user: &'static str,
    ) -> Result<Reply, Refused> {
        let segments = request.segments();
        let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
        let (old, stream, rest) = match segments.as_slice() {
            ["api", "now", version @ ("v1" | "v2"), "table", stream, rest @ ..] => {
                (*version == "v1", stream, rest)
            }
            ["api", "now", "table", stream, rest @ ..] => (false, stream, rest),
            _ => return Err(Refused::route()),
        };
        check_headers(request, &request.method)?;
        let visit = Visit { request, stream: (*stream).to_owned(), now, user, seed: self.seed, old };
        self.rows(&visit, state, table, luck, &request.method.to_uppercase(), rest)
    }

    fn rows(
        &self,
        visit: &Visit<'_>,
        state: &mut State,
        table: &mut Table,
        luck: &mut Luck,
        method: &str,
        rest: &[&str],
    ) -> Result<Reply, Refused> {
        if !state.catalogue.has_table(&visit.stream) {
            return Err(Refused::table(&visit.stream));
        }
        // These tell what there is; nobody changes them here.
        if matches!(visit.stream.as_str(), "sys_db_object" | "sys_dictionary") {
            let mut about = state.catalogue.about_itself("2020-01-01 00:00:00");
            return match (method, rest) {
                ("GET", []) => list::list(visit, state, &mut about, luck),
                ("GET", [id]) => list::get(visit, state, &about, id),
                _ => Err(Refused::acl("Update")),
            };
        }
        match (method, rest) {
            ("GET", []) => list::list(visit, state, table, luck),
            ("GET", [id]) => list::get(visit, state, table, id),
            ("POST", []) => write::insert(visit, state, table, luck),
            ("PATCH" | "PUT", [id]) => write::update(visit, state, table, luck, id),
            ("DELETE", [id]) => write::delete(visit, table, luck, id),
            (_, [] | [_]) => Err(Refused::method()),
            _ => Err(Refused::route()),
        }
    }
}

/// Refuses what is no JSON, in either direction.
fn check_headers(request: &Request, method: &str) -> Result<(), Refused> {
    let takes =
        request.header("accept").is_none_or(|accept| accept.contains("json") || accept.contains("*/*"));
    if !takes {
        return Err(Refused::accept());
    }
    let kind = request.header("content-type").unwrap_or_default();
    let carries = matches!(method, "POST" | "PUT" | "PATCH");
    match carries && kind.split(';').next().map(str::trim) != Some("application/json") {
        true => Err(Refused::media_type()),
        false => Ok(()),
    }
}

impl Service for Instance {
    fn answer(&self, request: &Request, table: &mut Table, luck: &mut Luck, now: Timestamp) -> Reply {
        let rule = Rule::find(table).filter(|_| request.path.starts_with("/api/"));
        let Some(rule) = rule else {
            let answered = self.route(request, table, luck, now);
            return answered.unwrap_or_else(|refused| refused.reply());
        };
        let wait = self.hour.lock().unwrap_or_else(PoisonError::into_inner).count(&rule, now);
        let reply = match wait {
            Some(wait) => Refused::rate(rule.limit).reply().with_header("retry-after", wait.to_string()),
            None => self.route(request, table, luck, now).unwrap_or_else(|refused| refused.reply()),
        };
        rule.told(reply, now)
    }

    fn pace(&self) -> Pace {
        // Forum measurements: first byte after 50 to 200 ms. SnowMirror's documents: 7.5 million rows of seven columns in
        // an hour over four connections, 1.9 ms a row of about 300 bytes.
        Pace { call_ms: (50, 200), kib_us: 6_500 }
    }

    fn refuse(&self, refusal: Refusal) -> Reply {
        match refusal {
            Refusal::TooMany { .. } => Refused::rate(TOLD_LIMIT).reply(),
            Refusal::Unavailable => Refused::unavailable().reply(),
        }
    }
}

impl Mock for ServiceNowMock {
    fn handle(&self, request: &Request, now: Timestamp) -> Reply {
        let reply = self.desk.handle(&self.instance, request, now);
        match request.path.starts_with("/__admin/") {
            true => reply,
            false => dated(reply, self.desk.clock(now)),
        }
    }

    fn logins(&self) -> &'static [(&'static str, &'static str)] {
        login::LOGINS
    }

    fn push(
        &self,
        stream: Option<&str>,
        key_field: &str,
        record: &Record,
        now: Timestamp,
    ) -> Result<String, String> {
        let stream = stream.unwrap_or("incident");
        let key = record.get(key_field);
        if key.is_blank() {
            return Err(format!("the record has no {key_field}, by which it is found"));
        }
        let luck = self.desk.luck();
        let now = self.desk.clock(now);
        self.desk.with_table(|table| {
            let mut guard = self.instance.state();
            let state = self.instance.found(&mut guard, table, now);
            if !state.catalogue.has_table(stream) {
                return Err(format!("there is no table {stream}"));
            }
            let hand = Hand { user: "admin", now, seed: self.instance.seed };
            write::push(&hand, stream, state, table, (key_field, key), record, &luck)
                .map_err(|refused| refused.sentence())
        })?
    }
}

/// Adds the service's time, as HTTP writes it.
fn dated(reply: Reply, now: Timestamp) -> Reply {
    match http_date(now) {
        Some(date) => reply.with_header("date", date),
        None => reply,
    }
}
