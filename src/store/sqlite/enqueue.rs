//! `enqueue`: what somebody asked for, if nothing of the kind stands already.
//!
//! Invariant: it looks before it writes, so that it needs no savepoint.

use super::job_table::Jobs;
use super::trouble::Fallible;
use super::{attempts, kv};
use crate::engine::record::Timestamp;
use crate::store::moves::Row;
use crate::store::{Enqueued, LinkId, NewJob, Once, once};

pub(super) fn enqueue(
    jobs: &mut Jobs<'_>,
    link: LinkId,
    new: NewJob,
    wanted: Option<&Once>,
    now: Timestamp,
) -> Fallible<Enqueued> {
    let db = jobs.db;
    jobs.books.must_exist(db, link)?;
    let replays = new.replay_of;
    // All that could be unreadable is read before the first change.
    let (replayed, replay_attempt) = match replays {
        Some(id) => (jobs.by_id(id)?, attempts::last(db, id)?),
        None => (None, None),
    };
    let (id, counted) = match jobs.active(link, new.direction, &new.key)? {
        Some(row) if row.job.origin.is_kept() => return Ok(Enqueued::Standing(row.job.id)),
        Some(mut row) => {
            let counted = row.take_over(new, now);
            row.job.replay_attempt = replay_attempt;
            jobs.update(&row)?;
            (row.job.id, counted)
        }
        None => {
            let (mut row, counted) = Row::born(link, new, now);
            row.job.replay_attempt = replay_attempt;
            (jobs.insert(&row)?, counted)
        }
    };
    // A number that nobody had before may turn out to be its own.
    let replayed = if replays == Some(id) { jobs.by_id(id)? } else { replayed };
    if let Some(mut replayed) = replayed {
        replayed.job.replayed_by = Some(id);
        jobs.update(&replayed)?;
    }
    if let Some(wanted) = wanted {
        kv::put(db, once::SPACE, &wanted.name, &once::kept(&[id]), Some(wanted.until))?;
    }
    jobs.count(link, counted)?;
    Ok(Enqueued::Job(id))
}
