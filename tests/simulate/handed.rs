//! What applications have handed in, and what of it arrives: as if somebody had worked at its destination.

use std::collections::BTreeSet;

use record_sync::connectors::Write;
use record_sync::engine::record::{Side, Value};

use crate::ledger::{What, is_token, plain};
use crate::setup::FIELDS;
use crate::world::{State, is_poison, shown, word};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Create,
    Update,
    Delete,
}

impl Operation {
    pub fn word(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Update => "update",
            Self::Delete => "delete",
        }
    }
}

/// One change as it was handed in.
#[derive(Clone, Debug)]
pub struct Handed {
    /// Its correlation id.
    pub name: String,
    pub side: Side,
    pub key: u8,
    pub operation: Operation,
    pub values: [Option<Value>; FIELDS.len()],
    /// Its job, once that was answered.
    pub job: Option<i64>,
    /// It was refused: nothing of it may ever arrive.
    pub refused: bool,
    /// Somebody had it done again, or tried again after it had ended.
    pub again: bool,
    /// Somebody called it off, or tried to.
    pub called_off: bool,
    /// What of it stood at its destination.
    pub arrived: [bool; FIELDS.len()],
    /// The record was found to be gone.
    pub gone: bool,
    /// The record was deleted for it.
    pub deleted: bool,
    /// What arrived may have been answered to nobody.
    pub in_doubt: bool,
}

/// What applications handed in.
#[derive(Debug, Default)]
pub struct Pushes {
    pub handed: Vec<Handed>,
    /// So many of them were judged at the last quiet point.
    pub judged: usize,
}

impl Handed {
    pub fn is_for(&self, other: &Self) -> bool {
        (self.side, self.key) == (other.side, other.key)
    }

    pub fn carries(&self, field: usize, value: &Value) -> bool {
        self.values[field].as_ref().is_some_and(|own| plain(own) == plain(value))
    }
}

impl Pushes {
    pub fn of(&mut self, job: i64) -> impl Iterator<Item = &mut Handed> {
        self.handed.iter_mut().filter(move |handed| handed.job == Some(job))
    }

    /// The jobs of what was handed in since the last quiet point.
    pub fn of_late(&self) -> BTreeSet<i64> {
        self.handed.iter().skip(self.judged).filter_map(|handed| handed.job).collect()
    }

    /// Tells whether a change that may be in the same job carries what some systems can't stomach.
    pub fn poisons(&self, handed: &Handed) -> bool {
        let mut near = self.handed.iter().filter(|near| near.is_for(handed));
        near.any(|near| near.values.iter().flatten().any(is_poison))
    }

    /// Tells whether the pushes of a record explain that its direction ended otherwise than in step.
    pub fn explain(&self, side: Side, key: u8) -> bool {
        let mut near = self.handed.iter().filter(|handed| (handed.side, handed.key) == (side, key));
        near.any(|near| near.called_off || near.values.iter().flatten().any(is_poison))
    }

    /// Finds the push that a delivery carries out.
    pub fn bringing(&self, side: Side, key: u8, given: Option<&[(usize, Value)]>, names: &str) -> bool {
        let near = || self.handed.iter().filter(|handed| (handed.side, handed.key) == (side, key));
        let named = |handed: &&Handed| {
            names.split(',').any(|name| name == handed.name || name == "push-again" && handed.again)
        };
        let Some(given) = given else {
            return near().filter(named).any(|handed| handed.operation == Operation::Delete);
        };
        let tokens = || given.iter().filter(|(_, value)| is_token(value));
        // What follows a deletion goes by its name as well, and brings what the other side shows.
        let writers = || near().filter(|handed| named(handed) && handed.operation != Operation::Delete);
        match tokens().next() {
            None => writers().next().is_some(),
            Some(_) => {
                let of_writers =
                    given.iter().any(|(field, value)| writers().any(|handed| handed.carries(*field, value)));
                let of_near =
                    tokens().any(|(field, value)| near().any(|handed| handed.carries(*field, value)));
                of_writers || writers().next().is_some() && of_near
            }
        }
    }

    /// Finds the pushes that this delivery carries out: those of its name, and those in the same job.
    pub fn in_delivery(&mut self, side: Side, key: u8, names: &str) -> Vec<&mut Handed> {
        let is_near = |handed: &Handed| (handed.side, handed.key) == (side, key);
        let is_named = |handed: &Handed| names.split(',').any(|name| name == handed.name);
        let named = |at: &usize| is_near(&self.handed[*at]) && is_named(&self.handed[*at]);
        let named: Vec<usize> = (0..self.handed.len()).filter(named).collect();
        // One that is under way before it was answered is in the job of the last one before it, if that stood.
        let job =
            |at: &usize| self.handed[..=*at].iter().rev().filter(|it| is_near(it)).find_map(|it| it.job);
        let jobs: Vec<i64> = named.iter().filter_map(job).collect();
        // It goes by the name of the last one in it: what was handed in later waits in the same job.
        let last = named.last().copied().unwrap_or(usize::MAX);
        let is_in = |(at, handed): &(usize, &mut Handed)| {
            let of_job = handed.job.is_none_or(|job| jobs.contains(&job));
            is_near(handed) && (handed.again || is_named(handed) || of_job && *at <= last)
        };
        self.handed.iter_mut().enumerate().filter(is_in).map(|(_, handed)| handed).collect()
    }

    /// The process died: what it was told of late may not be stored.
    pub fn doubt(&mut self) {
        self.handed
            .iter_mut()
            .for_each(|handed| handed.in_doubt |= handed.deleted || handed.arrived.contains(&true));
    }

    /// The answer to what was written for a record was lost.
    pub fn doubt_last(&mut self, side: Side, key: u8) {
        let near = self.handed.iter_mut().filter(|handed| (handed.side, handed.key) == (side, key));
        near.for_each(|handed| handed.in_doubt |= handed.deleted || handed.arrived.contains(&true));
    }
}

impl State {
    /// Tells whether a delivery is what an application handed in.
    pub fn is_pushed(
        &self,
        side: Side,
        key: u8,
        write: &Write,
        given: impl FnOnce() -> Vec<(usize, Value)>,
        names: &str,
    ) -> bool {
        if self.pushes.handed.is_empty() {
            return false;
        }
        let given = (*write != Write::Delete).then(given);
        self.pushes.bringing(side, key, given.as_deref(), names)
    }

    /// A record is made under the name of a push: one that names nothing which travels may have wanted it.
    pub fn made_beside_push(&mut self, side: Side, key: u8, names: &str) {
        let narrow = !self.rules.wide;
        let empty = |handed: &Handed| {
            handed.operation != Operation::Delete
                && narrow
                && handed.values.iter().take(FIELDS.len() - 1).all(Option::is_none)
        };
        if self.pushes.in_delivery(side, key, names).iter().any(|handed| empty(handed)) {
            self.is_unsure(key);
        }
    }

    /// Takes a value in that is handed in, or was known at the other side; gives what stands then.
    fn bring(
        &mut self,
        side: Side,
        key: u8,
        field: usize,
        value: Value,
        before: Option<&Value>,
        names: &str,
    ) -> (Value, bool) {
        let stored = match &value {
            Value::Text(text) => Value::text(self.system(side).nature.canon.of(text)),
            other => other.clone(),
        };
        let stands = before.is_some_and(|before| plain(before) == plain(&stored));
        let mut broken = None;
        let (mut is_pushed, mut is_unsure) = (false, false);
        let crashed = self.crashed;
        // What is made anew shows what the other side does, or did when it was last read: that may once have been
        // handed in.
        let is_back = before.is_none() && self.shows(side.other(), key, field, &stored);
        let was_there = before.is_none() && self.ledger(key).has_shown(side.other(), field, &stored);
        for handed in self.pushes.in_delivery(side, key, names) {
            if !handed.carries(field, &value) || is_back && handed.arrived[field] {
                continue;
            }
            is_pushed = true;
            let twice = std::mem::replace(&mut handed.arrived[field], true) && !stands && is_token(&value);
            if handed.refused {
                broken = Some(format!("{} was refused and arrives", handed.name));
            } else if twice && !handed.again {
                match handed.in_doubt {
                    true => is_unsure = true,
                    false if was_there => {}
                    false => {
                        broken.get_or_insert(format!("{} arrives twice: {}", handed.name, word(&value)));
                    }
                }
            }
            handed.in_doubt |= crashed;
        }
        self.figures.unsure_fields += u64::from(is_unsure);
        if let Some(text) = broken {
            self.violated("pushed", text);
        }
        if !is_pushed {
            self.known_value(side, key, field, &value);
            self.ledger(key).written(side, field, before, &value);
        }
        (stored, is_pushed && !stands)
    }

    /// A record is made as an application has handed it in.
    pub fn pushed_create(&mut self, side: Side, key: u8, given: Vec<(usize, Value)>, names: &str) -> u64 {
        let now = self.now();
        let near = self.pushes.in_delivery(side, key, names);
        if !near.iter().any(|handed| handed.operation != Operation::Delete) {
            self.violated("pushed", format!("k{key} is made at {} by who deletes it", side.as_str()));
        }
        let mut values = [const { Value::Null }; FIELDS.len()];
        let (mut has_own, mut has_more) = (false, false);
        for (field, value) in given {
            let says = is_token(&value);
            let (stored, is_pushed) = self.bring(side, key, field, value, None, names);
            has_own |= says && is_pushed && !self.shows(side.other(), key, field, &stored);
            values[field] = stored;
            has_more |= says && !is_pushed;
        }
        if has_more && !self.showed_of_late(side.other(), key) {
            let text = format!("k{key} is made at {} of what is gone from the other side", side.as_str());
            self.violated("pushed", text);
        }
        self.works_over(side, key, What::Insert);
        let made = self.ledger(key).insert(side, &values, now);
        for (field, value) in values.iter().enumerate().filter(|(_, value)| is_token(value)) {
            if self.shows(side.other(), key, field, value) {
                self.ledger(key).is_shown_already(side.other(), made, field);
            }
        }
        let is_empty = !values.iter().any(is_token);
        if !is_empty && !has_own {
            // It shows just what the other side does: who deletes it there has seen all of it.
            self.ledger(key).shows_no_more(made);
            self.figures.unsure_records += 1;
        }
        if is_empty {
            // Nothing tells by itself whether an empty record was seen at the other side.
            self.is_unsure(key);
        }
        self.note(|| format!("    {} creates k{key} {} as pushed", side.as_str(), shown(&values)));
        self.counts_write();
        self.system(side).insert(key, values, now, 0)
    }

    fn shows(&mut self, side: Side, key: u8, field: usize, value: &Value) -> bool {
        let row = self.system(side).by_key(key);
        row.is_some_and(|row| plain(&row.values[field]) == plain(value))
    }

    /// Tells whether a record was there when we looked last.
    fn showed_of_late(&mut self, side: Side, key: u8) -> bool {
        let system = self.system(side);
        let looked = system.looked.get(&key).copied().unwrap_or(0);
        system.by_key(key).is_some() || self.ledger(key).was_deleted_since(side, looked)
    }

    /// A record is changed as an application has handed it in.
    pub fn pushed_update(&mut self, side: Side, id: u64, given: Vec<(usize, Value)>, names: &str) {
        let now = self.now();
        let Some(row) = self.system(side).rows.get(&id).cloned() else { return };
        let key = row.key;
        for (field, value) in given {
            let (stored, is_edit) = self.bring(side, key, field, value, Some(&row.values[field]), names);
            if is_edit {
                self.works(side, &row, field, &stored);
            }
            self.note(|| {
                format!("    {} k{key}.{} = {} as pushed", side.as_str(), FIELDS[field], word(&stored))
            });
            self.system(side).set(id, field, stored, now, 0);
        }
        self.counts_write();
    }

    /// A record is deleted as an application wanted it.
    pub fn pushed_delete(&mut self, side: Side, id: u64, names: &str) {
        let Some(key) = self.system(side).rows.get(&id).map(|row| row.key) else { return };
        let mut first = false;
        let mut name = String::new();
        let crashed = self.crashed;
        for handed in self.pushes.in_delivery(side, key, names) {
            if handed.operation != Operation::Delete {
                continue;
            }
            first |= !handed.deleted || handed.again || handed.in_doubt;
            (handed.gone, handed.deleted) = (true, true);
            handed.in_doubt |= crashed;
            name.clone_from(&handed.name);
        }
        if !first {
            self.violated("pushed", format!("{name} deletes twice"));
        }
        self.counts_write();
        self.delete(side, key);
    }

    /// Nothing stands there: whoever wanted it deleted has that.
    pub fn found_gone(&mut self, side: Side, key: u8) {
        let near = self.pushes.handed.iter_mut().filter(|handed| (handed.side, handed.key) == (side, key));
        near.for_each(|handed| handed.gone = true);
    }
}
