//! Batches of writes whose answers are not known.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{Connection, OptionalExtension};

use super::trouble::Fallible;
use crate::store::{Answered, LinkId, Remembered};

/// Remembers a batch of so many writes under a number that none had before.
pub(super) fn put(db: &Connection, link: LinkId, slip: &[u8], writes: u32) -> Fallible<i64> {
    super::links::must_exist(db, link)?;
    let mut insert =
        db.prepare_cached("INSERT INTO sent (link, slip, writes) VALUES (?1, ?2, ?3) RETURNING id")?;
    Ok(insert.query_row((link.0, slip, writes), |row| row.get(0))?)
}

/// Takes note of answers; a batch whose writes are all answered goes.
pub(super) fn answer(db: &Connection, answered: &[Answered]) -> Fallible<()> {
    let mut batches: BTreeMap<i64, Vec<Option<u32>>> = BTreeMap::new();
    answered.iter().for_each(|answer| batches.entry(answer.batch).or_default().push(answer.place));
    for (batch, places) in batches {
        let mut select = db.prepare_cached("SELECT writes, answered FROM sent WHERE id = ?1")?;
        let found: Option<(u32, Vec<u8>)> =
            select.query_row([batch], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
        let Some((writes, mut bits)) = found else { continue };
        places.iter().flatten().filter(|place| **place < writes).for_each(|place| set(&mut bits, *place));
        let count: u32 = bits.iter().map(|byte| byte.count_ones()).sum();
        if places.contains(&None) || count >= writes {
            db.prepare_cached("DELETE FROM sent WHERE id = ?1")?.execute([batch])?;
        } else {
            db.prepare_cached("UPDATE sent SET answered = ?2 WHERE id = ?1")?.execute((batch, bits))?;
        }
    }
    Ok(())
}

/// Lists the batches of a link.
pub(super) fn of(db: &Connection, link: LinkId) -> Fallible<Vec<Remembered>> {
    let mut select =
        db.prepare_cached("SELECT id, slip, writes, answered FROM sent WHERE link = ?1 ORDER BY id")?;
    let found = select.query_map([link.0], |row| {
        let (writes, bits): (u32, Vec<u8>) = (row.get(2)?, row.get(3)?);
        let answered: BTreeSet<u32> = (0..writes).filter(|place| is_set(&bits, *place)).collect();
        Ok(Remembered { batch: row.get(0)?, slip: row.get(1)?, answered })
    })?;
    Ok(found.collect::<Result<_, _>>()?)
}

fn set(bits: &mut Vec<u8>, place: u32) {
    let byte = (place / 8) as usize;
    if bits.len() <= byte {
        bits.resize(byte + 1, 0);
    }
    if let Some(byte) = bits.get_mut(byte) {
        *byte |= 1 << (place % 8);
    }
}

fn is_set(bits: &[u8], place: u32) -> bool {
    bits.get((place / 8) as usize).is_some_and(|byte| byte & (1 << (place % 8)) != 0)
}
