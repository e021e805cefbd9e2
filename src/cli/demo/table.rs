//! The demo table itself.
//!
//! Invariant: rows that are there are never changed.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};

use super::people::{FIRST_PEOPLE, person};

/// The table as an application would have it: its own ids, its own defaults, a stamp that it keeps.
const SCHEMA: &str = "
    CREATE TABLE users (
        record_id  INTEGER PRIMARY KEY,
        name       TEXT NOT NULL,
        email      TEXT,
        status     TEXT NOT NULL DEFAULT 'active',
        updated_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
    );
    CREATE TRIGGER users_touched AFTER UPDATE OF name, email, status ON users
    WHEN NEW.updated_at IS OLD.updated_at
    BEGIN
        UPDATE users SET updated_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now') WHERE record_id = NEW.record_id;
    END;";

/// How long to wait for another program's transaction.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// Rows a transaction: long ones would keep the daemon from writing.
const ROWS_PER_TRANSACTION: i64 = 10_000;

/// What was done.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Done {
    /// The table was missing.
    pub made: bool,
    /// The first and the last id that were added.
    pub added: Option<(i64, i64)>,
}

/// Why nothing, or not everything, was done; with what to do about it.
#[derive(Debug, thiserror::Error)]
pub(super) enum DemoError {
    #[error("the folder can't be made: {0}; check its rights")]
    Folder(#[from] std::io::Error),
    #[error("{0}; name another file with --file if this is no demo table")]
    Sql(#[from] rusqlite::Error),
}

/// Adds people under new ids; makes the table where it is missing.
pub(super) fn insert(path: &Path, count: u64, bare: bool) -> Result<Done, DemoError> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let mut conn = Connection::open(path)?;
    conn.busy_timeout(BUSY_TIMEOUT)?;
    let made = make_where_missing(&mut conn, bare)?;
    let mut added = None;
    let mut left = i64::try_from(count).unwrap_or(i64::MAX);
    while left > 0 {
        let (first, last) = insert_some(&mut conn, left.min(ROWS_PER_TRANSACTION))?;
        added = Some((added.map_or(first, |(first, _)| first), last));
        left = left.saturating_sub(ROWS_PER_TRANSACTION);
    }
    Ok(Done { made, added })
}

fn make_where_missing(conn: &mut Connection, bare: bool) -> Result<bool, rusqlite::Error> {
    if has_table(conn)? {
        return Ok(false);
    }
    // Readers and one writer side by side; stays with the file.
    conn.pragma_update(None, "journal_mode", "WAL")?;
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // Two of us may have started at once.
    let made = !has_table(&tx)?;
    if made {
        tx.execute_batch(SCHEMA)?;
        for (id, name, email, status) in FIRST_PEOPLE.iter().filter(|_| !bare) {
            tx.execute(
                "INSERT INTO users (record_id, name, email, status) VALUES (?1, ?2, ?3, ?4)",
                params![id, name, email, status],
            )?;
        }
    }
    tx.commit()?;
    Ok(made)
}

fn has_table(conn: &Connection) -> Result<bool, rusqlite::Error> {
    let sql = "SELECT 1 FROM sqlite_schema WHERE type IN ('table', 'view') AND name = 'users'";
    Ok(conn.query_row(sql, [], |_| Ok(())).optional()?.is_some())
}

fn insert_some(conn: &mut Connection, count: i64) -> Result<(i64, i64), rusqlite::Error> {
    let tx: Transaction<'_> = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let last: i64 = tx.query_row("SELECT coalesce(max(record_id), 0) FROM users", [], |row| row.get(0))?;
    {
        let mut insert = tx.prepare("INSERT INTO users (record_id, name, email) VALUES (?1, ?2, ?3)")?;
        for id in last + 1..=last + count {
            let person = person(id);
            insert.execute(params![id, person.name, person.email])?;
        }
    }
    tx.commit()?;
    Ok((last + 1, last + count))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_made_once_and_only_added_to() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data").join("demo.sqlite");
        assert_eq!(insert(&path, 0, false).unwrap(), Done { made: true, added: None });
        assert_eq!(insert(&path, 0, false).unwrap(), Done { made: false, added: None });
        let conn = Connection::open(&path).unwrap();
        conn.execute("UPDATE users SET name = 'Somebody' WHERE record_id = 101", []).unwrap();
        assert_eq!(insert(&path, 3, false).unwrap(), Done { made: false, added: Some((106, 108)) });
        let read = |sql: &str| conn.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
        assert_eq!(read("SELECT count(*) FROM users"), 8);
        assert_eq!(read("SELECT count(*) FROM users WHERE name = 'Somebody'"), 1);
    }

    #[test]
    fn a_bare_table_is_empty() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("demo.sqlite");
        assert_eq!(insert(&path, 2, true).unwrap(), Done { made: true, added: Some((1, 2)) });
    }

    #[test]
    fn edits_keep_the_stamp() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("demo.sqlite");
        insert(&path, 0, false).unwrap();
        let conn = Connection::open(&path).unwrap();
        conn.execute("UPDATE users SET updated_at = '2000-01-01T00:00:00.000Z'", []).unwrap();
        conn.execute("UPDATE users SET email = NULL WHERE record_id = 101", []).unwrap();
        let sql = "SELECT updated_at > '2001' FROM users WHERE record_id = 101";
        assert!(conn.query_row(sql, [], |row| row.get::<_, bool>(0)).unwrap());
    }

    #[test]
    fn another_programs_table_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("demo.sqlite");
        let conn = Connection::open(&path).unwrap();
        conn.execute_batch("CREATE TABLE users (login TEXT)").unwrap();
        let error = insert(&path, 1, false).unwrap_err().to_string();
        assert!(error.contains("--file"), "{error}");
    }
}
