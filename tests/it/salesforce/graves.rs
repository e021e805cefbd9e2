//! What was purged from the bin before it was looked at is told by the log of deletions.

use record_sync::connectors::Source;
use record_sync::engine::fault::FaultKind;
use record_sync::engine::record::{Change, Cursor};
use serde_json::json;

use super::cursors::{names, pass};
use super::door::Deed;
use super::{World, open_org};
use crate::conformance::{Harness, Row, call};

const LOG: &str = "GET /sobjects/Contact/deleted/ 200 0";
const ROWS: &str = "GET /queryAll 200 0";
const LOOK: &str = "POST /composite/sobjects/Contact 200 0";

/// An org with thirty records and somebody who has read them.
async fn org() -> (World, Box<dyn Source>, Option<Cursor>) {
    let world = open_org().await;
    world.insert(&(0..30).map(Row::numbered).collect::<Vec<_>>()).await;
    let (source, cursor) = begin(&world, None).await;
    (world, source, cursor)
}

/// Starts a process that reads one pass.
async fn begin(world: &World, cursor: Option<Cursor>) -> (Box<dyn Source>, Option<Cursor>) {
    let mut source = world.system().source(&world.spec()).unwrap();
    let (_, cursor) = pass(&mut *source, cursor).await.unwrap();
    (source, cursor)
}

/// The tombstones that name no key, by id.
fn graves(changes: &[Change]) -> Vec<String> {
    let id = |change: &Change| match change {
        Change::Delete(gone) if gone.key.is_none() => gone.id.as_ref().map(ToString::to_string),
        _ => None,
    };
    changes.iter().filter_map(id).collect()
}

fn key(at: usize) -> String {
    Row::numbered(at).key
}

fn asked(world: &World) -> usize {
    world.arrivals().iter().filter(|line| line.contains("/deleted/")).count()
}

#[tokio::test]
async fn what_is_purged_between_two_polls_is_told_once_and_costs_two_calls() {
    let (world, mut source, mut cursor) = org().await;
    let ids = world.ids();
    world.advance(60);
    world.purge(&[key(20)]).await;
    // (seconds on, tombstones, calls, why)
    let steps: [(i64, usize, &[&str], &str); 8] = [
        (5, 0, &[ROWS], "too early for a question"),
        (600, 1, &[ROWS, LOG, LOOK], "the log tells"),
        (5, 0, &[ROWS], "it is told"),
        (300, 0, &[ROWS], "and not asked for again so soon"),
        (300, 0, &[ROWS, LOG], "the log tells again what is decided"),
        (600, 0, &[ROWS, LOG], "nothing new"),
        (590, 0, &[ROWS], "too early for a question"),
        (10, 0, &[ROWS, LOG], "a question every ten minutes"),
    ];
    for (seconds, told, calls, why) in steps {
        world.advance(seconds);
        world.forget_arrivals();
        let (changes, next) = pass(&mut *source, cursor).await.unwrap();
        let expected = if told > 0 { vec![ids[&key(20)].clone()] } else { Vec::new() };
        assert_eq!((graves(&changes), changes.len()), (expected, told), "{why}");
        assert_eq!(world.arrivals(), calls, "{why}");
        cursor = next;
    }
}

#[tokio::test]
async fn what_was_purged_while_nobody_looked_is_told_after_the_start() {
    // (seconds, is told, why)
    let cases = [
        (120, true, "a short stop"),
        (3 * 86_400, true, "some days"),
        (14 * 86_400, true, "within the log's reach"),
        (20 * 86_400, false, "out of the log's reach: the audit finds it"),
    ];
    for (seconds, is_told, why) in cases {
        let (world, source, cursor) = org().await;
        drop(source);
        let ids = world.ids();
        world.advance(60);
        world.purge(&[key(3)]).await;
        world.advance(seconds);
        world.update(&[Row::new(key(5), "edited", "")]).await;
        let mut source = world.system().source(&world.spec()).unwrap();
        let (changes, _) = pass(&mut *source, cursor).await.unwrap();
        let expected = if is_told { vec![ids[&key(3)].clone()] } else { Vec::new() };
        assert_eq!(graves(&changes), expected, "{why}");
        let edited = names(&changes[expected.len()..]);
        assert!(edited.contains(&"edited".to_owned()), "rows follow the tombstones, {why}: {edited:?}");
    }
}

#[tokio::test]
async fn who_never_acknowledged_is_told_again() {
    let (world, mut source, cursor) = org().await;
    world.advance(60);
    world.purge(&[key(3)]).await;
    world.advance(600);
    for _ in 0..3 {
        let page = source.read(cursor.as_ref(), 100, &call()).await.unwrap();
        assert_eq!(graves(&page.changes).len(), 1);
    }
    assert_eq!(asked(&world), 1, "the log is asked once for all that");
    let (changes, cursor) = pass(&mut *source, cursor).await.unwrap();
    assert_eq!(graves(&changes).len(), 1);
    assert_eq!(pass(&mut *source, cursor).await.unwrap().0.len(), 0);
}

#[tokio::test]
async fn many_come_by_portions_of_one_call_each() {
    let world = open_org().await;
    world.insert(&(0..300).map(Row::numbered).collect::<Vec<_>>()).await;
    let (mut source, mut cursor) = begin(&world, None).await;
    world.advance(60);
    world.purge(&(0..250).map(key).collect::<Vec<_>>()).await;
    world.advance(600);
    for (told, calls) in [(100, 3), (100, 2), (50, 2), (0, 1)] {
        world.forget_arrivals();
        let (changes, next) = pass(&mut *source, cursor).await.unwrap();
        let queries = world.arrivals().iter().filter(|line| line.contains("queryAll")).count();
        assert_eq!((graves(&changes).len(), world.arrivals().len() - queries + 1), (told, calls));
        cursor = next;
    }
}

#[tokio::test]
async fn a_record_that_lives_is_never_taken_for_a_dead_one() {
    let (world, mut source, mut cursor) = org().await;
    let ids = world.ids();
    let id = |at: usize| ids[&key(at)].clone();
    let told = |ids: &[&str]| -> Deed {
        let entry = |id: &&str| json!({"id": id, "deletedDate": "2026-01-31T10:01:00.000+0000"}).to_string();
        let list = ids.iter().map(entry).collect::<Vec<_>>().join(",");
        Deed::Rewrite("\"deletedRecords\":[]", format!("\"deletedRecords\":[{list}]").leak())
    };
    world.advance(60);
    // Taken out of the bin again before anybody asked.
    world.delete(&[key(3)]).await;
    let restored = world.ask("POST", &format!("/__admin/bin/Contact/{}", id(3)), &[], "");
    assert_eq!(restored.status, 204);
    world.advance(600);
    // The log tells of it all the same, and of one that was not touched for long, under its short id.
    world.door.spoil("GET", "/deleted/", 1, told(&[&id(3), &id(4)[..15]]));
    let (changes, next) = pass(&mut *source, cursor).await.unwrap();
    assert_eq!((graves(&changes), names(&changes)), (Vec::new(), vec!["Name 3".to_owned()]));
    cursor = next;
    // Purged, and told of under a short id.
    world.purge(&[key(4)]).await;
    world.advance(600);
    let long: &'static str = id(4).leak();
    world.door.spoil("GET", "/deleted/", 1, Deed::Rewrite(long, &long[..15]));
    let (changes, next) = pass(&mut *source, cursor).await.unwrap();
    assert_eq!(graves(&changes), [long]);
    // Told together with its row: the row has the key.
    world.delete(&[key(5)]).await;
    world.advance(600);
    let (changes, _) = pass(&mut *source, next).await.unwrap();
    assert!(matches!(changes.as_slice(), [Change::Delete(gone)] if gone.key.is_some()), "{changes:?}");
}

#[tokio::test]
async fn a_question_that_is_refused_stops_no_reading() {
    const DAY: i64 = 86_400;
    // (refusal, when it is asked again, why)
    let cases = [
        (400, "INVALID_REPLICATION_DATE", 600, "the span begins too early"),
        (400, "EXCEEDED_ID_LIMIT", 600, "too many ids"),
        (404, "NOT_FOUND", DAY, "no such resource"),
        (400, "INVALID_TYPE", DAY, "an object without a log"),
        (403, "INSUFFICIENT_ACCESS", DAY, "not for our user"),
    ];
    for (status, code, again, why) in cases {
        let (world, mut source, mut cursor) = org().await;
        world.advance(540);
        world.purge(&[key(3)]).await;
        world.update(&[Row::new(key(5), "edited", "")]).await;
        world.door.spoil("GET", "/deleted/", 1, Deed::Refuse(status, code));
        world.advance(60);
        // (seconds on, what comes, questions that got through)
        let steps = [(0, vec!["edited"], 0), (5, vec![], 0), (again - 10, vec![], 0), (5, vec!["grave"], 1)];
        for (seconds, comes, questions) in steps {
            world.advance(seconds);
            world.forget_arrivals();
            let (changes, next) = pass(&mut *source, cursor).await.unwrap();
            let came: Vec<String> = match graves(&changes).len() {
                0 => names(&changes),
                graves => vec!["grave".to_owned(); graves],
            };
            assert_eq!(
                (came, asked(&world)),
                (comes.iter().map(|it| (*it).to_owned()).collect(), questions),
                "{why}"
            );
            cursor = next;
        }
    }
}

#[tokio::test]
async fn other_faults_are_those_of_any_call() {
    // (refusal, what the read says, why)
    let cases = [
        (503, "SERVER_UNAVAILABLE", Some("transient"), "a service that is away"),
        (429, "REQUEST_LIMIT_EXCEEDED", Some("throttled"), "too many calls"),
        (401, "INVALID_SESSION_ID", None, "a token that ran out is got anew"),
    ];
    for (status, code, says, why) in cases {
        let (world, mut source, cursor) = org().await;
        world.advance(60);
        world.purge(&[key(3)]).await;
        world.advance(600);
        world.door.spoil("GET", "/deleted/", 1, Deed::Refuse(status, code));
        if let Some(says) = says {
            let fault = source.read(cursor.as_ref(), 100, &call()).await.expect_err(why);
            let said = if fault.kind == FaultKind::Transient { "transient" } else { "throttled" };
            assert_eq!(said, says, "{why}: {fault}");
        }
        let (changes, _) = pass(&mut *source, cursor).await.unwrap();
        assert_eq!(graves(&changes).len(), 1, "{why}");
    }
}

#[tokio::test]
async fn an_object_without_a_log_is_not_asked() {
    let world = open_org().await;
    let unlogged = Deed::Rewrite("\"replicateable\":true", "\"replicateable\":false");
    world.door.spoil("GET", "/describe", 100, unlogged);
    world.insert(&(0..30).map(Row::numbered).collect::<Vec<_>>()).await;
    let (mut source, cursor) = begin(&world, None).await;
    world.advance(60);
    world.purge(&[key(3)]).await;
    world.advance(600);
    let (changes, _) = pass(&mut *source, cursor).await.unwrap();
    assert_eq!((changes.len(), asked(&world)), (0, 0));
}
