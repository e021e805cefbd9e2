//! W6b: durable jobs through enqueue, lease and settle, every commit on the disk before it is answered, beside
//! the least that a table of jobs can be asked to do in transactions of the same sizes.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use record_sync::engine::job::{JobState, Origin};
use record_sync::engine::record::{Direction, Key, Timestamp};
use record_sync::store::sqlite::{Durability, SqliteOptions, SqliteStore};
use record_sync::store::{LeaseRequest, Leased, NewJob, Settlement, Store, Transition};
use rusqlite::Connection;

use super::Size;
use super::line::{Line, tell_round};
use super::measure::{Run, median};

/// Callers that wait for their job to be durable, one after the other each.
const CALLERS: usize = 64;
/// Jobs that a worker claims and settles at a time.
const BATCH: usize = 100;

/// What one run showed.
#[derive(Clone, Copy)]
struct Waited {
    elapsed: Duration,
    /// How long a caller waited, in 95 of 100 cases.
    p95: Duration,
}

/// Measures jobs beside the commit ceiling.
pub fn measure(folder: &Path, size: &Size, tell: &mut dyn FnMut(Line)) {
    let count = size.of("JOBS", 100_000);
    let (mut bares, mut syncs, mut waits) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..size.rounds {
        bares.push(Run::of(bare(folder, count)));
        let waited = run(folder, count);
        syncs.push(Run::of(waited.elapsed));
        waits.push(waited.p95);
        tell_round("W6b", round, &syncs[round], Some(&bares[round]));
    }
    waits.sort_unstable();
    tell(Line {
        name: "W6b",
        what: "durable jobs: enqueue, lease, settle".to_owned(),
        count,
        sync: median(&mut syncs),
        bare: Some(median(&mut bares)),
        more: format!("p95 of a caller {:.1} ms", waits[waits.len() / 2].as_secs_f64() * 1e3),
    });
}

/// Takes so many jobs through the store.
fn run(folder: &Path, jobs: usize) -> Waited {
    let path = folder.join("jobs.sqlite");
    clean(&path);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let run = runtime.block_on(through(&path, jobs));
    drop(runtime);
    let counted = Connection::open(&path).expect("the state").query_row(
        "SELECT count(*) FROM jobs WHERE state = 5",
        [],
        |row| row.get::<_, i64>(0),
    );
    assert_eq!(counted.expect("a count") as usize, jobs, "every job was settled");
    run
}

async fn through(path: &Path, jobs: usize) -> Waited {
    let options = SqliteOptions { durability: Durability::Full, ..SqliteOptions::default() };
    let store: Arc<dyn Store> = Arc::new(SqliteStore::open(path, options).expect("a state"));
    let link = store.link("default", "bench").await.expect("a link").id;
    let begun = Instant::now();
    let callers: Vec<_> = (0..CALLERS)
        .map(|caller| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                let mut waits = Vec::with_capacity(jobs / CALLERS + 1);
                for number in (caller..jobs).step_by(CALLERS) {
                    let asked = Instant::now();
                    store.enqueue(link, job(number), None, Timestamp(1)).await.expect("a job");
                    waits.push(asked.elapsed());
                }
                waits
            })
        })
        .collect();
    let mut settled = 0;
    while settled < jobs {
        let request = LeaseRequest {
            direction: Direction::AToB,
            owner: "bench".to_owned(),
            now: Timestamp(2),
            until: Timestamp(1_000_000),
            limit: BATCH,
        };
        let leased = store.lease(link, request).await.expect("a lease");
        if leased.is_empty() {
            tokio::task::yield_now().await;
            continue;
        }
        settled += leased.len();
        let settlements = leased.into_iter().map(through_with).collect();
        let told = store.settle(link, settlements, Timestamp(3)).await.expect("a settlement");
        assert!(told.lost.is_empty() && told.stale.is_empty(), "{told:?}");
    }
    let elapsed = begun.elapsed();
    let mut waits = Vec::with_capacity(jobs);
    for caller in callers {
        waits.extend(caller.await.expect("a caller"));
    }
    waits.sort_unstable();
    Waited { elapsed, p95: waits[waits.len() * 95 / 100] }
}

fn job(number: usize) -> NewJob {
    NewJob {
        direction: Direction::AToB,
        key: Key::from_text(&number.to_string()).expect("a key"),
        origin: Origin::Asked,
        priority: 0,
        due_at: Timestamp(1),
        attempts_max: 0,
        rules_version: 1,
        correlation_id: format!("bench-{number}"),
        payload: Some("{\"payload_version\":1}".to_owned()),
        replay_of: None,
        state: JobState::Pending,
        error: None,
    }
}

fn through_with(Leased { job, pair }: Leased) -> Settlement {
    Settlement {
        job_id: job.id,
        fence: job.lease.map_or(0, |lease| lease.fence),
        transition: Transition::Synced,
        pair,
        forget: false,
        history: Vec::new(),
        reason: None,
        answered: Vec::new(),
    }
}

/// The commit ceiling: one insert and two updates a job, as many in a transaction as callers wait at once or a
/// worker claims.
fn bare(folder: &Path, jobs: usize) -> Duration {
    let path = folder.join("bare.sqlite");
    clean(&path);
    let mut database = Connection::open(&path).expect("a database");
    database
        .execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
             CREATE TABLE jobs (id INTEGER PRIMARY KEY, key BLOB, state INTEGER, due INTEGER, payload TEXT);
             CREATE UNIQUE INDEX active ON jobs (key) WHERE state < 5;
             CREATE INDEX due ON jobs (due) WHERE state = 0;",
        )
        .expect("a table");
    let begun = Instant::now();
    let numbers: Vec<usize> = (0..jobs).collect();
    for wave in numbers.chunks(CALLERS * BATCH) {
        for some in wave.chunks(CALLERS) {
            let insert = "INSERT INTO jobs VALUES (?1, ?2, 0, 1, '{\"payload_version\":1}')";
            each(&mut database, insert, some, |number| (number as i64, number.to_string().into_bytes()));
        }
        for some in wave.chunks(BATCH) {
            for state in [1, 5] {
                let update = "UPDATE jobs SET state = ?2 WHERE id = ?1";
                each(&mut database, update, some, |number| (number as i64, state));
            }
        }
    }
    begun.elapsed()
}

fn each<P: rusqlite::Params>(
    database: &mut Connection,
    sql: &str,
    numbers: &[usize],
    bind: impl Fn(usize) -> P,
) {
    let transaction = database.transaction().expect("a transaction");
    {
        let mut statement = transaction.prepare_cached(sql).expect("a statement");
        for &number in numbers {
            statement.execute(bind(number)).expect("a row");
        }
    }
    transaction.commit().expect("a commit");
}

fn clean(path: &Path) {
    for ending in ["", "-wal", "-shm", ".lock"] {
        let _ = std::fs::remove_file(format!("{}{ending}", path.display()));
    }
}
