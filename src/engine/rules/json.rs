//! JSON text with the place of every value, so that an error can point at what it is about.
//!
//! Invariant: depth and size are bounded; a name that comes twice in one object is refused, because
//! one of both would be lost without a word.

use std::sync::Arc;

use serde_json::value::RawValue;

use super::error::{RulesError, Spot};
use crate::engine::record::{Number, Value, value_from_raw};

const DEPTH_MAX: usize = 32;
const BYTES_MAX: usize = 4 * 1024 * 1024;

/// A JSON value and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub spot: Spot,
    pub data: Data,
    /// The text as it stands in the file.
    pub raw: Arc<str>,
}

#[derive(Clone, Debug)]
pub(super) enum Data {
    Null,
    Bool(bool),
    Number(Value),
    Text(String),
    List(Vec<Node>),
    Object(Vec<Member>),
}

/// One name of an object with its value.
#[derive(Clone, Debug)]
pub(super) struct Member {
    pub name: String,
    /// Where the name stands; the pointer is that of the value.
    pub spot: Spot,
    pub value: Node,
}

impl Node {
    /// Reads a whole text.
    pub fn parse(text: &str) -> Result<Self, RulesError> {
        if text.len() > BYTES_MAX {
            return Err(Spot::start().error("the rules are longer than 4 MiB"));
        }
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut reader = Reader { text, at: 0, line: 1, column: 1, pointer: String::new(), depth: 0 };
        reader.skip_space();
        let node = reader.value()?;
        reader.skip_space();
        match reader.peek() {
            None => Ok(node),
            Some(_) => Err(reader.here().remedied("text after the end of the rules", "remove it")),
        }
    }

    /// Names the kind of value for messages.
    pub fn kind(&self) -> &'static str {
        match &self.data {
            Data::Null => "null",
            Data::Bool(_) => "a boolean",
            Data::Number(_) => "a number",
            Data::Text(_) => "a text",
            Data::List(_) => "a list",
            Data::Object(_) => "an object",
        }
    }

    /// Makes the error that something else was expected here.
    pub fn expected(&self, what: &str) -> RulesError {
        self.spot.remedied(format!("expected {what}, found {}", self.kind()), format!("write {what}"))
    }

    /// Returns the members of an object.
    pub fn object(&self, what: &str) -> Result<&[Member], RulesError> {
        match &self.data {
            Data::Object(members) => Ok(members),
            _ => Err(self.expected(what)),
        }
    }

    /// Returns the items of a list.
    pub fn list(&self, what: &str) -> Result<&[Node], RulesError> {
        match &self.data {
            Data::List(items) => Ok(items),
            _ => Err(self.expected(what)),
        }
    }

    /// Returns the text.
    pub fn text(&self, what: &str) -> Result<&str, RulesError> {
        match &self.data {
            Data::Text(text) => Ok(text),
            _ => Err(self.expected(what)),
        }
    }

    /// Returns the boolean.
    pub fn flag(&self, what: &str) -> Result<bool, RulesError> {
        match &self.data {
            Data::Bool(flag) => Ok(*flag),
            _ => Err(self.expected(what)),
        }
    }

    /// Returns the value as records hold it.
    pub fn value(&self) -> Result<Value, RulesError> {
        match &self.data {
            Data::Null => Ok(Value::Null),
            Data::Bool(flag) => Ok(Value::Bool(*flag)),
            Data::Number(number) => Ok(number.clone()),
            Data::Text(text) => Ok(Value::text(text)),
            Data::List(_) | Data::Object(_) => serde_json::from_str::<&RawValue>(&self.raw)
                .ok()
                .and_then(|raw| value_from_raw(raw).ok())
                .ok_or_else(|| self.spot.error("this value can't be read")),
        }
    }
}

struct Reader<'t> {
    text: &'t str,
    at: usize,
    line: u32,
    column: u32,
    pointer: String,
    depth: usize,
}

impl Reader<'_> {
    fn here(&self) -> Spot {
        Spot { line: self.line, column: self.column, pointer: Arc::from(self.pointer.as_str()) }
    }

    fn rest(&self) -> &str {
        self.text.get(self.at..).unwrap_or("")
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn bump(&mut self) -> Option<char> {
        let char = self.peek()?;
        self.at += char.len_utf8();
        if char == '\n' {
            self.line += 1;
            self.column = 1;
        } else {
            self.column += 1;
        }
        Some(char)
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(' ' | '\t' | '\r' | '\n')) {
            self.bump();
        }
    }

    fn value(&mut self) -> Result<Node, RulesError> {
        let (spot, start) = (self.here(), self.at);
        let data = match self.peek() {
            None => {
                return Err(spot.remedied("the text ends where a value should stand", "complete it"));
            }
            Some('{') => self.nested(Self::object)?,
            Some('[') => self.nested(Self::list)?,
            Some('"') => Data::Text(self.string()?),
            Some('-' | '0'..='9') => self.number()?,
            Some('a'..='z' | 'A'..='Z' | '_') => self.word()?,
            Some('\'') => return Err(spot.remedied("JSON texts stand in double quotes", "write \" for '")),
            Some('/' | '#') => return Err(comment(&spot)),
            Some(other) => return Err(spot.error(format!("`{other}` is no beginning of a JSON value"))),
        };
        let raw = Arc::from(self.text.get(start..self.at).unwrap_or(""));
        Ok(Node { spot, data, raw })
    }

    fn nested(&mut self, read: fn(&mut Self) -> Result<Data, RulesError>) -> Result<Data, RulesError> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(self.here().error(format!("nested deeper than {DEPTH_MAX} levels")));
        }
        let data = read(self);
        self.depth -= 1;
        data
    }

    fn object(&mut self) -> Result<Data, RulesError> {
        let open = self.here();
        self.bump();
        let mut members: Vec<Member> = Vec::new();
        loop {
            self.skip_space();
            let mut spot = self.here();
            match self.peek() {
                Some('"') => {}
                Some('}') if members.is_empty() => {
                    self.bump();
                    return Ok(Data::Object(members));
                }
                Some('}') => return Err(spot.remedied("a comma before `}`", "remove the comma")),
                Some('/' | '#') => return Err(comment(&spot)),
                Some(_) => {
                    return Err(spot.remedied("expected a name in double quotes", "write \"name\": value"));
                }
                None => return Err(open.remedied("this `{` is never closed", "add the missing `}`")),
            }
            let name = self.string()?;
            let length = self.pointer.len();
            self.pointer.push('/');
            self.pointer.push_str(&name.replace('~', "~0").replace('/', "~1"));
            spot.pointer = Arc::from(self.pointer.as_str());
            if members.iter().any(|member| member.name == name) {
                return Err(spot.remedied(
                    format!("`{name}` stands here twice"),
                    "keep one of both: only one could hold",
                ));
            }
            self.skip_space();
            if self.peek() != Some(':') {
                return Err(self
                    .here()
                    .remedied(format!("expected `:` after `{name}`"), "write \"name\": value"));
            }
            self.bump();
            self.skip_space();
            let value = self.value()?;
            members.push(Member { name, spot, value });
            self.pointer.truncate(length);
            if self.more('}', &open)? {
                continue;
            }
            return Ok(Data::Object(members));
        }
    }

    fn list(&mut self) -> Result<Data, RulesError> {
        let open = self.here();
        self.bump();
        let mut items = Vec::new();
        loop {
            self.skip_space();
            match self.peek() {
                Some(']') if items.is_empty() => {
                    self.bump();
                    return Ok(Data::List(items));
                }
                Some(']') => return Err(self.here().remedied("a comma before `]`", "remove the comma")),
                None => return Err(open.remedied("this `[` is never closed", "add the missing `]`")),
                Some(_) => {}
            }
            let length = self.pointer.len();
            self.pointer.push_str(&format!("/{}", items.len()));
            items.push(self.value()?);
            self.pointer.truncate(length);
            if !self.more(']', &open)? {
                return Ok(Data::List(items));
            }
        }
    }

    /// Takes the comma (true) or the end (false) after a member or an item.
    fn more(&mut self, end: char, open: &Spot) -> Result<bool, RulesError> {
        self.skip_space();
        match self.peek() {
            Some(',') => {
                self.bump();
                Ok(true)
            }
            Some(found) if found == end => {
                self.bump();
                Ok(false)
            }
            Some('/' | '#') => Err(comment(&self.here())),
            Some(_) => Err(self.here().remedied(format!("expected `,` or `{end}`"), "add the missing comma")),
            None => Err(open.remedied("this bracket is never closed", format!("add the missing `{end}`"))),
        }
    }

    fn string(&mut self) -> Result<String, RulesError> {
        let (open, start) = (self.here(), self.at);
        self.bump();
        let mut escaped = false;
        loop {
            let spot = self.here();
            match self.bump() {
                Some('"') if !escaped => break,
                Some('\n') | None => {
                    return Err(open.remedied("this text is never closed", "add the missing \""));
                }
                Some(char) if char < ' ' => {
                    return Err(
                        spot.remedied("a control character in a text", "write it as \\u and four digits")
                    );
                }
                Some(char) => escaped = char == '\\' && !escaped,
            }
        }
        serde_json::from_str(self.text.get(start..self.at).unwrap_or("")).map_err(|_| {
            open.remedied("this text holds an escape that JSON does not know", "write \\\\ for \\")
        })
    }

    fn number(&mut self) -> Result<Data, RulesError> {
        let (spot, start) = (self.here(), self.at);
        while matches!(self.peek(), Some('0'..='9' | '+' | '-' | '.' | 'e' | 'E')) {
            self.bump();
        }
        let text = self.text.get(start..self.at).unwrap_or("");
        match Number::parse(text) {
            Some(number) => Ok(Data::Number(number)),
            None => Err(spot.error(format!("`{text}` is no JSON number"))),
        }
    }

    fn word(&mut self) -> Result<Data, RulesError> {
        let (spot, start) = (self.here(), self.at);
        while self.peek().is_some_and(|char| char.is_alphanumeric() || char == '_') {
            self.bump();
        }
        match self.text.get(start..self.at).unwrap_or("") {
            "null" => Ok(Data::Null),
            "true" => Ok(Data::Bool(true)),
            "false" => Ok(Data::Bool(false)),
            word => {
                let remedy = match word.to_ascii_lowercase().as_str() {
                    small @ ("true" | "false" | "null") => format!("write {small}"),
                    "none" | "nil" => "write null".to_owned(),
                    _ => format!("write \"{word}\""),
                };
                Err(spot.remedied(format!("`{word}` is no JSON value"), remedy))
            }
        }
    }
}

fn comment(spot: &Spot) -> RulesError {
    spot.remedied("JSON has no comments", "remove it")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn syntax_errors_tell_line_column_and_remedy() {
        // (text, line, column, part of the message, why)
        let cases = [
            ("", 1, 1, "the text ends", "empty file"),
            ("{\n  \"a\": 1,\n}", 3, 1, "a comma before `}`", "trailing comma"),
            ("{\"a\": 1\n \"b\": 2}", 2, 2, "expected `,` or `}`", "missing comma"),
            ("{\"é\": tru}", 1, 7, "`tru`", "columns count characters, not bytes"),
            ("{'a': 1}", 1, 2, "name in double quotes", "single quotes"),
            ("{\"a\": \"b}", 1, 7, "never closed", "open text"),
            ("{\"a\": [1, 2", 1, 7, "never closed", "open list"),
            ("// hi\n{}", 1, 1, "no comments", "comment"),
            ("{\"a\": 1} x", 1, 10, "after the end", "rubbish behind"),
            ("{\"a\": 1, \"a\": 2}", 1, 10, "twice", "duplicate name"),
            ("{\"a\": 01}", 1, 7, "no JSON number", "leading zero"),
            ("{\"a\": \"\\x\"}", 1, 7, "escape", "unknown escape"),
            ("{\"a\": True}", 1, 7, "no JSON value", "Python's True"),
        ];
        for (text, line, column, message, why) in cases {
            let error = Node::parse(text).expect_err(why);
            assert!(error.message.contains(message), "{why}: {error}");
            assert_eq!((error.line, error.column), (line, column), "{why}: {error}");
        }
        assert!(Node::parse(&"[".repeat(100_000)).is_err(), "depth is bounded");
    }

    #[test]
    fn pointers_and_exact_values_come_along() {
        let node = Node::parse("\u{feff}{\"a/b\": [1, {\"~\": 18446744073709551616}]}").expect("JSON");
        let outer = node.object("").expect("object");
        let inner = outer[0].value.list("").expect("list")[1].object("").expect("object");
        assert_eq!(&*inner[0].spot.pointer, "/a~1b/1/~0");
        assert_eq!(
            inner[0].value.value().expect("value").to_plain().as_deref(),
            Some("18446744073709551616")
        );
    }
}
