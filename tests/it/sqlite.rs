//! The SQLite connector: the conformance suite in all its ways of reading, and what only SQLite does.

mod capture;
mod cursors;
mod keys;
mod tables;
mod twins;
mod values;
mod writing;

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

    /// Tells whether deleted rows stay, with a mark.
    fn marks(&self) -> bool {
        self.spec.options.contains_key("deleted_at")
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
        vault: Arc::new(record_sync::connectors::MemoryVault::default()),
        bounds: Default::default(),
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
            if self.marks() {
                let sql = "DELETE FROM contacts WHERE record_id = ?1 AND deleted_at IS NOT NULL";
                app.execute(sql, [&row.key]).unwrap();
            }
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
        let sql = match self.marks() {
            true => {
                "UPDATE contacts SET deleted_at = strftime('%Y-%m-%d %H:%M:%f', 'now'),
                                     updated_at = strftime('%Y-%m-%d %H:%M:%f', 'now') WHERE record_id = ?1"
            }
            false => "DELETE FROM contacts WHERE record_id = ?1",
        };
        for key in keys {
            self.app().execute(sql, [key]).unwrap();
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
        super::contacts("", "", super::json!({}))
    }
    conformance!(self::make);
}

mod scanned_with_marks {
    async fn make() -> super::Database {
        let options = super::json!({"deleted_at": "deleted_at"});
        super::contacts(", PRIMARY KEY (record_id)", "", options)
    }
    conformance!(self::make);
}

mod by_column {
    async fn make() -> super::Database {
        let options = super::json!({"capture": "column", "updated_at": "updated_at"});
        super::contacts(", PRIMARY KEY (record_id)", "", options)
    }
    conformance!(self::make);
}

mod by_column_with_marks {
    async fn make() -> super::Database {
        let options =
            super::json!({"capture": "column", "updated_at": "updated_at", "deleted_at": "deleted_at"});
        super::contacts(", PRIMARY KEY (record_id)", "", options)
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

mod by_triggers_with_marks {
    async fn make() -> super::Database {
        let options = super::json!({"capture": "triggers", "deleted_at": "deleted_at"});
        super::contacts(", PRIMARY KEY (record_id)", "", options)
    }
    conformance!(self::make);
}

fn simple(sql: &str, options: serde_json::Value) -> Database {
    Database::new(sql, "t", &["id"], options)
}

fn number(text: &str) -> Value {
    Number::parse(text).unwrap()
}
