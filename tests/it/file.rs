//! The file connector: the promises of every connector for each format, and its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use record_sync::connectors::{
    Class, Destination, Gate, Open, Page, Report, Source, StreamSpec, System, find,
};
use record_sync::engine::fault::Fault;
use record_sync::engine::record::{Change, Timestamp, Value};
use serde_json::json;

use crate::conformance::{Harness, Row, call};

mod reading;
mod safety;
mod trail;
mod writing;

/// A folder with one file in it.
pub struct Files {
    folder: tempfile::TempDir,
    name: &'static str,
    options: serde_json::Map<String, serde_json::Value>,
}

struct NoGate;

#[async_trait]
impl Gate for NoGate {
    async fn enter(&self, _class: Class) -> Result<u64, Fault> {
        panic!("files need no gate");
    }

    fn leave(&self, _ticket: u64, _report: Report) {}
}

#[expect(clippy::disallowed_methods, reason = "files carry the real time")]
fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    Timestamp(since.as_millis() as i64)
}

fn open(settings: serde_json::Value, base_dir: &Path) -> Arc<dyn System> {
    let connector = find("file").expect("the connector");
    (connector.check_settings)(&settings).expect("good settings");
    let open = Open {
        customer: "default".to_owned(),
        system: "files".to_owned(),
        settings,
        base_dir: base_dir.to_owned(),
        mock_url: None,
        gate: Arc::new(NoGate),
        clock: Arc::new(now),
        vault: Arc::new(record_sync::connectors::MemoryVault::default()),
        bounds: Default::default(),
    };
    (connector.open)(open).expect("a system")
}

/// Shows a page in a form that is easy to compare: `name=value` for each field that is there, and
/// `!key` for what is no record.
fn shown(page: &Page) -> Vec<String> {
    let field = |(name, value): (&str, &Value)| match value {
        Value::Text(text) => format!("{name}='{text}'"),
        Value::Null => format!("{name}=null"),
        other => format!("{name}={}", other.to_plain().unwrap_or_default()),
    };
    let show = |change: &Change| match change {
        Change::Upsert(record) => {
            let fields = record.schema.names().zip(&record.values).filter(|(_, value)| !value.is_missing());
            fields.map(field).collect::<Vec<_>>().join(" ")
        }
        Change::Malformed(malformed) => {
            format!("!{}", malformed.key.as_ref().map(ToString::to_string).unwrap_or_default())
        }
        Change::Delete(_) => "deleted".to_owned(),
    };
    page.changes.iter().map(show).collect()
}

impl Files {
    fn new(name: &'static str) -> Self {
        Self { folder: tempfile::tempdir().expect("a folder"), name, options: serde_json::Map::new() }
    }

    fn with(name: &'static str, content: impl AsRef<[u8]>) -> Self {
        let files = Self::new(name);
        files.put(content);
        files
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join(self.name)
    }

    /// Replaces the file by a rename, as careful writers do.
    fn put(&self, content: impl AsRef<[u8]>) {
        let aside = self.folder.path().join("aside");
        fs::write(&aside, content).expect("written");
        fs::rename(&aside, self.path()).expect("renamed");
    }

    fn text(&self) -> String {
        String::from_utf8(fs::read(self.path()).expect("a file")).expect("text")
    }

    fn spec_with_key(&self, key: &str) -> StreamSpec {
        StreamSpec {
            stream: self.name.to_owned(),
            key: vec![key.to_owned()],
            options: self.options.clone(),
            fields: None,
            consumer: "default/link/a".to_owned(),
        }
    }

    fn delimiter(&self) -> u8 {
        self.options
            .get("delimiter")
            .and_then(serde_json::Value::as_str)
            .map_or(b',', |text| text.as_bytes()[0])
    }

    fn source(&self, key: &str) -> Box<dyn Source> {
        self.system().source(&self.spec_with_key(key)).expect("a source")
    }

    fn destination(&self, key: &str) -> Arc<dyn Destination> {
        self.system().destination(&self.spec_with_key(key)).expect("a destination")
    }

    /// Reads everything in one page.
    async fn read(&self, key: &str) -> Result<Page, Fault> {
        self.source(key).read(None, 1_000_000, &call()).await
    }

    fn rows(&self) -> Vec<Row> {
        let text = match fs::read(self.path()) {
            Ok(text) => text,
            Err(_) => return Vec::new(),
        };
        let row = |get: &dyn Fn(&str) -> String| Row::new(get("record_id"), get("name"), get("email"));
        let object = |object: &serde_json::Value| {
            row(&|name| object.get(name).and_then(serde_json::Value::as_str).unwrap_or_default().to_owned())
        };
        if self.name.ends_with(".json") {
            let list: Vec<serde_json::Value> = serde_json::from_slice(&text).expect("a list");
            return list.iter().map(object).collect();
        }
        if self.name.ends_with(".jsonl") {
            let lines = text.split(|&byte| byte == b'\n').filter(|line| !line.trim_ascii().is_empty());
            return lines.map(|line| object(&serde_json::from_slice(line).expect("an object"))).collect();
        }
        let mut reader = csv::ReaderBuilder::new().delimiter(self.delimiter()).from_reader(text.as_slice());
        let header = reader.headers().expect("a header").clone();
        let cell = |record: &csv::StringRecord, name: &str| {
            let at = header.iter().position(|column| column == name);
            at.and_then(|at| record.get(at)).unwrap_or_default().to_owned()
        };
        reader
            .records()
            .map(|record| {
                let record = record.expect("a row");
                row(&|name| cell(&record, name))
            })
            .collect()
    }

    fn put_rows(&self, rows: &[Row]) {
        let objects =
            rows.iter().map(|row| json!({"record_id": row.key, "name": row.name, "email": row.email}));
        if self.name.ends_with(".json") {
            return self.put(serde_json::to_string_pretty(&objects.collect::<Vec<_>>()).expect("JSON"));
        }
        if self.name.ends_with(".jsonl") {
            return self.put(objects.map(|object| format!("{object}\n")).collect::<String>() + "\n");
        }
        let mut writer = csv::WriterBuilder::new().delimiter(self.delimiter()).from_writer(Vec::new());
        writer.write_record(["record_id", "name", "email"]).expect("a header");
        for row in rows {
            writer.write_record([&row.key, &row.name, &row.email]).expect("a row");
        }
        self.put(writer.into_inner().expect("bytes"));
    }
}

#[async_trait]
impl Harness for Files {
    fn system(&self) -> Arc<dyn System> {
        open(json!({"path": "."}), self.folder.path())
    }

    fn spec(&self) -> StreamSpec {
        self.spec_with_key("record_id")
    }

    fn unknown(&self) -> Option<StreamSpec> {
        Some(StreamSpec { stream: "no_ending".to_owned(), ..self.spec() })
    }

    async fn insert(&self, rows: &[Row]) {
        self.put_rows(&[self.rows(), rows.to_vec()].concat());
    }

    async fn update(&self, rows: &[Row]) {
        let changed = |old: Row| rows.iter().find(|row| row.key == old.key).cloned().unwrap_or(old);
        self.put_rows(&self.rows().into_iter().map(changed).collect::<Vec<_>>());
    }

    async fn delete(&self, keys: &[String]) {
        let mut rows = self.rows();
        rows.retain(|row| !keys.contains(&row.key));
        self.put_rows(&rows);
    }

    async fn read_all(&self) -> Vec<Row> {
        self.rows()
    }
}

mod csv_file {
    async fn make() -> super::Files {
        super::Files::new("users.csv")
    }
    conformance!(make);
}

mod csv_file_with_semicolons {
    async fn make() -> super::Files {
        let mut files = super::Files::new("users.csv");
        files.options.insert("delimiter".to_owned(), ";".into());
        files
    }
    conformance!(make);
}

mod json_file {
    async fn make() -> super::Files {
        super::Files::new("users.json")
    }
    conformance!(make);
}

mod jsonl_file {
    async fn make() -> super::Files {
        super::Files::new("users.jsonl")
    }
    conformance!(make);
}
