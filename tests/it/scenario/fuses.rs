//! Fuses: what is too much to be believed freezes one direction, until somebody approves or discards it.

use serde_json::{Value, json};

use super::daemon::{Answer, Daemon, until};
use super::home::{Home, RULES, TRIANGLE, add_people};
use super::tables::{self, ALL, OFTEN, Tables, fill, settings};

const FIELDS: &str = r#"{"links": {"l": {"fields": {"id": "id", "x": "x", "y": "y"}}}}"#;
const TABLE: &str = "CREATE TABLE t (id INTEGER PRIMARY KEY, x TEXT, y TEXT)";
const ROWS: i64 = 30;
const AS_FILLED: &str = "x = 'x' || id AND y = 'y' || id";

/// Two tables with the same rows, kept in step.
async fn start(options: &str, rows: i64) -> Tables {
    let rows = fill(rows, "'x' || id, 'y' || id");
    Tables::in_step(&settings("", options), FIELDS, TABLE, &rows).await
}

fn held(frozen: &Value) -> (&str, i64) {
    let finding = &frozen["held_back"]["findings"][0];
    (finding["kind"].as_str().unwrap(), finding["count"].as_i64().unwrap())
}

#[tokio::test]
async fn deletions_wait_frozen_until_they_are_approved() {
    let world = start(OFTEN, ROWS).await;
    world.answer("approve").await.is_problem(404);
    world.run("one", "DELETE FROM t WHERE id <= 20");
    let frozen = world.frozen("20 of 30 deleted").await;
    assert_eq!(held(&frozen), ("deletes", 20), "{frozen}");
    assert!(frozen["frozen"].as_str().unwrap().contains("20 of 30 records are gone"), "{frozen}");
    let records = frozen["held_back"]["records"].as_array().unwrap();
    assert_eq!(records.len(), 20, "{frozen}");
    assert_eq!((&records[0]["key"], &records[0]["change"]), (&json!("1"), &json!("deleted")));
    // Nothing is sent in the frozen direction; the other one runs.
    world.run("one", "UPDATE t SET x = 'late' WHERE id = 25");
    world.run("two", "UPDATE t SET y = 'back' WHERE id = 26");
    world.until_count("the other direction", "one", "y = 'back'", 1).await;
    world.daemon.pass("l").await;
    assert_eq!(world.count("two", "x = 'late'"), 0, "frozen is frozen");
    assert_eq!(world.count("two", ALL), ROWS);
    // It stays so over a restart.
    let world = world.restart();
    let frozen = world.frozen("still, after a restart").await;
    assert_eq!(held(&frozen), ("deletes", 20), "{frozen}");
    assert_eq!(world.count("two", ALL), ROWS);
    let approved = world.answer("approve").await;
    assert_eq!((approved.status, &approved.body["approved"]), (200, &json!(["a_to_b"])), "{approved:?}");
    world.until_count("the deletions", "two", ALL, ROWS - 20).await;
    world.until_count("what waited with them", "two", "x = 'late'", 1).await;
    world.runs_again("approved").await;
    assert_eq!(world.count("one", ALL), ROWS - 20);
}

#[tokio::test]
async fn discarded_deletions_bring_the_records_back() {
    let world = start(OFTEN, ROWS).await;
    world.run("one", "DELETE FROM t WHERE id <= 20");
    world.frozen("20 of 30 deleted").await;
    let discarded = world.answer("discard").await;
    assert_eq!((discarded.status, &discarded.body["discarded"]), (200, &json!(["a_to_b"])), "{discarded:?}");
    world.until_count("the records are made again", "one", ALL, ROWS).await;
    world.runs_again("discarded").await;
    world.daemon.pass("l").await;
    assert_eq!((world.count("one", AS_FILLED), world.count("two", AS_FILLED)), (ROWS, ROWS));
    // From here on all is as before.
    world.run("one", "DELETE FROM t WHERE id = 1; UPDATE t SET x = 'new' WHERE id = 2");
    world.until_count("an edit", "two", "x = 'new'", 1).await;
    world.until_count("a deletion", "two", ALL, ROWS - 1).await;
}

#[tokio::test]
async fn a_field_that_turned_empty_waits_and_is_filled_again_or_emptied() {
    for word in ["discard", "approve"] {
        let world = start(OFTEN, ROWS).await;
        world.run(
            "one",
            "UPDATE t SET x = CASE WHEN id % 2 = 0 THEN NULL ELSE '' END, y = 'kept' || id WHERE id <= 25",
        );
        let frozen = world.frozen("x turned empty").await;
        assert_eq!(held(&frozen), ("emptied", 25), "{frozen}");
        assert_eq!(frozen["held_back"]["findings"][0]["field"], "x", "{frozen}");
        assert_eq!(frozen["held_back"]["records"][0]["fields"], json!(["x"]), "{frozen}");
        assert_eq!(world.count("two", AS_FILLED), ROWS);
        assert_eq!(world.answer(word).await.status, 200);
        world.runs_again(word).await;
        let (filled, why) =
            if word == "discard" { (ROWS, "filled again") } else { (ROWS - 25, "emptied there") };
        for table in ["one", "two"] {
            world.until_count(why, table, "x = 'x' || id", filled).await;
            world.until_count("what was edited beside it", table, "y = 'kept' || id", 25).await;
        }
    }
}

#[tokio::test]
async fn what_comes_back_by_itself_needs_nobody() {
    let world = start(OFTEN, ROWS).await;
    world.run("one", "CREATE TABLE aside AS SELECT * FROM t; DELETE FROM t");
    let frozen = world.frozen("all are gone").await;
    assert_eq!(held(&frozen), ("empty_stream", ROWS), "{frozen}");
    world.run("one", "INSERT INTO t SELECT * FROM aside; UPDATE t SET x = 'edited' WHERE id = 3");
    world.runs_again("the rows are back").await;
    world.until_count("an edit", "two", "x = 'edited'", 1).await;
    assert_eq!((world.count("one", ALL), world.count("two", ALL)), (ROWS, ROWS));
}

#[tokio::test]
async fn an_answer_covers_no_more_than_was_listed() {
    let world = start("poll_interval = 600", ROWS).await;
    world.run("one", "DELETE FROM t WHERE id <= 15");
    world.daemon.pass("l").await;
    assert_eq!(held(&world.frozen("15 deleted").await), ("deletes", 15));
    world.run("one", "DELETE FROM t WHERE id <= 25");
    assert_eq!(world.answer("approve").await.status, 200);
    let more = |link: &Value| link["a_to_b"]["held_back"]["findings"][0]["count"] == 25;
    let told = world.until_link("more than was approved", more).await;
    assert_eq!(told["a_to_b"]["held_back"]["answer"], Value::Null, "{told}");
    assert_eq!(world.count("two", ALL), ROWS);
    assert_eq!(world.answer("approve").await.status, 200);
    world.until_count("the deletions", "two", ALL, ROWS - 25).await;
}

#[tokio::test]
async fn the_end_of_a_stream_tells_a_part_from_the_whole() {
    // The first page of a scan is emptied as a whole, which is a third of the table.
    let world = start(OFTEN, 3_500).await;
    world.run("one", "UPDATE t SET x = NULL WHERE id <= 1200");
    world.until_count("the edit", "two", "x IS NULL", 1200).await;
    assert!(!world.home.read("logs/record_sync.log").contains("fuse.blown"));
}

#[tokio::test]
async fn thresholds_are_the_links_own() {
    let fuse = "fuse = { deletes_percent = 100, empty_min = 1000, emptied_percent = 5, emptied_min = 2 }";
    let world = start(&format!("{OFTEN}{fuse}"), ROWS).await;
    world.run("one", "UPDATE t SET y = NULL WHERE id <= 3");
    assert_eq!(held(&world.frozen("three are enough here").await), ("emptied", 3));
    assert_eq!(world.answer("approve").await.status, 200);
    world.runs_again("approved").await;
    world.run("one", "DELETE FROM t");
    world.until_count("nothing is too much here", "two", ALL, 0).await;
}

#[tokio::test]
async fn a_mock_that_answers_an_empty_page_deletes_nothing() {
    for (system, stream, link) in
        [("outreach", "prospects", "sqlite-to-outreach"), ("salesforce", "Contact", "sqlite-to-salesforce")]
    {
        let home = Home::new(&TRIANGLE.replace("overlap_ms = 300", "overlap_ms = 1"), RULES);
        add_people(&mut home.app(), 1..=5);
        let daemon = Daemon::start(&home);
        let there = async || daemon.records("default", system, stream).await.len();
        until("five people", there, |&count| count == 5).await;
        daemon.pass(link).await;
        daemon.misbehave("default", system, json!({"empty_pages": true})).await;
        let of = |answer: &Answer| {
            let items = answer.body["items"].as_array().unwrap().iter();
            items.clone().find(|item| item["link"] == link).unwrap()["b_to_a"].clone()
        };
        let told = daemon.until("/v1/links", "frozen", |answer| of(answer)["frozen"].is_string()).await;
        let reason = of(&told)["frozen"].as_str().unwrap().to_owned();
        assert!(reason.contains("shows no record at all"), "{system}: {reason}");
        daemon.pass(link).await;
        assert_eq!(super::home::people(&home.app()).len(), 5, "{system}: nothing is deleted");
        daemon.misbehave("default", system, json!({})).await;
        daemon.until("/v1/links", "runs again", |answer| of(answer)["frozen"].is_null()).await;
        assert_eq!(super::home::people(&home.app()).len(), 5);
        assert_eq!(there().await, 5);
    }
}

#[tokio::test]
async fn a_file_that_lost_its_header_freezes_and_runs_again_when_it_is_mended() {
    let settings = settings("", OFTEN)
        .replacen(
            "connector = \"sqlite\"\npath = \"data/one.sqlite\"",
            "connector = \"file\"\npath = \"people.csv\"",
            1,
        )
        .replacen("stream = \"t\"", "stream = \"people\"", 1);
    let home = tables::home(&settings, FIELDS, &["two"], TABLE);
    let rows: Vec<String> = (1..=8).map(|id| format!("{id},x{id},y{id}")).collect();
    let full = format!("id,x,y\n{}\n", rows.join("\n"));
    home.write("people.csv", &full);
    let world = Tables::start(home);
    world.until_count("the rows", "two", ALL, 8).await;
    world.daemon.pass("l").await;
    world.home.swap("people.csv", &format!("{}\n", rows.join("\n")));
    let frozen = world.frozen("no header").await;
    assert!(frozen["frozen"].as_str().unwrap().contains("header"), "{frozen}");
    world.answer("approve").await.is_problem(409);
    world.answer("discard").await.is_problem(409);
    assert_eq!(world.count("two", ALL), 8);
    world.home.swap("people.csv", &full.replace("x3", "mended"));
    world.runs_again("the header is back").await;
    world.until_count("an edit", "two", "x = 'mended'", 1).await;
    assert_eq!(world.count("two", ALL), 8);
    // Header only: no record at all.
    world.home.swap("people.csv", "id,x,y\n");
    let frozen = world.frozen("no rows").await;
    assert_eq!(held(&frozen), ("empty_stream", 8), "{frozen}");
    assert_eq!(world.answer("discard").await.status, 200);
    let lines = async || world.home.read("people.csv").lines().count();
    until("the file is filled again", lines, |&lines| lines == 9).await;
    world.runs_again("discarded").await;
}
