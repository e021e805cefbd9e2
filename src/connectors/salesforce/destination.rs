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
use super::ingest::BULK_FROM;
use super::keys::Keys;
use super::org::{Ask, Org, no_field, protocol};
use super::rights::{check_fields, check_upsert};
use super::wire::{self, Described, Kind, SaveItem};
use crate::connectors::{Batch, Call, Delivery, Destination, Outcome, StreamSpec, Wanted, Write};
use crate::engine::fault::{Fault, FaultCode, FaultKind};
use crate::engine::record::{Key, Record, RemoteId, Schema, Value};

/// Records of one call.
pub const CALL_MAX: usize = 200;
/// Ids that are looked up in one call.
pub const LOOK_MAX: usize = 2_000;

/// A writing end of one object type.
pub struct SalesforceDestination {
    pub(super) org: Arc<Org>,
    pub(super) stream: StreamSpec,
}

/// How a delivery goes out.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Road {
    Upsert,
    Update,
    Delete,
}

impl Road {
    /// Names it as jobs do.
    pub(super) fn operation(self) -> &'static str {
        match self {
            Self::Upsert => "upsert",
            Self::Update => "update",
            Self::Delete => "delete",
        }
    }
}

impl SalesforceDestination {
    pub fn new(org: Arc<Org>, stream: StreamSpec) -> Self {
        Self { org, stream }
    }

    /// Returns the key field and the field by which records are upserted.
    pub(super) fn key_field(&self) -> Result<(&str, &str), Fault> {
        match self.stream.key.as_slice() {
            [field] => Ok((field, self.org.settings.external_id_field.as_deref().unwrap_or(field))),
            _ => Err(Fault::fatal(
                FaultCode::Configuration,
                format!("the link's end at {} has several key fields", self.stream.stream),
                "Salesforce finds records by one external id field: name that one as the key",
            )),
        }
    }

    /// Writes what goes one way: by a bulk job where there is much of it, else call by call.
    async fn walk(
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
        let mut outcomes: Vec<Option<Outcome>> = deliveries.iter().map(refuse).collect();
        let mut left = unanswered(&outcomes, deliveries);
        let mut stopped: Option<Fault> = None;
        if left.len() >= BULK_FROM && self.org.settings.bulk && !described.open {
            let going: Vec<&Delivery> = left.iter().map(|(_, delivery)| *delivery).collect();
            let told = self.ingest(road, shape, &going, call).await?;
            for ((at, _), outcome) in left.iter().zip(told) {
                put(&mut outcomes, *at, outcome);
            }
            left = unanswered(&outcomes, deliveries);
            if !left.is_empty() {
                stopped = self.no_job_at_work(call).await.err();
            }
        }
        let alone = left.len() == deliveries.len() && left.len() <= CALL_MAX;
        for chunk in left.chunks(CALL_MAX) {
            let going: Vec<&Delivery> = chunk.iter().map(|(_, delivery)| *delivery).collect();
            let told = match (&stopped, road) {
                (Some(fault), _) => Err(fault.clone()),
                (None, Road::Delete) => self.delete(&going, call).await,
                (None, road) => self.send(road, shape, &going, call).await,
            };
            let told = match told {
                Ok(told) => told,
                Err(fault) if alone => return Err(fault),
                Err(fault) => {
                    if matches!(fault.kind, FaultKind::Throttled { .. } | FaultKind::Fatal) {
                        let untried = Fault { may_have_happened: false, ..fault.clone() };
                        stopped.get_or_insert(untried);
                    }
                    vec![Outcome::Failed(of_one(fault)); chunk.len()]
                }
            };
            for ((at, _), outcome) in chunk.iter().zip(told) {
                put(&mut outcomes, *at, Some(outcome));
            }
        }
        let missing = || miscounted("save", deliveries.len(), 0);
        outcomes.into_iter().map(|outcome| outcome.ok_or_else(missing)).collect()
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
            self.org.footprints.leave(object, &key);
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
        let ask =
            Ask { method: Method::PATCH, body: Some(&body), write: true, ..Ask::get(&operation, &path) };
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
            let ask = Ask { method: Method::DELETE, write: true, ..Ask::get(&operation, &path) };
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
            // What an earlier road has left at work stands in the way of the next one, too.
            let walked = match self.no_job_at_work(call).await {
                Ok(()) => self.walk(*road, &batch.shape, &deliveries, call).await,
                busy => busy.map(|()| Vec::new()),
            };
            let told = match walked {
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
        // What a bulk job has not reached yet would be told as it was before.
        self.no_job_at_work(call).await?;
        self.find(wanted, call).await
    }
}

impl SalesforceDestination {
    /// Refuses to go on while a bulk job of ours may still be writing to the object, also one that was made
    /// before `bulk = "never"` was.
    async fn no_job_at_work(&self, call: &Call) -> Result<(), Fault> {
        if !self.org.described(&self.stream.stream, false, call).await?.open {
            self.org.no_job_at_work(&self.stream.stream, call).await?;
        }
        Ok(())
    }
}

/// Lists what has no outcome yet.
fn unanswered<'d>(outcomes: &[Option<Outcome>], deliveries: &[&'d Delivery]) -> Vec<(usize, &'d Delivery)> {
    let open = outcomes.iter().zip(deliveries).enumerate().filter(|(_, (outcome, _))| outcome.is_none());
    open.map(|(at, (_, delivery))| (at, *delivery)).collect()
}

fn put(outcomes: &mut [Option<Outcome>], at: usize, outcome: Option<Outcome>) {
    if let Some(place) = outcomes.get_mut(at) {
        *place = outcome;
    }
}

/// Turns the refusal of one call among several into what it means for each record: the one that spoiled it is
/// found by the smaller calls of later attempts.
pub(super) fn of_one(fault: Fault) -> Fault {
    match fault.kind {
        FaultKind::Rejected => Fault { kind: FaultKind::Transient, ..fault },
        _ => fault,
    }
}

/// Tells whether a field goes out as the record's key, if at all.
pub(super) fn is_of_key(road: Road, name: &str, external: &str, key_field: &str) -> bool {
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
pub(super) fn spellings(described: &Described, shape: &Schema, object: &str) -> Result<Vec<String>, Fault> {
    shape.names().map(|name| described.spelling(name).ok_or_else(|| no_field(object, name))).collect()
}

pub(super) fn kind(described: &Described, name: &str) -> Option<Kind> {
    // An open field takes whatever comes, whatever came first.
    described.field(name).filter(|_| !described.open).map(|field| field.kind)
}

/// Returns the key's value as the batch gives it: a number stays one.
pub(super) fn given_key(shape: &Schema, key_field: &str, delivery: &Delivery) -> Option<Value> {
    let (Write::Create(values) | Write::Update(values)) = &delivery.write else { return None };
    let value = values.get(shape.position(key_field)?)?;
    (!value.is_missing() && *value != Value::Null).then(|| value.clone())
}

pub(super) fn key_text(key: &Key) -> Result<String, Fault> {
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
pub(super) fn saved(operation: &str, road: Road, item: SaveItem) -> Outcome {
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

pub(super) fn miscounted(operation: &str, asked: usize, answered: usize) -> Fault {
    Fault::transient(FaultCode::Protocol, format!("{operation}: {answered} answers to {asked} records"))
}
