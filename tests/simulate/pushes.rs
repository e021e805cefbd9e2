//! Changes that an application hands in (`POST /v1/sync/`): what was answered is durable, arrives at its
//! destination as if somebody had worked there, and travels to the other side by the ordinary poll.

use std::collections::BTreeMap;
use std::sync::Arc;

use record_sync::engine::fault::FaultCode;
use record_sync::engine::job::{Job, JobState, Origin};
use record_sync::engine::record::{Side, Value};
use record_sync::runtime::jobs::JobProblem;
use record_sync::runtime::operate::{self, PushProblem};
use record_sync::runtime::supervisor::Runtime;
use record_sync::store::JobFilter;
use serde_json::value::RawValue;

use crate::handed::{Handed, Operation};
use crate::ledger::is_token;
use crate::setup::{FIELDS, KEYS};
use crate::steps::Fill;
use crate::system::{key_in, key_text};
use crate::world::{State, World, word};

/// What an application does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Push {
    /// It hands in so many changes at once, from this key on; of fields those whose bits are set.
    Hand { side: Side, key: u8, count: u8, operation: Operation, fields: u8, fill: Fill },
    /// The last push that still stands is called off.
    Cancel,
    /// What waits for its next try, or is dead, is tried now.
    Hurry,
    /// The last one that has ended is done again.
    Again,
}

/// Does what an application does. A process that dies meanwhile has promised nothing.
pub async fn push(world: &Arc<World>, runtime: &Arc<Runtime>, push: Push) {
    world.lock().note(|| format!("an application does {push:?}"));
    match push {
        Push::Hand { side, key, count, operation, fields, fill } => {
            let keys = (0..count).map(|more| (key + more) % KEYS);
            let (first, requests) = world.lock().hand(side, keys, operation, fields, fill);
            let answer = runtime.push(requests, None).await;
            world.lock().handed(first, answer);
        }
        Push::Cancel => {
            let Some(id) = last(runtime, |job| job.state.is_active()).await else { return };
            world.lock().pushes.of(id).for_each(|handed| handed.called_off = true);
            let cancelled = runtime.cancel_job(id).await;
            world.lock().called_off(id, cancelled.map(|_| ()));
        }
        Push::Hurry => {
            let waits = |job: &Job| matches!(job.state, JobState::Retrying | JobState::Dead);
            let Some(id) = last(runtime, waits).await else { return };
            world.lock().pushes.of(id).for_each(|handed| handed.again = true);
            let _ = runtime.retry_job(id).await;
        }
        Push::Again => {
            let Some(id) = last(runtime, |job| !job.state.is_active()).await else { return };
            world.lock().pushes.of(id).for_each(|handed| handed.again = true);
            // It stands in nobody's way that another one is under way.
            let _ = runtime.replay_job(id, "push-again", None).await;
        }
    }
}

/// Everything that is kept of what was asked for or handed in, newest first.
pub async fn kept(runtime: &Arc<Runtime>) -> Vec<Job> {
    let filter = JobFilter { limit: 1_000, ..JobFilter::default() };
    let jobs = runtime.store.jobs(filter).await.unwrap_or_default();
    jobs.into_iter().map(|(_, job)| job).filter(|job| job.origin.is_kept()).collect()
}

async fn last(runtime: &Arc<Runtime>, is_so: impl Fn(&Job) -> bool) -> Option<i64> {
    let jobs = kept(runtime).await;
    jobs.iter().find(|job| job.origin == Origin::Push && is_so(job)).map(|job| job.id)
}

/// Looks whether everything that was answered came to its end: called once all is at rest.
pub async fn look(world: &Arc<World>, runtime: &Arc<Runtime>) {
    let jobs = kept(runtime).await;
    let of_late = world.lock().pushes.of_late();
    let mut attempts = BTreeMap::new();
    for id in of_late {
        attempts.insert(id, runtime.store.attempts(id).await.unwrap_or_default());
    }
    let mut state = world.lock();
    let checks_third = state.rules.wide && !state.blurs;
    let mut broken = Vec::new();
    for (at, handed) in state.pushes.handed.iter().enumerate().skip(state.pushes.judged) {
        let Some(id) = handed.job else { continue };
        let name = format!("{} (job {id}) of k{} to {}", handed.name, handed.key, handed.side.as_str());
        let is_its = |job: &&Job| match id {
            0 => job.direction.to() == handed.side && key_in(&job.key) == Some(handed.key),
            id => job.id == id,
        };
        let Some(job) = jobs.iter().find(is_its) else {
            broken.push(format!("{name} was answered and is not there"));
            continue;
        };
        if job.origin != Origin::Push {
            broken.push(format!("{name} is {:?}", job.origin));
            continue;
        }
        // Whoever has it tried or done again, or asks for what stands, gives it all its attempts again.
        let is_anew = handed.again || job.replay_of.is_some() || state.promises.concern(job);
        if let Some(attempts) = attempts.remove(&id).filter(|_| !is_anew && !job.state.is_active()) {
            broken.extend(state.attempts_broken(job, &attempts));
        }
        let later = || state.pushes.handed.iter().skip(at + 1).filter(|later| later.is_for(handed));
        match (job.state, &job.error) {
            (JobState::Synced, _) => {
                let replaced = |field: usize| {
                    later().any(|later| later.values[field].is_some() || later.operation == Operation::Delete)
                        || handed.operation == Operation::Delete && later().next().is_some()
                };
                if handed.operation == Operation::Delete && !handed.gone && later().next().is_none() {
                    broken.push(format!("{name} is synced, and nothing was deleted"));
                }
                for field in 0..if checks_third { FIELDS.len() } else { FIELDS.len() - 1 } {
                    let Some(value) = handed.values[field].as_ref().filter(|value| is_token(value)) else {
                        continue;
                    };
                    if !handed.arrived[field] && !replaced(field) {
                        let text = format!("{name} is synced, but {} never arrived", word(value));
                        broken.push(text);
                    }
                }
            }
            (JobState::Cancelled, _) if handed.called_off => {}
            (JobState::Dead, Some(error))
                if error.code == FaultCode::Validation
                    && (state.pushes.poisons(handed) || state.poisoned.contains(&handed.key)) => {}
            (other, error) => broken.push(format!("{name} is {other:?}: {error:?}")),
        }
    }
    state.pushes.judged = state.pushes.handed.len();
    state.promises.begin();
    for text in broken {
        state.violated("pushed", text);
    }
}

impl State {
    /// Notes what is handed in, before that is answered.
    fn hand(
        &mut self,
        side: Side,
        keys: impl Iterator<Item = u8>,
        operation: Operation,
        fields: u8,
        fill: Fill,
    ) -> (usize, Vec<operate::Push>) {
        let first = self.pushes.handed.len();
        let mut requests = Vec::new();
        for key in keys {
            let values: [Option<Value>; FIELDS.len()] = std::array::from_fn(|field| {
                let named = operation != Operation::Delete && fields & (1 << field) != 0;
                named.then(|| self.fill(side, key, field as u8, fill)).flatten()
            });
            let name = format!("push-{}", self.pushes.handed.len());
            let members: Vec<String> = FIELDS
                .iter()
                .zip(&values)
                .filter_map(|(field, value)| Some(format!("\"{field}\":{}", json(value.as_ref()?))))
                .collect();
            self.note(|| {
                format!("{name} is to {} k{key} at {} {members:?}", operation.word(), side.as_str())
            });
            requests.push(operate::Push {
                customer: "default".to_owned(),
                crm: side.as_str().to_owned(),
                operation: operation.word().to_owned(),
                record_id: key_text(key),
                data: RawValue::from_string(format!("{{{}}}", members.join(","))).expect("an object"),
                correlation_id: name.clone(),
                priority: 1,
            });
            self.pushes.handed.push(Handed {
                name,
                side,
                key,
                operation,
                values,
                job: None,
                refused: false,
                again: false,
                called_off: false,
                arrived: [false; FIELDS.len()],
                gone: false,
                deleted: false,
                in_doubt: false,
            });
        }
        (first, requests)
    }

    /// Notes what was answered.
    fn handed(&mut self, first: usize, answer: Result<Vec<operate::Pushed>, PushProblem>) {
        match answer {
            Ok(pushed) => {
                for (handed, pushed) in self.pushes.handed.iter_mut().skip(first).zip(&pushed) {
                    handed.job = Some(pushed.job_id);
                }
            }
            Err(problem) => {
                self.note(|| format!("refused: {problem:?}"));
                self.pushes.handed.iter_mut().skip(first).for_each(|handed| handed.refused = true);
            }
        }
    }

    fn called_off(&mut self, id: i64, cancelled: Result<(), JobProblem>) {
        match cancelled {
            // It may be what somebody asked for, and a push has taken over.
            Ok(()) => self.promises.call_off(id),
            Err(problem) => self.note(|| format!("refused: {problem}")),
        }
    }
}

fn json(value: &Value) -> String {
    match value {
        Value::Text(text) => serde_json::to_string(text.as_str()).expect("a text"),
        Value::Int(number) => number.to_string(),
        _ => "null".to_owned(),
    }
}
