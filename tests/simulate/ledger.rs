//! What people did to one record, and what each side has been shown of it.
//!
//! Every edit writes a token of its own, so a value says which edit it comes from. An event
//! supersedes what its author could see. What nothing supersedes has to survive: one such event must
//! win, several are a conflict that the policy settles.

use std::collections::BTreeSet;

use record_sync::engine::record::{Side, Value};

use crate::setup::FIELDS;
use crate::world::LONG_MIN;

/// A field by its place in [`FIELDS`], or that the record exists at all.
pub type Facet = u8;
pub const EXISTS: Facet = FIELDS.len() as Facet;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// It was there when the epoch began.
    Root,
    Insert,
    Edit(u8),
    Delete,
}

#[derive(Clone, Debug)]
pub struct Event {
    /// Whose it is; `None` for what both sides agreed on before.
    pub side: Option<Side>,
    pub at: i64,
    pub what: What,
    pub values: [Option<Value>; FIELDS.len()],
    /// What its author could see.
    past: BTreeSet<(usize, Facet)>,
    /// Our write went over it, knowing it or within the moment between look and write of a system that
    /// can't compare, or it says nothing of its own: it does not have to keep the record alive any more.
    settled: bool,
    /// It was made between the look and the write of a system that can't compare.
    pub raced: bool,
}

impl Event {
    fn has(&self, facet: Facet) -> bool {
        match self.what {
            What::Root | What::Insert => true,
            What::Edit(field) => facet == field || facet == EXISTS,
            What::Delete => facet == EXISTS,
        }
    }
}

/// The story of one key since the last quiet point.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    pub events: Vec<Event>,
    known: [BTreeSet<(usize, Facet)>; 2],
    /// Something happened that values can't tell apart: policies are not checked.
    pub fuzzy: bool,
    /// A system stored something else than was sent and did not say so: read back, it looks like an edit.
    pub echoes: bool,
    /// Somebody made or deleted the record over a write of ours that we may not know of.
    pub unsure: bool,
    /// The same for single fields, which may show anything that was ever written.
    pub blurred: [bool; FIELDS.len()],
}

/// What must be true of a record once everything is at rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Lives,
    Gone,
    Either,
}

fn at(side: Side) -> usize {
    match side {
        Side::A => 0,
        Side::B => 1,
    }
}

/// Texts as every destination of the simulation would agree on them.
pub fn plain(value: &Value) -> Value {
    match value {
        Value::Text(text) => Value::text(text.trim().to_lowercase()),
        Value::Absent | Value::Unknown => Value::Null,
        other => other.clone(),
    }
}

/// Tells whether a value is one of its own, so that it says whose it is.
pub fn is_token(value: &Value) -> bool {
    match value {
        Value::Text(text) => !text.trim().is_empty(),
        Value::Int(number) => *number >= LONG_MIN,
        _ => false,
    }
}

impl Ledger {
    /// Begins an epoch with what both sides show.
    pub fn begin(rows: [Option<&[Value; FIELDS.len()]>; 2]) -> Self {
        let mut ledger = Self::default();
        let [Some(a), Some(b)] = rows else {
            for (side, row) in Side::BOTH.into_iter().zip(rows) {
                if let Some(values) = row {
                    ledger.insert(side, values, 0);
                }
            }
            return ledger;
        };
        let shared =
            std::array::from_fn(|field| (plain(&a[field]) == plain(&b[field])).then(|| a[field].clone()));
        let root = Event {
            side: None,
            at: 0,
            what: What::Root,
            values: shared,
            past: BTreeSet::new(),
            settled: false,
            raced: false,
        };
        ledger.events.push(root);
        for field in 0..FIELDS.len() {
            let facet = field as Facet;
            if ledger.events[0].values[field].is_some() {
                ledger.known.iter_mut().for_each(|known| known.extend([(0, facet)]));
                continue;
            }
            // A field that does not travel: each side has its own.
            for (side, row) in [(Side::A, a), (Side::B, b)] {
                let mut values = [const { None }; FIELDS.len()];
                values[field] = Some(row[field].clone());
                let (what, past) = (What::Edit(facet), BTreeSet::new());
                ledger.known[at(side)].insert((ledger.events.len(), facet));
                ledger.events.push(Event {
                    side: Some(side),
                    at: 0,
                    what,
                    values,
                    past,
                    settled: true,
                    raced: false,
                });
            }
        }
        ledger.known.iter_mut().for_each(|known| known.extend([(0, EXISTS)]));
        ledger
    }

    fn push(&mut self, side: Side, now: i64, what: What, values: [Option<Value>; FIELDS.len()]) -> usize {
        let id = self.events.len();
        let past = self.known[at(side)].clone();
        let event = Event { side: Some(side), at: now, what, values, past, settled: false, raced: false };
        for facet in 0..=EXISTS {
            if event.has(facet) {
                self.known[at(side)].insert((id, facet));
            }
        }
        self.events.push(event);
        id
    }

    pub fn insert(&mut self, side: Side, values: &[Value; FIELDS.len()], now: i64) -> usize {
        // Made again by a push whose reply was lost, its values don't say which time they come from.
        self.fuzzy |=
            values.iter().enumerate().any(|(field, value)| is_token(value) && self.is_known(field, value));
        self.push(side, now, What::Insert, values.clone().map(Some))
    }

    pub fn edit(&mut self, side: Side, field: u8, value: &Value, now: i64) -> usize {
        let says_no_more = is_token(value) && self.is_known(usize::from(field), value);
        self.fuzzy |= !is_token(value) || says_no_more;
        let mut values = [const { None }; FIELDS.len()];
        values[usize::from(field)] = Some(value.clone());
        let made = self.push(side, now, What::Edit(field), values);
        if says_no_more {
            self.shows_no_more(made);
        }
        made
    }

    pub fn delete(&mut self, side: Side, now: i64) -> usize {
        self.push(side, now, What::Delete, [const { None }; FIELDS.len()])
    }

    /// Finds the event that a value comes from; `None` where no or several events wrote it.
    fn find(&self, field: usize, value: &Value) -> Option<usize> {
        if !is_token(value) {
            return None;
        }
        let wanted = plain(value);
        let mut found =
            self.events.iter().enumerate().filter(|(_, event)| {
                event.values[field].as_ref().is_some_and(|value| plain(value) == wanted)
            });
        let first = found.next()?.0;
        found.next().is_none().then_some(first)
    }

    /// Tells whether somebody ever wrote this.
    pub fn is_known(&self, field: usize, value: &Value) -> bool {
        let wanted = plain(value);
        !is_token(value)
            || self
                .events
                .iter()
                .any(|event| event.values[field].as_ref().is_some_and(|v| plain(v) == wanted))
    }

    /// We wrote `value` over `before` at `side`.
    pub fn written(&mut self, side: Side, field: usize, before: Option<&Value>, value: &Value) {
        if let Some(before) = before.map(plain) {
            for event in &mut self.events {
                let is_it = event.values[field].as_ref().is_some_and(|value| plain(value) == before);
                event.settled |= is_it && (event.side == Some(side) || is_token(&before));
            }
        }
        let Some(id) = self.find(field, value) else { return };
        let facet = field as Facet;
        let mut shown: Vec<(usize, Facet)> = vec![(id, facet), (id, EXISTS)];
        for &(past, of) in &self.events[id].past {
            let lives = matches!(self.events[past].what, What::Root | What::Insert | What::Delete);
            if of == facet || (of == EXISTS && (lives || self.events[past].what == What::Edit(facet))) {
                shown.push((past, of));
            }
        }
        self.known[at(side)].extend(shown);
    }

    /// Tells whether a side has shown this value, as somebody's work there or as what we wrote.
    pub fn has_shown(&self, side: Side, field: usize, value: &Value) -> bool {
        let id = self.find(field, value);
        id.is_some_and(|id| self.known[at(side)].contains(&(id, field as Facet)))
    }

    /// The other side shows a value of what was made already: nothing has to be written there for it to be known.
    pub fn is_shown_already(&mut self, side: Side, made: usize, field: usize) {
        self.known[at(side)].insert((made, field as Facet));
    }

    /// What was written shows nothing of its own: it does not have to keep the record alive.
    pub fn shows_no_more(&mut self, made: usize) {
        self.events[made].settled = true;
    }

    /// We deleted the record at `side`; false where nobody had deleted it at the other.
    pub fn deleted(&mut self, side: Side) -> bool {
        let graves: Vec<usize> = (0..self.events.len())
            .filter(|&id| self.events[id].what == What::Delete && self.events[id].side == Some(side.other()))
            .collect();
        for &grave in &graves {
            let mut shown: Vec<(usize, Facet)> = vec![(grave, EXISTS)];
            shown.extend(self.events[grave].past.iter().filter(|(past, facet)| {
                let lives = matches!(self.events[*past].what, What::Root | What::Insert | What::Delete);
                *facet == EXISTS && lives
            }));
            self.known[at(side)].extend(shown);
        }
        !graves.is_empty()
    }

    /// Lists what people did to the record at `side` from this moment on.
    pub fn done_at(&self, side: Side, since: i64) -> impl Iterator<Item = What> + '_ {
        let is_meant = move |event: &&Event| event.side == Some(side) && event.at >= since;
        self.events.iter().filter(is_meant).map(|event| event.what)
    }

    /// Tells whether somebody deleted the record at `side`.
    pub fn was_deleted(&self, side: Side) -> bool {
        self.was_deleted_since(side, 0)
    }

    /// Tells whether somebody deleted the record at `side` from this moment on.
    pub fn was_deleted_since(&self, side: Side, since: i64) -> bool {
        self.done_at(side, since).any(|what| what == What::Delete)
    }

    /// What was done at `side` after this moment was done between our look and our write.
    pub fn raced(&mut self, side: Side, after: i64) {
        for event in &mut self.events {
            if event.side == Some(side) && event.at >= after {
                event.settled = true;
                event.raced = true;
            }
        }
    }

    fn is_superseded(&self, id: usize, facet: Facet) -> bool {
        self.events.iter().any(|event| {
            event.past.contains(&(id, facet)) && (event.has(facet) || event.what == What::Delete)
        })
    }

    /// Whether the record has to be there. What does not travel keeps nothing alive.
    pub fn fate(&self, width: usize) -> Fate {
        let travels = |event: &Event| match event.what {
            What::Edit(field) => usize::from(field) < width,
            _ => true,
        };
        let superseded =
            |id: usize| self.events.iter().any(|event| travels(event) && event.past.contains(&(id, EXISTS)));
        let top: Vec<&Event> = (0..self.events.len())
            .filter(|&id| self.events[id].has(EXISTS) && travels(&self.events[id]) && !superseded(id))
            .map(|id| &self.events[id])
            .collect();
        let deletes = top.iter().any(|event| event.what == What::Delete);
        let works = top.iter().any(|event| event.what != What::Delete && !event.settled);
        // A later edit beside it may have been shown to who deleted the record, and this one not yet.
        let unseen = (0..self.events.len()).any(|id| {
            let event = &self.events[id];
            let answers = |later: &Event| {
                later.past.contains(&(id, EXISTS)) && (later.what == event.what || later.what == What::Delete)
            };
            matches!(event.what, What::Edit(_)) && travels(event) && !self.events.iter().any(answers)
        });
        // Nor all of a record that was made there meanwhile: what lost a conflict was never shown.
        let unseen = unseen
            || (0..self.events.len()).any(|id| {
                let is_token = |field: usize| self.events[id].values[field].as_ref().is_some_and(is_token);
                let answers = |later: &Event, field: usize| {
                    later.past.contains(&(id, field as Facet))
                        && (later.has(field as Facet) || later.what == What::Delete)
                };
                self.events[id].what == What::Insert
                    && (0..width).any(|field| {
                        is_token(field) && !self.events.iter().any(|later| answers(later, field))
                    })
            });
        let doubtful = unseen || top.iter().any(|event| event.what != What::Delete && event.settled);
        match (deletes, works, doubtful) {
            _ if self.unsure => Fate::Either,
            _ if self.events.is_empty() => Fate::Gone,
            // Nobody can tell whether an edit travelled when it was made.
            (true, _, _) if self.fuzzy || self.echoes || self.blurred.contains(&true) => Fate::Either,
            (_, true, _) | (false, ..) => Fate::Lives,
            (true, false, false) => Fate::Gone,
            (true, false, true) => Fate::Either,
        }
    }

    /// What a field may show at the end: the events that nothing supersedes. Empty: anything that
    /// was ever written. What lost a conflict does not come back when the winner is deleted.
    pub fn candidates(&self, field: usize) -> Vec<&Event> {
        let facet = field as Facet;
        let tops: Vec<&Event> = (0..self.events.len())
            .filter(|&id| self.events[id].values[field].is_some() && !self.is_superseded(id, facet))
            .map(|id| &self.events[id])
            .collect();
        let deletes = self.events.iter().any(|event| event.what == What::Delete);
        if deletes && tops.iter().all(|event| event.settled) { Vec::new() } else { tops }
    }

    /// Tells whether the record was only edited: no insert, no delete.
    pub fn only_edits(&self) -> bool {
        self.events.iter().all(|event| matches!(event.what, What::Root | What::Edit(_)))
    }

    /// Tells whether a race between look and write may have taken something.
    pub fn any_raced(&self) -> bool {
        self.events.iter().any(|event| event.settled && event.at > 0)
    }
}
