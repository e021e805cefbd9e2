//! What can be brought back of what we overwrote. Pure.
//!
//! Invariant: only what stands there as we left it is brought back; all else is kept as it is, with
//! the reason.

use std::collections::BTreeMap;

use super::{Cell, Event, Operation, What, Written};
use crate::engine::plan::Pair;
use crate::engine::record::{Direction, Value};

/// A write that brings something back.
#[derive(Clone, Debug, PartialEq)]
pub struct Restore {
    /// The direction of the writes that it takes back: it goes to the same end as they did.
    pub direction: Direction,
    pub operation: Operation,
    /// What is to stand there, by the names of the destination.
    pub data: BTreeMap<String, Cell>,
    /// What we left there, and has to stand there still.
    pub expect: BTreeMap<String, Cell>,
    /// The events that it takes back.
    pub events: Vec<i64>,
}

/// What is left as it is, for a person to look at.
#[derive(Clone, Debug, PartialEq)]
pub struct Kept {
    pub direction: Direction,
    /// `None` where it concerns the record as a whole.
    pub field: Option<String>,
    pub reason: &'static str,
    pub before: Option<Cell>,
    pub now: Option<Cell>,
    pub events: Vec<i64>,
}

/// What an undo does to one record.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    pub restores: Vec<Restore>,
    pub kept: Vec<Kept>,
}

/// One event of the record, and whether it is among those to be undone.
pub type Chosen<'e> = (i64, &'e Event, bool);

/// Plans the undo of one record's events, which come oldest first; `knows` tells whether the rules of
/// a direction know a field of its destination.
pub fn plan(events: &[Chosen<'_>], pair: Option<&Pair>, knows: &dyn Fn(Direction, &str) -> bool) -> Plan {
    let mut plan = Plan::default();
    for direction in Direction::BOTH {
        let chain = follow(events, direction);
        let now = pair.and_then(|pair| pair.side(direction.to()).now());
        let keep =
            |field: Option<&str>, reason, before: Option<&Cell>, now: Option<&Value>, events: &[i64]| Kept {
                direction,
                field: field.map(str::to_owned),
                reason,
                before: before.cloned(),
                now: now.map(Cell::from),
                events: events.to_vec(),
            };
        if let Some(gone) = chain.gone {
            let data: BTreeMap<String, Cell> =
                gone.fields.into_iter().filter(|(name, _)| knows(direction, name)).collect();
            match now {
                Some(_) => plan.kept.push(keep(None, "the record is there again", None, None, &gone.events)),
                None if gone.again => {
                    plan.kept.push(keep(None, "it was written again since", None, None, &gone.events));
                }
                None => plan.restores.push(Restore {
                    direction,
                    operation: Operation::Create,
                    data,
                    expect: BTreeMap::new(),
                    events: gone.events,
                }),
            }
            continue;
        }
        if !chain.created.is_empty() {
            let reason = "we made this record, so nothing stood there before";
            plan.kept.push(keep(None, reason, None, None, &chain.created));
        }
        let mut restore = Restore {
            direction,
            operation: Operation::Update,
            data: BTreeMap::new(),
            expect: BTreeMap::new(),
            events: Vec::new(),
        };
        for (name, link) in chain.fields {
            let here = now.map(|now| now.get(&name));
            let reason = match here {
                None => "the record is not there any more",
                Some(_) if link.again => "we wrote it again since",
                Some(_) if !knows(direction, &name) => "the rules don't know this field any more",
                Some(_) if link.before.0 == Value::Unknown => "nobody saw what stood there before",
                Some(value) if value.agrees(&link.before.0) => "it shows the old value already",
                Some(value) if !value.agrees(&link.ours.0) => "somebody has changed it since",
                Some(_) => {
                    restore.events.extend(link.events);
                    restore.data.insert(name.clone(), writable(link.before));
                    restore.expect.insert(name, link.ours);
                    continue;
                }
            };
            plan.kept.push(keep(Some(&name), reason, Some(&link.before), here, &link.events));
        }
        if !restore.data.is_empty() {
            restore.events.sort_unstable();
            restore.events.dedup();
            plan.restores.push(restore);
        }
    }
    plan
}

/// A field that was not there is written as null: nothing else takes a value away.
fn writable(before: Cell) -> Cell {
    if before.0 == Value::Absent { Cell(Value::Null) } else { before }
}

/// What was done to one end, one write after the other.
#[derive(Default)]
struct Chain {
    fields: BTreeMap<String, Link>,
    gone: Option<Gone>,
    created: Vec<i64>,
}

struct Link {
    before: Cell,
    ours: Cell,
    /// A write that is not to be undone came later.
    again: bool,
    events: Vec<i64>,
}

struct Gone {
    fields: BTreeMap<String, Cell>,
    again: bool,
    events: Vec<i64>,
}

fn follow(events: &[Chosen<'_>], direction: Direction) -> Chain {
    let mut chain = Chain::default();
    for (id, event, chosen) in events {
        let What::Written(written) = &event.what else { continue };
        if event.direction != Some(direction) {
            continue;
        }
        match (written.operation, chosen) {
            (Operation::Update, true) => chain.updated(*id, written),
            (Operation::Delete, true) => chain.deleted(*id, written),
            (Operation::Create, true) => chain.created.push(*id),
            (Operation::Update, false) => {
                for field in &written.fields {
                    if let Some(link) = chain.fields.get_mut(&field.name) {
                        link.again = true;
                    }
                }
            }
            (Operation::Create | Operation::Delete, false) => {
                chain.fields.values_mut().for_each(|link| link.again = true);
                if let Some(gone) = &mut chain.gone {
                    gone.again = true;
                }
            }
        }
    }
    chain
}

impl Chain {
    fn updated(&mut self, id: i64, written: &Written) {
        for field in &written.fields {
            let link = self.fields.entry(field.name.clone()).or_insert_with(|| Link {
                before: field.before.clone(),
                ours: Cell::default(),
                again: false,
                events: Vec::new(),
            });
            link.ours = field.ours().clone();
            // Whoever wrote in between, this undo takes back both.
            link.again = false;
            link.events.push(id);
        }
    }

    /// What is brought back is what stood there before the first write that is undone.
    fn deleted(&mut self, id: i64, written: &Written) {
        let mut fields: BTreeMap<String, Cell> =
            written.fields.iter().map(|field| (field.name.clone(), field.before.clone())).collect();
        let mut events = vec![id];
        for (name, link) in std::mem::take(&mut self.fields) {
            events.extend(link.events);
            if !link.before.0.is_missing() {
                fields.insert(name, link.before);
            }
        }
        events.sort_unstable();
        events.dedup();
        self.gone = Some(Gone { fields, again: false, events });
    }
}
