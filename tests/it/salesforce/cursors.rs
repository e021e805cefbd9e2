//! Cursors that cannot lose: late saves, odd clocks, an org that was put back.

use record_sync::connectors::mock::MockSettings;
use record_sync::connectors::{End, Source};
use record_sync::engine::fault::{Fault, FaultCode, FaultKind};
use record_sync::engine::reading::Overlap;
use record_sync::engine::record::{Change, Cursor};
use serde_json::json;

use super::{World, open_org, world};
use crate::conformance::{Follower, Harness, Row, call};

/// Reads one pass, as far as it goes.
pub(super) async fn pass(
    source: &mut dyn Source,
    mut cursor: Option<Cursor>,
) -> Result<(Vec<Change>, Option<Cursor>), Fault> {
    let mut changes = Vec::new();
    loop {
        let page = source.read(cursor.as_ref(), 100, &call()).await?;
        changes.extend(page.changes);
        cursor = page.cursor.or(cursor);
        if let Some(cursor) = &cursor {
            source.ack(cursor).await?;
        }
        if page.end != End::More {
            return Ok((changes, cursor));
        }
    }
}

pub(super) fn names(changes: &[Change]) -> Vec<String> {
    let name = |change: &Change| match change {
        Change::Upsert(record) => record.get("name").to_plain().map(String::from).unwrap_or_default(),
        other => format!("{other:?}"),
    };
    changes.iter().map(name).collect()
}

fn now(world: &World) -> i64 {
    world.now.load(std::sync::atomic::Ordering::SeqCst)
}

#[tokio::test]
async fn a_thousand_rows_of_one_second_over_pages_of_a_hundred() {
    let world = open_org().await;
    world.insert(&(0..1000).map(Row::numbered).collect::<Vec<_>>()).await;
    let mut follower = Follower::new(&world);
    follower.pass(100).await;
    assert_eq!((follower.changes, follower.believed().len()), (1000, 1000));
    // All of them again, within one second, as a later pass.
    world.advance(600);
    world.update(&(0..1000).map(|at| Row::new(Row::numbered(at).key, "again", "")).collect::<Vec<_>>()).await;
    follower.pass(100).await;
    assert_eq!(follower.changes, 1000);
    assert!(follower.believed().iter().all(|row| row.name == "again"));
}

#[tokio::test]
async fn a_save_that_shows_late_is_met_within_the_overlap() {
    let world = open_org().await;
    world.insert(&(0..20).map(Row::numbered).collect::<Vec<_>>()).await;
    let system = world.open(json!({"overlap_seconds": 60}));
    let mut source = system.source(&world.spec()).unwrap();
    let (_, mut cursor) = pass(&mut *source, None).await.unwrap();
    // (how late, why)
    for (late, why) in [(1, "a second"), (30, "half of the overlap"), (59, "nearly all of it")] {
        world.advance(100);
        world.set_faults("{}");
        world.update(&[Row::new("k00001", format!("newest {late}"), "")]).await;
        let (changes, next) = pass(&mut *source, cursor).await.unwrap();
        assert_eq!(names(&changes), [format!("newest {late}")], "{why}");
        world.set_faults(&json!({"stamp_ms": now(&world) - late * 1000}).to_string());
        world.update(&[Row::new("k00002", format!("late {late}"), "")]).await;
        let (changes, next) = pass(&mut *source, next).await.unwrap();
        assert_eq!(names(&changes), [format!("late {late}")], "{why}");
        cursor = next;
    }
}

#[tokio::test]
async fn whatever_the_clock_of_the_org_says_its_edits_are_seen() {
    // (its clock at first, then, why)
    let cases = [
        (3_600_000, 3_600_000, "an hour ahead of ours"),
        (-3_600_000, -3_600_000, "an hour behind"),
        (0, -3_600_000, "steps back by an hour"),
        (3_600_000, 0, "is set right"),
        (0, 3_600_000, "leaps ahead"),
    ];
    for (first, then, why) in cases {
        let world = open_org().await;
        world.set_faults(&json!({"clock_ms": first}).to_string());
        world.insert(&(0..20).map(Row::numbered).collect::<Vec<_>>()).await;
        let mut follower = Follower::new(&world);
        follower.pass(7).await;
        world.advance(10);
        world.set_faults(&json!({"clock_ms": then}).to_string());
        for step in 0..6 {
            world.advance(5);
            world.update(&[Row::new(format!("k{step:05}"), "stepped", "")]).await;
            // The first look after the step learns of it.
            follower.pass(7).await;
            follower.pass(7).await;
            assert_eq!(follower.believed(), sorted(world.read_all().await), "{why}, step {step}");
        }
        // Also where the newest row of all goes.
        world.delete(&["k00005".to_owned()]).await;
        follower.pass(7).await;
        follower.pass(7).await;
        assert_eq!(follower.believed(), sorted(world.read_all().await), "{why}");
    }
}

fn sorted(mut rows: Vec<Row>) -> Vec<Row> {
    rows.sort();
    rows
}

#[tokio::test]
async fn an_org_that_was_put_back_is_named() {
    for (rows, written_since) in [(3, 0), (3, 2), (30, 0), (30, 2)] {
        let folder = tempfile::tempdir().unwrap();
        let settings =
            |file: &str| MockSettings { data: Some(folder.path().join(file)), ..MockSettings::default() };
        let names = ["record_id", "name", "email"];
        let org = world(settings("org.sqlite"), names).await;
        org.insert(&(0..rows).map(Row::numbered).collect::<Vec<_>>()).await;
        copy(&folder, "org.sqlite", "backup.sqlite");
        let mut source = org.system().source(&org.spec()).unwrap();
        let (_, mut cursor) = pass(&mut *source, None).await.unwrap();
        for step in 0..rows {
            org.advance(100);
            org.update(&[Row::new(Row::numbered(step).key, "later", "")]).await;
            cursor = pass(&mut *source, cursor).await.unwrap().1;
        }
        org.advance(1000);
        let back = world(settings("backup.sqlite"), names).await;
        back.now.store(now(&org), std::sync::atomic::Ordering::SeqCst);
        for step in 0..written_since {
            back.insert(&[Row::numbered(100 + step)]).await;
        }
        let mut source = back.system().source(&back.spec()).unwrap();
        let fault = pass(&mut *source, cursor).await.expect_err("put back");
        assert_eq!((fault.kind.clone(), fault.code), (FaultKind::Fatal, FaultCode::Restored), "{fault}");
        assert!(fault.message.contains("ahead of the data of Contact"), "{fault}");
        let (changes, cursor) = pass(&mut *source, None).await.unwrap();
        assert_eq!(changes.len(), rows + written_since);
        assert!(pass(&mut *source, cursor).await.unwrap().0.is_empty());
    }
}

#[tokio::test]
async fn rows_that_are_gone_for_good_are_no_backup() {
    let folder = tempfile::tempdir().unwrap();
    let settings =
        |file: &str| MockSettings { data: Some(folder.path().join(file)), ..MockSettings::default() };
    let names = ["record_id", "name", "email"];
    let org = world(settings("org.sqlite"), names).await;
    org.insert(&(0..20).map(Row::numbered).collect::<Vec<_>>()).await;
    let mut source = org.system().source(&org.spec()).unwrap();
    let (_, cursor) = pass(&mut *source, None).await.unwrap();
    org.advance(600);
    // Twelve that come and are emptied from the bin, without a trace: the newest that were read.
    copy(&folder, "org.sqlite", "without.sqlite");
    org.insert(&(50..55).map(Row::numbered).collect::<Vec<_>>()).await;
    let (_, cursor) = pass(&mut *source, cursor).await.unwrap();
    let without = world(settings("without.sqlite"), names).await;
    without.now.store(now(&org) + 60_000, std::sync::atomic::Ordering::SeqCst);
    let mut source = without.system().source(&without.spec()).unwrap();
    let (changes, cursor) = pass(&mut *source, cursor).await.unwrap();
    assert!(changes.is_empty(), "{changes:?}");
    without.forget_arrivals();
    pass(&mut *source, cursor).await.unwrap();
    assert_eq!(without.arrivals().len(), 1, "and they are not asked for again");
}

/// Copies a mock's data as it stands.
fn copy(folder: &tempfile::TempDir, from: &str, to: &str) {
    let to = folder.path().join(to);
    let conn = rusqlite::Connection::open(folder.path().join(from)).unwrap();
    conn.execute("VACUUM INTO ?1", [to.to_str().unwrap()]).unwrap();
}

#[tokio::test]
async fn an_overlap_that_was_stretched_reaches_further_back() {
    let world = open_org().await;
    world.insert(&(0..20).map(Row::numbered).collect::<Vec<_>>()).await;
    let system = world.open(json!({"overlap_seconds": 60}));
    let mut source = system.source(&world.spec()).unwrap();
    let (_, cursor) = pass(&mut *source, None).await.unwrap();
    world.advance(1000);
    world.update(&[Row::new("k00001", "newest", "")]).await;
    let (_, cursor) = pass(&mut *source, cursor).await.unwrap();
    let cursor = cursor.unwrap();
    let reach = source.reach(&cursor).unwrap();
    assert_eq!((reach.newest.0, reach.newest.since(reach.from).as_secs()), (now(&world), 60));
    let learnt = Overlap { learnt_ms: 600_000, late_ms: 300_000 };
    let cursor = source.with_overlap(&cursor, learnt).unwrap();
    let (_, cursor) = pass(&mut *source, Some(cursor)).await.unwrap();
    let reach = source.reach(cursor.as_ref().unwrap()).unwrap();
    assert_eq!((reach.overlap, reach.newest.since(reach.from).as_secs()), (learnt, 600));
    world.set_faults(&json!({"stamp_ms": now(&world) - 500_000}).to_string());
    world.update(&[Row::new("k00002", "very late", "")]).await;
    let (changes, _) = pass(&mut *source, cursor).await.unwrap();
    assert_eq!(names(&changes), ["very late"]);
}
