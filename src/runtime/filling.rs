//! A bulk load under way, and what waits for its end.
//!
//! Invariant: a record is staged once. Where its source shows it otherwise later in the same read, it is looked up when
//! the load has ended: only then does its pair say what stands at the destination.

use std::collections::BTreeMap;

use super::page::Entry;
use super::shown::Shown;
use crate::connectors::{Delivery, Load, Outcome, Wanted};
use crate::engine::fault::Fault;
use crate::engine::record::{Direction, Key, RemoteId};
use crate::planted::{Bug, planted};
use crate::store::LoadId;

/// Records that are looked up one by one at most; beyond that the source is read once more instead.
const MOVED_MAX: usize = 10_000;

/// An empty destination that is being filled.
pub struct Filling {
    pub direction: Direction,
    pub id: LoadId,
    load: Box<dyn Load>,
    staged: Shown,
    /// Staged records that look otherwise by now, with their ids at the source.
    moved: BTreeMap<Key, Option<RemoteId>>,
    /// What the read has shown, with the number of its scan.
    pub(super) unswept: Option<(Shown, u32)>,
}

/// What is to be done behind a load.
pub(super) struct Behind {
    /// Records to be looked up at the source; `None` where that is to be read again.
    pub moved: Option<Vec<Wanted>>,
    /// What the read has shown, with the number of its scan.
    pub unswept: Option<(Shown, u32)>,
}

impl Filling {
    pub fn new(direction: Direction, id: LoadId, load: Box<dyn Load>) -> Self {
        let (staged, moved) = (Shown::default(), BTreeMap::new());
        Self { direction, id, load, staged, moved, unswept: None }
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

    /// Takes those out of a page that are staged and look otherwise by now.
    pub(super) fn put_off(&mut self, entries: &mut Vec<Entry>) {
        if planted(Bug::LoadsLookAway) {
            return;
        }
        let is_moved = |entry: &mut Entry| entry.dirty && self.staged.has(&entry.pair.key);
        for entry in entries.extract_if(.., is_moved) {
            if self.moved.len() <= MOVED_MAX {
                let id = entry.pair.side(self.direction.from()).id.clone();
                self.moved.insert(entry.pair.key, id);
            }
        }
    }

    /// Makes all that is staged durable and visible.
    pub(super) async fn finish(self) -> Result<Behind, Fault> {
        let Self { load, moved, unswept, .. } = self;
        load.finish().await?;
        let moved = (moved.len() <= MOVED_MAX)
            .then(|| moved.into_iter().map(|(key, id)| Wanted { key, id }).collect());
        Ok(Behind { moved, unswept })
    }
}
