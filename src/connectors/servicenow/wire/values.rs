//! Values into the texts that the service holds.

use super::dictionary::{Dictionary, Kind, SYSTEM_FIELDS};
use super::encoded::is_name;
use super::moment::format_moment;
use crate::engine::fault::{Fault, FaultCode};
use crate::engine::record::{Schema, Timestamp, Value, write_json};

/// Writes the body of a create or an update: missing values and the service's own fields are left out, null is
/// empty text, everything else is its text. Refuses, with the field's name, what the service would cut or drop without a word.
pub fn encode(shape: &Schema, values: &[Value], dictionary: &Dictionary) -> Result<Vec<u8>, Fault> {
    let mut out = String::from("{");
    for (name, value) in shape.names().zip(values) {
        if value.is_missing() || SYSTEM_FIELDS.contains(&name) {
            continue;
        }
        if name.contains('.') || !is_name(name) {
            return Err(Fault {
                remedy: Some("write to the record that it belongs to, by a link of its own".to_owned()),
                ..refused(name, "belongs to another record")
            });
        }
        let text = text_of(name, value, dictionary)?;
        if out.len() > 1 {
            out.push(',');
        }
        write_json(&Value::text(name), &mut out);
        out.push(':');
        write_json(&Value::text(&text), &mut out);
    }
    out.push('}');
    Ok(out.into_bytes())
}

fn text_of(name: &str, value: &Value, dictionary: &Dictionary) -> Result<String, Fault> {
    let text = String::from(value.to_plain().unwrap_or_default());
    let Some(field) = dictionary.field(name) else { return Ok(text) };
    if let Some(max) = field.length_max.filter(|max| text.chars().count() > *max) {
        return Err(Fault {
            remedy: Some(format!(
                "shorten the value in the mapping (`truncate({max})`), or lengthen the field"
            )),
            ..refused(name, &format!("holds {max} characters, and the service would cut the rest off"))
        });
    }
    match field.kind {
        Kind::Moment => match moment_of(&text) {
            Some(at) => Ok(format_moment(at)),
            None => Ok(text),
        },
        Kind::Flag => match value {
            Value::Int(0) => Ok("false".to_owned()),
            Value::Int(1) => Ok("true".to_owned()),
            _ => Ok(text),
        },
        Kind::Whole | Kind::Reference | Kind::Other => Ok(text),
    }
}

/// Reads a moment with a zone, as other systems write them.
fn moment_of(text: &str) -> Option<Timestamp> {
    text.contains(['T', 't']).then(|| Timestamp::parse_rfc3339(text)).flatten()
}

fn refused(name: &str, why: &str) -> Fault {
    Fault::rejected(FaultCode::Validation, format!("the field {name} {why}"))
}

/// Tells whether a value stands there as it was to be written: the service holds texts, and empty ones for
/// null.
pub fn same(stands: &Value, written: &Value) -> bool {
    stands.agrees(written)
        || stands.is_blank() && written.is_blank()
        || stands.to_plain() == written.to_plain()
        || matches!((stands, written), (Value::Text(left), Value::Text(right))
            if moment_of(right).is_some_and(|at| format_moment(at) == left.as_str()))
}

#[cfg(test)]
mod tests {
    use super::super::dictionary::Field;
    use super::*;
    use crate::engine::record::Number;

    fn dictionary() -> Dictionary {
        let field = |kind, length_max| Field { kind, length_max };
        Dictionary::of([
            ("opened_at", field(Kind::Moment, None)),
            ("active", field(Kind::Flag, None)),
            ("correlation_id", field(Kind::Other, Some(5))),
        ])
    }

    #[test]
    fn everything_is_written_as_text() {
        let number = Number::parse("1.50").expect("a number");
        // (field, value, body, why)
        let cases: [(&str, Value, &str, &str); 11] = [
            ("a", Value::Absent, "{}", "left alone"),
            ("a", Value::Null, r#"{"a":""}"#, "null is empty"),
            ("a", Value::Bool(true), r#"{"a":"true"}"#, "a flag"),
            ("a", number, r#"{"a":"1.50"}"#, "a number in its own text"),
            ("a", Value::text("x\"y"), r#"{"a":"x\"y"}"#, "quoted"),
            ("a", Value::Json("[1]".into()), r#"{"a":"[1]"}"#, "nested as text"),
            ("sys_id", Value::text("0f"), "{}", "the service's own"),
            ("active", Value::Int(1), r#"{"active":"true"}"#, "as SQLite has it"),
            (
                "opened_at",
                Value::text("2025-03-01T10:15:00.5+01:00"),
                r#"{"opened_at":"2025-03-01 09:15:00"}"#,
                "UTC",
            ),
            ("opened_at", Value::text("2025-03-01"), r#"{"opened_at":"2025-03-01"}"#, "as it is"),
            ("correlation_id", Value::text("äöüß!"), r#"{"correlation_id":"äöüß!"}"#, "just fits"),
        ];
        for (field, value, expected, why) in cases {
            let body = encode(&Schema::new([field]), &[value], &dictionary()).expect("a body");
            assert_eq!(String::from_utf8_lossy(&body), expected, "{why}");
        }
        for (field, value) in [("correlation_id", "123456"), ("caller_id.name", "Ada"), ("a^b", "x")] {
            let fault = encode(&Schema::new([field]), &[value.into()], &dictionary()).expect_err("refused");
            assert!(fault.message.contains(field) && fault.remedy.is_some(), "{fault}");
        }
    }

    #[test]
    fn what_stands_is_compared_by_what_it_means() {
        // (stands, written, same, why)
        let cases: [(Value, Value, bool, &str); 7] = [
            (Value::Null, "".into(), true, "empty is null"),
            ("1".into(), Value::Int(1), true, "a number"),
            ("true".into(), Value::Bool(true), true, "a flag"),
            ("2025-03-01 09:15:00".into(), "2025-03-01T09:15:00Z".into(), true, "one moment"),
            ("x".into(), "X".into(), false, "case counts"),
            (Value::Null, "x".into(), false, "nothing is not something"),
            (r#"{"a":1}"#.into(), Value::Json(r#"{"a":1}"#.into()), true, "nested"),
        ];
        for (stands, written, is, why) in cases {
            assert_eq!(same(&stands, &written), is, "{why}");
        }
    }
}
