//! How much is asked of a system at once: more while it answers quickly, half as much when it does not.
//!
//! Additive increase and multiplicative decrease, as TCP does it, of two quantities. Late answers to
//! writes make batches smaller. Late answers, failures and requests for patience leave fewer calls
//! under way; the latter two leave the batches alone, because smaller batches are more calls.
//!
//! Invariant: a batch is never smaller than one record nor larger than configured, and the calls under
//! way are never fewer than one nor more than their bound.

use std::time::Duration;

use super::Ended;
use crate::engine::record::Timestamp;

/// How one call went.
#[derive(Clone, Copy, Debug)]
pub struct Went {
    pub began: Timestamp,
    pub took: Duration,
    pub ended: Ended,
    /// The service asked for patience.
    pub throttled: bool,
    /// It carried records there.
    pub write: bool,
}

/// One quantity between 1 and `most`.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Level {
    most: f64,
    now: f64,
    cut_at: Option<Timestamp>,
}

impl Level {
    fn new(most: f64) -> Self {
        Self { most, now: most, cut_at: None }
    }

    fn grow(&mut self, by: f64) {
        self.now = (self.now + by).min(self.most);
    }

    /// Halves it, once for all calls that were under way together: those that began before the last
    /// cut say nothing about what it did.
    fn cut(&mut self, began: Timestamp, now: Timestamp) {
        if self.cut_at.is_none_or(|cut| began >= cut) {
            self.now = (self.now / 2.0).max(1.0);
            self.cut_at = Some(now);
        }
    }
}

/// What one (customer, system) bears.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Adapt {
    /// In parts of [`WHOLE`], since batch sizes are the links' own.
    batch: Level,
    calls: Level,
    /// An answer that took longer is late; one that took half as long is quick.
    late_after: Duration,
}

/// A whole batch, in parts: fine enough to make one record of the largest batch that services take.
const WHOLE: f64 = 16_384.0;
/// Quick writes from half a batch to a whole one.
const BATCH_STEPS: f64 = 16.0;

impl Adapt {
    /// Starts with all that is allowed: a healthy system is never slowed.
    pub fn new(calls_max: u32, late_after: Duration) -> Self {
        Self { batch: Level::new(WHOLE), calls: Level::new(f64::from(calls_max.max(1))), late_after }
    }

    /// Changes the bounds; a level that stood at its bound goes with it.
    pub fn set_bounds(&mut self, calls_max: u32, late_after: Duration) {
        let (was, most) = (self.calls.most, f64::from(calls_max.max(1)));
        self.calls.most = most;
        self.calls.now = if self.calls.now >= was { most } else { self.calls.now.min(most) };
        self.late_after = late_after;
    }

    /// Learns how a call went.
    pub fn learn(&mut self, went: &Went, now: Timestamp) {
        let Went { began, took, ended, throttled, write } = *went;
        if ended == Ended::Dropped {
            return;
        }
        let late = took >= self.late_after;
        if late && write {
            self.batch.cut(began, now);
        }
        if late || throttled || ended == Ended::Failed {
            self.calls.cut(began, now);
        } else if took <= self.late_after / 2 {
            // One more for every full round of calls.
            self.calls.grow(1.0 / self.calls.now);
            if write {
                self.batch.grow(WHOLE / 2.0 / BATCH_STEPS);
            }
        }
    }

    /// Returns how many records a call may carry, of `most`.
    pub fn batch_limit(&self, most: usize) -> usize {
        let part = most as f64 * (self.batch.now / WHOLE);
        (part as usize).clamp(1, most.max(1))
    }

    /// Returns how many calls may be under way.
    pub fn calls_limit(&self) -> u32 {
        self.calls.now as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LATE_AFTER: Duration = Duration::from_secs(10);
    const BATCH: usize = 100;
    const CALLS: u32 = 8;

    fn at(seconds: i64) -> Timestamp {
        Timestamp(1_800_000_000_000 + seconds * 1_000)
    }

    /// Plays calls one after the other, a letter each, and gives (batch, calls) at the end.
    fn play(calls: &str) -> (usize, u32) {
        let mut adapt = Adapt::new(CALLS, LATE_AFTER);
        let mut now = at(0);
        for letter in calls.chars() {
            let (seconds, ended, throttled) = match letter.to_ascii_lowercase() {
                'q' => (1, Ended::Ok, false),
                'm' => (7, Ended::Ok, false),
                'l' => (12, Ended::Slow, false),
                'f' => (1, Ended::Failed, false),
                't' => (1, Ended::Ok, true),
                _ => (60, Ended::Dropped, false),
            };
            let (began, took) = (now, Duration::from_secs(seconds));
            now = now.plus(took);
            let write = letter.is_ascii_uppercase();
            adapt.learn(&Went { began, took, ended, throttled, write }, now);
        }
        (adapt.batch_limit(BATCH), adapt.calls_limit())
    }

    #[test]
    fn it_halves_on_trouble_and_grows_by_steps() {
        // (calls: q quick, m middling, l late, f failed, t throttled, d dropped; capitals write; batch, calls, why)
        let cases = [
            ("", 100, 8, "all that is allowed, from the start"),
            ("QQQQ", 100, 8, "and never more"),
            ("L", 50, 4, "a late write: half the batch, half the calls"),
            ("LL", 25, 2, "each late one again"),
            ("LLLLLLLLLL", 1, 1, "never below one"),
            ("l", 100, 4, "a late read says nothing of batches"),
            ("T", 100, 4, "smaller batches would be more calls"),
            ("F", 100, 4, "a quick 503 is no matter of size"),
            ("D", 100, 8, "nobody knows"),
            ("LM", 50, 4, "neither late nor quick: it stays"),
            ("LQ", 53, 4, "a sixteenth of a half more"),
            ("LQQQQQQQQ", 75, 5, "half way after eight; calls by one a round"),
            ("LQQQQQQQQQQQQQQQQ", 100, 6, "whole again after sixteen"),
            ("Lqqqqq", 50, 5, "quick reads make room for calls only"),
            ("LQLQLQLQ", 12, 2, "a system that is late every other time comes to a small batch"),
        ];
        for (calls, batch, under_way, why) in cases {
            assert_eq!(play(calls), (batch, under_way), "{why}: {calls:?}");
        }
    }

    #[test]
    fn calls_that_were_under_way_together_cut_once() {
        let mut adapt = Adapt::new(CALLS, LATE_AFTER);
        let late = Went {
            began: at(0),
            took: Duration::from_secs(12),
            ended: Ended::Slow,
            throttled: false,
            write: true,
        };
        for _ in 0..CALLS {
            adapt.learn(&late, at(12));
        }
        assert_eq!((adapt.batch_limit(BATCH), adapt.calls_limit()), (50, 4));
        adapt.learn(&Went { began: at(12), ..late }, at(24));
        assert_eq!(
            (adapt.batch_limit(BATCH), adapt.calls_limit()),
            (25, 2),
            "what began after the cut counts"
        );
    }

    #[test]
    fn bounds_hold_whatever_they_are() {
        let adapt = Adapt::new(0, LATE_AFTER);
        assert_eq!((adapt.calls_limit(), adapt.batch_limit(0), adapt.batch_limit(1)), (1, 1, 1));
        let mut adapt = Adapt::new(8, LATE_AFTER);
        // (bound, calls, why)
        for (bound, calls, why) in
            [(4, 4, "lower at once"), (16, 16, "it stood at its bound"), (16, 16, "the same")]
        {
            adapt.set_bounds(bound, LATE_AFTER);
            assert_eq!(adapt.calls_limit(), calls, "{why}");
        }
        let throttled =
            Went { began: at(0), took: Duration::ZERO, ended: Ended::Ok, throttled: true, write: false };
        adapt.learn(&throttled, at(0));
        adapt.set_bounds(100, LATE_AFTER);
        assert_eq!(adapt.calls_limit(), 8, "one that was cut grows on its own");
    }
}
