//! A queued intent: the durable memory of a difference that has not been delivered yet.

mod parts;
mod settle;
mod types;

pub use parts::{halves, parts};
pub use settle::{Ended, JobNext, PLANNED_AGAIN_MAX, Patience, RetryPolicy, exhausted, settle};
pub use types::{Job, JobError, JobState, Lease, Origin};
