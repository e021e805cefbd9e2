//! One page of facts: known → observe → reconcile → deliver what can be delivered at once → commit.
//!
//! Invariant: what a page decided and the cursor behind it are stored in one transaction; a pair that
//! somebody else moved meanwhile sends the whole page back to be planned again, which is safe because
//! every write is either compared with what stands there or made under a key.

use std::collections::HashMap;
use std::sync::atomic::Ordering;

use super::ahead::{self, Ahead};
use super::arrival::{self, Posted};
pub use super::facts::{Fact, Facts, Mode, Tally};
use super::fuse;
use super::inline::{self, Inline};
use super::lateness;
use super::link::{LinkContext, along, at, lock};
use super::meter::Outcomes;
use super::recheck;
use super::sights;
use super::tell;
use super::verdict;
use super::wanted::{asked, job_for, noted, sync_job};
use crate::engine::fault::{Fault, FaultCode};
use crate::engine::history::{Event, Verdicts, What};
use crate::engine::job::JobState;
use crate::engine::plan::{
    Action, Observation, Occasion, Pair, Status, mark, observe, observe_deleted, reconcile,
};
use crate::engine::record::{Direction, Key, Malformed, Presence, Side, Timestamp};
use crate::planted::{Bug, planted};
use crate::store::{Answered, Commit, Known, Looks, NewJob, StoreError};

/// How often a page is planned again because pairs moved on, before it is a fault.
const ROUNDS_MAX: usize = 16;

/// A pair on its way through a page.
pub struct Entry {
    pub pair: Pair,
    pub before: Before,
    pub actions: [Action; 2],
    pub dirty: bool,
    /// The page showed news of it, under this stamp.
    pub news: Option<Option<Timestamp>>,
    pub forget: bool,
    /// The direction that starts at what can't be read.
    pub malformed: Option<(Direction, Malformed)>,
    /// What happened to it on the way.
    pub history: Vec<Event>,
    /// Writes that what was learnt of it answers.
    pub answered: Vec<Answered>,
}

/// What a pair was like when it was read.
#[derive(Clone, Copy, Debug)]
pub struct Before {
    pub version: u32,
    pub present: [bool; 2],
    pub status: [Status; 2],
}

impl Entry {
    /// Begins with what the store gave out.
    pub fn new(pair: Pair) -> Self {
        let before = Before {
            version: pair.version,
            present: [pair.a.now().is_some(), pair.b.now().is_some()],
            status: [pair.a_to_b.status, pair.b_to_a.status],
        };
        let nothing = || Action::Nothing(crate::engine::plan::Why::NothingThere);
        let actions = [nothing(), nothing()];
        Self {
            pair,
            before,
            actions,
            dirty: false,
            news: None,
            forget: false,
            malformed: None,
            history: Vec::new(),
            answered: Vec::new(),
        }
    }
}

/// A page that is decided; nothing of it is delivered yet.
pub struct Decided {
    facts: Facts,
    entries: Vec<Entry>,
    /// What of it is remembered already, before its turn.
    ahead: Option<Ahead>,
}

/// A page that is delivered as far as that goes at once; nothing of it is stored yet.
pub struct Delivered {
    facts: Facts,
    commit: Commit,
    moved: [Presence; 2],
    outcomes: Outcomes,
    tally: Tally,
    posted: Vec<Posted>,
}

/// What became of a page that was to be stored.
pub enum Stored {
    Done(Tally),
    /// A pair moved on meanwhile: nothing is stored, and the page is to be planned anew.
    Overtaken(Facts),
}

/// Takes in a page, from its facts to its commit.
pub async fn take(ctx: &LinkContext, mut facts: Facts, mut mode: Mode<'_>) -> Result<Tally, Fault> {
    if facts.list.is_empty() && facts.ids.is_empty() && facts.cursor.is_none() {
        return Ok(Tally::default());
    }
    let mut quiet = inline::quiet(ctx, facts.side, mode.is_quiet()).await;
    facts.straight = facts.straight && inline::quiet_too(ctx, facts.side, &mut quiet);
    take_quietly(ctx, facts, &mut mode).await
}

/// The same, for callers that keep the link quiet themselves ([`inline::quiet`]).
pub async fn take_quietly(ctx: &LinkContext, mut facts: Facts, mode: &mut Mode<'_>) -> Result<Tally, Fault> {
    for _ in 0..ROUNDS_MAX {
        let decided = plan(ctx, facts, matches!(mode, Mode::Note | Mode::Ask)).await?;
        let delivered = deliver(ctx, decided, mode).await?;
        facts = match store(ctx, delivered).await? {
            Stored::Done(tally) => return Ok(tally),
            Stored::Overtaken(facts) => facts,
        };
    }
    Err(Fault::transient(FaultCode::Conflict, "a page kept being overtaken by other changes of its pairs"))
}

/// Decides a page.
pub async fn plan(ctx: &LinkContext, facts: Facts, only_note: bool) -> Result<Decided, Fault> {
    let facts = sights::named(ctx, facts).await?;
    let entries = gather(ctx, &facts, only_note).await?;
    Ok(Decided { facts, entries, ahead: None })
}

/// Remembers what a page will write while the page before it is delivered.
pub async fn remember(ctx: &LinkContext, mut decided: Decided) -> Decided {
    decided.ahead = ahead::remember(ctx, &decided.entries).await;
    decided
}

/// Delivers what can be delivered at once.
pub async fn deliver(ctx: &LinkContext, decided: Decided, mode: &mut Mode<'_>) -> Result<Delivered, Fault> {
    let Decided { facts, mut entries, ahead } = decided;
    if let Mode::Load(filling) = mode {
        filling.leave_alone(&mut entries);
    }
    let mut outcomes = Outcomes::default();
    let mut tally = Tally { facts: facts.list.len() as u64, ..Tally::default() };
    tally.changed = entries.iter().filter(|entry| entry.dirty).count() as u64;
    lateness::count(&facts, &entries, &mut tally);
    let told: Vec<Event> = facts.told.clone();
    let delivered = match mode {
        Mode::Note | Mode::Ask => Inline::default(),
        Mode::Plan => inline::deliver(ctx, facts.straight, ahead, &mut entries).await,
        Mode::Load(filling) => inline::stage(ctx, &mut entries, filling).await?,
    };
    let moved = moved(&entries);
    let mut commit = match mode {
        Mode::Note => noted(entries),
        Mode::Ask => asked(ctx, facts.side.outward(), entries),
        Mode::Plan | Mode::Load(..) => build(ctx, entries, &mut tally, &mut outcomes, delivered.failed),
    };
    commit.history.splice(..0, told);
    commit.answered.extend(delivered.posted.iter().flat_map(Posted::answers));
    let count = delivered.count + facts.arrived.len() as u64;
    commit.counted.accepted += count;
    commit.counted.delivered += if planted(Bug::DeliveredUncounted) { 0 } else { count };
    tally.delivered = count;
    commit.epoch = Some((facts.side, ctx.epoch(facts.side)));
    commit.cursor = facts.cursor.clone().map(|cursor| (facts.side, cursor));
    if let Mode::Load(filling) = mode {
        commit.load = Some(filling.id);
    }
    Ok(Delivered { facts, commit, moved, outcomes, tally, posted: delivered.posted })
}

/// Stores what was decided and delivered.
pub async fn store(ctx: &LinkContext, delivered: Delivered) -> Result<Stored, Fault> {
    let Delivered { mut facts, commit, moved, outcomes, tally, posted } = delivered;
    let answered = commit.answered.clone();
    // Until that is stored, nothing else tells what was sent: each record is looked at.
    let keep_in_mind = || posted.iter().for_each(|posted| posted.keep_in_mind(ctx));
    let queued: [bool; 2] = Direction::BOTH
        .map(|direction| commit.jobs.iter().any(|job| job.direction == direction && job.state.is_active()));
    if commit.is_worth_storing() {
        let is_load = commit.load.is_some();
        facts.told =
            commit.history.iter().filter(|told| matches!(told.what, What::Written(_))).cloned().collect();
        let dead: Vec<(usize, NewJob)> = commit
            .jobs
            .iter()
            .enumerate()
            .filter(|(_, job)| job.state == JobState::Dead)
            .map(|(place, job)| (place, job.clone()))
            .collect();
        // Before it is so: whoever finds the pair gone must find this as well.
        commit.forgotten.iter().for_each(|(key, _)| ctx.forget(key));
        let mut commit = commit;
        if planted(Bug::TwoTransactions) {
            let early = Commit {
                pairs: std::mem::take(&mut commit.pairs),
                cursor: commit.cursor.take(),
                ..Commit::default()
            };
            if !ctx.store.commit(ctx.id, early, ctx.now()).await.map_err(storage)?.stale.is_empty() {
                keep_in_mind();
                return Ok(Stored::Overtaken(facts));
            }
        }
        let committed = ctx.store.commit(ctx.id, commit, ctx.now()).await.map_err(|error| {
            // It may be stored all the same.
            ctx.unsure.store(true, Ordering::Relaxed);
            keep_in_mind();
            storage(error)
        })?;
        if !committed.stale.is_empty() && is_load {
            // Staging the page again would load its records twice: the load starts anew.
            return Err(Fault::transient(FaultCode::Conflict, "pairs moved while they were loaded in bulk"));
        }
        if !committed.stale.is_empty() && !planted(Bug::OvertakenDropped) {
            // What it takes away is counted.
            facts.judged = true;
            keep_in_mind();
            if !planted(Bug::ArrivalsForgotten) {
                facts.arrived.extend(posted.into_iter().flat_map(Posted::overtaken));
            }
            return Ok(Stored::Overtaken(facts));
        }
        for (place, job) in dead {
            let id = committed.jobs.get(place).copied().unwrap_or_default();
            verdict::log_born_dead(ctx, id, &job);
        }
        ctx.unanswered.forget(&answered);
    }
    outcomes.count(ctx);
    for (side, moved) in Side::BOTH.into_iter().zip(moved) {
        lock(at(&ctx.presence, side)).merge(moved);
    }
    for (direction, queued) in Direction::BOTH.into_iter().zip(queued) {
        if queued {
            along(&ctx.due, direction).notify_one();
        }
    }
    Ok(Stored::Done(tally))
}

/// A state that can't be used is a transient fault for the stream: it pauses and tries again.
pub fn storage(error: StoreError) -> Fault {
    Fault::transient(FaultCode::Storage, error.to_string())
}

/// Reads what is known, takes the facts in, and decides.
pub(super) async fn gather(ctx: &LinkContext, page: &Facts, only_note: bool) -> Result<Vec<Entry>, Fault> {
    let Facts { side, list: facts, keys_once, read_at, .. } = page;
    let (side, read_at) = (*side, *read_at);
    let keys: Vec<Key> = facts.iter().map(|(key, _)| key.clone()).collect();
    // What arrived is to be taken up also where the record looks as is known.
    let looks = looks(ctx, side, facts, *keys_once && page.arrived.is_empty());
    let known = ctx.store.known_beside(ctx.id, keys, looks).await.map_err(storage)?;
    let renewed = recheck::renew(ctx, side, facts, &known, read_at).await?;
    let now = ctx.now();
    let epoch = ctx.epoch(side);
    let are_sights = page.are_sights();
    let mut entries: Vec<Entry> = Vec::with_capacity(facts.len());
    let mut places: HashMap<&Key, usize> = HashMap::new();
    for (at, ((key, fact), known)) in facts.iter().zip(known).enumerate() {
        let fact = renewed.get(&at).unwrap_or(fact);
        let known = match known {
            Known::Same => continue,
            Known::Pair(pair) => Some(pair),
            Known::Nothing => None,
        };
        let next = entries.len();
        let place = if are_sights { next } else { *places.entry(key).or_insert(next) };
        if place == next {
            entries.push(Entry::new(known.unwrap_or_else(|| Pair::new(key.clone()))));
        }
        if let Some(entry) = entries.get_mut(place) {
            take_in(ctx, side, entry, fact, epoch, now);
        }
    }
    arrival::take_up(ctx, &page.arrived, &mut entries);
    fuse::page(ctx, page, &mut entries)?;
    if only_note {
        return Ok(entries);
    }
    let only_new = facts.iter().any(|(_, fact)| matches!(fact, Fact::Replan | Fact::Plan));
    let occasion = if facts.iter().any(|(_, fact)| matches!(fact, Fact::Replan)) {
        Occasion::NewRules
    } else {
        Occasion::Change
    };
    for entry in &mut entries {
        if (entry.dirty || only_new) && entry.malformed.is_none() {
            decide(ctx, entry, occasion, now);
            // A walk mends what it finds: whatever is to be written gets its job, should it have none.
            entry.dirty |= only_new && entry.actions.iter().any(Action::is_write);
        }
    }
    Ok(entries)
}

/// Says how the records look of which nothing else is to be learnt: under keys that come once, without
/// an id that could have changed.
fn looks(ctx: &LinkContext, side: Side, facts: &[(Key, Fact)], keys_once: bool) -> Looks {
    let mut looks = Looks::new(side, ctx.rules.shape(side));
    for (_, fact) in facts.iter().filter(|_| keys_once) {
        looks.push(match fact {
            Fact::Seen(projected) if projected.meta.id.is_none() => Some(&projected.image),
            _ => None,
        });
    }
    looks
}

fn take_in(ctx: &LinkContext, side: Side, entry: &mut Entry, fact: &Fact, epoch: u32, now: Timestamp) {
    match fact {
        Fact::Seen(projected) => {
            let known = entry.pair.side(side);
            let moved = projected.meta.id.is_some() && projected.meta.id != known.id;
            // Most of what is shown again is as known: nothing is copied for it.
            if moved || known.now() != Some(&projected.image) {
                let news = observe(&mut entry.pair, side, projected.clone(), epoch, now);
                if news == Observation::News {
                    (entry.dirty, entry.news) = (true, Some(entry.pair.side(side).modified_at));
                }
            }
            entry.dirty |= mended(ctx, &entry.pair, side);
        }
        // The record has another id by now: what was deleted is the one before it.
        Fact::Gone(_, Some(id))
            if entry.pair.side(side).id.as_ref().is_some_and(|known| known != id)
                && !planted(Bug::TombstoneByKey) => {}
        Fact::Gone(at, _) => {
            ctx.note_source(&mut entry.pair, side);
            entry.dirty |= observe_deleted(&mut entry.pair, side, *at, epoch, now) == Observation::News
        }
        Fact::Replan | Fact::Plan => {}
        Fact::Pick(picks) => entry.dirty |= tell::pick(ctx, entry, picks),
        Fact::Malformed(malformed) => {
            let way = entry.pair.way_mut(side.outward());
            if way.status == Status::Dead && way.error.as_deref() == Some(malformed.reason.as_str()) {
                return;
            }
            way.status = Status::Dead;
            way.error = Some(malformed.reason.clone());
            entry.malformed = Some((side.outward(), malformed.clone()));
            entry.dirty = true;
        }
    }
}

/// Tells whether a record that is dead has nothing left to be delivered: it was malformed for a
/// while and looks as before again.
fn mended(ctx: &LinkContext, pair: &Pair, side: Side) -> bool {
    let direction = side.outward();
    if pair.way(direction).status != Status::Dead {
        return false;
    }
    let decision = reconcile(&mut pair.clone(), &ctx.rules, Occasion::Change);
    matches!(decision.action(direction), Action::Nothing(_))
}

/// Plans one pair; whatever that changes in it is to be stored.
pub fn decide(ctx: &LinkContext, entry: &mut Entry, occasion: Occasion, now: Timestamp) {
    let before = (!entry.dirty).then(|| entry.pair.clone());
    let had = Verdicts::of(&entry.pair);
    ctx.recognise(entry);
    let mut decision = reconcile(&mut entry.pair, &ctx.rules, occasion);
    ctx.stop_circle(&entry.pair, &mut decision, now);
    mark(&mut entry.pair, &decision, &ctx.rules, now);
    entry.forget = decision.forget;
    entry.actions = [decision.a_to_b, decision.b_to_a];
    tell::decided(ctx, entry, had);
    entry.dirty |= before.is_some_and(|before| before != entry.pair);
}

/// Turns what is left to do into jobs, and everything into one commit.
fn build(
    ctx: &LinkContext,
    entries: Vec<Entry>,
    tally: &mut Tally,
    outcomes: &mut Outcomes,
    failed: HashMap<usize, Fault>,
) -> Commit {
    let now = ctx.now();
    let mut commit = Commit::default();
    for (place, mut entry) in entries.into_iter().enumerate() {
        if !entry.dirty {
            continue;
        }
        commit.history.append(&mut entry.history);
        commit.answered.append(&mut entry.answered);
        for direction in Direction::BOTH {
            // A malformed record says nothing of the other direction, whose job stands on.
            if entry.malformed.as_ref().is_some_and(|(malformed, _)| *malformed != direction) {
                continue;
            }
            let mut job = job_for(ctx, &entry, direction, now, failed.get(&place));
            let had = along(&entry.before.status, direction);
            if job.is_none() && ctx.rules.way(direction).is_some() && ctx.is_open(&entry, direction) {
                // Nothing is to be done, as far as anybody knows: a look has to tell.
                job = Some(sync_job(ctx, direction, entry.pair.key.clone(), now));
                entry.pair.way_mut(direction).status = Status::Queued;
                entry.forget = false;
            }
            // What was a dead letter is planned anew: the letter has nothing more to tell.
            if *had == Status::Dead && entry.pair.way(direction).status != Status::Dead {
                commit.obsolete.push((direction, entry.pair.key.clone()));
            }
            match job {
                Some(job) => {
                    if job.state == JobState::Dead {
                        commit.history.extend(tell::born_dead(ctx, &job));
                        tally.failed += 1;
                        outcomes.note(direction, Status::Dead);
                    } else {
                        tally.queued += 1;
                    }
                    commit.jobs.push(job);
                }
                None if matches!(
                    had,
                    Status::Queued | Status::Retrying | Status::Waiting | Status::Conflict
                ) =>
                {
                    commit.obsolete.push((direction, entry.pair.key.clone()));
                }
                None => {}
            }
            let status = entry.pair.way(direction).status;
            if matches!(status, Status::SkippedByRule | Status::Conflict) && status != *had {
                outcomes.note(direction, status);
            }
            if status == Status::SkippedByRule && *had != Status::SkippedByRule {
                tally.skipped += 1;
                commit.counted.skipped += 1;
            }
        }
        if entry.forget && entry.before.version > 0 {
            commit.history.push(tell::forgotten(ctx, &entry));
            commit.forgotten.push((entry.pair.key.clone(), entry.before.version));
        } else if !entry.forget {
            commit.pairs.push(entry.pair);
        }
    }
    commit
}

/// By how much the keys that each side has change with a page.
fn moved(entries: &[Entry]) -> [Presence; 2] {
    Side::BOTH.map(|side| {
        let mut moved = Presence::default();
        for entry in entries.iter().filter(|entry| entry.dirty) {
            let now = !entry.forget && entry.pair.side(side).now().is_some();
            moved.shift(*at(&entry.before.present, side), now, &entry.pair.key);
        }
        moved
    })
}
