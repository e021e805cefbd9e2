//! Whether the database was put back to an older state.

use rusqlite::{OptionalExtension, params_from_iter};

use super::super::cell::Cell;
use super::super::stamp;
use super::column::{Mark, Reader, before};
use super::{Failure, ahead};
use crate::engine::reading::{Fate, WITNESSES, went_back};

impl Reader<'_> {
    /// Names the newest rows through `high`: the stamp, then the key.
    pub fn witnesses(&self, high: Option<&Cell>) -> Result<Vec<Vec<Cell>>, Failure> {
        let Some(high) = high else { return Ok(Vec::new()) };
        let (stamp, table) = (self.stamp(), self.prepared.stream.table.quoted());
        let sql = format!(
            "SELECT {stamp}, {} FROM {table} WHERE {stamp} <= ?1 ORDER BY {stamp} DESC LIMIT {WITNESSES}",
            self.key().join(", ")
        );
        let width = self.key().len() + 1;
        let mut statement = self.conn.prepare_cached(&sql)?;
        let rows = statement
            .query_map([high], |row| (0..width).map(|at| row.get_ref(at).map(Cell::from)).collect())?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// Refuses to go on in a database that was put back. `is_behind`: its newest stamp is older than what
    /// was read; else rows have been written since. Gives the oldest stamp of a witness that went back alone:
    /// it was edited under a clock that had stepped back.
    pub fn check_restored(&self, mark: &Mark, is_behind: bool) -> Result<Option<Cell>, Failure> {
        let table = &self.prepared.stream.table;
        let replaced = mark.file.is_some() && mark.file != self.identity;
        if replaced && is_behind {
            return Err(ahead(
                &table.name,
                "another file stands in its place, and its newest rows are older",
            ));
        }
        // Eight looks at every pass are too dear where each reads the whole table.
        if !is_behind && !table.key_indexed(&self.prepared.stream.key) {
            return Ok(None);
        }
        let (fates, oldest) = self.fates(mark)?;
        match went_back(&fates, is_behind) {
            Some(what) => Err(ahead(&table.name, what)),
            None => Ok(oldest),
        }
    }

    fn fates(&self, mark: &Mark) -> Result<(Vec<Fate>, Option<Cell>), Failure> {
        let (stamp, table) = (self.stamp(), self.prepared.stream.table.quoted());
        let matches: Vec<String> =
            self.key().iter().enumerate().map(|(at, column)| format!("{column} IS ?{}", at + 1)).collect();
        let sql = format!("SELECT max({stamp}) FROM {table} WHERE {} HAVING count(*)", matches.join(" AND "));
        let mut statement = self.conn.prepare_cached(&sql)?;
        let mut fates = Vec::with_capacity(mark.witnesses.len());
        let mut oldest: Option<Cell> = None;
        for witness in &mark.witnesses {
            let Some((then, key)) = witness.split_first() else { continue };
            let now: Option<Cell> = statement
                .query_row(params_from_iter(key), |row| Ok(Cell::from(row.get_ref(0)?)))
                .optional()?;
            // A clock that is set by a little is no backup, and what it stamps is within the overlap.
            let overlap = mark.overlap.length(self.prepared.stream.options.overlap);
            let limit = stamp::earlier(then, overlap);
            fates.push(match now {
                None => Fate::Gone,
                Some(now) if now == *then => Fate::Stands,
                Some(Cell::Null) => Fate::Moved,
                Some(now) if before(&now, &limit) => {
                    oldest = Some(oldest.filter(|oldest| before(oldest, &now)).unwrap_or(now));
                    Fate::Back
                }
                Some(_) => Fate::Moved,
            });
        }
        Ok((fates, oldest))
    }
}
