//! What happened to pairs: written with the commit that it tells of, listed, pruned.
//!
//! Invariant: `history_size` is the sum of `history.bytes`.

use rusqlite::Connection;
use rusqlite::types::Value;

use super::job_row::{direction_code, direction_of};
use super::trouble::{Fallible, damaged};
use crate::engine::history::{Event, What};
use crate::engine::record::{Key, Timestamp};
use crate::store::{HISTORY_PRUNED_MAX, HistoryFilter, LinkId, Recorded, history_bytes};

const INSERT: &str = "
INSERT INTO history (link, key, at, kind, direction, rules_version, run, attempt, bytes, body)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";

/// Stores events of a link; nothing costs nothing.
pub(super) fn tell(db: &Connection, link: LinkId, events: &[Event]) -> Fallible<()> {
    if events.is_empty() {
        return Ok(());
    }
    let mut insert = db.prepare_cached(INSERT)?;
    let mut grown = 0;
    for event in events {
        let body = event.what.encode();
        let bytes = i64::try_from(history_bytes(event, &body)).unwrap_or(i64::MAX);
        insert.execute((
            link.0,
            event.key.as_bytes(),
            event.at.0,
            kind_code(&event.what),
            event.direction.map(direction_code),
            event.rules_version,
            event.run.as_str(),
            event.attempt,
            bytes,
            body,
        ))?;
        grown += bytes;
    }
    grow(db, grown)
}

fn kind_code(what: &What) -> u8 {
    let place = What::KINDS.iter().position(|kind| *kind == what.kind());
    place.and_then(|place| u8::try_from(place).ok()).unwrap_or(u8::MAX)
}

fn grow(db: &Connection, by: i64) -> Fallible<()> {
    db.prepare_cached("UPDATE history_size SET bytes = bytes + ?1")?.execute([by])?;
    Ok(())
}

/// Lists events, newest first.
pub(super) fn list(db: &Connection, filter: &HistoryFilter) -> Fallible<Vec<Recorded>> {
    let mut wanted = vec!["1"];
    let mut values: Vec<Value> = Vec::new();
    let mut want = |condition: &'static str, value: Option<Value>| {
        if let Some(value) = value {
            wanted.push(condition);
            values.push(value);
        }
    };
    want("link = ?", filter.link.map(|link| link.0.into()));
    want("key = ?", filter.key.as_ref().map(|key| key.as_bytes().to_vec().into()));
    want("run = ?", filter.run.clone().map(Into::into));
    want("rules_version = ?", filter.rules_version.map(Into::into));
    want("at >= ?", filter.from.map(|at| at.0.into()));
    want("at < ?", filter.to.map(|at| at.0.into()));
    want("kind = ?", filter.written.then_some(0.into()));
    want("id < ?", filter.before.map(Into::into));
    values.push(i64::try_from(filter.limit).unwrap_or(i64::MAX).into());
    let sql = format!(
        "SELECT id, link, key, at, direction, rules_version, run, attempt, body FROM history \
         WHERE {} ORDER BY id DESC LIMIT ?",
        wanted.join(" AND ")
    );
    let mut select = db.prepare_cached(&sql)?;
    let mut rows = select.query(rusqlite::params_from_iter(values))?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let direction: Option<u8> = row.get(4)?;
        let body = row.get_ref(8)?.as_str().map_err(|_| damaged("an event"))?;
        let event = Event {
            at: Timestamp(row.get(3)?),
            key: Key::from_bytes(row.get_ref(2)?.as_blob().map_err(|_| damaged("the key of an event"))?),
            direction: direction.map(direction_of).transpose()?,
            rules_version: row.get(5)?,
            run: row.get(6)?,
            attempt: row.get(7)?,
            what: What::decode(body).ok_or_else(|| damaged("an event"))?,
        };
        found.push(Recorded { id: row.get(0)?, link: LinkId(row.get(1)?), event });
    }
    Ok(found)
}

/// Forgets the oldest events. Ids grow with time, so they are looked for from the first id on.
pub(super) fn prune(db: &Connection, before: Timestamp, bytes_max: u64) -> Fallible<u64> {
    let size: i64 = db.prepare_cached("SELECT bytes FROM history_size")?.query_row([], |row| row.get(0))?;
    let mut too_many = size.saturating_sub(i64::try_from(bytes_max).unwrap_or(i64::MAX));
    let mut oldest = db.prepare_cached("SELECT id, at, bytes FROM history ORDER BY id LIMIT ?1")?;
    let mut rows = oldest.query([i64::try_from(HISTORY_PRUNED_MAX).unwrap_or(i64::MAX)])?;
    let (mut last, mut pruned, mut shrunk) = (None, 0u64, 0i64);
    while let Some(row) = rows.next()? {
        let (id, at, bytes): (i64, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
        if at >= before.0 && too_many <= 0 {
            break;
        }
        last = Some(id);
        pruned += 1;
        shrunk += bytes;
        too_many -= bytes;
    }
    drop(rows);
    if let Some(last) = last {
        db.prepare_cached("DELETE FROM history WHERE id <= ?1")?.execute([last])?;
        grow(db, -shrunk)?;
    }
    Ok(pruned)
}
