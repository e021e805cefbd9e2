//! History: told by the commit or the settlement that it belongs to, listed, bounded.

use record_sync::engine::history::{Event, Failure, Operation, Overwritten, What, Written};
use record_sync::engine::record::{Direction, Number, Value};
use record_sync::store::{HistoryFilter, Recorded, Store, Transition, history_bytes};

use super::*;

on_both! {
    events_come_back_as_they_were_newest_first,
    what_did_not_hold_did_not_happen,
    filters_narrow_and_pages_follow_each_other,
    age_and_size_bound_it_from_the_oldest_on,
}

pub(crate) fn happened(id: &str, now: i64, what: What) -> Event {
    Event {
        at: at(now),
        key: key(id),
        direction: Some(Direction::AToB),
        rules_version: 1,
        run: "r1".into(),
        attempt: 0,
        what,
    }
}

fn held(id: &str, now: i64) -> Event {
    happened(id, now, What::Held { rule: "filters.status".into() })
}

fn written(before: Value) -> What {
    What::Written(Written {
        operation: Operation::Update,
        id: Some("003".into()),
        revision: None,
        fields: vec![Overwritten {
            name: "name".into(),
            before: (&before).into(),
            sent: (&Value::text("x")).into(),
            stored: None,
            agreed: None,
            policy: None,
        }],
        seen: Vec::new(),
        modified_at: Some(-1),
        asked: false,
    })
}

async fn tell(store: &dyn Store, link: LinkId, history: Vec<Event>) {
    let commit = Commit { history, ..Commit::default() };
    assert_eq!(store.commit(link, commit, at(1)).await.unwrap().stale, []);
}

async fn all(store: &dyn Store) -> Vec<Recorded> {
    store.history(HistoryFilter { limit: 1000, ..HistoryFilter::default() }).await.unwrap()
}

async fn events_come_back_as_they_were_newest_first(store: &dyn Store) {
    let link = link(store).await;
    let failure = Failure { code: "timeout".into(), message: "é\0".into() };
    let told = [
        happened("1", -5, written(Number::parse("12345678901234567890.10").unwrap())),
        Event { direction: None, ..happened("1", 7, What::Forgotten) },
        Event { direction: Some(Direction::BToA), attempt: 3, ..happened("ü", 8, What::Failed(failure)) },
    ];
    tell(store, link, told.to_vec()).await;
    let found = all(store).await;
    let events: Vec<Event> = found.iter().rev().map(|recorded| recorded.event.clone()).collect();
    assert_eq!(events, told);
    assert!(found.windows(2).all(|two| two[0].id > two[1].id), "newest first");
    assert!(found.iter().all(|recorded| recorded.link == link));
}

async fn what_did_not_hold_did_not_happen(store: &dyn Store) {
    let link = link(store).await;
    keep(store, link, vec![agreed("1")]).await;
    let stale = Commit { pairs: vec![agreed("1")], history: vec![held("1", 1)], ..Commit::default() };
    assert_eq!(store.commit(link, stale, at(1)).await.unwrap().stale, [key("1")]);
    assert_eq!(all(store).await, [], "the commit was overtaken");

    queue(store, link, vec![wanted("1"), wanted("2"), wanted("3")]).await;
    let leased = lease(store, link, 10, 3).await;
    let mut lost = end(&leased[0], Transition::Synced);
    lost.fence += 1;
    lost.history = vec![held("1", 2)];
    let mut stale = end(&leased[1], Transition::Synced);
    stale.pair = Some(Pair { version: 9, ..agreed("2") });
    stale.history = vec![held("2", 2)];
    let mut fine = end(&leased[2], Transition::Synced);
    fine.history = vec![held("3", 2)];
    let settled = store.settle(link, vec![lost, stale, fine], at(20)).await.unwrap();
    assert_eq!((settled.lost.len(), settled.stale.len()), (1, 1));
    let keys: Vec<_> = all(store).await.into_iter().map(|recorded| recorded.event.key).collect();
    assert_eq!(keys, [key("3")], "only the settlement that held");
}

async fn filters_narrow_and_pages_follow_each_other(store: &dyn Store) {
    let people = link(store).await;
    let firms = store.link("customer1", "firms").await.unwrap().id;
    tell(store, people, vec![held("1", 10), happened("2", 20, written(Value::Null))]).await;
    let other = Event { run: "r2".into(), rules_version: 2, ..held("1", 30) };
    tell(store, firms, vec![other, held("2", 40)]).await;
    let filter = |change: fn(&mut HistoryFilter)| {
        let mut filter = HistoryFilter { limit: 10, ..HistoryFilter::default() };
        change(&mut filter);
        filter
    };
    let of_people = HistoryFilter { link: Some(people), ..filter(|_| {}) };
    // (filter, times, why)
    let cases = [
        (filter(|_| {}), vec![40, 30, 20, 10], "everything"),
        (of_people, vec![20, 10], "one link's"),
        (filter(|filter| filter.key = Some(key("1"))), vec![30, 10], "one key's in all links"),
        (filter(|filter| filter.run = Some("r2".into())), vec![30], "one run's"),
        (filter(|filter| filter.rules_version = Some(2)), vec![30], "one version's"),
        (filter(|filter| filter.from = Some(at(20))), vec![40, 30, 20], "from a moment on"),
        (filter(|filter| filter.to = Some(at(20))), vec![10], "before a moment"),
        (filter(|filter| filter.written = true), vec![20], "writes only"),
        (filter(|filter| filter.limit = 2), vec![40, 30], "so many"),
        (filter(|filter| filter.limit = 0), vec![], "none at all"),
    ];
    for (filter, times, why) in cases {
        let found: Vec<i64> =
            store.history(filter).await.unwrap().iter().map(|recorded| recorded.event.at.0).collect();
        assert_eq!(found, times, "{why}");
    }
    let first = store.history(filter(|filter| filter.limit = 3)).await.unwrap();
    let next = HistoryFilter { before: first.last().map(|last| last.id), ..filter(|_| {}) };
    assert_eq!(store.history(next).await.unwrap().len(), 1, "the rest");
}

async fn age_and_size_bound_it_from_the_oldest_on(store: &dyn Store) {
    let link = link(store).await;
    let events: Vec<Event> = (0..10).map(|number| held(&(number + 10).to_string(), number)).collect();
    let bytes = history_bytes(&events[0], &events[0].what.encode());
    tell(store, link, events).await;
    let left = async || all(store).await.len();
    // (before, bytes_max, pruned, left, why)
    let cases = [
        (0, u64::MAX, 0, 10, "nothing is too old"),
        (3, u64::MAX, 3, 7, "what is older than a moment"),
        (0, bytes * 7, 0, 7, "just as much as there may be"),
        (0, bytes * 5 - 1, 3, 4, "the oldest until the rest has room"),
        (0, 0, 4, 0, "nothing may be kept"),
        (99, 0, 0, 0, "nothing is there"),
    ];
    for (before, bytes_max, pruned, rest, why) in cases {
        assert_eq!(store.prune_history(at(before), bytes_max).await.unwrap(), pruned, "{why}");
        assert_eq!(left().await, rest, "{why}");
    }
    tell(store, link, vec![held("99", 99)]).await;
    assert_eq!(store.prune_history(at(0), bytes).await.unwrap(), 0, "the sum starts at nothing again");
}
