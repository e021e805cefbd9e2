//! Tries of jobs: the last ones of each, gone with their job.

use rusqlite::Connection;

use super::job_row;
use super::trouble::{Fallible, damaged};
use crate::engine::job::{ATTEMPTS_KEPT, Attempt, AttemptEnd};
use crate::engine::record::Timestamp;

/// Stores a try, and forgets those that are too many.
pub(super) fn remember(db: &Connection, job: i64, attempt: Option<&Attempt>) -> Fallible<()> {
    let Some(attempt) = attempt else { return Ok(()) };
    db.prepare_cached(
        "INSERT INTO attempts (job, number, started_at, duration_ms, outcome, error_code, error, correlation_id) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    )?
    .execute((
        job,
        i64::try_from(attempt.number).unwrap_or(i64::MAX),
        attempt.started_at.0,
        i64::try_from(attempt.duration_ms).unwrap_or(i64::MAX),
        attempt.end as u8,
        attempt.error.as_ref().map(|error| error.code.as_str()),
        attempt.error.as_ref().map(|error| error.message.as_str()),
        attempt.correlation_id.as_str(),
    ))?;
    if attempt.number as usize > ATTEMPTS_KEPT {
        db.prepare_cached(
            "DELETE FROM attempts WHERE job = ?1 AND number <= \
             (SELECT number FROM attempts WHERE job = ?1 ORDER BY number DESC LIMIT 1 OFFSET ?2)",
        )?
        .execute((job, i64::try_from(ATTEMPTS_KEPT).unwrap_or(i64::MAX)))?;
    }
    Ok(())
}

/// Lists the tries of a job, oldest first.
pub(super) fn of(db: &Connection, job: i64) -> Fallible<Vec<Attempt>> {
    let mut select = db.prepare_cached(
        "SELECT number, started_at, duration_ms, outcome, error_code, error, correlation_id FROM attempts \
         WHERE job = ?1 ORDER BY number",
    )?;
    let mut rows = select.query([job])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let end = AttemptEnd::ALL.get(usize::from(row.get::<_, u8>(3)?)).copied();
        let code: Option<String> = row.get(4)?;
        found.push(Attempt {
            number: super::links::unsigned(row, 0)?,
            started_at: Timestamp(row.get(1)?),
            duration_ms: super::links::unsigned(row, 2)?,
            end: end.ok_or_else(|| damaged("the end of an attempt"))?,
            error: job_row::error_of(code.as_deref(), row.get(5)?)?,
            correlation_id: row.get(6)?,
        });
    }
    Ok(found)
}

/// Returns the number of the last try.
pub(super) fn last(db: &Connection, job: i64) -> Fallible<Option<u64>> {
    let mut select = db.prepare_cached("SELECT max(number) FROM attempts WHERE job = ?1")?;
    let last: Option<i64> = select.query_row([job], |row| row.get(0))?;
    Ok(last.and_then(|number| u64::try_from(number).ok()))
}

/// Forgets the tries of a job.
pub(super) fn forget(db: &Connection, job: i64) -> Fallible<()> {
    db.prepare_cached("DELETE FROM attempts WHERE job = ?1")?.execute([job])?;
    Ok(())
}
