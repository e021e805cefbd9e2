//! Records that are being written: never both sides of one at once.
//!
//! Two writes that cross would each be made from what the other one is about to change; where one of them
//! makes a record anew, what the other carried of the old one would look like an edit of it.
//!
//! Invariant: a key is held by one direction at most, from the look before its write until that is stored.

use std::collections::HashSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use super::link::lock;
use crate::engine::record::Key;
use crate::store::Leased;

/// The keys of a link that are held.
#[derive(Default)]
pub struct Busy {
    held: Mutex<HashSet<Key>>,
    /// How often keys were let go: what was read before that may be of before their write.
    freed: AtomicU64,
}

/// Holds keys until it is dropped.
pub(super) struct Hold<'b> {
    busy: &'b Busy,
    keys: Vec<Key>,
}

impl Busy {
    /// Counts how often keys were let go.
    pub(super) fn freed(&self) -> u64 {
        self.freed.load(Ordering::Acquire)
    }

    /// Holds the keys of a batch; gives also the jobs whose key the other direction holds.
    pub(super) fn hold(&self, leased: Vec<Leased>) -> (Hold<'_>, Vec<Leased>, Vec<Leased>) {
        let mut held = lock(&self.held);
        let (mine, others): (Vec<_>, Vec<_>) =
            leased.into_iter().partition(|leased| held.insert(leased.job.key.clone()));
        let keys = mine.iter().map(|leased| leased.job.key.clone()).collect();
        (Hold { busy: self, keys }, mine, others)
    }
}

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        let mut held = lock(&self.busy.held);
        for key in &self.keys {
            held.remove(key);
        }
        self.busy.freed.fetch_add(1, Ordering::Release);
    }
}
