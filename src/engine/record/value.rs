//! One field's value.

use compact_str::CompactString;

use super::Number;
use crate::planted::{Bug, planted};

/// A value, exact: no integer and no decimal loses a digit on its way through.
///
/// `Absent`, `Null` and empty text are three different things. `Unknown` marks a place of an
/// [`super::Image`] of which nothing has been seen yet; no source reports it and no destination
/// ever gets it.
#[derive(Clone, Debug, Default)]
pub enum Value {
    Unknown,
    #[default]
    Absent,
    Null,
    Bool(bool),
    Int(i64),
    /// Any number that is not an `i64`, in its own text.
    Number(Number),
    Text(CompactString),
    Bytes(Box<[u8]>),
    /// A nested list or object as compact JSON text with sorted names.
    Json(Box<str>),
}

impl Value {
    /// Builds a text value.
    pub fn text(text: impl AsRef<str>) -> Self {
        Self::Text(CompactString::new(text.as_ref()))
    }

    /// Returns about how many bytes it takes.
    pub fn bytes(&self) -> u64 {
        let apart = match self {
            Self::Text(text) => text.len(),
            Self::Json(json) => json.len(),
            Self::Bytes(bytes) => bytes.len(),
            Self::Unknown | Self::Absent | Self::Null | Self::Bool(_) | Self::Int(_) | Self::Number(_) => 0,
        };
        (size_of::<Self>() + apart) as u64
    }

    /// Tells whether there is neither a value nor a null to speak of.
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Unknown | Self::Absent)
    }

    /// Tells whether the value is missing, null, or text that is empty.
    pub fn is_blank(&self) -> bool {
        match self {
            Self::Unknown | Self::Absent | Self::Null => true,
            Self::Text(text) => text.is_empty(),
            _ => false,
        }
    }

    /// Returns the text, where the value is text.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Returns the kind's name for messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Absent => "absent",
            Self::Null => "null",
            Self::Bool(_) => "boolean",
            Self::Int(_) | Self::Number(_) => "number",
            Self::Text(_) => "text",
            Self::Bytes(_) => "bytes",
            Self::Json(_) => "json",
        }
    }

    /// Writes the value as plain text, as a CSV cell or a key shows it; `None` for missing and null.
    pub fn to_plain(&self) -> Option<CompactString> {
        match self {
            Self::Unknown | Self::Absent | Self::Null => None,
            Self::Bool(value) => Some(CompactString::const_new(if *value { "true" } else { "false" })),
            Self::Int(value) => Some(compact_str::format_compact!("{value}")),
            Self::Number(value) => Some(CompactString::new(value.as_str())),
            Self::Text(text) => Some(text.clone()),
            Self::Bytes(bytes) => Some(hex(bytes)),
            Self::Json(text) => Some(CompactString::new(text)),
        }
    }

    /// Tells whether two sides mean the same by their values, although each stores it in its own
    /// way: `1` and `"1"`, `true` and `1`, `null` and a field that is not there.
    pub fn agrees(&self, other: &Self) -> bool {
        if self == other {
            return true;
        }
        match (self, other) {
            (Self::Absent | Self::Null, Self::Absent | Self::Null) => true,
            (Self::Null, Self::Text(text)) | (Self::Text(text), Self::Null)
                if planted(Bug::EmptyIsNull) && text.is_empty() =>
            {
                true
            }
            (Self::Bool(flag), Self::Int(number)) | (Self::Int(number), Self::Bool(flag)) => {
                i64::from(*flag) == *number
            }
            (Self::Bool(flag), Self::Number(number)) | (Self::Number(number), Self::Bool(flag)) => {
                number.equals_int(i64::from(*flag))
            }
            (Self::Int(_) | Self::Number(_), Self::Text(text))
            | (Self::Text(text), Self::Int(_) | Self::Number(_)) => {
                let number = if matches!(self, Self::Text(_)) { other } else { self };
                Number::parse(text).is_some_and(|parsed| parsed == *number)
            }
            (Self::Bool(flag), Self::Text(text)) | (Self::Text(text), Self::Bool(flag)) => {
                text == if *flag { "true" } else { "false" } || text == if *flag { "1" } else { "0" }
            }
            (Self::Json(json), Self::Text(text)) | (Self::Text(text), Self::Json(json)) => {
                **json == **text || super::json::is_same_json(text, json)
            }
            _ => false,
        }
    }
}

impl PartialEq for Value {
    /// Compares by meaning within one side: numbers by amount, all else exactly.
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Unknown, Self::Unknown) | (Self::Absent, Self::Absent) | (Self::Null, Self::Null) => true,
            (Self::Bool(left), Self::Bool(right)) => left == right,
            (Self::Int(left), Self::Int(right)) => left == right,
            (Self::Number(left), Self::Number(right)) => left == right,
            (Self::Int(int), Self::Number(number)) | (Self::Number(number), Self::Int(int)) => {
                number.equals_int(*int)
            }
            (Self::Text(left), Self::Text(right)) => left == right,
            (Self::Bytes(left), Self::Bytes(right)) => left == right,
            (Self::Json(left), Self::Json(right)) => left == right,
            _ => false,
        }
    }
}

impl Eq for Value {}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::text(text)
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

impl From<bool> for Value {
    fn from(flag: bool) -> Self {
        Self::Bool(flag)
    }
}

fn hex(bytes: &[u8]) -> CompactString {
    use std::fmt::Write;
    bytes.iter().fold(CompactString::default(), |mut text, byte| {
        // Writing into a string can't fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
