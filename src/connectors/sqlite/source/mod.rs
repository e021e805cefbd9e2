//! The reading end.
//!
//! Invariant: a page is read in one transaction, and its cursor says nothing that the page did not show.

mod capture;
mod column;
mod log;
mod project;
mod restored;
mod walk;

use std::sync::{Arc, Mutex, TryLockError};
use std::time::Duration;

use async_trait::async_trait;
use rusqlite::Connection;

use super::db::{Db, Location, blocking, lock, pragma};
use super::options::{Capture, Options, Stream};
use super::order::Order;
use super::twin::{Stand, Twin};
use super::wire;
use crate::connectors::{Call, Clock, End, Listing, Page, Source, StreamSpec, Summed};
use crate::engine::fault::{Fault, FaultCode};
use crate::engine::reading::{Overlap, Reach};
use crate::engine::record::{Change, Cursor, Key, Presence};
pub(super) use project::Projection;
use walk::Place;

/// What a cursor of ours says, as JSON.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(tag = "capture", rename_all = "lowercase", deny_unknown_fields)]
enum Mark {
    Scan(Place),
    Column(column::Mark),
    Triggers(log::Mark),
    /// The place of a listing.
    List(Place),
}

impl Mark {
    fn read(cursor: &Cursor) -> Result<Self, Fault> {
        serde_json::from_str(&cursor.0).map_err(|error| {
            Fault::fatal(
                FaultCode::Protocol,
                format!("the stored cursor is none of this stream: {error}"),
                "start with a fresh state, so that both sides are compared anew",
            )
        })
    }

    fn write(&self) -> Result<Cursor, Fault> {
        serde_json::to_string(self).map(Cursor).map_err(|error| {
            Fault::fatal(
                FaultCode::Protocol,
                format!("writing a cursor: {error}"),
                "this is a defect of the connector",
            )
        })
    }
}

/// One page as the three ways of reading make it.
struct Piece {
    changes: Vec<Change>,
    /// `None` at the end of a scan.
    mark: Option<Mark>,
    end: End,
    /// The page began a pass: only what was committed before it is sure to be seen.
    begins: bool,
}

/// What was learnt of the stream, as long as neither file nor schema change.
struct Prepared {
    generation: u64,
    schema: i64,
    stream: Stream,
    projection: Projection,
    order: Order,
    /// Bytes of values that a page shows, but for its last record.
    page_bytes: u64,
}

struct Core {
    db: Db,
    spec: StreamSpec,
    options: Options,
    clock: Clock,
    prepared: Option<Arc<Prepared>>,
    /// The writing end beside this one.
    twin: Twin,
    /// The database's change counter when the pass under way began, and how the writing end stood before.
    began_at: Option<(i64, Option<Stand>)>,
    /// The counter when the last pass began that came to its end, with the connection's generation.
    rested_at: Option<(u64, i64)>,
    /// How the writing end stood before that.
    rested_beside: Option<Stand>,
    /// The entry of the log through which it says that we have seen it.
    acked: Option<i64>,
}

pub(super) struct SqliteSource {
    core: Arc<Mutex<Core>>,
    capture: Capture,
    /// The configured overlap.
    least: Duration,
}

impl SqliteSource {
    pub fn new(location: Location, spec: StreamSpec, options: Options, clock: Clock, twin: Twin) -> Self {
        let (capture, least) = (options.capture, options.overlap);
        let core = Core {
            db: Db::new(location),
            spec,
            options,
            clock,
            prepared: None,
            twin,
            began_at: None,
            rested_at: None,
            rested_beside: None,
            acked: None,
        };
        Self { core: Arc::new(Mutex::new(core)), capture, least }
    }
}

#[async_trait]
impl Source for SqliteSource {
    async fn read(&mut self, after: Option<&Cursor>, limit: usize, _call: &Call) -> Result<Page, Fault> {
        let mark = after.map(Mark::read).transpose()?;
        let core = Arc::clone(&self.core);
        blocking(move || lock(&core).read(mark, limit.max(1))).await
    }

    async fn list(&mut self, after: Option<&Cursor>, limit: usize, _call: &Call) -> Result<Listing, Fault> {
        let mark = after.map(Mark::read).transpose()?;
        let core = Arc::clone(&self.core);
        blocking(move || {
            let mut keys = Vec::with_capacity(limit.min(10_000));
            let (cursor, end) = lock(&core).list(mark, limit.max(1), |key| keys.push(key))?;
            Ok(Listing { keys, cursor, end })
        })
        .await
    }

    async fn sum(&mut self, after: Option<&Cursor>, limit: usize, _call: &Call) -> Result<Summed, Fault> {
        let mark = after.map(Mark::read).transpose()?;
        let core = Arc::clone(&self.core);
        blocking(move || {
            let mut presence = Presence::default();
            let (cursor, end) = lock(&core).list(mark, limit.max(1), |key| presence.add(key.hash64()))?;
            Ok(Summed { presence, cursor, end })
        })
        .await
    }

    async fn audit(&mut self, after: Option<&Cursor>, limit: usize, _call: &Call) -> Result<Page, Fault> {
        let mark = after.map(Mark::read).transpose()?;
        let core = Arc::clone(&self.core);
        blocking(move || lock(&core).audit(mark, limit.max(1))).await
    }

    fn audits(&self) -> bool {
        self.capture != Capture::Scan
    }

    fn reach(&self, cursor: &Cursor) -> Option<Reach> {
        match Mark::read(cursor).ok()? {
            Mark::Column(mark) => mark.reach(self.least),
            Mark::Scan(_) | Mark::Triggers(_) | Mark::List(_) => None,
        }
    }

    fn with_overlap(&self, cursor: &Cursor, overlap: Overlap) -> Option<Cursor> {
        match Mark::read(cursor).ok()? {
            Mark::Column(mut mark) => {
                mark.overlap = overlap;
                Mark::Column(mark).write().ok()
            }
            Mark::Scan(_) | Mark::Triggers(_) | Mark::List(_) => None,
        }
    }

    fn may_have_changed(&mut self) -> bool {
        match self.core.try_lock() {
            Ok(mut core) => core.may_have_changed(),
            Err(TryLockError::Poisoned(core)) => core.into_inner().may_have_changed(),
            // A read that nobody waits for any more is still under way.
            Err(TryLockError::WouldBlock) => true,
        }
    }

    async fn only_ours(&mut self) -> bool {
        let core = Arc::clone(&self.core);
        blocking(move || Ok(lock(&core).only_ours())).await.unwrap_or(false)
    }

    async fn ack(&mut self, through: &Cursor) -> Result<(), Fault> {
        let Mark::Triggers(mark) = Mark::read(through)? else { return Ok(()) };
        let core = Arc::clone(&self.core);
        blocking(move || lock(&core).ack(&mark)).await
    }
}

impl Core {
    /// Looks the stream up again where the file or its schema changed since.
    fn prepare(&mut self) -> Result<(Arc<Prepared>, i64), Fault> {
        let (conn, generation) = self.db.get()?;
        let failed = |error| wire::classify(&format!("looking at {}", self.spec.stream), &error);
        let schema = pragma(conn, "schema_version").map_err(failed)?;
        let version = pragma(conn, "data_version").map_err(failed)?;
        if let Some(prepared) =
            self.prepared.as_ref().filter(|known| known.generation == generation && known.schema == schema)
        {
            return Ok((Arc::clone(prepared), version));
        }
        let stream = Stream::load(conn, &self.spec, &self.options)?;
        let projection = Projection::of_stream(&stream, &self.spec)?;
        let order = Order::by_key(&stream.table, &stream.key);
        let page_bytes = self.db.bounds().page_bytes;
        let prepared = Arc::new(Prepared { generation, schema, stream, projection, order, page_bytes });
        self.prepared = Some(Arc::clone(&prepared));
        Ok((prepared, version))
    }

    fn read(&mut self, mark: Option<Mark>, limit: usize) -> Result<Page, Fault> {
        // Before anything is read, and before the counter.
        let stand = if self.began_at.is_none() || mark.is_none() { self.twin.stand() } else { None };
        let (prepared, version) = self.prepare()?;
        let horizon = (self.clock)().plus(column::FUTURE);
        let identity = self.db.identity();
        let (conn, _) = self.db.get()?;
        let doing = || format!("reading {}", prepared.stream.table.name);
        if mark.is_none() {
            self.acked = None;
        }
        let piece = match (self.options.capture, mark) {
            (Capture::Scan, Some(Mark::Scan(place))) => scan(conn, &prepared, Some(place), limit),
            (Capture::Scan, _) => scan(conn, &prepared, None, limit),
            (Capture::Column, mark) => {
                let mark = match mark {
                    Some(Mark::Column(mark)) => Some(mark),
                    _ => None,
                };
                column::Reader { conn, prepared: &prepared, horizon, identity }.read(mark, limit)
            }
            (Capture::Triggers, mark) => {
                let mark = match mark {
                    Some(Mark::Triggers(mark)) => Some(mark),
                    _ => None,
                };
                log::read(conn, &prepared, &self.spec.consumer, mark, self.acked, limit)
            }
        };
        let piece = piece.map_err(|failure| failure.into_fault(&doing()))?;
        if piece.begins || self.began_at.is_none() {
            self.began_at = Some((version, stand));
        }
        if piece.end != End::More {
            let began = self.began_at.take();
            self.rested_at = began.map(|(version, _)| (prepared.generation, version));
            self.rested_beside = began.and_then(|(_, stand)| stand);
        }
        let cursor = piece.mark.as_ref().map(Mark::write).transpose()?;
        Ok(Page { changes: piece.changes, cursor, end: piece.end })
    }

    fn list(
        &mut self,
        mark: Option<Mark>,
        limit: usize,
        each: impl FnMut(Key),
    ) -> Result<(Option<Cursor>, End), Fault> {
        let (prepared, _) = self.prepare()?;
        let (conn, _) = self.db.get()?;
        let place = match mark {
            Some(Mark::List(place)) => Some(place),
            _ => None,
        };
        let next = walk::list(conn, &prepared, place, limit, each)
            .map_err(|error| wire::classify(&format!("listing {}", prepared.stream.table.name), &error))?;
        let end = if next.is_some() { End::More } else { End::Complete };
        let cursor = next.map(|place| Mark::List(place).write()).transpose()?;
        Ok((cursor, end))
    }

    /// One page of all rows; where reading stands is none of its business.
    fn audit(&mut self, mark: Option<Mark>, limit: usize) -> Result<Page, Fault> {
        let (prepared, _) = self.prepare()?;
        let (conn, _) = self.db.get()?;
        let place = match mark {
            Some(Mark::List(place)) => Some(place),
            _ => None,
        };
        let (changes, next) = walk::page(conn, &prepared, place, limit)
            .map_err(|error| wire::classify(&format!("auditing {}", prepared.stream.table.name), &error))?;
        let end = if next.is_some() { End::More } else { End::Complete };
        let cursor = next.map(|place| Mark::List(place).write()).transpose()?;
        Ok(Page { changes, cursor, end })
    }

    fn may_have_changed(&mut self) -> bool {
        let Some(rested_at) = self.rested_at else { return true };
        match self.db.get() {
            Ok((conn, generation)) => {
                !pragma(conn, "data_version").is_ok_and(|version| (generation, version) == rested_at)
            }
            Err(_) => true,
        }
    }

    fn only_ours(&mut self) -> bool {
        let Some((generation, _)) = self.rested_at else { return false };
        let Ok((conn, now)) = self.db.get() else { return false };
        // Before the writing end is asked: what it answers holds for all that this counts.
        let Ok(version) = pragma(conn, "data_version") else { return false };
        let is_ours =
            now == generation && self.rested_beside.is_some_and(|before| self.twin.stand() == Some(before));
        if is_ours {
            self.rested_at = Some((generation, version));
        }
        is_ours
    }

    fn ack(&mut self, mark: &log::Mark) -> Result<(), Fault> {
        let (prepared, _) = self.prepare()?;
        let (conn, _) = self.db.get()?;
        let acked = log::ack(conn, &prepared, &self.spec.consumer, mark).map_err(|error| {
            wire::classify(&format!("pruning the log of {}", prepared.stream.table.name), &error)
        })?;
        self.acked = Some(acked);
        Ok(())
    }
}

/// Why a page could not be read.
enum Failure {
    Sqlite(rusqlite::Error),
    Fault(Fault),
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl Failure {
    fn into_fault(self, doing: &str) -> Fault {
        match self {
            Self::Sqlite(error) => wire::classify(doing, &error),
            Self::Fault(fault) => fault,
        }
    }
}

/// The data stands before the place where reading stopped.
fn ahead(table: &str, what: &str) -> Failure {
    Failure::Fault(Fault::restored(table, what))
}

/// Reads one page of a whole scan.
fn scan(
    conn: &Connection,
    prepared: &Prepared,
    place: Option<Place>,
    limit: usize,
) -> Result<Piece, Failure> {
    let begins = place.is_none();
    let (changes, next) = walk::page(conn, prepared, place, limit)?;
    let end = if next.is_some() { End::More } else { End::Complete };
    Ok(Piece { changes, mark: next.map(Mark::Scan), end, begins })
}
