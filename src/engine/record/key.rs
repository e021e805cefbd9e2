//! The business identity that makes two records a pair.

use std::fmt;

use compact_str::CompactString;
use smallvec::SmallVec;
use unicode_normalization::{UnicodeNormalization, is_nfc};

use super::Value;

/// One or more key values in a canonical byte form that sorts as people and databases do.
///
/// Whole numbers and their text are the same key (`7`, `"7"`), everything else is text in Unicode
/// NFC. Case, spaces and leading zeros tell keys apart (`"07"` is not `7`).
///
/// Invariant: the form is injective (each part carries its length or its end), and whole numbers
/// sort by amount, text by bytes; so a stream read in key order meets the store in key order.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(Bytes);

/// Most keys are short: a number, an id. Those stand in place and cost no allocation.
type Bytes = SmallVec<[u8; 24]>;

/// Why no key can be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    #[error("the key field {0} is missing or null")]
    Missing(usize),
    #[error("the key field {0} holds {1}, which can't identify a record")]
    Unfit(usize, &'static str),
    #[error("the key field {0} is longer than 1,024 bytes")]
    TooLong(usize),
}

const WHOLE: u8 = 1;
const TEXT: u8 = 2;
const PART_BYTES_MAX: usize = 1024;

impl Key {
    /// Makes a key of one part or several.
    pub fn from_values<'v>(values: impl IntoIterator<Item = &'v Value>) -> Result<Self, KeyError> {
        let mut bytes = Bytes::new();
        for (at, value) in values.into_iter().enumerate() {
            match value {
                Value::Unknown | Value::Absent | Value::Null => return Err(KeyError::Missing(at)),
                Value::Bytes(_) | Value::Json(_) => return Err(KeyError::Unfit(at, value.kind())),
                Value::Text(text) => push_part(&mut bytes, at, text)?,
                Value::Number(number) => match number.to_integer_text() {
                    Some(text) => push_part(&mut bytes, at, &text)?,
                    None => push_part(&mut bytes, at, number.as_str())?,
                },
                Value::Int(_) | Value::Bool(_) => {
                    push_part(&mut bytes, at, &value.to_plain().unwrap_or_default())?;
                }
            }
        }
        Ok(Self(bytes))
    }

    /// Makes a key of one part from its text, as it stands in a URL.
    pub fn from_text(text: &str) -> Result<Self, KeyError> {
        Self::from_values([&Value::text(text)])
    }

    /// Reads the text that [`fmt::Display`] writes back, for a key of `parts` parts.
    pub fn from_display(text: &str, parts: usize) -> Result<Self, KeyError> {
        if parts <= 1 {
            return Self::from_text(text);
        }
        let values: Vec<Value> = split_display(text).into_iter().map(Value::Text).collect();
        if values.len() != parts {
            return Err(KeyError::Missing(values.len()));
        }
        Self::from_values(&values)
    }

    /// Takes bytes that [`Self::as_bytes`] gave out.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        Self(Bytes::from_slice(bytes))
    }

    /// Returns the canonical bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Returns the XXH3-64 of the canonical bytes, for sets that only live through one scan.
    pub fn hash64(&self) -> u64 {
        Self::hash64_of(&self.0)
    }

    /// The same of canonical bytes.
    pub fn hash64_of(bytes: &[u8]) -> u64 {
        xxhash_rust::xxh3::xxh3_64(bytes)
    }

    /// Returns the texts of the parts.
    pub fn parts(&self) -> Vec<CompactString> {
        let mut parts = Vec::with_capacity(1);
        let mut rest: &[u8] = &self.0;
        while let [tag, tail @ ..] = rest {
            let (part, left) = match tag {
                &WHOLE => take_whole(tail),
                _ => take_text(tail),
            };
            parts.push(part);
            rest = left;
        }
        parts
    }
}

impl fmt::Display for Key {
    /// Writes one part as it is; several joined by `,`, with `\` before `,` and `\` inside a part.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = self.parts();
        if let [only] = parts.as_slice() {
            return f.write_str(only);
        }
        for (at, part) in parts.iter().enumerate() {
            if at > 0 {
                f.write_str(",")?;
            }
            f.write_str(&part.replace('\\', "\\\\").replace(',', "\\,"))?;
        }
        Ok(())
    }
}

fn push_part(bytes: &mut Bytes, at: usize, text: &str) -> Result<(), KeyError> {
    if text.len() > PART_BYTES_MAX {
        return Err(KeyError::TooLong(at));
    }
    let digits = text.as_bytes();
    let whole = matches!(digits, [b'0'] | [b'1'..=b'9', ..])
        && digits.len() <= 255
        && digits.iter().all(u8::is_ascii_digit);
    if whole {
        bytes.push(WHOLE);
        bytes.push(digits.len() as u8);
        bytes.extend_from_slice(digits);
        return Ok(());
    }
    bytes.push(TEXT);
    if is_nfc(text) {
        push_escaped(bytes, text);
    } else {
        push_escaped(bytes, &text.nfc().collect::<String>());
    }
    bytes.extend_from_slice(&[0, 0]);
    Ok(())
}

/// Writes text so that its end (two zero bytes) can't stand inside it.
fn push_escaped(bytes: &mut Bytes, text: &str) {
    for &byte in text.as_bytes() {
        bytes.push(byte);
        if byte == 0 {
            bytes.push(0xff);
        }
    }
}

fn take_whole(rest: &[u8]) -> (CompactString, &[u8]) {
    let Some((&length, tail)) = rest.split_first() else { return (CompactString::default(), &[]) };
    let (digits, left) = tail.split_at(usize::from(length).min(tail.len()));
    (CompactString::from_utf8_lossy(digits), left)
}

fn take_text(rest: &[u8]) -> (CompactString, &[u8]) {
    let mut text = Vec::with_capacity(rest.len());
    let mut left = rest;
    loop {
        left = match left {
            [0, 0xff, tail @ ..] => {
                text.push(0);
                tail
            }
            [0, 0, tail @ ..] => return (CompactString::from_utf8_lossy(&text), tail),
            [byte, tail @ ..] => {
                text.push(*byte);
                tail
            }
            [] => return (CompactString::from_utf8_lossy(&text), &[]),
        };
    }
}

fn split_display(text: &str) -> Vec<CompactString> {
    let mut parts = vec![CompactString::default()];
    let mut escaped = false;
    for letter in text.chars() {
        match letter {
            '\\' if !escaped => escaped = true,
            ',' if !escaped => parts.push(CompactString::default()),
            _ => {
                if let Some(part) = parts.last_mut() {
                    part.push(letter);
                }
                escaped = false;
            }
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(values: &[Value]) -> Key {
        Key::from_values(values).expect("a fit key")
    }

    #[test]
    fn keys_are_the_same_only_where_they_mean_the_same() {
        // (left, right, same, why)
        let cases = [
            (vec![Value::Int(7)], vec![Value::text("7")], true, "CSV has no integers"),
            (vec![Value::text("07")], vec![Value::Int(7)], false, "leading zeros are kept"),
            (vec![Value::text("e\u{301}")], vec![Value::text("é")], true, "NFC"),
            (
                vec!["a".into(), "bc".into()],
                vec!["ab".into(), "c".into()],
                false,
                "no collision at the joint",
            ),
            (vec!["a\0".into(), "b".into()], vec!["a".into(), "\0b".into()], false, "nor by zero bytes"),
            (
                vec![Number::parse("7.0").expect("number")],
                vec![Value::Int(7)],
                true,
                "a float column of whole numbers",
            ),
        ];
        for (left, right, same, why) in cases {
            assert_eq!(key(&left) == key(&right), same, "{why}");
        }
    }

    #[test]
    fn keys_sort_by_amount_and_then_by_text() {
        let sorted = ["0", "2", "10", "007", "a", "b"];
        let keys: Vec<Key> = sorted.iter().map(|text| Key::from_text(text).expect("a fit key")).collect();
        assert!(keys.is_sorted(), "{keys:?}");
    }

    #[test]
    fn what_a_key_shows_can_be_read_back() {
        for parts in [vec!["x"], vec!["a,b", "c\\d"], vec!["", "7"], vec!["nul\0", "é"]] {
            let values: Vec<Value> = parts.iter().map(Value::text).collect();
            let made = key(&values);
            assert_eq!(made.parts(), parts);
            assert_eq!(Key::from_display(&made.to_string(), parts.len()), Ok(made));
        }
    }

    use super::super::Number;
}
