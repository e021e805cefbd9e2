//! Walking a table page by page.

use rusqlite::Connection;

use super::super::cell::Cell;
use super::super::order::Order;
use super::{Prepared, Projection};
use crate::engine::record::{Change, Key};

/// Where a walk stands.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Place {
    /// The terms of the order: a walk in another order can't go on from here.
    by: Vec<String>,
    /// The schema's number where VACUUM, which counts it up, would move the rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    schema: Option<i64>,
    pub after: Vec<Cell>,
}

/// Which rows to read: a condition and its values, `?1` first.
pub(super) struct Condition {
    pub sql: String,
    pub values: Vec<Cell>,
}

impl Condition {
    pub fn all() -> Self {
        Self { sql: "1".to_owned(), values: Vec::new() }
    }
}

/// Reads the next page of the whole table. A walk whose order is no longer there begins anew: to
/// show a record again is harmless, to miss one is not.
pub(super) fn page(
    conn: &Connection,
    prepared: &Prepared,
    place: Option<Place>,
    limit: usize,
) -> rusqlite::Result<(Vec<Change>, Option<Place>)> {
    let after = place.and_then(|place| valid(prepared, place));
    let order = &prepared.order;
    let (changes, next) = rows(conn, prepared, order, &Condition::all(), after.as_deref(), limit)?;
    Ok((changes, next.map(|after| placed(prepared, after))))
}

/// Reads up to `limit` rows behind a place in an order, and not many more bytes than a page may hold; gives the place of
/// the last one where the page is full.
pub(super) fn rows(
    conn: &Connection,
    prepared: &Prepared,
    order: &Order,
    condition: &Condition,
    after: Option<&[Cell]>,
    limit: usize,
) -> rusqlite::Result<(Vec<Change>, Option<Vec<Cell>>)> {
    let projection = &prepared.projection;
    let mut changes = Vec::with_capacity(limit.min(10_000));
    let mut bytes = 0;
    let next = run(conn, prepared, projection, order, condition, after, limit, |row| {
        let change = projection.change(row, None)?;
        bytes += change.bytes();
        changes.push(change);
        Ok(bytes >= prepared.page_bytes)
    })?;
    Ok((changes, next))
}

/// Goes through the next keys of all rows that are not marked as deleted.
pub(super) fn list(
    conn: &Connection,
    prepared: &Prepared,
    place: Option<Place>,
    limit: usize,
    mut each: impl FnMut(Key),
) -> rusqlite::Result<Option<Place>> {
    let after = place.and_then(|place| valid(prepared, place));
    let only_keys = Projection::of_key(&prepared.stream);
    let condition = match prepared.stream.is_deleted_sql() {
        Some(deleted) => Condition { sql: format!("NOT {deleted}"), values: Vec::new() },
        None => Condition::all(),
    };
    let next =
        run(conn, prepared, &only_keys, &prepared.order, &condition, after.as_deref(), limit, |row| {
            // A row without a fit key was never a record.
            if let Some(key) = only_keys.key_of(row)? {
                each(key);
            }
            Ok(false)
        })?;
    Ok(next.map(|after| placed(prepared, after)))
}

fn placed(prepared: &Prepared, after: Vec<Cell>) -> Place {
    let order = &prepared.order;
    Place { by: order.terms.clone(), schema: order.renumbered_by_vacuum.then_some(prepared.schema), after }
}

fn valid(prepared: &Prepared, place: Place) -> Option<Vec<Cell>> {
    let order = &prepared.order;
    let unmoved = !order.renumbered_by_vacuum || place.schema == Some(prepared.schema);
    (place.by == order.terms && place.after.len() == order.terms.len() && unmoved).then_some(place.after)
}

/// Goes through rows until there are enough of them, or `each` says so.
#[expect(
    clippy::too_many_arguments,
    reason = "the parts of one statement, in the order in which they stand in it"
)]
fn run(
    conn: &Connection,
    prepared: &Prepared,
    projection: &Projection,
    order: &Order,
    condition: &Condition,
    after: Option<&[Cell]>,
    limit: usize,
    mut each: impl FnMut(&rusqlite::Row<'_>) -> rusqlite::Result<bool>,
) -> rusqlite::Result<Option<Vec<Cell>>> {
    let steps = match after {
        Some(place) => order.behind(place, condition.values.len() + 1),
        None => vec![("1".to_owned(), 0)],
    };
    let mut count = 0;
    for (behind, values) in steps {
        let bound_max = condition.values.len() + values + 1;
        let sql = format!(
            "SELECT {}, {} FROM {} WHERE {} AND {behind} ORDER BY {} LIMIT ?{}",
            projection.select,
            order.list(),
            prepared.stream.table.quoted(),
            condition.sql,
            order.list(),
            bound_max,
        );
        let mut statement = conn.prepare_cached(&sql)?;
        let place = after.unwrap_or_default().iter().take(values);
        for (at, cell) in condition.values.iter().chain(place).enumerate() {
            statement.raw_bind_parameter(at + 1, cell)?;
        }
        statement.raw_bind_parameter(bound_max, (limit - count) as i64)?;
        let mut rows = statement.raw_query();
        while let Some(row) = rows.next()? {
            let is_full = each(row)?;
            count += 1;
            if is_full || count == limit {
                let place =
                    (0..order.terms.len()).map(|at| row.get_ref(projection.width + at).map(Cell::from));
                return place.collect::<rusqlite::Result<_>>().map(Some);
            }
        }
    }
    Ok(None)
}
