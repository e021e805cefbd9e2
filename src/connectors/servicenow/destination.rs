//! The writing end: the Batch API, with a look before every create.
//!
//! Invariant: a create goes out only after a look-up by key, made in the same call, found nothing; so a repeat
//! after a lost reply finds the record that the first try made.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;

use super::instance::Instance;
use super::lookup::{Found, Texts};
use super::table::TableView;
use super::wire::{self, Asked, BatchPlan, Dictionary};
use crate::connectors::rest::{PathQuery, RawReply, ambiguous, delivered, gone, standing_as};
use crate::connectors::{Batch, Call, Delivery, Destination, Outcome, StreamSpec, Wanted, Write};
use crate::engine::fault::{Fault, FaultCode, FaultKind};
use crate::engine::record::{Record, Schema};

/// How often what the service had no time for is sent again within one call.
const ROUNDS_MAX: usize = 3;

/// The writing end of one table.
pub struct ServiceNowDestination {
    view: TableView,
}

/// What is to be done for one delivery.
enum Step {
    Done(Outcome),
    Send(Asked),
}

impl ServiceNowDestination {
    /// Opens the end; calls nothing.
    pub fn new(instance: Arc<Instance>, spec: &StreamSpec) -> Self {
        Self { view: TableView::new(instance, spec) }
    }

    /// Decides what one delivery needs, whose record the look-up found as `there`.
    fn step(&self, shape: &Schema, delivery: &Delivery, there: &[Record], dictionary: &Dictionary) -> Step {
        let id = match (&delivery.id, &delivery.write) {
            (Some(id), Write::Update(_) | Write::Delete) => id.to_string(),
            _ => match (there, &delivery.write) {
                ([], Write::Delete) => return Step::Done(gone(None)),
                ([], Write::Update(_)) => return Step::Done(Outcome::Stale(None)),
                ([], Write::Create(_)) => return self.create(shape, delivery, dictionary),
                ([one], Write::Create(values)) => {
                    return Step::Done(standing_as(shape, values, one, |name| name != "sys_id", wire::same));
                }
                ([one], _) => match &one.meta.id {
                    Some(id) => id.to_string(),
                    None => return Step::Done(Outcome::Stale(Some(one.clone()))),
                },
                (several, _) => {
                    return Step::Done(Outcome::Failed(ambiguous(&self.view.table, several)));
                }
            },
        };
        if !wire::is_sys_id(&id) {
            return Step::Done(match &delivery.write {
                Write::Delete => gone(Some(id.as_str().into())),
                _ => Outcome::Stale(None),
            });
        }
        let path = format!("/api/now/table/{}/{id}", self.view.table);
        match &delivery.write {
            Write::Delete => Step::Send(Asked { method: "DELETE", path, body: None }),
            Write::Create(values) | Write::Update(values) => match wire::encode(shape, values, dictionary) {
                Ok(body) => {
                    Step::Send(Asked { method: "PATCH", path: self.answered(path, shape), body: Some(body) })
                }
                Err(fault) => Step::Done(Outcome::Failed(fault)),
            },
        }
    }

    fn create(&self, shape: &Schema, delivery: &Delivery, dictionary: &Dictionary) -> Step {
        let Write::Create(values) = &delivery.write else { return Step::Done(Outcome::Stale(None)) };
        let operation = format!("create {}", self.view.table);
        let refuse = |message: &str, remedy: &str| {
            let fault = Fault::rejected(FaultCode::Validation, format!("{operation}: {message}"));
            Step::Done(Outcome::Failed(Fault { remedy: Some(remedy.to_owned()), ..fault }))
        };
        if self.view.key.iter().any(|name| name == "sys_id") {
            return refuse(
                "the service gives the ids, so none can be made under a given id",
                "write another key, or let this direction only update and delete",
            );
        }
        if !delivery.key.parts().iter().all(|part| wire::is_sayable(part)) {
            return refuse(
                "its key is empty or begins with `javascript:`, so it could never be found again",
                "correct the key at the source, or hold the record back with a filter",
            );
        }
        let path = self.answered(format!("/api/now/table/{}", self.view.table), shape);
        match wire::encode(shape, values, dictionary) {
            Ok(body) => Step::Send(Asked { method: "POST", path, body: Some(body) }),
            Err(fault) => Step::Done(Outcome::Failed(fault)),
        }
    }

    /// Asks for the stored record as the answer.
    fn answered(&self, path: String, shape: &Schema) -> String {
        PathQuery::new(path)
            .with("sysparm_fields", &self.view.with_own(shape.names()).join(","))
            .with("sysparm_exclude_reference_link", "true")
            .into_text()
    }

    /// Turns the answer to one request into its outcome.
    fn outcome(&self, shape: &Schema, delivery: &Delivery, reply: &RawReply) -> Result<Outcome, Fault> {
        let operation = operation(&self.view.table, delivery);
        let checked = self.view.instance.check(&operation, reply);
        match (&delivery.write, checked) {
            (Write::Delete, Ok(())) => Ok(gone(delivery.id.clone())),
            (Write::Delete, Err(fault)) if wire::is_not_found(&fault) => Ok(gone(delivery.id.clone())),
            (Write::Update(_), Err(fault)) if wire::is_not_found(&fault) => Ok(Outcome::Stale(None)),
            (_, Err(fault)) => Err(fault),
            (_, Ok(())) => {
                let row = wire::Decoder::new(&self.view.key, shape.names())
                    .single(&operation, &reply.body)
                    .map_err(Fault::and_may_have_happened)?;
                Ok(delivered(&row.record))
            }
        }
    }

    /// Sends one request by itself.
    async fn send_one(&self, batch: &Batch, number: usize, asked: &Asked, call: &Call) -> Outcome {
        let Some(delivery) = batch.deliveries.get(number) else { return Outcome::Stale(None) };
        let name = operation(&self.view.table, delivery);
        let outcome = match self.view.instance.change(&name, asked, call).await {
            Ok(reply) => self.outcome(&batch.shape, delivery, &reply),
            Err(fault) if wire::is_not_found(&fault) => match &delivery.write {
                Write::Delete => Ok(gone(delivery.id.clone())),
                Write::Update(_) => Ok(Outcome::Stale(None)),
                Write::Create(_) => Err(fault),
            },
            Err(fault) => Err(fault),
        };
        outcome.unwrap_or_else(failed)
    }

    /// Sends many requests together; gives each its own outcome.
    async fn send_all(&self, batch: &Batch, mut plan: BatchPlan, call: &Call) -> BTreeMap<usize, Outcome> {
        let name = format!("write {}", self.view.table);
        let mut outcomes = BTreeMap::new();
        let mut rounds: BTreeMap<usize, usize> = BTreeMap::new();
        let mut stopped: Option<Fault> = None;
        while !plan.is_empty() {
            let sent = plan.next();
            if let Some(fault) = &stopped {
                outcomes.extend(sent.into_keys().map(|number| (number, Outcome::Failed(fault.clone()))));
                continue;
            }
            let answers = match self.view.instance.batch(&name, &sent, call).await {
                Ok(answers) => answers,
                Err(fault) => {
                    // Nothing can be said of any of these; the others were not tried.
                    stopped = untried(&fault);
                    outcomes.extend(sent.into_keys().map(|number| (number, failed(fault.clone()))));
                    continue;
                }
            };
            for (number, asked) in sent {
                let Some(delivery) = batch.deliveries.get(number) else { continue };
                if let Some(reply) = answers.replies.get(&number) {
                    let outcome = self.outcome(&batch.shape, delivery, reply).unwrap_or_else(|fault| {
                        if fault.kind != FaultKind::Transient {
                            stopped = stopped.take().or_else(|| untried(&fault));
                        }
                        failed(fault)
                    });
                    outcomes.insert(number, outcome);
                } else if answers.unserviced.contains(&number) {
                    let round = rounds.entry(number).or_insert(1);
                    *round += 1;
                    if *round <= ROUNDS_MAX {
                        plan.push(number, asked);
                    } else {
                        outcomes.insert(number, Outcome::Failed(unserviced(&name)));
                    }
                } else {
                    let what = format!("{name}: no answer to one of the requests of a batch");
                    let fault = Fault::transient(FaultCode::Protocol, what).and_may_have_happened();
                    outcomes.insert(number, Outcome::Failed(fault));
                }
            }
        }
        outcomes
    }

    /// Gives the texts under which a delivery's record may be found: the key's own, and the value as
    /// it is sent where that is written in another way.
    fn texts_of(&self, shape: &Schema, delivery: &Delivery) -> Vec<Texts> {
        let canonical: Texts = delivery.key.parts().into_iter().map(String::from).collect();
        let Write::Create(values) = &delivery.write else { return vec![canonical] };
        let value = |name: &String| Some(String::from(values.get(shape.position(name)?)?.to_plain()?));
        let sent: Option<Texts> = self.view.key.iter().map(value).collect();
        match sent {
            Some(sent) if sent != canonical => vec![canonical, sent],
            _ => vec![canonical],
        }
    }
}

fn operation(table: &str, delivery: &Delivery) -> String {
    let verb = match &delivery.write {
        Write::Create(_) => "create",
        Write::Update(_) => "update",
        Write::Delete => "delete",
    };
    match &delivery.id {
        Some(id) => format!("{verb} {table} {id}"),
        None => format!("{verb} {table}"),
    }
}

fn failed(fault: Fault) -> Outcome {
    match fault.kind {
        FaultKind::Stale => Outcome::Stale(None),
        _ => Outcome::Failed(fault),
    }
}

/// Tells what those meet that were not tried, which costs them no attempt; `None` where they may go on.
fn untried(fault: &Fault) -> Option<Fault> {
    let kind = match &fault.kind {
        FaultKind::Transient => FaultKind::Throttled { retry_after: None },
        FaultKind::Throttled { .. } | FaultKind::Fatal => fault.kind.clone(),
        FaultKind::Stale | FaultKind::Rejected => return None,
    };
    Some(Fault { kind, may_have_happened: false, ..fault.clone() })
}

/// Nothing was done, so it costs no attempt.
fn unserviced(operation: &str) -> Fault {
    let what = format!("{operation}: the service ran out of time before this record");
    Fault {
        remedy: Some("lower batch_size of this system".to_owned()),
        ..Fault::new(FaultKind::Throttled { retry_after: None }, FaultCode::Timeout, what)
    }
}

#[async_trait]
impl Destination for ServiceNowDestination {
    async fn write(&self, batch: &Batch, call: &Call) -> Result<Vec<Outcome>, Fault> {
        let shape = &batch.shape;
        let dictionary = self.view.instance.dictionary(&self.view.table, false, call).await?;
        let unknown = batch
            .deliveries
            .iter()
            .filter(|delivery| delivery.id.is_none() || matches!(delivery.write, Write::Create(_)));
        let texts: BTreeSet<Texts> = unknown.flat_map(|delivery| self.texts_of(shape, delivery)).collect();
        let texts: Vec<Texts> = texts.into_iter().collect();
        let fields = self.view.with_own(shape.names());
        let found = match texts.is_empty() {
            true => Found::new(),
            false => self.view.find(&texts, Some(&fields), call).await?,
        };
        let (mut outcomes, mut sends) = (BTreeMap::new(), Vec::new());
        for (number, delivery) in batch.deliveries.iter().enumerate() {
            let there = found.get(&delivery.key).map_or(&[][..], Vec::as_slice);
            match self.step(shape, delivery, there, &dictionary) {
                Step::Done(outcome) => drop(outcomes.insert(number, outcome)),
                Step::Send(asked) => sends.push((number, asked)),
            }
        }
        match sends.as_slice() {
            [] => {}
            [(number, asked)] => {
                outcomes.insert(*number, self.send_one(batch, *number, asked, call).await);
            }
            _ => {
                let mut plan = BatchPlan::default();
                sends.into_iter().for_each(|(number, asked)| plan.push(number, asked));
                outcomes.extend(self.send_all(batch, plan, call).await);
            }
        }
        Ok(outcomes.into_values().collect())
    }

    /// Looks up by id where it is known, then by key whatever that did not find: a record may have
    /// been made again under another id.
    async fn look_up(&self, wanted: &[Wanted], call: &Call) -> Result<Vec<Option<Record>>, Fault> {
        let fields = self.view.asked_fields();
        let ids: BTreeSet<&str> = wanted.iter().filter_map(|wanted| wanted.id.as_deref()).collect();
        let ids: Vec<&str> = ids.into_iter().collect();
        let by_id = self.view.find_ids(&ids, fields.as_deref(), call).await?;
        let known = |wanted: &Wanted| wanted.id.as_ref().and_then(|id| by_id.get(id));
        let texts: BTreeSet<Texts> = wanted
            .iter()
            .filter(|wanted| known(wanted).is_none())
            .map(|wanted| wanted.key.parts().into_iter().map(String::from).collect())
            .collect();
        let texts: Vec<Texts> = texts.into_iter().collect();
        let by_key = self.view.find(&texts, fields.as_deref(), call).await?;
        let first = |wanted: &Wanted| by_key.get(&wanted.key).and_then(|records| records.first());
        Ok(wanted.iter().map(|wanted| known(wanted).or_else(|| first(wanted)).cloned()).collect())
    }
}
