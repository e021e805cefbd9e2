//! Links: their cursors, switches and counters.

use rusqlite::{Connection, OptionalExtension, Row};

use super::books::Books;
use super::trouble::{Fallible, Trouble, damaged};
use crate::engine::record::{Cursor, Direction, Side};
use crate::store::{Counters, LinkId, LinkState, LinkWord};

const COLUMNS: &str = "id, customer, link, cursor_a, cursor_b, epoch_a, epoch_b, matched, planned_under, paused, \
     started, frozen_ab, frozen_ba, accepted, delivered, superseded, cancelled, dead, skipped, \
     retries, attempts, attempts_ms";

/// Finds or makes a link; its counters are those of this moment, also where they are not written yet.
pub(super) fn find_or_make(
    db: &Connection,
    books: &Books,
    customer: &str,
    link: &str,
) -> Fallible<LinkState> {
    db.prepare_cached("INSERT INTO links (customer, link) VALUES (?1, ?2) ON CONFLICT DO NOTHING")?
        .execute((customer, link))?;
    let mut select =
        db.prepare_cached(&format!("SELECT {COLUMNS} FROM links WHERE customer = ?1 AND link = ?2"))?;
    let mut rows = select.query((customer, link))?;
    let mut state = read(rows.next()?.ok_or_else(|| damaged("a link"))?)?;
    state.counters += books.unwritten(state.id);
    Ok(state)
}

/// Lists all links, by number.
pub(super) fn all(db: &Connection) -> Fallible<Vec<LinkState>> {
    let mut select = db.prepare_cached(&format!("SELECT {COLUMNS} FROM links ORDER BY id"))?;
    let mut rows = select.query([])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(read(row)?);
    }
    Ok(found)
}

/// Stores what is said of a link.
pub(super) fn tell(db: &Connection, link: LinkId, words: &[LinkWord]) -> Fallible<()> {
    must_exist(db, link)?;
    for word in words {
        let set = |column: &str| db.prepare_cached(&format!("UPDATE links SET {column} = ?2 WHERE id = ?1"));
        match word {
            LinkWord::Matched => set("matched")?.execute((link.0, true))?,
            LinkWord::PlannedUnder(rules) => set("planned_under")?.execute((link.0, rules.to_be_bytes()))?,
            LinkWord::Paused(paused) => set("paused")?.execute((link.0, paused))?,
            LinkWord::Started => set("started")?.execute((link.0, true))?,
            LinkWord::Frozen(Direction::AToB, reason) => set("frozen_ab")?.execute((link.0, reason))?,
            LinkWord::Frozen(Direction::BToA, reason) => set("frozen_ba")?.execute((link.0, reason))?,
        };
    }
    Ok(())
}

/// Refuses a number that no link has.
pub(super) fn must_exist(db: &Connection, link: LinkId) -> Fallible<()> {
    let mut select = db.prepare_cached("SELECT 1 FROM links WHERE id = ?1")?;
    if select.exists([link.0])? { Ok(()) } else { Err(missing(link)) }
}

/// Stores where the source at a side goes on.
pub(super) fn put_cursor(db: &Connection, link: LinkId, side: Side, cursor: Option<&Cursor>) -> Fallible<()> {
    let sql = match side {
        Side::A => "UPDATE links SET cursor_a = ?2 WHERE id = ?1",
        Side::B => "UPDATE links SET cursor_b = ?2 WHERE id = ?1",
    };
    db.prepare_cached(sql)?.execute((link.0, cursor.map(|cursor| &cursor.0)))?;
    Ok(())
}

/// Stores the number of the last scan begun at a side.
pub(super) fn put_epoch(db: &Connection, link: LinkId, side: Side, epoch: u32) -> Fallible<()> {
    let sql = match side {
        Side::A => "UPDATE links SET epoch_a = ?2 WHERE id = ?1",
        Side::B => "UPDATE links SET epoch_b = ?2 WHERE id = ?1",
    };
    db.prepare_cached(sql)?.execute((link.0, epoch))?;
    Ok(())
}

/// Adds to the counters of a link and to the number of its pairs.
pub(super) fn add(db: &Connection, link: LinkId, pairs: i64, counted: Counters) -> Fallible<()> {
    if pairs == 0 && counted == Counters::default() {
        return Ok(());
    }
    let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    db.prepare_cached(
        "UPDATE links SET pairs = pairs + ?2, accepted = accepted + ?3, delivered = delivered + ?4, \
         superseded = superseded + ?5, cancelled = cancelled + ?6, dead = dead + ?7, skipped = skipped + ?8, \
         retries = retries + ?9, attempts = attempts + ?10, attempts_ms = attempts_ms + ?11 WHERE id = ?1",
    )?
    .execute((
        link.0,
        pairs,
        number(counted.accepted),
        number(counted.delivered),
        number(counted.superseded),
        number(counted.cancelled),
        number(counted.dead),
        number(counted.skipped),
        number(counted.retries),
        number(counted.attempts),
        number(counted.attempts_ms),
    ))?;
    Ok(())
}

/// Keeps the highest version of all pairs that were ever forgotten.
pub(super) fn put_forgotten(db: &Connection, link: LinkId, version: u32) -> Fallible<()> {
    db.prepare_cached("UPDATE links SET forgotten = max(forgotten, ?2) WHERE id = ?1")?
        .execute((link.0, version))?;
    Ok(())
}

/// Returns the number of pairs, which every commit keeps up.
pub(super) fn count_pairs(db: &Connection, link: LinkId) -> Fallible<u64> {
    let mut select = db.prepare_cached("SELECT pairs FROM links WHERE id = ?1")?;
    Ok(select.query_row([link.0], |row| unsigned(row, 0)).optional()?.unwrap_or(0))
}

/// Returns the highest version of all pairs that were ever forgotten.
pub(super) fn forgotten(db: &Connection, link: LinkId) -> Fallible<u32> {
    let mut select = db.prepare_cached("SELECT forgotten FROM links WHERE id = ?1")?;
    Ok(select.query_row([link.0], |row| row.get(0)).optional()?.unwrap_or(0))
}

/// Reads a number that only ever grows from nothing.
pub(super) fn unsigned(row: &Row<'_>, at: usize) -> rusqlite::Result<u64> {
    Ok(u64::try_from(row.get::<_, i64>(at)?).unwrap_or(0))
}

fn missing(link: LinkId) -> Trouble {
    Trouble::Unusable(format!("there is no link {}", link.0))
}

fn read(row: &Row<'_>) -> Fallible<LinkState> {
    let cursor = |at: usize| row.get::<_, Option<String>>(at).map(|text| text.map(Cursor));
    let planned_under: Option<[u8; 16]> = row.get(8)?;
    Ok(LinkState {
        id: LinkId(row.get(0)?),
        customer: row.get(1)?,
        link: row.get(2)?,
        cursors: [cursor(3)?, cursor(4)?],
        epochs: [row.get(5)?, row.get(6)?],
        matched: row.get(7)?,
        planned_under: planned_under.map(u128::from_be_bytes),
        paused: row.get(9)?,
        started: row.get(10)?,
        frozen: [row.get(11)?, row.get(12)?],
        counters: Counters {
            accepted: unsigned(row, 13)?,
            delivered: unsigned(row, 14)?,
            superseded: unsigned(row, 15)?,
            cancelled: unsigned(row, 16)?,
            dead: unsigned(row, 17)?,
            skipped: unsigned(row, 18)?,
            retries: unsigned(row, 19)?,
            attempts: unsigned(row, 20)?,
            attempts_ms: unsigned(row, 21)?,
        },
    })
}
