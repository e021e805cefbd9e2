//! What Salesforce makes of values on storing them, as far as that is known beforehand.
//!
//! A save answers with the id alone. Without a forecast, text that was trimmed or a flag that was never null
//! would look like somebody's edit there and come back to change what it was made from. A forecast that
//! turns out wrong does no harm: the record then shows what the other side has anyway.

use super::wire::{self, Described, Kind};
use crate::connectors::{Delivery, Write};
use crate::engine::record::{Meta, Number, Record, Schema, Value};

/// Tells how the record will stand there, on the fields that are written; `None` where just as sent.
pub fn forecast(
    described: &Described,
    shape: &std::sync::Arc<Schema>,
    delivery: &Delivery,
    key_field: &str,
) -> Option<Record> {
    let (Write::Create(values) | Write::Update(values)) = &delivery.write else { return None };
    if described.open {
        return None;
    }
    let mut differs = false;
    let mut stored = Vec::with_capacity(values.len());
    for (name, value) in shape.names().zip(values) {
        let becomes = described.field(name).and_then(|field| becomes(field.kind, value));
        differs |= becomes.is_some();
        stored.push(match becomes {
            Some(value) => value,
            None if value.is_missing() => Value::Unknown,
            None => value.clone(),
        });
    }
    if let Some(key @ Value::Unknown) = shape.position(key_field).and_then(|at| stored.get_mut(at)) {
        *key = Value::text(delivery.key.to_string());
    }
    differs.then(|| Record {
        schema: std::sync::Arc::clone(shape),
        values: stored.into(),
        meta: Meta::default(),
    })
}

/// Tells what a value becomes in a declared field; `None` where it stays as it is.
fn becomes(kind: Kind, value: &Value) -> Option<Value> {
    let text = match (kind, value) {
        (_, Value::Unknown | Value::Absent) => return None,
        (Kind::Boolean, Value::Null) => return Some(Value::Bool(false)),
        (Kind::Boolean, _) => return wire::flag_of(value),
        (_, Value::Null) => return None,
        (Kind::Number, Value::Text(text)) => return Number::parse(text.trim()),
        (Kind::Number, _) => return None,
        (_, value) => value.to_plain()?,
    };
    let moment = (kind == Kind::DateTime).then(|| wire::parse_datetime(&text)).flatten();
    let stands = match (moment, text.trim()) {
        (Some(at), _) => Value::text(wire::format_datetime(at)),
        (None, "") => Value::Null,
        (None, trimmed) => Value::text(trimmed),
    };
    (stands != *value).then_some(stands)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_stand_as_salesforce_stores_them() {
        // (kind, value, what it becomes, why)
        let cases = [
            (Kind::Text, "as it is".into(), None, "nothing to do"),
            (Kind::Text, " padded\n".into(), Some("padded".into()), "trimmed"),
            (Kind::Text, "  ".into(), Some(Value::Null), "nothing is left"),
            (Kind::Text, Value::Int(7), Some("7".into()), "its text"),
            (Kind::Text, Value::Null, None, "cleared"),
            (Kind::Boolean, Value::Null, Some(Value::Bool(false)), "a checkbox is never null"),
            (Kind::Boolean, Value::Int(1), Some(Value::Bool(true)), "SQLite has no flags"),
            (Kind::Boolean, Value::Bool(true), None, "a flag"),
            (Kind::Boolean, "maybe".into(), None, "will be refused"),
            (Kind::Number, "1.50".into(), Number::parse("1.50"), "a number"),
            (Kind::Number, Value::Int(1), None, "as it is"),
            (Kind::Date, "2024-02-29".into(), None, "as it is"),
            (
                Kind::DateTime,
                "2024-10-27T02:30:00.5+02:00".into(),
                Some("2024-10-27T00:30:00.000+0000".into()),
                "whole seconds of UTC",
            ),
            (
                Kind::DateTime,
                "0000-01-01T00:00:00Z".into(),
                Some("0000-01-01T00:00:00.000+0000".into()),
                "year 0",
            ),
            (
                Kind::DateTime,
                "9999-12-30T10:00:00.999-05:45".into(),
                Some("9999-12-30T15:45:00.000+0000".into()),
                "the last days, a quarter of an hour off",
            ),
            (Kind::DateTime, "2024-10-27".into(), None, "no moment: will be refused"),
            (Kind::Text, Value::Absent, None, "nothing is sent"),
        ];
        for (kind, value, expected, why) in cases {
            assert_eq!(becomes(kind, &value), expected, "{why}: {value:?}");
        }
    }
}
