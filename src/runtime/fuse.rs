//! A guard that freezes one direction on implausible data, until a person approves or discards it.
//!
//! While a page is taken in, it is counted what it takes away. Too much of that, and the pass ends before
//! the page is stored; the stream is then read to its end and weighed as a whole (`weigh.rs`), and either
//! turns out plausible or freezes the direction.
//!
//! Invariant: nothing of a frozen direction's source is taken in, and nothing is sent in that direction.

use std::sync::atomic::{AtomicBool, Ordering};

use super::link::{LinkContext, along, at, lock};
use super::page::{Entry, Fact, Facts, storage};
use crate::connectors::Wanted;
use crate::engine::fault::{Fault, FaultCode};
use crate::engine::plan::aside::{self, Aside};
use crate::engine::plan::fuse::{self, Counts, Finding, Kind, Limits, Stream};
use crate::engine::record::{Direction, Schema, Side, Timestamp};
use crate::store::{LinkId, LinkState, LinkWord, Store, StoreError};

/// Records that are listed of all that is held back.
const LISTED_MAX: usize = 100;
const SPACE: &str = "fuse";

/// What a person says to a blown fuse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Word {
    /// It is meant: let it through.
    Approve,
    /// It is not meant: put it aside, the other side's values come back.
    Discard,
}

/// One record of what is held back.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct HeldRecord {
    pub key: String,
    /// `deleted`, or `emptied`.
    pub change: String,
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub fields: Vec<String>,
}

/// Why a direction is frozen, and what it holds back.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Held {
    /// When it blew, in milliseconds.
    pub since_ms: i64,
    pub reason: String,
    pub findings: Vec<Finding>,
    /// The first of the records.
    pub records: Vec<HeldRecord>,
    /// Only a read from the beginning shows it.
    #[serde(default)]
    pub anew: bool,
    /// What somebody has answered; taken up with the next pass.
    pub answer: Option<Word>,
}

/// One side's fuse.
#[derive(Default)]
pub struct Watch {
    phase: Phase,
    totals: Counts,
    whole: bool,
    aside: Option<Aside>,
    records: Vec<HeldRecord>,
}

#[derive(Default)]
enum Phase {
    #[default]
    Guarding,
    /// Only counting.
    Weighing,
    /// So much was weighed, and is let through.
    Lifted(Counts),
}

/// The fuses of a link: by side, and which directions are frozen.
#[derive(Default)]
pub struct Fuses {
    watches: [std::sync::Mutex<Watch>; 2],
    frozen: [AtomicBool; 2],
    /// By side: its stream went back in time, and nothing moves either way until somebody answers.
    halted: [AtomicBool; 2],
    /// Somebody has answered: look again although the source has nothing new.
    answered: [AtomicBool; 2],
    /// Held by whoever says which directions are frozen: what one side says can mean both.
    words: tokio::sync::Mutex<()>,
}

impl Fuses {
    /// Tells whether nothing may be sent in this direction: it is frozen, or an end of it is halted.
    pub fn is_held(&self, direction: Direction) -> bool {
        self.is_frozen(direction) || Side::BOTH.iter().any(|&side| self.is_halted(side))
    }

    fn is_halted(&self, side: Side) -> bool {
        at(&self.halted, side).load(Ordering::Acquire)
    }

    pub(super) fn set_halted(&self, side: Side, halted: bool) {
        at(&self.halted, side).store(halted, Ordering::Release);
    }

    /// Tells whether nothing of this direction's source is taken in.
    pub fn is_frozen(&self, direction: Direction) -> bool {
        along(&self.frozen, direction).load(Ordering::Acquire)
    }

    pub(super) fn set_frozen(&self, direction: Direction, frozen: bool) {
        along(&self.frozen, direction).store(frozen, Ordering::Release);
    }

    pub(super) fn answer(&self, direction: Direction) {
        along(&self.answered, direction).store(true, Ordering::Release);
    }

    pub(super) fn take_answer(&self, direction: Direction) -> bool {
        along(&self.answered, direction).swap(false, Ordering::AcqRel)
    }

    /// Begins a pass that guards.
    pub(super) fn guard(&self, side: Side, whole: bool) {
        let mut watch = lock(at(&self.watches, side));
        watch.totals = Counts::default();
        watch.whole = whole;
        if matches!(watch.phase, Phase::Weighing) {
            watch.phase = Phase::Guarding;
        }
    }

    /// Guards on where an audit has stopped for a while.
    pub(super) fn resume(&self, side: Side, totals: Counts) {
        self.guard(side, false);
        lock(at(&self.watches, side)).totals = totals;
    }

    /// Gives what was counted so far.
    pub(super) fn totals(&self, side: Side) -> Counts {
        lock(at(&self.watches, side)).totals.clone()
    }

    /// Begins a look at all of the stream.
    pub(super) fn weigh(&self, side: Side, whole: bool) {
        *lock(at(&self.watches, side)) = Watch { phase: Phase::Weighing, whole, ..Watch::default() };
    }

    /// Gives what was weighed.
    pub(super) fn weighed(&self, side: Side) -> (Counts, Vec<HeldRecord>) {
        let watch = std::mem::take(&mut *lock(at(&self.watches, side)));
        (watch.totals, watch.records)
    }

    /// Lets the next pass take so much, and puts some of it aside.
    pub(super) fn lift(&self, side: Side, counts: Counts, aside: Option<Aside>) {
        *lock(at(&self.watches, side)) = Watch { phase: Phase::Lifted(counts), aside, ..Watch::default() };
    }

    /// Tells whether what was weighed covers this.
    pub(super) fn lets(&self, side: Side, finding: &Finding, shape: &Schema) -> bool {
        match &lock(at(&self.watches, side)).phase {
            Phase::Lifted(counts) => finding.within(counts, shape),
            Phase::Guarding | Phase::Weighing => false,
        }
    }

    /// Guards again.
    pub(super) fn settle(&self, side: Side) {
        *lock(at(&self.watches, side)) = Watch::default();
    }
}

/// The fault that ends a pass which is not believed.
pub fn frozen(reason: impl Into<String>) -> Fault {
    Fault::transient(FaultCode::Frozen, reason)
}

pub(super) fn limits(ctx: &LinkContext) -> Limits {
    let fuse = &ctx.fuse;
    Limits {
        deletes_min: fuse.deletes_min.into(),
        deletes_percent: fuse.deletes_percent.into(),
        emptied_min: fuse.emptied_min.into(),
        emptied_percent: fuse.emptied_percent.into(),
        empty_min: fuse.empty_min.into(),
    }
}

/// Counts what a page takes away, before anything of it is decided: an error ends the pass.
pub(super) fn page(ctx: &LinkContext, facts: &Facts, entries: &mut [Entry]) -> Result<(), Fault> {
    let side = facts.side;
    if facts.list.iter().any(|(_, fact)| matches!(fact, Fact::Replan | Fact::Plan)) {
        return Ok(());
    }
    let mut watch = lock(at(&ctx.fuses.watches, side));
    if !facts.judged {
        let mut counts = Counts { shown: facts.list.len() as u64, ..Counts::default() };
        let watched = watched(ctx, side);
        for entry in entries.iter().filter(|entry| entry.dirty) {
            if let Some(record) = count(ctx, side, entry, &watched, &mut counts)
                && matches!(watch.phase, Phase::Weighing)
                && watch.records.len() < LISTED_MAX
            {
                watch.records.push(record);
            }
        }
        watch.totals.add(&counts);
        judge(ctx, side, &watch, false)?;
    }
    if let Some(aside) = &watch.aside {
        for entry in entries.iter_mut().filter(|entry| entry.dirty) {
            let was_there = *at(&entry.before.present, side);
            aside::put_aside(&mut entry.pair, side, was_there, &ctx.rules, aside);
        }
    }
    Ok(())
}

/// Counts what a complete scan or listing has not shown.
pub(super) fn sweep(ctx: &LinkContext, side: Side, shown: u64, missing: &[Wanted]) -> Result<(), Fault> {
    let mut watch = lock(at(&ctx.fuses.watches, side));
    watch.totals.gone += missing.len() as u64;
    watch.totals.shown = shown;
    if matches!(watch.phase, Phase::Weighing) {
        let room = LISTED_MAX.saturating_sub(watch.records.len());
        let records = missing.iter().take(room).map(|wanted| HeldRecord {
            key: wanted.key.to_string(),
            change: "deleted".to_owned(),
            fields: Vec::new(),
        });
        watch.records.extend(records);
    }
    judge(ctx, side, &watch, true)
}

/// Gives what is not believed of the counts.
pub(super) fn find(
    ctx: &LinkContext,
    side: Side,
    counts: &Counts,
    whole: bool,
    complete: bool,
) -> Vec<Finding> {
    // What does not travel from here takes nothing away over there.
    if ctx.rules.way(side.outward()).is_none() {
        return Vec::new();
    }
    let stream = Stream { present: lock(at(&ctx.presence, side)).count, whole, complete };
    fuse::findings(counts, stream, &limits(ctx), ctx.rules.shape(side))
}

fn judge(ctx: &LinkContext, side: Side, watch: &Watch, complete: bool) -> Result<(), Fault> {
    let allowed = match &watch.phase {
        Phase::Weighing => return Ok(()),
        Phase::Guarding => None,
        Phase::Lifted(counts) => Some(counts),
    };
    let shape = ctx.rules.shape(side);
    let found = find(ctx, side, &watch.totals, watch.whole, complete);
    match found.iter().find(|finding| !allowed.is_some_and(|allowed| finding.within(allowed, shape))) {
        Some(finding) => Err(frozen(finding.words(&stream(ctx, side)))),
        None => Ok(()),
    }
}

/// The positions whose emptiness would travel.
fn watched(ctx: &LinkContext, side: Side) -> Vec<usize> {
    let Some(way) = ctx.rules.way(side.outward()) else { return Vec::new() };
    let mut read: Vec<usize> = way.targets().iter().flat_map(|&target| way.reads(target)).copied().collect();
    read.sort_unstable();
    read.dedup();
    read.retain(|at| !ctx.rules.key(side).contains(at));
    read
}

fn count(
    ctx: &LinkContext,
    side: Side,
    entry: &Entry,
    watched: &[usize],
    counts: &mut Counts,
) -> Option<HeldRecord> {
    let record = |change: &str, fields| HeldRecord {
        key: entry.pair.key.to_string(),
        change: change.to_owned(),
        fields,
    };
    if entry.pair.side(side).now().is_none() {
        let gone = *at(&entry.before.present, side);
        counts.gone += u64::from(gone);
        return gone.then(|| record("deleted", Vec::new()));
    }
    let shape = ctx.rules.shape(side);
    let mut fields = Vec::new();
    for &at in watched.iter().filter(|&&at| aside::is_emptied(&entry.pair, side, at)) {
        if counts.emptied.len() <= at {
            counts.emptied.resize(at + 1, 0);
        }
        if let Some(count) = counts.emptied.get_mut(at) {
            *count += 1;
        }
        fields.extend(shape.name(at).map(str::to_owned));
    }
    (!fields.is_empty()).then(|| record("emptied", fields))
}

/// A side's stream, as it is called in reasons.
pub(super) fn stream(ctx: &LinkContext, side: Side) -> String {
    let end = ctx.end(side);
    format!("{} ({} {})", side.as_str(), end.system_name, end.spec.stream)
}

/// Freezes the direction that starts at this side, and keeps what it holds back.
pub(super) async fn blow(
    ctx: &LinkContext,
    side: Side,
    reason: String,
    findings: Vec<Finding>,
    records: Vec<HeldRecord>,
    anew: bool,
) -> Result<(), Fault> {
    let direction = side.outward();
    let _alone = ctx.fuses.words.lock().await;
    ctx.fuses.set_frozen(direction, true);
    ctx.fuses.set_halted(side, is_halt(&findings));
    let state = ctx.store.link(&ctx.customer, &ctx.name).await.map_err(storage)?;
    let known = held(ctx.store.as_ref(), ctx.id, direction, ctx.now()).await.map_err(storage)?;
    let same = known.as_ref().is_some_and(|known| known.findings == findings && known.reason == reason);
    if same && along(&state.frozen, direction).as_ref() == Some(&reason) {
        return Ok(());
    }
    tracing::error!(event = "fuse.blown", customer = %ctx.customer, link = %ctx.name,
        direction = direction.as_str(), error = %reason, "the direction is frozen");
    // What is answered to less than this is no answer to this.
    let held = Held { since_ms: ctx.now().0, reason: reason.clone(), findings, records, anew, answer: None };
    keep(ctx.store.as_ref(), ctx.id, direction, &held).await.map_err(storage)?;
    let mut words = vec![LinkWord::Frozen(direction, Some(reason.clone()))];
    let other = side.other().outward();
    if ctx.fuses.is_halted(side) && along(&state.frozen, other).is_none() {
        words.push(LinkWord::Frozen(other, Some(reason)));
    }
    ctx.store.tell_link(ctx.id, words).await.map_err(storage)
}

/// Takes note that the direction runs again.
pub(super) async fn mend(ctx: &LinkContext, side: Side, answer: Option<Word>) -> Result<(), Fault> {
    let direction = side.outward();
    let _alone = ctx.fuses.words.lock().await;
    let state = ctx.store.link(&ctx.customer, &ctx.name).await.map_err(storage)?;
    ctx.store.remove(SPACE, &name(ctx.id, direction)).await.map_err(storage)?;
    ctx.fuses.set_frozen(direction, false);
    ctx.fuses.set_halted(side, false);
    ctx.due.iter().for_each(tokio::sync::Notify::notify_one);
    if along(&state.frozen, direction).is_none() {
        return Ok(());
    }
    let other = side.other();
    let mut words = Vec::new();
    // A direction that only rested because its destination was halted moves again; one that is frozen itself
    // does not.
    let still_there =
        along(&state.frozen, other.outward()).clone().filter(|_| ctx.fuses.is_frozen(other.outward()));
    if still_there.is_none() {
        words.push(LinkWord::Frozen(other.outward(), None));
    }
    words.push(LinkWord::Frozen(direction, still_there.filter(|_| ctx.fuses.is_halted(other))));
    tracing::info!(event = "fuse.mended", customer = %ctx.customer, link = %ctx.name,
        direction = direction.as_str(), answer = ?answer, "the direction runs again");
    ctx.store.tell_link(ctx.id, words).await.map_err(storage)
}

/// Takes back what is said of directions that hold nothing back: the last process may have ended between its
/// last two words about a fuse.
pub(super) async fn thaw(ctx: &LinkContext, known: &LinkState, holds: [bool; 2]) -> Result<(), Fault> {
    let halted = Side::BOTH.iter().any(|&side| ctx.fuses.is_halted(side));
    let is_stale = |(frozen, holds): (&Option<String>, bool)| frozen.is_some() && !holds && !halted;
    if !known.frozen.iter().zip(holds).any(is_stale) {
        return Ok(());
    }
    let idle = Direction::BOTH.into_iter().zip(holds).filter(|(_, holds)| !holds);
    let words = idle.map(|(direction, _)| LinkWord::Frozen(direction, None)).collect();
    ctx.store.tell_link(ctx.id, words).await.map_err(storage)
}

/// Tells whether these findings stop both directions of the link.
pub fn is_halt(findings: &[Finding]) -> bool {
    findings.iter().any(|finding| finding.kind == Kind::Restored)
}

/// Reads what a frozen direction holds back.
pub async fn held(
    store: &dyn Store,
    link: LinkId,
    direction: Direction,
    now: Timestamp,
) -> Result<Option<Held>, StoreError> {
    let text = store.get(SPACE, &name(link, direction), now).await?;
    Ok(text.and_then(|text| serde_json::from_str(&text).ok()))
}

/// Stores it.
pub(super) async fn keep(
    store: &dyn Store,
    link: LinkId,
    direction: Direction,
    held: &Held,
) -> Result<(), StoreError> {
    let text = serde_json::to_string(held).map_err(|error| StoreError::Io(error.to_string()))?;
    store.put(SPACE, &name(link, direction), &text, None).await
}

fn name(link: LinkId, direction: Direction) -> String {
    format!("{}/{}", link.0, direction.as_str())
}
