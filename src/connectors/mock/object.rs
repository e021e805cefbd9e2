//! One object of a mock: its fields by name, packed.
//!
//! A mock may hold a million objects with the same fields, so an object shares its list of names with its
//! like, and its values stand one behind the other in one block of bytes.
//!
//! Invariant: the names are sorted, and there is just one cell for each.

use std::collections::BTreeMap;
use std::sync::Arc;

use compact_str::CompactString;
use serde_json::value::RawValue;

use crate::engine::record::{Cell, JsonError, Value, push_cell, split_cell, value_from_raw, write_json};

/// The names of an object's fields, sorted.
pub(super) type Names = Arc<Vec<CompactString>>;

/// One object: its fields by name, exact.
#[derive(Clone, Default)]
pub struct Object {
    names: Names,
    cells: Vec<u8>,
}

impl Object {
    /// Makes one without fields.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns a field's value.
    pub fn get(&self, name: &str) -> Option<Value> {
        self.cell(name)?.value()
    }

    /// Returns a field's text, where its value is text.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.cell(name)?.text()
    }

    /// Writes a field's value as plain text; `None` for missing and null.
    pub fn plain(&self, name: &str) -> Option<CompactString> {
        let cell = self.cell(name)?;
        match cell.text() {
            Some(text) => Some(CompactString::new(text)),
            None => cell.value()?.to_plain(),
        }
    }

    /// Tells whether there is a field.
    pub fn contains_key(&self, name: &str) -> bool {
        self.place(name).is_ok()
    }

    /// Sets a field.
    pub fn insert(&mut self, name: CompactString, value: Value) {
        let mut cell = Vec::new();
        push_cell(&value, &mut cell);
        let place = self.place(&name);
        let (Ok(at) | Err(at)) = place;
        let rest = self.behind(at);
        let start = self.cells.len() - rest.len();
        let end = match (place, split_cell(rest)) {
            (Ok(_), Some((_, rest))) => self.cells.len() - rest.len(),
            _ => start,
        };
        self.cells.splice(start..end, cell);
        if place.is_err() {
            Arc::make_mut(&mut self.names).insert(at, name);
        }
    }

    /// Takes a field out.
    pub fn remove(&mut self, name: &str) -> Option<Value> {
        let at = self.place(name).ok()?;
        let rest = self.behind(at);
        let start = self.cells.len() - rest.len();
        let (cell, rest) = split_cell(rest)?;
        let (value, end) = (cell.value(), self.cells.len() - rest.len());
        self.cells.drain(start..end);
        Arc::make_mut(&mut self.names).remove(at);
        value
    }

    /// Iterates over the fields in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&CompactString, Value)> {
        self.into_iter()
    }

    /// Iterates over the names in their order.
    pub fn keys(&self) -> impl Iterator<Item = &CompactString> {
        self.names.iter()
    }

    /// Lends the names, so that objects of the same ones can share them.
    pub(super) fn names(&self) -> &Names {
        &self.names
    }

    /// Gives back what the object does not need: its names to equal ones, and spare room.
    pub(super) fn settle(&mut self, names: &Names) {
        self.names = Arc::clone(names);
        self.cells.shrink_to_fit();
    }

    fn place(&self, name: &str) -> Result<usize, usize> {
        self.names.binary_search_by(|known| known.as_str().cmp(name))
    }

    fn cell(&self, name: &str) -> Option<Cell<'_>> {
        let at = self.place(name).ok()?;
        split_cell(self.behind(at)).map(|(cell, _)| cell)
    }

    /// Returns the cells behind so many.
    fn behind(&self, count: usize) -> &[u8] {
        (0..count).fold(self.cells.as_slice(), |rest, _| split_cell(rest).map_or(&[], |(_, rest)| rest))
    }
}

impl Extend<(CompactString, Value)> for Object {
    fn extend<I: IntoIterator<Item = (CompactString, Value)>>(&mut self, fields: I) {
        for (name, value) in fields {
            self.insert(name, value);
        }
    }
}

impl FromIterator<(CompactString, Value)> for Object {
    fn from_iter<I: IntoIterator<Item = (CompactString, Value)>>(fields: I) -> Self {
        let mut object = Self::new();
        object.extend(fields);
        object
    }
}

impl<'o> IntoIterator for &'o Object {
    type Item = (&'o CompactString, Value);
    type IntoIter = Fields<'o>;

    fn into_iter(self) -> Self::IntoIter {
        Fields { names: self.names.iter(), cells: &self.cells }
    }
}

impl IntoIterator for Object {
    type Item = (CompactString, Value);
    type IntoIter = std::vec::IntoIter<Self::Item>;

    fn into_iter(self) -> Self::IntoIter {
        let fields: Vec<Self::Item> = self.iter().map(|(name, value)| (name.clone(), value)).collect();
        fields.into_iter()
    }
}

/// The fields of an object, in the order of their names.
pub struct Fields<'o> {
    names: std::slice::Iter<'o, CompactString>,
    cells: &'o [u8],
}

impl<'o> Iterator for Fields<'o> {
    type Item = (&'o CompactString, Value);

    fn next(&mut self) -> Option<Self::Item> {
        let name = self.names.next()?;
        let (cell, rest) = split_cell(self.cells)?;
        self.cells = rest;
        Some((name, cell.value()?))
    }
}

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
        write_json(&value, &mut out);
    }
    out.push('}');
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::record::Number;

    #[test]
    fn every_value_comes_back_as_it_was() {
        let number = |text: &str| Number::parse(text).expect("a number");
        let long = "long ".repeat(4_000);
        let values = [
            Value::Unknown,
            Value::Absent,
            Value::Null,
            Value::Bool(true),
            Value::Bool(false),
            Value::Int(i64::MIN),
            Value::Int(7),
            number("0.10000000000000000001"),
            number("-0"),
            number("1E400"),
            Value::text(""),
            Value::text("a é 𝄞"),
            Value::text(&long),
            Value::text("x".repeat(127)),
            Value::text("x".repeat(128)),
            Value::Bytes([0, 255].into()),
            Value::Json("[1,{\"a\":null}]".into()),
        ];
        let named = |at: usize| CompactString::from(format!("f{at:02}"));
        let object: Object = values.iter().cloned().enumerate().map(|(at, it)| (named(at), it)).collect();
        let shown = |value: &Value| format!("{value:?}");
        for (at, value) in values.iter().enumerate() {
            let back = object.get(&named(at)).expect("there");
            assert_eq!(shown(&back), shown(value), "by name");
            assert_eq!(object.text(&named(at)), value.as_text(), "as text: {value:?}");
            assert_eq!(object.plain(&named(at)), value.to_plain(), "plain: {value:?}");
        }
        let told: Vec<String> =
            object.iter().map(|(name, value)| format!("{name}{}", shown(&value))).collect();
        let expected: Vec<String> =
            values.iter().enumerate().map(|(at, it)| format!("{}{}", named(at), shown(it))).collect();
        assert_eq!(told, expected, "in order");
    }

    #[test]
    fn an_object_is_a_sorted_map() {
        // The same steps done to the map that it stands for.
        let (mut object, mut map) = (Object::new(), BTreeMap::new());
        let mut state = 7_u64;
        for step in 0..2_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let name = CompactString::from(format!("n{}", (state >> 33) % 12));
            let before = object.clone();
            match (state >> 60) % 3 {
                0 => assert_eq!(object.remove(&name), map.remove(&name), "step {step}"),
                _ => {
                    let value = Value::text("v".repeat((state >> 40) as usize % 40));
                    object.insert(name.clone(), value.clone());
                    map.insert(name.clone(), value);
                }
            }
            assert_eq!(object.contains_key(&name), map.contains_key(&name), "step {step}");
            let told: Vec<(CompactString, Value)> =
                object.iter().map(|(name, value)| (name.clone(), value)).collect();
            let expected: Vec<(CompactString, Value)> = map.clone().into_iter().collect();
            assert_eq!(told, expected, "step {step}");
            assert_eq!(before.keys().count(), before.iter().count(), "what shared the names is as it was");
        }
    }
}
