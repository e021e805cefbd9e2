//! Finding rows by their canonical key.

use std::collections::{HashMap, HashSet};

use rusqlite::{Connection, params_from_iter};
use unicode_normalization::UnicodeNormalization;

use super::super::catalogue::Affinity;
use super::super::cell::Cell;
use super::super::options::Stream;
use super::super::source::Projection;
use crate::engine::record::{Key, Number, Record, Value};

/// A row that has the key.
pub(super) struct Found {
    /// Values of the locator: the row's number or its primary key.
    pub place: Vec<Cell>,
    /// The row, or why it is no record.
    pub record: Result<Record, String>,
    /// It carries the deletion mark.
    pub deleted: bool,
}

/// Finds rows inside one transaction.
///
/// A key is canonical, a row is not: the same key may be stored as 7 or '7', composed or decomposed.
/// So rows are asked for in every form that fits the column, and count only where their key is
/// the same.
pub(super) struct Finder<'c> {
    conn: &'c Connection,
    stream: &'c Stream,
    projection: &'c Projection,
    /// Columns by which a row is named exactly.
    locator: Vec<String>,
    /// Places of the expected keys, for a table whose key has no index: read once a batch.
    sweep: Option<HashMap<Key, Vec<Vec<Cell>>>>,
    expected: HashSet<Key>,
    /// The last query by key: how many forms each part had, and its text. Nearly all are alike.
    last: (Vec<usize>, String),
}

impl<'c> Finder<'c> {
    pub fn new(
        conn: &'c Connection,
        stream: &'c Stream,
        projection: &'c Projection,
    ) -> rusqlite::Result<Self> {
        let table = &stream.table;
        let columns = |at: &[usize]| at.iter().map(|at| table.quoted_column(*at)).collect();
        let locator = match (table.rowid, table.rowid_alias) {
            (Some(rowid), _) => vec![rowid.to_owned()],
            (None, Some(alias)) => columns(&[alias]),
            (None, None) if !table.primary_key.is_empty() => columns(&table.primary_key),
            // A view: only looked up, never written.
            (None, None) => columns(&stream.key),
        };
        let last = (Vec::new(), String::new());
        Ok(Self { conn, stream, projection, locator, sweep: None, expected: HashSet::new(), last })
    }

    /// Says which keys will be asked for; where the key has no index, this reads the table.
    pub fn expect(&mut self, keys: &[&Key]) -> rusqlite::Result<()> {
        if !self.stream.table.key_indexed(&self.stream.key) {
            let keys = keys.iter().map(|key| (*key).clone()).collect();
            self.sweep = Some(self.swept(&keys)?);
            self.expected = keys;
        }
        Ok(())
    }

    /// Reads the whole table for the places of some keys.
    fn swept(&self, keys: &HashSet<Key>) -> rusqlite::Result<HashMap<Key, Vec<Vec<Cell>>>> {
        let key = Projection::of_key(self.stream);
        let sql =
            format!("SELECT {}, {} FROM {}", key.select, self.locator.join(", "), self.stream.table.quoted());
        let mut statement = self.conn.prepare_cached(&sql)?;
        let mut rows = statement.query([])?;
        let mut sweep: HashMap<Key, Vec<Vec<Cell>>> = HashMap::new();
        while let Some(row) = rows.next()? {
            let Some(found) = key.key_of(row)?.filter(|found| keys.contains(found)) else { continue };
            let place = (0..self.locator.len()).map(|at| row.get_ref(key.width + at).map(Cell::from));
            sweep.entry(found).or_default().push(place.collect::<rusqlite::Result<_>>()?);
        }
        Ok(sweep)
    }

    /// Learns that we have just inserted a row.
    pub fn inserted(&mut self, key: &Key) {
        let Some(sweep) = &mut self.sweep else { return };
        let table = &self.stream.table;
        if table.rowid.is_some() || table.rowid_alias.is_some() {
            sweep.insert(key.clone(), vec![vec![Cell::Int(self.conn.last_insert_rowid())]]);
            self.expected.insert(key.clone());
        } else {
            self.expected.remove(key);
        }
    }

    /// Learns that we have just deleted the row.
    pub fn deleted(&mut self, key: &Key) {
        if let Some(sweep) = &mut self.sweep {
            sweep.remove(key);
        }
    }

    /// Returns the rows that have the key.
    pub fn find(&mut self, key: &Key) -> rusqlite::Result<Vec<Found>> {
        if self.sweep.is_some() && !self.expected.contains(key) {
            let places = self.swept(&HashSet::from([key.clone()]))?;
            self.sweep.get_or_insert_default().extend(places);
            self.expected.insert(key.clone());
        }
        match &self.sweep {
            Some(sweep) => {
                let sql = self.query(&self.locate(1));
                let places = sweep.get(key).cloned().unwrap_or_default();
                let mut found = Vec::new();
                for place in places {
                    found.extend(self.rows(&sql, &place, key)?);
                }
                Ok(found)
            }
            None => {
                let (mut counts, mut values) = (Vec::with_capacity(self.stream.key.len()), Vec::new());
                for (part, at) in key.parts().iter().zip(&self.stream.key) {
                    let affinity =
                        self.stream.table.columns.get(*at).map_or(Affinity::None, |column| column.affinity);
                    let before = values.len();
                    values.extend(forms(part, affinity));
                    counts.push(values.len() - before);
                }
                if self.last.0 != counts {
                    let sql = self.query(&self.by_key(&counts));
                    self.last = (counts, sql);
                }
                self.rows(&self.last.1, &values, key)
            }
        }
    }

    /// Returns the condition that a key has one of so many forms in each of its parts.
    fn by_key(&self, counts: &[usize]) -> String {
        let mut bound = 0;
        let parts = counts.iter().zip(&self.stream.key).map(|(count, at)| {
            let marks: Vec<String> = (1..=*count).map(|form| format!("?{}", bound + form)).collect();
            bound += count;
            format!("{} IN ({})", self.stream.table.quoted_column(*at), marks.join(", "))
        });
        parts.collect::<Vec<_>>().join(" AND ")
    }

    fn query(&self, condition: &str) -> String {
        format!(
            "SELECT {}, {} FROM {} WHERE {condition}",
            self.projection.select,
            self.locator.join(", "),
            self.stream.table.quoted()
        )
    }

    fn rows(&self, sql: &str, values: &[Cell], key: &Key) -> rusqlite::Result<Vec<Found>> {
        let mut statement = self.conn.prepare_cached(sql)?;
        let mut rows = statement.query(params_from_iter(values))?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            if self.projection.key_of(row)?.as_ref() != Some(key) {
                continue;
            }
            let place =
                (0..self.locator.len()).map(|at| row.get_ref(self.projection.width + at).map(Cell::from));
            found.push(Found {
                place: place.collect::<rusqlite::Result<_>>()?,
                record: self.projection.record(row)?,
                deleted: self.projection.is_deleted(row)?,
            });
        }
        Ok(found)
    }

    /// Returns the condition that names one row, its values bound from `?first` on.
    pub fn locate(&self, first: usize) -> String {
        let terms: Vec<String> =
            self.locator.iter().enumerate().map(|(at, name)| format!("{name} IS ?{}", first + at)).collect();
        terms.join(" AND ")
    }
}

/// Returns the forms in which a key's part may be stored in a column. Comparing with a column that
/// prefers numbers turns the text into one by itself.
fn forms(part: &str, affinity: Affinity) -> Vec<Cell> {
    let mut forms = vec![Cell::Text(part.to_owned())];
    if !part.is_ascii() {
        forms.push(Cell::Text(part.nfd().collect()));
    }
    if affinity == Affinity::None {
        match Number::parse(part) {
            Some(Value::Int(int)) => forms.push(Cell::Int(int)),
            Some(Value::Number(number)) => forms.push(Cell::Real(number.to_f64().to_bits())),
            _ => {}
        }
    }
    forms
}
