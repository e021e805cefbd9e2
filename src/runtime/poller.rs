//! Watches one side of a link: read a page, take it in, go on where it ended.
//!
//! Polling is the guarantee, waking is the speed: a rung bell only brings the next poll forward.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::audit::Audits;
use super::filling::Rest;
use super::link::{LinkContext, at, lock};
use super::mark;
use super::meter;
use super::page::{Facts, Mode, Tally, storage};
use super::reading::{self, Patience};
use super::relay::Relay;
use super::shown::Shown;
use super::sights::{self, Sights};
use super::straight;
use super::turned::{Turned, Turning};
use crate::connectors::{Deletes, End, Page, Source};
use crate::engine::fault::{Fault, FaultCode, FaultKind};
use crate::engine::plan::Projector;
use crate::engine::record::{Cursor, Side, Timestamp};
use crate::planted::{Bug, planted};
use crate::store::Commit;

/// Waits between the looks after a bell.
const SECOND_LOOKS: [Duration; 4] = [
    Duration::from_millis(2),
    Duration::from_millis(10),
    Duration::from_millis(50),
    Duration::from_millis(250),
];
/// Failures in a row beyond which no more are told apart.
const TROUBLES_MAX: u32 = 16;
/// What the pause after a failure starts from; each one in a row doubles it.
const TROUBLE_DELAY_MIN: Duration = Duration::from_secs(1);
const TROUBLE_DELAY_MAX: Duration = Duration::from_secs(60);

/// One side's reading end at work.
pub struct Poller {
    pub(super) ctx: Arc<LinkContext>,
    pub(super) side: Side,
    pub(super) source: Box<dyn Source>,
    pub(super) projector: Projector,
    /// Calls that the last listing of keys took; decides how often it is worth one.
    pub(super) listing_calls: u32,
    pub(super) polls_since_listing: u32,
    /// The last pass did not come to its end.
    unfinished: bool,
    /// Much that a scan has not shown was touched while it went on: another one has to tell, also where nothing changes
    /// until then.
    pub(super) is_unsettled: bool,
    /// What was handed in and written here when the last pass began that came to its end.
    pushed: u64,
    /// It broke off behind pages that are taken in, and the next one goes on there.
    has_moved: bool,
    /// Polls since a frozen direction was last looked at.
    pub(super) frozen_polls: u32,
    /// Polls since the stream last showed something.
    pub(super) quiet_polls: u32,
    /// Somebody has said that it is right to show nothing.
    pub(super) is_vouched: bool,
    /// The next read starts from the beginning, whatever was read before.
    pub(super) begins_anew: bool,
    /// What the frozen direction holds back is listed.
    pub(super) is_weighed: bool,
    /// Scans remember every key, however many there are: they do not come in order, or much is gone at once.
    remembers_all: bool,
    pub(super) audits: Audits,
}

impl Poller {
    /// Opens the reading end of a side.
    pub fn open(ctx: &Arc<LinkContext>, side: Side) -> Result<Self, Fault> {
        let end = ctx.end(side);
        Ok(Self {
            ctx: Arc::clone(ctx),
            side,
            source: end.system.source(&end.spec)?,
            projector: Projector::new(&ctx.rules, side),
            listing_calls: 1,
            polls_since_listing: 0,
            unfinished: false,
            is_unsettled: false,
            pushed: 0,
            has_moved: false,
            frozen_polls: 0,
            quiet_polls: 0,
            is_vouched: false,
            begins_anew: false,
            is_weighed: false,
            remembers_all: false,
            audits: Audits::default(),
        })
    }

    /// Watches until the link stops.
    pub async fn run(mut self) {
        let ctx = Arc::clone(&self.ctx);
        let bell = Arc::clone(at(&ctx.bells, self.side));
        let mut troubles = 0;
        loop {
            let wanted = at(&ctx.view.wanted, self.side).load(Ordering::Acquire);
            let began = tokio::time::Instant::now();
            self.has_moved = false;
            // A pass that is under way when the link stops ends behind its page.
            let ended = self.poll().await;
            if ctx.stop.is_cancelled() {
                return;
            }
            let took = began.elapsed();
            meter::polled(&ctx, self.side, took);
            let asked_to_wait = ended.as_ref().err().and_then(Fault::asked_to_wait);
            troubles = self.report(ended, took, troubles);
            // Whoever waits for a pass waits for one that came to its end.
            if troubles == 0 {
                at(&ctx.view.passes, self.side).fetch_max(wanted, Ordering::Release);
            }
            ctx.view.passed.notify_waiters();
            let delay = match (troubles, asked_to_wait) {
                (0, _) => ctx.poll_interval,
                (_, Some(wait)) => wait.clamp(TROUBLE_DELAY_MIN, TROUBLE_DELAY_MAX),
                (count, None) => {
                    (TROUBLE_DELAY_MIN * 2_u32.saturating_pow(count.min(6))).min(TROUBLE_DELAY_MAX)
                }
            };
            if at(&ctx.view.wanted, self.side).load(Ordering::Acquire) > wanted {
                continue;
            }
            tokio::select! {
                biased;
                () = ctx.stop.cancelled() => return,
                () = tokio::time::sleep(delay) => {}
                () = bell.notified() => self.listen().await,
            }
        }
    }

    /// A bell may ring a moment before the change can be seen: SQLite writes its log first and says
    /// so in shared memory, which nobody is told of. So it is looked at a few times before the poll.
    async fn listen(&mut self) {
        for wait in SECOND_LOOKS {
            if self.source.may_have_changed() {
                return;
            }
            tokio::select! {
                biased;
                () = self.ctx.stop.cancelled() => return,
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    fn report(&self, ended: Result<Tally, Fault>, took: Duration, troubles: u32) -> u32 {
        let ctx = &self.ctx;
        let now = ctx.now();
        // Who has come some way counts anew; who was told when to come back has not failed on its own.
        let more = match &ended {
            _ if self.has_moved => 1,
            Err(fault) if fault.asked_to_wait().is_some() => troubles.max(1),
            _ => (troubles + 1).min(TROUBLES_MAX),
        };
        match ended {
            Ok(tally) => {
                at(&ctx.view.polled_at, self.side).store(now.0, Ordering::Relaxed);
                ctx.trouble_reading(self.side, None);
                if tally.changed > 0 || troubles > 0 {
                    tracing::info!(event = "poll.read", customer = %ctx.customer, link = %ctx.name,
                        side = self.side.as_str(), records = tally.facts, changed = tally.changed,
                        delivered = tally.delivered, queued = tally.queued, skipped = tally.skipped,
                        rules_version = ctx.rules.version, duration_ms = meter::millis(took),
                        "read {} records, {} changed", tally.facts, tally.changed);
                }
                0
            }
            Err(fault) if fault.is_stopping() => more,
            Err(fault) => {
                ctx.view.last_failure.store(now.0, Ordering::Relaxed);
                ctx.trouble_reading(self.side, Some(fault.to_string()));
                let throttled = matches!(fault.kind, FaultKind::Throttled { .. });
                tracing::warn!(event = "poll.failed", customer = %ctx.customer, link = %ctx.name,
                    side = self.side.as_str(), duration_ms = meter::millis(took), error = %fault, throttled,
                    "a poll failed");
                more
            }
        }
    }

    /// One poll: nothing where nothing can have changed, else one pass.
    async fn poll(&mut self) -> Result<Tally, Fault> {
        self.ctx.begin_run(self.side);
        let answered = self.is_answered();
        let now = self.ctx.now();
        // What somebody handed in travels home from where it was written: it is read there, whoever wrote it. Before
        // anything else, so that a push that comes meanwhile is met by the next poll.
        let pushed = at(&self.ctx.pushed, self.side).load(Ordering::Acquire);
        let has_work = self.unfinished || self.is_unsettled || answered || pushed != self.pushed;
        if !has_work && (!self.source.may_have_changed() || self.source.only_ours().await) {
            self.complete(now);
            return self.audit_on().await;
        }
        if self.rests_frozen(answered) {
            return Ok(Tally::default());
        }
        // A source that has shown everything may say that nothing changed although the last page
        // was never taken in.
        self.unfinished = !planted(Bug::UnfinishedForgotten);
        self.is_unsettled = false;
        self.audit_again();
        match self.pass(Mode::Plan).await {
            Ok(mut tally) => {
                (self.unfinished, self.pushed) = (false, pushed);
                tally.add(self.audit_on().await?);
                Ok(tally)
            }
            // Held back until the source has news or somebody answers.
            Err(fault) if fault.code == FaultCode::Frozen => {
                (self.unfinished, self.pushed) = (false, pushed);
                Ok(Tally::default())
            }
            Err(fault) => Err(fault),
        }
    }

    /// Reads a side to its end, or to where it is caught up.
    pub(super) async fn read_through(&mut self, mode: Mode<'_>) -> Result<Tally, Fault> {
        let mut total = Tally::default();
        if !self.read_once(mode, &mut total).await? {
            self.remembers_all = true;
            self.read_once(mode, &mut total).await?;
        }
        Ok(total)
    }

    /// The same, adding to what became of it; false where the scan would have had to remember more.
    async fn read_once(&mut self, mode: Mode<'_>, total: &mut Tally) -> Result<bool, Fault> {
        let ctx = Arc::clone(&self.ctx);
        let features = ctx.end(self.side).features;
        let scanned = features.deletes == Deletes::Scanned;
        let mut cursor =
            if scanned || self.begins_anew { None } else { lock(at(&ctx.cursors, self.side)).clone() };
        let whole = cursor.is_none();
        let epoch = if whole { ctx.next_epoch(self.side) } else { ctx.epoch(self.side) };
        let remembers_all = self.remembers_all || !scanned || ctx.end(self.side).remote;
        let new = || if remembers_all { Shown::default() } else { Shown::with_limit(ctx.sizes.scan_keys) };
        let mut shown = whole.then(new);
        let reach = cursor.as_ref().and_then(|cursor| self.source.reach(cursor));
        let mut relay = Relay::new(&ctx, scanned, mode);
        ctx.fuses.guard(self.side, whole);
        let (mut read, mut is_filling) = (0, false);
        let is_in_order;
        // What takes a backlog in bulk gets a long pass as one.
        let gathers = straight::gathers(&ctx);
        mark::wait(&ctx, self.side.outward()).await?;
        let began = ctx.now();
        let mut read_at = began;
        let mut turning = Turning::of(&ctx, self.side);
        let ends = (&mut self.source, &mut self.projector);
        let mut page = turning.page(&ctx, ends, shown.as_mut(), cursor.as_ref()).await?;
        loop {
            let is_lost = shown.as_ref().is_some_and(Shown::is_lost);
            match mode {
                // A bulk load leaves alone what it may have staged, and the source is read once more behind it.
                Mode::Load(filling) if is_lost => filling.lose_track(),
                _ if is_lost => {
                    total.add(relay.finish().await?);
                    return Ok(false);
                }
                _ => {}
            }
            let Turned { sights, cursor: at_cursor, end } = page;
            let sights = match sights {
                Ok(sights) => {
                    if sights.is_again {
                        // Who owns a key that was shown before, is to be known to all.
                        total.add(relay.finish().await?);
                    }
                    relay.beside(sights::parted(&ctx, self.side, sights)).await
                }
                Err(fault) => Err(fault),
            };
            let Sights { list, ids, is_again } = match sights {
                Ok(sights) => sights,
                Err(fault) => {
                    // What was delivered already is stored if that can be.
                    relay.finish().await?;
                    return Err(fault);
                }
            };
            read += list.len();
            let stored = (!scanned && !whole).then(|| at_cursor.clone().or_else(|| cursor.clone()));
            cursor = at_cursor.or(cursor);
            // The next page is read, and turned into facts, while this one is decided and delivered; its cursor
            // is stored only with its own decisions.
            let next_at = ctx.now();
            let facts = Facts {
                keys_once: scanned && !is_again && !is_lost,
                straight: matches!(mode, Mode::Plan) && (end != End::More || !gathers),
                judged: false,
                expected_from: reach.map(|reach| reach.newest),
                cursor: stored.clone(),
                ids,
                ..Facts::of(self.side, list, read_at)
            };
            let ends = (&mut self.source, &mut self.projector);
            let next = async {
                match end {
                    End::More => turning.page(&ctx, ends, shown.as_mut(), cursor.as_ref()).await.map(Some),
                    _ => Ok(None),
                }
            };
            if let Some(stored) = stored.clone().filter(|_| planted(Bug::CursorBeforeCommit)) {
                let early = Commit { cursor: Some((self.side, stored)), ..Commit::default() };
                ctx.store.commit(ctx.id, early, ctx.now()).await.map_err(storage)?;
            }
            let (taken, next) = relay.take(facts, next).await;
            let is_taken = taken.is_ok() || planted(Bug::CursorMovesOnFault);
            if let Some(stored) = stored.filter(|_| is_taken) {
                self.move_on(stored).await?;
            }
            let (taken, next) = match (taken, next) {
                (Ok(taken), Ok(next)) => (taken, next),
                (Err(fault), _) => {
                    // What was delivered already is stored if that can be.
                    relay.finish().await?;
                    return Err(fault);
                }
                (Ok(mut taken), Err(fault)) => {
                    // Nobody waits for us while we wait.
                    taken.add(relay.finish().await?);
                    let page = self.read_on(fault, cursor.as_ref()).await?;
                    (taken, Some(Turned::of(page, features.deletes, &mut self.projector, shown.as_mut())))
                }
            };
            total.add(taken);
            is_filling |= taken.queued > 0;
            // A scan may show everything as it was when it began.
            read_at = if scanned { began } else { next_at };
            match next {
                Some(next) => {
                    page = next;
                    // In bulk nothing is queued, and its deliveries are nobody else's.
                    if is_filling && !matches!(mode, Mode::Load(..)) {
                        total.add(relay.finish().await?);
                        mark::wait(&ctx, self.side.outward()).await?;
                        is_filling = false;
                    }
                }
                None => {
                    total.add(relay.finish().await?);
                    is_in_order = shown.as_ref().is_some_and(Shown::is_in_order);
                    if end == End::Complete
                        && let Some(shown) = shown.take()
                    {
                        if let Mode::Load(filling) = mode {
                            filling.has_shown(shown, epoch);
                        } else {
                            match self.sweep_if_told(shown, epoch, mode).await? {
                                Some(swept) => total.add(swept),
                                None => return Ok(false),
                            }
                        }
                    }
                    break;
                }
            }
        }
        // What a stream that reports its deletions does not show is not deleted; but neither is it whole.
        let reported = shown.as_ref().filter(|_| features.deletes == Deletes::Reported);
        self.check_whole(reported, read, whole).await?;
        if features.deletes == Deletes::Listed && !matches!(mode, Mode::Load(..)) {
            total.add(self.list(mode).await?);
        }
        if whole && !scanned {
            self.store_cursor(cursor).await?;
        }
        self.note_overlap();
        if let (Some(reach), Some(oldest)) = (reach, total.oldest) {
            self.adapt(Some(reach.newest.since(oldest)), false).await?;
        }
        self.complete(began);
        self.remembers_all &= !is_in_order;
        Ok(true)
    }

    /// Stores where a whole read ended, once everything is taken in that it has not shown, too: whoever is
    /// stopped before that reads the whole again. A bulk load stores it behind records that it left alone, too: until
    /// first contact is through, whoever is stopped matches everything anew.
    pub(super) async fn store_cursor(&mut self, cursor: Option<Cursor>) -> Result<(), Fault> {
        let ctx = Arc::clone(&self.ctx);
        let commit = Commit { cursor: Some((self.side, cursor.clone())), ..Commit::default() };
        ctx.store.commit(ctx.id, commit, ctx.now()).await.map_err(storage)?;
        self.move_on(cursor).await
    }

    /// Goes on behind a cursor that is stored.
    async fn move_on(&mut self, cursor: Option<Cursor>) -> Result<(), Fault> {
        *lock(at(&self.ctx.cursors, self.side)) = cursor.clone();
        match &cursor {
            Some(through) => self.source.ack(through).await,
            None => Ok(()),
        }
    }

    /// Finds what a load has not: its pairs count only now that it has ended.
    pub(super) async fn after_load(&mut self, rest: Rest) -> Result<Tally, Fault> {
        let mut total = Tally::default();
        match rest {
            Rest::ReadAgain => {
                *lock(at(&self.ctx.cursors, self.side)) = None;
                return self.pass(Mode::Plan).await;
            }
            Rest::Sweep(Some(unswept)) => {
                let (shown, epoch) = *unswept;
                match self.sweep_if_told(shown, epoch, Mode::Plan).await? {
                    Some(swept) => total.add(swept),
                    None => {
                        self.remembers_all = true;
                        return self.pass(Mode::Plan).await;
                    }
                }
            }
            Rest::Sweep(None) => {}
        }
        if self.ctx.end(self.side).features.deletes == Deletes::Listed {
            total.add(self.list(Mode::Plan).await?);
        }
        Ok(total)
    }

    /// Notes up to when all changes of a side that is watched have been taken in.
    fn complete(&self, to: Timestamp) {
        if self.ctx.rules.way(self.side.outward()).is_some() {
            at(&self.ctx.view.complete_to, self.side).store(to.0, Ordering::Relaxed);
        }
    }

    /// Asks again for a page behind others of the same pass.
    pub(super) async fn read_on(&mut self, fault: Fault, after: Option<&Cursor>) -> Result<Page, Fault> {
        let ctx = Arc::clone(&self.ctx);
        let mut patience = Patience::new(&ctx, self.side);
        let mut failed = fault;
        loop {
            if let Err(fault) = patience.wait(failed).await {
                // The next pass goes on from here, if there is a cursor.
                self.has_moved = after.is_some() && lock(at(&ctx.cursors, self.side)).as_ref() == after;
                return Err(fault);
            }
            match self.read(after).await {
                Ok(page) => {
                    patience.renew();
                    return Ok(page);
                }
                Err(fault) => failed = fault,
            }
        }
    }

    pub(super) async fn read(&mut self, after: Option<&Cursor>) -> Result<Page, Fault> {
        let ctx = Arc::clone(&self.ctx);
        reading::page(&ctx, self.side, &mut self.source, after).await
    }
}
