//! Refresh tokens that are good once, across restarts, checks, lost replies and a person with a new one.

use serde_json::{Value, json};

use super::daemon::{Daemon, until};
use super::home::{Home, add_people};
use super::outside::Outside;

const RULES: &str = r#"{"links": {"people": {"fields": {"record_id": "customId", "name": "name"}}}}"#;

fn settings(mock: &Outside, token: &str) -> String {
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

[default.systems.outreach]
connector = "outreach"
base_url = "{url}"
client_id = "client-id"
client_secret = "client-secret"
refresh_token = "{token}"
overlap_ms = 300

[default.links.people]
a = {{ system = "app", stream = "users", key = "record_id" }}
b = {{ system = "outreach", stream = "accounts", key = "customId" }}
poll_interval = 0.2
"#
    )
}

async fn standing(mock: &Outside) -> usize {
    mock.get("records/account").await.len()
}

async fn logins(mock: &Outside) -> Vec<Value> {
    let mut arrivals = mock.get("arrivals").await;
    arrivals.retain(|arrival| arrival["path"].as_str().unwrap().ends_with("/oauth/token"));
    arrivals
}

async fn faults(mock: &Outside, faults: Value) {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let request = client.put(format!("{}/__admin/faults", mock.url())).body(faults.to_string());
    assert_eq!(request.send().await.unwrap().status(), 200);
}

fn mock(home: &Home) -> Outside {
    Outside::start(home, "outreach", &["--strict", "--single-use-tokens"])
}

#[tokio::test]
async fn a_token_that_is_good_once_outlives_restarts_crashes_and_checks() {
    let home = Home::new("", RULES);
    let mock = mock(&home);
    home.write("customer_settings.toml", &settings(&mock, "or-refresh-1"));
    let mut there = 0;
    for end in ["terminated", "killed", "terminated"] {
        let daemon = Daemon::start(&home);
        add_people(&mut home.app(), there + 1..=there + 3);
        there += 3;
        until("all there", async || standing(&mock).await, |&count| count == there as usize).await;
        // A check must not use up the token that the daemon has.
        let checked = home.run(&["check"]);
        let said = String::from_utf8_lossy(&checked.stdout).into_owned();
        assert!(!checked.status.success() && said.contains("in use by a record-sync that runs"), "{said}");
        match end {
            "killed" => daemon.kill(),
            _ => assert!(daemon.terminate().success()),
        }
        // Alone, it may: what it got for it is there for the daemon.
        let checked = home.run(&["check"]);
        assert!(checked.status.success(), "{checked:?}");
    }
    let logins = logins(&mock).await;
    assert_eq!(logins.len(), 6, "one a start, one a check");
    assert!(logins.iter().all(|login| login["status"] == 200), "{logins:?}");

    for place in std::fs::read_dir(home.path("logs")).unwrap() {
        let log = std::fs::read_to_string(place.unwrap().path()).unwrap();
        assert!(!log.contains("or-refresh") && !log.contains("or-access"), "a token in a log");
    }
    #[cfg(unix)]
    for name in ["state.sqlite", "state.sqlite-wal", "state.sqlite-shm"] {
        use std::os::unix::fs::PermissionsExt;
        let Ok(found) = std::fs::metadata(home.path("data").join(name)) else { continue };
        assert_eq!(found.permissions().mode() & 0o777, 0o600, "{name} is nobody else's business");
    }
}

#[tokio::test]
async fn a_token_that_was_lost_on_its_way_takes_a_person_and_no_restart() {
    let home = Home::new("", RULES);
    let mock = mock(&home);
    home.write("customer_settings.toml", &settings(&mock, "or-refresh-1"));
    // The service has taken the token, and the one that it gave never arrived.
    faults(&mock, json!({"single_use_tokens": true, "rate_lost_reply": 1})).await;
    add_people(&mut home.app(), 1..=3);
    let daemon = Daemon::start(&home);
    until("a login", async || logins(&mock).await.len(), |&count| count >= 1).await;
    faults(&mock, json!({"single_use_tokens": true})).await;
    let phase = async || daemon.get("/v1/sync/status").await.body.to_string();
    until("a remedy in the status", phase, |said| said.contains("mint a new refresh_token")).await;
    assert_eq!(standing(&mock).await, 0);

    // A person goes through the consent again.
    home.write("customer_settings.toml", &settings(&mock, "or-refresh-2"));
    until("all there", async || standing(&mock).await, |&count| count == 3).await;
    assert!(daemon.terminate().success());

    // And once more: the newer token wins over the one that is kept, and is followed from then on.
    let daemon = Daemon::start(&home);
    add_people(&mut home.app(), 4..=4);
    until("one more", async || standing(&mock).await, |&count| count == 4).await;
    assert!(daemon.terminate().success());
}

#[tokio::test]
async fn a_check_makes_no_state_but_for_a_token_and_brings_none_up_to_date() {
    let home = Home::new("", RULES);
    let mock = mock(&home);
    let state = home.path("data/state.sqlite");
    let check = || {
        let checked = home.run(&["check"]);
        (checked.status.success(), String::from_utf8_lossy(&checked.stdout).into_owned())
    };
    home.write("customer_settings.toml", &settings(&mock, "or-refresh-1").replace("client-secret", "wrong"));
    let (is_fine, said) = check();
    assert!(!is_fine && said.contains("check client_id"), "{said}");
    assert!(!state.exists() && !home.path("data/state.sqlite.lock").exists(), "it leaves nothing behind");

    // What the service gives in place of the configured token would be lost otherwise.
    home.write("customer_settings.toml", &settings(&mock, "or-refresh-1"));
    let (is_fine, said) = check();
    assert!(is_fine && state.exists(), "{said}");
    let daemon = Daemon::start(&home);
    add_people(&mut home.app(), 1..=3);
    until("all there", async || standing(&mock).await, |&count| count == 3).await;
    assert!(daemon.terminate().success());

    // A state that another version of the program may still want.
    let db = rusqlite::Connection::open(&state).unwrap();
    let version: i64 = db.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
    db.execute_batch("CREATE TABLE pairs (key BLOB)").unwrap();
    db.pragma_update(None, "user_version", version - 1).unwrap();
    drop(db);
    let (found, asked) = (std::fs::read(&state).unwrap(), logins(&mock).await.len());
    let (is_fine, said) = check();
    assert!(!is_fine && said.contains("older record-sync"), "{said}");
    assert!(std::fs::read(&state).unwrap() == found, "left as it was found");
    assert_eq!(logins(&mock).await.len(), asked, "and no token was used up");
}
