//! The old content streamed into the new: what a batch does not touch is copied byte for byte.

use std::io::Read;
use std::sync::Arc;

use crate::engine::record::{Key, Meta, Record, Schema, Value};

use super::append::{Appender, CsvAppender, JsonAppender, JsonlAppender};
use super::broken::Broken;
use super::csv::{self, Rows};
use super::edits::{Edits, Verdict};
use super::json::Elements;
use super::jsonl::Lines;
use super::object::{self, Decoder};
use super::reader::{Header, readable_row, salvage_row_key};
use super::replace::Sink;
use super::settings::Format;
use super::style::{self, Style};

const MEND: &str = "mend the record in the file";

/// Streams the old content through the edits and leaves the sink where new records go. `added`
/// says which fields of the shape get a column where CSV lacks one.
pub(super) fn rewrite<R: Read>(
    input: Option<R>,
    (format, delimiter): (Format, u8),
    key: &[String],
    added: &[bool],
    edits: &mut Edits<'_>,
    out: &mut impl Sink,
) -> Result<Appender, Broken> {
    let shape = Arc::clone(edits.shape());
    Ok(match (format, input) {
        (Format::Csv, None) => Appender::Csv(CsvAppender::new_file(&shape, delimiter, out)),
        (Format::Csv, Some(input)) => Appender::Csv(rewrite_csv(input, delimiter, key, added, edits, out)?),
        (Format::Json, None) => Appender::Json(JsonAppender::new_file(&shape, out)),
        (Format::Json, Some(input)) => Appender::Json(rewrite_json(input, key, edits, out)?),
        (Format::Jsonl, None) => Appender::Jsonl(JsonlAppender::new(&shape, Style::default(), b"\n", false)),
        (Format::Jsonl, Some(input)) => Appender::Jsonl(rewrite_jsonl(input, key, edits, out)?),
    })
}

fn rewrite_csv<R: Read>(
    input: R,
    delimiter: u8,
    key: &[String],
    added: &[bool],
    edits: &mut Edits<'_>,
    out: &mut impl Sink,
) -> Result<CsvAppender, Broken> {
    let shape = Arc::clone(edits.shape());
    let mut rows = Rows::new(input, delimiter)?;
    out.buffer().extend_from_slice(rows.mark);
    let header = Header::read(&mut rows, |blank| out.buffer().extend_from_slice(blank))?;
    let (width, key_columns) = (header.names.len(), header.find(key)?);
    let new: Vec<usize> = added
        .iter()
        .enumerate()
        .filter(|&(at, wanted)| *wanted && shape.name(at).is_some_and(|name| header.position(name).is_none()))
        .map(|(at, _)| at)
        .collect();
    out.buffer().extend_from_slice(rows.content());
    for name in new.iter().filter_map(|&at| shape.name(at)) {
        out.buffer().push(delimiter);
        csv::push_text(name, delimiter, out.buffer());
    }
    out.buffer().extend_from_slice(rows.line_end());
    let line_end = if rows.line_end().is_empty() { b"\n".to_vec() } else { rows.line_end().to_vec() };
    let mut open = rows.line_end().is_empty();
    let columns = header.names.iter().map(|name| shape.position(name).filter(|_| !name.is_empty()));
    let columns: Vec<Option<usize>> = columns.chain(new.iter().copied().map(Some)).collect();
    let padding = vec![delimiter; new.len()];
    let schema = Schema::new(header.names.iter().filter(|name| !name.is_empty()));

    while rows.advance()? {
        let verdict = match row_verdict(&rows, &header, &schema, &key_columns, edits)? {
            _ if rows.width() == 0 => Verdict::Keep,
            Verdict::Remove => continue,
            verdict => verdict,
        };
        let buffer = out.buffer();
        match verdict {
            Verdict::Change(values) => push_changed_row(&rows, &columns, values, delimiter, buffer),
            _ if rows.width() == 0 => buffer.extend_from_slice(rows.content()),
            _ => {
                buffer.extend_from_slice(rows.content());
                buffer.extend_from_slice(&padding);
            }
        }
        buffer.extend_from_slice(rows.line_end());
        open = rows.line_end().is_empty();
        if open && rows.width() < width {
            return Err(Broken::Torn("inside a row"));
        }
        out.spill()?;
    }
    let mut appender = CsvAppender::new(columns, delimiter, line_end, open);
    appender.is_wider = !new.is_empty();
    Ok(appender)
}

/// Asks the edits about one row.
fn row_verdict<'b, R: Read>(
    rows: &Rows<R>,
    header: &Header,
    schema: &Arc<Schema>,
    key: &[usize],
    edits: &mut Edits<'b>,
) -> Result<Verdict<'b>, Broken> {
    if edits.is_empty() || rows.width() == 0 {
        return Ok(Verdict::Keep);
    }
    let width = header.names.len();
    if let Err(reason) = readable_row(rows, width, |at| header.names.get(at).map(String::as_str)) {
        if let Some(at) = salvage_row_key(rows, key, width).and_then(|key| edits.find(&key)) {
            edits.refuse(at, &reason, MEND);
        }
        return Ok(Verdict::Keep);
    }
    let row = rows.text().map_err(|_| Broken::Changed)?;
    let values: Vec<Value> = key.iter().map(|&at| row.value(at)).collect();
    let Some(at) = Key::from_values(&values).ok().and_then(|key| edits.find(&key)) else {
        return Ok(Verdict::Keep);
    };
    let named = header.names.iter().enumerate().filter(|(_, name)| !name.is_empty());
    let values = named.map(|(at, _)| row.value(at)).collect();
    Ok(edits.meet(at, &Record { schema: Arc::clone(schema), values, meta: Meta::default() }))
}

/// Writes a row with some cells exchanged; the others keep their bytes.
fn push_changed_row<R: Read>(
    rows: &Rows<R>,
    columns: &[Option<usize>],
    values: &[Value],
    delimiter: u8,
    out: &mut Vec<u8>,
) {
    let start = out.len();
    let row = rows.text().ok();
    for (at, position) in columns.iter().enumerate() {
        if at > 0 {
            out.push(delimiter);
        }
        let value = position.and_then(|position| values.get(position)).filter(|value| !value.is_missing());
        let now = row.map_or(Value::Absent, |row| row.value(at));
        match value {
            Some(value) if !csv::same(&now, value) => csv::push_cell(value, delimiter, out),
            _ => out.extend_from_slice(rows.raw_cell(at)),
        }
    }
    if out.len() == start {
        csv::push_blank_row(out);
    }
}

/// Asks the edits about one object.
fn object_verdict<'b>(
    text: &[u8],
    decoders: &mut Decoders,
    key: &[String],
    edits: &mut Edits<'b>,
) -> Verdict<'b> {
    if edits.is_empty() {
        return Verdict::Keep;
    }
    let reason = match decoders.key.decode(text) {
        Ok(values) => {
            let Some(at) = Key::from_values(&values).ok().and_then(|key| edits.find(&key)) else {
                return Verdict::Keep;
            };
            match decoders.all.decode(text) {
                Ok(values) => {
                    let schema = Arc::clone(decoders.all.schema());
                    return edits.meet(at, &Record { schema, values: values.into(), meta: Meta::default() });
                }
                Err(reason) => reason,
            }
        }
        Err(reason) => reason,
    };
    if let Some(at) = object::salvage_key(text, key).and_then(|key| edits.find(&key)) {
        edits.refuse(at, &reason, MEND);
    }
    Verdict::Keep
}

/// One decoder for the key alone, which every record passes, and one for the few that are met.
struct Decoders {
    key: Decoder,
    all: Decoder,
}

impl Decoders {
    fn new(key: &[String]) -> Self {
        Self { key: Decoder::new(Some(key)), all: Decoder::new(None) }
    }
}

fn rewrite_json<R: Read>(
    input: R,
    key: &[String],
    edits: &mut Edits<'_>,
    out: &mut impl Sink,
) -> Result<JsonAppender, Broken> {
    let shape = Arc::clone(edits.shape());
    let names = style::quoted_names(&shape);
    let mut elements = Elements::new(input)?;
    out.buffer().extend_from_slice(&elements.head);
    let (mut decoders, mut style, mut lead, mut any) = (Decoders::new(key), None, None::<Vec<u8>>, false);
    let mut members = Vec::new();
    while elements.advance()? {
        let text = elements.element();
        if style.is_none() && object::members(text, &mut members).is_ok() {
            style = Style::of(text, &members);
        }
        if lead.as_deref() != Some(elements.lead()) {
            lead = Some(elements.lead().to_vec());
        }
        let verdict = object_verdict(text, &mut decoders, key, edits);
        if matches!(verdict, Verdict::Remove) {
            continue;
        }
        let buffer = out.buffer();
        if any {
            buffer.push(b',');
        }
        any = true;
        buffer.extend_from_slice(elements.lead());
        match verdict {
            Verdict::Change(values) => {
                style::push_changed(text, &decoders.all.members, &names, &shape, values, buffer);
            }
            _ => buffer.extend_from_slice(text),
        }
        buffer.extend_from_slice(elements.trail());
        out.spill()?;
    }
    Ok(JsonAppender::new(names, style.unwrap_or_default(), lead, elements.tail, elements.foot, any))
}

fn rewrite_jsonl<R: Read>(
    input: R,
    key: &[String],
    edits: &mut Edits<'_>,
    out: &mut impl Sink,
) -> Result<JsonlAppender, Broken> {
    let shape = Arc::clone(edits.shape());
    let names = style::quoted_names(&shape);
    let mut lines = Lines::new(input)?;
    out.buffer().extend_from_slice(lines.mark);
    let (mut decoders, mut style, mut line_end) = (Decoders::new(key), None, None);
    let (mut open, mut any) = (false, false);
    let mut members = Vec::new();
    while lines.advance()? {
        if line_end.is_none() && !lines.is_open() {
            line_end = Some(lines.line_end().to_vec());
        }
        let verdict = if lines.is_blank() {
            Verdict::Keep
        } else {
            if style.is_none() && object::members(lines.content(), &mut members).is_ok() {
                style = Style::of(lines.content(), &members);
            }
            if lines.is_open() && object::members(lines.content(), &mut members).is_err() {
                return Err(Broken::Torn("inside a record"));
            }
            object_verdict(lines.content(), &mut decoders, key, edits)
        };
        match verdict {
            Verdict::Remove => continue,
            Verdict::Change(values) => {
                let (text, members) = (lines.content(), &decoders.all.members);
                style::push_changed(text, members, &names, &shape, values, out.buffer());
                out.buffer().extend_from_slice(lines.line_end());
            }
            Verdict::Keep => out.buffer().extend_from_slice(lines.raw()),
        }
        (open, any) = (lines.is_open(), true);
        out.spill()?;
    }
    let line_end = line_end.unwrap_or_else(|| b"\n".to_vec());
    Ok(JsonlAppender::resume(names, style.unwrap_or_default(), line_end, open, any))
}
