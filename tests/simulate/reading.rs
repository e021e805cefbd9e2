//! What a read or a listing of a system shows: by key, by log, or by stamp.

use record_sync::connectors::{Deletes, End, Listing, Page};
use record_sync::engine::record::{Change, Cursor, Side};
use record_sync::planted::{Bug, planted};

use crate::connector::tombstone;
use crate::system::{Row, Sys, key_of};
use crate::world::State;

/// Reads the next page.
pub fn page(state: &mut State, side: Side, after: Option<&Cursor>, limit: usize, short: bool) -> Page {
    let now = state.now();
    let system = state.system(side);
    let page = match system.nature.deletes {
        Deletes::Scanned => scan(system, after, limit, short),
        Deletes::Reported => log(system, after, limit),
        Deletes::Listed => stamps(system, now, after, limit),
    };
    let (count, end) = (page.changes.len(), page.end);
    state.note(|| format!("    {} shows {count} records, {end:?}", side.as_str()));
    page
}

/// Reads the next page of a walk over everything, whatever cursors there are.
pub fn audit(state: &mut State, side: Side, after: Option<&Cursor>, limit: usize, short: bool) -> Page {
    let page = scan(state.system(side), after, limit, short);
    let (count, end) = (page.changes.len(), page.end);
    state.note(|| format!("    {} is audited: {count} records, {end:?}", side.as_str()));
    page
}

/// All records in the order of their keys.
fn scan(system: &Sys, after: Option<&Cursor>, limit: usize, short: bool) -> Page {
    let after: Option<(u8, u64)> = after.map(|cursor| read_two(&cursor.0));
    let mut rows: Vec<&Row> =
        system.rows.values().filter(|row| after.is_none_or(|after| (row.key, row.id) > after)).collect();
    rows.sort_by_key(|row| (row.key, row.id));
    let more = rows.len() > limit;
    rows.truncate(limit);
    if short {
        rows.truncate(rows.len() / 2);
    }
    let end = if more && !short { End::More } else { End::Complete };
    let cursor = rows.last().map(|row| Cursor(format!("{} {}", row.key, row.id)));
    Page { changes: upserts(system, &rows), cursor, end }
}

/// What changed since a place in the log; at first what is there, and only then what was deleted. At rest a
/// cursor is a place in the log; within the first read also where that began.
fn log(system: &Sys, after: Option<&Cursor>, limit: usize) -> Page {
    let place = |text: &str| text.parse::<u64>().expect("our own cursor");
    let (after, start) = match after.map(|cursor| cursor.0.split_once(' ').ok_or(&*cursor.0)) {
        None => (0, Some(system.seq)),
        Some(Ok((after, start))) => (place(after), Some(place(start))),
        Some(Err(after)) => (place(after), None),
    };
    let mut changes: Vec<(u64, Change)> = Vec::new();
    for row in system.rows.values().filter(|row| row.seq > after) {
        changes.push((row.seq, Change::Upsert(system.record(row))));
    }
    for grave in system.graves.iter().filter(|grave| grave.seq > after.max(start.unwrap_or(0))) {
        changes.push((grave.seq, tombstone(&system.nature, grave)));
    }
    changes.sort_by_key(|(seq, _)| *seq);
    let more = changes.len() > limit;
    changes.truncate(limit);
    let last = changes.last().map_or(after, |(seq, _)| *seq);
    let (cursor, end) = match (more, start) {
        (true, Some(start)) => (format!("{last} {start}"), End::More),
        (true, None) => (last.to_string(), End::More),
        (false, Some(start)) => (last.max(start).to_string(), End::Complete),
        (false, None) => (last.to_string(), End::CaughtUp),
    };
    let changes = changes.into_iter().map(|(_, change)| change).collect();
    Page { changes, cursor: Some(Cursor(cursor)), end }
}

/// What changed since a stamp, with an overlap that covers what commits late. At rest a cursor is the
/// stamp up to which all was shown; within a pass also when it began, and where it stands.
fn stamps(system: &Sys, now: i64, after: Option<&Cursor>, limit: usize) -> Page {
    let overlap = if planted(Bug::CursorWithoutOverlap) { 0 } else { system.nature.late_ms as i64 };
    let there = now + system.nature.skew_ms;
    let at: Vec<i64> = after.map_or(Vec::new(), |cursor| {
        cursor.0.split(' ').map(|part| part.parse().expect("our own cursor")).collect()
    });
    let (begun, mut high, from) = match at.as_slice() {
        [] => (there, i64::MIN, (i64::MIN, 0)),
        [high] => (there, *high, (high.saturating_sub(overlap), 0)),
        [begun, high, stamp, _] if planted(Bug::CursorSkipsEqualStamps) => (*begun, *high, (*stamp + 1, 0)),
        [begun, high, stamp, id] => (*begun, *high, (*stamp, *id as u64 + 1)),
        _ => panic!("a cursor of another source"),
    };
    let mut rows: Vec<&Row> = system.rows.values().filter(|row| (row.stamp, row.id) >= from).collect();
    rows.sort_by_key(|row| (row.stamp, row.id));
    let more = rows.len() > limit;
    rows.truncate(limit);
    high = rows.last().map_or(high, |row| row.stamp.max(high));
    let cursor = match rows.last() {
        Some(row) if more => Some(format!("{begun} {high} {} {}", row.stamp, row.id)),
        _ if high == i64::MIN => None,
        _ if planted(Bug::CursorByLocalClock) => Some(now.to_string()),
        // What commits while a pass is under way may be older than what the pass shows last.
        _ => Some(high.min(begun).to_string()),
    };
    let end = if more { End::More } else { End::CaughtUp };
    Page { changes: upserts(system, &rows), cursor: cursor.map(Cursor), end }
}

fn upserts(system: &Sys, rows: &[&Row]) -> Vec<Change> {
    rows.iter().map(|row| Change::Upsert(system.record(row))).collect()
}

/// Enumerates the keys.
pub fn listing(state: &mut State, side: Side, after: Option<&Cursor>, limit: usize, short: bool) -> Listing {
    let system = state.system(side);
    let after: Option<(u8, u64)> = after.map(|cursor| read_two(&cursor.0));
    let mut places: Vec<(u8, u64)> = system.rows.values().map(|row| (row.key, row.id)).collect();
    places.retain(|place| after.is_none_or(|after| *place > after));
    places.sort_unstable();
    let more = places.len() > limit && !short;
    places.truncate(if short { limit.min(places.len()) / 2 } else { limit });
    let cursor = places.last().map(|(key, id)| Cursor(format!("{key} {id}")));
    let keys = places.iter().map(|(key, _)| key_of(*key)).collect();
    Listing { keys, cursor, end: if more { End::More } else { End::Complete } }
}

fn read_two(text: &str) -> (u8, u64) {
    let (key, id) = text.split_once(' ').expect("our own cursor");
    (key.parse().expect("a key"), id.parse().expect("an id"))
}
