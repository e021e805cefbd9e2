//! One simulated system: its records, its log, its window. What calls do to it, without the calls.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use record_sync::connectors::{Delivery, Outcome, Write};
use record_sync::engine::record::{Key, Meta, Record, Schema, Side, Timestamp, Value};

use crate::breaker::Breaker;
use crate::doubt::Wrote;
use crate::layout::Layout;
use crate::ledger::plain;
use crate::setup::{FIELDS, Nature};
use crate::steps::Trouble;
use crate::world::{State, shown, word};

#[derive(Clone, Debug)]
pub struct Row {
    pub id: u64,
    pub key: u8,
    pub values: [Value; FIELDS.len()],
    pub stamp: i64,
    /// Counts the changes of the whole system; the last one of this row.
    pub seq: u64,
    pub born_at: i64,
    /// We made it.
    pub ours: bool,
    /// Fields that do not stand as we sent them, which nobody has told us.
    pub echoed: [bool; FIELDS.len()],
}

#[derive(Clone, Debug)]
pub struct Grave {
    pub id: u64,
    pub key: u8,
    pub at: i64,
    pub seq: u64,
}

pub struct Sys {
    pub nature: Nature,
    pub layout: Layout,
    pub rows: BTreeMap<u64, Row>,
    pub graves: Vec<Grave>,
    pub seq: u64,
    next_id: u64,
    pub troubles: Vec<(Trouble, u8)>,
    /// As long as the first process lives.
    pub breaker: Option<Breaker>,
    /// When calls came in, as many as the window can be judged by.
    arrivals: VecDeque<i64>,
    /// When a key was last looked up, for systems that can't compare.
    pub looked: BTreeMap<u8, i64>,
    /// What told the last bulk load from others.
    pub loaded: Option<String>,
}

pub fn key_text(key: u8) -> String {
    format!("k{key}")
}

pub fn key_of(key: u8) -> Key {
    Key::from_text(&key_text(key)).expect("a fit key")
}

/// Reads a key back; `None` for one that is not of this world.
pub fn key_in(key: &Key) -> Option<u8> {
    key.to_string().strip_prefix('k')?.parse().ok()
}

impl Sys {
    pub fn new(nature: Nature) -> Self {
        Self {
            nature,
            layout: Layout::new(),
            rows: BTreeMap::new(),
            graves: Vec::new(),
            seq: 0,
            next_id: 1,
            troubles: Vec::new(),
            breaker: Some(Breaker::new()),
            arrivals: VecDeque::new(),
            looked: BTreeMap::new(),
            loaded: None,
        }
    }

    pub fn by_key(&self, key: u8) -> Option<&Row> {
        self.rows.values().find(|row| row.key == key)
    }

    fn next(&mut self) -> u64 {
        self.seq += 1;
        self.seq
    }

    pub fn insert(&mut self, key: u8, values: [Value; FIELDS.len()], now: i64, late: i64) -> u64 {
        let (id, seq) = (self.next_id, self.next());
        self.next_id += 1;
        let stamp = now + self.nature.skew_ms - late;
        self.rows.insert(
            id,
            Row { id, key, values, stamp, seq, born_at: now, ours: false, echoed: [false; FIELDS.len()] },
        );
        id
    }

    pub fn set(&mut self, id: u64, field: usize, value: Value, now: i64, late: i64) {
        let seq = self.next();
        let stamp = now + self.nature.skew_ms - late;
        let row = self.rows.get_mut(&id).expect("it is there");
        row.values[field] = value;
        row.seq = seq;
        row.stamp = stamp;
    }

    pub fn remove(&mut self, id: u64, now: i64) {
        let seq = self.next();
        if let Some(row) = self.rows.remove(&id) {
            self.graves.push(Grave { id, key: row.key, at: now + self.nature.skew_ms, seq });
        }
    }

    /// A record as calls show it.
    pub fn record(&self, row: &Row) -> Record {
        let nature = &self.nature;
        let meta = Meta {
            id: Some(row.id.to_string().into()),
            revision: nature.revisions.then(|| row.seq.to_string().into()),
            modified_at: nature.stamps.then_some(Timestamp(row.stamp)),
            ours: false,
        };
        Record { schema: Arc::clone(&self.layout.schema), values: self.layout.values(row).into(), meta }
    }

    /// A call comes in; false where that is one too many for the window.
    pub fn arrive(&mut self, now: i64) -> bool {
        let window = i64::from(self.nature.window_s) * 1000;
        self.arrivals.push_back(now);
        while self.arrivals.len() > self.nature.max_requests as usize + 1 {
            self.arrivals.pop_front();
        }
        let full = self.arrivals.len() > self.nature.max_requests as usize;
        !(full && now - self.arrivals[0] < window)
    }
}

/// The values of the fields in a batch, by their place in [`FIELDS`]; missing ones left out.
fn fields(shape: &Schema, values: &[Value]) -> Vec<(usize, Value)> {
    let named = FIELDS.iter().enumerate();
    let found = named.filter_map(|(at, name)| Some((at, values.get(shape.position(name)?)?.clone())));
    found.filter(|(_, value)| !value.is_missing()).collect()
}

impl State {
    /// A bulk load begins with what stands there: gives the change count.
    pub fn begin_filling(&mut self, side: Side) -> u64 {
        if std::mem::take(&mut self.setup.filling.meets) {
            self.insert(side, 0);
        }
        self.system(side).seq
    }

    /// Shows all that was staged for an empty system. Unlike other writes these are in no doubt should we die:
    /// whoever comes next can ask for them. False where nobody says that it is through.
    pub fn fill_at_once(&mut self, side: Side, shape: &Schema, staged: &[Delivery], mark: &str) -> bool {
        self.note(|| format!("    {} shows {} records that were staged", side.as_str(), staged.len()));
        self.is_filling = true;
        for delivery in staged {
            let outcome = self.deliver(side, shape, delivery, "load");
            if !matches!(outcome, Outcome::Delivered { .. }) {
                self.violated("effect_twice", format!("{} was not empty: {outcome:?}", side.as_str()));
            }
        }
        self.is_filling = false;
        self.figures.loads += 1;
        self.system(side).loaded = Some(mark.to_owned());
        if let Some(awaits) = self.setup.filling.dies_after.take().filter(|_| !self.crashed) {
            self.die_after(awaits);
        }
        !std::mem::take(&mut self.setup.filling.loses_reply)
    }

    /// Does one delivery to a system.
    pub fn deliver(
        &mut self,
        side: Side,
        shape: &Schema,
        delivery: &Delivery,
        correlation_id: &str,
    ) -> Outcome {
        let Some(key) = key_in(&delivery.key) else { return Outcome::Stale(None) };
        let system = self.system(side);
        let nature = system.nature;
        let row = match &delivery.id {
            Some(id) => id.parse().ok().and_then(|id: u64| system.rows.get(&id)),
            None => system.by_key(key),
        };
        let row = row.cloned();
        let looked = system.looked.get(&key).copied().unwrap_or(0);
        let given = || match &delivery.write {
            Write::Create(values) | Write::Update(values) => fields(shape, values),
            Write::Delete => Vec::new(),
        };
        let is_pushed = self.is_pushed(side, key, &delivery.write, given, correlation_id);
        match (&delivery.write, row) {
            (Write::Create(_), Some(row)) if is_pushed && nature.upsert_by_key && !nature.compare_and_set => {
                self.pushed_update(side, row.id, given(), correlation_id);
                self.told(side, row.id)
            }
            (Write::Create(values), Some(row)) if nature.upsert_by_key && !nature.compare_and_set => {
                self.update(side, &row, fields(shape, values), looked)
            }
            (Write::Create(values), Some(row)) => {
                if nature.compare_and_set || row.born_at >= looked {
                    return Outcome::Stale(Some(self.system(side).record(&row)));
                }
                self.violated("effect_twice", format!("a second k{key} is made at {}", side.as_str()));
                self.create(side, key, fields(shape, values))
            }
            (Write::Create(_), None) if is_pushed => {
                let id = self.pushed_create(side, key, given(), correlation_id);
                self.told(side, id)
            }
            (Write::Create(values), None) => {
                self.made_beside_push(side, key, correlation_id);
                self.create(side, key, fields(shape, values))
            }
            (Write::Update(_), None) => Outcome::Stale(None),
            (Write::Delete, None) => {
                self.found_gone(side, key);
                Outcome::Delivered { id: None, revision: None, stored: None }
            }
            (Write::Update(_) | Write::Delete, Some(row))
                if nature.compare_and_set && !as_expected(shape, delivery, &row) =>
            {
                let record = self.system(side).record(&row);
                self.note(|| {
                    format!("    {} k{key} is not as expected: {}", side.as_str(), shown(&row.values))
                });
                Outcome::Stale(Some(record))
            }
            (Write::Update(_), Some(row)) if is_pushed => {
                self.pushed_update(side, row.id, given(), correlation_id);
                self.told(side, row.id)
            }
            (Write::Delete, Some(row)) if is_pushed => {
                self.pushed_delete(side, row.id, correlation_id);
                Outcome::Delivered { id: None, revision: None, stored: None }
            }
            (Write::Update(values), Some(row)) => self.update(side, &row, fields(shape, values), looked),
            (Write::Delete, Some(row)) => self.bury(side, &row, looked),
        }
    }

    pub fn known_value(&mut self, side: Side, key: u8, field: usize, value: &Value) {
        if !self.ledger(key).is_known(field, value) {
            let text = format!("k{key}.{} = {} at {}", FIELDS[field], word(value), side.as_str());
            self.violated("value_invented", text);
        }
    }

    /// What a system makes of a value that it is sent, and whether it stores another one than that without
    /// saying so.
    fn stored(&mut self, side: Side, key: u8, field: usize, value: Value) -> (Value, bool) {
        let nature = self.system(side).nature;
        let Value::Text(sent) = &value else { return (value, false) };
        let kept = nature.canon.of(sent);
        let untold = *sent != kept && !nature.tells_stored;
        // The revision that the write returned tells its echo, as long as nobody else touches the record.
        if untold && !(nature.revisions && nature.compare_and_set) {
            let ledger = self.ledger(key);
            ledger.echoes = true;
            ledger.blurred[field] = true;
        }
        (Value::text(kept), untold)
    }

    fn create(&mut self, side: Side, key: u8, given: Vec<(usize, Value)>) -> Outcome {
        let now = self.now();
        let mut values = [const { Value::Null }; FIELDS.len()];
        let mut echoed = [false; FIELDS.len()];
        let mut altered = false;
        let carried = [true; FIELDS.len()];
        for (field, value) in given {
            self.known_value(side, key, field, &value);
            self.ledger(key).written(side, field, None, &value);
            let sent = value.clone();
            (values[field], echoed[field]) = self.stored(side, key, field, value);
            altered |= values[field] != sent;
        }
        self.note(|| format!("    {} creates k{key} {}", side.as_str(), shown(&values)));
        self.wrote(Wrote { side, key, carried, altered });
        let id = self.system(side).insert(key, values, now, 0);
        if let Some(row) = self.system(side).rows.get_mut(&id) {
            row.ours = true;
            row.echoed = echoed;
        }
        self.told(side, id)
    }

    fn update(&mut self, side: Side, row: &Row, given: Vec<(usize, Value)>, looked: i64) -> Outcome {
        let now = self.now();
        let nature = self.system(side).nature;
        if !nature.compare_and_set {
            self.ledger(row.key).raced(side, looked);
        }
        let (mut idle, mut altered) = (true, false);
        let mut carried = [false; FIELDS.len()];
        let mut words = Vec::new();
        for (field, value) in given {
            self.known_value(side, row.key, field, &value);
            self.ledger(row.key).written(side, field, Some(&row.values[field]), &value);
            let sent = value.clone();
            let (value, untold) = self.stored(side, row.key, field, value);
            altered |= value != sent;
            carried[field] = true;
            idle &= plain(&value) == plain(&row.values[field]);
            if self.trace.is_some() {
                words.push(format!(
                    "{} = {} (was {})",
                    FIELDS[field],
                    word(&value),
                    word(&row.values[field])
                ));
            }
            self.system(side).set(row.id, field, value, now, 0);
            if let Some(row) = self.system(side).rows.get_mut(&row.id) {
                row.echoed[field] = untold;
            }
        }
        self.note(|| format!("    {} updates k{}: {}", side.as_str(), row.key, words.join(", ")));
        self.wrote(Wrote { side, key: row.key, carried, altered });
        self.figures.idle_writes += u64::from(idle);
        self.told(side, row.id)
    }

    fn bury(&mut self, side: Side, row: &Row, looked: i64) -> Outcome {
        let now = self.now();
        let key = row.key;
        if !self.system(side).nature.compare_and_set {
            self.ledger(key).raced(side, looked);
        }
        self.note(|| format!("    {} deletes k{key} for us", side.as_str()));
        // Made again on its way, by a call that crossed the deletion, it may be taken back.
        let taken_back = row.ours && self.ledger(key).was_deleted(side);
        if !self.ledger(key).deleted(side) && !taken_back {
            self.violated("delete_invented", format!("k{key} at {} was deleted by nobody", side.as_str()));
        }
        self.wrote(Wrote { side, key, carried: [true; FIELDS.len()], altered: false });
        self.system(side).remove(row.id, now);
        Outcome::Delivered { id: None, revision: None, stored: None }
    }

    fn told(&mut self, side: Side, id: u64) -> Outcome {
        let system = self.system(side);
        let record = system.record(&system.rows[&id]);
        Outcome::Delivered {
            id: record.meta.id.clone(),
            revision: record.meta.revision.clone(),
            stored: system.nature.tells_stored.then_some(record),
        }
    }
}

fn as_expected(shape: &Schema, delivery: &Delivery, row: &Row) -> bool {
    let Some(expected) = &delivery.expected else { return true };
    FIELDS.iter().enumerate().all(|(at, name)| {
        let expected = shape.position(name).and_then(|place| expected.get(place));
        expected.is_none_or(|value| value.is_missing() || *value == row.values[at])
    })
}
