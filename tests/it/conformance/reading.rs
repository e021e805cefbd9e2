//! What every source promises.

use super::*;

pub async fn a_stream_describes_itself(harness: &impl Harness) {
    harness.insert(&[Row::numbered(1)]).await;
    harness.settle().await;
    let info = harness.system().describe(&harness.spec(), &call()).await.expect("a description");
    for field in harness.fields() {
        assert!(info.open || info.fields.iter().any(|known| known == field), "{field}: {info:?}");
    }
}

pub async fn what_is_not_there_is_refused_with_a_remedy(harness: &impl Harness) {
    let Some(unknown) = harness.unknown() else { return };
    let fault = harness.system().describe(&unknown, &call()).await.expect_err("it is not there");
    assert_eq!(fault.kind, FaultKind::Fatal, "{fault}");
    assert!(fault.remedy.is_some(), "{fault}");
}

pub async fn an_empty_stream_ends_at_once(harness: &impl Harness) {
    let mut follower = Follower::new(harness);
    follower.pass(10).await;
    assert!(follower.rows.is_empty());
    follower.pass(10).await;
    assert_eq!(follower.changes, 0);
}

pub async fn every_record_is_read_once_whatever_the_page(harness: &impl Harness) {
    let rows: Vec<Row> = (0..25).map(Row::numbered).collect();
    harness.insert(&rows).await;
    harness.settle().await;
    // The second reading ends just on a page's end, the last far before it.
    for limit in [1, 5, 7, 1_000] {
        let mut follower = Follower::new(harness);
        follower.pass(limit).await;
        assert_eq!(follower.believed(), rows, "pages of {limit}");
        assert_eq!(follower.changes, rows.len(), "pages of {limit}: none twice");
    }
}

pub async fn a_cursor_outlives_its_source(harness: &impl Harness) {
    let rows: Vec<Row> = (0..12).map(Row::numbered).collect();
    harness.insert(&rows).await;
    harness.settle().await;
    let (mut follower, mut seen) = (Follower::new(harness), BTreeSet::new());
    for _ in 0..100 {
        if follower.page(5, &mut seen).await != End::More {
            break;
        }
        follower.restart();
    }
    assert_eq!(follower.believed(), rows);
}

pub async fn a_foreign_cursor_is_a_fault(harness: &impl Harness) {
    harness.insert(&[Row::numbered(1)]).await;
    let mut source = harness.system().source(&harness.spec()).expect("a source");
    for text in ["", "}{", "\u{0}", "{\"foreign\":1}"] {
        let cursor = Cursor(text.to_owned());
        let page = source.read(Some(&cursor), 10, &call()).await;
        assert!(page.is_err(), "{text:?} is no cursor of this source: {page:?}");
    }
}

pub async fn edits_deletions_and_returns_are_seen(harness: &impl Harness) {
    harness.insert(&(0..6).map(Row::numbered).collect::<Vec<_>>()).await;
    harness.settle().await;
    let mut follower = Follower::new(harness);
    follower.pass(4).await;

    harness.update(&[Row::new("k00002", "Changed", "changed@example.test")]).await;
    harness.delete(&["k00004".to_owned()]).await;
    harness.insert(&[Row::numbered(9)]).await;
    harness.settle().await;
    follower.pass(4).await;
    assert_eq!(follower.believed(), standing(harness).await, "an update, a deletion, a new record");

    harness.insert(&[Row::new("k00004", "Back", "again@example.test")]).await;
    harness.settle().await;
    follower.restart();
    follower.pass(4).await;
    assert_eq!(follower.believed(), standing(harness).await, "what was deleted came back");
}

pub async fn a_random_history_is_followed(harness: &impl Harness) {
    let mut random = Random(7);
    let mut alive: BTreeSet<usize> = BTreeSet::new();
    let mut follower = Follower::new(harness);
    for round in 0..12 {
        for _ in 0..random.below(6) {
            let number = random.below(15);
            let row = Row { name: format!("Round {round}"), ..Row::numbered(number) };
            match (alive.contains(&number), random.below(3)) {
                (false, _) => {
                    harness.insert(&[row]).await;
                    alive.insert(number);
                }
                (true, 0) => {
                    harness.delete(&[row.key]).await;
                    alive.remove(&number);
                }
                (true, _) => harness.update(&[row]).await,
            }
        }
        harness.settle().await;
        if random.below(3) == 0 {
            follower.restart();
        }
        follower.pass(1 + random.below(6)).await;
        assert_eq!(follower.believed(), standing(harness).await, "round {round}");
    }
}

pub async fn records_that_come_while_a_read_is_under_way_are_not_lost(harness: &impl Harness) {
    harness.insert(&(10..20).map(Row::numbered).collect::<Vec<_>>()).await;
    harness.settle().await;
    let (mut follower, mut seen) = (Follower::new(harness), BTreeSet::new());
    follower.page(4, &mut seen).await;
    harness.insert(&[Row::numbered(1), Row::numbered(15_000), Row::numbered(99_999)]).await;
    harness.delete(&["k00019".to_owned()]).await;
    harness.settle().await;
    for _ in 0..100 {
        if follower.page(4, &mut seen).await != End::More {
            break;
        }
    }
    follower.pass(4).await;
    assert_eq!(follower.believed(), standing(harness).await);
}

pub async fn an_edit_is_never_slept_through(harness: &impl Harness) {
    harness.insert(&[Row::numbered(1)]).await;
    harness.settle().await;
    let mut follower = Follower::new(harness);
    follower.pass(10).await;
    follower.source.may_have_changed();
    harness.update(&[Row::new("k00001", "Woken", "")]).await;
    harness.settle().await;
    assert!(follower.source.may_have_changed(), "somebody edited");
    follower.pass(10).await;

    // The same for what we wrote ourselves: another link may read it.
    follower.source.may_have_changed();
    let writer = Writer::new(harness);
    delivered(&writer.write(vec![create(&Row::numbered(2))]).await);
    assert!(follower.source.may_have_changed(), "our own writing end wrote");
    follower.pass(10).await;
    assert_eq!(follower.believed(), standing(harness).await);
}
