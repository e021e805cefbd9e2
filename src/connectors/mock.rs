//! What all built-in mocks share: plain requests and replies, faults on demand, a log of arrivals.
//!
//! A mock is a pure-ish state machine, `handle(request, now) → reply`; `http/mocks.rs` mounts it.

use std::path::PathBuf;
use std::time::Duration;

use crate::engine::record::{Record, Timestamp};

/// How to make a mock.
#[derive(Clone, Debug, Default)]
pub struct MockSettings {
    pub seed: u64,
    pub strict: bool,
    /// Keeps the data in this SQLite file across restarts; in memory where `None`.
    pub data: Option<PathBuf>,
    pub faults: Faults,
}

/// How a mock misbehaves; rates are parts of 1, drawn deterministically from the seed.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Faults {
    /// 429 with `Retry-After`.
    pub rate_429: f64,
    pub retry_after_seconds: u64,
    pub rate_503: f64,
    /// Applies the request, then cuts the connection.
    pub rate_lost_reply: f64,
    /// Refuses single records of a batch.
    pub rate_record_failure: f64,
    /// Every reply takes this long.
    pub latency_ms: u64,
    /// Answers list reads with an empty page.
    pub empty_pages: bool,
    /// Stores text trimmed and in lower case.
    pub normalise_text: bool,
}

/// An HTTP request without its transport.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    /// Path below the mount point, beginning with `/`, still percent-encoded.
    pub path: String,
    /// Raw query text without `?`.
    pub query: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// What absolute URLs begin with: scheme, host and mount path, no slash at the end.
    pub base_url: String,
}

/// An HTTP reply without its transport.
#[derive(Clone, Debug, Default)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// Wait so long before answering.
    pub delay: Duration,
    /// Cut the connection instead of answering.
    pub cut: bool,
}

/// One request that arrived, for tests and for `GET …/__admin/arrivals`.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Arrival {
    pub at: Timestamp,
    pub method: String,
    pub path: String,
    pub status: u16,
    /// Records in the request, where it carries several.
    pub records: usize,
    pub correlation_id: Option<String>,
}

/// A built-in mock.
pub trait Mock: Send + Sync {
    /// Answers one request. `/__admin/faults` (GET, PUT), `/__admin/arrivals` (GET, DELETE) and
    /// `/__admin/records/{stream}` (GET) are the test's own door and are not logged as arrivals.
    fn handle(&self, request: &Request, now: Timestamp) -> Reply;

    /// Puts a record straight in, as if someone had edited it there. An existing record with the
    /// same key field value is changed. Gives the record's id.
    fn push(
        &self,
        stream: Option<&str>,
        key_field: &str,
        record: &Record,
        now: Timestamp,
    ) -> Result<String, String>;
}
