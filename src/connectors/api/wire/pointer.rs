//! JSON Pointers (RFC 6901) into raw text.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::super::super::rest::Members;

/// Names a place in a document; the empty one is the document itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct Pointer {
    steps: Vec<String>,
}

impl Pointer {
    /// Reads a pointer; the error says what to write.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        let Some(rest) = text.strip_prefix('/') else {
            return Err(format!(
                "{text:?} is no JSON Pointer; begin it with a slash: \"/{text}\", or write \"\" for the whole"
            ));
        };
        let steps = rest.split('/').map(unescape).collect::<Option<Vec<String>>>();
        let steps = steps.ok_or_else(|| {
            format!("{text:?} is no JSON Pointer; write a ~ as ~0 and a slash inside a name as ~1")
        })?;
        Ok(Self { steps })
    }

    /// Returns the names on the way.
    pub fn steps(&self) -> &[String] {
        &self.steps
    }

    /// Returns the last name; none for the whole.
    pub fn last(&self) -> Option<&str> {
        self.steps.last().map(String::as_str)
    }

    /// Tells whether it means the whole document.
    pub fn is_whole(&self) -> bool {
        self.steps.is_empty()
    }

    /// Returns the pointer to a member of what this one points to.
    #[must_use]
    pub fn member(&self, name: &str) -> Self {
        let mut steps = self.steps.clone();
        steps.push(name.to_owned());
        Self { steps }
    }

    /// Finds the place in a document; the first one of two members with one name.
    pub fn find<'a>(&self, raw: &'a RawValue) -> Option<&'a RawValue> {
        self.steps.iter().try_fold(raw, |here, step| match here.get().trim_start().as_bytes().first() {
            Some(b'{') => serde_json::from_str::<Members<'a>>(here.get()).ok()?.get(step),
            Some(b'[') => {
                let at: usize = step.parse().ok()?;
                serde_json::from_str::<Vec<&'a RawValue>>(here.get()).ok()?.get(at).copied()
            }
            _ => None,
        })
    }
}

impl TryFrom<String> for Pointer {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text)
    }
}

impl std::fmt::Display for Pointer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.steps.is_empty() {
            return f.write_str("the whole");
        }
        self.steps.iter().try_for_each(|step| write!(f, "/{}", step.replace('~', "~0").replace('/', "~1")))
    }
}

fn unescape(step: &str) -> Option<String> {
    let fit = step.split('~').skip(1).all(|after| after.starts_with(['0', '1']));
    fit.then(|| step.replace("~1", "/").replace("~0", "~"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pointer_finds_raw_text() {
        let document = r#"{"a":{"b":[1, {"c/d":9007199254740993.10}]},"~":"t","":7,"n":null}"#;
        let raw: &RawValue = serde_json::from_str(document).expect("JSON");
        // (pointer, found, why)
        let cases = [
            ("", Some(document), "the whole"),
            ("/a/b/0", Some("1"), "an index"),
            ("/a/b/1/c~1d", Some("9007199254740993.10"), "an escaped slash, and every digit"),
            ("/~0", Some("\"t\""), "an escaped tilde"),
            ("/", Some("7"), "an empty name"),
            ("/n", Some("null"), "null is there"),
            ("/n/x", None, "below nothing"),
            ("/a/b/2", None, "beyond the end"),
            ("/a/b/-", None, "no index"),
            ("/x", None, "not there"),
        ];
        for (text, found, why) in cases {
            let pointer = Pointer::parse(text).expect("a pointer");
            assert_eq!(pointer.find(raw).map(RawValue::get), found, "{why}");
        }
        for text in ["a", "a/b", "/~", "/~2", "/a~"] {
            assert!(Pointer::parse(text).is_err(), "{text}");
        }
    }
}
