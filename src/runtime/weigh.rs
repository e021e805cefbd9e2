//! Passes behind the fuse: read, and where that is not believed, weighed as a whole first.
//!
//! A page that takes too much away ends its pass. The stream is then read to its end without taking
//! anything in, because only its end tells whether a thousand emptied records are all of them or one in a
//! hundred, and what exactly is held back. So it is with every pass of a direction that is frozen.

use std::sync::Arc;

use super::fuse::{self, HeldRecord, Word};
use super::link::{at, lock};
use super::page::{self, Facts, Mode, Tally, storage};
use super::poller::Poller;
use super::scan;
use super::shown::Shown;
use super::sights::{self, Sights};
use crate::connectors::{Class, Deletes, End};
use crate::engine::fault::{Fault, FaultCode, FaultKind};
use crate::engine::plan::aside::Aside;
use crate::engine::plan::fuse::{Counts, Finding, Kind};

/// What all of a stream comes to.
struct Weighed {
    counts: Counts,
    findings: Vec<Finding>,
    records: Vec<HeldRecord>,
}

/// What is found of a stream that went back in time.
const BACK: Finding = Finding { kind: Kind::Restored, field: None, count: 0, of: 0 };
/// Polls of which one looks at a frozen direction of a remote system.
const FROZEN_EVERY: u32 = 12;
/// Quiet polls of which one asks whether the stream still shows anything.
const QUIET_EVERY: u32 = 6;

impl Poller {
    /// Reads a side as far as it is believed.
    pub async fn pass(&mut self, mode: Mode<'_>) -> Result<Tally, Fault> {
        let ctx = Arc::clone(&self.ctx);
        let (side, direction) = (self.side, self.side.outward());
        let was_frozen = ctx.fuses.is_frozen(direction);
        let mut is_back = false;
        if !was_frozen {
            match self.read_through(mode).await {
                Err(fault) if fault.code == FaultCode::Frozen => {}
                Err(fault) if fault.code == FaultCode::Restored => is_back = self.went_back(&fault),
                Err(fault) if self.lost_its_form(&fault) => {
                    let finding = Finding { kind: Kind::Unreadable, field: None, count: 0, of: 0 };
                    let reason = format!("{}: {fault}", finding.words(&fuse::stream(&ctx, side)));
                    fuse::blow(&ctx, side, reason, vec![finding], Vec::new(), false).await?;
                    return Err(fault);
                }
                Ok(tally) => {
                    ctx.fuses.settle(side);
                    return Ok(tally);
                }
                ended => return ended,
            }
        }
        let held = fuse::held(ctx.store.as_ref(), ctx.id, direction, ctx.now()).await.map_err(storage)?;
        // Once halted it stays so until somebody answers: what is written to the stream meanwhile can hide
        // that it went back, and mends nothing.
        let was_halted = held.as_ref().is_some_and(|held| fuse::is_halt(&held.findings));
        if let Some(held) =
            held.as_ref().filter(|held| was_halted && self.is_weighed && held.answer.is_none())
        {
            return Err(fuse::frozen(held.reason.clone()));
        }
        self.begins_anew |= was_halted || is_back || held.as_ref().is_some_and(|held| held.anew);
        let weighed = match is_back || was_halted {
            true => None,
            false => match self.weigh(self.begins_anew).await {
                Err(fault) if fault.code == FaultCode::Restored => {
                    is_back = self.went_back(&fault);
                    None
                }
                weighed => Some(weighed?),
            },
        };
        let is_halted = was_halted || is_back;
        if is_halted && !was_halted {
            // At once: to weigh it all takes a while.
            self.is_weighed = false;
            fuse::blow(&ctx, side, self.reason(&[BACK]), vec![BACK], Vec::new(), true).await?;
        }
        let weighed = match weighed {
            Some(weighed) => weighed,
            None => {
                let mut weighed = self.weigh(true).await?;
                weighed.findings.insert(0, BACK);
                weighed
            }
        };
        let told = held
            .as_ref()
            .filter(|held| weighed.findings.iter().all(|finding| finding.is_covered(&held.findings)));
        let answer = told.and_then(|held| held.answer).filter(|_| !weighed.findings.is_empty());
        if !weighed.findings.is_empty() && answer.is_none() {
            return self.freeze(weighed).await;
        }
        let aside = (answer == Some(Word::Discard)).then(|| self.aside(&weighed.findings));
        ctx.fuses.lift(side, weighed.counts, aside);
        self.is_vouched = answer.is_some();
        if matches!(mode, Mode::Load(..)) {
            // A load that broke off has to begin anew; what was weighed holds for that.
            fuse::mend(&ctx, side, answer).await?;
            return Err(fuse::frozen("the bulk load begins again, now that its source has been weighed"));
        }
        ctx.fuses.set_frozen(direction, false);
        self.begins_anew |= is_halted;
        let ended = self.read_through(mode).await;
        self.begins_anew = false;
        match ended {
            Ok(tally) => {
                ctx.fuses.settle(side);
                fuse::mend(&ctx, side, answer).await?;
                Ok(tally)
            }
            Err(fault) => {
                ctx.fuses.set_frozen(direction, was_frozen || is_halted);
                Err(fault)
            }
        }
    }

    /// Stops both directions: what is written now would meet records that look as they did long ago.
    fn went_back(&self, fault: &Fault) -> bool {
        let ctx = &self.ctx;
        ctx.fuses.set_halted(self.side, true);
        tracing::error!(event = "stream.restored", customer = %ctx.customer, link = %ctx.name,
            side = self.side.as_str(), error = %fault, "the stream went back in time; the link halts");
        true
    }

    /// Says why a direction is frozen, and what to do.
    fn reason(&self, findings: &[Finding]) -> String {
        let stream = fuse::stream(&self.ctx, self.side);
        let words: Vec<String> = findings.iter().map(|finding| finding.words(&stream)).collect();
        format!(
            "{}; approve it if that is meant, discard it to bring back what the other side has, or mend the stream",
            words.join("; ")
        )
    }

    async fn freeze(&mut self, weighed: Weighed) -> Result<Tally, Fault> {
        let ctx = Arc::clone(&self.ctx);
        let reason = self.reason(&weighed.findings);
        ctx.fuses.settle(self.side);
        let anew = std::mem::take(&mut self.begins_anew);
        self.is_weighed = true;
        fuse::blow(&ctx, self.side, reason.clone(), weighed.findings, weighed.records, anew).await?;
        Err(fuse::frozen(reason))
    }

    /// A stream that was read before and is no longer what its link was made for: a lost header, another key.
    fn lost_its_form(&self, fault: &Fault) -> bool {
        fault.kind == FaultKind::Fatal
            && fault.code == FaultCode::Configuration
            && lock(at(&self.ctx.presence, self.side)).count > 0
    }

    fn aside(&self, findings: &[Finding]) -> Aside {
        let shape = self.ctx.rules.shape(self.side);
        let mut aside = Aside::default();
        for finding in findings {
            match finding.kind {
                Kind::Emptied => {
                    aside.emptied.extend(finding.field.as_deref().and_then(|field| shape.position(field)));
                }
                Kind::Deletes | Kind::EmptyStream | Kind::ShrunkenStream => aside.deletes = true,
                Kind::Restored => (aside.deletes, aside.all) = (true, true),
                Kind::Unreadable => {}
            }
        }
        aside
    }

    /// Reads all that the next pass would, or all there is, and takes nothing in.
    async fn weigh(&mut self, begins_anew: bool) -> Result<Weighed, Fault> {
        let ctx = Arc::clone(&self.ctx);
        let side = self.side;
        let features = ctx.end(side).features;
        let scanned = features.deletes == Deletes::Scanned;
        let mut cursor = if scanned || begins_anew { None } else { lock(at(&ctx.cursors, side)).clone() };
        let whole = cursor.is_none();
        let epoch = if whole { ctx.next_epoch(side) } else { ctx.epoch(side) };
        let mut shown = whole.then(Shown::default);
        ctx.fuses.weigh(side, whole);
        let (mut read, mut complete) = (0, false);
        loop {
            let read_at = ctx.now();
            let page = match self.read(cursor.as_ref()).await {
                Err(fault) if read > 0 => self.read_on(fault, cursor.as_ref()).await?,
                page => page?,
            };
            cursor = page.cursor.or(cursor);
            let Sights { list, ids, is_again } = self.facts(page.changes, shown.as_mut()).await?;
            read += list.len();
            let facts = Facts {
                keys_once: scanned && !is_again,
                judged: false,
                ids,
                ..Facts::of(side, list, read_at)
            };
            page::gather(&ctx, &sights::named(&ctx, facts).await?, true).await?;
            match page.end {
                End::More => {}
                End::CaughtUp => break,
                End::Complete => {
                    complete = true;
                    break;
                }
            }
        }
        let mut listed = None;
        if features.deletes == Deletes::Listed {
            // Only the listing knows what a listed stream has lost.
            shown = None;
            listed = Some((self.list_keys().await?, ctx.epoch(side)));
            // The read that takes in what was weighed has to list as well, however lately that was done.
            self.polls_since_listing = u32::MAX;
        } else if complete {
            listed = shown.take().map(|shown| (shown, epoch));
        }
        if let Some((shown, epoch)) = listed {
            let count = shown.presence.count;
            let missing = scan::missing(&ctx, side, shown, epoch).await?.ok_or_else(scan::forgetful)?;
            fuse::sweep(&ctx, side, count, &missing.gone)?;
            complete = true;
        }
        let shrunken = match self.shrunken(shown.as_ref()) {
            Some(finding) => Some(finding),
            None => self.vanished(read, whole).await?,
        };
        let (mut counts, records) = ctx.fuses.weighed(side);
        let mut findings = fuse::find(&ctx, side, &counts, whole, complete);
        if let Some(finding) = shrunken {
            counts.gone = counts.gone.max(finding.count);
            findings.push(finding);
        }
        Ok(Weighed { counts, findings, records })
    }

    /// A full read of a stream that reports its deletions shows far less than is known.
    fn shrunken(&self, shown: Option<&Shown>) -> Option<Finding> {
        let shown = shown?;
        let present = lock(at(&self.ctx.presence, self.side)).count;
        let (shown, limits) = (shown.presence.count, fuse::limits(&self.ctx));
        let count = present.saturating_sub(shown);
        let many = count >= limits.deletes_min.max(1) && count * 100 > present * limits.deletes_percent;
        let empty = shown == 0 && present >= limits.empty_min.max(1);
        let kind = if empty { Kind::EmptyStream } else { Kind::ShrunkenStream };
        (many || empty).then_some(Finding { kind, field: None, count, of: present })
    }

    /// A remote stream that shows nothing new: does it still show what is known? Looked at when it falls quiet
    /// and now and then, because an empty answer is what a lost permission looks like.
    async fn vanished(&mut self, read: usize, whole: bool) -> Result<Option<Finding>, Fault> {
        let ctx = Arc::clone(&self.ctx);
        let end = ctx.end(self.side);
        if read > 0 {
            (self.quiet_polls, self.is_vouched) = (0, false);
            return Ok(None);
        }
        let present = lock(at(&ctx.presence, self.side)).count;
        let asks = !whole && end.remote && end.features.deletes == Deletes::Reported;
        if !asks || self.is_vouched || present < fuse::limits(&ctx).empty_min.max(1) {
            return Ok(None);
        }
        if !self.quiet_polls.is_multiple_of(QUIET_EVERY) {
            self.quiet_polls += 1;
            return Ok(None);
        }
        // From the very beginning: a stream that still has its records shows one.
        let page = self.source.read(None, 1, &ctx.call(Class::Backfill)).await?;
        if !page.changes.is_empty() || page.end == End::More {
            self.quiet_polls += 1;
            return Ok(None);
        }
        Ok(Some(Finding { kind: Kind::EmptyStream, field: None, count: present, of: present }))
    }

    /// Ends the pass where the stream as a whole is not what it was.
    pub(super) async fn check_whole(
        &mut self,
        shown: Option<&Shown>,
        read: usize,
        whole: bool,
    ) -> Result<(), Fault> {
        if self.ctx.rules.way(self.side.outward()).is_none() {
            return Ok(());
        }
        let found = match self.shrunken(shown) {
            Some(finding) => Some(finding),
            None => self.vanished(read, whole).await?,
        };
        match found {
            Some(finding) if !self.ctx.fuses.lets(self.side, &finding, self.ctx.rules.shape(self.side)) => {
                Err(fuse::frozen(finding.words(&fuse::stream(&self.ctx, self.side))))
            }
            _ => Ok(()),
        }
    }

    /// A frozen direction of a remote system is looked at now and then only: each look costs calls.
    pub(super) fn rests_frozen(&mut self, answered: bool) -> bool {
        if answered || !self.ctx.end(self.side).remote || !self.ctx.fuses.is_frozen(self.side.outward()) {
            self.frozen_polls = 0;
            return false;
        }
        self.frozen_polls += 1;
        !self.frozen_polls.is_multiple_of(FROZEN_EVERY)
    }

    /// Tells whether somebody has answered for this side's frozen direction.
    pub(super) fn is_answered(&self) -> bool {
        self.ctx.fuses.take_answer(self.side.outward())
    }
}
