//! What a batch leaves in a file: the records it names, and every other byte as it was.

use record_sync::connectors::{Batch, Delivery, Outcome, Write};
use record_sync::engine::fault::FaultKind;
use record_sync::engine::record::{Key, Number, Schema, Value, Values};

use super::Files;
use crate::conformance::call;

const FIELDS: [&str; 3] = ["id", "n", "new"];

fn delivery(id: i64, write: Write) -> Delivery {
    let key = Key::from_values([&Value::Int(id)]).expect("a key");
    Delivery { key, id: None, write, expected: None, revision: None }
}

fn create(id: i64, n: impl Into<Value>, new: impl Into<Value>) -> Delivery {
    delivery(id, Write::Create(vec![Value::Int(id), n.into(), new.into()].into()))
}

fn update(id: i64, n: impl Into<Value>, new: impl Into<Value>) -> Delivery {
    delivery(id, Write::Update(vec![Value::Int(id), n.into(), new.into()].into()))
}

fn delete(id: i64) -> Delivery {
    delivery(id, Write::Delete)
}

async fn write(files: &Files, deliveries: Vec<Delivery>) -> Vec<Outcome> {
    let batch = Batch { shape: Schema::new(FIELDS), deliveries };
    files.destination("id").write(&batch, &call()).await.expect("the call itself works")
}

const NO: Value = Value::Absent;

#[tokio::test]
async fn untouched_bytes_stay() {
    // (file, before, deliveries, after, why)
    let cases = [
        ("a.csv", "id,n\n1,x\n", vec![update(1, "y", NO)], "id,n\n1,y\n", "a cell"),
        (
            "a.csv",
            "\u{feff}x,id,n\r\n\"a\",\"1\",b\r\n\r\n'c',2,\"d\"\r\n",
            vec![update(1, "y", NO), create(3, "z", NO)],
            "\u{feff}x,id,n\r\n\"a\",\"1\",y\r\n\r\n'c',2,\"d\"\r\n,3,z\r\n",
            "mark, CRLF, empty line, quotes, unknown columns",
        ),
        ("a.csv", "id,n\n1,x", vec![create(2, "y", NO)], "id,n\n1,x\n2,y\n", "a last row without line end"),
        (
            "a.csv",
            "id,n\n1,x\n2,y\n3,\"a\nb\"\n4,u,v\n",
            vec![update(2, NO, "w"), delete(1)],
            "id,n,new\n2,y,w\n3,\"a\nb\",\n4,u,v,\n",
            "a new column stands at the end, and no bad row becomes a good one",
        ),
        (
            "a.csv",
            "id,n\n1,x\n",
            vec![update(1, "a,\"b\"\nc", Value::Null), create(2, "=1+1", Value::Null)],
            "id,n\n1,\"a,\"\"b\"\"\nc\"\n2,=1+1\n",
            "quoted where needed, formulas as they are, no column for nothing",
        ),
        (
            "a.csv",
            "id,n\n1,\n2,x\n",
            vec![update(1, "", NO), update(2, Value::Null, NO)],
            "id,n\n1,\"\"\n2,\n",
            "empty text is not null",
        ),
        ("a.csv", "id\n1\n", vec![delete(1)], "id\n", "the header stays"),
        ("a.json", "[]", vec![create(1, "x", NO)], "[\n  {\"id\":1,\"n\":\"x\"}\n]", "the first one"),
        (
            "a.json",
            "[\n  {\n    \"id\": 1,\n    \"o\": [1,  2],\n    \"n\": \"x\"\n  },\n  {\n    \"id\": 2.0\n  }\n]\n",
            vec![update(1, "y", true), delete(2), create(3, "z", NO)],
            "[\n  {\n    \"id\": 1,\n    \"o\": [1,  2],\n    \"n\": \"y\",\n    \"new\": true\n  },\n  {\n    \"id\": 3,\n    \"n\": \"z\"\n  }\n]\n",
            "pretty stays pretty; 2.0 is 2",
        ),
        (
            "a.json",
            "[{\"id\": 1}, {\"id\": 2}, {\"id\": 3}]",
            vec![delete(1), delete(3), create(4, NO, NO)],
            "[ {\"id\": 2}, {\"id\": 4}]",
            "the first and the last go",
        ),
        ("a.json", "[ {\"id\":1} ]\n", vec![delete(1)], "[ ]\n", "the only one goes"),
        (
            "a.jsonl",
            "{\"id\": 1, \"o\": 1e2}\r\n\r\n{\"id\": 2}",
            vec![update(1, "y", NO), create(3, Number::parse("1e400").expect("number"), NO)],
            "{\"id\": 1, \"o\": 1e2, \"n\": \"y\"}\r\n\r\n{\"id\": 2}\r\n{\"id\": 3, \"n\": 1e400}\r\n",
            "CRLF, an empty line, no line end, exact numbers",
        ),
        ("a.jsonl", "{\"id\":1}\n", vec![delete(1)], "\n", "an empty stream still has a byte"),
        ("a.jsonl", "\n", vec![create(1, NO, NO)], "\n{\"id\":1}\n", "and takes records again"),
    ];
    for (name, before, deliveries, after, why) in cases {
        let files = Files::with(name, before);
        let outcomes = write(&files, deliveries).await;
        assert!(outcomes.iter().all(|o| matches!(o, Outcome::Delivered { .. })), "{why}: {outcomes:?}");
        assert_eq!(files.text(), after, "{why}");
    }
}

#[tokio::test]
async fn a_new_file_is_made_whole() {
    let cases = [
        ("a.csv", "id,n,new\n1,x,\n2,,true\n"),
        ("a.json", "[\n  {\"id\":1,\"n\":\"x\"},\n  {\"id\":2,\"n\":null,\"new\":true}\n]\n"),
        ("a.jsonl", "{\"id\":1,\"n\":\"x\"}\n{\"id\":2,\"n\":null,\"new\":true}\n"),
    ];
    for (name, after) in cases {
        let files = Files::new(name);
        write(&files, vec![create(1, "x", NO), create(2, Value::Null, true)]).await;
        assert_eq!(files.text(), after);
    }
}

#[tokio::test]
async fn what_is_stored_is_told_where_it_differs() {
    let files = Files::with("a.csv", "id,n\n1,x\n");
    let stored = |outcome: &Outcome| match outcome {
        Outcome::Delivered { stored, .. } => stored.as_ref().map(|record| record.values.clone()),
        other => panic!("{other:?}"),
    };
    let text = |id: &str, n: &str| Values::from([Value::text(id), Value::text(n), Value::Absent]);
    let mut known = update(1, "y", NO);
    known.expected = Some(vec![Value::Int(1), Value::text("x"), Value::Absent].into());
    let outcomes = write(&files, vec![known, create(2, 5, Value::Null)]).await;
    assert_eq!(stored(&outcomes[0]), Some(text("1", "y")), "a number is text now");
    assert_eq!(stored(&outcomes[1]), Some(text("2", "5")), "and nothing has no column");

    let partly = Write::Update(vec![Value::Int(1), Value::Absent, Value::Absent].into());
    let outcomes = write(&files, vec![delivery(1, partly)]).await;
    assert_eq!(stored(&outcomes[0]), None, "what the caller did not compare is not passed off as agreed");

    let files = Files::with("a.json", "[]");
    let outcomes = write(&files, vec![create(1, 5, Value::Null)]).await;
    assert_eq!(stored(&outcomes[0]), None, "JSON keeps it all");
}

#[tokio::test]
async fn nothing_is_written_where_nothing_changes() {
    for (name, before) in
        [("a.csv", "id,n\n1,5\n"), ("a.json", "[{\"id\":1,\"n\":5}]"), ("a.jsonl", "{\"id\":1,\"n\":5}\n")]
    {
        let files = Files::with(name, before);
        let inode = || {
            use std::os::unix::fs::MetadataExt;
            std::fs::metadata(files.path()).expect("a file").ino()
        };
        let old = inode();
        let batch = vec![create(1, 5, NO), delete(2), update(3, "x", NO)];
        let outcomes = write(&files, batch).await;
        assert!(
            matches!(outcomes[0], Outcome::Delivered { .. }),
            "{name}: it is there already: {outcomes:?}"
        );
        assert!(matches!(outcomes[1], Outcome::Delivered { .. }), "{name}: it is gone already");
        assert!(matches!(outcomes[2], Outcome::Stale(None)), "{name}: it is not there");
        assert_eq!((inode(), files.text().as_str()), (old, before), "{name}");
        write(&files, vec![update(1, 5, NO)]).await;
        assert_eq!(inode(), old, "{name}: a repeated update");
    }
}

#[tokio::test]
async fn a_record_that_can_not_be_told_is_refused_alone() {
    // (file, before, after)
    let cases = [
        ("a.csv", "id,n\n1,x\n1,y\n2\n3,z\n", "id,n\n1,x\n1,y\n2\n3,w\n"),
        (
            "a.json",
            r#"[{"id":1},{"id":1,"n":2},{"id":2,"n":"\ud800"},{"id":3}]"#,
            r#"[{"id":1},{"id":1,"n":2},{"id":2,"n":"\ud800"},{"id":3,"n":"w"}]"#,
        ),
    ];
    for (name, before, after) in cases {
        let files = Files::with(name, before);
        let outcomes =
            write(&files, vec![update(1, "w", NO), create(2, "w", NO), update(3, "w", NO), delete(1)]).await;
        for at in [0, 1, 3] {
            let Outcome::Failed(fault) = &outcomes[at] else { panic!("{name} {at}: {outcomes:?}") };
            assert_eq!(fault.kind, FaultKind::Rejected, "{name} {at}: {fault}");
            assert!(fault.remedy.is_some());
        }
        assert!(matches!(outcomes[2], Outcome::Delivered { .. }), "{name}: {outcomes:?}");
        assert_eq!(files.text(), after);
    }
}
