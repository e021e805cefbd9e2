//! The file as a tree that remembers where everything stands: parsed, interpolated, laid over.

use std::collections::BTreeMap;
use std::ops::Range;

use serde_json::Value;
use toml::de::{DeTable, DeValue};

use super::interpolate::{Interpolated, Interpolation};
use super::problem::{Place, Problem};

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub span: Range<usize>,
    pub kind: Kind,
}

#[derive(Clone, Debug)]
pub(super) enum Kind {
    /// `interpolated` texts may stand for numbers and truth values: TOML has no other way to take
    /// one from the environment.
    Text {
        text: String,
        interpolated: bool,
    },
    Integer(i64),
    Float(f64),
    Bool(bool),
    List(Vec<Node>),
    Table(Table),
}

/// A table: its keys, each with its own place.
#[derive(Clone, Debug, Default)]
pub(super) struct Table {
    pub entries: BTreeMap<String, Entry>,
}

#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub key_span: Range<usize>,
    pub node: Node,
}

impl Kind {
    /// Returns the word for the kind of value, for messages.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Text { .. } => "text",
            Self::Integer(_) => "a whole number",
            Self::Float(_) => "a number",
            Self::Bool(_) => "true or false",
            Self::List(_) => "a list",
            Self::Table(_) => "a table",
        }
    }
}

/// Parses a file; `Err` where it is not TOML at all.
pub(super) fn parse(
    text: &str,
    interpolation: &Interpolation<'_>,
) -> Result<(Table, Vec<Problem>), Vec<Problem>> {
    let (root, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        return Err(errors.iter().map(|error| syntax_problem(error, text)).collect());
    }
    let mut problems = Vec::new();
    let table = build_table(root.get_ref(), interpolation, &mut problems);
    Ok((table, problems))
}

fn syntax_problem(error: &toml::de::Error, text: &str) -> Problem {
    let span = error.span().unwrap_or(text.len()..text.len());
    Problem {
        place: Place::from(&span),
        message: format!("this is not TOML: {}", error.message()),
        remedy: "see https://toml.io for the notation; text stands in quotes".to_owned(),
    }
}

fn build_table(table: &DeTable<'_>, with: &Interpolation<'_>, problems: &mut Vec<Problem>) -> Table {
    let entry = |(key, value): (&toml::Spanned<_>, &toml::Spanned<DeValue<'_>>),
                 problems: &mut Vec<Problem>| {
        let name: &std::borrow::Cow<'_, str> = key.get_ref();
        let node = build(value, with, problems);
        (name.clone().into_owned(), Entry { key_span: key.span(), node })
    };
    Table { entries: table.iter().map(|pair| entry(pair, problems)).collect() }
}

fn build(value: &toml::Spanned<DeValue<'_>>, with: &Interpolation<'_>, problems: &mut Vec<Problem>) -> Node {
    let span = value.span();
    let plain = |text: String| Kind::Text { text, interpolated: false };
    let kind = match value.get_ref() {
        DeValue::String(text) => match with.apply(text) {
            Ok(Interpolated::Plain) => plain(text.clone().into_owned()),
            Ok(Interpolated::Changed(text)) => Kind::Text { text, interpolated: true },
            Err((message, remedy)) => {
                problems.push(Problem { place: Place::from(&span), message, remedy });
                plain(String::new())
            }
        },
        DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => Kind::Integer(number),
            Err(_) => {
                problems.push(Problem {
                    place: Place::from(&span),
                    message: "this whole number is too large".to_owned(),
                    remedy: format!("write one up to {}", i64::MAX),
                });
                Kind::Integer(1)
            }
        },
        DeValue::Float(number) => Kind::Float(number.as_str().parse().unwrap_or(f64::NAN)),
        DeValue::Boolean(value) => Kind::Bool(*value),
        DeValue::Datetime(stamp) => plain(stamp.to_string()),
        DeValue::Array(items) => Kind::List(items.iter().map(|item| build(item, with, problems)).collect()),
        DeValue::Table(table) => Kind::Table(build_table(table, with, problems)),
    };
    Node { span, kind }
}

/// Lays a table over another, key by key, deep; everything but tables is replaced as a whole.
pub(super) fn lay_over(base: &Table, over: &Table) -> Table {
    let mut merged = base.clone();
    for (name, entry) in &over.entries {
        let below = base.entries.get(name).map(|entry| &entry.node.kind);
        let node = match (below, &entry.node.kind) {
            (Some(Kind::Table(below)), Kind::Table(above)) => {
                let below = without_foreign_settings(below, above);
                Node { span: entry.node.span.clone(), kind: Kind::Table(lay_over(&below, above)) }
            }
            _ => entry.node.clone(),
        };
        merged.entries.insert(name.clone(), Entry { key_span: entry.key_span.clone(), node });
    }
    merged
}

/// Where a customer puts another connector in a system's place, the old connector's settings would
/// be unknown keys: only what every system has stays.
fn without_foreign_settings(below: &Table, above: &Table) -> Table {
    let connector = |table: &Table| match table.entries.get("connector").map(|entry| &entry.node.kind) {
        Some(Kind::Text { text, .. }) => Some(text.clone()),
        _ => None,
    };
    let mut kept = below.clone();
    if let (Some(old), Some(new)) = (connector(below), connector(above))
        && old != new
    {
        kept.entries.retain(|name, _| super::tuning::KEYS.contains(&name.as_str()));
    }
    kept
}

impl Node {
    /// Copies the value as JSON, for the settings that only a connector understands.
    pub fn to_json(&self) -> Value {
        match &self.kind {
            Kind::Text { text, .. } => Value::from(text.as_str()),
            Kind::Integer(number) => Value::from(*number),
            Kind::Float(number) => Value::from(*number),
            Kind::Bool(value) => Value::from(*value),
            Kind::List(items) => items.iter().map(Self::to_json).collect(),
            Kind::Table(table) => {
                table.entries.iter().map(|(name, entry)| (name.clone(), entry.node.to_json())).collect()
            }
        }
    }
}
