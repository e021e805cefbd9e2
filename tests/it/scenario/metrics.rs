//! What a monitoring system reads, and what the log says of an orderly end.

use serde_json::Value;

use super::PATIENCE;
use super::daemon::{Answer, Daemon};
use super::home::{Home, RULES, TRIANGLE, add_people};

/// The samples of `/metrics`.
struct Samples(Vec<(String, f64)>);

impl Samples {
    async fn read(daemon: &Daemon) -> Self {
        let answer = daemon.get("/metrics").await;
        let text = answer.body.as_str().unwrap();
        let samples = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
        let split = |line: &str| {
            let (series, value) = line.rsplit_once(' ').unwrap();
            (series.to_owned(), value.parse().unwrap())
        };
        Self(samples.map(split).collect())
    }

    /// The values of a metric that carry all these labels; there is at least one.
    #[track_caller]
    fn of(&self, name: &str, labels: &[(&str, &str)]) -> Vec<f64> {
        let found: Vec<f64> = self
            .0
            .iter()
            .filter(|(series, _)| series.split('{').next() == Some(&format!("record_sync_{name}")))
            .filter(|(series, _)| {
                labels.iter().all(|(label, value)| series.contains(&format!("{label}=\"{value}\"")))
            })
            .map(|(_, value)| *value)
            .collect();
        assert!(!found.is_empty(), "no {name} with {labels:?} in {:#?}", self.0);
        found
    }

    #[track_caller]
    fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.of(name, labels).iter().sum()
    }
}

#[tokio::test]
async fn metrics_tell_what_a_sync_did() {
    let home = Home::new(TRIANGLE, RULES);
    let mut app = home.app();
    add_people(&mut app, 1..=20);
    let held_back = "INSERT INTO users (record_id, name, email, status) VALUES (21, 'Held Back', 'h@example.test', 'inactive')";
    app.execute(held_back, ()).unwrap();
    let daemon = Daemon::start(&home);
    for link in ["sqlite-to-salesforce", "sqlite-to-outreach"] {
        daemon.pass(link).await;
    }
    let samples = Samples::read(&daemon).await;
    for (link, system) in [("sqlite-to-salesforce", "salesforce"), ("sqlite-to-outreach", "outreach")] {
        let of = [("customer", "default"), ("link", link)];
        let to_b = [of[0], of[1], ("direction", "a_to_b")];
        let records =
            |outcome| samples.sum("records_total", &[to_b[0], to_b[1], to_b[2], ("outcome", outcome)]);
        assert_eq!(records("synced"), 20.0, "{link}");
        assert_eq!(records("skipped_by_rule"), 1.0, "{link}");
        assert_eq!(records("dead") + records("conflict") + records("retrying"), 0.0, "{link}");
        for state in ["pending", "leased", "retrying", "waiting"] {
            assert_eq!(samples.of("queue_depth", &[of[0], of[1], ("state", state)]), [0.0, 0.0], "{link}");
        }
        for quiet in ["dead_letters", "conflicts", "fuse_blown", "echo_writes_total"] {
            assert_eq!(samples.of(quiet, &of), [0.0, 0.0], "{link}: {quiet}, both ways");
        }
        let seconds = 0.0..PATIENCE.as_secs_f64();
        for side in ["a", "b"] {
            let side = [of[0], of[1], ("side", side)];
            assert!(seconds.contains(&samples.sum("lag_seconds", &side)), "{link}");
            assert!(samples.sum("poll_duration_seconds_count", &side) >= 1.0, "{link}");
            assert!(seconds.contains(&samples.sum("poll_duration_seconds_sum", &side)), "{link}");
        }
        assert!(samples.sum("attempt_duration_seconds_count", &to_b) >= 1.0, "{link}");
        assert!(samples.sum("attempt_duration_seconds_sum", &to_b) > 0.0, "{link}: a real call takes time");

        let of = [("customer", "default"), ("system", system)];
        assert!(samples.sum("calls_total", &[of[0], of[1], ("outcome", "answered")]) >= 3.0, "{system}");
        assert!(samples.sum("call_wait_seconds_count", &of) >= 3.0, "{system}");
        assert!((0.0..=1.0).contains(&samples.sum("window_utilisation_ratio", &of)), "{system}");
        assert_eq!(samples.sum("breaker_state", &of), 0.0, "{system}: closed");
    }
    let default = [("customer", "default")];
    assert_eq!(samples.sum("rules_version", &default), 1.0);
    assert_eq!(samples.sum("rules_last_reload_successful", &default), 1.0);
    assert_eq!(samples.sum("config_last_reload_successful", &[]), 1.0);
    assert_eq!(samples.sum("log_lines_dropped_total", &[]), 0.0);
    assert_eq!(samples.sum("build_info", &[("version", env!("CARGO_PKG_VERSION"))]), 1.0);

    home.swap("rules.json", "{");
    let refused = |status: &Answer| status.body.to_string().contains("\"last_reload_successful\":false");
    daemon.until("/v1/sync/status", "the refusal", refused).await;
    let samples = Samples::read(&daemon).await;
    assert_eq!(samples.sum("rules_last_reload_successful", &default), 0.0);
    assert_eq!(samples.sum("rules_version", &default), 1.0, "the last good rules stay");

    assert!(daemon.terminate().success());
    let lines = log(&home);
    for event in ["link.matched", "job.delivered"] {
        let mut found = lines.iter().filter(|line| line["event"] == event).peekable();
        assert!(found.peek().is_some(), "{event}");
        assert!(found.all(|line| line["duration_ms"].as_f64().is_some_and(|ms| ms > 0.0)), "{event}");
    }
}

#[tokio::test]
async fn an_orderly_end_with_calls_waiting_is_no_trouble() {
    // Windows so small that the end comes while a call stands at the gate: of the opening, of the
    // matching, of the deliveries.
    for max_requests in [2, 4, 7] {
        let small = format!("max_requests = {max_requests}\nwindow_size = 600");
        let home = Home::new(&TRIANGLE.replace("max_requests = 100000\nwindow_size = 1", &small), RULES);
        add_people(&mut home.app(), 1..=20);
        let daemon = Daemon::start(&home);
        let waiting = |answer: &Answer| {
            let links = answer.body["links"].as_array().unwrap();
            links.len() == 2 && links.iter().all(|link| link["b"]["gate"]["waiting"].as_u64() > Some(0))
        };
        daemon.until("/v1/sync/status", "calls that wait", waiting).await;
        assert!(daemon.terminate().success());
        let loud: Vec<Value> = log(&home)
            .into_iter()
            .filter(|line| line["level"] == "warn" || line["level"] == "error")
            .collect();
        assert!(loud.is_empty(), "{max_requests} calls: {loud:#?}");
        let app = home.open("data/state.sqlite");
        let blamed = "SELECT count(*) FROM jobs WHERE attempts > 0";
        let blamed: i64 = app.query_row(blamed, (), |row| row.get(0)).unwrap();
        assert_eq!(blamed, 0, "{max_requests} calls: an attempt was lost");
    }
}

fn log(home: &Home) -> Vec<Value> {
    home.read("logs/record_sync.log").lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}
