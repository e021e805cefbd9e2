//! Passes that somebody asked for: run now, and wait until both sides are read and delivered.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::link::{Phase, along, at, lock};
use super::supervisor::{Running, Runtime};
use crate::engine::record::{Direction, Side};
use crate::store::{Counters, StoreError};

/// What a pass did, as far as it went before the wait ended.
#[derive(Clone, Copy, Debug, Default, serde::Serialize)]
pub struct PassReport {
    /// Both sides were read to their ends and nothing is left to be delivered now.
    pub complete: bool,
    pub synced: u64,
    pub failed: u64,
    pub skipped: u64,
}

/// How often a waiting pass looks again, should nobody have called it.
const LOOK_EVERY: Duration = Duration::from_millis(100);

impl Runtime {
    /// Asks the given sides of a running link for a pass, at once.
    pub fn ask(&self, running: &Running, sides: &[Side]) -> Vec<(Side, u64)> {
        self.ask_as(running, sides, None)
    }

    /// The same; what the passes write is told under this name.
    pub fn ask_as(&self, running: &Running, sides: &[Side], name: Option<&str>) -> Vec<(Side, u64)> {
        for &side in sides.iter().filter(|_| name.is_some()) {
            *lock(at(&running.view.asked_as, side)) = name.map(Into::into);
        }
        let asked = sides
            .iter()
            .map(|&side| (side, at(&running.view.wanted, side).fetch_add(1, Ordering::AcqRel) + 1))
            .collect();
        if let Some(ctx) = running.context.load_full() {
            sides.iter().for_each(|&side| at(&ctx.bells, side).notify_one());
            Direction::BOTH.iter().for_each(|&direction| along(&ctx.due, direction).notify_one());
        }
        asked
    }

    /// Waits until the asked passes are done and their jobs delivered, at most so long.
    pub async fn wait(
        self: &Arc<Self>,
        customer: &str,
        link: &str,
        asked: &[(Side, u64)],
        limit: Duration,
        before: Counters,
    ) -> Result<PassReport, StoreError> {
        let deadline = tokio::time::Instant::now() + limit;
        loop {
            let id = self.store.link(customer, link).await?.id;
            let Some(running) = self.running(customer, link) else { return Ok(PassReport::default()) };
            let ctx = running.context.load_full();
            let read = asked.iter().all(|(side, number)| {
                let polled = ctx.as_ref().is_none_or(|ctx| ctx.rules.way(side.outward()).is_some());
                !polled || at(&running.view.passes, *side).load(Ordering::Acquire) >= *number
            });
            let live = matches!(*lock(&running.view.phase), Phase::Live);
            let depth = self.store.depth(id).await?;
            let queued: u64 = depth.iter().map(|depth| depth.pending + depth.leased + depth.retrying).sum();
            // Last: what made the pass complete is counted by then.
            let counters = self.store.link(customer, link).await?.counters;
            let report = PassReport {
                complete: read && live && queued == 0,
                synced: counters.delivered.saturating_sub(before.delivered),
                failed: counters.dead.saturating_sub(before.dead),
                skipped: counters.skipped.saturating_sub(before.skipped),
            };
            let now = tokio::time::Instant::now();
            if report.complete || now >= deadline {
                return Ok(report);
            }
            tokio::select! {
                biased;
                () = self.stopping().cancelled() => return Ok(report),
                () = running.view.passed.notified() => {}
                () = tokio::time::sleep(LOOK_EVERY.min(deadline - now)) => {}
            }
        }
    }
}
