//! A queued intent: the durable memory of a difference that has not been delivered yet.

mod attempt;
mod parts;
mod payload;
mod settle;
mod types;

pub use attempt::{ATTEMPTS_KEPT, Attempt, AttemptEnd};
pub use parts::{halves, parts};
pub use payload::{instead, merged, merged_under_way, rest, whole};
pub use settle::{Ended, JobNext, PLANNED_AGAIN_MAX, Patience, RetryPolicy, exhausted, settle};
pub use types::{Job, JobError, JobState, Lease, Origin};
