//! Versions of the rules, counted a file.

use rusqlite::{Connection, OptionalExtension};

use super::trouble::Fallible;
use crate::engine::record::Timestamp;
use crate::store::RulesVersion;

/// Finds the number of a text, or gives it the next one.
pub(super) fn find_or_make(db: &Connection, file: &str, text: &str, now: Timestamp) -> Fallible<u32> {
    let found: Option<u32> = db
        .prepare_cached("SELECT version FROM rules_versions WHERE file = ?1 AND text = ?2")?
        .query_row((file, text), |row| row.get(0))
        .optional()?;
    if let Some(version) = found {
        return Ok(version);
    }
    let mut insert = db.prepare_cached(
        "INSERT INTO rules_versions (file, version, text, at) \
         SELECT ?1, coalesce(max(version), 0) + 1, ?2, ?3 FROM rules_versions WHERE file = ?1 \
         RETURNING version",
    )?;
    Ok(insert.query_row((file, text, now.0), |row| row.get(0))?)
}

/// Lists the versions of a file, newest first.
pub(super) fn list(db: &Connection, file: &str) -> Fallible<Vec<RulesVersion>> {
    let mut select = db.prepare_cached(
        "SELECT version, text, at FROM rules_versions WHERE file = ?1 ORDER BY version DESC",
    )?;
    let versions = select.query_map([file], |row| {
        Ok(RulesVersion {
            version: row.get(0)?,
            file: file.to_owned(),
            text: row.get(1)?,
            at: Timestamp(row.get(2)?),
        })
    })?;
    Ok(versions.collect::<Result<_, _>>()?)
}
