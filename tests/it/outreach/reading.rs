//! Records from the service: logins, pages, what shows late.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_is_made_once_and_again_when_the_token_ends() {
    let world = loose().await;
    let system = world.system();
    let mut source = system.source(&world.spec).unwrap();
    source.read(None, 10, &call()).await.unwrap();
    source.read(None, 10, &call()).await.unwrap();
    let list = "GET /api/v2/prospects 200";
    assert_eq!(world.arrivals(), ["POST /oauth/token 200", list, list]);
    world.now.fetch_add(2 * 3_600_000, Ordering::SeqCst);
    source.read(None, 10, &call()).await.unwrap();
    assert_eq!(world.arrivals(), ["POST /oauth/token 200", list], "renewed before it was refused");

    let mut settings = world.settings();
    settings["refresh_token"] = "stolen".into();
    let mut source = world.open(settings).source(&world.spec).unwrap();
    let fault = source.read(None, 10, &call()).await.unwrap_err();
    assert_eq!((fault.kind, fault.code), (FaultKind::Fatal, FaultCode::Auth));
    assert!(world.open(serde_json::json!({"base_url": "mock"})).describe(&world.spec, &call()).await.is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quiet_stream_shows_nothing_and_a_late_commit_is_still_seen() {
    let world = loose().await;
    let mut source = world.system().source(&world.spec).unwrap();
    let mut read = async |after: Option<&Cursor>| {
        let page = source.read(after, 1000, &call()).await.unwrap();
        assert_eq!(page.end, End::CaughtUp);
        (page.changes.len(), page.cursor)
    };
    world.push(&[("record_id", "a".into())]);
    let (changes, first) = read(None).await;
    assert_eq!(changes, 1);
    let (changes, _) = read(first.as_ref()).await;
    assert_eq!(changes, 1, "younger than the overlap: once more");
    world.now.fetch_add(60_000, Ordering::SeqCst);
    let (_, cursor) = read(first.as_ref()).await;
    let (_, cursor) = read(cursor.as_ref()).await;
    let (changes, later) = read(cursor.as_ref()).await;
    assert_eq!((changes, &later), (0, &cursor), "at rest nothing is shown and nothing moves");
    world.push(&[("record_id", "b".into())]);
    assert_eq!(read(later.as_ref()).await.0, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_next_link_that_is_refused_loses_nothing() {
    let world = loose().await;
    for number in 0..6 {
        world.push(&[("record_id", number.into())]);
    }
    world.now.fetch_add(60_000, Ordering::SeqCst);
    let mut source = world.system().source(&world.spec).unwrap();
    let first = source.read(None, 2, &call()).await.unwrap();
    let text = first.cursor.unwrap().0;
    assert!(text.contains("after"), "{text}");
    let broken = Cursor(text.replace("after%5D=", "after%5D=!").replace("after]=", "after]=!"));
    let page = source.read(Some(&broken), 10, &call()).await.unwrap();
    let ids: Vec<String> = page
        .changes
        .iter()
        .map(|change| match change {
            Change::Upsert(record) => record.meta.id.clone().unwrap().to_string(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(ids, ["2", "3", "4", "5", "6"], "from the last stamp on, inclusive");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trashed_prospect_is_gone() {
    let world = loose().await;
    world.push(&[("record_id", "a".into())]);
    world.push(&[("record_id", "b".into()), ("trashedAt", "2026-01-31T10:00:00.000Z".into())]);
    let system = world.system();
    let mut spec = world.spec.clone();
    spec.fields = Some(vec!["record_id".into(), "name".into()]);
    let mut source = system.source(&spec).unwrap();
    let page = source.read(None, 10, &call()).await.unwrap();
    let [Change::Upsert(_), Change::Delete(tombstone)] = page.changes.as_slice() else {
        panic!("{:?}", page.changes)
    };
    assert_eq!(tombstone.key, Some(Key::from_text("b").unwrap()));
    assert_eq!(tombstone.at, Timestamp::parse_rfc3339("2026-01-31T10:00:00.000Z"));
    assert_eq!(source.list(None, 10, &call()).await.unwrap().keys, [Key::from_text("a").unwrap()]);
    let wanted = ["a", "b"].map(|key| Wanted { key: Key::from_text(key).unwrap(), id: None });
    let found = system.destination(&spec).unwrap().look_up(&wanted, &call()).await.unwrap();
    assert!(found[0].is_some() && found[1].is_none());
}
