//! The bin: what is emptied from it, what is taken out of it again.
//!
//! Invariant: a row that is gone for good stands in the log of deletions for 15 days, and nowhere else.

use super::errors::ApiError;
use super::replication::REACH_MS;
use super::rows::{self, is_deleted};
use crate::connectors::mock::{Id, Object, Table};
use crate::connectors::salesforce::wire::format_datetime;
use crate::engine::record::{Timestamp, Value};

/// Names where the log of an object's purged rows stands in the table; no object has such a name.
pub fn purged(object: &str) -> String {
    format!("purged {object}")
}

/// Removes a row for good, from the bin or past it; gives whether it was there.
pub fn purge(table: &mut Table, object: &str, id: &str, now: Timestamp) -> bool {
    let Some(row) = table.get(object, id).cloned() else { return false };
    let at = match row.get("SystemModstamp").filter(|_| is_deleted(&row)) {
        Some(binned_at) => binned_at,
        None => rows::stamp(table, now),
    };
    table.remove(object, id);
    table.put(&purged(object), id, [("SystemModstamp".into(), at)].into_iter().collect());
    true
}

/// Empties the bin of an object.
pub fn empty(table: &mut Table, object: &str, now: Timestamp) {
    let binned = table.rows(object).filter(|(_, row)| is_deleted(row));
    let ids: Vec<Id> = binned.map(|(id, _)| Id::clone(id)).collect();
    for id in ids {
        purge(table, object, &id, now);
    }
}

/// Takes a row out of the bin.
pub fn restore(
    table: &mut Table,
    object: &str,
    id: &str,
    user: &str,
    now: Timestamp,
) -> Result<(), ApiError> {
    let row = table.get(object, id).filter(|row| is_deleted(row));
    let mut row = row.cloned().ok_or_else(ApiError::not_found)?;
    row.insert("IsDeleted".into(), Value::Bool(false));
    rows::touch(&mut row, rows::stamp(table, now), Value::text(user));
    table.put(object, id, row);
    Ok(())
}

/// Forgets what is out of the log's reach.
pub fn forget(table: &mut Table, object: &str, now: Timestamp) {
    let log = purged(object);
    // The stored form sorts as text.
    let earliest = format_datetime(Timestamp(now.0.saturating_sub(REACH_MS)));
    let is_old = |row: &Object| row.text("SystemModstamp").is_none_or(|at| at < earliest.as_str());
    let old = table.rows(&log).filter(|(_, row)| is_old(row));
    let old: Vec<Id> = old.map(|(id, _)| Id::clone(id)).collect();
    for id in old {
        table.remove(&log, &id);
    }
}
