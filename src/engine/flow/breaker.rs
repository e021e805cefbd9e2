//! The circuit breaker: leaves a failing system alone and comes back to it gently.
//!
//! Invariant: while it is open no call goes out; while it is half open never more than `probes`
//! at once; after it closed, and after a start, the calls under way grow one by one. See `docs/adr/`
//! for why it is our own.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use super::Again;
use crate::engine::record::Timestamp;
use crate::planted::{Bug, planted};

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
    /// An answer that took longer is a slow one.
    pub slow_after: Duration,
    /// The part of slow answers, of 1, at which it opens.
    pub slow_rate: f64,
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
            slow_after: Duration::from_secs(30),
            slow_rate: 0.8,
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
    #[serde(rename = "next_try_at")]
    pub next_try: Option<Timestamp>,
    /// Why it opened, until it is closed again.
    pub reason: Option<Tripped>,
    /// Failures in a row, up to now.
    pub consecutive: u32,
}

/// Why a breaker opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tripped {
    InARow(u32),
    Failed {
        failed: usize,
        calls: usize,
    },
    Slow {
        slow: usize,
        calls: usize,
        after: Duration,
    },
    ProbeFailed,
    ProbeSlow,
    /// It was open when the last process ended.
    Resumed,
}

impl fmt::Display for Tripped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InARow(count) => write!(f, "{count} calls in a row failed"),
            Self::Failed { failed, calls } => write!(f, "{failed} of the last {calls} calls failed"),
            Self::Slow { slow, calls, after } => {
                write!(f, "{slow} of the last {calls} calls took longer than {} s", after.as_secs_f64())
            }
            Self::ProbeFailed => f.write_str("a probe failed"),
            Self::ProbeSlow => f.write_str("a probe was slow"),
            Self::Resumed => f.write_str("it was open when the service stopped"),
        }
    }
}

impl serde::Serialize for Tripped {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// One change of state, to be told once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    pub to: BreakerState,
    pub reason: Option<Tripped>,
    pub next_try: Option<Timestamp>,
}

/// What outlives the process of a breaker that is not closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct BreakerMemory {
    /// When probes may go out, in milliseconds since 1970.
    pub until: i64,
    pub since: i64,
    /// Open periods so far: what the next one's length is reckoned from.
    pub opened: u32,
}

/// How a call ended, for the breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The service answered; that it refused something is an answer.
    Ok,
    /// It answered, later than [`BreakerPolicy::slow_after`].
    Slow,
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
        /// When the open period ended.
        until: Timestamp,
    },
}

/// One result in the window.
#[derive(Clone, Copy, Debug)]
struct Noted {
    failed: bool,
    slow: bool,
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
    /// The last results in this epoch.
    results: VecDeque<Noted>,
    failures: usize,
    slow: usize,
    consecutive: u32,
    /// Open periods since it was last closed for good.
    opened: u32,
    reason: Option<Tripped>,
    /// Changes of state that nobody has told yet.
    turns: Vec<Turn>,
}

/// From so many calls under way on, a closed breaker stops counting them.
const RAMP_END: u32 = 32;
/// Changes of state kept for somebody to tell them; far more than happen between two calls.
const TURNS_MAX: usize = 16;

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
            slow: 0,
            consecutive: 0,
            opened: 0,
            reason: None,
            turns: Vec::new(),
        }
    }

    /// Makes the breaker of a process that begins: open where it was left open, else closed and
    /// letting calls out a few at a time, since everybody starts at the same moment.
    pub fn resume(policy: BreakerPolicy, memory: Option<BreakerMemory>, now: Timestamp) -> Self {
        let mut breaker = Self::new(policy);
        breaker.state = match memory {
            // A clock that was set back must not keep it open for longer than it ever would be.
            Some(memory) => {
                State::Open { until: Timestamp(memory.until).min(now.plus(breaker.longest_open())) }
            }
            None => State::Closed { ramp: Some(breaker.ramp_start()) },
        };
        if let Some(memory) = memory {
            breaker.since = Some(Timestamp(memory.since).min(now));
            breaker.opened = memory.opened;
            breaker.reason = Some(Tripped::Resumed);
        }
        breaker
    }

    /// Returns what the next process has to know; `None` while it is closed.
    pub fn memory(&self) -> Option<BreakerMemory> {
        let until = match self.state {
            State::Closed { .. } => return None,
            State::Open { until } | State::HalfOpen { until, .. } => until,
        };
        let since = self.since.unwrap_or(until);
        Some(BreakerMemory { until: until.0, since: since.min(until).0, opened: self.opened })
    }

    /// Hands out the changes of state since it was last asked.
    pub fn take_turns(&mut self) -> Vec<Turn> {
        std::mem::take(&mut self.turns)
    }

    /// Returns the policy in force.
    pub fn policy(&self) -> &BreakerPolicy {
        &self.policy
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
            self.enter(State::HalfOpen { succeeded: 0, until }, now);
        }
        let at_once = match self.state {
            State::Closed { ramp } => ramp.unwrap_or(u32::MAX),
            State::HalfOpen { .. } if planted(Bug::ProbesUnbounded) => u32::MAX,
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
            Ended::Slow => self.slow(now),
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
        BreakerView { state, since, next_try, reason: self.reason, consecutive: self.consecutive }
    }

    fn succeeded(&mut self, now: Timestamp) {
        self.consecutive = 0;
        match self.state {
            State::HalfOpen { succeeded, .. } if succeeded + 1 >= self.policy.probes_needed => {
                self.enter(State::Closed { ramp: Some(self.ramp_start()) }, now);
            }
            State::HalfOpen { succeeded, until } => {
                self.state = State::HalfOpen { succeeded: succeeded + 1, until };
            }
            State::Closed { ramp } => {
                self.grow(ramp);
                self.note(Noted { failed: false, slow: false });
            }
            State::Open { .. } => {}
        }
    }

    fn grow(&mut self, ramp: Option<u32>) {
        let grown = ramp.map(|calls| calls + 1).filter(|calls| *calls <= RAMP_END);
        if ramp.is_some() && grown.is_none() {
            self.opened = 0;
        }
        self.state = State::Closed { ramp: grown };
    }

    /// An answer, and no good sign: neither a failure nor a reason to let more through.
    fn slow(&mut self, now: Timestamp) {
        self.consecutive = 0;
        match self.state {
            State::HalfOpen { .. } => self.open(Tripped::ProbeSlow, now),
            State::Closed { .. } => {
                self.note(Noted { failed: false, slow: true });
                self.open_if_bad(now);
            }
            State::Open { .. } => {}
        }
    }

    fn failed(&mut self, now: Timestamp) {
        self.consecutive = self.consecutive.saturating_add(1);
        match self.state {
            State::HalfOpen { .. } => self.open(Tripped::ProbeFailed, now),
            State::Closed { ramp } => {
                self.state = State::Closed { ramp: ramp.map(|calls| (calls / 2).max(1)) };
                self.note(Noted { failed: true, slow: false });
                self.open_if_bad(now);
            }
            State::Open { .. } => {}
        }
    }

    fn open_if_bad(&mut self, now: Timestamp) {
        if let Some(reason) = self.badness().filter(|_| !planted(Bug::BreakerShut)) {
            self.open(reason, now);
        }
    }

    fn badness(&self) -> Option<Tripped> {
        let calls = self.results.len();
        let enough = calls >= self.policy.calls_min.clamp(1, self.policy.calls_window.max(1));
        let over = |count: usize, rate: f64| enough && count > 0 && count as f64 >= rate * calls as f64;
        if self.consecutive >= self.policy.consecutive_max.max(1) {
            return Some(Tripped::InARow(self.consecutive));
        }
        if over(self.failures, self.policy.failure_rate) {
            return Some(Tripped::Failed { failed: self.failures, calls });
        }
        over(self.slow, self.policy.slow_rate).then_some(Tripped::Slow {
            slow: self.slow,
            calls,
            after: self.policy.slow_after,
        })
    }

    fn open(&mut self, reason: Tripped, now: Timestamp) {
        let doubled = self.policy.open.saturating_mul(1u32.checked_shl(self.opened).unwrap_or(u32::MAX));
        self.opened = self.opened.saturating_add(1);
        self.reason = Some(reason);
        self.enter(State::Open { until: now.plus(doubled.min(self.longest_open())) }, now);
    }

    fn longest_open(&self) -> Duration {
        self.policy.open_max.max(self.policy.open)
    }

    /// Returns how many calls may be under way when it has just closed.
    fn ramp_start(&self) -> u32 {
        self.policy.probes.max(1).saturating_add(1)
    }

    /// Starts a new epoch: results of calls that went out before no longer count.
    fn enter(&mut self, state: State, now: Timestamp) {
        self.state = state;
        self.since = Some(now);
        self.epoch += 1;
        self.in_flight = 0;
        self.results.clear();
        (self.failures, self.slow) = (0, 0);
        let (to, next_try) = match self.state {
            State::Closed { .. } => (BreakerState::Closed, None),
            State::HalfOpen { .. } => (BreakerState::HalfOpen, None),
            State::Open { until } => (BreakerState::Open, Some(until)),
        };
        if self.turns.len() < TURNS_MAX {
            self.turns.push(Turn { to, reason: self.reason, next_try });
        }
        if to == BreakerState::Closed {
            self.reason = None;
        }
    }

    fn note(&mut self, noted: Noted) {
        self.results.push_back(noted);
        self.failures += usize::from(noted.failed);
        self.slow += usize::from(noted.slow);
        self.forget_beyond_window();
    }

    fn forget_beyond_window(&mut self) {
        while self.results.len() > self.policy.calls_window.max(1) {
            if let Some(noted) = self.results.pop_front() {
                self.failures -= usize::from(noted.failed);
                self.slow -= usize::from(noted.slow);
            }
        }
    }
}

#[cfg(test)]
mod tests;
