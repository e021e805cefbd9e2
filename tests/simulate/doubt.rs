//! Writes of ours that were carried out and that we may not know of: the reply was lost, or the process died
//! before it had stored what it was told.
//!
//! What somebody edits at the source meanwhile must not be lost. Who works at the destination on the very fields
//! that such a write carried, or makes or deletes the record there, may lose: nothing tells us that it was there.

use std::collections::BTreeMap;

use record_sync::engine::record::Side;

use crate::ledger::What;
use crate::setup::FIELDS;
use crate::world::State;

/// A write that is younger may not be recorded yet when the process dies: calls wait for their windows.
const RECORDED_MS: i64 = 90_000;
/// Writes that are remembered without looking which of them are old.
const FRESH_MAX: usize = 200;

/// The fields that a write carried.
pub type Carried = [bool; FIELDS.len()];

/// What one write of ours was.
#[derive(Clone, Copy, Debug)]
pub struct Wrote {
    pub side: Side,
    pub key: u8,
    pub carried: Carried,
    /// The system stored something else than was sent.
    pub altered: bool,
}

/// Our writes of late, and which fields are in doubt.
#[derive(Debug, Default)]
pub struct Doubts {
    fresh: Vec<(i64, Wrote)>,
    open: BTreeMap<(u8, Side), Carried>,
}

impl State {
    /// We wrote a record.
    pub fn in_doubt_if_we_die(&mut self, wrote: Wrote) {
        let now = self.now();
        if self.crashed {
            return self.doubt(now, wrote);
        }
        if self.doubts.fresh.len() > FRESH_MAX {
            self.doubts.fresh.retain(|(at, _)| *at >= now - RECORDED_MS);
        }
        self.doubts.fresh.push((now, wrote));
    }

    /// The process died: what it wrote of late may not be stored.
    pub fn doubt_fresh(&mut self) {
        let since = self.now() - RECORDED_MS;
        for (at, wrote) in std::mem::take(&mut self.doubts.fresh).into_iter().filter(|(at, _)| *at >= since) {
            self.doubt(at, wrote);
        }
    }

    /// The reply to the last write of a record was lost.
    pub fn doubt_last(&mut self, side: Side, key: u8) {
        let of_record = |(_, wrote): &&(i64, Wrote)| (wrote.side, wrote.key) == (side, key);
        if let Some((at, wrote)) = self.doubts.fresh.iter().rev().find(of_record).copied() {
            self.doubt(at, wrote);
        }
    }

    fn doubt(&mut self, at: i64, Wrote { side, key, carried, altered }: Wrote) {
        let open = self.doubts.open.entry((key, side)).or_default();
        open.iter_mut().zip(carried).for_each(|(open, carried)| *open |= carried);
        let since: Vec<What> = self.ledger(key).done_at(side, at).collect();
        since.into_iter().for_each(|what| self.works_over(side, key, what));
        if altered {
            // Read back it looks like an edit, for all that we know.
            self.is_unsure(key);
        }
    }

    /// Somebody works on a record: over a write that we may not know of?
    pub fn works_over(&mut self, side: Side, key: u8, what: What) {
        let Some(carried) = self.doubts.open.get(&(key, side)).copied() else { return };
        match what {
            What::Edit(field) if carried[usize::from(field)] => {
                let blurred = &mut self.ledger(key).blurred[usize::from(field)];
                let is_new = !std::mem::replace(blurred, true);
                self.figures.unsure_fields += u64::from(is_new);
            }
            What::Edit(_) | What::Root => {}
            What::Insert | What::Delete => self.is_unsure(key),
        }
    }

    pub fn is_unsure(&mut self, key: u8) {
        let is_new = !std::mem::replace(&mut self.ledger(key).unsure, true);
        self.figures.unsure_records += u64::from(is_new);
    }

    /// Everything is at rest, and nothing in doubt any more.
    pub fn without_doubt(&mut self) {
        self.doubts = Doubts::default();
    }
}
