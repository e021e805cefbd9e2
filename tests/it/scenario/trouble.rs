//! A system that fails, and one whose day is used up: what statuses, log and metrics say, over a `kill -9`.

use serde_json::{Value, json};

use super::daemon::{Daemon, until};
use super::home::{Home, RULES, add_people};

const SETTINGS: &str = r#"
[default]
max_requests = 1000
window_size = 1
flush_interval = 0.05
retry = { base = 0.05, max = 0.2, attempts_max = 1000 }
breaker = { failures = 3, open_for = 3, open_max = 6 }

[default.systems.app]
connector = "sqlite"
path = "data/demo.sqlite"

[default.systems.salesforce]
connector = "salesforce"
base_url = "mock"

[default.links.people]
a = { system = "app", stream = "users", key = "record_id" }
b = { system = "salesforce", stream = "Contact", key = "record_id" }
poll_interval = 0.2
"#;

const STATUS: &str = "/v1/sync/status";

fn gate(status: &Value) -> &Value {
    &status["links"][0]["b"]["gate"]
}

/// The breaker's turns as the log tells them.
fn turns(home: &Home) -> Vec<Value> {
    lines_of(home, "breaker.")
}

/// The lines of the log whose events begin so.
fn lines_of(home: &Home, event: &str) -> Vec<Value> {
    let log = home.read("logs/record_sync.log");
    let lines = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.filter(|line| line["event"].as_str().is_some_and(|told| told.starts_with(event))).collect()
}

#[tokio::test]
async fn an_open_breaker_says_why_since_when_and_what_comes_next() {
    let home = Home::new(SETTINGS, RULES);
    add_people(&mut home.app(), 1..=5);
    let daemon = Daemon::start(&home);
    daemon.pass("people").await;
    daemon.misbehave("default", "salesforce", json!({"rate_503": 1.0})).await;
    add_people(&mut home.app(), 6..=10);
    // Somebody was sent home, so the next process knows.
    let sent_home = |status: &Value| status["links"][0].to_string().contains("calls rest until");
    let is_open = |status: &Value| gate(status)["breaker"]["state"] == "open";
    let answer = daemon
        .until(STATUS, "an open breaker", |answer| is_open(&answer.body) && sent_home(&answer.body))
        .await;
    let told = lines_of(&home, "job.put_off");
    assert!(told.iter().any(|line| line["records"] == 5), "one line for all that wait: {told:?}");
    let breaker = &gate(&answer.body)["breaker"];
    assert_eq!(breaker["reason"], "3 calls in a row failed", "{breaker}");
    let (since, next) = (breaker["since"].as_str().unwrap(), breaker["next_try_at"].as_str().unwrap());
    assert!(since < next, "{breaker}");

    // The next process leaves it alone, too.
    daemon.forget_arrivals("default", "salesforce").await;
    daemon.kill();
    let daemon = Daemon::start(&home);
    daemon.misbehave("default", "salesforce", json!({})).await;
    let there = async || daemon.records("default", "salesforce", "Contact").await.len();
    until("all of them", there, |count| *count == 10).await;
    let answer = daemon
        .until(STATUS, "a closed breaker", |answer| gate(&answer.body)["breaker"]["state"] == "closed")
        .await;
    assert_eq!(answer.body["stats"]["dead_letters"], 0, "{answer:?}");
    assert_eq!(gate(&answer.body)["breaker"]["reason"], Value::Null);
    let metrics = daemon.get("/metrics").await.body.as_str().unwrap().to_owned();
    assert!(metrics.contains("record_sync_breaker_transitions_total{customer=\"default\""), "{metrics}");

    let told = turns(&home);
    let events: Vec<&str> = told.iter().map(|line| line["event"].as_str().unwrap()).collect();
    assert_eq!((events[0], *events.last().unwrap()), ("breaker.opened", "breaker.closed"), "{events:?}");
    let restarts =
        told.iter().filter(|line| line["reason"] == "it was open when the service stopped").count();
    assert!(restarts >= 1, "the next process says so: {told:?}");
    for pair in told.windows(2).filter(|pair| pair[1]["reason"] != "it was open when the service stopped") {
        assert_ne!(pair[0]["event"], pair[1]["event"], "each turn is told once: {events:?}");
    }
}

/// A server that breaks down over every question for one record: the others arrive, that one says why it does not, and
/// the system is not taken for one that is down.
#[tokio::test]
async fn a_record_that_breaks_every_look_up_harms_no_other() {
    let settings = SETTINGS
        .replace("breaker = { failures = 3, open_for = 3, open_max = 6 }", "batch_size = 100")
        .replace("attempts_max = 1000", "attempts_max = 4");
    let home = Home::new(&settings, RULES);
    let daemon = Daemon::start(&home);
    daemon.pass("people").await;
    daemon.misbehave("default", "salesforce", json!({"breaks_on": "'4077'"})).await;
    add_people(&mut home.app(), 4001..=4100);
    let there = async || daemon.records("default", "salesforce", "Contact").await.len();
    until("all but one", there, |&count| count == 99).await;
    let path = "/v1/sync/status/4077?link=people";
    let dead = |answer: &super::daemon::Answer| answer.body["links"][0]["a_to_b"]["status"] == "dead";
    let told = daemon.until(path, "a dead letter", dead).await;
    assert!(told.body["links"][0]["a_to_b"]["error"].to_string().contains("503"), "{told:?}");
    assert_eq!(turns(&home), Vec::<Value>::new(), "no breaker opens because of one record");
    let dead = daemon.get("/v1/sync/status").await.body["stats"]["dead_letters"].clone();
    assert_eq!(dead, 1, "nobody else pays for it");
}

#[tokio::test]
async fn a_days_limit_holds_from_the_next_call_on_and_over_a_kill() {
    let home = Home::new(SETTINGS, RULES);
    add_people(&mut home.app(), 1..=5);
    let daemon = Daemon::start(&home);
    daemon.pass("people").await;
    let used = gate(&daemon.get(STATUS).await.body)["used_day"].as_u64().unwrap();
    assert!(used > 0);
    let limit = json!({"crm": "salesforce", "max_per_day": used + 10, "concurrency": 2});
    assert_eq!(daemon.post("/v1/sync/config-override", limit).await.status, 200);
    let spent = |status: &Value| gate(status)["paused_by"] == "day";
    let answer = daemon.until(STATUS, "a day that is used up", |answer| spent(&answer.body)).await;
    let gate_now = gate(&answer.body).clone();
    assert_eq!((&gate_now["max_per_day"], &gate_now["concurrency"]), (&json!(used + 10), &json!(2)));
    assert_eq!(gate_now["used_day"], json!(used + 10), "not one more");
    add_people(&mut home.app(), 6..=10);
    let waits = |status: &Value| status["stats"]["queue_size"] == 5;
    daemon.until(STATUS, "changes that wait", |answer| waits(&answer.body)).await;

    daemon.kill();
    let daemon = Daemon::start(&home);
    let answer = daemon.until(STATUS, "still used up", |answer| spent(&answer.body)).await;
    assert_eq!(answer.body["stats"]["dead_letters"], 0, "{answer:?}");
    assert_eq!(daemon.arrivals("default", "salesforce").await.len(), 0, "no call of the new process");

    // The file says otherwise, live, once nothing overrides it.
    home.swap(
        "customer_settings.toml",
        &SETTINGS.replace("[default]", "[default]\nmax_per_day = 7777\nconcurrency = 3"),
    );
    let removed = daemon.delete("/v1/sync/config-override?crm=salesforce").await;
    assert_eq!(removed.status, 200, "{removed:?}");
    let as_filed = |status: &Value| {
        let gate = gate(status);
        gate["max_per_day"] == 7777 && gate["concurrency"] == 3 && gate["paused_by"] == Value::Null
    };
    daemon.until(STATUS, "the file's limits", |answer| as_filed(&answer.body)).await;
}

const COPY: &str = r#"
[default.systems.copy]
connector = "sqlite"
path = "data/copy.sqlite"

[default.links.copies]
a = { system = "copy", stream = "users", key = "record_id" }
b = { system = "salesforce", stream = "Contact", key = "record_id" }
direction = "b_to_a"
poll_interval = 0.2
"#;

/// A first read takes many calls: it goes on where one of them failed, and does not begin anew.
#[tokio::test]
async fn a_first_read_goes_on_where_a_call_failed() {
    let home = Home::new(SETTINGS, RULES);
    home.users("data/copy.sqlite");
    let all = 12_100;
    add_people(&mut home.app(), 1..=all);
    let daemon = Daemon::start(&home);
    daemon.pass("people").await;
    assert_eq!(daemon.records("default", "salesforce", "Contact").await.len() as i64, all);
    assert_eq!(daemon.post("/v1/links/people/pause", json!({})).await.status, 200);
    daemon.forget_arrivals("default", "salesforce").await;
    let pages = async |status: u64| {
        let arrivals = daemon.arrivals("default", "salesforce").await;
        let ends = |it: &Value, end: &str| it["path"].as_str().unwrap().ends_with(end);
        // The new link describes first; behind the last page it asks what was deleted.
        let own = arrivals.iter().skip_while(|it| !ends(it, "/describe")).take_while(|it| !ends(it, "All"));
        own.filter(|it| ends(it, "/query") && it["status"] == status).count()
    };
    daemon.misbehave("default", "salesforce", json!({"latency_ms": 300})).await;
    home.write("customer_settings.toml", &format!("{SETTINGS}{COPY}"));
    until("two pages", async || pages(200).await, |count| *count >= 2).await;
    daemon.misbehave("default", "salesforce", json!({"rate_503": 1.0})).await;
    until("a page that fails", async || pages(503).await, |count| *count >= 1).await;
    daemon.misbehave("default", "salesforce", json!({})).await;
    let count = "SELECT count(*) FROM users";
    let copied = async || home.open("data/copy.sqlite").query_row(count, [], |row| row.get(0)).unwrap();
    until("all of them", copied, |count: &i64| *count == all).await;
    assert_eq!(pages(200).await, 7, "each page once");
}
