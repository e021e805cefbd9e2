//! A backlog for a strict Salesforce, by the real binary: jobs in, a job out, and what it costs in calls.
//!
//! `RECORD_SYNC_BACKLOG=100000` makes it so long; shorter for every day.

use serde_json::Value;

use super::daemon::Daemon;
use super::home::{Home, add_people, people};
use super::outside::Outside;

const RULES: &str = r#"{"links": {"people": {"fields":
    {"record_id": "External_Id__c", "name": "LastName", "email": "Email"}}}}"#;

/// Records of the backlog.
fn count() -> i64 {
    let asked = std::env::vars().find(|(name, _)| name == "RECORD_SYNC_BACKLOG");
    asked.map_or(21_000, |(_, count)| count.parse().unwrap())
}

fn settings(mock: &Outside) -> String {
    let systems = mock.systems();
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
{systems}overlap_seconds = 1

[default.links.people]
a = {{ system = "app", stream = "users", key = "record_id" }}
b = {{ system = "crm", stream = "Contact", key = "External_Id__c" }}
poll_interval = 0.2
"#
    )
}

/// A call, by its method and the end of its path.
fn is_call(call: &Value, method: &str, end: &str) -> bool {
    call["method"] == method && call["path"].as_str().unwrap().trim_end_matches(|at| at != '/').ends_with(end)
}

async fn calls(mock: &Outside) -> Vec<Value> {
    let mut arrivals = mock.get("arrivals").await;
    arrivals.retain(|arrival| !arrival["path"].as_str().unwrap().contains("oauth2"));
    arrivals
}

async fn admin(mock: &Outside, method: &str, path: &str, body: &str) {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let request = client.request(method.parse().unwrap(), format!("{}/__admin/{path}", mock.url()));
    assert!(request.body(body.to_owned()).send().await.unwrap().status().is_success());
}

fn keys(rows: &[Value]) -> usize {
    let mut keys: Vec<&str> = rows.iter().map(|row| row["External_Id__c"].as_str().unwrap()).collect();
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), rows.len(), "none twice");
    keys.len()
}

#[tokio::test]
async fn a_backlog_goes_by_jobs_both_ways_and_none_arrives_twice() {
    let count = count();
    let home = Home::new("", RULES);
    let mock = Outside::start(&home, "salesforce", &["--strict"]);
    home.write("customer_settings.toml", &settings(&mock));
    add_people(&mut home.app(), 1..=count);
    // The process dies with a job at work.
    let daemon = Daemon::start(&home);
    super::daemon::until(
        "a job",
        async || calls(&mock).await,
        |calls| calls.iter().any(|call| call["path"].as_str().unwrap().ends_with("/batches")),
    )
    .await;
    daemon.kill();
    admin(&mock, "DELETE", "arrivals", "").await;
    home.once("people");
    let rows = mock.get("records/Contact").await;
    assert_eq!(keys(&rows), count as usize);
    let calls_in = calls(&mock).await.len();

    // Another table reads them all.
    let other = Home::new("", RULES);
    other.write("customer_settings.toml", &settings(&mock));
    admin(&mock, "DELETE", "arrivals", "").await;
    other.once("people");
    assert_eq!(people(&other.app()).len(), count as usize);
    let calls_out = calls(&mock).await;
    println!(
        "salesforce: {calls_in} calls for {count} records in, {} for as many out ({:.1} and {:.1} for each 1000)",
        calls_out.len(),
        calls_in as f64 / count as f64 * 1000.0,
        calls_out.len() as f64 / count as f64 * 1000.0,
    );
    // A job carries 10,000 records and is looked after in a few dozen calls.
    let jobs = count as usize / 10_000 + 1;
    assert!(calls_in <= 50 * jobs, "{calls_in}");
    assert!(calls_out.len() <= 14 * jobs, "{calls_out:?}");
}

#[tokio::test]
async fn a_bulk_job_at_work_holds_up_no_reload_and_nothing_goes_past_it() {
    const COUNT: i64 = 2_100;
    let home = Home::new("", RULES);
    let mock = Outside::start(&home, "salesforce", &["--strict"]);
    home.write("customer_settings.toml", &settings(&mock));
    add_people(&mut home.app(), 1..=COUNT);
    // It would be waited for for minutes.
    admin(&mock, "PUT", "faults", r#"{"jobs_stand": true}"#).await;
    let daemon = Daemon::start(&home);
    let begun = |calls: &Vec<Value>| calls.iter().any(|call| is_call(call, "PATCH", "jobs/ingest/"));
    super::daemon::until("a job at work", async || calls(&mock).await, begun).await;
    // The first ones went by a call, before there was a backlog.
    let there = mock.get("records/Contact").await.len();
    home.app().execute("UPDATE users SET name = 'Edited' WHERE record_id = 2007", []).unwrap();

    let in_force = |status: &Value| status["links"][0]["rules_version"].clone();
    let status = async || daemon.get("/v1/sync/status").await.body;
    let before = in_force(&status().await);
    home.swap("rules.json", &RULES.replace(r#", "email": "Email""#, ""));
    super::daemon::until("the link under the new rules", status, |now| {
        in_force(now) != before && !in_force(now).is_null()
    })
    .await;
    assert_eq!(mock.get("records/Contact").await.len(), there, "nothing was sent past the job");

    admin(&mock, "PUT", "faults", "{}").await;
    let standing = async || mock.get("records/Contact").await;
    let of = |rows: &[Value]| rows.iter().find(|row| row["External_Id__c"] == "2007").cloned();
    super::daemon::until("all of them, and the edit", standing, |rows| {
        rows.len() == COUNT as usize && of(rows).is_some_and(|row| row["LastName"] == "Edited")
    })
    .await;
    assert_eq!(keys(&standing().await), COUNT as usize);
    assert!(daemon.terminate().success());
    assert_eq!(people(&home.app())[2006].1, "Edited", "our own late write is no edit of anybody's");
}
