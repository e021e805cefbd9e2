//! Values that come back to where they started: rings of links, systems with forms of their own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rusqlite::Connection;
use serde_json::json;

use super::daemon::{Daemon, until};
use super::home::{Home, RULES, TRIANGLE, add_people, person};
use super::tables::{self, OFTEN};

const TABLES: [&str; 3] = ["data/one.sqlite", "data/two.sqlite", "data/three.sqlite"];
const TABLE: &str = "CREATE TABLE t (id INTEGER PRIMARY KEY, x TEXT, y TEXT)";

/// Three tables, each in step with the next.
fn ring_home(rules: &str) -> Home {
    let mut settings = tables::systems(&["one", "two", "three"]);
    for (name, ends) in
        [("one-two", ["one", "two"]), ("three-one", ["three", "one"]), ("two-three", ["two", "three"])]
    {
        settings += &tables::link(name, ends, "", OFTEN);
    }
    tables::home(&settings, rules, &["one", "two", "three"], TABLE)
}

fn rows(conn: &Connection) -> Vec<(i64, String)> {
    let mut select = conn.prepare("SELECT id, coalesce(x, '-') FROM t ORDER BY id").unwrap();
    let rows = select.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    rows.map(Result::unwrap).collect()
}

/// Waits until nobody has written to a table for a while, and gives what they hold.
async fn rest(home: &Home, tables: &[&str]) -> Vec<Vec<(i64, String)>> {
    let watching: Vec<Connection> = tables.iter().map(|table| home.open(table)).collect();
    let versions = || -> Vec<i64> {
        watching
            .iter()
            .map(|conn| conn.query_row("PRAGMA data_version", [], |row| row.get(0)).unwrap())
            .collect()
    };
    let (mut last, mut quiet) = (versions(), 0);
    for _ in 0..400 {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        let now = versions();
        quiet = if now == last { quiet + 1 } else { 0 };
        last = now;
        if quiet == 20 {
            return watching.iter().map(rows).collect();
        }
    }
    panic!("they are written to for ever");
}

#[tokio::test]
async fn a_ring_of_links_with_a_transform_comes_to_rest() {
    let plain = r#"{"fields": {"id": "id", "x": "x", "y": "y"}}"#;
    let upper = r#"{"a_to_b": {"mappings": {"id": "id", "x": {"to": "x", "transform": ["upper", "trim"]}}}, "b_to_a": {"mappings": {"id": "id", "x": "x"}}}"#;
    let home = ring_home(&format!(
        r#"{{"links": {{"one-two": {upper}, "two-three": {plain}, "three-one": {plain}}}}}"#
    ));
    assert_eq!(home.run(&["check"]).status.code(), Some(0));
    home.open(TABLES[0]).execute("INSERT INTO t VALUES (1, 'ada ', 'y')", []).unwrap();
    let daemon = Daemon::start(&home);
    let all = |rows: &Vec<Vec<(i64, String)>>, x: &str, ids: &[i64]| {
        rows.iter().all(|rows| rows.iter().map(|row| row.0).collect::<Vec<_>>() == ids)
            && rows.iter().all(|rows| rows.iter().any(|(_, shown)| shown.trim().eq_ignore_ascii_case(x)))
    };
    until("one row everywhere", async || rows(&home.open(TABLES[2])), |rows| rows.len() == 1).await;
    let first = rest(&home, &TABLES).await;
    assert!(all(&first, "ada", &[1]), "{first:?}");
    for (at, table) in TABLES.into_iter().enumerate() {
        let name = format!("name{at}");
        home.open(table).execute("UPDATE t SET x = ?1 WHERE id = 1", [&name]).unwrap();
        let arrived = |shown: &Vec<(i64, String)>| shown.iter().any(|(_, x)| x.eq_ignore_ascii_case(&name));
        for table in TABLES {
            until("the edit everywhere", async || rows(&home.open(table)), arrived).await;
        }
        rest(&home, &TABLES).await;
    }
    home.open(TABLES[1]).execute("DELETE FROM t WHERE id = 1", []).unwrap();
    for table in TABLES {
        until("the deletion everywhere", async || rows(&home.open(table)), Vec::is_empty).await;
    }
    assert!(rest(&home, &TABLES).await.iter().all(Vec::is_empty), "and nothing revives it");
    assert!(daemon.terminate().success());
}

#[tokio::test]
async fn a_ring_that_would_never_come_to_rest_is_refused() {
    let plain = r#"{"fields": {"id": "id", "x": "x"}}"#;
    let longer = r#"{"a_to_b": {"mappings": {"id": "id"}, "set": {"x": "x + '!'"}}, "b_to_a": {"mappings": {"id": "id", "x": "x"}}}"#;
    let home = ring_home(&format!(
        r#"{{"links": {{"one-two": {longer}, "two-three": {plain}, "three-one": {plain}}}}}"#
    ));
    let checked = home.run(&["check"]);
    let said = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert_eq!(checked.status.code(), Some(1), "{said}");
    assert!(said.contains("never comes to rest") && said.contains("one-two computes x"), "{said}");
    home.open(TABLES[0]).execute("INSERT INTO t VALUES (1, 'ada', 'y')", []).unwrap();
    let daemon = Daemon::start(&home);
    let told = daemon
        .until("/v1/links", "one of the links is refused", |answer| {
            answer.body["items"].as_array().unwrap().iter().any(|link| link["state"] == "blocked")
        })
        .await;
    assert!(told.body.to_string().contains("never comes to rest"), "{told:?}");
    let ended = rest(&home, &TABLES).await;
    let longest = ended.iter().flatten().map(|row| row.1.len()).max();
    assert!(longest <= Some("ada!!".len()), "{ended:?}");
}

#[tokio::test]
async fn a_system_that_trims_and_lower_cases_is_left_alone_within_two_polls() {
    let home = Home::new(TRIANGLE, RULES);
    add_people(&mut home.app(), 1..=3);
    let daemon = Daemon::start(&home);
    for (system, link) in [("salesforce", "sqlite-to-salesforce"), ("outreach", "sqlite-to-outreach")] {
        daemon.misbehave("default", system, json!({"normalise_text": true})).await;
        daemon.pass(link).await;
    }
    home.app().execute("UPDATE users SET name = ' Ada KING ' WHERE record_id = 1", []).unwrap();
    for (system, link) in [("salesforce", "sqlite-to-salesforce"), ("outreach", "sqlite-to-outreach")] {
        let stream = if system == "salesforce" { "Contact" } else { "prospects" };
        let names = async || {
            let records = daemon.records("default", system, stream).await;
            records.iter().map(|record| record["full_name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        until("the name in its own form", names, |names| names.contains(&"ada king".to_owned())).await;
        // Two polls later nothing is written any more, anywhere.
        daemon.pass(link).await;
        daemon.pass(link).await;
    }
    for system in ["salesforce", "outreach"] {
        daemon.forget_arrivals("default", system).await;
    }
    let before = person(&home.app(), 1);
    for _ in 0..4 {
        daemon.pass("sqlite-to-salesforce").await;
        daemon.pass("sqlite-to-outreach").await;
    }
    for system in ["salesforce", "outreach"] {
        let arrivals = daemon.arrivals("default", system).await;
        let writes: Vec<_> = arrivals.iter().filter(|arrival| super::daemon::is_write(arrival)).collect();
        assert!(writes.is_empty(), "{system}: {writes:?}");
    }
    assert_eq!(person(&home.app(), 1), before);
    assert!(before.unwrap().0.trim().eq_ignore_ascii_case("ada king"));
}

#[tokio::test]
async fn two_systems_that_keep_undoing_each_other_are_stopped_with_the_circle_shown() {
    let rules = r#"{"links": {"l": {"fields": {"id": "id", "x": "x", "y": "y"}}}}"#;
    let home = tables::home(&tables::settings("", OFTEN), rules, &["one", "two"], TABLE);
    home.open(TABLES[0]).execute("INSERT INTO t VALUES (1, 'Ada', 'y'), (2, 'calm', 'y')", []).unwrap();
    // Programs beside us that bring every new value of row 1 into a form of their own.
    let stop = Arc::new(AtomicBool::new(false));
    let forms = [(TABLES[0], "upper"), (TABLES[1], "lower")].map(|(table, form)| {
        let (conn, stop) = (home.open(table), Arc::clone(&stop));
        std::thread::spawn(move || {
            let sql = format!("UPDATE t SET x = {form}(x) WHERE id = 1 AND x <> {form}(x)");
            while !stop.load(Ordering::Relaxed) {
                conn.execute(&sql, []).unwrap();
                std::thread::sleep(std::time::Duration::from_millis(30));
            }
        })
    });
    let daemon = Daemon::start(&home);
    let told = daemon
        .until("/v1/sync/status/1", "it is stopped", |answer| answer.body.to_string().contains("oscillating"))
        .await;
    let error = told.body.to_string();
    for part in ["ADA", "ada", "a_to_b", "b_to_a"] {
        assert!(error.contains(part), "the circle is shown: {error}");
    }
    rest(&home, &TABLES[..2]).await;
    home.open(TABLES[1]).execute("UPDATE t SET x = 'still at work' WHERE id = 2", []).unwrap();
    let calm = |rows: &Vec<(i64, String)>| rows.contains(&(2, "still at work".to_owned()));
    until("the other record", async || rows(&home.open(TABLES[0])), calm).await;
    stop.store(true, Ordering::Relaxed);
    forms.into_iter().for_each(|form| form.join().unwrap());
    // Mended: now it is tried again, and settles.
    let retried = daemon.post("/v1/sync/retry/1", json!({})).await;
    assert_eq!(retried.status, 202, "{retried:?}");
    let both = async || (rows(&home.open(TABLES[0])), rows(&home.open(TABLES[1])));
    until("both agree", both, |(one, two)| one == two).await;
}
