//! New records at the end of a file, for single writes and for bulk loads alike: straight into a
//! buffer, nothing allocated for a record.

use std::sync::Arc;

use crate::connectors::Outcome;
use crate::engine::record::{Meta, Record, Schema, Value};

use super::csv;
use super::edits::delivered;
use super::replace::Sink;
use super::style::{self, Style};

/// Writes records behind the last one, in the way of the file.
pub(super) enum Appender {
    Csv(CsvAppender),
    Json(JsonAppender),
    Jsonl(JsonlAppender),
}

impl Appender {
    /// Appends one record.
    pub(super) fn push(&mut self, values: &[Value], out: &mut impl Sink) {
        match self {
            Self::Csv(csv) => csv.push(values, out.buffer()),
            Self::Json(json) => json.push(values, out.buffer()),
            Self::Jsonl(jsonl) => jsonl.push(values, out.buffer()),
        }
    }

    /// Ends a last line that has no end, so that whole lines can follow.
    pub(super) fn end_line(&mut self, out: &mut impl Sink) {
        let (open, line_end) = match self {
            Self::Csv(csv) => (&mut csv.open, &csv.line_end),
            Self::Jsonl(jsonl) => (&mut jsonl.open, &jsonl.line_end),
            Self::Json(_) => return,
        };
        if std::mem::take(open) {
            out.buffer().extend_from_slice(line_end);
        }
    }

    /// Appends what has to stand at the end of the file.
    pub(super) fn close(&mut self, out: &mut impl Sink) {
        match self {
            // Rows end with their line end; a file that had none on its last row keeps it so.
            Self::Csv(_) => {}
            Self::Json(json) => json.close(out.buffer()),
            Self::Jsonl(jsonl) => {
                if !jsonl.any {
                    // No byte at all would look like a file that is about to be written.
                    out.buffer().extend_from_slice(&jsonl.line_end);
                }
            }
        }
    }

    /// Tells whether also records look otherwise now that nobody speaks of.
    pub(super) fn is_wider(&self) -> bool {
        matches!(self, Self::Csv(csv) if csv.is_wider)
    }

    /// Answers for an appended record: what is stored, where that is not what was given.
    pub(super) fn outcome(&self, shape: &Arc<Schema>, values: &[Value]) -> Outcome {
        let stored = match self {
            Self::Csv(csv) => csv.stored(values),
            Self::Json(_) | Self::Jsonl(_) => values
                .iter()
                .any(|value| matches!(value, Value::Bytes(_) | Value::Unknown))
                .then(|| values.iter().map(style::canonical).collect()),
        };
        delivered(stored.map(|values| Record {
            schema: Arc::clone(shape),
            values: values.into(),
            meta: Meta::default(),
        }))
    }
}

/// The end of a CSV file.
pub(super) struct CsvAppender {
    /// For each column the position in the shape, where the rules know it.
    columns: Vec<Option<usize>>,
    /// For each position in the shape, whether it has a column.
    held: Vec<bool>,
    delimiter: u8,
    line_end: Vec<u8>,
    /// What was written last has no line end yet.
    open: bool,
    /// Rows that were there before have got columns.
    pub(super) is_wider: bool,
}

impl CsvAppender {
    pub(super) fn new(columns: Vec<Option<usize>>, delimiter: u8, line_end: Vec<u8>, open: bool) -> Self {
        let mut held = vec![false; columns.iter().flatten().max().map_or(0, |last| last + 1)];
        for &position in columns.iter().flatten() {
            held.iter_mut().skip(position).take(1).for_each(|held| *held = true);
        }
        Self { columns, held, delimiter, line_end, open, is_wider: false }
    }

    /// Writes the header of a new file: all fields that the rules know.
    pub(super) fn new_file(shape: &Schema, delimiter: u8, out: &mut impl Sink) -> Self {
        let buffer = out.buffer();
        for (at, name) in shape.names().enumerate() {
            if at > 0 {
                buffer.push(delimiter);
            }
            csv::push_text(name, delimiter, buffer);
        }
        buffer.push(b'\n');
        Self::new((0..shape.len()).map(Some).collect(), delimiter, b"\n".to_vec(), false)
    }

    fn push(&mut self, values: &[Value], out: &mut Vec<u8>) {
        if self.open {
            out.extend_from_slice(&self.line_end);
            self.open = false;
        }
        let start = out.len();
        let mut first = true;
        for position in &self.columns {
            if !first {
                out.push(self.delimiter);
            }
            first = false;
            if let Some(value) = position.and_then(|position| values.get(position)) {
                csv::push_cell(value, self.delimiter, out);
            }
        }
        if out.len() == start {
            csv::push_blank_row(out);
        }
        out.extend_from_slice(&self.line_end);
    }

    fn stored(&self, values: &[Value]) -> Option<Vec<Value>> {
        let held = |at: usize| self.held.get(at).copied().unwrap_or(false);
        let exact = values.iter().enumerate().all(|(at, value)| match value {
            Value::Text(_) | Value::Null => held(at),
            Value::Absent => !held(at),
            _ => false,
        });
        let stored = |(at, value)| if held(at) { csv::canonical(value) } else { Value::Absent };
        (!exact).then(|| values.iter().enumerate().map(stored).collect())
    }
}

/// The end of a JSON list.
pub(super) struct JsonAppender {
    names: Vec<Vec<u8>>,
    style: Style,
    lead: Vec<u8>,
    tail: Vec<u8>,
    foot: Vec<u8>,
    any: bool,
}

impl JsonAppender {
    /// `lead`: the white space before the last element, where there was one.
    pub(super) fn new(
        names: Vec<Vec<u8>>,
        style: Style,
        lead: Option<Vec<u8>>,
        tail: Vec<u8>,
        foot: Vec<u8>,
        any: bool,
    ) -> Self {
        let tail = if lead.is_none() && tail.is_empty() { b"\n".to_vec() } else { tail };
        let lead = lead.unwrap_or_else(|| b"\n  ".to_vec());
        Self { names, style, lead, tail, foot, any }
    }

    /// Writes the opening bracket of a new file.
    pub(super) fn new_file(shape: &Schema, out: &mut impl Sink) -> Self {
        out.buffer().push(b'[');
        let foot = b"\n".to_vec();
        Self::new(style::quoted_names(shape), Style::default(), None, Vec::new(), foot, false)
    }

    fn push(&mut self, values: &[Value], out: &mut Vec<u8>) {
        if self.any {
            out.push(b',');
        }
        self.any = true;
        out.extend_from_slice(&self.lead);
        style::push_object(&self.names, values, &self.style, out);
    }

    fn close(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.tail);
        out.push(b']');
        out.extend_from_slice(&self.foot);
    }
}

/// The end of a JSON Lines file.
pub(super) struct JsonlAppender {
    names: Vec<Vec<u8>>,
    style: Style,
    line_end: Vec<u8>,
    open: bool,
    any: bool,
}

impl JsonlAppender {
    pub(super) fn new(shape: &Schema, style: Style, line_end: &[u8], any: bool) -> Self {
        Self::resume(style::quoted_names(shape), style, line_end.to_vec(), false, any)
    }

    pub(super) fn resume(
        names: Vec<Vec<u8>>,
        style: Style,
        line_end: Vec<u8>,
        open: bool,
        any: bool,
    ) -> Self {
        Self { names, style, line_end, open, any }
    }

    fn push(&mut self, values: &[Value], out: &mut Vec<u8>) {
        if self.open {
            out.extend_from_slice(&self.line_end);
            self.open = false;
        }
        self.any = true;
        style::push_object(&self.names, values, &self.style, out);
        out.extend_from_slice(&self.line_end);
    }
}
