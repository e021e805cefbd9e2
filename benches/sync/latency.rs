//! W7: from a commit at the source to the arrival at a service, at a steady rate of changes.

use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::daemon::Daemon;
use super::line::Line;
use super::measure::Run;
use super::service::Service;
use super::{Size, data};

/// Changes a second, and how many of them share a commit.
const RATES: [(&str, usize, usize); 2] = [("W7", 100, 1), ("W7 fast", 3_500, 35)];
/// Records that stand in the table before.
const ROWS: usize = 10_000;

/// Measures those that are wanted.
pub fn measure(folder: &Path, service: &Service, size: &Size, tell: &mut dyn FnMut(Line)) {
    for (name, rate, together) in RATES {
        if !size.is_wanted(name) {
            continue;
        }
        let seconds = size.of("SECONDS", 20);
        data::clean(folder, "left.sqlite");
        data::clean(folder, "no destination");
        data::fill(&folder.join("left.sqlite"), ROWS);
        let config = service.configure(folder, 200, "");
        service.begin(Duration::ZERO);
        let mut daemon = Daemon::start(&config);
        daemon.until("the first rows", Duration::from_secs(120), || service.count() == ROWS);
        std::thread::sleep(Duration::from_secs(1));
        let before = daemon.cpu();
        let (committed, elapsed) = insert(&folder.join("left.sqlite"), rate, together, seconds);
        daemon
            .until("the last change", Duration::from_secs(120), || service.count() == ROWS + committed.len());
        let run = Run { elapsed, cpu: daemon.cpu() - before, peak_kib: daemon.peak_kib() };
        let arrived = service.arrived();
        let mut waits: Vec<Duration> =
            committed.iter().map(|(id, at)| arrived[id].saturating_duration_since(*at)).collect();
        waits.sort_unstable();
        let of = |part: usize| waits[(waits.len() - 1) * part / 100].as_secs_f64() * 1e3;
        tell(Line {
            name,
            what: format!("commit → arrival, {rate} changes/s for {seconds} s"),
            count: committed.len(),
            sync: run,
            bare: None,
            more: format!("p50 {:.0} ms, p95 {:.0} ms, p99 {:.0} ms", of(50), of(95), of(99)),
        });
    }
}

/// Inserts rows at a rate, so many in a commit; gives when each was committed, and how long it took.
fn insert(path: &Path, rate: usize, together: usize, seconds: usize) -> (HashMap<u64, Instant>, Duration) {
    let mut database = Connection::open(path).expect("a database");
    database.execute_batch("PRAGMA synchronous = NORMAL; PRAGMA busy_timeout = 10000").expect("pragmas");
    let pause = Duration::from_secs_f64(together as f64 / rate as f64);
    let begun = Instant::now();
    let mut committed = HashMap::new();
    let mut next = ROWS as i64;
    for commit in 0..rate * seconds / together {
        let due = begun + pause * u32::try_from(commit).expect("few commits");
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let transaction = database.transaction().expect("a transaction");
        let ids = next + 1..=next + together as i64;
        for id in ids.clone() {
            let insert = "INSERT INTO users VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
            transaction
                .prepare_cached(insert)
                .expect("a statement")
                .execute(data::person(id))
                .expect("a row");
        }
        transaction.commit().expect("a commit");
        let now = Instant::now();
        committed.extend(ids.map(|id| (id as u64, now)));
        next += together as i64;
    }
    (committed, begun.elapsed())
}
