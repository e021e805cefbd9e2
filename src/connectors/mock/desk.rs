//! The front desk of a mock: the test's own door, faults on demand, the log of arrivals.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::{Arrival, Faults, MockSettings, Object, Pace, Reply, Request, Table, object_json};
use crate::engine::record::{Timestamp, Value};

/// Arrivals that are kept; older ones are forgotten.
const ARRIVALS_MAX: usize = 250_000;

/// What a mock must know of its own system.
pub trait Service: Send + Sync {
    /// Answers a request that nothing keeps from arriving. Runs with the table locked; what it
    /// changes is flushed before the reply goes out.
    fn answer(&self, request: &Request, table: &mut Table, luck: &mut Luck, now: Timestamp) -> Reply;
    /// Writes a refusal as the real system would.
    fn refuse(&self, refusal: Refusal) -> Reply;
    /// Returns the stream's name as [`Table`] has it, for the test's own door.
    fn stream_name(&self, asked: &str) -> String {
        asked.to_owned()
    }
    /// Answers at the test's own door what only this service can do; `None` where there is no such thing.
    fn door(&self, _method: &str, _path: &[&str], _table: &mut Table, _now: Timestamp) -> Option<Reply> {
        None
    }
    /// Says how long the real service takes.
    fn pace(&self) -> Pace;
    /// Tells whether an object counts as deleted and is not shown by the test's own door.
    fn is_deleted(&self, _object: &Object) -> bool {
        false
    }
}

/// Why a request is refused without being looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// 429; the desk adds `Retry-After`.
    TooMany { retry_after_seconds: u64 },
    /// 503.
    Unavailable,
}

/// What fate holds for one request. Drawn from the seed and the request's number, so that the same
/// requests in the same order meet the same faults.
#[derive(Clone, Debug)]
pub struct Luck {
    seed: u64,
    number: u64,
    drawn: u64,
    faults: Faults,
    /// Records that the request carries, for the log; the service fills it in.
    pub records: usize,
}

impl Luck {
    /// Draws whether the next record of a batch is to be refused.
    pub fn record_fails(&mut self) -> bool {
        self.drawn += 1;
        let rate = self.faults.rate_record_failure;
        hits(rate, self.seed, self.number, self.drawn.wrapping_add(1 << 32))
    }

    /// Tells whether list reads are to answer with an empty page.
    pub fn empty_pages(&self) -> bool {
        self.faults.empty_pages
    }

    /// Tells whether a refresh token is good once.
    pub fn takes_tokens_once(&self) -> bool {
        self.faults.single_use_tokens
    }

    /// Tells how long access tokens live, where a test says so.
    pub fn token_seconds(&self) -> Option<u64> {
        self.faults.token_seconds
    }

    /// Tells how many calls a day has, where a test says so.
    pub fn daily_calls(&self) -> Option<u64> {
        self.faults.daily_calls
    }

    /// Tells whether bulk jobs are to get no further.
    pub fn jobs_stand(&self) -> bool {
        self.faults.jobs_stand
    }

    /// Tells whether records like others are refused.
    pub fn duplicate_rules(&self) -> bool {
        self.faults.duplicate_rules
    }

    /// Lets this request save records like others.
    pub fn overrule_duplicates(&mut self) {
        self.faults.duplicate_rules = false;
    }

    /// Changes a value as the system would on storing it.
    pub fn stored(&self, value: Value) -> Value {
        match value {
            Value::Text(text) if self.faults.normalise_text => Value::text(text.trim().to_lowercase()),
            other => other,
        }
    }
}

/// The state that every mock has.
pub struct Desk {
    seed: u64,
    pub strict: bool,
    table: Mutex<Table>,
    data: Option<PathBuf>,
    /// The data can't be used, or could not when it was last tried: every request tries again, and is answered
    /// with the reason.
    broken: AtomicBool,
    faults: Mutex<Faults>,
    arrivals: Mutex<VecDeque<Arrival>>,
    requests: AtomicU64,
}

impl Desk {
    /// Opens the desk and its table. A data file that can't be used does not stop the program: the
    /// mock answers every request with the reason.
    pub fn new(settings: &MockSettings) -> Self {
        let opened = Table::open(settings.data.as_deref());
        let broken = AtomicBool::new(opened.is_err());
        Self {
            seed: settings.seed,
            strict: settings.strict,
            table: Mutex::new(opened.unwrap_or_default()),
            data: settings.data.clone(),
            broken,
            faults: Mutex::new(settings.faults.clone()),
            arrivals: Mutex::default(),
            requests: AtomicU64::new(0),
        }
    }

    /// Works on the table, then flushes it.
    pub fn with_table<T>(&self, work: impl FnOnce(&mut Table) -> T) -> Result<T, String> {
        let mut table = lock(&self.table);
        if self.broken.load(Ordering::Relaxed) {
            *table = Table::open(self.data.as_deref())?;
            self.broken.store(false, Ordering::Relaxed);
        }
        table.stamp_as(&lock(&self.faults));
        let result = work(&mut table);
        table.flush()?;
        Ok(result)
    }

    /// Gives what fate holds for a change that comes in past the wire: no faults, but the same
    /// habits of storing.
    pub fn luck(&self) -> Luck {
        let faults = Faults { normalise_text: self.faults().normalise_text, ..Faults::default() };
        Luck { seed: self.seed, number: 0, drawn: 0, faults, records: 1 }
    }

    /// Tells the service's time.
    pub fn clock(&self, now: Timestamp) -> Timestamp {
        Timestamp(now.0.saturating_add(lock(&self.faults).clock_ms))
    }

    /// Returns the faults in force.
    pub fn faults(&self) -> Faults {
        lock(&self.faults).clone()
    }

    /// Answers one request: the test's own door, or the service as far as fate lets it.
    pub fn handle(&self, service: &dyn Service, request: &Request, now: Timestamp) -> Reply {
        if let Some(path) = request.path.strip_prefix("/__admin/") {
            return self.admin(service, path, request, self.clock(now));
        }
        let now = self.clock(now);
        let faults = self.faults();
        let number = self.requests.fetch_add(1, Ordering::Relaxed);
        let mut luck = Luck { seed: self.seed, number, drawn: 0, faults, records: 0 };
        let mut reply = self.fated(service, request, &mut luck, now);
        reply.delay = Duration::from_millis(luck.faults.latency_ms);
        if luck.faults.lifelike {
            let bytes = request.body.len() + reply.body.len();
            reply.delay += service.pace().takes(drawn(self.seed, number, 4), bytes);
        }
        let arrival = Arrival {
            at: now,
            method: request.method.clone(),
            path: request.path.clone(),
            status: reply.status,
            records: luck.records,
            correlation_id: request.header("x-correlation-id").map(str::to_owned),
        };
        let mut arrivals = lock(&self.arrivals);
        if arrivals.len() >= ARRIVALS_MAX {
            arrivals.pop_front();
        }
        arrivals.push_back(arrival);
        reply
    }

    fn fated(&self, service: &dyn Service, request: &Request, luck: &mut Luck, now: Timestamp) -> Reply {
        let draw = |rate: f64, kind: u64| hits(rate, self.seed, luck.number, kind);
        if draw(luck.faults.rate_429, 1) {
            let retry_after_seconds = luck.faults.retry_after_seconds;
            return service
                .refuse(Refusal::TooMany { retry_after_seconds })
                .with_header("retry-after", retry_after_seconds.to_string());
        }
        if draw(luck.faults.rate_503, 2)
            || luck.faults.breaks_on.as_ref().is_some_and(|text| names(request, text))
        {
            return service.refuse(Refusal::Unavailable);
        }
        let lost = draw(luck.faults.rate_lost_reply, 3);
        let mut reply = match self.with_table(|table| service.answer(request, table, luck, now)) {
            Ok(reply) => reply,
            Err(reason) => admin_error(500, &reason),
        };
        reply.cut |= lost;
        reply
    }

    fn admin(&self, service: &dyn Service, path: &str, request: &Request, now: Timestamp) -> Reply {
        match (request.method.as_str(), path.trim_end_matches('/')) {
            ("GET", "faults") => json_reply(&self.faults()),
            ("PUT", "faults") => match serde_json::from_slice::<Faults>(&request.body) {
                Ok(faults) => {
                    *lock(&self.faults) = faults.clone();
                    json_reply(&faults)
                }
                Err(error) => admin_error(400, &format!("the faults can't be read: {error}")),
            },
            ("GET", "arrivals") => json_reply(&*lock(&self.arrivals)),
            ("DELETE", "arrivals") => {
                lock(&self.arrivals).clear();
                Reply::empty(204)
            }
            ("GET", path) => match path.strip_prefix("records/") {
                Some(stream) => self.admin_records(service, stream),
                None => {
                    admin_error(404, "there is /__admin/faults, /__admin/arrivals, /__admin/records/{stream}")
                }
            },
            (method, path) => {
                let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
                match self.with_table(|table| service.door(method, &parts, table, now)) {
                    Ok(Some(reply)) => reply,
                    Ok(None) => {
                        admin_error(405, "GET faults, arrivals or records, PUT faults, DELETE arrivals")
                    }
                    Err(reason) => admin_error(500, &reason),
                }
            }
        }
    }

    fn admin_records(&self, service: &dyn Service, stream: &str) -> Reply {
        let stream = percent_encoding::percent_decode_str(stream).decode_utf8_lossy();
        let stream = service.stream_name(&stream);
        let listed = self.with_table(|table| {
            let live = table.rows(&stream).filter(|(_, object)| !service.is_deleted(object));
            live.map(|(_, object)| object_json(object)).collect::<Vec<_>>()
        });
        match listed {
            Ok(objects) => Reply::json(200, format!("[{}]", objects.join(","))),
            Err(reason) => admin_error(500, &reason),
        }
    }
}

/// Tells whether a request has a text in its path, its query or its body.
fn names(request: &Request, text: &str) -> bool {
    let in_pairs = |pairs: &str| query_pairs(pairs).iter().any(|(_, value)| value.contains(text));
    in_pairs(&request.query)
        || request.segments().iter().any(|segment| segment.contains(text))
        || String::from_utf8_lossy(&request.body).contains(text)
}

/// Splits and decodes a query or a form.
pub fn query_pairs(text: &str) -> Vec<(String, String)> {
    url::form_urlencoded::parse(text.as_bytes()).into_owned().collect()
}

fn json_reply(body: &impl serde::Serialize) -> Reply {
    match serde_json::to_vec(body) {
        Ok(body) => Reply::json(200, body),
        Err(error) => admin_error(500, &error.to_string()),
    }
}

fn admin_error(status: u16, message: &str) -> Reply {
    Reply::json(status, serde_json::json!({ "error": message }).to_string())
}

/// Draws one event of a given rate.
fn hits(rate: f64, seed: u64, number: u64, kind: u64) -> bool {
    rate > 0.0 && drawn(seed, number, kind) < rate
}

/// Draws from [0, 1).
fn drawn(seed: u64, number: u64, kind: u64) -> f64 {
    let mut bytes = [0_u8; 24];
    for (place, part) in bytes.chunks_exact_mut(8).zip([seed, number, kind]) {
        place.copy_from_slice(&part.to_le_bytes());
    }
    // The top 53 bits make an even draw.
    (xxhash_rust::xxh3::xxh3_64(&bytes) >> 11) as f64 / (1_u64 << 53) as f64
}

/// Locks; a panic elsewhere leaves plain data behind, so its mark is ignored.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Yes;

    impl Service for Yes {
        fn answer(&self, _: &Request, _: &mut Table, luck: &mut Luck, _: Timestamp) -> Reply {
            luck.records = 1;
            Reply::json(200, if luck.record_fails() { "bad" } else { "good" })
        }
        fn pace(&self) -> Pace {
            Pace { call_ms: (50, 200), kib_us: 1_000 }
        }
        fn refuse(&self, refusal: Refusal) -> Reply {
            Reply::empty(if refusal == Refusal::Unavailable { 503 } else { 429 })
        }
    }

    fn ask(desk: &Desk, method: &str, path: &str, body: &str) -> Reply {
        let request = Request {
            method: method.into(),
            path: path.into(),
            body: body.as_bytes().to_vec(),
            ..Request::default()
        };
        desk.handle(&Yes, &request, Timestamp(5))
    }

    #[test]
    fn the_same_seed_meets_the_same_faults_at_the_rates_asked_for() {
        let faults = Faults {
            rate_429: 0.2,
            rate_503: 0.1,
            rate_lost_reply: 0.1,
            rate_record_failure: 0.5,
            ..Faults::default()
        };
        type Told = (u16, bool, Vec<u8>);
        let story = |seed| -> Vec<Told> {
            let desk = Desk::new(&MockSettings { seed, faults: faults.clone(), ..MockSettings::default() });
            let replies = (0..1000).map(|_| ask(&desk, "GET", "/x", ""));
            replies.map(|reply| (reply.status, reply.cut, reply.body)).collect()
        };
        assert_eq!(story(1), story(1));
        assert_ne!(story(1), story(2));
        let part = |hit: &dyn Fn(&Told) -> bool| story(1).iter().filter(|it| hit(it)).count();
        assert!((150..250).contains(&part(&|it| it.0 == 429)), "a fifth");
        assert!((50..110).contains(&part(&|it| it.0 == 503)), "a tenth of the rest");
        assert!((40..110).contains(&part(&|it| it.1)), "a tenth of what is left");
        assert!((300..420).contains(&part(&|it| it.2 == b"bad")), "half of what was answered");
    }

    #[test]
    fn the_tests_own_door_changes_faults_and_is_not_logged() {
        let desk = Desk::new(&MockSettings::default());
        assert_eq!(ask(&desk, "GET", "/x", "").status, 200);
        let reply = ask(&desk, "PUT", "/__admin/faults", r#"{"rate_429": 1, "retry_after_seconds": 3}"#);
        assert_eq!(reply.status, 200);
        let refused = ask(&desk, "GET", "/y", "");
        assert_eq!(refused.status, 429);
        assert!(refused.headers.contains(&("retry-after".into(), "3".into())));
        assert_eq!(ask(&desk, "PUT", "/__admin/faults", r#"{"rate_500": 1}"#).status, 400, "unknown member");
        let log = ask(&desk, "GET", "/__admin/arrivals", "");
        let log: serde_json::Value = serde_json::from_slice(&log.body).expect("JSON");
        let statuses: Vec<_> =
            log.as_array().expect("a list").iter().map(|it| it["status"].clone()).collect();
        assert_eq!(statuses, [200, 429]);
        assert_eq!(ask(&desk, "DELETE", "/__admin/arrivals", "").status, 204);
        assert_eq!(ask(&desk, "GET", "/__admin/arrivals", "").body, b"[]");
    }
}
