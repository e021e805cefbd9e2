//! `@{part.path}`: what a part takes over from the answer to an earlier one.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use crate::connectors::salesforce::mock::errors::ApiError;

/// The answers so far, by the names of their parts.
#[derive(Default)]
pub struct Known(BTreeMap<String, Json>);

impl Known {
    /// Keeps an answer. Only texts and numbers are taken out of it, so that a decimal's digits beyond those of a
    /// double are nobody's loss.
    pub fn remember(&mut self, name: &str, body: &[u8]) {
        self.0.insert(name.to_owned(), serde_json::from_slice(body).unwrap_or_default());
    }

    /// Puts what is meant in the place of each reference within a URL, whether its signs are encoded or not: clients
    /// do either.
    pub fn in_url(&self, text: &str) -> Result<String, ApiError> {
        let mut plain = String::new();
        let mut rest = text;
        while let Some((before, behind)) = ["%40%7B", "%40%7b", "@%7B", "@%7b"]
            .iter()
            .filter_map(|open| rest.split_once(open))
            .min_by_key(|(before, _)| before.len())
        {
            let ends = ["%7D", "%7d"].iter().filter_map(|close| behind.split_once(close));
            let Some((reference, after)) = ends.min_by_key(|(reference, _)| reference.len()) else { break };
            let reference = percent_encoding::percent_decode_str(reference).decode_utf8_lossy();
            plain.push_str(&format!("{before}@{{{reference}}}"));
            rest = after;
        }
        plain.push_str(rest);
        self.resolved(&plain, |value| url::form_urlencoded::byte_serialize(value.as_bytes()).collect())
    }

    /// Puts what is meant in the place of each reference within the texts of a body.
    pub fn in_body(&self, text: &str) -> Result<String, ApiError> {
        self.resolved(text, |value| {
            let quoted = Json::String(value.to_owned()).to_string();
            let plain = quoted.strip_prefix('"').and_then(|plain| plain.strip_suffix('"'));
            plain.unwrap_or_default().to_owned()
        })
    }

    fn resolved(&self, text: &str, written: impl Fn(&str) -> String) -> Result<String, ApiError> {
        let mut out = String::new();
        let mut rest = text;
        while let Some((before, behind)) = rest.split_once("@{") {
            out.push_str(before);
            let Some((reference, after)) = behind.split_once('}') else {
                return Err(missing(behind, ""));
            };
            out.push_str(&written(&self.value(reference)?));
            rest = after;
        }
        out.push_str(rest);
        Ok(out)
    }

    fn value(&self, reference: &str) -> Result<String, ApiError> {
        let ends = reference.find(['.', '[']).unwrap_or(reference.len());
        let (name, path) = reference.split_at(ends);
        let answer = self.0.get(name).ok_or_else(|| missing(reference, name))?;
        let mut here = answer;
        for step in path.split(['.', '[', ']']).filter(|step| !step.is_empty()) {
            let next = match step.parse::<usize>() {
                Ok(place) if here.is_array() => here.get(place),
                _ => here.get(step),
            };
            here = next.ok_or_else(|| missing(reference, name))?;
        }
        match here {
            Json::String(text) => Ok(text.clone()),
            Json::Number(_) | Json::Bool(_) => Ok(here.to_string()),
            _ => Err(missing(reference, name)),
        }
    }
}

fn missing(reference: &str, name: &str) -> ApiError {
    let message = format!("Invalid reference specified. No value for {reference} found in {name}");
    ApiError::new(400, "PROCESSING_HALTED", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_lead_into_earlier_answers() {
        let mut known = Known::default();
        known.remember("a", br#"{"id": "001", "n": 7, "deep": {"text": "say \"x\""}}"#);
        known.remember("q", br#"{"records": [{"Id": "003"}, {"Id": "004"}]}"#);
        known.remember("list", br#"[{"id": "005"}]"#);
        // (text, what becomes of it, why)
        let cases = [
            ("plain @ {x}", Some("plain @ {x}"), "none"),
            ("/sobjects/Account/@{a.id}", Some("/sobjects/Account/001"), "in a URL"),
            (
                r#"{"n": "@{a.n}", "t": "@{a.deep.text}"}"#,
                Some(r#"{"n": "7", "t": "say \"x\""}"#),
                "in texts",
            ),
            ("@{q.records[1].Id}@{list[0].id}", Some("004005"), "into lists"),
            ("@{b.id}", None, "no such part"),
            ("@{a.nope}", None, "no such member"),
            ("@{q.records[2].Id}", None, "beyond the list"),
            ("@{a.deep}", None, "no single value"),
            ("@{a.id", None, "left open"),
        ];
        for (text, expected, why) in cases {
            assert_eq!(known.in_body(text).ok().as_deref(), expected, "{why}: {text}");
        }
        let url = known.in_url("/query?q=Id+%3D+%27%40%7Bq.records%5B0%5D.Id%7D%27");
        assert_eq!(url.ok().as_deref(), Some("/query?q=Id+%3D+%27003%27"), "encoded signs");
        let url = known.in_url("/query?q=SELECT+Id+FROM+X+WHERE+a='@{a.deep.text}'");
        assert_eq!(url.ok().as_deref(), Some("/query?q=SELECT+Id+FROM+X+WHERE+a='say+%22x%22'"));
    }
}
