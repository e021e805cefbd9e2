//! The named transforms of a mapping.
//!
//! Invariant: a transform gives a value or a reason, never a silent null. Missing values and nulls
//! pass unchanged.

use compact_str::CompactString;
use phonenumber::country;

use super::convert::{self, describe};
use super::error::RulesError;
use super::json::{Data, Node};
use super::{contact, date, text};
use crate::engine::record::Value;

/// The names that users write.
pub(super) const NAMES: [&str; 16] = [
    "upper",
    "lower",
    "trim",
    "title_case",
    "capitalize",
    "collapse_spaces",
    "remove_special_chars",
    "to_string",
    "to_int",
    "to_float",
    "to_bool",
    "phone",
    "email",
    "date",
    "strip_html",
    "truncate",
];

const TRUNCATE_REMEDY: &str = "write \"truncate(80)\" for the first 80 characters";
const REGION_REMEDY: &str = "write the two letters of a country: \"phone(DE)\"";
const FORMAT_REMEDY: &str = "write the format as strftime does: \"date(%d/%m/%Y)\"";

/// One step of a chain.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Transform {
    Upper,
    Lower,
    Trim,
    TitleCase,
    Capitalize,
    CollapseSpaces,
    RemoveSpecialChars,
    ToString,
    ToInt,
    ToFloat,
    ToBool,
    /// Numbers without a country code belong to this region; the United States by default.
    Phone(country::Id),
    Email,
    /// The format of the source, where it is not one that explains itself.
    Date(Option<String>),
    StripHtml,
    /// The most characters that are kept.
    Truncate(usize),
}

impl Transform {
    /// Returns the name that users write.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Upper => "upper",
            Self::Lower => "lower",
            Self::Trim => "trim",
            Self::TitleCase => "title_case",
            Self::Capitalize => "capitalize",
            Self::CollapseSpaces => "collapse_spaces",
            Self::RemoveSpecialChars => "remove_special_chars",
            Self::ToString => "to_string",
            Self::ToInt => "to_int",
            Self::ToFloat => "to_float",
            Self::ToBool => "to_bool",
            Self::Phone(_) => "phone",
            Self::Email => "email",
            Self::Date(_) => "date",
            Self::StripHtml => "strip_html",
            Self::Truncate(_) => "truncate",
        }
    }

    /// Applies the step.
    pub fn apply(&self, value: Value) -> Result<Value, String> {
        if value.is_missing() || matches!(value, Value::Null) {
            return Ok(value);
        }
        match self {
            Self::Upper => self.on_text(value, |text| text.to_uppercase().into()),
            Self::Lower => self.on_text(value, |text| text.to_lowercase().into()),
            Self::Trim => self.on_text(value, |text| text.trim().into()),
            Self::TitleCase => self.on_text(value, |text| text::title_case(text).into()),
            Self::Capitalize => self.on_text(value, |text| text::capitalize(text).into()),
            Self::CollapseSpaces => self.on_text(value, |text| text::collapse_spaces(text).into()),
            Self::RemoveSpecialChars => self.on_text(value, |text| text::remove_special_chars(text).into()),
            Self::StripHtml => self.on_text(value, |text| text::strip_html(text).into()),
            Self::ToString => convert::to_string(value),
            Self::ToInt => convert::to_int(value),
            Self::ToFloat => convert::to_float(value),
            Self::ToBool => convert::to_bool(value),
            Self::Date(format) => date::to_date(value, format.as_deref()),
            Self::Phone(region) => match &value {
                Value::Text(text) => contact::phone(text, *region).map(Value::text),
                Value::Int(number) => contact::phone(&number.to_string(), *region).map(Value::text),
                _ => Err(self.refuse(&value)),
            },
            Self::Email => match &value {
                Value::Text(text) => contact::email(text).map(Value::text),
                _ => Err(self.refuse(&value)),
            },
            Self::Truncate(length) => match &value {
                // A shortened number would be another number.
                Value::Text(text) => Ok(Value::text(text::truncate(text, *length))),
                _ => Err(self.refuse(&value)),
            },
        }
    }

    /// Changes text; numbers and booleans have no letters to change.
    fn on_text(&self, value: Value, change: impl FnOnce(&str) -> CompactString) -> Result<Value, String> {
        match &value {
            Value::Text(text) => Ok(Value::Text(change(text))),
            Value::Bool(_) | Value::Int(_) | Value::Number(_) => Ok(value),
            _ => Err(self.refuse(&value)),
        }
    }

    fn refuse(&self, value: &Value) -> String {
        format!("{} can't be applied to {}", self.name(), describe(value))
    }

    /// Reads one transform or a list of them.
    pub fn read_chain(node: &Node) -> Result<Vec<Self>, RulesError> {
        match &node.data {
            Data::List(items) => items.iter().map(Self::read).collect(),
            _ => Ok(vec![Self::read(node)?]),
        }
    }

    fn read(node: &Node) -> Result<Self, RulesError> {
        match &node.data {
            Data::Text(text) => Self::read_text(node, text.trim()),
            Data::Object(members) => match members.as_slice() {
                [only] => Self::read_object(&only.value, &only.name),
                _ => Err(node.spot.remedied("a transform has one name", "write one object a transform")),
            },
            _ => Err(node.expected("the name of a transform")),
        }
    }

    /// Reads `name` or `name(argument)`.
    fn read_text(node: &Node, text: &str) -> Result<Self, RulesError> {
        match text.split_once('(') {
            None => Self::make(node, text, None),
            Some((name, rest)) => match rest.strip_suffix(')') {
                Some(argument) => Self::make(node, name.trim(), Some(argument.trim())),
                None => {
                    Err(node.spot.remedied(format!("`{text}` has no closing bracket"), "add the missing `)`"))
                }
            },
        }
    }

    /// Reads `{"name": argument}` and `{"name": {"argument's name": argument}}`.
    fn read_object(node: &Node, name: &str) -> Result<Self, RulesError> {
        let argument = match &node.data {
            Data::Object(members) => {
                let option = match name {
                    "phone" => "region",
                    "date" => "format",
                    "truncate" => "length",
                    _ => "",
                };
                for member in members {
                    if member.name != option {
                        let known = Some(option).filter(|option| !option.is_empty());
                        return Err(member.spot.unknown(&format!("option of {name}"), &member.name, known));
                    }
                }
                members.first().map(|member| &member.value)
            }
            _ => Some(node),
        };
        match argument.map(|argument| (argument, &argument.data)) {
            None | Some((_, Data::Null | Data::Bool(true))) => Self::make(node, name, None),
            Some((_, Data::Text(text))) => Self::make(node, name, Some(text.trim())),
            Some((_, Data::Number(number))) => Self::make(node, name, number.to_plain().as_deref()),
            Some((argument, _)) => Err(argument.expected("a text or a number")),
        }
    }

    fn make(node: &Node, name: &str, argument: Option<&str>) -> Result<Self, RulesError> {
        let made = match name {
            "upper" => Self::Upper,
            "lower" => Self::Lower,
            "trim" => Self::Trim,
            "title_case" => Self::TitleCase,
            "capitalize" => Self::Capitalize,
            "collapse_spaces" => Self::CollapseSpaces,
            "remove_special_chars" => Self::RemoveSpecialChars,
            "to_string" => Self::ToString,
            "to_int" => Self::ToInt,
            "to_float" => Self::ToFloat,
            "to_bool" => Self::ToBool,
            "email" => Self::Email,
            "strip_html" => Self::StripHtml,
            "phone" => {
                let region = contact::region(argument.unwrap_or("US"));
                let unknown = || format!("unknown region `{}`", argument.unwrap_or(""));
                return region.map(Self::Phone).ok_or_else(|| node.spot.remedied(unknown(), REGION_REMEDY));
            }
            "date" => return Self::make_date(node, argument),
            "truncate" => {
                let length = argument.and_then(|argument| argument.parse().ok());
                let wrong = || node.spot.remedied("truncate needs a number of characters", TRUNCATE_REMEDY);
                return length.map(Self::Truncate).ok_or_else(wrong);
            }
            other => return Err(node.spot.unknown("transform", other, NAMES)),
        };
        match argument {
            None => Ok(made),
            Some(_) => {
                Err(node.spot.remedied(format!("{name} takes no argument"), format!("write \"{name}\"")))
            }
        }
    }

    fn make_date(node: &Node, format: Option<&str>) -> Result<Self, RulesError> {
        if let Some(format) = format {
            // A format that can't write a date can't read one either.
            let date = jiff::civil::date(2001, 2, 3);
            let whole = jiff::fmt::strtime::format(format, date)
                .is_ok_and(|text| jiff::civil::Date::strptime(format, text).is_ok_and(|read| read == date));
            if !whole {
                return Err(node
                    .spot
                    .remedied(format!("`{format}` is no format of a whole date"), FORMAT_REMEDY));
            }
        }
        Ok(Self::Date(format.map(str::to_owned)))
    }
}

/// Applies a chain from left to right; the error names the step.
pub(super) fn apply_chain(chain: &[Transform], value: Value) -> Result<Value, (&'static str, String)> {
    chain.iter().try_fold(value, |value, step| step.apply(value).map_err(|reason| (step.name(), reason)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::record::Number;

    fn read(json: &str) -> Result<Vec<Transform>, RulesError> {
        Transform::read_chain(&Node::parse(json).expect("JSON"))
    }

    #[test]
    fn transforms_are_read_in_every_form() {
        let german = country::Id::DE;
        // (JSON, chain, why)
        let cases = [
            (r#""upper""#, vec![Transform::Upper], "one name"),
            (r#"["trim", "lower"]"#, vec![Transform::Trim, Transform::Lower], "a list"),
            (r#"["truncate(20)"]"#, vec![Transform::Truncate(20)], "argument in brackets"),
            (r#"[{"truncate": 20}]"#, vec![Transform::Truncate(20)], "argument as a value"),
            (r#"[{"truncate": {"length": 20}}]"#, vec![Transform::Truncate(20)], "argument by name"),
            (r#"["phone"]"#, vec![Transform::Phone(country::Id::US)], "default region"),
            (r#"["phone(DE)"]"#, vec![Transform::Phone(german)], "region in brackets"),
            (r#"[{"phone": {"region": "de"}}]"#, vec![Transform::Phone(german)], "region by name"),
            (r#"["date(%d.%m.%y)"]"#, vec![Transform::Date(Some("%d.%m.%y".into()))], "format"),
            (r#"[]"#, vec![], "nothing"),
        ];
        for (json, chain, why) in cases {
            assert_eq!(read(json), Ok(chain), "{why}");
        }
    }

    #[test]
    fn wrong_transforms_are_refused_with_a_remedy() {
        // (JSON, column, part of the error, why)
        let cases = [
            (r#"["trim", "uper"]"#, 10, "did you mean `upper`?", "misspelt"),
            (r#"["truncate"]"#, 2, "truncate(80)", "no length"),
            (r#"["truncate(-1)"]"#, 2, "truncate(80)", "negative length"),
            (r#"["truncate(1"]"#, 2, "missing `)`", "open bracket"),
            (r#"["phone(Germany)"]"#, 2, "two letters", "no region"),
            (r#"["upper(2)"]"#, 2, "takes no argument", "argument too many"),
            (r#"["date(%d.%m)"]"#, 2, "whole date", "no year"),
            (r#"[{"phone": {"country": "DE"}}]"#, 13, "write one of: region", "unknown option"),
            (r#"[7]"#, 2, "found a number", "no name"),
        ];
        for (json, column, part, why) in cases {
            let error = read(json).expect_err(why);
            assert!(error.to_string().contains(part), "{why}: {error}");
            assert_eq!(error.column, column, "{why}: {error}");
        }
    }

    #[test]
    fn transforms_give_a_value_or_a_reason() {
        // (transform, in, out or nothing, why)
        let cases = [
            (Transform::Upper, Value::text("straße"), Some(Value::text("STRASSE")), "Unicode"),
            (Transform::Upper, Value::Int(5), Some(Value::Int(5)), "numbers have no letters"),
            (Transform::Upper, Value::Json("[]".into()), None, "lists have no case"),
            (Transform::Trim, Value::Null, Some(Value::Null), "null stays null"),
            (Transform::Truncate(1), Value::Int(55), None, "half a number is another number"),
            (
                Transform::Phone(country::Id::US),
                Value::Int(2_125_550_100),
                Some(Value::text("+12125550100")),
                "number",
            ),
            (Transform::Email, Value::text("nope"), None, "no address"),
            (Transform::ToInt, Number::parse("1e3").expect("number"), Some(Value::Int(1000)), "exact"),
            (Transform::StripHtml, Value::text("<b>x</b>"), Some(Value::text("x")), "tags"),
            (Transform::Date(None), Value::Int(20_260_131), None, "numbers are no dates"),
        ];
        for (transform, value, expected, why) in cases {
            let made = transform.apply(value);
            match expected {
                Some(expected) => assert_eq!(made, Ok(expected), "{why}"),
                None => assert!(made.is_err(), "{why}: {made:?}"),
            }
        }
    }
}
