//! Changes that an application hands in, dead letters and their second chance, limits set live.

use serde_json::json;

use super::daemon::{Daemon, until, with};
use super::home::{Home, RULES, TRIANGLE, add_people, person};

async fn contact(daemon: &Daemon, id: i64) -> Option<serde_json::Value> {
    with(&daemon.records("default", "salesforce", "Contact").await, "record_id", id).cloned()
}

#[tokio::test]
async fn a_record_is_created_read_updated_and_deleted_at_a_crm() {
    let home = Home::new(TRIANGLE, RULES);
    let daemon = Daemon::start(&home);
    let data = json!({"name": "Handed In", "email": "in@example.test", "status": "active"});
    let created = json!({"operation": "create", "record_id": 7, "data": data, "crm": "salesforce"});
    let answer = daemon.post("/v1/sync/", created.clone()).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    assert!(answer.body["job_id"].is_i64(), "{answer:?}");
    let found =
        until("the created contact", async || contact(&daemon, 7).await, Option::is_some).await.unwrap();
    assert_eq!(
        (&found["full_name"], &found["email_address"]),
        (&json!("Handed In"), &json!("in@example.test"))
    );
    let arrived = ("Handed In".to_owned(), "in@example.test".to_owned());
    until("it in the table", async || person(&home.app(), 7), |found| *found == Some(arrived.clone())).await;
    daemon.until("/v1/sync/status/7", "its status", |answer| answer.body["status"] == "synced").await;

    // Without the slash, and under the other name of the destination.
    let read = daemon
        .post("/v1/sync", json!({"operation": "read", "record_id": "7", "provider": "salesforce"}))
        .await;
    assert_eq!(read.status, 200, "{read:?}");
    assert_eq!(read.body["data"]["full_name"], "Handed In", "{read:?}");
    let missing = json!({"operation": "read", "record_id": 8, "crm": "salesforce"});
    daemon.post("/v1/sync/", missing).await.is_problem(404);

    let update =
        json!({"operation": "update", "record_id": 7, "data": {"name": "Renamed"}, "crm": "salesforce"});
    assert_eq!(daemon.post("/v1/sync/", update).await.status, 202);
    let arrived = ("Renamed".to_owned(), "in@example.test".to_owned());
    until(
        "the update in the table",
        async || person(&home.app(), 7),
        |found| *found == Some(arrived.clone()),
    )
    .await;
    assert_eq!(contact(&daemon, 7).await.unwrap()["email_address"], "in@example.test", "only what was named");

    let delete = json!({"operation": "delete", "record_id": 7, "crm": "salesforce"});
    assert_eq!(daemon.post("/v1/sync/", delete).await.status, 202);
    until("the deletion at the CRM", async || contact(&daemon, 7).await, Option::is_none).await;
    until("the deletion in the table", async || person(&home.app(), 7), Option::is_none).await;

    let wrong = [
        (json!({"operation": "create", "record_id": 1, "data": {}, "crm": "hubspot"}), 404, "an unknown CRM"),
        (json!({"operation": "create", "record_id": 1, "crm": "salesforce"}), 422, "no data"),
        (
            json!({"operation": "create", "record_id": 1, "data": [1], "crm": "salesforce"}),
            422,
            "data that is no object",
        ),
        (
            json!({"operation": "upsert", "record_id": 1, "data": {}, "crm": "salesforce"}),
            422,
            "an unknown operation",
        ),
        (json!({"operation": "create", "data": {}, "crm": "salesforce"}), 422, "no record id"),
        (
            json!({"operation": "create", "record_id": 1, "data": {}, "crm": "salesforce", "nonsense": 1}),
            422,
            "an unknown member",
        ),
    ];
    for (body, status, why) in wrong {
        let answer = daemon.post("/v1/sync/", body).await;
        assert_eq!(answer.status, status, "{why}: {answer:?}");
        answer.is_problem(status);
    }
    let no_customer =
        json!({"operation": "create", "record_id": 1, "data": {}, "crm": "salesforce", "customer_id": "a b"});
    daemon.post("/v1/sync/", no_customer).await.is_problem(422);
}

#[tokio::test]
async fn an_idempotency_key_is_honoured() {
    let home = Home::new(TRIANGLE, RULES);
    let daemon = Daemon::start(&home);
    let post = |name: &str| {
        let data = json!({"name": name, "email": "in@example.test", "status": "active"});
        let body = json!({"operation": "create", "record_id": 7, "data": data, "crm": "salesforce"});
        daemon.request("POST", "/v1/sync/").header("idempotency-key", "k-1").body(body.to_string())
    };
    let first = daemon.send(post("Once")).await;
    let again = daemon.send(post("Once")).await;
    assert_eq!((first.status, again.status), (202, 202), "{again:?}");
    assert_eq!(first.body["job_id"], again.body["job_id"], "the same job");
    daemon.send(post("Other")).await.is_problem(422);
    let all = futures_util::future::join_all((0..8).map(|_| {
        let data = json!({"name": "Twin", "status": "active"});
        let body = json!({"operation": "create", "record_id": 8, "data": data, "crm": "salesforce"});
        daemon
            .send(daemon.request("POST", "/v1/sync/").header("idempotency-key", "k-2").body(body.to_string()))
    }));
    let ids: std::collections::BTreeSet<String> =
        all.await.iter().map(|answer| answer.body["job_id"].to_string()).collect();
    assert_eq!(ids.len(), 1, "one job, although they came at the same moment: {ids:?}");
}

#[tokio::test]
async fn what_meets_a_push_under_way_is_one_with_it_for_who_asks() {
    let home = Home::new(TRIANGLE, RULES);
    let daemon = Daemon::start(&home);
    daemon.pass("sqlite-to-salesforce").await;
    daemon.misbehave("default", "salesforce", json!({"latency_ms": 1_000})).await;
    let push = async |data: serde_json::Value| {
        let body = json!({"operation": "update", "record_id": 8, "data": data, "crm": "salesforce"});
        let answer = daemon.post("/v1/sync/", body).await;
        assert_eq!(answer.status, 202, "{answer:?}");
        answer.body["job_id"].as_i64().unwrap()
    };
    let first = push(json!({"name": "Met", "status": "active"})).await;
    super::jobs::state(&daemon, first, "leased").await;
    assert_eq!(push(json!({"email": "met@example.test"})).await, first);
    let told = daemon.get(&format!("/v1/jobs/{first}")).await;
    assert_eq!(told.body["state"], "leased", "the first is still under way: {told:?}");
    let both = json!({"operation": "update", "data": {"name": "Met", "status": "active", "email": "met@example.test"}});
    assert_eq!(told.body["payload"], both);
    daemon.misbehave("default", "salesforce", json!({})).await;
    let arrived = |found: &Option<serde_json::Value>| {
        found
            .as_ref()
            .is_some_and(|found| found["full_name"] == "Met" && found["email_address"] == "met@example.test")
    };
    until("both of them", async || contact(&daemon, 8).await, arrived).await;
}

#[tokio::test]
async fn a_dead_letter_is_shown_and_tried_again() {
    let settings = TRIANGLE.replace(
        "connector = \"salesforce\"",
        "connector = \"salesforce\"\nretry = { base = 0.05, max = 0.1, attempts_max = 2 }\nbreaker = { failures = 100000 }",
    );
    let home = Home::new(&settings, RULES);
    let daemon = Daemon::start(&home);
    daemon.pass("sqlite-to-salesforce").await;
    daemon.misbehave("default", "salesforce", json!({"rate_record_failure": 1.0})).await;
    add_people(&mut home.app(), 1..=2);
    let dead = |answer: &super::daemon::Answer| answer.body["links"][0]["a_to_b"]["status"] == "dead";
    let path = "/v1/sync/status/1?link=sqlite-to-salesforce";
    let told = daemon.until(path, "a dead letter", dead).await;
    assert!(!told.body["links"][0]["a_to_b"]["error"].as_str().unwrap().is_empty(), "why: {told:?}");
    daemon
        .until("/v1/sync/status", "two dead letters", |answer| answer.body["stats"]["dead_letters"] == 2)
        .await;
    daemon.misbehave("default", "salesforce", json!({})).await;
    let again = daemon.post("/v1/sync/retry/1", json!({})).await;
    assert_eq!(again.status, 202, "{again:?}");
    daemon
        .until(path, "that it is synced", |answer| answer.body["links"][0]["a_to_b"]["status"] == "synced")
        .await;
    assert!(contact(&daemon, 1).await.is_some());
    daemon.post("/v1/sync/retry/1", json!({})).await.is_problem(404);
    // An edit is a second chance as well.
    home.app().execute("UPDATE users SET name = 'Mended' WHERE record_id = 2", []).unwrap();
    until("the mended one", async || contact(&daemon, 2).await, Option::is_some).await;
    daemon
        .until("/v1/sync/status", "no dead letter", |answer| answer.body["stats"]["dead_letters"] == 0)
        .await;
}

#[tokio::test]
async fn throttling_outages_and_lost_replies_lose_nothing_and_double_nothing() {
    let settings = TRIANGLE.replace(
        "connector = \"salesforce\"",
        "connector = \"salesforce\"\nretry = { base = 0.05, max = 0.2, attempts_max = 50 }\nbreaker = { failures = 5, open_for = 0.2, open_max = 0.5 }",
    );
    let home = Home::new(&settings, RULES);
    let daemon = Daemon::start(&home);
    daemon.pass("sqlite-to-salesforce").await;
    let bad = json!({"rate_429": 0.1, "retry_after_seconds": 0, "rate_503": 0.2, "rate_lost_reply": 0.2, "rate_record_failure": 0.1});
    daemon.misbehave("default", "salesforce", bad).await;
    add_people(&mut home.app(), 1..=60);
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    daemon.misbehave("default", "salesforce", json!({})).await;
    for id in 1..=60 {
        // A record that the mock refused for good is a dead letter; it gets its second chance here.
        daemon.post(&format!("/v1/sync/retry/{id}"), json!({})).await;
    }
    let found = async || daemon.records("default", "salesforce", "Contact").await;
    let found = until("all of them", found, |found| found.len() >= 60).await;
    assert_eq!(found.len(), 60, "none twice");
    assert!((1..=60).all(|id| with(&found, "record_id", id).is_some()));
}

#[tokio::test]
async fn limits_are_overridden_live_and_durably() {
    let home = Home::new(TRIANGLE, RULES);
    let daemon = Daemon::start(&home);
    daemon.pass("sqlite-to-outreach").await;
    let limit = async |daemon: &Daemon| {
        let links = daemon.get("/v1/links").await;
        let items = links.body["items"].as_array().unwrap().clone();
        items.iter().find(|link| link["link"] == "sqlite-to-outreach").unwrap()["b"]["gate"].to_string()
    };
    let set = daemon
        .post("/v1/sync/config-override", json!({"crm": "outreach", "max_requests": 4321, "window_size": 2}))
        .await;
    assert_eq!(set.status, 200, "{set:?}");
    assert!(limit(&daemon).await.contains("4321"), "at once: {}", limit(&daemon).await);
    assert!(daemon.terminate().success());
    let daemon = Daemon::start(&home);
    daemon.pass("sqlite-to-outreach").await;
    assert!(limit(&daemon).await.contains("4321"), "over a restart");
    let listed = daemon.get("/v1/sync/config-override/").await;
    assert_eq!(listed.body["items"].as_array().unwrap().len(), 1, "{listed:?}");
    assert_eq!(daemon.delete("/v1/sync/config-override?crm=outreach").await.status, 200);
    assert!(limit(&daemon).await.contains("100000"), "what the file says");
    daemon.delete("/v1/sync/config-override?crm=outreach").await.is_problem(404);
    daemon
        .post("/v1/sync/config-override", json!({"crm": "nobody", "max_requests": 1}))
        .await
        .is_problem(404);
    daemon
        .post("/v1/sync/config-override", json!({"crm": "outreach", "max_requests": 0}))
        .await
        .is_problem(422);
    daemon.post("/v1/sync/config-override", json!({"crm": "outreach"})).await.is_problem(422);
}
