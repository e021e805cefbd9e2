//! What a person or an application may ask of the runtime.

use std::sync::Arc;

use serde_json::value::RawValue;

use super::fuse::{self, Held, Word};
use super::link::along;
use super::push::Payload;
use super::supervisor::{LinkKey, Running, Runtime, StartError};
use crate::config::Customer;
use crate::engine::fault::Fault;
use crate::engine::job::{JobState, Origin};
use crate::engine::plan::fuse::Kind;
use crate::engine::record::{Direction, Key, Side};
use crate::store::{Commit, LinkId, NewJob, StoreError};

/// Why a request can't be carried out.
#[derive(Debug, thiserror::Error)]
pub enum OperateError {
    #[error(transparent)]
    Start(#[from] StartError),
    #[error("no link of customer {customer} has the system {crm}; there are {known}")]
    UnknownCrm { customer: String, crm: String, known: String },
    #[error("nothing travels to {crm} on link {link}; set its direction to both")]
    NoWay { crm: String, link: String },
    #[error("{0:?} is no record id: {1}")]
    BadKey(String, String),
    #[error("direction {direction} can't be answered for: {reason}")]
    Unreadable { direction: &'static str, reason: String },
    #[error("no conflict waits under the id {0}; GET /v1/conflicts lists those that do")]
    NoConflict(i64),
    #[error("{0}")]
    BadPick(String),
    #[error("the link {0} does not run; see GET /v1/links for why")]
    NotOpen(String),
    #[error(transparent)]
    Fault(#[from] Fault),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A change handed in by an application.
#[derive(Debug)]
pub struct Push {
    pub customer: String,
    /// The destination: a system's name, or a connector's.
    pub crm: String,
    /// `create`, `update` or `delete`.
    pub operation: String,
    pub record_id: String,
    pub data: Box<RawValue>,
    pub correlation_id: String,
    pub priority: i32,
}

/// Where an accepted push is kept.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Pushed {
    pub job_id: i64,
    pub link: String,
    pub direction: &'static str,
}

impl Runtime {
    /// Takes a change in: durable when this returns, delivered by the link's worker.
    pub async fn push(self: &Arc<Self>, push: Push) -> Result<Pushed, OperateError> {
        let (link, direction) = self.towards(&push.customer, &push.crm)?;
        let running = self.start_link(&push.customer, &link).await?;
        let state = self.store.link(&push.customer, &link).await?;
        let key = key(&push.record_id)?;
        let payload = Payload { operation: push.operation, data: push.data, expect: Default::default() };
        let payload = serde_json::to_string(&payload).map_err(|error| StoreError::Io(error.to_string()))?;
        let now = (self.clock)();
        let job = NewJob {
            direction,
            key,
            origin: Origin::Push,
            priority: push.priority,
            due_at: now,
            attempts_max: 0,
            rules_version: running.context.load_full().map_or(0, |ctx| ctx.rules.version),
            correlation_id: push.correlation_id,
            payload: Some(payload),
            replay_of: None,
            state: JobState::Pending,
            error: None,
        };
        let commit = Commit { jobs: vec![job], ..Commit::default() };
        let committed = self.store.commit(state.id, commit, now).await?;
        if let Some(ctx) = running.context.load_full() {
            along(&ctx.due, direction).notify_one();
        }
        let job_id = committed.jobs.first().copied().unwrap_or_default();
        Ok(Pushed { job_id, link, direction: direction.as_str() })
    }

    /// Finds the link of a customer that leads to a system, and the direction.
    pub fn towards(&self, customer: &str, crm: &str) -> Result<(String, Direction), OperateError> {
        let config = self.config();
        let known = config.customer(customer).map_err(|_| StartError::BadCustomer(customer.to_owned()))?;
        for link in known.links.values() {
            for (end, side) in [(&link.b, Side::B), (&link.a, Side::A)] {
                if !names(&known, &end.system, crm) {
                    continue;
                }
                let direction = side.other().outward();
                let goes = match direction {
                    Direction::AToB => link.a_to_b,
                    Direction::BToA => link.b_to_a,
                };
                if !goes {
                    return Err(OperateError::NoWay { crm: crm.to_owned(), link: link.name.clone() });
                }
                return Ok((link.name.clone(), direction));
            }
        }
        let known: Vec<&str> = known.systems.keys().map(String::as_str).collect();
        Err(OperateError::UnknownCrm {
            customer: customer.to_owned(),
            crm: crm.to_owned(),
            known: known.join(", "),
        })
    }

    /// Asks every started link that has a system, at either end, for a poll of that end.
    pub fn poll_system(&self, customer: &str, crm: &str) -> Vec<(LinkKey, Vec<(Side, u64)>)> {
        let config = self.config();
        let Ok(known) = config.customer(customer) else { return Vec::new() };
        let mut asked = Vec::new();
        for (key, running) in self.all_running() {
            let Some(link) = known.links.get(&key.1).filter(|_| key.0 == customer) else { continue };
            let sides: Vec<Side> = [(&link.a, Side::A), (&link.b, Side::B)]
                .into_iter()
                .filter(|(end, _)| names(&known, &end.system, crm))
                .map(|(_, side)| side)
                .collect();
            if !sides.is_empty() {
                asked.push((key, self.ask(&running, &sides)));
            }
        }
        asked
    }

    /// Makes dead, retrying and waiting jobs of a record due now, on all links. Gives their ids.
    pub async fn retry(&self, record_id: &str) -> Result<Vec<i64>, OperateError> {
        let key = key(record_id)?;
        let mut ids = Vec::new();
        for state in self.store.links().await? {
            let running = self.running(&state.customer, &state.link);
            if let Some(ctx) = running.and_then(|running| running.context.load_full()) {
                ctx.circles.forget(&key);
            }
            let made_due = self.store.retry_now(state.id, &key, (self.clock)()).await?;
            if !made_due.is_empty()
                && let Some(running) = self.running(&state.customer, &state.link)
            {
                self.wake(&running);
            }
            ids.extend(made_due);
        }
        Ok(ids)
    }

    /// Pauses a link, or lets it run on; durable.
    pub async fn pause(
        self: &Arc<Self>,
        customer: &str,
        link: &str,
        paused: bool,
    ) -> Result<(), OperateError> {
        self.start_link(customer, link).await?;
        let mut state = self.store.link(customer, link).await?;
        if state.paused != paused {
            state.paused = paused;
            self.store.put_link(&state).await?;
            self.restart(&(customer.to_owned(), link.to_owned())).await;
        }
        Ok(())
    }

    /// Answers for the frozen directions of a link; durable, and taken up with the next pass.
    pub async fn answer(
        &self,
        customer: &str,
        link: &str,
        word: Word,
    ) -> Result<Vec<(Direction, Option<Held>)>, OperateError> {
        let now = (self.clock)();
        let mut links = self.store.links().await?.into_iter();
        let Some(state) = links.find(|known| known.customer == customer && known.link == link) else {
            return Ok(Vec::new());
        };
        let (mut answered, mut unreadable) = (Vec::new(), None);
        for direction in Direction::BOTH {
            let Some(reason) = along(&state.frozen, direction).clone() else { continue };
            let held = fuse::held(self.store.as_ref(), state.id, direction, now).await?;
            if held.as_ref().is_some_and(|held| held.findings.iter().any(|it| it.kind == Kind::Unreadable)) {
                unreadable = Some(OperateError::Unreadable { direction: direction.as_str(), reason });
            } else {
                answered.push((direction, held));
            }
        }
        // The other direction is answered for: a link that matches its sides may wait for just that.
        if let Some(error) = unreadable.filter(|_| answered.is_empty()) {
            return Err(error);
        }
        let running = self.running(customer, link);
        for (direction, held) in &answered {
            if let Some(held) = held {
                let held = Held { answer: Some(word), ..held.clone() };
                fuse::keep(self.store.as_ref(), state.id, *direction, &held).await?;
            }
            if let Some(running) = &running {
                if let Some(ctx) = running.context.load_full() {
                    ctx.fuses.answer(*direction);
                }
                self.ask(running, &[direction.from()]);
            }
        }
        Ok(answered)
    }

    /// Finds the names of a link by the store's number.
    pub async fn link_names(&self, id: LinkId) -> Result<Option<LinkKey>, StoreError> {
        let links = self.store.links().await?;
        Ok(links.into_iter().find(|state| state.id == id).map(|state| (state.customer, state.link)))
    }

    fn wake(&self, running: &Running) {
        if let Some(ctx) = running.context.load_full() {
            Direction::BOTH.iter().for_each(|&direction| along(&ctx.due, direction).notify_one());
        }
    }
}

/// A system may be called by its own name or by its connector's.
fn names(customer: &Customer, system: &str, crm: &str) -> bool {
    system == crm || customer.systems.get(system).is_some_and(|config| config.connector == crm)
}

/// Reads a record id as it stands in a URL.
pub fn key(record_id: &str) -> Result<Key, OperateError> {
    Key::from_text(record_id).map_err(|error| OperateError::BadKey(record_id.to_owned(), error.to_string()))
}
