//! What happened to a record: merged, lost, found again, explained.

use serde_json::{Value, json};

use super::daemon::{Daemon, until};
use super::home::{Home, RULES, TRIANGLE, add_people, person};

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

#[tokio::test]
async fn the_losers_value_comes_back_and_what_somebody_changed_since_does_not() {
    let home = home("a");
    home.once("two");
    for id in [1, 2] {
        edit(&home, "data/demo.sqlite", "name = 'From A'", id);
        edit(&home, "data/other.sqlite", "name = 'From B'", id);
    }
    let daemon = Daemon::start(&home);
    daemon.pass("two").await;
    assert_eq!(name_at(&home, "data/other.sqlite", 1), "From A");
    edit(&home, "data/other.sqlite", "name = 'By hand'", 2);
    daemon.pass("two").await;

    let wanted = json!({"rules_version": 1, "link": "two", "dry_run": true});
    let dry = daemon.post("/v1/undo", wanted.clone()).await;
    assert_eq!(dry.status, 200, "{dry:?}");
    let restored = &dry.body["restored"][0];
    assert_eq!(
        (&restored["key"], &restored["side"], &restored["job_id"]),
        (&json!("1"), &json!("b"), &Value::Null)
    );
    assert_eq!(restored["fields"], json!({"name": {"from": "From A", "to": "From B"}}), "{dry:?}");
    let kept: Vec<_> =
        dry.body["review"].as_array().unwrap().iter().filter(|kept| kept["side"] == "b").collect();
    assert_eq!(kept.len(), 1, "{dry:?}");
    assert_eq!((&kept[0]["key"], &kept[0]["now"]), (&json!("2"), &json!("By hand")), "{dry:?}");
    assert_eq!(kept[0]["reason"], "somebody has changed it since");
    daemon.pass("two").await;
    assert_eq!(name_at(&home, "data/other.sqlite", 1), "From A", "a dry run does nothing");

    let undone = daemon.post("/v1/undo", json!({"record": 1, "link": "two"})).await;
    assert_eq!((undone.status, &undone.body["restored_count"]), (200, &json!(1)), "{undone:?}");
    let at_both = async || ["data/demo.sqlite", "data/other.sqlite"].map(|file| name_at(&home, file, 1));
    until("the loser's value on both sides", at_both, |names| names.iter().all(|name| name == "From B"))
        .await;
    assert_eq!(name_at(&home, "data/other.sqlite", 2), "By hand", "nobody asked for that one");
    let (told, text) = story(&daemon, "1").await;
    assert!(told["history"].as_array().unwrap().iter().any(|event| event["data"]["asked"] == true), "{told}");
    assert!(text.contains("on request, updated other.users"), "{text}");

    for (body, status) in [
        (json!({}), 422),
        (json!({"from": "yesterday"}), 422),
        (json!({"record": 1, "link": "nowhere"}), 404),
        (json!({"nonsense": 1}), 422),
    ] {
        daemon.post("/v1/undo", body).await.is_problem(status);
    }
}

#[tokio::test]
async fn a_run_is_taken_back_with_what_it_deleted() {
    let home = home("a");
    let daemon = Daemon::start(&home);
    daemon.pass("two").await;
    home.app().execute("DELETE FROM users WHERE record_id = 3", []).unwrap();
    edit(&home, "data/demo.sqlite", "name = 'Wrong'", 1);
    let gone = async || (person(&home.open("data/other.sqlite"), 3), name_at(&home, "data/other.sqlite", 1));
    until("the deletion and the edit", gone, |(person, name)| person.is_none() && name == "Wrong").await;
    let (told, text) = story(&daemon, "3").await;
    assert_eq!(told["known"], false, "{told}");
    assert!(text.contains("deleted it at other.users, which had"), "{text}");
    let run = told["history"][0]["run"].as_str().unwrap();
    let undone = daemon.post("/v1/undo", json!({"run": run})).await;
    assert!(
        undone.body["restored"].as_array().unwrap().iter().any(|one| one["operation"] == "create"),
        "{undone:?}"
    );
    let back = async || ["data/demo.sqlite", "data/other.sqlite"].map(|file| person(&home.open(file), 3));
    until("the deleted record on both sides", back, |back| {
        back.iter().all(|person| person.as_ref().is_some_and(|(name, _)| name == "Person 3"))
    })
    .await;
}

#[tokio::test]
async fn a_conflict_waits_is_listed_picked_and_delivered() {
    let home = home("manual");
    home.once("two");
    for id in 1..=3 {
        edit(&home, "data/demo.sqlite", &format!("name = 'A{id}', email = 'a{id}@x.org'"), id);
        edit(&home, "data/other.sqlite", &format!("name = 'B{id}', email = 'b{id}@x.org'"), id);
    }
    let daemon = Daemon::start(&home);
    daemon.pass("two").await;
    let listed = daemon.get("/v1/conflicts?limit=2").await;
    assert_eq!(listed.body["items"].as_array().unwrap().len(), 2, "{listed:?}");
    let next = daemon.get(&format!("/v1/conflicts?limit=2&cursor={}", listed.body["next_cursor"])).await;
    assert_eq!((next.body["items"].as_array().unwrap().len(), &next.body["next_cursor"]), (1, &Value::Null));
    let of = async |key: i64| {
        let found = daemon.get(&format!("/v1/conflicts?link=two&record_id={key}")).await;
        let items = found.body["items"].as_array().unwrap().clone();
        assert!(items.len() <= 1, "{items:?}");
        items.into_iter().next()
    };
    let conflict = of(1).await.unwrap();
    let both = json!([
        {"a_field": "name", "b_field": "name", "a": "A1", "b": "B1"},
        {"a_field": "email", "b_field": "email", "a": "a1@x.org", "b": "b1@x.org"},
    ]);
    let mut fields = conflict["fields"].as_array().unwrap().clone();
    fields.sort_by_key(|field| std::cmp::Reverse(field["a_field"].to_string()));
    assert_eq!(Value::Array(fields), both, "{conflict}");
    assert_eq!(story(&daemon, "1").await.0["a_to_b"]["status"], "conflict");

    let resolve = async |key: i64, body: Value| {
        let id = of(key).await.unwrap()["id"].clone();
        daemon.post(&format!("/v1/conflicts/{id}/resolve"), body).await
    };
    resolve(1, json!({})).await.is_problem(422);
    resolve(1, json!({"fields": {"status": "a"}})).await.is_problem(422);
    resolve(1, json!({"pick": "c"})).await.is_problem(422);
    daemon.post("/v1/conflicts/99999/resolve", json!({"pick": "a"})).await.is_problem(404);
    let picked = resolve(1, json!({"pick": "b"})).await;
    assert_eq!((picked.status, &picked.body["remaining"]), (200, &json!([])), "{picked:?}");
    let half = resolve(2, json!({"fields": {"name": "a"}})).await;
    assert_eq!(half.body["remaining"][0]["a_field"], "email", "the rest still waits: {half:?}");
    assert_eq!(resolve(2, json!({"fields": {"email": "b"}})).await.status, 200);
    let own = resolve(3, json!({"values": {"name": "Both"}, "pick": "a"})).await;
    assert_eq!(own.status, 200, "{own:?}");
    let expected = [("B1", "b1@x.org"), ("A2", "b2@x.org"), ("Both", "a3@x.org")];
    for file in ["data/demo.sqlite", "data/other.sqlite"] {
        for (id, (name, email)) in (1..).zip(expected) {
            let look = async || person(&home.open(file), id);
            let wanted = Some((name.to_owned(), email.to_owned()));
            until("what was picked", look, |now| *now == wanted).await;
        }
    }
    for id in 1..=3 {
        until("the end of the conflict", async || of(id).await, Option::is_none).await;
    }
    let (told, text) = story(&daemon, "1").await;
    assert!(text.contains("somebody settled the conflict"), "{text}");
    assert!(text.contains("it waits for somebody to pick"), "{told}");
}

#[tokio::test]
async fn a_crm_that_refuses_or_lost_an_edit_is_told_as_well() {
    let settings = TRIANGLE.replace(
        "connector = \"salesforce\"",
        "connector = \"salesforce\"\nretry = { base = 0.05, max = 0.1, attempts_max = 2 }",
    );
    let home = Home::new(&settings, RULES);
    add_people(&mut home.app(), 1..=1);
    let daemon = Daemon::start(&home);
    daemon.pass("sqlite-to-salesforce").await;
    let explain = "/v1/explain/sqlite-to-salesforce/1";
    let filled = daemon.get(explain).await;
    assert_eq!(filled.body["history"], json!([]), "{filled:?}");

    daemon.post("/v1/links/sqlite-to-salesforce/pause", json!({})).await;
    let there = json!({"record_id": 1, "full_name": "At the CRM", "email_address": "person1@example.test"});
    assert_eq!(daemon.post("/v1/crms/mock/salesforce/push", there).await.status, 201);
    home.app().execute("UPDATE users SET name = 'In the table' WHERE record_id = 1", []).unwrap();
    daemon.post("/v1/links/sqlite-to-salesforce/resume", json!({})).await;
    let lost = daemon
        .until(explain, "the loser's value", |answer| {
            answer.body["history"].as_array().is_some_and(|told| !told.is_empty())
        })
        .await;
    let field = &lost.body["history"][0]["data"]["fields"][0];
    assert_eq!(
        (&field["before"], &field["sent"]),
        (&json!("At the CRM"), &json!("In the table")),
        "{lost:?}"
    );
    assert_eq!(lost.body["history"][0]["attempt"], 1, "{lost:?}");

    daemon.misbehave("default", "salesforce", json!({"rate_record_failure": 1.0})).await;
    home.app().execute("UPDATE users SET name = 'Refused' WHERE record_id = 1", []).unwrap();
    let dead =
        daemon.until(explain, "the dead letter", |answer| answer.body["a_to_b"]["status"] == "dead").await;
    let (story, newest) = (dead.body["story"].to_string(), &dead.body["history"][0]);
    assert_eq!((&newest["kind"], &newest["attempt"]), (&json!("dead"), &json!(2)), "{dead:?}");
    assert_eq!(dead.body["history"][1]["kind"], "failed", "its first attempt: {dead:?}");
    assert!(story.contains("a dead letter, nothing is written until it is mended"), "{story}");
    assert_eq!(dead.body["a_to_b"]["jobs"][0]["state"], "dead", "{dead:?}");
    let printed = home.run(&["explain", "sqlite-to-salesforce", "1"]);
    assert!(!printed.status.success(), "the configuration names another port than this daemon's");
}
