//! Keeps secret settings out of everything that is printed.

use std::fmt;

use serde_json::Value;

/// Parts of a setting's name that mark its value as secret.
const MARKS: &[&str] = &[
    "secret",
    "password",
    "passwd",
    "token",
    "api_key",
    "apikey",
    "private_key",
    "credential",
    "authorization",
];

const STRUCK_OUT: &str = "***";

/// Tells from its name whether a setting is secret. Settings that merely *speak* of tokens, such as
/// `token_url`, are shown.
pub(super) fn is_secret(name: &str) -> bool {
    let name = name.to_lowercase();
    let speaks = ["_url", "_path", "_file", "_field"].iter().any(|ending| name.ends_with(ending));
    !speaks && MARKS.iter().any(|mark| name.contains(mark))
}

/// Shows settings without their secrets.
pub(super) struct Shown<'a>(pub &'a Value);

impl fmt::Debug for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&strike_out(self.0), f)
    }
}

/// Copies settings with secrets struck out, those inside URLs (`scheme://user:secret@host`) included.
pub(super) fn strike_out(settings: &Value) -> Value {
    match settings {
        Value::Object(entries) => entries
            .iter()
            .map(|(name, value)| {
                let shown = if is_secret(name) { Value::from(STRUCK_OUT) } else { strike_out(value) };
                (name.clone(), shown)
            })
            .collect(),
        Value::Array(items) => items.iter().map(strike_out).collect(),
        Value::String(text) => Value::from(without_user_info(text)),
        other => other.clone(),
    }
}

fn without_user_info(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    let host_ends = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    match rest.get(..host_ends).and_then(|authority| authority.rfind('@')) {
        Some(at) => format!("{scheme}://{STRUCK_OUT}{}", rest.get(at..).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// Strikes out, in the text of a TOML file that need not even parse, what stands behind the names
/// of secret settings. Every byte offset stays what it was.
pub(super) fn mask_toml(text: &str) -> String {
    let mut masked = String::with_capacity(text.len());
    let mut open: Option<&str> = None;
    for line in text.split_inclusive('\n') {
        let (shown, hidden) = match open {
            Some(quotes) => {
                open = if line.contains(quotes) { None } else { Some(quotes) };
                ("", line)
            }
            None => {
                let (shown, hidden) = split_at_secret(line);
                open = ["\"\"\"", "'''"].into_iter().find(|q| hidden.matches(q).count() == 1);
                (shown, hidden)
            }
        };
        masked.push_str(shown);
        for letter in hidden.chars() {
            match letter {
                '\n' | '\r' => masked.push(letter),
                _ => masked.extend(std::iter::repeat_n('*', letter.len_utf8())),
            }
        }
    }
    masked
}

/// Splits a line behind the first `=` that follows the name of a secret setting.
fn split_at_secret(line: &str) -> (&str, &str) {
    for (at, _) in line.match_indices('=') {
        let name = line.get(..at).unwrap_or_default().trim_end().trim_end_matches(['"', '\'']);
        let starts = name.rfind(|c: char| !c.is_alphanumeric() && c != '_' && c != '-');
        let name = name.get(starts.map_or(0, |at| at + 1)..).unwrap_or_default();
        if is_secret(name) {
            return line.split_at(at + 1);
        }
    }
    (line, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_struck_out() {
        let settings = serde_json::json!({
            "base_url": "https://user:hunter2@host/path",
            "client_secret": "hunter2",
            "nested": {"api_key": "hunter2", "list": [{"refresh_token": "hunter2"}]},
            "token_url": "https://login.example.test/token",
        });
        let shown = format!("{:?}", Shown(&settings));
        assert!(!shown.contains("hunter2"), "{shown}");
        assert!(shown.contains("https://***@host/path"), "{shown}");
        assert!(shown.contains("https://login.example.test/token"), "{shown}");
    }

    #[test]
    fn masking_keeps_offsets() {
        let cases = [
            ("a = 1\n", "a = 1\n", "nothing is secret"),
            ("client_secret = \"x\" # y\n", "client_secret =********\n", "the rest of the line goes"),
            ("{ password=\"é\", a = 1 }", "{ password=*************", "in an inline table"),
            ("\"api_key\" = 'x'", "\"api_key\" =****", "a quoted name"),
            ("token = \"\"\"x\ny\"\"\"\na = 1", "token =*****\n****\na = 1", "text over several lines"),
        ];
        for (text, expected, why) in cases {
            assert_eq!(mask_toml(text), expected, "{why}");
            assert_eq!(text.len(), expected.len(), "{why}");
        }
    }
}
