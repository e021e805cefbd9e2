//! Jobs in and out of their table.

use rusqlite::{Connection, named_params};

use super::trouble::{Fallible, damaged};
use crate::engine::fault::FaultCode;
use crate::engine::job::{Job, JobError, JobState, Lease, Origin};
use crate::engine::record::{Direction, Key, Timestamp};
use crate::store::LinkId;
use crate::store::moves::Row;

/// What [`read`] expects, in order.
pub(super) const COLUMNS: &str = "id, link, direction, key, state, origin, attempts, attempts_max, priority, \
     due_at, created_at, updated_at, rules_version, correlation_id, error_code, error, payload, replay_of, \
     owner, until, fence, dirty, sync_after";

const INSERT: &str = "
INSERT INTO jobs (link, direction, key, state, origin, attempts, attempts_max, priority, due_at, created_at,
                  updated_at, rules_version, correlation_id, error_code, error, payload, replay_of, owner,
                  until, fence, dirty, sync_after)
VALUES (:link, :direction, :key, :state, :origin, :attempts, :attempts_max, :priority, :due_at, :created_at,
        :updated_at, :rules_version, :correlation_id, :error_code, :error, :payload, :replay_of, :owner,
        :until, :fence, :dirty, :sync_after)";

const UPDATE: &str = "
UPDATE jobs SET state = :state, origin = :origin, attempts = :attempts, attempts_max = :attempts_max,
                priority = :priority, due_at = :due_at, updated_at = :updated_at,
                rules_version = :rules_version, correlation_id = :correlation_id, error_code = :error_code,
                error = :error, payload = :payload, replay_of = :replay_of, owner = :owner, until = :until,
                fence = :fence, dirty = :dirty, sync_after = :sync_after
WHERE id = :id";

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
    let Row { link, job, .. } = row;
    db.prepare_cached(INSERT)?.execute(named_params! {
        ":link": link.0,
        ":direction": direction_code(job.direction),
        ":key": job.key.as_bytes(),
        ":state": job.state as u8,
        ":origin": job.origin as u8,
        ":attempts": job.attempts,
        ":attempts_max": job.attempts_max,
        ":priority": job.priority,
        ":due_at": job.due_at.0,
        ":created_at": job.created_at.0,
        ":updated_at": job.updated_at.0,
        ":rules_version": job.rules_version,
        ":correlation_id": job.correlation_id,
        ":error_code": job.error.as_ref().map(|error| error.code.as_str()),
        ":error": job.error.as_ref().map(|error| &error.message),
        ":payload": job.payload,
        ":replay_of": job.replay_of,
        ":owner": job.lease.as_ref().map(|lease| &lease.owner),
        ":until": job.lease.as_ref().map(|lease| lease.until.0),
        ":fence": fence_code(row.fence),
        ":dirty": row.dirty,
        ":sync_after": row.sync_after,
    })?;
    Ok(db.last_insert_rowid())
}

/// Stores what may have changed of a job.
pub(super) fn update(db: &Connection, row: &Row) -> Fallible<()> {
    let job = &row.job;
    db.prepare_cached(UPDATE)?.execute(named_params! {
        ":id": job.id,
        ":state": job.state as u8,
        ":origin": job.origin as u8,
        ":attempts": job.attempts,
        ":attempts_max": job.attempts_max,
        ":priority": job.priority,
        ":due_at": job.due_at.0,
        ":updated_at": job.updated_at.0,
        ":rules_version": job.rules_version,
        ":correlation_id": job.correlation_id,
        ":error_code": job.error.as_ref().map(|error| error.code.as_str()),
        ":error": job.error.as_ref().map(|error| &error.message),
        ":payload": job.payload,
        ":replay_of": job.replay_of,
        ":owner": job.lease.as_ref().map(|lease| &lease.owner),
        ":until": job.lease.as_ref().map(|lease| lease.until.0),
        ":fence": fence_code(row.fence),
        ":dirty": row.dirty,
        ":sync_after": row.sync_after,
    })?;
    Ok(())
}

/// Removes a job.
pub(super) fn remove(db: &Connection, id: i64) -> Fallible<()> {
    db.prepare_cached("DELETE FROM jobs WHERE id = ?1")?.execute([id])?;
    Ok(())
}

/// Reads the job of a row of [`COLUMNS`].
pub(super) fn read(row: &rusqlite::Row<'_>) -> Fallible<Row> {
    let state = state_of(row.get(4)?)?;
    let fence = row.get::<_, i64>(20)? as u64;
    let error = match (row.get_ref(14)?.as_str_or_null(), row.get::<_, Option<String>>(15)?) {
        (Ok(Some(word)), Some(message)) => {
            let code = FaultCode::from_word(word).ok_or_else(|| damaged("the error of a job"))?;
            Some(JobError { code, message })
        }
        _ => None,
    };
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
        "link = ?1 AND key = ?3 AND direction = ?2 AND state = 6 AND origin = 0 ORDER BY id DESC LIMIT 1",
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

fn fence_code(fence: u64) -> i64 {
    fence as i64
}
