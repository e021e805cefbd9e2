//! The options of a link's end, and the table that they speak of.

use std::time::Duration;

use rusqlite::Connection;

use super::catalogue::{Kind, Table};
use crate::connectors::StreamSpec;
use crate::engine::fault::{Fault, FaultCode};

/// How changes become known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Capture {
    Scan,
    Column,
    Triggers,
}

/// Option keys of a link's end.
pub(super) const STREAM_OPTIONS: &[&str] = &["updated_at", "capture", "deleted_at", "overlap_seconds"];

/// How far behind the newest stamp a read begins again: rows of a transaction that was committed
/// late carry older stamps than what was read before them.
const OVERLAP_DEFAULT: Duration = Duration::from_secs(5);
const OVERLAP_SECONDS_MAX: u64 = 7 * 24 * 3600;

#[derive(Clone, Debug)]
pub(super) struct Options {
    pub capture: Capture,
    pub updated_at: Option<String>,
    pub deleted_at: Option<String>,
    pub overlap: Duration,
}

impl Options {
    /// Reads and checks the options by themselves.
    pub fn read(spec: &StreamSpec) -> Result<Self, Fault> {
        let bad = |message: String, remedy: &str| Fault::fatal(FaultCode::Configuration, message, remedy);
        let text = |name: &str| match spec.options.get(name) {
            None | Some(serde_json::Value::Null) => Ok(None),
            Some(serde_json::Value::String(text)) => Ok(Some(text.clone())),
            Some(_) => Err(bad(format!("`{name}` of {} is no text", spec.stream), "write it in quotes")),
        };
        let updated_at = text("updated_at")?;
        let capture = match text("capture")?.as_deref() {
            None | Some("scan") => Capture::Scan,
            Some("column") => Capture::Column,
            Some("triggers") => Capture::Triggers,
            Some(other) => {
                return Err(bad(
                    format!("`capture` of {} is {other:?}", spec.stream),
                    "write \"scan\", \"column\" or \"triggers\"",
                ));
            }
        };
        if capture == Capture::Column && updated_at.is_none() {
            return Err(bad(
                format!("`capture = \"column\"` of {} needs a column", spec.stream),
                "name it: `updated_at = \"…\"`",
            ));
        }
        let overlap = match spec.options.get("overlap_seconds") {
            None => OVERLAP_DEFAULT,
            Some(value) => value
                .as_u64()
                .filter(|seconds| *seconds <= OVERLAP_SECONDS_MAX)
                .map(Duration::from_secs)
                .ok_or_else(|| {
                    bad(
                        format!("`overlap_seconds` of {} is {value}", spec.stream),
                        "write whole seconds, at most 604800",
                    )
                })?,
        };
        Ok(Self { capture, updated_at, deleted_at: text("deleted_at")?, overlap })
    }
}

/// A stream as the catalogue and the options describe it together.
#[derive(Clone, Debug)]
pub(super) struct Stream {
    pub table: Table,
    pub options: Options,
    /// Positions of the key's columns.
    pub key: Vec<usize>,
    pub updated_at: Option<usize>,
    pub deleted_at: Option<usize>,
}

impl Stream {
    /// Looks the stream up; whatever does not fit is a fault with a remedy.
    pub fn load(conn: &Connection, spec: &StreamSpec, options: &Options) -> Result<Self, Fault> {
        let table = Table::load(conn, &spec.stream)?;
        let key = spec.key.iter().map(|name| table.require(name, "a key")).collect::<Result<Vec<_>, _>>()?;
        if key.is_empty() {
            return Err(Fault::fatal(
                FaultCode::Configuration,
                format!("{} has no key", table.name),
                "name its key column: `key = \"…\"`",
            ));
        }
        let stamp =
            |name: &Option<String>, role| name.as_ref().map(|name| table.require(name, role)).transpose();
        let updated_at = stamp(&options.updated_at, "`updated_at`")?;
        let deleted_at = stamp(&options.deleted_at, "`deleted_at`")?;
        if options.capture == Capture::Triggers && table.kind != Kind::Table {
            return Err(Fault::fatal(
                FaultCode::Configuration,
                format!("{} is no table, so it can have no capture triggers", table.name),
                "use `capture = \"scan\"`",
            ));
        }
        Ok(Self { table, options: options.clone(), key, updated_at, deleted_at })
    }

    /// Returns the condition under which a row is marked as deleted: its column is set. Zero and
    /// empty text, which some applications use for "not", are not.
    pub fn is_deleted_sql(&self) -> Option<String> {
        self.deleted_at.map(|at| {
            let column = self.table.quoted_column(at);
            format!("({column} IS NOT NULL AND {column} NOT IN (0, ''))")
        })
    }
}
