//! The conformance suite of the store: what holds for the model holds for SQLite.

mod asked;
mod files;
mod history;
mod jobs;
mod loads;
mod pairs;
mod random;
mod sent;
mod small;

use std::path::Path;
use std::sync::Arc;

use record_sync::engine::fault::FaultCode;
use record_sync::engine::job::{JobError, JobState, Origin};
use record_sync::engine::plan::{Pair, Seen, Status};
use record_sync::engine::record::{Direction, Image, Key, Schema, Timestamp, Value};
use record_sync::store::sqlite::{SqliteOptions, SqliteStore};
use record_sync::store::{
    Commit, Counters, LeaseRequest, Leased, LinkId, NewJob, Settled, Settlement, Store, Transition,
};

/// Runs each scenario on both stores.
macro_rules! on_both {
    ($($scenario:ident),* $(,)?) => {
        mod memory {
            $(#[tokio::test]
            async fn $scenario() {
                super::$scenario(&record_sync::store::memory::MemoryStore::default()).await;
            })*
        }
        mod sqlite {
            $(#[tokio::test]
            async fn $scenario() {
                let folder = tempfile::tempdir().expect("a folder");
                super::$scenario(&crate::store::open(&folder.path().join("state.sqlite"))).await;
            })*
        }
    };
}
pub(crate) use on_both;

pub(crate) fn open(path: &Path) -> SqliteStore {
    SqliteStore::open(path, SqliteOptions::default()).expect("a state")
}

pub(crate) fn at(ms: i64) -> Timestamp {
    Timestamp(ms)
}

pub(crate) fn key(text: &str) -> Key {
    Key::from_text(text).expect("a fit key")
}

pub(crate) fn shape() -> Arc<Schema> {
    Schema::new(["id", "name"])
}

pub(crate) fn image(id: &str, name: &str) -> Image {
    Image { shape: shape(), values: vec![Value::text(id), Value::text(name)].into() }
}

/// A pair that both sides agree on.
pub(crate) fn agreed(id: &str) -> Pair {
    let mut pair = Pair::new(key(id));
    for side in [&mut pair.a, &mut pair.b] {
        side.base = Some(image(id, "Ann"));
        side.seen = Seen::AsBase;
    }
    pair
}

pub(crate) fn error(message: &str) -> JobError {
    JobError { code: FaultCode::Timeout, message: message.into() }
}

/// Work of the planner from `a` to `b`.
pub(crate) fn wanted(id: &str) -> NewJob {
    NewJob {
        direction: Direction::AToB,
        key: key(id),
        origin: Origin::Sync,
        priority: 0,
        due_at: at(0),
        attempts_max: 0,
        rules_version: 1,
        correlation_id: "c1".into(),
        payload: None,
        replay_of: None,
        state: JobState::Pending,
        error: None,
    }
}

/// A person's push from `a` to `b`.
pub(crate) fn push(id: &str, payload: &str) -> NewJob {
    NewJob { origin: Origin::Push, payload: Some(payload.into()), ..wanted(id) }
}

pub(crate) async fn link(store: &dyn Store) -> LinkId {
    store.link("customer1", "people").await.expect("a link").id
}

/// Commits jobs and nothing else; gives their ids.
pub(crate) async fn queue(store: &dyn Store, link: LinkId, jobs: Vec<NewJob>) -> Vec<i64> {
    let commit = Commit { jobs, ..Commit::default() };
    store.commit(link, commit, at(1)).await.expect("a commit").jobs
}

/// Commits pairs, which has to work.
pub(crate) async fn keep(store: &dyn Store, link: LinkId, pairs: Vec<Pair>) {
    let commit = Commit { pairs, ..Commit::default() };
    let committed = store.commit(link, commit, at(1)).await.expect("a commit");
    assert_eq!(committed.stale, [], "nobody else wrote");
}

pub(crate) async fn pair(store: &dyn Store, link: LinkId, id: &str) -> Option<Pair> {
    store.known(link, vec![key(id)]).await.expect("an answer").pop().expect("one place a key")
}

pub(crate) async fn status(store: &dyn Store, link: LinkId, id: &str) -> Status {
    pair(store, link, id).await.expect("a pair").a_to_b.status
}

/// Leases what is due from `a` to `b` at `now`, for 100 ms.
pub(crate) async fn lease(store: &dyn Store, link: LinkId, now: i64, limit: usize) -> Vec<Leased> {
    let request = LeaseRequest {
        direction: Direction::AToB,
        owner: "w1".into(),
        now: at(now),
        until: at(now + 100),
        limit,
    };
    store.lease(link, request).await.expect("leases")
}

pub(crate) fn end(leased: &Leased, transition: Transition) -> Settlement {
    let fence = leased.job.lease.as_ref().expect("a lease").fence;
    Settlement {
        job_id: leased.job.id,
        fence,
        transition,
        pair: None,
        forget: false,
        history: Vec::new(),
        reason: None,
        answered: Vec::new(),
    }
}

pub(crate) async fn settle(store: &dyn Store, link: LinkId, settlement: Settlement, now: i64) -> Settled {
    store.settle(link, vec![settlement], at(now)).await.expect("an answer")
}

pub(crate) async fn counters(store: &dyn Store, link: LinkId) -> Counters {
    let links = store.links().await.expect("links");
    links.into_iter().find(|known| known.id == link).expect("the link").counters
}

/// Checks invariant 11: what was accepted is somewhere.
pub(crate) async fn assert_conserved(store: &dyn Store, link: LinkId, why: &str) {
    let counted = counters(store, link).await;
    let active: u64 = store
        .depth(link)
        .await
        .expect("depths")
        .iter()
        .map(|depth| depth.pending + depth.leased + depth.retrying + depth.waiting + depth.conflict)
        .sum();
    let ended = counted.delivered + counted.superseded + counted.cancelled + counted.dead;
    assert_eq!(counted.accepted, ended + active, "{why}: {counted:?}, {active} active");
}
