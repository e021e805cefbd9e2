//! `rescue`: leases that ran out.

use super::trouble::Fallible;
use super::{Session, attempts, job_row, pair_row};
use crate::engine::record::Timestamp;
use crate::planted::{Bug, planted};

pub(super) fn rescue(session: &mut Session, now: Timestamp, all: bool) -> Fallible<u64> {
    if planted(Bug::LeasesNotRescued) {
        return Ok(0);
    }
    let db = &session.db;
    let until = if all { i64::MAX } else { now.0 };
    let ids =
        job_row::ids(db, "INDEXED BY jobs_leased WHERE state = 1 AND until <= ?1 ORDER BY until", [until])?;
    let mut rescued = 0;
    for id in ids {
        let Some(mut row) = job_row::by_id(db, id)? else { continue };
        let moved = row.rescue(now);
        job_row::update(db, &row)?;
        attempts::remember(db, id, moved.attempt.as_ref())?;
        if let Some(mark) = moved.mark {
            pair_row::mark(db, row.link, &row.job.key, row.job.direction, mark)?;
        }
        rescued += 1;
    }
    Ok(rescued)
}
