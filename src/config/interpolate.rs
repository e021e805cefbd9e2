//! `${NAME}` from the environment and `${file:PATH}` from a file, inside texts only.
//!
//! Runs after parsing, so that no value can bring in TOML of its own.

use std::path::Path;

/// A secret is short; a larger file is most likely the wrong one.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// Where the values come from.
pub(super) struct Interpolation<'a> {
    pub env: &'a dyn Fn(&str) -> Option<String>,
    /// Relative paths start here.
    pub base_dir: &'a Path,
}

/// What became of a text.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Interpolated {
    /// It holds nothing to interpolate.
    Plain,
    Changed(String),
}

/// Message and remedy.
type Refusal = (String, String);

impl Interpolation<'_> {
    /// Replaces every `${…}`; `$${` stands for a literal `${`.
    pub fn apply(&self, text: &str) -> Result<Interpolated, Refusal> {
        if !text.contains("${") {
            return Ok(Interpolated::Plain);
        }
        let mut done = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            if let Some(before) = before.strip_suffix('$') {
                done.push_str(before);
                done.push_str("${");
                rest = after;
                continue;
            }
            let (name, after) = after.split_once('}').ok_or_else(|| {
                ("`${` without `}`".to_owned(), "close it, or write `$${` for a literal `${`".to_owned())
            })?;
            done.push_str(before);
            done.push_str(&self.value(name)?);
            rest = after;
        }
        done.push_str(rest);
        Ok(Interpolated::Changed(done))
    }

    fn value(&self, name: &str) -> Result<String, Refusal> {
        if let Some(path) = name.strip_prefix("file:") {
            return read(&self.base_dir.join(path.trim())).map_err(|error| {
                (
                    format!("`${{{name}}}` can't be read: {error}"),
                    "make the file or correct its path".to_owned(),
                )
            });
        }
        let well_formed = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if !well_formed {
            return Err((
                format!("`${{{name}}}` is no name of a variable"),
                "write `${NAME}`, `${file:PATH}`, or `$${` for a literal `${`".to_owned(),
            ));
        }
        (self.env)(name).ok_or_else(|| {
            (
                format!("the environment has no variable {name}"),
                format!("start record-sync with {name} set, or use `${{file:PATH}}`"),
            )
        })
    }
}

/// Reads a small text file without the line break that editors leave at its end.
fn read(path: &Path) -> std::io::Result<String> {
    let size = std::fs::metadata(path)?.len();
    if size > FILE_BYTES_MAX {
        return Err(std::io::Error::other(format!("{size} bytes are more than {FILE_BYTES_MAX}")));
    }
    let text = std::fs::read_to_string(path)?;
    let text = text.strip_suffix('\n').unwrap_or(&text);
    Ok(text.strip_suffix('\r').unwrap_or(text).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_interpolated() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("secret.txt"), "from file\r\n").unwrap();
        let env = |name: &str| (name == "NAME").then(|| "${value}\" = 1".to_owned());
        let with = Interpolation { env: &env, base_dir: folder.path() };
        let cases = [
            ("plain", Some("plain"), "nothing to do"),
            ("$5 {customer}", Some("$5 {customer}"), "a customer's place is left for later"),
            ("a ${NAME} b", Some("a ${value}\" = 1 b"), "a value is not interpolated again"),
            ("${file:secret.txt}", Some("from file"), "the last line break goes"),
            ("$${NAME}", Some("${NAME}"), "the way out"),
            ("${MISSING}", None, "a missing variable is no empty text"),
            ("${file:missing}", None, "a missing file"),
            ("${NAME", None, "never closed"),
            ("${}", None, "no name"),
        ];
        for (text, expected, why) in cases {
            let got = match with.apply(text) {
                Ok(Interpolated::Plain) => Some(text.to_owned()),
                Ok(Interpolated::Changed(text)) => Some(text),
                Err(_) => None,
            };
            assert_eq!(got.as_deref(), expected, "{why}");
        }
    }
}
