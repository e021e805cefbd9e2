//! The pages of one pass, on their way through its stages; those of a scan overlap.
//!
//! A page of a scan is decided while those before it are remembered (where their writes go to a local end), those
//! before them sent, and others delivered and stored. Each goes on as soon as the next stage has room: none waits for
//! what happens to another elsewhere.
//!
//! Invariant: pages under way together have no key in common. Only a scan can promise that: a page with
//! a key that was shown before goes alone. As long as one is on its way, its pass waits for nothing else but beside it
//! ([`Relay::beside`]): what stands still may hold what the other waits for.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use super::inline::{self, Guard};
use super::link::{LinkContext, at};
use super::page::{self, Decided, Delivered, Facts, Mode, Stored, Tally};
use super::stage::Stage;
use super::straight;
use crate::engine::fault::Fault;

/// After so many pages the workers get their turn.
const PAGES_IN_A_ROW: usize = 64;
/// So many pages are on their way at once, wherever they are.
const UNDER_WAY_MAX: usize = 5;
/// The same where nothing is remembered ahead: what they decide may become jobs, and as many pages lie behind the mark at
/// which the queue is full.
const DIRECT_MAX: usize = 3;
/// So many are in a stage that waits for somebody else: there is always one that can go on.
const WAITING_MAX: usize = 2;

/// Takes pages in.
pub struct Relay<'l> {
    ctx: &'l LinkContext,
    overlaps: bool,
    /// Nothing else is on its way in either direction, and has not been since then.
    alone_since: Option<tokio::time::Instant>,
    in_a_row: usize,
    /// What its pages write is remembered before their turn.
    remembers: bool,
    mode: Mode<'l>,
    planning: Stage<'l, Result<Decided, Fault>>,
    remembering: Stage<'l, Decided>,
    sending: Stage<'l, Decided>,
    /// The last page that was handed on to be sent goes out as it is delivered.
    is_unsent: bool,
    delivering: Stage<'l, Result<Delivered, Fault>>,
    storing: Stage<'l, Result<Stored, Fault>>,
    /// Pages whose pairs moved on before they were stored, no more than were out together. They are planned anew one by
    /// one, when what had gone out behind them is stored.
    overtaken: VecDeque<Facts>,
    retaking: Stage<'l, Result<Tally, Fault>>,
    tally: Tally,
    /// The first of those that were met since somebody was told.
    fault: Option<Fault>,
    /// Last, so that it outlives what goes on under it.
    quiet: Vec<Guard<'l>>,
}

impl<'l> Relay<'l> {
    /// Begins a pass; `scanned`: no two of its pages have a key in common.
    pub fn new(ctx: &'l LinkContext, scanned: bool, mode: Mode<'l>) -> Self {
        Self {
            ctx,
            overlaps: scanned,
            alone_since: None,
            in_a_row: 0,
            remembers: false,
            mode,
            planning: Stage::of(1),
            remembering: Stage::of(WAITING_MAX),
            sending: Stage::of(WAITING_MAX),
            is_unsent: false,
            delivering: Stage::of(1),
            storing: Stage::of(WAITING_MAX),
            overtaken: VecDeque::new(),
            retaking: Stage::of(1),
            tally: Tally::default(),
            fault: None,
            quiet: Vec::new(),
        }
    }

    /// Takes the next page in while something else goes on, and gives that back too; the tally is that of the pages that
    /// are stored since the last call.
    pub async fn take<T>(
        &mut self,
        facts: Facts,
        beside: impl Future<Output = T>,
    ) -> (Result<Tally, Fault>, T) {
        let mut beside = pin!(beside);
        let mut done = None;
        let taken = {
            let mut taking = pin!(self.take_in(facts));
            loop {
                tokio::select! {
                    biased;
                    taken = &mut taking => break taken,
                    other = &mut beside, if done.is_none() => done = Some(other),
                }
            }
        };
        let other = match done {
            Some(other) => other,
            None => self.beside(beside).await,
        };
        (taken.and_then(|()| self.told()), other)
    }

    /// Waits for something else while the pages go on.
    pub async fn beside<T>(&mut self, other: impl Future<Output = T>) -> T {
        let mut other = pin!(other);
        let is_done = |_: &mut Self, context: &mut Context<'_>| match other.as_mut().poll(context) {
            Poll::Ready(other) => Some(other),
            Poll::Pending => None,
        };
        self.until(is_done).await
    }

    /// Delivers and stores what is left, and gives the workers their turn.
    pub async fn finish(&mut self) -> Result<Tally, Fault> {
        self.drain().await;
        self.told()
    }

    /// Brings a page on its way, or to its end where it does not overlap with others.
    async fn take_in(&mut self, mut facts: Facts) -> Result<(), Fault> {
        let side = facts.side;
        at(&self.ctx.view.seen, side).fetch_add(facts.list.len() as u64, Ordering::Relaxed);
        // Else it may have the key of a page before.
        let alone = !self.overlaps || !facts.are_sights();
        let is_long = self.alone_since.is_some_and(|since| since.elapsed() >= straight::HELD_MAX);
        if alone || is_long || self.in_a_row >= PAGES_IN_A_ROW {
            self.drain().await;
        }
        if self.fault.is_some() {
            // What is wrong with a page before may be wrong with this one, too: nothing of it is taken in.
            return Ok(());
        }
        if alone {
            self.tally.add(page::take(self.ctx, facts, self.mode).await?);
            return Ok(());
        }
        if self.in_a_row == 0 {
            self.quiet = inline::quiet(self.ctx, side, self.mode.is_quiet()).await;
            let is_alone = facts.straight
                && straight::is_idle(self.ctx, side.outward()).await
                && inline::quiet_too(self.ctx, side, &mut self.quiet);
            self.alone_since = is_alone.then(tokio::time::Instant::now);
        }
        self.remembers = matches!(self.mode, Mode::Plan) && inline::at_once(self.ctx, side.outward());
        facts.straight &= self.alone_since.is_some();
        self.in_a_row += 1;
        self.until(|relay, _| relay.has_room().then_some(())).await;
        if self.fault.is_some() {
            return Ok(());
        }
        self.planning.begin(page::plan(self.ctx, facts, matches!(self.mode, Mode::Note)));
        Ok(())
    }

    /// Waits until no page is on its way any more, and lets go of the link.
    async fn drain(&mut self) {
        self.until(|relay, _| relay.is_empty().then_some(())).await;
        self.quiet.clear();
        (self.in_a_row, self.alone_since) = (0, None);
    }

    /// Gives what became of the pages since the last call.
    fn told(&mut self) -> Result<Tally, Fault> {
        match self.fault.take() {
            Some(fault) => Err(fault),
            None => Ok(std::mem::take(&mut self.tally)),
        }
    }

    fn is_empty(&self) -> bool {
        self.planning.is_empty() && self.remembering.is_empty() && self.is_nothing_out() && !self.is_held()
    }

    /// Tells whether one more page may be on its way.
    fn has_room(&self) -> bool {
        let out = self.sending.len() + self.delivering.len() + self.storing.len();
        let most = if self.remembers { UNDER_WAY_MAX } else { DIRECT_MAX };
        self.planning.has_room() && self.planning.len() + self.remembering.len() + out < most
    }

    /// Tells whether no page has begun to go out that is not stored.
    fn is_nothing_out(&self) -> bool {
        self.sending.is_empty() && self.delivering.is_empty() && self.storing.is_empty()
    }

    /// Tells whether no other page may begin to go out.
    fn is_held(&self) -> bool {
        !self.overtaken.is_empty() || !self.retaking.is_empty()
    }

    /// Has the pages go on until something is so.
    async fn until<T>(&mut self, mut is_so: impl FnMut(&mut Self, &mut Context<'_>) -> Option<T>) -> T {
        poll_fn(|context| {
            self.go_on(context);
            is_so(self, context).map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }

    /// Has each page go on as far as it can. Whatever becomes of one: what is decided has to be delivered, and what is
    /// delivered stored.
    fn go_on(&mut self, context: &mut Context<'_>) {
        loop {
            self.retaking.poll(context);
            self.storing.poll(context);
            self.sending.poll(context);
            self.delivering.poll(context);
            self.remembering.poll(context);
            self.planning.poll(context);
            if !self.hand_on() {
                return;
            }
        }
    }

    /// Hands pages on to the stages that are free, the last one first; tells whether any began.
    fn hand_on(&mut self) -> bool {
        let mut any = false;
        while let Some(taken) = self.retaking.through() {
            match taken {
                Ok(tally) => self.tally.add(tally),
                Err(fault) => self.fail(fault),
            }
        }
        while let Some(stored) = self.storing.through() {
            match stored {
                Ok(Stored::Done(tally)) => self.tally.add(tally),
                Ok(Stored::Overtaken(facts)) => self.overtaken.push_back(facts),
                Err(fault) => self.fail(fault),
            }
        }
        if self.storing.has_room()
            && let Some(delivered) = self.delivering.through()
        {
            match delivered {
                Ok(delivered) => self.storing.begin(page::store(self.ctx, delivered)),
                Err(fault) => self.fail(fault),
            }
            any = true;
        }
        if self.retaking.is_empty()
            && self.is_nothing_out()
            && let Some(facts) = self.overtaken.pop_front()
        {
            self.retaking.begin(page::take_quietly(self.ctx, facts, self.mode));
            any = true;
        }
        if self.delivering.has_room()
            && let Some(decided) = self.ready()
        {
            self.delivering.begin(page::deliver(self.ctx, decided, self.mode));
            any = true;
        }
        // One after the other, also where one writes both ways, which goes out as it is delivered.
        if self.sending.has_room()
            && (!self.is_unsent || self.sending.is_empty() && self.delivering.is_empty())
            && !self.is_held()
            && let Some(decided) = self.remembering.through()
        {
            self.is_unsent = decided.goes_out_late();
            self.sending.begin(page::send(self.ctx, decided));
            any = true;
        }
        if self.remembers
            && self.remembering.has_room()
            && let Some(decided) = self.decided()
        {
            self.remembering.begin(page::remember(self.ctx, decided));
            any = true;
        }
        any
    }

    /// Takes the page that is to be delivered next; where nothing is remembered ahead, a page spares two stages.
    fn ready(&mut self) -> Option<Decided> {
        match self.remembers {
            true => self.sending.through(),
            false if self.is_held() => None,
            false => self.decided(),
        }
    }

    fn decided(&mut self) -> Option<Decided> {
        match self.planning.through()? {
            Ok(decided) => Some(decided),
            Err(fault) => {
                self.fail(fault);
                None
            }
        }
    }

    fn fail(&mut self, fault: Fault) {
        self.fault.get_or_insert(fault);
    }
}
