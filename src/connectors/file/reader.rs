//! Records out of any of the three formats.

use std::io::Read;
use std::sync::Arc;

use crate::engine::record::{Key, Malformed, Schema, Value};

use super::broken::Broken;
use super::csv::Rows;
use super::json::Elements;
use super::jsonl::Lines;
use super::object::{Decoder, salvage_key};
use super::settings::Format;

/// What is shown of something that is no record, in bytes.
const RAW_BYTES_MAX: usize = 64 << 10;

/// What stands where a record should.
pub(super) enum Item {
    Record { schema: Arc<Schema>, values: Vec<Value> },
    Malformed(Malformed),
}

/// The names of a CSV file's columns.
pub(super) struct Header {
    /// A column without a name is kept in the file and shown to nobody.
    pub(super) names: Vec<String>,
}

impl Header {
    /// Reads the first row that is not empty; hands empty ones before it to `skip`.
    pub(super) fn read<R: Read>(rows: &mut Rows<R>, mut skip: impl FnMut(&[u8])) -> Result<Self, Broken> {
        loop {
            if !rows.advance()? {
                return Err(Broken::Torn("before its header"));
            }
            if rows.width() > 0 {
                break;
            }
            skip(rows.raw());
        }
        let row = rows.text().map_err(|_| Broken::Header("it is not UTF-8".to_owned()))?;
        let names: Vec<String> =
            (0..rows.width()).map(|at| row.value(at).as_text().unwrap_or_default().to_owned()).collect();
        for (at, name) in names.iter().enumerate() {
            if !name.is_empty() && names.iter().take(at).any(|other| other == name) {
                return Err(Broken::Header(format!("column {} has the name of another one", at + 1)));
            }
        }
        Ok(Self { names })
    }

    /// Returns the columns of these names; all must be there. Names in a message are the
    /// configuration's: a header that was lost has a record in its place.
    pub(super) fn find(&self, wanted: &[String]) -> Result<Vec<usize>, Broken> {
        wanted.iter().map(|name| self.position(name).ok_or_else(|| missing_column(name))).collect()
    }

    /// Returns the column of a name.
    pub(super) fn position(&self, name: &str) -> Option<usize> {
        self.names.iter().position(|column| column == name && !name.is_empty())
    }
}

fn missing_column(name: &str) -> Broken {
    Broken::Header(format!("there is no column {name}, which is the key's"))
}

/// The records of a file, one at a time.
pub(super) struct Reader<R> {
    items: Items<R>,
    key: Vec<String>,
    /// Records met so far, good and bad, for messages.
    count: u64,
}

enum Items<R> {
    Csv { rows: Rows<R>, schema: Arc<Schema>, columns: Vec<usize>, key: Vec<usize>, width: usize, bad: u64 },
    Json { elements: Elements<R>, decoder: Decoder },
    Jsonl { lines: Lines<R>, decoder: Decoder },
}

impl<R: Read> Reader<R> {
    /// Starts at the front. `fields`: only these and the key's are read; `None` for all.
    pub(super) fn open(
        reader: R,
        format: Format,
        delimiter: u8,
        key: &[String],
        fields: Option<&[String]>,
    ) -> Result<Self, Broken> {
        let wanted: Option<Vec<String>> = fields.map(|fields| {
            let more = key.iter().filter(|name| !fields.contains(name));
            fields.iter().chain(more).cloned().collect()
        });
        let items = match format {
            Format::Csv => Self::open_csv(reader, delimiter, key, wanted.as_deref())?,
            Format::Json => {
                Items::Json { elements: Elements::new(reader)?, decoder: Decoder::new(wanted.as_deref()) }
            }
            Format::Jsonl => {
                Items::Jsonl { lines: Lines::new(reader)?, decoder: Decoder::new(wanted.as_deref()) }
            }
        };
        Ok(Self { items, key: key.to_vec(), count: 0 })
    }

    fn open_csv(
        reader: R,
        delimiter: u8,
        key: &[String],
        wanted: Option<&[String]>,
    ) -> Result<Items<R>, Broken> {
        let mut rows = Rows::new(reader, delimiter)?;
        let header = Header::read(&mut rows, |_| {})?;
        let columns: Vec<usize> = (0..header.names.len())
            .filter(|&at| {
                header
                    .names
                    .get(at)
                    .is_some_and(|name| !name.is_empty() && wanted.is_none_or(|wanted| wanted.contains(name)))
            })
            .collect();
        let schema = Schema::new(columns.iter().filter_map(|&at| header.names.get(at)));
        Ok(Items::Csv { rows, schema, columns, key: header.find(key)?, width: header.names.len(), bad: 0 })
    }

    /// Returns the fields that are known so far.
    pub(super) fn schema(&self) -> &Arc<Schema> {
        match &self.items {
            Items::Csv { schema, .. } => schema,
            Items::Json { decoder, .. } | Items::Jsonl { decoder, .. } => decoder.schema(),
        }
    }

    /// Reads the next record; `None` once the end was reached and proven.
    pub(super) fn next(&mut self) -> Result<Option<Item>, Broken> {
        let item = match &mut self.items {
            Items::Csv { rows, schema, columns, key, width, bad } => {
                next_row(rows, schema, columns, key, *width, bad, self.count)?
            }
            Items::Json { elements, decoder } => {
                if elements.advance()? {
                    Some(decode(decoder, elements.element(), &self.key, "element", self.count))
                } else {
                    None
                }
            }
            Items::Jsonl { lines, decoder } => loop {
                if !lines.advance()? {
                    break None;
                }
                if !lines.is_blank() {
                    let item = decode(decoder, lines.content(), &self.key, "record", self.count);
                    if lines.is_open() && matches!(item, Item::Malformed(_)) {
                        return Err(Broken::Torn("inside a record"));
                    }
                    break Some(item);
                }
            },
        };
        self.count += u64::from(item.is_some());
        Ok(item)
    }

    /// Checks that the header still belongs to the rows: where none of several has its width, it
    /// was lost or exchanged.
    pub(super) fn check_header(&self) -> Result<(), Broken> {
        match &self.items {
            Items::Csv { bad, .. } if *bad > 1 && *bad == self.count => {
                Err(Broken::Header("no row has as many cells as it".to_owned()))
            }
            _ => Ok(()),
        }
    }
}

fn next_row<R: Read>(
    rows: &mut Rows<R>,
    schema: &Arc<Schema>,
    columns: &[usize],
    key: &[usize],
    width: usize,
    bad: &mut u64,
    count: u64,
) -> Result<Option<Item>, Broken> {
    loop {
        if !rows.advance()? {
            return Ok(None);
        }
        if rows.width() > 0 {
            break;
        }
    }
    if rows.width() != width {
        // Without a line end, a short row is one that is still being written.
        if rows.line_end().is_empty() && rows.width() < width {
            return Err(Broken::Torn("inside a row"));
        }
        *bad += 1;
    }
    let name = |cell: usize| columns.iter().position(|&column| column == cell).and_then(|at| schema.name(at));
    Ok(Some(match readable_row(rows, width, name) {
        Ok(()) => {
            let row = rows.text().map_err(|_| Broken::Changed)?;
            let values = columns.iter().map(|&at| row.value(at)).collect();
            Item::Record { schema: Arc::clone(schema), values }
        }
        Err(reason) => Item::Malformed(Malformed {
            key: salvage_row_key(rows, key, width),
            raw: shorten(rows.content()),
            reason: format!("row {}: {reason}", count + 1),
        }),
    }))
}

/// Tells why a row is no record. `name` gives the columns' names as far as they are known.
pub(super) fn readable_row<'n, R: Read>(
    rows: &Rows<R>,
    width: usize,
    name: impl Fn(usize) -> Option<&'n str>,
) -> Result<(), String> {
    if rows.width() != width {
        return Err(format!("it has {} cells where the header has {width}", rows.width()));
    }
    match rows.text() {
        Ok(_) => Ok(()),
        Err(at) => {
            let cell = rows.cell_at(at);
            let column = name(cell).map_or_else(|| format!("{}", cell + 1), str::to_owned);
            Err(format!("the column {column} holds text that is not UTF-8 (byte {at} of the row)"))
        }
    }
}

/// Reads the key of a row that is no record. With a wrong number of cells only the leading ones
/// are where they belong.
pub(super) fn salvage_row_key<R: Read>(rows: &Rows<R>, key: &[usize], width: usize) -> Option<Key> {
    if rows.width() != width && key.iter().any(|&at| at >= key.len() || at >= rows.width()) {
        return None;
    }
    let values: Vec<Value> = key
        .iter()
        .map(|&at| {
            let cell = std::str::from_utf8(rows.raw_cell(at)).ok()?;
            let bare = cell.strip_prefix('"').and_then(|cell| cell.strip_suffix('"')).unwrap_or(cell);
            // A key with quotes inside is not worth the guess.
            (!bare.is_empty() && !bare.contains('"')).then(|| Value::text(bare))
        })
        .collect::<Option<_>>()?;
    Key::from_values(&values).ok()
}

fn decode(decoder: &mut Decoder, bytes: &[u8], key: &[String], noun: &str, count: u64) -> Item {
    match decoder.decode(bytes) {
        Ok(values) => Item::Record { schema: Arc::clone(decoder.schema()), values },
        Err(reason) => Item::Malformed(Malformed {
            key: salvage_key(bytes, key),
            raw: shorten(bytes),
            reason: format!("{noun} {}: {reason}", count + 1),
        }),
    }
}

fn shorten(bytes: &[u8]) -> String {
    // Replacement characters are three bytes where one was: leave room.
    let mut raw = String::from_utf8_lossy(bytes.get(..RAW_BYTES_MAX).unwrap_or(bytes)).into_owned();
    raw.truncate(raw.floor_char_boundary(RAW_BYTES_MAX));
    raw
}
