//! What is remembered of one try of a job.

use super::JobError;
use crate::engine::record::Timestamp;

/// So many attempts of a job are remembered, the last ones.
pub const ATTEMPTS_KEPT: usize = 20;

/// How a try ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttemptEnd {
    /// The destination confirmed a write.
    Delivered,
    /// Both sides were in step already, or the other direction settles it.
    NothingToDo,
    /// It failed and is made again.
    Retrying,
    /// The other side asked for patience, or a person has to act: put off at no cost.
    PutOff,
    Waiting,
    Conflict,
    Dead,
    /// Cancelled while it ran: what the call did is seen by the next look.
    Cancelled,
    /// It never ended: its process died, or took longer than its lease.
    Lost,
}

impl AttemptEnd {
    /// Every end, in the order of its stored code.
    pub const ALL: [Self; 9] = [
        Self::Delivered,
        Self::NothingToDo,
        Self::Retrying,
        Self::PutOff,
        Self::Waiting,
        Self::Conflict,
        Self::Dead,
        Self::Cancelled,
        Self::Lost,
    ];

    /// Returns the word that users read.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::NothingToDo => "nothing_to_do",
            Self::Retrying => "retrying",
            Self::PutOff => "put_off",
            Self::Waiting => "waiting",
            Self::Conflict => "conflict",
            Self::Dead => "dead",
            Self::Cancelled => "cancelled",
            Self::Lost => "lost",
        }
    }

    /// Tells whether the try came to an end of its own, so that its duration says something.
    pub fn is_counted(self) -> bool {
        matches!(self, Self::Delivered | Self::NothingToDo | Self::Retrying | Self::Dead)
    }
}

/// One try of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Counts the tries of a job, also over retries by hand; those that are not remembered leave a gap.
    pub number: u64,
    pub started_at: Timestamp,
    /// From the lease to the end, waiting for the gate included.
    pub duration_ms: u64,
    pub end: AttemptEnd,
    pub error: Option<JobError>,
    pub correlation_id: String,
}
