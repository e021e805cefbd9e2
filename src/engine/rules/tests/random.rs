//! Files, expressions and values at random: read or refused, never a panic.

use proptest::prelude::*;

use super::files::EXAMPLES;
use super::*;
use crate::engine::rules::expr::Parsed;
use crate::engine::rules::json::Node;
use crate::engine::rules::transform::{NAMES, Transform};

/// A right file with a few characters changed.
fn broken_file() -> impl Strategy<Value = String> {
    let characters = "[\\x20-\\x7e\\n\"{}:,é\\\\]{0,3}";
    (0..EXAMPLES.len(), prop::collection::vec((any::<prop::sample::Index>(), characters), 1..4)).prop_map(
        |(example, edits)| {
            let mut text: Vec<char> = EXAMPLES[example].chars().collect();
            for (at, insert) in edits {
                let at = at.index(text.len());
                let end = (at + insert.chars().count()).min(text.len());
                text.splice(at..end, insert.chars());
            }
            text.into_iter().collect()
        },
    )
}

/// Tokens in any order: more of them are nearly right than among plain characters.
fn expression() -> impl Strategy<Value = String> {
    let token = prop::sample::select(vec![
        "name",
        "age",
        "tags",
        "record",
        ".",
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        "+",
        "-",
        "==",
        "&&",
        "||",
        "?",
        ":",
        "!",
        "in",
        "1",
        "1.5",
        "'x'",
        "null",
        "true",
        ",",
        "has(",
        "size(",
        ".map(t, ",
        ".exists(t, ",
        "lower(",
        "%",
        "/",
        "timestamp(",
        "duration('1h')",
        "b'x'",
        "2u",
        "matches(",
        "\\",
        "\"",
    ]);
    prop::collection::vec(token, 0..24).prop_map(|tokens| tokens.join(" "))
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Unknown),
        Just(Value::Absent),
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::Int),
        "-?(0|[1-9][0-9]{0,25})(\\.[0-9]{1,25})?(e[+-]?[0-9]{1,4})?"
            .prop_map(|text| crate::engine::record::Number::parse(&text).unwrap_or(Value::Null)),
        "\\PC{0,20}".prop_map(Value::text),
        "[+0-9() .ext-]{0,24}".prop_map(Value::text),
        "[<>&;#/a-z\"'! -]{0,30}".prop_map(Value::text),
        "[0-9T:./ -]{0,24}".prop_map(Value::text),
        prop::sample::select(vec!["[]", "[1,\"x\"]", "{\"a\":{\"b\":1}}", "[[1],[2.5]]"])
            .prop_map(|text| Value::Json(text.into())),
        prop::collection::vec(any::<u8>(), 0..8).prop_map(|bytes| Value::Bytes(bytes.into())),
    ]
}

proptest! {
    #[test]
    fn broken_files_are_refused_at_a_place_in_them(text in broken_file()) {
        match RulesFile::parse(&text) {
            Ok(file) => {
                let _ = file.compile(1, &facts());
            }
            Err(error) => {
                let lines: Vec<&str> = text.split('\n').collect();
                let line = lines.get(error.line as usize - 1);
                prop_assert!(line.is_some_and(|line| error.column as usize <= line.chars().count() + 1), "{error}");
            }
        }
    }

    #[test]
    fn expressions_give_a_value_or_a_reason(source in expression(), values in prop::collection::vec(value(), 3)) {
        if let Ok(parsed) = Parsed::read(&source) {
            let bound = parsed.bind(&|parts| match *parts.first()? {
                "name" => Some((0, 1)),
                "age" => Some((1, 1)),
                "tags" => Some((2, 1)),
                _ => None,
            });
            let _ = bound.eval(&values);
        }
    }

    #[test]
    fn transforms_settle_at_once(value in value(), name in prop::sample::select(NAMES.to_vec()), length in 0usize..9) {
        let text = if name == "truncate" { format!("\"truncate({length})\"") } else { format!("\"{name}\"") };
        let node = Node::parse(&text).expect("JSON");
        for transform in Transform::read_chain(&node).expect("a transform") {
            if let Ok(once) = transform.apply(value.clone()) {
                prop_assert_eq!(value.is_missing(), once.is_missing(), "nothing comes from nothing");
                // Entities are decoded once a pass, so that what they hide is a tag only at the next.
                if name != "strip_html" {
                    prop_assert_eq!(transform.apply(once.clone()), Ok(once), "else two sides would chase each other");
                }
            }
        }
    }
}
