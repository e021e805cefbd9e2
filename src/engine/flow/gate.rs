//! The admission point of one (customer, system): window, day, calls under way, breaker and the
//! server's own word.
//!
//! Invariant: a call goes out only when all of them agree and, where the gate is durable, when a
//! tail that already counts it is stored. Nothing is dropped: a call waits, or its job is told when to
//! come back.

use std::collections::BTreeMap;
use std::time::Duration;

use super::tail::STRAY;
use super::{
    Adapt, Again, Breaker, BreakerMemory, BreakerPolicy, BreakerState, BreakerView, Ended, Limiter, Limits,
    Permit, SlotId, Tail, Turn, Urgency, Went,
};
use crate::engine::record::Timestamp;

/// What one gate promises.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct GatePolicy {
    pub limits: Limits,
    /// Calls in any 24 hours.
    pub per_day: Option<u32>,
    /// Calls under way at once.
    pub concurrency: Option<u32>,
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
    /// The day's calls are made.
    Day,
    /// As many calls are under way as may be.
    Concurrency,
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
            Self::Day => "day",
            Self::Concurrency => "concurrency",
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
    /// The service asked for patience, with or without a time.
    pub throttled: bool,
    /// It carried records there.
    pub write: bool,
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
    /// Calls that may be under way now: what is configured, and less while the system has trouble.
    pub concurrency: u32,
    /// The part of a batch, of 1, that is sent now: less while the system answers late.
    pub batch_part: f64,
    /// Calls of the last 24 hours, of `max_per_day`.
    pub used_day: usize,
    pub max_per_day: Option<u32>,
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
    /// Counts the day, also where it has no limit: one that is set at noon counts the morning.
    day: Limiter,
    breaker: Breaker,
    adapt: Adapt,
    under_way: BTreeMap<SlotId, UnderWay>,
    /// The server asked everybody to wait.
    told_until: Option<Timestamp>,
    quota: Option<Seen>,
    /// When the last call went out, for pacing.
    last_go: Timestamp,
    /// `None` where nothing is stored.
    credit: Option<Credit>,
    /// How long a stored tail is good for.
    valid: Duration,
    /// The breaker as it is stored.
    stored_breaker: Option<BreakerMemory>,
}

/// A call that has not come back.
#[derive(Clone, Copy, Debug)]
struct UnderWay {
    permit: Permit,
    day: SlotId,
    began: Timestamp,
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
/// What `per_day` counts over. Sliding, because nobody knows when a service's day begins.
const DAY: Duration = Duration::from_secs(86_400);
/// Who waits for the day asks again after so long: the limit may have been raised.
const DAY_LOOK: Duration = Duration::from_secs(60);
/// Calls under way at most where nothing is configured.
const CONCURRENCY_MAX: u32 = 256;

impl Gate {
    /// Makes a gate that begins with an empty window and stores nothing.
    pub fn new(policy: GatePolicy, now: Timestamp) -> Self {
        let breaker = Breaker::new(policy.breaker);
        Self {
            policy,
            limiter: Limiter::new(policy.limits),
            day: Limiter::new(day_limits(&policy)),
            breaker,
            adapt: Adapt::new(calls_max(&policy), policy.breaker.slow_after),
            under_way: BTreeMap::new(),
            told_until: None,
            quota: None,
            last_go: Timestamp(now.0.saturating_sub(i64::from(u32::MAX))),
            credit: None,
            valid: VALID,
            stored_breaker: None,
        }
    }

    /// Makes a gate whose slots are stored before they are used, and that goes on where the last
    /// process left off.
    pub fn durable(policy: GatePolicy, tail: Option<&Tail>, now: Timestamp) -> Self {
        let mut gate = Self::new(policy, now);
        if let Some(tail) = tail {
            gate.limiter = Limiter::restore(policy.limits, tail, now);
        }
        if let Some(day) = tail.and_then(|tail| tail.day.as_ref()) {
            gate.day = Limiter::restore(day_limits(&policy), day, now);
        }
        gate.stored_breaker = tail.and_then(|tail| tail.breaker);
        gate.breaker = Breaker::resume(policy.breaker, gate.stored_breaker, now);
        gate.credit = Some(Credit { left: 0, until: now });
        gate
    }

    /// Changes limits and breaker from the next call on.
    pub fn set_policy(&mut self, policy: GatePolicy, now: Timestamp) {
        self.policy = policy;
        self.limiter.set_limits(policy.limits, now);
        self.day.set_limits(day_limits(&policy), now);
        self.breaker.set_policy(policy.breaker);
        self.adapt.set_bounds(calls_max(&policy), policy.breaker.slow_after);
    }

    /// Answers one who wants to call.
    pub fn poll(&mut self, urgency: Urgency, now: Timestamp) -> Admission {
        self.sweep(now);
        if self.credit.is_some() && self.breaker_is_unstored() {
            // Nobody calls while it is open; so this costs nothing that was granted.
            return Admission::Store(self.tail(now, 0, Duration::ZERO));
        }
        if let Some(until) = self.breaker.open_until(now) {
            return Admission::Blocked(until, Why::Breaker);
        }
        if let Some((until, why)) = self.held_until(urgency, now) {
            return match until.since(now) > PATIENCE {
                true => Admission::Blocked(until, why),
                false => Admission::Wait(Again::At(until), why),
            };
        }
        match self.day.may_take(urgency, now) {
            Err(Again::At(at)) if at.since(now) > PATIENCE => {
                return Admission::Blocked(at.min(now.plus(DAY_LOOK)), Why::Day);
            }
            Err(again) => return Admission::Wait(again, Why::Day),
            Ok(()) => {}
        }
        if self.limiter.in_flight() >= self.calls_limit() {
            return Admission::Wait(Again::AfterReply, Why::Concurrency);
        }
        if let Err(again) = self.breaker.may_call(now) {
            return Admission::Wait(again, Why::Breaker);
        }
        if let Err(again) = self.limiter.may_take(urgency, now) {
            return Admission::Wait(again, Why::Window);
        }
        if self.credit.is_some_and(|credit| credit.left == 0 || credit.until <= now) {
            return Admission::Store(self.tail(now, self.ahead(), self.valid));
        }
        match self.take(urgency, now) {
            Ok((slot, day)) => self.go(slot, day, now),
            Err(again) => Admission::Wait(again, Why::Window),
        }
    }

    fn take(&mut self, urgency: Urgency, now: Timestamp) -> Result<(SlotId, SlotId), Again> {
        let day = self.day.try_take(urgency, now)?;
        self.limiter.try_take(urgency, now).map(|slot| (slot, day))
    }

    /// Returns how many calls may go out from now on that wait for nothing but the answers of others.
    pub fn room(&mut self, urgency: Urgency, now: Timestamp) -> usize {
        self.sweep(now);
        let is_shut = self.breaker.view(now).state != BreakerState::Closed;
        if is_shut || self.held_until(urgency, now).is_some() {
            return 0;
        }
        let of_budget = self.quota.map_or(u64::MAX, |seen| seen.budget.remaining);
        let of_budget = usize::try_from(of_budget).unwrap_or(usize::MAX);
        of_budget.min(self.day.room(urgency, now)).min(self.limiter.room(urgency, now))
    }

    /// Learns that a tail is durable.
    pub fn stored(&mut self, tail: &Tail, now: Timestamp) {
        // A slow disk must not let every tail run out before it is stored.
        let took = now.since(Timestamp(tail.at));
        self.valid = took.saturating_mul(4).clamp(VALID, PATIENCE);
        self.credit = Some(Credit { left: tail.ahead, until: Timestamp(tail.unsure_until) });
        self.stored_breaker = tail.breaker;
    }

    /// Learns how a call ended. Gives whether it was still under way.
    pub fn leave(&mut self, ticket: u64, facts: Facts, now: Timestamp) -> bool {
        self.sweep(now);
        let Some(call) = self.under_way.remove(&SlotId(ticket)) else { return false };
        // What was given up early may still be on its way to the server.
        let end = if facts.ended == Ended::Dropped { now.plus(STRAY) } else { now };
        self.limiter.release(SlotId(ticket), end);
        self.day.release(call.day, end);
        let took = now.since(call.began);
        let slow = facts.ended == Ended::Ok && took >= self.policy.breaker.slow_after;
        let ended = if slow { Ended::Slow } else { facts.ended };
        self.breaker.record(call.permit, ended, now);
        let throttled = facts.throttled || facts.retry_after.is_some();
        self.adapt.learn(&Went { began: call.began, took, ended, throttled, write: facts.write }, now);
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
        self.tail(now, 0, Duration::ZERO)
    }

    fn tail(&mut self, now: Timestamp, ahead: u32, valid: Duration) -> Tail {
        let day = Box::new(self.day.tail(now, ahead, valid));
        let breaker = self.breaker.memory();
        Tail { day: Some(day), breaker, ..self.limiter.tail(now, ahead, valid) }
    }

    /// Tells whether a crash now would make us forget that the breaker is open.
    fn breaker_is_unstored(&self) -> bool {
        let memory = self.breaker.memory();
        memory.is_some() && memory != self.stored_breaker
    }

    /// Hands out the breaker's changes of state since it was last asked.
    pub fn take_turns(&mut self) -> Vec<Turn> {
        self.breaker.take_turns()
    }

    /// Returns how many records a call may carry, of `most`.
    pub fn batch_limit(&self, most: usize) -> usize {
        self.adapt.batch_limit(most)
    }

    /// Returns how many calls may be under way at once: what is configured, and less while the system has trouble.
    pub fn calls_limit(&self) -> usize {
        usize::try_from(self.adapt.calls_limit()).unwrap_or(usize::MAX)
    }

    /// Describes the gate for status and metrics.
    pub fn view(&mut self, now: Timestamp) -> GateView {
        self.sweep(now);
        let day = self.day.may_take(Urgency::Live, now).err().and_then(Again::at).map(|at| (at, Why::Day));
        let told = self.held_until(Urgency::Live, now);
        let held = told.into_iter().chain(day).max_by_key(|(until, _)| *until);
        GateView {
            used: self.limiter.used_at(now),
            max: self.policy.limits.max,
            window_seconds: self.policy.limits.window.as_secs_f64(),
            in_flight: self.limiter.in_flight(),
            concurrency: self.adapt.calls_limit(),
            batch_part: self.adapt.batch_limit(1_000) as f64 / 1_000.0,
            used_day: self.day.used_at(now),
            max_per_day: self.policy.per_day,
            breaker: self.breaker.view(now),
            paused_until: held.map(|(until, _)| until),
            paused_by: held.map(|(_, why)| why),
            quota: self.quota.map(|seen| seen.budget),
        }
    }

    /// Returns how long after its reply a call counts.
    pub fn span(&self) -> Duration {
        self.policy.limits.span().max(self.day.limits().span())
    }

    fn go(&mut self, slot: SlotId, day: SlotId, now: Timestamp) -> Admission {
        let permit = self.breaker.begin();
        self.under_way.insert(slot, UnderWay { permit, day, began: now });
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
            if let Some(call) = self.under_way.remove(&slot) {
                self.day.release(call.day, call.began.plus(self.policy.limits.time_out));
                self.breaker.record(call.permit, Ended::Failed, now);
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
    /// few enough that a crash costs little: a tenth of the window, a hundredth of the day.
    fn ahead(&self) -> u32 {
        let of_day = self.policy.per_day.map_or(u32::MAX, |day| day / 100);
        (self.policy.limits.max / 10).min(of_day).clamp(1, 1_000)
    }
}

fn day_limits(policy: &GatePolicy) -> Limits {
    Limits { max: policy.per_day.unwrap_or(u32::MAX), window: DAY, ..policy.limits }
}

fn calls_max(policy: &GatePolicy) -> u32 {
    policy.concurrency.unwrap_or(CONCURRENCY_MAX)
}

#[cfg(test)]
mod proof;
#[cfg(test)]
mod tests;
