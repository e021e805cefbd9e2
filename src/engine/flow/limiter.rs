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

/// How many calls may arrive in any window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// 0 lets nothing pass until the limits change.
    pub max: u32,
    pub window: Duration,
    /// A call that nobody reported back after so long is taken as answered then. Longer than any
    /// time-out of a connector.
    pub time_out: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max: 60, window: Duration::from_secs(60), time_out: Duration::from_secs(300) }
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

#[derive(Clone, Copy, Debug)]
struct Slot {
    /// When it was taken, as long as it is in flight; then when the reply came.
    at: Timestamp,
    background: bool,
}

/// The sliding log of one (customer, system).
#[derive(Clone, Debug)]
pub struct Limiter {
    limits: Limits,
    in_flight: BTreeMap<SlotId, Slot>,
    /// Answered calls that still count, by the time of the reply.
    spent: VecDeque<Slot>,
    /// Answered calls that count no longer: they would again under a larger window.
    former: VecDeque<Slot>,
    /// How many of the taken slots are backfill's.
    background: usize,
    /// When urgent calls were last admitted: what the reserve is measured by.
    urgent: VecDeque<Timestamp>,
    next: u64,
}

/// The part of a window that stays free of backfill even where nothing urgent was seen lately, as
/// a divisor: 4 %, so that at least 95 % stay usable.
const RESERVE_STANDING: usize = 25;
/// The part that backfill leaves free at most, as a divisor: 10 %.
const RESERVE_LARGEST: usize = 10;
/// Bounds what is remembered for larger windows and taken over from a restart.
const MEMORY_MAX: usize = 4_096;

impl Limiter {
    /// Makes a limiter that has seen no call.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            in_flight: BTreeMap::new(),
            spent: VecDeque::new(),
            former: VecDeque::new(),
            background: 0,
            urgent: VecDeque::new(),
            next: 1,
        }
    }

    /// Makes a limiter that goes on where another process left off.
    pub fn restore(limits: Limits, tail: &Tail, now: Timestamp) -> Self {
        let mut limiter = Self::new(limits);
        // Beyond `max` slots the oldest make no difference, unless the limit is raised at once.
        let room = MEMORY_MAX.max(limiter.max());
        let mut stamps = tail.stamps(now, room);
        stamps.sort_unstable();
        limiter.background = stamps.len();
        limiter.spent = stamps.into_iter().map(|at| Slot { at, background: true }).collect();
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
        while let Some(slot) = self.former.pop_back() {
            if self.is_over(slot, now) {
                self.former.push_back(slot);
                break;
            }
            self.background += usize::from(slot.background);
            self.spent.push_front(slot);
        }
        self.prune(now);
    }

    /// Takes a slot, or says when to ask again. Costs O(1) amortised, beside finding the call
    /// under way when it ends.
    pub fn try_take(&mut self, urgency: Urgency, now: Timestamp) -> Result<SlotId, Again> {
        self.sweep(now);
        self.prune(now);
        let background = urgency == Urgency::Backfill;
        let unused = if background { self.reserve(now).saturating_sub(self.urgent_used()) } else { 0 };
        let ceiling = self.max().saturating_sub(unused);
        if self.used() >= ceiling {
            return Err(self.again(ceiling, background));
        }
        let slot = SlotId(self.next);
        self.next += 1;
        self.in_flight.insert(slot, Slot { at: now, background });
        self.background += usize::from(background);
        if !background {
            self.urgent.push_back(now);
            if self.urgent.len() > 2 * self.reserve_largest() {
                self.urgent.pop_front();
            }
        }
        Ok(slot)
    }

    /// Learns that a call was answered or given up. Gives whether it was still under way.
    pub fn release(&mut self, slot: SlotId, now: Timestamp) -> bool {
        let Some(taken) = self.in_flight.remove(&slot) else { return false };
        self.spend(Slot { at: now, ..taken });
        true
    }

    /// Takes a slot back as if it had never been taken: its call was provably not sent.
    pub fn give_back(&mut self, slot: SlotId) {
        if let Some(taken) = self.in_flight.remove(&slot) {
            self.background -= usize::from(taken.background);
        }
    }

    /// Treats calls that nobody reported back within the time-out as answered, and names them.
    pub fn sweep(&mut self, now: Timestamp) -> Vec<SlotId> {
        let mut lost = Vec::new();
        while let Some((&slot, taken)) = self.in_flight.first_key_value() {
            let end = taken.at.plus(self.limits.time_out);
            if end > now {
                break;
            }
            let taken = *taken;
            self.in_flight.remove(&slot);
            self.spend(Slot { at: end, ..taken });
            lost.push(slot);
        }
        lost
    }

    /// Counts the slots that are taken.
    pub fn used_at(&mut self, now: Timestamp) -> usize {
        self.sweep(now);
        self.prune(now);
        self.used()
    }

    /// Counts the calls under way.
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Describes the slots for another process: those under way and `credit` more that may be
    /// taken before `now + valid` are unsure.
    pub fn tail(&mut self, now: Timestamp, credit: u32, valid: Duration) -> Tail {
        self.sweep(now);
        self.prune(now);
        let unsure = u32::try_from(self.in_flight.len()).unwrap_or(u32::MAX).saturating_add(credit);
        Tail::new(self.spent.iter().map(|slot| slot.at), self.limits.span(), now, unsure, now.plus(valid))
    }

    fn max(&self) -> usize {
        usize::try_from(self.limits.max).unwrap_or(usize::MAX)
    }

    fn used(&self) -> usize {
        self.in_flight.len() + self.spent.len()
    }

    fn urgent_used(&self) -> usize {
        self.used() - self.background
    }

    fn reserve_largest(&self) -> usize {
        self.max().div_ceil(RESERVE_LARGEST)
    }

    /// Returns how many slots backfill leaves to the others: what they took in the last two
    /// windows, by window, between 4 % and 10 %. A fixed tenth would lie idle wherever there is
    /// backfill only.
    fn reserve(&mut self, now: Timestamp) -> usize {
        let memory = self.limits.span().saturating_mul(2);
        while self.urgent.front().is_some_and(|at| at.plus(memory) <= now) {
            self.urgent.pop_front();
        }
        let wanted = self.urgent.len().div_ceil(2).min(self.reserve_largest());
        // At least one slot is always backfill's: it may wait, but not for ever.
        wanted.max(self.max() / RESERVE_STANDING).min(self.max().saturating_sub(1))
    }

    /// Says when the number of taken slots can have fallen below `ceiling`.
    fn again(&self, ceiling: usize, background: bool) -> Again {
        let freed = ceiling.checked_sub(1).and_then(|last| self.spent.get(self.used() - 1 - last));
        let freed = freed.map(|slot| slot.at.plus(self.limits.span()));
        let shrinks = self.urgent.front().map(|at| at.plus(self.limits.span().saturating_mul(2)));
        match (freed, shrinks.filter(|_| background)) {
            (Some(freed), Some(shrinks)) => Again::At(freed.min(shrinks)),
            (Some(at), None) | (None, Some(at)) => Again::At(at),
            (None, None) => Again::AfterReply,
        }
    }

    fn is_over(&self, slot: Slot, now: Timestamp) -> bool {
        slot.at.plus(self.limits.span()) <= now
    }

    fn prune(&mut self, now: Timestamp) {
        while let Some(&slot) = self.spent.front() {
            if !self.is_over(slot, now) {
                break;
            }
            self.spent.pop_front();
            self.background -= usize::from(slot.background);
            self.former.push_back(slot);
            if self.former.len() > MEMORY_MAX {
                self.former.pop_front();
            }
        }
    }

    /// Files an answered call by time; nearly always that is at the end.
    fn spend(&mut self, slot: Slot) {
        if self.spent.back().is_none_or(|last| last.at <= slot.at) {
            self.spent.push_back(slot);
            return;
        }
        let place = self.spent.partition_point(|other| other.at <= slot.at);
        self.spent.insert(place, slot);
    }
}

#[cfg(test)]
mod tests;
