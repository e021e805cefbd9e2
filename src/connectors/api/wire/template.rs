//! Requests as text: paths and parameters with places that a record fills.
//!
//! Invariant: what fills a place is percent-encoded down to the unreserved characters, so that no value can
//! leave its segment or its parameter; what would be read as another path is refused. Pure.

use std::fmt::Write;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;

/// Everything but the unreserved characters of RFC 3986 §2.3.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A place that is filled.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hole {
    /// The service's id of the record.
    Id,
    /// Several of them.
    Ids,
    /// The key, where it is one field.
    Key,
    /// Several of them.
    Keys,
    /// One field of the key.
    KeyField(String),
    /// The record's number in its batch.
    Number,
    /// The moment from which changes are asked for.
    Stamp,
    /// A hash of stream, key and body.
    Hash,
}

impl Hole {
    fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "id" => Self::Id,
            "ids" => Self::Ids,
            "key" => Self::Key,
            "keys" => Self::Keys,
            "n" => Self::Number,
            "stamp" => Self::Stamp,
            "hash" => Self::Hash,
            _ => Self::KeyField(name.strip_prefix("key.").filter(|field| !field.is_empty())?.to_owned()),
        })
    }
}

impl std::fmt::Display for Hole {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Id => f.write_str("{id}"),
            Self::Ids => f.write_str("{ids}"),
            Self::Key => f.write_str("{key}"),
            Self::Keys => f.write_str("{keys}"),
            Self::KeyField(field) => write!(f, "{{key.{field}}}"),
            Self::Number => f.write_str("{n}"),
            Self::Stamp => f.write_str("{stamp}"),
            Self::Hash => f.write_str("{hash}"),
        }
    }
}

/// What fills the places.
#[derive(Clone, Copy, Debug, Default)]
pub struct Facts<'f> {
    pub id: Option<&'f str>,
    pub ids: &'f [&'f str],
    /// The key's fields by name.
    pub key: &'f [(&'f str, &'f str)],
    pub keys: &'f [&'f str],
    /// Between several.
    pub join: &'f str,
    pub number: Option<usize>,
    pub stamp: Option<&'f str>,
    pub hash: Option<&'f str>,
}

impl Facts<'_> {
    fn get(&self, hole: &Hole) -> Option<String> {
        let joined = |texts: &[&str]| (!texts.is_empty()).then(|| texts.join(self.join));
        match hole {
            Hole::Id => self.id.map(str::to_owned),
            Hole::Ids => joined(self.ids),
            Hole::Keys => joined(self.keys),
            Hole::Key => match self.key {
                [(_, only)] => Some((*only).to_owned()),
                _ => None,
            },
            Hole::KeyField(name) => {
                self.key.iter().find(|(known, _)| known == name).map(|(_, text)| (*text).to_owned())
            }
            Hole::Number => self.number.map(|number| number.to_string()),
            Hole::Stamp => self.stamp.map(str::to_owned),
            Hole::Hash => self.hash.map(str::to_owned),
        }
    }
}

/// Why a place can't be filled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfit {
    pub hole: Hole,
    pub reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Hole(Hole),
}

/// A text with places.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Template {
    parts: Vec<Part>,
}

impl TryFrom<String> for Template {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text)
    }
}

impl Template {
    /// Reads a template; the error says what to write.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (mut parts, mut plain) = (Vec::new(), String::new());
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            let (before, from) = rest.split_at(at);
            plain.push_str(before);
            if let Some(after) = from.strip_prefix("{{") {
                plain.push('{');
                rest = after;
            } else if let Some(after) = from.strip_prefix("}}") {
                plain.push('}');
                rest = after;
            } else {
                let named = from.strip_prefix('{').and_then(|from| from.split_once('}'));
                let hole = named.and_then(|(name, after)| Some((Hole::parse(name)?, after)));
                let Some((hole, after)) = hole else {
                    return Err(format!(
                        "{text:?} has a brace that names no place; write {{id}}, {{ids}}, {{key}}, {{keys}}, \
                         {{key.FIELD}}, {{n}}, {{stamp}} or {{hash}}, and {{{{ for a brace of its own"
                    ));
                };
                if !plain.is_empty() {
                    parts.push(Part::Text(std::mem::take(&mut plain)));
                }
                parts.push(Part::Hole(hole));
                rest = after;
            }
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            parts.push(Part::Text(plain));
        }
        Ok(Self { parts })
    }

    /// Tells whether nothing is written.
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// Iterates over the places.
    pub fn holes(&self) -> impl Iterator<Item = &Hole> {
        self.parts.iter().filter_map(|part| match part {
            Part::Hole(hole) => Some(hole),
            Part::Text(_) => None,
        })
    }

    /// Iterates over the texts around the places.
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Text(text) => Some(text.as_str()),
            Part::Hole(_) => None,
        })
    }

    /// Tells whether it is this place and nothing else.
    pub fn is_only(&self, hole: &Hole) -> bool {
        matches!(self.parts.as_slice(), [Part::Hole(only)] if only == hole)
    }

    /// Fills the places as they are: for JSON texts and headers.
    pub fn fill(&self, facts: &Facts<'_>) -> Result<String, Unfit> {
        self.parts.iter().try_fold(String::new(), |mut out, part| {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Hole(hole) => out.push_str(&wanted(hole, facts)?),
            }
            Ok(out)
        })
    }

    /// Fills the places of a path. A place that is empty or all dots would name another path.
    pub fn path(&self, facts: &Facts<'_>) -> Result<String, Unfit> {
        self.parts.iter().try_fold(String::new(), |mut out, part| {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Hole(hole) => {
                    let value = wanted(hole, facts)?;
                    if matches!(value.as_str(), "" | "." | "..") {
                        return Err(Unfit {
                            hole: hole.clone(),
                            reason: "is empty or dots, which no path can hold",
                        });
                    }
                    // Writing into a string can't fail.
                    let _ = write!(out, "{}", utf8_percent_encode(&value, RESERVED));
                }
            }
            Ok(out)
        })
    }

    /// Takes a path apart at its slashes; for mocks.
    pub fn segments(&self) -> Vec<Self> {
        let mut segments = vec![Self::default()];
        for part in &self.parts {
            let pieces: Vec<Part> = match part {
                Part::Text(text) => text.split('/').map(|text| Part::Text(text.to_owned())).collect(),
                hole => vec![hole.clone()],
            };
            for (at, piece) in pieces.into_iter().enumerate() {
                if at > 0 {
                    segments.push(Self::default());
                }
                if piece != Part::Text(String::new())
                    && let Some(last) = segments.last_mut()
                {
                    last.parts.push(piece);
                }
            }
        }
        segments.retain(|segment| !segment.is_empty());
        segments
    }

    /// Reads what filled the one place of a text that was made from this template; for mocks.
    pub fn read<'t>(&self, text: &'t str) -> Option<(&Hole, &'t str)> {
        let (hole, before, after) = match self.parts.as_slice() {
            [Part::Hole(hole)] => (hole, "", ""),
            [Part::Text(before), Part::Hole(hole)] => (hole, before.as_str(), ""),
            [Part::Hole(hole), Part::Text(after)] => (hole, "", after.as_str()),
            [Part::Text(before), Part::Hole(hole), Part::Text(after)] => {
                (hole, before.as_str(), after.as_str())
            }
            _ => return None,
        };
        Some((hole, text.strip_prefix(before)?.strip_suffix(after)?))
    }
}

/// Collects the places in the texts of a body; texts that are no template hold none.
pub fn holes_in(body: &serde_json::Value) -> Vec<Hole> {
    match body {
        serde_json::Value::String(text) => {
            Template::parse(text).map(|template| template.holes().cloned().collect()).unwrap_or_default()
        }
        serde_json::Value::Array(items) => items.iter().flat_map(holes_in).collect(),
        serde_json::Value::Object(members) => members.values().flat_map(holes_in).collect(),
        _ => Vec::new(),
    }
}

fn wanted(hole: &Hole, facts: &Facts<'_>) -> Result<String, Unfit> {
    facts.get(hole).ok_or_else(|| Unfit { hole: hole.clone(), reason: "is not known here" })
}

/// Builds one path with its query: the only place where text goes into a URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    text: String,
    separator: char,
}

impl Query {
    /// Starts with a finished path.
    pub fn new(path: impl Into<String>) -> Self {
        let text = path.into();
        let separator = if text.contains('?') { '&' } else { '?' };
        Self { text, separator }
    }

    /// Starts with a template's path.
    pub fn path(template: &Template, facts: &Facts<'_>) -> Result<Self, Unfit> {
        template.path(facts).map(Self::new)
    }

    /// Adds one parameter.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        // Writing into a string can't fail.
        let _ = write!(
            self.text,
            "{}{}={}",
            self.separator,
            utf8_percent_encode(name, RESERVED),
            utf8_percent_encode(value, RESERVED)
        );
        self.separator = '&';
        self
    }

    /// Adds the parameters of templates.
    pub fn with_all<'t>(
        self,
        parameters: impl IntoIterator<Item = (&'t String, &'t Template)>,
        facts: &Facts<'_>,
    ) -> Result<Self, Unfit> {
        parameters
            .into_iter()
            .try_fold(self, |query, (name, template)| Ok(query.with(name, &template.fill(facts)?)))
    }

    /// Returns the finished text.
    pub fn into_text(self) -> String {
        self.text
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn template(text: &str) -> Template {
        Template::parse(text).expect("a template")
    }

    #[test]
    fn braces_name_places_or_are_refused() {
        let facts = Facts { id: Some("7"), key: &[("no", "k")], number: Some(2), ..Facts::default() };
        // (template, filled, why)
        let cases = [
            ("/orders/{id}", Some("/orders/7"), "a place"),
            ("{key}:{key.no}", Some("k:k"), "the key, and its field by name"),
            ("a{{b}}{n}", Some("a{b}2"), "braces of its own"),
            ("plain", Some("plain"), "no place"),
        ];
        for (text, filled, why) in cases {
            assert_eq!(template(text).fill(&facts).ok().as_deref(), filled, "{why}");
        }
        for wrong in ["{", "}", "{ids", "{}", "{name}", "{key.}", "x}y"] {
            assert!(Template::parse(wrong).is_err(), "{wrong}");
        }
        assert!(template("{stamp}").fill(&facts).is_err(), "nothing fills it");
        let two = Facts { key: &[("a", "1"), ("b", "2")], ..Facts::default() };
        assert!(template("{key}").fill(&two).is_err(), "which one?");
    }

    #[test]
    fn no_path_is_climbed_out_of() {
        for id in ["", ".", ".."] {
            let facts = Facts { id: Some(id), ..Facts::default() };
            assert!(template("/orders/{id}").path(&facts).is_err(), "{id:?} would name another place");
        }
    }

    #[test]
    fn what_filled_a_place_is_read_back() {
        let (since, key) = (template("updated_at:>={stamp}"), template("{key}"));
        assert_eq!(since.read("updated_at:>=2026"), Some((&Hole::Stamp, "2026")));
        assert_eq!(since.read("other:2026"), None);
        assert_eq!(key.read("a"), Some((&Hole::Key, "a")));
        let segments = template("/v1/orders/{id}:close/x").segments();
        assert_eq!(segments.len(), 4);
        assert_eq!(segments[2].read("7:close"), Some((&Hole::Id, "7")));
    }

    proptest! {
        #[test]
        fn every_value_comes_back_out_of_the_url_as_it_went_in(id in "\\PC*", value in any::<String>(), name in "\\PC+") {
            let facts = Facts { id: Some(&id), ..Facts::default() };
            let path = template("/v1/orders/{id}/lines").path(&facts);
            prop_assume!(!matches!(id.as_str(), "" | "." | ".."));
            let text = Query::new(path.expect("a path")).with(&name, &value).with("last", "1").into_text();
            let url = url::Url::parse(&format!("http://host{text}")).expect("a URL");
            prop_assert!(url.fragment().is_none());
            prop_assert_eq!(url.host_str(), Some("host"));
            let segments: Vec<String> = url.path_segments().expect("segments")
                .map(|segment| percent_encoding::percent_decode_str(segment).decode_utf8().expect("UTF-8").into_owned())
                .collect();
            prop_assert_eq!(segments, vec!["v1".to_owned(), "orders".to_owned(), id, "lines".to_owned()]);
            let pairs: Vec<(String, String)> = url.query_pairs().into_owned().collect();
            prop_assert_eq!(pairs, vec![(name, value), ("last".to_owned(), "1".to_owned())]);
        }
    }
}
