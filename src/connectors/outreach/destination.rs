//! Writing, one request a record, with a look before every create.
//!
//! Invariant: a create goes out only after a look-up by key, made in the same call, found nothing;
//! so a repeat after a lost reply finds the record that the first try made.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use reqwest::Method;

use super::super::{Batch, Call, Delivery, Destination, Outcome, StreamSpec, Wanted, Write};
use super::service::Service;
use super::wire::{self, Decoder, Field, Query, Resource};
use crate::engine::fault::{Fault, FaultCode, FaultKind};
use crate::engine::record::{Change, Key, Record, RemoteId, Schema, Value};

/// Values in one filter, so that its URL stays below what proxies take (8 KiB).
const VALUES_MAX: usize = 100;
const VALUE_BYTES_MAX: usize = 1_800;

/// Pages of one look-up; many more records than were asked for mean that the filter does not filter.
const PAGES_MAX: usize = 20;

/// After so many failures in a row the rest of a batch waits instead of knocking on.
const FAILURES_IN_A_ROW_MAX: usize = 3;

/// The writing end of one resource.
pub struct OutreachDestination {
    service: Arc<Service>,
    resource: Resource,
    key: Vec<String>,
    fields: Option<Vec<String>>,
}

/// The records that a look-up found, by key; several where the key is not unique there.
type Found = BTreeMap<Key, Vec<Record>>;

/// The texts of the key fields, by which records are found.
type Texts = Vec<String>;

impl OutreachDestination {
    /// Opens the end; calls nothing.
    pub fn new(service: Arc<Service>, resource: Resource, spec: &StreamSpec) -> Self {
        Self { service, resource, key: spec.key.clone(), fields: spec.fields.clone() }
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
    async fn find(&self, texts: &[Texts], fields: Option<&[&str]>, call: &Call) -> Result<Found, Fault> {
        let mut found = Found::new();
        for chunk in chunks(texts) {
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
    async fn find_ids(
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
                    (Write::Create(values), _) => return Ok(standing(shape, values, one)),
                    (_, Some(id)) => id.clone(),
                    (_, None) => return Ok(Outcome::Stale(Some(one.clone()))),
                },
                several => return Ok(Outcome::Failed(self.ambiguous(several))),
            },
        };
        let path = self.resource.member(&id);
        match &delivery.write {
            Write::Delete => {
                let operation = format!("delete {} {id}", self.resource.singular);
                match self.service.change(&operation, Method::DELETE, &path, None, call).await {
                    Ok(_) => Ok(gone(Some(id))),
                    Err(fault) if wire::is_not_found(&fault) => Ok(gone(Some(id))),
                    Err(fault) => Err(fault),
                }
            }
            Write::Create(values) | Write::Update(values) => {
                let operation = format!("update {} {id}", self.resource.singular);
                let body = wire::encode(&self.resource, Some(&id), shape, values)?;
                match self.service.change(&operation, Method::PATCH, &path, Some(body), call).await {
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
        let operation = format!("create {}", self.resource.singular);
        if self.key.iter().any(|name| name == "id") {
            return Err(Fault {
                remedy: Some("write another key, or let this direction only update and delete".to_owned()),
                ..Fault::rejected(
                    FaultCode::Validation,
                    format!("{operation}: the service gives the ids, so none can be made under a given id"),
                )
            });
        }
        let body = wire::encode(&self.resource, None, shape, values)?;
        let path = self.resource.path();
        let reply = self.service.change(&operation, Method::POST, &path, Some(body), call).await?;
        self.stored(&operation, shape, &reply.body)
    }

    /// Reads the image that the service stored out of its reply.
    fn stored(&self, operation: &str, shape: &Schema, body: &[u8]) -> Result<Outcome, Fault> {
        let record = Decoder::new(&self.key, shape.names())
            .single(operation, body)
            .map_err(Fault::and_may_have_happened)?;
        Ok(Outcome::Delivered {
            id: record.meta.id.clone(),
            revision: record.meta.revision.clone(),
            stored: Some(record),
        })
    }

    fn ambiguous(&self, several: &[Record]) -> Fault {
        let ids: Vec<&str> = several.iter().filter_map(|record| record.meta.id.as_deref()).take(5).collect();
        Fault {
            remedy: Some("merge them there, or choose a key that is unique".to_owned()),
            ..Fault::rejected(
                FaultCode::Conflict,
                format!("{} {} share one key", self.resource.plural, ids.join(", ")),
            )
        }
    }

    /// Gives the texts under which a delivery's record may be found: the key's own, and the value as
    /// it is sent where that is written in another way.
    fn texts_of(&self, shape: &Schema, delivery: &Delivery) -> Vec<Texts> {
        let canonical: Texts = delivery.key.parts().into_iter().map(String::from).collect();
        let Write::Create(values) = &delivery.write else { return vec![canonical] };
        let sent: Option<Texts> = self
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

/// Answers a create whose record is there already: our own earlier try, where it holds all that is
/// to be written; else somebody else's record, which is to be planned with.
fn standing(shape: &Schema, values: &[Value], record: &Record) -> Outcome {
    let same = shape
        .names()
        .zip(values)
        .all(|(name, value)| name == "id" || value.is_missing() || record.get(name).agrees(value));
    if !same {
        return Outcome::Stale(Some(record.clone()));
    }
    Outcome::Delivered {
        id: record.meta.id.clone(),
        revision: record.meta.revision.clone(),
        stored: Some(record.clone()),
    }
}

fn gone(id: Option<RemoteId>) -> Outcome {
    Outcome::Delivered { id, revision: None, stored: None }
}

/// Cuts what is looked for into filters of a bearable length.
fn chunks(texts: &[Texts]) -> Vec<&[Texts]> {
    let (mut chunks, mut start, mut bytes) = (Vec::new(), 0, 0);
    for (at, texts_here) in texts.iter().enumerate() {
        let here: usize = texts_here.iter().map(String::len).sum();
        if at > start && (at - start >= VALUES_MAX || bytes + here > VALUE_BYTES_MAX) {
            chunks.extend(texts.get(start..at));
            (start, bytes) = (at, 0);
        }
        bytes += here;
    }
    chunks.extend(texts.get(start..).filter(|rest| !rest.is_empty()));
    chunks
}

/// Tells what the rest of a batch meets after this fault; `None` where it may go on.
fn verdict(fault: &Fault, failures_in_a_row: usize) -> Option<Fault> {
    let rest = |fault: &Fault| Fault { may_have_happened: false, ..fault.clone() };
    match fault.kind {
        FaultKind::Throttled { .. } | FaultKind::Fatal => Some(rest(fault)),
        FaultKind::Transient if failures_in_a_row >= FAILURES_IN_A_ROW_MAX => {
            // The record was not tried, so it costs no attempt.
            let kind = FaultKind::Throttled { retry_after: None };
            Some(Fault { kind, ..rest(fault) })
        }
        _ => None,
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
            false => self.find(&texts, Some(&fields), call).await?,
        };
        let mut outcomes = Vec::with_capacity(batch.deliveries.len());
        let (mut stopped, mut failures_in_a_row): (Option<Fault>, usize) = (None, 0);
        for delivery in &batch.deliveries {
            if let Some(fault) = &stopped {
                outcomes.push(Outcome::Failed(fault.clone()));
                continue;
            }
            let there = found.get(&delivery.key).map_or(&[][..], Vec::as_slice);
            match self.deliver(&batch.shape, delivery, there, call).await {
                Ok(outcome) => {
                    failures_in_a_row = 0;
                    outcomes.push(outcome);
                }
                Err(fault) => {
                    failures_in_a_row =
                        if fault.kind == FaultKind::Transient { failures_in_a_row + 1 } else { 0 };
                    stopped = verdict(&fault, failures_in_a_row);
                    outcomes.push(match fault.kind {
                        FaultKind::Stale => Outcome::Stale(None),
                        _ => Outcome::Failed(fault),
                    });
                }
            }
        }
        Ok(outcomes)
    }

    /// Looks up by id where it is known, then by key whatever that did not find: a record may have
    /// been made again under another id.
    async fn look_up(&self, wanted: &[Wanted], call: &Call) -> Result<Vec<Option<Record>>, Fault> {
        let fields: Option<Vec<&str>> =
            self.fields.as_ref().map(|fields| fields.iter().map(String::as_str).collect());
        let mut ids: Vec<&str> = wanted.iter().filter_map(|wanted| wanted.id.as_deref()).collect();
        ids.sort_unstable();
        ids.dedup();
        let by_id = self.find_ids(&ids, fields.as_deref(), call).await?;
        let known = |wanted: &Wanted| wanted.id.as_ref().and_then(|id| by_id.get(id));
        let mut texts: Vec<Texts> = wanted
            .iter()
            .filter(|wanted| known(wanted).is_none())
            .map(|wanted| wanted.key.parts().into_iter().map(String::from).collect())
            .collect();
        texts.sort_unstable();
        texts.dedup();
        let by_key = self.find(&texts, fields.as_deref(), call).await?;
        let first = |wanted: &Wanted| by_key.get(&wanted.key).and_then(|records| records.first());
        Ok(wanted.iter().map(|wanted| known(wanted).or_else(|| first(wanted)).cloned()).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_stays_short_enough_for_a_url() {
        let texts = |lengths: &[usize]| -> Vec<Texts> {
            lengths.iter().map(|length| vec!["x".repeat(*length)]).collect()
        };
        // (lengths, chunk sizes, why)
        let cases = [
            (vec![], vec![], "nothing"),
            (vec![1; 100], vec![100], "just as many as may be"),
            (vec![1; 101], vec![100, 1], "one more"),
            (vec![1_000, 1_000, 1], vec![1, 2], "long ones"),
            (vec![5_000, 1], vec![1, 1], "one that is too long goes alone"),
        ];
        for (lengths, expected, why) in cases {
            let texts = texts(&lengths);
            let got: Vec<usize> = chunks(&texts).iter().map(|chunk| chunk.len()).collect();
            assert_eq!(got, expected, "{why}");
        }
    }

    #[test]
    fn a_batch_stops_where_going_on_would_only_do_harm() {
        let throttled = Fault::throttled(Some(std::time::Duration::from_secs(3)), "429");
        let rest = verdict(&throttled, 0).expect("stopped");
        assert_eq!(rest.kind, throttled.kind, "all wait as told");
        let lost = Fault::transient(FaultCode::Timeout, "lost").and_may_have_happened();
        assert_eq!(verdict(&lost, 1), None, "one failure is the record's own");
        let rest = verdict(&lost, 3).expect("stopped");
        assert_eq!(rest.kind, FaultKind::Throttled { retry_after: None }, "untried, so at no cost");
        assert!(!rest.may_have_happened, "nothing was sent for the rest");
        assert_eq!(verdict(&Fault::rejected(FaultCode::Validation, "422"), 0), None, "a neighbour's poison");
        let fatal = Fault::fatal(FaultCode::Auth, "401", "log in");
        assert_eq!(verdict(&fatal, 0), Some(fatal));
    }
}
