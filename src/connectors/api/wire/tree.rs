//! JSON documents that are put together place by place, around raw text that stays as it came.

use serde_json::value::RawValue;

use super::super::super::rest::Members;
use crate::engine::record::{Value, write_json};

/// A document under construction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tree {
    /// Finished text.
    Raw(String),
    Object(Vec<(String, Tree)>),
    List(Vec<Tree>),
}

impl Default for Tree {
    fn default() -> Self {
        Self::Object(Vec::new())
    }
}

impl Tree {
    /// Takes text as it is.
    pub fn raw(raw: &RawValue) -> Self {
        Self::Raw(raw.get().to_owned())
    }

    /// Writes a value exactly.
    pub fn value(value: &Value) -> Self {
        let mut text = String::new();
        write_json(value, &mut text);
        Self::Raw(text)
    }

    /// Writes a text.
    pub fn text(text: &str) -> Self {
        Self::value(&Value::text(text))
    }

    /// Puts a value at a place and makes the way to it: a whole number on the way makes a list, anything
    /// else an object, in the place of what is neither.
    pub fn set(&mut self, steps: &[String], value: Tree) {
        let Some((step, rest)) = steps.split_first() else {
            *self = value;
            return;
        };
        self.open(step);
        let slot = match self {
            Self::List(items) => {
                let at = step.parse::<usize>().unwrap_or(items.len()).min(items.len());
                if at == items.len() {
                    items.push(Self::Raw("null".to_owned()));
                }
                items.get_mut(at)
            }
            Self::Object(members) => {
                let known = members.iter().position(|(name, _)| name == step);
                let at = known.unwrap_or(members.len());
                if known.is_none() {
                    members.push((step.clone(), Self::Raw("null".to_owned())));
                }
                members.get_mut(at).map(|(_, slot)| slot)
            }
            Self::Raw(_) => None,
        };
        if let Some(slot) = slot {
            slot.set(rest, value);
        }
    }

    /// Takes text apart and makes it the kind of container that a step leads into.
    fn open(&mut self, step: &str) {
        if let Self::Raw(text) = self {
            *self = match text.trim_start().as_bytes().first() {
                Some(b'{') => match serde_json::from_str::<Members<'_>>(text) {
                    Ok(members) => Self::Object(
                        members
                            .0
                            .into_iter()
                            .map(|(name, raw)| (name.into_owned(), Self::raw(raw)))
                            .collect(),
                    ),
                    Err(_) => Self::default(),
                },
                Some(b'[') => match serde_json::from_str::<Vec<&RawValue>>(text) {
                    Ok(items) => Self::List(items.into_iter().map(Self::raw).collect()),
                    Err(_) => Self::List(Vec::new()),
                },
                _ if is_index(step) => Self::List(Vec::new()),
                _ => Self::default(),
            };
        }
        match self {
            Self::List(_) if !is_index(step) => *self = Self::default(),
            Self::Object(members) if is_index(step) && members.is_empty() => *self = Self::List(Vec::new()),
            _ => {}
        }
    }

    /// Appends the finished text.
    pub fn write(&self, out: &mut String) {
        match self {
            Self::Raw(text) => out.push_str(text),
            Self::List(items) => {
                out.push('[');
                for (at, item) in items.iter().enumerate() {
                    if at > 0 {
                        out.push(',');
                    }
                    item.write(out);
                }
                out.push(']');
            }
            Self::Object(members) => {
                out.push('{');
                for (at, (name, member)) in members.iter().enumerate() {
                    if at > 0 {
                        out.push(',');
                    }
                    write_json(&Value::text(name), out);
                    out.push(':');
                    member.write(out);
                }
                out.push('}');
            }
        }
    }

    /// Returns the finished text.
    pub fn to_text(&self) -> String {
        let mut out = String::new();
        self.write(&mut out);
        out
    }
}

/// Tells whether a step of a pointer counts a list's items.
pub fn is_index(step: &str) -> bool {
    step == "0"
        || !step.is_empty() && !step.starts_with('0') && step.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::super::Pointer;
    use super::*;

    #[test]
    fn places_are_made_and_neighbours_stay() {
        // (before, place, value, after, why)
        let cases = [
            ("{}", "/a", "1", r#"{"a":1}"#, "a member"),
            ("{}", "/a/b", "1", r#"{"a":{"b":1}}"#, "a way is made"),
            ("{}", "/mail/0/value", "1", r#"{"mail":[{"value":1}]}"#, "with a list on it"),
            (
                r#"{"a": 9007199254740993.10, "b":{"c":1}}"#,
                "/b/d",
                "2",
                r#"{"a":9007199254740993.10,"b":{"c":1,"d":2}}"#,
                "what stands there keeps its digits",
            ),
            (
                r#"{"mail":[{"value":"x","primary":true},{"value":"y"}]}"#,
                "/mail/0/value",
                "1",
                r#"{"mail":[{"value":1,"primary":true},{"value":"y"}]}"#,
                "the other members and items stay",
            ),
            (r#"{"a":null}"#, "/a/b", "1", r#"{"a":{"b":1}}"#, "null is as good as nothing"),
            (r#"{"a":7}"#, "", "1", "1", "the whole"),
            (r#"{"a\u0062":7}"#, "/ab", "1", r#"{"ab":1}"#, "escapes in names"),
        ];
        for (before, place, value, after, why) in cases {
            let mut tree = Tree::Raw(before.to_owned());
            tree.set(Pointer::parse(place).expect("a pointer").steps(), Tree::Raw(value.to_owned()));
            assert_eq!(tree.to_text(), after, "{why}");
        }
    }
}
