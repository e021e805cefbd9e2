//! What no cursor can see is found by the audit; what comes late stretches the overlap.

use serde_json::{Value, json};

use super::daemon::{Answer, Daemon, until};
use super::home::{Home, RULES, TRIANGLE, add_people, people};
use super::tables::{OFTEN, Tables, fill, settings};

const FIELDS: &str = r#"{"links": {"l": {"fields": {"id": "id", "x": "x"}}}}"#;
const TABLE: &str = "CREATE TABLE t (id INTEGER PRIMARY KEY, x TEXT, at INTEGER)";
const COLUMN: &str = r#"capture = "column", updated_at = "at""#;
const TRIGGERS: &str = r#"capture = "triggers""#;
/// An hour as the stamps of these tests are counted from.
const START: i64 = 1_767_225_600;

/// Two tables in step; thirty rows, a second apart.
async fn start(end: &str, audit: &str) -> Tables {
    let settings = settings(end, &format!("{OFTEN}audit_interval = {audit}"));
    Tables::in_step(&settings, FIELDS, TABLE, &fill(30, &format!("'x' || id, {START} + id"))).await
}

async fn arrives(world: &Tables, x: &str) {
    world.until_count(x, "two", &format!("x = '{x}'"), 1).await;
}

fn logged(world: &Tables, event: &str) -> Vec<Value> {
    let log = world.home.read("logs/record_sync.log");
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter(|line| line["event"] == event).collect()
}

#[tokio::test]
async fn what_no_cursor_could_see_is_found() {
    for end in [COLUMN, TRIGGERS] {
        let world = start(end, "0.3").await;
        // Stamps of years ago, and no stamp touched.
        let edits = "UPDATE t SET x = 'untouched' WHERE id = 7; DELETE FROM t WHERE id = 8";
        let years = START - 90_000_000;
        world.run("one", &format!("INSERT INTO t VALUES (100, 'imported', {years}); {edits}"));
        for x in ["imported", "untouched"] {
            arrives(&world, x).await;
        }
        world.until_count("a deletion", "two", "id = 8", 0).await;
        if end == COLUMN {
            let missed = |answer: &Answer| answer.body.as_str().unwrap().contains("what=\"missed\"} 2");
            world.daemon.until("/metrics", "two were missed", missed).await;
            let done: u64 =
                logged(&world, "audit.done").iter().map(|line| line["missed"].as_u64().unwrap()).sum();
            assert_eq!(done, 2, "each is found once");
            let older = logged(&world, "cursor.older");
            assert_eq!(older.len(), 1, "an import teaches the overlap nothing: {older:?}");
            assert_eq!(world.link().await["a"]["overlap_seconds"], 5.0);
        }
        world.until_link("audited", |link| link["a"]["audited"]["records"] == 30).await;
    }
}

#[tokio::test]
async fn what_no_log_has_seen_is_found() {
    let world = start(TRIGGERS, "0.3").await;
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
        arrives(&world, x).await;
    }
    world.until_count("a deletion", "two", "id = 4", 0).await;
    let sum = async |what: &str| -> u64 {
        logged(&world, "audit.done").iter().map(|line| line[what].as_u64().unwrap()).sum()
    };
    until("told", async || (sum("missed").await, sum("gone").await), |&told| told == (2, 1)).await;
}

#[tokio::test]
async fn a_row_that_is_pushed_out_without_a_word_is_gone() {
    let world = start(TRIGGERS, "0.3").await;
    world.run("one", "CREATE UNIQUE INDEX one_x ON t (x)");
    // Over another unique column: SQLite fires no trigger for the row that goes.
    world.run("one", "INSERT OR REPLACE INTO t VALUES (200, 'x9', 0)");
    let rows = async || world.number("two", "SELECT sum(id) FROM t WHERE id IN (9, 200)");
    until("one for the other", rows, |&sum| sum == 200).await;
    world.until_link("audited", |link| link["a"]["audited"]["records"] == 30).await;
}

#[tokio::test]
async fn lateness_stretches_the_overlap_and_says_so() {
    let world = start(COLUMN, "0").await;
    let newest = START + 30;
    let overlap = async |world: &Tables, wanted: f64| {
        let is = |link: &Value| link["a"]["overlap_seconds"] == wanted;
        world.until_link(&format!("an overlap of {wanted}"), is).await;
    };
    overlap(&world, 5.0).await;
    // (how late, the overlap afterwards): each is met in the overlap that the one before has stretched.
    for (late, wanted) in [(2, 5.0), (4, 8.0), (7, 14.0), (13, 26.0), (20, 40.0)] {
        world.run("one", &format!("INSERT INTO t VALUES ({}, 'late{late}', {})", 1000 + late, newest - late));
        arrives(&world, &format!("late{late}")).await;
        overlap(&world, wanted).await;
    }
    let told: Vec<(f64, f64, f64)> = logged(&world, "cursor.overlap")
        .iter()
        .map(|line| {
            let seconds = |name: &str| line[name].as_f64().unwrap();
            (seconds("late_seconds"), seconds("from_seconds"), seconds("to_seconds"))
        })
        .collect();
    assert_eq!(told, [(4.0, 5.0, 8.0), (7.0, 8.0, 14.0), (13.0, 14.0, 26.0), (20.0, 26.0, 40.0)]);
    // It stands in the cursor, so it outlives the process.
    let world = world.restart();
    world.run("one", &format!("INSERT INTO t VALUES (2000, 'later', {})", newest - 35));
    arrives(&world, "later").await;
    overlap(&world, 70.0).await;
    let metrics = world.daemon.get("/metrics").await.body.as_str().unwrap().to_owned();
    assert!(metrics.contains("record_sync_overlap_seconds{"), "{metrics}");
}

#[tokio::test]
async fn an_audit_teaches_the_overlap_what_it_overlooked() {
    let world = start(COLUMN, "0.3").await;
    world.run("one", &format!("INSERT INTO t VALUES (100, 'overlooked', {})", START - 600));
    arrives(&world, "overlooked").await;
    let told = async || logged(&world, "cursor.overlap");
    let told = until("the overlap", told, |told: &Vec<Value>| !told.is_empty()).await;
    assert_eq!(
        (told[0]["late_seconds"].as_f64(), told[0]["to_seconds"].as_f64()),
        (Some(630.0), Some(1260.0))
    );
    // Audits that find nothing take it back, slowly.
    let shrinks = async || logged(&world, "cursor.overlap");
    let told = until("it shrinks", shrinks, |told: &Vec<Value>| told.len() > 2).await;
    assert_eq!(told[1]["to_seconds"].as_f64(), Some(945.0), "{told:?}");
}

#[tokio::test]
async fn a_clock_that_steps_back_is_no_reason_to_wait_for_a_day() {
    let world = start(COLUMN, "86400").await;
    // Local time ends its summer: an hour once more.
    for (step, id) in [3, 17, 4, 28, 30, 3].into_iter().enumerate() {
        let at = START + 30 - 3590 + step as i64;
        world.run("one", &format!("UPDATE t SET x = 'again{step}', at = {at} WHERE id = {id}"));
        arrives(&world, &format!("again{step}")).await;
    }
    assert_eq!(world.link().await["a"]["overlap_seconds"], 3600.0, "what the first one taught");
    assert!(!world.home.read("logs/record_sync.log").contains("stream.restored"));
}

#[tokio::test]
async fn edits_under_way_are_not_taken_for_overlooked() {
    let world = start(COLUMN, "0.05").await;
    for step in 0..60 {
        let id = step % 30 + 1;
        world.run("one", &format!("UPDATE t SET x = 'e{step}', at = {} WHERE id = {id}", START + 100 + step));
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    arrives(&world, "e59").await;
    let audits = logged(&world, "audit.done");
    assert!(audits.len() > 3, "{audits:?}");
    assert!(audits.iter().all(|line| line["missed"] == 0 && line["gone"] == 0), "{audits:?}");
    assert!(logged(&world, "cursor.overlap").is_empty());
}

#[tokio::test]
async fn what_an_audit_takes_away_passes_the_fuse() {
    for word in ["approve", "discard"] {
        let world = start(COLUMN, "0.3").await;
        // No stamp moves.
        world.run("one", "UPDATE t SET x = NULL WHERE id <= 20");
        let frozen = world.frozen("no value left").await;
        assert_eq!(frozen["held_back"]["findings"][0]["kind"], "emptied", "{frozen}");
        // Nothing is sent, and no later look takes it for mended.
        tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
        assert!(world.link().await["a_to_b"]["frozen"].is_string());
        assert_eq!(world.count("two", "x IS NULL"), 0);
        assert_eq!(world.answer(word).await.status, 200);
        let (empty, filled) = if word == "approve" { (20, 10) } else { (0, 30) };
        world.until_count(word, "two", "x IS NULL", empty).await;
        world.until_count(word, "one", "x = 'x' || id", filled).await;
        world.runs_again(word).await;
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
