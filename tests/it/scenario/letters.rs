//! Dead letters in bulk, pushes by the thousand, and requests that are carried out once.

use serde_json::{Value, json};

use super::daemon::{Daemon, until};
use super::home::{Home, RULES, person};
use super::jobs::{ASK, ask, assert_conserved, attempts, back, quiet, resting, state, there};

#[tokio::test]
async fn dead_letters_are_answered_in_bulk() {
    let home = Home::new(&quiet(), RULES);
    let daemon = resting(&home).await;
    let mut jobs = Vec::new();
    for id in 1..=6 {
        jobs.push(ask(&daemon, back(id)).await);
    }
    there(&daemon, 9, "Held Back", "retired").await;
    let held = ask(&daemon, back(9)).await;
    for &id in jobs.iter().chain([&held]) {
        state(&daemon, id, "dead").await;
    }
    let count = async |query: &str| {
        let answer = daemon.get(&format!("/v1/dead-letters?{query}")).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.body["items"].as_array().unwrap().len()
    };
    // (query, letters, why)
    let cases = [
        ("", 7, "all"),
        ("code=not_found", 6, "by error"),
        ("code=validation", 1, "by another"),
        ("key=3", 1, "by record"),
        ("link=sqlite-to-salesforce", 0, "by link"),
        ("before=2020-01-01T00:00:00Z", 0, "by when they died"),
        ("after=2020-01-01T00:00:00Z&direction=reverse", 7, "and since when"),
        ("limit=2", 2, "a page"),
    ];
    for (query, letters, why) in cases {
        assert_eq!(count(query).await, letters, "{why}");
    }
    daemon.post("/v1/dead-letters/replay", json!({})).await.is_problem(422);
    daemon.delete("/v1/dead-letters").await.is_problem(422);
    daemon.post("/v1/dead-letters/replay", json!({"code": "not_found", "odd": 1})).await.is_problem(422);

    for id in 1..=6 {
        there(&daemon, id, "Mended", "active").await;
    }
    let dry = daemon.post("/v1/dead-letters/replay", json!({"code": "not_found", "dry_run": true})).await;
    assert_eq!(
        (dry.status, &dry.body["matched"], &dry.body["dry_run"]),
        (200, &json!(6), &json!(true)),
        "{dry:?}"
    );
    assert_eq!(dry.body["ids"].as_array().unwrap().len(), 6, "and which: {dry:?}");
    assert_eq!(count("").await, 7, "a dry run does nothing");
    let done = daemon.post("/v1/dead-letters/replay", json!({"code": "not_found"})).await;
    assert_eq!((done.status, &done.body["replayed"]), (200, &json!(6)), "{done:?}");
    for id in done.body["jobs"].as_array().unwrap() {
        state(&daemon, id.as_i64().unwrap(), "synced").await;
    }
    for id in 1..=6 {
        assert_eq!(person(&home.app(), id).unwrap().0, "Mended", "{id}");
    }
    assert_eq!(count("").await, 1, "what is replayed is answered");
    let stats = daemon.get("/v1/sync/status").await;
    assert_eq!(stats.body["stats"]["dead_letters"], 1, "{stats:?}");

    let dry = daemon.delete("/v1/dead-letters?all=true&dry_run=true").await;
    assert_eq!((dry.status, &dry.body["matched"]), (200, &json!(1)), "{dry:?}");
    let gone = daemon.delete("/v1/dead-letters?code=validation").await;
    assert_eq!(
        (gone.status, &gone.body["deleted"], &gone.body["ids"]),
        (200, &json!(1), &json!([held])),
        "{gone:?}"
    );
    assert_eq!(count("").await, 0);
    daemon.get(&format!("/v1/jobs/{held}")).await.is_problem(404);
    assert_conserved(&daemon).await;
}

#[tokio::test]
async fn an_idempotency_key_is_honoured_wherever_something_is_made() {
    let home = Home::new(&quiet(), RULES);
    let daemon = resting(&home).await;
    let send = async |path: &str, key: &str, body: Value| {
        daemon.send(daemon.request("POST", path).header("idempotency-key", key).body(body.to_string())).await
    };
    let first = send(ASK, "k-1", back(5)).await;
    let again = send(ASK, "k-1", back(5)).await;
    assert_eq!((first.status, again.status), (202, 202), "{again:?}");
    assert_eq!(first.body, again.body, "the same answer");
    assert_eq!(first.header("location"), again.header("location"));
    send(ASK, "k-1", back(6)).await.is_problem(422);
    send("/v1/sync", "k-1", back(5)).await.is_problem(422);
    let dead = first.body["id"].as_i64().unwrap();
    state(&daemon, dead, "dead").await;
    let path = format!("/v1/jobs/{dead}/replay");
    let replayed = send(&path, "k-2", json!({})).await;
    let id = replayed.body["id"].as_i64().unwrap();
    state(&daemon, id, "dead").await;
    assert_eq!(send(&path, "k-2", json!({})).await.body["id"], id, "not once more");
    let bulk = send("/v1/dead-letters/replay", "k-3", json!({"all": true})).await;
    assert_eq!(bulk.body["replayed"], 1, "{bulk:?}");
    assert_eq!(send("/v1/dead-letters/replay", "k-3", json!({"all": true})).await.body, bulk.body);
    // What was refused is not remembered: it may go well the next time.
    let twice = futures_util::future::join_all((0..4).map(|_| send(ASK, "k-4", back(5)))).await;
    assert!(twice.iter().all(|answer| answer.status == twice[0].status), "{twice:?}");
    assert!(daemon.terminate().success());
    let daemon = Daemon::start(&home);
    let later = daemon.request("POST", ASK).header("idempotency-key", "k-1").body(back(5).to_string());
    assert_eq!(daemon.send(later).await.body["id"], dead, "also after a restart");
}

#[tokio::test]
async fn what_was_done_before_a_crash_is_not_done_again_under_its_key() {
    let home = Home::new(&quiet(), RULES);
    let mut daemon = resting(&home).await;
    let old = ask(&daemon, back(4)).await;
    state(&daemon, old, "dead").await;
    let requests = [
        ("k-ask", ASK.to_owned(), back(5)),
        ("k-replay", format!("/v1/jobs/{old}/replay"), json!({})),
        ("k-push", "/v1/sync".to_owned(), change(7, "Once")),
        ("k-many", "/v1/sync".to_owned(), json!([change(8, "Once"), change(9, "Once")])),
    ];
    let send = async |daemon: &Daemon, (key, path, body): &(&str, String, Value)| {
        let request = daemon.request("POST", path).header("idempotency-key", *key).body(body.to_string());
        daemon.send(request).await
    };
    let ids = |answer: &super::daemon::Answer| match answer.body["items"].as_array() {
        Some(items) => items.iter().map(|item| item["job_id"].clone()).collect::<Vec<_>>(),
        None => vec![answer.body["job_id"].clone()],
    };
    let jobs = async |daemon: &Daemon| {
        let answer = daemon.get("/v1/jobs?limit=1000").await;
        let jobs = answer.body["items"].as_array().unwrap();
        jobs.iter().filter(|job| job["origin"] != "poll").count()
    };
    let mut first = Vec::new();
    for request in &requests {
        let answer = send(&daemon, request).await;
        assert_eq!(answer.status, 202, "{}: {answer:?}", request.0);
        for id in ids(&answer) {
            daemon
                .until(&format!("/v1/jobs/{id}"), "its end", |job| {
                    ["synced", "dead"].contains(&job.body["state"].as_str().unwrap_or_default())
                })
                .await;
        }
        first.push(ids(&answer));
    }
    let before = jobs(&daemon).await;
    daemon.kill();
    // As if it had died when the work was stored and the answers were not.
    let state = rusqlite::Connection::open(home.path("data/state.sqlite")).unwrap();
    assert!(state.execute("DELETE FROM kv WHERE space = 'idempotency'", []).unwrap() >= requests.len());
    drop(state);
    daemon = Daemon::start(&home);
    for (request, first) in requests.iter().zip(&first) {
        let answer = send(&daemon, request).await;
        assert_eq!((answer.status, &ids(&answer)), (202, first), "{}: {answer:?}", request.0);
        let other =
            (request.0, request.1.clone(), json!({"operation": "delete", "record_id": 1, "crm": "outreach"}));
        send(&daemon, &other).await.is_problem(422);
    }
    assert_eq!(jobs(&daemon).await, before, "nothing was made anew");
}

/// A change that an application hands in.
fn change(id: i64, name: &str) -> Value {
    let data = json!({"name": name, "email": format!("p{id}@example.test"), "status": "active"});
    json!({"operation": "create", "record_id": id, "data": data, "crm": "outreach"})
}

#[tokio::test]
async fn many_changes_are_taken_at_once_or_none_of_them() {
    let home = Home::new(&quiet(), RULES);
    let daemon = resting(&home).await;
    let array: Value = (1..=300).map(|id| change(id, &format!("Person {id}"))).collect();
    let answer = daemon.post("/v1/sync/", array).await;
    assert_eq!((answer.status, &answer.body["accepted"]), (202, &json!(300)), "{answer:?}");
    let items = answer.body["items"].as_array().unwrap();
    for (index, item) in items.iter().enumerate() {
        assert_eq!(
            (&item["index"], &item["record_id"]),
            (&json!(index), &json!((index + 1).to_string())),
            "{item}"
        );
    }
    let last = items[299]["job_id"].as_i64().unwrap();
    state(&daemon, last, "synced").await;
    let count = async || daemon.records("default", "outreach", "prospects").await.len();
    until("all of them over there", count, |&count| count == 300).await;

    // Update and delete, under the other form.
    let changes = [
        json!({"operation": "update", "record_id": 1, "data": {"name": "Renamed"}, "provider": "outreach"}),
        json!({"operation": "delete", "record_id": 2, "crm": "outreach"}),
    ];
    let answer = daemon.post("/v1/sync", json!({"records": changes})).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    for item in answer.body["items"].as_array().unwrap() {
        state(&daemon, item["job_id"].as_i64().unwrap(), "synced").await;
    }
    let records = daemon.records("default", "outreach", "prospects").await;
    assert_eq!(records.len(), 299);
    assert_eq!(super::daemon::with(&records, "record_id", 1).unwrap()["full_name"], "Renamed");

    let bad = |index: usize, wrong: Value| {
        let mut all: Vec<Value> = (400..410).map(|id| change(id, "Nobody")).collect();
        all[index] = wrong;
        json!(all)
    };
    let mut odd = change(9, "Odd");
    odd["nonsense"] = json!(1);
    let mut elsewhere = change(9, "Odd");
    elsewhere["crm"] = json!("hubspot");
    // (body, status, index, why)
    let cases = [
        (bad(3, json!({"operation": "create"})), 422, Some(3), "one that lacks everything"),
        (bad(9, odd), 422, Some(9), "an unknown member"),
        (bad(0, json!({"operation": "create", "record_id": 9, "crm": "outreach"})), 422, Some(0), "no data"),
        (bad(5, elsewhere), 404, Some(5), "an unknown CRM"),
        (bad(5, json!({"operation": "read", "record_id": 1, "crm": "outreach"})), 422, Some(5), "a read"),
        (bad(5, json!("text")), 422, Some(5), "no change at all"),
        (json!([]), 422, None, "nothing"),
        (json!({"records": [], "more": 1}), 422, None, "an unknown member beside"),
        ((0..1001).map(|id| change(id, "N")).collect(), 413, None, "too many"),
    ];
    for (body, status, index, why) in cases {
        let answer = daemon.post("/v1/sync", body).await;
        assert_eq!(answer.status, status, "{why}: {answer:?}");
        answer.is_problem(status);
        assert_eq!(answer.body["index"].as_u64(), index, "{why}: {answer:?}");
    }
    let all: Value = (1..=1000).map(|id| change(id, "Most")).collect();
    assert_eq!(daemon.post("/v1/sync", all).await.status, 202, "a thousand are taken");
    let none = daemon.get("/v1/jobs?key=400").await;
    assert!(none.body["items"][0]["correlation_id"].is_string(), "of the thousand: {none:?}");
    assert_eq!(
        none.body["items"].as_array().unwrap().len(),
        1,
        "nothing of what was refused was taken: {none:?}"
    );
}

#[tokio::test]
async fn changes_that_meet_before_they_are_delivered_are_put_together() {
    let home = Home::new(&quiet(), RULES);
    let daemon = resting(&home).await;
    daemon.misbehave("default", "outreach", json!({"rate_429": 1.0, "retry_after_seconds": 1})).await;
    let update = json!({"operation": "update", "record_id": 7, "data": {"email": "new@example.test"}, "crm": "outreach"});
    let answer = daemon.post("/v1/sync", json!([change(7, "Kept"), update])).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    assert_eq!(answer.body["items"][0]["job_id"], answer.body["items"][1]["job_id"], "one job a record");
    let id = answer.body["items"][0]["job_id"].as_i64().unwrap();
    daemon
        .until(&format!("/v1/jobs/{id}/attempts"), "a try that was put off", |answer| {
            answer.body["items"][0]["error"]["code"] == "rate_limited"
        })
        .await;
    daemon.misbehave("default", "outreach", json!({})).await;
    state(&daemon, id, "synced").await;
    let records = daemon.records("default", "outreach", "prospects").await;
    assert_eq!(
        (&records[0]["full_name"], &records[0]["email_address"]),
        (&json!("Kept"), &json!("new@example.test"))
    );
    let last = attempts(&daemon, id).await;
    assert_eq!(last.last().unwrap()["outcome"], "delivered", "{last:?}");
    assert_conserved(&daemon).await;
}

#[tokio::test]
async fn a_queue_that_is_full_asks_to_come_again_later() {
    let settings = quiet()
        .replace("[default.links.sqlite-to-outreach]", "[default.links.sqlite-to-outreach]\nqueue_max = 5");
    let home = Home::new(&settings, RULES);
    let daemon = resting(&home).await;
    daemon.misbehave("default", "outreach", json!({"rate_429": 1.0, "retry_after_seconds": 1})).await;
    let five: Value = (1..=5).map(|id| change(id, "In Time")).collect();
    assert_eq!(daemon.post("/v1/sync", five).await.status, 202);
    let full = daemon.post("/v1/sync", change(6, "Too Late")).await;
    full.is_problem(429);
    assert!(full.header("retry-after").parse::<u64>().unwrap() > 0, "{full:?}");
    assert!(full.body["detail"].as_str().unwrap().contains("sqlite-to-outreach"), "{full:?}");
    let elsewhere = json!({"operation": "create", "record_id": 6, "data": {"name": "E", "status": "active"}, "crm": "salesforce"});
    assert_eq!(daemon.post("/v1/sync", elsewhere).await.status, 202, "another link has room");
    daemon.misbehave("default", "outreach", json!({})).await;
    let drained = |answer: &super::daemon::Answer| answer.body["active"]["total"] == 0;
    daemon.until("/v1/jobs/summary", "an empty queue", drained).await;
    assert_eq!(daemon.post("/v1/sync", change(6, "Again")).await.status, 202);
}

#[tokio::test]
async fn what_is_answered_202_outlives_the_process() {
    let home = Home::new(&quiet(), RULES);
    let daemon = resting(&home).await;
    daemon.misbehave("default", "outreach", json!({"rate_503": 1.0})).await;
    let all: Value = (1..=200).map(|id| change(id, "Durable")).collect();
    assert_eq!(daemon.post("/v1/sync?customer_id=default", all).await.status, 202);
    daemon.kill();
    let daemon = Daemon::start(&home);
    let count = async || daemon.records("default", "outreach", "prospects").await.len();
    until("all of them over there", count, |&count| count == 200).await;
}

#[tokio::test]
async fn the_command_line_shows_and_moves_jobs() {
    let home = Home::new(&quiet(), RULES);
    let daemon = resting(&home).await;
    let listen = daemon.address();
    let run = |arguments: &[&str]| {
        let mut all = vec!["--json"];
        all.extend(arguments);
        let done = home.command(&all).env("RECORD_SYNC_LISTEN", &listen).output().unwrap();
        let said: Value =
            serde_json::from_slice(&done.stdout).unwrap_or_else(|error| panic!("{error}: {done:?}"));
        (done.status.code().unwrap(), said)
    };
    let later = json!({"entity_id": 8, "direction": "reverse", "scheduled_at": "2999-01-01T00:00:00Z"});
    let waiting = ask(&daemon, later).await;
    let dead = ask(&daemon, back(7)).await;
    state(&daemon, dead, "dead").await;
    there(&daemon, 7, "Mended", "active").await;
    let (waits, died) = (waiting.to_string(), dead.to_string());
    // (arguments, exit code, place in what is said, what stands there, why)
    let cases: [(&[&str], i32, &str, Value, &str); 9] = [
        (&["jobs", "list", "--state", "waiting"], 0, "/items/0/id", json!(waiting), "by state"),
        (&["jobs", "show", &died], 0, "/attempts/0/error/code", json!("not_found"), "with its attempts"),
        (&["jobs", "cancel", &waits], 0, "/state", json!("cancelled"), "cancelled"),
        (&["jobs", "retry", &waits], 1, "/status", json!(409), "and not to be tried any more"),
        (&["dead-letters", "list", "--code", "not_found"], 0, "/items/0/id", json!(dead), "letters"),
        (&["dead-letters", "replay"], 1, "/status", json!(422), "never all of them by mistake"),
        (&["dead-letters", "delete", "--all", "--dry-run"], 0, "/matched", json!(1), "how many"),
        (&["jobs", "replay", &died], 0, "/replay_of", json!(dead), "as a new one"),
        (&["dead-letters", "replay", "--all"], 0, "/matched", json!(0), "which answers it"),
    ];
    for (arguments, code, place, expected, why) in cases {
        let (exit, said) = run(arguments);
        assert_eq!((exit, said.pointer(place)), (code, Some(&expected)), "{why}: {said}");
    }
    until("the replayed record", async || person(&home.app(), 7), Option::is_some).await;
    let plain = home.command(&["jobs", "list"]).env("RECORD_SYNC_LISTEN", &listen).output().unwrap();
    assert!(String::from_utf8(plain.stdout).unwrap().contains("cancelled"), "as a table, too");
    let description = daemon.get("/openapi.json").await;
    for path in ["/v1/jobs", "/v1/jobs/{id}/attempts", "/v1/jobs/summary", "/v1/dead-letters/replay"] {
        assert!(description.body["paths"][path].is_object(), "{path} is described");
    }
}
