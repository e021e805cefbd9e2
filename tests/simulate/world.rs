//! The world outside: both systems, the people who work on them, the time, and the point at which
//! our process dies.

use std::collections::{BTreeMap, BTreeSet};
use std::future::pending;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use record_sync::connectors::Clock;
use record_sync::engine::record::{Side, Timestamp, Value};
use record_sync::store::StoreError;
use record_sync::store::sqlite::{Moment, Pace};
use tokio::sync::Notify;

use crate::asks::Promises;
use crate::chance::Chance;
use crate::doubt::{Doubts, Wrote};
use crate::handed::Pushes;
use crate::layout::Reshape;
use crate::leases::Losses;
use crate::ledger::{Ledger, What, plain};
use crate::meddle::Meddling;
use crate::setup::{FIELDS, KEYS, Rules, Setup};
use crate::steps::Fill;
use crate::system::{Row, Sys};

/// A promise that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    pub check: &'static str,
    pub text: String,
}

/// What happened in a history, by count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    pub steps: u64,
    pub crashes: u64,
    pub restarts: u64,
    pub faults: u64,
    pub edits: u64,
    pub inserts: u64,
    pub deletes: u64,
    pub calls: u64,
    pub writes: u64,
    /// Empty systems that were filled in one go.
    pub loads: u64,
    pub idle_writes: u64,
    pub quiet_points: u64,
    pub awaits: u64,
    /// Records and fields that are not judged, because somebody worked over a write that we may not know of.
    pub unsure_records: u64,
    pub unsure_fields: u64,
}

impl std::ops::AddAssign for Figures {
    fn add_assign(&mut self, more: Self) {
        self.steps += more.steps;
        self.crashes += more.crashes;
        self.restarts += more.restarts;
        self.faults += more.faults;
        self.edits += more.edits;
        self.inserts += more.inserts;
        self.deletes += more.deletes;
        self.calls += more.calls;
        self.writes += more.writes;
        self.loads += more.loads;
        self.idle_writes += more.idle_writes;
        self.quiet_points += more.quiet_points;
        self.awaits += more.awaits;
        self.unsure_records += more.unsure_records;
        self.unsure_fields += more.unsure_fields;
    }
}

/// Simulated time: within a life it runs with the timers of that life's async runtime.
struct Time {
    now: i64,
    anchor: Option<(tokio::time::Instant, i64)>,
}

pub struct State {
    pub setup: Setup,
    pub rules: Rules,
    /// Rules on their way into force.
    pub wanted: Option<Rules>,
    /// The rules changed what travels, in this epoch.
    pub blurs: bool,
    pub chance: Chance,
    pub meddling: Meddling,
    pub systems: [Sys; 2],
    pub ledgers: BTreeMap<u8, Ledger>,
    pub promises: Promises,
    pub pushes: Pushes,
    pub losses: Losses,
    /// Records that have shown what some systems can't stomach.
    pub poisoned: BTreeSet<u8>,
    pub figures: Figures,
    pub violations: Vec<Violation>,
    pub trace: Option<Vec<String>>,
    tokens: u64,
    time: Time,
    /// Awaits until the process dies.
    crash_in: Option<u32>,
    pub crashed: bool,
    /// Our writes since the last quiet point.
    pub writes: u64,
    pub doubts: Doubts,
    /// Calls that left us and are not known to have come in, by number.
    on_the_way: BTreeSet<u64>,
    pub sent: u64,
    /// An empty system is filled in one go.
    pub is_filling: bool,
    /// The one of them that comes in although we died.
    comes_in: Option<u64>,
}

pub struct World {
    state: Mutex<State>,
    pub died: Notify,
}

const POISON: &str = "poison";

/// Tells whether a system that chokes does so on this.
pub fn is_poison(value: &Value) -> bool {
    matches!(value, Value::Text(text) if text.starts_with(POISON))
}

/// Odd, and beyond what a float can tell from its neighbours: 2^53 + 1.
pub const LONG_MIN: i64 = (1 << 53) + 1;

/// More writes than that between two quiet points are a circle, and no history has to wait for its end.
const WRITES_MAX: u64 = 3_000;

/// Where time begins: 2030-01-01.
const BEGIN: i64 = 1_893_456_000_000;

impl World {
    pub fn new(setup: Setup, traced: bool) -> Arc<Self> {
        let mut state = State {
            setup,
            rules: setup.rules,
            wanted: None,
            blurs: false,
            chance: Chance::new(setup.seed ^ 0x7777),
            meddling: Meddling::new(setup.seed),
            systems: setup.natures.map(Sys::new),
            ledgers: BTreeMap::new(),
            promises: Promises::default(),
            pushes: Pushes::default(),
            losses: Losses::default(),
            poisoned: BTreeSet::new(),
            figures: Figures::default(),
            violations: Vec::new(),
            trace: traced.then(Vec::new),
            tokens: 0,
            time: Time { now: BEGIN, anchor: None },
            crash_in: None,
            crashed: false,
            writes: 0,
            doubts: Doubts::default(),
            on_the_way: BTreeSet::new(),
            sent: 0,
            is_filling: false,
            comes_in: None,
        };
        for (side, filled) in Side::BOTH.into_iter().zip(setup.filled) {
            for key in 0..filled {
                state.insert(side, key);
            }
        }
        Arc::new(Self { state: Mutex::new(state), died: Notify::new() })
    }

    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the time, for the service.
    pub fn clock(self: &Arc<Self>) -> Clock {
        let world = Arc::clone(self);
        Arc::new(move || Timestamp(world.lock().now()))
    }

    /// Begins a life: called within its async runtime.
    pub fn born(&self) {
        let mut state = self.lock();
        state.time.anchor = Some((tokio::time::Instant::now(), state.time.now));
        state.crashed = false;
        state.crash_in = None;
    }

    /// Ends a life: called within its async runtime.
    pub fn buried(&self) {
        let mut state = self.lock();
        let now = state.now();
        state.losses.died(now);
        state.time.anchor = None;
        state.systems.iter_mut().for_each(|system| system.breaker = None);
        state.crash_in = None;
    }

    /// Lets time pass while no process lives.
    pub fn sleep(&self, ms: u64) {
        self.lock().time.now += ms as i64;
    }

    /// One await of the service: its process may end here.
    pub async fn pass(&self) {
        let dies = {
            let mut state = self.lock();
            state.figures.awaits += 1;
            match state.crash_in {
                _ if state.crashed => true,
                Some(0) => {
                    state.die();
                    self.died.notify_one();
                    true
                }
                Some(left) => {
                    state.crash_in = Some(left - 1);
                    false
                }
                None => false,
            }
        };
        if dies {
            pending::<()>().await;
        }
    }
}

#[async_trait::async_trait]
impl Pace for World {
    async fn pass(&self, _moment: Moment, _writes: bool) -> Result<(), StoreError> {
        World::pass(self).await;
        let wait = {
            let mut state = self.lock();
            if state.chance.percent(10) { state.chance.below(4) } else { 0 }
        };
        if wait > 0 {
            tokio::time::sleep(std::time::Duration::from_millis(wait)).await;
        }
        Ok(())
    }
}

impl State {
    pub fn now(&mut self) -> i64 {
        if let Some((anchor, start)) = self.time.anchor
            && tokio::runtime::Handle::try_current().is_ok()
        {
            self.time.now = start + anchor.elapsed().as_millis() as i64;
        }
        self.time.now
    }

    /// The process dies. Of the calls that are on their way one may come in all the same; not more, so
    /// that the order in which tasks are dropped does not matter.
    pub fn die(&mut self) {
        self.note(|| "    the process dies".to_owned());
        self.crashed = true;
        self.systems.iter_mut().for_each(|system| system.breaker = None);
        self.doubt_fresh();
        self.pushes.doubt();
        let waiting: Vec<u64> = self.on_the_way.iter().copied().collect();
        self.comes_in = (!waiting.is_empty() && self.chance.flip()).then(|| self.chance.pick(&waiting));
    }

    /// Lets the process die at the so many-th await from here.
    pub fn die_after(&mut self, awaits: u32) {
        self.crash_in = Some(awaits);
    }

    /// We wrote a record.
    pub fn wrote(&mut self, wrote: Wrote) {
        if !self.is_filling {
            self.in_doubt_if_we_die(wrote);
        }
        self.counts_write();
    }

    /// A write of ours comes in.
    pub fn counts_write(&mut self) {
        self.figures.writes += 1;
        self.writes += 1;
        if self.writes == WRITES_MAX {
            self.violated("comes_to_rest", format!("{WRITES_MAX} writes and no end"));
        }
    }

    /// A call leaves us.
    pub fn sends(&mut self) -> u64 {
        self.sent += 1;
        self.on_the_way.insert(self.sent);
        self.sent
    }

    /// A call passes our gate: the breaker let it go.
    pub fn leaves(&mut self, side: Side) -> Option<u64> {
        let now = self.now();
        match self.system(side).breaker.as_mut()?.sends(now) {
            Ok(epoch) => Some(epoch),
            Err(text) => {
                self.violated("breaker", format!("{}: {text}", side.as_str()));
                None
            }
        }
    }

    /// It was answered so, or nobody waits for its answer any more.
    pub fn answered(&mut self, side: Side, epoch: Option<u64>, failed: Option<bool>) {
        let now = self.now();
        if let (Some(epoch), Some(breaker)) = (epoch, &mut self.system(side).breaker) {
            breaker.ends(epoch, failed, now);
        }
    }

    /// A call is dropped, or has come in; true where its sender is dead and it comes in nevertheless.
    pub fn lands(&mut self, number: u64) -> bool {
        self.on_the_way.remove(&number) && self.crashed && self.comes_in == Some(number)
    }

    /// Adds a line to the trace, where one is kept.
    pub fn note(&mut self, line: impl FnOnce() -> String) {
        let now = self.now() - BEGIN;
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{:>9}.{:03}  {}", now / 1000, now % 1000, line()));
        }
    }

    pub fn violated(&mut self, check: &'static str, text: String) {
        self.note(|| format!("VIOLATION {check}: {text}"));
        self.violations.push(Violation { check, text });
    }

    pub fn system(&mut self, side: Side) -> &mut Sys {
        match side {
            Side::A => &mut self.systems[0],
            Side::B => &mut self.systems[1],
        }
    }

    pub fn ledger(&mut self, key: u8) -> &mut Ledger {
        let blurs = self.blurs;
        let ledger = self.ledgers.entry(key).or_default();
        ledger.blurred[FIELDS.len() - 1] |= blurs;
        ledger
    }

    fn token(&mut self) -> Value {
        self.tokens += 1;
        Value::text(format!("t{}", self.tokens))
    }

    /// Somebody makes a record.
    pub fn insert(&mut self, side: Side, key: u8) {
        let now = self.now();
        if self.system(side).by_key(key).is_some() {
            return;
        }
        let mut values: [Value; FIELDS.len()] = std::array::from_fn(|_| self.token());
        if let Some(gone) = self.system(side).layout.gone {
            values[usize::from(gone)] = Value::Null;
        }
        let late = self.lateness(side);
        self.works_over(side, key, What::Insert);
        self.ledger(key).insert(side, &values, now);
        self.note(|| format!("{} inserts k{key} {}", side.as_str(), shown(&values)));
        self.figures.inserts += 1;
        self.system(side).insert(key, values, now, late);
    }

    /// Somebody edits one field.
    pub fn edit(&mut self, side: Side, key: u8, field: u8, fill: Fill) {
        let now = self.now();
        let Some(id) = self.system(side).by_key(key).map(|row| row.id) else { return };
        if self.system(side).layout.gone == Some(field) {
            return;
        }
        let Some(value) = self.fill(side, key, field, fill) else { return };
        let row = self.system(side).by_key(key).expect("it is there").clone();
        if plain(&row.values[usize::from(field)]) == plain(&value) {
            return;
        }
        self.works(side, &row, usize::from(field), &value);
        self.note(|| {
            format!("{} edits k{key}.{} = {}", side.as_str(), FIELDS[usize::from(field)], word(&value))
        });
        self.figures.edits += 1;
        let late = self.lateness(side);
        self.system(side).set(id, usize::from(field), value, now, late);
    }

    /// Makes what is to be written into a field; `None` where there is nothing of that kind.
    pub fn fill(&mut self, side: Side, key: u8, field: u8, fill: Fill) -> Option<Value> {
        Some(match fill {
            Fill::Token => self.token(),
            Fill::Dressed => match self.token() {
                Value::Text(text) => Value::text(format!(" {} ", text.to_uppercase())),
                other => other,
            },
            Fill::Long => {
                self.tokens += 1;
                Value::Int(LONG_MIN + 2 * self.tokens as i64)
            }
            Fill::Null => Value::Null,
            Fill::Empty => Value::text(""),
            Fill::Poison => {
                self.tokens += 1;
                self.poisoned.insert(key);
                Value::text(format!("{POISON}{}", self.tokens))
            }
            Fill::SameAsOther => match self.system(side.other()).by_key(key) {
                Some(row) => row.values[usize::from(field)].clone(),
                None => return None,
            },
        })
    }

    /// Somebody works on a field: what that means for the record's story.
    pub fn works(&mut self, side: Side, row: &Row, field: usize, value: &Value) {
        let now = self.now();
        let echoed = row.echoed;
        let edited = What::Edit(u8::try_from(field).expect("a few fields"));
        self.works_over(side, row.key, edited);
        let ledger = self.ledger(row.key);
        if echoed.contains(&true) {
            // From now on the revision does not tell our echo from the edit of somebody.
            ledger.echoes = true;
            ledger.blurred.iter_mut().zip(echoed).for_each(|(blurred, echoed)| *blurred |= echoed);
        }
        ledger.edit(side, field as u8, value, now);
    }

    /// Somebody deletes a record.
    pub fn delete(&mut self, side: Side, key: u8) {
        let now = self.now();
        let Some(id) = self.system(side).by_key(key).map(|row| row.id) else { return };
        self.works_over(side, key, What::Delete);
        self.ledger(key).delete(side, now);
        self.note(|| format!("{} deletes k{key}", side.as_str()));
        self.figures.deletes += 1;
        self.system(side).remove(id, now);
    }

    /// Somebody changes the columns of a system.
    pub fn reshape(&mut self, side: Side, reshape: Reshape) {
        self.note(|| format!("the columns of {} change: {reshape:?}", side.as_str()));
        self.system(side).layout.change(reshape);
        if let Reshape::Anew(field) = reshape {
            for key in 0..KEYS {
                self.edit(side, key, field, Fill::Null);
            }
        }
    }

    /// Tells whether a column is gone that these rules name.
    pub fn lacks(&self, rules: Rules) -> bool {
        let gone = self.systems.iter().filter_map(|system| system.layout.gone);
        gone.into_iter().any(|field| usize::from(field) < rules.width())
    }

    fn lateness(&mut self, side: Side) -> i64 {
        let most = self.system(side).nature.late_ms;
        self.chance.below(most + 1) as i64
    }
}

/// A value for the trace.
pub fn word(value: &Value) -> String {
    match value {
        Value::Text(text) => format!("{:?}", text.as_str()),
        Value::Null => "null".to_owned(),
        Value::Absent => "-".to_owned(),
        Value::Unknown => "?".to_owned(),
        other => format!("{other:?}"),
    }
}

pub fn shown(values: &[Value]) -> String {
    let words: Vec<String> = values.iter().map(word).collect();
    format!("[{}]", words.join(" "))
}
