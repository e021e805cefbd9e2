//! Jobs for one record: asked for, refused, scheduled, cancelled, tried again, replayed.

use serde_json::{Value, json};

use super::daemon::{Answer, Daemon, until};
use super::home::{Home, RULES, TRIANGLE, person};

pub const ASK: &str = "/v1/jobs/sqlite-to-outreach";

/// Settings under which nobody polls but who is asked to: what arrives came by a job.
pub fn quiet() -> String {
    TRIANGLE.replace("poll_interval = 0.2", "poll_interval = 3600").replace(
        "connector = \"outreach\"",
        "connector = \"outreach\"\nretry = { base = 0.05, max = 0.1, attempts_max = 3 }\nbreaker = { failures = 100000 }",
    )
}

/// A daemon whose link has matched its empty sides and rests.
pub async fn resting(home: &Home) -> Daemon {
    let daemon = Daemon::start(home);
    daemon.pass("sqlite-to-outreach").await;
    daemon
}

/// Puts a person straight into the mock, as if somebody had edited it there.
pub async fn there(daemon: &Daemon, id: i64, name: &str, status: &str) {
    let person = json!({"record_id": id, "full_name": name, "email_address": format!("p{id}@example.test"), "status": status});
    let answer = daemon.post("/v1/crms/mock/outreach/push", person).await;
    assert!(answer.status == 201 || answer.status == 200, "{answer:?}");
}

/// A record of Outreach that is wanted in the table.
pub fn back(id: i64) -> Value {
    json!({"entity_id": id, "direction": "reverse"})
}

/// Asks for a job that has to be taken; its id.
pub async fn ask(daemon: &Daemon, wanted: Value) -> i64 {
    let answer = daemon.post(ASK, wanted).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    answer.body["id"].as_i64().unwrap()
}

/// Waits until a job is in a state.
pub async fn state(daemon: &Daemon, id: i64, state: &str) -> Answer {
    daemon.until(&format!("/v1/jobs/{id}"), state, |answer| answer.body["state"] == state).await
}

pub async fn attempts(daemon: &Daemon, id: i64) -> Vec<Value> {
    let answer = daemon.get(&format!("/v1/jobs/{id}/attempts")).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.body["items"].as_array().unwrap().clone()
}

/// Checks invariant 11 for the link, once nothing moves any more.
pub async fn assert_conserved(daemon: &Daemon) {
    let balanced = |answer: &Answer| {
        let (all, finished) = (&answer.body["total"], &answer.body["finished"]["total"]);
        all.as_u64() == Some(finished.as_u64().unwrap() + answer.body["active"]["total"].as_u64().unwrap())
    };
    daemon.until("/v1/jobs/summary", "that all accepted work is somewhere", balanced).await;
}

#[tokio::test]
async fn one_record_is_brought_over_and_its_job_tells_of_it() {
    let home = Home::new(&quiet(), RULES);
    let daemon = resting(&home).await;
    there(&daemon, 7, "Looked Up", "active").await;
    daemon.forget_arrivals("default", "outreach").await;
    let wanted = json!({"entity_id": 7, "direction": "reverse", "priority": 5, "max_retries": 2, "payload_version": 1});
    let request = daemon.request("POST", ASK).header("x-correlation-id", "trace-7").body(wanted.to_string());
    let answer = daemon.send(request).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    let id = answer.body["id"].as_i64().unwrap();
    assert_eq!(answer.header("location"), format!("/v1/jobs/{id}"));
    let told = state(&daemon, id, "synced").await;
    assert_eq!(person(&home.app(), 7).unwrap().0, "Looked Up");
    for (field, wanted) in [
        ("customer", json!("default")),
        ("link", json!("sqlite-to-outreach")),
        ("direction", json!("b_to_a")),
        ("key", json!("7")),
        ("priority", json!(5)),
        ("max_retries", json!(2)),
        ("correlation_id", json!("trace-7")),
        ("note", Value::Null),
    ] {
        assert_eq!(told.body[field], wanted, "{field}: {told:?}");
    }
    let tried = attempts(&daemon, id).await;
    assert_eq!(tried.len(), 1, "{tried:?}");
    assert_eq!((&tried[0]["number"], &tried[0]["outcome"]), (&json!(1), &json!("delivered")), "{tried:?}");
    assert_eq!((&tried[0]["error"], &tried[0]["correlation_id"]), (&Value::Null, &json!("trace-7")));
    assert!(tried[0]["started_at"].is_string() && tried[0]["duration_ms"].is_u64(), "{tried:?}");
    let arrivals = daemon.arrivals("default", "outreach").await;
    assert!(
        arrivals.iter().any(|it| it["correlation_id"] == "trace-7"),
        "the look goes by that name: {arrivals:?}"
    );

    // In step already: that is said, and nothing is written.
    let again = ask(&daemon, back(7)).await;
    let told = state(&daemon, again, "synced").await;
    assert_eq!(told.body["note"], "nothing was to do", "{told:?}");
    assert_eq!(attempts(&daemon, again).await[0]["outcome"], "nothing_to_do");
    // An edit that no poll has seen.
    there(&daemon, 7, "Edited", "active").await;
    let edited = ask(&daemon, back(7)).await;
    state(&daemon, edited, "synced").await;
    assert_eq!(person(&home.app(), 7).unwrap().0, "Edited");
    // A deletion that no poll has seen: its own look tells of it, and it is through at once.
    home.app().execute("DELETE FROM users WHERE record_id = 7", []).unwrap();
    let deleted = ask(&daemon, json!({"entity_id": 7})).await;
    let told = state(&daemon, deleted, "synced").await;
    assert_eq!(told.body["note"], Value::Null, "{told:?}");
    let tried = attempts(&daemon, deleted).await;
    assert_eq!((tried.len(), &tried[0]["outcome"]), (1, &json!("delivered")), "{tried:?}");
    daemon.get(&format!("/v1/jobs/{}", edited + 1000)).await.is_problem(404);
    assert_conserved(&daemon).await;
    assert!(daemon.terminate().success());
    let log = home.read("logs/record_sync.log");
    let delivered = log.lines().find(|line| line.contains("job.delivered") && line.contains("trace-7"));
    assert!(delivered.is_some_and(|line| line.contains(&format!("\"job_id\":{id}"))), "{log}");
}

#[tokio::test]
async fn what_can_not_be_brought_over_ends_dead_with_its_reason() {
    let home = Home::new(&quiet(), RULES);
    let daemon = resting(&home).await;
    there(&daemon, 1, "Held Back", "retired").await;
    there(&daemon, 2, "Only There", "active").await;
    // (job, code, word of the reason, why)
    let cases = [
        (back(404), "not_found", "neither", "nobody has it"),
        (
            json!({"entity_id": 2}),
            "not_found",
            "app.users has no record 2",
            "it is to be had from the other side",
        ),
        (back(1), "validation", "rule", "a rule holds it back"),
    ];
    for (wanted, code, word, why) in cases {
        let id = ask(&daemon, wanted).await;
        let told = state(&daemon, id, "dead").await;
        assert_eq!(told.body["error"]["code"], code, "{why}: {told:?}");
        assert!(told.body["error"]["message"].as_str().unwrap().contains(word), "{why}: {told:?}");
        assert_eq!(attempts(&daemon, id).await[0]["error"]["code"], code, "{why}");
    }
    assert_eq!(person(&home.app(), 1), None);
    assert_conserved(&daemon).await;
}

#[tokio::test]
async fn what_is_no_job_is_refused_at_the_door() {
    let home = Home::new(
        &quiet().replace(
            "[default.links.sqlite-to-salesforce]",
            "[default.links.sqlite-to-salesforce]\ndirection = \"a_to_b\"",
        ),
        RULES,
    );
    let daemon = resting(&home).await;
    // (path, body, status, why)
    let cases = [
        (ASK, json!({"entity_id": 1, "payload_version": 2}), 422, "a payload of tomorrow"),
        (ASK, json!({"entity_id": 1, "nonsense": 1}), 422, "an unknown member"),
        (ASK, json!({"direction": "forward"}), 422, "no record"),
        (ASK, json!({"entity_id": 1, "scheduled_at": "tomorrow"}), 422, "no moment"),
        (ASK, json!({"entity_id": 1, "scheduled_at": 17}), 422, "nor is a number"),
        (ASK, json!({"entity_id": 1, "max_retries": -1}), 422, "fewer than none"),
        (ASK, json!({"entity_id": 1, "direction": "sideways"}), 422, "no direction"),
        ("/v1/jobs/nobody", json!({"entity_id": 1}), 404, "an unknown link"),
        ("/v1/jobs/sqlite-to-outreach?customer_id=a%20b", json!({"entity_id": 1}), 422, "no customer id"),
        (
            "/v1/jobs/sqlite-to-salesforce",
            json!({"entity_id": 1, "direction": "reverse"}),
            422,
            "a one-way link",
        ),
    ];
    for (path, body, status, why) in cases {
        let answer = daemon.post(path, body).await;
        assert_eq!(answer.status, status, "{why}: {answer:?}");
        answer.is_problem(status);
    }
    let remedy = daemon.post(ASK, json!({"entity_id": 1, "scheduled_at": "tomorrow"})).await;
    assert!(remedy.body["remedy"].as_str().unwrap().contains("RFC 3339"), "{remedy:?}");
    let none = daemon.get("/v1/jobs").await;
    assert_eq!(none.body["items"], json!([]), "nothing of it was taken: {none:?}");
    for path in
        ["/v1/jobs?state=odd", "/v1/jobs?stat=dead", "/v1/dead-letters?code=odd", "/v1/dead-letters?before=x"]
    {
        daemon.get(path).await.is_problem(422);
    }
}

#[tokio::test]
async fn of_a_hundred_that_ask_at_once_one_gets_the_job() {
    let home = Home::new(&quiet(), RULES);
    let daemon = resting(&home).await;
    let later = json!({"entity_id": 7, "direction": "reverse", "scheduled_at": "2999-01-01T00:00:00Z"});
    let answers = futures_util::future::join_all((0..100).map(|_| daemon.post(ASK, later.clone()))).await;
    let taken: Vec<&Answer> = answers.iter().filter(|answer| answer.status == 202).collect();
    assert_eq!(taken.len(), 1, "{answers:?}");
    let id = &taken[0].body["id"];
    for refused in answers.iter().filter(|answer| answer.status != 202) {
        refused.is_problem(409);
        assert_eq!(&refused.body["job_id"], id, "{refused:?}");
    }
    let other = json!({"entity_id": 7, "scheduled_at": "2999-01-01T00:00:00Z"});
    ask(&daemon, other).await;
    let cancelled = daemon.post(&format!("/v1/jobs/{id}/cancel"), json!({})).await;
    assert_eq!((cancelled.status, &cancelled.body["state"]), (200, &json!("cancelled")), "{cancelled:?}");
    assert_ne!(ask(&daemon, later).await, id.as_i64().unwrap(), "with its place free a new one is made");
    let listed = async |query: &str| -> Vec<i64> {
        let answer = daemon.get(&format!("/v1/jobs?{query}")).await;
        answer.body["items"].as_array().unwrap().iter().map(|job| job["id"].as_i64().unwrap()).collect()
    };
    let first = id.as_i64().unwrap();
    // (query, jobs, why)
    let cases = [
        ("", vec![first + 2, first + 1, first], "newest first"),
        ("state=cancelled", vec![first], "by state"),
        ("direction=forward", vec![first + 1], "by direction"),
        ("link=sqlite-to-outreach&customer_id=default&key=7", vec![first + 2, first + 1, first], "by record"),
        ("link=sqlite-to-salesforce", vec![], "of another link"),
        ("customer_id=nobody", vec![], "of nobody"),
        ("limit=2", vec![first + 2, first + 1], "a page"),
    ];
    for (query, jobs, why) in cases {
        assert_eq!(listed(query).await, jobs, "{why}");
    }
    let page = daemon.get("/v1/jobs?limit=2").await;
    assert_eq!(
        listed(&format!("limit=2&cursor={}", page.body["next_cursor"])).await,
        [first],
        "the next page"
    );
    assert_conserved(&daemon).await;
}

#[tokio::test]
async fn a_scheduled_job_waits_for_its_time_and_delays_nobody() {
    let home = Home::new(&quiet(), RULES);
    let daemon = resting(&home).await;
    there(&daemon, 7, "Scheduled", "active").await;
    there(&daemon, 8, "Polled", "active").await;
    let clock = record_sync::runtime::clock::real();
    let at = |seconds: u64| clock().plus(std::time::Duration::from_secs(seconds)).to_string();
    let soon = at(2);
    let job = ask(&daemon, json!({"entity_id": 7, "direction": "reverse", "scheduled_at": soon})).await;
    let far = ask(&daemon, json!({"entity_id": 8, "direction": "reverse", "scheduled_at": at(9000)})).await;
    let waiting = daemon.get(&format!("/v1/jobs/{job}")).await;
    assert_eq!((&waiting.body["state"], &waiting.body["scheduled_at"]), (&json!("waiting"), &json!(soon)));
    let tried = {
        state(&daemon, job, "synced").await;
        attempts(&daemon, job).await
    };
    assert!(tried[0]["started_at"].as_str().unwrap() >= soon.as_str(), "not before its time: {tried:?}");
    assert_eq!(person(&home.app(), 7).unwrap().0, "Scheduled");
    // What a poll brings does not wait for what somebody wants tomorrow.
    daemon.pass("sqlite-to-outreach").await;
    until("the polled record", async || person(&home.app(), 8), Option::is_some).await;
    let still = state(&daemon, far, "waiting").await;
    assert!(
        still.body["due_at"].as_str().unwrap() > soon.as_str(),
        "it runs once more, at its time: {still:?}"
    );
    assert_conserved(&daemon).await;
}

#[tokio::test]
async fn retries_come_after_the_first_attempt_and_each_is_told() {
    let home = Home::new(&quiet(), RULES);
    let daemon = resting(&home).await;
    there(&daemon, 7, "Slow", "active").await;
    daemon.misbehave("default", "outreach", json!({"rate_503": 1.0})).await;
    for (retries, tries) in [(0, 1), (2, 3)] {
        let id = ask(&daemon, json!({"entity_id": 7, "direction": "reverse", "max_retries": retries})).await;
        let dead = state(&daemon, id, "dead").await;
        assert_eq!(dead.body["error"]["code"], "unavailable", "{dead:?}");
        let tried = attempts(&daemon, id).await;
        let ends: Vec<&str> = tried.iter().map(|it| it["outcome"].as_str().unwrap()).collect();
        let mut expected = vec!["retrying"; tries - 1];
        expected.push("dead");
        assert_eq!(ends, expected, "{retries} retries: {tried:?}");
        assert!(tried.iter().all(|it| it["error"]["code"] == "unavailable"), "{tried:?}");
        let numbers: Vec<u64> = tried.iter().map(|it| it["number"].as_u64().unwrap()).collect();
        assert_eq!(numbers, (1..=tries as u64).collect::<Vec<_>>());
    }
    let summary = daemon.get("/v1/jobs/summary?customer_id=default&link=sqlite-to-outreach").await;
    assert_eq!(
        (&summary.body["retries"], &summary.body["finished"]["dead"]),
        (&json!(2), &json!(2)),
        "{summary:?}"
    );
    assert_eq!(summary.body["success_rate"], json!(0.0), "{summary:?}");
    assert!(summary.body["mean_duration_ms"].is_number(), "{summary:?}");
    assert_conserved(&daemon).await;
}

#[tokio::test]
async fn a_running_job_that_is_cancelled_never_becomes_a_success() {
    let home = Home::new(&quiet(), RULES);
    let daemon = resting(&home).await;
    let data = json!({"name": "Half Way", "email": "h@example.test", "status": "active"});
    daemon.misbehave("default", "outreach", json!({"latency_ms": 700})).await;
    let push = json!({"operation": "create", "record_id": 7, "data": data, "crm": "outreach"});
    let pushed = daemon.post("/v1/sync", push).await;
    let id = pushed.body["job_id"].as_i64().unwrap();
    state(&daemon, id, "leased").await;
    let cancelled = daemon.post(&format!("/v1/jobs/{id}/cancel"), json!({})).await;
    assert_eq!((cancelled.status, &cancelled.body["state"]), (200, &json!("cancelled")), "{cancelled:?}");
    daemon.post(&format!("/v1/jobs/{id}/cancel"), json!({})).await.is_problem(409);
    daemon.post(&format!("/v1/jobs/{id}/retry"), json!({})).await.is_problem(409);
    // The call was under way and went through: that is seen by the next look, and taken in.
    until(
        "the record over there",
        async || daemon.records("default", "outreach", "prospects").await.len(),
        |&all| all == 1,
    )
    .await;
    daemon.misbehave("default", "outreach", json!({})).await;
    daemon.pass("sqlite-to-outreach").await;
    until("what the call did", async || person(&home.app(), 7), Option::is_some).await;
    let told = daemon.get(&format!("/v1/jobs/{id}")).await;
    assert_eq!(told.body["state"], "cancelled", "{told:?}");
    assert_eq!(attempts(&daemon, id).await[0]["outcome"], "cancelled");
    assert_conserved(&daemon).await;
}

#[tokio::test]
async fn jobs_are_tried_again_and_replayed_as_new_ones() {
    let home = Home::new(&quiet(), RULES);
    let daemon = resting(&home).await;
    there(&daemon, 7, "Late", "active").await;
    daemon.misbehave("default", "outreach", json!({"rate_503": 1.0})).await;
    let first = ask(&daemon, json!({"entity_id": 7, "direction": "reverse", "max_retries": 0})).await;
    state(&daemon, first, "dead").await;
    let retry = async |id: i64| daemon.post(&format!("/v1/jobs/{id}/retry"), json!({})).await;
    let replay = async |id: i64| daemon.post(&format!("/v1/jobs/{id}/replay"), json!({})).await;
    assert_eq!(retry(first).await.status, 202, "a dead one rises");
    let died = |answer: &Answer| answer.body["items"].as_array().unwrap().len() == 2;
    daemon.until(&format!("/v1/jobs/{first}/attempts"), "a second attempt", died).await;
    state(&daemon, first, "dead").await;
    daemon.misbehave("default", "outreach", json!({})).await;

    let replayed = replay(first).await;
    assert_eq!(replayed.status, 202, "{replayed:?}");
    let second = replayed.body["id"].as_i64().unwrap();
    assert_ne!(second, first);
    assert_eq!(
        (&replayed.body["replay_of"], &replayed.body["replay_of_attempt"]),
        (&json!(first), &json!(2))
    );
    state(&daemon, second, "synced").await;
    assert_eq!(person(&home.app(), 7).unwrap().0, "Late");
    let old = daemon.get(&format!("/v1/jobs/{first}")).await;
    assert_eq!((&old.body["state"], &old.body["replayed_by"]), (&json!("dead"), &json!(second)), "{old:?}");
    let refused = retry(first).await;
    refused.is_problem(409);
    assert_eq!(refused.body["job_id"], second, "it is answered: {refused:?}");
    retry(second).await.is_problem(409);
    retry(99_999).await.is_problem(404);
    replay(99_999).await.is_problem(404);

    // What ended well can be done again as well, and nothing is to do.
    let third = replay(second).await;
    assert_eq!(third.status, 202, "{third:?}");
    state(&daemon, third.body["id"].as_i64().unwrap(), "synced").await;
    let standing =
        ask(&daemon, json!({"entity_id": 7, "direction": "reverse", "scheduled_at": "2999-01-01T00:00:00Z"}))
            .await;
    let refused = replay(second).await;
    refused.is_problem(409);
    assert_eq!(refused.body["job_id"], standing, "{refused:?}");
    assert_eq!(retry(standing).await.status, 202, "what waits for its time need not");
    state(&daemon, standing, "synced").await;
    assert_conserved(&daemon).await;
}

#[tokio::test]
async fn jobs_and_their_attempts_outlive_the_process() {
    let home = Home::new(&quiet(), RULES);
    let daemon = resting(&home).await;
    there(&daemon, 7, "Durable", "active").await;
    daemon.misbehave("default", "outreach", json!({"rate_503": 1.0})).await;
    let dead = ask(&daemon, json!({"entity_id": 6, "direction": "reverse", "max_retries": 0})).await;
    state(&daemon, dead, "dead").await;
    let later = ask(&daemon, json!({"entity_id": 7, "direction": "reverse", "max_retries": 100})).await;
    daemon.kill();
    let daemon = Daemon::start(&home);
    assert_eq!(attempts(&daemon, dead).await.len(), 1);
    state(&daemon, later, "synced").await;
    assert_eq!(person(&home.app(), 7).unwrap().0, "Durable");
    assert_conserved(&daemon).await;
}
