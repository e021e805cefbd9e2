//! A bad day: everything that a server can do to us, at once, over changes in both directions.
//!
//! `RECORD_SYNC_STORM=25000` makes so many changes each way; few for every day.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::daemon::{Answer, Daemon, until};
use super::home::{Home, add_people, people};

const MAX_REQUESTS: usize = 60;
const WINDOW_MS: i64 = 1_000;
const OPEN_FOR_MS: u128 = 300;
const FAILURES: u128 = 5;

const SETTINGS: &str = r#"
[service]
state = "sqlite:data/state.sqlite"

[default]
max_requests = 60
window_size = 1
batch_size = 200
flush_interval = 0.05

[default.systems.app]
connector = "sqlite"
path = "data/demo.sqlite"

[default.systems.salesforce]
connector = "salesforce"
base_url = "mock"
breaker = { failures = 5, open_for = 0.3, open_max = 1.0 }
retry = { base = 0.05, max = 0.5, attempts_max = 30 }

[default.links.l]
a = { system = "app", stream = "users", key = "record_id" }
b = { system = "salesforce", stream = "Contact", key = "record_id" }
poll_interval = 0.2
"#;
const RULES: &str = r#"{"links": {"l": {"fields": {"record_id": "record_id", "name": "full_name", "email": "email_address"}}}}"#;

fn changes() -> i64 {
    let asked = std::env::vars().find(|(name, _)| name == "RECORD_SYNC_STORM");
    asked.map_or(2_500, |(_, changes)| changes.parse().unwrap())
}

/// 20 % 503, 5 % 429, 2 % lost replies, 1 % of the records refused, slow replies.
fn storm() -> Value {
    json!({"rate_503": 0.2, "rate_429": 0.05, "retry_after_seconds": 1, "rate_lost_reply": 0.02,
        "rate_record_failure": 0.01, "latency_ms": 5})
}

/// What the state says, in one transaction: every job that was ever accepted, and where it is.
struct Books(Connection);

impl Books {
    fn open(home: &Home) -> Self {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let conn = Connection::open_with_flags(home.path("data/state.sqlite"), flags).unwrap();
        conn.busy_timeout(super::PATIENCE).unwrap();
        Self(conn)
    }

    /// Asserts that nothing is unaccounted for; gives how many jobs are still to be done.
    fn balance(&mut self) -> i64 {
        let tx = self.0.transaction().unwrap();
        let sums = "SELECT sum(accepted), sum(delivered + superseded + cancelled + dead) FROM links";
        let (accepted, ended): (i64, i64) =
            tx.query_row(sums, [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        let active: i64 =
            tx.query_row("SELECT count(*) FROM jobs WHERE state < 5", [], |row| row.get(0)).unwrap();
        assert_eq!(accepted, ended + active, "accepted = ended + active");
        active
    }

    /// The dead letters: keys with their reasons.
    fn dead(&self) -> BTreeMap<i64, String> {
        let sql = "SELECT coalesce(payload, ''), coalesce(error, '') FROM jobs WHERE state = 6";
        let mut select = self.0.prepare(sql).unwrap();
        let rows =
            select.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?))).unwrap();
        rows.map(Result::unwrap)
            .map(|(payload, error)| {
                let payload: Value = serde_json::from_str(&payload).unwrap();
                let id = &payload["record_id"];
                let id = id.as_i64().or_else(|| id.as_str().and_then(|id| id.parse().ok()));
                (id.unwrap_or_else(|| panic!("no id in {payload}")), error)
            })
            .collect()
    }
}

#[tokio::test]
async fn on_a_bad_day_everything_arrives_or_says_why_not() {
    let count = changes();
    let home = Home::new(SETTINGS, RULES);
    let daemon = Daemon::start_mute(&home);
    daemon.pass("l").await;
    let mut books = Books::open(&home);
    daemon.forget_arrivals("default", "salesforce").await;
    daemon.misbehave("default", "salesforce", storm()).await;
    add_people(&mut home.app(), 1..=count);
    for id in count + 1..=2 * count {
        let person = json!({"record_id": id, "full_name": format!("Contact {id}"),
            "email_address": format!("contact{id}@example.test")});
        assert_eq!(daemon.post("/v1/crms/mock/salesforce/push", person).await.status, 201);
        if id % 50 == 0 {
            books.balance();
        }
        if id == count + count / 2 {
            outage(&daemon, &mut books).await;
        }
    }
    home.app().execute("UPDATE users SET name = name || '!' WHERE record_id % 3 = 0", []).unwrap();

    // The storm goes on until there is nothing left to do.
    let dead = settled(&daemon, &home, &mut books, count).await;
    for (id, reason) in &dead {
        assert!(!reason.is_empty(), "{id} is dead without a reason");
    }
    let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
    dead.values().for_each(|reason| *reasons.entry(reason).or_default() += 1);
    assert!(dead.len() as i64 <= count / 5 + 20, "{} of {} are dead: {reasons:?}", dead.len(), 2 * count);
    windows_hold(&daemon).await;

    let late = dead.len();
    // Tried again on a good day, the dead arrive as well.
    daemon.misbehave("default", "salesforce", json!({})).await;
    for id in dead.keys() {
        assert_eq!(daemon.post(&format!("/v1/sync/retry/{id}"), json!({})).await.status, 202, "{id}");
    }
    let dead = settled(&daemon, &home, &mut books, count).await;
    assert!(dead.is_empty(), "{dead:?}");
    println!("storm: {} changes, {late} of them on the next day, all arrived, none twice", 2 * count);
}

/// What can't be delivered is read only as far as the queue has room; the rest waits at its source.
#[tokio::test]
async fn a_full_queue_stops_its_source_and_nothing_is_lost() {
    let (rows, mark, pages) = (5_000, 500, 3 * 1_000);
    let home = Home::new(&format!("{SETTINGS}queue_max = {mark}\n"), RULES);
    let daemon = Daemon::start_mute(&home);
    daemon.pass("l").await;
    let mut books = Books::open(&home);
    daemon.misbehave("default", "salesforce", json!({"rate_503": 1.0})).await;
    add_people(&mut home.app(), 1..=rows);
    let waits = |answer: &Answer| answer.body["items"][0]["a"]["error"].to_string().contains("queue_max");
    daemon.until("/v1/links", "reading waits, and says so", waits).await;
    for _ in 0..20 {
        let active = books.balance();
        assert!(active >= mark && active <= mark + pages, "{active} jobs");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    daemon.misbehave("default", "salesforce", json!({})).await;
    let there = async || daemon.records("default", "salesforce", "Contact").await.len();
    until("all of them", there, |&count| count == 5_000).await;
    daemon.pass("l").await;
    let told = daemon.get("/v1/links").await;
    assert_eq!(told.body["items"][0]["a"]["error"], Value::Null, "{told:?}");
    assert_eq!(books.balance(), 0);
}

/// The server answers nothing but 503 for a while: it is left alone, but for probes.
async fn outage(daemon: &Daemon, books: &mut Books) {
    daemon.misbehave("default", "salesforce", json!({"rate_503": 1.0})).await;
    let open = |answer: &Answer| answer.body.to_string().contains("\"state\":\"open\"");
    daemon.until("/v1/sync/status", "the breaker opens", open).await;
    let before = daemon.arrivals("default", "salesforce").await.len();
    let began = Instant::now();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let calls = daemon.arrivals("default", "salesforce").await.len() - before;
    let most = FAILURES + began.elapsed().as_millis() / OPEN_FOR_MS;
    assert!((calls as u128) <= most, "{calls} calls to a server that is down, at most {most}");
    books.balance();
    daemon.misbehave("default", "salesforce", storm()).await;
}

/// Waits until every record is on both sides and alike, or dead; gives the dead.
async fn settled(daemon: &Daemon, home: &Home, books: &mut Books, count: i64) -> BTreeMap<i64, String> {
    let limit = super::PATIENCE.max(Duration::from_millis(20 * count.unsigned_abs()));
    let began = Instant::now();
    loop {
        let active = books.balance();
        let dead = books.dead();
        let open = unsettled(daemon, home, count, &dead).await;
        if active == 0 && open.is_empty() && books.balance() == 0 {
            return dead;
        }
        assert!(began.elapsed() < limit, "{active} jobs, {} records left: {:?}", open.len(), open.first());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// The records that are not alike on both sides; fails where one is there twice.
async fn unsettled(daemon: &Daemon, home: &Home, count: i64, dead: &BTreeMap<i64, String>) -> Vec<i64> {
    let contacts = daemon.records("default", "salesforce", "Contact").await;
    let mut by_key: BTreeMap<i64, (String, String)> = BTreeMap::new();
    for contact in &contacts {
        let id = contact["record_id"].as_i64().or_else(|| contact["record_id"].as_str()?.parse().ok());
        let text = |field: &str| contact[field].as_str().unwrap_or_default().to_owned();
        let twice = by_key.insert(id.unwrap(), (text("full_name"), text("email_address")));
        assert!(twice.is_none(), "twice: {contact}");
    }
    let users: BTreeMap<i64, (String, String)> =
        people(&home.app()).into_iter().map(|(id, name, email)| (id, (name, email))).collect();
    let all: BTreeSet<i64> = (1..=2 * count).collect();
    all.into_iter()
        .filter(|id| !dead.contains_key(id) && (!by_key.contains_key(id) || by_key.get(id) != users.get(id)))
        .collect()
}

/// Asserts from the server's own log that no window ever held more than it may.
async fn windows_hold(daemon: &Daemon) {
    let arrivals = daemon.arrivals("default", "salesforce").await;
    let at: Vec<i64> = arrivals.iter().map(super::window::millis).collect();
    for window in at.windows(MAX_REQUESTS + 1) {
        let span = window[MAX_REQUESTS] - window[0];
        assert!(span >= WINDOW_MS, "{} requests within {span} ms", MAX_REQUESTS + 1);
    }
    let failed = arrivals.iter().filter(|arrival| arrival["status"].as_u64() >= Some(400)).count();
    assert!(failed > 0, "a storm that nobody notices is none");
}
