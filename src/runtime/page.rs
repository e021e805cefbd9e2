//! One page of facts: known → observe → reconcile → deliver what can be delivered at once → commit.
//!
//! Invariant: what a page decided and the cursor behind it are stored in one transaction; a pair that
//! somebody else moved meanwhile sends the whole page back to be planned again, less what has arrived, which is
//! stored at once. That is safe because every write is either compared with what stands there or made under a key.

use std::collections::{HashMap, HashSet};

use super::ahead::{self, Ahead};
use super::arrival::{self, Overtaken, Posted};
pub use super::facts::{Fact, Facts, Mode, Tally};
use super::fuse;
use super::inline::{self, Inline};
use super::lateness;
use super::link::LinkContext;
use super::recheck;
use super::sights;
use super::tell;
use super::upshot::Upshot;
use super::wanted::{asked, noted};
use crate::engine::fault::{Fault, FaultCode};
use crate::engine::history::{Event, Verdicts};
use crate::engine::plan::{
    Action, Observation, Occasion, Pair, Status, mark, observe, observe_deleted, reconcile,
};
use crate::engine::record::{Direction, Key, Malformed, Side, Timestamp};
use crate::planted::{Bug, planted};
use crate::store::{Answered, Known, Looks, StoreError};

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
    /// A look taught something of it that its page does not show.
    pub looked: bool,
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
            looked: false,
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

impl Decided {
    /// Tells whether it has writes that go out only as it is delivered.
    pub fn goes_out_late(&self) -> bool {
        self.ahead.is_none() && self.entries.iter().any(|entry| entry.actions.iter().any(Action::is_write))
    }
}

/// A page that is delivered as far as that goes at once; nothing of it is stored yet.
pub struct Delivered {
    facts: Facts,
    upshot: Upshot,
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
pub async fn take(ctx: &LinkContext, mut facts: Facts, mode: Mode<'_>) -> Result<Tally, Fault> {
    if facts.list.is_empty() && facts.ids.is_empty() && facts.cursor.is_none() {
        return Ok(Tally::default());
    }
    let mut quiet = inline::quiet(ctx, facts.side, mode.is_quiet()).await;
    facts.straight = facts.straight && inline::quiet_too(ctx, facts.side, &mut quiet);
    take_quietly(ctx, facts, mode).await
}

/// The same, for callers that keep the link quiet themselves ([`inline::quiet`]).
pub async fn take_quietly(ctx: &LinkContext, mut facts: Facts, mode: Mode<'_>) -> Result<Tally, Fault> {
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

/// Remembers what a page will write while the page before it goes out.
pub async fn remember(ctx: &LinkContext, mut decided: Decided) -> Decided {
    decided.ahead = ahead::remember(ctx, &decided.entries).await;
    decided
}

/// Sends what is remembered of a page while the answers to the page before it are taken in.
pub async fn send(ctx: &LinkContext, mut decided: Decided) -> Decided {
    if let Some(ahead) = &mut decided.ahead {
        ahead::send(ctx, &decided.entries, ahead).await;
    }
    decided
}

/// Delivers what can be delivered at once, and takes in what is answered.
pub async fn deliver(ctx: &LinkContext, decided: Decided, mode: Mode<'_>) -> Result<Delivered, Fault> {
    let Decided { facts, mut entries, ahead } = decided;
    if let Mode::Load(filling) = mode {
        filling.leave_alone(&mut entries);
    }
    let mut tally = Tally { facts: facts.list.len() as u64, ..Tally::default() };
    tally.changed = entries.iter().filter(|entry| entry.dirty).count() as u64;
    lateness::count(&facts, &entries, &mut tally);
    let delivered = match mode {
        Mode::Note | Mode::Ask => Inline::default(),
        Mode::Plan => inline::deliver(ctx, facts.straight, ahead, &mut entries).await,
        Mode::Load(filling) => inline::stage(ctx, &mut entries, filling).await?,
    };
    let mut upshot = match mode {
        Mode::Note => Upshot::made(entries, noted),
        Mode::Ask => Upshot::made(entries, |entries| asked(ctx, facts.side.outward(), entries)),
        Mode::Plan | Mode::Load(..) => Upshot::of(ctx, entries, &mut tally, delivered.failed),
    };
    upshot.count(delivered.count);
    tally.delivered = delivered.count;
    tally.add(facts.arrived);
    let commit = &mut upshot.commit;
    commit.answered.extend(delivered.posted.iter().flat_map(Posted::answers));
    commit.epoch = Some((facts.side, ctx.epoch(facts.side)));
    commit.cursor = facts.cursor.clone().map(|cursor| (facts.side, cursor));
    if let Mode::Load(filling) = mode {
        commit.load = Some(filling.id);
    }
    Ok(Delivered { facts, upshot, tally, posted: delivered.posted })
}

/// Stores what was decided and delivered.
pub async fn store(ctx: &LinkContext, delivered: Delivered) -> Result<Stored, Fault> {
    let Delivered { mut facts, mut upshot, tally, posted } = delivered;
    // Until that is stored, nothing else tells what was sent: each record is looked at.
    let keep_in_mind = |fault| {
        posted.iter().for_each(|posted| posted.keep_in_mind(ctx));
        fault
    };
    let is_load = upshot.commit.load.is_some();
    let told = upshot.written();
    let mut is_stored = true;
    if planted(Bug::TwoTransactions) {
        is_stored = upshot.first_half().store(ctx).await.map_err(keep_in_mind)?;
    }
    is_stored = is_stored && upshot.store(ctx).await.map_err(keep_in_mind)?;
    if is_stored || planted(Bug::OvertakenDropped) {
        return Ok(Stored::Done(tally));
    }
    if is_load {
        // Staging the page again would load its records twice: the load starts anew.
        return Err(Fault::transient(FaultCode::Conflict, "pairs moved while they were loaded in bulk"));
    }
    // What it takes away is counted.
    facts.judged = true;
    arrival::tell(ctx, &mut facts, &posted, told).await.map_err(keep_in_mind)?;
    Ok(Stored::Overtaken(facts))
}

/// A state that can't be used is a transient fault for the stream: it pauses and tries again.
pub fn storage(error: StoreError) -> Fault {
    Fault::transient(FaultCode::Storage, error.to_string())
}

/// Reads what is known, takes the facts in, and decides.
pub(super) async fn gather(ctx: &LinkContext, page: &Facts, only_note: bool) -> Result<Vec<Entry>, Fault> {
    let looks = looks(ctx, page.side, &page.list, page.keys_once);
    let known = ctx.store.known_beside(ctx.id, keys(page), looks).await.map_err(storage)?;
    let renewed = recheck::renew(ctx, page.side, &page.list, &known, page.read_at).await?;
    let mut entries = taken_in(ctx, page, known, &renewed);
    fuse::page(ctx, page, &mut entries)?;
    if !only_note {
        decide_all(ctx, page, &mut entries);
    }
    Ok(entries)
}

/// The same of records whose writes have arrived, although the page itself was overtaken. Nobody else is asked, which
/// may take long: what can't be believed without is left to the page, and its keys are given, too.
pub(super) async fn gather_arrived(
    ctx: &LinkContext,
    page: &Facts,
    arrived: &[Overtaken],
) -> Result<(Vec<Entry>, HashSet<Key>), Fault> {
    let known = ctx.store.known(ctx.id, keys(page)).await.map_err(storage)?;
    let known: Vec<Known> = known.into_iter().map(|pair| pair.map_or(Known::Nothing, Known::Pair)).collect();
    let doubtful: HashMap<usize, Fact> = recheck::doubtful(ctx, page.side, &page.list, &known, page.read_at)
        .map(|at| (at, Fact::Plan))
        .collect();
    let left_out = doubtful.keys().filter_map(|&at| page.list.get(at)).map(|(key, _)| key.clone()).collect();
    let mut entries = taken_in(ctx, page, known, &doubtful);
    arrival::take_up(ctx, arrived, &mut entries);
    fuse::page(ctx, page, &mut entries)?;
    decide_all(ctx, page, &mut entries);
    Ok((entries, left_out))
}

fn keys(page: &Facts) -> Vec<Key> {
    page.list.iter().map(|(key, _)| key.clone()).collect()
}

/// Takes the facts of a page in, or what there is instead of some of them, by their places.
fn taken_in(
    ctx: &LinkContext,
    page: &Facts,
    known: Vec<Known>,
    instead: &HashMap<usize, Fact>,
) -> Vec<Entry> {
    let now = ctx.now();
    let epoch = ctx.epoch(page.side);
    let are_sights = page.are_sights();
    let mut entries: Vec<Entry> = Vec::with_capacity(page.list.len());
    let mut places: HashMap<&Key, usize> = HashMap::new();
    for (at, ((key, fact), known)) in page.list.iter().zip(known).enumerate() {
        let fact = instead.get(&at).unwrap_or(fact);
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
            entry.looked |= instead.contains_key(&at);
            take_in(ctx, page.side, entry, fact, epoch, now);
        }
    }
    entries
}

/// Decides what is news, or all that a walk shows.
fn decide_all(ctx: &LinkContext, page: &Facts, entries: &mut [Entry]) {
    let now = ctx.now();
    let only_new = page.list.iter().any(|(_, fact)| matches!(fact, Fact::Replan | Fact::Plan));
    let occasion = if page.list.iter().any(|(_, fact)| matches!(fact, Fact::Replan)) {
        Occasion::NewRules
    } else {
        Occasion::Change
    };
    for entry in entries {
        if (entry.dirty || only_new) && entry.malformed.is_none() {
            decide(ctx, entry, occasion, now);
            // A walk mends what it finds: whatever is to be written gets its job, should it have none.
            entry.dirty |= only_new && entry.actions.iter().any(Action::is_write);
        }
    }
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
