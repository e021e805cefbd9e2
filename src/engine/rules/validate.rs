//! What `validate` demands of one field of the source.

use regex::Regex;

use super::convert::Kind;
use super::error::RulesError;
use super::expr_names::pattern_error;
use super::json::{Data, Node};
use super::order::compare;
use super::parse;
use crate::engine::record::Value;

/// The keys of one field's demands.
pub(super) const KEYS: [&str; 8] =
    ["required", "type", "min", "max", "min_length", "max_length", "pattern", "one_of"];

/// The demands on one value. All but `required` let missing values and nulls pass.
#[derive(Clone, Debug, Default)]
pub(super) struct Demands {
    pub required: bool,
    pub kind: Option<Kind>,
    pub min: Option<Value>,
    pub max: Option<Value>,
    /// In characters.
    pub min_length: Option<usize>,
    /// In characters.
    pub max_length: Option<usize>,
    pub pattern: Option<Regex>,
    pub one_of: Option<Vec<Value>>,
}

impl Demands {
    /// Reads the demands on one field.
    pub fn read(node: &Node) -> Result<Self, RulesError> {
        let mut demands = Self::default();
        for member in node.object("an object such as {\"required\": true}")? {
            let value = &member.value;
            match member.name.as_str() {
                "required" => demands.required = value.flag("true or false")?,
                "type" => demands.kind = Some(parse::kind(value)?),
                "min" => demands.min = Some(bound(value)?),
                "max" => demands.max = Some(bound(value)?),
                "min_length" => demands.min_length = Some(length(value)?),
                "max_length" => demands.max_length = Some(length(value)?),
                "pattern" => demands.pattern = Some(pattern(value)?),
                "one_of" => demands.one_of = Some(parse::values(value)?),
                other => return Err(member.spot.unknown("demand", other, KEYS)),
            }
        }
        Ok(demands)
    }

    /// Checks a value; `Err` gives the broken demand and the reason.
    pub fn check(&self, value: &Value) -> Result<(), (&'static str, String)> {
        if self.required && value.is_blank() && !matches!(value, Value::Unknown) {
            return Err(("required", "the field is missing or empty".to_owned()));
        }
        if value.is_missing() || matches!(value, Value::Null) {
            return Ok(());
        }
        if let Some(kind) = self.kind {
            kind.convert(value.clone()).map_err(|reason| ("type", reason))?;
        }
        let ordered = |bound: &Option<Value>, wrong| match bound {
            Some(bound) => compare(value, bound).is_none_or(|order| order == wrong),
            None => false,
        };
        if ordered(&self.min, std::cmp::Ordering::Less) {
            return Err(("min", "the value is smaller than allowed".to_owned()));
        }
        if ordered(&self.max, std::cmp::Ordering::Greater) {
            return Err(("max", "the value is greater than allowed".to_owned()));
        }
        self.check_text(value)?;
        if self.one_of.as_ref().is_some_and(|allowed| !allowed.iter().any(|one| one.agrees(value))) {
            return Err(("one_of", "the value is none of those allowed".to_owned()));
        }
        Ok(())
    }

    fn check_text(&self, value: &Value) -> Result<(), (&'static str, String)> {
        if self.min_length.is_none() && self.max_length.is_none() && self.pattern.is_none() {
            return Ok(());
        }
        let text = value.to_plain().unwrap_or_default();
        let length = text.chars().count();
        if self.min_length.is_some_and(|least| length < least) {
            return Err(("min_length", format!("{length} characters are too few")));
        }
        if self.max_length.is_some_and(|most| length > most) {
            return Err(("max_length", format!("{length} characters are too many")));
        }
        if self.pattern.as_ref().is_some_and(|pattern| !pattern.is_match(&text)) {
            return Err(("pattern", "the text does not match the pattern".to_owned()));
        }
        Ok(())
    }
}

/// Reads a bound for numbers or for texts such as dates.
fn bound(node: &Node) -> Result<Value, RulesError> {
    match &node.data {
        Data::Number(_) | Data::Text(_) => node.value(),
        _ => Err(node.expected("a number or a text")),
    }
}

fn length(node: &Node) -> Result<usize, RulesError> {
    match &node.data {
        Data::Number(Value::Int(length)) => {
            usize::try_from(*length).map_err(|_| node.expected("a number of characters"))
        }
        _ => Err(node.expected("a number of characters")),
    }
}

/// Reads a regular expression.
pub(super) fn pattern(node: &Node) -> Result<Regex, RulesError> {
    let text = node.text("a regular expression")?;
    // A pattern's automaton may grow far beyond its text; the default limit is 10 MiB.
    let compiled = regex::RegexBuilder::new(text).size_limit(1024 * 1024).build();
    compiled.map_err(|error| {
        let remedy = "mend the pattern; in JSON each backslash is written twice";
        node.spot.remedied(format!("invalid pattern: {}", pattern_error(&error)), remedy)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn demands_name_what_is_broken() {
        // (demands, value, broken demand, why)
        let cases = [
            (r#"{"required": true}"#, Value::text(""), Some("required"), "empty is not filled in"),
            (r#"{"required": true}"#, Value::Int(0), None, "zero is"),
            (r#"{"type": "int"}"#, Value::text("x"), Some("type"), "no number"),
            (r#"{"type": "int"}"#, Value::text("7"), None, "a number in text"),
            (r#"{"min": 0, "max": 9}"#, Value::Int(10), Some("max"), "too great"),
            (r#"{"min": 0.5}"#, Value::Int(0), Some("min"), "too small"),
            (r#"{"min": 0}"#, Value::text("many"), Some("min"), "can't be compared"),
            (r#"{"min": "2026-01-01"}"#, Value::text("2025-12-31"), Some("min"), "dates"),
            (r#"{"min_length": 2}"#, Value::text("é"), Some("min_length"), "characters, not bytes"),
            (r#"{"max_length": 2}"#, Value::Int(123), Some("max_length"), "numbers by their text"),
            (r#"{"pattern": "^[a-z]+$"}"#, Value::text("A"), Some("pattern"), "no match"),
            (r#"{"one_of": ["a", 1]}"#, Value::text("1"), None, "as systems mean it"),
            (r#"{"one_of": ["a"]}"#, Value::text("b"), Some("one_of"), "another"),
            (r#"{"pattern": "x", "min": 1, "one_of": []}"#, Value::Null, None, "null passes"),
        ];
        for (json, value, broken, why) in cases {
            let demands = Demands::read(&Node::parse(json).expect("JSON")).expect("demands");
            assert_eq!(demands.check(&value).err().map(|(demand, _)| demand), broken, "{why}");
        }
    }

    #[test]
    fn wrong_demands_are_refused() {
        // (demands, part of the error)
        let cases = [
            (r#"{"requird": true}"#, "did you mean `required`?"),
            (r#"{"pattern": "("}"#, "invalid pattern"),
            (r#"{"pattern": "a{1000}{1000}"}"#, "invalid pattern"),
            (r#"{"min_length": -1}"#, "number of characters"),
            (r#"{"type": "number"}"#, "unknown type"),
            (r#"true"#, "expected an object"),
        ];
        for (json, part) in cases {
            let error = Demands::read(&Node::parse(json).expect("JSON")).expect_err(json);
            assert!(error.to_string().contains(part), "{json}: {error}");
        }
    }
}
