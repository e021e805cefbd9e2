//! Which pairs have which remote ids.

use rusqlite::Connection;

use super::load;
use super::sheaves;
use super::trouble::Fallible;
use crate::engine::record::{Key, RemoteId, Side};
use crate::store::LinkId;

/// Notes that a pair has another id on a side than before.
pub(super) fn change(
    db: &Connection,
    link: LinkId,
    side: Side,
    key: &[u8],
    (old, new): (Option<&str>, Option<&str>),
) -> Fallible<()> {
    if old == new {
        return Ok(());
    }
    if let Some(old) = old {
        db.prepare_cached("DELETE FROM pair_ids WHERE link = ?1 AND side = ?2 AND id = ?3 AND key = ?4")?
            .execute((link.0, code(side), old, key))?;
    }
    if let Some(new) = new {
        db.prepare_cached("INSERT INTO pair_ids (link, side, id, key) VALUES (?1, ?2, ?3, ?4)")?
            .execute((link.0, code(side), new, key))?;
    }
    Ok(())
}

/// Finds the keys of pairs by their remote ids; of several the first in key order. A destination
/// that a load has only staged has no ids yet.
pub(super) fn keys(
    db: &Connection,
    link: LinkId,
    side: Side,
    ids: &[RemoteId],
) -> Fallible<Vec<Option<Key>>> {
    let open = load::open(db, None)?.into_iter().filter(|load| load.direction.to() == side);
    let staged: Vec<u32> = open.map(|load| load.id.0).collect();
    let mut select =
        db.prepare_cached("SELECT key FROM pair_ids WHERE link = ?1 AND side = ?2 AND id = ?3 ORDER BY key")?;
    let mut keys = Vec::with_capacity(ids.len());
    for id in ids {
        let mut rows = select.query((link.0, code(side), id.as_str()))?;
        let mut key = None;
        while let Some(row) = rows.next()? {
            let found = Key::from_bytes(&row.get::<_, Vec<u8>>(0)?);
            let is_staged = !staged.is_empty()
                && sheaves::load_of(db, link, &found)?.is_some_and(|load| staged.contains(&load));
            if !is_staged {
                key = Some(found);
                break;
            }
        }
        keys.push(key);
    }
    Ok(keys)
}

/// As the table has it.
pub(super) fn code(side: Side) -> u8 {
    side as u8
}
