//! The pages of one pass, one after the other; those of a scan overlap.
//!
//! Invariant: a page that is planned while the one before it is being stored has none of that one's
//! keys. Only a scan promises that: a record that it shows under a key for the second time is refused.

use std::sync::atomic::Ordering;

use super::inline;
use super::link::{LinkContext, at};
use super::page::{self, Fact, Facts, Mode, Planned, Stored, Tally};
use crate::engine::fault::Fault;

/// After so many pages the workers get their turn.
const PAGES_IN_A_ROW: usize = 16;

/// Takes pages in.
pub struct Relay<'l> {
    ctx: &'l LinkContext,
    overlaps: bool,
    quiet: Vec<tokio::sync::MutexGuard<'l, ()>>,
    in_a_row: usize,
    /// Planned, and to be stored while the next one is planned.
    pending: Option<Planned>,
}

impl<'l> Relay<'l> {
    /// Begins a pass; `scanned`: no two of its pages have a key in common.
    pub fn new(ctx: &'l LinkContext, scanned: bool) -> Self {
        Self { ctx, overlaps: scanned, quiet: Vec::new(), in_a_row: 0, pending: None }
    }

    /// Takes the next page; gives what became of those that are stored since the last call.
    pub async fn take(&mut self, facts: Facts, mut mode: Mode<'_>) -> Result<Tally, Fault> {
        let side = facts.side;
        at(&self.ctx.view.seen, side).fetch_add(facts.list.len() as u64, Ordering::Relaxed);
        if !self.overlaps {
            return page::take(self.ctx, facts, mode).await;
        }
        let mut tally = Tally::default();
        // What is no sight of a record may come under a key that was seen on the page before.
        let alone = facts.list.iter().any(|(_, fact)| !matches!(fact, Fact::Seen(_)));
        if self.in_a_row >= PAGES_IN_A_ROW || alone {
            tally.add(self.finish(mode.again()).await?);
        }
        if alone {
            tally.add(page::take(self.ctx, facts, mode).await?);
            return Ok(tally);
        }
        if self.in_a_row == 0 {
            self.quiet = inline::quiet(self.ctx, side, mode.held()).await;
        }
        self.in_a_row += 1;
        let (stored, planned) =
            tokio::join!(store(self.ctx, self.pending.take()), page::plan(self.ctx, facts, &mut mode));
        // Whatever became of the page before: this one is delivered, and has to be stored.
        let planned = planned.map(|planned| self.pending = Some(planned));
        tally.add(self.again(stored?, &mut mode).await?);
        planned.map(|()| tally)
    }

    /// Stores what is left, and gives the workers their turn.
    pub async fn finish(&mut self, mut mode: Mode<'_>) -> Result<Tally, Fault> {
        let stored = store(self.ctx, self.pending.take()).await?;
        let tally = self.again(stored, &mut mode).await?;
        self.quiet.clear();
        self.in_a_row = 0;
        Ok(tally)
    }

    async fn again(&self, stored: Stored, mode: &mut Mode<'_>) -> Result<Tally, Fault> {
        match stored {
            Stored::Done(tally) => Ok(tally),
            Stored::Overtaken(facts) => page::take_quietly(self.ctx, facts, mode).await,
        }
    }
}

async fn store(ctx: &LinkContext, planned: Option<Planned>) -> Result<Stored, Fault> {
    match planned {
        Some(planned) => page::store(ctx, planned).await,
        None => Ok(Stored::Done(Tally::default())),
    }
}
