//! The SQLite connector: the conformance suite in all its ways of reading, and what only SQLite does.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use record_sync::connectors::{
    self, Batch, Delivery, Destination, End, Features, Open, Outcome, Source, StreamSpec, System, Wanted,
    Write,
};
use record_sync::engine::fault::{FaultCode, FaultKind};
use record_sync::engine::record::{Change, Cursor, Key, Number, Record, Schema, Timestamp, Value};
use rusqlite::Connection;
use serde_json::{Map, json};
use tempfile::TempDir;

use crate::conformance::{Follower, FreeGate, Harness, Row, call};

/// A database in a folder of its own, with a connection that stands for the application.
pub struct Database {
    folder: TempDir,
    spec: StreamSpec,
}

impl Database {
    fn new(sql: &str, stream: &str, key: &[&str], options: serde_json::Value) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let spec = StreamSpec {
            stream: stream.to_owned(),
            key: key.iter().map(|name| (*name).to_owned()).collect(),
            options: options.as_object().cloned().unwrap_or_default(),
            fields: None,
            consumer: "default/link/a".to_owned(),
        };
        let database = Self { folder, spec };
        database.run(&format!("PRAGMA journal_mode = wal; {sql}"));
        database
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("app.sqlite")
    }

    fn app(&self) -> Connection {
        Connection::open(self.path()).unwrap()
    }

    fn run(&self, sql: &str) {
        self.app().execute_batch(sql).unwrap();
    }

    fn text(&self, sql: &str) -> String {
        self.app().query_row(sql, [], |row| row.get::<_, Option<String>>(0)).unwrap().unwrap_or_default()
    }

    fn source(&self) -> Box<dyn Source> {
        self.system().source(&self.spec).unwrap()
    }

    fn destination(&self) -> Arc<dyn Destination> {
        self.system().destination(&self.spec).unwrap()
    }

    fn features(&self) -> Features {
        self.system().features(&self.spec)
    }

    fn system(&self) -> Arc<dyn System> {
        open(self.folder.path(), json!({"path": "{customer}.sqlite"})).unwrap()
    }
}

fn open(
    folder: &Path,
    settings: serde_json::Value,
) -> Result<Arc<dyn System>, record_sync::engine::fault::Fault> {
    let connector = connectors::find("sqlite").unwrap();
    (connector.open)(Open {
        customer: "app".to_owned(),
        system: "app".to_owned(),
        settings,
        base_dir: folder.to_owned(),
        mock_url: None,
        gate: Arc::new(FreeGate),
        clock: Arc::new(now),
    })
}

/// SQLite's own clock: the stamps in these tests are of its making.
fn now() -> Timestamp {
    let conn = Connection::open_in_memory().unwrap();
    let seconds: i64 = conn.query_row("SELECT unixepoch('now')", [], |row| row.get(0)).unwrap();
    Timestamp(seconds * 1_000)
}

async fn read_all(source: &mut dyn Source, limit: usize) -> Vec<Change> {
    read_from(source, None, limit).await.0
}

async fn read_from(
    source: &mut dyn Source,
    mut cursor: Option<Cursor>,
    limit: usize,
) -> (Vec<Change>, Option<Cursor>) {
    let mut changes = Vec::new();
    for _ in 0..10_000 {
        let page = source.read(cursor.as_ref(), limit, &call()).await.unwrap();
        changes.extend(page.changes);
        cursor = page.cursor.or(cursor);
        if page.end != End::More {
            return (changes, cursor);
        }
    }
    panic!("the read does not come to an end");
}

fn record(change: &Change) -> &Record {
    match change {
        Change::Upsert(record) => record,
        other => panic!("not a record: {other:?}"),
    }
}

fn texts(changes: &[Change], field: &str) -> Vec<String> {
    changes
        .iter()
        .map(|change| match change {
            Change::Upsert(record) => record.get(field).to_plain().map(String::from).unwrap_or_default(),
            Change::Delete(tombstone) => format!("-{}", tombstone.key.as_ref().unwrap()),
            Change::Malformed(malformed) => format!("!{}", malformed.reason),
        })
        .collect()
}

fn delivery(key: &[Value], write: Write) -> Delivery {
    Delivery { key: Key::from_values(key).unwrap(), id: None, write, expected: None, revision: None }
}

async fn write(
    destination: &Arc<dyn Destination>,
    names: &[&str],
    deliveries: Vec<Delivery>,
) -> Vec<Outcome> {
    let batch = Batch { shape: Schema::new(names), deliveries };
    destination.write(&batch, &call()).await.unwrap()
}

fn is_delivered(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Delivered { .. })
}

const DDL: &str = "record_id TEXT, name TEXT CHECK (name <> 'poison'), email TEXT,
                   updated_at TEXT, deleted_at TEXT, other INTEGER NOT NULL DEFAULT 7";

#[async_trait]
impl Harness for Database {
    fn system(&self) -> Arc<dyn System> {
        Database::system(self)
    }

    fn spec(&self) -> StreamSpec {
        self.spec.clone()
    }

    fn unknown(&self) -> Option<StreamSpec> {
        Some(StreamSpec { stream: "contact".to_owned(), ..self.spec.clone() })
    }

    fn poison(&self) -> Option<Row> {
        Some(Row::new("k90000", "poison", "x@example.test"))
    }

    async fn insert(&self, rows: &[Row]) {
        let app = self.app();
        app.execute_batch("BEGIN IMMEDIATE").unwrap();
        for row in rows {
            app.execute(
                "INSERT INTO contacts (record_id, name, email, updated_at)
                 VALUES (?1, ?2, ?3, strftime('%Y-%m-%d %H:%M:%f', 'now'))",
                [&row.key, &row.name, &row.email],
            )
            .unwrap();
        }
        app.execute_batch("COMMIT").unwrap();
    }

    async fn update(&self, rows: &[Row]) {
        for row in rows {
            self.app()
                .execute(
                    "UPDATE contacts SET name = ?2, email = ?3, updated_at = strftime('%Y-%m-%d %H:%M:%f', 'now')
                     WHERE record_id = ?1",
                    [&row.key, &row.name, &row.email],
                )
                .unwrap();
        }
    }

    async fn delete(&self, keys: &[String]) {
        for key in keys {
            self.app().execute("DELETE FROM contacts WHERE record_id = ?1", [key]).unwrap();
        }
    }

    async fn read_all(&self) -> Vec<Row> {
        let app = self.app();
        let mut statement =
            app.prepare("SELECT record_id, name, email FROM contacts WHERE deleted_at IS NULL").unwrap();
        let rows = statement.query_map([], |row| {
            let text = |at| row.get::<_, Option<String>>(at).map(Option::unwrap_or_default);
            Ok(Row::new(text(0)?, text(1)?, text(2)?))
        });
        rows.unwrap().collect::<Result<_, _>>().unwrap()
    }
}

fn contacts(constraint: &str, tail: &str, options: serde_json::Value) -> Database {
    Database::new(
        &format!("CREATE TABLE contacts ({DDL}{constraint}) {tail}"),
        "contacts",
        &["record_id"],
        options,
    )
}

mod scanned {
    async fn make() -> super::Database {
        super::contacts(", PRIMARY KEY (record_id)", "", super::json!({}))
    }
    conformance!(self::make);
}

mod scanned_without_row_numbers {
    async fn make() -> super::Database {
        super::contacts(", PRIMARY KEY (record_id)", "WITHOUT ROWID", super::json!({}))
    }
    conformance!(self::make);
}

mod scanned_without_index {
    async fn make() -> super::Database {
        super::contacts("", "", super::json!({"deleted_at": "deleted_at"}))
    }
    conformance!(self::make);
}

mod by_column {
    async fn make() -> super::Database {
        super::contacts(
            ", PRIMARY KEY (record_id)",
            "",
            super::json!({"capture": "column", "updated_at": "updated_at", "deleted_at": "deleted_at"}),
        )
    }
    conformance!(self::make);
}

mod by_column_without_index {
    async fn make() -> super::Database {
        super::contacts("", "", super::json!({"capture": "column", "updated_at": "updated_at"}))
    }
    conformance!(self::make);
}

mod by_triggers {
    async fn make() -> super::Database {
        super::contacts(", PRIMARY KEY (record_id)", "", super::json!({"capture": "triggers"}))
    }
    conformance!(self::make);
}

/// What only SQLite does.
mod own {
    use super::*;

    fn simple(sql: &str, options: serde_json::Value) -> Database {
        Database::new(sql, "t", &["id"], options)
    }

    fn number(text: &str) -> Value {
        Number::parse(text).unwrap()
    }

    #[tokio::test]
    async fn stored_values_are_read_exactly() {
        // (SQL literal, declared type, value or why it is none)
        let cases: [(&str, &str, Result<Value, &str>); 14] = [
            ("9007199254740993", "INTEGER", Ok(Value::Int(9_007_199_254_740_993))),
            ("9223372036854775807", "INTEGER", Ok(Value::Int(i64::MAX))),
            ("-9223372036854775808", "INTEGER", Ok(Value::Int(i64::MIN))),
            ("0.1", "REAL", Ok(number("0.1"))),
            ("1e300", "REAL", Ok(number("1e300"))),
            ("5", "REAL", Ok(Value::Int(5))),
            ("1", "BOOLEAN", Ok(Value::Int(1))),
            ("'007'", "TEXT", Ok("007".into())),
            ("''", "TEXT", Ok("".into())),
            ("'a' || char(0) || 'b'", "TEXT", Ok("a\0b".into())),
            ("NULL", "TEXT", Ok(Value::Null)),
            ("x'00ff'", "BLOB", Ok(Value::Bytes([0, 255].into()))),
            ("9e999", "REAL", Err("an infinite number")),
            ("CAST(x'ff41' AS TEXT)", "TEXT", Err("text that is not UTF-8")),
        ];
        for (literal, declared, expected) in cases {
            let database = simple(
                &format!(
                    "CREATE TABLE t (id TEXT PRIMARY KEY, v {declared}); INSERT INTO t VALUES ('k', {literal})"
                ),
                json!({}),
            );
            let changes = read_all(&mut *database.source(), 10).await;
            match (&changes[0], expected) {
                (Change::Upsert(record), Ok(value)) => assert_eq!(*record.get("v"), value, "{literal}"),
                (Change::Malformed(malformed), Err(reason)) => {
                    assert!(malformed.reason.contains(reason), "{}", malformed.reason);
                    assert_eq!(malformed.key, Key::from_text("k").ok(), "the key can still be told");
                }
                (change, expected) => panic!("{literal}: {change:?} instead of {expected:?}"),
            }
        }
    }

    #[tokio::test]
    async fn what_is_written_is_kept_or_refused_and_told() {
        // (declared type, value, what stands there (`None`: refused), the outcome says so, why)
        let cases: Vec<(&str, Value, Option<Value>, bool, &str)> = vec![
            ("INTEGER", Value::Int(i64::MIN), Some(Value::Int(i64::MIN)), false, "the end of i64"),
            ("INTEGER", number("18446744073709551615"), None, false, "u64 would lose digits"),
            (
                "TEXT",
                number("18446744073709551615"),
                Some("18446744073709551615".into()),
                true,
                "text keeps u64",
            ),
            ("TEXT", number("1.10"), Some("1.10".into()), true, "and the number's own text"),
            ("NUMERIC", number("12345678901234567890.12345678901234567"), None, false, "38 digits"),
            ("REAL", number("0.1"), Some(number("0.1")), false, "the nearest float reads back alike"),
            ("REAL", Value::Int(3), Some(number("3.0")), false, "equal by amount"),
            ("REAL", Value::Int(9_007_199_254_740_993), None, false, "2^53+1 is no float"),
            ("INTEGER", "12".into(), Some(Value::Int(12)), true, "CSV has no integers"),
            ("INTEGER", "007".into(), None, false, "would come back as 7"),
            ("REAL", "1.50".into(), Some(number("1.5")), true, "asked for"),
            ("INTEGER", "abc".into(), Some("abc".into()), false, "stays as it is"),
            ("BOOLEAN", Value::Bool(true), Some(Value::Int(1)), true, "SQLite has no booleans"),
            ("TEXT", Value::Json("[1,2]".into()), Some("[1,2]".into()), true, "nor lists"),
            ("BLOB", Value::Bytes([0, 1].into()), Some(Value::Bytes([0, 1].into())), false, "bytes"),
            ("TEXT", "a\0b".into(), Some("a\0b".into()), false, "NUL"),
            ("TEXT", Value::Null, Some(Value::Null), false, "null"),
        ];
        for (declared, value, expected, told, why) in cases {
            let database = simple(&format!("CREATE TABLE t (id TEXT PRIMARY KEY, v {declared})"), json!({}));
            let create = Write::Create(vec!["k".into(), value.clone()]);
            let outcomes =
                write(&database.destination(), &["id", "v"], vec![delivery(&["k".into()], create)]).await;
            match (&outcomes[0], expected) {
                (Outcome::Delivered { stored, .. }, Some(expected)) => {
                    let changes = read_all(&mut *database.source(), 10).await;
                    assert_eq!(*record(&changes[0]).get("v"), expected, "{why}");
                    assert_eq!(stored.is_some(), told, "{why}: {stored:?}");
                    let claimed = stored.as_ref().map_or(value, |record| record.get("v").clone());
                    assert_eq!(claimed, expected, "{why}: what was claimed");
                }
                (Outcome::Failed(fault), None) => {
                    assert_eq!(
                        (&fault.kind, fault.code),
                        (&FaultKind::Rejected, FaultCode::Validation),
                        "{why}"
                    );
                    assert!(fault.message.contains("\"v\""), "names the column: {fault}");
                }
                (outcome, expected) => panic!("{why}: {outcome:?} instead of {expected:?}"),
            }
        }
    }

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
            let create = Write::Create(vec!["k".into(), "v".into()]);
            let outcomes = write(&destination, &[key, field], vec![delivery(&["k".into()], create)]).await;
            assert!(is_delivered(&outcomes[0]), "{outcomes:?}");
            let mut source = database.source();
            let (changes, cursor) = read_from(&mut *source, None, 10).await;
            assert_eq!(texts(&changes, field), ["v"], "{capture}");
            let update = Write::Update(vec!["k".into(), "w".into()]);
            write(&destination, &[key, field], vec![delivery(&["k".into()], update)]).await;
            let (changes, _) = read_from(&mut *source, cursor, 10).await;
            assert_eq!(texts(&changes, field), ["w"], "{capture}");
        }
    }

    #[tokio::test]
    async fn faults_name_what_there_is() {
        let database =
            simple("CREATE TABLE t (id TEXT PRIMARY KEY, name TEXT); CREATE TABLE u (x)", json!({}));
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
        let fault =
            database.system().source(&spec).unwrap().read(None, 1, &call()).await.expect_err("refused");
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
        assert!(!info.open);
        database.spec.fields = Some(vec!["twice".to_owned()]);
        let changes = read_all(&mut *database.source(), 10).await;
        let record = record(&changes[0]);
        assert_eq!(record.schema.names().collect::<Vec<_>>(), ["twice", "id", "at"]);
        assert_eq!(*record.get("twice"), "xx".into(), "a computed column can be read");
        assert_eq!(record.meta.modified_at, Timestamp::parse_rfc3339("2026-01-01T00:00:00Z"));
        let create = Write::Create(vec!["l".into(), "yy".into()]);
        let outcomes =
            write(&database.destination(), &["id", "twice"], vec![delivery(&["l".into()], create)]).await;
        assert!(
            matches!(&outcomes[0], Outcome::Failed(fault) if fault.message.contains("computed")),
            "{outcomes:?}"
        );
    }

    #[tokio::test]
    async fn a_thousand_rows_with_one_stamp_span_any_number_of_pages() {
        for stamp in [
            "'2026-01-01 00:00:00'",
            "'2026-01-01T00:00:00.5Z'",
            "1767225600",
            "1767225600123",
            "1767225600.5",
        ] {
            let database = simple(
                &format!(
                    "CREATE TABLE t (id INTEGER PRIMARY KEY, v, at); CREATE INDEX i ON t (at);
                     INSERT INTO t VALUES (0, 'first', {stamp})"
                ),
                json!({"capture": "column", "updated_at": "at", "overlap_seconds": 0}),
            );
            let mut source = database.source();
            let (_, cursor) = read_from(&mut *source, None, 100).await;
            database.run(&format!(
                "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000)
                 INSERT INTO t SELECT i, 'x', {stamp} FROM n"
            ));
            let (changes, cursor) = read_from(&mut *source, cursor, 100).await;
            let mut ids: Vec<usize> = texts(&changes, "id").iter().map(|id| id.parse().unwrap()).collect();
            ids.sort_unstable();
            assert_eq!(ids, (0..=1000).collect::<Vec<_>>(), "{stamp}");
            let (again, _) = read_from(&mut *source, cursor, 100).await;
            assert_eq!(again.len(), 1001, "equal stamps are read again: one may have come late");
        }
    }

    #[tokio::test]
    async fn late_commits_and_odd_stamps_are_not_lost() {
        let database = simple(
            "CREATE TABLE t (id TEXT PRIMARY KEY, at);
             INSERT INTO t VALUES ('a', '2026-01-01 00:00:00'), ('b', '2026-01-01 00:00:10')",
            json!({"capture": "column", "updated_at": "at"}),
        );
        let mut source = database.source();
        let (changes, mut cursor) = read_from(&mut *source, None, 10).await;
        assert_eq!(texts(&changes, "id"), ["a", "b"]);
        // (edit, what the next pass shows, why)
        let cases = [
            ("", vec!["b"], "the overlap is read again"),
            ("INSERT INTO t VALUES ('c', '2026-01-01 00:00:06')", vec!["c", "b"], "committed late"),
            ("INSERT INTO t VALUES ('d', NULL)", vec!["c", "b", "d"], "no stamp: read in every pass"),
            ("INSERT INTO t VALUES ('e', 5)", vec!["c", "b", "d", "e"], "a number among texts"),
            ("INSERT INTO t VALUES ('f', '9999-12-31 00:00:00')", vec!["c", "b", "d", "e", "f"], "far ahead"),
            (
                "INSERT INTO t VALUES ('g', '2026-01-01 00:00:20')",
                vec!["c", "b", "g", "d", "e", "f"],
                "moves the cursor on",
            ),
            (
                "UPDATE t SET at = '2026-01-01 00:00:21' WHERE id = 'd'",
                vec!["g", "d", "e", "f"],
                "stamped at last",
            ),
        ];
        for (edit, expected, why) in cases {
            database.run(edit);
            let (changes, next) = read_from(&mut *source, cursor, 3).await;
            assert_eq!(texts(&changes, "id"), expected, "{why}");
            cursor = next;
        }
    }

    #[tokio::test]
    async fn a_restored_database_is_named_and_deleted_rows_are_not_mistaken_for_one() {
        let rows = |from: usize, to: usize| {
            (from..=to)
                .map(|at| format!("INSERT INTO t VALUES ({at}, '2026-01-01 00:{at:02}:00');"))
                .collect::<String>()
        };
        let make = || {
            let table = "CREATE TABLE t (id INTEGER PRIMARY KEY, at TEXT);";
            simple(&format!("{table} {}", rows(10, 40)), json!({"capture": "column", "updated_at": "at"}))
        };
        // (edit, restored, why)
        let cases = [
            ("DELETE FROM t WHERE id = 40", false, "the newest row was deleted"),
            ("DELETE FROM t WHERE id > 35", false, "some of the newest were"),
            ("DELETE FROM t", false, "all were: the list and the fuse see to it"),
            ("DELETE FROM t WHERE id > 20", true, "none of the newest is left, older ones are"),
            ("UPDATE t SET at = '2025-01-01 00:00:00'", true, "rows went back in time"),
        ];
        for (edit, restored, why) in cases {
            let database = make();
            let mut source = database.source();
            let (_, cursor) = read_from(&mut *source, None, 100).await;
            database.run(edit);
            let page = source.read(cursor.as_ref(), 100, &call()).await;
            match (page, restored) {
                (Ok(_), false) => {}
                (Err(fault), true) => {
                    assert_eq!(fault.kind, FaultKind::Fatal, "{why}");
                    assert!(fault.message.contains("ahead of the data"), "{fault}");
                }
                (other, _) => panic!("{why}: {other:?}"),
            }
        }
        // Another file in its place, older by five rows.
        let (database, older) = (make(), make());
        older.run("DELETE FROM t WHERE id > 35; PRAGMA journal_mode = delete");
        let mut source = database.source();
        let (_, cursor) = read_from(&mut *source, None, 100).await;
        std::fs::rename(older.path(), database.path()).unwrap();
        for end in ["-wal", "-shm"] {
            let _ = std::fs::remove_file(format!("{}{end}", database.path().display()));
        }
        assert!(source.may_have_changed(), "another file");
        assert!(source.read(cursor.as_ref(), 100, &call()).await.is_err());
    }

    #[tokio::test]
    async fn the_log_knows_restores_and_rebuilt_tables() {
        let database = simple(
            "CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT); INSERT INTO t VALUES (1, 'a'), (2, 'b')",
            json!({"capture": "triggers"}),
        );
        let mut source = database.source();
        let (changes, cursor) = read_from(&mut *source, None, 1).await;
        assert_eq!(texts(&changes, "id"), ["1", "2"]);

        database.run("UPDATE t SET id = 3 WHERE id = 1; UPDATE t SET v = 'c' WHERE id = 2; UPDATE t SET v = 'd' WHERE id = 2");
        let (changes, cursor) = read_from(&mut *source, cursor, 100).await;
        assert_eq!(
            texts(&changes, "id"),
            ["-1", "3", "2"],
            "a moved key is gone and come; a key changes once"
        );
        assert!(record(&changes[1]).meta.modified_at.is_some_and(|at| at >= Timestamp(now().0 - 60_000)));

        let cursor = cursor.unwrap();
        assert_eq!(database.text("SELECT CAST(count(*) AS TEXT) FROM _record_sync_changes"), "4");
        source.ack(&cursor).await.unwrap();
        assert_eq!(database.text("SELECT CAST(count(*) AS TEXT) FROM _record_sync_changes"), "0", "pruned");

        database.run(
            "DROP TABLE t; CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT); INSERT INTO t VALUES (9, 'z')",
        );
        let (changes, cursor) = read_from(&mut *source, Some(cursor), 100).await;
        assert_eq!(texts(&changes, "id"), ["9"], "the triggers went with the table: all is read again");

        database.run("INSERT INTO t VALUES (10, 'y')");
        let (_, cursor) = read_from(&mut *source, cursor, 100).await;
        database.run("DELETE FROM _record_sync_changes; UPDATE sqlite_sequence SET seq = 1");
        let fault = source.read(cursor.as_ref(), 10, &call()).await.expect_err("the log ends earlier");
        assert!(fault.message.contains("ahead of the data"), "{fault}");
    }

    #[tokio::test]
    async fn the_log_is_pruned_when_the_last_consumer_has_seen_it() {
        let mut database =
            simple("CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT)", json!({"capture": "triggers"}));
        let mut first = database.source();
        database.spec.consumer = "default/other/b".to_owned();
        let mut second = database.source();
        let (_, of_first) = read_from(&mut *first, None, 10).await;
        let (_, of_second) = read_from(&mut *second, None, 10).await;
        database.run("INSERT INTO t VALUES (1, 'a')");
        let (_, of_first) = read_from(&mut *first, of_first, 10).await;
        first.ack(&of_first.unwrap()).await.unwrap();
        let (changes, of_second) = read_from(&mut *second, of_second, 10).await;
        assert_eq!(texts(&changes, "id"), ["1"], "still there for the other");
        second.ack(&of_second.unwrap()).await.unwrap();
        assert_eq!(database.text("SELECT CAST(count(*) AS TEXT) FROM _record_sync_changes"), "0");
    }

    #[tokio::test]
    async fn any_key_can_be_logged() {
        let database = Database::new(
            "CREATE TABLE t (a, b TEXT COLLATE NOCASE, v TEXT, PRIMARY KEY (a, b))",
            "t",
            &["a", "b"],
            json!({"capture": "triggers"}),
        );
        let mut source = database.source();
        let (_, cursor) = read_from(&mut *source, None, 10).await;
        database.run(
            "INSERT INTO t VALUES (x'00', 'blob', 'v'), (1.5, 'real', 'v'), (NULL, 'null', 'v'),
                                  ('nul' || char(0), 'x', 'v'), (7, 'Ann', 'v'), (-3, 'neg', 'v')",
        );
        let (changes, cursor) = read_from(&mut *source, cursor, 10).await;
        assert_eq!(texts(&changes, "b"), ["real", "x", "Ann", "neg"], "blobs and nulls identify nothing");
        database.run("UPDATE t SET b = 'ANN' WHERE a = 7; DELETE FROM t WHERE a = -3");
        let (changes, _) = read_from(&mut *source, cursor, 10).await;
        assert_eq!(
            texts(&changes, "b"),
            ["-7,Ann", "ANN", "-\\-3,neg".trim_start_matches('\\').replace('\\', "").as_str()]
        );
    }

    #[tokio::test]
    async fn keys_are_found_in_whatever_form_they_are_stored() {
        // (declared key, stored literal, the other side's key, found, why)
        let cases: Vec<(&str, &str, Value, bool, &str)> = vec![
            ("INTEGER PRIMARY KEY", "7", "7".into(), true, "text for a number"),
            ("TEXT PRIMARY KEY", "'7'", Value::Int(7), true, "a number for text"),
            ("TEXT PRIMARY KEY", "'007'", Value::Int(7), false, "leading zeros tell apart"),
            ("PRIMARY KEY", "7", Value::Int(7), true, "no affinity, a number"),
            ("PRIMARY KEY", "'7'", Value::Int(7), true, "no affinity, text"),
            ("REAL PRIMARY KEY", "0.5", number("0.5"), true, "a broken number"),
            ("REAL PRIMARY KEY", "7", Value::Int(7), true, "a float of a whole amount"),
            ("TEXT PRIMARY KEY", "'e' || char(769)", "é".into(), true, "decomposed there, composed here"),
            ("TEXT COLLATE NOCASE PRIMARY KEY", "'A'", "a".into(), false, "case tells keys apart"),
            ("TEXT", "'k'", "k".into(), true, "no index at all"),
        ];
        for (declared, literal, key, found, why) in cases {
            let database = simple(
                &format!("CREATE TABLE t (id {declared}, v TEXT); INSERT INTO t VALUES ({literal}, 'old')"),
                json!({}),
            );
            let destination = database.destination();
            let wanted = [Wanted { key: Key::from_values([&key]).unwrap(), id: None }];
            let looked_up = destination.look_up(&wanted, &call()).await.unwrap();
            assert_eq!(looked_up[0].is_some(), found, "{why}");
            let update = Write::Update(vec![key.clone(), "new".into()]);
            let outcomes = write(&destination, &["id", "v"], vec![delivery(&[key], update)]).await;
            assert_eq!(is_delivered(&outcomes[0]), found, "{why}: {outcomes:?}");
            assert_eq!(database.text("SELECT v FROM t"), if found { "new" } else { "old" }, "{why}");
        }
    }

    #[tokio::test]
    async fn a_key_that_would_become_another_one_is_refused() {
        let database = simple(
            "CREATE TABLE t (id INTEGER PRIMARY KEY, v); INSERT INTO t VALUES (7, 'seven')",
            json!({}),
        );
        let create = Write::Create(vec!["007".into(), "bond".into()]);
        let outcomes =
            write(&database.destination(), &["id", "v"], vec![delivery(&["007".into()], create)]).await;
        assert!(
            matches!(&outcomes[0], Outcome::Failed(fault) if fault.kind == FaultKind::Rejected),
            "{outcomes:?}"
        );
        assert_eq!(database.text("SELECT v FROM t"), "seven");
    }

    #[tokio::test]
    async fn composite_and_duplicate_keys_are_walked_without_loss() {
        let mut rows = String::new();
        for tenant in ["a", "A", "b"] {
            for number in [10, 2, 1] {
                rows.push_str(&format!("INSERT INTO t VALUES ('{tenant}', {number}, '{tenant}{number}');"));
            }
        }
        let database = Database::new(
            &format!("CREATE TABLE t (tenant TEXT, n INTEGER, v TEXT, PRIMARY KEY (tenant, n)); {rows}"),
            "t",
            &["n", "tenant"],
            json!({}),
        );
        assert!(database.features().upsert_by_key);
        for limit in [1, 2, 4, 100] {
            let changes = read_all(&mut *database.source(), limit).await;
            assert_eq!(
                texts(&changes, "v"),
                ["A1", "A2", "A10", "a1", "a2", "a10", "b1", "b2", "b10"],
                "{limit}"
            );
        }
        let twice = simple(
            "CREATE TABLE t (id TEXT, v); CREATE INDEX i ON t (id);
             INSERT INTO t VALUES ('k', 1), ('k', 2), ('k', 3), ('l', 4), (NULL, 5), (NULL, 6)",
            json!({}),
        );
        assert!(!twice.features().upsert_by_key);
        for limit in [1, 2, 3] {
            let mut values = texts(&read_all(&mut *twice.source(), limit).await, "v");
            values.sort_unstable();
            assert_eq!(values, ["1", "2", "3", "4", "5", "6"], "pages of {limit}");
        }
        let update = Write::Update(vec!["k".into(), Value::Int(9)]);
        let outcomes = write(&twice.destination(), &["id", "v"], vec![delivery(&["k".into()], update)]).await;
        assert!(
            matches!(&outcomes[0], Outcome::Failed(fault) if fault.message.contains("3 rows")),
            "{outcomes:?}"
        );
    }

    #[tokio::test]
    async fn vacuum_in_the_middle_of_a_scan_loses_no_row() {
        let database = simple("CREATE TABLE t (id TEXT, v)", json!({}));
        for at in 0..100 {
            database.run(&format!("INSERT INTO t (rowid, id) VALUES ({}, 'k{at}')", 1000 + at * 10));
        }
        let mut source = database.source();
        let page = source.read(None, 50, &call()).await.unwrap();
        database.run("VACUUM");
        let (rest, _) = read_from(&mut *source, page.cursor, 50).await;
        let mut ids = texts(&page.changes, "id");
        ids.extend(texts(&rest, "id"));
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), 100, "row numbers moved, so the scan begins anew");
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
    async fn soft_deletion_marks_rows_and_takes_the_mark_away() {
        for capture in ["scan", "column", "triggers"] {
            let database = simple(
                "CREATE TABLE t (id TEXT PRIMARY KEY, v TEXT, at TEXT, gone TEXT);
                 INSERT INTO t VALUES ('a', 'x', '2026-01-01 00:00:00', NULL), ('b', 'y', '2026-01-01 00:00:00', '2026-01-02 00:00:00')",
                json!({"capture": capture, "updated_at": "at", "deleted_at": "gone"}),
            );
            let mut source = database.source();
            let (changes, _) = read_from(&mut *source, None, 10).await;
            assert_eq!(texts(&changes, "id"), ["a", "-b"], "{capture}");
            match &changes[1] {
                Change::Delete(tombstone) => {
                    assert_eq!(tombstone.at, Timestamp::parse_rfc3339("2026-01-02T00:00:00Z"));
                }
                other => panic!("{other:?}"),
            }
            if capture == "column" {
                let listing = source.list(None, 10, &call()).await.unwrap();
                assert_eq!(listing.keys, [Key::from_text("a").unwrap()]);
            }
            let destination = database.destination();
            let names = ["id", "v"];
            let back = Write::Create(vec!["b".into(), "back".into()]);
            let outcomes = write(
                &destination,
                &names,
                vec![delivery(&["a".into()], Write::Delete), delivery(&["b".into()], back)],
            )
            .await;
            assert!(outcomes.iter().all(is_delivered), "{outcomes:?}");
            assert_eq!(
                database.text("SELECT group_concat(id || coalesce(v, '') || (gone IS NULL)) FROM t"),
                "ax0,bback1"
            );
        }
    }

    #[tokio::test]
    async fn a_stamp_is_set_by_us_where_a_reader_goes_by_it() {
        let database = simple(
            "CREATE TABLE t (id TEXT PRIMARY KEY, v TEXT, at INTEGER);
             INSERT INTO t VALUES ('a', 'x', 1767225600123)",
            json!({"capture": "column", "updated_at": "at"}),
        );
        let mut source = database.source();
        let (_, cursor) = read_from(&mut *source, None, 10).await;
        let update = Write::Update(vec!["a".into(), "new".into()]);
        write(&database.destination(), &["id", "v"], vec![delivery(&["a".into()], update)]).await;
        let (changes, _) = read_from(&mut *source, cursor, 10).await;
        assert_eq!(texts(&changes, "v"), ["new"]);
        let modified_at = record(&changes[0]).meta.modified_at.unwrap();
        assert!(modified_at > Timestamp(1_767_225_600_123), "in milliseconds, as its neighbours");
        // A write that finds everything as it should be touches nothing.
        let before = database.text("SELECT CAST(at AS TEXT) FROM t");
        let same = Write::Update(vec!["a".into(), "new".into()]);
        let outcomes =
            write(&database.destination(), &["id", "v"], vec![delivery(&["a".into()], same)]).await;
        assert!(is_delivered(&outcomes[0]));
        assert_eq!(database.text("SELECT CAST(at AS TEXT) FROM t"), before);
    }

    #[tokio::test]
    async fn refusals_say_which_column_and_leave_neighbours_alone() {
        // (table, refused values, kind, what it says, why)
        let cases = [
            ("v TEXT NOT NULL", Value::Null, FaultKind::Rejected, "t.v", "not null"),
            ("v TEXT UNIQUE", "taken".into(), FaultKind::Rejected, "t.v", "another unique column"),
            (
                "v TEXT UNIQUE ON CONFLICT REPLACE",
                "taken".into(),
                FaultKind::Rejected,
                "t.v",
                "never pushes a row out",
            ),
            ("v TEXT CHECK (v <> 'bad')", "bad".into(), FaultKind::Rejected, "CHECK", "the table's check"),
            (
                "v TEXT REFERENCES p (id)",
                "orphan".into(),
                FaultKind::Transient,
                "FOREIGN KEY",
                "the parent may come",
            ),
            (
                "v TEXT REFERENCES p (id) DEFERRABLE INITIALLY DEFERRED",
                "orphan".into(),
                FaultKind::Transient,
                "FOREIGN KEY",
                "shows at commit only",
            ),
            (
                "v TEXT NOT NULL ON CONFLICT ROLLBACK",
                Value::Null,
                FaultKind::Rejected,
                "t.v",
                "takes the whole transaction down",
            ),
        ];
        for (column, value, kind, says, why) in cases {
            let database = simple(
                &format!(
                    "CREATE TABLE p (id TEXT PRIMARY KEY); INSERT INTO p VALUES ('ok1'), ('ok2'), ('taken');
                     CREATE TABLE t (id TEXT PRIMARY KEY, {column}); INSERT INTO t VALUES ('0', 'taken')"
                ),
                json!({}),
            );
            let create =
                |key: &str, value: Value| delivery(&[key.into()], Write::Create(vec![key.into(), value]));
            let outcomes = write(
                &database.destination(),
                &["id", "v"],
                vec![create("1", "ok1".into()), create("2", value), create("3", "ok2".into())],
            )
            .await;
            assert!(is_delivered(&outcomes[0]) && is_delivered(&outcomes[2]), "{why}: {outcomes:?}");
            match &outcomes[1] {
                Outcome::Failed(fault) => {
                    assert_eq!(fault.kind, kind, "{why}");
                    assert!(fault.message.contains(says) && fault.remedy.is_some(), "{why}: {fault}");
                }
                other => panic!("{why}: {other:?}"),
            }
            assert_eq!(
                database.text("SELECT group_concat(id) FROM (SELECT id FROM t ORDER BY id)"),
                "0,1,3",
                "{why}"
            );
        }
    }

    #[tokio::test]
    async fn a_trigger_that_rolls_everything_back_fails_alone() {
        let database = simple(
            "CREATE TABLE t (id TEXT PRIMARY KEY, v TEXT);
             CREATE TRIGGER no BEFORE INSERT ON t WHEN NEW.v = 'bad' BEGIN SELECT RAISE(ROLLBACK, 'no bad ones'); END;
             CREATE TRIGGER up AFTER INSERT ON t BEGIN UPDATE t SET v = upper(v) WHERE id = NEW.id; END",
            json!({}),
        );
        let create =
            |key: &str, value: &str| delivery(&[key.into()], Write::Create(vec![key.into(), value.into()]));
        let outcomes = write(
            &database.destination(),
            &["id", "v"],
            vec![create("1", "a"), create("2", "bad"), create("3", "c")],
        )
        .await;
        match (&outcomes[0], &outcomes[1], &outcomes[2]) {
            (
                Outcome::Delivered { stored: Some(stored), .. },
                Outcome::Failed(fault),
                Outcome::Delivered { .. },
            ) => {
                assert_eq!(*stored.get("v"), "A".into(), "what the trigger made of it");
                assert!(fault.message.contains("no bad ones"), "{fault}");
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(database.text("SELECT group_concat(v) FROM t"), "A,C");
    }

    #[tokio::test]
    async fn a_busy_database_is_worth_another_try() {
        let database = simple("CREATE TABLE t (id TEXT PRIMARY KEY)", json!({}));
        let app = database.app();
        app.execute_batch("BEGIN IMMEDIATE").unwrap();
        let system =
            open(database.folder.path(), json!({"path": "app.sqlite", "busy_timeout_ms": 20})).unwrap();
        let batch = Batch {
            shape: Schema::new(["id"]),
            deliveries: vec![delivery(&["1".into()], Write::Create(vec!["1".into()]))],
        };
        let destination = system.destination(&database.spec).unwrap();
        let fault = destination.write(&batch, &call()).await.expect_err("locked");
        assert_eq!((fault.kind, fault.may_have_happened), (FaultKind::Transient, false));
        app.execute_batch("ROLLBACK").unwrap();
        assert!(is_delivered(&destination.write(&batch, &call()).await.unwrap()[0]));
    }

    #[tokio::test]
    async fn a_full_batch_goes_into_a_table_without_index_too() {
        for sql in ["CREATE TABLE t (id TEXT PRIMARY KEY, v TEXT)", "CREATE TABLE t (id TEXT, v TEXT)"] {
            let database = simple(sql, json!({}));
            let destination = database.destination();
            let rows = |value: &str, create: bool| -> Vec<Delivery> {
                (0..10_000)
                    .map(|at| {
                        let key = Value::text(format!("k{at}"));
                        let values = vec![key.clone(), value.into()];
                        delivery(&[key], if create { Write::Create(values) } else { Write::Update(values) })
                    })
                    .collect()
            };
            let outcomes = write(&destination, &["id", "v"], rows("a", true)).await;
            assert!(
                outcomes.iter().all(|outcome| matches!(outcome, Outcome::Delivered { stored: None, .. }))
            );
            let outcomes = write(&destination, &["id", "v"], rows("a", true)).await;
            assert!(outcomes.iter().all(is_delivered), "a repeated batch is done already");
            let outcomes = write(&destination, &["id", "v"], rows("b", false)).await;
            assert!(outcomes.iter().all(is_delivered));
            assert_eq!(database.text("SELECT count(*) || max(v) || min(v) FROM t"), "10000bb");
        }
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

    #[tokio::test]
    async fn nothing_happens_at_rest() {
        for capture in ["scan", "column", "triggers"] {
            let database = contacts(
                ", PRIMARY KEY (record_id)",
                "",
                json!({"capture": capture, "updated_at": "updated_at"}),
            );
            database.insert(&(0..5).map(Row::numbered).collect::<Vec<_>>()).await;
            let mut follower = Follower::new(&database);
            follower.pass(2).await;
            follower.pass(2).await;
            let mut source = database.source();
            let (_, cursor) = read_from(&mut *source, None, 2).await;
            let (_, _) = read_from(&mut *source, cursor.filter(|_| capture != "scan"), 2).await;
            assert!(!source.may_have_changed(), "{capture}: our own log-keeping wakes nobody");
        }
    }
}
