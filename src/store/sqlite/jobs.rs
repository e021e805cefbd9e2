//! Jobs as people see them: read, listed, counted, hurried, cancelled.

use rusqlite::Connection;
use rusqlite::types::Value;

use super::job_row::{self, direction_code};
use super::pair_row::Growth;
use super::trouble::Fallible;
use super::{attempts, links, pair_row};
use crate::engine::job::{Job, JobState};
use crate::engine::record::{Key, Timestamp};
use crate::store::moves::{Moved, Row};
use crate::store::{Depth, JobFilter, LinkId, Retried};

/// Reads one job.
pub(super) fn one(db: &Connection, id: i64) -> Fallible<Option<(LinkId, Job)>> {
    Ok(job_row::by_id(db, id)?.map(|row| (row.link, row.job)))
}

/// Lists jobs, newest first.
pub(super) fn list(db: &Connection, filter: &JobFilter) -> Fallible<Vec<(LinkId, Job)>> {
    // Letters have an index of their own, which only a constant finds.
    let letters = filter.state == Some(JobState::Dead);
    let mut wanted = vec![if letters { "state = 6" } else { "1" }];
    let mut values: Vec<Value> = Vec::new();
    let mut want = |condition: &'static str, value: Option<Value>| {
        if let Some(value) = value {
            wanted.push(condition);
            values.push(value);
        }
    };
    want("link = ?", filter.link.map(|link| link.0.into()));
    want("direction = ?", filter.direction.map(|direction| i64::from(direction_code(direction)).into()));
    want("state = ?", filter.state.filter(|_| !letters).map(|state| (state as i64).into()));
    want("key = ?", filter.key.as_ref().map(|key| key.as_bytes().to_vec().into()));
    want("error_code = ?", filter.code.map(|code| code.as_str().to_owned().into()));
    want("updated_at >= ?", filter.from.map(|at| at.0.into()));
    want("updated_at < ?", filter.to.map(|at| at.0.into()));
    want("id < ?", filter.before.map(Into::into));
    if filter.unanswered {
        wanted.push("replayed_by IS NULL");
    }
    let links: Option<String> = filter.links.as_ref().map(|links| {
        let links: Vec<String> = links.iter().map(|link| link.0.to_string()).collect();
        format!("link IN (SELECT value FROM json_each('[{}]'))", links.join(","))
    });
    wanted.extend(links.as_deref());
    values.push(i64::try_from(filter.limit).unwrap_or(i64::MAX).into());
    let index = if letters && filter.key.is_none() { "INDEXED BY jobs_letters" } else { "" };
    let tail = format!("{index} WHERE {} ORDER BY id DESC LIMIT ?", wanted.join(" AND "));
    let rows = job_row::many(db, &tail, rusqlite::params_from_iter(values))?;
    Ok(rows.into_iter().map(|row| (row.link, row.job)).collect())
}

/// Counts jobs by state, a direction each.
pub(super) fn depth(db: &Connection, link: LinkId) -> Fallible<[Depth; 2]> {
    let mut select = db.prepare_cached(
        "SELECT direction, state, count(*) FROM jobs INDEXED BY jobs_state WHERE link = ?1 \
         GROUP BY direction, state",
    )?;
    let mut rows = select.query([link.0])?;
    let [mut a_to_b, mut b_to_a] = [Depth::default(); 2];
    while let Some(row) = rows.next()? {
        let depth = if row.get::<_, u8>(0)? == 0 { &mut a_to_b } else { &mut b_to_a };
        let place = match job_row::state_of(row.get(1)?)? {
            JobState::Pending => &mut depth.pending,
            JobState::Leased => &mut depth.leased,
            JobState::Retrying => &mut depth.retrying,
            JobState::Waiting => &mut depth.waiting,
            JobState::Conflict => &mut depth.conflict,
            JobState::Dead => &mut depth.dead,
            JobState::Synced | JobState::Cancelled => continue,
        };
        *place = links::unsigned(row, 2)?;
    }
    let mut answered = db.prepare_cached(
        "SELECT direction, count(*) FROM jobs INDEXED BY jobs_answered \
         WHERE link = ?1 AND state = 6 AND replayed_by IS NOT NULL GROUP BY direction",
    )?;
    let mut rows = answered.query([link.0])?;
    while let Some(row) = rows.next()? {
        let depth = if row.get::<_, u8>(0)? == 0 { &mut a_to_b } else { &mut b_to_a };
        depth.dead = depth.dead.saturating_sub(links::unsigned(row, 1)?);
    }
    Ok([a_to_b, b_to_a])
}

/// Makes jobs of a key due now. Of several dead ones only the newest rises, and only where no active
/// one stands.
pub(super) fn retry_now(db: &Connection, link: LinkId, key: &Key, now: Timestamp) -> Fallible<Vec<i64>> {
    let rows = job_row::many(
        db,
        "WHERE link = ?1 AND key = ?2 AND state IN (2, 3, 6) ORDER BY id DESC",
        (link.0, key.as_bytes()),
    )?;
    let mut hurried = Vec::new();
    for mut row in rows.into_iter().filter(Row::can_retry) {
        let is_dead = row.job.state == JobState::Dead;
        if is_dead && job_row::active(db, link, row.job.direction, key)?.is_some() {
            continue;
        }
        let moved = row.retry(now);
        hurried.push(row.job.id);
        carry_out(db, &row, moved)?;
    }
    hurried.sort_unstable();
    Ok(hurried)
}

/// Makes one job due now, where that is what it waits for.
pub(super) fn retry_job(db: &Connection, id: i64, now: Timestamp) -> Fallible<Retried> {
    let Some(mut row) = job_row::by_id(db, id)? else { return Ok(Retried::Unknown) };
    let standing = job_row::active(db, row.link, row.job.direction, &row.job.key)?.map(|row| row.job.id);
    if let Some(refused) = row.why_not_retry(standing) {
        return Ok(refused);
    }
    let moved = row.retry(now);
    carry_out(db, &row, moved)?;
    Ok(Retried::Due)
}

/// Removes dead letters; gives how many of these jobs were some.
pub(super) fn forget_letters(db: &Connection, ids: &[i64]) -> Fallible<u64> {
    let mut forgotten = 0;
    let mut letter = db.prepare_cached("SELECT 1 FROM jobs WHERE id = ?1 AND state = 6")?;
    for &id in ids {
        if letter.exists([id])? {
            job_row::remove(db, id)?;
            forgotten += 1;
        }
    }
    Ok(forgotten)
}

/// Cancels an active job.
pub(super) fn cancel(db: &Connection, id: i64, now: Timestamp) -> Fallible<bool> {
    let Some(mut row) = job_row::by_id(db, id)?.filter(|row| row.job.state.is_active()) else {
        return Ok(false);
    };
    let moved = row.cancel(now);
    carry_out(db, &row, moved)?;
    Ok(true)
}

/// Stores a moved job that stays, with all that the move means.
pub(super) fn carry_out(db: &Connection, row: &Row, moved: Moved) -> Fallible<()> {
    job_row::update(db, row)?;
    attempts::remember(db, row.job.id, moved.attempt.as_ref())?;
    if let Some(next) = &moved.next {
        job_row::insert(db, next)?;
    }
    if let Some(mark) = moved.mark {
        pair_row::mark(db, row.link, &row.job.key, row.job.direction, mark)?;
    }
    links::count(db, row.link, Growth::default(), moved.counted)
}
