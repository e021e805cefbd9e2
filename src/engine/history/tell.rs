//! Makes events of what the planner decided and the destination answered. Pure.

use super::{Cell, Contested, Failure, Moved, Operation, Overwritten, What, Written};
use crate::engine::plan::anew::is_marked;
use crate::engine::plan::{Action, ConflictField, Pair, Seen, Status};
use crate::engine::record::{Direction, Image, Side, Value};
use crate::engine::rules::{ConflictPolicy, LinkRules};

/// Tells of a write that the destination confirmed, from the pair as it was before. `made_from` is
/// the source's image that it was made from; `stored` what the destination says that it stored.
///
/// `None` for the first write of a record, of which the pair says all there is to say.
pub fn written(
    pair: &Pair,
    rules: &LinkRules,
    direction: Direction,
    action: &Action,
    made_from: Option<&Image>,
    stored: Option<&Image>,
) -> Option<Written> {
    let operation = Operation::of(action)?;
    if is_told_by_the_pair(pair, direction, action) {
        return None;
    }
    let told = Telling { pair, rules, direction, made_from };
    let (fields, seen) = match action {
        Action::Create(values) => (told.sent(values, stored), Vec::new()),
        Action::Update(values) => (told.sent(values, stored), told.moved(values)),
        _ => (told.deleted(), Vec::new()),
    };
    let modified_at = pair.side(direction.from()).modified_at.map(|at| at.0);
    Some(Written { operation, id: None, revision: None, fields, seen, modified_at, asked: false })
}

/// Tells whether a write is the first of its record: when it was made, from what and by which rules, the
/// pair says.
pub fn is_told_by_the_pair(pair: &Pair, direction: Direction, action: &Action) -> bool {
    matches!(action, Action::Create(_)) && !matches!(pair.side(direction.to()).seen, Seen::Deleted(_))
}

struct Telling<'p> {
    pair: &'p Pair,
    rules: &'p LinkRules,
    direction: Direction,
    made_from: Option<&'p Image>,
}

impl Telling<'_> {
    fn sent(&self, values: &[Value], stored: Option<&Image>) -> Vec<Overwritten> {
        let shape = self.rules.shape(self.direction.to());
        let now = self.pair.side(self.direction.to()).now();
        let mut fields = Vec::new();
        for (target, value) in values.iter().enumerate().filter(|(_, value)| !value.is_missing()) {
            let before = now.map_or(&Value::Absent, |now| now.at(target));
            let made = stored.map(|stored| stored.at(target)).filter(|made| !made.is_missing());
            let (agreed, policy) = self.contested(target, before);
            fields.push(Overwritten {
                name: shape.name(target).unwrap_or_default().to_owned(),
                before: before.into(),
                sent: value.into(),
                stored: made.filter(|made| *made != value).map(Cell::from),
                agreed,
                policy,
            });
        }
        fields
    }

    /// What both sides last agreed on where the destination had moved since, and the policy where the
    /// source had moved too.
    fn contested(&self, target: usize, before: &Value) -> (Option<Cell>, Option<String>) {
        let to = self.pair.side(self.direction.to());
        let Some(now) = to.now() else { return (None, None) };
        let base = to.base.as_ref().map(|base| base.at(target)).filter(|base| **base != Value::Unknown);
        // Nobody worked on what is only to be delivered again.
        let untouched = base.is_some_and(|base| base == before || is_marked(base));
        if untouched || now.at(target).is_missing() {
            return (None, None);
        }
        let policy = self.counterpart(target).map(|source| {
            let (a, b) = match self.direction {
                Direction::AToB => (source, target),
                Direction::BToA => (target, source),
            };
            let policy = if base.is_some() { self.rules.conflict(a, b) } else { self.rules.first_contact };
            policy_word(policy).to_owned()
        });
        (base.map(Cell::from), policy)
    }

    /// The field of the source that stands for this one in both directions, where it has moved.
    fn counterpart(&self, target: usize) -> Option<usize> {
        let (way, back) = (self.rules.way(self.direction)?, self.rules.way(self.direction.to().outward())?);
        let stands_for = |source: &usize| back.reads(*source).contains(&target);
        let source = way.reads(target).iter().copied().find(stands_for)?;
        let from = self.pair.side(self.direction.from());
        let image = self.made_from.or(from.now())?;
        let base = from.base.as_ref().map(|base| base.at(source));
        base.is_none_or(|base| base != image.at(source)).then_some(source)
    }

    fn moved(&self, values: &[Value]) -> Vec<Moved> {
        let from = self.pair.side(self.direction.from());
        let (Some(base), Some(image), Some(way)) =
            (from.base.as_ref(), self.made_from.or(from.now()), self.rules.way(self.direction))
        else {
            return Vec::new();
        };
        let mut sources: Vec<usize> = values
            .iter()
            .enumerate()
            .filter(|(_, value)| !value.is_missing())
            .flat_map(|(target, _)| way.reads(target).iter().copied())
            .collect();
        sources.sort_unstable();
        sources.dedup();
        sources
            .into_iter()
            .filter(|&source| base.at(source) != image.at(source))
            .map(|source| Moved {
                name: image.shape.name(source).unwrap_or_default().to_owned(),
                from: base.at(source).into(),
                to: image.at(source).into(),
            })
            .collect()
    }

    fn deleted(&self) -> Vec<Overwritten> {
        let Some(now) = self.pair.side(self.direction.to()).now() else { return Vec::new() };
        let there = now.shape.names().zip(&now.values).filter(|(_, value)| !value.is_missing());
        there
            .map(|(name, value)| Overwritten {
                name: name.to_owned(),
                before: value.into(),
                sent: Cell::default(),
                stored: None,
                agreed: None,
                policy: None,
            })
            .collect()
    }
}

fn policy_word(policy: ConflictPolicy) -> &'static str {
    match policy {
        ConflictPolicy::Newest => "newest",
        ConflictPolicy::A => "a",
        ConflictPolicy::B => "b",
        ConflictPolicy::Manual => "manual",
        ConflictPolicy::Max => "max",
        ConflictPolicy::Min => "min",
        ConflictPolicy::Union => "union",
        ConflictPolicy::NonEmpty => "non_empty",
    }
}

/// What the directions of a pair said before it was planned, so far as history cares.
#[derive(Debug)]
pub struct Verdicts {
    is_new: bool,
    had: [(Status, Option<String>); 2],
}

impl Verdicts {
    /// Takes down what a pair says.
    pub fn of(pair: &Pair) -> Self {
        let had = Direction::BOTH.map(|direction| {
            let way = pair.way(direction);
            let error = held_by(pair, direction).map(str::to_owned);
            (way.status, error)
        });
        Self { is_new: pair.version == 0, had }
    }

    /// Tells in what the verdicts have changed. What a new record is held back by, the pair says.
    pub fn changes(self, pair: &Pair, actions: [&Action; 2]) -> Vec<(Option<Direction>, What)> {
        let mut changes = Vec::new();
        let was_conflict = self.had.iter().any(|(status, _)| *status == Status::Conflict);
        for ((direction, (_, rule)), action) in Direction::BOTH.into_iter().zip(self.had).zip(actions) {
            let holds = held_by(pair, direction);
            match (rule, holds) {
                (had, Some(now)) if had.as_deref() != Some(now) && !self.is_new => {
                    changes.push((Some(direction), What::Held { rule: now.to_owned() }));
                }
                (Some(rule), None) => changes.push((Some(direction), What::Released { rule })),
                _ => {}
            }
            if let (Action::Conflict(fields), Direction::AToB, false) = (action, direction, was_conflict) {
                changes.push((None, What::Conflict(fields.iter().map(Contested::from).collect())));
            }
        }
        changes
    }
}

/// Returns the rule that holds a record back in a direction, as the pair says.
pub fn held_by(pair: &Pair, direction: Direction) -> Option<&str> {
    let way = pair.way(direction);
    way.error.as_deref().filter(|_| way.status == Status::SkippedByRule)
}

impl From<&ConflictField> for Contested {
    fn from(field: &ConflictField) -> Self {
        Self {
            a_field: field.a_field.clone(),
            b_field: field.b_field.clone(),
            a: (&field.a_value).into(),
            b: (&field.b_value).into(),
        }
    }
}

impl Failure {
    /// Takes down what went wrong with a job.
    pub fn of(error: &crate::engine::job::JobError) -> Self {
        Self { code: error.code.as_str().to_owned(), message: error.message.clone() }
    }
}

impl Contested {
    /// Returns the name of the field at one side.
    pub fn field(&self, side: Side) -> &str {
        match side {
            Side::A => &self.a_field,
            Side::B => &self.b_field,
        }
    }
}
