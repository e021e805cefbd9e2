//! Audits: a whole stream in the order of its ids, laid beside what is known of it.
//!
//! A cursor goes by stamps, and shows nothing that came to stand under an older one: an import that kept its
//! stamps, a clock that stepped back by hours, an edit past the application. Now and then everything is shown
//! once more, a slice a poll, so that live changes never wait for it.
//!
//! Invariant: an audit moves no cursor, and what it finds goes the way of every other page, fuses included.

use std::sync::Arc;
use std::time::Duration;

use super::facts::NOTHING_EXPECTED;
use super::link::{Audited, LinkContext, at, lock};
use super::meter;
use super::page::{self, Facts, Mode, Tally, storage};
use super::poller::Poller;
use super::reading::{page_records, unless_stopped};
use super::shown::Shown;
use super::sights::Sights;
use crate::connectors::{Class, Deletes, End};
use crate::engine::fault::{Fault, FaultCode};
use crate::engine::plan::fuse::Counts;
use crate::engine::record::{Cursor, Side, Timestamp};

/// Pages of a slice: a poll waits for so much at most.
const PAGES_LOCAL: usize = 20;
const PAGES_REMOTE: usize = 1;
/// What an audit of a local stream costs a record, times a hundred: where that much time has passed since the
/// last one, another takes a hundredth of it.
const REST_LOCAL: Duration = Duration::from_millis(1);
const REST_LOCAL_MIN: Duration = Duration::from_secs(1);
/// The wait after a slice that failed.
const RETRY: Duration = Duration::from_secs(60);
const SPACE: &str = "audit";

/// When a side is audited, and how far that is.
#[derive(Default)]
pub struct Audits {
    /// When the last one ended; `None` before that was looked up.
    last: Option<Timestamp>,
    under_way: Option<Audit>,
    /// The stream has not changed since the last audit began.
    is_current: bool,
    not_before: Option<Timestamp>,
}

struct Audit {
    after: Option<Cursor>,
    shown: Shown,
    epoch: u32,
    /// What the fuse has counted.
    counts: Counts,
    missed: u64,
    oldest: Option<Timestamp>,
}

impl Poller {
    /// Audits the next slice where that is due. What goes wrong is said and tried again later: the poll
    /// itself is through.
    pub(super) async fn audit_on(&mut self) -> Result<Tally, Fault> {
        if !self.is_audit_due().await? {
            return Ok(Tally::default());
        }
        match self.audit_slice().await {
            Err(fault) if fault.code == FaultCode::Frozen => {
                // Behind the fuse, where it is weighed as a whole, like any other read.
                self.audits.under_way = None;
                self.audited_at(self.ctx.now()).await?;
                self.begins_anew = true;
                let ended = self.pass(Mode::Plan).await;
                self.begins_anew = false;
                match ended {
                    Err(fault) if fault.code == FaultCode::Frozen => Ok(Tally::default()),
                    ended => ended,
                }
            }
            Err(fault) if !fault.is_stopping() => {
                let ctx = &self.ctx;
                tracing::warn!(event = "audit.failed", customer = %ctx.customer, link = %ctx.name,
                    side = self.side.as_str(), error = %fault, "an audit goes on later");
                self.audits.not_before = Some(ctx.now().plus(RETRY.min(ctx.audit_interval)));
                Ok(Tally::default())
            }
            ended => ended,
        }
    }

    async fn is_audit_due(&mut self) -> Result<bool, Fault> {
        let ctx = Arc::clone(&self.ctx);
        if ctx.audit_interval.is_zero()
            || ctx.end(self.side).features.deletes == Deletes::Scanned
            || !self.source.audits()
            || ctx.fuses.is_held(self.side.outward())
        {
            return Ok(false);
        }
        let now = ctx.now();
        if self.audits.not_before.is_some_and(|at| now < at) {
            return Ok(false);
        }
        if self.audits.under_way.is_some() {
            return Ok(true);
        }
        let last = match self.audits.last {
            Some(last) => last,
            None => self.last_audit(now).await?,
        };
        Ok(now.since(last) >= self.audit_rest())
    }

    /// Returns how long the stream goes without an audit. A local one that changes is looked at as often as
    /// costs next to nothing: an edit under a clock that stepped back should not wait for a day.
    fn audit_rest(&self) -> Duration {
        let ctx = &self.ctx;
        if ctx.end(self.side).remote || self.audits.is_current {
            return ctx.audit_interval;
        }
        let records = lock(at(&ctx.presence, self.side)).count;
        let rest = REST_LOCAL.saturating_mul(u32::try_from(records).unwrap_or(u32::MAX));
        rest.max(REST_LOCAL_MIN).min(ctx.audit_interval)
    }

    /// Takes note that the stream may have changed.
    pub(super) fn audit_again(&mut self) {
        self.audits.is_current = false;
    }

    /// Looks up when the side was last read as a whole. A link that was never audited has just been matched.
    async fn last_audit(&mut self, now: Timestamp) -> Result<Timestamp, Fault> {
        let ctx = Arc::clone(&self.ctx);
        let stored = ctx.store.get(SPACE, &name(&ctx, self.side), now).await.map_err(storage)?;
        match stored.and_then(|text| read(&text)) {
            Some(audited) => {
                *lock(at(&ctx.view.audits, self.side)) = (audited.records > 0).then_some(audited);
                self.audits.last = Some(audited.at);
                Ok(audited.at)
            }
            None => {
                self.audited_at(now).await?;
                Ok(now)
            }
        }
    }

    /// Remembers that all was read at this moment.
    async fn audited_at(&mut self, now: Timestamp) -> Result<(), Fault> {
        self.put_audited(Audited { at: now, ..Audited::default() }).await
    }

    async fn put_audited(&mut self, audited: Audited) -> Result<(), Fault> {
        let ctx = &self.ctx;
        self.audits.last = Some(audited.at);
        let Audited { at, records, missed, gone } = audited;
        let text = serde_json::json!([at.0, records, missed, gone]).to_string();
        ctx.store.put(SPACE, &name(ctx, self.side), &text, None).await.map_err(storage)
    }

    async fn audit_slice(&mut self) -> Result<Tally, Fault> {
        let ctx = Arc::clone(&self.ctx);
        let mut audit = self.audits.under_way.take().unwrap_or_else(|| Audit {
            after: None,
            shown: Shown::default(),
            epoch: ctx.next_epoch(self.side),
            counts: Counts::default(),
            missed: 0,
            oldest: None,
        });
        self.audits.is_current |= audit.after.is_none();
        ctx.fuses.resume(self.side, audit.counts.clone());
        let mut total = Tally::default();
        let pages = self.audit_pages(&mut audit, &mut total).await;
        audit.counts = ctx.fuses.totals(self.side);
        match pages {
            Ok(true) => {
                total.add(self.conclude_audit(audit).await?);
                Ok(total)
            }
            // What was taken in is taken in; the next slice goes on behind it.
            unfinished => {
                self.audits.under_way = Some(audit);
                unfinished.map(|_| total)
            }
        }
    }

    /// Takes the next pages in; true at the end of the stream.
    async fn audit_pages(&mut self, audit: &mut Audit, total: &mut Tally) -> Result<bool, Fault> {
        let ctx = Arc::clone(&self.ctx);
        let remote = ctx.end(self.side).remote;
        let pages = if remote { PAGES_REMOTE } else { PAGES_LOCAL };
        let limit = page_records(&ctx, self.side);
        for _ in 0..pages {
            let (read_at, expected_from) = (ctx.now(), self.expected_from());
            let call = ctx.call(Class::Backfill);
            let page = unless_stopped(&ctx, self.source.audit(audit.after.as_ref(), limit, &call)).await?;
            let Sights { list, ids, .. } = self.facts(page.changes, Some(&mut audit.shown)).await?;
            let facts = Facts { judged: false, expected_from, ids, ..Facts::of(self.side, list, read_at) };
            let tally = page::take(&ctx, facts, Mode::Plan).await?;
            audit.missed += tally.late;
            audit.oldest = [audit.oldest, tally.oldest].into_iter().flatten().min();
            total.add(tally);
            audit.after = page.cursor.or(audit.after.take());
            if page.end != End::More {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// From which stamp on the next read will show what is new; anything older, no read will.
    fn expected_from(&mut self) -> Option<Timestamp> {
        match self.reach() {
            Some(reach) => Some(reach.from),
            // Without stamps only a stream that stands still tells news from what was overlooked.
            None => (!self.source.may_have_changed()).then_some(NOTHING_EXPECTED),
        }
    }

    async fn conclude_audit(&mut self, audit: Audit) -> Result<Tally, Fault> {
        let ctx = Arc::clone(&self.ctx);
        let records = audit.shown.presence.count;
        let swept = self.sweep(audit.shown, audit.epoch, Mode::Plan).await?;
        let audited = Audited { at: ctx.now(), records, missed: audit.missed, gone: swept.changed };
        self.put_audited(audited).await?;
        *lock(at(&ctx.view.audits, self.side)) = Some(audited);
        meter::audited(&ctx, self.side, audited);
        tracing::info!(event = "audit.done", customer = %ctx.customer, link = %ctx.name,
            side = self.side.as_str(), records, missed = audited.missed, gone = audited.gone,
            "compared {records} records: {} that no read had shown, {} that are gone",
            audited.missed, audited.gone);
        let late_by = self.reach().zip(audit.oldest).map(|(reach, oldest)| reach.newest.since(oldest));
        self.adapt(late_by, true).await?;
        Ok(swept)
    }
}

fn read(text: &str) -> Option<Audited> {
    let (at, records, missed, gone) = serde_json::from_str(text).ok()?;
    Some(Audited { at: Timestamp(at), records, missed, gone })
}

fn name(ctx: &LinkContext, side: Side) -> String {
    format!("{}/{}", ctx.id.0, side.as_str())
}
