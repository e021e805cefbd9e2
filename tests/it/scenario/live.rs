//! Rules and settings that are edited while the daemon runs; customers side by side.

use serde_json::{Value, json};

use super::daemon::{Daemon, until, with};
use super::home::{Home, RULES, TRIANGLE, add_people};

const OPEN_RULES: &str = r#"{
  "filters": { "status": ["active", "new"] },
  "mappings": { "record_id": "record_id", "full_name": "name", "email_address": "email", "status": "status" }
}"#;

async fn prospects(daemon: &Daemon) -> usize {
    daemon.records("default", "outreach", "prospects").await.len()
}

#[tokio::test]
async fn an_edited_filter_takes_effect_and_a_broken_one_is_only_told() {
    let home = Home::new(TRIANGLE, RULES);
    add_people(&mut home.app(), 1..=4);
    home.app().execute("UPDATE users SET status = 'new' WHERE record_id > 2", []).unwrap();
    let daemon = Daemon::start(&home);
    until("the active ones", async || prospects(&daemon).await, |&count| count == 2).await;
    daemon.pass("sqlite-to-outreach").await;
    assert_eq!(prospects(&daemon).await, 2);

    home.write("rules.json", OPEN_RULES);
    until("the new ones, after an edit in place", async || prospects(&daemon).await, |&count| count == 4)
        .await;
    home.swap("rules.json", RULES);
    daemon
        .until("/v1/sync/rules", "the old rules, after a rename", |answer| {
            answer.body["rules"]["filters"]["status"] == "active"
        })
        .await;
    home.app()
        .execute(
            "INSERT INTO users (record_id, name, email, status) VALUES (9, 'N', 'n@example.test', 'new')",
            [],
        )
        .unwrap();
    daemon.pass("sqlite-to-outreach").await;
    assert_eq!(prospects(&daemon).await, 4, "what has left the filter stays, what never was in it stays out");

    let good = daemon.get("/v1/sync/rules").await;
    home.write("rules.json", "{ \"filters\": { \"status\": \"active\" ");
    let told = daemon
        .until("/v1/sync/rules", "that the file is broken", |answer| {
            answer.body["last_reload_successful"] == false
        })
        .await;
    assert_eq!(told.body["version"], good.body["version"], "the last good rules stay");
    assert_eq!(told.body["rules"], good.body["rules"]);
    let message = told.body["error"]["message"].as_str().unwrap();
    assert!(message.contains("rules.json:1:"), "{message}");
    let status = daemon.get("/v1/sync/status").await;
    assert_eq!(status.body["rules"][0]["last_reload_successful"], false, "{status:?}");
    add_people(&mut home.app(), 10..=10);
    until("records under the last good rules", async || prospects(&daemon).await, |&count| count == 5).await;

    home.write("rules.json", RULES);
    daemon
        .until("/v1/sync/status", "that the file is good again", |answer| {
            answer.body["rules"][0]["error"].is_null()
        })
        .await;
}

#[tokio::test]
async fn an_edited_setting_applies_live_and_a_broken_one_is_only_told() {
    let own = r#""status": "status" },
  "links": { "late": { "fields": { "record_id": "record_id", "name": "name", "email": "email" } } }"#;
    let home = Home::new(TRIANGLE, RULES);
    let daemon = Daemon::start(&home);
    let unknown = daemon.post("/v1/sync/late?wait=1", json!({})).await;
    unknown.is_problem(404);
    home.users("data/late.sqlite");
    let more = r#"
[default.systems.late]
connector = "sqlite"
path = "data/late.sqlite"
[default.links.late]
a = { system = "app", stream = "users", key = "record_id" }
b = { system = "late", stream = "users", key = "record_id" }
"#;
    home.swap("customer_settings.toml", &format!("{TRIANGLE}{more}"));
    let blocked = daemon.until("/v1/links", "that the rules do not fit the new link", |answer| {
        link(answer, "late").is_some_and(|link| link["state"] == "blocked")
    });
    let told = blocked.await;
    assert!(link(&told, "late").unwrap()["error"].as_str().unwrap().contains("rules.json:3:"), "{told:?}");
    home.swap("rules.json", &RULES.replace("\"status\": \"status\" }", own));
    daemon
        .until("/v1/links", "the new link", |answer| {
            answer.body["items"]
                .as_array()
                .unwrap()
                .iter()
                .any(|link| link["link"] == "late" && link["state"] == "live")
        })
        .await;
    home.swap("customer_settings.toml", &format!("{TRIANGLE}nonsense = 1\n"));
    let status = daemon
        .until("/v1/sync/status", "the broken setting", |answer| !answer.body["config_error"].is_null())
        .await;
    assert!(status.body["config_error"].as_str().unwrap().contains("customer_settings.toml:"), "{status:?}");
    assert!(
        status.body["links"]
            .as_array()
            .unwrap()
            .iter()
            .any(|link| link["link"] == "late" && link["state"] == "live")
    );
}

#[tokio::test]
async fn customers_run_side_by_side_under_their_own_windows() {
    let home = Home::new(
        &format!(
            "{TRIANGLE}\n[customer1]\nmax_requests = 40\nwindow_size = 100\n\
             systems.app = {{ path = \"data/customer1.sqlite\" }}\n\
             [surya]\nmax_requests = 50\nwindow_size = 60\nsystems.app = {{ path = \"data/surya.sqlite\" }}\n"
        ),
        RULES,
    );
    for (file, ids) in
        [("data/customer1.sqlite", 1..=3), ("data/surya.sqlite", 11..=12), ("data/demo.sqlite", 21..=21)]
    {
        home.users(file);
        add_people(&mut home.open(file), ids);
    }
    let daemon = Daemon::start(&home);
    assert!(
        daemon.running_customers().await.iter().all(|customer| customer == "default"),
        "others start when triggered"
    );
    let run = |customer: &'static str| {
        let path = format!("/v1/sync/sqlite-to-salesforce?customer_id={customer}&wait=40");
        let daemon = &daemon;
        async move { daemon.post(&path, json!({})).await }
    };
    let (one, surya, stranger) = futures_util::join!(run("customer1"), run("surya"), run("stranger"));
    for (answer, customer, synced) in [(one, "customer1", 3), (surya, "surya", 2), (stranger, "stranger", 1)]
    {
        assert_eq!(answer.status, 202, "{answer:?}");
        assert_eq!(answer.body["customer_id"], customer);
        assert_eq!(answer.body["status"], "complete", "{answer:?}");
        assert_eq!(answer.body["synced"], synced, "{answer:?}");
    }
    for (customer, ids) in [("customer1", vec![1, 2, 3]), ("surya", vec![11, 12]), ("stranger", vec![21])] {
        let records = daemon.records(customer, "salesforce", "Contact").await;
        assert_eq!(records.len(), ids.len(), "{customer}: {records:?}");
        assert!(ids.iter().all(|&id| with(&records, "record_id", id).is_some()), "{customer}: {records:?}");
    }
    for (customer, allowed) in [("customer1", 40), ("surya", 50), ("stranger", 100_000)] {
        let links = daemon.get(&format!("/v1/links?customer_id={customer}")).await;
        let gate = &links.body["items"][0]["b"]["gate"];
        assert!(gate.to_string().contains(&allowed.to_string()), "{customer} has its own window: {gate}");
    }
    daemon.post("/v1/sync/nothing-like-it?customer_id=surya", json!({})).await.is_problem(404);
    for bad in ["a%20b", "%2e%2e%2fx", "", &"x".repeat(65)] {
        daemon
            .post(&format!("/v1/sync/sqlite-to-salesforce?customer_id={bad}"), json!({}))
            .await
            .is_problem(422);
    }
}

/// Finds a link of a list.
fn link<'a>(answer: &'a super::daemon::Answer, name: &str) -> Option<&'a Value> {
    answer.body["items"].as_array().unwrap().iter().find(|link| link["link"] == name)
}

impl Daemon {
    async fn running_customers(&self) -> Vec<String> {
        let links = self.get("/v1/links").await;
        let name = |link: &Value| link["customer"].as_str().unwrap().to_owned();
        links.body["items"].as_array().unwrap().iter().map(name).collect()
    }
}

#[tokio::test]
async fn deletions_that_nobody_can_mean_wait_for_a_word() {
    let home = Home::new(TRIANGLE, RULES);
    add_people(&mut home.app(), 1..=30);
    let daemon = Daemon::start(&home);
    until("all people", async || prospects(&daemon).await, |&count| count == 30).await;
    home.app().execute("DELETE FROM users WHERE record_id > 10", []).unwrap();
    let frozen = |answer: &super::daemon::Answer| {
        link(answer, "sqlite-to-outreach").is_some_and(|link| link["a_to_b"]["frozen"].is_string())
    };
    let told = daemon.until("/v1/links", "the blown fuse", frozen).await;
    let why = link(&told, "sqlite-to-outreach").unwrap()["a_to_b"]["frozen"].to_string();
    assert!(why.contains("20 of 30"), "{why}");
    assert_eq!(prospects(&daemon).await, 30, "nothing was deleted");
    add_people(&mut home.app(), 31..=31);
    daemon.pass("sqlite-to-outreach").await;
    assert_eq!(prospects(&daemon).await, 30, "nor was anything else sent that way");
    let approved = daemon.post("/v1/links/sqlite-to-outreach/approve", json!({})).await;
    assert_eq!(approved.body["approved"], json!(["a_to_b"]), "{approved:?}");
    until("the approved deletions", async || prospects(&daemon).await, |&count| count == 11).await;
    daemon.until("/v1/links", "the mended fuse", |answer| !frozen(answer)).await;
}
