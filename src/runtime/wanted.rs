//! Which work a page leaves for the queue.

use super::link::{LinkContext, along};
use super::page::Entry;
use super::tell::image_text;
use crate::engine::fault::{Fault, FaultCode};
use crate::engine::job::{JobError, JobState, Origin};
use crate::engine::plan::{Action, Status};
use crate::engine::record::{Direction, Key, Timestamp};
use crate::store::{Commit, NewJob};

/// Stores what was seen and decides nothing: jobs that stand for these pairs stay.
pub(super) fn noted(entries: Vec<Entry>) -> Commit {
    let pairs = entries.into_iter().filter(|entry| entry.dirty && !entry.forget).map(|entry| entry.pair);
    Commit { pairs: pairs.collect(), ..Commit::default() }
}

/// Stores what was seen, with a job for whatever is news: what was asked for carries it out, or it goes on
/// by itself where somebody cancels that.
pub(super) fn asked(ctx: &LinkContext, direction: Direction, entries: Vec<Entry>) -> Commit {
    let now = ctx.now();
    let mut commit = noted(entries);
    commit.jobs = commit.pairs.iter().map(|pair| sync_job(ctx, direction, pair.key.clone(), now)).collect();
    commit
}

/// Makes the job that a direction of a planned pair needs, if any.
pub fn job_for(
    ctx: &LinkContext,
    entry: &Entry,
    direction: Direction,
    now: Timestamp,
    failed: Option<&Fault>,
) -> Option<NewJob> {
    let status = entry.pair.way(direction).status;
    let action = along(&entry.actions, direction);
    let is_wanted = action.is_write()
        || entry.malformed.is_some()
        || matches!(action, Action::Invalid(_) | Action::Conflict(_));
    if !is_wanted {
        return None;
    }
    let mut job = sync_job(ctx, direction, entry.pair.key.clone(), now);
    let error = |code, message: Option<&String>| {
        Some(JobError { code, message: message.cloned().unwrap_or_default() })
    };
    match (&entry.malformed, action) {
        (Some((_, malformed)), _) if status == Status::Dead => {
            job.state = JobState::Dead;
            job.payload = Some(malformed.raw.clone());
            job.error = error(FaultCode::Validation, Some(&malformed.reason));
            Some(job)
        }
        (_, Action::Invalid(_)) if *along(&entry.before.status, direction) != Status::Dead => {
            job.state = JobState::Dead;
            let image = entry.pair.side(direction.from()).now();
            job.payload = image.map(image_text);
            job.error = error(FaultCode::Validation, entry.pair.way(direction).error.as_ref());
            Some(job)
        }
        (_, Action::Conflict(_)) if direction == Direction::AToB => {
            job.state = JobState::Conflict;
            job.error = error(FaultCode::Conflict, entry.pair.way(direction).error.as_ref());
            Some(job)
        }
        (_, action) if action.is_write() && status == Status::Dead => {
            job.state = JobState::Dead;
            job.payload = entry.pair.side(direction.from()).now().map(image_text);
            job.error = failed.map(|fault| JobError { code: fault.code, message: fault.to_string() });
            Some(job)
        }
        (_, action) if action.is_write() && status != Status::Synced => Some(job),
        _ => None,
    }
}

/// Makes the planner's own job.
pub(super) fn sync_job(ctx: &LinkContext, direction: Direction, key: Key, now: Timestamp) -> NewJob {
    NewJob {
        direction,
        key,
        origin: Origin::Sync,
        priority: 0,
        due_at: now,
        attempts_max: 0,
        rules_version: ctx.rules.version,
        correlation_id: ctx.run(direction.from()).to_string(),
        payload: None,
        replay_of: None,
        state: JobState::Pending,
        error: None,
    }
}
