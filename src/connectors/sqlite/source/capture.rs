//! The log of changed keys and the triggers that fill it, inside the user's database.
//!
//! Invariant: nothing here can make a statement of the application fail: keys are logged in columns
//! without a type, just as they are, and the log is bounded whoever reads it.
//!
//! Known limit: a row that an `INSERT OR REPLACE` pushes out over *another* unique column fires no
//! delete trigger unless the application sets `PRAGMA recursive_triggers`; only an audit finds that one.

use rusqlite::{Connection, TransactionBehavior};

use super::super::catalogue::{OURS, quote};
use super::super::options::Stream;
use super::Failure;
use crate::engine::fault::{Fault, FaultCode};

pub(super) const CHANGES: &str = "_record_sync_changes";
pub(super) const CONSUMERS: &str = "_record_sync_consumers";

/// Columns for key parts.
const PARTS_MAX: usize = 8;
/// Entries that the log holds at most; who is further behind walks the table anew.
pub(super) const ENTRIES_MAX: i64 = 1_000_000;

/// Makes log and triggers where they are missing or of another version. Gives whether any had to
/// be made: what happened before is in no log then.
pub(super) fn install(conn: &mut Connection, stream: &Stream) -> Result<bool, Failure> {
    if stream.key.len() > PARTS_MAX {
        return Err(Failure::Fault(Fault::fatal(
            FaultCode::Configuration,
            format!(
                "the key of {} has more than {PARTS_MAX} columns, too many for capture triggers",
                stream.table.name
            ),
            "use `capture = \"scan\"`",
        )));
    }
    let (prefix, triggers) = triggers(stream);
    if stands(conn, stream, &triggers)? {
        return Ok(false);
    }
    let transaction = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // Another consumer may have been faster.
    if stands(&transaction, stream, &triggers)? {
        return Ok(false);
    }
    let parts: Vec<String> = (1..=PARTS_MAX).map(|at| format!("k{at}")).collect();
    transaction.execute_batch(&format!(
        "CREATE TABLE IF NOT EXISTS {CHANGES} (
             seq INTEGER PRIMARY KEY AUTOINCREMENT, tbl TEXT NOT NULL, op TEXT NOT NULL, at TEXT NOT NULL, {});
         CREATE INDEX IF NOT EXISTS {CHANGES}_by_tbl ON {CHANGES} (tbl, seq);
         CREATE TABLE IF NOT EXISTS {CONSUMERS} (
             tbl TEXT NOT NULL, consumer TEXT NOT NULL, seq INTEGER NOT NULL, PRIMARY KEY (tbl, consumer));",
        parts.join(", ")
    ))?;
    let old: Vec<String> = transaction
        .prepare(
            "SELECT name FROM sqlite_schema WHERE type = 'trigger' AND substr(name, 1, length(?1)) = ?1",
        )?
        .query_map([&prefix], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    for name in old {
        transaction.execute_batch(&format!("DROP TRIGGER {}", quote(&name)))?;
    }
    for (_, sql) in &triggers {
        transaction.execute_batch(sql)?;
    }
    transaction.commit()?;
    Ok(true)
}

/// Returns how the log calls a stream: the table with the columns that are logged.
pub(super) fn log_name(stream: &Stream) -> String {
    let columns = stream.key.iter().filter_map(|at| stream.table.columns.get(*at));
    let names: Vec<&str> = std::iter::once(stream.table.name.as_str())
        .chain(columns.map(|column| column.name.as_str()))
        .collect();
    serde_json::Value::from(names).to_string()
}

fn stands(conn: &Connection, stream: &Stream, triggers: &[(String, String)]) -> rusqlite::Result<bool> {
    let mut statement = conn.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE type = 'trigger' AND name = ?1 AND tbl_name = ?2)",
    )?;
    for (name, _) in triggers {
        if !statement.query_row([name, &stream.table.name], |row| row.get(0))? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Returns the beginning of the triggers' names and the three with their SQL. A name carries a
/// hash of the SQL, so that another version of it has another name.
fn triggers(stream: &Stream) -> (String, Vec<(String, String)>) {
    let log = log_name(stream);
    let prefix = format!("{OURS}{:016x}_", xxhash_rust::xxh3::xxh3_64(log.as_bytes()));
    let log = log.replace('\'', "''");
    let columns: Vec<String> = stream.key.iter().map(|at| stream.table.quoted_column(*at)).collect();
    let parts = (1..=columns.len()).map(|at| format!("k{at}")).collect::<Vec<_>>().join(", ");
    let of =
        |row: &str| columns.iter().map(|column| format!("{row}.{column}")).collect::<Vec<_>>().join(", ");
    let entry = |op: &str, row: &str, when: &str| {
        format!(
            "INSERT INTO {CHANGES} (tbl, op, at, {parts})
               SELECT '{log}', '{op}', strftime('%Y-%m-%dT%H:%M:%fZ', 'now'), {}{when};",
            of(row)
        )
    };
    let moved: Vec<String> =
        columns.iter().map(|column| format!("OLD.{column} COLLATE BINARY IS NOT NEW.{column}")).collect();
    let moved = format!(" WHERE {}", moved.join(" OR "));
    let bound =
        format!("DELETE FROM {CHANGES} WHERE seq <= (SELECT max(seq) FROM {CHANGES}) - {ENTRIES_MAX};");
    let bodies = [
        ("INSERT", entry("u", "NEW", "")),
        ("UPDATE", format!("{}\n  {}", entry("d", "OLD", &moved), entry("u", "NEW", ""))),
        ("DELETE", entry("d", "OLD", "")),
    ];
    let made = bodies.map(|(event, body)| {
        let rest = format!("AFTER {event} ON {}\nBEGIN\n  {body}\n  {bound}\nEND", stream.table.quoted());
        let name =
            format!("{prefix}{:016x}_{}", xxhash_rust::xxh3::xxh3_64(rest.as_bytes()), event.to_lowercase());
        let sql = format!("CREATE TRIGGER {} {rest}", quote(&name));
        (name, sql)
    });
    (prefix, made.into())
}
