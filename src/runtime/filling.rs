//! A bulk load under way.
//!
//! Invariant: a record is staged once. What its source shows of it later in the same read is left alone, since its pair
//! does not say yet what will stand at the destination; when the load has ended the source is read once more.

use std::sync::Mutex;

use super::link::lock;
use super::page::Entry;
use super::shown::Shown;
use crate::connectors::{Delivery, Load, Outcome};
use crate::engine::fault::Fault;
use crate::engine::record::Direction;
use crate::planted::{Bug, planted};
use crate::store::LoadId;

/// An empty destination that is being filled.
pub struct Filling {
    pub direction: Direction,
    pub id: LoadId,
    load: tokio::sync::Mutex<Box<dyn Load>>,
    state: Mutex<State>,
}

struct State {
    staged: Shown,
    /// Something was left alone.
    is_outdated: bool,
    /// What the read has shown, with the number of its scan.
    unswept: Option<(Shown, u32)>,
}

/// What is left to be done for the source when a load has ended.
pub(super) enum Rest {
    /// To find what is gone: what the read has shown, with the number of its scan, where it came to its end.
    Sweep(Option<Box<(Shown, u32)>>),
    ReadAgain,
}

impl Filling {
    /// Begins one that remembers so many of the staged keys one by one.
    pub fn new(direction: Direction, id: LoadId, load: Box<dyn Load>, keys_max: u64) -> Self {
        let state = State { staged: Shown::with_limit(keys_max), is_outdated: false, unswept: None };
        Self { direction, id, load: load.into(), state: Mutex::new(state) }
    }

    /// Stages creates, keys of which were not staged before.
    pub(super) async fn stage(&self, deliveries: &[Delivery]) -> Result<Vec<Outcome>, Fault> {
        let outcomes = self.load.lock().await.stage(deliveries).await?;
        let mut state = lock(&self.state);
        for (delivery, outcome) in deliveries.iter().zip(&outcomes) {
            if matches!(outcome, Outcome::Delivered { .. }) {
                state.staged.note(&delivery.key);
            }
        }
        Ok(outcomes)
    }

    /// Takes those out of a page that are staged and look otherwise by now, and those of which nobody knows.
    pub(super) fn leave_alone(&self, entries: &mut Vec<Entry>) {
        if planted(Bug::LoadsLookAway) {
            return;
        }
        let before = entries.len();
        let mut state = lock(&self.state);
        entries.retain(|entry| !(entry.dirty && state.staged.has(&entry.pair.key)));
        state.is_outdated |= entries.len() < before;
    }

    /// Takes note that the source may have shown a key twice.
    pub(super) fn lose_track(&self) {
        lock(&self.state).is_outdated = true;
    }

    /// Takes note of what a read has shown that came to its end, under the number of its scan.
    pub(super) fn has_shown(&self, shown: Shown, epoch: u32) {
        lock(&self.state).unswept = Some((shown, epoch));
    }

    /// Makes all that is staged durable and visible.
    pub(super) async fn finish(self) -> Result<Rest, Fault> {
        self.load.into_inner().finish().await?;
        let State { is_outdated, unswept, .. } =
            self.state.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        Ok(if is_outdated { Rest::ReadAgain } else { Rest::Sweep(unswept.map(Box::new)) })
    }
}
