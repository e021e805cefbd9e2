//! Work that people ask for by the jobs API: one record through a link, at once or later; cancelled, hurried,
//! done again. What was promised to them is kept, and nothing of it may harm what the pollers bring.

use std::collections::BTreeSet;
use std::sync::Arc;

use record_sync::engine::fault::FaultCode;
use record_sync::engine::job::{Job, JobState, Origin};
use record_sync::engine::record::Direction;
use record_sync::runtime::jobs::{Ask, JobProblem};
use record_sync::runtime::supervisor::Runtime;

use crate::life::LINK;
use crate::pushes;
use crate::system::{key_in, key_of};
use crate::world::World;

/// What somebody wants done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// A record through the link, so many milliseconds from now.
    Sync { direction: Direction, key: u8, in_ms: u64, urgent: bool },
    /// The last one that was asked for and still stands is not wanted any more.
    Cancel,
    /// What waits for its next try is tried now.
    Hurry,
    /// The last one that has ended is done again.
    Again,
}

/// Later than any history ends: an edit must not wait for it.
pub const ANOTHER_DAY_MS: u64 = 40 * 86_400_000;

/// Longer than a job waits for its window once its time has come.
const LATE_MS: i64 = 120_000;

/// What people were promised.
#[derive(Default)]
pub struct Promises {
    /// Jobs that were accepted and not called off.
    accepted: BTreeSet<i64>,
    called_off: BTreeSet<i64>,
    /// Those that somebody wanted to call off under way, and nobody may have lived to say so.
    under_way: BTreeSet<i64>,
    /// What was asked for since the last quiet point, answered or not.
    asked: Vec<(Direction, u8)>,
}

impl Promises {
    /// Tells whether somebody asked of late for what this job does.
    pub fn concern(&self, job: &Job) -> bool {
        self.asked.iter().any(|(direction, key)| *direction == job.direction && key_of(*key) == job.key)
    }

    /// From here on only what comes next counts.
    pub fn begin(&mut self) {
        self.asked.clear();
    }

    /// Tells whether somebody was told that this job stands.
    pub fn are_of(&self, id: i64) -> bool {
        self.accepted.contains(&id)
    }

    /// Somebody called a job off.
    pub fn call_off(&mut self, id: i64) {
        if self.accepted.remove(&id) {
            self.called_off.insert(id);
        }
    }

    /// Somebody is about to call a job off that is under way.
    pub fn may_call_off(&mut self, id: i64) {
        self.under_way.insert(id);
    }

    /// It was not.
    pub fn not_called_off(&mut self, id: i64) {
        self.under_way.remove(&id);
    }
}

/// Wishes as the API does. A process that dies meanwhile has promised nothing.
pub async fn wish(world: &Arc<World>, runtime: &Arc<Runtime>, wish: Wish) {
    world.lock().note(|| format!("somebody wishes {wish:?}"));
    let done = match wish {
        Wish::Sync { direction, key, in_ms, urgent } => {
            let now = world.lock().now();
            world.lock().promises.asked.push((direction, key));
            let ask = Ask {
                customer: "default".to_owned(),
                link: LINK.to_owned(),
                key: key_of(key),
                direction,
                priority: i32::from(urgent),
                scheduled_at: (in_ms > 0).then(|| {
                    record_sync::engine::record::Timestamp(now + i64::try_from(in_ms).expect("some days"))
                }),
                attempts_max: 0,
                correlation_id: format!("wish-{now}"),
                once: None,
            };
            runtime.ask_for(ask).await.map(|listed| Some((listed.job.id, true)))
        }
        Wish::Cancel => match last(runtime, |job| job.state.is_active()).await {
            Some(id) => runtime.cancel_job(id).await.map(|listed| Some((listed.job.id, false))),
            None => return,
        },
        Wish::Hurry => {
            let waits = |job: &Job| matches!(job.state, JobState::Retrying | JobState::Waiting);
            match last(runtime, waits).await {
                Some(id) => runtime.retry_job(id).await.map(|_| None),
                None => return,
            }
        }
        Wish::Again => match last(runtime, |job| !job.state.is_active()).await {
            Some(id) => runtime.replay_job(id, "again", None).await.map(|listed| Some((listed.job.id, true))),
            None => return,
        },
    };
    let mut state = world.lock();
    match done {
        Ok(Some((id, true))) => {
            // A number may come twice: who asks while the planner's own job stands gets that one.
            state.promises.called_off.remove(&id);
            state.promises.accepted.insert(id);
        }
        Ok(Some((id, false))) => {
            state.promises.accepted.remove(&id);
            state.promises.called_off.insert(id);
        }
        Ok(None) => {}
        // It moved on while somebody thought about it.
        Err(JobProblem::Standing { .. } | JobProblem::Not { .. } | JobProblem::Unknown(_)) => {}
        Err(problem) => state.note(|| format!("refused: {problem}")),
    }
}

/// The last job that somebody asked for and that is so.
async fn last(runtime: &Arc<Runtime>, is_so: impl Fn(&Job) -> bool) -> Option<i64> {
    let jobs = pushes::kept(runtime).await;
    jobs.iter().find(|job| job.origin == Origin::Asked && is_so(job)).map(|job| job.id)
}

/// Looks whether everybody got what was promised: called once all is at rest.
pub async fn look(world: &Arc<World>, runtime: &Arc<Runtime>) {
    // A push may have taken one of them over.
    let jobs = pushes::kept(runtime).await;
    let mut state = world.lock();
    let now = state.now();
    let mut broken = Vec::new();
    for id in &state.promises.accepted {
        let Some(job) = jobs.iter().find(|job| job.id == *id) else {
            broken.push(format!("job {id} was accepted and is not there"));
            continue;
        };
        // Nobody waits at a quiet point for the time of a job, which may have come just now.
        let is_later = job.scheduled_at.is_some_and(|at| at.0 > now - LATE_MS);
        let is_known = key_in(&job.key).is_some();
        match (job.state, &job.error) {
            (JobState::Synced, _) => {}
            (JobState::Cancelled, _) if state.promises.under_way.contains(id) => {}
            (JobState::Waiting, _) if is_later => {}
            // Nothing of that name stands where it was to come from, or it can't travel.
            (JobState::Dead, Some(error))
                if is_known && matches!(error.code, FaultCode::NotFound | FaultCode::Validation) => {}
            (other, error) => broken.push(format!("job {id} of {} is {other:?}: {error:?}", job.key)),
        }
    }
    for id in &state.promises.called_off {
        let left = jobs.iter().find(|job| job.id == *id).map(|job| job.state);
        if left.is_some_and(|left| left != JobState::Cancelled) {
            broken.push(format!("job {id} was cancelled and is {left:?}"));
        }
    }
    for text in broken {
        state.violated("asked", text);
    }
}
