//! Bulk loads. The table holds those that have not ended, so a pair whose load is not there counts.

use rusqlite::{Connection, TransactionBehavior};

use super::job_row::{direction_code, direction_of};
use super::sheaves;
use super::trouble::Fallible;
use crate::engine::record::Direction;
use crate::store::{LinkId, LoadId, OpenLoad};

/// Begins a load under a number that no load has had before.
pub(super) fn begin(
    db: &Connection,
    link: LinkId,
    direction: Direction,
    mark: Option<String>,
) -> Fallible<LoadId> {
    super::links::must_exist(db, link)?;
    end_over(db, Some(link))?;
    let mut insert =
        db.prepare_cached("INSERT INTO loads (link, direction, mark) VALUES (?1, ?2, ?3) RETURNING id")?;
    Ok(LoadId(insert.query_row((link.0, direction_code(direction), mark), |row| row.get(0))?))
}

/// Ends a load: its pairs count.
pub(super) fn end(db: &Connection, load: LoadId) -> Fallible<()> {
    db.prepare_cached("DELETE FROM loads WHERE id = ?1")?.execute([load.0])?;
    Ok(())
}

/// Leaves the loads void that were under way when the last daemon ended: their links are matched again.
pub(super) fn leave_void(db: &mut Connection) -> Fallible<()> {
    let change = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    end_over(&change, None)?;
    change.execute("UPDATE links SET matched = 0 WHERE id IN (SELECT link FROM loads)", ())?;
    Ok(change.commit()?)
}

/// Ends the loads whose pairs have all been stored anew since: they are over, whatever became of them. To find that out
/// is a walk along the link's pairs, but only after a load was broken off.
fn end_over(db: &Connection, of: Option<LinkId>) -> Fallible<()> {
    let mut select = db.prepare_cached("SELECT id, link FROM loads WHERE ?1 IS NULL OR link = ?1")?;
    let found = select.query_map([of.map(|link| link.0)], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let found: Vec<(u32, u32)> = found.collect::<Result<_, _>>()?;
    for (id, link) in found {
        let mut is_over = true;
        sheaves::each(db, LinkId(link), None, |_, stored| {
            is_over = stored.load != Some(id);
            Ok(is_over)
        })?;
        if is_over {
            end(db, LoadId(id))?;
        }
    }
    Ok(())
}

/// Lists the loads that have not ended, oldest first: of one link, or of all.
pub(super) fn open(db: &Connection, of: Option<LinkId>) -> Fallible<Vec<OpenLoad>> {
    let mut select =
        db.prepare_cached("SELECT id, direction, mark FROM loads WHERE ?1 IS NULL OR link = ?1 ORDER BY id")?;
    let mut rows = select.query([of.map(|link| link.0)])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let direction = direction_of(row.get(1)?)?;
        found.push(OpenLoad { id: LoadId(row.get(0)?), direction, mark: row.get(2)? });
    }
    Ok(found)
}
