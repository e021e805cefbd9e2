//! What a value means, as the test itself understands it: written without the code under test.

use serde_json::value::RawValue;

use super::ends::End;

/// A value as a system's own files, tables or API say it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Meaning {
    Null,
    Flag(bool),
    /// In the text in which the system says it.
    Number(String),
    Text(String),
    Bytes(Vec<u8>),
    /// A list or an object: compact, with sorted names.
    Nested(String),
    /// Nothing that anybody could read.
    Broken,
}

impl Meaning {
    /// Reads a JSON value.
    pub fn of_json(raw: &RawValue) -> Self {
        let text = raw.get();
        match text.as_bytes()[0] {
            b'n' => Self::Null,
            b't' | b'f' => Self::Flag(text == "true"),
            b'"' => serde_json::from_str(text).map_or(Self::Broken, Self::Text),
            b'{' | b'[' => Self::Nested(compact(raw)),
            _ => Self::Number(text.to_owned()),
        }
    }

    /// Reads what SQLite has in a cell.
    pub fn of_cell(cell: rusqlite::types::ValueRef<'_>) -> Self {
        use rusqlite::types::ValueRef;
        match cell {
            ValueRef::Null => Self::Null,
            ValueRef::Integer(int) => Self::Number(int.to_string()),
            ValueRef::Real(real) if real.is_finite() => Self::Number(format!("{real:?}")),
            ValueRef::Real(_) => Self::Broken,
            ValueRef::Text(bytes) => String::from_utf8(bytes.to_vec()).map_or(Self::Broken, Self::Text),
            ValueRef::Blob(bytes) => Self::Bytes(bytes.to_vec()),
        }
    }

    /// The value where all is text; nothing for null.
    fn plain(&self) -> Option<String> {
        match self {
            Self::Null => None,
            Self::Flag(flag) => Some(flag.to_string()),
            Self::Number(text) | Self::Text(text) | Self::Nested(text) => Some(text.clone()),
            Self::Bytes(_) | Self::Broken => panic!("{self:?} has no text"),
        }
    }

    /// The same where empty text is how nothing is said.
    pub fn or_null(self) -> Self {
        if self == Self::Text(String::new()) { Self::Null } else { self }
    }

    fn as_text(&self) -> Self {
        self.plain().map_or(Self::Null, Self::Text)
    }

    /// For messages: a megabyte is not worth reading.
    pub fn shown(&self) -> String {
        let mut text = format!("{self:?}");
        if let Some((end, _)) = text.char_indices().nth(120) {
            text.truncate(end);
            text.push('…');
        }
        text
    }
}

/// Tells whether what stands at an end says just what the source says, in that end's own way.
pub fn says(end: End, source: &Meaning, there: &Meaning) -> bool {
    use Meaning::{Flag, Nested, Number, Text};
    match (end, source) {
        (End::File("csv") | End::Sqlite("TEXT"), source) if !matches!(source, Meaning::Bytes(_)) => {
            *there == source.as_text()
        }
        (End::ServiceNow, source) if !matches!(source, Meaning::Bytes(_)) => {
            *there == source.as_text().or_null()
        }
        (End::Sqlite(_), Flag(flag)) => is_amount(there, if *flag { "1" } else { "0" }),
        (End::Sqlite(_), Nested(text)) => *there == Text(text.clone()),
        // Typed columns make numbers of texts that are numbers, untyped ones texts of numbers that no
        // number of theirs can hold.
        (End::Sqlite(_), Number(text) | Text(text)) => {
            there == source
                || is_amount(there, text)
                || (end == End::Sqlite("") && *there == source.as_text())
        }
        (_, source) => there == source,
    }
}

fn is_amount(meaning: &Meaning, wanted: &str) -> bool {
    matches!(meaning, Meaning::Number(text) if amount(text).is_some() && amount(text) == amount(wanted))
}

/// A decimal's sign, digits without zeros at either end, and the power of ten of the last digit; `None` for
/// what JSON does not call a number.
fn amount(text: &str) -> Option<(bool, String, i64)> {
    serde_json::from_str::<&RawValue>(text).ok().filter(|raw| {
        raw.get() == text && text.starts_with(|first: char| first == '-' || first.is_ascii_digit())
    })?;
    let unsigned = text.trim_start_matches('-');
    let (mantissa, exponent) = unsigned.split_once(['e', 'E']).unwrap_or((unsigned, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    let digits = digits.trim_start_matches('0');
    let short = digits.trim_end_matches('0');
    if short.is_empty() {
        return Some((false, String::new(), 0));
    }
    let exponent: i64 = exponent.trim_start_matches('+').parse().ok()?;
    let last = exponent - fraction.len() as i64 + (digits.len() - short.len()) as i64;
    Some((text.starts_with('-'), short.to_owned(), last))
}

/// Takes white space out and sorts names; numbers keep their text.
fn compact(raw: &RawValue) -> String {
    let text = raw.get();
    match text.as_bytes()[0] {
        b'{' => {
            let members: std::collections::BTreeMap<String, Box<RawValue>> =
                serde_json::from_str(text).unwrap();
            let member = |(name, raw): (String, Box<RawValue>)| {
                format!("{}:{}", serde_json::to_string(&name).unwrap(), compact(&raw))
            };
            format!("{{{}}}", members.into_iter().map(member).collect::<Vec<_>>().join(","))
        }
        b'[' => {
            let items: Vec<Box<RawValue>> = serde_json::from_str(text).unwrap();
            format!("[{}]", items.iter().map(|raw| compact(raw)).collect::<Vec<_>>().join(","))
        }
        b'"' => serde_json::to_string(&serde_json::from_str::<String>(text).unwrap()).unwrap(),
        _ => text.to_owned(),
    }
}
