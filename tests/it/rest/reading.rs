//! Pages in every style, and what keeps them honest.

use std::collections::BTreeSet;

use record_sync::connectors::End;
use record_sync::engine::fault::FaultCode;
use record_sync::engine::record::{Change, Cursor};

use super::*;

async fn insert(world: &World, numbers: std::ops::Range<usize>) {
    world.insert(&numbers.map(Row::numbered).collect::<Vec<_>>()).await;
}

fn keys(changes: &[Change]) -> Vec<String> {
    let key = |change: &Change| match change {
        Change::Upsert(record) => record.get("record_id").to_plain().unwrap_or_default().into(),
        other => format!("{other:?}"),
    };
    changes.iter().map(key).collect()
}

#[tokio::test]
async fn records_that_go_before_an_offset_shift_nothing_out_of_sight() {
    let world = scheduler().await;
    insert(&world, 0..30).await;
    world.settle().await;
    let mut source = world.system().source(&world.spec()).unwrap();
    let first = source.read(None, 10, &call()).await.unwrap();
    let mut seen: BTreeSet<String> = keys(&first.changes).into_iter().collect();
    // More than a page, all of them shown: the rest moves up by as many.
    let gone: Vec<String> = (0..10).map(|number| Row::numbered(number).key).collect();
    world.delete(&gone).await;
    let mut cursor = first.cursor;
    for _ in 0..20 {
        let page = source.read(cursor.as_ref(), 10, &call()).await.unwrap();
        seen.extend(keys(&page.changes));
        cursor = page.cursor;
        if page.end != End::More {
            break;
        }
    }
    for number in 10..30 {
        assert!(seen.contains(&Row::numbered(number).key), "{number} was shifted out of sight: {seen:?}");
    }
}

#[tokio::test]
async fn a_page_that_is_shorter_than_asked_for_is_no_end() {
    let world = scheduler().await;
    insert(&world, 0..90).await;
    let mut settings = world.settings();
    // The service shows 40 at most, whatever is asked for, and tells no total.
    let page = &mut settings["streams"][STREAM]["list"]["page"];
    page["size"] = 500.into();
    page.as_object_mut().unwrap().remove("total");
    let mut source = world.open(settings).source(&world.spec()).unwrap();
    let (mut cursor, mut seen) = (None, BTreeSet::new());
    loop {
        let page = source.read(cursor.as_ref(), 500, &call()).await.unwrap();
        seen.extend(keys(&page.changes));
        cursor = page.cursor;
        if page.end != End::More {
            break;
        }
    }
    assert_eq!(seen.len(), 90);
}

#[tokio::test]
async fn next_links_that_lead_elsewhere_are_not_followed() {
    let world = linked().await;
    insert(&world, 0..60).await;
    world.settle().await;
    let mut source = world.system().source(&world.spec()).unwrap();
    let first = source.read(None, 20, &call()).await.unwrap();
    assert_eq!(first.end, End::More);
    // A cursor holds no address: the same one read from another place stays there.
    let Cursor(text) = first.cursor.as_ref().unwrap();
    assert!(!text.contains("http") && !text.contains("127.0.0.1"), "{text}");
    // The service behind another name of the same machine is another origin.
    let mut settings = world.settings();
    settings["base_url"] = world.url.replace("127.0.0.1", "localhost").into();
    settings["headers"] = json!({"host": world.url.trim_start_matches("http://")});
    let mut source = world.open(settings).source(&world.spec()).unwrap();
    let fault = source.read(None, 20, &call()).await.expect_err("it leads elsewhere");
    assert_eq!((&fault.kind, fault.code), (&FaultKind::Fatal, FaultCode::Configuration), "{fault}");
    assert!(fault.message.contains("another origin"), "{fault}");
}

#[tokio::test]
async fn a_key_in_the_query_stays_out_of_cursors_and_faults() {
    let world = numbered().await;
    insert(&world, 0..40).await;
    let mut settings = world.settings();
    settings["auth"]["api_key"] = "canary".into();
    let mut source = world.open(settings).source(&world.spec()).unwrap();
    let fault = source.read(None, 10, &call()).await.expect_err("another key");
    assert_eq!((&fault.kind, fault.code), (&FaultKind::Fatal, FaultCode::Auth));
    assert!(!format!("{fault:?}").contains("canary"), "{fault:?}");
    let mut source = world.system().source(&world.spec()).unwrap();
    let page = source.read(None, 10, &call()).await.unwrap();
    assert!(!page.cursor.unwrap().0.contains("token"));
}

#[tokio::test]
async fn a_search_that_shows_only_so_many_is_asked_again_from_the_last_stamp() {
    let world = properties().await;
    insert(&world, 0..1).await;
    world.settle().await;
    let mut source = world.system().source(&world.spec()).unwrap();
    let cursor = source.read(None, 100, &call()).await.unwrap().cursor;
    insert(&world, 0..400).await;
    world.settle().await;
    let (mut cursor, mut seen) = (cursor, BTreeSet::new());
    for _ in 0..100 {
        let page = source.read(cursor.as_ref(), 20, &call()).await.unwrap();
        seen.extend(keys(&page.changes));
        cursor = page.cursor.or(cursor);
        if page.end != End::More {
            break;
        }
    }
    assert_eq!(seen.len(), 400, "150 at most for one question");
}

#[tokio::test]
async fn what_a_pass_without_an_order_overlooked_is_read_by_the_next() {
    let world = linked().await;
    insert(&world, 0..60).await;
    world.settle().await;
    let mut source = world.system().source(&world.spec()).unwrap();
    let first = source.read(None, 30, &call()).await.unwrap();
    assert_eq!(first.end, End::More);
    // One of the page that is gone by, and then a later one of the next.
    world.update(&[Row::new("k00001", "behind", "")]).await;
    world.settle().await;
    world.update(&[Row::new("k00059", "ahead", "")]).await;
    world.settle().await;
    let (mut cursor, mut names) = (first.cursor, BTreeSet::new());
    for _ in 0..10 {
        let page = source.read(cursor.as_ref(), 30, &call()).await.unwrap();
        for change in &page.changes {
            if let Change::Upsert(record) = change {
                names.insert(record.get("name").to_plain().unwrap_or_default().to_string());
            }
        }
        cursor = page.cursor.or(cursor);
    }
    assert!(names.contains("behind") && names.contains("ahead"), "{names:?}");
}

#[tokio::test]
async fn descriptions_that_miss_the_service_are_told_so() {
    // (place below the stream, value, words, why)
    let cases = [
        ("/list/records", json!("/items"), "no list of records at /items", "the list stands elsewhere"),
        ("/id", json!("/key"), "no id at /key", "the id stands elsewhere"),
        ("/get/path", json!("/v1/person/{id}"), "does not find", "another path"),
        (
            "/find/query",
            json!({"expand": "all", "nr": "{key}"}),
            "shows other records",
            "a parameter that is passed over",
        ),
        ("/stamp", json!("/created"), "no stamp", "the stamp stands elsewhere"),
    ];
    for (place, value, words, why) in cases {
        let world = feed().await;
        insert(&world, 0..3).await;
        let mut settings = world.settings();
        let stream = &mut settings["streams"][STREAM];
        if place == "/stamp" {
            stream["changes"] = json!({"query": {"since": "{stamp}"}});
        }
        match place {
            "/stamp" | "/id" => stream[place.trim_start_matches('/')] = value,
            _ => *stream.pointer_mut(place).unwrap() = value,
        }
        let told = world.open(settings).describe(&world.spec(), &call()).await;
        let fault = told.expect_err(why);
        assert!(fault.message.contains(words), "{why}: {fault}");
        if fault.kind == FaultKind::Fatal {
            assert!(fault.remedy.is_some(), "{why}: {fault}");
        }
    }
    let world = feed().await;
    insert(&world, 0..3).await;
    let fault = world.system().describe(&spec(STREAM, "nickname"), &call()).await.expect_err("no such key");
    assert!(fault.message.contains("nickname"), "{fault}");
    let two = StreamSpec { key: vec!["record_id".into(), "name".into()], ..spec(STREAM, "record_id") };
    let fault = world.system().describe(&two, &call()).await.expect_err("which of them is {key}?");
    assert!(fault.message.contains("{key}") && fault.remedy.is_some(), "{fault}");
}
