//! Values on their way into an expression and out of it.
//!
//! Invariant: whole numbers enter as `int`, because CEL refuses `uint + int`; a number that CEL
//! can't hold exactly is refused rather than rounded.

use std::sync::Arc;

use cel::objects::Key;
use serde_json::value::RawValue;

use crate::engine::record::{Number, Value, value_from_raw, write_json};

const TEXT_BYTES_MAX: usize = 64 * 1024;
const ITEMS_MAX: usize = 1000;
const RESULT_BYTES_MAX: usize = 1024 * 1024;

/// Gives the reason why a value is too large for expressions.
pub(super) fn too_large(value: &Value) -> Option<String> {
    let length = match value {
        Value::Text(text) => text.len(),
        Value::Json(text) => text.len(),
        Value::Bytes(bytes) => bytes.len(),
        _ => 0,
    };
    (length > TEXT_BYTES_MAX).then(|| "expressions take values of at most 64 KiB".to_owned())
}

/// Turns a value into one of CEL's; what is missing is null.
pub(super) fn to_cel(value: &Value) -> Result<cel::Value, String> {
    Ok(match value {
        Value::Unknown | Value::Absent | Value::Null => cel::Value::Null,
        Value::Bool(flag) => cel::Value::Bool(*flag),
        Value::Int(int) => cel::Value::Int(*int),
        Value::Number(number) => number_to_cel(number)?,
        Value::Text(text) => cel::Value::String(Arc::new(text.to_string())),
        Value::Bytes(bytes) => cel::Value::Bytes(Arc::new(bytes.to_vec())),
        Value::Json(text) => {
            json_to_cel(serde_json::from_str(text).map_err(|_| "the nested value is no JSON".to_owned())?)?
        }
    })
}

fn number_to_cel(number: &Number) -> Result<cel::Value, String> {
    if let Some(Value::Int(int)) = number.to_integer_text().and_then(|text| Number::parse(&text)) {
        return Ok(cel::Value::Int(int));
    }
    let float = number.to_f64();
    match Number::from_f64(float) {
        Some(back) if back == Value::Number(number.clone()) => Ok(cel::Value::Float(float)),
        _ => Err("the number has more digits than expressions can hold".to_owned()),
    }
}

/// Depth is bounded by `serde_json`, which compacted the text when it was read.
fn json_to_cel(raw: &RawValue) -> Result<cel::Value, String> {
    let wrong = |_| "the nested value is no JSON".to_owned();
    match raw.get().as_bytes().first() {
        Some(b'[') => {
            let items: Vec<&RawValue> = serde_json::from_str(raw.get()).map_err(wrong)?;
            if items.len() > ITEMS_MAX {
                return Err(format!("expressions take lists of at most {ITEMS_MAX} items"));
            }
            let items: Result<Vec<cel::Value>, String> = items.into_iter().map(json_to_cel).collect();
            Ok(cel::Value::List(Arc::new(items?)))
        }
        Some(b'{') => {
            let members: std::collections::HashMap<String, &RawValue> =
                serde_json::from_str(raw.get()).map_err(wrong)?;
            if members.len() > ITEMS_MAX {
                return Err(format!("expressions take objects of at most {ITEMS_MAX} names"));
            }
            let map: Result<std::collections::HashMap<Key, cel::Value>, String> = members
                .into_iter()
                .map(|(name, raw)| Ok((Key::String(Arc::new(name)), json_to_cel(raw)?)))
                .collect();
            Ok(cel::Value::Map(cel::objects::Map { map: Arc::new(map?) }))
        }
        _ => to_cel(&value_from_raw(raw).map_err(|_| "the nested value is no JSON".to_owned())?),
    }
}

/// Turns the outcome of an expression into a value.
pub(super) fn from_cel(value: cel::Value) -> Result<Value, String> {
    match value {
        cel::Value::List(_) | cel::Value::Map(_) => {
            let mut text = String::new();
            write_nested(&value, &mut text)?;
            let raw: &RawValue =
                serde_json::from_str(&text).map_err(|_| "the result is no JSON".to_owned())?;
            value_from_raw(raw).map_err(|_| "the result is no JSON".to_owned())
        }
        plain => plain_from_cel(&plain),
    }
}

fn plain_from_cel(value: &cel::Value) -> Result<Value, String> {
    Ok(match value {
        cel::Value::Null => Value::Null,
        cel::Value::Bool(flag) => Value::Bool(*flag),
        cel::Value::Int(int) => Value::Int(*int),
        cel::Value::UInt(uint) => Number::parse(&uint.to_string()).unwrap_or(Value::Null),
        cel::Value::Float(float) => {
            Number::from_f64(*float).ok_or_else(|| "the result is no finite number".to_owned())?
        }
        cel::Value::String(text) => Value::text(text.as_str()),
        cel::Value::Bytes(bytes) => Value::Bytes(bytes.as_slice().into()),
        cel::Value::Timestamp(moment) => match moment.to_rfc3339().parse::<jiff::Timestamp>() {
            Ok(moment) => Value::text(moment.to_string()),
            Err(_) => return Err("the result is no moment that can be written".to_owned()),
        },
        cel::Value::Duration(duration) => Value::text(duration.to_string()),
        _ => return Err("the result is neither a value, a list nor a map".to_owned()),
    })
}

fn write_nested(value: &cel::Value, out: &mut String) -> Result<(), String> {
    if out.len() > RESULT_BYTES_MAX {
        return Err("the result is larger than 1 MiB".to_owned());
    }
    match value {
        cel::Value::List(items) => {
            out.push('[');
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                write_nested(item, out)?;
            }
            out.push(']');
        }
        cel::Value::Map(map) => {
            out.push('{');
            for (at, (name, item)) in map.map.iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                write_json(&Value::text(name.to_string()), out);
                out.push(':');
                write_nested(item, out)?;
            }
            out.push('}');
        }
        plain => write_json(&plain_from_cel(plain)?, out),
    }
    Ok(())
}
