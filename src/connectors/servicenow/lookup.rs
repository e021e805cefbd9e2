//! Finding records by key or by id, many with one request.

use std::collections::BTreeMap;

use super::table::{Ask, TableView};
use super::wire::{self, Decoder, Encoded};
use crate::connectors::Call;
use crate::connectors::rest::chunks_by;
use crate::engine::fault::{Fault, FaultCode};
use crate::engine::record::{Key, Record, RemoteId, Value};

/// Values in one query, and their bytes, so that its URL stays below what proxies take (8 KiB).
const VALUES_MAX: usize = 200;
const VALUE_BYTES_MAX: usize = 4_000;

/// Pages of one look-up; many more records than were asked for mean that the query does not filter.
const PAGES_MAX: usize = 20;
const PAGE: usize = 1_000;

/// The records that a look-up found, by key; several where the key is not unique there.
pub type Found = BTreeMap<Key, Vec<Record>>;

/// The texts of the key fields, by which records are found.
pub type Texts = Vec<String>;

/// Bytes that a value takes in a URL.
fn bytes_in_url(text: &str) -> usize {
    text.bytes().map(|byte| if byte.is_ascii_alphanumeric() { 1 } else { 3 }).sum::<usize>() + 3
}

impl TableView {
    /// Reads the records that one query shows, page by page.
    async fn filtered(
        &self,
        query: &Encoded,
        fields: Option<&[String]>,
        call: &Call,
    ) -> Result<Vec<Record>, Fault> {
        let operation = format!("look {} up", self.table);
        let mut decoder = Decoder::new(&self.key, fields.into_iter().flatten().map(String::as_str));
        let mut records: Vec<Record> = Vec::new();
        let mut last = String::new();
        for _ in 0..PAGES_MAX {
            let from = if last.is_empty() { query.clone() } else { query.clone().after("sys_id", &last) };
            let query = from.ordered_by(&["sys_id"]);
            let ask = Ask { operation: &operation, query: &query, limit: PAGE, counted: true };
            let fetched = self.page(&mut decoder, fields, ask, call).await?;
            for row in fetched.rows {
                match row {
                    Ok(row) => {
                        last = row.id;
                        records.push(row.record);
                    }
                    Err(malformed) => {
                        let what = format!("{operation}: {}", malformed.reason);
                        return Err(Fault::transient(FaultCode::Protocol, what));
                    }
                }
            }
            if fetched.done {
                return Ok(records);
            }
        }
        Err(self.filters_nothing())
    }

    fn filters_nothing(&self) -> Fault {
        Fault::fatal(
            FaultCode::Configuration,
            format!("{} shows other records than those asked for by the key", self.table),
            "write a key field that the table has, for instance key = \"correlation_id\"",
        )
    }

    /// Finds records by key. `texts` are the key fields' texts of each record that is looked for; what can't
    /// be asked for is not found.
    pub async fn find(
        &self,
        texts: &[Texts],
        fields: Option<&[String]>,
        call: &Call,
    ) -> Result<Found, Fault> {
        let mut found = Found::new();
        let bytes_of = |texts: &Texts| texts.iter().map(|text| bytes_in_url(text)).sum();
        for chunk in chunks_by(texts, VALUES_MAX, VALUE_BYTES_MAX, bytes_of) {
            let mut asked: Vec<Vec<&str>> = Vec::with_capacity(self.key.len());
            let mut query = Some(Encoded::new());
            for (at, name) in self.key.iter().enumerate() {
                let mut values: Vec<&str> =
                    chunk.iter().filter_map(|texts| Some(texts.get(at)?.as_str())).collect();
                values.sort_unstable();
                values.dedup();
                if name == "sys_id" {
                    values.retain(|value| wire::is_sys_id(value));
                }
                query = query.and_then(|query| query.any(name, &values));
                asked.push(values);
            }
            let Some(query) = query else { continue };
            for record in self.filtered(&query, fields, call).await? {
                if !self.is_asked_for(&record, &asked) {
                    return Err(self.filters_nothing());
                }
                if let Some(key) = wire::key_of(&record, &self.key) {
                    found.entry(key).or_default().push(record);
                }
            }
        }
        Ok(found)
    }

    /// Tells whether the query can have meant this record; the service ignores case, and spaces at the end.
    fn is_asked_for(&self, record: &Record, asked: &[Vec<&str>]) -> bool {
        let alike =
            |left: &str, right: &str| left.trim_end().to_lowercase() == right.trim_end().to_lowercase();
        self.key.iter().zip(asked).all(|(name, values)| {
            let value = record.get(name);
            value.to_plain().is_some_and(|text| {
                values.iter().any(|asked| alike(&text, asked) || Value::text(asked).agrees(value))
            })
        })
    }

    /// Finds records by id.
    pub async fn find_ids(
        &self,
        ids: &[&str],
        fields: Option<&[String]>,
        call: &Call,
    ) -> Result<BTreeMap<RemoteId, Record>, Fault> {
        let mut found = BTreeMap::new();
        let ids: Vec<&str> = ids.iter().copied().filter(|id| wire::is_sys_id(id)).collect();
        for chunk in chunks_by(&ids, VALUES_MAX, VALUE_BYTES_MAX, |id| id.len() + 3) {
            let Some(query) = Encoded::new().any("sys_id", chunk) else { continue };
            for record in self.filtered(&query, fields, call).await? {
                if let Some(id) = record.meta.id.clone() {
                    found.insert(id, record);
                }
            }
        }
        Ok(found)
    }
}
