//! Writing, one request a record, with a look before every create.
//!
//! Invariant: a create goes out only after a look-up by key, made in the same call, found nothing;
//! so a repeat after a lost reply finds the record that the first try made.

use std::sync::Arc;

use async_trait::async_trait;
use reqwest::Method;

use super::super::rest::{Stopper, delivered, gone, standing};
use super::super::{Batch, Call, Delivery, Destination, Outcome, StreamSpec, Wanted, Write};
use super::lookup::{Found, Lookup, Texts};
use super::service::Service;
use super::wire::{self, Decoder, Resource};
use crate::engine::fault::{Fault, FaultCode};
use crate::engine::record::{Record, Schema};

/// The writing end of one resource.
pub struct OutreachDestination {
    lookup: Lookup,
    fields: Option<Vec<String>>,
}

impl OutreachDestination {
    /// Opens the end; calls nothing.
    pub fn new(service: Arc<Service>, resource: Resource, spec: &StreamSpec) -> Self {
        Self { lookup: Lookup::new(service, resource, spec), fields: spec.fields.clone() }
    }

    /// Writes one delivery, whose record the look-up found as `there`.
    async fn deliver(
        &self,
        shape: &Schema,
        delivery: &Delivery,
        there: &[Record],
        call: &Call,
    ) -> Result<Outcome, Fault> {
        let id = match (&delivery.id, &delivery.write) {
            (Some(id), Write::Update(_) | Write::Delete) => id.clone(),
            _ => match there {
                [] => return self.deliver_to_nothing(shape, delivery, call).await,
                [one] => match (&delivery.write, &one.meta.id) {
                    (Write::Create(values), _) => {
                        return Ok(standing(shape, values, one, |name| name != "id"));
                    }
                    (_, Some(id)) => id.clone(),
                    (_, None) => return Ok(Outcome::Stale(Some(one.clone()))),
                },
                several => return Ok(Outcome::Failed(self.ambiguous(several))),
            },
        };
        let path = self.lookup.resource.member(&id);
        match &delivery.write {
            Write::Delete => {
                let operation = format!("delete {} {id}", self.lookup.resource.singular);
                match self.lookup.service.change(&operation, Method::DELETE, &path, None, call).await {
                    Ok(_) => Ok(gone(Some(id))),
                    Err(fault) if wire::is_not_found(&fault) => Ok(gone(Some(id))),
                    Err(fault) => Err(fault),
                }
            }
            Write::Create(values) | Write::Update(values) => {
                let operation = format!("update {} {id}", self.lookup.resource.singular);
                let body = wire::encode(&self.lookup.resource, Some(&id), shape, values)?;
                match self.lookup.service.change(&operation, Method::PATCH, &path, Some(body), call).await {
                    Ok(reply) => self.stored(&operation, shape, &reply.body),
                    Err(fault) if wire::is_not_found(&fault) => Ok(Outcome::Stale(None)),
                    Err(fault) => Err(fault),
                }
            }
        }
    }

    async fn deliver_to_nothing(
        &self,
        shape: &Schema,
        delivery: &Delivery,
        call: &Call,
    ) -> Result<Outcome, Fault> {
        let values = match &delivery.write {
            Write::Delete => return Ok(gone(None)),
            Write::Update(_) => return Ok(Outcome::Stale(None)),
            Write::Create(values) => values,
        };
        let operation = format!("create {}", self.lookup.resource.singular);
        if self.lookup.key.iter().any(|name| name == "id") {
            return Err(Fault {
                remedy: Some("write another key, or let this direction only update and delete".to_owned()),
                ..Fault::rejected(
                    FaultCode::Validation,
                    format!("{operation}: the service gives the ids, so none can be made under a given id"),
                )
            });
        }
        let body = wire::encode(&self.lookup.resource, None, shape, values)?;
        let path = self.lookup.resource.path();
        let reply = self.lookup.service.change(&operation, Method::POST, &path, Some(body), call).await?;
        self.stored(&operation, shape, &reply.body)
    }

    /// Reads the image that the service stored out of its reply.
    fn stored(&self, operation: &str, shape: &Schema, body: &[u8]) -> Result<Outcome, Fault> {
        let record = Decoder::new(&self.lookup.key, shape.names())
            .single(operation, body)
            .map_err(Fault::and_may_have_happened)?;
        Ok(delivered(&record))
    }

    fn ambiguous(&self, several: &[Record]) -> Fault {
        let ids: Vec<&str> = several.iter().filter_map(|record| record.meta.id.as_deref()).take(5).collect();
        Fault {
            remedy: Some("merge them there, or choose a key that is unique".to_owned()),
            ..Fault::rejected(
                FaultCode::Conflict,
                format!("{} {} share one key", self.lookup.resource.plural, ids.join(", ")),
            )
        }
    }

    /// Gives the texts under which a delivery's record may be found: the key's own, and the value as
    /// it is sent where that is written in another way.
    fn texts_of(&self, shape: &Schema, delivery: &Delivery) -> Vec<Texts> {
        let canonical: Texts = delivery.key.parts().into_iter().map(String::from).collect();
        let Write::Create(values) = &delivery.write else { return vec![canonical] };
        let sent: Option<Texts> = self
            .lookup
            .key
            .iter()
            .map(|name| Some(String::from(values.get(shape.position(name)?)?.to_plain()?)))
            .collect();
        match sent {
            Some(sent) if sent != canonical => vec![canonical, sent],
            _ => vec![canonical],
        }
    }
}

#[async_trait]
impl Destination for OutreachDestination {
    async fn write(&self, batch: &Batch, call: &Call) -> Result<Vec<Outcome>, Fault> {
        let unknown = batch
            .deliveries
            .iter()
            .filter(|delivery| delivery.id.is_none() || matches!(delivery.write, Write::Create(_)));
        let texts: Vec<Texts> = unknown.flat_map(|delivery| self.texts_of(&batch.shape, delivery)).collect();
        let fields: Vec<&str> = batch.shape.names().collect();
        let found = match texts.is_empty() {
            true => Found::new(),
            false => self.lookup.find(&texts, Some(&fields), call).await?,
        };
        let requests = batch.deliveries.iter().map(|delivery| {
            let there = found.get(&delivery.key).map_or(&[][..], Vec::as_slice);
            self.deliver(&batch.shape, delivery, there, call)
        });
        Ok(Stopper::default().each(requests.collect(), self.lookup.service.settings.in_flight).await)
    }

    /// Looks up by id where it is known, then by key whatever that did not find: a record may have
    /// been made again under another id.
    async fn look_up(&self, wanted: &[Wanted], call: &Call) -> Result<Vec<Option<Record>>, Fault> {
        let fields: Option<Vec<&str>> =
            self.fields.as_ref().map(|fields| fields.iter().map(String::as_str).collect());
        let mut ids: Vec<&str> = wanted.iter().filter_map(|wanted| wanted.id.as_deref()).collect();
        ids.sort_unstable();
        ids.dedup();
        let by_id = self.lookup.find_ids(&ids, fields.as_deref(), call).await?;
        let known = |wanted: &Wanted| wanted.id.as_ref().and_then(|id| by_id.get(id));
        let mut texts: Vec<Texts> = wanted
            .iter()
            .filter(|wanted| known(wanted).is_none())
            .map(|wanted| wanted.key.parts().into_iter().map(String::from).collect())
            .collect();
        texts.sort_unstable();
        texts.dedup();
        let by_key = self.lookup.find(&texts, fields.as_deref(), call).await?;
        let first = |wanted: &Wanted| by_key.get(&wanted.key).and_then(|records| records.first());
        Ok(wanted.iter().map(|wanted| known(wanted).or_else(|| first(wanted)).cloned()).collect())
    }
}
