//! `rescue`: leases that ran out.

use super::job_table::Jobs;
use super::trouble::Fallible;
use super::{Session, job_row};
use crate::engine::record::Timestamp;
use crate::planted::{Bug, planted};

pub(super) fn rescue(session: &mut Session, now: Timestamp, all: bool) -> Fallible<u64> {
    if planted(Bug::LeasesNotRescued) {
        return Ok(0);
    }
    let Session { db, books, .. } = session;
    let until = if all { i64::MAX } else { now.0 };
    let ids = job_row::ids(db, "INDEXED BY jobs_leased WHERE until <= ?1 ORDER BY until", [until])?;
    let mut jobs = Jobs::new(db, books);
    let mut rescued = 0;
    for id in ids {
        let Some(mut row) = jobs.by_id(id)? else { continue };
        let moved = row.rescue(now);
        jobs.carry_out(&row, moved)?;
        rescued += 1;
    }
    Ok(rescued)
}
