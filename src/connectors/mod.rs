//! The outside systems, each behind the same few traits.
//!
//! A new connector is one folder, one `mod` line and one entry in [`CONNECTORS`]; it is done when
//! it passes the conformance suite.

pub mod api;
pub mod file;
pub mod mock;
mod no_bytes;
pub mod outreach;
pub mod rest;
pub mod salesforce;
pub mod servicenow;
pub mod sqlite;
mod turns;
mod vault;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

pub use no_bytes::NoBytes;
pub use vault::{MemoryVault, Opening, Vault};

use crate::engine::fault::Fault;
use crate::engine::reading::{Overlap, Reach};
use crate::engine::record::{
    Change, Cursor, Key, Presence, Record, RemoteId, Revision, Schema, Timestamp, Values,
};

/// Every connector that this build knows, in the order in which they are listed.
pub const CONNECTORS: &[&Connector] = &[
    &sqlite::CONNECTOR,
    &file::CONNECTOR,
    &salesforce::CONNECTOR,
    &outreach::CONNECTOR,
    &servicenow::CONNECTOR,
    &api::CONNECTOR,
];

/// Finds a connector by the name that stands in the configuration.
pub fn find(name: &str) -> Option<&'static Connector> {
    CONNECTORS.iter().copied().find(|connector| connector.name == name)
}

/// One kind of product.
pub struct Connector {
    /// The word in `connector = "…"`.
    pub name: &'static str,
    /// One line for `GET /v1/crms/available`.
    pub about: &'static str,
    /// Calls leave this machine, so the gate and its limits apply.
    pub remote: bool,
    /// The JSON Schema of the system's settings, without the keys that every system has
    /// (`connector`, `max_requests`, `window_size`, `batch_size`, `breaker`, `retry` …).
    pub settings_schema: fn() -> serde_json::Value,
    /// Option keys that a link's end may carry beside `system`, `stream` and `key`.
    pub stream_options: &'static [&'static str],
    /// Checks the settings without opening anything.
    pub check_settings: fn(&serde_json::Value) -> Result<(), SettingsError>,
    /// Opens a configured system. Must not call out: that happens under the gate, later.
    pub open: fn(Open) -> Result<Arc<dyn System>, Fault>,
    /// Makes the built-in mock, where the project ships one.
    pub mock: Option<fn(mock::MockSettings) -> Arc<dyn mock::Mock>>,
}

/// Which setting is wrong, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingsError {
    /// Keys from the system's table down to the culprit, `["path"]`; empty for the table itself.
    pub path: Vec<String>,
    pub message: String,
}

/// What a connector gets to open a system.
pub struct Open {
    pub customer: String,
    pub system: String,
    /// The system's table, interpolated, without the keys that every system has.
    pub settings: serde_json::Value,
    /// Relative paths start here.
    pub base_dir: PathBuf,
    /// Where the built-in mock of this system answers, for `base_url = "mock"`.
    pub mock_url: Option<String>,
    pub gate: Arc<dyn Gate>,
    pub clock: Clock,
    /// Where a secret is kept that the service changes, such as a refresh token that is good once.
    pub vault: Arc<dyn Vault>,
    pub bounds: Bounds,
}

/// What an end keeps in memory at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Bytes of values that a page shows, but for its last record; where the end itself decides how much it reads.
    pub page_bytes: u64,
    /// Bytes of a database that each connection keeps.
    pub cache_bytes: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { page_bytes: 4 << 20, cache_bytes: 2 << 20 }
    }
}

/// The time, for whoever is not pure; the runtime hands out the only real one.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// How urgent a call is. Background reads leave room in the window for the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    Interactive,
    Live,
    Backfill,
}

/// What travels with a call to the outside.
#[derive(Clone, Debug)]
pub struct Call {
    pub class: Class,
    /// Sent as `X-Correlation-ID` and `traceparent` where the protocol has headers.
    pub correlation_id: String,
    /// The link that calls: links take turns at the gate. `None` for whoever is no link.
    pub link: Option<Arc<str>>,
    /// Cancelled when the link stops. A request that is under way is carried to its end all the same; a wait
    /// between requests, which may take long, is not.
    pub stop: CancellationToken,
}

impl Call {
    /// Makes a call of no link in particular.
    pub fn new(class: Class, correlation_id: impl Into<String>) -> Self {
        Self { class, correlation_id: correlation_id.into(), link: None, stop: CancellationToken::new() }
    }

    /// Makes it a call of this link.
    #[must_use]
    pub fn of(self, link: &str) -> Self {
        Self { link: Some(link.into()), ..self }
    }
}

/// The admission point of one (customer, system): every request passes it, reads, writes and
/// token requests alike.
#[async_trait]
pub trait Gate: Send + Sync {
    /// Waits until a request may go out; fails only where waiting is senseless (shutdown, open
    /// breaker). Nothing is ever dropped for a limit.
    async fn enter(&self, class: Class) -> Result<u64, Fault>;
    /// The same for a call of this link: within a class links take turns, so that one with a long
    /// backlog does not keep the others waiting.
    async fn enter_for(&self, class: Class, _link: Option<&str>) -> Result<u64, Fault> {
        self.enter(class).await
    }
    /// Says how the request that [`Self::enter`] admitted under this number ended.
    fn leave(&self, ticket: u64, report: Report);
}

/// How one request ended, for limiter and breaker.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The service failed (5xx, time-out, no connection): the breaker counts it.
    pub failed: bool,
    /// The caller went away before the end: nobody knows what became of the request.
    pub dropped: bool,
    /// The service asks everybody to wait.
    pub retry_after: Option<Duration>,
    /// The service's own count of what is left.
    pub quota: Option<Quota>,
    /// The service asked for patience, with or without a time.
    pub throttled: bool,
    /// It carried records there.
    pub write: bool,
}

/// A server's own budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    pub limit: u64,
    pub remaining: u64,
    pub resets_in: Option<Duration>,
}

/// One end of a link, as the configuration names it.
#[derive(Clone, Debug)]
pub struct StreamSpec {
    pub stream: String,
    /// The key fields, one or more.
    pub key: Vec<String>,
    /// The connector's own options of this end (`updated_at`, `capture`, …).
    pub options: serde_json::Map<String, serde_json::Value>,
    /// The fields that the rules read here; `None` for all.
    pub fields: Option<Vec<String>>,
    /// Distinguishes the consumers of one stream (`customer/link/side`), for ends that keep a log.
    pub consumer: String,
}

/// What a stream looks like before a record was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamInfo {
    pub fields: Vec<String>,
    /// Fields that are not listed may come up later or are made on first write.
    pub open: bool,
    /// Fields that refer to another record: `field.other` reads that one's field, and can't be written.
    pub walks: Vec<String>,
    /// Fields that can't be written here, with the reason and what helps; a key by which no record can be made, too.
    pub barred: BTreeMap<String, String>,
}

/// How deletions of a stream become known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deletes {
    /// `read` always starts from nothing and ends in [`End::Complete`]; what it did not show is gone.
    Scanned,
    /// `read` reports tombstones. A read that begins at nothing need not tell what was deleted before;
    /// it ends in [`End::Complete`], so that what an earlier one has shown is found missing.
    Reported,
    /// `list` enumerates all keys; what it does not show is gone.
    Listed,
}

/// Optional powers, as data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Features {
    pub deletes: Deletes,
    /// `write` checks [`Delivery::expected`] itself, atomically, and answers [`Outcome::Stale`].
    pub compare_and_set: bool,
    /// A repeated create of the same key can't make a second record.
    pub upsert_by_key: bool,
    /// Records a `write` call takes at most.
    pub batch_max: usize,
    /// Records that one request of a `write` call carries: a call with more makes several, at once where that helps.
    pub request_max: usize,
    /// Requests to its system that may be under way at once, reads and writes together; the gate holds that.
    pub in_flight_max: usize,
    /// [`Destination::open_load`] works.
    pub loads: bool,
    /// Where a backlog is better written in far larger batches than `batch_max`.
    pub bulk: Option<Bulk>,
}

/// How a backlog is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bulk {
    /// Records that have to be waiting; fewer go by batches.
    pub from: usize,
    /// Records that a `write` call takes then.
    pub max: usize,
    /// Records that a `look_up` call takes then.
    pub look_max: usize,
}

/// One configured product. Cheap to share; holds connections, tokens and pools.
#[async_trait]
pub trait System: Send + Sync {
    /// Tells what a stream can do.
    fn features(&self, stream: &StreamSpec) -> Features;
    /// Looks at a stream: its fields, its key. Doubles as the connection check of
    /// `record-sync check`: an unknown stream, a missing key field, a wrong type are faults with a remedy.
    async fn describe(&self, stream: &StreamSpec, call: &Call) -> Result<StreamInfo, Fault>;
    /// Opens the reading end.
    fn source(&self, stream: &StreamSpec) -> Result<Box<dyn Source>, Fault>;
    /// Opens the writing end.
    fn destination(&self, stream: &StreamSpec) -> Result<Arc<dyn Destination>, Fault>;
    /// Files whose change means that the stream may have changed; the runtime watches them.
    fn watch(&self, _stream: &StreamSpec) -> Vec<PathBuf> {
        Vec::new()
    }
}

/// How a page ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// There is more; read on at once.
    More,
    /// Nothing more for now.
    CaughtUp,
    /// The read began at nothing and provably reached the end: what was not shown does not exist.
    Complete,
}

/// A bounded piece of a stream.
#[derive(Debug)]
pub struct Page {
    pub changes: Vec<Change>,
    /// Where to go on; stored with what the page decided.
    pub cursor: Option<Cursor>,
    pub end: End,
}

/// A bounded piece of the enumeration of all keys.
#[derive(Debug)]
pub struct Listing {
    pub keys: Vec<Key>,
    pub cursor: Option<Cursor>,
    /// `More` or `Complete`.
    pub end: End,
}

/// A piece of the enumeration of all keys, added up.
#[derive(Debug)]
pub struct Summed {
    pub presence: Presence,
    pub cursor: Option<Cursor>,
    /// `More` or `Complete`.
    pub end: End,
}

/// A reading end.
#[async_trait]
pub trait Source: Send {
    /// Reads the next page. `after = None` starts from the beginning.
    async fn read(&mut self, after: Option<&Cursor>, limit: usize, call: &Call) -> Result<Page, Fault>;

    /// Enumerates all keys, for [`Deletes::Listed`].
    async fn list(&mut self, _after: Option<&Cursor>, _limit: usize, _call: &Call) -> Result<Listing, Fault> {
        Err(Fault::fatal(
            crate::engine::fault::FaultCode::Configuration,
            "this stream can't be listed",
            "this is a defect of the connector",
        ))
    }

    /// Adds up the keys that [`Self::list`] enumerates, for [`Deletes::Listed`] on this machine, where that costs far
    /// less: nothing is gone where the sum is the one that is known.
    async fn sum(&mut self, after: Option<&Cursor>, limit: usize, call: &Call) -> Result<Summed, Fault> {
        let Listing { keys, cursor, end } = self.list(after, limit, call).await?;
        let mut presence = Presence::default();
        keys.iter().for_each(|key| presence.add(key.hash64()));
        Ok(Summed { presence, cursor, end })
    }

    /// Shows the whole stream once more in the order of its ids, for streams that are read from a cursor:
    /// whatever no cursor could see is found so. `after` is the place of this walk alone; the stream's own
    /// cursor and what was read with it stay as they are. Ends in [`End::Complete`]. Only where
    /// [`Self::audits`].
    async fn audit(&mut self, _after: Option<&Cursor>, _limit: usize, _call: &Call) -> Result<Page, Fault> {
        Err(Fault::fatal(
            crate::engine::fault::FaultCode::Configuration,
            "this stream can't be audited",
            "this is a defect of the connector",
        ))
    }

    /// Tells whether [`Self::audit`] works; a stream that is always read as a whole needs none.
    fn audits(&self) -> bool {
        false
    }

    /// Tells how far a cursor at rest has read, where that goes by stamps.
    fn reach(&self, _cursor: &Cursor) -> Option<Reach> {
        None
    }

    /// Makes the cursor remember another overlap, where reading goes by stamps.
    fn with_overlap(&self, _cursor: &Cursor, _overlap: Overlap) -> Option<Cursor> {
        None
    }

    /// Tells, at next to no cost, whether reading may show something new. Answers true where it
    /// can't tell.
    fn may_have_changed(&mut self) -> bool {
        true
    }

    /// Tells whether all that may have changed since the last read that came to its end was written by the destination
    /// beside it and told in its outcomes. Answers false where it can't tell.
    async fn only_ours(&mut self) -> bool {
        false
    }

    /// Learns that everything through this cursor is durably decided. Called after commit only.
    async fn ack(&mut self, _through: &Cursor) -> Result<(), Fault> {
        Ok(())
    }
}

/// Records to write in one call, all laid out under one shape.
#[derive(Clone, Debug)]
pub struct Batch {
    /// The destination's fields that the rules know, key fields among them.
    pub shape: Arc<Schema>,
    pub deliveries: Vec<Delivery>,
}

/// One record's part of a batch.
#[derive(Clone, Debug)]
pub struct Delivery {
    pub key: Key,
    /// The destination's own id, where it is known.
    pub id: Option<RemoteId>,
    pub write: Write,
    /// What the destination should look like now, under the batch's shape; places that are
    /// `Unknown` or `Absent` are not compared. `None`: do not compare. Creates expect no record.
    pub expected: Option<Values>,
    pub revision: Option<Revision>,
}

/// What to do with the record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// Values under the batch's shape, the key's among them; absent ones are left out.
    Create(Values),
    /// The same, with absent ones left untouched.
    Update(Values),
    Delete,
}

/// How one delivery ended.
#[derive(Clone, Debug)]
pub enum Outcome {
    Delivered {
        id: Option<RemoteId>,
        revision: Option<Revision>,
        /// The record as the destination stored it, where its answer says so.
        stored: Option<Record>,
    },
    /// The destination looks otherwise than expected; nothing was written. `None`: it is not there.
    Stale(Option<Record>),
    Failed(Fault),
}

impl Outcome {
    /// Tells whether the write may have been carried out although nobody says so.
    pub fn may_have_happened(&self) -> bool {
        matches!(self, Self::Failed(fault) if fault.may_have_happened)
    }
}

/// What to look up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    pub key: Key,
    pub id: Option<RemoteId>,
}

/// A writing end.
#[async_trait]
pub trait Destination: Send + Sync {
    /// Writes a batch of at most `batch_max`; gives one outcome a delivery, in order. `Err` means
    /// that nothing can be said of any record of the batch. Deleting what is gone is `Delivered`.
    async fn write(&self, batch: &Batch, call: &Call) -> Result<Vec<Outcome>, Fault>;

    /// Looks records up as they are now, in order; `None` where there is none.
    async fn look_up(&self, wanted: &[Wanted], call: &Call) -> Result<Vec<Option<Record>>, Fault>;

    /// Starts a bulk load: many creates that become visible together, when it is finished; unless somebody else has
    /// written to the destination since it was opened. Only where [`Features::loads`].
    async fn open_load(&self, _shape: &Arc<Schema>) -> Result<Box<dyn Load>, Fault> {
        Err(Fault::fatal(
            crate::engine::fault::FaultCode::Configuration,
            "this destination takes no bulk loads",
            "this is a defect of the connector",
        ))
    }

    /// Tells whether the load that said this of itself ([`Load::mark`]) has become visible and stays so, whatever
    /// others have changed of it since then. A no may be wrong; a yes must not be.
    async fn holds_load(&self, _mark: &str) -> Result<bool, Fault> {
        Ok(false)
    }
}

/// A bulk load under way. Dropped unfinished, it leaves the destination as it was.
#[async_trait]
pub trait Load: Send {
    /// What tells this load from every other that the destination ever sees, so that a process which finds it
    /// unfinished can ask [`Destination::holds_load`]. `None` where nothing tells them apart.
    fn mark(&self) -> Option<String>;
    /// Stages creates, keys of which the destination does not hold.
    async fn stage(&mut self, deliveries: &[Delivery]) -> Result<Vec<Outcome>, Fault>;
    /// Makes everything staged durable and visible at once; nothing of it where the destination is not what it was.
    async fn finish(self: Box<Self>) -> Result<(), Fault>;
}
