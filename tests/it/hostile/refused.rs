//! A login that is refused while the daemon works: the system rests, and nothing is lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use super::VICTIMS;
use super::host::{Host, Trick, http};
use crate::scenario::PATIENCE;
use crate::scenario::daemon::Daemon;
use crate::scenario::home::{Home, RULES, add_people};

fn settings(victim: &super::Victim, host: &Host) -> String {
    let super::Victim { connector, stream, .. } = victim;
    let mut table = super::settings(connector, &host.url);
    table["connector"] = (*connector).into();
    let crm = toml_of(&table);
    format!(
        r#"
[default]
max_requests = 10000
flush_interval = 0.05
retry = {{ base = 0.01, max = 0.05, attempts_max = 2 }}

[default.systems]
app = {{ connector = "sqlite", path = "data/demo.sqlite" }}
crm = {crm}

[default.links.people]
a = {{ system = "app", stream = "users", key = "record_id" }}
b = {{ system = "crm", stream = "{stream}", key = "record_id" }}
poll_interval = 0.2
"#
    )
}

/// Writes a table in one line.
pub(super) fn toml_of(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::Object(members) => {
            let members = members.iter().map(|(name, value)| format!("{name} = {}", toml_of(value)));
            format!("{{ {} }}", members.collect::<Vec<_>>().join(", "))
        }
        other => other.to_string(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_login_pauses_salesforce_and_fills_no_dead_letters() {
    pauses(VICTIMS[0]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_login_pauses_outreach_and_fills_no_dead_letters() {
    pauses(VICTIMS[1]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_login_pauses_servicenow_and_fills_no_dead_letters() {
    pauses(VICTIMS[2]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_login_pauses_a_described_system_and_fills_no_dead_letters() {
    pauses(VICTIMS[3]).await;
}

async fn pauses(victim: super::Victim) {
    let host = Host::start(victim.connector).await;
    let home = Home::new(&settings(&victim, &host), RULES);
    add_people(&mut home.app(), 1..=3);
    let daemon = Daemon::start(&home);
    until(|| host.standing(victim.stream) == 3).await;

    let locked_out = Arc::new(AtomicBool::new(true));
    let refuses = Arc::clone(&locked_out);
    host.plan(move |request| {
        let body = if victim.is_login(request) { r#"{"error":"invalid_grant"}"# } else { "[]" };
        let status = if victim.is_login(request) { 400 } else { 401 };
        let refusal = http(status, &[("content-type", "application/json")], body.as_bytes());
        refuses.load(Ordering::SeqCst).then_some(Trick::Raw(refusal))
    });
    add_people(&mut home.app(), 4..=20);
    let began = Instant::now();
    let status = loop {
        let status = daemon.get("/v1/sync/status").await.body;
        assert_eq!(status["stats"]["dead_letters"], 0, "{status}");
        if status["stats"]["queue_size"] == 17 && began.elapsed() > Duration::from_secs(3) {
            break status;
        }
        assert!(began.elapsed() < PATIENCE, "{status}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    let error = status["links"][0]["a_to_b"]["error"].as_str().unwrap_or_default();
    assert!(error.contains("invalid_grant") && error.contains("check") || error.contains("mint"), "{status}");
    let asked = host.seen().len();
    assert!(asked < 60, "{asked} requests while nobody is let in");

    locked_out.store(false, Ordering::SeqCst);
    until(|| host.standing(victim.stream) == 20).await;
    let status = daemon.get("/v1/sync/status").await.body;
    assert_eq!(status["stats"]["dead_letters"], 0, "{status}");
}

async fn until(is: impl Fn() -> bool) {
    let began = Instant::now();
    while !is() {
        assert!(began.elapsed() < PATIENCE, "it never came");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
