//! The step that binds pairs, which had a row each, into sheaves.

use rusqlite::{Connection, Row};

use super::super::pair_row::Stored;
use super::super::sheaf;

/// In the order of sheaves.
const PAIRS: &str = "
SELECT link, key, version, rules_version, load, a_id, b_id,
       a_base, b_base, a_seen, b_seen, a_meta, b_meta, ab, ba
FROM pairs ORDER BY link, key";

const IDS: &str = "
INSERT INTO pair_ids (link, side, id, key) SELECT link, 0, a_id, key FROM pairs WHERE a_id IS NOT NULL;
INSERT INTO pair_ids (link, side, id, key) SELECT link, 1, b_id, key FROM pairs WHERE b_id IS NOT NULL;";

/// Binds all pairs, and takes their table away.
pub(super) fn all(db: &Connection) -> rusqlite::Result<()> {
    db.execute_batch(IDS)?;
    let mut select = db.prepare(PAIRS)?;
    let mut rows = select.query(())?;
    let mut open: Option<Open> = None;
    let mut pair = Vec::new();
    while let Some(row) = rows.next()? {
        let (link, key): (u32, Vec<u8>) = (row.get(0)?, row.get(1)?);
        pair.clear();
        stored(row)?.put(&mut pair);
        let is_full =
            |open: &Open| open.first.len() + open.body.len() + key.len() + pair.len() + 8 > sheaf::BYTES_MAX;
        if open.as_ref().is_none_or(|open| open.link != link || is_full(open)) {
            // The lowest of a link begins before all keys.
            let is_lowest = open.as_ref().is_none_or(|open| open.link != link);
            store(db, open.take())?;
            open = Some(Open {
                link,
                first: if is_lowest { Vec::new() } else { key.clone() },
                body: Vec::new(),
            });
        }
        if let Some(open) = &mut open {
            sheaf::put(&mut open.body, &key, &pair);
        }
    }
    store(db, open)?;
    drop(rows);
    drop(select);
    db.execute_batch("DROP TABLE pairs")
}

struct Open {
    link: u32,
    first: Vec<u8>,
    body: Vec<u8>,
}

fn store(db: &Connection, open: Option<Open>) -> rusqlite::Result<()> {
    let Some(Open { link, first, body }) = open else { return Ok(()) };
    db.prepare_cached("INSERT INTO sheaves (link, first, body) VALUES (?1, ?2, ?3)")?
        .execute((link, first, body))?;
    Ok(())
}

fn stored<'r>(row: &'r Row<'_>) -> rusqlite::Result<Stored<'r>> {
    let text = |at| -> rusqlite::Result<Option<&'r str>> { Ok(row.get_ref(at)?.as_str_or_null()?) };
    let blob = |at| -> rusqlite::Result<Option<&'r [u8]>> { Ok(row.get_ref(at)?.as_blob_or_null()?) };
    Ok(Stored {
        version: row.get(2)?,
        rules_version: row.get(3)?,
        load: row.get(4)?,
        ids: [text(5)?, text(6)?],
        bases: [blob(7)?, blob(8)?],
        seen: [blob(9)?, blob(10)?],
        metas: [blob(11)?, blob(12)?],
        ways: [blob(13)?, blob(14)?],
    })
}
