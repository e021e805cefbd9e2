//! What filters and `disallow_if` ask of one field.

use std::cmp::Ordering;

use regex::Regex;
use serde_json::value::RawValue;

use super::order::compare;
use crate::engine::record::{Value, value_from_raw};

/// The operators of a filter object.
pub(super) const OPERATORS: [&str; 11] =
    ["eq", "ne", "gt", "gte", "lt", "lte", "in", "not_in", "contains", "matches", "exists"];

/// A condition on one value.
#[derive(Clone, Debug)]
pub(super) enum Condition {
    /// `"field": value`.
    Is(Value),
    /// `"field": [values]`.
    AnyOf(Vec<Value>),
    /// `"field": {operator: …}`, all of them.
    All(Vec<Test>),
}

/// One operator with what it compares to.
#[derive(Clone, Debug)]
pub(super) enum Test {
    Eq(Value),
    Ne(Value),
    /// Holds where the comparison gives one of the two orders.
    Ordered(Ordering, Ordering, Value),
    In(Vec<Value>),
    NotIn(Vec<Value>),
    Contains(Value),
    Matches(Regex),
    Exists(bool),
}

impl Condition {
    /// Tells whether the value meets the condition. Equality is the one between systems
    /// ([`Value::agrees`]): `1` meets `true`, and a field that is not there meets `null`.
    pub fn holds(&self, value: &Value) -> bool {
        let value = if value.is_missing() { &Value::Absent } else { value };
        match self {
            Self::Is(wanted) => wanted.agrees(value),
            Self::AnyOf(wanted) => any(wanted, value),
            Self::All(tests) => tests.iter().all(|test| test.holds(value)),
        }
    }
}

impl Test {
    fn holds(&self, value: &Value) -> bool {
        match self {
            Self::Eq(wanted) => wanted.agrees(value),
            Self::Ne(wanted) => !wanted.agrees(value),
            Self::Ordered(one, other, bound) => {
                compare(value, bound).is_some_and(|order| order == *one || order == *other)
            }
            Self::In(wanted) => any(wanted, value),
            Self::NotIn(wanted) => !any(wanted, value),
            Self::Contains(wanted) => contains(value, wanted),
            Self::Matches(pattern) => match value {
                Value::Text(text) => pattern.is_match(text),
                other => other.to_plain().is_some_and(|text| pattern.is_match(&text)),
            },
            Self::Exists(wanted) => *wanted == !matches!(value, Value::Absent | Value::Null),
        }
    }
}

fn any(wanted: &[Value], value: &Value) -> bool {
    wanted.iter().any(|wanted| wanted.agrees(value))
}

/// A text contains a part; a JSON list contains an item.
fn contains(value: &Value, wanted: &Value) -> bool {
    match value {
        Value::Text(text) => wanted.to_plain().is_some_and(|part| text.contains(part.as_str())),
        Value::Json(json) => serde_json::from_str::<Vec<&RawValue>>(json).is_ok_and(|items| {
            items.iter().any(|raw| value_from_raw(raw).is_ok_and(|item| wanted.agrees(&item)))
        }),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::record::Number;

    #[test]
    fn operators_as_people_mean_them() {
        let ordered = |one, other, bound: i64| Test::Ordered(one, other, bound.into());
        let gte = || ordered(Ordering::Greater, Ordering::Equal, 18);
        // (test, value, holds, why)
        let cases = [
            (Test::Eq(true.into()), Value::Int(1), true, "SQLite has no booleans"),
            (Test::Eq(7.into()), Value::text("7"), true, "a CSV file has no numbers"),
            (Test::Eq(Value::Null), Value::Absent, true, "absent meets null"),
            (Test::Eq("a".into()), Value::text("A"), false, "case counts"),
            (Test::Ne("a".into()), Value::Absent, true, "nothing is not a"),
            (gte(), Value::Int(18), true, "the bound belongs to gte"),
            (gte(), Value::text("9"), false, "numbers in text compare as numbers"),
            (gte(), Value::Null, false, "null is no amount"),
            (
                ordered(Ordering::Less, Ordering::Less, 9_007_199_254_740_993),
                Number::parse("9007199254740992.5").expect("number"),
                true,
                "exact beyond 2^53",
            ),
            (Test::In(vec!["a".into(), 1.into()]), Value::text("1"), true, "one of"),
            (Test::NotIn(vec!["a".into()]), Value::Null, true, "null is none of them"),
            (Test::Contains("@x.".into()), Value::text("a@x.org"), true, "part of a text"),
            (Test::Contains("b".into()), Value::Json(r#"["a","b"]"#.into()), true, "item of a list"),
            (Test::Contains("b".into()), Value::Json(r#"["ab"]"#.into()), false, "items are whole"),
            (Test::Matches(Regex::new("^a+$").expect("regex")), Value::text("aa"), true, "pattern"),
            (Test::Exists(true), Value::text(""), true, "empty text is there"),
            (Test::Exists(true), Value::Null, false, "null is not"),
            (Test::Exists(false), Value::Unknown, true, "nor is what nobody has seen"),
        ];
        for (test, value, holds, why) in cases {
            assert_eq!(Condition::All(vec![test]).holds(&value), holds, "{why}");
        }
    }
}
