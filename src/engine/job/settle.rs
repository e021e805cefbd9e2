//! What the end of an attempt means for its job.
//!
//! Invariant: every end leads to exactly one next step; only a transient fault, or a record that
//! keeps moving, costs an attempt. Attempts are counted when a job is leased, so `job.attempts`
//! includes the one that ends here, and crashes cost attempts too.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Job, JobError};
use crate::engine::fault::{Fault, FaultCode, FaultKind};
use crate::engine::flow::full_jitter;
use crate::engine::record::Timestamp;
use crate::planted::{Bug, planted};

/// How often and how patiently a job is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// The largest wait after the first failed attempt; doubles with each further one.
    pub base: Duration,
    /// The largest wait at all between two attempts.
    pub max: Duration,
    /// Attempts until a job is a dead letter, for jobs that don't say so themselves.
    pub attempts_max: u32,
}

impl Default for Patience {
    fn default() -> Self {
        Self { base: Duration::from_secs(1), max: Duration::from_secs(300), attempts_max: 8 }
    }
}

/// The same, also by what went wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RetryPolicy {
    pub usual: Patience,
    pub faults: BTreeMap<FaultCode, Patience>,
}

impl RetryPolicy {
    /// Gives what holds after a fault of this kind.
    pub fn after(&self, code: FaultCode) -> Patience {
        self.faults.get(&code).copied().unwrap_or(self.usual)
    }

    /// Gives the attempts that any fault leaves a job.
    fn attempts_max(&self) -> u32 {
        let most = self.faults.values().map(|patience| patience.attempts_max).max();
        most.unwrap_or_default().max(self.usual.attempts_max)
    }
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended<'f> {
    /// The destination confirmed it.
    Delivered,
    /// The record had moved; `planned_again` says how often this attempt was planned again already.
    Stale {
        planned_again: u32,
    },
    /// The destination as a whole fails, and is left alone until then.
    Outage {
        until: Timestamp,
    },
    Failed(&'f Fault),
}

/// What happens to the job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobNext {
    /// Through.
    Synced,
    /// Put off at no cost: the attempt is given back.
    Snoozed { due_at: Timestamp },
    /// Another try later; the attempt counts.
    Retrying { due_at: Timestamp, error: JobError },
    /// A dead letter.
    Dead { error: JobError },
    /// Plan again at once from what stands there now, within the same attempt.
    Replan,
    /// Nothing of this stream can be delivered until a person acts: the job is put off at no cost
    /// and the stream pauses with this fault.
    PauseStream { due_at: Timestamp, fault: Fault },
}

/// Plans of one attempt before a record that keeps moving is left alone for a while.
pub const PLANNED_AGAIN_MAX: u32 = 3;
/// The longest wait that a server's word gives a job; then it asks again.
const TOLD_WAIT_MAX: Duration = Duration::from_secs(3_600);
/// The wait where a server asks for patience without saying how much; spread up to twice this.
const UNTOLD_WAIT: Duration = Duration::from_secs(5);
/// When the jobs of a paused stream look again, should nobody have woken them.
const PAUSED_WAIT: Duration = Duration::from_secs(60);

/// Decides what becomes of a job after an attempt.
pub fn settle(job: &Job, ended: Ended<'_>, policy: &RetryPolicy, now: Timestamp) -> JobNext {
    let fault = match ended {
        Ended::Delivered => return JobNext::Synced,
        Ended::Stale { planned_again } => return stale(job, planned_again, policy, now),
        // An outage says nothing of the record: however long it lasts, it makes no dead letters.
        Ended::Outage { until } => return JobNext::Snoozed { due_at: until.max(now) },
        Ended::Failed(fault) => fault,
    };
    match &fault.kind {
        FaultKind::Transient if planted(Bug::TransientIsFinal) => JobNext::Dead { error: error(fault) },
        FaultKind::Transient => retry_or_give_up(job, error(fault), policy, now),
        FaultKind::Throttled { retry_after } => {
            JobNext::Snoozed { due_at: now.plus(throttled_wait(job, *retry_after)) }
        }
        // A fault does not know how often it was planned again; the caller that does says `Stale`.
        FaultKind::Stale => JobNext::Replan,
        FaultKind::Rejected => JobNext::Dead { error: error(fault) },
        FaultKind::Fatal => JobNext::PauseStream { due_at: now.plus(PAUSED_WAIT), fault: fault.clone() },
    }
}

/// Tells a job that has used up its attempts without ever ending one, because the process died
/// each time: to be asked after leasing, before the call goes out.
pub fn exhausted(job: &Job, policy: &RetryPolicy) -> Option<JobNext> {
    let attempts_max = attempts_max(job, policy.attempts_max());
    (job.attempts > attempts_max).then(|| JobNext::Dead {
        error: job.error.clone().unwrap_or_else(|| JobError {
            code: FaultCode::Timeout,
            message: format!("{attempts_max} attempts began and none of them ended"),
        }),
    })
}

/// Returns how many attempts a job has.
fn attempts_max(job: &Job, usual: u32) -> u32 {
    let own = Some(job.attempts_max).filter(|&attempts| attempts > 0);
    own.unwrap_or(usual).max(1)
}

fn stale(job: &Job, planned_again: u32, policy: &RetryPolicy, now: Timestamp) -> JobNext {
    if planned_again < PLANNED_AGAIN_MAX {
        return JobNext::Replan;
    }
    let message = format!("the record moved {} times while it was being written", planned_again + 1);
    retry_or_give_up(job, JobError { code: FaultCode::Conflict, message }, policy, now)
}

fn retry_or_give_up(job: &Job, error: JobError, policy: &RetryPolicy, now: Timestamp) -> JobNext {
    let patience = policy.after(error.code);
    if job.attempts >= attempts_max(job, patience.attempts_max) {
        return JobNext::Dead { error };
    }
    let wait = full_jitter(patience.base, patience.max, job.id, job.attempts);
    JobNext::Retrying { due_at: now.plus(wait), error }
}

/// Waits as told, within the cap; jobs that were told nothing are spread, so that they don't all
/// come back at once.
fn throttled_wait(job: &Job, retry_after: Option<Duration>) -> Duration {
    match retry_after {
        Some(told) => told.min(TOLD_WAIT_MAX),
        None => UNTOLD_WAIT + full_jitter(UNTOLD_WAIT, UNTOLD_WAIT, job.id, job.attempts),
    }
}

fn error(fault: &Fault) -> JobError {
    JobError { code: fault.code, message: fault.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::job::{JobState, Origin};
    use crate::engine::record::{Direction, Key};

    const NOW: Timestamp = Timestamp(1_800_000_000_000);
    const WAIT: Duration = Duration::from_secs(9);
    const USUAL: Patience =
        Patience { base: Duration::from_secs(1), max: Duration::from_secs(8), attempts_max: 5 };
    const POLICY: RetryPolicy = RetryPolicy { usual: USUAL, faults: BTreeMap::new() };

    fn job(attempts: u32, attempts_max: u32) -> Job {
        Job {
            id: 42,
            direction: Direction::AToB,
            key: Key::from_text("7").expect("a fit key"),
            state: JobState::Leased,
            origin: Origin::Sync,
            attempts,
            attempts_max,
            priority: 0,
            due_at: NOW,
            created_at: NOW,
            updated_at: NOW,
            rules_version: 1,
            correlation_id: String::new(),
            error: None,
            payload: None,
            replay_of: None,
            replay_attempt: None,
            replayed_by: None,
            scheduled_at: None,
            lease: None,
        }
    }

    /// Says in a word what the next step is, and how long it waits.
    fn shape(next: &JobNext) -> (&'static str, Duration) {
        match next {
            JobNext::Synced => ("synced", Duration::ZERO),
            JobNext::Snoozed { due_at } => ("snoozed", due_at.since(NOW)),
            JobNext::Retrying { due_at, .. } => ("retrying", due_at.since(NOW)),
            JobNext::Dead { .. } => ("dead", Duration::ZERO),
            JobNext::Replan => ("replan", Duration::ZERO),
            JobNext::PauseStream { due_at, .. } => ("pause", due_at.since(NOW)),
        }
    }

    #[test]
    fn every_fault_at_every_attempt_has_one_next_step() {
        let transient = Fault::transient(FaultCode::Unavailable, "503");
        let told = Fault::throttled(Some(Duration::from_secs(7)), "429");
        let told_long = Fault::throttled(Some(Duration::from_secs(90_000)), "429");
        let untold = Fault::throttled(None, "429");
        let stale = Fault::stale("moved");
        let rejected = Fault::rejected(FaultCode::Validation, "no such email");
        let fatal = Fault::fatal(FaultCode::Auth, "401", "renew the secret");
        let moved_often = Ended::Stale { planned_again: PLANNED_AGAIN_MAX };
        // (end, next before the last attempt, next at the last, wait in seconds from..to, why)
        let cases = [
            (Ended::Delivered, "synced", "synced", 0..=0, "through, whatever it took"),
            (Ended::Failed(&transient), "retrying", "dead", 0..=8, "costs an attempt"),
            (Ended::Failed(&told), "snoozed", "snoozed", 7..=7, "as told, at no cost"),
            (Ended::Failed(&told_long), "snoozed", "snoozed", 3_600..=3_600, "no longer than an hour"),
            (Ended::Failed(&untold), "snoozed", "snoozed", 5..=10, "spread where nothing is told"),
            (
                Ended::Outage { until: NOW.plus(WAIT) },
                "snoozed",
                "snoozed",
                9..=9,
                "it is not the record's fault",
            ),
            (Ended::Outage { until: Timestamp(0) }, "snoozed", "snoozed", 0..=0, "never in the past"),
            (Ended::Failed(&stale), "replan", "replan", 0..=0, "costs nothing"),
            (Ended::Stale { planned_again: 0 }, "replan", "replan", 0..=0, "costs nothing"),
            (Ended::Stale { planned_again: 2 }, "replan", "replan", 0..=0, "still not"),
            (moved_often, "retrying", "dead", 0..=8, "no endless planning within an attempt"),
            (Ended::Failed(&rejected), "dead", "dead", 0..=0, "trying again can't help"),
            (Ended::Failed(&fatal), "pause", "pause", 60..=60, "it is not the record's fault"),
        ];
        for (ended, before, at_last, waits, why) in cases {
            for attempts in 0..=7 {
                let next = settle(&job(attempts, 0), ended, &POLICY, NOW);
                let (word, wait) = shape(&next);
                let expected = if attempts < USUAL.attempts_max { before } else { at_last };
                assert_eq!(word, expected, "{ended:?} at attempt {attempts}: {why}");
                if matches!(word, "snoozed" | "pause" | "retrying") {
                    let bounds = Duration::from_secs(*waits.start())..=Duration::from_secs(*waits.end());
                    assert!(bounds.contains(&wait), "{ended:?} at attempt {attempts} waits {wait:?}");
                }
            }
        }
    }

    #[test]
    fn waits_grow_with_the_attempts_and_differ_by_job() {
        let fault = Fault::transient(FaultCode::Connect, "no connection");
        let wait = |id: i64, attempts: u32| {
            let job = Job { id, ..job(attempts, 100) };
            shape(&settle(&job, Ended::Failed(&fault), &POLICY, NOW)).1
        };
        for (attempts, ceiling) in [(1, 1), (2, 2), (3, 4), (4, 8), (9, 8)] {
            let longest = (0..500).map(|id| wait(id, attempts)).max().expect("some");
            assert!(longest <= Duration::from_secs(ceiling), "attempt {attempts}: {longest:?}");
            assert!(longest > Duration::from_millis(ceiling * 900), "attempt {attempts}: {longest:?}");
        }
    }

    #[test]
    fn a_jobs_own_number_of_attempts_beats_the_policys() {
        let fault = Fault::transient(FaultCode::Connect, "no connection");
        // (attempts, own maximum, next, why)
        let cases = [
            (1, 1, "dead", "it wanted one only"),
            (5, 6, "retrying", "it wanted one more than the policy"),
            (5, 0, "dead", "it left it to the policy"),
        ];
        for (attempts, own, expected, why) in cases {
            let next = settle(&job(attempts, own), Ended::Failed(&fault), &POLICY, NOW);
            assert_eq!(shape(&next).0, expected, "{why}");
        }
    }

    #[test]
    fn each_fault_may_have_a_patience_of_its_own() {
        let long =
            Patience { base: Duration::from_secs(100), max: Duration::from_secs(100), attempts_max: 9 };
        let short = Patience { base: Duration::ZERO, max: Duration::ZERO, attempts_max: 1 };
        let faults = BTreeMap::from([(FaultCode::Unavailable, long), (FaultCode::Timeout, short)]);
        let policy = RetryPolicy { usual: USUAL, faults };
        // (fault, attempt, next, longest wait in seconds, why)
        let cases = [
            (FaultCode::Unavailable, 5, "retrying", 100, "longer than usual"),
            (FaultCode::Unavailable, 9, "dead", 0, "and not for ever"),
            (FaultCode::Timeout, 1, "dead", 0, "one attempt is all"),
            (FaultCode::Connect, 4, "retrying", 8, "what is not named is as usual"),
            (FaultCode::Connect, 5, "dead", 0, "to its end"),
        ];
        for (code, attempt, expected, longest, why) in cases {
            let fault = Fault::transient(code, "no");
            let (word, wait) = shape(&settle(&job(attempt, 0), Ended::Failed(&fault), &policy, NOW));
            assert_eq!(word, expected, "{code:?} at attempt {attempt}: {why}");
            assert!(wait <= Duration::from_secs(longest), "{code:?} waits {wait:?}");
        }
        assert_eq!(
            exhausted(&job(9, 0), &policy),
            None,
            "the most patient one decides on attempts without an end"
        );
        assert!(exhausted(&job(10, 0), &policy).is_some());
    }

    #[test]
    fn attempts_that_never_ended_count_too() {
        assert_eq!(exhausted(&job(5, 0), &POLICY), None, "the fifth attempt may go out");
        assert!(matches!(exhausted(&job(6, 0), &POLICY), Some(JobNext::Dead { .. })), "a sixth may not");
    }

    #[test]
    fn the_error_tells_what_came_back_and_what_to_do() {
        let fault =
            Fault { remedy: Some("shorten it".into()), ..Fault::rejected(FaultCode::Validation, "too long") };
        let next = settle(&job(1, 0), Ended::Failed(&fault), &POLICY, NOW);
        let expected = JobError { code: FaultCode::Validation, message: "too long; shorten it".into() };
        assert_eq!(next, JobNext::Dead { error: expected });
    }
}
