//! Finding records by key or by id, many with one request.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::rest::chunks_by;
use super::super::{Call, StreamSpec};
use super::service::Service;
use super::wire::{self, Decoder, Field, Query, Resource};
use crate::engine::fault::{Fault, FaultCode};
use crate::engine::record::{Change, Key, Record, RemoteId, Value};

/// Values in one filter, so that its URL stays below what proxies take (8 KiB).
const VALUES_MAX: usize = 100;
const VALUE_BYTES_MAX: usize = 1_800;

/// Pages of one look-up; many more records than were asked for mean that the filter does not filter.
const PAGES_MAX: usize = 20;

/// The records that a look-up found, by key; several where the key is not unique there.
pub type Found = BTreeMap<Key, Vec<Record>>;

/// The texts of the key fields, by which records are found.
pub type Texts = Vec<String>;

/// Finds records of one resource.
pub struct Lookup {
    pub service: Arc<Service>,
    pub resource: Resource,
    pub key: Vec<String>,
}

impl Lookup {
    /// Starts for one stream; calls nothing.
    pub fn new(service: Arc<Service>, resource: Resource, spec: &StreamSpec) -> Self {
        Self { service, resource, key: spec.key.clone() }
    }

    /// Reads the records that one filter shows, page by page.
    async fn filtered(
        &self,
        clauses: &[(Field<'_>, Vec<&str>)],
        fields: Option<&[&str]>,
        call: &Call,
    ) -> Result<Vec<Record>, Fault> {
        let operation = format!("look {} up", self.resource.plural);
        let mut decoder = Decoder::new(&self.key, fields.into_iter().flatten().copied());
        let mut query = Query::new(self.resource.path()).with_any(clauses);
        if let Some(fields) = fields {
            let always: &[&str] = if self.resource.singular == "prospect" {
                &["updatedAt", "trashedAt"]
            } else {
                &["updatedAt"]
            };
            let names = fields.iter().copied().chain(self.key.iter().map(String::as_str));
            query = query.with_fields(&self.resource, names, always);
        }
        query = query.with("sort", "id").with("page[size]", "1000").with("count", "false");
        let mut records = Vec::new();
        for _ in 0..PAGES_MAX {
            let reply = self.service.get(&operation, query, call).await?;
            let page = decoder.page(&operation, &reply.body)?;
            for change in page.changes {
                match change {
                    Change::Upsert(record) => records.push(record),
                    Change::Delete(_) => {}
                    Change::Malformed(malformed) => {
                        return Err(Fault::transient(
                            FaultCode::Protocol,
                            format!("{operation}: {}", malformed.reason),
                        ));
                    }
                }
            }
            let Some(next) = page.next.as_deref().and_then(wire::query_of_link) else { return Ok(records) };
            query = Query::following(self.resource.path(), next, 1000);
        }
        Err(self.filters_nothing())
    }

    fn filters_nothing(&self) -> Fault {
        Fault::fatal(
            FaultCode::Configuration,
            format!("{} shows other records than those filtered for by the key", self.resource.plural),
            format!("write key = {}", wire::keys_of(&self.resource).join(" or ")),
        )
    }

    /// Finds records by key. `texts` are the key fields' texts of each record that is looked for.
    pub async fn find(&self, texts: &[Texts], fields: Option<&[&str]>, call: &Call) -> Result<Found, Fault> {
        let mut found = Found::new();
        let bytes_of = |texts: &Texts| texts.iter().map(String::len).sum();
        for chunk in chunks_by(texts, VALUES_MAX, VALUE_BYTES_MAX, bytes_of) {
            let mut clauses: Vec<(Field<'_>, Vec<&str>)> = Vec::with_capacity(self.key.len());
            for (at, name) in self.key.iter().enumerate() {
                let mut values: Vec<&str> =
                    chunk.iter().filter_map(|texts| Some(texts.get(at)?.as_str())).collect();
                values.sort_unstable();
                values.dedup();
                clauses.push((Field::parse(name), values));
            }
            // Ids are whole numbers: whatever else is asked for is not there, and asking would be refused.
            for (field, values) in &mut clauses {
                if !matches!(field, Field::Attribute(_)) {
                    values.retain(|value| wire::is_id(value));
                }
            }
            if clauses.iter().any(|(_, values)| values.is_empty()) {
                continue;
            }
            for record in self.filtered(&clauses, fields, call).await? {
                if !self.is_asked_for(&record, &clauses) {
                    return Err(self.filters_nothing());
                }
                if let Some(key) = wire::key_of(&record, &self.key) {
                    found.entry(key).or_default().push(record);
                }
            }
        }
        Ok(found)
    }

    /// Tells whether the filter can have meant this record; the service may ignore case, and its
    /// lists match by any of their items.
    fn is_asked_for(&self, record: &Record, clauses: &[(Field<'_>, Vec<&str>)]) -> bool {
        self.key.iter().zip(clauses).all(|(name, (_, values))| match record.get(name) {
            Value::Json(_) => true,
            value => value.to_plain().is_some_and(|text| {
                values.iter().any(|asked| {
                    text.to_lowercase() == asked.to_lowercase() || Value::text(asked).agrees(value)
                })
            }),
        })
    }

    /// Finds records by id.
    pub async fn find_ids(
        &self,
        ids: &[&str],
        fields: Option<&[&str]>,
        call: &Call,
    ) -> Result<BTreeMap<RemoteId, Record>, Fault> {
        let mut found = BTreeMap::new();
        let ids: Vec<&str> = ids.iter().copied().filter(|id| wire::is_id(id)).collect();
        for chunk in ids.chunks(VALUES_MAX) {
            for record in self.filtered(&[(Field::Id, chunk.to_vec())], fields, call).await? {
                if let Some(id) = record.meta.id.clone() {
                    found.insert(id, record);
                }
            }
        }
        Ok(found)
    }
}
