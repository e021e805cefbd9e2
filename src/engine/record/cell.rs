//! Values as bytes, one behind the other: typed and length-prefixed.
//!
//! A cell is a byte that says what it holds; an integer is followed by 8 bytes, what is neither plain nor an integer by
//! a length and as many bytes. Stored images, data hashes and the objects of mocks are made of cells.

use compact_str::CompactString;

use super::number::Number;
use super::value::Value;

const UNKNOWN: u8 = 0;
const ABSENT: u8 = 1;
const NULL: u8 = 2;
const FALSE: u8 = 3;
const TRUE: u8 = 4;
const INT: u8 = 5;
const NUMBER: u8 = 6;
const TEXT: u8 = 7;
const BYTES: u8 = 8;
const JSON: u8 = 9;

/// A cell taken apart: what it holds, and the bytes that say it.
#[derive(Clone, Copy)]
pub struct Cell<'c> {
    kind: u8,
    bytes: &'c [u8],
}

/// Appends a value.
pub fn push_cell(value: &Value, bytes: &mut Vec<u8>) {
    let mut sized = |kind: u8, data: &[u8]| {
        bytes.push(kind);
        push_length(data.len(), bytes);
        bytes.extend_from_slice(data);
    };
    match value {
        Value::Unknown => bytes.push(UNKNOWN),
        Value::Absent => bytes.push(ABSENT),
        Value::Null => bytes.push(NULL),
        Value::Bool(false) => bytes.push(FALSE),
        Value::Bool(true) => bytes.push(TRUE),
        Value::Int(int) => {
            bytes.push(INT);
            bytes.extend_from_slice(&int.to_le_bytes());
        }
        Value::Number(number) => sized(NUMBER, number.as_str().as_bytes()),
        Value::Text(text) => sized(TEXT, text.as_bytes()),
        Value::Bytes(data) => sized(BYTES, data),
        Value::Json(text) => sized(JSON, text.as_bytes()),
    }
}

/// Takes the first cell off; gives it and what follows.
pub fn split_cell(bytes: &[u8]) -> Option<(Cell<'_>, &[u8])> {
    let (&kind, rest) = bytes.split_first()?;
    let (length, rest) = match kind {
        UNKNOWN..=TRUE => (0, rest),
        INT => (8, rest),
        _ => take_length(rest)?,
    };
    let (bytes, rest) = rest.split_at_checked(length)?;
    Some((Cell { kind, bytes }, rest))
}

impl<'c> Cell<'c> {
    /// Returns the value; `None` for bytes that nobody wrote.
    pub fn value(self) -> Option<Value> {
        let text = || std::str::from_utf8(self.bytes).ok();
        Some(match self.kind {
            UNKNOWN => Value::Unknown,
            ABSENT => Value::Absent,
            NULL => Value::Null,
            FALSE => Value::Bool(false),
            TRUE => Value::Bool(true),
            INT => Value::Int(i64::from_le_bytes(self.bytes.try_into().ok()?)),
            NUMBER => Number::parse(text()?)?,
            TEXT => Value::Text(CompactString::from_utf8(self.bytes).ok()?),
            BYTES => Value::Bytes(self.bytes.into()),
            JSON => Value::Json(text()?.into()),
            _ => return None,
        })
    }

    /// Returns the text, where the value is text.
    pub fn text(self) -> Option<&'c str> {
        std::str::from_utf8(self.bytes).ok().filter(|_| self.kind == TEXT)
    }
}

/// Writes a length as LEB128.
pub fn push_length(mut length: usize, bytes: &mut Vec<u8>) {
    while length >= 0x80 {
        bytes.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    bytes.push(length as u8);
}

fn take_length(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let mut length = 0usize;
    for (at, &byte) in bytes.iter().enumerate().take(9) {
        length |= usize::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Some((length, bytes.get(at + 1..)?));
        }
    }
    None
}
