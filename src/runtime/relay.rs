//! The pages of one pass, one after the other; those of a scan overlap.
//!
//! While a page of a scan is decided, the one before it is remembered where its writes go to a local end, the one before
//! that delivered, and the one before that is stored.
//!
//! Invariant: pages under way together have no key in common. Only a scan can promise that: a page with
//! a key that was shown before goes alone.

use std::sync::atomic::Ordering;

use super::inline;
use super::link::{LinkContext, at};
use super::page::{self, Decided, Delivered, Facts, Mode, Stored, Tally};
use super::straight;
use crate::engine::fault::Fault;

/// After so many pages the workers get their turn.
const PAGES_IN_A_ROW: usize = 64;

/// Takes pages in.
pub struct Relay<'l> {
    ctx: &'l LinkContext,
    overlaps: bool,
    quiet: Vec<tokio::sync::MutexGuard<'l, ()>>,
    /// Nothing else is on its way in either direction, and has not been since then.
    alone_since: Option<tokio::time::Instant>,
    in_a_row: usize,
    /// What its pages write is remembered before their turn.
    remembers: bool,
    decided: Option<Decided>,
    remembered: Option<Decided>,
    delivered: Option<Delivered>,
}

impl<'l> Relay<'l> {
    /// Begins a pass; `scanned`: no two of its pages have a key in common.
    pub fn new(ctx: &'l LinkContext, scanned: bool) -> Self {
        Self {
            ctx,
            overlaps: scanned,
            quiet: Vec::new(),
            alone_since: None,
            in_a_row: 0,
            remembers: false,
            decided: None,
            remembered: None,
            delivered: None,
        }
    }

    /// Takes the next page; gives what became of those that are stored since the last call.
    pub async fn take(&mut self, mut facts: Facts, mut mode: Mode<'_>) -> Result<Tally, Fault> {
        let side = facts.side;
        at(&self.ctx.view.seen, side).fetch_add(facts.list.len() as u64, Ordering::Relaxed);
        if !self.overlaps {
            return page::take(self.ctx, facts, mode).await;
        }
        let mut tally = Tally::default();
        // Else it may have the key of a page before.
        let alone = !facts.are_sights();
        let is_long = self.alone_since.is_some_and(|since| since.elapsed() >= straight::HELD_MAX);
        if self.in_a_row >= PAGES_IN_A_ROW || alone || is_long {
            tally.add(self.finish(mode.again()).await?);
        }
        if alone {
            tally.add(page::take(self.ctx, facts, mode).await?);
            return Ok(tally);
        }
        if self.in_a_row == 0 {
            self.quiet = inline::quiet(self.ctx, side, mode.is_quiet()).await;
            let is_alone = facts.straight
                && straight::is_idle(self.ctx, side.outward()).await
                && inline::quiet_too(self.ctx, side, &mut self.quiet);
            self.alone_since = is_alone.then(tokio::time::Instant::now);
        }
        facts.straight &= self.alone_since.is_some();
        self.in_a_row += 1;
        let plan = page::plan(self.ctx, facts, matches!(mode, Mode::Note));
        self.remembers = matches!(mode, Mode::Plan) && inline::at_once(self.ctx, side.outward());
        let (next, ready) = self.next();
        let (stored, delivered, remembered, decided) = tokio::join!(
            store(self.ctx, self.delivered.take()),
            deliver(self.ctx, ready, &mut mode),
            remember(self.ctx, next),
            plan
        );
        self.remembered = remembered;
        // Whatever became of the others: what is delivered has to be stored, and what is decided delivered.
        let delivered = delivered.map(|delivered| self.delivered = delivered);
        let decided = decided.map(|decided| self.decided = Some(decided));
        tally.add(self.again(stored?, &mut mode).await?);
        delivered.and(decided).map(|()| tally)
    }

    /// Delivers and stores what is left, and gives the workers their turn.
    pub async fn finish(&mut self, mut mode: Mode<'_>) -> Result<Tally, Fault> {
        let mut tally = Tally::default();
        let mut ended = Ok(());
        while self.decided.is_some() || self.remembered.is_some() || self.delivered.is_some() {
            let (next, ready) = self.next();
            let (stored, delivered, remembered) = tokio::join!(
                store(self.ctx, self.delivered.take()),
                deliver(self.ctx, ready, &mut mode),
                remember(self.ctx, next)
            );
            (self.remembered, self.delivered) = (remembered, delivered?);
            // Whatever became of one page: what is decided has to be delivered, and what is delivered stored.
            let again = match stored {
                Ok(stored) => self.again(stored, &mut mode).await,
                Err(fault) => Err(fault),
            };
            match again {
                Ok(more) => tally.add(more),
                Err(fault) => ended = Err(fault),
            }
        }
        self.quiet.clear();
        (self.in_a_row, self.alone_since) = (0, None);
        ended.map(|()| tally)
    }

    /// The page to be remembered, and the one to be delivered; where nothing is remembered ahead, a page spares that
    /// step, and there is one less of them under way.
    fn next(&mut self) -> (Option<Decided>, Option<Decided>) {
        let (decided, remembered) = (self.decided.take(), self.remembered.take());
        match remembered {
            None if !self.remembers => (None, decided),
            remembered => (decided, remembered),
        }
    }

    async fn again(&self, stored: Stored, mode: &mut Mode<'_>) -> Result<Tally, Fault> {
        match stored {
            Stored::Done(tally) => Ok(tally),
            Stored::Overtaken(facts) => page::take_quietly(self.ctx, facts, mode).await,
        }
    }
}

async fn remember(ctx: &LinkContext, decided: Option<Decided>) -> Option<Decided> {
    match decided {
        Some(decided) => Some(page::remember(ctx, decided).await),
        None => None,
    }
}

async fn deliver(
    ctx: &LinkContext,
    decided: Option<Decided>,
    mode: &mut Mode<'_>,
) -> Result<Option<Delivered>, Fault> {
    match decided {
        Some(decided) => page::deliver(ctx, decided, mode).await.map(Some),
        None => Ok(None),
    }
}

async fn store(ctx: &LinkContext, delivered: Option<Delivered>) -> Result<Stored, Fault> {
    match delivered {
        Some(delivered) => page::store(ctx, delivered).await,
        None => Ok(Stored::Done(Tally::default())),
    }
}
