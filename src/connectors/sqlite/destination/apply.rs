//! One delivery inside a transaction.

use rusqlite::{CachedStatement, Connection};

use super::super::options::Stream;
use super::super::wire::{self, Stored};
use super::find::{Finder, Found};
use super::refusal::Refusals;
use super::target::Target;
use crate::connectors::{Delivery, Outcome, Write};
use crate::engine::fault::Fault;
use crate::engine::record::{Key, Meta, Record, Value, Values};

/// What the row becomes, as far as it can be told without asking.
#[derive(Default)]
struct Forecast {
    /// Positions that are stored otherwise than sent.
    becomes: Vec<(usize, Value)>,
    ask: bool,
}

pub(super) struct Writer<'c> {
    conn: &'c Connection,
    stream: &'c Stream,
    target: &'c Target,
    finder: Finder<'c>,
    /// The insert of the records before this one, with its positions: most records of a batch have
    /// the same.
    insert: Option<(Vec<usize>, CachedStatement<'c>)>,
    present: Vec<usize>,
}

impl<'c> Writer<'c> {
    pub fn new(conn: &'c Connection, stream: &'c Stream, target: &'c Target) -> rusqlite::Result<Self> {
        let finder = Finder::new(conn, stream, &target.projection)?;
        Ok(Self { conn, stream, target, finder, insert: None, present: Vec::new() })
    }

    fn refuse(&self) -> Refusals<'c> {
        Refusals { table: &self.stream.table, target: self.target }
    }

    /// Says which keys come.
    pub fn expect(&mut self, keys: &[&Key]) -> rusqlite::Result<()> {
        self.finder.expect(keys)
    }

    /// Does what the delivery wants. `Err` is the database's own refusal.
    pub fn apply(&mut self, delivery: &Delivery) -> rusqlite::Result<Outcome> {
        match &delivery.write {
            Write::Create(values) => self.create(delivery, values),
            Write::Update(values) => self.update(delivery, values),
            Write::Delete => self.delete(delivery),
        }
    }

    fn create(&mut self, delivery: &Delivery, values: &[Value]) -> rusqlite::Result<Outcome> {
        if let Some(refused) =
            self.refuse().computed(values, None).or_else(|| self.refuse().moved_key(values))
        {
            return Ok(Outcome::Failed(refused));
        }
        let mut forecast = Forecast::default();
        if self.target.guarded {
            match self.insert(values, &mut forecast)? {
                Err(refused) => return Ok(Outcome::Failed(refused)),
                Ok(true) => return self.created(delivery, values, forecast),
                // Something of it is there already.
                Ok(false) => {}
            }
        }
        let existing = match self.only(&delivery.key)? {
            Err(refused) => return Ok(Outcome::Failed(refused)),
            Ok(existing) => existing,
        };
        match existing {
            Some(found) if found.deleted => self.change(delivery, values, found, true),
            Some(found) => Ok(match found.record {
                Err(reason) => Outcome::Failed(self.refuse().unreadable(&reason)),
                Ok(record) if self.equals(&record, values) => delivered(None),
                Ok(record) => Outcome::Stale(Some(record)),
            }),
            None => {
                // Where another unique column stands against it, this says which.
                match self.insert_strictly(values, &mut forecast)? {
                    Err(refused) => Ok(Outcome::Failed(refused)),
                    Ok(()) => self.created(delivery, values, forecast),
                }
            }
        }
    }

    fn update(&mut self, delivery: &Delivery, values: &[Value]) -> rusqlite::Result<Outcome> {
        let found = match self.only(&delivery.key)? {
            Err(refused) => return Ok(Outcome::Failed(refused)),
            Ok(None) => return Ok(Outcome::Stale(None)),
            Ok(Some(found)) if found.deleted => return Ok(Outcome::Stale(None)),
            Ok(Some(found)) => found,
        };
        match &found.record {
            Err(reason) => Ok(Outcome::Failed(self.refuse().unreadable(reason))),
            Ok(record) if moved(record, delivery.expected.as_deref()) => {
                Ok(Outcome::Stale(Some(record.clone())))
            }
            Ok(_) => self.change(delivery, values, found, false),
        }
    }

    fn delete(&mut self, delivery: &Delivery) -> rusqlite::Result<Outcome> {
        let found = match self.only(&delivery.key)? {
            Err(refused) => return Ok(Outcome::Failed(refused)),
            Ok(None) => return Ok(delivered(None)),
            Ok(Some(found)) if found.deleted => return Ok(delivered(None)),
            Ok(Some(found)) => found,
        };
        match &found.record {
            Err(reason) if delivery.expected.is_some() => {
                return Ok(Outcome::Failed(self.refuse().unreadable(reason)));
            }
            Ok(record) if moved(record, delivery.expected.as_deref()) => {
                return Ok(Outcome::Stale(Some(record.clone())));
            }
            _ => {}
        }
        let (table, place) = (self.stream.table.quoted(), self.finder.locate(1));
        let sql = match &self.target.marks {
            Some((mark, _)) => {
                let touch = self.target.touch.as_ref();
                let touch =
                    touch.map(|touch| format!(", {} = {}", touch.name, touch.sql)).unwrap_or_default();
                format!("UPDATE OR ABORT {table} SET {mark}{touch} WHERE {place}")
            }
            None => format!("DELETE FROM {table} WHERE {place}"),
        };
        self.conn.prepare_cached(&sql)?.execute(rusqlite::params_from_iter(&found.place))?;
        if self.target.marks.is_none() {
            self.finder.deleted(&delivery.key);
        }
        Ok(delivered(None))
    }

    /// Brings the row that was found to the values, touching only columns that differ.
    fn change(
        &mut self,
        delivery: &Delivery,
        values: &[Value],
        found: Found,
        revive: bool,
    ) -> rusqlite::Result<Outcome> {
        let current = found.record.ok();
        if let Some(refused) = self.refuse().computed(values, current.as_ref()) {
            return Ok(Outcome::Failed(refused));
        }
        let (mut sets, mut bound) = (Vec::new(), Vec::new());
        let mut forecast = Forecast { ask: revive, ..Forecast::default() };
        for (at, value) in values.iter().enumerate() {
            if value.is_missing() {
                continue;
            }
            let now = current.as_ref().and_then(|record| record.values.get(at));
            if self.target.projection.key.contains(&at) {
                // The row keeps its key in the form in which it has it.
                let other = now.filter(|now| *now != value);
                forecast.becomes.extend(other.map(|now| (at, now.clone())));
                continue;
            }
            let encoded = match wire::encode(value, self.target.affinity(at)) {
                Ok(encoded) => encoded,
                Err(what) => return Ok(Outcome::Failed(self.refuse().lossy(at, what))),
            };
            let same = match &encoded.stored {
                Stored::Same => now == Some(value),
                Stored::Becomes(stored) => now == Some(stored),
                Stored::Ask => false,
            };
            forecast.take(at, encoded.stored);
            if !same {
                bound.push(encoded.bound);
                sets.push(format!("{} = ?{}", self.target.name(at), bound.len()));
            }
        }
        if let (true, Some((_, clear))) = (revive, &self.target.marks) {
            sets.push(clear.clone());
        }
        if !sets.is_empty() {
            if let Some(touch) = self.target.touch.as_ref().filter(|touch| !touch.is_written(values)) {
                sets.push(format!("{} = {}", touch.name, touch.sql));
                forecast.ask |= touch.position.is_some();
            }
            forecast.ask |= self.target.opaque;
            let (table, place) = (self.stream.table.quoted(), self.finder.locate(bound.len() + 1));
            let sql = format!("UPDATE OR ABORT {table} SET {} WHERE {place}", sets.join(", "));
            let mut statement = self.conn.prepare_cached(&sql)?;
            for (at, value) in bound.iter().enumerate() {
                statement.raw_bind_parameter(at + 1, value)?;
            }
            for (at, cell) in found.place.iter().enumerate() {
                statement.raw_bind_parameter(bound.len() + at + 1, cell)?;
            }
            statement.raw_execute()?;
        }
        let base = current.map(|record| record.values);
        self.told(delivery, values, base, forecast)
    }

    fn created(
        &mut self,
        delivery: &Delivery,
        values: &[Value],
        mut forecast: Forecast,
    ) -> rusqlite::Result<Outcome> {
        self.finder.inserted(&delivery.key);
        forecast.ask |= self.target.opaque;
        for (at, value) in values.iter().enumerate() {
            if value.is_missing() {
                let touched = self.target.touch.as_ref().is_some_and(|touch| touch.position == Some(at));
                let default = self.target.columns.get(at).is_some_and(|column| column.has_default);
                forecast.ask |= touched || default;
                forecast.becomes.push((at, Value::Null));
            }
        }
        self.told(delivery, values, None, forecast)
    }

    /// Says how the row is stored now, where that is not just what was sent.
    fn told(
        &mut self,
        delivery: &Delivery,
        values: &[Value],
        base: Option<Values>,
        forecast: Forecast,
    ) -> rusqlite::Result<Outcome> {
        if forecast.ask {
            let found = self.finder.find(&delivery.key)?.into_iter().next();
            return Ok(delivered(found.and_then(|found| found.record.ok())));
        }
        if forecast.becomes.is_empty() {
            return Ok(delivered(None));
        }
        let mut stored = base.unwrap_or_else(|| Values::all(Value::Null, values.len()));
        let sent = values.iter().cloned().enumerate().filter(|(_, value)| !value.is_missing());
        for (at, value) in sent.chain(forecast.becomes) {
            if let Some(place) = stored.get_mut(at) {
                *place = value;
            }
        }
        let schema = self.target.shape().clone();
        Ok(delivered(Some(Record { schema, values: stored, meta: Meta::default() })))
    }

    /// Inserts unless a unique column stands against it; gives whether it did.
    fn insert(&mut self, values: &[Value], forecast: &mut Forecast) -> rusqlite::Result<Result<bool, Fault>> {
        self.present.clear();
        self.present
            .extend((0..values.len()).filter(|at| values.get(*at).is_some_and(|value| !value.is_missing())));
        let mut held = self.insert.take().filter(|(positions, _)| *positions == self.present);
        if held.is_none() {
            let statement =
                self.conn.prepare_cached(&self.insert_sql(values, "", " ON CONFLICT DO NOTHING"))?;
            held = Some((self.present.clone(), statement));
        }
        let Some((positions, statement)) = &mut held else { return Ok(Ok(false)) };
        let done = match self.bind(statement, positions, values, forecast)? {
            Ok(()) => Ok(statement.raw_execute()? > 0),
            Err(refused) => Err(refused),
        };
        self.insert = held;
        Ok(done)
    }

    /// Inserts; whatever stands against it is an error.
    fn insert_strictly(
        &mut self,
        values: &[Value],
        forecast: &mut Forecast,
    ) -> rusqlite::Result<Result<(), Fault>> {
        let positions: Vec<usize> =
            (0..values.len()).filter(|at| values.get(*at).is_some_and(|value| !value.is_missing())).collect();
        let mut statement = self.conn.prepare_cached(&self.insert_sql(values, " OR ABORT", ""))?;
        *forecast = Forecast::default();
        Ok(match self.bind(&mut statement, &positions, values, forecast)? {
            Ok(()) => statement.raw_execute().map(|_| ()).map(Ok)?,
            Err(refused) => Err(refused),
        })
    }

    fn insert_sql(&self, values: &[Value], or: &str, conflict: &str) -> String {
        let (mut names, mut marks) = (Vec::new(), Vec::new());
        for (at, value) in values.iter().enumerate() {
            if !value.is_missing() {
                names.push(self.target.name(at).to_owned());
                marks.push(format!("?{}", marks.len() + 1));
            }
        }
        if let Some(touch) = self.target.touch.as_ref().filter(|touch| !touch.is_written(values)) {
            names.push(touch.name.clone());
            marks.push(touch.sql.to_owned());
        }
        format!(
            "INSERT{or} INTO {} ({}) VALUES ({}){conflict}",
            self.stream.table.quoted(),
            names.join(", "),
            marks.join(", ")
        )
    }

    fn bind(
        &self,
        statement: &mut CachedStatement<'_>,
        positions: &[usize],
        values: &[Value],
        forecast: &mut Forecast,
    ) -> rusqlite::Result<Result<(), Fault>> {
        for (mark, &at) in positions.iter().enumerate() {
            let Some(value) = values.get(at) else { continue };
            match wire::encode(value, self.target.affinity(at)) {
                Ok(encoded) => {
                    statement.raw_bind_parameter(mark + 1, &encoded.bound)?;
                    forecast.take(at, encoded.stored);
                }
                Err(what) => return Ok(Err(self.refuse().lossy(at, what))),
            }
        }
        Ok(Ok(()))
    }

    /// Finds the one row that has the key.
    fn only(&mut self, key: &Key) -> rusqlite::Result<Result<Option<Found>, Fault>> {
        let mut found = self.finder.find(key)?;
        if found.iter().any(|row| !row.deleted) {
            found.retain(|row| !row.deleted);
        }
        let (first, more) = (found.pop(), found.len());
        Ok(match more {
            0 => Ok(first),
            _ if first.as_ref().is_some_and(|row| row.deleted) => Ok(first),
            _ => Err(self.refuse().ambiguous(more + 1)),
        })
    }

    fn equals(&self, record: &Record, values: &[Value]) -> bool {
        values.iter().enumerate().filter(|(_, value)| !value.is_missing()).all(|(at, value)| {
            let now = record.values.get(at);
            match wire::encode(value, self.target.affinity(at)).map(|encoded| encoded.stored) {
                Ok(Stored::Becomes(stored)) => now == Some(&stored),
                _ => now == Some(value),
            }
        })
    }
}

impl Forecast {
    fn take(&mut self, at: usize, stored: Stored) {
        match stored {
            Stored::Same => {}
            Stored::Becomes(value) => self.becomes.push((at, value)),
            Stored::Ask => self.ask = true,
        }
    }
}

impl super::target::Touch {
    /// Tells whether the rules write the stamp themselves.
    fn is_written(&self, values: &[Value]) -> bool {
        self.position.and_then(|at| values.get(at)).is_some_and(|value| !value.is_missing())
    }
}

fn delivered(stored: Option<Record>) -> Outcome {
    Outcome::Delivered { id: None, revision: None, stored }
}

/// Tells whether the row looks otherwise than expected, on the places that are known.
fn moved(record: &Record, expected: Option<&[Value]>) -> bool {
    expected.is_some_and(|expected| {
        record.values.iter().zip(expected).any(|(now, then)| !then.is_missing() && now != then)
    })
}
