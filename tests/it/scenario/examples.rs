//! Every configuration under `examples/`, as its page tells to try it: one pass, edits on both sides, another.

use serde_json::json;

use super::daemon::{Daemon, until, with};
use super::home::{Home, people, person};

/// Makes the demo table with its five people, as the pages of the examples say.
fn with_people(home: &Home) {
    let made = home.run(&["demo", "insert", "--count", "0"]);
    assert!(made.status.success(), "{made:?}");
}

#[test]
fn a_table_and_a_csv_file() {
    let home = Home::example("sqlite-file");
    with_people(&home);
    let note = "unknown to the rules";
    let before = home.read("files/people.csv");
    let in_file = before.lines().count() - 1;
    home.once("sqlite-to-file");
    let after = home.read("files/people.csv");
    let count = people(&home.app()).len();
    assert_eq!(after.lines().count() - 1, count, "{after}");
    assert!(count >= 5 && count >= in_file);
    assert_eq!(before.lines().next(), after.lines().next(), "the head stays");
    assert_eq!(home.once("sqlite-to-file")["synced"], 0, "a second pass has nothing to do");
    assert_eq!(home.read("files/people.csv"), after);

    home.app().execute("UPDATE users SET name = 'Table Edit' WHERE record_id = 101", []).unwrap();
    let row = after.lines().find(|line| line.starts_with("102,")).unwrap();
    let name = person(&home.app(), 102).unwrap().0;
    home.write("files/people.csv", &after.replace(row, &row.replace(&name, "File Edit")));
    home.once("sqlite-to-file");
    assert!(home.read("files/people.csv").contains("Table Edit"));
    assert_eq!(person(&home.app(), 102).unwrap().0, "File Edit");

    home.app().execute("DELETE FROM users WHERE record_id = 103", []).unwrap();
    let text = home.read("files/people.csv");
    let kept: String =
        text.lines().filter(|line| !line.starts_with("104,")).map(|line| format!("{line}\n")).collect();
    home.write("files/people.csv", &kept);
    home.once("sqlite-to-file");
    assert!(
        !home.read("files/people.csv").lines().any(|line| line.starts_with("103,")),
        "deleted in the table, {note}"
    );
    assert_eq!(person(&home.app(), 104), None, "deleted in the file");
    assert_eq!(home.once("sqlite-to-file")["synced"], 0);
}

#[test]
fn two_files() {
    let home = Home::example("file-file");
    home.once("csv-to-json");
    let contacts =
        || -> Vec<serde_json::Value> { serde_json::from_str(&home.read("files/contacts.json")).unwrap() };
    let csv = home.read("files/people.csv");
    let active: Vec<&str> =
        csv.lines().skip(1).filter(|line| line.contains("active") && !line.contains("inactive")).collect();
    for line in &active {
        let id: i64 = line.split(',').next().unwrap().parse().unwrap();
        assert!(with(&contacts(), "contactId", id).is_some(), "{id} is missing: {:?}", contacts());
    }
    assert_eq!(home.once("csv-to-json")["synced"], 0, "a second pass has nothing to do");
    let mut all = contacts();
    all.push(json!({"contactId": 9001, "displayName": "From JSON", "mail": "json@example.test"}));
    home.swap("files/contacts.json", &serde_json::to_string_pretty(&all).unwrap());
    home.once("csv-to-json");
    let line =
        home.read("files/people.csv").lines().find(|line| line.starts_with("9001,")).map(str::to_owned);
    assert!(line.is_some_and(|line| line.contains("From JSON")), "{}", home.read("files/people.csv"));
    assert_eq!(home.once("csv-to-json")["synced"], 0);
}

#[test]
fn two_tables() {
    let home = Home::example("sqlite-sqlite");
    with_people(&home);
    home.users("data/second.sqlite");
    home.once("one-to-two");
    let second = home.open("data/second.sqlite");
    assert_eq!(people(&home.app()), people(&second));
    assert_eq!(people(&second).len(), 5);
    second.execute("UPDATE users SET name = 'Second' WHERE record_id = 101", []).unwrap();
    second.execute("DELETE FROM users WHERE record_id = 102", []).unwrap();
    home.app().execute("UPDATE users SET email = 'first@example.test' WHERE record_id = 101", []).unwrap();
    home.once("one-to-two");
    assert_eq!(people(&home.app()), people(&second));
    let both = ("Second".to_owned(), "first@example.test".to_owned());
    assert_eq!(person(&second, 101), Some(both), "edits of two fields do not harm each other");
    assert_eq!(people(&second).len(), 4);
    assert_eq!(home.once("one-to-two")["synced"], 0);
}

#[tokio::test]
async fn a_table_and_outreach() {
    let home = Home::example("sqlite-outreach");
    with_people(&home);
    home.once("sqlite-to-outreach");
    assert_eq!(home.once("sqlite-to-outreach")["synced"], 0, "the mock keeps its data, and nothing is to do");
    let daemon = Daemon::start(&home);
    let prospects = async || daemon.records("default", "outreach", "prospects").await;
    let active = "SELECT count(*) FROM users WHERE status = 'active'";
    let active: u32 = home.app().query_row(active, [], |row| row.get(0)).unwrap();
    let active = usize::try_from(active).unwrap();
    assert_eq!(prospects().await.len(), active);
    let pushed = json!({"record_id": 303, "full_name": "Mock303 User", "email_address": "mock@example.test", "status": "active"});
    assert_eq!(daemon.post("/v1/crms/mock/outreach/push", pushed).await.status, 201);
    let arrived = ("Mock303 User".to_owned(), "mock@example.test".to_owned());
    until("it in the table", async || person(&home.app(), 303), |found| *found == Some(arrived.clone()))
        .await;
    assert!(daemon.terminate().success());
    home.app().execute("DELETE FROM users WHERE record_id = 303", []).unwrap();
    home.once("sqlite-to-outreach");
    let daemon = Daemon::start(&home);
    assert_eq!(daemon.records("default", "outreach", "prospects").await.len(), active);
}

#[tokio::test]
async fn a_table_and_servicenow() {
    let home = Home::example("sqlite-servicenow");
    with_people(&home);
    home.once("sqlite-to-servicenow");
    assert_eq!(
        home.once("sqlite-to-servicenow")["synced"],
        0,
        "the mock keeps its data, and nothing is to do"
    );
    let daemon = Daemon::start(&home);
    let users = async || {
        let mut users = daemon.records("default", "servicenow", "sys_user").await;
        users.retain(|user| user["employee_number"].is_string());
        users
    };
    let active = "SELECT count(*) FROM users WHERE status = 'active'";
    let active: usize = home.app().query_row(active, [], |row| row.get::<_, u32>(0)).unwrap() as usize;
    assert_eq!(users().await.len(), active);
    let there = users().await;
    let first = with(&there, "employee_number", 101).expect("the first of the demo");
    let path =
        format!("/mock/default/servicenow/api/now/table/sys_user/{}", first["sys_id"].as_str().unwrap());
    let renamed = daemon
        .request("PATCH", &path)
        .basic_auth("sync@example.test", Some("pa55word"))
        .header("content-type", "application/json")
        .body(json!({"name": "Renamed There"}).to_string());
    assert_eq!(daemon.send(renamed).await.status, 200);
    let name = async || person(&home.app(), 101).unwrap().0;
    until("the new name", name, |name| name == "Renamed There").await;
    home.app().execute("DELETE FROM users WHERE record_id = 102", []).unwrap();
    until("the deletion", async || users().await.len(), |&count| count == active - 1).await;
    assert!(daemon.terminate().success());
    assert_eq!(home.once("sqlite-to-servicenow")["synced"], 0);
}
