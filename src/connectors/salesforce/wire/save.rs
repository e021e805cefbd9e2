//! Saves of many records in one call, and what became of each.

use serde::Deserialize;

use super::classify::Refusal;
use super::describe::Kind;
use crate::engine::record::{Number, Value, write_json};

/// One record's part of a collections reply.
#[derive(Debug, Deserialize)]
pub struct SaveItem {
    pub id: Option<String>,
    pub success: bool,
    #[serde(default)]
    pub errors: Vec<Refusal>,
}

/// Reads a collections reply.
pub fn decode_saves(body: &[u8]) -> Result<Vec<SaveItem>, serde_json::Error> {
    serde_json::from_slice(body)
}

/// Writes the body of a collections save: each record is the inside of an object, without braces.
pub fn save_body<'r>(object: &str, records: impl IntoIterator<Item = &'r str>) -> String {
    let mut body = String::from(r#"{"allOrNone":false,"records":["#);
    for (at, members) in records.into_iter().enumerate() {
        if at > 0 {
            body.push(',');
        }
        body.push_str(&format!(r#"{{"attributes":{{"type":"{object}"}}{members}}}"#));
    }
    body.push_str("]}");
    body
}

/// Appends one member, `,"Name":value`. The service refuses a number for a text field and text for
/// a number, so that a value is written as its field wants it, exactly; one that does not fit is
/// written as it is, and the service says what it thinks of it.
pub fn push_member(out: &mut String, name: &str, kind: Option<Kind>, value: &Value) {
    out.push_str(&format!(r#","{name}":"#));
    let plain = || Value::Text(value.to_plain().unwrap_or_default());
    let fitted = match (kind, value) {
        (
            Some(Kind::Text | Kind::Date | Kind::DateTime),
            Value::Int(_) | Value::Number(_) | Value::Bool(_),
        ) => Some(plain()),
        (Some(Kind::Text), Value::Json(_)) => Some(plain()),
        (Some(Kind::Number), Value::Text(text)) => Number::parse(text.trim()),
        (Some(Kind::Boolean), value) => flag_of(value),
        _ => None,
    };
    write_json(fitted.as_ref().unwrap_or(value), out);
}

/// Gives the flag that other systems write as a number or as text; `None` for all else.
pub fn flag_of(value: &Value) -> Option<Value> {
    match value {
        Value::Int(0) => Some(Value::Bool(false)),
        Value::Int(1) => Some(Value::Bool(true)),
        Value::Text(text) => match text.as_str() {
            "true" | "1" => Some(Value::Bool(true)),
            "false" | "0" => Some(Value::Bool(false)),
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_written_as_its_field_wants_it() {
        let number = |text: &str| Number::parse(text).expect("a number");
        // (kind, value, written, why)
        let cases = [
            (None, Value::Int(7), "7", "an open field takes what comes"),
            (Some(Kind::Text), Value::Int(7), r#""7""#, "a number for a text field"),
            (Some(Kind::Number), Value::text("7.50"), "7.50", "text for a number field"),
            (Some(Kind::Number), Value::text("seven"), r#""seven""#, "what does not fit is sent as it is"),
            (
                Some(Kind::Number),
                number("12345678901234567890.123"),
                "12345678901234567890.123",
                "every digit",
            ),
            (Some(Kind::Boolean), Value::Int(1), "true", "SQLite has no booleans"),
            (Some(Kind::Text), Value::Null, "null", "null clears"),
        ];
        for (kind, value, written, why) in cases {
            let mut out = String::new();
            push_member(&mut out, "F", kind, &value);
            assert_eq!(out, format!(r#","F":{written}"#), "{why}");
        }
        let body = save_body("Contact", [r#","F":1"#, ""]);
        assert_eq!(
            body,
            r#"{"allOrNone":false,"records":[{"attributes":{"type":"Contact"},"F":1},{"attributes":{"type":"Contact"}}]}"#
        );
    }
}
