//! What a reading end has shown within reach of its overlap, so that it is not shown a second time.
//!
//! Only what was decided counts: a page's rows are remembered when its cursor is acknowledged.

use std::collections::HashMap;

use crate::engine::record::Cursor;

/// Rows that are remembered; beyond that they are shown again, which costs time only.
const ROWS_MAX: usize = 100_000;

/// Rows by id: their stamps in seconds, and their hashes.
#[derive(Debug, Default)]
pub struct Shown {
    rows: HashMap<String, (i64, u64)>,
    /// Rows of the last page, until it is decided.
    pending: Option<(Cursor, Vec<ShownRow>)>,
}

/// A row's id, its stamp in seconds, and the hash of what it says.
pub type ShownRow = (String, i64, u64);

impl Shown {
    /// Forgets everything: a read begins anew.
    pub fn clear(&mut self) {
        self.rows.clear();
        self.pending = None;
    }

    /// Tells whether the row was shown and decided just so.
    pub fn is_known(&self, id: &str, stamp: i64, hash: u64) -> bool {
        self.rows.get(id) == Some(&(stamp, hash))
    }

    /// Keeps the rows of a page until its cursor is acknowledged.
    pub fn stage(&mut self, cursor: Cursor, rows: Vec<ShownRow>) {
        self.pending = Some((cursor, rows));
    }

    /// Takes the rows staged under this cursor in, as far as the next pass may show them again (`in_reach`, by
    /// id and stamp). `at_rest` says that this pass is over, so that what is out of reach can be forgotten.
    pub fn ack(&mut self, through: &Cursor, at_rest: bool, in_reach: impl Fn(&str, i64) -> bool) {
        let Some((_, rows)) = self.pending.take_if(|(cursor, _)| cursor == through) else { return };
        if at_rest {
            self.rows.retain(|id, (stamp, _)| in_reach(id, *stamp));
        }
        for (id, stamp, hash) in rows.into_iter().filter(|(id, stamp, _)| in_reach(id, *stamp)) {
            if self.rows.len() >= ROWS_MAX {
                self.rows.clear();
            }
            self.rows.insert(id, (stamp, hash));
        }
    }
}
