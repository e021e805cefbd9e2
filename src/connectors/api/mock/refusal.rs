//! Refusals, worded where the description says that they are.

use super::super::super::mock::Reply;
use super::super::settings::Settings;
use super::super::wire::{Pointer, Tree};

/// Why a request or a record is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    pub status: u16,
    pub message: String,
    /// Seconds until another try makes sense.
    wait: u64,
}

impl Refused {
    /// Refuses with a status and words.
    pub fn new(status: u16, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), wait: 1 }
    }

    /// Refuses what is not there.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(404, message)
    }

    /// Refuses a record for what it holds.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(422, message)
    }

    /// Refuses for a limit.
    pub fn too_many(seconds: u64) -> Self {
        Self { wait: seconds, ..Self::new(429, "Too many requests.") }
    }

    /// Returns how long to wait.
    pub fn wait_seconds(&self) -> u64 {
        self.wait
    }

    /// Writes the body of a refusal.
    pub fn body(&self, settings: &Settings) -> Tree {
        let mut body = Tree::default();
        body.set(message_place(settings).steps(), Tree::text(&self.message));
        body
    }

    /// Writes the reply.
    pub fn reply(&self, settings: &Settings) -> Reply {
        Reply::json(self.status, self.body(settings).to_text())
    }

    /// Writes the reply of a service of which nothing is known.
    pub fn plain(&self) -> Reply {
        Reply::json(self.status, serde_json::json!({ "message": self.message }).to_string())
    }
}

/// Says where a refusal has its words.
pub fn message_place(settings: &Settings) -> Pointer {
    settings
        .errors
        .first()
        .filter(|place| !place.is_whole())
        .cloned()
        .unwrap_or_else(|| Pointer::default().member("message"))
}
