//! A path with its query.
//!
//! Invariant: every name and every value is percent-encoded down to the unreserved characters, so that no
//! value can end its parameter or begin another. Pure.

use std::fmt::Write;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// Everything but the unreserved characters of RFC 3986 §2.3.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Builds one path with its query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathQuery {
    text: String,
    separator: char,
}

impl PathQuery {
    /// Starts with a path of our own making.
    pub fn new(path: impl Into<String>) -> Self {
        Self { text: path.into(), separator: '?' }
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

    /// Returns the finished text.
    pub fn into_text(self) -> String {
        self.text
    }
}
