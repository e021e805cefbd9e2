//! The objects of a mock, in memory and, where asked for, in a file.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use compact_str::CompactString;
use serde_json::value::RawValue;

use super::Faults;
use super::disk::Disk;
use crate::engine::record::{JsonError, Timestamp, Value, value_from_raw, write_json};

/// The fact that holds the last stamp that was given out, in milliseconds.
const STAMP: &str = "stamp";

/// One object: its fields by name, exact.
pub type Object = BTreeMap<CompactString, Value>;

/// Reads a JSON object without losing a digit.
pub fn object_from_json(text: &str) -> Result<Object, JsonError> {
    let members: BTreeMap<String, &RawValue> = serde_json::from_str(text)?;
    members.into_iter().map(|(name, raw)| Ok((name.into(), value_from_raw(raw)?))).collect()
}

/// Writes an object as JSON, exactly.
pub fn object_json(object: &Object) -> String {
    let mut out = String::from("{");
    for (name, value) in object {
        if out.len() > 1 {
            out.push(',');
        }
        write_json(&Value::Text(name.clone()), &mut out);
        out.push(':');
        write_json(value, &mut out);
    }
    out.push('}');
    out
}

/// All objects of a mock by stream and id, with small facts beside them.
///
/// Invariant: after [`Self::flush`] the file, where there is one, holds what memory holds.
#[derive(Default)]
pub struct Table {
    streams: BTreeMap<CompactString, Stream>,
    facts: BTreeMap<String, String>,
    disk: Option<Disk>,
    /// How saves are stamped, where a test says so.
    stamping: Stamping,
    /// Objects as they were at each [`Self::mark`] that is not released yet, by stream and id.
    undo: Vec<Before>,
}

type Before = BTreeMap<(CompactString, CompactString), Option<Object>>;

#[derive(Clone, Copy, Default)]
enum Stamping {
    /// Never back behind the last stamp.
    #[default]
    Onwards,
    ByTheClock,
    Fixed(Timestamp),
}

#[derive(Default)]
struct Stream {
    rows: BTreeMap<CompactString, Object>,
    /// By field, then by the value's text in lower case: ids.
    indexes: HashMap<CompactString, HashMap<CompactString, BTreeSet<CompactString>>>,
}

impl Table {
    /// Opens a table: in memory, or with everything that the file holds.
    pub fn open(path: Option<&std::path::Path>) -> Result<Self, String> {
        let mut table = Self::default();
        let Some(path) = path else { return Ok(table) };
        let told = |error: rusqlite::Error| format!("the mock's data {}: {error}", path.display());
        let disk = Disk::open(path).map_err(told)?;
        disk.load(
            |stream, id, body| {
                if let Ok(object) = object_from_json(&body) {
                    table.streams.entry(stream.into()).or_default().rows.insert(id.into(), object);
                }
            },
            |name, value| {
                table.facts.insert(name, value);
            },
        )
        .map_err(told)?;
        table.disk = Some(disk);
        Ok(table)
    }

    /// Returns an object.
    pub fn get(&self, stream: &str, id: &str) -> Option<&Object> {
        self.streams.get(stream)?.rows.get(id)
    }

    /// Stores an object in place of the one with the same id.
    pub fn put(&mut self, stream: &str, id: &str, object: Object) {
        self.remember(stream, id);
        if let Some(disk) = &mut self.disk {
            disk.stage_object(stream, id, Some(object_json(&object)));
        }
        let stream = self.streams.entry(stream.into()).or_default();
        stream.unindex(id);
        stream.index(id, &object);
        stream.rows.insert(id.into(), object);
    }

    /// Removes an object for good; gives whether it was there.
    pub fn remove(&mut self, stream: &str, id: &str) -> bool {
        self.remember(stream, id);
        if let Some(disk) = &mut self.disk {
            disk.stage_object(stream, id, None);
        }
        let Some(stream) = self.streams.get_mut(stream) else { return false };
        stream.unindex(id);
        stream.rows.remove(id).is_some()
    }

    /// Iterates over a stream's objects in the order of their ids (by bytes).
    pub fn rows(&self, stream: &str) -> impl DoubleEndedIterator<Item = (&str, &Object)> {
        self.streams
            .get(stream)
            .into_iter()
            .flat_map(|stream| stream.rows.iter().map(|(id, object)| (id.as_str(), object)))
    }

    /// Iterates over a stream's objects in the order of their ids, from this one on.
    pub fn rows_from(&self, stream: &str, from: &str) -> impl Iterator<Item = (&str, &Object)> {
        let from: CompactString = from.into();
        let rows =
            self.streams.get(stream).into_iter().flat_map(move |stream| stream.rows.range(from.clone()..));
        rows.map(|(id, object)| (id.as_str(), object))
    }

    /// Counts a stream's objects.
    pub fn count(&self, stream: &str) -> usize {
        self.streams.get(stream).map_or(0, |stream| stream.rows.len())
    }

    /// Names the streams that hold objects.
    pub fn streams(&self) -> impl Iterator<Item = &str> {
        self.streams.iter().filter(|(_, stream)| !stream.rows.is_empty()).map(|(name, _)| name.as_str())
    }

    /// Finds the ids of the objects whose field has this text, case ignored, in order; callers that
    /// mind the case compare again. Makes an index of the field at first use.
    pub fn find(&mut self, stream: &str, field: &str, text: &str) -> Vec<CompactString> {
        let Some(stream) = self.streams.get_mut(stream) else { return Vec::new() };
        if !stream.indexes.contains_key(field) {
            let mut index: HashMap<CompactString, BTreeSet<CompactString>> = HashMap::new();
            for (id, object) in &stream.rows {
                if let Some(text) = object.get(field).and_then(Value::to_plain) {
                    index.entry(text.to_lowercase()).or_default().insert(id.clone());
                }
            }
            stream.indexes.insert(field.into(), index);
        }
        let index = stream.indexes.get(field);
        let ids = index.and_then(|index| index.get(text.to_lowercase().as_str()));
        ids.map(|ids| ids.iter().cloned().collect()).unwrap_or_default()
    }

    /// Returns a small fact, such as the last serial number.
    pub fn fact(&self, name: &str) -> Option<&str> {
        self.facts.get(name).map(String::as_str)
    }

    /// Lists the small facts whose names begin so, by the rest of their names.
    pub fn facts(&self, prefix: &str) -> impl Iterator<Item = (&str, &str)> {
        let begins = self.facts.range(prefix.to_owned()..);
        begins.map_while(move |(name, value)| Some((name.strip_prefix(prefix)?, value.as_str())))
    }

    /// Stores a small fact.
    pub fn set_fact(&mut self, name: &str, value: impl Into<String>) {
        let value = value.into();
        if let Some(disk) = &mut self.disk {
            disk.stage_fact(name, &value);
        }
        self.facts.insert(name.to_owned(), value);
    }

    /// Learns how saves are stamped from now on.
    pub(super) fn stamp_as(&mut self, faults: &Faults) {
        self.stamping = match faults.stamp_ms {
            Some(at) => Stamping::Fixed(Timestamp(at)),
            None if faults.clock_ms != 0 => Stamping::ByTheClock,
            None => Stamping::Onwards,
        };
    }

    /// Gives the stamp that a test wants for a save at this moment; `None` where it wants none of its own.
    pub fn stamp(&self, now: Timestamp) -> Option<Timestamp> {
        match self.stamping {
            Stamping::Onwards => None,
            Stamping::ByTheClock => Some(now),
            Stamping::Fixed(at) => Some(at),
        }
    }

    /// Gives a stamp that no write had before, unless a test wants another.
    pub fn next_stamp(&mut self, now: Timestamp) -> Timestamp {
        if let Some(wanted) = self.stamp(now) {
            return wanted;
        }
        let last = self.fact(STAMP).and_then(|last| last.parse::<i64>().ok()).unwrap_or(i64::MIN);
        let stamp = Timestamp(now.0.max(last.saturating_add(1)));
        self.set_fact(STAMP, stamp.0.to_string());
        stamp
    }

    /// Keeps a way back: from here on every first change of an object is remembered. Marks may be set within
    /// each other; each is released once.
    pub fn mark(&mut self) {
        self.undo.push(Before::new());
    }

    /// Forgets the way back to the last mark, or goes it.
    pub fn release(&mut self, go_back: bool) {
        let Some(undo) = self.undo.pop().filter(|_| go_back) else { return };
        for ((stream, id), before) in undo {
            match before {
                Some(object) => self.put(&stream, &id, object),
                None => {
                    self.remove(&stream, &id);
                }
            }
        }
    }

    fn remember(&mut self, stream: &str, id: &str) {
        if self.undo.is_empty() {
            return;
        }
        let before = self.get(stream, id).cloned();
        for undo in &mut self.undo {
            undo.entry((stream.into(), id.into())).or_insert_with(|| before.clone());
        }
    }

    /// Writes what changed to the file, in one transaction.
    pub fn flush(&mut self) -> Result<(), String> {
        match &mut self.disk {
            Some(disk) => disk.flush().map_err(|error| format!("the mock's data can't be written: {error}")),
            None => Ok(()),
        }
    }
}

impl Stream {
    fn index(&mut self, id: &str, object: &Object) {
        for (field, index) in &mut self.indexes {
            if let Some(text) = object.get(field).and_then(Value::to_plain) {
                index.entry(text.to_lowercase()).or_default().insert(id.into());
            }
        }
    }

    fn unindex(&mut self, id: &str) {
        let Some(object) = self.rows.get(id) else { return };
        for (field, index) in &mut self.indexes {
            let Some(text) = object.get(field).and_then(Value::to_plain) else { continue };
            let text = text.to_lowercase();
            if let Some(ids) = index.get_mut(text.as_str()) {
                ids.remove(id);
                if ids.is_empty() {
                    index.remove(text.as_str());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(text: &str) -> Object {
        object_from_json(text).expect("an object")
    }

    #[test]
    fn what_is_flushed_is_there_after_a_restart() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("deep/mock.sqlite");
        let mut table = Table::open(Some(&path)).expect("a new file");
        table.put("Contact", "1", object(r#"{"n": 9007199254740993, "d": 0.10000000000000000001}"#));
        table.put("Contact", "2", object("{}"));
        table.remove("Contact", "2");
        table.set_fact("serial", "7");
        table.flush().expect("a writable folder");
        let table = Table::open(Some(&path)).expect("the same file");
        let found = table.get("Contact", "1").map(object_json);
        assert_eq!(found.as_deref(), Some(r#"{"d":0.10000000000000000001,"n":9007199254740993}"#));
        assert_eq!(table.count("Contact"), 1);
        assert_eq!(table.fact("serial"), Some("7"));
    }

    #[test]
    fn marks_within_each_other_lead_back_to_their_own_moments() {
        let mut table = Table::default();
        let told = |table: &Table| {
            table.rows("s").map(|(id, it)| format!("{id}{}", object_json(it))).collect::<String>()
        };
        table.put("s", "1", object("{}"));
        table.mark();
        table.put("s", "2", object("{}"));
        table.mark();
        table.remove("s", "1");
        table.put("s", "2", object(r#"{"k":1}"#));
        table.release(true);
        assert_eq!(told(&table), "1{}2{}", "back to the inner mark");
        table.mark();
        table.remove("s", "1");
        table.release(false);
        assert_eq!(told(&table), "2{}", "the inner change stands so far");
        table.release(true);
        assert_eq!(told(&table), "1{}", "back to the outer mark");
    }

    #[test]
    fn an_index_follows_every_change() {
        let mut table = Table::default();
        table.put("s", "1", object(r#"{"k": "Ada"}"#));
        assert_eq!(table.find("s", "k", "ada"), ["1"], "case is ignored");
        table.put("s", "2", object(r#"{"k": "ada"}"#));
        assert_eq!(table.find("s", "k", "ADA"), ["1", "2"], "several");
        table.put("s", "1", object(r#"{"k": 7}"#));
        assert_eq!(table.find("s", "k", "ada"), ["2"], "changed");
        assert_eq!(table.find("s", "k", "7"), ["1"], "numbers by their text");
        table.remove("s", "2");
        assert!(table.find("s", "k", "ada").is_empty(), "removed");
    }
}
