//! Records as they are now: by their ids, those without by their keys.

use std::collections::HashMap;

use reqwest::Method;
use serde_json::value::RawValue;

use super::destination::{SalesforceDestination, key_text, kind, miscounted};
use super::org::{Ask, Org, no_field, protocol, unreadable};
use super::wire::{self, Columns, Kind};
use crate::connectors::rest::RawReply;
use crate::connectors::{Call, Wanted};
use crate::engine::fault::Fault;
use crate::engine::record::{Key, Record};

/// Bytes of an `IN` list in a URL; the service takes 16,384 for the whole.
const IN_BYTES_MAX: usize = 12_000;

impl Org {
    /// Asks for these fields of records by their ids, by one call; [`rows`] reads the reply.
    pub(super) async fn retrieve(
        &self,
        operation: &str,
        object: &str,
        ids: &[&str],
        fields: &[String],
        call: &Call,
    ) -> Result<RawReply, Fault> {
        let body = serde_json::json!({ "ids": ids, "fields": fields }).to_string();
        let path = format!("composite/sobjects/{object}");
        let ask = Ask { method: Method::POST, body: Some(&body), ..Ask::get(operation, &path) };
        self.ask(ask, call).await
    }
}

/// Reads the reply to [`Org::retrieve`]: a row for each id, in order; `None` where there is no such record.
pub(super) fn rows<'r>(
    operation: &str,
    reply: &'r RawReply,
    count: usize,
) -> Result<Vec<Option<&'r RawValue>>, Fault> {
    let rows = wire::decode_rows(&reply.body).map_err(|error| protocol(operation, &error))?;
    match rows.len() == count {
        true => Ok(rows),
        false => Err(miscounted(operation, count, rows.len())),
    }
}

impl SalesforceDestination {
    /// Looks records up as they are now, by id where it is known, else by key.
    pub(super) async fn find(&self, wanted: &[Wanted], call: &Call) -> Result<Vec<Option<Record>>, Fault> {
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        let columns = self.org.columns(&self.stream, false, call).await?;
        let mut found: Vec<Option<Record>> = vec![None; wanted.len()];
        let with_id: Vec<(usize, &str)> = wanted
            .iter()
            .enumerate()
            .filter_map(|(at, wanted)| wanted.id.as_ref().map(|id| (at, id.as_str())))
            .collect();
        if !with_id.is_empty() {
            let ids: Vec<&str> = with_id.iter().map(|(_, id)| *id).collect();
            let records = self.by_ids(&columns, &ids, call).await?;
            for ((at, _), record) in with_id.iter().zip(records) {
                if let Some(place) = found.get_mut(*at) {
                    *place = record;
                }
            }
        }
        // Those without an id, and those that went: another record may stand there under the key.
        let keys: Vec<Key> = wanted
            .iter()
            .zip(&found)
            .filter(|(_, found)| found.is_none())
            .map(|(wanted, _)| wanted.key.clone())
            .collect();
        if keys.is_empty() {
            return Ok(found);
        }
        let by_key = ByKey::new(self.by_keys(&columns, &keys, call).await?, &self.stream.key);
        for (place, wanted) in found.iter_mut().zip(wanted) {
            if place.is_none() {
                *place = by_key.get(&wanted.key);
            }
        }
        Ok(found)
    }

    /// Reads records by their ids, in order; those in the bin are `None`.
    async fn by_ids(
        &self,
        columns: &Columns,
        ids: &[&str],
        call: &Call,
    ) -> Result<Vec<Option<Record>>, Fault> {
        let operation = format!("read {}", self.stream.stream);
        let reply = self.org.retrieve(&operation, &self.stream.stream, ids, &columns.names, call).await?;
        let rows = rows(&operation, &reply, ids.len())?;
        let read = |row| columns.decode(row).map_err(|reason| unreadable(&operation, &reason));
        let rows = rows.into_iter().map(|row| row.map(read).transpose());
        rows.map(|row| Ok(row?.filter(|row| !row.deleted).map(|row| row.record))).collect()
    }

    /// Reads live records by their key values.
    async fn by_keys(&self, columns: &Columns, keys: &[Key], call: &Call) -> Result<Vec<Record>, Fault> {
        let (_, external_field) = self.key_field()?;
        let object = &self.stream.stream;
        let described = self.org.described(object, false, call).await?;
        let external = described.spelling(external_field).ok_or_else(|| no_field(object, external_field))?;
        let mut names = columns.names.clone();
        if !names.iter().any(|name| name.eq_ignore_ascii_case(&external)) {
            names.push(external.clone());
        }
        let texts = keys.iter().map(key_text).collect::<Result<Vec<_>, _>>()?;
        let kind = kind(&described, &external).unwrap_or(Kind::Text);
        let operation = format!("look up {object}");
        let mut records = Vec::new();
        for condition in wire::in_conditions(&external, kind, &texts, IN_BYTES_MAX) {
            let soql = wire::select(object, &names, &condition);
            let query = url::form_urlencoded::Serializer::new(String::new()).append_pair("q", &soql).finish();
            let path = format!("query?{query}");
            let ask = Ask { batch_size: Some(2_000), ..Ask::get(&operation, &path) };
            let reply = self.org.ask(ask, call).await?;
            let page = wire::decode_page(&reply.body).map_err(|error| protocol(&operation, &error))?;
            for raw in page.records {
                let row = columns.decode(raw).map_err(|reason| unreadable(&operation, &reason))?;
                records.push(row.record);
            }
        }
        Ok(records)
    }
}

/// Records by key: the exact one first, then the one that differs in case only, since most external
/// ids ignore it.
struct ByKey {
    exact: HashMap<Key, Record>,
    folded: HashMap<String, Key>,
}

impl ByKey {
    fn new(records: Vec<Record>, fields: &[String]) -> Self {
        let mut made = Self { exact: HashMap::new(), folded: HashMap::new() };
        for record in records {
            let Ok(key) = Key::from_values(fields.iter().map(|field| record.get(field))) else { continue };
            made.folded.insert(key.to_string().to_lowercase(), key.clone());
            made.exact.insert(key, record);
        }
        made
    }

    fn get(&self, key: &Key) -> Option<Record> {
        let other = || self.exact.get(self.folded.get(&key.to_string().to_lowercase())?);
        self.exact.get(key).or_else(other).cloned()
    }
}
