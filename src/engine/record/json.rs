//! Values out of JSON text and back, exactly.
//!
//! Numbers go through their own text, never through a float, and nested lists and objects keep
//! theirs in a compact form with sorted names.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::{Number, Record, Value};

/// Why a text is no value of ours.
#[derive(Debug, thiserror::Error)]
pub enum JsonError {
    #[error("{0}")]
    Syntax(#[from] serde_json::Error),
    #[error("{0} is not a JSON number")]
    Number(String),
    #[error("lists and objects are nested more than {DEPTH_MAX} deep")]
    Depth,
}

/// As deep as `serde_json` itself goes; it does not count while it only skips over raw text.
const DEPTH_MAX: usize = 128;

/// Reads one raw JSON value.
pub fn value_from_raw(raw: &RawValue) -> Result<Value, JsonError> {
    let text = raw.get().trim();
    match text.as_bytes().first() {
        Some(b'"') => {
            Ok(Value::Text(serde_json::from_str::<std::borrow::Cow<'_, str>>(text)?.as_ref().into()))
        }
        Some(b'n') => Ok(Value::Null),
        Some(b't') => Ok(Value::Bool(true)),
        Some(b'f') => Ok(Value::Bool(false)),
        Some(b'{' | b'[') => {
            let mut compact = String::with_capacity(text.len());
            write_compact(text, DEPTH_MAX, &mut compact)?;
            Ok(Value::Json(compact.into()))
        }
        _ => Number::parse(text).ok_or_else(|| JsonError::Number(text.to_owned())),
    }
}

/// Turns a parsed JSON value into one of ours; exact for all that `serde_json` kept exactly.
pub fn value_from_json(json: &serde_json::Value) -> Value {
    match json {
        serde_json::Value::Null => Value::Null,
        serde_json::Value::Bool(flag) => Value::Bool(*flag),
        serde_json::Value::Number(number) => Number::parse(&number.to_string()).unwrap_or(Value::Null),
        serde_json::Value::String(text) => Value::text(text),
        nested => {
            let mut compact = String::new();
            match write_compact(&nested.to_string(), DEPTH_MAX, &mut compact) {
                Ok(()) => Value::Json(compact.into()),
                Err(_) => Value::Null,
            }
        }
    }
}

/// Turns a value into a parsed JSON value, for answers and logs. A number beyond `f64` becomes
/// text, because `serde_json` can't hold it; use [`write_json`] where exactness counts.
pub fn value_to_json(value: &Value) -> serde_json::Value {
    match value {
        Value::Unknown | Value::Absent | Value::Null => serde_json::Value::Null,
        Value::Bool(flag) => (*flag).into(),
        Value::Int(int) => (*int).into(),
        Value::Number(number) => match serde_json::from_str::<serde_json::Value>(number.as_str()) {
            Ok(parsed) if is_exact(&parsed, number.as_str()) => parsed,
            _ => number.as_str().into(),
        },
        Value::Text(text) => text.as_str().into(),
        Value::Bytes(_) => value.to_plain().unwrap_or_default().as_str().into(),
        Value::Json(text) => serde_json::from_str(text).unwrap_or_default(),
    }
}

/// Appends a value as JSON text, exactly; missing values are written as `null`, bytes as hex.
pub fn write_json(value: &Value, out: &mut String) {
    match value {
        Value::Unknown | Value::Absent | Value::Null => out.push_str("null"),
        Value::Bool(flag) => out.push_str(if *flag { "true" } else { "false" }),
        Value::Number(number) => out.push_str(number.as_str()),
        Value::Json(text) => out.push_str(text),
        Value::Int(_) => out.push_str(&value.to_plain().unwrap_or_default()),
        Value::Text(text) => push_string(text, out),
        Value::Bytes(_) => push_string(&value.to_plain().unwrap_or_default(), out),
    }
}

/// Writes a record as one JSON object, absent fields left out.
pub fn json_text(record: &Record) -> String {
    let mut out = String::from("{");
    for (name, value) in record.schema.names().zip(&record.values) {
        if value.is_missing() {
            continue;
        }
        if out.len() > 1 {
            out.push(',');
        }
        push_string(name, &mut out);
        out.push(':');
        write_json(value, &mut out);
    }
    out.push('}');
    out
}

/// Tells whether a text is this list or object, which is compact, in another layout.
pub(super) fn is_same_json(text: &str, compact: &str) -> bool {
    let mut laid_out = String::with_capacity(compact.len());
    // What is shorter says less; and only well-formed text may be taken apart.
    text.len() >= compact.len()
        && text.trim_start().starts_with(['{', '['])
        && serde_json::from_str::<&RawValue>(text).is_ok()
        && write_compact(text, DEPTH_MAX, &mut laid_out).is_ok()
        && laid_out == compact
}

/// Tells whether `serde_json` kept a number in the very text it came in.
fn is_exact(parsed: &serde_json::Value, text: &str) -> bool {
    let kept = parsed.to_string();
    kept == text
}

fn push_string(text: &str, out: &mut String) {
    match serde_json::to_string(text) {
        Ok(quoted) => out.push_str(&quoted),
        // Serialising a string can't fail; an empty one would be a lie, so say null.
        Err(_) => out.push_str("null"),
    }
}

/// The members of an object by name, each of which may stand there once: of two, nobody could say which
/// one is meant.
struct Members<'t>(BTreeMap<String, &'t RawValue>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Unique;
        impl<'de> Visitor<'de> for Unique {
            type Value = Members<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = BTreeMap::new();
                while let Some((name, raw)) = map.next_entry::<String, &'de RawValue>()? {
                    if members.insert(name, raw).is_some() {
                        return Err(serde::de::Error::custom("a name stands in an object twice"));
                    }
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Unique)
    }
}

/// Rewrites JSON without white space and with sorted names, at most `depth` levels of it.
fn write_compact(text: &str, depth: usize, out: &mut String) -> Result<(), JsonError> {
    let text = text.trim();
    let inner = || depth.checked_sub(1).ok_or(JsonError::Depth);
    match text.as_bytes().first() {
        Some(b'{') => {
            let depth = inner()?;
            let Members(members) = serde_json::from_str(text)?;
            out.push('{');
            for (at, (name, raw)) in members.into_iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                push_string(&name, out);
                out.push(':');
                write_compact(raw.get(), depth, out)?;
            }
            out.push('}');
        }
        Some(b'[') => {
            let depth = inner()?;
            let items: Vec<&RawValue> = serde_json::from_str(text)?;
            out.push('[');
            for (at, raw) in items.into_iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                write_compact(raw.get(), depth, out)?;
            }
            out.push(']');
        }
        Some(b'"') => push_string(&serde_json::from_str::<String>(text)?, out),
        _ => out.push_str(text),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_goes_through_without_losing_a_digit() {
        // (in, out, why)
        let cases = [
            ("9007199254740993", "9007199254740993", "2^53+1"),
            ("18446744073709551616", "18446744073709551616", "2^64"),
            (
                "0.1234567890123456789012345678901234567",
                "0.1234567890123456789012345678901234567",
                "38 digits",
            ),
            ("1e400", "1e400", "beyond floats"),
            ("-0.0", "-0.0", "the text is kept"),
            (r#""é\u0000""#, r#""é\u0000""#, "NUL and accents"),
            (r#"{"b": [1, 2.50], "a": {}}"#, r#"{"a":{},"b":[1,2.50]}"#, "nested, sorted, compact"),
        ];
        for (text, expected, why) in cases {
            let raw: &RawValue = serde_json::from_str(text).expect("JSON");
            let mut out = String::new();
            write_json(&value_from_raw(raw).expect("a value"), &mut out);
            assert_eq!(out, expected, "{why}");
        }
    }

    #[test]
    fn nesting_has_a_bottom() {
        for (depth, fine) in [(128, true), (129, false), (100_000, false)] {
            let text = "[".repeat(depth) + &"]".repeat(depth);
            let raw: &RawValue = serde_json::from_str(&text).expect("raw text is not counted");
            assert_eq!(value_from_raw(raw).is_ok(), fine, "{depth}");
        }
    }

    #[test]
    fn a_name_that_stands_twice_is_refused() {
        let raw: &RawValue =
            serde_json::from_str(r#"[{"a":1,"\u0061":2}]"#).expect("raw text is not looked into");
        assert!(value_from_raw(raw).is_err(), "which of the two?");
    }

    #[test]
    fn a_lone_surrogate_is_refused() {
        let raw: &RawValue = serde_json::from_str(r#""\ud800""#).expect("raw text is not decoded yet");
        assert!(value_from_raw(raw).is_err());
    }
}
