//! Pairs: kept as they are, versioned, found.

use record_sync::engine::plan::{DirectionState, Pair, Seen, SideState, Status};
use record_sync::engine::record::{Cursor, Direction, Image, Key, Number, Schema, Side, Value};
use record_sync::store::{Commit, Counters, Known, LinkState, LinkWord, Looks, Store};

use super::*;

on_both! {
    everything_of_a_pair_comes_back,
    one_stale_pair_undoes_the_whole_commit,
    versions_count_and_a_forgotten_pair_is_new_again,
    keys_are_found_in_any_order_dense_or_sparse,
    what_looks_as_was_said_is_left_out,
    pairs_are_walked_and_found_by_id_and_across_links,
    the_shape_of_an_undone_commit_is_not_mistaken,
    links_keep_apart,
    a_link_that_is_not_there_takes_nothing,
}

async fn everything_of_a_pair_comes_back(store: &dyn Store) {
    let link = link(store).await;
    let shape = Schema::new(["u", "a", "n", "t", "i", "d", "s", "b", "j"]);
    let values = vec![
        Value::Unknown,
        Value::Absent,
        Value::Null,
        Value::Bool(true),
        Value::Int(i64::MIN),
        Number::parse("12345678901234567890.10").expect("a number"),
        Value::text("é\0'"),
        Value::Bytes([0, 255].into()),
        Value::Json("{\"x\":1}".into()),
    ];
    let full = SideState {
        id: Some("003xx".into()),
        revision: Some("r7".into()),
        base: Some(Image { shape, values: values.into() }),
        seen: Seen::Changed(image("1", "Bob")),
        seen_at: at(1_700_000_000_123),
        modified_at: Some(at(-1)),
        epoch: u32::MAX,
    };
    let way = DirectionState {
        status: Status::Retrying,
        attempts: 3,
        error: Some("503".into()),
        rules_version: 4,
        queued_at: Some(at(5)),
        synced_at: Some(at(6)),
    };
    // (pair, why)
    let cases = [
        (Pair::new(key("1")), "nothing is known yet"),
        (agreed("2"), "the usual: both as their bases"),
        (Pair { a: full.clone(), a_to_b: way.clone(), ..agreed("3") }, "everything is there"),
        (Pair { b: full, b_to_a: way, rules_version: 9, ..Pair::new(key("4")) }, "on the other side too"),
        (
            Pair { a: SideState { seen: Seen::Deleted(None), ..SideState::default() }, ..agreed("5") },
            "gone, nobody knows when",
        ),
        (
            Pair { a: SideState { seen: Seen::Deleted(Some(at(7))), ..SideState::default() }, ..agreed("6") },
            "gone at a time",
        ),
        (
            Pair { a: SideState { base: None, seen: Seen::AsBase, ..SideState::default() }, ..agreed("7") },
            "as a base that is not there",
        ),
    ];
    keep(store, link, cases.iter().map(|(pair, _)| pair.clone()).collect()).await;
    for (kept, why) in cases {
        let back = store.known(link, vec![kept.key.clone()]).await.unwrap().pop().unwrap();
        assert_eq!(back, Some(Pair { version: 1, ..kept }), "{why}");
    }
}

async fn one_stale_pair_undoes_the_whole_commit(store: &dyn Store) {
    let link = link(store).await;
    keep(store, link, vec![agreed("1"), agreed("2")]).await;
    let before = store.links().await.unwrap();
    let commit = Commit {
        pairs: vec![agreed("3"), agreed("1"), Pair { version: 7, ..agreed("4") }],
        forgotten: vec![(key("2"), 5)],
        jobs: vec![wanted("3")],
        cursor: Some((Side::A, Some(Cursor("7".into())))),
        epoch: Some((Side::B, 3)),
        counted: Counters { skipped: 1, ..Counters::default() },
        ..Commit::default()
    };
    let committed = store.commit(link, commit, at(1)).await.unwrap();
    assert_eq!(committed.stale, [key("1"), key("4"), key("2")], "all that had moved on, and only they");
    assert_eq!(committed.jobs, [] as [i64; 0]);
    assert_eq!(pair(store, link, "3").await, None, "its innocent neighbour");
    assert_eq!(pair(store, link, "1").await.unwrap().version, 1);
    assert_eq!(store.links().await.unwrap(), before, "cursor, epoch and counters");
    assert_eq!(store.count_pairs(link).await.unwrap(), 2);
    assert_eq!(store.next_due(link, Direction::AToB).await.unwrap(), None, "no job");
}

async fn versions_count_and_a_forgotten_pair_is_new_again(store: &dyn Store) {
    let link = link(store).await;
    keep(store, link, vec![agreed("1")]).await;
    keep(store, link, vec![pair(store, link, "1").await.unwrap()]).await;
    assert_eq!(pair(store, link, "1").await.unwrap().version, 2);
    let forget = Commit { forgotten: vec![(key("1"), 2), (key("9"), 0)], ..Commit::default() };
    let committed = store.commit(link, forget, at(1)).await.unwrap();
    assert_eq!(committed.stale, [], "to forget what was never there is no mistake");
    assert_eq!(pair(store, link, "1").await, None);
    assert_eq!(store.count_pairs(link).await.unwrap(), 0);
    keep(store, link, vec![agreed("1"), agreed("2")]).await;
    let versions =
        [pair(store, link, "1").await.unwrap().version, pair(store, link, "2").await.unwrap().version];
    assert_eq!(versions, [3, 3], "made anew above what was forgotten");
    let held = Pair { version: 2, ..agreed("1") };
    let commit = Commit { pairs: vec![held], ..Commit::default() };
    let committed = store.commit(link, commit, at(1)).await.unwrap();
    assert_eq!(committed.stale, [key("1")], "whoever holds the forgotten pair does not get the new one");

    let commit = Commit {
        cursor: Some((Side::A, Some(Cursor("x".into())))),
        epoch: Some((Side::A, 2)),
        ..Commit::default()
    };
    store.commit(link, commit, at(1)).await.unwrap();
    let state = store.link("customer1", "people").await.unwrap();
    assert_eq!(state.cursors, [Some(Cursor("x".into())), None]);
    assert_eq!(state.epochs, [2, 0]);
    let commit = Commit { cursor: Some((Side::A, None)), ..Commit::default() };
    store.commit(link, commit, at(1)).await.unwrap();
    assert_eq!(
        store.link("customer1", "people").await.unwrap().cursors,
        [None, None],
        "from the start again"
    );
}

async fn what_looks_as_was_said_is_left_out(store: &dyn Store) {
    let link = link(store).await;
    let changed = |key: &str| Pair {
        a: SideState { seen: Seen::Changed(image("9", "New")), ..agreed(key).a },
        ..agreed(key)
    };
    let mut dead = agreed("4");
    dead.a_to_b.status = Status::Dead;
    let pairs = vec![agreed("1"), agreed("2"), changed("3"), dead, agreed("5"), agreed("7")];
    let base = pairs[0].a.base.clone().expect("agreed");
    let other_shape = Image { shape: Schema::new(["other"]), values: vec![Value::text("1")].into() };
    let commit = Commit { pairs, ..Commit::default() };
    store.commit(link, commit, at(1)).await.expect("stored");
    // (key, how it is said to look, whether that is all there is to know, why)
    let cases = [
        ("1", Some(image("1", "Ann")), true, "as its base"),
        ("2", Some(image("2", "Else")), false, "another value"),
        ("3", Some(image("3", "Ann")), false, "it looks otherwise than its base by now"),
        ("4", Some(image("4", "Ann")), false, "dead: there may be something to mend"),
        ("5", None, false, "nothing was said"),
        ("5", Some(other_shape), false, "another shape"),
        ("6", Some(image("6", "Ann")), false, "not known at all"),
        ("7", Some(image("7", "Ann")), false, "asked for twice: what is said in between counts"),
        ("7", Some(image("7", "Ann")), false, "asked for twice: what is said in between counts"),
    ];
    for side in [Side::A, Side::B] {
        let mut looks = Looks::new(side, &base.shape);
        for (_, look, ..) in &cases {
            let look = look.clone().map(|look| match look.shape == base.shape {
                true => Image { shape: Arc::clone(&base.shape), ..look },
                false => look,
            });
            looks.push(look.as_ref());
        }
        let keys: Vec<Key> = cases.iter().map(|(name, ..)| key(name)).collect();
        let whole = store.known(link, keys.clone()).await.expect("known");
        let beside = store.known_beside(link, keys, looks).await.expect("known");
        for ((place, (name, _, same, why)), whole) in cases.iter().enumerate().zip(whole) {
            // The other side of 3 is as its base, and 4 is not dead from there.
            let same = *same || (side == Side::B && ["3", "4"].contains(name));
            match (&beside[place], whole) {
                (Known::Same, Some(_)) => assert!(same, "{name} at {side:?}: {why}"),
                (Known::Pair(pair), Some(whole)) => {
                    assert!(!same && *pair == whole, "{name} at {side:?}: {why}");
                }
                (Known::Nothing, None) => {}
                (beside, whole) => panic!("{name} at {side:?}: {why}: {beside:?} {whole:?}"),
            }
        }
    }
}

async fn keys_are_found_in_any_order_dense_or_sparse(store: &dyn Store) {
    let link = link(store).await;
    keep(store, link, (0..1000).map(|id| agreed(&id.to_string())).collect()).await;
    let ids =
        |ids: &mut dyn Iterator<Item = u32>| -> Vec<Key> { ids.map(|id| key(&id.to_string())).collect() };
    // (keys, why)
    let cases = [
        (vec![], "none"),
        (ids(&mut (100..200)), "all together"),
        (ids(&mut (0..1000).step_by(90)), "far apart: too much to step over"),
        (ids(&mut (0..20).chain(900..910).chain(2000..2010)), "dense, then a gap, then beyond the end"),
        (ids(&mut (0..50).rev()), "backwards"),
        (ids(&mut [5, 5, 3, 5, 7, 3, 2000, 1, 1, 0].into_iter()), "some twice, one unknown"),
        (ids(&mut (5000..5020)), "none of them there"),
    ];
    for (keys, why) in cases {
        let expected: Vec<Option<Key>> =
            keys.iter().map(|wanted| Some(wanted.clone()).filter(|wanted| *wanted < key("1000"))).collect();
        let found = store.known(link, keys).await.unwrap();
        let found: Vec<Option<Key>> = found.into_iter().map(|pair| pair.map(|pair| pair.key)).collect();
        assert_eq!(found, expected, "{why}");
    }
}

async fn pairs_are_walked_and_found_by_id_and_across_links(store: &dyn Store) {
    let first = link(store).await;
    let second = store.link("customer2", "people").await.unwrap().id;
    let with_id = |id: &str, remote: &str| {
        let mut pair = agreed(id);
        pair.b.id = Some(remote.into());
        pair
    };
    keep(store, first, vec![with_id("10", "x"), with_id("9", "y"), agreed("a")]).await;
    keep(store, second, vec![with_id("9", "x")]).await;

    let walked = store.walk(first, None, 2).await.unwrap();
    let keys: Vec<Key> = walked.into_iter().map(|pair| pair.key).collect();
    assert_eq!(keys, [key("9"), key("10")], "in key order, whole numbers by amount");
    let rest = store.walk(first, Some(key("10")), 10).await.unwrap();
    assert_eq!(rest.into_iter().map(|pair| pair.key).collect::<Vec<_>>(), [key("a")]);

    let ids = ["y", "?", "x"].map(Into::into).to_vec();
    let found = store.keys_by_id(first, Side::B, ids.clone()).await.unwrap();
    assert_eq!(found, [Some(key("9")), None, Some(key("10"))]);
    assert_eq!(store.keys_by_id(first, Side::A, ids).await.unwrap(), [None, None, None], "a side each");

    let found = store.find(&key("9")).await.unwrap();
    assert_eq!(found.iter().map(|(link, _)| *link).collect::<Vec<_>>(), [first, second]);
    assert_eq!(store.find(&key("a")).await.unwrap().len(), 1);
    assert_eq!(store.find(&key("b")).await.unwrap(), []);
}

async fn the_shape_of_an_undone_commit_is_not_mistaken(store: &dyn Store) {
    let link = link(store).await;
    let with = |id: &str, version: u32, names: [&str; 2]| {
        let values = vec![Value::Int(1), Value::Int(2)];
        let mut pair = agreed(id);
        pair.version = version;
        pair.a.base = Some(Image { shape: Schema::new(names), values: values.into() });
        pair
    };
    let undone = Commit { pairs: vec![with("1", 9, ["x", "y"])], ..Commit::default() };
    assert_eq!(store.commit(link, undone, at(1)).await.unwrap().stale, [key("1")]);
    for (id, names) in [("1", ["p", "q"]), ("2", ["x", "y"]), ("3", ["q", "p"])] {
        keep(store, link, vec![with(id, 0, names)]).await;
    }
    for (id, names) in [("1", ["p", "q"]), ("2", ["x", "y"]), ("3", ["q", "p"])] {
        assert_eq!(pair(store, link, id).await, Some(with(id, 1, names)), "{names:?}");
    }
    let shape = Schema::new(["mine"]);
    let image = Image { shape: Arc::clone(&shape), values: vec![Value::Null].into() };
    let mut mine = agreed("4");
    mine.b.base = Some(image);
    keep(store, link, vec![mine]).await;
    let back = pair(store, link, "4").await.unwrap().b.base.unwrap();
    assert!(Arc::ptr_eq(&back.shape, &shape), "the very shape, so that nobody compares names");
}

async fn links_keep_apart(store: &dyn Store) {
    let people = store.link("customer1", "people").await.unwrap();
    let firms = store.link("customer1", "firms").await.unwrap();
    assert_ne!(people.id, firms.id);
    assert_eq!(store.link("customer1", "people").await.unwrap(), people, "found again");
    keep(store, people.id, vec![agreed("1")]).await;
    queue(store, people.id, vec![wanted("1")]).await;
    assert_eq!(pair(store, firms.id, "1").await, None);
    assert_eq!(store.count_pairs(firms.id).await.unwrap(), 0);
    assert!(lease(store, firms.id, 10, 10).await.is_empty());

    let mut state = people;
    state.matched = true;
    state.planned_under = Some(u128::MAX - 1);
    state.paused = true;
    state.started = true;
    state.frozen = [Some("too many deletes".into()), None];
    let words = [
        LinkWord::Matched,
        LinkWord::PlannedUnder(u128::MAX - 1),
        LinkWord::Paused(true),
        LinkWord::Started,
        LinkWord::Frozen(Direction::AToB, Some("too many deletes".into())),
    ];
    for word in words {
        // What is not said stays as it is.
        store.tell_link(state.id, vec![word]).await.unwrap();
    }
    let back = store.link("customer1", "people").await.unwrap();
    assert_eq!(back.counters.accepted, 1, "counters are not the caller's");
    assert_eq!(LinkState { counters: state.counters, ..back }, state);
    assert_eq!(store.links().await.unwrap().len(), 2);
}

async fn a_link_that_is_not_there_takes_nothing(store: &dyn Store) {
    let nowhere = LinkId(77);
    let commit = Commit { pairs: vec![agreed("1")], ..Commit::default() };
    assert!(store.commit(nowhere, commit, at(1)).await.is_err());
    assert!(store.begin_load(nowhere, Direction::AToB, None).await.is_err());
    assert_eq!(store.count_pairs(nowhere).await.unwrap(), 0);
    assert_eq!(pair(store, nowhere, "1").await, None);
}
