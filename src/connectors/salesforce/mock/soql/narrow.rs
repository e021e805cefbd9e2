//! What a query says of all rows that it finds, before one of them is looked at.
//!
//! Invariant: tells less than the query rather than more. What is not understood here narrows nothing down, and
//! every row is held against the whole query afterwards.

use std::cmp::{max, min};

use super::Comparison;
use super::column::Column;
use super::eval::{Operand, Plan, Test};

/// The field by which changes are read.
pub const STAMP: &str = "SystemModstamp";
const ID: &str = "Id";

/// The order of a query, where rows are kept in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    ById,
    /// By stamp, then by id.
    ByStamp,
}

/// The stretch of rows outside of which a query finds nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stretch<'q> {
    /// The least stamp, and the least id that a row of this very stamp has; empty where there is none.
    pub from: (&'q str, &'q str),
    /// The least id of all.
    pub id: &'q str,
    /// All stamps are before this one.
    pub until: Option<&'q str>,
}

impl Plan {
    /// Lists the fields of which every row holds one of a few texts, case ignored.
    pub fn lists(&self) -> Vec<(&str, Vec<&str>)> {
        let parts = match &self.test {
            Some(Test::All(parts)) => parts.as_slice(),
            Some(test) => std::slice::from_ref(test),
            None => &[],
        };
        parts.iter().filter_map(list).collect()
    }

    /// Tells of the order; `None` where rows are not kept in it.
    pub fn way(&self) -> Option<Way> {
        let first = self.order.first().filter(|first| first.column.is_own() && !first.descending)?;
        let rest = self
            .order
            .get(1)
            .is_none_or(|second| second.column.is_own() && second.column.name == ID && !second.descending);
        match first.column.name.as_str() {
            ID => Some(Way::ById),
            STAMP if rest => Some(Way::ByStamp),
            _ => None,
        }
    }

    /// Tells between which rows all lie that are found.
    pub fn stretch(&self) -> Stretch<'_> {
        self.test.as_ref().map(stretch).unwrap_or_default()
    }
}

fn list(test: &Test) -> Option<(&str, Vec<&str>)> {
    match test {
        Test::Compare { column, comparison: Comparison::Equal, with: Operand::Text(text) }
            if column.is_own() =>
        {
            Some((&column.name, vec![text]))
        }
        Test::Set { column, texts, null: false } if column.is_own() => {
            Some((&column.name, texts.iter().map(String::as_str).collect()))
        }
        _ => None,
    }
}

fn stretch(test: &Test) -> Stretch<'_> {
    match test {
        Test::All(parts) => parts.iter().map(stretch).reduce(Stretch::both).unwrap_or_default(),
        Test::Any(parts) => parts.iter().map(stretch).reduce(Stretch::either).unwrap_or_default(),
        Test::Compare { column, comparison, with } if column.is_own() => compared(column, *comparison, with),
        _ => Stretch::default(),
    }
}

fn compared<'q>(column: &Column, comparison: Comparison, with: &'q Operand) -> Stretch<'q> {
    let mut found = Stretch::default();
    match (column.name.as_str(), with, comparison) {
        (STAMP, Operand::Span(_, behind), Comparison::Greater) => found.from = (behind, ""),
        (STAMP, Operand::Span(begin, _), Comparison::GreaterOrEqual) => found.from = (begin, ""),
        (STAMP, Operand::Span(begin, _), Comparison::Less) => found.until = Some(begin),
        (STAMP, Operand::Span(_, behind), Comparison::LessOrEqual) => found.until = Some(behind),
        (STAMP, Operand::Span(begin, behind), Comparison::Equal) => {
            found = Stretch { from: (begin, ""), until: Some(behind), ..found };
        }
        (ID, Operand::Text(text), Comparison::Greater | Comparison::GreaterOrEqual | Comparison::Equal) => {
            found.id = text
        }
        _ => {}
    }
    found
}

impl<'q> Stretch<'q> {
    /// Returns the first place in the order of (stamp, id).
    pub fn first(&self) -> (&'q str, &'q str) {
        let (stamp, id) = self.from;
        (stamp, max(id, self.id))
    }

    fn both(self, other: Self) -> Self {
        let until = match (self.until, other.until) {
            (Some(one), Some(two)) => Some(min(one, two)),
            (one, two) => one.or(two),
        };
        Self { from: max(self.from, other.from), id: max(self.id, other.id), until }
    }

    fn either(self, other: Self) -> Self {
        let until = self.until.zip(other.until).map(|(one, two)| max(one, two));
        Self { from: min(self.first(), other.first()), id: min(self.id, other.id), until }
    }
}
