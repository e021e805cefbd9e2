//! Writing, alone or in batches, with a look before every create that the service does not make safe itself.
//!
//! Invariant: where the description has a look-up, a create goes out only after one by key, made in the same
//! call, found nothing; so a repeat after a lost reply finds the record that the first try made.

use std::sync::Arc;

use async_trait::async_trait;

use super::super::rest::{Stopper, delivered, gone, standing};
use super::super::{Batch, Call, Delivery, Destination, Outcome, StreamSpec, Wanted};
use super::lookup::{Found, Lookup, Texts};
use super::service::{Ask, Service, Target};
use super::settings::{Stream, Write};
use super::wire::{self, Decoder, Encoder, Facts, Query, Results, Sent, Sorted, Tree, Unfit};
use crate::connectors::Write as Wish;
use crate::engine::fault::{Fault, FaultCode, FaultKind};
use crate::engine::record::{Record, RemoteId, Schema, Value};

/// The writing end of one stream.
pub struct ApiDestination {
    pub(super) lookup: Lookup,
}

/// One record on its way.
pub(super) struct Parcel<'b> {
    /// Its place in the batch.
    pub at: usize,
    pub sent: Sent,
    pub id: Option<RemoteId>,
    pub delivery: &'b Delivery,
    /// The key's texts by field.
    pub key: Vec<(String, String)>,
}

impl Parcel<'_> {
    pub fn values(&self) -> &[Value] {
        match &self.delivery.write {
            Wish::Create(values) | Wish::Update(values) => values,
            Wish::Delete => &[],
        }
    }
}

/// What a delivery turns into.
enum Plan<'b> {
    Send(Parcel<'b>),
    Ends(Outcome),
}

impl ApiDestination {
    /// Opens the end; calls nothing.
    pub fn new(service: Arc<Service>, stream: Arc<Stream>, spec: &StreamSpec) -> Self {
        Self { lookup: Lookup::new(service, stream, spec) }
    }

    pub(super) fn stream(&self) -> &Stream {
        &self.lookup.stream
    }

    pub(super) fn request(&self, sent: Sent) -> Option<&Write> {
        match sent {
            Sent::Create => self.stream().create.as_ref(),
            Sent::Update => self.stream().update.as_ref(),
            Sent::Delete => self.stream().delete.as_ref(),
        }
    }

    pub(super) fn operation(&self, sent: Sent) -> String {
        let verb = match sent {
            Sent::Create => "create in",
            Sent::Update => "update in",
            Sent::Delete => "delete from",
        };
        format!("{verb} {}", self.lookup.name)
    }

    /// Tells whether a delivery's record has to be looked for first.
    fn is_looked_for(&self, delivery: &Delivery) -> bool {
        match &delivery.write {
            Wish::Create(_) => {
                self.lookup.finds()
                    && self.stream().create.as_ref().is_some_and(|create| create.upsert.is_none())
            }
            Wish::Update(_) | Wish::Delete => delivery.id.is_none() && self.lookup.finds(),
        }
    }

    fn plan<'b>(&self, at: usize, delivery: &'b Delivery, shape: &Schema, found: &Found) -> Plan<'b> {
        let there = found.get(&delivery.key).map_or(&[][..], Vec::as_slice);
        let (sent, id) = match (&delivery.write, &delivery.id, there) {
            (Wish::Create(values), _, [one]) => return Plan::Ends(self.standing(shape, values, one)),
            (Wish::Create(_), _, []) => (Sent::Create, None),
            (Wish::Update(_), Some(id), _) => (Sent::Update, Some(id.clone())),
            (Wish::Delete, Some(id), _) => (Sent::Delete, Some(id.clone())),
            (_, _, several @ [_, _, ..]) => return Plan::Ends(Outcome::Failed(self.ambiguous(several))),
            (Wish::Update(_), None, [one]) if one.meta.id.is_some() => (Sent::Update, one.meta.id.clone()),
            (Wish::Delete, None, [one]) if one.meta.id.is_some() => (Sent::Delete, one.meta.id.clone()),
            (Wish::Update(_), None, _) => return Plan::Ends(Outcome::Stale(None)),
            (Wish::Delete, None, _) => return Plan::Ends(gone(None)),
        };
        if self.request(sent).is_none() {
            return Plan::Ends(Outcome::Failed(self.undescribed(sent)));
        }
        let parts = delivery.key.parts().into_iter().map(String::from);
        let key = self.lookup.key.iter().cloned().zip(parts).collect();
        Plan::Send(Parcel { at, sent, id, delivery, key })
    }

    pub(super) fn standing(&self, shape: &Schema, values: &[Value], record: &Record) -> Outcome {
        let id = self.stream().id_field();
        let read_only = &self.stream().read_only;
        standing(shape, values, record, |name| name != id && !read_only.iter().any(|known| known == name))
    }

    fn undescribed(&self, sent: Sent) -> Fault {
        let word = match sent {
            Sent::Create => "create",
            Sent::Update => "update",
            Sent::Delete => "delete",
        };
        Fault {
            remedy: Some(format!(
                "describe `{word}` under this stream, or leave it out of the direction's `operations`"
            )),
            ..Fault::rejected(
                FaultCode::Validation,
                format!("{}: the description has no `{word}`", self.operation(sent)),
            )
        }
    }

    pub(super) fn ambiguous(&self, several: &[Record]) -> Fault {
        let ids: Vec<&str> = several.iter().filter_map(|record| record.meta.id.as_deref()).take(5).collect();
        Fault {
            remedy: Some("merge them there, or choose a key that is unique".to_owned()),
            ..Fault::rejected(
                FaultCode::Conflict,
                format!("{} {} share one key", self.lookup.name, ids.join(", ")),
            )
        }
    }

    pub(super) fn unfit(&self, sent: Sent, unfit: &Unfit) -> Fault {
        Fault {
            remedy: Some("mend the record's id or key, or the description of this request".to_owned()),
            ..Fault::rejected(
                FaultCode::Validation,
                format!("{}: {} {}", self.operation(sent), unfit.hole, unfit.reason),
            )
        }
    }

    /// Gives the texts under which a delivery's record may be found: the key's own, and the value as
    /// it is sent where that is written in another way.
    fn texts_of(&self, shape: &Schema, delivery: &Delivery) -> Vec<Texts> {
        let canonical: Texts = delivery.key.parts().into_iter().map(String::from).collect();
        let Wish::Create(values) = &delivery.write else { return vec![canonical] };
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

    /// Looks for the records of some deliveries.
    pub(super) async fn look<'d>(
        &self,
        deliveries: impl Iterator<Item = &'d Delivery>,
        shape: &Schema,
        call: &Call,
    ) -> Result<Found, Fault> {
        let texts: Vec<Texts> = deliveries.flat_map(|delivery| self.texts_of(shape, delivery)).collect();
        self.lookup.find(&texts, call).await
    }

    /// Writes one record.
    pub(super) async fn send_one(
        &self,
        parcel: &Parcel<'_>,
        shape: &Schema,
        call: &Call,
    ) -> Result<Outcome, Fault> {
        let Some(write) = self.request(parcel.sent) else {
            return Ok(Outcome::Failed(self.undescribed(parcel.sent)));
        };
        let base = match self.base(parcel, write, call).await? {
            Base::Gone => return Ok(Outcome::Stale(None)),
            Base::None => None,
            Base::Whole(tree) => Some(tree),
        };
        let ask = match self.single_ask(parcel, write, base, shape) {
            Ok(ask) => ask,
            Err(unfit) => return Ok(Outcome::Failed(self.unfit(parcel.sent, &unfit))),
        };
        let reply = match self.lookup.service.ask(&ask, call).await {
            Ok(reply) => reply,
            Err(fault) => return self.after(parcel, fault, shape, call).await,
        };
        let operation = ask.operation;
        let results = self.results(&operation, write);
        let body = serde_json::from_slice(&reply.body).ok();
        let is_checked = write.reply.is_some() || write.success.is_some() || write.error.is_some();
        let sorted = match body {
            Some(body) => results.verdict(body),
            None if is_checked => Sorted::Unknown(results.unknown("the reply can't be read")),
            None => Sorted::Done(None),
        };
        self.conclude(parcel, sorted, &operation, shape, call).await
    }

    pub(super) fn results<'r>(&'r self, operation: &'r str, write: &'r Write) -> Results<'r> {
        Results {
            operation,
            stream: self.stream(),
            write,
            key: &self.lookup.key,
            errors: &self.lookup.service.settings.errors,
        }
    }

    fn single_ask(
        &self,
        parcel: &Parcel<'_>,
        write: &Write,
        base: Option<Tree>,
        shape: &Schema,
    ) -> Result<Ask, Unfit> {
        let encoder = Encoder { stream: self.stream(), write, sent: parcel.sent };
        let key: Vec<(&str, &str)> =
            parcel.key.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
        let facts = Facts { id: parcel.id.as_deref(), key: &key, number: Some(1), ..Facts::default() };
        let query = Query::path(&write.path, &facts)?.with_all(&write.query, &facts)?;
        let body = match encoder.has_body() {
            true => Some(encoder.single(encoder.record(base, shape, parcel.values(), &facts)?).to_text()),
            false => None,
        };
        let mut headers = Vec::new();
        if let Some(name) = &write.idempotency_header {
            let text = format!(
                "{}\n{}\n{}",
                self.lookup.name,
                parcel.delivery.key,
                body.as_deref().unwrap_or_default()
            );
            let hash = blake3::hash(text.as_bytes()).to_hex();
            let facts = Facts { hash: hash.get(..32), ..facts };
            let value = match &write.idempotency_value {
                Some(template) => template.fill(&facts)?,
                None => facts.hash.unwrap_or_default().to_owned(),
            };
            headers.push((name.clone(), value));
        }
        if let (true, Some(revision)) = (write.if_match, &parcel.delivery.revision) {
            headers.push(("if-match".to_owned(), revision.to_string()));
        }
        Ok(Ask {
            operation: self.operation(parcel.sent),
            method: self.method(parcel.sent, write),
            target: Target::Below(query.into_text()),
            body,
            headers,
            writes: true,
        })
    }

    pub(super) fn method(&self, sent: Sent, write: &Write) -> reqwest::Method {
        write.method.unwrap_or(sent.verb(write.batch.is_some())).method()
    }

    /// Reads the record that an update writes over, where the service drops what it is not sent.
    pub(super) async fn base(&self, parcel: &Parcel<'_>, write: &Write, call: &Call) -> Result<Base, Fault> {
        let (Sent::Update, true, Some(id)) = (parcel.sent, write.is_whole(), &parcel.id) else {
            return Ok(Base::None);
        };
        match self.lookup.raw(id, call).await? {
            Some(raw) => Ok(Base::Whole(Tree::raw(&raw))),
            None => Ok(Base::Gone),
        }
    }

    /// Says what became of a record that was refused by the reply's status.
    pub(super) async fn after(
        &self,
        parcel: &Parcel<'_>,
        fault: Fault,
        shape: &Schema,
        call: &Call,
    ) -> Result<Outcome, Fault> {
        match (parcel.sent, &fault.kind) {
            (Sent::Delete, _) if wire::is_not_found(&fault) => Ok(gone(parcel.id.clone())),
            (Sent::Update, _) if wire::is_not_found(&fault) => Ok(Outcome::Stale(None)),
            (Sent::Create, FaultKind::Stale) if self.lookup.finds() => {
                let found = self.look(std::iter::once(parcel.delivery), shape, call).await?;
                match found.get(&parcel.delivery.key).map(Vec::as_slice) {
                    Some([one]) => Ok(self.standing(shape, parcel.values(), one)),
                    Some(several @ [_, _, ..]) => Ok(Outcome::Failed(self.ambiguous(several))),
                    _ => Ok(Outcome::Failed(refused(fault))),
                }
            }
            (_, FaultKind::Stale) => {
                let Some(id) = parcel.id.as_deref().filter(|_| self.stream().get.is_some()) else {
                    return Ok(Outcome::Failed(refused(fault)));
                };
                let mut found = self.lookup.find_ids(&[id], call).await?;
                Ok(Outcome::Stale(found.remove(id)))
            }
            (_, FaultKind::Rejected) => Ok(Outcome::Failed(fault)),
            _ => Err(fault),
        }
    }

    /// Makes an outcome of what a reply says of one record.
    pub(super) async fn conclude(
        &self,
        parcel: &Parcel<'_>,
        sorted: Sorted<'_>,
        operation: &str,
        shape: &Schema,
        call: &Call,
    ) -> Result<Outcome, Fault> {
        let record = match sorted {
            Sorted::Unknown(fault) => return Ok(Outcome::Failed(fault)),
            Sorted::Refused(fault) => {
                return match self.after(parcel, fault, shape, call).await {
                    // Only this record's own: its neighbours are well.
                    Err(fault) => Ok(Outcome::Failed(fault)),
                    outcome => outcome,
                };
            }
            Sorted::Done(record) => record,
        };
        let id = parcel.id.clone();
        let Some(raw) = record.filter(|_| parcel.sent != Sent::Delete) else {
            return Ok(Outcome::Delivered { id, revision: None, stored: None });
        };
        let mut decoder = Decoder::new(Arc::clone(&self.lookup.stream), &self.lookup.key, shape.names());
        match decoder.single(operation, raw) {
            Ok(Some(record)) if wire::fits(&record, shape, &self.written(shape, parcel)) => {
                Ok(delivered(&record))
            }
            Ok(Some(record)) => {
                Ok(Outcome::Delivered { id: record.meta.id, revision: record.meta.revision, stored: None })
            }
            Ok(None) => Ok(Outcome::Delivered { id, revision: None, stored: None }),
            // An update that names no record is done all the same; a create has to say what it made.
            Err(_) if parcel.sent == Sent::Update => {
                Ok(Outcome::Delivered { id, revision: None, stored: None })
            }
            Err(fault) => Ok(Outcome::Failed(fault.and_may_have_happened())),
        }
    }

    /// Gives the values that were sent, those that never are left out.
    fn written(&self, shape: &Schema, parcel: &Parcel<'_>) -> Vec<Value> {
        let read_only = &self.stream().read_only;
        let own = |(name, value): (&str, &Value)| match read_only.iter().any(|known| known == name) {
            true => Value::Absent,
            false => value.clone(),
        };
        shape.names().zip(parcel.values()).map(own).collect()
    }
}

/// What an update is laid over.
pub(super) enum Base {
    None,
    Whole(Tree),
    Gone,
}

/// A refusal that nothing can be read after: no other plan would change it.
fn refused(fault: Fault) -> Fault {
    Fault {
        kind: FaultKind::Rejected,
        remedy: Some(
            "look at the record there; describe `find` and `get` so that it can be read again".to_owned(),
        ),
        ..fault
    }
}

#[async_trait]
impl Destination for ApiDestination {
    async fn write(&self, batch: &Batch, call: &Call) -> Result<Vec<Outcome>, Fault> {
        let shape = &*batch.shape;
        let unknown = batch.deliveries.iter().filter(|delivery| self.is_looked_for(delivery));
        let found = self.look(unknown, shape, call).await?;
        let mut outcomes: Vec<Option<Outcome>> = batch.deliveries.iter().map(|_| None).collect();
        let mut parcels: [Vec<Parcel<'_>>; 3] = Default::default();
        for (at, delivery) in batch.deliveries.iter().enumerate() {
            match self.plan(at, delivery, shape, &found) {
                Plan::Ends(outcome) => put(&mut outcomes, at, outcome),
                Plan::Send(parcel) => {
                    if let Some(list) = parcels.get_mut(parcel.sent as usize) {
                        list.push(parcel);
                    }
                }
            }
        }
        let stopper = Stopper::default();
        for parcels in &parcels {
            self.send_all(parcels, shape, &stopper, &mut outcomes, call).await;
        }
        Ok(outcomes
            .into_iter()
            .map(|outcome| {
                outcome.unwrap_or_else(|| {
                    let message = "the record was not sent";
                    Outcome::Failed(Fault::transient(FaultCode::Protocol, message))
                })
            })
            .collect())
    }

    /// Looks up by id where it is known, then by key whatever that did not find: a record may have
    /// been made again under another id.
    async fn look_up(&self, wanted: &[Wanted], call: &Call) -> Result<Vec<Option<Record>>, Fault> {
        let ids: Vec<&str> = wanted.iter().filter_map(|wanted| wanted.id.as_deref()).collect();
        let by_id = self.lookup.find_ids(&ids, call).await?;
        let known = |wanted: &Wanted| wanted.id.as_ref().and_then(|id| by_id.get(id));
        let mut texts: Vec<Texts> = match self.lookup.finds() {
            true => wanted
                .iter()
                .filter(|wanted| known(wanted).is_none())
                .map(|wanted| wanted.key.parts().into_iter().map(String::from).collect())
                .collect(),
            // Without a way to find it, nothing speaks for a record that was never seen.
            false => Vec::new(),
        };
        texts.sort_unstable();
        texts.dedup();
        let by_key = self.lookup.find(&texts, call).await?;
        let first = |wanted: &Wanted| by_key.get(&wanted.key).and_then(|records| records.first());
        Ok(wanted.iter().map(|wanted| known(wanted).or_else(|| first(wanted)).cloned()).collect())
    }
}

/// Puts an outcome into its place.
pub(super) fn put(outcomes: &mut [Option<Outcome>], at: usize, outcome: Outcome) {
    if let Some(slot) = outcomes.get_mut(at) {
        *slot = Some(outcome);
    }
}
