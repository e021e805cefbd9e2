//! Other writers, crashes and odd places: nothing is ever half, lost or invented.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::sync::Arc;

use record_sync::connectors::{Batch, Delivery, End, Outcome, Write};
use record_sync::engine::fault::FaultKind;
use record_sync::engine::record::{Key, Schema, Value, Values};
use serde_json::json;

use super::{Files, open, shown};
use crate::conformance::{Harness, call};

fn lines(count: usize) -> String {
    (0..count).map(|id| format!("{{\"id\":{id},\"n\":\"old\"}}\n")).collect()
}

fn shape() -> Arc<Schema> {
    Schema::new(["id", "n"])
}

fn delivery(id: i64, write: impl FnOnce(Values) -> Write) -> Delivery {
    let key = Key::from_values([&Value::Int(id)]).expect("a key");
    Delivery {
        key,
        id: None,
        write: write(vec![Value::Int(id), "new".into()].into()),
        expected: None,
        revision: None,
    }
}

async fn write(files: &Files, deliveries: Vec<Delivery>) {
    let batch = Batch { shape: shape(), deliveries };
    let outcomes = files.destination("id").write(&batch, &call()).await.expect("written");
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::Delivered { .. })), "{outcomes:?}");
}

/// Writes into the file without replacing it, as careless writers do.
fn overwrite(files: &Files, content: &str) {
    let mut file = OpenOptions::new().write(true).truncate(true).open(files.path()).expect("a file");
    file.write_all(content.as_bytes()).expect("written");
}

#[tokio::test]
async fn a_pass_over_a_file_that_is_truncated_is_given_up() {
    let files = Files::with("a.jsonl", lines(20_000));
    let mut source = files.source("id");
    let page = source.read(None, 10, &call()).await.expect("the first page");
    overwrite(&files, "{\"id\":0,\"n\":\"new\"}\n");
    let fault = source.read(page.cursor.as_ref(), 10, &call()).await.expect_err("it changed in place");
    assert_eq!(fault.kind, FaultKind::Transient, "{fault}");
    assert!(source.may_have_changed());
    let page = source.read(None, 10, &call()).await.expect("a new pass");
    assert_eq!((shown(&page), page.end), (vec!["id=0 n='new'".to_owned()], End::Complete));
}

#[tokio::test]
async fn an_edit_in_place_of_the_same_size_is_seen() {
    let files = Files::with("a.jsonl", lines(3));
    let mut source = files.source("id");
    let page = source.read(None, 1, &call()).await.expect("the first page");
    overwrite(&files, &lines(3).replace("old", "new"));
    source
        .read(page.cursor.as_ref(), 1, &call())
        .await
        .expect_err("no byte more or less, and yet another file");
}

#[tokio::test]
async fn a_pass_over_a_file_that_is_replaced_reads_the_old_one_to_its_end() {
    let files = Files::with("a.jsonl", lines(20_000));
    let mut source = files.source("id");
    let page = source.read(None, 10, &call()).await.expect("the first page");
    files.put(lines(1).replace("old", "new"));
    let page = source.read(page.cursor.as_ref(), 100_000, &call()).await.expect("the rest");
    assert_eq!((page.changes.len(), page.end), (19_990, End::Complete), "no mixture, and nothing missing");
    assert!(source.may_have_changed(), "the new one is still to be read");
    let page = source.read(None, 10, &call()).await.expect("a new pass");
    assert_eq!(shown(&page), ["id=0 n='new'"]);
}

#[tokio::test]
async fn our_own_writes_are_shown_to_a_pass_under_way() {
    let files = Files::with("a.jsonl", lines(4));
    let mut source = files.source("id");
    let first = source.read(None, 1, &call()).await.expect("the first page");
    write(
        &files,
        vec![delivery(2, Write::Update), delivery(3, |_| Write::Delete), delivery(9, Write::Create)],
    )
    .await;
    let rest = source.read(first.cursor.as_ref(), 10, &call()).await.expect("the rest");
    assert_eq!(
        shown(&rest),
        ["id=1 n='old'", "id=2 n='new'"],
        "what we wrote must not look as if it was undone"
    );
    assert!(source.may_have_changed());
}

#[tokio::test]
async fn a_file_that_vanished_is_not_an_empty_one() {
    let files = Files::new("a.csv");
    let page = files.read("id").await.expect("it never was");
    assert_eq!((page.changes.len(), page.end), (0, End::Complete));
    files.put("id,n\n1,x\n");
    files.read("id").await.expect("it is there");
    fs::remove_file(files.path()).expect("removed");
    let fault = files.read("id").await.expect_err("it is gone");
    assert_eq!(fault.kind, FaultKind::Transient, "{fault}");
    let batch = Batch { shape: shape(), deliveries: vec![delivery(2, Write::Create)] };
    files
        .destination("id")
        .write(&batch, &call())
        .await
        .expect_err("a file with one record would hide the loss");
    files.put("id,n\n1,x\n");
    assert_eq!(shown(&files.read("id").await.expect("it is back")), ["id='1' n='x'"]);
}

#[tokio::test]
async fn a_missing_file_is_refused_where_it_must_exist() {
    let files = Files::new("a.csv");
    let system = open(json!({"path": ".", "create": false}), files.folder.path());
    let fault = system.describe(&files.spec(), &call()).await.expect_err("it is not there");
    assert_eq!(fault.kind, FaultKind::Fatal, "{fault}");
    let system = open(json!({"path": "nowhere/a.csv"}), files.folder.path());
    let fault = system.describe(&files.spec(), &call()).await.expect_err("its folder is not there");
    assert_eq!(fault.kind, FaultKind::Fatal, "{fault}");
}

#[tokio::test]
async fn a_path_can_be_a_file_and_name_the_customer() {
    let files = Files::with("default.csv", "id,n\n1,x\n");
    let system = open(json!({"path": "{customer}.csv"}), files.folder.path());
    let mut spec = files.spec_with_key("id");
    spec.stream = "whatever".to_owned();
    let page = system.source(&spec).expect("a source").read(None, 10, &call()).await.expect("a page");
    assert_eq!(shown(&page), ["id='1' n='x'"]);
    assert_eq!(system.watch(&spec).first(), Some(&files.path()));
}

#[cfg(unix)]
#[tokio::test]
async fn a_link_stays_a_link_and_rights_stay_rights() {
    use std::os::unix::fs::PermissionsExt;
    let files = Files::new("a.csv");
    let real = files.folder.path().join("real.csv");
    fs::write(&real, "id,n\n1,x\n").expect("written");
    fs::set_permissions(&real, fs::Permissions::from_mode(0o640)).expect("rights");
    std::os::unix::fs::symlink("real.csv", files.path()).expect("a link");
    write(&files, vec![delivery(2, Write::Create)]).await;
    assert!(fs::symlink_metadata(files.path()).expect("there").is_symlink());
    assert_eq!(fs::read_to_string(&real).expect("text"), "id,n\n1,x\n2,new\n");
    assert_eq!(fs::metadata(&real).expect("there").permissions().mode() & 0o777, 0o640);
}

#[tokio::test]
async fn what_a_crash_left_is_cleared_away_and_what_lives_is_not() {
    let files = Files::with("a.csv", "id,n\n1,x\n");
    let (left, alive) = (".a.csv.record-sync-7-0.tmp", ".a.csv.record-sync-8-0.tmp");
    let others = [".b.csv.record-sync-7-0.tmp", "a.csv.bak"];
    for name in others.into_iter().chain([left, alive]) {
        fs::write(files.folder.path().join(name), "x").expect("written");
    }
    let held = fs::File::open(files.folder.path().join(alive)).expect("there");
    held.lock().expect("locked, as by another process");
    files.read("id").await.expect("read");
    let exists = |name: &str| files.folder.path().join(name).exists();
    assert!(!exists(left), "its maker is dead");
    assert!(exists(alive), "its maker lives");
    assert!(others.iter().all(|name| exists(name)), "not of this file");
}

fn names(files: &Files) -> Vec<String> {
    let entries = fs::read_dir(files.folder.path()).expect("a folder");
    entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect()
}

#[tokio::test]
async fn a_load_is_known_again_as_long_as_its_file_stands() {
    let files = Files::new("a.jsonl");
    let mut load = files.destination("id").open_load(&shape()).await.expect("a load");
    let mark = load.mark().expect("a mark");
    let holds = async || files.destination("id").holds_load(&mark).await.expect("an answer");
    load.stage(&[delivery(5, Write::Create)]).await.expect("staged");
    assert!(!holds().await, "nothing is visible yet");
    load.finish().await.expect("the load ends");
    assert!(holds().await);
    overwrite(&files, "{\"id\":5,\"n\":\"theirs\"}\n");
    assert!(holds().await, "somebody works on what was loaded");
    files.put("{\"id\":5,\"n\":\"another\"}\n");
    assert!(!holds().await, "somebody put another file there");
    fs::remove_file(files.path()).expect("removed");
    assert!(!holds().await, "nothing is there");
}

#[tokio::test]
async fn a_load_is_given_up_where_somebody_wrote_meanwhile() {
    // (file, before, after somebody else's edit, after one of another link of ours)
    let cases = [
        ("a.csv", "n,id\nx,1", "id,n\n5,theirs\n", "n,id\nnew,1"),
        ("a.json", "[{\"id\":1}]", "[{\"id\":5}]", "[{\"id\":1,\"n\":\"new\"}]"),
        ("a.jsonl", "{\"id\":1}\n", "{\"id\":5}\n", "{\"id\":1,\"n\":\"new\"}\n"),
    ];
    for (name, before, theirs, ours) in cases {
        let files = Files::with(name, before);
        for after in [ours, theirs] {
            let mut load = files.destination("id").open_load(&shape()).await.expect("a load");
            load.stage(&[delivery(5, Write::Create)]).await.expect("staged");
            match after == ours {
                true => write(&files, vec![delivery(1, Write::Update)]).await,
                false => files.put(theirs),
            }
            let mark = load.mark().expect("a mark");
            let fault = load.finish().await.expect_err("the key may be there by now");
            assert_eq!(fault.kind, FaultKind::Transient, "{fault}");
            assert_eq!((files.text().as_str(), names(&files)), (after, vec![name.to_owned()]));
            assert!(!files.destination("id").holds_load(&mark).await.expect("an answer"), "{name}");
        }
    }
}

#[tokio::test]
async fn a_load_into_nothing_makes_the_file() {
    for name in ["a.csv", "a.json", "a.jsonl"] {
        let files = Files::new(name);
        let load = files.destination("id").open_load(&shape()).await.expect("a load");
        load.finish().await.expect("an empty load ends");
        assert!(names(&files).is_empty(), "nothing was staged");
        let mut load = files.destination("id").open_load(&shape()).await.expect("a load");
        for id in 0..5_000 {
            load.stage(&[delivery(id, Write::Create)]).await.expect("staged");
        }
        load.finish().await.expect("the load ends");
        let page = files.read("id").await.expect("a page");
        assert_eq!((page.changes.len(), page.end), (5_000, End::Complete), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_links_that_write_one_file_lose_nothing() {
    let files = Files::with("a.csv", "id,n\n");
    let (odd, even) = (files.destination("id"), files.destination("id"));
    let work = |destination: Arc<dyn record_sync::connectors::Destination>, from: i64| async move {
        for id in (from..40).step_by(2) {
            let batch = Batch { shape: shape(), deliveries: vec![delivery(id, Write::Create)] };
            destination.write(&batch, &call()).await.expect("written");
        }
    };
    tokio::join!(work(odd, 1), work(even, 0));
    assert_eq!(files.read("id").await.expect("a page").changes.len(), 40);
}
