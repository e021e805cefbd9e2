//! `known`: pairs by key.
//!
//! A scan asks for keys that lie together: one walk along the table then serves them all, in step
//! with the wanted keys. Where too much else lies between them, each is looked up by itself.

use rusqlite::Connection;

use super::Session;
use super::pair_row::{COLUMNS, Reading, blob};
use super::trouble::{Fallible, damaged};
use crate::engine::plan::Pair;
use crate::engine::record::Key;
use crate::store::LinkId;

/// A walk begins to pay off at so many keys.
const WALK_KEYS_MIN: usize = 8;
/// Stepping over a row costs about a quarter of a look-up.
const STEPS_A_KEY: usize = 4;

pub(super) fn known(session: &mut Session, link: LinkId, keys: &[Key]) -> Fallible<Vec<Option<Pair>>> {
    let Session { db, shapes, .. } = session;
    let mut reading = Reading::new(db, shapes)?;
    // Most often the keys come sorted, and this does nothing.
    let mut order: Vec<usize> = (0..keys.len()).collect();
    order.sort_by_key(|&at| keys.get(at));
    let wanted: Vec<(usize, &Key)> = order.iter().filter_map(|&at| Some((at, keys.get(at)?))).collect();
    let mut found: Vec<Option<Pair>> = vec![None; keys.len()];
    let mut rest = wanted.as_slice();
    if wanted.len() >= WALK_KEYS_MIN {
        rest = walk_along(db, &mut reading, link, rest, &mut found)?;
    }
    for &(at, key) in rest {
        let pair = reading.find(link, key)?;
        if let Some(place) = found.get_mut(at) {
            *place = pair;
        }
    }
    Ok(found)
}

/// Walks from the first wanted key to the last; gives back the keys that it did not come to before
/// it had stepped over too many rows.
fn walk_along<'w>(
    db: &Connection,
    reading: &mut Reading<'_>,
    link: LinkId,
    wanted: &'w [(usize, &'w Key)],
    found: &mut [Option<Pair>],
) -> Fallible<&'w [(usize, &'w Key)]> {
    let (Some((_, first)), Some((_, last))) = (wanted.first(), wanted.last()) else { return Ok(wanted) };
    let mut select = db.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM pairs WHERE link = ?1 AND key BETWEEN ?2 AND ?3 ORDER BY key"
    ))?;
    let mut rows = select.query((link.0, first.as_bytes(), last.as_bytes()))?;
    let mut rest = wanted;
    let mut steps = wanted.len() * STEPS_A_KEY;
    while let Some(row) = rows.next()? {
        let key = blob(row, 0)?.ok_or_else(|| damaged("a key"))?;
        while let [(_, next), tail @ ..] = rest
            && next.as_bytes() < key
        {
            rest = tail;
        }
        if !matches!(rest, [(_, next), ..] if next.as_bytes() == key) {
            let Some(left) = steps.checked_sub(1) else { return Ok(rest) };
            steps = left;
            continue;
        }
        let pair = reading.pair(row)?;
        // The same key may be wanted more than once.
        while let [(at, next), tail @ ..] = rest
            && next.as_bytes() == key
        {
            if let Some(place) = found.get_mut(*at) {
                *place = Some(pair.clone());
            }
            rest = tail;
        }
    }
    Ok(&[])
}
