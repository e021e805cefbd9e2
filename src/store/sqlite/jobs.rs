//! Jobs as people see them: read, listed, counted, hurried, cancelled.

use rusqlite::Connection;
use rusqlite::types::Value;

use super::job_row::{self, Stored, direction_code, select_jobs};
use super::job_table::Jobs;
use super::links;
use super::trouble::Fallible;
use crate::engine::job::{Job, JobState};
use crate::engine::record::{Key, Timestamp};
use crate::store::{Depth, JobFilter, LinkId, Retried};

/// Reads one job.
pub(super) fn one(db: &Connection, id: i64) -> Fallible<Option<(LinkId, Job)>> {
    let found = job_row::many(db, select_jobs!("WHERE id = ?1"), [id])?.pop();
    Ok(found.map(|stored| stored.into_row()).map(|row| (row.link, row.job)))
}

/// Lists jobs, newest first.
pub(super) fn list(db: &Connection, filter: &JobFilter) -> Fallible<Vec<(LinkId, Job)>> {
    // Pending and delivered jobs are found soon among all, by number; of the others there are few.
    let (index, in_index, state) = match filter.state {
        _ if filter.key.is_some() => ("INDEXED BY jobs_key", "1", "state = ?"),
        Some(JobState::Leased) => ("INDEXED BY jobs_leased", "until IS NOT NULL", "state = ?"),
        Some(JobState::Pending | JobState::Synced) | None => ("", "1", "state = ?"),
        Some(_) => ("INDEXED BY jobs_resting", "1", "resting = ?"),
    };
    let mut wanted = vec![in_index];
    let mut values: Vec<Value> = Vec::new();
    let mut want = |condition: &'static str, value: Option<Value>| {
        if let Some(value) = value {
            wanted.push(condition);
            values.push(value);
        }
    };
    want("link = ?", filter.link.map(|link| link.0.into()));
    want("direction = ?", filter.direction.map(|direction| i64::from(direction_code(direction)).into()));
    want(state, filter.state.map(|state| (state as i64).into()));
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
    let query =
        format!("{} {index} WHERE {} ORDER BY id DESC LIMIT ?", select_jobs!(""), wanted.join(" AND "));
    let rows = job_row::many(db, &query, rusqlite::params_from_iter(values))?;
    Ok(rows.into_iter().map(Stored::into_row).map(|row| (row.link, row.job)).collect())
}

/// Counts jobs by state, a direction each.
pub(super) fn depth(db: &Connection, link: LinkId) -> Fallible<[Depth; 2]> {
    let mut select = db.prepare_cached("SELECT direction, state, jobs FROM depths WHERE link = ?1")?;
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
    Ok([a_to_b, b_to_a])
}

/// Makes jobs of a key due now. Of several dead ones only the newest rises, and only where no active
/// one stands.
pub(super) fn retry_now(jobs: &mut Jobs<'_>, link: LinkId, key: &Key, now: Timestamp) -> Fallible<Vec<i64>> {
    let query = select_jobs!(
        "INDEXED BY jobs_key WHERE key = ?1 AND link = ?2 AND state IN (2, 3, 6) ORDER BY id DESC"
    );
    let rows = job_row::many(jobs.db, query, (key.as_bytes(), link.0))?;
    let mut hurried = Vec::new();
    for mut row in rows.into_iter().filter(|row| row.can_retry()) {
        let is_dead = row.job.state == JobState::Dead;
        if is_dead && jobs.active(link, row.job.direction, key)?.is_some() {
            continue;
        }
        let moved = row.retry(now);
        hurried.push(row.job.id);
        jobs.carry_out(&row, moved)?;
    }
    hurried.sort_unstable();
    Ok(hurried)
}

/// Makes one job due now, where that is what it waits for.
pub(super) fn retry_job(jobs: &mut Jobs<'_>, id: i64, now: Timestamp) -> Fallible<Retried> {
    let Some(mut row) = jobs.by_id(id)? else { return Ok(Retried::Unknown) };
    let standing = jobs.active(row.link, row.job.direction, &row.job.key)?.map(|row| row.job.id);
    if let Some(refused) = row.why_not_retry(standing) {
        return Ok(refused);
    }
    let moved = row.retry(now);
    jobs.carry_out(&row, moved)?;
    Ok(Retried::Due)
}

/// Removes dead letters; gives how many of these jobs were some.
pub(super) fn forget_letters(jobs: &mut Jobs<'_>, ids: &[i64]) -> Fallible<u64> {
    let mut forgotten = 0;
    for &id in ids {
        if let Some(letter) = jobs.by_id(id)?.filter(|row| row.job.state == JobState::Dead) {
            jobs.remove(&letter)?;
            forgotten += 1;
        }
    }
    Ok(forgotten)
}

/// Cancels an active job.
pub(super) fn cancel(jobs: &mut Jobs<'_>, id: i64, now: Timestamp) -> Fallible<bool> {
    let Some(mut row) = jobs.by_id(id)?.filter(|row| row.job.state.is_active()) else {
        return Ok(false);
    };
    let moved = row.cancel(now);
    jobs.carry_out(&row, moved)?;
    Ok(true)
}
