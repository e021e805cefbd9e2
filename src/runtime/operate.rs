//! What a person or an application may ask of the runtime.

use std::sync::Arc;

use serde_json::value::RawValue;

use super::fuse::{self, Held, Word};
use super::link::along;
use super::mark;
use super::push::Payload;
use super::supervisor::{LinkKey, Running, Runtime, StartError};
use crate::config::Customer;
use crate::engine::fault::Fault;
use crate::engine::job::{JobState, Origin};
use crate::engine::plan::fuse::Kind;
use crate::engine::record::{Direction, Key, Side};
use crate::planted::{Bug, planted};
use crate::store::{Commit, LinkId, LinkWord, NewJob, Once, StoreError};

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
#[derive(Clone, Debug)]
pub struct Pushed {
    pub job_id: i64,
    pub record_id: String,
    pub customer: String,
    pub link: String,
    pub direction: &'static str,
}

impl Pushed {
    /// Writes it as users read it.
    pub fn shown(&self) -> serde_json::Value {
        serde_json::json!({ "job_id": self.job_id, "status": "queued", "record_id": self.record_id,
            "customer_id": self.customer, "link": self.link, "direction": self.direction })
    }
}

/// Why nothing of some pushes was taken.
#[derive(Debug)]
pub enum PushProblem {
    /// The push at this place is the reason.
    At(usize, OperateError),
    /// Too much waits in that direction already.
    Full { link: String, direction: &'static str, mark: u64, retry_after: u64 },
}

/// A direction of a running link with the pushes that go there, by their places.
struct Lane {
    customer: String,
    link: String,
    direction: Direction,
    running: Arc<Running>,
    id: LinkId,
    pushes: Vec<(usize, NewJob)>,
    once: Option<Once>,
    /// The same request has made these jobs before.
    made: Option<Vec<i64>>,
}

/// When to come again where the queue is full, in seconds.
const FULL_RETRY_AFTER: u64 = 30;

impl Runtime {
    /// Takes changes in, all or none: durable when this returns, delivered by the links' workers.
    ///
    /// What a request under the same name has made before is not made again.
    pub async fn push(
        self: &Arc<Self>,
        pushes: Vec<Push>,
        once: Option<Once>,
    ) -> Result<Vec<Pushed>, PushProblem> {
        let now = (self.clock)();
        let mut lanes: Vec<Lane> = Vec::new();
        let mut pushed: Vec<Pushed> = Vec::with_capacity(pushes.len());
        for (place, push) in pushes.into_iter().enumerate() {
            let at = |error| PushProblem::At(place, error);
            let (link, direction) = self.towards(&push.customer, &push.crm).map_err(at)?;
            let is_lane = |lane: &Lane| {
                lane.customer == push.customer && lane.link == link && lane.direction == direction
            };
            let known = match lanes.iter().position(is_lane) {
                Some(known) => known,
                None => {
                    let once = once.as_ref().map(|once| once.part(lanes.len()));
                    lanes.push(self.lane(&push.customer, &link, direction, once).await.map_err(at)?);
                    lanes.len() - 1
                }
            };
            let Some(lane) = lanes.get_mut(known) else { continue };
            pushed.push(Pushed {
                job_id: 0,
                record_id: push.record_id.clone(),
                customer: push.customer.clone(),
                link,
                direction: direction.as_str(),
            });
            let rules_version = lane.running.context.load_full().map_or(0, |ctx| ctx.rules.version);
            lane.pushes.push((place, job(push, direction, rules_version, now).map_err(at)?));
        }
        for lane in lanes.iter().filter(|lane| lane.made.is_none()) {
            self.has_room(lane).await?;
        }
        for lane in lanes {
            let (places, jobs): (Vec<usize>, Vec<NewJob>) = lane.pushes.into_iter().unzip();
            let first = places.first().copied().unwrap_or_default();
            let made = match lane.made {
                Some(made) => made,
                None if planted(Bug::PushUnstored) => {
                    let (store, commit) = (Arc::clone(&self.store), Commit { jobs, ..Commit::default() });
                    self.spawn(async move {
                        let _ = store.commit(lane.id, commit, now).await;
                    });
                    Vec::new()
                }
                None => {
                    let commit = Commit { jobs, once: lane.once, ..Commit::default() };
                    let committed = self.store.commit(lane.id, commit, now).await;
                    committed.map_err(|error| PushProblem::At(first, error.into()))?.jobs
                }
            };
            for (place, id) in places.into_iter().zip(made) {
                if let Some(pushed) = pushed.get_mut(place) {
                    pushed.job_id = id;
                }
            }
            if let Some(ctx) = lane.running.context.load_full() {
                along(&ctx.due, lane.direction).notify_one();
            }
        }
        Ok(pushed)
    }

    async fn lane(
        self: &Arc<Self>,
        customer: &str,
        link: &str,
        direction: Direction,
        once: Option<Once>,
    ) -> Result<Lane, OperateError> {
        let running = self.start_link(customer, link).await?;
        let id = self.store.link(customer, link).await?.id;
        let made = match &once {
            Some(once) => once.made(self.store.as_ref(), (self.clock)()).await?,
            None => None,
        };
        let (customer, link) = (customer.to_owned(), link.to_owned());
        Ok(Lane { customer, link, direction, running, id, pushes: Vec::new(), once, made })
    }

    /// Refuses pushes to a queue that is past its mark.
    async fn has_room(&self, lane: &Lane) -> Result<(), PushProblem> {
        let config = self.config();
        let known = config.customer(&lane.customer).ok();
        let Some(mark) = known.and_then(|known| known.links.get(&lane.link).map(|link| link.queue_max))
        else {
            return Ok(());
        };
        let names = (lane.customer.as_str(), lane.link.as_str());
        let is_full = mark::is_reached(self.store.as_ref(), names, lane.id, lane.direction, mark).await;
        if !is_full.map_err(|error| PushProblem::At(0, error.into()))? {
            return Ok(());
        }
        let (link, direction) = (lane.link.clone(), lane.direction.as_str());
        Err(PushProblem::Full { link, direction, mark, retry_after: FULL_RETRY_AFTER })
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
        let state = self.store.link(customer, link).await?;
        if state.paused != paused {
            self.store.tell_link(state.id, vec![LinkWord::Paused(paused)]).await?;
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

/// Makes the job of a push.
fn job(
    push: Push,
    direction: Direction,
    rules_version: u32,
    now: crate::engine::record::Timestamp,
) -> Result<NewJob, OperateError> {
    let key = key(&push.record_id)?;
    let payload = Payload { operation: push.operation, data: push.data, expect: Default::default() };
    let payload = serde_json::to_string(&payload).map_err(|error| StoreError::Io(error.to_string()))?;
    Ok(NewJob {
        direction,
        key,
        origin: Origin::Push,
        priority: push.priority,
        due_at: now,
        attempts_max: 0,
        rules_version,
        correlation_id: push.correlation_id,
        payload: Some(payload),
        replay_of: None,
        state: JobState::Pending,
        error: None,
    })
}

/// A system may be called by its own name or by its connector's.
fn names(customer: &Customer, system: &str, crm: &str) -> bool {
    system == crm || customer.systems.get(system).is_some_and(|config| config.connector == crm)
}

/// Reads a record id as it stands in a URL.
pub fn key(record_id: &str) -> Result<Key, OperateError> {
    Key::from_text(record_id).map_err(|error| OperateError::BadKey(record_id.to_owned(), error.to_string()))
}
