//! A queued intent: the durable memory of a difference that has not been delivered yet.

mod types;

pub use types::{Job, JobError, JobState, Lease, Origin};
