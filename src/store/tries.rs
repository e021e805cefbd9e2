//! What is remembered of a try when it ends.
//!
//! Invariant: nothing but its lease changes a row while it is leased, so that it says when the try began.

use super::moves::Row;
use super::{Counters, Transition};
use crate::engine::job::{Attempt, AttemptEnd, JobError, JobState};
use crate::engine::record::Timestamp;

impl Row {
    /// Tells of the try that ends with this transition; `None` for one that is not worth remembering.
    pub fn attempt(
        &self,
        transition: &Transition,
        reason: Option<JobError>,
        now: Timestamp,
    ) -> Option<Attempt> {
        let (end, error) = match transition {
            Transition::Synced | Transition::Again { .. } => (AttemptEnd::Delivered, None),
            Transition::Obsolete => (AttemptEnd::NothingToDo, None),
            Transition::Snoozed { .. } => (AttemptEnd::PutOff, Some(reason?)),
            Transition::Retrying { error, .. } => (AttemptEnd::Retrying, Some(error.clone())),
            Transition::Waiting { error, .. } => (AttemptEnd::Waiting, Some(error.clone())),
            Transition::Conflict { error } => (AttemptEnd::Conflict, Some(error.clone())),
            Transition::Dead { error, .. } => (AttemptEnd::Dead, Some(error.clone())),
        };
        self.ended(end, error, now)
    }

    /// Makes the record of a try that was under way.
    pub fn ended(&self, end: AttemptEnd, error: Option<JobError>, now: Timestamp) -> Option<Attempt> {
        // Nothing but the lease itself changes the row while it is leased.
        let started_at = self.job.updated_at;
        let duration_ms = u64::try_from(now.since(started_at).as_millis()).unwrap_or(u64::MAX);
        let correlation_id = self.job.correlation_id.clone();
        let attempt = Attempt { number: self.fence, started_at, duration_ms, end, error, correlation_id };
        (self.job.state == JobState::Leased).then_some(attempt)
    }
}

/// What a try adds to the counters.
pub(super) fn counted(attempt: Option<&Attempt>) -> Counters {
    let Some(attempt) = attempt.filter(|attempt| attempt.end.is_counted()) else {
        return Counters::default();
    };
    Counters {
        retries: u64::from(attempt.end == AttemptEnd::Retrying),
        attempts: 1,
        attempts_ms: attempt.duration_ms,
        ..Counters::default()
    }
}
