//! What was lately written to each pair, so that values that come round in a circle are stopped.
//!
//! Absent on purpose: the disk. After a restart a circle goes round a few times more, and is stopped again.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use super::link::{LinkContext, lock};
use super::meter;
use crate::engine::plan::circle::{self, Circle};
use crate::engine::plan::{Action, Decision, Pair};
use crate::engine::record::{Direction, Key, Timestamp};

/// Pairs that are remembered at once. Where more are written within the window, all are forgotten: a
/// circle is found a little later then.
const PAIRS_MAX: usize = 4096;
/// A rest after which a round does not count any more, and at least so many polls.
const WINDOW: Duration = Duration::from_secs(600);
const POLLS: u32 = 20;

/// The memory of one link.
#[derive(Default)]
pub struct Circles(Mutex<HashMap<Key, Circle>>);

impl Circles {
    /// Forgets a pair: somebody mended something and wants it tried again.
    pub fn forget(&self, key: &Key) {
        lock(&self.0).remove(key);
    }
}

impl LinkContext {
    fn window(&self) -> Duration {
        WINDOW.max(self.poll_interval * POLLS)
    }

    /// Notes a write that arrived. First creates are none: a circle needs a record on both sides.
    pub fn note_write(&self, pair: &Pair, direction: Direction, action: &Action, now: Timestamp) {
        if pair.version == 0 || !action.is_write() {
            return;
        }
        let window = self.window();
        let mut circles = lock(&self.circles.0);
        if circles.len() >= PAIRS_MAX && !circles.contains_key(&pair.key) {
            circles.retain(|_, circle| !circle.is_over(now, window));
            if circles.len() >= PAIRS_MAX {
                circles.clear();
            }
        }
        let is_echo = match circles.get_mut(&pair.key) {
            Some(circle) => circle.note(direction, action, &self.rules, now, window),
            None => {
                let mut circle = Circle::default();
                let is_echo = circle.note(direction, action, &self.rules, now, window);
                circles.insert(pair.key.clone(), circle);
                is_echo
            }
        };
        if is_echo {
            meter::echo(self, direction);
        }
    }

    /// Stops what would go round once more.
    pub fn stop_circle(&self, pair: &Pair, decision: &mut Decision, now: Timestamp) {
        if !(decision.a_to_b.is_write() || decision.b_to_a.is_write()) {
            return;
        }
        let circles = lock(&self.circles.0);
        let Some(circle) = circles.get(&pair.key) else { return };
        circle::stop(circle, pair, decision, now, self.window());
        for direction in Direction::BOTH {
            if matches!(decision.action(direction), Action::Invalid(invalid) if invalid.rule == circle::OSCILLATING)
            {
                tracing::warn!(event = "pair.oscillating", customer = %self.customer, link = %self.name,
                    direction = direction.as_str(), key = %pair.key, "the values come round in a circle");
            }
        }
    }
}
