//! What all built-in mocks share: plain requests and replies, faults on demand, a log of arrivals.
//!
//! A mock is a state machine without transport and clock, `handle(request, now) → reply`;
//! `http/mocks.rs` mounts it. A mock is made of a [`Desk`], which receives, misbehaves and keeps the
//! log, a [`Table`] of objects, and its own [`Service`], which knows the system's wire form.

mod desk;
mod disk;
mod index;
mod object;
mod order;
mod pace;
mod table;

use std::path::PathBuf;
use std::time::Duration;

pub use desk::{Desk, Luck, Refusal, Service, query_pairs};
pub use index::Id;
pub use object::{Object, object_from_json, object_json};
pub use order::{Order, Rank};
pub use pace::Pace;
pub use table::Table;

use crate::engine::record::{Record, Timestamp};

/// How to make a mock.
#[derive(Clone, Debug, Default)]
pub struct MockSettings {
    pub seed: u64,
    pub strict: bool,
    /// Keeps the data in this SQLite file across restarts; in memory where `None`.
    pub data: Option<PathBuf>,
    pub faults: Faults,
    /// The system's table, for a mock that is made from a description.
    pub description: serde_json::Value,
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
    /// Every reply takes as long as the real service's does, besides.
    pub lifelike: bool,
    /// Breaks down over every request that names this text.
    pub breaks_on: Option<String>,
    /// Answers list reads with an empty page.
    pub empty_pages: bool,
    /// Stores text trimmed and in lower case.
    pub normalise_text: bool,
    /// A refresh token is good once, where the service gives another one with each use.
    pub single_use_tokens: bool,
    /// Access tokens live so long, those that are out included; as usual where `None`.
    pub token_seconds: Option<u64>,
    /// Calls of a day, where the system counts them; as usual where `None`.
    pub daily_calls: Option<u64>,
    /// Duplicate rules are on: a record like another is refused, unless the request overrules them.
    pub duplicate_rules: bool,
    /// Bulk jobs get no further, where the system has any.
    pub jobs_stand: bool,
    /// The service's clock is off by so much, in milliseconds; stamps may go back with it.
    pub clock_ms: i64,
    /// Every save carries this stamp, in milliseconds since 1970: a late commit, an import.
    pub stamp_ms: Option<i64>,
}

/// An HTTP request without its transport.
#[derive(Clone, Debug, Default)]
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

impl Request {
    /// Returns a header by its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Returns the path's segments, percent-decoded, empty ones left out.
    pub fn segments(&self) -> Vec<String> {
        self.path
            .split('/')
            .filter(|segment| !segment.is_empty())
            .map(|segment| percent_encoding::percent_decode_str(segment).decode_utf8_lossy().into_owned())
            .collect()
    }

    /// Returns a member of the query, decoded.
    pub fn query_value(&self, name: &str) -> Option<String> {
        query_pairs(&self.query).into_iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }
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

impl Reply {
    /// Builds a reply with a JSON body.
    pub fn json(status: u16, body: impl Into<Vec<u8>>) -> Self {
        let headers = vec![("content-type".to_owned(), "application/json;charset=UTF-8".to_owned())];
        Self { status, headers, body: body.into(), ..Self::default() }
    }

    /// Builds a reply without a body.
    pub fn empty(status: u16) -> Self {
        Self { status, ..Self::default() }
    }

    /// Adds a header.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }
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
    /// `/__admin/records/{stream}` (GET) are the test's own door, which a service may widen; it is not
    /// logged as arrivals.
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

    /// What it takes for a login, as settings of its connector, each by its key.
    fn logins(&self) -> &'static [(&'static str, &'static str)] {
        &[]
    }
}

/// Writes a moment as HTTP does.
pub fn http_date(now: Timestamp) -> Option<String> {
    let at = jiff::Timestamp::from_millisecond(now.0).ok()?;
    jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&at).ok()
}
