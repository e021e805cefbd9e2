//! Jobs in and out of their table.

use std::ops::{Deref, DerefMut};

use rusqlite::{CachedStatement, Connection};

use super::trouble::{Fallible, damaged};
use crate::engine::fault::FaultCode;
use crate::engine::job::{Job, JobError, JobState, Lease, Origin};
use crate::engine::record::{Direction, Key, Timestamp};
use crate::store::LinkId;
use crate::store::moves::{Dirty, Row};

/// A query of what [`read`] expects, by its tail.
macro_rules! select_jobs {
    ($tail:literal) => {
        concat!(
            "SELECT id, link, direction, key, state, origin, attempts, attempts_max, priority, due_at, created_at, \
             updated_at, rules_version, correlation_id, error_code, error, payload, replay_of, owner, until, fence, \
             dirty, sync_after, replay_attempt, replayed_by, scheduled_at FROM jobs ",
            $tail
        )
    };
}
pub(super) use select_jobs;

pub(super) const INSERT: &str = "
INSERT INTO jobs (id, link, direction, key, created_at, active, state, origin, attempts, attempts_max, priority,
                  due_at, updated_at, rules_version, correlation_id, error_code, error, payload, replay_of, owner,
                  until, fence, dirty, sync_after, replay_attempt, replayed_by, scheduled_at, ready_at, resting,
                  ended_at)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23,
        ?24, ?25, ?26, ?27, ?28, ?29, ?30)";

/// Takes the same parameters; the second to the fifth never change.
macro_rules! update_jobs {
    ($more:literal) => {
        concat!(
            "UPDATE jobs SET state = ?7, origin = ?8, attempts = ?9, attempts_max = ?10, priority = ?11, \
             due_at = ?12, updated_at = ?13, rules_version = ?14, correlation_id = ?15, error_code = ?16, \
             error = ?17, payload = ?18, replay_of = ?19, owner = ?20, until = ?21, fence = ?22, dirty = ?23, \
             sync_after = ?24, replay_attempt = ?25, replayed_by = ?26, scheduled_at = ?27, ready_at = ?28, \
             resting = ?29, ended_at = ?30",
            $more,
            " WHERE id = ?1"
        )
    };
}

pub(super) const UPDATE: &str = update_jobs!("");
/// For a job that ends, or rises: else the largest index has nothing to change.
pub(super) const UPDATE_ACTIVE: &str = update_jobs!(", active = ?6");

/// What a lease changes of a job that rested nowhere.
pub(super) const LEASE: &str = "
UPDATE jobs SET state = 1, ready_at = NULL, attempts = ?2, updated_at = ?3, owner = ?4, until = ?5, fence = ?6,
                dirty = ?7, payload = ?8
WHERE id = ?1";

/// A job as it was read, with what is to be known of that when it has moved.
pub(super) struct Stored {
    row: Row,
    pub was: JobState,
    /// How it stood in the depths.
    pub counted_as: Option<JobState>,
}

impl Deref for Stored {
    type Target = Row;

    fn deref(&self) -> &Row {
        &self.row
    }
}

impl DerefMut for Stored {
    fn deref_mut(&mut self) -> &mut Row {
        &mut self.row
    }
}

impl Stored {
    fn new(row: Row) -> Self {
        Self { was: row.job.state, counted_as: counted_as(&row), row }
    }

    pub fn into_row(self) -> Row {
        self.row
    }
}

/// Says under which state a job is counted: not where it has ended, unless as a letter that waits for somebody.
pub(super) fn counted_as(row: &Row) -> Option<JobState> {
    let state = row.job.state;
    (state.is_active() || state == JobState::Dead && !row.is_answered()).then_some(state)
}

/// Returns the stored code of a direction.
pub(super) fn direction_code(direction: Direction) -> u8 {
    match direction {
        Direction::AToB => 0,
        Direction::BToA => 1,
    }
}

/// Reads the stored code of a direction.
pub(super) fn direction_of(code: u8) -> Fallible<Direction> {
    Direction::BOTH.get(usize::from(code)).copied().ok_or_else(|| damaged("a direction"))
}

/// Reads the stored code of a state.
pub(super) fn state_of(code: u8) -> Fallible<JobState> {
    JobState::ALL.get(usize::from(code)).copied().ok_or_else(|| damaged("the state of a job"))
}

/// Binds what [`INSERT`] takes beside the number.
pub(super) fn bind_new(statement: &mut CachedStatement<'_>, row: &Row) -> rusqlite::Result<()> {
    statement.raw_bind_parameter(2, row.link.0)?;
    statement.raw_bind_parameter(3, direction_code(row.job.direction))?;
    statement.raw_bind_parameter(4, row.job.key.as_bytes())?;
    statement.raw_bind_parameter(5, row.job.created_at.0)?;
    bind_changing(statement, row)
}

/// Binds what [`LEASE`] takes.
pub(super) fn bind_lease(statement: &mut CachedStatement<'_>, row: &Row) -> rusqlite::Result<()> {
    let job = &row.job;
    statement.raw_bind_parameter(1, job.id)?;
    statement.raw_bind_parameter(2, job.attempts)?;
    statement.raw_bind_parameter(3, job.updated_at.0)?;
    statement.raw_bind_parameter(4, job.lease.as_ref().map(|lease| lease.owner.as_str()))?;
    statement.raw_bind_parameter(5, job.lease.as_ref().map(|lease| lease.until.0))?;
    statement.raw_bind_parameter(6, row.fence as i64)?;
    statement.raw_bind_parameter(7, row.dirty as u8)?;
    statement.raw_bind_parameter(8, job.payload.as_deref())
}

/// Binds by position: by name costs more than the rest of the row.
pub(super) fn bind_changing(statement: &mut CachedStatement<'_>, row: &Row) -> rusqlite::Result<()> {
    use JobState::{Cancelled, Conflict, Dead, Retrying, Synced, Waiting};
    let job = &row.job;
    statement.raw_bind_parameter(6, job.state.is_active().then_some(true))?;
    statement.raw_bind_parameter(7, job.state as u8)?;
    statement.raw_bind_parameter(8, job.origin as u8)?;
    statement.raw_bind_parameter(9, job.attempts)?;
    statement.raw_bind_parameter(10, job.attempts_max)?;
    statement.raw_bind_parameter(11, job.priority)?;
    statement.raw_bind_parameter(12, job.due_at.0)?;
    statement.raw_bind_parameter(13, job.updated_at.0)?;
    statement.raw_bind_parameter(14, job.rules_version)?;
    statement.raw_bind_parameter(15, job.correlation_id.as_str())?;
    statement.raw_bind_parameter(16, job.error.as_ref().map(|error| error.code.as_str()))?;
    statement.raw_bind_parameter(17, job.error.as_ref().map(|error| error.message.as_str()))?;
    statement.raw_bind_parameter(18, job.payload.as_deref())?;
    statement.raw_bind_parameter(19, job.replay_of)?;
    statement.raw_bind_parameter(20, job.lease.as_ref().map(|lease| lease.owner.as_str()))?;
    statement.raw_bind_parameter(21, job.lease.as_ref().map(|lease| lease.until.0))?;
    // The column is signed; the bits are the same.
    statement.raw_bind_parameter(22, row.fence as i64)?;
    statement.raw_bind_parameter(23, row.dirty as u8)?;
    statement.raw_bind_parameter(24, row.sync_after)?;
    statement.raw_bind_parameter(25, job.replay_attempt.map(|number| number as i64))?;
    statement.raw_bind_parameter(26, job.replayed_by)?;
    statement.raw_bind_parameter(27, job.scheduled_at.map(|at| at.0))?;
    let rests = matches!(job.state, Retrying | Waiting | Conflict | Dead | Cancelled);
    let is_prunable = matches!(job.state, Synced | Cancelled) || row.is_answered();
    statement.raw_bind_parameter(28, row.is_ready().then_some(job.due_at.0))?;
    statement.raw_bind_parameter(29, rests.then_some(job.state as u8))?;
    statement.raw_bind_parameter(30, is_prunable.then_some(job.updated_at.0))
}

/// Reads an error as it is stored.
pub(super) fn error_of(code: Option<&str>, message: Option<String>) -> Fallible<Option<JobError>> {
    let (Some(word), Some(message)) = (code, message) else { return Ok(None) };
    let code = FaultCode::from_word(word).ok_or_else(|| damaged("an error"))?;
    Ok(Some(JobError { code, message }))
}

/// Reads the job of a row of [`select_jobs`].
fn read(row: &rusqlite::Row<'_>) -> Fallible<Row> {
    let state = state_of(row.get(4)?)?;
    let fence = row.get::<_, i64>(20)? as u64;
    let error = error_of(row.get_ref(14)?.as_str_or_null().ok().flatten(), row.get(15)?)?;
    let lease = match (row.get(18)?, row.get(19)?) {
        (Some(owner), Some(until)) => Some(Lease { owner, until: Timestamp(until), fence }),
        _ => None,
    };
    let job = Job {
        id: row.get(0)?,
        direction: direction_of(row.get(2)?)?,
        key: Key::from_bytes(row.get_ref(3)?.as_blob().map_err(|_| damaged("the key of a job"))?),
        state,
        origin: *Origin::ALL
            .get(usize::from(row.get::<_, u8>(5)?))
            .ok_or_else(|| damaged("the origin of a job"))?,
        attempts: row.get(6)?,
        attempts_max: row.get(7)?,
        priority: row.get(8)?,
        due_at: Timestamp(row.get(9)?),
        created_at: Timestamp(row.get(10)?),
        updated_at: Timestamp(row.get(11)?),
        rules_version: row.get(12)?,
        correlation_id: row.get(13)?,
        error,
        payload: row.get(16)?,
        replay_of: row.get(17)?,
        replay_attempt: row.get::<_, Option<i64>>(23)?.and_then(|number| u64::try_from(number).ok()),
        replayed_by: row.get(24)?,
        scheduled_at: row.get::<_, Option<i64>>(25)?.map(Timestamp),
        lease,
    };
    let link = LinkId(row.get(1)?);
    let dirty = match row.get::<_, u8>(21)? {
        0 => Dirty::Clean,
        2 => Dirty::Wished,
        _ => Dirty::Newer,
    };
    Ok(Row { link, job, fence, dirty, sync_after: row.get(22)? })
}

/// Reads jobs by a query.
pub(super) fn many(db: &Connection, query: &str, params: impl rusqlite::Params) -> Fallible<Vec<Stored>> {
    let mut select = db.prepare_cached(query)?;
    all_of(&mut select, params)
}

/// Reads jobs by a query that is at hand.
pub(super) fn all_of(
    select: &mut CachedStatement<'_>,
    params: impl rusqlite::Params,
) -> Fallible<Vec<Stored>> {
    let mut rows = select.query(params)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(Stored::new(read(row)?));
    }
    Ok(found)
}

/// Reads the first job of a query that is at hand.
pub(super) fn first_of(
    select: &mut CachedStatement<'_>,
    params: impl rusqlite::Params,
) -> Fallible<Option<Stored>> {
    let mut rows = select.query(params)?;
    rows.next()?.map(|row| read(row).map(Stored::new)).transpose()
}

/// Reads the ids of jobs by the tail of a query.
pub(super) fn ids(db: &Connection, tail: &str, params: impl rusqlite::Params) -> Fallible<Vec<i64>> {
    let mut select = db.prepare_cached(&format!("SELECT id FROM jobs {tail}"))?;
    let found = select.query_map(params, |row| row.get(0))?.collect::<Result<_, _>>()?;
    Ok(found)
}
