//! The admission point of one (customer, system): window, breaker and the server's own word.
//!
//! Invariant: a call goes out only when all three agree and, where the gate is durable, when a
//! tail that already counts it is stored. Nothing is dropped: a call waits, or its job is told when to
//! come back.

use std::collections::BTreeMap;
use std::time::Duration;

use super::tail::STRAY;
use super::{
    Again, Breaker, BreakerPolicy, BreakerView, Ended, Limiter, Limits, Permit, SlotId, Tail, Urgency,
};
use crate::engine::record::Timestamp;

/// What one gate promises.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct GatePolicy {
    pub limits: Limits,
    pub breaker: BreakerPolicy,
}

/// The answer to one who wants to call.
#[derive(Clone, Debug, PartialEq)]
pub enum Admission {
    /// The call may go out under this number; it has to [`Gate::leave`] again.
    Go(u64),
    /// Ask again then.
    Wait(Again, Why),
    /// Waiting here is senseless: come back then.
    Blocked(Timestamp, Why),
    /// Store this first, say [`Gate::stored`], and ask again.
    Store(Tail),
}

/// What holds a call back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    Window,
    Breaker,
    /// The server said when to come back.
    RetryAfter,
    /// The server's own budget is spent or nearly so.
    Quota,
}

impl Why {
    /// Returns the word that users read.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Window => "window",
            Self::Breaker => "breaker",
            Self::RetryAfter => "retry_after",
            Self::Quota => "quota",
        }
    }
}

/// How one call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    pub ended: Ended,
    pub retry_after: Option<Duration>,
    pub budget: Option<Budget>,
}

/// A server's own count of the calls that it still takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Budget {
    pub limit: u64,
    pub remaining: u64,
    #[serde(skip)]
    pub resets_in: Option<Duration>,
}

/// The gate for status and metrics.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct GateView {
    /// Taken slots of `max`; those in flight among them.
    pub used: usize,
    pub max: u32,
    pub window_seconds: f64,
    pub in_flight: usize,
    pub breaker: BreakerView,
    pub paused_until: Option<Timestamp>,
    pub paused_by: Option<Why>,
    pub quota: Option<Budget>,
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    budget: Budget,
    at: Timestamp,
    resets_at: Option<Timestamp>,
}

/// Slots that a stored tail already counts.
#[derive(Clone, Copy, Debug)]
struct Credit {
    left: u32,
    until: Timestamp,
}

/// The gate of one (customer, system).
#[derive(Clone, Debug)]
pub struct Gate {
    policy: GatePolicy,
    limiter: Limiter,
    breaker: Breaker,
    under_way: BTreeMap<SlotId, Permit>,
    /// The server asked everybody to wait.
    told_until: Option<Timestamp>,
    quota: Option<Seen>,
    /// When the last call went out, for pacing.
    last_go: Timestamp,
    /// `None` where nothing is stored.
    credit: Option<Credit>,
    /// How long a stored tail is good for.
    valid: Duration,
}

/// Whoever has to wait longer than this gives the lease back instead.
const PATIENCE: Duration = Duration::from_secs(60);
/// The longest wait that a `Retry-After` gives; then one asks again.
const TOLD_MAX: Duration = Duration::from_secs(3_600);
/// The longest wait for a spent budget: servers put off resets, and some raise budgets.
const QUOTA_WAIT_MAX: Duration = Duration::from_secs(300);
/// The wait for a spent budget where the server doesn't say when it resets.
const QUOTA_WAIT: Duration = Duration::from_secs(60);
/// A budget is nearly spent when no more than this part is left, as a divisor: 5 %.
const QUOTA_LOW: u64 = 20;
/// The largest distance between urgent calls while the budget is nearly spent.
const PACE_MAX: Duration = Duration::from_secs(10);
/// How long a stored tail is good for at least; longer where storing takes long.
const VALID: Duration = Duration::from_secs(2);

impl Gate {
    /// Makes a gate that begins with an empty window and stores nothing.
    pub fn new(policy: GatePolicy, now: Timestamp) -> Self {
        Self::with(Limiter::new(policy.limits), policy, now)
    }

    /// Makes a gate whose slots are stored before they are used, and that goes on where the last
    /// process left off.
    pub fn durable(policy: GatePolicy, tail: Option<&Tail>, now: Timestamp) -> Self {
        let limiter = match tail {
            Some(tail) => Limiter::restore(policy.limits, tail, now),
            None => Limiter::new(policy.limits),
        };
        Self { credit: Some(Credit { left: 0, until: now }), ..Self::with(limiter, policy, now) }
    }

    fn with(limiter: Limiter, policy: GatePolicy, now: Timestamp) -> Self {
        Self {
            policy,
            limiter,
            breaker: Breaker::new(policy.breaker),
            under_way: BTreeMap::new(),
            told_until: None,
            quota: None,
            last_go: Timestamp(now.0.saturating_sub(i64::from(u32::MAX))),
            credit: None,
            valid: VALID,
        }
    }

    /// Changes limits and breaker from the next call on.
    pub fn set_policy(&mut self, policy: GatePolicy, now: Timestamp) {
        self.policy = policy;
        self.limiter.set_limits(policy.limits, now);
        self.breaker.set_policy(policy.breaker);
    }

    /// Answers one who wants to call.
    pub fn poll(&mut self, urgency: Urgency, now: Timestamp) -> Admission {
        self.sweep(now);
        if let Some(until) = self.breaker.open_until(now) {
            return Admission::Blocked(until, Why::Breaker);
        }
        if let Some((until, why)) = self.held_until(urgency, now) {
            return match until.since(now) > PATIENCE {
                true => Admission::Blocked(until, why),
                false => Admission::Wait(Again::At(until), why),
            };
        }
        if let Err(again) = self.breaker.may_call(now) {
            return Admission::Wait(again, Why::Breaker);
        }
        if let Err(again) = self.limiter.may_take(urgency, now) {
            return Admission::Wait(again, Why::Window);
        }
        if self.credit.is_some_and(|credit| credit.left == 0 || credit.until <= now) {
            return Admission::Store(self.limiter.tail(now, self.ahead(), self.valid));
        }
        match self.limiter.try_take(urgency, now) {
            Ok(slot) => self.go(slot, now),
            Err(again) => Admission::Wait(again, Why::Window),
        }
    }

    /// Learns that a tail is durable.
    pub fn stored(&mut self, tail: &Tail, now: Timestamp) {
        // A slow disk must not let every tail run out before it is stored.
        let took = now.since(Timestamp(tail.at));
        self.valid = took.saturating_mul(4).clamp(VALID, PATIENCE);
        self.credit = Some(Credit { left: tail.ahead, until: Timestamp(tail.unsure_until) });
    }

    /// Learns how a call ended. Gives whether it was still under way.
    pub fn leave(&mut self, ticket: u64, facts: Facts, now: Timestamp) -> bool {
        self.sweep(now);
        let Some(permit) = self.under_way.remove(&SlotId(ticket)) else { return false };
        // What was given up early may still be on its way to the server.
        let end = if facts.ended == Ended::Dropped { now.plus(STRAY) } else { now };
        self.limiter.release(SlotId(ticket), end);
        self.breaker.record(permit, facts.ended, now);
        if let Some(wait) = facts.retry_after {
            let until = now.plus(wait.min(TOLD_MAX));
            self.told_until = self.told_until.max(Some(until));
        }
        if let Some(budget) = facts.budget {
            self.quota =
                Some(Seen { budget, at: now, resets_at: budget.resets_in.map(|wait| now.plus(wait)) });
        }
        true
    }

    /// Describes the window for the next process, when no more calls go out.
    pub fn tail_at_rest(&mut self, now: Timestamp) -> Tail {
        if let Some(credit) = &mut self.credit {
            credit.left = 0;
        }
        self.limiter.tail(now, 0, Duration::ZERO)
    }

    /// Describes the gate for status and metrics.
    pub fn view(&mut self, now: Timestamp) -> GateView {
        self.sweep(now);
        let held = self.held_until(Urgency::Live, now);
        GateView {
            used: self.limiter.used_at(now),
            max: self.policy.limits.max,
            window_seconds: self.policy.limits.window.as_secs_f64(),
            in_flight: self.limiter.in_flight(),
            breaker: self.breaker.view(now),
            paused_until: held.map(|(until, _)| until),
            paused_by: held.map(|(_, why)| why),
            quota: self.quota.map(|seen| seen.budget),
        }
    }

    /// Returns how long after its reply a call counts.
    pub fn span(&self) -> Duration {
        self.policy.limits.span()
    }

    fn go(&mut self, slot: SlotId, now: Timestamp) -> Admission {
        let permit = self.breaker.begin();
        self.under_way.insert(slot, permit);
        self.last_go = now;
        if let Some(credit) = &mut self.credit {
            credit.left = credit.left.saturating_sub(1);
        }
        if let Some(seen) = &mut self.quota {
            seen.budget.remaining = seen.budget.remaining.saturating_sub(1);
        }
        Admission::Go(slot.0)
    }

    /// Treats calls that never came back as failures of the service.
    fn sweep(&mut self, now: Timestamp) {
        for slot in self.limiter.sweep(now) {
            if let Some(permit) = self.under_way.remove(&slot) {
                self.breaker.record(permit, Ended::Failed, now);
            }
        }
    }

    /// Returns until when the server's word holds a call back.
    fn held_until(&mut self, urgency: Urgency, now: Timestamp) -> Option<(Timestamp, Why)> {
        self.told_until = self.told_until.filter(|&until| until > now);
        let told = self.told_until.map(|until| (until, Why::RetryAfter));
        let quota = self.quota_until(urgency, now).map(|until| (until, Why::Quota));
        told.into_iter().chain(quota).max_by_key(|(until, _)| *until)
    }

    fn quota_until(&mut self, urgency: Urgency, now: Timestamp) -> Option<Timestamp> {
        let seen = self.quota?;
        let latest = seen.at.plus(QUOTA_WAIT_MAX);
        let end = seen.resets_at.unwrap_or(seen.at.plus(QUOTA_WAIT)).min(latest);
        if seen.resets_at.is_some_and(|resets| resets <= now) {
            self.quota = None;
            return None;
        }
        let Budget { limit, remaining, .. } = seen.budget;
        let low = remaining.saturating_mul(QUOTA_LOW) <= limit;
        if remaining == 0 || (low && urgency == Urgency::Backfill) {
            if end <= now {
                // Nobody asked for long: the next reply tells anew.
                self.quota = None;
                return None;
            }
            return Some(end);
        }
        let left = seen.resets_at.filter(|_| low)?.since(now);
        let pace = left / u32::try_from(remaining).unwrap_or(u32::MAX).max(1);
        Some(self.last_go.plus(pace.min(PACE_MAX))).filter(|&next| next > now)
    }

    /// Returns how many slots a stored tail grants ahead: enough that storing is rare under load,
    /// few enough that a crash costs little.
    fn ahead(&self) -> u32 {
        (self.policy.limits.max / 10).clamp(1, 1_000)
    }
}

#[cfg(test)]
mod tests;
