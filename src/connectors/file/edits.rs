//! What a batch means for the records of a file: pure, told record by record as they stream by.
//!
//! Invariant: when the stream has ended, every delivery has exactly one outcome.

use std::collections::HashMap;
use std::sync::Arc;

use crate::connectors::{Batch, Delivery, Outcome, Write};
use crate::engine::fault::{Fault, FaultCode};
use crate::engine::record::{Key, Meta, Record, Schema, Value};

use super::overlay::Touch;
use super::settings::Format;
use super::{csv, style};

/// What becomes of a record that is in the file.
pub(super) enum Verdict<'b> {
    Keep,
    /// These values are written over it, under the batch's shape; missing ones stay.
    Change(&'b [Value]),
    Remove,
}

/// A batch against a file.
pub(super) struct Edits<'b> {
    batch: &'b Batch,
    format: Format,
    /// The first delivery of each key; the next one of the same key stands in `next`.
    first: HashMap<&'b Key, usize>,
    next: Vec<Option<usize>>,
    outcomes: Vec<Option<Outcome>>,
    /// The key was met in the file already.
    met: Vec<bool>,
    /// The key is in the file more than once.
    doubled: Vec<bool>,
    /// Deliveries whose effect is in the new file.
    written: Vec<usize>,
}

impl<'b> Edits<'b> {
    /// Sorts a batch by key. `doubled`: keys that an earlier try found more than once in the file.
    pub(super) fn new(batch: &'b Batch, format: Format, doubled: &[usize]) -> Self {
        let count = batch.deliveries.len();
        let mut edits = Self {
            batch,
            format,
            first: HashMap::with_capacity(count),
            next: vec![None; count],
            outcomes: vec![None; count],
            met: vec![false; count],
            doubled: vec![false; count],
            written: Vec::new(),
        };
        // From the back, so that the chain of each key is in the batch's order.
        for (at, delivery) in batch.deliveries.iter().enumerate().rev() {
            if let (Some(next), Some(place)) = (edits.first.insert(&delivery.key, at), edits.next.get_mut(at))
            {
                *place = Some(next);
            }
        }
        for &at in doubled {
            edits.refuse(at, "its key is in the file more than once", "take the others out");
            if let Some(delivery) = batch.deliveries.get(at) {
                edits.first.remove(&delivery.key);
            }
        }
        edits
    }

    /// Tells that there is nothing to look for.
    pub(super) fn is_empty(&self) -> bool {
        self.first.is_empty()
    }

    /// Returns the batch's shape.
    pub(super) fn shape(&self) -> &'b Arc<Schema> {
        &self.batch.shape
    }

    /// Returns the first delivery of a key.
    pub(super) fn find(&self, key: &Key) -> Option<usize> {
        self.first.get(key).copied()
    }

    /// Returns the fields for which some delivery has something to write.
    pub(super) fn filled(&self) -> Vec<bool> {
        let mut filled = vec![false; self.batch.shape.len()];
        for delivery in &self.batch.deliveries {
            let (Write::Create(values) | Write::Update(values)) = &delivery.write else { continue };
            for (filled, value) in filled.iter_mut().zip(values) {
                *filled |= !matches!(value, Value::Unknown | Value::Absent | Value::Null);
            }
        }
        filled
    }

    /// Decides what becomes of a record whose key is that of delivery `at`.
    pub(super) fn meet(&mut self, at: usize, current: &Record) -> Verdict<'b> {
        if self.met.get(at) == Some(&true) {
            self.doubled.iter_mut().skip(at).take(1).for_each(|doubled| *doubled = true);
            return Verdict::Keep;
        }
        self.met.iter_mut().skip(at).take(1).for_each(|met| *met = true);
        let mut verdict = Verdict::Keep;
        let mut link = Some(at);
        while let Some(at) = link {
            link = self.next.get(at).copied().flatten();
            let Some(delivery) = self.batch.deliveries.get(at) else { break };
            if self.outcomes.get(at).is_none_or(Option::is_some) {
                continue;
            }
            if !matches!(verdict, Verdict::Keep) {
                self.answer(at, Outcome::Failed(Fault::stale("the same batch writes this record already")));
                continue;
            }
            let (decided, outcome) = self.decide(delivery, current);
            self.answer(at, outcome);
            if !matches!(decided, Verdict::Keep) {
                self.written.push(at);
                verdict = decided;
            }
        }
        verdict
    }

    fn decide(&self, delivery: &'b Delivery, current: &Record) -> (Verdict<'b>, Outcome) {
        let stale = || (Verdict::Keep, Outcome::Stale(Some(current.clone())));
        let as_expected =
            delivery.expected.as_ref().is_none_or(|expected| self.agree(current, expected, Self::means));
        match &delivery.write {
            Write::Create(values) if self.agree(current, values, Self::means) => {
                (Verdict::Keep, self.stored_now(current))
            }
            Write::Create(_) => stale(),
            _ if !as_expected => stale(),
            Write::Delete => (Verdict::Remove, delivered(None)),
            Write::Update(values) if self.agree(current, values, Self::is) => {
                (Verdict::Keep, self.updated(delivery, values, current))
            }
            Write::Update(values) => (Verdict::Change(values), self.updated(delivery, values, current)),
        }
    }

    /// Compares the values that are there with a record's.
    fn agree(&self, current: &Record, values: &[Value], equal: fn(&Self, &Value, &Value) -> bool) -> bool {
        self.batch
            .shape
            .names()
            .zip(values)
            .all(|(name, value)| value.is_missing() || equal(self, current.get(name), value))
    }

    /// Tells whether writing a value would leave what is there as it is.
    fn is(&self, current: &Value, value: &Value) -> bool {
        match self.format {
            Format::Csv => csv::same(current, value),
            Format::Json | Format::Jsonl => *current == style::canonical(value),
        }
    }

    /// Tells whether what is there means the same as a value.
    fn means(&self, current: &Value, value: &Value) -> bool {
        self.is(current, value) || current.agrees(value)
    }

    /// Answers with the record as it stands, on the batch's fields.
    fn stored_now(&self, current: &Record) -> Outcome {
        let values = self.batch.shape.names().map(|name| current.get(name).clone()).collect();
        delivered(Some(Record { schema: Arc::clone(&self.batch.shape), values, meta: Meta::default() }))
    }

    /// Answers an update. What is stored is only told where all of it is known to the caller: an
    /// edit of somebody else's on a field that was not compared must not pass for agreed.
    fn updated(&self, delivery: &Delivery, values: &[Value], current: &Record) -> Outcome {
        let exact = values.iter().all(|value| value.is_missing() || self.canonical(value) == *value);
        if exact {
            return delivered(None);
        }
        let expected = delivery.expected.as_deref().unwrap_or(&[]);
        let mut stored = Vec::with_capacity(values.len());
        for (at, (name, value)) in self.batch.shape.names().zip(values).enumerate() {
            let now = current.get(name);
            if !value.is_missing() {
                stored.push(self.canonical(value));
            } else if expected.get(at).is_some_and(|expected| self.means(now, expected)) {
                stored.push(now.clone());
            } else {
                return delivered(None);
            }
        }
        delivered(Some(Record {
            schema: Arc::clone(&self.batch.shape),
            values: stored.into(),
            meta: Meta::default(),
        }))
    }

    fn canonical(&self, value: &Value) -> Value {
        match self.format {
            Format::Csv => csv::canonical(value),
            Format::Json | Format::Jsonl => style::canonical(value),
        }
    }

    /// Refuses all deliveries of a key for good: what stands in the file has to be mended first.
    pub(super) fn refuse(&mut self, at: usize, reason: &str, remedy: &str) {
        let mut link = Some(at);
        while let Some(at) = link {
            link = self.next.get(at).copied().flatten();
            let fault = Fault {
                remedy: Some(remedy.to_owned()),
                ..Fault::rejected(FaultCode::Conflict, format!("the record was not written: {reason}"))
            };
            self.answer(at, Outcome::Failed(fault));
        }
    }

    fn answer(&mut self, at: usize, outcome: Outcome) {
        if let Some(place) = self.outcomes.get_mut(at) {
            *place = Some(outcome);
        }
    }

    /// Returns the keys that were found more than once after all: the work has to be done again
    /// without them.
    pub(super) fn doubled(&self) -> Vec<usize> {
        self.doubled.iter().enumerate().filter_map(|(at, doubled)| doubled.then_some(at)).collect()
    }

    /// Returns the records that are not in the file and have to be added, in order; `answer` says
    /// what is stored of each.
    pub(super) fn additions(&mut self, mut append: impl FnMut(&[Value]) -> Outcome) {
        let batch = self.batch;
        for (at, delivery) in batch.deliveries.iter().enumerate() {
            if self.outcomes.get(at).is_none_or(Option::is_some) {
                continue;
            }
            let outcome = match &delivery.write {
                Write::Update(_) => Outcome::Stale(None),
                Write::Delete => delivered(None),
                Write::Create(values) => {
                    self.written.push(at);
                    append(values)
                }
            };
            self.answer(at, outcome);
            // A second create of the same key in the batch finds the first one there.
            if matches!(delivery.write, Write::Create(_)) {
                let mut link = self.next.get(at).copied().flatten();
                while let Some(later) = link {
                    link = self.next.get(later).copied().flatten();
                    self.answer(
                        later,
                        Outcome::Failed(Fault::stale("the same batch writes this record already")),
                    );
                }
            }
        }
    }

    /// Tells whether the new file differs from the old.
    pub(super) fn changed(&self) -> bool {
        !self.written.is_empty()
    }

    /// Returns what the new file changes in records of the old, as it is stored.
    pub(super) fn touches(&self) -> impl Iterator<Item = (&'b Key, Touch)> + '_ {
        let written = self.written.iter().filter_map(|&at| self.batch.deliveries.get(at));
        written.filter_map(|delivery| match &delivery.write {
            Write::Create(_) => None,
            Write::Delete => Some((&delivery.key, Touch::Deleted)),
            Write::Update(values) => {
                let fields = self.batch.shape.names().zip(values).filter(|(_, value)| !value.is_missing());
                let fields = fields.map(|(name, value)| (name.into(), self.canonical(value))).collect();
                Some((&delivery.key, Touch::Written(fields)))
            }
        })
    }

    /// Hands the outcomes out, in the batch's order.
    pub(super) fn finish(self) -> Vec<Outcome> {
        let lost =
            || Outcome::Failed(Fault::transient(FaultCode::Protocol, "the delivery was not looked at"));
        self.outcomes.into_iter().map(|outcome| outcome.unwrap_or_else(lost)).collect()
    }
}

/// Answers that a delivery arrived.
pub(super) fn delivered(stored: Option<Record>) -> Outcome {
    Outcome::Delivered { id: None, revision: None, stored }
}
