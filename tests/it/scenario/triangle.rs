//! A table, a Salesforce and an Outreach hold the same people.

use serde_json::{Value, json};

use super::daemon::{Daemon, is_write, until, with};
use super::home::{Home, RULES, TRIANGLE, add_people, person};

const CONTACTS: (&str, &str) = ("salesforce", "Contact");
const PROSPECTS: (&str, &str) = ("outreach", "prospects");

/// The rules as the contract shows them: without the status among the mappings.
const FLAT: &str = r#"{"filters":{"status":"active"},"mappings":{"record_id":"record_id","full_name":"name","email_address":"email"}}"#;

async fn at_crm(daemon: &Daemon, crm: (&str, &str), id: i64) -> Option<(String, String)> {
    let records = daemon.records("default", crm.0, crm.1).await;
    let text = |record: &Value, field: &str| record[field].as_str().unwrap_or_default().to_owned();
    with(&records, "record_id", id).map(|record| (text(record, "full_name"), text(record, "email_address")))
}

async fn arrives_at(daemon: &Daemon, crm: (&str, &str), id: i64, wanted: Option<(&str, &str)>) {
    let wanted = wanted.map(|(name, email)| (name.to_owned(), email.to_owned()));
    let what = format!("record {id} at {} as {wanted:?}", crm.0);
    until(&what, async || at_crm(daemon, crm, id).await, |found| *found == wanted).await;
}

async fn arrives_in_table(home: &Home, id: i64, wanted: Option<(&str, &str)>) {
    let wanted = wanted.map(|(name, email)| (name.to_owned(), email.to_owned()));
    let what = format!("record {id} in the table as {wanted:?}");
    until(&what, async || person(&home.app(), id), |found| *found == wanted).await;
}

/// Logs in at a CRM's own API; gives where that is and the token.
async fn log_in(daemon: &Daemon, crm: &str) -> (String, String) {
    let mount = format!("/mock/default/{crm}");
    let (address, api, form) = match crm {
        "salesforce" => (
            "services/oauth2/token",
            "services/data/v59.0/sobjects",
            "grant_type=client_credentials&client_id=client-id&client_secret=client-secret",
        ),
        _ => (
            "oauth/token",
            "api/v2",
            "grant_type=refresh_token&client_id=client-id&client_secret=client-secret&refresh_token=or-refresh-1",
        ),
    };
    let request = daemon.request("POST", &format!("{mount}/{address}"));
    let request = request.header("content-type", "application/x-www-form-urlencoded");
    let token = daemon.send(request.body(form)).await;
    assert_eq!(token.status, 200, "{token:?}");
    (format!("{mount}/{api}"), token.body["access_token"].as_str().unwrap().to_owned())
}

/// Deletes a record at a CRM through its own API, as a person there would.
async fn delete_there(daemon: &Daemon, crm: (&str, &str), id: i64) {
    let records = daemon.records("default", crm.0, crm.1).await;
    let record = with(&records, "record_id", id).unwrap();
    let own = if crm.0 == "salesforce" { &record["Id"] } else { &record["id"] };
    delete_by_id(daemon, crm, own.as_str().map_or_else(|| own.to_string(), str::to_owned)).await;
}

async fn delete_by_id(daemon: &Daemon, crm: (&str, &str), own: String) {
    let (api, token) = log_in(daemon, crm.0).await;
    let path = format!("{api}/{}/{own}", crm.1);
    let gone = daemon.send(daemon.request("DELETE", &path).bearer_auth(token)).await;
    assert_eq!(gone.status, 204, "{gone:?}");
}

/// Writes a prospect through Outreach's own API, a new one where no id is given; gives its id.
async fn write_prospect(daemon: &Daemon, own: Option<&str>, attributes: Value) -> String {
    let (api, token) = log_in(daemon, "outreach").await;
    let (method, path) = match own {
        Some(own) => ("PATCH", format!("{api}/prospects/{own}")),
        None => ("POST", format!("{api}/prospects")),
    };
    let mut data = json!({ "type": "prospect", "attributes": attributes });
    if let Some(own) = own {
        data["id"] = json!(own.parse::<u64>().unwrap());
    }
    let request = daemon.request(method, &path).bearer_auth(token);
    let request = request.header("content-type", "application/vnd.api+json");
    let written = daemon.send(request.body(json!({ "data": data }).to_string())).await;
    assert!(written.status < 300, "{written:?}");
    written.body["data"]["id"].to_string()
}

/// Waits for both links to have nothing left to do.
async fn settle(daemon: &Daemon) {
    for _ in 0..3 {
        daemon.pass("sqlite-to-salesforce").await;
        daemon.pass("sqlite-to-outreach").await;
    }
}

/// Ten polls on every side write nothing anywhere.
async fn ten_polls_write_nothing(daemon: &Daemon, home: &Home) {
    settle(daemon).await;
    daemon.forget_arrivals("default", "salesforce").await;
    daemon.forget_arrivals("default", "outreach").await;
    let watching = home.app();
    let version = || watching.query_row("PRAGMA data_version", [], |row| row.get::<_, i64>(0)).unwrap();
    let before = version();
    for _ in 0..10 {
        daemon.pass("sqlite-to-salesforce").await;
        daemon.pass("sqlite-to-outreach").await;
    }
    assert_eq!(version(), before, "somebody wrote to the table");
    for system in ["salesforce", "outreach"] {
        let arrivals = daemon.arrivals("default", system).await;
        assert!(arrivals.len() >= 10, "each pass asks at least once: {arrivals:?}");
        let writes: Vec<_> = arrivals.iter().filter(|arrival| is_write(arrival)).collect();
        assert!(writes.is_empty(), "{system}: {writes:?}");
    }
}

#[tokio::test]
async fn an_edit_on_any_side_arrives_on_the_others_and_then_all_is_quiet() {
    let home = Home::new(TRIANGLE, RULES);
    add_people(&mut home.app(), 1..=5);
    let sql =
        "INSERT INTO users VALUES (6, 'Left Out', 'out@example.test', 'inactive', '2024-01-01T00:00:00Z')";
    home.app().execute(sql, []).unwrap();
    let daemon = Daemon::start(&home);
    let five = |records: &Vec<Value>| records.len() == 5;
    for crm in [CONTACTS, PROSPECTS] {
        until("five people", async || daemon.records("default", crm.0, crm.1).await, five).await;
        arrives_at(&daemon, crm, 1, Some(("Person 1", "person1@example.test"))).await;
    }

    let pushed =
        json!({"record_id":303,"full_name":"Mock303 User","email_address":"mock@sf.com","status":"active"});
    let answer = daemon.post("/v1/crms/mock/salesforce/push", pushed).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    arrives_in_table(&home, 303, Some(("Mock303 User", "mock@sf.com"))).await;
    arrives_at(&daemon, PROSPECTS, 303, Some(("Mock303 User", "mock@sf.com"))).await;

    home.app().execute("UPDATE users SET name = 'Table Edit' WHERE record_id = 2", []).unwrap();
    for crm in [CONTACTS, PROSPECTS] {
        arrives_at(&daemon, crm, 2, Some(("Table Edit", "person2@example.test"))).await;
    }
    let edit = json!({"record_id":3,"full_name":"Outreach Edit"});
    assert_eq!(daemon.post("/v1/crms/mock/outreach/push", edit).await.status, 201);
    arrives_in_table(&home, 3, Some(("Outreach Edit", "person3@example.test"))).await;
    arrives_at(&daemon, CONTACTS, 3, Some(("Outreach Edit", "person3@example.test"))).await;
    let edit = json!({"record_id":303,"email_address":"edit@sf.com"});
    assert_eq!(daemon.post("/v1/crms/mock/salesforce/push", edit).await.status, 201);
    arrives_in_table(&home, 303, Some(("Mock303 User", "edit@sf.com"))).await;
    arrives_at(&daemon, PROSPECTS, 303, Some(("Mock303 User", "edit@sf.com"))).await;

    home.app().execute("DELETE FROM users WHERE record_id = 1", []).unwrap();
    arrives_at(&daemon, CONTACTS, 1, None).await;
    arrives_at(&daemon, PROSPECTS, 1, None).await;
    delete_there(&daemon, PROSPECTS, 4).await;
    arrives_in_table(&home, 4, None).await;
    arrives_at(&daemon, CONTACTS, 4, None).await;
    delete_there(&daemon, CONTACTS, 5).await;
    arrives_in_table(&home, 5, None).await;
    arrives_at(&daemon, PROSPECTS, 5, None).await;

    ten_polls_write_nothing(&daemon, &home).await;
    assert_eq!(person(&home.app(), 6), Some(("Left Out".into(), "out@example.test".into())));
    for crm in [CONTACTS, PROSPECTS] {
        assert_eq!(daemon.records("default", crm.0, crm.1).await.len(), 3, "2, 3 and 303");
    }
    assert!(daemon.terminate().success());
}

#[tokio::test]
async fn the_flat_rules_of_the_contract_work_both_ways() {
    let home = Home::new(TRIANGLE, FLAT);
    add_people(&mut home.app(), 1..=3);
    home.app().execute("UPDATE users SET status = 'inactive' WHERE record_id = 3", []).unwrap();
    let daemon = Daemon::start(&home);
    for crm in [CONTACTS, PROSPECTS] {
        arrives_at(&daemon, crm, 1, Some(("Person 1", "person1@example.test"))).await;
    }
    let pushed =
        json!({"record_id":303,"full_name":"Mock303 User","email_address":"mock@sf.com","status":"active"});
    assert_eq!(daemon.post("/v1/crms/mock/salesforce/push", pushed).await.status, 201);
    arrives_in_table(&home, 303, Some(("Mock303 User", "mock@sf.com"))).await;
    arrives_at(&daemon, PROSPECTS, 303, Some(("Mock303 User", "mock@sf.com"))).await;
    let pushed =
        json!({"record_id":404,"full_name":"Held Back","email_address":"held@sf.com","status":"gone"});
    assert_eq!(daemon.post("/v1/crms/mock/outreach/push", pushed).await.status, 201);
    ten_polls_write_nothing(&daemon, &home).await;
    assert_eq!(person(&home.app(), 404), None, "the filter holds for what comes back as well");
    assert_eq!(at_crm(&daemon, CONTACTS, 3).await, None, "an inactive person stays at home");
    let held = daemon.get("/v1/sync/status/3").await;
    assert_eq!(held.body["status"], "skipped_by_rule", "{held:?}");
    assert!(
        held.body["links"][0]["a_to_b"]["error"].as_str().unwrap().contains("status"),
        "which rule: {held:?}"
    );
}

/// Two prospects claim one key: the second is left out and said to be, until the first is gone.
#[tokio::test(flavor = "multi_thread")]
async fn two_records_of_one_key_are_never_taken_for_one() {
    let home = Home::new(TRIANGLE, FLAT);
    let daemon = Daemon::start(&home);
    let prospect = |name: &str| json!({ "record_id": 7, "full_name": name, "email_address": "7@example.test", "status": "active" });
    let first = write_prospect(&daemon, None, prospect("First")).await;
    arrives_in_table(&home, 7, Some(("First", "7@example.test"))).await;
    let second = write_prospect(&daemon, None, prospect("Second")).await;
    until(
        "the second is a dead letter",
        async || daemon.get("/v1/sync/status/%23duplicate-7").await.body,
        |status| status.to_string().contains("two records of the stream have the key 7"),
    )
    .await;
    settle(&daemon).await;
    arrives_in_table(&home, 7, Some(("First", "7@example.test"))).await;
    let log = home.read("logs/record_sync.log");
    let told = log.lines().filter(|line| line.contains("\"job.dead\"") && line.contains("#duplicate-7"));
    assert_eq!(told.count(), 1, "it is told once: {log}");
    delete_by_id(&daemon, PROSPECTS, first).await;
    write_prospect(&daemon, Some(&second), json!({ "full_name": "Second, now alone" })).await;
    arrives_in_table(&home, 7, Some(("Second, now alone", "7@example.test"))).await;
}
