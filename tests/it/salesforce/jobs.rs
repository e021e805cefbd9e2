//! The connector on the bulk roads: what they cost, that every row has its own end, and what a lost reply does.

use std::collections::BTreeMap;
use std::sync::Arc;

use record_sync::connectors::{Batch, Delivery, Destination, End, Outcome, Write};
use record_sync::engine::fault::{Fault, FaultKind};
use record_sync::engine::record::{Change, Cursor, Key, Schema, Value};
use serde_json::json;

use super::door::Deed;
use super::{World, json as body, strict_org};
use crate::conformance::{Harness, call};

const NAMES: [&str; 3] = ["External_Id__c", "LastName", "Email"];

fn delivery(key: &str, name: Value, email: Value) -> Delivery {
    Delivery {
        key: Key::from_text(key).unwrap(),
        id: None,
        write: Write::Create(vec![key.into(), name, email].into()),
        expected: None,
        revision: None,
    }
}

fn people(count: usize) -> Vec<Delivery> {
    let of = |at: usize| delivery(&format!("k{at:05}"), Value::text(format!("Name, \"{at}\"")), Value::Null);
    (0..count).map(of).collect()
}

async fn write(destination: &Arc<dyn Destination>, deliveries: &[Delivery]) -> Result<Vec<Outcome>, Fault> {
    let batch = Batch { shape: Schema::new(NAMES), deliveries: deliveries.to_vec() };
    destination.write(&batch, &call()).await
}

fn is_through(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Delivered { id: Some(_), .. })
}

fn keys(world: &World) -> Vec<String> {
    let mut keys: Vec<String> =
        world.standing().iter().map(|it| it["External_Id__c"].as_str().unwrap().to_owned()).collect();
    keys.sort_unstable();
    keys
}

#[tokio::test]
async fn a_backlog_goes_by_one_job_and_each_row_has_its_own_end() {
    let world = strict_org().await;
    let system = world.open(json!({}));
    let features = system.features(&world.spec());
    let bulk = features.bulk.expect("a bulk road");
    assert!(bulk.from > features.batch_max && bulk.max >= bulk.from);
    let destination = system.destination(&world.spec()).unwrap();
    let mut deliveries = people(2_500);
    deliveries[7] = delivery("bad", "n".into(), "no address".into());
    deliveries[8] = delivery("word", "#N/A".into(), Value::Null);
    deliveries[9] = delivery("K00010", "case alone".into(), Value::Null);
    world.forget_arrivals();
    let outcomes = write(&destination, &deliveries).await.unwrap();
    let arrivals = world.arrivals();
    println!("salesforce bulk: {} calls for {} creates", arrivals.len(), deliveries.len());
    assert!(arrivals.len() <= 12, "{arrivals:?}");
    for (at, outcome) in outcomes.iter().enumerate() {
        match at {
            7 => assert!(
                matches!(outcome, Outcome::Failed(fault) if fault.kind == FaultKind::Rejected
                && fault.message.contains("INVALID_EMAIL_ADDRESS")),
                "{outcome:?}"
            ),
            10 => assert!(matches!(outcome, Outcome::Failed(_)), "the field takes it for its neighbour"),
            _ => assert!(is_through(outcome), "{at}: {outcome:?}"),
        }
    }
    // The word that clears goes by JSON, where it is a word.
    let standing: BTreeMap<String, serde_json::Value> = world
        .standing()
        .into_iter()
        .map(|row| (row["External_Id__c"].as_str().unwrap().to_owned(), row))
        .collect();
    assert_eq!(standing["word"]["LastName"], "#N/A");
    assert_eq!(standing["k00042"]["LastName"], "Name, \"42\"");
    let ids: Vec<Option<String>> = outcomes
        .iter()
        .map(|outcome| match outcome {
            Outcome::Delivered { id, .. } => id.as_ref().map(|id| id.to_string()),
            _ => None,
        })
        .collect();
    for (delivery, id) in deliveries.iter().zip(&ids) {
        if let Some(id) = id {
            assert_eq!(standing[&delivery.key.to_string()]["Id"], id.as_str(), "each its own id");
        }
    }

    // Updates and deletions by id.
    let known: Vec<(Delivery, String)> =
        deliveries.into_iter().zip(ids).filter_map(|(delivery, id)| Some((delivery, id?))).collect();
    let edits: Vec<Delivery> = known
        .iter()
        .map(|(delivery, id)| Delivery {
            id: Some(id.as_str().into()),
            write: Write::Update(vec![Value::Absent, Value::Absent, "a@example.test".into()].into()),
            ..delivery.clone()
        })
        .collect();
    assert!(write(&destination, &edits).await.unwrap().iter().all(is_through));
    assert!(
        world.standing().iter().all(|row| row["Email"] == "a@example.test"),
        "and nothing else was touched"
    );
    assert!(world.standing().iter().all(|row| row["LastName"] != serde_json::Value::Null));
    let mut ends: Vec<Delivery> =
        edits.into_iter().map(|edit| Delivery { write: Write::Delete, ..edit }).collect();
    ends.push(Delivery {
        id: None,
        write: Write::Delete,
        ..delivery("nowhere", Value::Absent, Value::Absent)
    });
    let outcomes = write(&destination, &ends).await.unwrap();
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::Delivered { .. })));
    assert_eq!(world.standing().len(), 0);
}

#[tokio::test]
async fn a_job_whose_replies_are_lost_is_found_again() {
    for seed in 0..3_u64 {
        let world = strict_org().await;
        let destination = world.open(json!({})).destination(&world.spec()).unwrap();
        write(&destination, &people(1)).await.unwrap();
        // What is lost differs with the requests that went before.
        for _ in 0..seed {
            world.api("GET", "limits", "");
        }
        world.set_faults(r#"{"rate_lost_reply": 0.3}"#);
        let deliveries = people(2_100);
        let mut tries = 0;
        loop {
            tries += 1;
            assert!(tries < 40, "it never comes to an end");
            match write(&destination, &deliveries).await {
                Ok(outcomes) if outcomes.iter().all(is_through) => break,
                Ok(_) => {}
                Err(fault) => {
                    assert!(!matches!(fault.kind, FaultKind::Fatal | FaultKind::Rejected), "{fault}");
                }
            }
        }
        world.set_faults("{}");
        let mut keys = keys(&world);
        let all = keys.len();
        keys.dedup();
        assert_eq!((keys.len(), all), (2_100, 2_100), "none twice");
    }
}

#[tokio::test]
async fn nothing_is_written_while_a_job_of_an_earlier_process_is_at_work() {
    let world = strict_org().await;
    // Under the same user, as a process did that is no more.
    let made = world.api(
        "POST",
        "jobs/ingest",
        r#"{"object": "Contact", "operation": "upsert",
        "externalIdFieldName": "External_Id__c"}"#,
    );
    let id = body(&made)["id"].as_str().unwrap().to_owned();
    let token = world.login();
    let csv = "External_Id__c,LastName\nk00000,Old\n";
    let path = format!("/services/data/v61.0/jobs/ingest/{id}/batches");
    world.ask("PUT", &path, &[("authorization", &token), ("content-type", "text/csv")], csv);
    world.api("PATCH", &format!("jobs/ingest/{id}"), r#"{"state": "UploadComplete"}"#);

    let user = json!({"username": "sync@example.test", "password": "pa55word", "security_token": "sectoken"});
    let destination = world.open(user).destination(&world.spec()).unwrap();
    let mut waited = 0;
    let outcomes = loop {
        match write(&destination, &people(1)).await {
            Ok(outcomes) => break outcomes,
            Err(fault) => {
                assert!(matches!(fault.kind, FaultKind::Throttled { .. }), "{fault}");
                assert!(fault.message.contains(&id), "{fault}");
                waited += 1;
            }
        }
    };
    assert!(waited >= 1 && is_through(&outcomes[0]));
    assert_eq!(world.standing()[0]["LastName"], "Name, \"0\"", "the newer write is the last");
    // Others' jobs are nobody's business.
    let destination = world.open(json!({})).destination(&world.spec()).unwrap();
    let made = world.api("POST", "jobs/ingest", r#"{"object": "Contact", "operation": "insert"}"#);
    world.api(
        "PATCH",
        &format!("jobs/ingest/{}", body(&made)["id"].as_str().unwrap()),
        r#"{"state": "UploadComplete"}"#,
    );
    assert!(write(&destination, &people(1)).await.is_ok());
}

/// Reads all that a first read shows: (key, name, email) by id, and the pages that it came in.
async fn read_all(
    world: &World,
    settings: serde_json::Value,
    limit: usize,
) -> (BTreeMap<String, String>, usize) {
    let mut source = world.open(settings).source(&world.spec()).unwrap();
    let (mut found, mut pages, mut after): (_, _, Option<Cursor>) = (BTreeMap::new(), 0, None);
    loop {
        let page = source.read(after.as_ref(), limit, &call()).await.unwrap();
        pages += 1;
        assert!(page.changes.len() <= limit);
        for change in page.changes {
            let Change::Upsert(record) = change else { panic!("{change:?}") };
            let values: Vec<_> = NAMES.iter().map(|name| format!("{:?}", record.get(name))).collect();
            let stamp = record.meta.modified_at;
            let id = record.meta.id.unwrap().to_string();
            assert!(found.insert(id, format!("{values:?} {stamp:?}")).is_none(), "none twice");
        }
        after = page.cursor;
        source.ack(after.as_ref().unwrap()).await.unwrap();
        if page.end != End::More {
            return (found, pages);
        }
    }
}

#[tokio::test]
async fn a_long_first_read_comes_by_one_job_and_shows_what_pages_show() {
    let world = strict_org().await;
    let destination = world.open(json!({})).destination(&world.spec()).unwrap();
    // Several seconds, so that the order is not by id alone.
    for part in people(21_000).chunks(7_000).rev() {
        write(&destination, part).await.unwrap();
        world.advance(2);
    }
    world.advance(60);
    world.forget_arrivals();
    let (by_job, _) = read_all(&world, json!({}), 2_000).await;
    let job_calls = world.arrivals();
    world.forget_arrivals();
    let (by_pages, _) = read_all(&world, json!({"bulk": "never"}), 2_000).await;
    let page_calls = world.arrivals().len();
    println!("salesforce bulk: {} calls for 21000 rows, {page_calls} by pages", job_calls.len());
    assert_eq!(by_job.len(), 21_000);
    assert!(by_job == by_pages, "the same values to the letter");
    assert!(job_calls.len() <= 12, "{job_calls:?}");
    let left = |world: &World| body(&world.api("GET", "jobs/query", ""))["records"].clone();
    assert_eq!(left(&world), json!([]), "what was read to its end is not kept there");
    // What can't be read is left for pages, and not kept either.
    world.door.spoil("GET", "/results", 1, Deed::Pass);
    world.door.spoil("GET", "/results", 9, Deed::Refuse(404, "NOT_FOUND"));
    let (by_both, _) = read_all(&world, json!({}), 2_000).await;
    assert!(by_both == by_pages, "the same values to the letter");
    assert_eq!(left(&world), json!([]), "the job is of no use any more");
}

#[tokio::test]
async fn a_long_read_that_is_interrupted_goes_on_and_a_short_one_takes_no_job() {
    let world = strict_org().await;
    let destination = world.open(json!({})).destination(&world.spec()).unwrap();
    for part in people(20_500).chunks(10_250) {
        write(&destination, part).await.unwrap();
        world.advance(2);
    }
    world.advance(60);
    let mut source = world.open(json!({})).source(&world.spec()).unwrap();
    let mut after: Option<Cursor> = None;
    let mut seen = 0;
    for _ in 0..3 {
        let page = source.read(after.as_ref(), 2_000, &call()).await.unwrap();
        seen += page.changes.len();
        after = page.cursor;
    }
    // A new process: what is left is not worth a job any more.
    let mut source = world.open(json!({})).source(&world.spec()).unwrap();
    world.forget_arrivals();
    loop {
        let page = source.read(after.as_ref(), 2_000, &call()).await.unwrap();
        seen += page.changes.len();
        after = page.cursor;
        if page.end != End::More {
            break;
        }
    }
    assert_eq!(seen, 20_500);
    assert!(world.arrivals().iter().all(|line| !line.contains("jobs")), "{:?}", world.arrivals());
}

#[tokio::test]
async fn what_is_too_long_for_one_upload_goes_by_several() {
    const LONG: [&str; 3] = ["External_Id__c", "LastName", "Description"];
    const COUNT: usize = 4_500;
    // (what becomes of the opening of the second job, uploads, why)
    let cases = [
        (None, 2, "the few that are left after two jobs go by calls"),
        (Some(Deed::Refuse(503, "SERVER_UNAVAILABLE")), 1, "nothing goes past the one that failed"),
    ];
    for (spoilt, uploads, why) in cases {
        let world = strict_org().await;
        let destination = world.open(json!({})).destination(&world.spec()).unwrap();
        if let Some(deed) = spoilt {
            world.door.spoil("POST", "jobs/ingest", 1, Deed::Pass);
            world.door.spoil("POST", "jobs/ingest", 1, deed);
        }
        let text = "Long, \"longer\", longest. ".repeat(150);
        let of = |at: usize| delivery(&format!("k{at:05}"), "Name".into(), text.as_str().into());
        let batch = Batch { shape: Schema::new(LONG), deliveries: (0..COUNT).map(of).collect() };
        let outcomes = destination.write(&batch, &call()).await.unwrap();
        let through = outcomes.iter().take_while(|outcome| is_through(outcome)).count();
        let arrivals = world.arrivals();
        assert_eq!(arrivals.iter().filter(|line| line.contains("/batches")).count(), uploads, "{why}");
        assert_eq!(world.standing().len(), through, "{why}");
        match spoilt {
            None => assert_eq!(through, COUNT, "{why}"),
            Some(_) => assert!((2_000..2_300).contains(&through), "{why}: {through}"),
        }
        for outcome in outcomes.iter().skip(through) {
            let Outcome::Failed(fault) = outcome else { panic!("{why}: {outcome:?}") };
            assert!(!fault.may_have_happened && fault.kind == FaultKind::Transient, "{why}: {fault:?}");
        }
    }
}
