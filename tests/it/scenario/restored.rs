//! A system that was put back to an older state: the link halts, and goes on at a person's word.

use serde_json::{Value, json};

use super::daemon::{Answer, Daemon, until};
use super::home::{Home, RULES, TRIANGLE, add_people, people};
use super::tables::{OFTEN, Tables, settings};

const FIELDS: &str = r#"{"links": {"l": {"fields": {"id": "id", "x": "x"}, "conflict": "b"}}}"#;
const TABLE: &str = "
    CREATE TABLE t (id INTEGER PRIMARY KEY, x TEXT, at REAL);
    CREATE TRIGGER fresh AFTER INSERT ON t WHEN NEW.at IS NULL BEGIN
        UPDATE t SET at = unixepoch('subsec') WHERE id = NEW.id;
    END";
const ROWS: &str = "INSERT INTO t (id, x) VALUES (1, 'a'), (2, 'b'), (3, 'c'), (4, 'd'), (5, 'e'), (6, 'f')";
const COLUMN: &str = r#"capture = "column", updated_at = "at", overlap_seconds = 0"#;
const TRIGGERS: &str = r#"capture = "triggers""#;

async fn halted(world: &Tables) -> Value {
    let halted = |link: &Value| {
        link["a_to_b"]["held_back"]["findings"][0]["kind"] == "restored"
            && link["b_to_a"]["frozen"].is_string()
    };
    world.until_link("halted", halted).await["a_to_b"].clone()
}

/// Two tables in step, with six rows; then a backup of one, edits, and the backup put back. Rows 1 and 2 are
/// edited after the backup, 3 is deleted, 7 is new.
async fn put_back(capture: &str) -> Tables {
    let world = Tables::in_step(&settings(capture, OFTEN), FIELDS, TABLE, ROWS).await;
    assert_eq!(world.rows("two"), "1:a 2:b 3:c 4:d 5:e 6:f");
    let copy = world.home.path("data/backup.sqlite");
    world.db("one").backup("main", &copy, None::<fn(_)>).unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    world.run("one", "UPDATE t SET x = x || '!', at = unixepoch('subsec') WHERE id <> 3");
    world.shows("two", "1:a! 2:b! 3:c 4:d! 5:e! 6:f!").await;
    world.run("one", "DELETE FROM t WHERE id = 3; INSERT INTO t (id, x) VALUES (7, 'g')");
    world.shows("two", "1:a! 2:b! 4:d! 5:e! 6:f! 7:g").await;
    world.daemon.pass("l").await;
    // Away, so that nothing is read before the other side has moved as well.
    let home = world.stop();
    let mut one = home.open("data/one.sqlite");
    one.restore("main", &copy, None::<fn(_)>).unwrap();
    drop(one);
    home.open("data/two.sqlite")
        .execute_batch("UPDATE t SET x = 'theirs', at = unixepoch('subsec') WHERE id = 6")
        .unwrap();
    Tables::start(home)
}

const OLD: &str = "1:a 2:b 3:c 4:d 5:e 6:f";
const NEW: &str = "1:a! 2:b! 4:d! 5:e! 6:theirs 7:g";

#[tokio::test]
async fn a_table_that_was_put_back_halts_its_link_both_ways() {
    for capture in [COLUMN, TRIGGERS] {
        let world = put_back(capture).await;
        let told = halted(&world).await;
        let reason = told["frozen"].as_str().unwrap();
        assert!(
            reason.contains("the cursor is ahead of a (one t)") && reason.contains("approve"),
            "{reason}"
        );
        // Nothing moves: neither what is old there, nor what is new here.
        world.run(
            "two",
            "UPDATE t SET x = 'more', at = unixepoch('subsec') WHERE id = 5; DELETE FROM t WHERE id = 4",
        );
        world.run("one", "INSERT INTO t (id, x) VALUES (8, 'h')");
        for _ in 0..3 {
            world.daemon.post("/v1/sync/l", json!({})).await;
            tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        }
        assert_eq!(world.rows("one"), format!("{OLD} 8:h"), "{capture}");
        assert_eq!(world.rows("two"), "1:a! 2:b! 5:more 6:theirs 7:g", "{capture}");
        assert!(world.home.read("logs/record_sync.log").contains("\"stream.restored\""));
        let told = world.daemon.get("/v1/explain/l/6").await.body.to_string();
        assert!(told.contains("looks restored from a backup"), "{told}");
        // Neither does a restart make it go on.
        let world = world.restart();
        halted(&world).await;
        assert_eq!(world.rows("one"), format!("{OLD} 8:h"), "{capture}");
    }
}

#[tokio::test]
async fn discarded_the_other_sides_records_come_back() {
    for capture in [COLUMN, TRIGGERS] {
        let world = put_back(capture).await;
        halted(&world).await;
        let said = world.answer("discard").await;
        assert_eq!(said.status, 200, "{said:?}");
        // Row 3 was deleted after the backup; nothing tells it from one that was made since.
        world.shows("one", "1:a! 2:b! 3:c 4:d! 5:e! 6:theirs 7:g").await;
        world.shows("two", "1:a! 2:b! 3:c 4:d! 5:e! 6:theirs 7:g").await;
        goes_on(world).await;
    }
}

#[tokio::test]
async fn approved_what_stands_there_counts() {
    for capture in [COLUMN, TRIGGERS] {
        let world = put_back(capture).await;
        assert_eq!(world.rows("two"), NEW);
        halted(&world).await;
        let said = world.answer("approve").await;
        assert_eq!(said.status, 200, "{said:?}");
        // Row 6 changed on both sides: the policy decides.
        world.shows("one", "1:a 2:b 3:c 4:d 5:e 6:theirs").await;
        world.shows("two", "1:a 2:b 3:c 4:d 5:e 6:theirs").await;
        goes_on(world).await;
    }
}

/// All is as before.
async fn goes_on(world: Tables) {
    world.runs_again("answered").await;
    world.run(
        "one",
        "UPDATE t SET x = 'one', at = unixepoch('subsec') WHERE id = 1; DELETE FROM t WHERE id = 2",
    );
    world.run("two", "UPDATE t SET x = 'two', at = unixepoch('subsec') WHERE id = 4");
    for table in ["one", "two"] {
        let look = async || world.rows(table);
        let wanted = |rows: &String| rows.starts_with("1:one 3:c 4:two");
        until("edits both ways", look, wanted).await;
    }
    assert_eq!(world.link().await["a"]["error"], Value::Null);
}

#[tokio::test]
async fn a_crm_that_was_put_back_halts_its_link_and_goes_on() {
    for (system, stream, link) in
        [("salesforce", "Contact", "sqlite-to-salesforce"), ("outreach", "prospects", "sqlite-to-outreach")]
    {
        for (word, wanted) in [("discard", "later"), ("approve", "Person")] {
            // Within the overlap nothing is told from a late save.
            let settings = TRIANGLE
                .replace("overlap_ms = 300", "overlap_ms = 0")
                .replace("connector = \"salesforce\"", "connector = \"salesforce\"\noverlap_seconds = 0");
            let home = Home::new(&settings, RULES);
            add_people(&mut home.app(), 1..=12);
            let daemon = Daemon::start(&home);
            let there = async || daemon.records("default", system, stream).await.len();
            until("twelve people", there, |&count| count == 12).await;
            daemon.pass(link).await;
            assert!(daemon.terminate().success());
            let (data, copy) = (format!("data/mock/default-{system}.sqlite"), "data/backup.sqlite");
            home.open(&data).execute("VACUUM INTO ?1", [home.path(copy).to_str().unwrap()]).unwrap();
            // Stamps of Salesforce are whole seconds.
            tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
            let daemon = Daemon::start(&home);
            home.app().execute_batch("UPDATE users SET name = 'later ' || record_id").unwrap();
            let later = async || {
                let records = daemon.records("default", system, stream).await;
                records.iter().filter(|it| it["full_name"].as_str().unwrap().starts_with("later")).count()
            };
            until("the edits", later, |&count| count == 12).await;
            daemon.pass(link).await;
            assert!(daemon.terminate().success());
            for end in ["-wal", "-shm"] {
                let _ = std::fs::remove_file(home.path(&format!("{data}{end}")));
            }
            std::fs::copy(home.path(copy), home.path(&data)).unwrap();
            let daemon = Daemon::start(&home);
            let of = |answer: &Answer| {
                let items = answer.body["items"].as_array().unwrap().iter();
                items.clone().find(|item| item["link"] == link).unwrap().clone()
            };
            let halted = |answer: &Answer| {
                let ways = ["a_to_b", "b_to_a"];
                ways.iter()
                    .all(|way| of(answer)[*way]["frozen"].to_string().contains("restored from a backup"))
            };
            daemon.until("/v1/links", &format!("{system} halted"), halted).await;
            home.app()
                .execute_batch("UPDATE users SET email = 'new@example.test' WHERE record_id = 1")
                .unwrap();
            tokio::time::sleep(std::time::Duration::from_millis(700)).await;
            let old = daemon.records("default", system, stream).await;
            let is_old = |it: &Value| {
                it["full_name"].as_str().unwrap().starts_with("Person")
                    && it["email_address"] != "new@example.test"
            };
            assert!(old.iter().all(is_old), "{system}: {old:?}");
            assert!(people(&home.app()).iter().all(|(_, name, _)| name.starts_with("later")), "{system}");
            assert_eq!(daemon.post(&format!("/v1/links/{link}/{word}"), json!({})).await.status, 200);
            let runs = |answer: &Answer| {
                of(answer)["a_to_b"]["frozen"].is_null() && of(answer)["b_to_a"]["frozen"].is_null()
            };
            daemon.until("/v1/links", "runs again", runs).await;
            let alike = async || {
                let there = daemon.records("default", system, stream).await;
                let there =
                    there.iter().filter(|it| it["full_name"].as_str().unwrap().starts_with(wanted)).count();
                let here = people(&home.app()).iter().filter(|(_, name, _)| name.starts_with(wanted)).count();
                (there, here)
            };
            until(&format!("{system} {word}"), alike, |&both| both == (12, 12)).await;
            let email = async || {
                daemon
                    .records("default", system, stream)
                    .await
                    .iter()
                    .filter(|it| it["email_address"] == "new@example.test")
                    .count()
            };
            until("an edit of meanwhile", email, |&count| count == 1).await;
        }
    }
}
