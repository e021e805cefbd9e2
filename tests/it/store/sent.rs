//! Batches of writes whose answers are not known.

use std::collections::BTreeSet;
use std::sync::Arc;

use record_sync::store::{Answered, Commit, LinkId, Remembered, Settlement, Store, Transition};

use super::{agreed, at, end, keep, lease, link, on_both, open, queue, wanted};

on_both!(
    batches_go_with_their_last_answer,
    what_is_undone_answers_nothing,
    a_settlement_answers_only_where_it_holds,
);

/// What is left: the batch and its slip, with the places that are answered.
async fn left(store: &dyn Store, link: LinkId) -> Vec<(i64, String, Vec<u32>)> {
    let remembered = store.unanswered(link).await.expect("batches");
    let told = |Remembered { batch, slip, answered }: Remembered| {
        (batch, String::from_utf8(slip).expect("text"), answered.into_iter().collect())
    };
    remembered.into_iter().map(told).collect()
}

async fn remember(store: &dyn Store, link: LinkId, slip: &str, writes: u32) -> i64 {
    store.remember(link, Arc::new(slip.as_bytes().to_vec()), writes).await.expect("a number")
}

async fn answer(store: &dyn Store, link: LinkId, batch: i64, places: &[Option<u32>]) {
    let answered = places.iter().map(|&place| Answered { batch, place }).collect();
    let commit = Commit { answered, ..Commit::default() };
    assert!(commit.is_worth_storing());
    store.commit(link, commit, at(1)).await.expect("a commit");
}

async fn batches_go_with_their_last_answer(store: &dyn Store) {
    let link = link(store).await;
    let other = store.link("customer1", "orders").await.expect("a link").id;
    let elsewhere = remember(store, other, "elsewhere", 1).await;
    /// Places that are answered at once.
    type Call<'t> = &'t [Option<u32>];
    type Case<'t> = (u32, &'t [Call<'t>], Option<&'t [u32]>, &'t str);
    // (writes, what is answered call by call, what is left, why)
    let cases: [Case; 8] = [
        (3, &[], Some(&[]), "nobody answered"),
        (3, &[&[None]], None, "all at once"),
        (3, &[&[Some(2), Some(0)]], Some(&[0, 2]), "some"),
        (3, &[&[Some(0)], &[Some(2)], &[Some(1)]], None, "one after the other"),
        (3, &[&[Some(1), Some(1)], &[Some(1)]], Some(&[1]), "each counts once"),
        (3, &[&[Some(3), Some(900)]], Some(&[]), "places that it does not have"),
        (3, &[&[None], &[Some(0)], &[None]], None, "late answers"),
        (20, &[&[Some(19)], &[Some(8), Some(7)]], Some(&[7, 8, 19]), "more than a byte of them"),
    ];
    let mut expected = Vec::new();
    let mut last = elsewhere;
    for (writes, calls, rest, why) in cases {
        let batch = remember(store, link, why, writes).await;
        assert!(batch > last, "no number comes again");
        last = batch;
        for places in calls {
            answer(store, link, batch, places).await;
        }
        expected.extend(rest.map(|rest| (batch, why.to_owned(), rest.to_vec())));
    }
    assert_eq!(left(store, link).await, expected);
    assert_eq!(left(store, other).await, [(elsewhere, "elsewhere".to_owned(), vec![])], "links keep apart");
}

async fn what_is_undone_answers_nothing(store: &dyn Store) {
    let link = link(store).await;
    keep(store, link, vec![agreed("1")]).await;
    let batch = remember(store, link, "slip", 1).await;
    let answered = vec![Answered { batch, place: None }];
    let stale = Commit { pairs: vec![agreed("1")], answered, ..Commit::default() };
    assert_eq!(store.commit(link, stale, at(2)).await.expect("an answer").stale.len(), 1);
    assert_eq!(left(store, link).await.len(), 1, "the commit changed nothing");
}

async fn a_settlement_answers_only_where_it_holds(store: &dyn Store) {
    let link = link(store).await;
    keep(store, link, ["1", "2", "3"].map(agreed).to_vec()).await;
    queue(store, link, ["1", "2", "3"].map(wanted).to_vec()).await;
    let leased = lease(store, link, 10, 3).await;
    let batch = remember(store, link, "slip", 3).await;
    let mut settlements: Vec<Settlement> = Vec::new();
    for (place, leased) in (0..).zip(&leased) {
        let answered = vec![Answered { batch, place: Some(place) }];
        settlements.push(Settlement { answered, ..end(leased, Transition::Synced) });
    }
    settlements[1].fence += 1;
    settlements[2].pair = Some(agreed("3"));
    let settled = store.settle(link, settlements, at(20)).await.expect("settled");
    assert_eq!((settled.lost.len(), settled.stale.len()), (1, 1));
    assert_eq!(left(store, link).await, [(batch, "slip".to_owned(), vec![0])]);
}

#[tokio::test]
async fn a_batch_outlives_its_process() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("state.sqlite");
    let store = open(&path);
    let of = link(&store).await;
    let batch = remember(&store, of, "slip", 2).await;
    answer(&store, of, batch, &[Some(1)]).await;
    drop(store);
    let expected = Remembered { batch, slip: b"slip".to_vec(), answered: BTreeSet::from([1]) };
    assert_eq!(open(&path).unanswered(of).await.expect("batches"), [expected]);
}
