//! Claims on jobs: what is lost with a process is tried again and counted, what goes on is renewed, and nothing
//! goes out for a claim that was taken back.

use std::sync::Arc;
use std::time::Duration;

use record_sync::connectors::{Class, Delivery};
use record_sync::engine::job::{Attempt, AttemptEnd, Job, JobState};
use record_sync::engine::record::Side;
use record_sync::store::{JobFilter, Store};

use crate::world::{State, World};

/// So long after a process stood still a claim may have been asked for just before that, and used just after.
const JUST_NOW_MS: i64 = 20;
/// What was claimed before a process stood still is through by then.
const OLD_MS: i64 = 60_000;

/// When claims may be lost.
#[derive(Default)]
pub struct Losses {
    /// The process died or ended.
    ends: Vec<i64>,
    /// It stood still, in this life.
    stood_still: Option<i64>,
    /// Until when one stood still last, in whichever life.
    last_stand: i64,
    /// Its jobs.
    store: Option<Arc<dyn Store>>,
}

impl Losses {
    pub fn born(&mut self, store: Arc<dyn Store>) {
        self.store = Some(store);
    }

    pub fn store(&self) -> Option<Arc<dyn Store>> {
        self.store.clone()
    }

    /// Tells whether the process stood still after this moment.
    pub fn stood_still_since(&self, since: i64) -> bool {
        self.last_stand > since
    }

    pub fn died(&mut self, now: i64) {
        self.ends.push(now);
        self.stood_still = None;
        self.store = None;
    }
}

/// The process stands still, and everything else goes on.
pub async fn stand_still(world: &Arc<World>, ms: u64) {
    {
        let mut state = world.lock();
        state.note(|| format!("the process stands still for {ms} ms"));
        // Known before it wakes: others may wake first.
        let until = state.now() + i64::try_from(ms).expect("some seconds");
        (state.losses.stood_still, state.losses.last_stand) = (Some(until), until);
        state.losses.ends.push(until);
    }
    tokio::time::advance(Duration::from_millis(ms)).await;
}

/// Looks, before a call goes out, whether its jobs are still claimed. Only where the process stood still: else
/// nobody takes a claim back.
pub async fn look(world: &Arc<World>, to: Side, deliveries: &[Delivery], class: Class) {
    let store = {
        let mut state = world.lock();
        let now = state.now();
        let since = state.losses.stood_still.map(|at| now - at);
        state.losses.store.clone().filter(|_| {
            class != Class::Backfill && since.is_some_and(|since| (JUST_NOW_MS..OLD_MS).contains(&since))
        })
    };
    let Some(store) = store else { return };
    for delivery in deliveries {
        let direction = Some(to.other().outward());
        let filter =
            JobFilter { direction, key: Some(delivery.key.clone()), limit: 20, ..JobFilter::default() };
        let jobs = store.jobs(filter).await.unwrap_or_default();
        // One that was called off while it ran was not taken back.
        if jobs.iter().any(|(_, job)| job.state == JobState::Cancelled) {
            continue;
        }
        let active = jobs.iter().map(|(_, job)| job).find(|job| job.state.is_active());
        // One that nobody ever claimed came in while a page's own write of the record was on its way: it goes next.
        if let Some(job) = active.filter(|job| job.state != JobState::Leased && job.attempts > 0) {
            let text = format!("job {} of {} goes out and is {:?}", job.id, job.key, job.state);
            world.lock().violated("leases", text);
        }
    }
}

impl State {
    /// Says what is wrong with the attempts of a job that has ended.
    pub fn attempts_broken(&self, job: &Job, attempts: &[Attempt]) -> Option<String> {
        let lost = |attempt: &&Attempt| attempt.end == AttemptEnd::Lost;
        let unexplained = attempts.iter().filter(lost).find(|attempt| {
            let began = attempt.started_at.0;
            let ended = began + i64::try_from(attempt.duration_ms).unwrap_or(i64::MAX);
            !self.losses.ends.iter().any(|at| (began..=ended).contains(at))
        });
        if let Some(attempt) = unexplained {
            return Some(format!("job {}: no process died, and {attempt:?} was lost", job.id));
        }
        // One that was called off between two attempts may have begun to count anew behind the last.
        let is_after = |last: &Attempt| job.state == JobState::Cancelled && last.end != AttemptEnd::Cancelled;
        if attempts.last().is_some_and(is_after) {
            return None;
        }
        let before = attempts.iter().rev().skip(1).take_while(|attempt| lost(attempt)).count();
        let counted = usize::try_from(job.attempts).unwrap_or(usize::MAX);
        (before > 0 && counted <= before)
            .then(|| format!("job {}: {counted} attempts are counted, of {attempts:?}", job.id))
    }
}
