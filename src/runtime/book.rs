//! A rules file in force: read, checked as a whole, versioned, replaced between two pages.
//!
//! Invariant: a bad file changes nothing but what is said about it; the last good rules stay.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;

use super::link::lock;
use crate::engine::record::Timestamp;
use crate::engine::rules::{RulesError, RulesFile};
use crate::store::{Store, StoreError};

/// The rules that are in force.
#[derive(Debug)]
pub struct InForce {
    pub version: u32,
    pub file: RulesFile,
    pub text: String,
    pub loaded_at: Timestamp,
}

impl InForce {
    /// Returns the entity tag of the text.
    pub fn etag(&self) -> String {
        format!("\"{:032x}\"", xxhash_rust::xxh3::xxh3_128(self.text.as_bytes()))
    }
}

/// Why a file was refused.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Refusal {
    /// `file:line:column: message; remedy`.
    pub message: String,
    pub line: u32,
    pub column: u32,
    pub at: Timestamp,
}

/// One rules file with what is in force of it.
pub struct RuleBook {
    pub path: PathBuf,
    /// Held by whoever puts other rules in force: two at once could leave other ones than the file says.
    pub(super) changing: tokio::sync::Mutex<()>,
    current: ArcSwap<InForce>,
    refusal: Mutex<Option<Refusal>>,
}

/// Why a book can't be opened.
#[derive(Debug, thiserror::Error)]
pub enum BookError {
    #[error("{}: can't read the rules: {error}; make the file, for instance from the README's example", .path.display())]
    Unreadable { path: PathBuf, error: std::io::Error },
    #[error("{}", .error.in_file(&.path.display().to_string()))]
    Invalid { path: PathBuf, error: RulesError },
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl RuleBook {
    /// Reads and checks a file; there are no good rules yet to fall back on.
    pub async fn open(path: &Path, store: &dyn Store, now: Timestamp) -> Result<Self, BookError> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| BookError::Unreadable { path: path.to_owned(), error })?;
        let file =
            RulesFile::parse(&text).map_err(|error| BookError::Invalid { path: path.to_owned(), error })?;
        let version = store.rules_version(&name(path), &text, now).await?;
        Ok(Self {
            path: path.to_owned(),
            changing: tokio::sync::Mutex::default(),
            current: ArcSwap::from_pointee(InForce { version, file, text, loaded_at: now }),
            refusal: Mutex::new(None),
        })
    }

    /// Returns the rules in force.
    pub fn current(&self) -> Arc<InForce> {
        self.current.load_full()
    }

    /// Returns why the file as it stands was refused, if it was.
    pub fn refusal(&self) -> Option<Refusal> {
        lock(&self.refusal).clone()
    }

    /// Says that the file as it stands is no good.
    pub fn refuse(&self, error: &RulesError, now: Timestamp) {
        let message = error.in_file(&self.path.display().to_string());
        *lock(&self.refusal) = Some(Refusal { message, line: error.line, column: error.column, at: now });
    }

    /// Says that the file as it stands is what is in force.
    pub fn content(&self) {
        *lock(&self.refusal) = None;
    }

    /// Puts a checked text in force. The caller has compiled it for every link that runs under it.
    pub async fn adopt(
        &self,
        file: RulesFile,
        text: String,
        store: &dyn Store,
        now: Timestamp,
    ) -> Result<u32, StoreError> {
        let version = store.rules_version(&name(&self.path), &text, now).await?;
        self.current.store(Arc::new(InForce { version, file, text, loaded_at: now }));
        self.content();
        Ok(version)
    }

    /// Returns the name under which the store counts the versions of this file.
    pub fn name(&self) -> String {
        name(&self.path)
    }
}

fn name(path: &Path) -> String {
    path.display().to_string()
}
