//! One JSON object read: its members by their places in the text, and their values, exactly.

use std::ops::Range;
use std::sync::Arc;

use serde_json::value::RawValue;

use crate::engine::record::{Key, Number, Schema, Value, value_from_raw};

/// More fields than this in one record are a sign of data used as names.
const FIELDS_MAX: usize = 10_000;

/// A member of an object: the places of its name (quotes included) and of its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) name: Range<usize>,
    pub(super) value: Range<usize>,
}

/// Returns the place of the first byte at or behind `at` that is no white space.
pub(super) fn skip_space(text: &[u8], at: usize) -> usize {
    let rest = text.get(at..).unwrap_or(&[]);
    at + rest.iter().position(|byte| !matches!(byte, b' ' | b'\t' | b'\n' | b'\r')).unwrap_or(rest.len())
}

/// Returns the place behind the value that begins at `at`; `None` where the text ends first.
/// Only brackets and quotes are looked at: whether the value is one is for the decoder to say.
pub(super) fn value_end(text: &[u8], at: usize) -> Option<usize> {
    match text.get(at)? {
        b'"' => string_end(text, at + 1),
        b'{' | b'[' => {
            let (mut depth, mut at) = (0usize, at);
            loop {
                let rest = text.get(at..)?;
                at += rest.iter().position(|byte| matches!(byte, b'"' | b'{' | b'[' | b'}' | b']'))?;
                match text.get(at)? {
                    b'"' => {
                        at = string_end(text, at + 1)?;
                        continue;
                    }
                    b'{' | b'[' => depth += 1,
                    _ => depth -= 1,
                }
                at += 1;
                if depth == 0 {
                    return Some(at);
                }
            }
        }
        _ => {
            let ends = |byte: &u8| matches!(byte, b',' | b']' | b'}' | b' ' | b'\t' | b'\n' | b'\r');
            Some(at + text.get(at..)?.iter().position(ends)?)
        }
    }
}

/// Returns the place behind the closing quote; `at` is just behind the opening one.
fn string_end(text: &[u8], mut at: usize) -> Option<usize> {
    loop {
        at += text.get(at..)?.iter().position(|byte| matches!(byte, b'"' | b'\\'))?;
        if text.get(at) == Some(&b'"') {
            return Some(at + 1);
        }
        at += 2;
    }
}

/// Finds the members of the object that is the whole of `text`.
pub(super) fn members(text: &[u8], found: &mut Vec<Member>) -> Result<(), String> {
    found.clear();
    let wrong = |at: usize, expected: &str| Err(format!("expected {expected} at byte {at} of the record"));
    let mut at = skip_space(text, 0);
    if text.get(at) != Some(&b'{') {
        return Err("the record is not a JSON object".to_owned());
    }
    at = skip_space(text, at + 1);
    let mut more = text.get(at) != Some(&b'}');
    while more {
        let name = at;
        if text.get(at) != Some(&b'"') {
            return wrong(at, "a name in quotes");
        }
        let Some(name_end) = string_end(text, at + 1) else { return wrong(at, "a closed name") };
        at = skip_space(text, name_end);
        if text.get(at) != Some(&b':') {
            return wrong(at, "a colon");
        }
        let value = skip_space(text, at + 1);
        let Some(value_end) = value_end(text, value).filter(|&end| end > value) else {
            return wrong(value, "a value");
        };
        found.push(Member { name: name..name_end, value: value..value_end });
        at = skip_space(text, value_end);
        match text.get(at) {
            Some(b',') => at = skip_space(text, at + 1),
            Some(b'}') => more = false,
            _ => return wrong(at, "a comma or }"),
        }
    }
    match skip_space(text, at + 1) {
        end if end == text.len() => Ok(()),
        end => wrong(end, "nothing more"),
    }
}

/// Reads one value exactly.
pub(super) fn read_value(text: &str) -> Result<Value, String> {
    match text.as_bytes() {
        [b'"', inner @ .., b'"'] if !inner.iter().any(|&byte| byte == b'\\' || byte < 0x20) => {
            Ok(Value::Text(text.get(1..text.len() - 1).unwrap_or("").into()))
        }
        b"null" => Ok(Value::Null),
        b"true" => Ok(Value::Bool(true)),
        b"false" => Ok(Value::Bool(false)),
        [b'"' | b'{' | b'[', ..] => {
            let raw: &RawValue = serde_json::from_str(text).map_err(|error| error.to_string())?;
            value_from_raw(raw).map_err(|error| error.to_string())
        }
        _ => Number::parse(text).ok_or_else(|| "a bare word is no JSON value".to_owned()),
    }
}

/// Reads a member's name.
pub(super) fn read_name(text: &[u8]) -> Option<std::borrow::Cow<'_, str>> {
    match text {
        [b'"', inner @ .., b'"'] if !inner.contains(&b'\\') => {
            std::str::from_utf8(inner).ok().map(std::borrow::Cow::Borrowed)
        }
        _ => serde_json::from_slice::<String>(text).ok().map(std::borrow::Cow::Owned),
    }
}

/// Turns objects into values by position, under a schema that grows as new fields come up.
pub(super) struct Decoder {
    schema: Arc<Schema>,
    /// Only the names of the schema are wanted; others are passed over.
    fixed: bool,
    pub(super) members: Vec<Member>,
    /// What the n-th member of the last object was called, and where its value went: records of
    /// one file look alike, so that this saves a look-up by name nearly always.
    hints: Vec<(Box<[u8]>, Option<usize>)>,
}

impl Decoder {
    /// Decodes the wanted fields only, or all.
    pub(super) fn new(wanted: Option<&[String]>) -> Self {
        let schema = Schema::new(wanted.unwrap_or(&[]));
        Self { schema, fixed: wanted.is_some(), members: Vec::new(), hints: Vec::new() }
    }

    /// Returns the schema of the record that was decoded last.
    pub(super) fn schema(&self) -> &Arc<Schema> {
        &self.schema
    }

    /// Reads one object.
    pub(super) fn decode(&mut self, bytes: &[u8]) -> Result<Vec<Value>, String> {
        let text = std::str::from_utf8(bytes)
            .map_err(|error| format!("the record is not UTF-8 at its byte {}", error.valid_up_to()))?;
        let mut found = std::mem::take(&mut self.members);
        let scanned = members(bytes, &mut found);
        let mut values = vec![Value::Absent; self.schema.len()];
        let read = scanned.and_then(|()| {
            found.iter().enumerate().try_for_each(|(at, member)| self.place(text, at, member, &mut values))
        });
        self.members = found;
        read.map(|()| values)
    }

    fn place(
        &mut self,
        text: &str,
        at: usize,
        member: &Member,
        values: &mut Vec<Value>,
    ) -> Result<(), String> {
        let name = text.get(member.name.clone()).unwrap_or("").as_bytes();
        let position = match self.hints.get(at) {
            Some((hint, position)) if **hint == *name => *position,
            _ => self.learn(at, name)?,
        };
        let Some(position) = position else { return Ok(()) };
        let value = read_value(text.get(member.value.clone()).unwrap_or(""))
            .map_err(|reason| format!("field {}: {reason}", String::from_utf8_lossy(name)))?;
        if position >= values.len() {
            values.resize(position + 1, Value::Absent);
        }
        match values.get_mut(position) {
            Some(place @ Value::Absent) => *place = value,
            _ => return Err(format!("field {} stands there twice", String::from_utf8_lossy(name))),
        }
        Ok(())
    }

    /// Looks a name up, adds it where it is new and wanted, and keeps it as a hint.
    fn learn(&mut self, at: usize, raw: &[u8]) -> Result<Option<usize>, String> {
        let name = read_name(raw).ok_or_else(|| "a field's name is not valid".to_owned())?;
        let mut position = self.schema.position(&name);
        if position.is_none() && !self.fixed {
            if self.schema.len() >= FIELDS_MAX {
                return Err(format!("more than {FIELDS_MAX} different fields"));
            }
            position = Some(self.schema.len());
            self.schema = Schema::new(self.schema.names().chain([name.as_ref()]));
        }
        if at >= self.hints.len() {
            self.hints.resize(at + 1, (Box::default(), None));
        }
        if let Some(hint) = self.hints.get_mut(at) {
            *hint = (raw.into(), position);
        }
        Ok(position)
    }
}

/// Reads the key out of a record that is otherwise no good; `None` where that can't be done for
/// certain.
pub(super) fn salvage_key(bytes: &[u8], key: &[String]) -> Option<Key> {
    let mut found = Vec::new();
    members(bytes, &mut found).ok()?;
    let mut values = Vec::with_capacity(key.len());
    for wanted in key {
        let mut places = found.iter().filter(|member| {
            bytes.get(member.name.clone()).and_then(read_name).is_some_and(|n| n == *wanted)
        });
        let (member, None) = (places.next()?, places.next()) else { return None };
        let text = std::str::from_utf8(bytes.get(member.value.clone())?).ok()?;
        values.push(read_value(text).ok()?);
    }
    Key::from_values(&values).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(text: &[u8]) -> Result<Vec<(String, Value)>, String> {
        let mut decoder = Decoder::new(None);
        let values = decoder.decode(text)?;
        Ok(decoder.schema().names().map(str::to_owned).zip(values).collect())
    }

    #[test]
    fn objects_are_read_exactly_or_refused() {
        // (text, good, why)
        let cases: [(&[u8], bool, &str); 22] = [
            (br#"{"a":1,"b":"x"}"#, true, "plain"),
            (br#" { "a" : { "x" : [ 1, "}" ] } , "b" : null } "#, true, "white space, brackets in strings"),
            (br#"{"a":"\\","b":"\""}"#, true, "escapes before the closing quote"),
            ("{\"\\u00e9\":\"é\"}".as_bytes(), true, "an escaped name"),
            (b"{}", true, "no field"),
            (br#"{"a":9007199254740993}"#, true, "2^53+1"),
            (br#"{"a":1e400}"#, true, "beyond floats"),
            (br#"{"a":1,"a":2}"#, false, "which of the two?"),
            (br#"{"a":"\ud800"}"#, false, "a lone surrogate is no text"),
            (b"{\"a\":\"\xff\"}", false, "not UTF-8"),
            (b"{\"a\":\"x\ny\"}", false, "a bare line end inside a string"),
            (br#"{"a":01}"#, false, "a leading zero"),
            (br#"{"a":NaN}"#, false, "not a number"),
            (br#"{"a":tru}"#, false, "half a word"),
            (br#"{"a":}"#, false, "no value"),
            (br#"{"a":1,}"#, false, "a comma too many"),
            (br#"{"a" 1}"#, false, "no colon"),
            (br#"{a:1}"#, false, "a bare name"),
            (br#"{"a":[1}"#, false, "a bracket left open"),
            (br#"{"a":[1,]}"#, false, "a comma too many, inside"),
            (br#"{"a":1} x"#, false, "something behind"),
            (br"[1]", false, "not an object"),
        ];
        for (text, good, why) in cases {
            let read = decode(text);
            assert_eq!(read.is_ok(), good, "{why}: {read:?}");
            if good {
                let theirs: serde_json::Map<String, serde_json::Value> =
                    serde_json::from_slice::<std::collections::BTreeMap<String, Box<RawValue>>>(text)
                        .map(|map| map.into_keys().map(|name| (name, serde_json::Value::Null)).collect())
                        .expect("serde_json reads it too");
                assert_eq!(read.expect("read").len(), theirs.len(), "{why}");
            }
        }
    }

    #[test]
    fn nesting_without_end_is_refused_and_no_stack_overflows() {
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(20_000), "]".repeat(20_000));
        assert!(decode(deep.as_bytes()).is_err());
    }

    #[test]
    fn the_key_of_a_bad_record_is_salvaged_only_for_certain() {
        let id = ["id".to_owned()];
        // (text, key, why)
        let cases: [(&[u8], Option<&str>, &str); 4] = [
            (b"{\"id\":7,\"x\":\"\xff\"}", Some("7"), "another field is bad"),
            (b"{\"id\":\"\xff\"}", None, "the key itself is bad"),
            (br#"{"id":1,"id":2}"#, None, "two keys"),
            (br#"{"id":1,"x" 2}"#, None, "no object at all"),
        ];
        for (text, key, why) in cases {
            let expected = key.map(|text| Key::from_text(text).expect("a key"));
            assert_eq!(salvage_key(text, &id), expected, "{why}");
        }
    }
}
