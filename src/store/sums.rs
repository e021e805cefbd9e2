//! What is added up over all pairs of a link.

use crate::engine::plan::Pair;
use crate::engine::record::{Presence, Side};

/// The sums of some pairs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    /// The keys that each side has.
    pub presence: [Presence; 2],
    /// The latest scan that a pair was touched in, a side each.
    pub epochs: [u32; 2],
}

impl Sums {
    /// Takes a pair in.
    pub fn add(&mut self, pair: &Pair) {
        for ((side, presence), epoch) in Side::BOTH.into_iter().zip(&mut self.presence).zip(&mut self.epochs)
        {
            let state = pair.side(side);
            presence.shift(false, state.now().is_some(), &pair.key);
            *epoch = state.epoch.max(*epoch);
        }
    }

    /// Adds what was added up elsewhere.
    pub fn merge(&mut self, other: Self) {
        let [a, b] = other.presence;
        let [of_a, of_b] = &mut self.presence;
        of_a.merge(a);
        of_b.merge(b);
        let [a, b] = other.epochs;
        let [of_a, of_b] = self.epochs;
        self.epochs = [a.max(of_a), b.max(of_b)];
    }
}
