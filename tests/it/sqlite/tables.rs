//! Tables, columns and settings: what is there, and what is said of what is not.

use super::*;

#[tokio::test]
async fn hostile_names_are_only_names() {
    let (table, key, field) = ("select\"; DROP TABLE x; --", "a\"b", "from");
    let quote = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
    for capture in ["scan", "column", "triggers"] {
        let database = Database::new(
            &format!(
                "CREATE TABLE {} ({} TEXT PRIMARY KEY, {} TEXT, \"at'\" TEXT)",
                quote(table),
                quote(key),
                quote(field)
            ),
            table,
            &[key],
            json!({"capture": capture, "updated_at": "at'"}),
        );
        let destination = database.destination();
        let create = Write::Create(vec!["k".into(), "v".into()].into());
        let outcomes = write(&destination, &[key, field], vec![delivery(&["k".into()], create)]).await;
        assert!(is_delivered(&outcomes[0]), "{outcomes:?}");
        let mut source = database.source();
        let (changes, cursor) = read_from(&mut *source, None, 10).await;
        assert_eq!(texts(&changes, field), ["v"], "{capture}");
        let update = Write::Update(vec!["k".into(), "w".into()].into());
        write(&destination, &[key, field], vec![delivery(&["k".into()], update)]).await;
        let (changes, _) = read_from(&mut *source, cursor, 10).await;
        assert_eq!(texts(&changes, field), ["w"], "{capture}");
    }
}

#[tokio::test]
async fn faults_name_what_there_is() {
    let database = simple("CREATE TABLE t (id TEXT PRIMARY KEY, name TEXT); CREATE TABLE u (x)", json!({}));
    let describe = async |spec: &StreamSpec| database.system().describe(spec, &call()).await;
    let with = |change: &dyn Fn(&mut StreamSpec)| {
        let mut spec = database.spec.clone();
        change(&mut spec);
        spec
    };
    let options = |value: serde_json::Value| value.as_object().cloned().unwrap_or_else(Map::new);
    // (spec, what message and remedy say)
    let cases = [
        (with(&|spec| spec.stream = "users".to_owned()), "use one of: t, u"),
        (with(&|spec| spec.key = vec!["nam".to_owned()]), "use one of: id, name"),
        (with(&|spec| spec.key.clear()), "name its key column"),
        (with(&|spec| spec.options = options(json!({"capture": "column"}))), "updated_at"),
        (with(&|spec| spec.options = options(json!({"capture": "magic"}))), "\"triggers\""),
        (with(&|spec| spec.options = options(json!({"updated_at": "changed"}))), "use one of: id, name"),
        (with(&|spec| spec.options = options(json!({"overlap_seconds": -1}))), "whole seconds"),
    ];
    for (spec, expected) in cases {
        let fault = describe(&spec).await.expect_err("refused");
        assert_eq!(fault.kind, FaultKind::Fatal);
        assert!(fault.to_string().contains(expected), "{fault} should say {expected}");
    }
    let mut spec = database.spec.clone();
    spec.fields = Some(vec!["id".to_owned(), "nme".to_owned()]);
    let fault = database.system().source(&spec).unwrap().read(None, 1, &call()).await.expect_err("refused");
    assert!(fault.to_string().contains("\"nme\""), "{fault}");
}

#[tokio::test]
async fn a_missing_database_is_made_only_on_request() {
    let folder = tempfile::tempdir().unwrap();
    let spec = simple("CREATE TABLE t (id)", json!({})).spec.clone();
    let system = open(folder.path(), json!({"path": "new/{customer}.sqlite"})).unwrap();
    let fault = system.describe(&spec, &call()).await.expect_err("it is missing");
    assert!(fault.kind == FaultKind::Fatal && fault.to_string().contains("create = true"), "{fault}");
    assert!(!folder.path().join("new").exists(), "nothing is made by looking");
    let system = open(folder.path(), json!({"path": "new/{customer}.sqlite", "create": true})).unwrap();
    let fault = system.describe(&spec, &call()).await.expect_err("no table yet");
    assert!(fault.to_string().contains("no tables yet"), "{fault}");
    assert!(folder.path().join("new/app.sqlite").exists());
    std::fs::write(folder.path().join("junk"), "this is no database, only text ".repeat(100)).unwrap();
    let system = open(folder.path(), json!({"path": "junk"})).unwrap();
    let fault = system.describe(&spec, &call()).await.expect_err("no database");
    assert_eq!(fault.kind, FaultKind::Fatal, "{fault}");
}

#[test]
fn settings_are_checked_before_anything_is_opened() {
    let check = connectors::find("sqlite").unwrap().check_settings;
    // (settings, the culprit (`None`: fine))
    let cases = [
        (json!({"path": "x"}), None),
        (json!({"path": "x", "busy_timeout_ms": 0, "create": true}), None),
        (json!({}), Some(vec![])),
        (json!({"path": 1}), Some(vec!["path"])),
        (json!({"path": ":memory:"}), Some(vec!["path"])),
        (json!({"path": "x", "pth": 1}), Some(vec!["pth"])),
        (json!({"path": "x", "busy_timeout_ms": "5"}), Some(vec!["busy_timeout_ms"])),
    ];
    for (settings, culprit) in cases {
        let path = check(&settings).err().map(|error| error.path);
        let culprit = culprit.map(|path| path.into_iter().map(String::from).collect::<Vec<_>>());
        assert_eq!(path, culprit, "{settings}");
    }
}

#[tokio::test]
async fn only_what_the_rules_read_is_read() {
    let mut database = simple(
        "CREATE TABLE t (id TEXT PRIMARY KEY, a TEXT, secret TEXT, at TEXT,
                         twice TEXT GENERATED ALWAYS AS (a || a) VIRTUAL);
         INSERT INTO t VALUES ('k', 'x', 's', '2026-01-01 00:00:00')",
        json!({"updated_at": "at"}),
    );
    let info = database.system().describe(&database.spec, &call()).await.unwrap();
    assert_eq!(info.fields, ["id", "a", "secret", "at", "twice"]);
    assert!(!info.open && info.barred.keys().eq(["twice"]));
    database.spec.fields = Some(vec!["twice".to_owned()]);
    let changes = read_all(&mut *database.source(), 10).await;
    let record = record(&changes[0]);
    assert_eq!(record.schema.names().collect::<Vec<_>>(), ["twice", "id", "at"]);
    assert_eq!(*record.get("twice"), "xx".into(), "a computed column can be read");
    assert_eq!(record.meta.modified_at, Timestamp::parse_rfc3339("2026-01-01T00:00:00Z"));
    let create = Write::Create(vec!["l".into(), "yy".into()].into());
    let outcomes =
        write(&database.destination(), &["id", "twice"], vec![delivery(&["l".into()], create)]).await;
    assert!(
        matches!(&outcomes[0], Outcome::Failed(fault) if fault.message.contains("computed")),
        "{outcomes:?}"
    );
}

#[tokio::test]
async fn views_are_read_but_not_written() {
    let database = Database::new(
        "CREATE TABLE s (id, v); INSERT INTO s VALUES (1, 'a'), (2, 'b'), (3, NULL);
         CREATE VIEW t AS SELECT id, v FROM s",
        "t",
        &["id"],
        json!({}),
    );
    for limit in [1, 2, 10] {
        assert_eq!(texts(&read_all(&mut *database.source(), limit).await, "id"), ["1", "2", "3"]);
    }
    let batch =
        Batch { shape: Schema::new(["id"]), deliveries: vec![delivery(&["1".into()], Write::Delete)] };
    let fault = database.destination().write(&batch, &call()).await.expect_err("a view");
    assert!(fault.kind == FaultKind::Fatal && fault.message.contains("view"), "{fault}");
}

#[tokio::test]
async fn a_column_that_comes_or_goes_is_noticed() {
    let database =
        simple("CREATE TABLE t (id TEXT PRIMARY KEY, v); INSERT INTO t VALUES ('a', 1)", json!({}));
    let mut source = database.source();
    read_all(&mut *source, 10).await;
    database.run("ALTER TABLE t ADD COLUMN w TEXT DEFAULT 'new'; ALTER TABLE t DROP COLUMN v");
    assert!(source.may_have_changed());
    let changes = read_all(&mut *source, 10).await;
    assert_eq!(record(&changes[0]).schema.names().collect::<Vec<_>>(), ["id", "w"]);
}
