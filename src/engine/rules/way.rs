//! One direction's rules at work: positions in, positions out.
//!
//! Invariant: nothing here looks up a name. A record is held back with the rule that does it, or
//! is invalid with a reason, never changed in silence.

use std::borrow::Cow;

use super::compiled::{Held, Invalid, Mapped, Operations};
use super::condition::Condition;
use super::convert::Kind;
use super::expr::Expression;
use super::transform::{Transform, apply_chain};
use super::validate::Demands;
use crate::engine::record::{Image, Key, Value, Values};
use crate::planted::{Bug, planted};

/// One direction's rules.
#[derive(Debug)]
pub struct Way {
    pub operations: Operations,
    /// Changes to the source that stand before everything else.
    pub(super) normalise: Vec<Normal>,
    pub(super) filters: Vec<Guard>,
    pub(super) when: Option<Expression>,
    pub(super) required: Vec<Guard>,
    pub(super) disallow: Vec<Guard>,
    pub(super) validate: Vec<Check>,
    /// Sorted by target.
    pub(super) steps: Vec<Step>,
    pub(super) targets: Vec<usize>,
    /// By position at the destination.
    pub(super) reads: Vec<Vec<usize>>,
    /// The positions of the key at the source and at the destination, where a mapping might change
    /// the key on the way.
    pub(super) keys: Option<(Vec<usize>, Vec<usize>)>,
}

/// Transforms of one field of the source.
#[derive(Debug)]
pub(super) struct Normal {
    pub at: usize,
    pub field: String,
    pub chain: Vec<Transform>,
}

/// A condition on one field.
#[derive(Debug)]
pub(super) struct Guard {
    /// In words: `filters.status`.
    pub rule: String,
    /// Where the source has the field.
    pub at: Option<usize>,
    /// Where the destination has it, for a field that no mapping carries.
    pub other: Option<usize>,
    pub condition: Condition,
}

/// Demands on one field of the source.
#[derive(Debug)]
pub(super) struct Check {
    pub at: usize,
    pub field: String,
    pub demands: Demands,
}

/// How one field of the destination is made.
#[derive(Debug)]
pub(super) struct Step {
    pub target: usize,
    pub made: Made,
}

#[derive(Debug)]
pub(super) enum Made {
    /// The field at this position, as it is.
    Copy(usize),
    Field(Box<FieldStep>),
    /// By the expression under the target's name.
    Set(String, Box<Expression>),
}

/// A mapping that does more than copy.
#[derive(Debug)]
pub(super) struct FieldStep {
    pub from: usize,
    pub field: String,
    pub chain: Vec<Transform>,
    /// Stands in for a field that is missing or null.
    pub default: Option<Value>,
    pub required: bool,
    pub kind: Option<Kind>,
}

impl Guard {
    /// Returns the value that the guard asks about.
    pub(super) fn value<'v>(&self, from: &'v [Value], other: Option<&'v Image>) -> &'v Value {
        let own = self.at.and_then(|at| from.get(at)).unwrap_or(&Value::Absent);
        if !own.is_missing() && !matches!(own, Value::Null) {
            return own;
        }
        match (self.other, other) {
            (Some(at), Some(other)) => other.at(at),
            _ => own,
        }
    }
}

impl Way {
    /// Asks filters, `when`, required fields and gates, in that order; `Err` names the first that
    /// holds the record back. `other` is what the other end looks like, where the pair has one: a
    /// filter on a field that no mapping carries and that is missing or null here is asked there.
    pub fn admits(&self, from: &Image, other: Option<&Image>) -> Result<(), Held> {
        // A field that can't be normalised is left as it is here: `map` gives the reason.
        let (values, _) = self.normalised(&from.values);
        for guard in &self.filters {
            if !guard.condition.holds(guard.value(&values, other)) {
                return Err(Held { rule: guard.rule.clone() });
            }
        }
        if let Some(when) = &self.when {
            match when.test(&values) {
                Ok(true) => {}
                Ok(false) => return Err(Held { rule: "when".to_owned() }),
                Err(reason) => return Err(Held { rule: format!("when: {reason}") }),
            }
        }
        for guard in &self.required {
            if guard.value(&values, other).is_blank() {
                return Err(Held { rule: guard.rule.clone() });
            }
        }
        for guard in &self.disallow {
            if guard.condition.holds(guard.value(&values, other)) {
                return Err(Held { rule: guard.rule.clone() });
            }
        }
        Ok(())
    }

    /// Maps a record to the other end's shape, keys included.
    ///
    /// A field that is missing takes its default or is not written; one of which nothing has been
    /// seen yet is not written either.
    pub fn map(&self, from: &Image) -> Result<Mapped, Invalid> {
        let (values, failed) = self.normalised(&from.values);
        if let Some(invalid) = failed {
            return Err(invalid);
        }
        for check in &self.validate {
            let value = values.get(check.at).unwrap_or(&Value::Absent);
            check.demands.check(value).map_err(|(demand, reason)| Invalid {
                field: check.field.clone(),
                rule: format!("validate.{}.{demand}", check.field),
                reason,
            })?;
        }
        if self.leaves_all(&from.values) && !planted(Bug::FloatNumbers) {
            return Ok(from.values.clone());
        }
        let mut mapped = Values::all(Value::Absent, self.reads.len());
        let places = &mut *mapped;
        for step in &self.steps {
            let mut value = step.made.value(&values)?;
            if let Value::Int(int) = &mut value
                && planted(Bug::FloatNumbers)
            {
                *int = *int as f64 as i64;
            }
            if let Some(place) = places.get_mut(step.target) {
                *place = value;
            }
        }
        self.check_key(&from.values, &mapped)?;
        Ok(mapped)
    }

    /// Tells whether all values travel as they are, each to the position that it has, and there is nothing else at the
    /// other end.
    fn leaves_all(&self, values: &[Value]) -> bool {
        let stays =
            |at: usize, step: &Step| step.target == at && matches!(step.made, Made::Copy(from) if from == at);
        self.normalise.is_empty()
            && self.steps.len() == values.len()
            && self.reads.len() == values.len()
            && self.steps.iter().enumerate().all(|(at, step)| stays(at, step))
            && !values.iter().any(|value| matches!(value, Value::Unknown))
    }

    /// Returns the positions at the other end that this direction writes.
    pub fn targets(&self) -> &[usize] {
        &self.targets
    }

    /// Returns the source positions from which a target is made: its mapping's `from`, or all
    /// fields that its `set` expression reads.
    pub fn reads(&self, target: usize) -> &[usize] {
        self.reads.get(target).map_or(&[], Vec::as_slice)
    }

    /// Gives the values after `normalise`, and the first that could not be.
    pub(super) fn normalised<'v>(&self, values: &'v [Value]) -> (Cow<'v, [Value]>, Option<Invalid>) {
        let mut values = Cow::Borrowed(values);
        let mut failed = None;
        for normal in &self.normalise {
            let value = values.get(normal.at).cloned().unwrap_or_default();
            match apply_chain(&normal.chain, value) {
                Ok(value) => {
                    if let Some(place) = values.to_mut().get_mut(normal.at) {
                        *place = value;
                    }
                }
                Err((step, reason)) if failed.is_none() => {
                    let rule = format!("normalise.{}.{step}", normal.field);
                    failed = Some(Invalid { field: normal.field.clone(), rule, reason });
                }
                Err(_) => {}
            }
        }
        (values, failed)
    }

    /// Refuses a record whose key would be another one at the destination: the two could never be
    /// recognised as a pair again.
    fn check_key(&self, from: &[Value], mapped: &[Value]) -> Result<(), Invalid> {
        let Some((source, target)) = &self.keys else { return Ok(()) };
        let key = |values: &[Value], places: &[usize]| {
            Key::from_values(places.iter().map(|&at| values.get(at).unwrap_or(&Value::Absent))).ok()
        };
        match (key(from, source), key(mapped, target)) {
            (Some(before), Some(after)) if before != after => Err(Invalid {
                field: "key".to_owned(),
                rule: "key".to_owned(),
                reason: "the mapping changes the key, so the two records would never be a pair".to_owned(),
            }),
            _ => Ok(()),
        }
    }
}

impl Made {
    fn value(&self, values: &[Value]) -> Result<Value, Invalid> {
        match self {
            Self::Copy(at) => Ok(match values.get(*at) {
                None | Some(Value::Unknown) => Value::Absent,
                Some(value) => value.clone(),
            }),
            Self::Field(step) => step.value(values.get(step.from).unwrap_or(&Value::Absent)),
            Self::Set(_, expression) if expression.waits(values) => Ok(Value::Absent),
            Self::Set(field, expression) => expression.eval(values).map_err(|reason| Invalid {
                field: field.clone(),
                rule: format!("set.{field}"),
                reason,
            }),
        }
    }
}

impl FieldStep {
    fn value(&self, value: &Value) -> Result<Value, Invalid> {
        let invalid = |rule: &str, reason: String| Invalid {
            field: self.field.clone(),
            rule: format!("mappings.{}.{rule}", self.field),
            reason,
        };
        let made = match (value, &self.default) {
            (Value::Unknown, _) => return Ok(Value::Absent),
            (Value::Absent | Value::Null, Some(default)) => default.clone(),
            _ => {
                let value = apply_chain(&self.chain, value.clone())
                    .map_err(|(step, reason)| invalid(&format!("transform.{step}"), reason))?;
                match self.kind {
                    Some(kind) => kind.convert(value).map_err(|reason| invalid("type", reason))?,
                    None => value,
                }
            }
        };
        if self.required && made.is_blank() {
            return Err(invalid("required", "the field is missing or empty".to_owned()));
        }
        Ok(made)
    }
}
