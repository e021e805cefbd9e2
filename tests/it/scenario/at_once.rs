//! Calls under way at once: as many as the system stands, never more.

use serde_json::{Value, json};

use super::daemon::{Daemon, until};
use super::home::{Home, RULES, add_people};
use super::window::millis;

/// Every reply takes this long.
const LATE_MS: i64 = 250;
const ROWS: i64 = 160;
const BATCH: i64 = 10;

const SETTINGS: &str = r#"
[default]
max_requests = 1000
window_size = 1
batch_size = 1000
flush_interval = 60

[default.systems.app]
connector = "sqlite"
path = "data/demo.sqlite"

[default.systems.salesforce]
connector = "salesforce"
base_url = "mock"

[default.links.people]
a = { system = "app", stream = "users", key = "record_id" }
b = { system = "salesforce", stream = "Contact", key = "record_id" }
poll_interval = 60
"#;

/// Counts the calls that were under way together at most: as many as come in before the first is answered.
fn most_at_once(arrivals: &[Value]) -> usize {
    let at: Vec<i64> = arrivals.iter().map(millis).collect();
    let together = |from: &i64| at.iter().filter(|at| (*from..from + LATE_MS).contains(at)).count();
    at.iter().map(together).max().unwrap_or(0)
}

#[tokio::test]
async fn a_backlog_drains_by_as_many_calls_at_once_as_the_system_stands() {
    // (calls at once that the settings allow, under way together, why)
    let cases = [
        ("", 4, "as many as Salesforce stands"),
        ("concurrency = 2", 2, "fewer where the settings say so"),
        ("concurrency = 1", 1, "one after the other"),
    ];
    for (concurrency, wanted, why) in cases {
        let home = Home::new(&SETTINGS.replace("[default]", &format!("[default]\n{concurrency}")), RULES);
        let daemon = Daemon::start(&home);
        daemon.pass("people").await;
        add_people(&mut home.app(), 1..=ROWS);
        let waiting = |answer: &super::daemon::Answer| answer.body["stats"]["queue_size"] == ROWS;
        daemon.until("/v1/sync/status", "a backlog", waiting).await;
        daemon.misbehave("default", "salesforce", json!({ "latency_ms": LATE_MS })).await;
        daemon.forget_arrivals("default", "salesforce").await;
        let smaller = json!({ "crm": "salesforce", "batch_size": BATCH, "flush_interval": 0 });
        assert_eq!(daemon.post("/v1/sync/config-override", smaller).await.status, 200);
        let there = async || daemon.records("default", "salesforce", "Contact").await.len();
        until("all of them", there, |count| *count == ROWS as usize).await;
        let arrivals = daemon.arrivals("default", "salesforce").await;
        assert_eq!(most_at_once(&arrivals), wanted, "{why}: {arrivals:?}");
    }
}
