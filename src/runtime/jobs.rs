//! Jobs as a person or an application works with them: asked for, listed, cancelled, tried again, replayed.

use std::sync::Arc;

use super::link::along;
use super::operate::OperateError;
use super::supervisor::{LinkKey, Runtime};
use crate::engine::job::{Attempt, Job, JobState, Origin};
use crate::engine::record::{Direction, Key, Timestamp};
use crate::store::{Counters, Depth, Enqueued, JobFilter, LinkId, NewJob, Once, Retried, StoreError};

/// The form of the payload of what is asked for.
pub const PAYLOAD_VERSION: u32 = 1;

/// A record that is to be brought in step.
#[derive(Debug)]
pub struct Ask {
    pub customer: String,
    pub link: String,
    pub key: Key,
    pub direction: Direction,
    pub priority: i32,
    /// Not before; at once where left out.
    pub scheduled_at: Option<Timestamp>,
    /// 0 means as the retry policy says.
    pub attempts_max: u32,
    pub correlation_id: String,
    /// The same request may come again.
    pub once: Option<Once>,
}

/// Why a job can't be made or moved.
#[derive(Debug, thiserror::Error)]
pub enum JobProblem {
    #[error(transparent)]
    Operate(#[from] OperateError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("there is no job {0}")]
    Unknown(i64),
    #[error("job {standing} stands for this record and direction already, and one at a time is enough")]
    Standing { standing: i64 },
    #[error("job {id} is {state}; {why}")]
    Not { id: i64, state: &'static str, why: &'static str },
}

/// A job with the names of its link.
#[derive(Clone, Debug)]
pub struct Listed {
    pub link: LinkKey,
    pub job: Job,
}

/// How the jobs of some links are doing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Summary {
    pub counters: Counters,
    /// Both directions of all links together.
    pub depth: Depth,
}

impl Runtime {
    /// Makes a durable job for one record.
    pub async fn ask_for(self: &Arc<Self>, ask: Ask) -> Result<Listed, JobProblem> {
        if let Some(made) = self.made(ask.once.as_ref()).await? {
            return Ok(made);
        }
        let running = self.start_link(&ask.customer, &ask.link).await.map_err(OperateError::Start)?;
        self.goes(&ask.customer, &ask.link, ask.direction)?;
        let id = self.store.link(&ask.customer, &ask.link).await?.id;
        let now = (self.clock)();
        let job = NewJob {
            direction: ask.direction,
            key: ask.key,
            origin: Origin::Asked,
            priority: ask.priority,
            due_at: ask.scheduled_at.map_or(now, |at| at.max(now)),
            attempts_max: ask.attempts_max,
            rules_version: running.context.load_full().map_or(0, |ctx| ctx.rules.version),
            correlation_id: ask.correlation_id,
            payload: Some(format!("{{\"payload_version\":{PAYLOAD_VERSION}}}")),
            replay_of: None,
            state: if ask.scheduled_at.is_some_and(|at| at > now) {
                JobState::Waiting
            } else {
                JobState::Pending
            },
            error: None,
        };
        self.enqueue(id, job, ask.once).await
    }

    /// Finds the job that this very request has made before.
    async fn made(&self, once: Option<&Once>) -> Result<Option<Listed>, StoreError> {
        let Some(once) = once else { return Ok(None) };
        let made = once.made(self.store.as_ref(), (self.clock)()).await?;
        match made.and_then(|made| made.first().copied()) {
            Some(id) => self.listed(id).await,
            None => Ok(None),
        }
    }

    /// Refuses a direction in which nothing travels.
    fn goes(&self, customer: &str, link: &str, direction: Direction) -> Result<(), OperateError> {
        let config = self.config();
        let Ok(known) = config.customer(customer) else { return Ok(()) };
        let Some(known) = known.links.get(link) else { return Ok(()) };
        let (goes, to) = match direction {
            Direction::AToB => (known.a_to_b, &known.b),
            Direction::BToA => (known.b_to_a, &known.a),
        };
        let refused = || OperateError::NoWay { crm: to.system.clone(), link: link.to_owned() };
        if goes { Ok(()) } else { Err(refused()) }
    }

    async fn enqueue(&self, link: LinkId, job: NewJob, once: Option<Once>) -> Result<Listed, JobProblem> {
        let direction = job.direction;
        let id = match self.store.enqueue(link, job, once, (self.clock)()).await? {
            Enqueued::Job(id) => id,
            Enqueued::Standing(standing) => return Err(JobProblem::Standing { standing }),
        };
        let made = self.listed(id).await?.ok_or(JobProblem::Unknown(id))?;
        tracing::info!(event = "job.asked", customer = %made.link.0, link = %made.link.1, job_id = id,
            direction = direction.as_str(), key = %made.job.key, correlation_id = %made.job.correlation_id,
            "a job was asked for");
        self.ring(&made.link, direction);
        Ok(made)
    }

    /// Lets the worker of a direction look at its queue.
    fn ring(&self, (customer, link): &LinkKey, direction: Direction) {
        if let Some(ctx) = self.running(customer, link).and_then(|running| running.context.load_full()) {
            along(&ctx.due, direction).notify_one();
        }
    }

    /// Reads a job.
    pub async fn listed(&self, id: i64) -> Result<Option<Listed>, StoreError> {
        let Some((link, job)) = self.store.job(id).await? else { return Ok(None) };
        let link = self.link_names(link).await?;
        Ok(link.map(|link| Listed { link, job }))
    }

    /// Reads a job and its last attempts.
    pub async fn attempts(&self, id: i64) -> Result<(Listed, Vec<Attempt>), JobProblem> {
        let listed = self.listed(id).await?.ok_or(JobProblem::Unknown(id))?;
        Ok((listed, self.store.attempts(id).await?))
    }

    /// Lists jobs of some links, newest first; the second part is where the next page begins.
    pub async fn list_jobs(
        &self,
        (customer, link): (Option<&str>, Option<&str>),
        mut filter: JobFilter,
    ) -> Result<(Vec<Listed>, Option<i64>), StoreError> {
        let states = self.store.links().await?;
        let is_wanted = |of: &str, wanted: Option<&str>| wanted.is_none_or(|wanted| wanted == of);
        if customer.is_some() || link.is_some() {
            let wanted = states
                .iter()
                .filter(|state| is_wanted(&state.customer, customer) && is_wanted(&state.link, link));
            filter.links = Some(wanted.map(|state| state.id).collect());
        }
        let limit = filter.limit;
        filter.limit = limit.saturating_add(1);
        let mut found = self.store.jobs(filter).await?;
        let more = found.len() > limit;
        found.truncate(limit);
        let next = found.last().filter(|_| more).map(|(_, job)| job.id);
        let named = found.into_iter().filter_map(|(id, job)| {
            let state = states.iter().find(|state| state.id == id)?;
            Some(Listed { link: (state.customer.clone(), state.link.clone()), job })
        });
        Ok((named.collect(), next))
    }

    /// Cancels a job; a running one is fenced off, so that it is never taken for a success.
    pub async fn cancel_job(&self, id: i64) -> Result<Listed, JobProblem> {
        let cancelled = self.store.cancel(id, (self.clock)()).await?;
        let listed = self.listed(id).await?.ok_or(JobProblem::Unknown(id))?;
        if !cancelled {
            let (state, why) = (listed.job.state.as_str(), "only active jobs can be cancelled");
            return Err(JobProblem::Not { id, state, why });
        }
        tracing::info!(event = "job.cancelled", customer = %listed.link.0, link = %listed.link.1, job_id = id,
            direction = listed.job.direction.as_str(), key = %listed.job.key,
            correlation_id = %listed.job.correlation_id, "a job was cancelled");
        // A sync that waited behind it goes on by itself.
        self.ring(&listed.link, listed.job.direction);
        Ok(listed)
    }

    /// Makes one job due now.
    pub async fn retry_job(&self, id: i64) -> Result<Listed, JobProblem> {
        let retried = self.store.retry_job(id, (self.clock)()).await?;
        let listed = self.listed(id).await?.ok_or(JobProblem::Unknown(id))?;
        match retried {
            Retried::Due => {
                let running = self.running(&listed.link.0, &listed.link.1);
                if let Some(ctx) = running.and_then(|running| running.context.load_full()) {
                    ctx.circles.forget(&listed.job.key);
                }
                self.ring(&listed.link, listed.job.direction);
                Ok(listed)
            }
            Retried::Unknown => Err(JobProblem::Unknown(id)),
            Retried::Standing(standing) => Err(JobProblem::Standing { standing }),
            Retried::Not(state) => {
                let why = match state {
                    JobState::Pending | JobState::Leased => "it is on its way",
                    JobState::Conflict => "settle it with POST /v1/conflicts/{id}/resolve",
                    _ => "replay it to do it again",
                };
                Err(JobProblem::Not { id, state: state.as_str(), why })
            }
        }
    }

    /// Does what an ended job did again, as a new job that names it.
    pub async fn replay_job(
        self: &Arc<Self>,
        id: i64,
        correlation_id: &str,
        once: Option<Once>,
    ) -> Result<Listed, JobProblem> {
        if let Some(made) = self.made(once.as_ref()).await? {
            return Ok(made);
        }
        let old = self.listed(id).await?.ok_or(JobProblem::Unknown(id))?;
        if old.job.state.is_active() {
            return Err(JobProblem::Standing { standing: id });
        }
        self.start_link(&old.link.0, &old.link.1).await.map_err(OperateError::Start)?;
        self.replay(&old, correlation_id, once).await
    }

    pub(super) async fn replay(
        &self,
        old: &Listed,
        correlation_id: &str,
        once: Option<Once>,
    ) -> Result<Listed, JobProblem> {
        let (customer, link) = &old.link;
        let state = self.store.link(customer, link).await?;
        let job = &old.job;
        // What the planner left, or somebody asked for, is looked at as it is now.
        let (origin, payload) = match job.origin {
            Origin::Push => (Origin::Push, job.payload.clone()),
            Origin::Sync | Origin::Asked => {
                (Origin::Asked, Some(format!("{{\"payload_version\":{PAYLOAD_VERSION}}}")))
            }
        };
        let running = self.running(customer, link).and_then(|running| running.context.load_full());
        let job = NewJob {
            direction: job.direction,
            key: job.key.clone(),
            origin,
            priority: job.priority.max(1),
            due_at: (self.clock)(),
            attempts_max: job.attempts_max,
            rules_version: running.map_or(job.rules_version, |ctx| ctx.rules.version),
            correlation_id: correlation_id.to_owned(),
            payload,
            replay_of: Some(job.id),
            state: JobState::Pending,
            error: None,
        };
        self.enqueue(state.id, job, once).await
    }

    /// Adds up the jobs of some links.
    pub async fn summary(&self, customer: Option<&str>, link: Option<&str>) -> Result<Summary, StoreError> {
        let mut summary = Summary::default();
        for state in self.store.links().await? {
            let is_wanted = customer.is_none_or(|customer| customer == state.customer)
                && link.is_none_or(|link| link == state.link);
            if !is_wanted {
                continue;
            }
            summary.counters += state.counters;
            for depth in self.store.depth(state.id).await? {
                summary.depth += depth;
            }
        }
        Ok(summary)
    }
}
