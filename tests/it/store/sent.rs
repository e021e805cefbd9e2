//! Batches of writes whose answers are not known.

use record_sync::store::{Commit, Store};

use super::{agreed, at, keep, link, on_both, open};

on_both!(what_is_answered_is_forgotten, what_is_undone_answers_nothing);

async fn batches(store: &dyn Store, link: record_sync::store::LinkId) -> Vec<(i64, Vec<u8>)> {
    store.unanswered(link).await.expect("batches")
}

async fn what_is_answered_is_forgotten(store: &dyn Store) {
    let link = link(store).await;
    let other = store.link("customer1", "orders").await.expect("a link").id;
    let mut numbers = Vec::new();
    for batch in ["one", "two", "three"] {
        numbers.push(store.send(link, batch.into()).await.expect("a number"));
    }
    let elsewhere = store.send(other, b"elsewhere".to_vec()).await.expect("a number");
    assert!(numbers.is_sorted() && !numbers.contains(&elsewhere), "each number once");
    store.answered(numbers[0], None).await.expect("forgotten");
    store.answered(numbers[1], Some(b"t".to_vec())).await.expect("laid down again");
    let commit = Commit { answered: vec![numbers[2]], ..Commit::default() };
    assert!(commit.is_worth_storing());
    store.commit(link, commit, at(1)).await.expect("a commit");
    assert_eq!(batches(store, link).await, [(numbers[1], b"t".to_vec())]);
    store.answered(numbers[1], None).await.expect("forgotten");
    store.answered(numbers[1], Some(b"late".to_vec())).await.expect("nobody there");
    assert_eq!(batches(store, link).await, []);
    assert_eq!(batches(store, other).await, [(elsewhere, b"elsewhere".to_vec())], "links keep apart");
    let next = store.send(link, b"four".to_vec()).await.expect("a number");
    assert!(next > elsewhere, "no number comes again");
}

async fn what_is_undone_answers_nothing(store: &dyn Store) {
    let link = link(store).await;
    keep(store, link, vec![agreed("1")]).await;
    let number = store.send(link, b"batch".to_vec()).await.expect("a number");
    let stale = Commit { pairs: vec![agreed("1")], answered: vec![number], ..Commit::default() };
    assert_eq!(store.commit(link, stale, at(2)).await.expect("an answer").stale.len(), 1);
    assert_eq!(batches(store, link).await.len(), 1, "the commit changed nothing");
}

#[tokio::test]
async fn a_batch_outlives_its_process() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("state.sqlite");
    let store = open(&path);
    let of = link(&store).await;
    let number = store.send(of, b"batch".to_vec()).await.expect("a number");
    drop(store);
    assert_eq!(batches(&open(&path), of).await, [(number, b"batch".to_vec())]);
}
