//! The writing end: sObject Collections, record by record answered.
//!
//! A create, and an update of a record whose id is not known, is an upsert by external id, so that
//! repeating it makes no second record. An update of a known record names its id: should the record
//! be gone, it must not come back as a torso of the changed fields.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use reqwest::Method;

use super::forecast::forecast;
use super::keys::Keys;
use super::org::{Ask, Org, no_field, protocol};
use super::rights::{check_fields, check_upsert};
use super::wire::{self, Columns, Described, Kind, SaveItem};
use crate::connectors::{Batch, Call, Delivery, Destination, Outcome, StreamSpec, Wanted, Write};
use crate::engine::fault::{Fault, FaultCode};
use crate::engine::record::{Key, Record, RemoteId, Schema, Value};

/// Bytes of an `IN` list in a URL; the service takes 16,384 for the whole.
const IN_BYTES_MAX: usize = 12_000;

/// A writing end of one object type.
pub struct SalesforceDestination {
    org: Arc<Org>,
    stream: StreamSpec,
}

/// How a delivery goes out.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Road {
    Upsert,
    Update,
    Delete,
}

impl SalesforceDestination {
    pub fn new(org: Arc<Org>, stream: StreamSpec) -> Self {
        Self { org, stream }
    }

    /// Returns the key field and the field by which records are upserted.
    fn key_field(&self) -> Result<(&str, &str), Fault> {
        match self.stream.key.as_slice() {
            [field] => Ok((field, self.org.settings.external_id_field.as_deref().unwrap_or(field))),
            _ => Err(Fault::fatal(
                FaultCode::Configuration,
                format!("the link's end at {} has several key fields", self.stream.stream),
                "Salesforce finds records by one external id field: name that one as the key",
            )),
        }
    }

    /// Saves what may be saved under its key.
    async fn save(
        &self,
        road: Road,
        shape: &Arc<Schema>,
        deliveries: &[&Delivery],
        call: &Call,
    ) -> Result<Vec<Outcome>, Fault> {
        let (_, external_field) = self.key_field()?;
        let described = self.org.described(&self.stream.stream, false, call).await?;
        let mut keys = Keys::new(&described, external_field);
        let refuse = |delivery: &&Delivery| if road == Road::Upsert { keys.refuse(delivery) } else { None };
        let refused: Vec<Option<Outcome>> = deliveries.iter().map(refuse).collect();
        let going = deliveries.iter().zip(&refused).filter(|(_, refused)| refused.is_none());
        let going: Vec<&Delivery> = going.map(|(delivery, _)| *delivery).collect();
        let mut told = match going.is_empty() {
            true => Vec::new(),
            false => self.send(road, shape, &going, call).await?,
        }
        .into_iter();
        Ok(refused.into_iter().filter_map(|refused| refused.or_else(|| told.next())).collect())
    }

    async fn send(
        &self,
        road: Road,
        shape: &Arc<Schema>,
        deliveries: &[&Delivery],
        call: &Call,
    ) -> Result<Vec<Outcome>, Fault> {
        let (key_field, external_field) = self.key_field()?;
        let object = &self.stream.stream;
        let described = self.org.described(object, false, call).await?;
        let names = spellings(&described, shape, object)?;
        let external = described.spelling(external_field).ok_or_else(|| no_field(object, external_field))?;
        if road == Road::Upsert {
            check_upsert(&described, object, &external)?;
        }
        check_fields(&described, object, &names, deliveries, |name| {
            is_of_key(road, name, &external, key_field)
        })?;
        let mut records = Vec::with_capacity(deliveries.len());
        for delivery in deliveries {
            let key = key_text(&delivery.key)?;
            self.org.leave_footprint(object, &key);
            let mut members = String::new();
            let external_kind = kind(&described, &external);
            match (road, &delivery.id) {
                (Road::Update, Some(id)) => wire::push_member(&mut members, "id", None, &Value::text(id)),
                _ => {
                    let value = given_key(shape, key_field, delivery).unwrap_or_else(|| Value::text(&key));
                    wire::push_member(&mut members, &external, external_kind, &value);
                }
            }
            let (Write::Create(values) | Write::Update(values)) = &delivery.write else { continue };
            for (name, value) in names.iter().zip(values) {
                if !value.is_missing() && !is_of_key(road, name, &external, key_field) {
                    wire::push_member(&mut members, name, kind(&described, name), value);
                }
            }
            records.push(members);
        }
        let operation = format!("save {object}");
        let path = match road {
            Road::Update => "composite/sobjects".to_owned(),
            _ => format!("composite/sobjects/{object}/{external}"),
        };
        let body = wire::save_body(object, records.iter().map(String::as_str));
        let ask = Ask {
            operation: &operation,
            method: Method::PATCH,
            path: &path,
            body: Some(&body),
            batch_size: None,
            write: true,
        };
        let reply = self.org.ask(ask, call).await?;
        let items = items(&operation, &reply.body, deliveries.len())?;
        let outcome = |(item, delivery): (SaveItem, &&Delivery)| match saved(&operation, road, item) {
            Outcome::Delivered { id, revision, .. } => {
                Outcome::Delivered { id, revision, stored: forecast(&described, shape, delivery, key_field) }
            }
            refused => refused,
        };
        Ok(items.into_iter().zip(deliveries).map(outcome).collect())
    }

    async fn delete(&self, deliveries: &[&Delivery], call: &Call) -> Result<Vec<Outcome>, Fault> {
        let unknown: Vec<Wanted> = deliveries
            .iter()
            .filter(|delivery| delivery.id.is_none())
            .map(|delivery| Wanted { key: delivery.key.clone(), id: None })
            .collect();
        let mut found = self.look_up(&unknown, call).await?.into_iter();
        // What is nowhere to be found is gone already.
        let ids: Vec<Option<RemoteId>> = deliveries
            .iter()
            .map(|delivery| match &delivery.id {
                Some(id) => Some(id.clone()),
                None => found.next().flatten().and_then(|record| record.meta.id),
            })
            .collect();
        let mut list: Vec<&str> = ids.iter().flatten().map(|id| id.as_str()).collect();
        list.sort_unstable();
        list.dedup();
        let mut by_id: HashMap<&str, Outcome> = HashMap::new();
        if !list.is_empty() {
            let operation = format!("delete {}", self.stream.stream);
            let path = format!("composite/sobjects?ids={}&allOrNone=false", list.join(","));
            let ask = Ask {
                operation: &operation,
                method: Method::DELETE,
                path: &path,
                body: None,
                batch_size: None,
                write: true,
            };
            let reply = self.org.ask(ask, call).await?;
            for (id, item) in list.iter().zip(items(&operation, &reply.body, list.len())?) {
                by_id.insert(id, saved(&operation, Road::Delete, item));
            }
        }
        let gone = || Outcome::Delivered { id: None, revision: None, stored: None };
        let outcome = |id: &Option<RemoteId>| match id {
            Some(id) => by_id.get(id.as_str()).cloned().unwrap_or_else(gone),
            None => gone(),
        };
        Ok(ids.iter().map(outcome).collect())
    }

    /// Reads records by their ids, in order; those in the bin are `None`.
    async fn by_ids(
        &self,
        columns: &Columns,
        ids: &[&str],
        call: &Call,
    ) -> Result<Vec<Option<Record>>, Fault> {
        let operation = format!("read {}", self.stream.stream);
        let body = serde_json::json!({ "ids": ids, "fields": columns.names }).to_string();
        let path = format!("composite/sobjects/{}", self.stream.stream);
        let ask = Ask {
            operation: &operation,
            method: Method::POST,
            path: &path,
            body: Some(&body),
            batch_size: None,
            write: false,
        };
        let reply = self.org.ask(ask, call).await?;
        let rows = wire::decode_rows(&reply.body).map_err(|error| protocol(&operation, &error))?;
        if rows.len() != ids.len() {
            return Err(miscounted(&operation, ids.len(), rows.len()));
        }
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
            let ask = Ask {
                operation: &operation,
                method: Method::GET,
                path: &format!("query?{query}"),
                body: None,
                batch_size: Some(2_000),
                write: false,
            };
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

#[async_trait]
impl Destination for SalesforceDestination {
    async fn write(&self, batch: &Batch, call: &Call) -> Result<Vec<Outcome>, Fault> {
        let mut roads: [(Road, Vec<(usize, &Delivery)>); 3] =
            [Road::Delete, Road::Upsert, Road::Update].map(|road| (road, Vec::new()));
        for (at, delivery) in batch.deliveries.iter().enumerate() {
            let road = road(delivery);
            if let Some((_, chosen)) = roads.iter_mut().find(|(known, _)| *known == road) {
                chosen.push((at, delivery));
            }
        }
        let mut outcomes: Vec<Option<Outcome>> = vec![None; batch.deliveries.len()];
        let mut failed = None;
        for (road, chosen) in roads.iter().filter(|(_, chosen)| !chosen.is_empty()) {
            let deliveries: Vec<&Delivery> = chosen.iter().map(|(_, delivery)| *delivery).collect();
            let result = match road {
                Road::Delete => self.delete(&deliveries, call).await,
                road => self.save(*road, &batch.shape, &deliveries, call).await,
            };
            let told = match result {
                Ok(told) => told,
                // The other calls of this batch had replies of their own, which must not be lost.
                Err(fault) => {
                    failed = Some(fault.clone());
                    vec![Outcome::Failed(fault); deliveries.len()]
                }
            };
            for ((at, _), outcome) in chosen.iter().zip(told) {
                if let Some(place) = outcomes.get_mut(*at) {
                    *place = Some(outcome);
                }
            }
        }
        let calls = roads.iter().filter(|(_, chosen)| !chosen.is_empty()).count();
        match (calls, failed) {
            (1, Some(fault)) => Err(fault),
            _ => {
                let missing = || miscounted("save", batch.deliveries.len(), 0);
                outcomes.into_iter().map(|outcome| outcome.ok_or_else(missing)).collect()
            }
        }
    }

    async fn look_up(&self, wanted: &[Wanted], call: &Call) -> Result<Vec<Option<Record>>, Fault> {
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

/// Tells whether a field goes out as the record's key, if at all.
fn is_of_key(road: Road, name: &str, external: &str, key_field: &str) -> bool {
    name.eq_ignore_ascii_case(external) || road == Road::Update && name.eq_ignore_ascii_case(key_field)
}

fn road(delivery: &Delivery) -> Road {
    match (&delivery.write, &delivery.id) {
        (Write::Delete, _) => Road::Delete,
        (Write::Update(_), Some(_)) => Road::Update,
        _ => Road::Upsert,
    }
}

/// Returns the spellings of the shape's names, in order.
fn spellings(described: &Described, shape: &Schema, object: &str) -> Result<Vec<String>, Fault> {
    shape.names().map(|name| described.spelling(name).ok_or_else(|| no_field(object, name))).collect()
}

fn kind(described: &Described, name: &str) -> Option<Kind> {
    // An open field takes whatever comes, whatever came first.
    described.field(name).filter(|_| !described.open).map(|field| field.kind)
}

/// Returns the key's value as the batch gives it: a number stays one.
fn given_key(shape: &Schema, key_field: &str, delivery: &Delivery) -> Option<Value> {
    let (Write::Create(values) | Write::Update(values)) = &delivery.write else { return None };
    let value = values.get(shape.position(key_field)?)?;
    (!value.is_missing() && *value != Value::Null).then(|| value.clone())
}

fn key_text(key: &Key) -> Result<String, Fault> {
    match key.parts().as_slice() {
        [part] => Ok(part.to_string()),
        _ => Err(Fault::rejected(FaultCode::Validation, "the key has several parts")),
    }
}

fn items(operation: &str, body: &[u8], count: usize) -> Result<Vec<SaveItem>, Fault> {
    let items =
        wire::decode_saves(body).map_err(|error| protocol(operation, &error).and_may_have_happened())?;
    match items.len() == count {
        true => Ok(items),
        false => Err(miscounted(operation, count, items.len()).and_may_have_happened()),
    }
}

/// Turns one record's answer into its outcome.
fn saved(operation: &str, road: Road, item: SaveItem) -> Outcome {
    if item.success {
        return Outcome::Delivered { id: item.id.map(Into::into), revision: None, stored: None };
    }
    let gone = item.errors.first().is_some_and(wire::Refusal::is_gone);
    match (gone, road) {
        (true, Road::Delete) => Outcome::Delivered { id: None, revision: None, stored: None },
        (true, Road::Update) => Outcome::Stale(None),
        _ => Outcome::Failed(wire::item_fault(operation, &item.errors)),
    }
}

fn miscounted(operation: &str, asked: usize, answered: usize) -> Fault {
    Fault::transient(FaultCode::Protocol, format!("{operation}: {answered} answers to {asked} records"))
}

fn unreadable(operation: &str, reason: &str) -> Fault {
    Fault::transient(FaultCode::Protocol, format!("{operation}: {reason}"))
}
