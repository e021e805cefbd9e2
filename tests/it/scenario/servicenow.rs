//! A table and a strict ServiceNow, which is a process of its own: both ways, through lost replies, a kill and an
//! hour that is used up.

use serde_json::{Value, json};

use super::daemon::{Daemon, until};
use super::home::{Home, add_people, people, person};
use super::outside::Outside;

const RULES: &str = r#"{"links": {"people": {"fields":
    {"record_id": "correlation_id", "name": "short_description", "email": "description"}}}}"#;

const INCIDENT: &str = "/api/now/table/incident";
const PEOPLE: usize = 300;

fn settings(mock: &Outside, login: &str) -> String {
    let url = mock.url();
    format!(
        r#"
[service]
state = "sqlite:data/state.sqlite"

[default]
max_requests = 100000
window_size = 1
flush_interval = 0.05
retry = {{ base = 0.05, max = 0.2, attempts_max = 20 }}
breaker = {{ failures = 1000, failure_rate = 1.0 }}

[default.systems.app]
connector = "sqlite"
path = "data/demo.sqlite"

[default.systems.snow]
connector = "servicenow"
base_url = "{url}"
overlap_seconds = 1
{login}

[default.links.people]
a = {{ system = "app", stream = "users", key = "record_id" }}
b = {{ system = "snow", stream = "incident", key = "correlation_id" }}
poll_interval = 0.2
"#
    )
}

/// Asks the mock's API as somebody there would.
async fn ask(mock: &Outside, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let request = client
        .request(method.parse().unwrap(), format!("{}{path}", mock.url()))
        .basic_auth("sync@example.test", Some("pa55word"));
    let request = match body {
        Some(body) => request.header("content-type", "application/json").body(body.to_string()),
        None => request,
    };
    let reply = request.send().await.unwrap();
    let status = reply.status().as_u16();
    (status, serde_json::from_str(&reply.text().await.unwrap()).unwrap_or(Value::Null))
}

async fn faults(mock: &Outside, faults: Value) {
    assert_eq!(ask(mock, "PUT", "/__admin/faults", Some(faults)).await.0, 200);
}

async fn find(mock: &Outside, key: &str) -> Option<Value> {
    let path = format!("{INCIDENT}?sysparm_query=correlation_id={key}");
    ask(mock, "GET", &path, None).await.1["result"].as_array()?.first().cloned()
}

#[tokio::test]
async fn a_table_and_servicenow_follow_each_other_through_trouble() {
    let home = Home::new("", RULES);
    let mock = Outside::start(&home, "servicenow", &["--strict", "--seed", "7"]);
    let app = "client_id = \"client-id\"\nclient_secret = \"client-secret\"";
    home.write("customer_settings.toml", &settings(&mock, app));
    add_people(&mut home.app(), 1..=PEOPLE as i64);
    faults(&mock, json!({"rate_lost_reply": 0.2, "rate_503": 0.1, "rate_429": 0.1})).await;
    let daemon = Daemon::start(&home);
    let some = async || mock.get("records/incident").await.len();
    until("some incidents", some, |&count| count >= 100).await;
    daemon.kill();
    let daemon = Daemon::start(&home);
    until("all incidents", some, |&count| count >= PEOPLE).await;
    faults(&mock, json!({})).await;
    daemon.pass("people").await;
    daemon.pass("people").await;
    let mut keys: Vec<String> = mock
        .get("records/incident")
        .await
        .iter()
        .map(|row| row["correlation_id"].as_str().unwrap().to_owned())
        .collect();
    keys.sort_unstable();
    keys.dedup();
    assert_eq!((keys.len(), mock.get("records/incident").await.len()), (PEOPLE, PEOPLE), "none twice");

    // Edits on both sides, of different fields of one record, too.
    let row = find(&mock, "1").await.unwrap();
    let path = format!("{INCIDENT}/{}", row["sys_id"].as_str().unwrap());
    assert_eq!(ask(&mock, "PATCH", &path, Some(json!({"short_description": "There"}))).await.0, 200);
    home.app().execute("UPDATE users SET email = 'here@example.test' WHERE record_id = 1", []).unwrap();
    let both = Some(("There".to_owned(), "here@example.test".to_owned()));
    until("both edits in the table", async || person(&home.app(), 1), |found| *found == both).await;
    let there = async || find(&mock, "1").await.map(|row| row["description"].clone());
    until("both edits there", there, |found| *found == Some("here@example.test".into())).await;

    // A record that somebody makes there, and deletions on either side.
    let made =
        json!({"correlation_id": "9001", "short_description": "Made There", "description": "m@example.test"});
    assert_eq!(ask(&mock, "POST", INCIDENT, Some(made)).await.0, 201);
    let arrived = Some(("Made There".to_owned(), "m@example.test".to_owned()));
    until("a new one in the table", async || person(&home.app(), 9001), |found| *found == arrived).await;
    let row = find(&mock, "2").await.unwrap();
    let path = format!("{INCIDENT}/{}", row["sys_id"].as_str().unwrap());
    assert_eq!(ask(&mock, "DELETE", &path, None).await.0, 204);
    until("a deletion in the table", async || person(&home.app(), 2), Option::is_none).await;
    home.app().execute("DELETE FROM users WHERE record_id = 3", []).unwrap();
    until("a deletion there", async || find(&mock, "3").await, Option::is_none).await;

    // At rest nothing is written.
    for _ in 0..3 {
        daemon.pass("people").await;
    }
    ask(&mock, "DELETE", "/__admin/arrivals", None).await;
    for _ in 0..5 {
        daemon.pass("people").await;
    }
    let is_change = |arrival: &&Value| {
        arrival["method"] != "GET" && !arrival["path"].as_str().unwrap().ends_with("oauth_token.do")
    };
    let arrivals = mock.get("arrivals").await;
    assert!(arrivals.len() >= 10, "two requests a pass: {}", arrivals.len());
    assert_eq!(arrivals.iter().filter(is_change).count(), 0, "{arrivals:?}");
    assert!(daemon.terminate().success());
    assert_eq!(people(&home.app()).len(), PEOPLE - 1);
}

#[tokio::test]
async fn a_backlog_is_cheap_and_an_hour_that_is_used_up_loses_nothing() {
    let home = Home::new("", RULES);
    let mock = Outside::start(&home, "servicenow", &["--strict"]);
    let user = "username = \"sync@example.test\"\npassword = \"pa55word\"";
    home.write("customer_settings.toml", &settings(&mock, user));
    add_people(&mut home.app(), 1..=1000);
    let once = home.run(&["once", "--link", "people", "--json"]);
    assert!(once.status.success(), "{once:?}");
    let calls = mock.get("arrivals").await.len();
    println!("servicenow: {calls} requests for the first fill of 1000 records");
    assert_eq!(mock.get("records/incident").await.len(), 1000);
    assert!(
        calls <= 50,
        "{calls}: a look before, a look-up and a batch for a hundred records, and the passes around"
    );

    let rule = json!({"name": "few", "limit_per_hour": "1", "active": "true"});
    assert_eq!(ask(&mock, "POST", "/api/now/table/sys_rate_limit_rules", Some(rule)).await.0, 201);
    home.app().execute("UPDATE users SET name = 'Later' WHERE record_id = 5", []).unwrap();
    let daemon = Daemon::start(&home);
    let told = |answer: &super::daemon::Answer| answer.body.to_string().contains("Rate limit");
    daemon.until("/v1/sync/status", "the limit is told", told).await;
    let status = daemon.get("/v1/sync/status").await.body;
    assert_eq!(status["stats"]["dead_letters"], 0, "{status}");
    assert!(daemon.terminate().success());
}

#[tokio::test]
async fn a_field_of_another_record_is_read_along_its_reference_and_never_written() {
    let along = |direction: &str, pair: &str| {
        format!(
            r#"{{"links": {{"people": {{"fields": {{"record_id": "correlation_id", "name": "short_description"}},
            "{direction}": {{"mappings": {{{pair}}}}}}}}}}}"#
        )
    };
    let home = Home::new("", &along("b_to_a", r#""caller_id.email": "email""#));
    let mock = Outside::start(&home, "servicenow", &["--strict"]);
    let user = "username = \"sync@example.test\"\npassword = \"pa55word\"";
    home.write("customer_settings.toml", &settings(&mock, user));
    let caller = json!({"user_name": "ada", "email": "ada@example.test"});
    let made = ask(&mock, "POST", "/api/now/table/sys_user", Some(caller)).await;
    let caller = &made.1["result"]["sys_id"];
    for (key, caller) in [("1", caller), ("2", &json!(""))] {
        let incident = json!({"correlation_id": key, "short_description": "Printer", "caller_id": caller});
        assert_eq!(ask(&mock, "POST", INCIDENT, Some(incident)).await.0, 201);
    }
    let check = home.run(&["check"]);
    assert!(check.status.success(), "{check:?}");
    home.once("people");
    let email = |key| -> Option<String> {
        let sql = "SELECT email FROM users WHERE record_id = ?1";
        home.app().query_row(sql, [key], |row| row.get(0)).unwrap()
    };
    assert_eq!(email(1).as_deref(), Some("ada@example.test"));
    assert_eq!(email(2), None, "nobody called");

    // (rules, what the check says of them)
    let cases = [
        (along("a_to_b", r#""email": "caller_id.email""#), "only read"),
        (along("a_to_b", r#""email": "sys_updated_by""#), "sets it itself"),
        (along("b_to_a", r#""caller_idd.email": "email""#), "no field `caller_idd.email`"),
    ];
    for (rules, said) in cases {
        home.write("rules.json", &rules);
        let check = home.run(&["check"]);
        let words =
            format!("{}{}", String::from_utf8_lossy(&check.stdout), String::from_utf8_lossy(&check.stderr));
        assert!(!check.status.success() && words.contains(said), "{said}: {words}");
    }
}
