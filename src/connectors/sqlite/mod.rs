//! SQLite tables and views, both ends.
//!
//! Three ways to learn of changes, chosen per stream by `capture`:
//!
//! - `scan` reads the table from end to end; what is missing is gone. Needs nothing of the table.
//! - `column` reads what a stamp column says is newer, and lists the keys to find deletions.
//! - `triggers` keeps a log of changed keys inside the database.
//!
//! Absent on purpose: DDL of the user's own tables, and any pragma that outlives the connection. Both
//! ends wake each other by `PRAGMA data_version`, for which each has a connection of its own.

mod catalogue;
mod cell;
mod db;
mod destination;
mod options;
mod order;
mod source;
mod stamp;
mod twin;
mod wire;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;

use super::{
    Call, Connector, Deletes, Destination, Features, Open, SettingsError, Source, StreamInfo, StreamSpec,
    System,
};
use crate::connectors::Clock;
use crate::engine::fault::{Fault, FaultCode};
use db::{Db, Location, blocking, lock};
use options::{Capture, Options, Stream};
use twin::Twin;

/// The entry for the table of connectors.
pub const CONNECTOR: Connector = Connector {
    name: "sqlite",
    about: "Tables and views of a SQLite database file",
    remote: false,
    settings_schema,
    stream_options: options::STREAM_OPTIONS,
    check_settings: |settings| Settings::read(settings).map(|_| ()),
    open,
    mock: None,
};

/// Records a write call takes at most: one transaction.
const BATCH_MAX: usize = 10_000;
const BUSY_TIMEOUT_MS_DEFAULT: u64 = 5_000;
const BUSY_TIMEOUT_MS_MAX: u64 = 600_000;

struct Settings {
    path: String,
    create: bool,
    busy_timeout: Duration,
}

fn settings_schema() -> serde_json::Value {
    serde_json::json!({
        "type": "object",
        "properties": {
            "path": {
                "type": "string", "minLength": 1,
                "description": "The database file; may hold {customer}. Relative to the configuration file."
            },
            "create": {
                "type": "boolean", "default": false,
                "description": "Make an empty database where the file is missing."
            },
            "busy_timeout_ms": {
                "type": "integer", "minimum": 0, "maximum": BUSY_TIMEOUT_MS_MAX, "default": BUSY_TIMEOUT_MS_DEFAULT,
                "description": "How long to wait for another program's transaction, in milliseconds."
            }
        },
        "required": ["path"],
        "additionalProperties": false
    })
}

impl Settings {
    fn read(settings: &serde_json::Value) -> Result<Self, SettingsError> {
        let wrong = |path: &[&str], message: &str| SettingsError {
            path: path.iter().map(|part| (*part).to_owned()).collect(),
            message: message.to_owned(),
        };
        let Some(table) = settings.as_object() else {
            return Err(wrong(&[], "a SQLite system is a table with `path`"));
        };
        for key in table.keys() {
            if !matches!(key.as_str(), "path" | "create" | "busy_timeout_ms") {
                return Err(wrong(&[key], "unknown key; SQLite systems have path, create, busy_timeout_ms"));
            }
        }
        let path = match table.get("path") {
            None => return Err(wrong(&[], "`path` is missing: name the database file")),
            Some(path) => path.as_str().filter(|path| !path.trim().is_empty()),
        };
        let path = match path {
            None => return Err(wrong(&["path"], "name the database file, as text")),
            Some(path) if path.starts_with(":memory:") => {
                return Err(wrong(&["path"], "a database in memory is seen by nobody else: name a file"));
            }
            Some(path) => path.to_owned(),
        };
        let create = match table.get("create") {
            None => false,
            Some(flag) => flag.as_bool().ok_or_else(|| wrong(&["create"], "write true or false"))?,
        };
        let busy_timeout_ms = match table.get("busy_timeout_ms") {
            None => BUSY_TIMEOUT_MS_DEFAULT,
            Some(number) => number
                .as_u64()
                .filter(|millis| *millis <= BUSY_TIMEOUT_MS_MAX)
                .ok_or_else(|| wrong(&["busy_timeout_ms"], "write whole milliseconds, at most 600000"))?,
        };
        Ok(Self { path, create, busy_timeout: Duration::from_millis(busy_timeout_ms) })
    }
}

fn open(open: Open) -> Result<Arc<dyn System>, Fault> {
    let settings = Settings::read(&open.settings).map_err(|error| {
        Fault::fatal(
            FaultCode::Configuration,
            format!("the settings of {} can't be used at {:?}: {}", open.system, error.path, error.message),
            "correct them",
        )
    })?;
    let path = open.base_dir.join(settings.path.replace("{customer}", &open.customer));
    let Settings { create, busy_timeout, .. } = settings;
    let location = Location { path, create, busy_timeout, bounds: open.bounds };
    let db = Arc::new(Mutex::new(Db::new(location.clone())));
    Ok(Arc::new(Sqlite { db, location, clock: open.clock, twins: Mutex::default() }))
}

/// Why a generated column can't be written, and what helps.
const COMPUTED: &str = "it is computed by the table; take it out of the mapping of this direction";

/// One configured database.
struct Sqlite {
    location: Location,
    /// For looking at the catalogue only; each end has a connection of its own.
    db: Arc<Mutex<Db>>,
    clock: Clock,
    /// By consumer: what makes both ends of one side known to each other.
    twins: Mutex<HashMap<String, Twin>>,
}

impl Sqlite {
    fn twin(&self, spec: &StreamSpec) -> Twin {
        lock(&self.twins).entry(spec.consumer.clone()).or_default().clone()
    }

    /// Tells whether the table itself refuses a second row of the same key.
    fn guards_keys(&self, spec: &StreamSpec) -> Result<bool, Fault> {
        let mut db = lock(&self.db);
        let (conn, _) = db.get()?;
        let stream = Stream::load(conn, spec, &Options::read(spec)?)?;
        Ok(stream.table.keys_unique(&stream.key) || stream.table.unique_within(&stream.key).is_some())
    }
}

#[async_trait]
impl System for Sqlite {
    fn features(&self, spec: &StreamSpec) -> Features {
        let capture = Options::read(spec).map_or(Capture::Scan, |options| options.capture);
        Features {
            deletes: match capture {
                Capture::Scan => Deletes::Scanned,
                Capture::Column => Deletes::Listed,
                Capture::Triggers => Deletes::Reported,
            },
            compare_and_set: true,
            // What can't be looked at promises nothing.
            upsert_by_key: self.guards_keys(spec).unwrap_or(false),
            batch_max: BATCH_MAX,
            request_max: BATCH_MAX,
            in_flight_max: 1,
            loads: false,
            bulk: None,
        }
    }

    async fn describe(&self, spec: &StreamSpec, _call: &Call) -> Result<StreamInfo, Fault> {
        let options = Options::read(spec)?;
        let (db, spec) = (Arc::clone(&self.db), spec.clone());
        blocking(move || {
            let mut db = lock(&db);
            let (conn, _) = db.get()?;
            let stream = Stream::load(conn, &spec, &options)?;
            let columns = stream.table.columns;
            let computed = columns.iter().filter(|column| column.generated);
            let barred = computed.map(|column| (column.name.clone(), COMPUTED.to_owned())).collect();
            let fields = columns.into_iter().map(|column| column.name).collect();
            Ok(StreamInfo { fields, barred, ..StreamInfo::default() })
        })
        .await
    }

    fn source(&self, spec: &StreamSpec) -> Result<Box<dyn Source>, Fault> {
        let options = Options::read(spec)?;
        Ok(Box::new(source::SqliteSource::new(
            self.location.clone(),
            spec.clone(),
            options,
            Arc::clone(&self.clock),
            self.twin(spec),
        )))
    }

    fn destination(&self, spec: &StreamSpec) -> Result<Arc<dyn Destination>, Fault> {
        let options = Options::read(spec)?;
        let twin = self.twin(spec);
        Ok(Arc::new(destination::SqliteDestination::new(self.location.clone(), spec.clone(), options, &twin)))
    }

    fn watch(&self, _spec: &StreamSpec) -> Vec<PathBuf> {
        let mut log = self.location.path.clone().into_os_string();
        log.push("-wal");
        vec![self.location.path.clone(), PathBuf::from(log)]
    }
}
