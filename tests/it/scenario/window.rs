//! The promise of the window, as the server sees it, and what statuses say meanwhile.

use serde_json::{Value, json};

use super::daemon::{Daemon, with};
use super::home::{Home, RULES, add_people};

/// At most ten requests in any three seconds, reads and writes together.
const MAX_REQUESTS: usize = 10;
const WINDOW_MS: i64 = 3_000;

const SETTINGS: &str = r#"
[default]
max_requests = 10
window_size = 3
batch_size = 20
flush_interval = 0.05

[default.systems.app]
connector = "sqlite"
path = "data/demo.sqlite"

[default.systems.salesforce]
connector = "salesforce"
base_url = "mock"

[default.links.sqlite-to-salesforce]
a = { system = "app", stream = "users", key = "record_id" }
b = { system = "salesforce", stream = "Contact", key = "record_id" }
poll_interval = 1
"#;

/// Rows of the run: few for every day, more where somebody asks for them.
fn rows() -> i64 {
    let asked = std::env::vars().find(|(name, _)| name == "RECORD_SYNC_SCENARIO_ROWS");
    asked.map_or(200, |(_, rows)| rows.parse().unwrap())
}

#[tokio::test]
async fn no_window_ever_sees_more_than_it_may_and_statuses_tell_the_truth() {
    let rows = rows();
    let home = Home::new(SETTINGS, RULES);
    add_people(&mut home.app(), 1..=rows);
    let daemon = Daemon::start(&home);
    daemon.get("/v1/sync/status/nobody").await.is_problem(404);
    assert_eq!(daemon.get("/v1/sync/status/nobody").await.body["status"], "unknown");
    let mut seen = Vec::new();
    let last = format!("/v1/sync/status/{rows}");
    let done = async {
        loop {
            let status = daemon.get(&last).await.body["status"].as_str().unwrap_or_default().to_owned();
            // Asked after the status: what is synced by then must be there now.
            let there = daemon.records("default", "salesforce", "Contact").await;
            assert!(status != "synced" || with(&there, "record_id", rows).is_some(), "synced, and not there");
            if seen.last() != Some(&status) {
                seen.push(status.clone());
            }
            let all = there.len() == usize::try_from(rows).unwrap();
            if all && status == "synced" {
                return there;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    let limit = super::PATIENCE.max(std::time::Duration::from_millis(100 * rows.unsigned_abs()));
    let there = tokio::time::timeout(limit, done).await.expect("all rows arrive");
    seen.retain(|status| status != "unknown");
    assert!(seen == ["queued", "synced"], "{seen:?}");
    let answer = daemon.post("/v1/sync/sqlite-to-salesforce?wait=40", json!({})).await;
    assert_eq!(answer.body["status"], "complete", "{answer:?}");
    for id in 1..=rows {
        assert!(with(&there, "record_id", id).is_some(), "{id} is missing");
    }
    let arrivals = daemon.arrivals("default", "salesforce").await;
    let at: Vec<i64> = arrivals.iter().map(millis).collect();
    for window in at.windows(MAX_REQUESTS + 1) {
        let span = window[MAX_REQUESTS] - window[0];
        assert!(span >= WINDOW_MS, "{} requests within {span} ms", MAX_REQUESTS + 1);
    }
    let written: u64 = arrivals
        .iter()
        .filter(|it| super::daemon::is_write(it))
        .map(|it| it["records"].as_u64().unwrap())
        .sum();
    assert_eq!(written, rows.unsigned_abs(), "none twice");
}

/// The moment of an arrival in milliseconds.
pub fn millis(arrival: &Value) -> i64 {
    let at = &arrival["at"];
    at.as_i64().unwrap_or_else(|| at.as_str().unwrap().parse::<jiff::Timestamp>().unwrap().as_millisecond())
}
