//! `lease`: claiming due jobs, and when the next one is due.
//!
//! The index holds what is ready by (priority, due): each priority is one short walk, so that jobs
//! that are not due cost nothing however many there are.

use rusqlite::{Connection, OptionalExtension};

use super::job_row::{self, Stored, select_jobs};
use super::job_table::Jobs;
use super::trouble::Fallible;
use super::{Session, known};
use crate::engine::record::{Direction, Key, Timestamp};
use crate::store::{LeaseRequest, Leased, LinkId};

pub(super) fn lease(session: &mut Session, link: LinkId, request: &LeaseRequest) -> Fallible<Vec<Leased>> {
    let Session { db, books, .. } = &mut *session;
    let rows = due(db, link, request)?;
    let mut jobs = Jobs::new(db, books);
    let mut leased = Vec::with_capacity(rows.len());
    for mut row in rows {
        row.lease(&request.owner, request.until, request.now);
        jobs.lease(&row)?;
        leased.push(row.into_row().job);
    }
    drop(jobs);
    // Jobs that came together mostly lie together.
    let keys: Vec<Key> = leased.iter().map(|job| job.key.clone()).collect();
    let pairs = known::known(session, link, &keys)?;
    Ok(leased.into_iter().zip(pairs).map(|(job, pair)| Leased { job, pair }).collect())
}

fn due(db: &Connection, link: LinkId, request: &LeaseRequest) -> Fallible<Vec<Stored>> {
    let direction = job_row::direction_code(request.direction);
    let mut rows: Vec<Stored> = Vec::new();
    let mut priority = next_priority(db, link, request.direction, None)?;
    while let Some(at) = priority
        && rows.len() < request.limit
    {
        let left = i64::try_from(request.limit - rows.len()).unwrap_or(i64::MAX);
        rows.extend(job_row::many(
            db,
            select_jobs!(
                "INDEXED BY jobs_ready WHERE link = ?1 AND direction = ?2 AND priority = ?3 AND ready_at <= ?4 \
                 ORDER BY ready_at, id LIMIT ?5"
            ),
            (link.0, direction, at, request.now.0, left),
        )?);
        priority = next_priority(db, link, request.direction, Some(at))?;
    }
    Ok(rows)
}

/// Extends leases that still hold; gives the jobs of the others.
pub(super) fn renew(
    db: &Connection,
    link: LinkId,
    leases: &[(i64, u64)],
    until: Timestamp,
) -> Fallible<Vec<i64>> {
    let mut update = db.prepare_cached(
        "UPDATE jobs SET until = max(until, ?4) WHERE id = ?1 AND link = ?2 AND fence = ?3 AND state = 1",
    )?;
    let mut lost = Vec::new();
    for &(id, fence) in leases {
        if update.execute((id, link.0, i64::try_from(fence).unwrap_or(i64::MAX), until.0))? == 0 {
            lost.push(id);
        }
    }
    Ok(lost)
}

/// Says when the next job of a direction is due.
pub(super) fn next_due(db: &Connection, link: LinkId, direction: Direction) -> Fallible<Option<Timestamp>> {
    let mut first = db.prepare_cached(
        "SELECT ready_at FROM jobs INDEXED BY jobs_ready WHERE link = ?1 AND direction = ?2 AND priority = ?3 \
         AND ready_at IS NOT NULL ORDER BY ready_at LIMIT 1",
    )?;
    let mut earliest: Option<i64> = None;
    let mut priority = next_priority(db, link, direction, None)?;
    while let Some(at) = priority {
        let due: i64 = first.query_row((link.0, job_row::direction_code(direction), at), |row| row.get(0))?;
        earliest = Some(earliest.map_or(due, |known| known.min(due)));
        priority = next_priority(db, link, direction, Some(at))?;
    }
    Ok(earliest.map(Timestamp))
}

/// Returns the highest priority of what is ready, below another one.
fn next_priority(
    db: &Connection,
    link: LinkId,
    direction: Direction,
    below: Option<i64>,
) -> Fallible<Option<i64>> {
    let mut select = db.prepare_cached(
        "SELECT priority FROM jobs INDEXED BY jobs_ready WHERE link = ?1 AND direction = ?2 \
         AND priority < ?3 AND ready_at IS NOT NULL ORDER BY priority DESC LIMIT 1",
    )?;
    let below = below.unwrap_or(i64::MAX);
    Ok(select.query_row((link.0, job_row::direction_code(direction), below), |row| row.get(0)).optional()?)
}
