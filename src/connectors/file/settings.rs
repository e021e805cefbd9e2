//! What the configuration says of a file system, and which file one stream is.

use std::path::{Component, Path, PathBuf};

use serde_json::{Map, Value, json};

use crate::connectors::{Clock, Open, SettingsError, StreamSpec};
use crate::engine::fault::{Fault, FaultCode};

/// How records stand in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Json,
    Jsonl,
    Csv,
}

impl Format {
    fn from_word(word: &str) -> Option<Self> {
        match word {
            "json" => Some(Self::Json),
            "jsonl" => Some(Self::Jsonl),
            "csv" => Some(Self::Csv),
            _ => None,
        }
    }

    fn from_ending(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "json" => Some(Self::Json),
            "jsonl" | "ndjson" => Some(Self::Jsonl),
            "csv" => Some(Self::Csv),
            _ => None,
        }
    }
}

/// Settings that a system gives and one end of a link may override.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Options {
    format: Option<Format>,
    delimiter: Option<u8>,
}

/// A file system's settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Settings {
    path: PathBuf,
    options: Options,
    create: bool,
}

/// One stream's file, and how to read it.
#[derive(Clone)]
pub(super) struct Target {
    pub(super) path: PathBuf,
    pub(super) format: Format,
    pub(super) delimiter: u8,
    /// A file that is not there is an empty stream, made on first write.
    pub(super) create: bool,
    pub(super) clock: Clock,
}

/// Option keys of one end of a link.
pub(super) const STREAM_OPTIONS: &[&str] = &["format", "delimiter"];

/// Returns the JSON Schema of the settings.
pub(super) fn schema() -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["path"],
        "properties": {
            "path": {
                "type": "string", "minLength": 1,
                "description": "A file, or a folder in which a link's `stream` is the file's name; may hold {customer}. Relative to the configuration file."
            },
            "format": {
                "enum": ["json", "jsonl", "csv"],
                "description": "By the file's ending where left out: .json, .jsonl or .ndjson, .csv."
            },
            "delimiter": {
                "type": "string", "minLength": 1, "maxLength": 1, "default": ",",
                "description": "What stands between two cells of CSV: one ASCII character."
            },
            "create": {
                "type": "boolean", "default": true,
                "description": "A file that does not exist is an empty stream, and is made on first write."
            }
        }
    })
}

/// Checks the settings without touching any file.
pub(super) fn check(settings: &Value) -> Result<(), SettingsError> {
    parse(settings).map(|_| ())
}

fn wrong(key: &str, message: impl Into<String>) -> SettingsError {
    let path = if key.is_empty() { Vec::new() } else { vec![key.to_owned()] };
    SettingsError { path, message: message.into() }
}

fn parse(settings: &Value) -> Result<Settings, SettingsError> {
    let Value::Object(table) = settings else { return Err(wrong("", "a table is expected")) };
    let known = ["path", "format", "delimiter", "create"];
    if let Some(key) = table.keys().find(|key| !known.contains(&key.as_str())) {
        return Err(wrong(key, format!("unknown key; a file system has {}", known.join(", "))));
    }
    let path = match table.get("path") {
        Some(Value::String(path)) if !path.is_empty() => PathBuf::from(path),
        Some(_) => return Err(wrong("path", "a text is expected: a file or a folder")),
        None => return Err(wrong("", "`path` is missing: name a file, or a folder of files")),
    };
    let create = match table.get("create") {
        None => true,
        Some(Value::Bool(create)) => *create,
        Some(_) => return Err(wrong("create", "true or false is expected")),
    };
    Ok(Settings { path, options: parse_options(table)?, create })
}

fn parse_options(table: &Map<String, Value>) -> Result<Options, SettingsError> {
    let format = match table.get("format") {
        None => None,
        Some(Value::String(word)) if Format::from_word(word).is_some() => Format::from_word(word),
        Some(_) => return Err(wrong("format", "\"json\", \"jsonl\" or \"csv\" is expected")),
    };
    let delimiter = match table.get("delimiter") {
        None => None,
        Some(Value::String(text)) => match text.as_bytes() {
            [b'"' | b'\n' | b'\r'] => {
                return Err(wrong("delimiter", "quotes and line ends have their own meaning in CSV"));
            }
            [byte] if byte.is_ascii() => Some(*byte),
            _ => return Err(wrong("delimiter", "one ASCII character is expected, such as \";\" or \"\\t\"")),
        },
        Some(_) => return Err(wrong("delimiter", "a text of one character is expected")),
    };
    Ok(Options { format, delimiter })
}

impl Settings {
    /// Reads the settings of a system that is being opened.
    pub(super) fn open(open: &Open) -> Result<Self, Fault> {
        let mut settings = parse(&open.settings).map_err(|error| fatal(&open.system, &error))?;
        let path = settings.path.to_string_lossy().replace("{customer}", &open.customer);
        settings.path = open.base_dir.join(path);
        Ok(settings)
    }

    /// Finds the file of a stream. Only looks whether `path` is a folder.
    pub(super) fn target(&self, stream: &StreamSpec, clock: &Clock) -> Result<Target, Fault> {
        let own = parse_options(&stream.options).map_err(|error| fatal(&stream.stream, &error))?;
        let is_file = self.path.is_file() || (!self.path.is_dir() && self.looks_like_a_file());
        let path = if is_file { self.path.clone() } else { self.path.join(file_name(&stream.stream)?) };
        let format = own.format.or(self.options.format).or_else(|| Format::from_ending(&path));
        let Some(format) = format else {
            return Err(Fault::fatal(
                FaultCode::Configuration,
                format!("the ending of {} does not say how records stand in it", path.display()),
                "set `format` to \"json\", \"jsonl\" or \"csv\"",
            ));
        };
        let delimiter = own.delimiter.or(self.options.delimiter).unwrap_or(b',');
        Ok(Target { path, format, delimiter, create: self.create, clock: clock.clone() })
    }

    /// Guesses what a path that is not there yet is meant to be.
    fn looks_like_a_file(&self) -> bool {
        let ends_in_slash = self.path.to_string_lossy().ends_with(std::path::is_separator);
        !ends_in_slash && Format::from_ending(&self.path).is_some()
    }
}

/// Takes a stream's name as a path below the folder, which it must not leave.
fn file_name(stream: &str) -> Result<&Path, Fault> {
    let path = Path::new(stream);
    let inside = path.components().all(|part| matches!(part, Component::Normal(_)));
    if inside && path.file_name().is_some() {
        return Ok(path);
    }
    Err(Fault::fatal(
        FaultCode::Configuration,
        format!("the stream {stream:?} is not the name of a file in the folder"),
        "give the file's name, without `..` and without a leading `/`",
    ))
}

fn fatal(what: &str, error: &SettingsError) -> Fault {
    let key = error.path.join(".");
    Fault::fatal(
        FaultCode::Configuration,
        format!("{what}: `{key}`: {}", error.message),
        "correct the configuration",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_refused_with_the_key_that_is_wrong() {
        // (settings, the key at fault; None where they are fine)
        let cases = [
            (json!({"path": "users.csv"}), None),
            (json!({"path": "out", "format": "jsonl", "delimiter": "\t", "create": false}), None),
            (json!({}), Some("")),
            (json!({"path": ""}), Some("path")),
            (json!({"path": "x", "format": "xml"}), Some("format")),
            (json!({"path": "x", "delimiter": "\""}), Some("delimiter")),
            (json!({"path": "x", "delimiter": "ä"}), Some("delimiter")),
            (json!({"path": "x", "create": "yes"}), Some("create")),
            (json!({"path": "x", "pth": "y"}), Some("pth")),
        ];
        for (settings, culprit) in cases {
            let found = check(&settings).err().map(|error| error.path.join("."));
            assert_eq!(found.as_deref(), culprit, "{settings}");
        }
    }

    #[test]
    fn a_stream_can_not_leave_its_folder() {
        for (stream, fine) in
            [("users.csv", true), ("eu/users.csv", true), ("../x", false), ("/x", false), ("", false)]
        {
            assert_eq!(file_name(stream).is_ok(), fine, "{stream:?}");
        }
    }
}
