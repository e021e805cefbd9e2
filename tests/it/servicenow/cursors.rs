//! Cursors that cannot lose: late saves, odd clocks, a service that was put back.

use super::*;
use crate::conformance::Follower;
use record_sync::connectors::Source;
use record_sync::engine::reading::Overlap;
use serde_json::json;

async fn pass(
    source: &mut dyn Source,
    mut cursor: Option<Cursor>,
) -> Result<(Vec<String>, Option<Cursor>), Fault> {
    let mut keys = Vec::new();
    loop {
        let page = source.read(cursor.as_ref(), 100, &call()).await?;
        for change in &page.changes {
            match change {
                Change::Upsert(record) => {
                    keys.push(record.get("name").to_plain().unwrap_or_default().to_string())
                }
                // Told by the audit.
                Change::Delete(_) => {}
                other => panic!("{other:?}"),
            }
        }
        cursor = page.cursor.or(cursor);
        if let Some(decided) = &cursor {
            source.ack(decided).await?;
        }
        if page.end != End::More {
            return Ok((keys, cursor));
        }
    }
}

fn sorted(mut rows: Vec<Row>) -> Vec<Row> {
    rows.sort();
    rows
}

impl World {
    fn time(&self) -> i64 {
        self.now.load(Ordering::SeqCst)
    }

    fn advance(&self, seconds: i64) {
        self.now.fetch_add(seconds * 1000, Ordering::SeqCst);
    }

    fn set(&self, faults: serde_json::Value) {
        assert_eq!(self.ask("PUT", "/__admin/faults", "", &faults.to_string()).status, 200);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_records_of_one_stamp_over_pages_of_a_hundred() {
    let world = loose().await;
    world.set(json!({"stamp_ms": world.time()}));
    world.insert(&(0..1000).map(Row::numbered).collect::<Vec<_>>()).await;
    world.advance(600);
    let mut follower = Follower::new(&world);
    follower.pass(100).await;
    assert_eq!((follower.changes, follower.believed().len()), (1000, 1000));
    world.set(json!({"stamp_ms": world.time()}));
    world.update(&(0..1000).map(|at| Row::new(Row::numbered(at).key, "again", "")).collect::<Vec<_>>()).await;
    follower.pass(100).await;
    assert!(follower.believed().iter().all(|row| row.name == "again"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_save_that_shows_late_is_met_within_the_overlap() {
    let world = loose().await;
    world.insert(&(0..20).map(Row::numbered).collect::<Vec<_>>()).await;
    let mut source = world.system().source(&world.spec).unwrap();
    let (_, mut cursor) = pass(&mut *source, None).await.unwrap();
    for late in [1, 2, 4] {
        world.advance(100);
        world.set(json!({}));
        world.update(&[Row::new("k00001", format!("newest {late}"), "")]).await;
        let (shown, next) = pass(&mut *source, cursor).await.unwrap();
        assert!(shown.contains(&format!("newest {late}")), "{shown:?}");
        world.set(json!({"stamp_ms": world.time() - late * 1000}));
        world.update(&[Row::new("k00002", format!("late {late}"), "")]).await;
        let (shown, next) = pass(&mut *source, next).await.unwrap();
        assert!(shown.contains(&format!("late {late}")), "{shown:?}");
        cursor = next;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_the_clock_of_the_service_says_its_edits_are_seen() {
    // (its clock at first, then, why)
    let cases = [
        (3_600_000, 3_600_000, "an hour ahead of ours"),
        (-3_600_000, -3_600_000, "an hour behind"),
        (0, -3_600_000, "steps back by an hour"),
        (3_600_000, 0, "is set right"),
        (0, 3_600_000, "leaps ahead"),
    ];
    for (first, then, why) in cases {
        let world = loose().await;
        world.set(json!({"clock_ms": first}));
        world.insert(&(0..20).map(Row::numbered).collect::<Vec<_>>()).await;
        let mut follower = Follower::new(&world);
        follower.pass(7).await;
        world.advance(10);
        world.set(json!({"clock_ms": then}));
        for step in 0..6 {
            world.advance(5);
            world.update(&[Row::new(format!("k{step:05}"), "stepped", "")]).await;
            // The first look after the step learns of it.
            follower.pass(7).await;
            follower.pass(7).await;
            assert_eq!(follower.believed(), sorted(world.read_all().await), "{why}, step {step}");
        }
        world.delete(&["k00005".to_owned()]).await;
        follower.pass(7).await;
        assert_eq!(follower.believed(), sorted(world.read_all().await), "{why}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_that_was_put_back_is_named() {
    for (rows, written_since) in [(3, 0), (3, 2), (30, 0), (30, 2)] {
        let folder = tempfile::tempdir().unwrap();
        let open = async |file: &str| {
            let data = Some(folder.path().join(file));
            let settings = MockSettings { data, ..MockSettings::default() };
            world(settings, spec("incident", "record_id"), ["record_id", "name", "email"]).await
        };
        let there = open("service.sqlite").await;
        there.insert(&(0..rows).map(Row::numbered).collect::<Vec<_>>()).await;
        copy(&folder, "service.sqlite", "backup.sqlite");
        let mut source = there.system().source(&there.spec).unwrap();
        let (_, mut cursor) = pass(&mut *source, None).await.unwrap();
        for step in 0..rows {
            there.advance(100);
            there.update(&[Row::new(Row::numbered(step).key, "later", "")]).await;
            cursor = pass(&mut *source, cursor).await.unwrap().1;
        }
        there.advance(1000);
        let (_, cursor) = pass(&mut *source, cursor).await.unwrap();
        let back = open("backup.sqlite").await;
        back.now.store(there.time(), Ordering::SeqCst);
        back.insert(&(100..100 + written_since).map(Row::numbered).collect::<Vec<_>>()).await;
        let mut source = back.system().source(&back.spec).unwrap();
        let fault = pass(&mut *source, cursor).await.expect_err("put back");
        assert_eq!((fault.kind.clone(), fault.code), (FaultKind::Fatal, FaultCode::Restored), "{fault}");
        assert!(fault.message.contains("ahead of the data of incident"), "{fault}");
        let (shown, cursor) = pass(&mut *source, None).await.unwrap();
        assert_eq!(shown.len(), rows + written_since);
        pass(&mut *source, cursor).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deleted_records_are_no_backup_and_are_not_asked_for_again() {
    let world = loose().await;
    world.insert(&(0..20).map(Row::numbered).collect::<Vec<_>>()).await;
    let mut source = world.system().source(&world.spec).unwrap();
    let (_, cursor) = pass(&mut *source, None).await.unwrap();
    world.advance(600);
    let (_, cursor) = pass(&mut *source, cursor).await.unwrap();
    // The newest, and so many that only two witnesses are left.
    world.delete(&(14..20).map(|at| Row::numbered(at).key).collect::<Vec<_>>()).await;
    world.arrivals();
    let (shown, cursor) = pass(&mut *source, cursor).await.unwrap();
    assert!(shown.is_empty(), "{shown:?}");
    assert_eq!(world.arrivals().len(), 3, "deletions, records, and the witnesses are asked for");
    pass(&mut *source, cursor).await.unwrap();
    assert_eq!(world.arrivals().len(), 2, "once");
}

/// Copies a mock's data as it stands.
fn copy(folder: &tempfile::TempDir, from: &str, to: &str) {
    let to = folder.path().join(to);
    let conn = rusqlite::Connection::open(folder.path().join(from)).unwrap();
    conn.execute("VACUUM INTO ?1", [to.to_str().unwrap()]).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_overlap_that_was_stretched_reaches_further_back() {
    let world = loose().await;
    world.insert(&(0..20).map(Row::numbered).collect::<Vec<_>>()).await;
    let mut source = world.system().source(&world.spec).unwrap();
    let (_, cursor) = pass(&mut *source, None).await.unwrap();
    world.advance(1000);
    world.update(&[Row::new("k00001", "newest", "")]).await;
    let (_, cursor) = pass(&mut *source, cursor).await.unwrap();
    let learnt = Overlap { learnt_ms: 600_000, late_ms: 300_000 };
    let cursor = source.with_overlap(&cursor.unwrap(), learnt).unwrap();
    let (_, cursor) = pass(&mut *source, Some(cursor)).await.unwrap();
    let reach = source.reach(cursor.as_ref().unwrap()).unwrap();
    let behind = reach.newest.since(reach.from).as_secs();
    assert!(reach.overlap == learnt && (590..720).contains(&behind), "{reach:?}");
    world.set(json!({"stamp_ms": world.time() - 500_000}));
    world.update(&[Row::new("k00002", "very late", "")]).await;
    let (shown, _) = pass(&mut *source, cursor).await.unwrap();
    assert!(shown.contains(&"very late".to_owned()), "{shown:?}");
}
