//! Calls under way at once: as many as the system stands, never more. And what goes straight from the page that shows it,
//! without a job.

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
bulk = "never"

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
        add_people(&mut home.app(), 2..=ROWS);
        let waiting = |answer: &super::daemon::Answer| answer.body["stats"]["queue_size"] == ROWS - 1;
        daemon.until("/v1/sync/status", "a backlog", waiting).await;
        daemon.misbehave("default", "salesforce", json!({ "latency_ms": LATE_MS })).await;
        daemon.forget_arrivals("default", "salesforce").await;
        let smaller = json!({ "crm": "salesforce", "batch_size": BATCH, "flush_interval": 0 });
        assert_eq!(daemon.post("/v1/sync/config-override", smaller).await.status, 200);
        // One more wakes the worker.
        add_people(&mut home.app(), 1..=1);
        let there = async || daemon.records("default", "salesforce", "Contact").await.len();
        until("all of them", there, |count| *count == ROWS as usize).await;
        let arrivals = daemon.arrivals("default", "salesforce").await;
        assert_eq!(most_at_once(&arrivals), wanted, "{why}: {arrivals:?}");
    }
}

/// What a page meets on its way to a remote system.
struct Way {
    /// Beside the address and the window.
    settings: &'static str,
    faults: fn() -> Value,
    /// Records that arrive without a job.
    straight: i64,
    why: &'static str,
}

const WAYS: [Way; 7] = [
    Way {
        settings: "flush_interval = 0",
        faults: || json!({}),
        straight: ROWS,
        why: "nothing is in the way",
    },
    Way {
        settings: "flush_interval = 60\nbatch_size = 20",
        faults: || json!({}),
        straight: ROWS,
        why: "whole batches need no company",
    },
    Way {
        settings: "flush_interval = 0.3\nbatch_size = 1000",
        faults: || json!({}),
        straight: 0,
        why: "less than a batch waits for company",
    },
    Way {
        settings: "flush_interval = 0\nmax_requests = 12\nbatch_size = 20",
        faults: || json!({}),
        straight: 0,
        why: "eight writes and a look are more than the window has left: no page waits for it",
    },
    Way {
        settings: "flush_interval = 0",
        faults: || json!({ "rate_503": 1.0 }),
        straight: 0,
        why: "what fails becomes jobs",
    },
    Way {
        settings: "flush_interval = 0",
        faults: || json!({ "rate_lost_reply": 1.0 }),
        straight: 0,
        why: "what may be there is looked for by jobs",
    },
    Way {
        settings: "flush_interval = 0",
        faults: || json!({ "rate_429": 1.0, "retry_after_seconds": 0 }),
        straight: 0,
        why: "who is asked for patience has it",
    },
];

#[tokio::test]
async fn what_a_page_can_deliver_needs_no_job_and_the_rest_gets_one() {
    for Way { settings, faults, straight, why } in WAYS {
        let settings = SETTINGS
            .replace(
                "max_requests = 1000\n",
                if settings.contains("max_requests") { "" } else { "max_requests = 1000\n" },
            )
            .replace(
                "window_size = 1\nbatch_size = 1000\nflush_interval = 60",
                &format!(
                    "window_size = 1\nretry = {{ base = 0.05, max = 0.2, attempts_max = 1000 }}\n\
                 breaker = {{ failures = 1000, failure_rate = 1.0 }}\n{settings}"
                ),
            );
        let home = Home::new(&settings, RULES);
        let daemon = Daemon::start(&home);
        daemon.pass("people").await;
        daemon.forget_arrivals("default", "salesforce").await;
        let arrivals = async || daemon.arrivals("default", "salesforce").await;
        if faults() == json!({}) {
            add_people(&mut home.app(), 1..=ROWS);
        } else {
            // The look goes well; what follows it meets the fault.
            daemon.misbehave("default", "salesforce", json!({ "latency_ms": LATE_MS })).await;
            add_people(&mut home.app(), 1..=ROWS);
            until("a look", arrivals, |arrivals| !arrivals.is_empty()).await;
            daemon.misbehave("default", "salesforce", faults()).await;
            until("a write", arrivals, |arrivals| arrivals.iter().any(super::daemon::is_write)).await;
            daemon.misbehave("default", "salesforce", json!({})).await;
        }
        for id in [1, ROWS] {
            let synced = |answer: &super::daemon::Answer| answer.body["status"] == "synced";
            daemon.until(&format!("/v1/sync/status/{id}"), "a status that says so", synced).await;
        }
        let there = async || daemon.records("default", "salesforce", "Contact").await.len();
        until("all of them", there, |count| *count == ROWS as usize).await;
        daemon.pass("people").await;
        let log = home.read("logs/record_sync.log");
        let by_jobs = log.lines().filter(|line| line.contains("\"job.delivered\"")).count() as i64;
        // A write that is found standing there needs no other, and no line of the log.
        let is_lost = faults()["rate_lost_reply"] == 1.0;
        assert!(is_lost || ROWS - by_jobs == straight, "{why}: {by_jobs} by jobs");
        let arrivals = arrivals().await;
        let good = |arrival: &&Value| super::daemon::is_write(arrival) && arrival["status"] == 200;
        let written: i64 = arrivals.iter().filter(good).map(|it| it["records"].as_i64().unwrap()).sum();
        assert_eq!(written, ROWS, "{why}: each is written once");
    }
}
