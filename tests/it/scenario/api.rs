//! The API's manners: descriptions, problems, correlation, health, rules over HTTP.

use serde_json::json;

use super::daemon::{Daemon, until};
use super::home::{Home, RULES, TRIANGLE, add_people};

#[tokio::test]
async fn every_answer_has_manners() {
    let home = Home::new(TRIANGLE, RULES);
    let daemon = Daemon::start(&home);
    for path in [
        "/healthz",
        "/readyz",
        "/healthz/",
        "/v1/sync/status",
        "/v1/sync/status/",
        "/v1/links/",
        "/v1/crms/available",
    ] {
        let answer = daemon.get(path).await;
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        assert!(!answer.header("x-correlation-id").is_empty(), "{path}");
    }
    let asked = daemon.send(daemon.request("GET", "/healthz").header("x-correlation-id", "mine-1")).await;
    assert_eq!(asked.header("x-correlation-id"), "mine-1");
    let hostile =
        daemon.send(daemon.request("GET", "/healthz").header("x-correlation-id", "x".repeat(500))).await;
    assert!(hostile.header("x-correlation-id").len() < 100, "an id of our own");

    let metrics = daemon.get("/metrics").await;
    assert!(metrics.header("content-type").starts_with("text/plain"), "{metrics:?}");
    assert!(metrics.body.as_str().unwrap().contains("record_sync_"), "{metrics:?}");
    let page = daemon.get("/docs").await;
    assert!(page.header("content-type").starts_with("text/html"), "{page:?}");
    let description = daemon.get("/openapi.json").await;
    assert!(description.body["openapi"].as_str().unwrap().starts_with("3.1"), "{description:?}");
    for path in
        ["/v1/sync/{link}", "/v1/sync/status/{record_id}", "/v1/sync/rules", "/v1/crms/mock/salesforce/push"]
    {
        assert!(description.body["paths"][path].is_object(), "{path} is described");
    }
    let printed = home.run(&["openapi"]);
    let printed: serde_json::Value = serde_json::from_slice(&printed.stdout).unwrap();
    assert_eq!(printed, description.body, "the command prints what the service serves");
    let schema = daemon.get("/v1/crms/outreach/schema").await;
    assert!(schema.body["properties"]["base_url"].is_object(), "{schema:?}");

    daemon.get("/v1/nowhere").await.is_problem(404);
    daemon.get("/nowhere").await.is_problem(404);
    daemon.get("/v1/crms/nobody/schema").await.is_problem(404);
    daemon.get("/v1/sync/status/unheard-of").await.is_problem(404);
    daemon.delete("/v1/sync/status").await.is_problem(405);
    daemon.get("/v1/sync/status/%ff").await.is_problem(400);
    let broken = daemon.send(daemon.request("POST", "/v1/sync/").body("{\"operation\": ")).await;
    broken.is_problem(400);
    assert_eq!(broken.body["line"], 1, "where: {broken:?}");
    let large = daemon.send(daemon.request("POST", "/v1/sync/").body(vec![b' '; 2 << 20])).await;
    large.is_problem(413);
    daemon.post("/v1/crms/mock/salesforce/push", json!([1])).await.is_problem(422);
    daemon.post("/v1/sync/manual?direction=sideways", json!({})).await.is_problem(422);
    daemon.post("/v1/sync/poll/nobody", json!({})).await.is_problem(404);
    daemon.post("/v1/sync/sqlite-to-outreach?wait=-1", json!({})).await.is_problem(422);
}

#[tokio::test]
async fn a_correlation_id_goes_on_to_the_outside_and_into_the_log() {
    let home = Home::new(TRIANGLE, RULES);
    let daemon = Daemon::start(&home);
    let data = json!({"name": "Handed In", "email": "in@example.test", "status": "active"});
    let body = json!({"operation": "create", "record_id": 7, "data": data, "crm": "outreach"});
    let request =
        daemon.request("POST", "/v1/sync/").header("x-correlation-id", "trace-me").body(body.to_string());
    assert_eq!(daemon.send(request).await.status, 202);
    let arrivals = async || daemon.arrivals("default", "outreach").await;
    until("the outside call", arrivals, |all| all.iter().any(|it| it["correlation_id"] == "trace-me")).await;
    daemon.until("/v1/sync/status/7", "its status", |answer| answer.body["status"] == "synced").await;
    assert!(daemon.terminate().success());
    let log = home.read("logs/record_sync.log");
    let lines: Vec<serde_json::Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let delivered =
        lines.iter().find(|line| line["event"] == "job.delivered" && line["correlation_id"] == "trace-me");
    let delivered = delivered.unwrap_or_else(|| panic!("{log}"));
    for (field, wanted) in
        [("customer", "default"), ("link", "sqlite-to-outreach"), ("key", "7"), ("level", "info")]
    {
        assert_eq!(delivered[field], wanted, "{delivered}");
    }
    assert!(delivered["timestamp"].as_str().unwrap().ends_with('Z'), "{delivered}");
    assert!(!log.contains("in@example.test"), "values of fields stay out of the log");
}

#[tokio::test]
async fn rules_are_read_replaced_and_rolled_back_over_http() {
    let home = Home::new(TRIANGLE, RULES);
    add_people(&mut home.app(), 1..=2);
    let daemon = Daemon::start(&home);
    daemon.pass("sqlite-to-outreach").await;
    let first = daemon.get("/v1/sync/rules").await;
    let (etag, version) = (first.header("etag").to_owned(), first.body["version"].clone());
    assert!(!etag.is_empty());
    let new = RULES.replace("\"active\"", "\"retired\"");
    let post = |path: &str, text: &str, tag: &str| {
        daemon.send(daemon.request("POST", path).header("if-match", tag).body(text.to_owned()))
    };
    let dry = post("/v1/sync/rules?dry_run=true", &new, &etag).await;
    assert_eq!(dry.status, 200, "{dry:?}");
    assert_eq!(dry.body["changed"].as_array().unwrap().len(), 2, "both links: {dry:?}");
    assert_eq!(daemon.get("/v1/sync/rules").await.body["version"], version, "a dry run changes nothing");
    assert_eq!(home.read("rules.json"), RULES);
    post("/v1/sync/rules", &new, "\"stale\"").await.is_problem(412);
    post("/v1/sync/rules", "{\"filters\": 3}", &etag).await.is_problem(422);
    post("/v1/sync/rules", &RULES.replace("\"name\"", "\"nam\""), &etag).await.is_problem(422);
    assert_eq!(home.read("rules.json"), RULES, "what is refused is not written");
    let replaced = post("/v1/sync/rules", &new, &etag).await;
    assert_eq!(replaced.status, 200, "{replaced:?}");
    assert_eq!(home.read("rules.json"), new);
    assert_ne!(daemon.get("/v1/sync/rules").await.header("etag"), etag);
    let versions = daemon.get("/v1/sync/rules/versions").await;
    assert_eq!(versions.body["items"].as_array().unwrap().len(), 2, "{versions:?}");
    daemon.post("/v1/sync/rules/rollback/99", json!({})).await.is_problem(404);
    let back = daemon.post(&format!("/v1/sync/rules/rollback/{version}"), json!({})).await;
    assert_eq!(back.status, 200, "{back:?}");
    assert_eq!(home.read("rules.json"), RULES);
    assert_eq!(daemon.get("/v1/sync/rules").await.body["rules"]["filters"]["status"], "active");
    add_people(&mut home.app(), 3..=3);
    let count = async || daemon.records("default", "outreach", "prospects").await.len();
    until("records under the old rules", count, |&count| count == 3).await;
}

#[tokio::test]
async fn one_way_passes_polls_and_pauses_do_what_they_say() {
    let home = Home::new(&TRIANGLE.replace("poll_interval = 0.2", "poll_interval = 600"), RULES);
    let daemon = Daemon::start(&home);
    daemon.pass("sqlite-to-outreach").await;
    let person =
        json!({"record_id": 5, "full_name": "P", "email_address": "p@example.test", "status": "active"});
    assert_eq!(daemon.post("/v1/crms/mock/outreach/push", person).await.status, 201);
    let reverse = daemon.post("/v1/sync/manual?link=sqlite-to-outreach&direction=reverse", json!({})).await;
    assert_eq!(reverse.status, 200, "{reverse:?}");
    assert_eq!((&reverse.body["synced"], &reverse.body["failed"]), (&json!(1), &json!(0)), "{reverse:?}");
    assert!(super::home::person(&home.app(), 5).is_some());
    let paused = daemon.post("/v1/links/sqlite-to-outreach/pause", json!({})).await;
    assert_eq!((paused.status, &paused.body["state"]), (200, &json!("paused")), "{paused:?}");
    add_people(&mut home.app(), 1..=1);
    let resumed = daemon.post("/v1/links/sqlite-to-outreach/resume", json!({})).await;
    assert_eq!(resumed.status, 200, "{resumed:?}");
    daemon.pass("sqlite-to-outreach").await;
    assert_eq!(daemon.records("default", "outreach", "prospects").await.len(), 2);
    let polled = daemon.post("/v1/sync/poll/outreach", json!({})).await;
    assert_eq!(polled.status, 200, "{polled:?}");
    assert_eq!(polled.body["links"], json!(["sqlite-to-outreach"]), "{polled:?}");
    daemon.post("/v1/links/nobody/pause", json!({})).await.is_problem(404);
}
