//! Bulk jobs whose end is not known: nothing overtakes them, and nothing waits for them for ever.

use std::sync::Arc;
use std::time::Duration;

use record_sync::connectors::{Batch, Call, Delivery, Destination, Outcome, Write};
use record_sync::engine::fault::{Fault, FaultKind};
use record_sync::engine::record::{Change, Key, Schema, Value};
use serde_json::json;

use super::door::Deed;
use super::{World, json as body, strict_org};
use crate::conformance::{Harness, call};

const NAMES: [&str; 3] = ["External_Id__c", "LastName", "Email"];

fn person(key: usize, name: &str) -> Delivery {
    let key = format!("k{key:05}");
    Delivery {
        key: Key::from_text(&key).unwrap(),
        id: None,
        write: Write::Create(vec![key.as_str().into(), name.into(), Value::Null].into()),
        expected: None,
        revision: None,
    }
}

fn people(count: usize, name: &str) -> Vec<Delivery> {
    (0..count).map(|at| person(at, name)).collect()
}

async fn write(
    destination: &Arc<dyn Destination>,
    deliveries: &[Delivery],
    call: &Call,
) -> Result<Vec<Outcome>, Fault> {
    let batch = Batch { shape: Schema::new(NAMES), deliveries: deliveries.to_vec() };
    destination.write(&batch, call).await
}

/// A call of a link that has been told to stop.
fn stopped() -> Call {
    let call = call();
    call.stop.cancel();
    call
}

fn is_throttled(fault: &Fault) -> bool {
    matches!(fault.kind, FaultKind::Throttled { .. }) && fault.message.contains("is still writing")
}

/// Writes until nothing stands in the way; gives how often something did.
async fn write_in_the_end(destination: &Arc<dyn Destination>, deliveries: &[Delivery]) -> usize {
    for waited in 0..20 {
        match write(destination, deliveries, &call()).await {
            Ok(outcomes) => {
                let through = outcomes.iter().filter(|it| matches!(it, Outcome::Delivered { .. })).count();
                assert_eq!(through, deliveries.len(), "{outcomes:?}");
                return waited;
            }
            Err(fault) => assert!(is_throttled(&fault), "{fault}"),
        }
    }
    panic!("the way is never free");
}

fn names(world: &World) -> Vec<String> {
    let mut names: Vec<String> =
        world.standing().iter().map(|it| it["LastName"].as_str().unwrap().to_owned()).collect();
    names.dedup();
    names
}

/// The only job's id.
fn only_job(world: &World) -> String {
    let listed = body(&world.api("GET", "jobs/ingest", ""));
    listed["records"].as_array().unwrap().last().unwrap()["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn the_end_of_the_link_ends_the_wait_and_the_job_stands_in_the_way_of_what_follows() {
    let world = strict_org().await;
    let system = world.open(json!({}));
    let (one, other) =
        (system.destination(&world.spec()).unwrap(), system.destination(&world.spec()).unwrap());
    world.set_faults(r#"{"jobs_stand": true}"#);
    let ending = call();
    let began = tokio::time::Instant::now();
    let deliveries = people(2_100, "Old");
    let stop = async {
        tokio::time::sleep(Duration::from_millis(1_700)).await;
        ending.stop.cancel();
    };
    let (ended, ()) = tokio::join!(write(&one, &deliveries, &ending), stop);
    let fault = ended.expect_err("nobody knows");
    assert!(fault.is_stopping() && fault.may_have_happened, "{fault:?}");
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    // Neither a newer save nor a look goes past it, by whichever link.
    for destination in [&one, &other] {
        let fault = write(destination, &[person(7, "New")], &call()).await.expect_err("in the way");
        assert!(is_throttled(&fault) && !fault.may_have_happened, "{fault}");
        assert!(destination.look_up(&[], &call()).await.is_err());
    }
    world.set_faults("{}");
    write_in_the_end(&other, &[person(7, "New")]).await;
    let standing = world.standing();
    assert_eq!(standing.len(), 2_100);
    assert_eq!(standing[7]["LastName"], "New", "the newer write is the last");
}

#[tokio::test]
async fn a_road_asks_for_what_the_road_before_has_left_at_work() {
    let world = strict_org().await;
    let destination = world.open(json!({})).destination(&world.spec()).unwrap();
    let made = write(&destination, &people(2_000, "Old"), &call()).await.unwrap();
    let deletions = made.into_iter().enumerate().map(|(at, outcome)| {
        let Outcome::Delivered { id, .. } = outcome else { panic!("{outcome:?}") };
        Delivery { id, write: Write::Delete, ..person(at, "") }
    });
    for count in [3, 2_050] {
        let creates = (0..count).map(|at| person(5_000 + at, "New"));
        let deliveries: Vec<Delivery> = deletions.clone().chain(creates).collect();
        // The first road's wait ends at once, and its job goes on.
        let outcomes = write(&destination, &deliveries, &stopped()).await.unwrap();
        for (at, outcome) in outcomes.iter().enumerate() {
            let Outcome::Failed(fault) = outcome else { panic!("{at}: {outcome:?}") };
            assert_eq!(fault.may_have_happened, at < 2_000, "{at}: {fault}");
            assert_eq!(is_throttled(fault), at >= 2_000, "{at}: {fault}");
        }
        assert!(!names(&world).contains(&"New".to_owned()), "{count}");
        while let Err(fault) = destination.look_up(&[], &call()).await {
            assert!(is_throttled(&fault), "{fault}");
        }
    }
}

#[tokio::test]
async fn all_jobs_of_an_earlier_process_are_found_wherever_they_stand_in_the_list() {
    let world = strict_org().await;
    let opened = r#"{"object": "Contact", "operation": "upsert", "externalIdFieldName": "External_Id__c"}"#;
    // A page of the list and more that are nobody's business.
    for _ in 0..130 {
        let id = body(&world.api("POST", "jobs/ingest", opened))["id"].as_str().unwrap().to_owned();
        world.api("PATCH", &format!("jobs/ingest/{id}"), r#"{"state": "Aborted"}"#);
    }
    world.set_faults(r#"{"jobs_stand": true}"#);
    let mut ours = Vec::new();
    for name in ["Old", "Older"] {
        let id = body(&world.api("POST", "jobs/ingest", opened))["id"].as_str().unwrap().to_owned();
        let token = world.login();
        let path = format!("/services/data/v61.0/jobs/ingest/{id}/batches");
        let csv = format!("External_Id__c,LastName\nk00000,{name}\n");
        world.ask("PUT", &path, &[("authorization", &token), ("content-type", "text/csv")], &csv);
        world.api("PATCH", &format!("jobs/ingest/{id}"), r#"{"state": "UploadComplete"}"#);
        ours.push(id);
    }
    let user = json!({"username": "sync@example.test", "password": "pa55word", "security_token": "sectoken"});
    let destination = world.open(user).destination(&world.spec()).unwrap();
    // A list that breaks off in its middle says nothing.
    world.door.spoil("GET", "jobs/ingest", 1, Deed::Refuse(503, "SERVER_UNAVAILABLE"));
    let fault = write(&destination, &[person(0, "New")], &call()).await.expect_err("no list");
    assert!(fault.kind == FaultKind::Transient && !fault.may_have_happened, "{fault}");
    let fault = write(&destination, &[person(0, "New")], &call()).await.expect_err("in the way");
    assert!(is_throttled(&fault) && fault.message.contains(&ours[0]), "{fault}");
    // The first is over, the second is not.
    world.api("PATCH", &format!("jobs/ingest/{}", ours[0]), r#"{"state": "Aborted"}"#);
    let fault = write(&destination, &[person(0, "New")], &call()).await.expect_err("in the way");
    assert!(is_throttled(&fault) && fault.message.contains(&ours[1]), "{fault}");
    world.set_faults("{}");
    write_in_the_end(&destination, &[person(0, "New")]).await;
    assert_eq!(names(&world), ["New"], "the newer write is the last");
}

#[tokio::test]
async fn a_job_whose_beginning_is_not_answered_may_have_begun() {
    let begin = "UploadComplete";
    let (lock, limit) = ("UNABLE_TO_LOCK_ROW", "REQUEST_LIMIT_EXCEEDED");
    // (what becomes of the beginning, how many looks fail, whether the rows arrive at once, why)
    let cases = [
        (Deed::LoseReply, 0, true, "the job itself says that it has begun"),
        (Deed::DoAndSay(400, "INVALIDJOBSTATE"), 0, true, "whatever is answered, it has begun"),
        (Deed::Refuse(503, lock), 0, true, "it has not, and is asked once more"),
        (Deed::DoAndSay(403, limit), 1, false, "it has, and nobody says so"),
        (Deed::DoAndSay(400, "INVALIDJOBSTATE"), 1, false, "no record is to blame"),
        (Deed::Refuse(403, limit), 0, false, "it has not, and is stopped"),
        (Deed::Refuse(403, limit), 1, false, "it has not, and nobody says so"),
    ];
    for (deed, failed_looks, arrives, why) in cases {
        let world = strict_org().await;
        let destination = world.open(json!({})).destination(&world.spec()).unwrap();
        write(&destination, &[person(9_999, "Old")], &call()).await.unwrap();
        world.door.spoil("PATCH", begin, 1, deed);
        world.door.spoil("GET", "jobs/ingest/", failed_looks, Deed::Refuse(503, "SERVER_UNAVAILABLE"));
        let deliveries = people(2_000, "Old");
        match write(&destination, &deliveries, &call()).await {
            Ok(outcomes) => {
                assert!(arrives, "{why}");
                assert!(outcomes.iter().all(|it| matches!(it, Outcome::Delivered { .. })), "{why}");
            }
            Err(fault) => {
                assert!(!arrives && fault.may_have_happened, "{why}: {fault:?}");
                assert!(!matches!(fault.kind, FaultKind::Rejected | FaultKind::Fatal), "{why}: {fault:?}");
            }
        }
        // What follows is written after the job, or instead of it.
        let newer = people(2_000, "New");
        write_in_the_end(&destination, &newer[..50]).await;
        for _ in 0..3 {
            world.api("GET", &format!("jobs/ingest/{}", only_job(&world)), "");
        }
        let standing = world.standing();
        assert!(standing.iter().filter(|it| it["LastName"] == "New").count() == 50, "{why}");
    }
}

#[tokio::test]
async fn a_job_that_is_gone_blocks_nobody() {
    let world = strict_org().await;
    let destination = world.open(json!({})).destination(&world.spec()).unwrap();
    let (before, old) = (person(9_999, "Old"), people(2_000, "Old"));
    write(&destination, &[before], &call()).await.unwrap();
    // Gone while it is waited for.
    world.door.spoil("GET", "jobs/ingest/750", 1, Deed::DoAndSay(404, "NOT_FOUND"));
    let fault = write(&destination, &old, &call()).await.expect_err("nobody knows");
    assert!(fault.kind == FaultKind::Transient && fault.may_have_happened, "{fault:?}");
    assert!(fault.message.contains("is gone"), "{fault}");
    write(&destination, &[person(0, "New")], &call()).await.unwrap();

    // Gone while it is remembered.
    let fault = write(&destination, &old, &stopped()).await.expect_err("nobody waits");
    assert!(fault.is_stopping() && fault.may_have_happened, "{fault:?}");
    let path = format!("jobs/ingest/{}", only_job(&world));
    while body(&world.api("GET", &path, ""))["state"] != "JobComplete" {}
    assert_eq!(world.api("DELETE", &path, "").status, 204);
    write(&destination, &[person(0, "New")], &call()).await.unwrap();

    // Gone with its results.
    world.door.spoil("GET", "successfulResults", 1, Deed::Refuse(404, "NOT_FOUND"));
    let fault = write(&destination, &old, &call()).await.expect_err("nobody tells");
    assert!(fault.kind == FaultKind::Transient && fault.may_have_happened, "{fault:?}");
    assert_eq!(write_in_the_end(&destination, &[person(0, "New")]).await, 0, "it is over");
}

#[tokio::test]
async fn what_a_job_has_written_is_known_to_be_ours() {
    let world = strict_org().await;
    let system = world.open(json!({}));
    let destination = system.destination(&world.spec()).unwrap();
    write(&destination, &people(2_000, "Ours"), &call()).await.unwrap();
    world.insert(&[crate::conformance::Row::new("theirs", "Theirs", "")]).await;
    let mut source = system.source(&world.spec()).unwrap();
    let (mut ours, mut after) = (0, None);
    loop {
        let page = source.read(after.as_ref(), 1_000, &call()).await.unwrap();
        for change in &page.changes {
            let Change::Upsert(record) = change else { panic!("{change:?}") };
            let is_theirs = record.get("External_Id__c") == &Value::text("theirs");
            assert_eq!(record.meta.ours, !is_theirs, "{record:?}");
            ours += usize::from(record.meta.ours);
        }
        if page.end != record_sync::connectors::End::More {
            break;
        }
        after = page.cursor;
    }
    assert_eq!(ours, 2_000);
}
