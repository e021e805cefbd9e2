//! What happened to a record: merged, lost, found again, explained.

use serde_json::{Value, json};

use super::daemon::Daemon;
use super::home::{Home, add_people, person};

/// Two tables kept in step, both on this machine: they can be edited while nothing runs.
const TWO: &str = r#"
[service]
state = "sqlite:data/state.sqlite"

[default]
flush_interval = 0.05

[default.systems.app]
connector = "sqlite"
path = "data/demo.sqlite"

[default.systems.other]
connector = "sqlite"
path = "data/other.sqlite"

[default.links.two]
a = { system = "app", stream = "users", key = "record_id" }
b = { system = "other", stream = "users", key = "record_id" }
poll_interval = 0.2
"#;

fn rules(conflict: &str) -> String {
    format!(
        r#"{{"links": {{"two": {{"fields": {{"name": "name", "email": "email", "status": "status"}},
        "conflict": "{conflict}", "a_to_b": {{"filters": {{"status": "active"}}}}}}}}}}"#
    )
}

fn home(conflict: &str) -> Home {
    let home = Home::new(TWO, &rules(conflict));
    home.users("data/other.sqlite");
    add_people(&mut home.app(), 1..=3);
    home
}

fn edit(home: &Home, file: &str, set: &str, id: i64) {
    let sql = format!("UPDATE users SET {set} WHERE record_id = {id}");
    assert_eq!(home.open(file).execute(&sql, []).unwrap(), 1);
}

fn name_at(home: &Home, file: &str, id: i64) -> String {
    person(&home.open(file), id).unwrap().0
}

async fn story(daemon: &Daemon, key: &str) -> (Value, String) {
    let answer = daemon.get(&format!("/v1/explain/two/{key}")).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let lines: Vec<&str> =
        answer.body["story"].as_array().unwrap().iter().map(|line| line.as_str().unwrap()).collect();
    let text = lines.join("\n");
    (answer.body, text)
}

#[tokio::test]
async fn edits_made_while_nothing_ran_are_merged_and_the_losers_value_can_be_read() {
    let home = home("a");
    home.once("two");
    edit(&home, "data/demo.sqlite", "name = 'Ann of A'", 1);
    edit(&home, "data/other.sqlite", "email = 'b@example.test'", 1);
    edit(&home, "data/demo.sqlite", "name = 'From A'", 2);
    edit(&home, "data/other.sqlite", "name = 'From B'", 2);
    let daemon = Daemon::start(&home);
    daemon.pass("two").await;
    for file in ["data/demo.sqlite", "data/other.sqlite"] {
        let merged = ("Ann of A".to_owned(), "b@example.test".to_owned());
        assert_eq!(person(&home.open(file), 1), Some(merged), "{file}: nobody lost work");
        assert_eq!(name_at(&home, file, 2), "From A", "{file}: the policy decided");
    }
    let (told, text) = story(&daemon, "2").await;
    let written = told["history"].as_array().unwrap();
    let lost = written.iter().find(|event| event["kind"] == "written").unwrap_or_else(|| panic!("{told}"));
    let field = &lost["data"]["fields"][0];
    assert_eq!(
        (&field["name"], &field["before"], &field["agreed"], &field["sent"], &field["policy"]),
        (&json!("name"), &json!("From B"), &json!("Person 2"), &json!("From A"), &json!("a")),
        "{lost}"
    );
    assert!(text.contains("\"From B\" → \"From A\"") && text.contains("the policy a decided"), "{text}");
    let (told, text) = story(&daemon, "3").await;
    assert_eq!(told["history"], json!([]), "a first fill writes no history: {told}");
    assert!(text.contains("synced at") && text.contains("under rules version 1"), "{text}");
}

#[tokio::test]
async fn a_record_says_why_it_was_not_synced() {
    let home = home("a");
    edit(&home, "data/demo.sqlite", "status = 'new'", 2);
    let daemon = Daemon::start(&home);
    daemon.pass("two").await;
    assert_eq!(person(&home.open("data/other.sqlite"), 2), None);
    let (told, text) = story(&daemon, "2").await;
    assert_eq!(told["a_to_b"]["status"], "skipped_by_rule", "{told}");
    assert_eq!(told["a_to_b"]["decision"], json!({"action": "skip", "rule": "filters.status"}), "{told}");
    assert!(text.contains("status must be \"active\"; it is \"new\" (filters.status)"), "{text}");

    edit(&home, "data/demo.sqlite", "status = 'active'", 2);
    daemon.pass("two").await;
    assert!(person(&home.open("data/other.sqlite"), 2).is_some());
    edit(&home, "data/demo.sqlite", "status = 'gone'", 2);
    daemon.pass("two").await;
    let (told, text) = story(&daemon, "2").await;
    let kinds: Vec<&Value> = told["history"].as_array().unwrap().iter().map(|event| &event["kind"]).collect();
    assert_eq!(kinds, ["held", "released"], "what the verdicts were, newest first: {told}");
    assert!(text.contains("began to hold it back"), "{text}");

    let unknown = daemon.get("/v1/explain/two/99").await;
    unknown.is_problem(404);
    assert_eq!(unknown.body["status"], "unknown");
    assert!(unknown.body["detail"].as_str().unwrap().contains("app.users has no such record"), "{unknown:?}");
    daemon.get("/v1/explain/nothing/1").await.is_problem(404);

    daemon.post("/v1/links/two/pause", json!({})).await;
    edit(&home, "data/demo.sqlite", "name = 'Later'", 1);
    let (told, _) = story(&daemon, "1").await;
    assert_eq!(told["state"], "paused", "{told}");
    drop(daemon);
    let offline = home.run(&["explain", "two", "1"]);
    assert!(!offline.status.success(), "nobody answers");
}
