//! What is gone from a side: found by its keys, enumerated or as one scan has shown them.

use std::sync::Arc;

use super::fuse;
use super::link::{at, lock};
use super::look;
use super::page::{self, Facts, Mode, Tally};
use super::poller::Poller;
use super::reading::{Patience, unless_stopped};
use super::scan;
use super::shown::Shown;
use super::straight;
use crate::connectors::{Class, End, Wanted};
use crate::engine::fault::Fault;
use crate::engine::record::Presence;
use crate::planted::{Bug, planted};

const LIST_PAGE: usize = 1000;
const SUM_PAGE: usize = 100_000;

impl Poller {
    /// Enumerates the keys where that is due, and finds what is gone.
    pub(super) async fn list(&mut self, mode: Mode<'_>) -> Result<Tally, Fault> {
        let ctx = Arc::clone(&self.ctx);
        self.polls_since_listing = self.polls_since_listing.saturating_add(1);
        // A remote listing of many calls is made the more seldom the more it costs.
        let every =
            if ctx.end(self.side).remote && self.listing_calls > 1 { self.listing_calls * 10 } else { 1 };
        if self.polls_since_listing < every && !self.begins_anew {
            return Ok(Tally::default());
        }
        if !ctx.end(self.side).remote && self.sum_keys().await? == *lock(at(&ctx.presence, self.side)) {
            self.polls_since_listing = 0;
            return Ok(Tally::default());
        }
        let shown = self.list_keys().await?;
        self.sweep(shown, ctx.epoch(self.side), mode).await
    }

    /// Adds up the keys: as long as they come to what is known, none needs to be looked at.
    async fn sum_keys(&mut self) -> Result<Presence, Fault> {
        let ctx = Arc::clone(&self.ctx);
        let (mut total, mut cursor) = (Presence::default(), None);
        loop {
            let call = ctx.call(Class::Backfill);
            let summed = unless_stopped(&ctx, self.source.sum(cursor.as_ref(), SUM_PAGE, &call)).await?;
            total.merge(summed.presence);
            cursor = summed.cursor;
            if summed.end != End::More {
                return Ok(total);
            }
        }
    }

    /// Enumerates the keys, as a scan of its own.
    pub(super) async fn list_keys(&mut self) -> Result<Shown, Fault> {
        let ctx = Arc::clone(&self.ctx);
        ctx.next_epoch(self.side);
        let mut shown = Shown::default();
        let (mut cursor, mut calls) = (None, 0);
        let mut patience = Patience::new(&ctx, self.side);
        loop {
            let call = ctx.call(Class::Backfill);
            let listed = unless_stopped(&ctx, self.source.list(cursor.as_ref(), LIST_PAGE, &call)).await;
            let listing = match listed {
                Ok(listing) => listing,
                Err(fault) => {
                    patience.wait(fault).await?;
                    continue;
                }
            };
            patience.renew();
            calls += 1;
            for key in &listing.keys {
                shown.note(key);
            }
            cursor = listing.cursor;
            if listing.end != End::More {
                break;
            }
        }
        self.listing_calls = calls;
        self.polls_since_listing = 0;
        Ok(shown)
    }

    /// Takes in what a complete scan or listing has not shown that remembers all its keys.
    pub(super) async fn sweep(&mut self, shown: Shown, epoch: u32, mode: Mode<'_>) -> Result<Tally, Fault> {
        self.sweep_if_told(shown, epoch, mode).await?.ok_or_else(scan::forgetful)
    }

    /// The same of any; `None` where it does not remember enough.
    pub(super) async fn sweep_if_told(
        &mut self,
        shown: Shown,
        epoch: u32,
        mode: Mode<'_>,
    ) -> Result<Option<Tally>, Fault> {
        let ctx = &self.ctx;
        let looked_at = ctx.now();
        let count = shown.presence.count;
        let missing = unless_stopped(ctx, scan::missing(ctx, self.side, shown, epoch)).await?;
        let Some(scan::Missing { gone: mut missing, touched }) = missing else { return Ok(None) };
        missing.extend(self.gone_since(touched).await?);
        let ctx = &self.ctx;
        fuse::sweep(ctx, self.side, count, &missing)?;
        let facts = unless_stopped(ctx, scan::confirm(ctx, self.side, missing)).await?;
        let mut total = Tally::default();
        let at_once = ctx.sizes.page_records.max(1);
        for chunk in facts.chunks(at_once) {
            if ctx.stop.is_cancelled() {
                return Err(Fault::stopping());
            }
            let mode = if matches!(mode, Mode::Note) { Mode::Note } else { Mode::Plan };
            let facts = Facts {
                straight: facts.len() <= at_once || !straight::gathers(ctx),
                ..Facts::of(self.side, chunk.to_vec(), looked_at)
            };
            total.add(page::take(ctx, facts, mode).await?);
        }
        Ok(Some(total))
    }

    /// Looks up what was touched while a scan went on that has not shown it: it may have come behind the scan, or be gone
    /// from where the scan came to later. Where that is too much to be looked up, another scan has to tell, also where
    /// nothing changes until then.
    async fn gone_since(&mut self, touched: Vec<Wanted>) -> Result<Vec<Wanted>, Fault> {
        if touched.is_empty() || planted(Bug::TouchedForgotten) {
            return Ok(Vec::new());
        }
        if self.ctx.end(self.side).remote || touched.len() > look::CHUNK_MAX {
            self.is_unsettled = true;
            return Ok(Vec::new());
        }
        unless_stopped(&self.ctx, scan::really_gone(&self.ctx, self.side, touched)).await
    }
}
