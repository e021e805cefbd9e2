//! Figures of the store, by hand: `cargo test --release --test it store::speed -- --ignored --nocapture`.

use std::time::{Duration, Instant};

use record_sync::engine::plan::{Pair, Seen, Status};
use record_sync::engine::record::{Image, Key, Schema, Value};
use record_sync::store::{Commit, Store, Transition};

use super::*;

const PAIRS: usize = 10_000;

#[expect(clippy::disallowed_methods, reason = "a figure is taken with the real clock")]
async fn timed<T>(what: &str, of: usize, work: impl Future<Output = T>) -> T {
    let begun = Instant::now();
    let done = work.await;
    let took: Duration = begun.elapsed();
    println!(
        "{what:<40} {:>9.2} ms {:>8.2} µs each",
        took.as_secs_f64() * 1e3,
        took.as_secs_f64() * 1e6 / of as f64
    );
    done
}

#[tokio::test]
#[ignore = "prints figures, proves nothing"]
async fn figures() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder.path().join("state.sqlite"));
    let link = link(&store).await;
    let shape = Schema::new(["id", "first", "last", "email", "phone", "city", "status", "amount"]);
    let make = |id: usize| {
        let text = |what: &str| Value::text(format!("{what} {id}"));
        let values = vec![
            Value::Int(id as i64),
            text("Ann"),
            text("Other"),
            text("a@example.test"),
            text("+49 30"),
            text("Berlin"),
            Value::text("active"),
            Value::Int(7),
        ];
        let image = Image { shape: Arc::clone(&shape), values };
        let mut pair = Pair::new(key(&id.to_string()));
        for side in [&mut pair.a, &mut pair.b] {
            side.base = Some(image.clone());
            side.seen = Seen::AsBase;
            side.seen_at = at(1_700_000_000_000);
            side.epoch = 1;
        }
        pair.a_to_b.status = Status::Synced;
        pair.a_to_b.rules_version = 1;
        pair.a_to_b.synced_at = Some(at(1_700_000_000_000));
        pair
    };
    let commit = |pairs: Vec<Pair>| Commit { pairs, ..Commit::default() };
    for round in 0..10 {
        let pairs: Vec<Pair> = (round * PAIRS..(round + 1) * PAIRS).map(make).collect();
        timed("commit 10,000 new pairs", PAIRS, store.commit(link, commit(pairs), at(1))).await.unwrap();
    }
    for round in 0..3 {
        let pairs: Vec<Pair> =
            (round * PAIRS..(round + 1) * PAIRS).map(|id| Pair { version: 1, ..make(id) }).collect();
        timed("commit 10,000 known pairs", PAIRS, store.commit(link, commit(pairs), at(1))).await.unwrap();
    }
    let keys =
        |step: usize| -> Vec<Key> { (0..1000).map(|id| key(&(20_000 + id * step).to_string())).collect() };
    for step in [1, 3, 70] {
        for _ in 0..3 {
            let what = format!("known 1,000 keys, every {step}th");
            timed(&what, 1000, store.known(link, keys(step))).await.unwrap();
        }
    }
    timed("walk 1,000", 1000, store.walk(link, None, 1000)).await.unwrap();
    timed("one small commit", 1, store.commit(link, commit(vec![make(900_000)]), at(1))).await.unwrap();
    let jobs = (0..PAIRS).map(|id| wanted(&id.to_string())).collect();
    timed("queue 10,000 jobs", PAIRS, queue(&store, link, jobs)).await;
    timed("next due", 1, store.next_due(link, record_sync::engine::record::Direction::AToB)).await.unwrap();
    timed("depth", 1, store.depth(link)).await.unwrap();
    let leased = timed("lease 1,000 jobs", 1000, lease(&store, link, 10, 1000)).await;
    let endings = leased
        .iter()
        .map(|leased| record_sync::store::Settlement {
            pair: leased.pair.clone(),
            ..end(leased, Transition::Synced)
        })
        .collect();
    timed("settle 1,000 jobs", 1000, store.settle(link, endings, at(20))).await.unwrap();
    timed("tidy", 1, store.tidy(at(20), true)).await.unwrap();
    let bytes = std::fs::metadata(folder.path().join("state.sqlite")).unwrap().len();
    println!("{bytes} bytes, {} a pair", bytes / (10 * PAIRS as u64));
}
