//! CSV (RFC 4180): rows out of bytes and back, with the bytes of every row and cell kept.
//!
//! Reading is our own and not the `csv` crate's, because a rewrite must give untouched rows and
//! cells back byte for byte, and because a quote left open at the end of a file must be told from a
//! last row (the crate takes both); the tests hold it against that crate.
//!
//! Every value is text. An empty cell is null, one of two quotes (`""`) is empty text, as PostgreSQL and
//! pandas write them. Text that begins with `=`, `+`, `-` or `@` is written as it is: mangling it would
//! guard a spreadsheet and corrupt a record.

use std::io::Read;
use std::ops::Range;

use crate::engine::record::Value;

use super::broken::Broken;
use super::window::Window;

/// Where a cell stands in its row, quotes included.
#[derive(Clone, Copy, Debug)]
struct Cell {
    start: usize,
    end: usize,
    quoted: bool,
    /// Its text is not simply a part of the row: doubled quotes, or text after the closing quote.
    odd: bool,
}

/// The rows of a file, one at a time; the header is the first.
pub(super) struct Rows<R> {
    window: Window<R>,
    delimiter: u8,
    cells: Vec<Cell>,
    /// Bytes of the current row, line end included; consumed when the next one is asked for.
    length: usize,
    content: usize,
    pub(super) mark: &'static [u8],
}

enum Scan {
    Row { content: usize, length: usize },
    More,
    OpenQuote,
}

impl<R: Read> Rows<R> {
    /// Starts at the front of a file that has at least one byte.
    pub(super) fn new(reader: R, delimiter: u8) -> Result<Self, Broken> {
        let mut window = Window::new(reader);
        let mark = window.take_mark()?;
        Ok(Self { window, delimiter, cells: Vec::new(), length: 0, content: 0, mark })
    }

    /// Moves to the next row; false at the end. An empty line is a row without cells.
    pub(super) fn advance(&mut self) -> Result<bool, Broken> {
        self.window.consume(self.length);
        (self.length, self.content) = (0, 0);
        self.cells.clear();
        loop {
            if !self.window.data().is_empty() {
                let (data, ended) = (self.window.data(), self.window.ended());
                match scan_row(data, ended, self.delimiter, &mut self.cells) {
                    Scan::Row { content, length } => {
                        (self.length, self.content) = (length, content);
                        if content == 0 {
                            self.cells.clear();
                        }
                        return Ok(true);
                    }
                    Scan::OpenQuote => return Err(Broken::Torn("inside a quoted cell")),
                    Scan::More => {}
                }
            }
            if self.window.ended() {
                return Ok(false);
            }
            self.window.more()?;
        }
    }

    /// Returns the row as it stands in the file, line end included.
    pub(super) fn raw(&self) -> &[u8] {
        self.window.data().get(..self.length).unwrap_or(&[])
    }

    /// Returns the row without its line end.
    pub(super) fn content(&self) -> &[u8] {
        self.window.data().get(..self.content).unwrap_or(&[])
    }

    /// Returns the row's line end; empty on a last row without one.
    pub(super) fn line_end(&self) -> &[u8] {
        self.window.data().get(self.content..self.length).unwrap_or(&[])
    }

    /// Returns the number of cells.
    pub(super) fn width(&self) -> usize {
        self.cells.len()
    }

    /// Returns the row as text, or the place of the first byte that is none.
    pub(super) fn text(&self) -> Result<Row<'_>, usize> {
        match std::str::from_utf8(self.content()) {
            Ok(text) => Ok(Row { text, cells: &self.cells }),
            Err(error) => Err(error.valid_up_to()),
        }
    }

    /// Returns the number of the cell in which a byte of the row stands.
    pub(super) fn cell_at(&self, byte: usize) -> usize {
        self.cells.iter().take_while(|cell| cell.end <= byte).count()
    }

    /// Returns a cell's bytes as they stand in the file, quotes included.
    pub(super) fn raw_cell(&self, at: usize) -> &[u8] {
        let range = self.cells.get(at).map_or(0..0, |cell| cell.start..cell.end);
        self.window.data().get(range).unwrap_or(&[])
    }
}

/// A row that is text.
#[derive(Clone, Copy)]
pub(super) struct Row<'r> {
    text: &'r str,
    cells: &'r [Cell],
}

impl Row<'_> {
    /// Returns a cell's value: null where it has no byte, absent where the row ends before it.
    pub(super) fn value(&self, at: usize) -> Value {
        let Some(cell) = self.cells.get(at) else { return Value::Absent };
        let slice = |range: Range<usize>| self.text.get(range).unwrap_or("");
        match (cell.odd, cell.quoted) {
            (true, _) => Value::Text(unquote(slice(cell.start..cell.end)).into()),
            (false, true) => Value::Text(slice(cell.start + 1..cell.end.saturating_sub(1)).into()),
            (false, false) if cell.start == cell.end => Value::Null,
            (false, false) => Value::Text(slice(cell.start..cell.end).into()),
        }
    }
}

/// Takes the quotes off a cell whose text is not simply between them.
fn unquote(cell: &str) -> String {
    let mut text = String::with_capacity(cell.len());
    let mut letters = cell.chars().skip(1).peekable();
    let mut inside = true;
    while let Some(letter) = letters.next() {
        match letter {
            '"' if inside => match letters.peek() {
                Some('"') => {
                    letters.next();
                    text.push('"');
                }
                _ => inside = false,
            },
            _ => text.push(letter),
        }
    }
    text
}

/// Finds the cells and the end of the row at the front of `data`.
fn scan_row(data: &[u8], ended: bool, delimiter: u8, cells: &mut Vec<Cell>) -> Scan {
    cells.clear();
    let mut at = 0;
    loop {
        let start = at;
        let quoted = data.get(at) == Some(&b'"');
        let mut odd = false;
        if quoted {
            match closing_quote(data, at + 1, ended) {
                Quote::Closed { after, doubled } => (at, odd) = (after, doubled),
                Quote::More => return Scan::More,
                Quote::Open => return Scan::OpenQuote,
            }
        }
        let rest = data.get(at..).unwrap_or(&[]);
        let stop = rest.iter().position(|&byte| byte == delimiter || byte == b'\n' || byte == b'\r');
        let end = at + stop.unwrap_or(rest.len());
        odd |= quoted && end > at;
        cells.push(Cell { start, end, quoted, odd });
        match data.get(end) {
            Some(&byte) if byte == delimiter => at = end + 1,
            Some(b'\n') => return Scan::Row { content: end, length: end + 1 },
            Some(_) => match data.get(end + 1) {
                Some(b'\n') => return Scan::Row { content: end, length: end + 2 },
                None if !ended => return Scan::More,
                _ => return Scan::Row { content: end, length: end + 1 },
            },
            None if ended => return Scan::Row { content: end, length: end },
            None => return Scan::More,
        }
    }
}

enum Quote {
    Closed { after: usize, doubled: bool },
    More,
    Open,
}

/// Finds the quote that closes a cell; `at` is just behind the opening one.
fn closing_quote(data: &[u8], mut at: usize, ended: bool) -> Quote {
    let mut doubled = false;
    loop {
        let rest = data.get(at..).unwrap_or(&[]);
        let Some(found) = rest.iter().position(|&byte| byte == b'"') else {
            return if ended { Quote::Open } else { Quote::More };
        };
        match rest.get(found + 1) {
            Some(b'"') => {
                doubled = true;
                at += found + 2;
            }
            None if !ended => return Quote::More,
            _ => return Quote::Closed { after: at + found + 1, doubled },
        }
    }
}

/// Appends a value as a cell, quoted only where it must be.
pub(super) fn push_cell(value: &Value, delimiter: u8, out: &mut Vec<u8>) {
    match value {
        Value::Unknown | Value::Absent | Value::Null => {}
        Value::Text(text) if text.is_empty() => out.extend_from_slice(b"\"\""),
        Value::Text(text) => push_text(text, delimiter, out),
        Value::Int(int) => push_int(*int, out),
        Value::Bool(_) | Value::Number(_) | Value::Bytes(_) | Value::Json(_) => {
            push_text(&value.to_plain().unwrap_or_default(), delimiter, out);
        }
    }
}

/// Appends text as a cell.
pub(super) fn push_text(text: &str, delimiter: u8, out: &mut Vec<u8>) {
    let bytes = text.as_bytes();
    if !bytes.iter().any(|&byte| byte == delimiter || matches!(byte, b'"' | b'\n' | b'\r')) {
        out.extend_from_slice(bytes);
        return;
    }
    out.push(b'"');
    for part in bytes.split_inclusive(|&byte| byte == b'"') {
        out.extend_from_slice(part);
        if part.ends_with(b"\"") {
            out.push(b'"');
        }
    }
    out.push(b'"');
}

/// Appends an integer's digits.
pub(super) fn push_int(int: i64, out: &mut Vec<u8>) {
    let mut digits = [0u8; 20];
    let mut rest = int.unsigned_abs();
    let mut used = 0;
    for place in digits.iter_mut().rev() {
        *place = b'0' + (rest % 10) as u8;
        rest /= 10;
        used += 1;
        if rest == 0 {
            break;
        }
    }
    if int < 0 {
        out.push(b'-');
    }
    out.extend_from_slice(digits.get(digits.len() - used..).unwrap_or(&[]));
}

/// Returns what a value becomes once it is written and read again.
pub(super) fn canonical(value: &Value) -> Value {
    match value {
        Value::Text(_) => value.clone(),
        _ => value.to_plain().map_or(Value::Null, Value::Text),
    }
}

/// Tells whether writing the value would leave the cell as it is.
pub(super) fn same(cell: &Value, value: &Value) -> bool {
    match (cell, value) {
        (Value::Text(cell), Value::Text(text)) => cell == text,
        (cell, value) => cell.to_plain() == value.to_plain(),
    }
}

/// Appends a row of one empty cell in a form that is not taken for an empty line.
pub(super) fn push_blank_row(out: &mut Vec<u8>) {
    out.extend_from_slice(b"\"\"");
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hands out one byte at a time: every place in a file is a place where a read may end.
    struct Drip<'b>(&'b [u8]);

    impl Read for Drip<'_> {
        fn read(&mut self, room: &mut [u8]) -> std::io::Result<usize> {
            let count = self.0.len().min(room.len()).min(1);
            room[..count].copy_from_slice(&self.0[..count]);
            self.0 = &self.0[count..];
            Ok(count)
        }
    }

    fn ours(text: &str) -> (Vec<Vec<String>>, String) {
        let (mut found, mut raw) = (Vec::new(), String::new());
        let mut rows = Rows::new(Drip(text.as_bytes()), b',').expect("bytes");
        while rows.advance().expect("a row") {
            raw.push_str(std::str::from_utf8(rows.raw()).expect("text"));
            let row = rows.text().expect("text");
            let cells = (0..rows.width()).map(|at| row.value(at).to_plain().unwrap_or_default().to_string());
            found.push(cells.collect());
        }
        found.retain(|row: &Vec<String>| !row.is_empty());
        (found, raw)
    }

    fn theirs(text: &str) -> Vec<Vec<String>> {
        let mut reader =
            csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(text.as_bytes());
        reader.records().map(|row| row.expect("a row").iter().map(str::to_owned).collect()).collect()
    }

    #[test]
    fn rows_are_those_of_the_csv_crate_and_keep_their_bytes() {
        // (text, why)
        let cases = [
            ("a,b\n1,2\n", "plain"),
            ("a,b\r\n1,2\r\n", "CRLF"),
            ("a,b\r1,2\r", "CR alone, from old Macs"),
            ("a,b\n1,2", "no line end at the end"),
            ("a,b\n\n\r\n1,2\n\n", "empty lines"),
            ("a\n\"x\ny\"\n", "a line end inside quotes"),
            ("a\n\"x\r\ny\",2\n", "CRLF inside quotes"),
            ("a\n\"say \"\"hi\"\"\"\n", "doubled quotes"),
            ("a\n\"\"\"\"\n", "a quote alone"),
            ("a,b\n\"\",\n", "quoted and bare empty cells"),
            ("a\n\"x\" y,2\n", "text behind a closing quote"),
            ("a\nx\"y\",2\n", "quotes inside a bare cell are text"),
            ("a,b\n,\n,,\n", "empty cells, and one too many"),
            ("ä,日本\n🦀,é\n", "letters of several bytes"),
        ];
        for (text, why) in cases {
            let (found, raw) = ours(text);
            assert_eq!(found, theirs(text), "{why}");
            assert_eq!(raw, text, "{why}: every byte belongs to a row");
        }
    }

    #[test]
    fn a_quote_left_open_is_no_row() {
        let mut rows = Rows::new(&b"a,b\n1,\"x\n"[..], b',').expect("bytes");
        assert!(rows.advance().expect("the header"));
        assert!(matches!(rows.advance(), Err(Broken::Torn(_))));
    }

    #[test]
    fn cells_are_read_as_they_were_written() {
        let texts = ["", "x", "a,b", "say \"hi\"", "line\nend", "cr\r", "=1+1", "-", " x ", "\"", "ä;"];
        for text in texts {
            let mut out = Vec::new();
            push_cell(&Value::text(text), b',', &mut out);
            out.extend_from_slice(b",2\n");
            let (found, _) = ours(std::str::from_utf8(&out).expect("text"));
            assert_eq!(found, [[text, "2"]], "{text:?}");
        }
    }

    #[test]
    fn integers_have_all_their_digits() {
        for int in [0, 7, -1, 10, i64::MAX, i64::MIN, 9_007_199_254_740_993] {
            let mut out = Vec::new();
            push_int(int, &mut out);
            assert_eq!(out, int.to_string().into_bytes());
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_split_like_the_csv_crate_does(text in "[ab,\"\r\n]{0,30}") {
            let Ok(mut rows) = Rows::new(text.as_bytes(), b',') else { return Ok(()) };
            let (mut found, mut torn) = (Vec::new(), false);
            loop {
                match rows.advance() {
                    Ok(false) => break,
                    Err(_) => { torn = true; break }
                    Ok(true) if rows.width() == 0 => {}
                    Ok(true) => {
                        let row = rows.text().expect("text");
                        let cell = |at| row.value(at).to_plain().unwrap_or_default().to_string();
                        found.push((0..rows.width()).map(cell).collect::<Vec<_>>());
                    }
                }
            }
            if !torn {
                proptest::prop_assert_eq!(found, theirs(&text));
            }
        }
    }
}
