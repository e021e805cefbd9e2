//! Queries against rows.
//!
//! What the table lacks is dropped from a query, as the service does; texts are compared without their case,
//! numbers by amount.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::BTreeSet;

use super::super::catalogue::{Catalogue, Kind, value_at};
use super::moment::{Asker, worked_out};
use super::parser::{Clause, Condition, Op, Order, Query};
use crate::connectors::mock::{Id, Object, Table};

/// A query whose fields exist and whose values are worked out.
pub struct Resolved {
    groups: Vec<Vec<Vec<Check>>>,
    pub order: Vec<Sort>,
}

/// One condition, ready to be held against rows.
struct Check {
    field: String,
    op: Op,
    kind: Kind,
    /// In lower case; of lists and ranges their parts.
    values: Vec<String>,
    /// Tables that count as one, for `INSTANCEOF`.
    classes: BTreeSet<String>,
}

/// One term of an order.
pub struct Sort {
    pub field: String,
    pub descending: bool,
    pub kind: Kind,
}

impl Resolved {
    /// Lays a query out against a table.
    pub fn new(query: Query, stream: &str, catalogue: &Catalogue, asker: &Asker) -> Self {
        let check = |condition: Condition| Check::new(condition, stream, catalogue, asker);
        let clause = |clause: Clause| -> Option<Vec<Check>> {
            let checks: Vec<Check> = clause.into_iter().filter_map(check).collect();
            (!checks.is_empty()).then_some(checks)
        };
        let groups = query
            .groups
            .into_iter()
            .map(|group| group.into_iter().filter_map(clause).collect::<Vec<_>>())
            .collect();
        let sort = |Order { field, descending }: Order| {
            let kind = catalogue.kind(stream, &field)?;
            Some(Sort { field, descending, kind })
        };
        Self { groups, order: query.order.into_iter().filter_map(sort).collect() }
    }

    /// Tells whether a row passes; `value` gives a field's text.
    pub fn accepts<'v>(&self, value: &dyn Fn(&str) -> Cow<'v, str>) -> bool {
        self.groups
            .iter()
            .any(|group| group.iter().all(|clause| clause.iter().any(|check| check.accepts(value))))
    }

    /// Returns the conditions that every row has to meet by themselves.
    fn demands(&self) -> impl Iterator<Item = &Check> {
        let group = match self.groups.as_slice() {
            [group] => group.as_slice(),
            _ => &[],
        };
        group.iter().filter_map(|clause| match clause.as_slice() {
            [check] => Some(check),
            _ => None,
        })
    }

    /// Returns the fields of which every row has to hold one of a few values, with these, in lower case.
    pub fn lists(&self) -> impl Iterator<Item = (&str, Kind, Vec<&str>)> {
        let group = match self.groups.as_slice() {
            [group] => group.as_slice(),
            _ => &[],
        };
        group.iter().filter_map(|clause| {
            let first = clause.first()?;
            let fits = |check: &Check| check.field == first.field && matches!(check.op, Op::Is | Op::In);
            let values = clause.iter().flat_map(|check| check.values.iter().map(String::as_str));
            clause.iter().all(fits).then(|| (first.field.as_str(), first.kind, values.collect()))
        })
    }

    /// Tells whether every row passes.
    pub fn accepts_all(&self) -> bool {
        self.groups.iter().any(Vec::is_empty)
    }

    /// Returns the least id that a row can have whose field has just this value, in lower case. Reads that go on
    /// behind a place ask for a later value or, at this one, for a later id.
    pub fn least_id(&self, field: &str, value: &str) -> Option<&str> {
        let group = match self.groups.as_slice() {
            [group] => group.as_slice(),
            _ => &[],
        };
        let later = |check: &Check| {
            let not_before = check.values.first().is_some_and(|bound| bound.as_str() >= value);
            check.field == field && check.op == Op::Greater && not_before
        };
        let bounds = |check: &Check| {
            check.field == "sys_id" && matches!(check.op, Op::Is | Op::Greater | Op::GreaterOrIs)
        };
        let clauses = group.iter().filter(|clause| clause.iter().all(|check| later(check) || bounds(check)));
        let least = clauses.filter_map(|clause| {
            clause.iter().filter(|check| bounds(check)).filter_map(|check| check.values.first()).min()
        });
        least.map(String::as_str).max()
    }

    /// Returns the least value of a field that can pass, in lower case.
    pub fn least(&self, field: &str) -> Option<&str> {
        let bounds = self.demands().filter(|check| check.field == field);
        let bounds = bounds.filter(|check| matches!(check.op, Op::Is | Op::Greater | Op::GreaterOrIs));
        bounds.filter_map(|check| check.values.first()).map(String::as_str).max()
    }
}

impl Check {
    fn new(condition: Condition, stream: &str, catalogue: &Catalogue, asker: &Asker) -> Option<Self> {
        let Condition { field, op, value } = condition;
        let kind = catalogue.kind(stream, &field)?;
        let out = |text: &str| {
            let text = if kind == Kind::Moment { asker.moment(text) } else { worked_out(text, asker) };
            text.map(|text| text.to_lowercase())
        };
        let (op, values) = match op {
            Op::In | Op::NotIn if kind == Kind::Moment => (op, value.split(',').filter_map(out).collect()),
            Op::In | Op::NotIn => (op, value.split(',').map(str::to_lowercase).collect()),
            Op::Between => (op, value.split('@').map(out).collect::<Option<Vec<_>>>()?),
            // `Today@begin@end`: the name of the day, and its ends.
            Op::On | Op::NotOn => {
                let ends: Vec<String> = value.split('@').skip(1).map(out).collect::<Option<_>>()?;
                (op, ends)
            }
            Op::SameAs | Op::NotSameAs => {
                catalogue.kind(stream, &value)?;
                (op, vec![value])
            }
            _ => (op, vec![out(&value)?]),
        };
        let op = match (op, values.first().is_none_or(String::is_empty)) {
            (Op::Is, true) => Op::Empty,
            (Op::IsNot, true) => Op::NotEmpty,
            (op, _) => op,
        };
        if matches!(op, Op::Between | Op::On | Op::NotOn) && values.len() != 2 {
            return None;
        }
        let classes = match (op, values.first()) {
            (Op::InstanceOf, Some(class)) => catalogue.descendants(class),
            _ => BTreeSet::new(),
        };
        Some(Self { field, op, kind, values, classes })
    }

    fn accepts<'v>(&self, value: &dyn Fn(&str) -> Cow<'v, str>) -> bool {
        let stands = value(&self.field).to_lowercase();
        let first = self.values.first().map(String::as_str).unwrap_or_default();
        let last = self.values.last().map(String::as_str).unwrap_or_default();
        let empty = stands.is_empty();
        let order = |other: &str| compare(self.kind, &stands, other);
        let between = || !empty && order(first).is_ge() && order(last).is_le();
        match self.op {
            Op::Is => order(first).is_eq(),
            Op::IsNot => order(first).is_ne(),
            Op::Greater => !empty && order(first).is_gt(),
            Op::GreaterOrIs => !empty && order(first).is_ge(),
            Op::Less => !empty && order(first).is_lt(),
            Op::LessOrIs => !empty && order(first).is_le(),
            Op::Contains => stands.contains(first),
            Op::ContainsNot => !stands.contains(first),
            Op::StartsWith => stands.starts_with(first),
            Op::EndsWith => stands.ends_with(first),
            Op::In => self.values.iter().any(|value| order(value).is_eq()),
            Op::NotIn => self.values.iter().all(|value| order(value).is_ne()),
            Op::Between | Op::On => between(),
            Op::NotOn => !between(),
            Op::Empty => empty,
            Op::NotEmpty => !empty,
            Op::Anything => true,
            Op::SameAs => stands == value(first).to_lowercase(),
            Op::NotSameAs => stands != value(first).to_lowercase(),
            Op::InstanceOf => self.classes.contains(&stands),
        }
    }
}

/// Compares two texts as their field's kind does.
fn compare(kind: Kind, left: &str, right: &str) -> Ordering {
    match kind {
        Kind::Integer | Kind::Decimal => match (left.parse::<f64>(), right.parse::<f64>()) {
            (Ok(left), Ok(right)) => left.total_cmp(&right),
            _ => left.cmp(right),
        },
        Kind::Boolean => flag(left).cmp(flag(right)),
        _ => left.cmp(right),
    }
}

fn flag(text: &str) -> &str {
    match text {
        "1" => "true",
        "0" | "" => "false",
        other => other,
    }
}

/// Orders rows; the id comes last, so that the order is total.
pub fn order_rows(
    rows: &mut [(&Id, &Object)],
    order: &[Sort],
    stream: &str,
    table: &Table,
    catalogue: &Catalogue,
) {
    let key = |object: &Object| -> Vec<String> {
        order
            .iter()
            .map(|sort| value_at(table, catalogue, stream, object, &sort.field).to_lowercase())
            .collect()
    };
    let mut keyed: Vec<(Vec<String>, (&Id, &Object))> =
        rows.iter().map(|(id, object)| (key(object), (*id, *object))).collect();
    keyed.sort_by(|(left, (left_id, _)), (right, (right_id, _))| {
        let terms = order.iter().zip(left.iter().zip(right));
        let by_term = terms
            .map(|(sort, (left, right))| {
                let order = compare(sort.kind, left, right);
                if sort.descending { order.reverse() } else { order }
            })
            .find(|order| order.is_ne());
        by_term.unwrap_or_else(|| left_id.cmp(right_id))
    });
    for (place, (_, row)) in rows.iter_mut().zip(keyed) {
        *place = row;
    }
}
