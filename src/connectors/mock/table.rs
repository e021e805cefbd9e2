//! The objects of a mock, in memory and, where asked for, in a file.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Bound;
use std::sync::Arc;

use compact_str::CompactString;

use super::Faults;
use super::disk::Disk;
use super::index::{Id, Index};
use super::object::{Names, Object, object_from_json, object_json};
use super::order::{Order, Rank};
use crate::engine::record::Timestamp;

/// The fact that holds the last stamp that was given out, in milliseconds.
const STAMP: &str = "stamp";

/// Lists of names that are kept to be shared; beyond that they are gathered anew.
const SHAPES_MAX: usize = 4_096;

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
    shapes: Shapes,
}

/// Lists of names that objects share.
#[derive(Default)]
struct Shapes(HashSet<Names>);

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
    rows: BTreeMap<Id, Object>,
    /// By field, or by the name under which they are asked.
    indexes: HashMap<CompactString, Index>,
    /// By the name under which they are asked for.
    orders: BTreeMap<&'static str, Order>,
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
                if let Ok(mut object) = object_from_json(&body) {
                    table.shapes.share(&mut object);
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

    /// Returns an object with its id.
    pub fn entry(&self, stream: &str, id: &str) -> Option<(&Id, &Object)> {
        self.streams.get(stream)?.rows.get_key_value(id)
    }

    /// Stores an object in place of the one with the same id.
    pub fn put(&mut self, stream: &str, id: &str, mut object: Object) {
        self.remember(stream, id);
        if let Some(disk) = &mut self.disk {
            disk.stage_object(stream, id, Some(object_json(&object)));
        }
        self.shapes.share(&mut object);
        let stream = self.streams.entry(stream.into()).or_default();
        let id = stream.take(id).map_or_else(|| Id::from(id), |(id, _)| id);
        for index in stream.indexes.values_mut() {
            index.add(&id, &object);
        }
        for order in stream.orders.values_mut() {
            order.add(&id, &object);
        }
        stream.rows.insert(id, object);
    }

    /// Removes an object for good; gives whether it was there.
    pub fn remove(&mut self, stream: &str, id: &str) -> bool {
        self.remember(stream, id);
        if let Some(disk) = &mut self.disk {
            disk.stage_object(stream, id, None);
        }
        self.streams.get_mut(stream).and_then(|stream| stream.take(id)).is_some()
    }

    /// Iterates over a stream's objects in the order of their ids (by bytes).
    pub fn rows(&self, stream: &str) -> impl DoubleEndedIterator<Item = (&Id, &Object)> {
        self.streams.get(stream).into_iter().flat_map(|stream| stream.rows.iter())
    }

    /// Iterates over a stream's objects in the order of their ids, from this one on.
    pub fn rows_from(&self, stream: &str, from: &str) -> impl Iterator<Item = (&Id, &Object)> {
        let range = (Bound::Included(from), Bound::Unbounded);
        self.streams.get(stream).into_iter().flat_map(move |stream| stream.rows.range::<str, _>(range))
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
    pub fn find(&mut self, stream: &str, field: &str, text: &str) -> Vec<Id> {
        self.keep_field(stream, field);
        self.look_up(stream, field, text)
    }

    /// Counts the objects that [`Self::find`] may find.
    pub fn how_many(&mut self, stream: &str, field: &str, text: &str) -> usize {
        self.keep_field(stream, field);
        let index = self.streams.get(stream).and_then(|stream| stream.indexes.get(field));
        index.map_or(0, |index| index.count(text))
    }

    fn keep_field(&mut self, stream: &str, field: &str) {
        if self.streams.get(stream).is_some_and(|stream| !stream.indexes.contains_key(field)) {
            let name = CompactString::from(field);
            self.keep_index(stream, field, move |object| object.plain(&name).into_iter().collect());
        }
    }

    /// Keeps an index from now on, under a name by which [`Self::look_up`] asks it.
    pub fn keep_index(
        &mut self,
        stream: &str,
        name: &str,
        texts: impl Fn(&Object) -> Vec<CompactString> + Send + Sync + 'static,
    ) {
        let stream = self.streams.entry(stream.into()).or_default();
        if !stream.indexes.contains_key(name) {
            let mut index = Index::new(Box::new(texts));
            for (id, object) in &stream.rows {
                index.add(id, object);
            }
            stream.indexes.insert(name.into(), index);
        }
    }

    /// Finds the ids of the objects that have a text, case ignored, in order, by an index that is kept.
    pub fn look_up(&self, stream: &str, name: &str, text: &str) -> Vec<Id> {
        let stream = self.streams.get(stream);
        let Some((stream, index)) = stream.and_then(|it| Some((it, it.indexes.get(name)?))) else {
            return Vec::new();
        };
        let has = |id: &&Id| stream.rows.get(*id).is_some_and(|object| index.has(object, text));
        index.of(text).filter(has).cloned().collect()
    }

    /// Keeps a stream's objects in an order from now on, under a name by which [`Self::order`] gives it.
    pub fn keep_order(
        &mut self,
        stream: &str,
        name: &'static str,
        rank: Rank,
        mark: impl Fn(&Object) -> Option<i64> + Send + Sync + 'static,
    ) {
        let stream = self.streams.entry(stream.into()).or_default();
        if !stream.orders.contains_key(name) {
            stream.orders.insert(name, Order::of(&stream.rows, Box::new(mark), rank));
        }
    }

    /// Returns a stream's objects in an order that is kept.
    pub fn order(&self, stream: &str, name: &str) -> Option<&Order> {
        self.streams.get(stream)?.orders.get(name)
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
    /// Takes an object out.
    fn take(&mut self, id: &str) -> Option<(Id, Object)> {
        let (id, object) = self.rows.remove_entry(id)?;
        for index in self.indexes.values_mut() {
            index.drop(&id, &object);
        }
        for order in self.orders.values_mut() {
            order.drop(&id, &object);
        }
        Some((id, object))
    }
}

impl Shapes {
    /// Makes an object share its names with those of the same ones.
    fn share(&mut self, object: &mut Object) {
        let names = match self.0.get(object.names()) {
            Some(known) => Arc::clone(known),
            None => {
                if self.0.len() >= SHAPES_MAX {
                    self.0.clear();
                }
                self.0.insert(Arc::clone(object.names()));
                Arc::clone(object.names())
            }
        };
        object.settle(&names);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::record::Value;

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
        let found = |table: &mut Table, text: &str| -> Vec<String> {
            table.find("s", "k", text).iter().map(|id| id.to_string()).collect()
        };
        table.put("s", "1", object(r#"{"k": "Ada"}"#));
        assert_eq!(found(&mut table, "ada"), ["1"], "case is ignored");
        table.put("s", "2", object(r#"{"k": "ada"}"#));
        assert_eq!(found(&mut table, "ADA"), ["1", "2"], "several");
        table.put("s", "1", object(r#"{"k": 7}"#));
        assert_eq!(found(&mut table, "ada"), ["2"], "changed");
        assert_eq!(found(&mut table, "7"), ["1"], "numbers by their text");
        table.remove("s", "2");
        assert!(found(&mut table, "ada").is_empty(), "removed");
    }

    #[test]
    fn orders_and_indexes_hold_what_a_scan_shows() {
        let (mut table, mut state) = (Table::default(), 3_u64);
        let mut below = |bound: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % bound
        };
        let mark = |object: &Object| match object.get("at") {
            Some(Value::Int(at)) => Some(at),
            _ => None,
        };
        let shown = |id: &Id| id.to_string();
        for step in 0..600 {
            let id = below(150).to_string();
            match below(20) {
                // Both are made in the middle, and then follow.
                0 => {
                    table.keep_order("s", "bytes", Rank::Bytes, mark);
                    table.keep_order("s", "length", Rank::Length, mark);
                }
                1 => table.mark(),
                2 => table.release(below(2) == 0),
                3..6 => drop(table.remove("s", &id)),
                6 => table.put("s", &id, object(r#"{"at": "none"}"#)),
                _ => {
                    let text = format!(
                        r#"{{"at": {}, "k": "{}"}}"#,
                        below(6),
                        ["Ada", "ada", "Bob", "ß"][below(4) as usize]
                    );
                    table.put("s", &id, object(&text));
                }
            }
            for text in ["ADA", "bob", "SS", "ß"] {
                let lower = text.to_lowercase();
                let has = |object: &Object| object.text("k").is_some_and(|own| own.to_lowercase() == lower);
                let scanned: Vec<String> =
                    table.rows("s").filter(|(_, it)| has(it)).map(|(id, _)| shown(id)).collect();
                let found: Vec<String> = table.find("s", "k", text).iter().map(shown).collect();
                assert_eq!(found, scanned, "step {step}: {text}");
            }
            let mut scanned: Vec<(i64, String)> =
                table.rows("s").filter_map(|(id, it)| Some((mark(it)?, shown(id)))).collect();
            let from = (below(6).cast_signed(), below(150).to_string());
            for name in ["bytes", "length"] {
                let Some(order) = table.order("s", name) else { continue };
                let length = |id: &str| if name == "length" { id.len() } else { 0 };
                let place = |(at, id): &(i64, String)| (*at, length(id), id.clone());
                scanned.sort_by_key(place);
                assert_eq!(order.count(), scanned.len(), "step {step}: {name}");
                assert_eq!(order.is_whole(), table.count("s") == scanned.len(), "step {step}: {name}");
                let walked: Vec<(i64, String)> =
                    order.from(from.0, &from.1).map(|(at, id)| (at, shown(id))).collect();
                let behind: Vec<(i64, String)> =
                    scanned.iter().filter(|it| place(it) >= place(&from)).cloned().collect();
                assert_eq!(walked, behind, "step {step}: {name}");
            }
        }
    }
}
