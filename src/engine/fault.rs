//! What can go wrong outside, classified once, where the reply is read.
//!
//! Invariant: nobody above `wire.rs` looks at a status code; they look at [`FaultKind`].

use std::fmt;
use std::time::Duration;

/// What a fault means for the work that met it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// Worth another try; costs an attempt.
    Transient,
    /// The other side asks for patience; waits as told, costs no attempt.
    Throttled { retry_after: Option<Duration> },
    /// The record moved under us; plan again from what stands there now.
    Stale,
    /// This record will never be accepted as it is; dead letter.
    Rejected,
    /// Credentials or configuration; the whole stream pauses until a person acts.
    Fatal,
}

/// The typed reason that jobs, attempts and metrics show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FaultCode {
    Timeout,
    Connect,
    RateLimited,
    Unavailable,
    Conflict,
    NotFound,
    Validation,
    Auth,
    Protocol,
    Configuration,
    Storage,
    /// What was read is not believed: the fuse holds it back.
    Frozen,
    /// The data stands before the place where reading stopped: it looks restored from a backup.
    Restored,
    /// Nothing is wrong: the process ends, and what was asked for is done after the next start.
    Stopping,
}

impl FaultCode {
    /// Every code.
    pub const ALL: [Self; 14] = [
        Self::Timeout,
        Self::Connect,
        Self::RateLimited,
        Self::Unavailable,
        Self::Conflict,
        Self::NotFound,
        Self::Validation,
        Self::Auth,
        Self::Protocol,
        Self::Configuration,
        Self::Storage,
        Self::Frozen,
        Self::Restored,
        Self::Stopping,
    ];

    /// Finds the code of a word that [`Self::as_str`] gave.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|code| code.as_str() == word)
    }

    /// Returns the fixed word that users read in statuses and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Connect => "connect",
            Self::RateLimited => "rate_limited",
            Self::Unavailable => "unavailable",
            Self::Conflict => "conflict",
            Self::NotFound => "not_found",
            Self::Validation => "validation",
            Self::Auth => "auth",
            Self::Protocol => "protocol",
            Self::Configuration => "configuration",
            Self::Storage => "storage",
            Self::Frozen => "frozen",
            Self::Restored => "restored",
            Self::Stopping => "stopping",
        }
    }
}

/// One failure of an outside call or of one record in it.
///
/// `message` says the operation, the object and what came back, never a secret and never a
/// record's field values. `remedy` says what a person can do, where there is something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub kind: FaultKind,
    pub code: FaultCode,
    pub message: String,
    pub remedy: Option<String>,
    /// The call may have taken effect although no reply says so (a lost reply, a time-out after
    /// sending): whoever repeats it does so under an idempotency key or looks first.
    pub may_have_happened: bool,
}

impl Fault {
    /// Builds a fault of any kind.
    pub fn new(kind: FaultKind, code: FaultCode, message: impl Into<String>) -> Self {
        Self { kind, code, message: message.into(), remedy: None, may_have_happened: false }
    }

    /// Builds a fault that is worth another try.
    pub fn transient(code: FaultCode, message: impl Into<String>) -> Self {
        Self::new(FaultKind::Transient, code, message)
    }

    /// Builds a fault that waits as the other side says.
    pub fn throttled(retry_after: Option<Duration>, message: impl Into<String>) -> Self {
        Self::new(FaultKind::Throttled { retry_after }, FaultCode::RateLimited, message)
    }

    /// Builds a fault that asks for a new plan.
    pub fn stale(message: impl Into<String>) -> Self {
        Self::new(FaultKind::Stale, FaultCode::Conflict, message)
    }

    /// Builds a fault that only another record or other rules can mend.
    pub fn rejected(code: FaultCode, message: impl Into<String>) -> Self {
        Self::new(FaultKind::Rejected, code, message)
    }

    /// Builds a fault that only a person can mend.
    pub fn fatal(code: FaultCode, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { remedy: Some(remedy.into()), ..Self::new(FaultKind::Fatal, code, message) }
    }

    /// Builds the fault of a call that is not made because the process ends.
    pub fn stopping() -> Self {
        let message = "record-sync is stopping; no more calls go out";
        Self::new(FaultKind::Throttled { retry_after: None }, FaultCode::Stopping, message)
    }

    /// Tells whether only the end of the process is in the way: no trouble, nothing to be logged.
    pub fn is_stopping(&self) -> bool {
        self.code == FaultCode::Stopping
    }

    /// Returns how long the other side asks to be left alone.
    pub fn asked_to_wait(&self) -> Option<Duration> {
        match self.kind {
            FaultKind::Throttled { retry_after } => retry_after,
            _ => None,
        }
    }

    /// Says how long to wait before the same is tried again: this pause, or as long as the other side asks; `None`
    /// where that does not help.
    pub fn wait(&self, pause: Duration) -> Option<Duration> {
        match self.kind {
            FaultKind::Transient | FaultKind::Throttled { .. } => {
                Some(self.asked_to_wait().unwrap_or_default().max(pause))
            }
            FaultKind::Stale | FaultKind::Rejected | FaultKind::Fatal => None,
        }
    }

    /// Builds the fault of a stream that stands before the place where reading stopped.
    pub fn restored(stream: &str, what: &str) -> Self {
        Self::fatal(
            FaultCode::Restored,
            format!("the cursor is ahead of the data of {stream}: {what}; it looks restored from a backup"),
            "approve the link to go on with what stands there, or discard it to bring back what the other side has",
        )
    }

    /// Marks that the effect may have happened although no reply says so.
    #[must_use]
    pub fn and_may_have_happened(mut self) -> Self {
        self.may_have_happened = true;
        self
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.message)?;
        match &self.remedy {
            Some(remedy) => write!(f, "; {remedy}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Fault {}
