//! Sending what was planned: record by record, or in batches that are cut where one is refused as a whole.
//!
//! Invariant: a record that is refused fails alone; its neighbours are sent again without it.

use serde_json::value::RawValue;

use super::super::rest::Stopper;
use super::super::{Call, Outcome};
use super::destination::{ApiDestination, Base, Parcel, put};
use super::service::{Ask, Target};
use super::settings::{Batch, MatchBy, Write};
use super::wire::{Encoder, Facts, Query, Tree, name_of, sort_results};
use crate::engine::fault::{Fault, FaultKind};
use crate::engine::record::{Key, Schema, Value};

impl ApiDestination {
    /// Sends parcels of one kind; every one gets an outcome.
    pub(super) async fn send_all(
        &self,
        parcels: &[Parcel<'_>],
        shape: &Schema,
        stopper: &Stopper,
        outcomes: &mut [Option<Outcome>],
        call: &Call,
    ) {
        let Some(write) = parcels.first().and_then(|parcel| self.request(parcel.sent)) else { return };
        let Some(batch) = &write.batch else {
            let requests = parcels.iter().map(|parcel| self.send_one(parcel, shape, call)).collect();
            let sent = stopper.each(requests, self.lookup.service.settings.in_flight).await;
            parcels.iter().zip(sent).for_each(|(parcel, outcome)| put(outcomes, parcel.at, outcome));
            return;
        };
        // The last comes first off a stack.
        let mut parts: Vec<&[Parcel<'_>]> = parcels.chunks(batch.max.max(1)).rev().collect();
        while let Some(part) = parts.pop() {
            if let Some(fault) = stopper.stopped() {
                part.iter().for_each(|parcel| put(outcomes, parcel.at, Outcome::Failed(fault.clone())));
                continue;
            }
            match self.send_part(part, write, batch, shape, outcomes, call).await {
                Ok(()) => stopper.worked(),
                // One of them is poison, nobody says which.
                Err(fault)
                    if part.len() > 1 && matches!(fault.kind, FaultKind::Rejected | FaultKind::Stale) =>
                {
                    let (left, right) = part.split_at(part.len() / 2);
                    parts.extend([right, left]);
                }
                Err(fault) if matches!(fault.kind, FaultKind::Rejected | FaultKind::Stale) => {
                    stopper.worked();
                    for parcel in part {
                        let outcome = self.after(parcel, fault.clone(), shape, call).await;
                        put(outcomes, parcel.at, outcome.unwrap_or_else(Outcome::Failed));
                    }
                }
                Err(fault) => {
                    stopper.met(&fault);
                    part.iter().for_each(|parcel| put(outcomes, parcel.at, Outcome::Failed(fault.clone())));
                }
            }
        }
    }

    /// Sends one batch. `Err` says that the service refused it as a whole.
    async fn send_part(
        &self,
        part: &[Parcel<'_>],
        write: &Write,
        batch: &Batch,
        shape: &Schema,
        outcomes: &mut [Option<Outcome>],
        call: &Call,
    ) -> Result<(), Fault> {
        let Some(sent) = part.first().map(|parcel| parcel.sent) else { return Ok(()) };
        let operation = self.operation(sent);
        let encoder = Encoder { stream: self.stream(), write, sent };
        let (mut records, mut carried) = (Vec::with_capacity(part.len()), Vec::with_capacity(part.len()));
        for parcel in part {
            let base = match self.base(parcel, write, call).await? {
                Base::Gone => {
                    put(outcomes, parcel.at, Outcome::Stale(None));
                    continue;
                }
                Base::None => None,
                Base::Whole(tree) => Some(tree),
            };
            let key: Vec<(&str, &str)> =
                parcel.key.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
            let number = carried.len() + 1;
            let facts =
                Facts { id: parcel.id.as_deref(), key: &key, number: Some(number), ..Facts::default() };
            match encoder.record(base, shape, parcel.values(), &facts) {
                Ok(record) => {
                    records.push(record);
                    carried.push(parcel);
                }
                Err(unfit) => put(outcomes, parcel.at, Outcome::Failed(self.unfit(sent, &unfit))),
            }
        }
        if carried.is_empty() {
            return Ok(());
        }
        let ask =
            self.batch_ask(&encoder, write, records, &operation).map_err(|unfit| self.unfit(sent, &unfit))?;
        let reply = self.lookup.service.ask(&ask, call).await?;
        let names: Vec<Option<String>> =
            carried.iter().enumerate().map(|(at, parcel)| self.name(batch.by, parcel, at + 1)).collect();
        let results = self.results(&operation, write);
        let body: Option<&RawValue> = serde_json::from_slice(&reply.body).ok();
        for (parcel, sorted) in carried.iter().zip(sort_results(&results, batch, body, &names)) {
            let outcome = self.conclude(parcel, sorted, &operation, shape, call).await;
            put(outcomes, parcel.at, outcome.unwrap_or_else(Outcome::Failed));
        }
        Ok(())
    }

    fn batch_ask(
        &self,
        encoder: &Encoder<'_>,
        write: &Write,
        records: Vec<Tree>,
        operation: &str,
    ) -> Result<Ask, super::wire::Unfit> {
        let facts = Facts::default();
        let query = Query::path(&write.path, &facts)?.with_all(&write.query, &facts)?;
        Ok(Ask {
            operation: operation.to_owned(),
            method: self.method(encoder.sent, write),
            target: Target::Below(query.into_text()),
            body: Some(encoder.many(records).to_text()),
            headers: Vec::new(),
            writes: true,
        })
    }

    /// Returns what a record of a batch is known by in the reply.
    fn name(&self, by: MatchBy, parcel: &Parcel<'_>, number: usize) -> Option<String> {
        match by {
            MatchBy::Index => None,
            MatchBy::Number => Some(number.to_string()),
            MatchBy::Id => parcel.id.as_ref().map(ToString::to_string),
            MatchBy::Key => match parcel.key.as_slice() {
                [(_, only)] => name_of(by, &Value::text(only)),
                _ => Key::to_string(&parcel.delivery.key).into(),
            },
        }
    }
}
