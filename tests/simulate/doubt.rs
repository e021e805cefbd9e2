//! Writes of ours that were carried out and that we may not know of: the reply was lost, or the process died
//! before it had stored what it was told.
//!
//! What somebody edits at the source meanwhile must not be lost. Who works on the very record at the
//! destination, over a write that we don't know of, may lose: nothing tells us that it was there.

use std::collections::BTreeSet;

use record_sync::engine::record::Side;

use crate::world::State;

/// A write that is younger may not be recorded yet when the process dies: calls wait for their windows.
const RECORDED_MS: i64 = 90_000;
/// Writes that are remembered without looking which of them are old.
const FRESH_MAX: usize = 200;

/// What one write of ours was.
#[derive(Clone, Copy, Debug)]
struct Wrote {
    at: i64,
    side: Side,
    key: u8,
    /// The system stored something else than was sent.
    altered: bool,
}

/// Our writes of late, and which of them are in doubt.
#[derive(Debug, Default)]
pub struct Doubts {
    fresh: Vec<Wrote>,
    open: BTreeSet<(u8, Side)>,
}

impl State {
    /// We wrote a record.
    pub fn in_doubt_if_we_die(&mut self, side: Side, key: u8, altered: bool) {
        let now = self.now();
        let wrote = Wrote { at: now, side, key, altered };
        if self.crashed {
            return self.doubt(wrote);
        }
        if self.doubts.fresh.len() > FRESH_MAX {
            self.doubts.fresh.retain(|wrote| wrote.at >= now - RECORDED_MS);
        }
        self.doubts.fresh.push(wrote);
    }

    /// The process died: what it wrote of late may not be stored.
    pub fn doubt_fresh(&mut self) {
        let since = self.now() - RECORDED_MS;
        for wrote in std::mem::take(&mut self.doubts.fresh).into_iter().filter(|wrote| wrote.at >= since) {
            self.doubt(wrote);
        }
    }

    /// The reply to the last write of a record was lost.
    pub fn doubt_last(&mut self, side: Side, key: u8) {
        let last = self.doubts.fresh.iter().rev().find(|wrote| (wrote.side, wrote.key) == (side, key));
        if let Some(wrote) = last.copied() {
            self.doubt(wrote);
        }
    }

    fn doubt(&mut self, Wrote { at, side, key, altered }: Wrote) {
        let ledger = self.ledger(key);
        // Read back it looks like an edit, for all that we know.
        ledger.unsure |= altered || ledger.worked_on(side, at);
        self.doubts.open.insert((key, side));
    }

    /// Somebody works on a record: over a write that we may not know of?
    pub fn works_over(&mut self, side: Side, key: u8) {
        if self.doubts.open.contains(&(key, side)) {
            self.ledger(key).unsure = true;
        }
    }

    /// Everything is at rest, and nothing in doubt any more.
    pub fn without_doubt(&mut self) {
        self.doubts = Doubts::default();
    }
}
