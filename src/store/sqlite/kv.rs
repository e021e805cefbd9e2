//! Small durable values, by space and key.

use rusqlite::{Connection, OptionalExtension};

use super::trouble::Fallible;
use crate::engine::record::Timestamp;

/// Reads a value that has not expired.
pub(super) fn get(db: &Connection, space: &str, key: &str, now: Timestamp) -> Fallible<Option<String>> {
    let mut select = db.prepare_cached(
        "SELECT value FROM kv WHERE space = ?1 AND key = ?2 AND (expires_at IS NULL OR expires_at > ?3)",
    )?;
    Ok(select.query_row((space, key, now.0), |row| row.get(0)).optional()?)
}

/// Stores a value in the place of an earlier one.
pub(super) fn put(
    db: &Connection,
    space: &str,
    key: &str,
    value: &str,
    expires_at: Option<Timestamp>,
) -> Fallible<()> {
    db.prepare_cached(
        "INSERT INTO kv (space, key, value, expires_at) VALUES (?1, ?2, ?3, ?4) \
         ON CONFLICT DO UPDATE SET value = excluded.value, expires_at = excluded.expires_at",
    )?
    .execute((space, key, value, expires_at.map(|at| at.0)))?;
    Ok(())
}

/// Lists what has not expired in a space, by key.
pub(super) fn list(db: &Connection, space: &str, now: Timestamp) -> Fallible<Vec<(String, String)>> {
    let mut select = db.prepare_cached(
        "SELECT key, value FROM kv WHERE space = ?1 AND (expires_at IS NULL OR expires_at > ?2) ORDER BY key",
    )?;
    let values = select.query_map((space, now.0), |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(values.collect::<Result<_, _>>()?)
}

/// Removes a value; tells whether it was there.
pub(super) fn remove(db: &Connection, space: &str, key: &str) -> Fallible<bool> {
    Ok(db.prepare_cached("DELETE FROM kv WHERE space = ?1 AND key = ?2")?.execute((space, key))? > 0)
}
