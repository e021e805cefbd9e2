//! What the reading end knows of the writing end beside it.

use record_sync::connectors::{Batch, Delivery, Destination, Source, Write};
use record_sync::engine::record::{Key, Schema, Value};

use super::Files;
use crate::conformance::{Harness as _, call};

/// What happens between two looks of the reading end.
#[derive(Clone, Copy)]
enum Event {
    Create(i64),
    Update(i64),
    Delete(i64),
    /// Fills a field that the file has no column for yet.
    Widen(i64),
    /// Another link writes by the same system.
    OtherLink(i64),
    /// Somebody else replaces the file.
    Replaced(&'static str),
    /// The same, in place.
    Rewritten(&'static str),
}
use Event::{Create, Delete, OtherLink, Replaced, Rewritten, Update, Widen};

async fn write(writer: &dyn Destination, id: i64, write: Write) {
    let key = Key::from_values([&Value::Int(id)]).expect("a key");
    let delivery = Delivery { key, id: None, write, expected: None, revision: None };
    let batch = Batch { shape: Schema::new(["id", "n", "new"]), deliveries: vec![delivery] };
    writer.write(&batch, &call()).await.expect("an answer");
}

async fn happen(files: &Files, [ours, other]: [&dyn Destination; 2], event: Event) {
    let row = |id, new: Value| [Value::Int(id), Value::text("n"), new].into();
    match event {
        Create(id) => write(ours, id, Write::Create(row(id, Value::Absent))).await,
        Update(id) => write(ours, id, Write::Update(row(id, Value::Absent))).await,
        Widen(id) => write(ours, id, Write::Update(row(id, Value::text("w")))).await,
        Delete(id) => write(ours, id, Write::Delete).await,
        OtherLink(id) => write(other, id, Write::Create(row(id, Value::Absent))).await,
        Replaced(text) => files.put(text),
        Rewritten(text) => std::fs::write(files.path(), text).expect("written"),
    }
}

async fn read_through(source: &mut dyn Source) {
    source.read(None, 1_000, &call()).await.expect("a page");
}

#[tokio::test]
async fn our_own_writes_are_told_apart_from_those_of_others() {
    const CSV: &str = "id,n\n1,x\n2,y\n";
    const JSONL: &str = "{\"id\":1,\"n\":\"x\"}\n";
    const LIST: &str = "[{\"id\": 1, \"n\": \"x\"}]";
    // (file, content, what happens, is it all ours, why)
    let cases: [(&'static str, &str, &[Event], bool, &str); 12] = [
        ("a.csv", CSV, &[], true, "nothing happened"),
        ("a.csv", CSV, &[Create(3)], true, "we made one"),
        ("a.csv", CSV, &[Create(3), Update(3), Delete(1), Create(1)], true, "whatever we write"),
        ("a.jsonl", JSONL, &[Create(3), Delete(1)], true, "in JSON Lines"),
        ("a.json", LIST, &[Create(3), Update(1)], true, "in a list"),
        ("a.csv", CSV, &[Widen(1)], false, "a new column changes what the other rows look like"),
        ("a.jsonl", JSONL, &[Widen(1)], true, "a new field does not"),
        ("a.csv", CSV, &[Replaced("id,n\n1,z\n")], false, "somebody else wrote"),
        ("a.csv", CSV, &[Replaced("id,n\n1,z\n"), Create(3)], false, "before us"),
        ("a.csv", CSV, &[Create(3), Replaced("id,n\n1,z\n")], false, "after us"),
        (
            "a.csv",
            CSV,
            &[Create(3), Rewritten("id,n\n1,x\n2,y\n3,m\n")],
            false,
            "in place, as long as ours, at once",
        ),
        ("a.csv", CSV, &[Create(3), OtherLink(4), Create(5)], false, "another link has others to tell"),
    ];
    for (name, content, events, is_ours, why) in cases {
        let files = Files::with(name, content);
        let system = files.system();
        let spec = files.spec_with_key("id");
        let mut elsewhere = spec.clone();
        elsewhere.consumer = "default/another/b".to_owned();
        let mut source = system.source(&spec).expect("a source");
        let ours = system.destination(&spec).expect("a destination");
        let other = system.destination(&elsewhere).expect("another link's");
        assert!(!source.only_ours().await, "before the first read nothing is known");
        read_through(&mut *source).await;
        for &event in events {
            happen(&files, [&*ours, &*other], event).await;
        }
        assert_eq!(source.only_ours().await, is_ours, "{why}");
        if is_ours {
            assert!(!source.may_have_changed(), "{why}: and that is known from now on");
            files.put("id,n\n9,z\n");
            assert!(source.may_have_changed() && !source.only_ours().await, "{why}: others are seen");
        }
        files.put(content);
        read_through(&mut *source).await;
        assert!(source.only_ours().await, "{why}: once it is read, all is known again");
    }
}

#[tokio::test]
async fn a_bulk_load_is_ours_too() {
    let files = Files::new("a.csv");
    let system = files.system();
    let spec = files.spec_with_key("id");
    let mut source = system.source(&spec).expect("a source");
    let writer = system.destination(&spec).expect("a destination");
    read_through(&mut *source).await;
    let mut load = writer.open_load(&Schema::new(["id", "n"])).await.expect("a load");
    let values = [Value::Int(1), Value::text("x")].into();
    let key = Key::from_values([&Value::Int(1)]).expect("a key");
    let delivery = Delivery { key, id: None, write: Write::Create(values), expected: None, revision: None };
    load.stage(&[delivery]).await.expect("staged");
    assert!(!source.may_have_changed(), "nothing of it shows yet");
    load.finish().await.expect("published");
    assert!(source.may_have_changed() && source.only_ours().await);
    assert_eq!(files.text(), "id,n\n1,x\n");
}
