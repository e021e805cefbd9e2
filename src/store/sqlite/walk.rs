//! Pairs at large: in key order, by remote id, across links.

use rusqlite::Connection;

use super::Session;
use super::pair_row::{BARE_COLUMNS, COLUMNS, Reading};
use super::trouble::Fallible;
use super::{links, load};
use crate::engine::plan::Pair;
use crate::engine::record::{Key, RemoteId, Side};
use crate::store::{LinkId, Sums};

/// Walks the pairs of a link after a key.
pub(super) fn walk(
    session: &mut Session,
    link: LinkId,
    after: Option<&Key>,
    limit: usize,
) -> Fallible<Vec<Pair>> {
    let Session { db, shapes, .. } = session;
    let mut reading = Reading::new(db, shapes)?;
    let sql = format!("SELECT {COLUMNS} FROM pairs WHERE link = ?1 AND key > ?2 ORDER BY key LIMIT ?3");
    let mut select = db.prepare_cached(&sql)?;
    // No key is empty, so all of them come after nothing.
    let after = after.map_or(&[][..], Key::as_bytes);
    let mut rows = select.query((link.0, after, i64::try_from(limit).unwrap_or(i64::MAX)))?;
    let mut pairs = Vec::new();
    while let Some(row) = rows.next()? {
        pairs.push(reading.pair(row)?);
    }
    Ok(pairs)
}

/// Adds up pairs of a link after a key, without making them; gives the last where there may be more.
pub(super) fn sums(
    session: &mut Session,
    link: LinkId,
    after: Option<&Key>,
    limit: usize,
) -> Fallible<(Sums, Option<Key>)> {
    let Session { db, shapes, .. } = session;
    let reading = Reading::new(db, shapes)?;
    let mut select = db.prepare_cached(&format!(
        "SELECT {BARE_COLUMNS} FROM pairs WHERE link = ?1 AND key > ?2 ORDER BY key LIMIT ?3"
    ))?;
    let after = after.map_or(&[][..], Key::as_bytes);
    let mut rows = select.query((link.0, after, i64::try_from(limit).unwrap_or(i64::MAX)))?;
    let (mut sums, mut count) = (Sums::default(), 0);
    let mut last = None;
    while let Some(row) = rows.next()? {
        let (key, state) = reading.bare(row)?;
        for ((state, presence), epoch) in state.into_iter().zip(&mut sums.presence).zip(&mut sums.epochs) {
            if state.is_there {
                presence.add(Key::hash64_of(key));
            }
            *epoch = state.epoch.max(*epoch);
        }
        count += 1;
        if count == limit {
            last = Some(Key::from_bytes(key));
        }
    }
    Ok((sums, last))
}

/// Finds the pairs of one key in all links; a point look-up each.
pub(super) fn find(session: &mut Session, key: &Key) -> Fallible<Vec<(LinkId, Pair)>> {
    let Session { db, shapes, .. } = session;
    let ids: Vec<LinkId> = links::all(db)?.into_iter().map(|state| state.id).collect();
    let mut reading = Reading::new(db, shapes)?;
    let mut found = Vec::new();
    for link in ids {
        if let Some(pair) = reading.find(link, key)? {
            found.push((link, pair));
        }
    }
    Ok(found)
}

/// Finds the keys of pairs by their remote ids; of several the first in key order. A destination
/// that a load has only staged has no ids yet.
pub(super) fn keys_by_id(
    db: &Connection,
    link: LinkId,
    side: Side,
    ids: &[RemoteId],
) -> Fallible<Vec<Option<Key>>> {
    let staged: Vec<u32> = load::open(db, None)?
        .into_iter()
        .filter(|load| load.direction.to() == side)
        .map(|load| load.id.0)
        .collect();
    // Left to itself, the planner walks the whole link for the sake of the order.
    let mut select = db.prepare_cached(match side {
        Side::A => {
            "SELECT key, load FROM pairs INDEXED BY pairs_a_id WHERE link = ?1 AND a_id = ?2 ORDER BY key"
        }
        Side::B => {
            "SELECT key, load FROM pairs INDEXED BY pairs_b_id WHERE link = ?1 AND b_id = ?2 ORDER BY key"
        }
    })?;
    let mut keys = Vec::with_capacity(ids.len());
    for id in ids {
        let mut rows = select.query((link.0, id.as_str()))?;
        let mut key = None;
        while let Some(row) = rows.next()? {
            let load: Option<u32> = row.get(1)?;
            if !load.is_some_and(|load| staged.contains(&load)) {
                let bytes: Vec<u8> = row.get(0)?;
                key = Some(Key::from_bytes(&bytes));
                break;
            }
        }
        keys.push(key);
    }
    Ok(keys)
}
