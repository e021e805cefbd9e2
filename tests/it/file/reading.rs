//! What stands in a file, and what is made of it.

use record_sync::connectors::{End, StreamInfo};
use record_sync::engine::fault::FaultKind::{self, Fatal, Transient};

use super::{Files, shown};
use crate::conformance::{Harness, call};

#[tokio::test]
async fn records_are_read_as_they_stand() {
    // (file, content, records, why)
    let cases: [(&str, &[u8], &[&str], &str); 21] = [
        ("a.csv", b"id,n\n1,x\n", &["id='1' n='x'"], "plain"),
        (
            "a.csv",
            b"\xef\xbb\xbfid,n\r\n1,x\r\n",
            &["id='1' n='x'"],
            "a byte order mark and CRLF, from Excel",
        ),
        (
            "a.csv",
            b"id,n\n1,\"two\nlines, \"\"quoted\"\"\"\n",
            &["id='1' n='two\nlines, \"quoted\"'"],
            "quoted",
        ),
        (
            "a.csv",
            b"id,n\n1,\n2,\"\"\n",
            &["id='1' n=null", "id='2' n=''"],
            "only quotes tell empty text from null",
        ),
        ("a.csv", b"id,n\n007,9007199254740993\n", &["id='007' n='9007199254740993'"], "all is text"),
        ("a.csv", b"id,n\n1,x", &["id='1' n='x'"], "no line end at the end"),
        ("a.csv", b"\n\nid,n\n\n1,x\n\n", &["id='1' n='x'"], "empty lines"),
        ("a.csv", b"id,\n1,x\n", &["id='1'"], "a column without a name is nobody's"),
        ("a.csv", b"id,n\n", &[], "no record"),
        (
            "a.csv",
            b"id,n\n1,x\n2,y,z\n3\n4,w\n",
            &["id='1' n='x'", "!2", "!3", "id='4' n='w'"],
            "wrong widths",
        ),
        ("a.csv", b"n,id\nx,1\ny,2,z\n", &["n='x' id='1'", "!"], "a key behind the break can't be trusted"),
        ("a.csv", b"id,n\n1,\xff\n2,x\n", &["!1", "id='2' n='x'"], "one bad record is no bad file"),
        ("a.json", b"[]", &[], "no record"),
        (
            "a.json",
            b"\xef\xbb\xbf[{\"id\":1,\"n\":9007199254740993}, {\"id\":2,\"m\":[1,{\"b\":0,\"a\":1.50}]}]\r\n",
            &["id=1 n=9007199254740993", "id=2 m=[1,{\"a\":1.50,\"b\":0}]"],
            "exact numbers, nested values, fields that come up late",
        ),
        ("a.json", b"[{\"id\":1,\"n\":\"\\ud800\"},{\"id\":2}]", &["!1", "id=2"], "a lone surrogate"),
        ("a.json", b"[1,{\"id\":2},[]]", &["!", "id=2", "!"], "what is no object"),
        ("a.json", b"[{\"id\":1,\"n\":\"\xff\"},{\"id\":2}]", &["!1", "id=2"], "not UTF-8"),
        ("a.jsonl", b"{\"id\":1}\r\n\n  \n{\"id\":2}", &["id=1", "id=2"], "CRLF, empty lines, no line end"),
        ("a.ndjson", b"\xef\xbb\xbf{\"id\":1}\n", &["id=1"], "the other ending, and a byte order mark"),
        ("a.jsonl", b"\n", &[], "an empty line is an empty stream"),
        ("a.jsonl", b"{\"id\":1\n{\"id\":2}\n", &["!", "id=2"], "a bad line is one bad record"),
    ];
    for (name, content, expected, why) in cases {
        let page = Files::with(name, content).read("id").await.expect(why);
        assert_eq!(shown(&page), expected, "{why}");
        let end = if expected.contains(&"!") { End::CaughtUp } else { End::Complete };
        assert_eq!(page.end, end, "{why}: complete only where every key was read");
    }
}

#[tokio::test]
async fn what_is_not_whole_is_never_a_shorter_stream() {
    // (file, content, kind, why)
    let cases: [(&str, &[u8], FaultKind, &str); 17] = [
        ("a.csv", b"", Transient, "truncated, not yet written"),
        ("a.json", b"", Transient, "truncated, not yet written"),
        ("a.jsonl", b"", Transient, "truncated, not yet written"),
        ("a.csv", b"\xef\xbb\xbf", Transient, "a mark and nothing else"),
        ("a.csv", b"id,n\n1,x\n2", Transient, "a row without its end"),
        ("a.csv", b"id,n\n1,\"x", Transient, "a quote left open"),
        ("a.json", b"[{\"id\":1}", Transient, "the list is not closed"),
        ("a.json", b"[{\"id\":1},{\"id\":2", Transient, "inside a record"),
        ("a.json", b"  ", Transient, "before the list"),
        ("a.json", b"[{\"id\":1}]]", Transient, "two writers at once"),
        ("a.jsonl", b"{\"id\":1}\n{\"id\":", Transient, "inside a record"),
        ("a.jsonl", b"{\"id\":1}\n{\"id\":{}", Transient, "a bracket closes, but not the record's"),
        ("a.csv", b"\xff\xfei\0d\0", Fatal, "UTF-16"),
        ("a.json", b"[\0{\0}\0]\0", Fatal, "UTF-16 without a mark"),
        ("a.csv", b"1,x\n2,y\n", Fatal, "the header is gone"),
        ("a.csv", b"id,n,n\n1,x,y\n", Fatal, "two columns of one name"),
        ("a.csv", b"id\n1,x\n2,y\n", Fatal, "no row has the header's width"),
    ];
    // Together, since each is given some patience.
    let faults = cases.map(|(name, content, kind, why)| async move {
        (Files::with(name, content).read("id").await.expect_err(why), kind, why)
    });
    for (fault, kind, why) in futures_util::future::join_all(faults).await {
        assert_eq!(fault.kind, kind, "{why}: {fault}");
        assert!(fault.remedy.is_some(), "{why}");
    }
}

#[tokio::test]
async fn only_wanted_fields_are_read() {
    let cases = [
        ("a.csv", "x,n,id\n1,2,3\n", "n='2' id='3'"),
        ("a.json", r#"[{"x":1,"n":2,"id":3}]"#, "n=2 id=3"),
        ("a.jsonl", "{\"x\":1,\"n\":2,\"id\":3}\n", "n=2 id=3"),
    ];
    for (name, content, expected) in cases {
        let files = Files::with(name, content);
        let mut spec = files.spec_with_key("id");
        spec.fields = Some(vec!["n".to_owned()]);
        let mut source = files.system().source(&spec).expect("a source");
        let page = source.read(None, 10, &call()).await.expect("a page");
        assert_eq!(shown(&page), [expected], "{name}");
    }
}

#[tokio::test]
async fn a_stream_shows_its_fields() {
    // (file, content, fields)
    let cases = [
        ("a.csv", Some("id,n\n"), vec!["id", "n"]),
        ("a.json", Some(r#"[{"id":1},{"n":2,"id":3}]"#), vec!["id", "n"]),
        ("a.jsonl", None, vec![]),
    ];
    for (name, content, fields) in cases {
        let files = Files::new(name);
        content.iter().for_each(|content| files.put(content));
        let info = files.system().describe(&files.spec_with_key("id"), &call()).await.expect("a description");
        let fields = fields.into_iter().map(str::to_owned).collect();
        assert_eq!(info, StreamInfo { fields, open: true, ..StreamInfo::default() }, "{name}");
    }
    for (name, content) in [("a.csv", "n\n1\n"), ("a.json", r#"[{"n":1}]"#)] {
        let files = Files::with(name, content);
        let fault = files.system().describe(&files.spec_with_key("id"), &call()).await.expect_err("no key");
        assert_eq!(fault.kind, Fatal, "{fault}");
    }
}

#[tokio::test]
async fn other_delimiters_can_be_set() {
    let mut files = Files::with("a.csv", "id;n\n1;a,b\n");
    files.options.insert("delimiter".to_owned(), ";".into());
    assert_eq!(shown(&files.read("id").await.expect("a page")), ["id='1' n='a,b'"]);
    let mut files = Files::with("a.tsv", "id\tn\n1\ta,b\n");
    files.options.insert("delimiter".to_owned(), "\t".into());
    files.options.insert("format".to_owned(), "csv".into());
    assert_eq!(shown(&files.read("id").await.expect("a page")), ["id='1' n='a,b'"]);
}
