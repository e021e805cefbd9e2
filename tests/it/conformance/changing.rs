//! What a source promises of rows that change while it is read, and beside its cursor.

use super::*;

pub async fn rows_that_change_between_pages_end_as_they_stand(harness: &impl Harness) {
    harness.insert(&(10..30).map(Row::numbered).collect::<Vec<_>>()).await;
    harness.settle().await;
    let mut follower = Follower::new(harness);
    // The first read, and a later pass over rows that all changed.
    for round in 0..2 {
        let mut seen = BTreeSet::new();
        if follower.deletes == Deletes::Scanned {
            follower.cursor = None;
        }
        if round == 1 {
            let all = standing(harness).await;
            let again = all.iter().map(|row| Row::new(row.key.clone(), format!("{} again", row.name), ""));
            harness.update(&again.collect::<Vec<_>>()).await;
            harness.settle().await;
        }
        let mut ends = follower.page(3, &mut seen).await;
        for step in 0..4 {
            let named = |number: usize, what: &str| {
                Row::new(format!("k{number:05}"), format!("{what} {round}{step}"), "")
            };
            // Shown already, the next to come, the last, and one of a page that is gone by.
            harness.update(&[named(10, "behind"), named(13 + step, "next"), named(28, "last")]).await;
            harness.delete(&[format!("k{:05}", 20 + 4 * round + step)]).await;
            harness
                .insert(&[Row::numbered(100 + 10 * round + step), Row::numbered(1 + 4 * round + step)])
                .await;
            harness.settle().await;
            if ends == End::More {
                ends = follower.page(3, &mut seen).await;
            }
        }
        follower.pass(3).await;
        follower.pass(3).await;
        assert_eq!(follower.believed(), standing(harness).await, "round {round}");
    }
}

pub async fn an_audit_shows_all_and_moves_no_cursor(harness: &impl Harness) {
    harness.insert(&(10..40).map(Row::numbered).collect::<Vec<_>>()).await;
    harness.settle().await;
    let mut follower = Follower::new(harness);
    if !follower.source.audits() {
        assert_eq!(follower.deletes, Deletes::Scanned, "whoever reads from a cursor has to be audited");
        return;
    }
    follower.pass(100).await;
    harness.delete(&["k00012".to_owned(), "k00039".to_owned()]).await;
    harness.update(&[Row::new("k00020", "edited", "")]).await;
    let (mut cursor, mut shown) = (None, BTreeMap::new());
    loop {
        let page = follower.source.audit(cursor.as_ref(), 7, &call()).await.expect("a page");
        for change in page.changes {
            if let Change::Upsert(record) = change {
                let row = row_of(&record, harness.fields());
                assert!(shown.insert(row.key.clone(), row).is_none(), "shown once");
            }
        }
        cursor = page.cursor;
        match page.end {
            End::More => assert!(cursor.is_some(), "an audit that goes on has a cursor"),
            End::Complete => break,
            End::CaughtUp => panic!("an audit has to prove its end"),
        }
    }
    assert_eq!(sorted(shown.into_values()), standing(harness).await);
    // What it has shown is shown to the reader all the same.
    harness.settle().await;
    follower.pass(7).await;
    follower.pass(7).await;
    assert_eq!(follower.believed(), standing(harness).await);
}
