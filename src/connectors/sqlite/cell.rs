//! A stored value kept exactly as it is stored: in cursors, and to find a row again.

use rusqlite::ToSql;
use rusqlite::types::{ToSqlOutput, ValueRef};

use super::wire;
use crate::engine::record::Value;

/// One value with its storage class. Bound again, it compares equal to where it came from.
#[derive(Clone, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub(super) enum Cell {
    #[serde(rename = "n")]
    Null,
    #[serde(rename = "i")]
    Int(i64),
    /// The bits of the float: its text would have to be read back exactly.
    #[serde(rename = "r")]
    Real(u64),
    #[serde(rename = "t")]
    Text(String),
    /// Text that is not UTF-8.
    #[serde(rename = "x")]
    RawText(Vec<u8>),
    #[serde(rename = "b")]
    Blob(Vec<u8>),
}

impl From<ValueRef<'_>> for Cell {
    fn from(value: ValueRef<'_>) -> Self {
        match value {
            ValueRef::Null => Self::Null,
            ValueRef::Integer(int) => Self::Int(int),
            ValueRef::Real(float) => Self::Real(float.to_bits()),
            ValueRef::Text(bytes) => match std::str::from_utf8(bytes) {
                Ok(text) => Self::Text(text.to_owned()),
                Err(_) => Self::RawText(bytes.to_owned()),
            },
            ValueRef::Blob(bytes) => Self::Blob(bytes.to_owned()),
        }
    }
}

impl ToSql for Cell {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Null => ValueRef::Null,
            Self::Int(int) => ValueRef::Integer(*int),
            Self::Real(bits) => ValueRef::Real(f64::from_bits(*bits)),
            Self::Text(text) => ValueRef::Text(text.as_bytes()),
            Self::RawText(bytes) => ValueRef::Text(bytes),
            Self::Blob(bytes) => ValueRef::Blob(bytes),
        }))
    }
}

impl Cell {
    /// Returns the value; absent where it is none of ours.
    pub fn to_value(&self) -> Value {
        match self.to_sql() {
            Ok(ToSqlOutput::Borrowed(cell)) => wire::decode(cell).unwrap_or_default(),
            _ => Value::Absent,
        }
    }
}
