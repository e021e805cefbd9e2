//! A value in an event's JSON: exact, and of the same kind when it comes back.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};
use serde_json::value::RawValue;

use crate::engine::record::{Value, value_from_raw, value_to_json, write_json};

/// A value as history keeps it. What JSON has a kind for stands as it is; all else is an object that
/// names its kind: `{"absent": true}`, `{"bytes": "00ff"}`, `{"json": […]}`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cell(pub Value);

impl Cell {
    /// Returns the value as users read it.
    pub fn shown(&self) -> serde_json::Value {
        value_to_json(&self.0)
    }

    fn text(&self) -> String {
        let mut text = String::new();
        match &self.0 {
            Value::Unknown => text.push_str(r#"{"unknown":true}"#),
            Value::Absent => text.push_str(r#"{"absent":true}"#),
            Value::Bytes(_) => {
                let hex = self.0.to_plain().unwrap_or_default();
                // Writing into a string can't fail.
                let _ = write!(text, r#"{{"bytes":"{hex}"}}"#);
            }
            Value::Json(json) => {
                let _ = write!(text, r#"{{"json":{json}}}"#);
            }
            value => write_json(value, &mut text),
        }
        text
    }

    fn read(raw: &RawValue) -> Option<Value> {
        if !raw.get().starts_with('{') {
            return value_from_raw(raw).ok();
        }
        let members: BTreeMap<String, Box<RawValue>> = serde_json::from_str(raw.get()).ok()?;
        let (kind, inner) = members.into_iter().next()?;
        match kind.as_str() {
            "unknown" => Some(Value::Unknown),
            "absent" => Some(Value::Absent),
            "bytes" => bytes(&serde_json::from_str::<String>(inner.get()).ok()?).map(Value::Bytes),
            "json" => Some(Value::Json(inner.get().into())),
            _ => None,
        }
    }
}

fn bytes(hex: &str) -> Option<Box<[u8]>> {
    let digits = hex.as_bytes().chunks(2);
    digits.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

impl From<&Value> for Cell {
    fn from(value: &Value) -> Self {
        Self(value.clone())
    }
}

impl Serialize for Cell {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        RawValue::from_string(self.text()).map_err(ser::Error::custom)?.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Cell {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        Self::read(&raw).map(Self).ok_or_else(|| de::Error::custom("not a value of a history"))
    }
}
