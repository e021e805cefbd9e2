//! Reads the keys of one table, typed; what nobody asked for is unknown.

use std::cell::RefCell;
use std::ops::{Range, RangeInclusive};
use std::path::Path;
use std::time::Duration;

use super::catalogue::Catalogue;
use super::problem::{Place, Problem, nearest};
use super::tree::{Kind, Node, Table};

/// What reading has at hand, and where it collects what is wrong.
pub(super) struct Reading<'a> {
    pub catalogue: &'a Catalogue,
    pub env: &'a dyn Fn(&str) -> Option<String>,
    pub base_dir: &'a Path,
    pub problems: RefCell<Vec<Problem>>,
}

impl Reading<'_> {
    /// Notes a problem of the file.
    pub fn refuse(&self, span: &Range<usize>, message: impl Into<String>, remedy: impl Into<String>) {
        let place = Place::from(span);
        let problem = Problem { place, message: message.into(), remedy: remedy.into() };
        self.problems.borrow_mut().push(problem);
    }

    /// Notes a problem of the environment, or of the flag of the same setting.
    pub fn refuse_variable(&self, name: &str, message: impl Into<String>, remedy: impl Into<String>) {
        let place = Place::Environment(name.to_owned());
        let problem = Problem { place, message: message.into(), remedy: remedy.into() };
        self.problems.borrow_mut().push(problem);
    }
}

/// One table being read. Every reader of a key gives `None` where the key is missing or wrong; a
/// wrong one is noted, and reading goes on with the default, so that one run shows everything.
pub(super) struct Fields<'a> {
    pub reading: &'a Reading<'a>,
    table: &'a Table,
    pub span: Range<usize>,
    asked: RefCell<Vec<&'static str>>,
}

impl<'a> Fields<'a> {
    /// Starts reading a table.
    pub fn new(reading: &'a Reading<'a>, table: &'a Table, span: Range<usize>) -> Self {
        Self { reading, table, span, asked: RefCell::default() }
    }

    /// Notes a problem of this table.
    pub fn refuse(&self, span: &Range<usize>, message: impl Into<String>, remedy: impl Into<String>) {
        self.reading.refuse(span, message, remedy);
    }

    /// Returns a key's value, whatever it is.
    pub fn node(&self, name: &'static str) -> Option<&'a Node> {
        let mut asked = self.asked.borrow_mut();
        if !asked.contains(&name) {
            asked.push(name);
        }
        drop(asked);
        self.table.entries.get(name).map(|entry| &entry.node)
    }

    fn wrong(&self, name: &str, node: &Node, expected: &str) {
        self.refuse(&node.span, format!("`{name}` is {}", node.kind.name()), format!("write {expected}"));
    }

    /// Reads a text that is not empty.
    pub fn text(&self, name: &'static str) -> Option<(String, &'a Node)> {
        let node = self.node(name)?;
        match &node.kind {
            Kind::Text { text, .. } if !text.trim().is_empty() => Some((text.clone(), node)),
            Kind::Text { .. } => {
                self.refuse(&node.span, format!("`{name}` is empty"), "write a value or remove the key");
                None
            }
            _ => {
                self.wrong(name, node, "text in quotes");
                None
            }
        }
    }

    /// Reads one of a few words.
    pub fn word<T: Copy>(&self, name: &'static str, words: &[(&str, T)]) -> Option<T> {
        let (text, node) = self.text(name)?;
        let found = words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
        if found.is_none() {
            let names: Vec<String> = words.iter().map(|(word, _)| format!("\"{word}\"")).collect();
            self.refuse(
                &node.span,
                format!("`{name}` can't be \"{text}\""),
                format!("write {}", names.join(", ")),
            );
        }
        found
    }

    /// Reads true or false.
    pub fn flag(&self, name: &'static str) -> Option<bool> {
        let node = self.node(name)?;
        let value = match &node.kind {
            Kind::Bool(value) => Some(*value),
            Kind::Text { text, interpolated: true } => text.trim().parse().ok(),
            _ => None,
        };
        if value.is_none() {
            self.wrong(name, node, "true or false, without quotes");
        }
        value
    }

    /// Reads a whole number within bounds.
    pub fn count(&self, name: &'static str, bounds: RangeInclusive<u64>) -> Option<u64> {
        let node = self.node(name)?;
        let number: i64 = match &node.kind {
            Kind::Integer(number) => *number,
            Kind::Text { text, interpolated: true } if text.trim().parse::<i64>().is_ok() => {
                text.trim().parse().ok()?
            }
            _ => {
                self.wrong(name, node, "a whole number, without quotes");
                return None;
            }
        };
        match u64::try_from(number) {
            Ok(number) if bounds.contains(&number) => Some(number),
            _ => {
                let (least, most) = (bounds.start(), bounds.end());
                self.refuse(
                    &node.span,
                    format!("`{name}` can't be {number}"),
                    format!("write a whole number from {least} to {most}"),
                );
                None
            }
        }
    }

    /// Reads a part of one.
    pub fn part(&self, name: &'static str, bounds: RangeInclusive<f64>) -> Option<f64> {
        let node = self.node(name)?;
        let number = match &node.kind {
            Kind::Integer(number) => *number as f64,
            Kind::Float(number) => *number,
            Kind::Text { text, interpolated: true } if text.trim().parse::<f64>().is_ok() => {
                text.trim().parse().ok()?
            }
            _ => {
                self.wrong(name, node, "a part of 1, without quotes");
                return None;
            }
        };
        if !bounds.contains(&number) {
            let (least, most) = (bounds.start(), bounds.end());
            let remedy = format!("write a part of 1, from {least} to {most}");
            self.refuse(&node.span, format!("`{name}` can't be {number}"), remedy);
            return None;
        }
        Some(number)
    }

    /// Reads seconds, whole or not, within bounds.
    pub fn seconds(&self, name: &'static str, bounds: RangeInclusive<f64>) -> Option<Duration> {
        let node = self.node(name)?;
        let number: f64 = match &node.kind {
            // Whole seconds that an f64 can't tell apart are out of every bound anyway.
            Kind::Integer(number) => *number as f64,
            Kind::Float(number) => *number,
            Kind::Text { text, interpolated: true } if text.trim().parse::<f64>().is_ok() => {
                text.trim().parse().ok()?
            }
            _ => {
                self.wrong(name, node, "seconds as a number, without quotes");
                return None;
            }
        };
        let duration = if bounds.contains(&number) { Duration::try_from_secs_f64(number).ok() } else { None };
        if duration.is_none() {
            let (least, most) = (bounds.start(), bounds.end());
            self.refuse(
                &node.span,
                format!("`{name}` can't be {number}"),
                format!("write seconds from {least} to {most}"),
            );
        }
        duration
    }

    /// Reads one text or a list of texts, none empty, none twice.
    pub fn texts(&self, name: &'static str) -> Option<(Vec<String>, &'a Node)> {
        let node = self.node(name)?;
        let single = std::slice::from_ref(node);
        let items = match &node.kind {
            Kind::List(items) => items.as_slice(),
            _ => single,
        };
        let mut texts: Vec<String> = Vec::with_capacity(items.len());
        for item in items {
            match &item.kind {
                Kind::Text { text, .. } if !text.trim().is_empty() && !texts.contains(text) => {
                    texts.push(text.clone());
                }
                Kind::Text { text, .. } => {
                    let fault = if text.trim().is_empty() { "empty" } else { "named twice" };
                    self.refuse(&item.span, format!("a part of `{name}` is {fault}"), "remove it");
                    return None;
                }
                _ => {
                    self.wrong(name, item, "text in quotes, or a list of texts");
                    return None;
                }
            }
        }
        if texts.is_empty() {
            self.refuse(&node.span, format!("`{name}` is empty"), "name at least one field");
            return None;
        }
        Some((texts, node))
    }

    /// Reads a table.
    pub fn table(&self, name: &'static str) -> Option<Fields<'a>> {
        let node = self.node(name)?;
        self.as_table(name, node)
    }

    /// Reads a table of tables, each under a name that the user chose.
    pub fn named_tables(&self, name: &'static str, example: &str) -> Vec<(String, Range<usize>, Fields<'a>)> {
        let Some(node) = self.node(name) else { return Vec::new() };
        let Kind::Table(table) = &node.kind else {
            self.wrong(name, node, &format!("tables, [….{name}.{example}]"));
            return Vec::new();
        };
        let read = |(name, entry): (&String, &'a super::tree::Entry)| {
            let fields = self.as_table(name, &entry.node)?;
            Some((name.clone(), entry.key_span.clone(), fields))
        };
        table.entries.iter().filter_map(read).collect()
    }

    fn as_table(&self, name: &str, node: &'a Node) -> Option<Fields<'a>> {
        let Kind::Table(table) = &node.kind else {
            self.wrong(name, node, "a table, { … }");
            return None;
        };
        Some(Fields::new(self.reading, table, node.span.clone()))
    }

    /// Returns the keys that nobody asked for, with their places.
    pub fn others(&self) -> Vec<(&'a str, &'a super::tree::Entry)> {
        let asked = self.asked.borrow();
        let rest = self.table.entries.iter().filter(|(name, _)| !asked.contains(&name.as_str()));
        rest.map(|(name, entry)| (name.as_str(), entry)).collect()
    }

    /// Notes every key that is neither asked for nor listed in `more`; `what` names the table.
    pub fn refuse_unknown(&self, what: &str, more: &[&str]) {
        let asked = self.asked.borrow().clone();
        let known: Vec<&str> = asked.iter().copied().chain(more.iter().copied()).collect();
        for (name, entry) in self.others() {
            if more.contains(&name) {
                continue;
            }
            let remedy = match nearest(name, known.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None if super::service::KEYS.contains(&name) => "it belongs to [service]".to_owned(),
                None => format!("known here: {}", known.join(", ")),
            };
            self.refuse(&entry.key_span, format!("unknown key `{name}` in {what}"), remedy);
        }
    }
}
