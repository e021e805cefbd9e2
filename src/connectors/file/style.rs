//! One JSON object written in the manner of its file: a rewrite changes the values it must and
//! gives back every other byte, unknown fields and white space included.

use crate::engine::record::{Schema, Value, write_json};

use super::csv::push_int;
use super::object::{Member, read_name, read_value, skip_space};

/// The white space that the file's own objects have, so that new ones look like them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Style {
    open: Vec<u8>,
    between: Vec<u8>,
    colon: Vec<u8>,
    close: Vec<u8>,
}

impl Style {
    /// Takes the style of an object that has members.
    pub(super) fn of(text: &[u8], members: &[Member]) -> Option<Self> {
        let (first, last) = (members.first()?, members.last()?);
        let space_before = |at: usize| {
            let head = text.get(..at).unwrap_or(&[]);
            let start =
                head.iter().rposition(|byte| !byte.is_ascii_whitespace()).map_or(0, |found| found + 1);
            head.get(start..).unwrap_or(&[]).to_vec()
        };
        let open = space_before(first.name.start);
        let between = members.get(1).map_or_else(|| open.clone(), |second| space_before(second.name.start));
        let tail = text.get(last.value.end..).unwrap_or(&[]);
        let close = tail.iter().take_while(|byte| byte.is_ascii_whitespace()).copied().collect();
        Some(Self { open, between, colon: space_before(first.value.start), close })
    }
}

/// Names as JSON text, ready to be written.
pub(super) fn quoted_names(schema: &Schema) -> Vec<Vec<u8>> {
    schema
        .names()
        .map(|name| {
            let mut quoted = Vec::with_capacity(name.len() + 2);
            push_string(name, &mut quoted);
            quoted
        })
        .collect()
}

/// Appends a new object with all values that are there.
pub(super) fn push_object(names: &[Vec<u8>], values: &[Value], style: &Style, out: &mut Vec<u8>) {
    out.push(b'{');
    let mut first = true;
    for (name, value) in names.iter().zip(values) {
        if value.is_missing() {
            continue;
        }
        if !first {
            out.push(b',');
        }
        out.extend_from_slice(if first { &style.open } else { &style.between });
        first = false;
        push_member(name, value, style, out);
    }
    if !first {
        out.extend_from_slice(&style.close);
    }
    out.push(b'}');
}

fn push_member(name: &[u8], value: &Value, style: &Style, out: &mut Vec<u8>) {
    out.extend_from_slice(name);
    out.push(b':');
    out.extend_from_slice(&style.colon);
    push_value(value, out);
}

/// Appends an object with some values replaced and new fields at its end; every other byte stays.
pub(super) fn push_changed(
    text: &[u8],
    members: &[Member],
    names: &[Vec<u8>],
    schema: &Schema,
    values: &[Value],
    out: &mut Vec<u8>,
) {
    let style = Style::of(text, members).unwrap_or_default();
    let mut written = vec![false; values.len()];
    let mut copied = 0;
    for member in members {
        let name = text.get(member.name.clone()).and_then(read_name);
        let Some(position) = name.and_then(|name| schema.position(&name)) else { continue };
        let Some(value) = values.get(position).filter(|value| !value.is_missing()) else { continue };
        if let Some(written) = written.get_mut(position) {
            *written = true;
        }
        let raw = text.get(member.value.clone()).unwrap_or(&[]);
        let before = std::str::from_utf8(raw).ok().and_then(|raw| read_value(raw).ok());
        if before.is_some_and(|before| before == *value) {
            continue;
        }
        out.extend_from_slice(text.get(copied..member.value.start).unwrap_or(&[]));
        push_value(value, out);
        copied = member.value.end;
    }
    let tail = members.last().map_or_else(|| skip_space(text, 0) + 1, |last| last.value.end);
    let mut any = !members.is_empty();
    for ((name, value), written) in names.iter().zip(values).zip(written) {
        if written || value.is_missing() {
            continue;
        }
        out.extend_from_slice(text.get(copied..tail.max(copied)).unwrap_or(&[]));
        copied = tail.max(copied);
        if any {
            out.push(b',');
        }
        any = true;
        out.extend_from_slice(&style.between);
        push_member(name, value, &style, out);
    }
    out.extend_from_slice(text.get(copied..).unwrap_or(&[]));
}

fn push_value(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Int(int) => push_int(*int, out),
        Value::Text(text) => push_string(text, out),
        other => {
            let mut text = String::new();
            write_json(other, &mut text);
            out.extend_from_slice(text.as_bytes());
        }
    }
}

fn push_string(text: &str, out: &mut Vec<u8>) {
    if !text.bytes().any(|byte| byte < 0x20 || byte == b'"' || byte == b'\\') {
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
        return;
    }
    // Writing a string into memory can't fail.
    let _ = serde_json::to_writer(out, text);
}

/// Returns what a value becomes once it is written and read again.
pub(super) fn canonical(value: &Value) -> Value {
    match value {
        Value::Bytes(_) => Value::Text(value.to_plain().unwrap_or_default()),
        Value::Unknown => Value::Absent,
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::object::members;
    use super::*;

    #[test]
    fn a_change_touches_only_its_bytes() {
        let shape = Schema::new(["id", "name", "new"]);
        let names = quoted_names(&shape);
        let change = |text: &str, values: [Value; 3]| {
            let (mut found, mut out) = (Vec::new(), Vec::new());
            members(text.as_bytes(), &mut found).expect("an object");
            push_changed(text.as_bytes(), &found, &names, &shape, &values, &mut out);
            String::from_utf8(out).expect("text")
        };
        let name = |text: &str| [Value::Absent, Value::text(text), Value::Absent];
        let new = |value: i64| [Value::Absent, Value::Absent, Value::Int(value)];
        // (before, values, after, why)
        let cases = [
            (
                r#"{"id": 1.0, "x": [1,  2], "name": "a"}"#,
                name("b"),
                r#"{"id": 1.0, "x": [1,  2], "name": "b"}"#,
                "others keep bytes",
            ),
            (r#"{"n\u0061me":"a"}"#, name("b"), r#"{"n\u0061me":"b"}"#, "an escaped name is the same name"),
            (r#"{"name":"\u0061"}"#, name("a"), r#"{"name":"\u0061"}"#, "equal already: kept as it is"),
            (r#"{"id": 1, "x": 2}"#, new(3), r#"{"id": 1, "x": 2, "new": 3}"#, "in the style of the record"),
            ("{\n  \"id\": 1\n}", new(3), "{\n  \"id\": 1,\n  \"new\": 3\n}", "pretty stays pretty"),
            ("{}", new(3), r#"{"new":3}"#, "into nothing"),
            (
                r#"{"name":"a","x":1}"#,
                [Value::Int(5), Value::Null, Value::text("q\"")],
                r#"{"name":null,"x":1,"id":5,"new":"q\""}"#,
                "several",
            ),
        ];
        for (before, values, after, why) in cases {
            assert_eq!(change(before, values), after, "{why}");
        }
    }
}
