//! `enqueue`: what somebody asked for, if nothing of the kind stands already.

use rusqlite::Connection;

use super::pair_row::Growth;
use super::trouble::Fallible;
use super::{attempts, job_row, kv, links};
use crate::engine::record::Timestamp;
use crate::store::moves::Row;
use crate::store::{Enqueued, LinkId, NewJob, Once, once};

pub(super) fn enqueue(
    db: &Connection,
    link: LinkId,
    new: NewJob,
    wanted: Option<&Once>,
    now: Timestamp,
) -> Fallible<Enqueued> {
    links::must_exist(db, link)?;
    let replays = new.replay_of;
    let (mut row, counted) = match job_row::active(db, link, new.direction, &new.key)? {
        Some(row) if row.job.origin.is_kept() => return Ok(Enqueued::Standing(row.job.id)),
        Some(mut row) => {
            let counted = row.take_over(new, now);
            (row, counted)
        }
        None => Row::born(link, new, now),
    };
    row.job.replay_attempt = replays.map(|id| attempts::last(db, id)).transpose()?.flatten();
    let id = if row.job.id == 0 {
        job_row::insert(db, &row)?
    } else {
        job_row::update(db, &row)?;
        row.job.id
    };
    if let Some(replayed) = replays {
        job_row::answered(db, replayed, id)?;
    }
    if let Some(wanted) = wanted {
        kv::put(db, once::SPACE, &wanted.name, &once::kept(&[id]), Some(wanted.until))?;
    }
    links::count(db, link, Growth::default(), counted)?;
    Ok(Enqueued::Job(id))
}
