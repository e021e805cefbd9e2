//! The settings of a REST system: where it is, who we are there, and its streams.

mod auth;
mod check;
mod list;
mod stream;
#[cfg(test)]
mod tests;
mod write;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;

use super::super::SettingsError;
use super::super::rest::{MOCK, read_settings};
use super::wire::Pointer;
pub use auth::{Auth, AuthKind, CredentialsIn};
pub use list::{Changes, List, Page, PageStyle};
pub use stream::{Deletions, Find, Get, Stream};
pub use write::{Batch, MatchBy, Verb, Write};

/// What the table of a REST system may hold.
#[derive(Clone, Debug, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// What all paths begin with, such as `https://api.example.test/v1`; `mock` for the built-in mock.
    pub base_url: String,
    pub auth: Auth,
    /// Headers of every request.
    pub headers: BTreeMap<String, String>,
    /// Where a refusal says why, as JSON Pointers; the first that finds a text counts.
    #[schemars(with = "Vec<String>")]
    pub errors: Vec<Pointer>,
    pub rate: Rate,
    /// Writes that may be under way at once.
    pub in_flight: usize,
    /// How long a request may take, in milliseconds.
    pub timeout_ms: u64,
    pub streams: BTreeMap<String, Stream>,
}

/// The service's own limits: where it tells them, and how many requests the mock takes.
#[derive(Clone, Debug, Default, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Rate {
    /// The header with the size of the budget.
    pub limit: Option<String>,
    /// The header with what is left of it.
    pub remaining: Option<String>,
    /// The header with the time when it begins anew: seconds, a moment since 1970, a date.
    pub reset: Option<String>,
    /// The same in milliseconds.
    pub reset_ms: Option<String>,
    /// Requests that the mock takes …
    pub requests: Option<u64>,
    /// … in so many seconds.
    pub seconds: Option<u64>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            base_url: String::new(),
            auth: Auth::default(),
            headers: BTreeMap::new(),
            errors: Vec::new(),
            rate: Rate::default(),
            in_flight: 4,
            timeout_ms: 30_000,
            streams: BTreeMap::new(),
        }
    }
}

impl Settings {
    /// Reads and checks a system's table.
    pub fn parse(table: &serde_json::Value) -> Result<Self, SettingsError> {
        let mut settings: Self = read_settings(table)?;
        while settings.base_url.ends_with('/') {
            settings.base_url.pop();
        }
        check::check(&settings)?;
        Ok(settings)
    }

    /// Tells whether the system is the built-in mock.
    pub fn is_mock(&self) -> bool {
        self.base_url == MOCK
    }

    /// Hands out the streams.
    pub fn take_streams(&mut self) -> BTreeMap<String, Arc<Stream>> {
        std::mem::take(&mut self.streams).into_iter().map(|(name, stream)| (name, Arc::new(stream))).collect()
    }
}
