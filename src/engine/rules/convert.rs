//! Conversions between kinds of values: exact, or refused with a reason.

use compact_str::CompactString;
use serde_json::value::RawValue;

use super::date;
use crate::engine::record::{Number, Value, value_from_raw};

/// The kinds that `type` may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    String,
    Int,
    Float,
    Bool,
    Date,
    DateTime,
    Json,
}

impl Kind {
    /// Every kind with the word that users write.
    pub const ALL: [(&'static str, Self); 7] = [
        ("string", Self::String),
        ("int", Self::Int),
        ("float", Self::Float),
        ("bool", Self::Bool),
        ("date", Self::Date),
        ("datetime", Self::DateTime),
        ("json", Self::Json),
    ];

    /// Returns the word that users write.
    pub fn as_str(self) -> &'static str {
        Self::ALL.iter().find(|(_, kind)| *kind == self).map_or("", |(word, _)| word)
    }

    /// Gives the value in this kind, exactly the same or not at all. Missing values and nulls
    /// stay what they are.
    pub fn convert(self, value: Value) -> Result<Value, String> {
        if value.is_missing() || matches!(value, Value::Null) {
            return Ok(value);
        }
        match self {
            Self::String => to_string(value),
            Self::Int => to_int(value),
            Self::Float => to_float(value),
            Self::Bool => to_bool(value),
            Self::Date => date::to_date(value, None),
            Self::DateTime => date::to_datetime(value),
            Self::Json => to_json(value),
        }
    }
}

/// Describes a value in a reason, without showing it: reasons end up in logs.
pub(super) fn describe(value: &Value) -> String {
    match value {
        Value::Text(text) if text.is_empty() => "empty text".to_owned(),
        Value::Text(text) => format!("text of {} characters", text.chars().count()),
        other => other.kind().to_owned(),
    }
}

fn refuse(value: &Value, wanted: &str) -> String {
    format!("{} is no {wanted}", describe(value))
}

/// Writes the value as plain text.
pub(super) fn to_string(value: Value) -> Result<Value, String> {
    match value {
        Value::Text(_) => Ok(value),
        other => Ok(other.to_plain().map_or(Value::Null, Value::Text)),
    }
}

/// Reads a whole number of any size; a fraction is refused, because it would be lost.
pub(super) fn to_int(value: Value) -> Result<Value, String> {
    let number = match &value {
        Value::Int(_) => return Ok(value),
        Value::Bool(flag) => return Ok(Value::Int(i64::from(*flag))),
        Value::Text(text) => read_number(text),
        Value::Number(_) => Some(value.clone()),
        _ => None,
    };
    match number {
        Some(Value::Int(int)) => Ok(Value::Int(int)),
        Some(Value::Number(number)) => match number.to_integer_text().and_then(|text| Number::parse(&text)) {
            Some(whole) => Ok(whole),
            None => Err("the number is not whole, or longer than 64 digits".to_owned()),
        },
        _ => Err(refuse(&value, "whole number")),
    }
}

/// Reads any number and keeps its digits.
pub(super) fn to_float(value: Value) -> Result<Value, String> {
    match &value {
        Value::Int(_) | Value::Number(_) => Ok(value),
        Value::Bool(flag) => Ok(Value::Int(i64::from(*flag))),
        Value::Text(text) => read_number(text).ok_or_else(|| refuse(&value, "number")),
        _ => Err(refuse(&value, "number")),
    }
}

/// Reads the usual words for yes and no, and 1 and 0.
pub(super) fn to_bool(value: Value) -> Result<Value, String> {
    let flag = match &value {
        Value::Bool(flag) => Some(*flag),
        Value::Int(1) => Some(true),
        Value::Int(0) => Some(false),
        Value::Number(number) if number.equals_int(1) => Some(true),
        Value::Number(number) if number.equals_int(0) => Some(false),
        Value::Text(text) => match text.trim().to_lowercase().as_str() {
            "true" | "yes" | "y" | "on" | "t" | "1" => Some(true),
            "false" | "no" | "n" | "off" | "f" | "0" => Some(false),
            _ => None,
        },
        _ => None,
    };
    flag.map(Value::Bool).ok_or_else(|| refuse(&value, "yes or no"))
}

fn to_json(value: Value) -> Result<Value, String> {
    match &value {
        Value::Text(text) => serde_json::from_str::<&RawValue>(text)
            .ok()
            .and_then(|raw| value_from_raw(raw).ok())
            .ok_or_else(|| "the text is no JSON".to_owned()),
        Value::Bytes(_) => Err(refuse(&value, "JSON")),
        _ => Ok(value),
    }
}

/// Reads a number as people and spreadsheets write it: a plus sign, leading zeros, a bare point.
/// Separators of thousands are refused: what they mean depends on the country.
fn read_number(text: &str) -> Option<Value> {
    let text = text.trim();
    if let Some(number) = Number::parse(text) {
        return Some(number);
    }
    let (sign, rest) = match text.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", text.strip_prefix('+').unwrap_or(text)),
    };
    let (mantissa, exponent) = match rest.find(['e', 'E']) {
        Some(at) => rest.split_at(at),
        None => (rest, ""),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let whole = whole.trim_start_matches('0');
    let mut canonical = CompactString::new(sign);
    canonical.push_str(if whole.is_empty() { "0" } else { whole });
    if !fraction.is_empty() {
        canonical.push('.');
        canonical.push_str(fraction);
    }
    canonical.push_str(exponent);
    // Whatever else is wrong with it, the grammar of JSON says so.
    Number::parse(&canonical)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conversions_are_exact_or_refused() {
        let number = |text| Number::parse(text).expect("number");
        // (kind, in, out or nothing, why)
        let cases = [
            (Kind::Int, Value::text(" 007 "), Some(Value::Int(7)), "leading zeros"),
            (Kind::Int, Value::text("+7"), Some(Value::Int(7)), "plus sign"),
            (Kind::Int, number("7.0"), Some(Value::Int(7)), "whole, though written with a point"),
            (Kind::Int, number("7.5"), None, "the half would be lost"),
            (Kind::Int, Value::text("18446744073709551616"), Some(number("18446744073709551616")), "2^64"),
            (Kind::Int, Value::text("1,000"), None, "a thousand or one?"),
            (Kind::Int, Value::text(""), None, "empty text is no number"),
            (Kind::Int, Value::Null, Some(Value::Null), "null stays null"),
            (Kind::Float, Value::text(".5"), Some(number("0.5")), "bare point"),
            (Kind::Float, Value::text("5."), Some(Value::Int(5)), "point at the end"),
            (Kind::Float, Value::text("1e400"), Some(number("1e400")), "beyond any float, kept"),
            (Kind::Float, Value::text("NaN"), None, "no number by its own name"),
            (Kind::Float, Value::text("0x10"), None, "no decimal"),
            (Kind::Float, Value::text("."), None, "no digit"),
            (Kind::Bool, Value::text("Yes"), Some(Value::Bool(true)), "a word for it"),
            (Kind::Bool, Value::Int(0), Some(Value::Bool(false)), "SQLite"),
            (Kind::Bool, Value::Int(2), None, "neither"),
            (Kind::String, number("1.50"), Some(Value::text("1.50")), "its own text"),
            (Kind::String, Value::Bool(true), Some(Value::text("true")), "its word"),
            (
                Kind::Json,
                Value::text("{\"b\": 1, \"a\": []}"),
                Some(Value::Json(r#"{"a":[],"b":1}"#.into())),
                "canonical",
            ),
            (Kind::Json, Value::text("{"), None, "broken"),
        ];
        for (kind, value, expected, why) in cases {
            let made = kind.convert(value);
            match expected {
                Some(expected) => assert_eq!(made, Ok(expected), "{why}"),
                None => assert!(made.is_err(), "{why}: {made:?}"),
            }
        }
    }
}
