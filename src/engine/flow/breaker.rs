//! The circuit breaker: leaves a failing system alone and comes back to it gently.
//!
//! Invariant: while it is open no call goes out; while it is half open never more than `probes`
//! at once; after it closed, the calls under way grow one by one. See `docs/adr/` for why it is our own.

use std::collections::VecDeque;
use std::time::Duration;

use super::Again;
use crate::engine::record::Timestamp;

/// When to open and how to come back.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BreakerPolicy {
    /// How many of the last calls are looked at.
    pub calls_window: usize,
    /// Fewer calls say nothing about a rate.
    pub calls_min: usize,
    /// The part of failed calls, of 1, at which it opens.
    pub failure_rate: f64,
    /// So many failures in a row open it whatever the rate.
    pub consecutive_max: u32,
    /// The first open period; each one that ends in a failed probe is followed by one twice as long.
    pub open: Duration,
    pub open_max: Duration,
    /// Probes under way at once while half open.
    pub probes: u32,
    /// Probes that have to succeed before it closes.
    pub probes_needed: u32,
}

impl Default for BreakerPolicy {
    fn default() -> Self {
        Self {
            calls_window: 50,
            calls_min: 20,
            failure_rate: 0.5,
            consecutive_max: 5,
            open: Duration::from_secs(5),
            open_max: Duration::from_secs(300),
            probes: 1,
            probes_needed: 2,
        }
    }
}

/// What users see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BreakerState {
    Closed,
    HalfOpen,
    Open,
}

impl BreakerState {
    /// Returns the word that users read.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::HalfOpen => "half_open",
            Self::Open => "open",
        }
    }
}

/// The breaker for status and metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct BreakerView {
    pub state: BreakerState,
    /// When it came into this state; `None` for one that was closed all along.
    pub since: Option<Timestamp>,
    /// When an open one lets a probe through.
    pub next_try: Option<Timestamp>,
    /// Failures in a row, up to now.
    pub consecutive: u32,
}

/// How a call ended, for the breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The service answered; that it refused something is an answer.
    Ok,
    /// The service failed or did not answer in time.
    Failed,
    /// The caller went away before the end. Says nothing about the service, so it counts as
    /// nothing; a probe's place becomes free.
    Dropped,
}

/// The breaker's memory of one call that it let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Permit {
    /// A result only counts in the state in which its call went out.
    epoch: u64,
}

#[derive(Clone, Debug)]
enum State {
    /// `ramp`: how many calls may be under way, as long as it matters.
    Closed {
        ramp: Option<u32>,
    },
    Open {
        until: Timestamp,
    },
    HalfOpen {
        succeeded: u32,
    },
}

/// The breaker of one (customer, system).
#[derive(Clone, Debug)]
pub struct Breaker {
    policy: BreakerPolicy,
    state: State,
    since: Option<Timestamp>,
    epoch: u64,
    /// Calls under way that went out in this epoch.
    in_flight: u32,
    /// The last results in this epoch; true for a failure.
    results: VecDeque<bool>,
    failures: usize,
    consecutive: u32,
    /// Open periods since it was last closed for good.
    opened: u32,
}

/// From so many calls under way on, a closed breaker stops counting them.
const RAMP_END: u32 = 32;

impl Breaker {
    /// Makes a closed breaker.
    pub fn new(policy: BreakerPolicy) -> Self {
        Self {
            policy,
            state: State::Closed { ramp: None },
            since: None,
            epoch: 0,
            in_flight: 0,
            results: VecDeque::new(),
            failures: 0,
            consecutive: 0,
            opened: 0,
        }
    }

    /// Changes the policy; an open period that has begun stays as it is.
    pub fn set_policy(&mut self, policy: BreakerPolicy) {
        self.policy = policy;
        self.forget_beyond_window();
    }

    /// Tells whether a call may go out, or when to ask again.
    pub fn may_call(&mut self, now: Timestamp) -> Result<(), Again> {
        if let State::Open { until } = self.state {
            if now < until {
                return Err(Again::At(until));
            }
            self.enter(State::HalfOpen { succeeded: 0 }, now);
        }
        let at_once = match self.state {
            State::Closed { ramp } => ramp.unwrap_or(u32::MAX),
            State::HalfOpen { .. } => self.policy.probes.max(1),
            State::Open { .. } => 0,
        };
        if self.in_flight < at_once { Ok(()) } else { Err(Again::AfterReply) }
    }

    /// Counts a call as under way, after [`Self::may_call`] allowed it.
    pub fn begin(&mut self) -> Permit {
        self.in_flight += 1;
        Permit { epoch: self.epoch }
    }

    /// Learns how a call ended.
    pub fn record(&mut self, permit: Permit, ended: Ended, now: Timestamp) {
        if permit.epoch != self.epoch {
            // It went out before the breaker opened or was probed: old news either way.
            return;
        }
        self.in_flight = self.in_flight.saturating_sub(1);
        match ended {
            Ended::Dropped => {}
            Ended::Ok => self.succeeded(now),
            Ended::Failed => self.failed(now),
        }
    }

    /// Tells the open one's end; `None` while calls may go out or wait for a reply.
    pub fn open_until(&self, now: Timestamp) -> Option<Timestamp> {
        match self.state {
            State::Open { until } if now < until => Some(until),
            _ => None,
        }
    }

    /// Describes it for status and metrics. An open period that is over shows as half open.
    pub fn view(&self, now: Timestamp) -> BreakerView {
        let (state, since, next_try) = match self.state {
            State::Closed { .. } => (BreakerState::Closed, self.since, None),
            State::HalfOpen { .. } => (BreakerState::HalfOpen, self.since, None),
            State::Open { until } if now < until => (BreakerState::Open, self.since, Some(until)),
            State::Open { until } => (BreakerState::HalfOpen, Some(until), None),
        };
        BreakerView { state, since, next_try, consecutive: self.consecutive }
    }

    fn succeeded(&mut self, now: Timestamp) {
        self.consecutive = 0;
        match self.state {
            State::HalfOpen { succeeded } if succeeded + 1 >= self.policy.probes_needed => {
                let ramp = self.policy.probes.max(1).saturating_add(1);
                self.enter(State::Closed { ramp: Some(ramp) }, now);
            }
            State::HalfOpen { succeeded } => self.state = State::HalfOpen { succeeded: succeeded + 1 },
            State::Closed { ramp: Some(ramp) } if ramp >= RAMP_END => {
                self.state = State::Closed { ramp: None };
                self.opened = 0;
                self.note(false);
            }
            State::Closed { ramp } => {
                self.state = State::Closed { ramp: ramp.map(|calls| calls + 1) };
                self.note(false);
            }
            State::Open { .. } => {}
        }
    }

    fn failed(&mut self, now: Timestamp) {
        self.consecutive = self.consecutive.saturating_add(1);
        match self.state {
            State::HalfOpen { .. } => self.open(now),
            State::Closed { ramp } => {
                self.state = State::Closed { ramp: ramp.map(|calls| (calls / 2).max(1)) };
                self.note(true);
                if self.is_too_bad() {
                    self.open(now);
                }
            }
            State::Open { .. } => {}
        }
    }

    fn is_too_bad(&self) -> bool {
        let calls = self.results.len();
        self.consecutive >= self.policy.consecutive_max.max(1)
            || (calls >= self.policy.calls_min.clamp(1, self.policy.calls_window.max(1))
                && self.failures as f64 >= self.policy.failure_rate * calls as f64
                && self.failures > 0)
    }

    fn open(&mut self, now: Timestamp) {
        let doubled = self.policy.open.saturating_mul(1u32.checked_shl(self.opened).unwrap_or(u32::MAX));
        self.opened = self.opened.saturating_add(1);
        let period = doubled.min(self.policy.open_max.max(self.policy.open));
        self.enter(State::Open { until: now.plus(period) }, now);
    }

    /// Starts a new epoch: results of calls that went out before no longer count.
    fn enter(&mut self, state: State, now: Timestamp) {
        self.state = state;
        self.since = Some(now);
        self.epoch += 1;
        self.in_flight = 0;
        self.results.clear();
        self.failures = 0;
    }

    fn note(&mut self, failed: bool) {
        self.results.push_back(failed);
        self.failures += usize::from(failed);
        self.forget_beyond_window();
    }

    fn forget_beyond_window(&mut self) {
        while self.results.len() > self.policy.calls_window.max(1) {
            if let Some(failed) = self.results.pop_front() {
                self.failures -= usize::from(failed);
            }
        }
    }
}

#[cfg(test)]
mod tests;
