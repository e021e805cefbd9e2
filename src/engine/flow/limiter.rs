//! The exact sliding window: at most so many calls in any window, counted where they arrive.
//!
//! Invariant: no interval of `window` ever sees more than `max` arrivals at the server. A call
//! arrives somewhere between being sent and being answered, so its slot is taken from the moment
//! of sending until `window` after the reply: whatever uses the slot next is sent, and so arrives,
//! more than `window` after this call arrived. Slots counted from sending would break the promise:
//! delay on the way can squeeze two windows together.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::{Again, Tail, Urgency};
use crate::engine::record::Timestamp;
use crate::planted::{Bug, planted};

/// How many calls may arrive in any window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// 0 lets nothing pass until the limits change.
    pub max: u32,
    pub window: Duration,
    /// The part of the window, of 1, that backfill leaves free at most; what it leaves follows what
    /// urgent calls took lately. `None`: a tenth.
    pub reserve: Option<f64>,
    /// A call that nobody reported back after so long is taken as answered then. Longer than any
    /// time-out of a connector.
    pub time_out: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max: 60, window: Duration::from_secs(60), reserve: None, time_out: Duration::from_secs(300) }
    }
}

impl Limits {
    /// Returns how long after its reply a slot stays taken: the window, a millisecond because the
    /// clock rounds down to them, and a thousandth because the server's clock may run up to 500 ppm
    /// apart from ours while either is being slewed (adjtime(2)).
    pub fn span(&self) -> Duration {
        self.window.saturating_add(self.window / 1_000).saturating_add(Duration::from_millis(1))
    }
}

/// One admitted call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SlotId(pub u64);

/// A call under way.
#[derive(Clone, Copy, Debug)]
struct Sent {
    at: Timestamp,
    background: bool,
}

/// Calls that were answered at the same moment, as finely as it matters.
#[derive(Clone, Copy, Debug, Default)]
struct Answered {
    at: Timestamp,
    calls: usize,
    /// How many of them are backfill's.
    background: usize,
}

/// The sliding log of one (customer, system).
#[derive(Clone, Debug)]
pub struct Limiter {
    limits: Limits,
    in_flight: BTreeMap<SlotId, Sent>,
    /// Answered calls that still count, by the time of the reply.
    spent: VecDeque<Answered>,
    /// Answered calls that count no longer: they would again under a larger window.
    former: VecDeque<Answered>,
    /// How many slots are taken, and how many of them are backfill's.
    used: usize,
    background: usize,
    /// When urgent calls were last admitted, and how many: what the reserve is measured by.
    urgent: VecDeque<(Timestamp, usize)>,
    /// The sum of them.
    urgent_calls: usize,
    next: u64,
}

/// The part of a window that stays free of backfill even where nothing urgent was seen lately, as
/// a divisor: 4 %, so that at least 95 % stay usable.
const RESERVE_STANDING: usize = 25;
/// The part that backfill leaves free at most where nothing else is configured.
const RESERVE_LARGEST: f64 = 0.1;
/// Bounds what is remembered for larger windows and taken over from a restart.
const MEMORY_MAX: usize = 4_096;
/// Larger windows are counted in so many steps, so that memory is bounded whatever the limit.
const STEPS: i64 = 2_048;

impl Limiter {
    /// Makes a limiter that has seen no call.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            in_flight: BTreeMap::new(),
            spent: VecDeque::new(),
            former: VecDeque::new(),
            used: 0,
            background: 0,
            urgent: VecDeque::new(),
            urgent_calls: 0,
            next: 1,
        }
    }

    /// Makes a limiter that goes on where another process left off.
    pub fn restore(limits: Limits, tail: &Tail, now: Timestamp) -> Self {
        let mut limiter = Self::new(limits);
        // Beyond `max` slots the oldest make no difference, unless the limit is raised at once.
        for (at, calls) in tail.replies(now, MEMORY_MAX.max(limiter.max())) {
            limiter.used += calls;
            limiter.background += calls;
            limiter.file(Answered { at, calls, background: calls });
        }
        limiter
    }

    /// Returns the limits in force.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// Changes the limits from the next call on. Calls already made keep counting, and under a
    /// larger window earlier ones count again.
    pub fn set_limits(&mut self, limits: Limits, now: Timestamp) {
        self.limits = limits;
        while let Some(answered) = self.former.pop_back() {
            if self.is_over(answered, now) {
                self.former.push_back(answered);
                break;
            }
            self.used += answered.calls;
            self.background += answered.background;
            self.spent.push_front(answered);
        }
        self.prune(now);
    }

    /// Tells whether a slot is free, or when to ask again. Costs O(1) amortised.
    pub fn may_take(&mut self, urgency: Urgency, now: Timestamp) -> Result<(), Again> {
        let ceiling = self.ceiling(urgency, now);
        if self.used < ceiling { Ok(()) } else { Err(self.again(ceiling, urgency == Urgency::Backfill)) }
    }

    /// Returns how many slots are free.
    pub fn room(&mut self, urgency: Urgency, now: Timestamp) -> usize {
        self.ceiling(urgency, now).saturating_sub(self.used)
    }

    /// Returns how many slots may be taken together with those that are.
    fn ceiling(&mut self, urgency: Urgency, now: Timestamp) -> usize {
        self.sweep(now);
        self.prune(now);
        let background = urgency == Urgency::Backfill;
        let unused = if background { self.reserve(now).saturating_sub(self.urgent_used()) } else { 0 };
        self.max().saturating_sub(unused)
    }

    /// Takes a slot, or says when to ask again.
    pub fn try_take(&mut self, urgency: Urgency, now: Timestamp) -> Result<SlotId, Again> {
        self.may_take(urgency, now)?;
        let background = urgency == Urgency::Backfill;
        let slot = SlotId(self.next);
        self.next += 1;
        self.in_flight.insert(slot, Sent { at: now, background });
        self.used += 1;
        self.background += usize::from(background);
        if !background {
            self.note_urgent(now);
        }
        Ok(slot)
    }

    fn note_urgent(&mut self, now: Timestamp) {
        let at = Timestamp(round_up(now.0, self.step_ms()));
        match self.urgent.back_mut() {
            Some((last, calls)) if *last >= at => *calls += 1,
            _ => self.urgent.push_back((at, 1)),
        }
        self.urgent_calls += 1;
        // More than two windows of the largest reserve make no difference.
        if self.urgent_calls > 2 * self.reserve_largest() {
            self.urgent_calls -= 1;
            match self.urgent.front_mut() {
                Some((_, calls)) if *calls > 1 => *calls -= 1,
                _ => drop(self.urgent.pop_front()),
            }
        }
    }

    /// Learns that a call was answered or given up at `at`; a later one than now keeps its slot
    /// taken for longer. Gives whether it was still under way.
    pub fn release(&mut self, slot: SlotId, at: Timestamp) -> bool {
        let Some(sent) = self.in_flight.remove(&slot) else { return false };
        let at = if planted(Bug::WindowFromSending) { sent.at } else { at };
        self.file(Answered { at, calls: 1, background: usize::from(sent.background) });
        true
    }

    /// Treats calls that nobody reported back within the time-out as answered, and names them.
    pub fn sweep(&mut self, now: Timestamp) -> Vec<SlotId> {
        let mut lost = Vec::new();
        while let Some((&slot, sent)) = self.in_flight.first_key_value() {
            let end = sent.at.plus(self.limits.time_out);
            if end > now {
                break;
            }
            self.release(slot, end);
            lost.push(slot);
        }
        lost
    }

    /// Counts the slots that are taken.
    pub fn used_at(&mut self, now: Timestamp) -> usize {
        self.sweep(now);
        self.prune(now);
        self.used
    }

    /// Counts the calls under way.
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Describes the slots for another process: those under way and `ahead` more that may be taken
    /// before `now + valid` are unsure.
    pub fn tail(&mut self, now: Timestamp, ahead: u32, valid: Duration) -> Tail {
        self.sweep(now);
        self.prune(now);
        let replies = self.spent.iter().map(|answered| (answered.at, answered.calls));
        Tail::new(replies, self.limits.span(), now, self.in_flight.len(), ahead, now.plus(valid))
    }

    fn max(&self) -> usize {
        usize::try_from(self.limits.max).unwrap_or(usize::MAX)
    }

    fn urgent_used(&self) -> usize {
        self.used - self.background
    }

    fn reserve_largest(&self) -> usize {
        let part = self.limits.reserve.unwrap_or(RESERVE_LARGEST).clamp(0.0, 1.0);
        (part * f64::from(self.limits.max)).ceil() as usize
    }

    /// Returns how many slots backfill leaves to the others: what they took in the last two
    /// windows, by window, between 4 % and the largest reserve. A fixed one would lie idle wherever
    /// there is backfill only.
    fn reserve(&mut self, now: Timestamp) -> usize {
        let memory = self.limits.span().saturating_mul(2);
        while let Some(&(_, calls)) = self.urgent.front().filter(|(at, _)| at.plus(memory) <= now) {
            self.urgent.pop_front();
            self.urgent_calls -= calls;
        }
        let largest = self.reserve_largest();
        let wanted = self.urgent_calls.div_ceil(2).max(self.max() / RESERVE_STANDING).min(largest);
        // At least one slot is always backfill's: it may wait, but not for ever.
        wanted.min(self.max().saturating_sub(1))
    }

    /// Says when the number of taken slots can have fallen below `ceiling`.
    fn again(&self, ceiling: usize, background: bool) -> Again {
        let mut over = self.used.saturating_sub(ceiling);
        let freed = self.spent.iter().find(|answered| {
            let enough = over < answered.calls;
            over = over.saturating_sub(answered.calls);
            enough
        });
        let freed = freed.filter(|_| ceiling > 0).map(|answered| answered.at.plus(self.limits.span()));
        let shrinks = self.urgent.front().map(|(at, _)| at.plus(self.limits.span().saturating_mul(2)));
        match (freed, shrinks.filter(|_| background)) {
            (Some(freed), Some(shrinks)) => Again::At(freed.min(shrinks)),
            (Some(at), None) | (None, Some(at)) => Again::At(at),
            (None, None) => Again::AfterReply,
        }
    }

    fn is_over(&self, answered: Answered, now: Timestamp) -> bool {
        answered.at.plus(self.limits.span()) <= now
    }

    fn prune(&mut self, now: Timestamp) {
        while let Some(&answered) = self.spent.front() {
            if !self.is_over(answered, now) {
                break;
            }
            self.spent.pop_front();
            self.used -= answered.calls;
            self.background -= answered.background;
            self.former.push_back(answered);
            if self.former.len() > MEMORY_MAX {
                self.former.pop_front();
            }
        }
    }

    /// Files answered calls by time; nearly always that is at the end. Rounds up, which keeps the
    /// promise.
    fn file(&mut self, answered: Answered) {
        let at = Timestamp(round_up(answered.at.0, self.step_ms()));
        let place = match self.spent.back() {
            Some(last) if last.at > at => self.spent.partition_point(|other| other.at < at),
            Some(last) if last.at == at => self.spent.len() - 1,
            _ => self.spent.len(),
        };
        match self.spent.get_mut(place) {
            Some(same) if same.at == at => {
                same.calls += answered.calls;
                same.background += answered.background;
            }
            _ => self.spent.insert(place, Answered { at, ..answered }),
        }
    }

    fn step_ms(&self) -> i64 {
        if i64::from(self.limits.max) <= STEPS {
            return 1;
        }
        (i64::try_from(self.limits.span().as_millis()).unwrap_or(i64::MAX) / STEPS).max(1)
    }
}

/// Returns the first multiple of `step` that is not before `at`.
pub(super) fn round_up(at: i64, step: i64) -> i64 {
    at.saturating_add(step - 1).div_euclid(step).saturating_mul(step)
}

#[cfg(test)]
mod tests;
