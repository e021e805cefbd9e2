//! Batches of writes whose answers are not known.

use rusqlite::Connection;

use super::trouble::Fallible;
use crate::store::LinkId;

/// Remembers a batch under a number that none had before.
pub(super) fn put(db: &Connection, link: LinkId, batch: &[u8]) -> Fallible<i64> {
    super::links::must_exist(db, link)?;
    let mut insert = db.prepare_cached("INSERT INTO sent (link, batch) VALUES (?1, ?2) RETURNING id")?;
    Ok(insert.query_row((link.0, batch), |row| row.get(0))?)
}

/// Lays down what is left of a batch.
pub(super) fn answered(db: &Connection, number: i64, left: Option<&[u8]>) -> Fallible<()> {
    match left {
        Some(left) => {
            db.prepare_cached("UPDATE sent SET batch = ?2 WHERE id = ?1")?.execute((number, left))?
        }
        None => db.prepare_cached("DELETE FROM sent WHERE id = ?1")?.execute([number])?,
    };
    Ok(())
}

/// Lists the batches of a link.
pub(super) fn of(db: &Connection, link: LinkId) -> Fallible<Vec<(i64, Vec<u8>)>> {
    let mut select = db.prepare_cached("SELECT id, batch FROM sent WHERE link = ?1 ORDER BY id")?;
    let found = select.query_map([link.0], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(found.collect::<Result<_, _>>()?)
}
