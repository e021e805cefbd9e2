//! Pages of one table, whatever access rules hide of them.
//!
//! Invariant: a page says that nothing follows only where the service's own count proves it. The service cuts a
//! page out first and hides rows after that, so a short or empty page is no end.

use std::sync::Arc;

use super::instance::Instance;
use super::wire::{self, Decoder, Encoded, Row};
use crate::connectors::rest::server_time;
use crate::connectors::{Call, StreamSpec};
use crate::engine::fault::{Fault, FaultCode};
use crate::engine::record::{Malformed, Timestamp};

/// Pages of which nothing was shown, one after the other.
const HIDDEN_PAGES_MAX: usize = 1_000;
/// Rows of a page that the service could not finish in its time are halved down to this.
const LIMIT_MIN: usize = 10;
/// A record's own place and version.
const ALWAYS: [&str; 3] = ["sys_id", "sys_updated_on", "sys_mod_count"];

/// One table, with what is read of it.
#[derive(Clone)]
pub struct TableView {
    pub instance: Arc<Instance>,
    pub table: String,
    pub key: Vec<String>,
    /// The fields that the rules read; `None` for all.
    pub fields: Option<Vec<String>>,
}

/// Rows as they came.
pub struct Fetched {
    pub rows: Vec<Result<Row, Malformed>>,
    /// Nothing follows.
    pub done: bool,
    pub server_time: Option<Timestamp>,
}

impl Fetched {
    /// Returns the last row's stamp, in seconds, and id.
    pub fn last(&self) -> Option<(i64, &str)> {
        let placed = |row: &Result<Row, Malformed>| row.as_ref().ok().is_some_and(|row| row.stamp.is_some());
        let row = self.rows.iter().rev().find(|row| placed(row))?.as_ref().ok()?;
        Some((row.stamp?, row.id.as_str()))
    }
}

/// How a page is asked for.
#[derive(Clone, Copy)]
pub struct Ask<'a> {
    pub operation: &'a str,
    pub query: &'a Encoded,
    pub limit: usize,
    /// Have the service count: dear for a big table, and needed only where the page comes short.
    pub counted: bool,
}

impl TableView {
    /// Opens a view; calls nothing.
    pub fn new(instance: Arc<Instance>, spec: &StreamSpec) -> Self {
        Self { instance, table: spec.stream.clone(), key: spec.key.clone(), fields: spec.fields.clone() }
    }

    /// Names the fields to ask for; `None` for all.
    pub fn asked_fields(&self) -> Option<Vec<String>> {
        self.fields.as_ref().map(|fields| self.with_own(fields.iter().map(String::as_str)))
    }

    /// Adds the key and what tells place and version.
    pub fn with_own<'n>(&'n self, fields: impl IntoIterator<Item = &'n str>) -> Vec<String> {
        let mut names: Vec<String> = ALWAYS.iter().map(|name| (*name).to_owned()).collect();
        for name in self.key.iter().map(String::as_str).chain(fields) {
            if wire::is_name(name) && !names.iter().any(|known| known == name) {
                names.push(name.to_owned());
            }
        }
        names
    }

    /// Makes a decoder whose schema begins with the key.
    pub fn decoder(&self) -> Decoder {
        Decoder::new(&self.key, self.fields.iter().flatten().map(String::as_str))
    }

    /// Asks for records that have a key: the others can't be anybody's pair.
    pub fn with_key(&self) -> Encoded {
        let given = |name: &&String| *name != "sys_id";
        self.key.iter().filter(given).fold(Encoded::new(), |query, name| query.holding(name))
    }

    /// Reads a page.
    pub async fn page(
        &self,
        decoder: &mut Decoder,
        fields: Option<&[String]>,
        mut ask: Ask<'_>,
        call: &Call,
    ) -> Result<Fetched, Fault> {
        let mut rows = Vec::new();
        let (mut offset, mut limit) = (0, ask.limit);
        for _ in 0..HIDDEN_PAGES_MAX {
            let request = self
                .instance
                .rows(&self.table, ask.query, fields)
                .with("sysparm_limit", &limit.to_string())
                .with("sysparm_offset", &offset.to_string())
                .with("sysparm_suppress_pagination_header", "true")
                .with("sysparm_no_count", if ask.counted { "false" } else { "true" });
            let fetched = match self.instance.get(ask.operation, request, call).await {
                Ok(reply) => decoder.page(ask.operation, &reply.body).map(|rows| (reply, rows)),
                Err(fault) => Err(fault),
            };
            let (reply, fetched) = match fetched {
                // The service's time ran out: half of it may be had.
                Err(fault) if wire::cancelled(&fault) && limit > LIMIT_MIN => {
                    limit = (limit / 2).max(LIMIT_MIN);
                    continue;
                }
                other => other?,
            };
            let full = fetched.len() >= limit;
            if !full && !ask.counted {
                // Is that the end, or is something hidden?
                ask.counted = true;
                continue;
            }
            let beyond = |total: u64| u64::try_from(offset + limit).unwrap_or(u64::MAX) >= total;
            let done = match wire::total_count(&reply) {
                Some(total) => beyond(total),
                None => !full,
            };
            rows.extend(fetched);
            let fetched = Fetched { rows, done, server_time: server_time(&reply) };
            if done || fetched.last().is_some() {
                return Ok(fetched);
            }
            rows = fetched.rows;
            offset += limit;
        }
        let what = format!("{}: nothing is shown of thousands of rows", ask.operation);
        Err(Fault::fatal(FaultCode::Auth, what, "give the user a role that may read the table's records"))
    }
}
