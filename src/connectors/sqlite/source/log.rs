//! Reading the log that the capture triggers fill.
//!
//! The log says which keys changed, never how: what is reported is the row as it stands now. The
//! first read takes the log's end, walks the whole table, and then reads the log from there.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params, params_from_iter};

use super::super::cell::Cell;
use super::capture::{self, CHANGES, CONSUMERS, ENTRIES_MAX};
use super::walk::{self, Place};
use super::{Failure, Piece, Prepared, ahead};
use crate::connectors::End;
use crate::engine::record::{Change, Key, Timestamp, Tombstone};

#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Mark {
    /// The first walk, as long as it is under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    scan: Option<Place>,
    /// Everything through this entry of the log was shown.
    seq: i64,
    /// The log itself says that it is acknowledged through this entry: in an older copy it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    acked: Option<i64>,
    /// The read began at nothing: its first end proves that what it did not show does not exist.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    whole: bool,
}

pub(super) fn read(
    conn: &mut Connection,
    prepared: &Prepared,
    consumer: &str,
    mark: Option<Mark>,
    acked: Option<i64>,
    limit: usize,
) -> Result<Piece, Failure> {
    let made = capture::install(conn, &prepared.stream)?;
    let last = last_entry(conn)?;
    if let Some(mark) = &mark
        && mark.seq > last
    {
        return Err(ahead(&prepared.stream.table.name, "its log of changes ends earlier"));
    }
    if let Some(before) = mark.as_ref().and_then(|mark| mark.acked)
        && acknowledged(conn, prepared, consumer)?.is_none_or(|seq| seq < before)
    {
        return Err(ahead(&prepared.stream.table.name, "its log of changes was at a later entry before"));
    }
    // Without triggers nothing was logged, and what lies too far back was pruned.
    let mark = mark.map(|mark| Mark { acked: mark.acked.max(acked), ..mark });
    let mark = mark.filter(|mark| !made && mark.seq >= last - ENTRIES_MAX);
    match mark {
        None => {
            register(conn, prepared, consumer, last)?;
            walk_on(conn, prepared, Mark { scan: None, seq: last, acked: None, whole: true }, limit, true)
        }
        Some(mark) if mark.scan.is_some() => walk_on(conn, prepared, mark, limit, false),
        Some(mark) => {
            let transaction = conn.unchecked_transaction()?;
            let piece = entries(&transaction, prepared, mark, limit);
            transaction.finish()?;
            piece
        }
    }
}

/// Learns that a consumer is through, and takes out what all of them have seen. Gives the entry through
/// which it is acknowledged.
pub(super) fn ack(
    conn: &mut Connection,
    prepared: &Prepared,
    consumer: &str,
    mark: &Mark,
) -> rusqlite::Result<i64> {
    let log = capture::log_name(&prepared.stream);
    if let Some(seq) = acknowledged(conn, prepared, consumer)?.filter(|seq| *seq >= mark.seq) {
        return Ok(seq);
    }
    let transaction = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    put_consumer(&transaction, &log, consumer, mark.seq)?;
    transaction
        .prepare_cached(&format!(
            "DELETE FROM {CHANGES} WHERE tbl = ?1 AND seq <= (SELECT min(seq) FROM {CONSUMERS} WHERE tbl = ?1)"
        ))?
        .execute([&log])?;
    transaction.commit()?;
    Ok(mark.seq)
}

/// Returns the entry through which the log says that a consumer has seen it.
fn acknowledged(conn: &Connection, prepared: &Prepared, consumer: &str) -> rusqlite::Result<Option<i64>> {
    conn.prepare_cached(&format!("SELECT seq FROM {CONSUMERS} WHERE tbl = ?1 AND consumer = ?2"))?
        .query_row([&capture::log_name(&prepared.stream), consumer], |row| row.get(0))
        .optional()
}

fn register(conn: &Connection, prepared: &Prepared, consumer: &str, seq: i64) -> rusqlite::Result<()> {
    put_consumer(conn, &capture::log_name(&prepared.stream), consumer, seq)
}

fn put_consumer(conn: &Connection, log: &str, consumer: &str, seq: i64) -> rusqlite::Result<()> {
    conn.prepare_cached(&format!(
        "INSERT INTO {CONSUMERS} (tbl, consumer, seq) VALUES (?1, ?2, ?3)
         ON CONFLICT (tbl, consumer) DO UPDATE SET seq = excluded.seq"
    ))?
    .execute(params![log, consumer, seq])?;
    Ok(())
}

/// Returns the number of the last entry ever made, pruned ones included.
fn last_entry(conn: &Connection) -> rusqlite::Result<i64> {
    conn.prepare_cached("SELECT seq FROM sqlite_sequence WHERE name = ?1")?
        .query_row([CHANGES], |row| row.get(0))
        .optional()
        .map(Option::unwrap_or_default)
}

fn walk_on(
    conn: &Connection,
    prepared: &Prepared,
    mark: Mark,
    limit: usize,
    begins: bool,
) -> Result<Piece, Failure> {
    let (changes, scan) = walk::page(conn, prepared, mark.scan.clone(), limit)?;
    // The log goes on where the walk began, so there is always more.
    Ok(Piece { changes, mark: Some(super::Mark::Triggers(Mark { scan, ..mark })), end: End::More, begins })
}

fn entries(conn: &Connection, prepared: &Prepared, mark: Mark, limit: usize) -> Result<Piece, Failure> {
    let parts = prepared.stream.key.len();
    let columns: Vec<String> = (1..=parts).map(|at| format!("k{at}")).collect();
    let sql = format!(
        "SELECT seq, at, {} FROM {CHANGES} WHERE tbl = ?1 AND seq > ?2 ORDER BY seq LIMIT {limit}",
        columns.join(", ")
    );
    let mut statement = conn.prepare_cached(&sql)?;
    let mut rows = statement.query(params![capture::log_name(&prepared.stream), mark.seq])?;
    let (mut seq, mut count) = (mark.seq, 0);
    // A key that changed several times is reported once, at its last place.
    let mut last: HashMap<Vec<Cell>, (i64, String)> = HashMap::new();
    while let Some(row) = rows.next()? {
        seq = row.get(0)?;
        count += 1;
        let key =
            (0..parts).map(|at| row.get_ref(at + 2).map(Cell::from)).collect::<rusqlite::Result<_>>()?;
        last.insert(key, (seq, row.get(1)?));
    }
    drop(rows);
    let mut touched: Vec<(Vec<Cell>, (i64, String))> = last.into_iter().collect();
    touched.sort_unstable_by_key(|(_, (seq, _))| *seq);
    let mut changes = Vec::with_capacity(touched.len());
    for (key, (_, at)) in &touched {
        now(conn, prepared, key, Timestamp::parse_rfc3339(at), &mut changes)?;
    }
    let end = match (count == limit, mark.whole) {
        (true, _) => End::More,
        (false, true) => End::Complete,
        (false, false) => End::CaughtUp,
    };
    let whole = mark.whole && end == End::More;
    let mark = super::Mark::Triggers(Mark { scan: None, seq, acked: mark.acked, whole });
    Ok(Piece { changes, mark: Some(mark), end, begins: true })
}

/// Reports how a logged key stands now.
fn now(
    conn: &Connection,
    prepared: &Prepared,
    cells: &[Cell],
    at: Option<Timestamp>,
    changes: &mut Vec<Change>,
) -> rusqlite::Result<()> {
    let (stream, projection) = (&prepared.stream, &prepared.projection);
    let values: Vec<_> = cells.iter().map(Cell::to_value).collect();
    // A row without a fit key was never a record.
    let Ok(key) = Key::from_values(&values) else { return Ok(()) };
    let matches: Vec<String> = stream
        .key
        .iter()
        .enumerate()
        .map(|(at, column)| format!("{} IS ?{}", stream.table.quoted_column(*column), at + 1))
        .collect();
    let sql = format!(
        "SELECT {} FROM {} WHERE {}",
        projection.select,
        stream.table.quoted(),
        matches.join(" AND ")
    );
    let mut statement = conn.prepare_cached(&sql)?;
    let mut rows = statement.query(params_from_iter(cells))?;
    let mut found = false;
    while let Some(row) = rows.next()? {
        // Under NOCASE other keys match too; they have entries of their own.
        if projection.key_of(row)?.as_ref() == Some(&key) {
            found = true;
            changes.push(projection.change(row, at)?);
        }
    }
    if !found {
        changes.push(Change::Delete(Tombstone { key: Some(key), id: None, at }));
    }
    Ok(())
}
