//! A reply as it came, and whether it is an answer at all.

use std::fmt;

use reqwest::header::{DATE, HeaderMap};

use super::retry_after::parse_http_date;
use crate::engine::record::Timestamp;

/// A reply, whole.
#[derive(Clone, Default)]
pub struct RawReply {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl RawReply {
    /// Returns a header's text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Tells whether the status is 2xx.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// Tells whether a page for people came where data was asked for: a login page, a proxy's
    /// notice. By its first character too, because such pages come under any type.
    pub fn is_web_page(&self) -> bool {
        let body = self.body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&self.body);
        let said = self.header("content-type").is_some_and(|kind| kind.to_ascii_lowercase().contains("html"));
        let shown = body.iter().find(|byte| !byte.is_ascii_whitespace());
        shown == Some(&b'<') || said && shown.is_some_and(|first| !matches!(first, b'{' | b'['))
    }
}

impl fmt::Debug for RawReply {
    /// Leaves out what was said: bodies hold field values and tokens.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "status {} with {} bytes", self.status, self.body.len())
    }
}

/// Returns the moment at the server by its own word, its `Date` header.
pub fn server_time(reply: &RawReply) -> Option<Timestamp> {
    reply.header(DATE.as_str()).and_then(parse_http_date)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_for_people_is_known_whatever_it_says_it_is() {
        // (content type, body, is a web page, why)
        let cases = [
            ("text/html", "<!DOCTYPE html><title>Log in", true, "a login page"),
            ("application/json", "\u{feff}\n <html>", true, "under a wrong type, after a mark"),
            ("text/html; charset=utf-8", "Please log in", true, "without a tag"),
            ("text/html", r#" {"id":"1"}"#, false, "data under a wrong type is data"),
            ("text/plain", "[]", false, "the same"),
            ("text/html", "", false, "nothing is no page"),
            ("", r#""<b>""#, false, "a text that holds a tag"),
        ];
        for (kind, body, is_page, why) in cases {
            let mut reply = RawReply { status: 200, body: body.into(), ..RawReply::default() };
            reply.headers.insert("content-type", kind.parse().expect("a header"));
            assert_eq!(reply.is_web_page(), is_page, "{why}");
        }
    }
}
