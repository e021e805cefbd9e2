//! What a job is.

use crate::engine::fault::FaultCode;
use crate::engine::record::{Direction, Key, Timestamp};

/// Where a job is in its life. Pending, leased, retrying, waiting and conflict are active: at most
/// one active job stands for a (link, direction, key).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum JobState {
    Pending,
    Leased,
    Retrying,
    Waiting,
    Conflict,
    Synced,
    Dead,
    Cancelled,
}

impl JobState {
    /// Every state, in the order of its stored code.
    pub const ALL: [Self; 8] = [
        Self::Pending,
        Self::Leased,
        Self::Retrying,
        Self::Waiting,
        Self::Conflict,
        Self::Synced,
        Self::Dead,
        Self::Cancelled,
    ];

    /// Returns the word that users read.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Leased => "leased",
            Self::Retrying => "retrying",
            Self::Waiting => "waiting",
            Self::Conflict => "conflict",
            Self::Synced => "synced",
            Self::Dead => "dead",
            Self::Cancelled => "cancelled",
        }
    }

    /// Tells whether the job still stands for work.
    pub fn is_active(self) -> bool {
        !matches!(self, Self::Synced | Self::Dead | Self::Cancelled)
    }
}

/// Who asked for a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The planner: the job's content is the pair's own difference at the time of delivery.
    Sync,
    /// `POST /v1/sync/`: the job carries its content as a payload.
    Push,
    /// `POST /v1/jobs/{link}`: the record is looked at where it comes from, and planned like a change
    /// that a poll brought.
    Asked,
}

impl Origin {
    /// Every origin, in the order of its stored code.
    pub const ALL: [Self; 3] = [Self::Sync, Self::Push, Self::Asked];

    /// Tells whether the pair says what is to be written; else the job carries it.
    pub fn is_planned(self) -> bool {
        matches!(self, Self::Sync | Self::Asked)
    }

    /// Tells whether somebody may ask for the job after it has ended well.
    pub fn is_kept(self) -> bool {
        matches!(self, Self::Push | Self::Asked)
    }
}

/// A timed claim on a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    pub owner: String,
    pub until: Timestamp,
    /// Counts the leases of this job; a settle under an old fence changes nothing.
    pub fence: u64,
}

/// The last thing that went wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobError {
    pub code: FaultCode,
    pub message: String,
}

/// One queued intent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// 0 before the store gives it one.
    pub id: i64,
    pub direction: Direction,
    pub key: Key,
    pub state: JobState,
    pub origin: Origin,
    /// Counted when leased, before the call goes out, so that crashes cost attempts too.
    pub attempts: u32,
    /// 0 means as the retry policy says.
    pub attempts_max: u32,
    /// Higher goes first.
    pub priority: i32,
    pub due_at: Timestamp,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    pub rules_version: u32,
    pub correlation_id: String,
    pub error: Option<JobError>,
    /// JSON, for [`Origin::Push`] and for dead letters.
    pub payload: Option<String>,
    /// The job that this one replays.
    pub replay_of: Option<i64>,
    /// The last attempt of that job.
    pub replay_attempt: Option<u64>,
    /// The newest job that replays this one: as a dead letter it is answered.
    pub replayed_by: Option<i64>,
    /// What was asked for is not to be done before.
    pub scheduled_at: Option<Timestamp>,
    pub lease: Option<Lease>,
}
