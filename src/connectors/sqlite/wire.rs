//! Values between SQLite's storage classes and ours, and what its errors mean. Pure.

use rusqlite::ErrorCode;
use rusqlite::ffi;
use rusqlite::types::{ToSqlOutput, ValueRef};

use super::catalogue::Affinity;
use crate::engine::fault::{Fault, FaultCode};
use crate::engine::record::{Number, Value};

/// Reads one stored value; `Err` says why it is none of ours.
pub(super) fn decode(cell: ValueRef<'_>) -> Result<Value, &'static str> {
    match cell {
        ValueRef::Null => Ok(Value::Null),
        ValueRef::Integer(int) => Ok(Value::Int(int)),
        ValueRef::Real(float) => Number::from_f64(float).ok_or("an infinite number"),
        ValueRef::Text(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => Ok(Value::Text(text.into())),
            Err(_) => Err("text that is not UTF-8"),
        },
        ValueRef::Blob(bytes) => Ok(Value::Bytes(bytes.into())),
    }
}

/// What a value becomes in a column.
#[derive(Debug, PartialEq)]
pub(super) enum Stored {
    /// Read back, it equals what was sent.
    Same,
    /// Read back, it is this.
    Becomes(Value),
    /// Only the database can tell.
    Ask,
}

/// A value in the form in which it is bound.
#[derive(Debug)]
pub(super) struct Encoded<'v> {
    pub bound: ToSqlOutput<'v>,
    pub stored: Stored,
}

/// Turns a value into what is bound for a column of this affinity; `Err` says what would be lost.
/// Missing values must not get here.
pub(super) fn encode(value: &Value, affinity: Affinity) -> Result<Encoded<'_>, &'static str> {
    let made = |bound, stored| Ok(Encoded { bound, stored });
    match value {
        Value::Unknown | Value::Absent | Value::Null => made(borrowed(ValueRef::Null), Stored::Same),
        Value::Bytes(bytes) => made(borrowed(ValueRef::Blob(bytes)), Stored::Same),
        Value::Text(text) => encode_text(text, affinity),
        Value::Json(text) => {
            let stored = match affinity {
                // A bare list or object never looks like a number.
                _ if text.starts_with(['{', '[']) => Stored::Becomes(Value::text(text)),
                Affinity::Text | Affinity::None => Stored::Becomes(Value::text(text)),
                _ => Stored::Ask,
            };
            made(borrowed(ValueRef::Text(text.as_bytes())), stored)
        }
        Value::Bool(flag) if affinity == Affinity::Text => {
            let text = if *flag { "true" } else { "false" };
            made(borrowed(ValueRef::Text(text.as_bytes())), Stored::Becomes(Value::text(text)))
        }
        Value::Bool(flag) => encode_int(i64::from(*flag), affinity, true),
        Value::Int(int) => encode_int(*int, affinity, false),
        Value::Number(number) => encode_number(number, affinity),
    }
}

fn borrowed(cell: ValueRef<'_>) -> ToSqlOutput<'_> {
    ToSqlOutput::Borrowed(cell)
}

fn encode_int<'v>(int: i64, affinity: Affinity, was_flag: bool) -> Result<Encoded<'v>, &'static str> {
    let stored = match affinity {
        Affinity::Text => Stored::Becomes(Value::Text(compact_str::format_compact!("{int}"))),
        // By how it reads back: the float of i64::MIN is exact, its shortest text is another number.
        Affinity::Real if Number::from_f64(int as f64) != Some(Value::Int(int)) => {
            return Err("an integer with more digits than a REAL column keeps");
        }
        _ if was_flag => Stored::Becomes(Value::Int(int)),
        _ => Stored::Same,
    };
    Ok(Encoded { bound: borrowed(ValueRef::Integer(int)), stored })
}

/// Binds a number so that reading it back gives the same amount, or refuses.
fn encode_number(number: &Number, affinity: Affinity) -> Result<Encoded<'_>, &'static str> {
    let as_text = || {
        let text = number.as_str();
        Encoded {
            bound: borrowed(ValueRef::Text(text.as_bytes())),
            stored: Stored::Becomes(Value::text(text)),
        }
    };
    if affinity == Affinity::Text {
        return Ok(as_text());
    }
    if let Some((float, _)) = as_float(number) {
        return Ok(Encoded { bound: borrowed(ValueRef::Real(float)), stored: Stored::Same });
    }
    if affinity == Affinity::None {
        return Ok(as_text());
    }
    let whole = number.to_integer_text().and_then(|text| text.parse::<i64>().ok());
    match whole {
        Some(int) if affinity != Affinity::Real => {
            Ok(Encoded { bound: borrowed(ValueRef::Integer(int)), stored: Stored::Same })
        }
        _ => Err("a number with more digits than its type keeps"),
    }
}

/// Gives the float that is exactly this number, and how it reads back.
fn as_float(number: &Number) -> Option<(f64, Value)> {
    let float = number.to_f64();
    let back = Number::from_f64(float)?;
    let same = match &back {
        Value::Number(back) => back == number,
        Value::Int(int) => number.equals_int(*int),
        _ => false,
    };
    same.then_some((float, back))
}

/// Binds a text. A column of floats is given the float that it would make of it, so that nobody has to
/// ask what that was.
fn encode_text(text: &str, affinity: Affinity) -> Result<Encoded<'_>, &'static str> {
    if affinity == Affinity::Real
        && is_numeric(text)
        && let Some(Value::Number(number)) = Number::parse(text)
        && let Some((float, back)) = as_float(&number)
    {
        return Ok(Encoded { bound: borrowed(ValueRef::Real(float)), stored: Stored::Becomes(back) });
    }
    Ok(Encoded { bound: borrowed(ValueRef::Text(text.as_bytes())), stored: text_becomes(text, affinity)? })
}

/// Columns with a numeric affinity turn text that is a number into one; whether it keeps its digits
/// is asked just as for a number. What SQLite alone takes for a number (`007`, `+49`, ` 12 `) would
/// come back as another text.
fn text_becomes(text: &str, affinity: Affinity) -> Result<Stored, &'static str> {
    if !affinity.is_numeric() || !is_numeric(text) {
        return Ok(Stored::Same);
    }
    match (affinity, Number::parse(text)) {
        (Affinity::Integer | Affinity::Numeric, Some(Value::Int(int))) => {
            Ok(Stored::Becomes(Value::Int(int)))
        }
        (_, Some(Value::Int(int))) => encode_int(int, affinity, false).map(|_| Stored::Ask),
        (_, Some(Value::Number(number))) => encode_number(&number, affinity).map(|_| Stored::Ask),
        _ => Err("a text that its type takes for a number, spelt otherwise (zeros in front, a plus, spaces)"),
    }
}

/// Tells whether SQLite takes a text for a number where a column prefers numbers.
pub(super) fn is_numeric(text: &str) -> bool {
    let text = text.trim_matches([' ', '\t', '\n', '\r', '\u{b}', '\u{c}']);
    let fits = |byte: u8| byte.is_ascii_digit() || matches!(byte, b'+' | b'-' | b'.' | b'e' | b'E');
    text.bytes().all(fits) && text.parse::<f64>().is_ok()
}

/// Tells what an error of SQLite means. `doing` says the operation and the object.
pub(super) fn classify(doing: &str, error: &rusqlite::Error) -> Fault {
    let (failure, detail) = match error {
        rusqlite::Error::SqliteFailure(failure, detail) => (failure, detail.as_deref()),
        rusqlite::Error::SqlInputError { error, msg, .. } => (error, Some(msg.as_str())),
        other => {
            return Fault::fatal(
                FaultCode::Protocol,
                format!("{doing}: {other}"),
                "this is a defect of the connector",
            );
        }
    };
    let message = format!("{doing}: {}", detail.map_or_else(|| failure.to_string(), str::to_owned));
    let rejected = |remedy: &str| Fault {
        remedy: Some(remedy.to_owned()),
        ..Fault::rejected(FaultCode::Validation, message.clone())
    };
    match failure.code {
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::FileLockingProtocolFailed => Fault {
            remedy: Some("somebody holds a long transaction; `busy_timeout_ms` waits longer".to_owned()),
            ..Fault::transient(FaultCode::Unavailable, message)
        },
        ErrorCode::DiskFull => Fault {
            remedy: Some("free space on the database's disk".to_owned()),
            ..Fault::transient(FaultCode::Storage, message)
        },
        ErrorCode::SystemIoFailure
        | ErrorCode::OutOfMemory
        | ErrorCode::OperationInterrupted
        | ErrorCode::OperationAborted
        | ErrorCode::SchemaChanged => Fault::transient(FaultCode::Storage, message),
        ErrorCode::ReadOnly => {
            Fault::fatal(FaultCode::Storage, message, "let record-sync write to the file and its folder")
        }
        ErrorCode::PermissionDenied | ErrorCode::CannotOpen | ErrorCode::AuthorizationForStatementDenied => {
            Fault::fatal(
                FaultCode::Storage,
                message,
                "check `path` and the rights of the file and its folder",
            )
        }
        ErrorCode::NotADatabase => {
            Fault::fatal(FaultCode::Configuration, message, "`path` must name a SQLite database")
        }
        ErrorCode::DatabaseCorrupt => {
            Fault::fatal(FaultCode::Storage, message, "the database is damaged: restore it from a backup")
        }
        ErrorCode::ConstraintViolation => match failure.extended_code {
            // The parent may still be on its way: worth another try.
            ffi::SQLITE_CONSTRAINT_FOREIGNKEY => Fault {
                remedy: Some("the row refers to one that is not there, or is still referred to".to_owned()),
                ..Fault::transient(FaultCode::Conflict, message)
            },
            ffi::SQLITE_CONSTRAINT_NOTNULL => {
                rejected("map a value to this column, or give the mapping a default")
            }
            ffi::SQLITE_CONSTRAINT_UNIQUE
            | ffi::SQLITE_CONSTRAINT_PRIMARYKEY
            | ffi::SQLITE_CONSTRAINT_ROWID => {
                rejected("another row already holds this value in a unique column")
            }
            ffi::SQLITE_CONSTRAINT_DATATYPE => {
                rejected("the table is STRICT: convert the value in the mapping (`to_int`, `to_string` …)")
            }
            ffi::SQLITE_CONSTRAINT_CHECK => {
                rejected("the value fails the table's own check; correct it at the source or in the mapping")
            }
            _ => rejected("the table itself refuses this row"),
        },
        ErrorCode::TypeMismatch => {
            rejected("the column takes whole numbers only: convert the value in the mapping (`to_int`)")
        }
        ErrorCode::TooBig => rejected("the value is larger than SQLite takes"),
        _ => Fault::fatal(
            FaultCode::Configuration,
            message,
            "compare the link's stream, key and fields with the table",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(text: &str) -> Value {
        Number::parse(text).expect("a number")
    }

    #[test]
    fn no_digit_is_lost_on_the_way_in() {
        let refused = || None::<&str>;
        // (value, affinity, how it reads back (`None`: refused), why)
        let cases = [
            (number("9007199254740993"), Affinity::Integer, Some("9007199254740993"), "2^53+1"),
            (number("9007199254740993"), Affinity::Real, refused(), "2^53+1 as a float is 2^53"),
            (number("9223372036854775807"), Affinity::Integer, Some("9223372036854775807"), "the end of i64"),
            (number("9223372036854775807"), Affinity::Real, refused(), "rounds up to 2^63"),
            (
                number("-9223372036854775808"),
                Affinity::Real,
                refused(),
                "reads back as -9.223372036854776e18",
            ),
            (number("18446744073709551615"), Affinity::Integer, refused(), "u64 is more than i64"),
            (number("18446744073709551615"), Affinity::Text, Some("18446744073709551615"), "text keeps all"),
            (
                number("18446744073709551615"),
                Affinity::None,
                Some("18446744073709551615"),
                "so does no affinity",
            ),
            (number("0.1"), Affinity::Real, Some("0.1"), "shortest text of the nearest float"),
            (number("0.10"), Affinity::Numeric, Some("0.10"), "equal by amount is the same"),
            (number("12345678901234567890.123456789012345678"), Affinity::Numeric, refused(), "38 digits"),
            (number("9007199254740993.0"), Affinity::Numeric, Some("9007199254740993.0"), "whole after all"),
            (number("1e400"), Affinity::Real, refused(), "infinite"),
            (number("7"), Affinity::Text, Some("7"), "a number in a text column becomes its text"),
            (Value::Bool(true), Affinity::Text, Some("true"), "so does a flag"),
            (Value::Bool(true), Affinity::None, Some("1"), "SQLite has no flags"),
        ];
        for (value, affinity, expected, why) in cases {
            let read_back = encode(&value, affinity).ok().map(|encoded| match encoded.stored {
                Stored::Same => value.clone(),
                Stored::Becomes(stored) => stored,
                Stored::Ask => Value::Unknown,
            });
            let shown = read_back.as_ref().and_then(Value::to_plain);
            assert_eq!(shown.as_deref(), expected, "{why}");
        }
    }

    #[test]
    fn what_text_becomes_is_known_or_asked_for() {
        // (text, affinity, what, why)
        let cases = [
            ("12", Affinity::Integer, Stored::Becomes(Value::Int(12)), "CSV has no integers"),
            ("12", Affinity::Text, Stored::Same, "text stays"),
            ("abc", Affinity::Integer, Stored::Same, "no number"),
            ("1.5", Affinity::Real, Stored::Ask, "a float"),
            ("-", Affinity::Numeric, Stored::Same, "no number yet"),
            ("12ab", Affinity::Numeric, Stored::Same, "not wholly a number"),
            ("-inf", Affinity::Real, Stored::Same, "not to SQLite"),
        ];
        for (text, affinity, expected, why) in cases {
            assert_eq!(text_becomes(text, affinity), Ok(expected), "{why}: {text:?}");
        }
    }

    #[test]
    fn a_column_of_floats_is_given_the_float_that_a_text_is() {
        // (text, as it reads back (`None`: ask), why)
        let cases = [
            ("1.5", Some("1.5"), "as it is"),
            ("1.50", Some("1.5"), "the same amount"),
            ("1e2", Some("100.0"), "whole, and still a float"),
            ("-0.0", Some("-0.0"), "a zero of its own"),
            ("abc", Some("abc"), "no number at all"),
            ("12", None, "whole numbers are asked for"),
        ];
        for (text, expected, why) in cases {
            let value = Value::text(text);
            let encoded = encode(&value, Affinity::Real).expect(why);
            let back = match encoded.stored {
                Stored::Same => Some(value.clone()),
                Stored::Becomes(back) => Some(back),
                Stored::Ask => None,
            };
            assert_eq!(back.as_ref().and_then(Value::to_plain).as_deref(), expected, "{why}: {text:?}");
        }
    }

    #[test]
    fn text_that_a_column_would_round_or_spell_otherwise_is_refused() {
        for text in ["18446744073709551615", "12345678901234567890.5", "1e400", "007", " 12", "+49", ".5"] {
            assert!(text_becomes(text, Affinity::Integer).is_err(), "{text}");
            assert_eq!(text_becomes(text, Affinity::Text), Ok(Stored::Same), "{text}");
        }
    }

    #[test]
    fn errors_are_told_apart() {
        use crate::engine::fault::FaultKind::{Fatal, Rejected, Transient};
        // (result code, kind, code)
        let cases = [
            (ffi::SQLITE_BUSY, Transient, FaultCode::Unavailable),
            (ffi::SQLITE_BUSY_SNAPSHOT, Transient, FaultCode::Unavailable),
            (ffi::SQLITE_LOCKED, Transient, FaultCode::Unavailable),
            (ffi::SQLITE_FULL, Transient, FaultCode::Storage),
            (ffi::SQLITE_IOERR_WRITE, Transient, FaultCode::Storage),
            (ffi::SQLITE_READONLY, Fatal, FaultCode::Storage),
            (ffi::SQLITE_NOTADB, Fatal, FaultCode::Configuration),
            (ffi::SQLITE_CORRUPT, Fatal, FaultCode::Storage),
            (ffi::SQLITE_CONSTRAINT_NOTNULL, Rejected, FaultCode::Validation),
            (ffi::SQLITE_CONSTRAINT_UNIQUE, Rejected, FaultCode::Validation),
            (ffi::SQLITE_CONSTRAINT_CHECK, Rejected, FaultCode::Validation),
            (ffi::SQLITE_CONSTRAINT_FOREIGNKEY, Transient, FaultCode::Conflict),
            (ffi::SQLITE_MISMATCH, Rejected, FaultCode::Validation),
            (ffi::SQLITE_ERROR, Fatal, FaultCode::Configuration),
        ];
        for (result, kind, code) in cases {
            let error = rusqlite::Error::SqliteFailure(ffi::Error::new(result), None);
            let fault = classify("writing to t", &error);
            assert_eq!((fault.kind.clone(), fault.code), (kind, code), "{result}: {fault}");
        }
    }
}
