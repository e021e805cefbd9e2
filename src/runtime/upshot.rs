//! What comes of a page: pairs, jobs and what was answered, stored in one commit.

use std::collections::HashMap;
use std::sync::atomic::Ordering;

use super::link::{LinkContext, along, at, lock};
use super::meter::Outcomes;
use super::page::{Entry, Tally, storage};
use super::tell;
use super::verdict;
use super::wanted::{job_for, sync_job};
use crate::engine::fault::Fault;
use crate::engine::history::{Event, What};
use crate::engine::job::JobState;
use crate::engine::plan::Status;
use crate::engine::record::{Direction, Presence, Side};
use crate::planted::{Bug, planted};
use crate::store::{Commit, NewJob};

/// What is to be stored, and what is to be told once it is.
pub(super) struct Upshot {
    pub(super) commit: Commit,
    /// By how much the keys that each side has change with it.
    moved: [Presence; 2],
    outcomes: Outcomes,
}

impl Upshot {
    /// Turns what is left to do into jobs, and everything into one commit.
    pub(super) fn of(
        ctx: &LinkContext,
        entries: Vec<Entry>,
        tally: &mut Tally,
        failed: HashMap<usize, Fault>,
    ) -> Self {
        let mut outcomes = Outcomes::default();
        let moved = moved(&entries);
        let commit = commit(ctx, entries, tally, &mut outcomes, failed);
        Self { commit, moved, outcomes }
    }

    /// The same where nothing is decided.
    pub(super) fn made(entries: Vec<Entry>, commit: impl FnOnce(Vec<Entry>) -> Commit) -> Self {
        let moved = moved(&entries);
        Self { commit: commit(entries), moved, outcomes: Outcomes::default() }
    }

    /// Counts what arrived.
    pub(super) fn count(&mut self, arrived: u64) {
        self.commit.counted.accepted += arrived;
        self.commit.counted.delivered += if planted(Bug::DeliveredUncounted) { 0 } else { arrived };
    }

    /// Gives what it tells of writes.
    pub(super) fn written(&self) -> Vec<Event> {
        let history = self.commit.history.iter();
        history.filter(|told| matches!(told.what, What::Written(_))).cloned().collect()
    }

    /// Takes out what a planted bug stores ahead of the rest.
    pub(super) fn first_half(&mut self) -> Self {
        let (pairs, cursor) = (std::mem::take(&mut self.commit.pairs), self.commit.cursor.take());
        Self::made(Vec::new(), |_| Commit { pairs, cursor, ..Commit::default() })
    }

    /// Stores it, and tells whoever waits for it; false where a pair moved on meanwhile: nothing is stored.
    pub(super) async fn store(self, ctx: &LinkContext) -> Result<bool, Fault> {
        let Self { commit, moved, outcomes } = self;
        if commit.is_worth_storing() {
            let answered = commit.answered.clone();
            let is_queued = |direction: &Direction| {
                commit.jobs.iter().any(|job| job.direction == *direction && job.state.is_active())
            };
            let queued: Vec<Direction> = Direction::BOTH.into_iter().filter(is_queued).collect();
            let dead: Vec<(usize, NewJob)> = commit
                .jobs
                .iter()
                .enumerate()
                .filter(|(_, job)| job.state == JobState::Dead)
                .map(|(place, job)| (place, job.clone()))
                .collect();
            // Before it is so: whoever finds the pair gone must find this as well.
            let forgotten: Vec<_> =
                commit.forgotten.iter().map(|(key, _)| (key.clone(), ctx.forget(key))).collect();
            let committed = ctx.store.commit(ctx.id, commit, ctx.now()).await.map_err(|error| {
                // It may be stored all the same.
                ctx.unsure.store(true, Ordering::Relaxed);
                storage(error)
            })?;
            if !committed.stale.is_empty() {
                forgotten.iter().for_each(|(key, before)| ctx.not_forgotten(key, *before));
                return Ok(false);
            }
            for (place, job) in dead {
                let id = committed.jobs.get(place).copied().unwrap_or_default();
                verdict::log_born_dead(ctx, id, &job);
            }
            ctx.unanswered.forget(&answered);
            queued.into_iter().for_each(|direction| along(&ctx.due, direction).notify_one());
        }
        outcomes.count(ctx);
        for (side, moved) in Side::BOTH.into_iter().zip(moved) {
            lock(at(&ctx.presence, side)).merge(moved);
        }
        Ok(true)
    }
}

/// Turns what is left to do into jobs, and everything into one commit.
fn commit(
    ctx: &LinkContext,
    entries: Vec<Entry>,
    tally: &mut Tally,
    outcomes: &mut Outcomes,
    failed: HashMap<usize, Fault>,
) -> Commit {
    let now = ctx.now();
    let mut commit = Commit::default();
    for (place, mut entry) in entries.into_iter().enumerate() {
        if !entry.dirty {
            continue;
        }
        commit.history.append(&mut entry.history);
        commit.answered.append(&mut entry.answered);
        for direction in Direction::BOTH {
            // A malformed record says nothing of the other direction, whose job stands on.
            if entry.malformed.as_ref().is_some_and(|(malformed, _)| *malformed != direction) {
                continue;
            }
            let mut job = job_for(ctx, &entry, direction, now, failed.get(&place));
            let had = along(&entry.before.status, direction);
            if job.is_none() && ctx.rules.way(direction).is_some() && ctx.is_open(&entry, direction) {
                // Nothing is to be done, as far as anybody knows: a look has to tell.
                job = Some(sync_job(ctx, direction, entry.pair.key.clone(), now));
                entry.pair.way_mut(direction).status = Status::Queued;
                entry.forget = false;
            }
            // What was a dead letter is planned anew: the letter has nothing more to tell.
            if *had == Status::Dead && entry.pair.way(direction).status != Status::Dead {
                commit.obsolete.push((direction, entry.pair.key.clone()));
            }
            match job {
                Some(job) => {
                    if job.state == JobState::Dead {
                        commit.history.extend(tell::born_dead(ctx, &job));
                        tally.failed += 1;
                        outcomes.note(direction, Status::Dead);
                    } else {
                        tally.queued += 1;
                    }
                    commit.jobs.push(job);
                }
                None if matches!(
                    had,
                    Status::Queued | Status::Retrying | Status::Waiting | Status::Conflict
                ) =>
                {
                    commit.obsolete.push((direction, entry.pair.key.clone()));
                }
                None => {}
            }
            let status = entry.pair.way(direction).status;
            if matches!(status, Status::SkippedByRule | Status::Conflict) && status != *had {
                outcomes.note(direction, status);
            }
            if status == Status::SkippedByRule && *had != Status::SkippedByRule {
                tally.skipped += 1;
                commit.counted.skipped += 1;
            }
        }
        if entry.forget && entry.before.version > 0 {
            commit.history.push(tell::forgotten(ctx, &entry));
            commit.forgotten.push((entry.pair.key.clone(), entry.before.version));
        } else if !entry.forget {
            commit.pairs.push(entry.pair);
        }
    }
    commit
}

/// By how much the keys that each side has change with a page.
fn moved(entries: &[Entry]) -> [Presence; 2] {
    Side::BOTH.map(|side| {
        let mut moved = Presence::default();
        for entry in entries.iter().filter(|entry| entry.dirty) {
            let now = !entry.forget && entry.pair.side(side).now().is_some();
            moved.shift(*at(&entry.before.present, side), now, &entry.pair.key);
        }
        moved
    })
}
