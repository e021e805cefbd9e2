//! What no cursor can see is found by the audit; what comes late stretches the overlap.

use rusqlite::Connection;
use serde_json::{Value, json};

use super::daemon::{Answer, Daemon, until};
use super::home::{Home, RULES, TRIANGLE, add_people, people};

const TABLES: &str = r#"
[service]
state = "sqlite:data/state.sqlite"

[default]
flush_interval = 0.0

[default.systems.one]
connector = "sqlite"
path = "data/one.sqlite"

[default.systems.two]
connector = "sqlite"
path = "data/two.sqlite"

[default.links.l]
a = { system = "one", stream = "t", key = "id", END }
b = { system = "two", stream = "t", key = "id" }
poll_interval = 0.1
audit_interval = AUDIT
"#;
const FIELDS: &str = r#"{"links": {"l": {"fields": {"id": "id", "x": "x"}}}}"#;
const COLUMN: &str = r#"capture = "column", updated_at = "at""#;
const TRIGGERS: &str = r#"capture = "triggers""#;
/// An hour as the stamps of these tests are counted from.
const START: i64 = 1_767_225_600;

struct World {
    home: Home,
    daemon: Daemon,
}

impl World {
    /// Two tables in step; thirty rows, a second apart.
    async fn start(end: &str, audit: &str) -> Self {
        let home = Home::new(&TABLES.replace("END", end).replace("AUDIT", audit), FIELDS);
        for table in ["one", "two"] {
            home.open(&format!("data/{table}.sqlite"))
                .execute_batch(
                    "PRAGMA journal_mode = wal;
                     CREATE TABLE t (id INTEGER PRIMARY KEY, x TEXT, at INTEGER)",
                )
                .unwrap();
        }
        let rows: Vec<String> = (1..=30).map(|id| format!("({id}, 'x{id}', {})", START + id)).collect();
        home.open("data/one.sqlite")
            .execute_batch(&format!("INSERT INTO t VALUES {}", rows.join(",")))
            .unwrap();
        let daemon = Daemon::start(&home);
        let world = Self { home, daemon };
        until("both are full", async || world.number("SELECT count(*) FROM t"), |&count| count == 30).await;
        world.daemon.pass("l").await;
        world
    }

    fn db(&self, table: &str) -> Connection {
        self.home.open(&format!("data/{table}.sqlite"))
    }

    fn run(&self, sql: &str) {
        self.db("one").execute_batch(sql).unwrap();
    }

    /// Asks the table at the other side.
    fn number(&self, sql: &str) -> i64 {
        self.db("two").query_row(sql, [], |row| row.get(0)).unwrap()
    }

    async fn arrives(&self, x: &str) {
        let sql = format!("SELECT count(*) FROM t WHERE x = '{x}'");
        until(x, async || self.number(&sql), |&count| count == 1).await;
    }

    fn logged(&self, event: &str) -> Vec<Value> {
        let log = self.home.read("logs/record_sync.log");
        let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.filter(|line| line["event"] == event).collect()
    }

    async fn side(&self) -> Value {
        self.daemon.get("/v1/links").await.body["items"][0]["a"].clone()
    }
}

#[tokio::test]
async fn what_no_cursor_could_see_is_found() {
    for end in [COLUMN, TRIGGERS] {
        let world = World::start(end, "0.3").await;
        // Stamps of years ago, and no stamp touched.
        world.run(&format!(
            "INSERT INTO t VALUES (100, 'imported', {});
             UPDATE t SET x = 'untouched' WHERE id = 7;
             DELETE FROM t WHERE id = 8;",
            START - 90_000_000
        ));
        for x in ["imported", "untouched"] {
            world.arrives(x).await;
        }
        let deleted = async || world.number("SELECT count(*) FROM t WHERE id = 8");
        until("a deletion", deleted, |&count| count == 0).await;
        if end == COLUMN {
            let missed = |answer: &Answer| answer.body.as_str().unwrap().contains("what=\"missed\"} 2");
            world.daemon.until("/metrics", "two were missed", missed).await;
            let done: u64 =
                world.logged("audit.done").iter().map(|line| line["missed"].as_u64().unwrap()).sum();
            assert_eq!(done, 2, "each is found once");
            let older = world.logged("cursor.older");
            assert_eq!(older.len(), 1, "an import teaches the overlap nothing: {older:?}");
            assert_eq!(world.side().await["overlap_seconds"], 5.0);
        }
        let audited = world.side().await["audited"].clone();
        assert_eq!(audited["records"], 30, "{audited}");
    }
}

#[tokio::test]
async fn what_no_log_has_seen_is_found() {
    let world = World::start(TRIGGERS, "0.3").await;
    let mut conn = world.db("one");
    let tx = conn.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate).unwrap();
    let triggers: Vec<(String, String)> = tx
        .prepare("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'")
        .unwrap()
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert_eq!(triggers.len(), 3);
    for (name, _) in &triggers {
        tx.execute_batch(&format!("DROP TRIGGER \"{name}\"")).unwrap();
    }
    tx.execute_batch("UPDATE t SET x = 'unseen' WHERE id = 3; INSERT INTO t VALUES (50, 'unlogged', 0); DELETE FROM t WHERE id = 4").unwrap();
    for (_, sql) in &triggers {
        tx.execute_batch(sql).unwrap();
    }
    tx.commit().unwrap();
    for x in ["unseen", "unlogged"] {
        world.arrives(x).await;
    }
    let deleted = async || world.number("SELECT count(*) FROM t WHERE id = 4");
    until("a deletion", deleted, |&count| count == 0).await;
    let sum = async |what: &str| -> u64 {
        world.logged("audit.done").iter().map(|line| line[what].as_u64().unwrap()).sum()
    };
    until("told", async || (sum("missed").await, sum("gone").await), |&told| told == (2, 1)).await;
}

#[tokio::test]
async fn a_row_that_is_pushed_out_without_a_word_is_gone() {
    let world = World::start(TRIGGERS, "0.3").await;
    world.run("CREATE UNIQUE INDEX one_x ON t (x)");
    // Over another unique column: SQLite fires no trigger for the row that goes.
    world.run("INSERT OR REPLACE INTO t VALUES (200, 'x9', 0)");
    let rows = async || world.number("SELECT sum(id) FROM t WHERE id IN (9, 200)");
    until("one for the other", rows, |&sum| sum == 200).await;
    let gone = |answer: &Answer| answer.body["items"][0]["a"]["audited"]["records"] == 30;
    world.daemon.until("/v1/links", "audited", gone).await;
}

#[tokio::test]
async fn lateness_stretches_the_overlap_and_says_so() {
    let world = World::start(COLUMN, "0").await;
    let newest = START + 30;
    let overlap = async |world: &World, wanted: f64| {
        let is = |answer: &Answer| answer.body["items"][0]["a"]["overlap_seconds"] == wanted;
        world.daemon.until("/v1/links", &format!("an overlap of {wanted}"), is).await;
    };
    overlap(&world, 5.0).await;
    // (how late, the overlap afterwards): each is met in the overlap that the one before has stretched.
    for (late, wanted) in [(2, 5.0), (4, 8.0), (7, 14.0), (13, 26.0), (20, 40.0)] {
        world.run(&format!("INSERT INTO t VALUES ({}, 'late{late}', {})", 1000 + late, newest - late));
        world.arrives(&format!("late{late}")).await;
        overlap(&world, wanted).await;
    }
    let told: Vec<(f64, f64, f64)> = world
        .logged("cursor.overlap")
        .iter()
        .map(|line| {
            let seconds = |name: &str| line[name].as_f64().unwrap();
            (seconds("late_seconds"), seconds("from_seconds"), seconds("to_seconds"))
        })
        .collect();
    assert_eq!(told, [(4.0, 5.0, 8.0), (7.0, 8.0, 14.0), (13.0, 14.0, 26.0), (20.0, 26.0, 40.0)]);
    // It stands in the cursor, so it outlives the process.
    let World { home, daemon } = world;
    assert!(daemon.terminate().success());
    let daemon = Daemon::start(&home);
    let world = World { home, daemon };
    world.run(&format!("INSERT INTO t VALUES (2000, 'later', {})", newest - 35));
    world.arrives("later").await;
    overlap(&world, 70.0).await;
    let metrics = world.daemon.get("/metrics").await.body.as_str().unwrap().to_owned();
    assert!(metrics.contains("record_sync_overlap_seconds{"), "{metrics}");
}

#[tokio::test]
async fn an_audit_teaches_the_overlap_what_it_overlooked() {
    let world = World::start(COLUMN, "0.3").await;
    world.run(&format!("INSERT INTO t VALUES (100, 'overlooked', {})", START - 600));
    world.arrives("overlooked").await;
    let told = async || world.logged("cursor.overlap");
    let told = until("the overlap", told, |told: &Vec<Value>| !told.is_empty()).await;
    assert_eq!(
        (told[0]["late_seconds"].as_f64(), told[0]["to_seconds"].as_f64()),
        (Some(630.0), Some(1260.0))
    );
    // Audits that find nothing take it back, slowly.
    let shrinks = async || world.logged("cursor.overlap");
    let told = until("it shrinks", shrinks, |told: &Vec<Value>| told.len() > 2).await;
    assert_eq!(told[1]["to_seconds"].as_f64(), Some(945.0), "{told:?}");
}

#[tokio::test]
async fn a_clock_that_steps_back_is_no_reason_to_wait_for_a_day() {
    let world = World::start(COLUMN, "86400").await;
    // Local time ends its summer: an hour once more.
    for (step, id) in [3, 17, 4, 28, 30, 3].into_iter().enumerate() {
        let at = START + 30 - 3590 + step as i64;
        world.run(&format!("UPDATE t SET x = 'again{step}', at = {at} WHERE id = {id}"));
        world.arrives(&format!("again{step}")).await;
    }
    assert_eq!(world.side().await["overlap_seconds"], 3600.0, "what the first one taught");
    assert!(!world.home.read("logs/record_sync.log").contains("stream.restored"));
}

#[tokio::test]
async fn edits_under_way_are_not_taken_for_overlooked() {
    let world = World::start(COLUMN, "0.05").await;
    for step in 0..60 {
        let id = step % 30 + 1;
        world.run(&format!("UPDATE t SET x = 'e{step}', at = {} WHERE id = {id}", START + 100 + step));
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    world.arrives("e59").await;
    let audits = world.logged("audit.done");
    assert!(audits.len() > 3, "{audits:?}");
    assert!(audits.iter().all(|line| line["missed"] == 0 && line["gone"] == 0), "{audits:?}");
    assert!(world.logged("cursor.overlap").is_empty());
}

#[tokio::test]
async fn what_an_audit_takes_away_passes_the_fuse() {
    for word in ["approve", "discard"] {
        let world = World::start(COLUMN, "0.3").await;
        // No stamp moves.
        world.run("UPDATE t SET x = NULL WHERE id <= 20");
        let frozen = |answer: &Answer| answer.body["items"][0]["a_to_b"]["frozen"].is_string();
        let told = world.daemon.until("/v1/links", "frozen", frozen).await;
        assert_eq!(
            told.body["items"][0]["a_to_b"]["held_back"]["findings"][0]["kind"], "emptied",
            "{told:?}"
        );
        // Nothing is sent, and no later look takes it for mended.
        tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
        assert!(frozen(&world.daemon.get("/v1/links").await));
        assert_eq!(world.number("SELECT count(*) FROM t WHERE x IS NULL"), 0);
        assert_eq!(world.daemon.post(&format!("/v1/links/l/{word}"), json!({})).await.status, 200);
        let (empty, filled) = if word == "approve" { (20, 10) } else { (0, 30) };
        let there = async || world.number("SELECT count(*) FROM t WHERE x IS NULL");
        until(word, there, |&count| count == empty).await;
        let sql = "SELECT count(*) FROM t WHERE x = 'x' || id";
        let here = async || world.db("one").query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
        until(word, here, |&count| count == filled).await;
        let runs = |answer: &Answer| answer.body["items"][0]["a_to_b"]["frozen"].is_null();
        world.daemon.until("/v1/links", "runs again", runs).await;
    }
}

#[tokio::test]
async fn a_crm_is_audited_too() {
    let systems =
        [("outreach", "prospects", "sqlite-to-outreach"), ("salesforce", "Contact", "sqlite-to-salesforce")];
    for (system, stream, link) in systems {
        let settings = TRIANGLE.replace("poll_interval = 0.2", "poll_interval = 0.2\naudit_interval = 0.5");
        let home = Home::new(&settings, RULES);
        add_people(&mut home.app(), 1..=5);
        let daemon = Daemon::start(&home);
        let there = async || daemon.records("default", system, stream).await.len();
        until("five people", there, |&count| count == 5).await;
        daemon.pass(link).await;
        // Ten minutes late: far beyond what is configured.
        let now: i64 = home.app().query_row("SELECT unixepoch('now') * 1000", [], |row| row.get(0)).unwrap();
        daemon.misbehave("default", system, json!({"stamp_ms": now - 600_000})).await;
        let push = json!({"record_id": 33, "full_name": "Overlooked", "email_address": "o@example.test", "status": "active"});
        let said = daemon.post(&format!("/v1/crms/mock/{system}/push"), push).await;
        assert!(said.status < 300, "{said:?}");
        daemon.misbehave("default", system, json!({})).await;
        let arrived =
            async || people(&home.app()).iter().any(|(id, name, _)| *id == 33 && name == "Overlooked");
        until(system, arrived, |&arrived| arrived).await;
        let of = |answer: &Answer| {
            let items = answer.body["items"].as_array().unwrap().iter();
            items.clone().find(|item| item["link"] == link).unwrap()["b"].clone()
        };
        let grown =
            |answer: &Answer| of(answer)["overlap_seconds"].as_f64().is_some_and(|seconds| seconds > 600.0);
        let told = daemon.until("/v1/links", "the overlap grows", grown).await;
        assert!(of(&told)["audited"]["records"] == 6, "{told:?}");
    }
}
