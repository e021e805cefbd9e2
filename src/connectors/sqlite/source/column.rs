//! Reading what a stamp column says is newer.
//!
//! The first read walks the whole table. Every later pass reads from the newest stamp of the pass
//! before, less the overlap, up to the newest stamp that stood there when it began; so a row of a
//! transaction that was committed late is met as long as its stamp is not older than the overlap.
//! Rows whose stamp can't be laid in that order (NULL, another storage class, more than a day ahead
//! of time) are read in every pass, and never move the cursor.
//!
//! Invariant: cursors are made of stamps that stand in the table, never of a clock.

use std::time::Duration;

use rusqlite::{Connection, params_from_iter};

use super::super::cell::Cell;
use super::super::db::FileIdentity;
use super::super::stamp;
use super::walk::{self, Condition, Place};
use super::{Failure, Piece, Prepared};
use crate::connectors::End;
use crate::engine::reading::{Overlap, Reach};
use crate::engine::record::{Change, Timestamp};

/// Stamps further ahead of our clock than this are slips (the year 9999); if they moved the cursor,
/// nothing would ever be newer again.
pub(super) const FUTURE: Duration = Duration::from_secs(24 * 3600);

#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Mark {
    /// The first walk, as long as it is under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    scan: Option<Place>,
    /// The newest stamp through which everything was shown.
    pub high: Option<Cell>,
    /// The pass under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pass: Option<Pass>,
    /// The newest rows, stamp first, then the key.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub witnesses: Vec<Vec<Cell>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: FileIdentity,
    #[serde(default, skip_serializing_if = "Overlap::is_none")]
    pub overlap: Overlap,
}

impl Mark {
    /// Tells how far a cursor at rest has read.
    pub fn reach(&self, least: Duration) -> Option<Reach> {
        let high = self.high.as_ref().filter(|_| self.scan.is_none())?;
        let from = stamp::earlier(high, self.overlap.length(least));
        let (newest, from) = (stamp::moment(high)?, stamp::moment(&from)?);
        Some(Reach { newest, from, overlap: self.overlap, least })
    }
}

#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Pass {
    /// The schema's number: VACUUM, which counts it up, moves rows, and the pass begins anew.
    schema: i64,
    floor: Option<Cell>,
    until: Option<Cell>,
    /// The stamped rows are through, the others follow.
    odd: bool,
    place: Option<Vec<Cell>>,
}

pub(super) struct Reader<'c> {
    pub conn: &'c Connection,
    pub prepared: &'c Prepared,
    pub horizon: Timestamp,
    pub identity: FileIdentity,
}

impl Reader<'_> {
    pub fn read(&self, mark: Option<Mark>, limit: usize) -> Result<Piece, Failure> {
        let transaction = self.conn.unchecked_transaction()?;
        let piece = match mark {
            None => {
                let high = self.newest()?;
                self.walk(None, high, limit)
            }
            Some(Mark { scan: Some(place), high, .. }) => self.walk(Some(place), high, limit),
            Some(mark) => self.pass(mark, limit),
        };
        transaction.finish()?;
        piece
    }

    /// One page of the first walk over everything.
    fn walk(&self, place: Option<Place>, high: Option<Cell>, limit: usize) -> Result<Piece, Failure> {
        let begins = place.is_none();
        let (changes, next) = walk::page(self.conn, self.prepared, place, limit)?;
        match next {
            None => self.finish(changes, high, Overlap::default(), begins),
            Some(place) => {
                let (witnesses, overlap, file) = (Vec::new(), Overlap::default(), self.identity);
                let mark = Mark { scan: Some(place), high, pass: None, witnesses, file, overlap };
                Ok(Piece { changes, mark: Some(super::Mark::Column(mark)), end: End::More, begins })
            }
        }
    }

    /// One page of a later pass.
    fn pass(&self, mut mark: Mark, limit: usize) -> Result<Piece, Failure> {
        let begins = mark.pass.is_none();
        let mut pass = match mark.pass.take().filter(|pass| pass.schema == self.prepared.schema) {
            Some(pass) => pass,
            None => self.begin(&mark)?,
        };
        let mut changes = Vec::new();
        if !pass.odd {
            let next = self.stamped(&pass, limit, &mut changes)?;
            pass.odd = next.is_none();
            pass.place = next;
        }
        if pass.odd && changes.len() < limit {
            let after = pass.place.as_deref();
            let left = limit - changes.len();
            let order = &self.prepared.order;
            let (odd, next) = walk::rows(self.conn, self.prepared, order, &self.odd(&pass), after, left)?;
            changes.extend(odd);
            if next.is_none() {
                return self.finish(changes, pass.until, mark.overlap, begins);
            }
            pass.place = next;
        }
        let mark = super::Mark::Column(Mark { pass: Some(pass), ..mark });
        Ok(Piece { changes, mark: Some(mark), end: End::More, begins })
    }

    fn begin(&self, mark: &Mark) -> Result<Pass, Failure> {
        let until = self.newest()?;
        let mut from = mark.high.clone();
        if let (Some(high), Some(newest)) = (&mark.high, &until) {
            let is_behind = before(newest, high);
            let seen_back = self.check_restored(mark, is_behind)?;
            // The newest rows were deleted, or the clock stepped back: what comes next may be stamped
            // before them.
            if is_behind {
                from = until.clone();
            }
            from = seen_back.filter(|back| before(back, high)).or(from);
        }
        let floor =
            from.map(|high| stamp::earlier(&high, mark.overlap.length(self.prepared.stream.options.overlap)));
        Ok(Pass { schema: self.prepared.schema, floor, until, odd: false, place: None })
    }

    /// Ends a pass that showed everything through `high`.
    fn finish(
        &self,
        changes: Vec<Change>,
        high: Option<Cell>,
        overlap: Overlap,
        begins: bool,
    ) -> Result<Piece, Failure> {
        let newest = self.newest()?;
        let more = match (&newest, &high) {
            (Some(newest), Some(high)) => before(high, newest),
            (newest, _) => newest.is_some(),
        };
        let witnesses = self.witnesses(high.as_ref())?;
        let mark = Mark { scan: None, high, pass: None, witnesses, file: self.identity, overlap };
        let end = if more { End::More } else { End::CaughtUp };
        Ok(Piece { changes, mark: Some(super::Mark::Column(mark)), end, begins })
    }

    fn stamped(
        &self,
        pass: &Pass,
        limit: usize,
        changes: &mut Vec<Change>,
    ) -> Result<Option<Vec<Cell>>, Failure> {
        let Some(until) = &pass.until else { return Ok(None) };
        let stamp = self.stamp();
        let order = self.prepared.order.by_stamp(&self.prepared.stream.table, stamp.clone());
        let condition = match &pass.floor {
            Some(floor) => Condition {
                sql: format!("{stamp} >= ?1 AND {stamp} <= ?2"),
                values: vec![floor.clone(), until.clone()],
            },
            None => Condition { sql: format!("{stamp} <= ?1"), values: vec![until.clone()] },
        };
        let (rows, next) =
            walk::rows(self.conn, self.prepared, &order, &condition, pass.place.as_deref(), limit)?;
        changes.extend(rows);
        Ok(next)
    }

    /// Rows that no pass meets by their stamp.
    fn odd(&self, pass: &Pass) -> Condition {
        let stamp = self.stamp();
        let ahead = pass.until.as_ref().and_then(|until| stamp::at_moment(until, self.horizon));
        match &pass.until {
            Some(Cell::Text(_)) => Condition {
                sql: format!("({stamp} IS NULL OR {stamp} < '' OR {stamp} > ?1)"),
                values: vec![ahead.unwrap_or(Cell::Blob(Vec::new()))],
            },
            Some(_) => Condition {
                sql: format!("({stamp} IS NULL OR {stamp} > ?1)"),
                values: vec![ahead.unwrap_or(Cell::Text(String::new()))],
            },
            // No stamp to go by: everything.
            None => Condition::all(),
        }
    }

    /// Finds the newest stamp that may move the cursor. Text goes before numbers: where both stand
    /// in a column, the numbers are slips.
    fn newest(&self) -> Result<Option<Cell>, Failure> {
        let (stamp, table) = (self.stamp(), self.prepared.stream.table.quoted());
        let max = |condition: &str, limit: Option<&Cell>| -> rusqlite::Result<Option<Cell>> {
            let sql = format!("SELECT max({stamp}) FROM {table} WHERE {condition}");
            let found: Cell = self
                .conn
                .prepare_cached(&sql)?
                .query_row(params_from_iter(limit), |row| Ok(Cell::from(row.get_ref(0)?)))?;
            Ok(Some(found).filter(|cell| *cell != Cell::Null))
        };
        for class in [format!("{stamp} >= '' AND {stamp} < x''"), format!("{stamp} < ''")] {
            let Some(newest) = max(&class, None)? else { continue };
            match stamp::at_moment(&newest, self.horizon) {
                Some(horizon) if before(&horizon, &newest) => {
                    if let Some(sober) = max(&format!("{class} AND {stamp} <= ?1"), Some(&horizon))? {
                        return Ok(Some(sober));
                    }
                }
                _ => return Ok(Some(newest)),
            }
        }
        Ok(None)
    }

    pub fn stamp(&self) -> String {
        let stream = &self.prepared.stream;
        stream.updated_at.map(|at| stream.table.quoted_column(at)).unwrap_or_default()
    }

    pub fn key(&self) -> Vec<String> {
        let stream = &self.prepared.stream;
        stream.key.iter().map(|at| stream.table.quoted_column(*at)).collect()
    }
}

/// Compares as SQLite sorts: nothing, numbers, text, bytes.
pub(super) fn before(left: &Cell, right: &Cell) -> bool {
    let class = |cell: &Cell| match cell {
        Cell::Null => 0,
        Cell::Int(_) | Cell::Real(_) => 1,
        Cell::Text(_) | Cell::RawText(_) => 2,
        Cell::Blob(_) => 3,
    };
    let number = |cell: &Cell| match cell {
        Cell::Int(int) => *int as f64,
        Cell::Real(bits) => f64::from_bits(*bits),
        _ => 0.0,
    };
    match (left, right) {
        (Cell::Int(left), Cell::Int(right)) => left < right,
        (Cell::Text(left), Cell::Text(right)) => left < right,
        (Cell::RawText(left) | Cell::Blob(left), Cell::RawText(right) | Cell::Blob(right)) => left < right,
        _ if class(left) != class(right) => class(left) < class(right),
        _ => number(left) < number(right),
    }
}
