//! The small things: rules versions, values that expire, housekeeping.

use std::time::Duration;

use record_sync::engine::job::JobState;
use record_sync::store::{ENDED_KEPT, Store, Transition};

use super::*;

on_both! {
    rules_versions_count_a_file,
    values_are_kept_until_they_expire,
    tidy_prunes_what_ended_long_ago_and_keeps_the_dead,
}

async fn rules_versions_count_a_file(store: &dyn Store) {
    // (file, text, version, why)
    let cases = [
        ("a.json", "1", 1, "the first"),
        ("a.json", "2", 2, "the next"),
        ("a.json", "1", 1, "in force before"),
        ("b.json", "1", 1, "another file"),
        ("a.json", "3", 3, "and on"),
    ];
    for (number, (file, text, version, why)) in (1..).zip(cases) {
        assert_eq!(store.rules_version(file, text, at(number)).await.unwrap(), version, "{why}");
    }
    let versions = store.rules_versions("a.json").await.unwrap();
    let shown: Vec<_> = versions.iter().map(|known| (known.version, known.text.as_str(), known.at)).collect();
    assert_eq!(shown, [(3, "3", at(5)), (2, "2", at(2)), (1, "1", at(1))], "newest first");
    assert_eq!(store.rules_versions("c.json").await.unwrap(), []);
}

async fn values_are_kept_until_they_expire(store: &dyn Store) {
    store.put("s", "b", "1", None).await.unwrap();
    store.put("s", "a", "2", Some(at(100))).await.unwrap();
    store.put("t", "a", "3", None).await.unwrap();
    assert_eq!(store.get("s", "a", at(99)).await.unwrap().as_deref(), Some("2"));
    assert_eq!(store.get("s", "a", at(100)).await.unwrap(), None, "it ends with its moment");
    let pairs = |list: &[(&str, &str)]| -> Vec<(String, String)> {
        list.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    };
    assert_eq!(store.list("s", at(99)).await.unwrap(), pairs(&[("a", "2"), ("b", "1")]));
    assert_eq!(store.list("s", at(100)).await.unwrap(), pairs(&[("b", "1")]));
    store.put("s", "a", "4", None).await.unwrap();
    assert_eq!(store.get("s", "a", at(500)).await.unwrap().as_deref(), Some("4"), "for ever now");
    assert!(store.remove("s", "a").await.unwrap());
    assert!(!store.remove("s", "a").await.unwrap());
    assert_eq!(store.get("t", "a", at(0)).await.unwrap().as_deref(), Some("3"), "a space each");
    store.put("s", "c", "5", Some(at(100))).await.unwrap();
    store.put_for_good("s", "c", "6").await.unwrap();
    assert_eq!(
        store.get("s", "c", at(500)).await.unwrap().as_deref(),
        Some("6"),
        "it replaces one that ends"
    );
}

async fn tidy_prunes_what_ended_long_ago_and_keeps_the_dead(store: &dyn Store) {
    let link = link(store).await;
    let ids = queue(store, link, vec![push("1", "{}"), push("2", "{}"), wanted("3"), wanted("4")]).await;
    let leased = lease(store, link, 10, 2).await;
    settle(store, link, end(&leased[0], Transition::Synced), 20).await;
    let dead = Transition::Dead { error: error("422"), payload: None };
    settle(store, link, end(&leased[1], dead), 20).await;
    store.cancel(ids[2], at(30)).await.unwrap();
    store.put("s", "k", "v", Some(at(40))).await.unwrap();
    let keeps = |now: i64| at(now).plus(ENDED_KEPT);
    // (now, ids left, why)
    let cases = [
        (keeps(20), vec![ids[0], ids[1], ids[2], ids[3]], "not yet"),
        (keeps(21), vec![ids[1], ids[2], ids[3]], "the push"),
        (keeps(31), vec![ids[1], ids[3]], "the cancelled one"),
        (keeps(31).plus(ENDED_KEPT * 100), vec![ids[1], ids[3]], "the dead wait for a person"),
    ];
    for (now, expected, why) in cases {
        store.tidy(now, now > keeps(30)).await.unwrap();
        let mut left = Vec::new();
        for id in &ids {
            if store.job(*id).await.unwrap().is_some() {
                left.push(*id);
            }
        }
        assert_eq!(left, expected, "{why}");
    }
    assert!(!store.remove("s", "k").await.unwrap(), "it had expired and was pruned");
    assert_eq!(store.job(ids[3]).await.unwrap().unwrap().1.state, JobState::Pending);
    assert!(ENDED_KEPT >= Duration::from_secs(3600));
}
