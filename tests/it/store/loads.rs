//! Bulk loads: staged pairs count when the load has ended, and not before.

use record_sync::engine::plan::{Pair, Seen, SideState, Status};
use record_sync::engine::record::{Direction, Side};
use record_sync::store::{Commit, LoadId, OpenLoad, Store};

use super::*;

on_both! {
    a_staged_pair_counts_when_its_load_has_ended,
    a_pair_stored_again_outside_its_load_counts,
    loads_do_not_meet,
}

/// A pair whose creation at `b` was staged.
fn staged(id: &str) -> Pair {
    let mut pair = agreed(id);
    pair.a.epoch = 3;
    pair.b.id = Some("b1".into());
    pair.a_to_b.status = Status::Synced;
    pair.a_to_b.synced_at = Some(at(5));
    pair
}

async fn stage(store: &dyn Store, link: LinkId, pair: Pair, load: LoadId) {
    let commit = Commit { pairs: vec![pair], load: Some(load), ..Commit::default() };
    assert_eq!(store.commit(link, commit, at(5)).await.unwrap().stale, []);
}

async fn a_staged_pair_counts_when_its_load_has_ended(store: &dyn Store) {
    let link = link(store).await;
    let load = store.begin_load(link, Direction::AToB, None).await.unwrap();
    stage(store, link, staged("1"), load).await;
    let read = pair(store, link, "1").await.unwrap();
    assert_eq!(read.version, 1);
    assert_eq!((&read.a.base, read.a.epoch), (&None, 3));
    assert_eq!(read.a.seen, Seen::Changed(image("1", "Ann")), "still to be delivered");
    assert_eq!(read.b, SideState::default(), "nothing has arrived: absent there is no deletion");
    assert_eq!((read.a_to_b.status, read.a_to_b.synced_at), (Status::Queued, None), "no status lies");
    assert_eq!(store.walk(link, None, 9).await.unwrap(), std::slice::from_ref(&read), "whoever reads it");
    assert_eq!(store.find(&key("1")).await.unwrap(), [(link, read.clone())]);
    assert_eq!(store.keys_by_id(link, Side::B, vec!["b1".into()]).await.unwrap(), [None]);
    queue(store, link, vec![wanted("1")]).await;
    assert_eq!(lease(store, link, 10, 1).await[0].pair, Some(read));
    assert_eq!(store.count_pairs(link).await.unwrap(), 1);

    store.end_load(load).await.unwrap();
    assert_eq!(pair(store, link, "1").await, Some(Pair { version: 1, ..staged("1") }));
    assert_eq!(store.keys_by_id(link, Side::B, vec!["b1".into()]).await.unwrap(), [Some(key("1"))]);
}

async fn a_pair_stored_again_outside_its_load_counts(store: &dyn Store) {
    let link = link(store).await;
    let load = store.begin_load(link, Direction::BToA, None).await.unwrap();
    stage(store, link, staged("1"), load).await;
    let read = pair(store, link, "1").await.unwrap();
    assert_eq!(read.a, SideState::default(), "the destination is the other side now");
    keep(store, link, vec![Pair { version: read.version, ..staged("1") }]).await;
    assert_eq!(pair(store, link, "1").await, Some(Pair { version: 2, ..staged("1") }));
}

async fn loads_do_not_meet(store: &dyn Store) {
    let link = link(store).await;
    let first = store.begin_load(link, Direction::AToB, None).await.unwrap();
    store.end_load(first).await.unwrap();
    let second = store.begin_load(link, Direction::AToB, Some("over there".into())).await.unwrap();
    stage(store, link, staged("2"), second).await;
    store.begin_load(link, Direction::AToB, Some("nothing was staged".into())).await.unwrap();
    let third = store.begin_load(link, Direction::AToB, None).await.unwrap();
    assert!(first != second && second != third, "a number is never given twice");
    stage(store, link, staged("3"), third).await;
    let open =
        |id, mark: Option<&str>| OpenLoad { id, direction: Direction::AToB, mark: mark.map(str::to_owned) };
    assert_eq!(
        store.loads(link).await.unwrap(),
        [open(second, Some("over there")), open(third, None)],
        "of which something may come"
    );
    assert_eq!(store.loads(LinkId(link.0 + 1)).await.unwrap(), [], "those of one link");
    store.end_load(third).await.unwrap();
    assert_eq!(store.loads(link).await.unwrap(), [open(second, Some("over there"))]);
    assert_eq!(pair(store, link, "2").await.unwrap().a.base, None);
    assert_eq!(pair(store, link, "3").await.unwrap().a.base, Some(image("3", "Ann")));
    store.end_load(third).await.unwrap();
}
