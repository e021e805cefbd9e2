//! Which keys a side has, as a sum.

use super::Key;

/// Keys, added up: a sum that changes a key at a time. A complete scan that adds up to the same has missed nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Presence {
    pub count: u64,
    /// Of [`Key::hash64`], wrapping.
    pub sum: u64,
}

impl Presence {
    /// Takes one key in.
    pub fn add(&mut self, hash: u64) {
        self.count = self.count.wrapping_add(1);
        self.sum = self.sum.wrapping_add(hash);
    }

    /// Adds what was counted elsewhere.
    pub fn merge(&mut self, other: Self) {
        self.count = self.count.wrapping_add(other.count);
        self.sum = self.sum.wrapping_add(other.sum);
    }

    /// Takes one key out.
    pub fn remove(&mut self, hash: u64) {
        self.count = self.count.wrapping_sub(1);
        self.sum = self.sum.wrapping_sub(hash);
    }

    /// Moves a key in or out.
    pub fn shift(&mut self, before: bool, now: bool, key: &Key) {
        match (before, now) {
            (false, true) => self.add(key.hash64()),
            (true, false) => self.remove(key.hash64()),
            _ => {}
        }
    }
}
