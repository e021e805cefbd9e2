//! How the CSV of a job is written: which delimiter, which line ends; and whether an upload keeps to it.

use serde_json::{Map, Value as Json};

use super::invalid_value;
use crate::connectors::salesforce::mock::errors::ApiError;

const DELIMITERS: [(&str, u8); 6] = [
    ("BACKQUOTE", b'`'),
    ("CARET", b'^'),
    ("COMMA", b','),
    ("PIPE", b'|'),
    ("SEMICOLON", b';'),
    ("TAB", b'\t'),
];

/// The form of a job's CSV.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form {
    delimiter: u8,
    crlf: bool,
}

impl Form {
    /// Reads the form from what a job is made of.
    pub fn read(members: &Map<String, Json>) -> Result<Self, ApiError> {
        let of = |name: &str, usual: &'static str| match members.get(name) {
            None | Some(Json::Null) => Ok(usual.to_owned()),
            Some(Json::String(text)) => Ok(text.clone()),
            Some(other) => Err(invalid_value(&other.to_string(), name)),
        };
        let delimiter = of("columnDelimiter", "COMMA")?;
        let known = DELIMITERS.iter().find(|(name, _)| *name == delimiter).map(|(_, byte)| *byte);
        let known = known.ok_or_else(|| invalid_value(&delimiter, "columnDelimiter"))?;
        let crlf = match of("lineEnding", "LF")?.as_str() {
            "LF" => false,
            "CRLF" => true,
            other => return Err(invalid_value(other, "lineEnding")),
        };
        let content = of("contentType", "CSV")?;
        if content != "CSV" {
            return Err(invalid_value(&content, "contentType"));
        }
        Ok(Self { delimiter: known, crlf })
    }

    /// Names the delimiter.
    pub fn delimiter_name(self) -> &'static str {
        DELIMITERS.iter().find(|(_, byte)| *byte == self.delimiter).map_or("COMMA", |(name, _)| name)
    }

    /// Names the line end.
    pub fn line_ending(self) -> &'static str {
        if self.crlf { "CRLF" } else { "LF" }
    }

    /// Begins to read rows.
    pub fn reader(self, data: &[u8]) -> csv::Reader<&[u8]> {
        csv::ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .delimiter(self.delimiter)
            .from_reader(data)
    }

    /// Begins to write rows: every cell in quotes, as the real service writes them.
    pub fn writer(self) -> csv::Writer<Vec<u8>> {
        let end = if self.crlf { csv::Terminator::CRLF } else { csv::Terminator::Any(b'\n') };
        csv::WriterBuilder::new()
            .delimiter(self.delimiter)
            .terminator(end)
            .quote_style(csv::QuoteStyle::Always)
            .flexible(true)
            .from_writer(Vec::new())
    }

    /// Checks quotes and line ends of a whole upload; the error is the job's.
    pub fn check(self, data: &[u8]) -> Result<(), String> {
        let ending = || {
            let set = self.line_ending();
            Err(format!(
                "ClientInputError : LineEnding is invalid on user data. Current LineEnding setting is {set}"
            ))
        };
        let unescaped = || {
            let message = "InvalidBatch : Failed to parse CSV. Found unescaped quote. A value with quote should be within a quote";
            Err(message.to_owned())
        };
        let mut place = Place::Start;
        let mut before = b'\n';
        for byte in data.iter().copied() {
            place = match (place, byte) {
                (Place::Quoted, b'"') => Place::MaybeOver,
                (Place::Quoted, _) | (Place::MaybeOver, b'"') => Place::Quoted,
                (Place::Start, b'"') => Place::Quoted,
                (_, b'"') => return unescaped(),
                (_, b'\n') if (before == b'\r') != self.crlf => return ending(),
                (_, b'\n') => Place::Start,
                (_, byte) if byte == self.delimiter => Place::Start,
                (Place::MaybeOver, b'\r') => Place::MaybeOver,
                (Place::MaybeOver, _) => return unescaped(),
                _ => Place::Plain,
            };
            before = byte;
        }
        if place == Place::Quoted { unescaped() } else { Ok(()) }
    }
}

/// Where a byte of an upload stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// At the start of a cell.
    Start,
    Plain,
    Quoted,
    /// Behind a quote that ends the cell, or is the first of two.
    MaybeOver,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uploads_have_to_keep_to_their_form() {
        let (lf, crlf) = (Form { delimiter: b',', crlf: false }, Form { delimiter: b',', crlf: true });
        // (form, upload, word of the refusal, why)
        let cases = [
            (lf, "a,b\n1,2\n", None, "plain"),
            (lf, "a,b\n1,2", None, "no line end at the end"),
            (lf, "a,b\n\"1\n\",\"say \"\"x\"\"\"\n", None, "line ends and quotes within quotes"),
            (lf, "a\n\"1\r\n2\"\n", None, "the other line end within quotes"),
            (lf, "a,b\r\n1,2\r\n", Some("setting is LF"), "the other line end"),
            (lf, "a\n\"1\"\r\n", Some("setting is LF"), "the other line end behind a quote"),
            (crlf, "a,b\r\n1,2\r\n", None, "plain"),
            (crlf, "a,b\n1,2\n", Some("setting is CRLF"), "the other line end"),
            (lf, "a\n1\"2\n", Some("unescaped quote"), "a quote in a plain cell"),
            (lf, "a\n\"1\"2\n", Some("unescaped quote"), "text behind a quote"),
            (lf, "a\n\"1\n", Some("unescaped quote"), "a quote left open"),
            (lf, "\u{feff}\"a\"\n1\n", Some("unescaped quote"), "a byte order mark hides the first quote"),
        ];
        for (form, upload, word, why) in cases {
            let told = form.check(upload.as_bytes()).err();
            assert_eq!(told.is_some(), word.is_some(), "{why}: {told:?}");
            assert!(told.unwrap_or_default().contains(word.unwrap_or_default()), "{why}");
        }
    }
}
