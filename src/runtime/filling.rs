//! A bulk load under way.
//!
//! Invariant: a record is staged once. What its source shows of it later in the same read is left alone, since its pair
//! does not say yet what will stand at the destination; when the load has ended the source is read once more.

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
    load: Box<dyn Load>,
    staged: Shown,
    /// Something was left alone.
    is_outdated: bool,
    /// What the read has shown, with the number of its scan.
    pub(super) unswept: Option<(Shown, u32)>,
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
        let staged = Shown::with_limit(keys_max);
        Self { direction, id, load, staged, is_outdated: false, unswept: None }
    }

    /// Stages creates, keys of which were not staged before.
    pub(super) async fn stage(&mut self, deliveries: &[Delivery]) -> Result<Vec<Outcome>, Fault> {
        let outcomes = self.load.stage(deliveries).await?;
        for (delivery, outcome) in deliveries.iter().zip(&outcomes) {
            if matches!(outcome, Outcome::Delivered { .. }) {
                self.staged.note(&delivery.key);
            }
        }
        Ok(outcomes)
    }

    /// Takes those out of a page that are staged and look otherwise by now, and those of which nobody knows.
    pub(super) fn leave_alone(&mut self, entries: &mut Vec<Entry>) {
        if planted(Bug::LoadsLookAway) {
            return;
        }
        let before = entries.len();
        entries.retain(|entry| !(entry.dirty && self.staged.has(&entry.pair.key)));
        self.is_outdated |= entries.len() < before;
    }

    /// Takes note that the source may have shown a key twice.
    pub(super) fn lose_track(&mut self) {
        self.is_outdated = true;
    }

    /// Makes all that is staged durable and visible.
    pub(super) async fn finish(self) -> Result<Rest, Fault> {
        let Self { load, is_outdated, unswept, .. } = self;
        load.finish().await?;
        Ok(if is_outdated { Rest::ReadAgain } else { Rest::Sweep(unswept.map(Box::new)) })
    }
}
