//! Which tables and fields exist: those of every instance, and without `strict` whatever was used once.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use compact_str::CompactString;

use super::tables::{FieldKind, SYSTEM, TABLES, TableKind, table_kind};
use crate::connectors::mock::{Object, Table};
use crate::connectors::servicenow::wire::is_name;
use crate::engine::record::Value;

/// Steps of a walk along references.
const STEPS_MAX: usize = 6;
/// Before the names of fields that were learnt, among the table's facts.
const LEARNT: &str = "column ";

/// What a field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Id,
    Text,
    Email,
    Integer,
    Decimal,
    Boolean,
    /// Date and time, UTC.
    Moment,
    Reference,
}

impl Kind {
    /// Returns the name of the type in the dictionary.
    fn internal_type(self) -> &'static str {
        match self {
            Self::Id => "GUID",
            Self::Text => "string",
            Self::Email => "email",
            Self::Integer => "integer",
            Self::Decimal => "decimal",
            Self::Boolean => "boolean",
            Self::Moment => "glide_date_time",
            Self::Reference => "reference",
        }
    }
}

/// The tables and fields of one instance.
#[derive(Default)]
pub struct Catalogue {
    strict: bool,
    learnt: BTreeMap<String, BTreeSet<String>>,
}

impl Catalogue {
    /// Reads what was learnt before.
    pub fn open(strict: bool, table: &Table) -> Self {
        let mut learnt: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (name, _) in table.facts(LEARNT) {
            if let Some((stream, field)) = name.split_once(' ') {
                learnt.entry(stream.to_owned()).or_default().insert(field.to_owned());
            }
        }
        Self { strict, learnt }
    }

    /// Tells whether a table exists.
    pub fn has_table(&self, stream: &str) -> bool {
        match self.strict {
            true => table_kind(stream).is_some(),
            false => is_name(stream) && !stream.contains('.'),
        }
    }

    /// Iterates over a table and those that it inherits from.
    fn chain(stream: &str) -> impl Iterator<Item = &'static TableKind> {
        std::iter::successors(table_kind(stream), |table| table_kind(table.parent?))
    }

    /// Finds a field that was declared.
    pub fn declared(stream: &str, name: &str) -> Option<&'static FieldKind> {
        let own = || Self::chain(stream).flat_map(|table| table.fields);
        SYSTEM.iter().chain(own()).find(|field| field.name == name)
    }

    /// Finds what a field holds, also at the end of a walk; `None` where there is no such field.
    pub fn kind(&self, stream: &str, path: &str) -> Option<Kind> {
        let mut stream = Cow::Borrowed(stream);
        let mut steps = path.split('.').peekable();
        for _ in 0..STEPS_MAX {
            let step = steps.next()?;
            let declared = Self::declared(&stream, step);
            if steps.peek().is_none() {
                let learnt = || self.learnt.get(stream.as_ref()).is_some_and(|names| names.contains(step));
                return match declared {
                    Some(field) => Some(field.kind),
                    None => (!self.strict && is_name(step) || learnt()).then_some(Kind::Text),
                };
            }
            stream = Cow::Borrowed(declared?.reference?);
        }
        None
    }

    /// Tells whether a field may be written; without `strict` it exists from then on.
    pub fn takes(&mut self, table: &mut Table, stream: &str, name: &str) -> bool {
        if Self::declared(stream, name).is_some() {
            return true;
        }
        if self.strict || !is_name(name) || name.contains('.') {
            return false;
        }
        if self.learnt.entry(stream.to_owned()).or_default().insert(name.to_owned()) {
            table.set_fact(&format!("{LEARNT}{stream} {name}"), "");
        }
        true
    }

    /// Names all fields of a table in the order in which rows show them.
    pub fn names(&self, stream: &str) -> BTreeSet<CompactString> {
        let own = Self::chain(stream).flat_map(|table| table.fields);
        let declared = SYSTEM.iter().chain(own).map(|field| CompactString::from(field.name));
        let learnt = self.learnt.get(stream).into_iter().flatten().map(CompactString::from);
        declared.chain(learnt).collect()
    }

    /// Iterates over the fields that have a default.
    pub fn defaults(stream: &str) -> impl Iterator<Item = &'static FieldKind> {
        let own = Self::chain(stream).flat_map(|table| table.fields);
        own.filter(|field| !field.default.is_empty())
    }

    /// Returns a table and all that inherit from it.
    pub fn descendants(&self, stream: &str) -> BTreeSet<String> {
        let below = TABLES.iter().filter(|table| Self::chain(table.name).any(|above| above.name == stream));
        let mut names: BTreeSet<String> = below.map(|table| table.name.to_owned()).collect();
        names.insert(stream.to_owned());
        names
    }

    /// Makes rows of the tables that tell about tables; the other ones are empty there.
    pub fn about_itself(&self, stamp: &str) -> Table {
        let mut made = Table::default();
        let mut put = |stream: &str, own: &str, fields: &[(&str, &str)]| {
            let id = id_of(&format!("{stream} {own}"));
            let mut row: Object =
                fields.iter().map(|(name, value)| ((*name).into(), Value::text(value))).collect();
            row.insert("sys_id".into(), Value::text(&id));
            for name in ["sys_created_on", "sys_updated_on"] {
                row.insert(name.into(), Value::text(stamp));
            }
            for name in ["sys_created_by", "sys_updated_by"] {
                row.insert(name.into(), Value::text("system"));
            }
            row.insert("sys_mod_count".into(), Value::text("0"));
            made.put(stream, &id, row);
        };
        let learnt = self.learnt.keys().map(String::as_str);
        let streams: BTreeSet<&str> = TABLES.iter().map(|table| table.name).chain(learnt).collect();
        for stream in streams {
            let known = table_kind(stream);
            let parent = known.and_then(|table| table.parent);
            let above = parent.map(|parent| id_of(&format!("sys_db_object {parent}"))).unwrap_or_default();
            let label = known.map_or(stream, |table| table.label);
            put("sys_db_object", stream, &[("name", stream), ("label", label), ("super_class", &above)]);
            let mut entry = |element: &str, kind: &str, length: usize, reference: &str| {
                let length = length.to_string();
                let fields = [
                    ("name", stream),
                    ("element", element),
                    ("internal_type", kind),
                    ("max_length", &length),
                    ("reference", reference),
                    ("column_label", element),
                ];
                put("sys_dictionary", &format!("{stream} {element}"), &fields);
            };
            entry("", "collection", 40, "");
            if !self.strict {
                // Any field exists from its first use on.
                entry("*", "string", 65_000, "");
            }
            let own = known.into_iter().flat_map(|table| table.fields);
            let system = SYSTEM.iter().filter(|_| parent.is_none());
            for field in own.chain(system) {
                entry(
                    field.name,
                    field.kind.internal_type(),
                    field.length,
                    field.reference.unwrap_or_default(),
                );
            }
            for name in self.learnt.get(stream).into_iter().flatten() {
                entry(name, "string", 65_000, "");
            }
        }
        made
    }
}

/// Makes a sys_id that is always the same for the same name.
pub fn id_of(name: &str) -> String {
    format!("{:032x}", xxhash_rust::xxh3::xxh3_128(name.as_bytes()))
}

/// Returns the text of a plain field.
pub fn text_of<'o>(object: &'o Object, field: &str) -> Cow<'o, str> {
    match object.text(field) {
        Some(text) => Cow::Borrowed(text),
        None => Cow::Owned(object.plain(field).map(String::from).unwrap_or_default()),
    }
}

/// Returns the text of a field, walking along references.
pub fn value_at<'o>(
    table: &'o Table,
    catalogue: &Catalogue,
    stream: &str,
    object: &'o Object,
    path: &str,
) -> Cow<'o, str> {
    let (mut object, mut stream) = (object, Cow::Borrowed(stream));
    let mut steps = path.split('.').peekable();
    for _ in 0..STEPS_MAX {
        let Some(step) = steps.next() else { break };
        if steps.peek().is_none() {
            return text_of(object, step);
        }
        let Some(next) = Catalogue::declared(&stream, step).and_then(|field| field.reference) else { break };
        let id = text_of(object, step);
        let Some(found) = catalogue.referred(table, next, &id) else { break };
        (stream, object) = (Cow::Owned(found.0), found.1);
    }
    Cow::Borrowed("")
}

impl Catalogue {
    /// Finds the record that a reference points to, in its table or one that inherits from it.
    pub fn referred<'t>(&self, table: &'t Table, stream: &str, id: &str) -> Option<(String, &'t Object)> {
        if id.is_empty() {
            return None;
        }
        let found = |name: String| table.get(&name, id).map(|object| (name, object));
        self.descendants(stream).into_iter().find_map(found)
    }

    /// Returns what stands for a field's value where people read it.
    pub fn display(&self, table: &Table, stream: &str, field: &str, value: &str) -> String {
        let Some(declared) = Self::declared(stream, field) else { return value.to_owned() };
        if let Some((_, label)) = declared.choices.iter().find(|(known, _)| *known == value) {
            return (*label).to_owned();
        }
        let referred = declared.reference.and_then(|other| self.referred(table, other, value));
        if let Some((other, object)) = referred {
            let display = table_kind(&other).map_or("sys_id", |kind| kind.display);
            return text_of(object, display).into_owned();
        }
        value.to_owned()
    }
}
