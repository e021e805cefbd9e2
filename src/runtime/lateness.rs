//! Records that came late, and how far back reads begin because of it.
//!
//! Invariant: what was learnt stands in the cursor itself, so that it is as durable as that.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::facts::{Facts, NOTHING_EXPECTED, Tally};
use super::link::{at, lock};
use super::page::Entry;
use super::poller::Poller;
use crate::engine::fault::Fault;
use crate::engine::reading::{OVERLAP_MAX, Reach};

/// Counts the news that was not to be expected any more. Without a stamp only that counts of which nothing at
/// all was to be expected.
pub fn count(facts: &Facts, entries: &[Entry], tally: &mut Tally) {
    let Some(from) = facts.expected_from else { return };
    for stamp in entries.iter().filter_map(|entry| entry.news) {
        if stamp.map_or(from == NOTHING_EXPECTED, |stamp| stamp < from) {
            tally.late += 1;
            tally.oldest = [tally.oldest, stamp].into_iter().flatten().min();
        }
    }
}

impl Poller {
    /// Tells how far the stream is read, where that goes by stamps.
    pub(super) fn reach(&self) -> Option<Reach> {
        lock(at(&self.ctx.cursors, self.side)).as_ref().and_then(|cursor| self.source.reach(cursor))
    }

    /// Learns by how much records were late, or that an audit is through.
    pub(super) async fn adapt(&mut self, late_by: Option<Duration>, audited: bool) -> Result<(), Fault> {
        let ctx = Arc::clone(&self.ctx);
        let Some(reach) = self.reach() else { return Ok(()) };
        let mut overlap = reach.overlap;
        if let Some(late_by) = late_by {
            overlap = overlap.met(late_by);
        }
        if audited {
            overlap = overlap.audited(reach.least);
        }
        let (before, after) = (reach.overlap.length(reach.least), overlap.length(reach.least));
        at(&ctx.view.overlap_ms, self.side).store(millis(after), Ordering::Relaxed);
        if let Some(late_by) = late_by.filter(|late_by| *late_by > OVERLAP_MAX) {
            tracing::warn!(event = "cursor.older", customer = %ctx.customer, link = %ctx.name,
                side = self.side.as_str(), late_seconds = late_by.as_secs_f64(),
                "records came to light under stamps that are {} s older than the newest: an import or a clock \
                 that is off; only audits find such", late_by.as_secs());
        }
        if overlap == reach.overlap {
            return Ok(());
        }
        let cursor = lock(at(&ctx.cursors, self.side)).clone();
        let Some(cursor) = cursor.and_then(|cursor| self.source.with_overlap(&cursor, overlap)) else {
            return Ok(());
        };
        self.store_cursor(Some(cursor)).await?;
        if before != after {
            tracing::info!(event = "cursor.overlap", customer = %ctx.customer, link = %ctx.name,
                side = self.side.as_str(), from_seconds = before.as_secs_f64(),
                to_seconds = after.as_secs_f64(), late_seconds = late_by.map(|by| by.as_secs_f64()),
                "reads begin {} s before the newest stamp from now on, instead of {} s",
                after.as_secs_f64(), before.as_secs_f64());
        }
        Ok(())
    }

    /// Notes for the status how far back reads begin.
    pub(super) fn note_overlap(&self) {
        let length = self.reach().map_or(Duration::ZERO, |reach| reach.overlap.length(reach.least));
        at(&self.ctx.view.overlap_ms, self.side).store(millis(length), Ordering::Relaxed);
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
