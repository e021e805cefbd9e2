//! Jobs in and out of their table.

use rusqlite::{CachedStatement, Connection};

use super::trouble::{Fallible, damaged};
use crate::engine::fault::FaultCode;
use crate::engine::job::{Job, JobError, JobState, Lease, Origin};
use crate::engine::record::{Direction, Key, Timestamp};
use crate::store::LinkId;
use crate::store::moves::Row;

/// What [`read`] expects, in order.
pub(super) const COLUMNS: &str = "id, link, direction, key, state, origin, attempts, attempts_max, priority, \
     due_at, created_at, updated_at, rules_version, correlation_id, error_code, error, payload, replay_of, \
     owner, until, fence, dirty, sync_after, replay_attempt, replayed_by, scheduled_at";

const INSERT: &str = "
INSERT INTO jobs (link, direction, key, created_at, state, origin, attempts, attempts_max, priority, due_at,
                  updated_at, rules_version, correlation_id, error_code, error, payload, replay_of, owner,
                  until, fence, dirty, sync_after, replay_attempt, replayed_by, scheduled_at)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22,
        ?23, ?24, ?25)";

/// Takes the same parameters, and the id; the first four never change.
const UPDATE: &str = "
UPDATE jobs SET state = ?5, origin = ?6, attempts = ?7, attempts_max = ?8, priority = ?9, due_at = ?10,
                updated_at = ?11, rules_version = ?12, correlation_id = ?13, error_code = ?14, error = ?15,
                payload = ?16, replay_of = ?17, owner = ?18, until = ?19, fence = ?20, dirty = ?21,
                sync_after = ?22, replay_attempt = ?23, replayed_by = ?24, scheduled_at = ?25
WHERE id = ?26";

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

/// Stores a new job and returns its id.
pub(super) fn insert(db: &Connection, row: &Row) -> Fallible<i64> {
    let mut statement = db.prepare_cached(INSERT)?;
    statement.raw_bind_parameter(1, row.link.0)?;
    statement.raw_bind_parameter(2, direction_code(row.job.direction))?;
    statement.raw_bind_parameter(3, row.job.key.as_bytes())?;
    statement.raw_bind_parameter(4, row.job.created_at.0)?;
    bind_changing(&mut statement, row)?;
    statement.raw_execute()?;
    Ok(db.last_insert_rowid())
}

/// Stores what may have changed of a job.
pub(super) fn update(db: &Connection, row: &Row) -> Fallible<()> {
    let mut statement = db.prepare_cached(UPDATE)?;
    bind_changing(&mut statement, row)?;
    statement.raw_bind_parameter(26, row.job.id)?;
    statement.raw_execute()?;
    Ok(())
}

/// Binds by position: by name costs more than the rest of the row.
fn bind_changing(statement: &mut CachedStatement<'_>, row: &Row) -> rusqlite::Result<()> {
    let job = &row.job;
    statement.raw_bind_parameter(5, job.state as u8)?;
    statement.raw_bind_parameter(6, job.origin as u8)?;
    statement.raw_bind_parameter(7, job.attempts)?;
    statement.raw_bind_parameter(8, job.attempts_max)?;
    statement.raw_bind_parameter(9, job.priority)?;
    statement.raw_bind_parameter(10, job.due_at.0)?;
    statement.raw_bind_parameter(11, job.updated_at.0)?;
    statement.raw_bind_parameter(12, job.rules_version)?;
    statement.raw_bind_parameter(13, job.correlation_id.as_str())?;
    statement.raw_bind_parameter(14, job.error.as_ref().map(|error| error.code.as_str()))?;
    statement.raw_bind_parameter(15, job.error.as_ref().map(|error| error.message.as_str()))?;
    statement.raw_bind_parameter(16, job.payload.as_deref())?;
    statement.raw_bind_parameter(17, job.replay_of)?;
    statement.raw_bind_parameter(18, job.lease.as_ref().map(|lease| lease.owner.as_str()))?;
    statement.raw_bind_parameter(19, job.lease.as_ref().map(|lease| lease.until.0))?;
    // The column is signed; the bits are the same.
    statement.raw_bind_parameter(20, row.fence as i64)?;
    statement.raw_bind_parameter(21, row.dirty)?;
    statement.raw_bind_parameter(22, row.sync_after)?;
    statement.raw_bind_parameter(23, job.replay_attempt.map(|number| number as i64))?;
    statement.raw_bind_parameter(24, job.replayed_by)?;
    statement.raw_bind_parameter(25, job.scheduled_at.map(|at| at.0))
}

/// Removes a job.
pub(super) fn remove(db: &Connection, id: i64) -> Fallible<()> {
    db.prepare_cached("DELETE FROM jobs WHERE id = ?1")?.execute([id])?;
    super::attempts::forget(db, id)
}

/// Notes which job replays another one.
pub(super) fn answered(db: &Connection, id: i64, by: i64) -> Fallible<()> {
    db.prepare_cached("UPDATE jobs SET replayed_by = ?2 WHERE id = ?1")?.execute((id, by))?;
    Ok(())
}

/// Reads an error as it is stored.
pub(super) fn error_of(code: Option<&str>, message: Option<String>) -> Fallible<Option<JobError>> {
    let (Some(word), Some(message)) = (code, message) else { return Ok(None) };
    let code = FaultCode::from_word(word).ok_or_else(|| damaged("an error"))?;
    Ok(Some(JobError { code, message }))
}

/// Reads the job of a row of [`COLUMNS`].
pub(super) fn read(row: &rusqlite::Row<'_>) -> Fallible<Row> {
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
    Ok(Row { link, job, fence, dirty: row.get(21)?, sync_after: row.get(22)? })
}

/// Reads a job by its id.
pub(super) fn by_id(db: &Connection, id: i64) -> Fallible<Option<Row>> {
    one(db, "id = ?1", [id])
}

/// Reads the active job of a (direction, key).
pub(super) fn active(
    db: &Connection,
    link: LinkId,
    direction: Direction,
    key: &Key,
) -> Fallible<Option<Row>> {
    one(
        db,
        "link = ?1 AND direction = ?2 AND key = ?3 AND state < 5",
        (link.0, direction_code(direction), key.as_bytes()),
    )
}

/// Reads the newest dead letter that the planner left for a (direction, key).
pub(super) fn dead_sync(
    db: &Connection,
    link: LinkId,
    direction: Direction,
    key: &Key,
) -> Fallible<Option<Row>> {
    one(
        db,
        "link = ?1 AND key = ?3 AND direction = ?2 AND state = 6 AND origin = 0 \
         AND replayed_by IS NULL ORDER BY id DESC LIMIT 1",
        (link.0, direction_code(direction), key.as_bytes()),
    )
}

fn one(db: &Connection, wanted: &str, params: impl rusqlite::Params) -> Fallible<Option<Row>> {
    Ok(many(db, &format!("WHERE {wanted}"), params)?.pop())
}

/// Reads jobs by the tail of a query.
pub(super) fn many(db: &Connection, tail: &str, params: impl rusqlite::Params) -> Fallible<Vec<Row>> {
    let mut select = db.prepare_cached(&format!("SELECT {COLUMNS} FROM jobs {tail}"))?;
    let mut rows = select.query(params)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(read(row)?);
    }
    Ok(found)
}

/// Reads the ids of jobs by the tail of a query.
pub(super) fn ids(db: &Connection, tail: &str, params: impl rusqlite::Params) -> Fallible<Vec<i64>> {
    let mut select = db.prepare_cached(&format!("SELECT id FROM jobs {tail}"))?;
    let found = select.query_map(params, |row| row.get(0))?.collect::<Result<_, _>>()?;
    Ok(found)
}
