//! Reading and writing streams, beyond what every connector promises.

use std::sync::Arc;

use record_sync::connectors::{Batch, Delivery, End, Outcome, Source, System, Wanted, Write};
use record_sync::engine::record::{Change, Cursor, Key, Number, Schema, Value};
use serde_json::json;

use super::{World, open_org, strict_org, text, world};
use crate::conformance::{Harness, Row, call};
use record_sync::connectors::mock::MockSettings;

/// Reads one pass; gives what was shown, the cursor at its end, and the number of pages.
async fn pass(
    source: &mut dyn Source,
    mut cursor: Option<Cursor>,
    limit: usize,
) -> (Vec<Change>, Option<Cursor>, usize) {
    let mut changes = Vec::new();
    for pages in 1..1000 {
        let page = source.read(cursor.as_ref(), limit, &call()).await.unwrap();
        changes.extend(page.changes);
        cursor = page.cursor.or(cursor);
        if let Some(cursor) = &cursor {
            source.ack(cursor).await.unwrap();
        }
        if page.end != End::More {
            return (changes, cursor, pages);
        }
    }
    panic!("the pass does not end");
}

fn key(text: &str) -> Key {
    Key::from_text(text).unwrap()
}

fn create(text: &str, values: Vec<Value>) -> Delivery {
    Delivery { key: key(text), id: None, write: Write::Create(values.into()), expected: None, revision: None }
}

async fn write(
    world: &World,
    system: &Arc<dyn System>,
    names: &[&str],
    deliveries: Vec<Delivery>,
) -> Vec<Outcome> {
    let destination = system.destination(&world.spec()).unwrap();
    destination.write(&Batch { shape: Schema::new(names), deliveries }, &call()).await.unwrap()
}

fn id_of(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Delivered { id: Some(id), .. } => id.to_string(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_second_of_any_length_is_read_whole_and_rests() {
    let world = open_org().await;
    world.insert(&(0..450).map(Row::numbered).collect::<Vec<_>>()).await;
    let system = world.system();
    let mut source = system.source(&world.spec()).unwrap();
    let (changes, cursor, pages) = pass(&mut *source, None, 100).await;
    assert_eq!((changes.len(), pages), (450, 5));
    for _ in 0..10 {
        let (changes, same, _) = pass(&mut *source, cursor.clone(), 1000).await;
        assert_eq!((changes.len(), &same), (0, &cursor), "nothing new, nothing to store");
    }
    // An edit within the very same second, of a row far before the cursor.
    world.update(&[Row::new("k00003", "Same second", "")]).await;
    let (changes, cursor, _) = pass(&mut *source, cursor, 100).await;
    assert_eq!(changes.len(), 1, "{changes:?}");
    world.advance(3600);
    // Now and then a pass asks for what was purged, too.
    let (changes, cursor, _) = pass(&mut *source, cursor, 1000).await;
    assert_eq!(changes.len(), 0);
    world.advance(300);
    world.forget_arrivals();
    let (changes, cursor, _) = pass(&mut *source, cursor, 1000).await;
    assert_eq!(changes.len(), 0);
    assert_eq!(world.arrivals(), ["GET /queryAll 200 0"], "a stream at rest costs one call");
    world.update(&[Row::new("k00004", "Later", "")]).await;
    let (changes, ..) = pass(&mut *source, cursor, 100).await;
    assert_eq!(changes.len(), 1);
}

#[tokio::test]
async fn the_first_read_shows_what_lives_and_later_ones_what_went() {
    let world = open_org().await;
    world.insert(&(0..4).map(Row::numbered).collect::<Vec<_>>()).await;
    world.delete(&["k00000".to_owned()]).await;
    world.advance(60);
    let system = world.system();
    let mut source = system.source(&world.spec()).unwrap();
    let (changes, cursor, _) = pass(&mut *source, None, 2).await;
    assert_eq!(changes.len(), 3);
    assert!(changes.iter().all(|change| matches!(change, Change::Upsert(_))), "{changes:?}");

    let ids = world.ids();
    world.delete(&["k00002".to_owned()]).await;
    let (changes, ..) = pass(&mut *source, cursor, 2).await;
    let [Change::Delete(tombstone)] = changes.as_slice() else { panic!("one deletion: {changes:?}") };
    assert_eq!(tombstone.key, Some(key("k00002")));
    assert_eq!(tombstone.id.as_deref(), Some(ids["k00002"].as_str()));
    assert!(tombstone.at.is_some());
}

#[tokio::test]
async fn a_wrongly_empty_page_loses_nothing() {
    let world = open_org().await;
    world.insert(&(0..30).map(Row::numbered).collect::<Vec<_>>()).await;
    let system = world.system();
    let mut source = system.source(&world.spec()).unwrap();
    let page = source.read(None, 10, &call()).await.unwrap();
    source.ack(page.cursor.as_ref().unwrap()).await.unwrap();
    world.advance(600);
    world.set_faults(r#"{"empty_pages": true}"#);
    let (changes, cursor, _) = pass(&mut *source, page.cursor, 10).await;
    assert!(changes.is_empty());
    world.set_faults("{}");
    let (changes, ..) = pass(&mut *source, cursor, 10).await;
    assert_eq!(changes.len(), 20, "the rest comes with the next pass");
}

#[tokio::test]
async fn our_own_writes_are_known_and_other_peoples_are_not_taken_for_them() {
    let world = open_org().await;
    let system = world.system();
    let names = ["record_id", "name"];
    write(&world, &system, &names, vec![create("1", vec![Value::Int(1), "ours".into()])]).await;
    world.insert(&[Row::new("2", "theirs", "")]).await;
    let mut source = system.source(&world.spec()).unwrap();
    let (changes, ..) = pass(&mut *source, None, 10).await;
    let ours: Vec<(String, bool)> = changes
        .iter()
        .map(|change| match change {
            Change::Upsert(record) => (record.get("name").to_plain().unwrap().to_string(), record.meta.ours),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(ours, [("ours".to_owned(), true), ("theirs".to_owned(), false)]);
}

#[tokio::test]
async fn a_batch_is_one_call_and_values_keep_every_digit() {
    let world = open_org().await;
    let system = world.system();
    let names = ["record_id", "name", "big", "small", "none"];
    let number = |text: &str| Number::parse(text).unwrap();
    let mut deliveries: Vec<Delivery> = (0..199)
        .map(|at| {
            create(
                &at.to_string(),
                vec![Value::Int(at), "x".into(), Value::Absent, Value::Absent, Value::Absent],
            )
        })
        .collect();
    let exact = vec![
        Value::Int(9_007_199_254_740_993),
        "exact".into(),
        number("18446744073709551616"),
        number("0.12345678901234567890123456789"),
        Value::Null,
    ];
    deliveries.push(create("9007199254740993", exact));
    write(&world, &system, &names, deliveries).await;
    assert_eq!(
        world.arrivals(),
        ["GET /sobjects/Contact/describe 200 0", "PATCH /composite/sobjects/Contact/record_id 200 200"]
    );
    let spec = record_sync::connectors::StreamSpec {
        fields: Some(["record_id", "name", "big", "small", "none", "never"].map(str::to_owned).into()),
        ..world.spec()
    };
    let destination = system.destination(&spec).unwrap();
    let found =
        destination.look_up(&[Wanted { key: key("9007199254740993"), id: None }], &call()).await.unwrap();
    let record = found[0].as_ref().unwrap();
    let plain = |name: &str| record.get(name).to_plain().map(String::from);
    assert_eq!(record.get("record_id"), &Value::Int(9_007_199_254_740_993));
    assert_eq!(plain("big").as_deref(), Some("18446744073709551616"));
    assert_eq!(plain("small").as_deref(), Some("0.12345678901234567890123456789"));
    assert_eq!((record.get("none"), record.get("never")), (&Value::Null, &Value::Null));
}

#[tokio::test]
async fn an_update_of_what_went_is_stale_and_makes_no_torso() {
    let world = open_org().await;
    let system = world.system();
    let names = ["record_id", "name", "email"];
    let made =
        write(&world, &system, &names, vec![create("1", vec!["1".into(), "n".into(), "e".into()])]).await;
    world.delete(&["1".to_owned()]).await;
    let update = Delivery {
        id: Some(id_of(&made[0]).into()),
        write: Write::Update(vec!["1".into(), "changed".into(), Value::Absent].into()),
        ..create("1", Vec::new())
    };
    let outcomes = write(&world, &system, &names, vec![update]).await;
    assert!(matches!(outcomes[0], Outcome::Stale(None)), "{outcomes:?}");
    assert!(world.standing().is_empty());
}

#[tokio::test]
async fn a_mixed_batch_answers_in_its_own_order() {
    let world = open_org().await;
    let system = world.system();
    let names = ["record_id", "name", "email"];
    world.insert(&(1..4).map(|at| Row::new(at.to_string(), "n", "e")).collect::<Vec<_>>()).await;
    let ids = world.ids();
    let update = |at: &str| Delivery {
        id: Some(ids[at].as_str().into()),
        write: Write::Update(vec![at.into(), "updated".into(), Value::Null].into()),
        ..create(at, Vec::new())
    };
    let delete = |at: &str| Delivery { write: Write::Delete, ..create(at, Vec::new()) };
    let batch = vec![
        delete("2"),
        create("9", vec!["9".into(), "new".into(), Value::Absent]),
        update("1"),
        delete("777"),
        delete("3"),
    ];
    let outcomes = write(&world, &system, &names, batch).await;
    assert!(outcomes.iter().all(|it| matches!(it, Outcome::Delivered { .. })), "{outcomes:?}");
    assert_eq!(id_of(&outcomes[0]), ids["2"]);
    assert_eq!(id_of(&outcomes[2]), ids["1"]);
    let left = world.read_all().await;
    assert_eq!(left, [Row::new("1", "updated", ""), Row::new("9", "new", "")]);
}

#[tokio::test]
async fn a_record_is_looked_up_by_its_id_even_under_another_key() {
    let world = strict_org().await;
    world.insert(&[Row::new("a", "A", ""), Row::new("B", "B", ""), Row::new("c", "C", "")]).await;
    let ids = world.ids();
    world.delete(&["c".to_owned()]).await;
    world.insert(&[Row::new("c", "C again", "")]).await;
    let body = r#"{"External_Id__c": "moved"}"#;
    let reply = world.api("PATCH", &format!("sobjects/Contact/{}", ids["a"]), body);
    assert_eq!(reply.status, 204, "{}", text(&reply));
    world.forget_arrivals();
    let destination = world.system().destination(&world.spec()).unwrap();
    let wanted = [
        Wanted { key: key("a"), id: Some(ids["a"].as_str().into()) },
        Wanted { key: key("b"), id: None },
        Wanted { key: key("c"), id: Some(ids["c"].as_str().into()) },
        Wanted { key: key("nobody"), id: None },
    ];
    let found = destination.look_up(&wanted, &call()).await.unwrap();
    let names: Vec<_> = found
        .iter()
        .map(|record| record.as_ref().and_then(|record| record.get("LastName").to_plain()).map(String::from))
        .collect();
    let name = |text: &str| Some(text.to_owned());
    assert_eq!(names, [name("A"), name("B"), name("C again"), None], "case is ignored; ids may be gone");
    assert_eq!(
        world.arrivals()[1..],
        ["GET /jobs/ingest 200 0", "POST /composite/sobjects/Contact 200 0", "GET /query 200 0"],
        "once after a start, whether a job is still at work there"
    );
}

#[tokio::test]
async fn a_strict_org_gets_values_as_its_fields_want_them() {
    let world = strict_org().await;
    let system = world.system();
    let names = ["External_Id__c", "lastname", "DoNotCall"];
    let values = vec![Value::Int(303), Value::Int(5), Value::Int(1)];
    let outcomes = write(&world, &system, &names, vec![create("303", values)]).await;
    id_of(&outcomes[0]);
    let standing = world.standing();
    assert_eq!(standing[0]["External_Id__c"], json!("303"));
    assert_eq!(standing[0]["LastName"], json!("5"));
    assert_eq!(standing[0]["DoNotCall"], json!(true));
}

#[tokio::test]
async fn an_orgs_data_outlives_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let settings = || MockSettings { data: Some(folder.path().join("sf.sqlite")), ..MockSettings::default() };
    let names = ["record_id", "name", "email"];
    let first = world(settings(), names).await;
    first.insert(&[Row::new("1", "kept", ""), Row::new("2", "gone", "")]).await;
    first.delete(&["2".to_owned()]).await;
    let cursor = {
        let mut source = first.system().source(&first.spec()).unwrap();
        pass(&mut *source, None, 10).await.1
    };
    let ids = first.ids();
    drop(first);
    let second = world(settings(), names).await;
    assert_eq!(second.ids(), ids);
    // The field is still known by its first spelling, serial numbers and stamps go on.
    second.insert(&[Row::new("3", "new", "")]).await;
    assert!(second.ids()["3"] > ids["1"]);
    let mut source = second.system().source(&second.spec()).unwrap();
    let (changes, ..) = pass(&mut *source, cursor, 10).await;
    assert!(
        changes.iter().any(|change| matches!(change, Change::Upsert(it) if it.get("name") == &"new".into()))
    );
}
