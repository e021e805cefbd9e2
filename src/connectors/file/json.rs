//! A JSON list of objects, element by element: memory does not grow with the list.
//!
//! Invariant: the list is only taken as read once its closing bracket was seen and nothing but
//! white space followed.

use std::io::Read;
use std::ops::Range;

use super::broken::Broken;
use super::object::{skip_space, value_end};
use super::window::Window;

/// The elements of a file, one at a time.
pub(super) struct Elements<R> {
    window: Window<R>,
    /// Everything up to and with the opening bracket, the byte order mark included.
    pub(super) head: Vec<u8>,
    /// White space before the closing bracket, known at the end.
    pub(super) tail: Vec<u8>,
    /// What follows the closing bracket, known at the end.
    pub(super) foot: Vec<u8>,
    lead: Range<usize>,
    element: Range<usize>,
    trail: Range<usize>,
    length: usize,
    place: Place,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    First,
    Inner,
    Last,
    Behind,
}

const EXPECT_LIST: &str = "[, the start of a list (for one object a line, set format = \"jsonl\")";

impl<R: Read> Elements<R> {
    /// Starts at the front of a file that has at least one byte.
    pub(super) fn new(reader: R) -> Result<Self, Broken> {
        let mut window = Window::new(reader);
        let mut head = window.take_mark()?.to_vec();
        loop {
            let data = window.data();
            let at = skip_space(data, 0);
            match data.get(at) {
                Some(b'[') => {
                    head.extend_from_slice(data.get(..=at).unwrap_or(&[]));
                    window.consume(at + 1);
                    break;
                }
                Some(_) => {
                    return Err(Broken::Syntax {
                        offset: window.offset() + at as u64,
                        expected: EXPECT_LIST,
                    });
                }
                None if window.ended() => return Err(Broken::Torn("before its list begins")),
                None => window.more()?,
            }
        }
        Ok(Self {
            window,
            head,
            tail: Vec::new(),
            foot: Vec::new(),
            lead: 0..0,
            element: 0..0,
            trail: 0..0,
            length: 0,
            place: Place::First,
        })
    }

    /// Moves to the next element; false at the end, once the list was seen to be closed.
    pub(super) fn advance(&mut self) -> Result<bool, Broken> {
        self.window.consume(self.length);
        self.length = 0;
        match self.place {
            Place::Last => return self.read_foot(),
            Place::Behind => return Ok(false),
            Place::First | Place::Inner => {}
        }
        loop {
            if self.scan()? {
                return match self.place {
                    Place::Behind => self.read_foot(),
                    _ => Ok(true),
                };
            }
            if self.window.ended() {
                return Err(Broken::Torn("before its list is closed"));
            }
            self.window.more()?;
        }
    }

    /// Finds the next element in what is in view; false where more is needed.
    fn scan(&mut self) -> Result<bool, Broken> {
        let data = self.window.data();
        let syntax =
            |at: usize, expected| Err(Broken::Syntax { offset: self.window.offset() + at as u64, expected });
        let start = skip_space(data, 0);
        match data.get(start) {
            None => return Ok(false),
            Some(b']') if self.place == Place::First => {
                self.tail = data.get(..start).unwrap_or(&[]).to_vec();
                self.window.consume(start + 1);
                self.place = Place::Behind;
                return Ok(true);
            }
            Some(b',' | b']' | b'}' | b':') => return syntax(start, "a record"),
            Some(_) => {}
        }
        let Some(end) = value_end(data, start) else { return Ok(false) };
        let after = skip_space(data, end);
        let place = match data.get(after) {
            None => return Ok(false),
            Some(b',') => Place::Inner,
            Some(b']') => Place::Last,
            Some(_) => return syntax(after, "a comma or ]"),
        };
        if place == Place::Last {
            self.tail = data.get(end..after).unwrap_or(&[]).to_vec();
        }
        (self.lead, self.element, self.trail) = (0..start, start..end, end..after);
        (self.length, self.place) = (after + 1, place);
        Ok(true)
    }

    /// Checks that only white space follows the list.
    fn read_foot(&mut self) -> Result<bool, Broken> {
        self.place = Place::Behind;
        loop {
            let data = self.window.data();
            let at = skip_space(data, 0);
            if at < data.len() {
                let offset = self.window.offset() + at as u64;
                return Err(Broken::Syntax { offset, expected: "nothing more behind the list" });
            }
            if self.window.ended() {
                self.foot = data.to_vec();
                return Ok(false);
            }
            self.window.more()?;
        }
    }

    fn slice(&self, range: &Range<usize>) -> &[u8] {
        self.window.data().get(range.clone()).unwrap_or(&[])
    }

    /// Returns the white space before the element.
    pub(super) fn lead(&self) -> &[u8] {
        self.slice(&self.lead)
    }

    /// Returns the element.
    pub(super) fn element(&self) -> &[u8] {
        self.slice(&self.element)
    }

    /// Returns the white space between the element and its comma; none for the last element, whose
    /// is [`Self::tail`].
    pub(super) fn trail(&self) -> &[u8] {
        if self.place == Place::Last { &[] } else { self.slice(&self.trail) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn elements(text: &str) -> Result<(Vec<String>, String), Broken> {
        let mut elements = Elements::new(text.as_bytes())?;
        let (mut found, mut whole) = (Vec::new(), String::from_utf8_lossy(&elements.head).into_owned());
        while elements.advance()? {
            if !found.is_empty() {
                whole.push(',');
            }
            for part in [elements.lead(), elements.element(), elements.trail()] {
                whole.push_str(&String::from_utf8_lossy(part));
            }
            found.push(String::from_utf8_lossy(elements.element()).into_owned());
        }
        whole.push_str(&String::from_utf8_lossy(&elements.tail));
        whole.push(']');
        whole.push_str(&String::from_utf8_lossy(&elements.foot));
        Ok((found, whole))
    }

    #[test]
    fn a_list_is_taken_apart_without_losing_a_byte() {
        // (text, elements, why)
        let cases: [(&str, &[&str], &str); 6] = [
            ("[]", &[], "empty"),
            (" [ \n ] \n", &[], "empty, with space"),
            ("[{\"a\":1},{}]", &["{\"a\":1}", "{}"], "compact"),
            ("[\n  {\"a\": \"],[\"} ,\n  {\"b\":[{}]}\n]\n", &["{\"a\": \"],[\"}", "{\"b\":[{}]}"], "pretty"),
            ("[1,\"x\",null]", &["1", "\"x\"", "null"], "what is no record is an element still"),
            ("\u{feff}[{}]", &["{}"], "a byte order mark"),
        ];
        for (text, expected, why) in cases {
            let (found, whole) = elements(text).expect(why);
            assert_eq!(found, expected, "{why}");
            assert_eq!(whole, text, "{why}");
        }
    }

    #[test]
    fn a_list_that_is_not_closed_is_never_a_shorter_list() {
        let whole = "[\n  {\"a\": \"x]\"},\n  {\"b\": [1, 2]}\n]";
        for cut in 0..whole.len() {
            let read = elements(&whole[..cut]);
            assert!(matches!(read, Err(Broken::Torn(_) | Broken::NoBytes)), "cut at {cut}: {read:?}");
        }
        for text in ["[{} {}]", "[{},]", "[,{}]", "[{}] x", "{}", "[{}]]"] {
            assert!(matches!(elements(text), Err(Broken::Syntax { .. })), "{text}");
        }
    }
}
