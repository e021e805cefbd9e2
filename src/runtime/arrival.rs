//! What arrived at its destination: taken up in its pair, and once more where the pair moved on before that was stored.
//!
//! Invariant: what is known to have arrived moves the bases of its pair, whatever else happened to that meanwhile. Who
//! edits what we wrote must not seem to have edited what stood before.

use std::collections::{HashMap, HashSet};

use super::lateness;
use super::link::{LinkContext, along};
use super::page::{self, Entry, Facts, Tally};
use super::unanswered::OnItsWay;
use super::upshot::Upshot;
use crate::connectors::Outcome;
use crate::engine::fault::{Fault, FaultCode};
use crate::engine::history::Event;
use crate::engine::plan::sent::{Effect, Sent, Unreadable};
use crate::engine::plan::{
    Action, MadeFrom, Pair, Projected, Seen, SideState, Status, Written, delivered, observe, observe_deleted,
};
use crate::engine::record::{Direction, Image, Key, Meta, RemoteId, Revision, Side};
use crate::planted::{Bug, planted};
use crate::store::Answered;

/// How often that is tried again because pairs move on.
const ROUNDS_MAX: usize = 16;

/// What the destination answered to a write that it carried out.
#[derive(Clone, Debug)]
pub(super) struct Arrived {
    pub(super) id: Option<RemoteId>,
    pub(super) revision: Option<Revision>,
    pub(super) stored: Option<Image>,
    /// The scan of the destination that had begun when the write went out: one that begins later need not show it, should
    /// somebody delete it at once.
    pub(super) epoch: u32,
}

/// Takes up in a pair what arrived: its bases move, and the direction is in step.
pub(super) fn arrive(
    ctx: &LinkContext,
    pair: &mut Pair,
    direction: Direction,
    (action, made_from): (Action, MadeFrom<'_>),
    arrived: Arrived,
    attempts: u32,
) {
    let now = ctx.now();
    let Arrived { id, revision, stored, epoch } = arrived;
    let written = Written {
        direction,
        action,
        made_from,
        id,
        revision,
        stored,
        compared: ctx.end(direction.to()).features.compare_and_set,
        epoch,
        now,
    };
    delivered(pair, &ctx.rules, written);
    let way = pair.way_mut(direction);
    way.status = Status::Synced;
    way.synced_at = Some(now);
    way.attempts = attempts;
    way.error = None;
}

/// Takes up what a look just before a write had shown, where a pair that was read again since does not know it.
pub(super) fn look_again(pair: &mut Pair, side: Side, there: &SideState) {
    if there.seen_at < pair.side(side).seen_at {
        return;
    }
    if matches!(there.seen, Seen::Deleted(_)) {
        observe_deleted(pair, side, there.modified_at, there.epoch, there.seen_at);
    }
    if let Some(image) = there.now() {
        let meta = Meta {
            id: there.id.clone(),
            revision: there.revision.clone(),
            modified_at: there.modified_at,
            ours: false,
        };
        let shown = Projected { key: pair.key.clone(), image: image.clone(), meta };
        observe(pair, side, shown, there.epoch, there.seen_at);
    }
}

/// A batch that a page has sent, and what was answered to it.
pub(super) struct Posted {
    sent: OnItsWay,
    /// The places whose answers are definite, where some are not: those are kept in mind already.
    definite: Option<Vec<u32>>,
    /// What arrived, by place.
    arrived: Vec<(usize, Story)>,
}

impl Posted {
    /// Says of a batch that none of it went out.
    pub(super) fn unsent(sent: OnItsWay) -> Self {
        Self { sent, definite: None, arrived: Vec::new() }
    }

    /// Says what was answered to a batch. Where some of it may have happened and nobody says so, that is kept in mind.
    pub(super) fn answered(ctx: &LinkContext, sent: OnItsWay, answer: Result<&[Outcome], &Fault>) -> Self {
        let definite: Option<Vec<u32>> = match answer {
            Ok(outcomes) if outcomes.iter().any(Outcome::may_have_happened) => {
                let places = (0..).zip(outcomes).filter(|(_, outcome)| !outcome.may_have_happened());
                Some(places.map(|(place, _)| place).collect())
            }
            Err(fault) if fault.may_have_happened => Some(Vec::new()),
            Ok(_) | Err(_) => None,
        };
        if definite.is_some() {
            ctx.keep_in_mind(&sent);
        }
        Self { sent, definite, arrived: Vec::new() }
    }

    /// Takes note of what arrived.
    pub(super) fn note(&mut self, place: usize, before: Before, arrived: Arrived) {
        self.arrived.push((place, Story { before, arrived }));
    }

    /// Gives what is answered once the page is stored.
    pub(super) fn answers(&self) -> Vec<Answered> {
        let batch = self.sent.batch;
        match &self.definite {
            None => vec![Answered { batch, place: None }],
            Some(places) => places.iter().map(|&place| Answered { batch, place: Some(place) }).collect(),
        }
    }

    /// Keeps in mind what nothing tells but what was answered: that is not stored.
    pub(super) fn keep_in_mind(&self, ctx: &LinkContext) {
        if self.definite.is_none() {
            ctx.keep_in_mind(&self.sent);
        }
    }

    /// Gives what arrived, for it to be told again.
    fn overtaken(&self) -> Result<Vec<Overtaken>, Unreadable> {
        let sent = self.sent.writes()?;
        let both = self.arrived.iter().map(|(place, story)| (sent.get(*place).cloned(), story.clone()));
        Ok(both.filter_map(|(sent, story)| Some(Overtaken { sent: sent?, story })).collect())
    }
}

/// What a page knew of a record when a write went out.
#[derive(Clone, Debug)]
pub(super) struct Before {
    creates: bool,
    /// How its sides looked, where not only the page itself had shown that.
    looked: Option<Box<[SideState; 2]>>,
}

impl Before {
    pub(super) fn of(entry: &Entry, direction: Direction) -> Self {
        let sides = || Box::new([entry.pair.a.clone(), entry.pair.b.clone()]);
        let creates = matches!(along(&entry.actions, direction), Action::Create(_));
        Self { creates, looked: entry.looked.then(sides) }
    }
}

/// What there is to tell of a write that arrived.
#[derive(Clone, Debug)]
struct Story {
    before: Before,
    arrived: Arrived,
}

/// What arrived of a page that was overtaken before that was stored.
pub(super) struct Overtaken {
    sent: Sent,
    story: Story,
}

/// Stores what arrived of a page that was overtaken, with what tells of it, and takes that out of the page: to plan it
/// anew may take long, and may come to nothing.
pub(super) async fn tell(
    ctx: &LinkContext,
    page: &mut Facts,
    posted: &[Posted],
    mut told: Vec<Event>,
) -> Result<(), Fault> {
    if planted(Bug::ArrivalsForgotten) {
        posted.iter().for_each(|posted| posted.keep_in_mind(ctx));
        return Ok(());
    }
    let (mut arrived, mut answered) = (Vec::new(), Vec::new());
    for posted in posted {
        // What can't be read is told of where it is kept in mind.
        match posted.overtaken() {
            Ok(overtaken) => {
                arrived.extend(overtaken);
                answered.extend(posted.answers());
            }
            Err(_) => posted.keep_in_mind(ctx),
        }
    }
    let ways: HashSet<(&Key, Direction)> =
        arrived.iter().map(|arrived| (&arrived.sent.key, arrived.sent.direction)).collect();
    told.retain(|event| event.direction.is_some_and(|way| ways.contains(&(&event.key, way))));
    let keys: HashSet<&Key> = ways.iter().map(|(key, _)| *key).collect();
    let list = page.list.iter().filter(|(key, _)| keys.contains(key)).cloned().collect();
    let part = Facts { expected_from: page.expected_from, ..Facts::of(page.side, list, page.read_at) };
    for _ in 0..ROUNDS_MAX {
        let (entries, left_out) = page::gather_arrived(ctx, &part, &arrived).await?;
        let (changed, delivered) = (entries.len() as u64, arrived.len() as u64);
        let mut tally = Tally { changed, delivered, ..Tally::default() };
        lateness::count(&part, &entries, &mut tally);
        let mut upshot = Upshot::of(ctx, entries, &mut tally, HashMap::new());
        upshot.count(tally.delivered);
        upshot.commit.history.splice(..0, told.iter().cloned());
        upshot.commit.answered.extend(answered.iter().copied());
        upshot.commit.epoch = Some((page.side, ctx.epoch(page.side)));
        if upshot.store(ctx).await? {
            let before = page.list.len();
            page.list.retain(|(key, _)| !keys.contains(key) || left_out.contains(key));
            tally.facts = (before - page.list.len()) as u64;
            page.arrived.add(tally);
            return Ok(());
        }
    }
    Err(Fault::transient(FaultCode::Conflict, "pairs kept moving while it was stored what arrived"))
}

/// Takes up in the pairs as they are known now what arrived before they were read.
pub(super) fn take_up(ctx: &LinkContext, arrived: &[Overtaken], entries: &mut [Entry]) {
    let keys = entries.iter().enumerate().map(|(place, entry)| (entry.pair.key.clone(), place));
    let places: HashMap<Key, usize> = keys.collect();
    for overtaken in arrived {
        let place = places.get(&overtaken.sent.key);
        if let Some(entry) = place.and_then(|&place| entries.get_mut(place)) {
            overtaken.take_up(ctx, entry);
        }
    }
}

impl Overtaken {
    /// No page of the destination is taken in between; what a look may have shown there meanwhile its next page shows again.
    fn take_up(&self, ctx: &LinkContext, entry: &mut Entry) {
        let Sent { key, direction, made_from, is_known, effect, .. } = &self.sent;
        let Story { before, arrived } = &self.story;
        let (from, to) = (direction.from(), direction.to());
        let is_forgotten = *is_known && entry.pair.side(from).seen == Seen::Never;
        let action = match effect {
            Effect::Gone => Action::Delete,
            Effect::Stands(image) => {
                let values = image.clone().reshaped(ctx.rules.shape(to)).values;
                if before.creates { Action::Create(values) } else { Action::Update(values) }
            }
        };
        let made_from = made_from.clone().map(|image| image.reshaped(ctx.rules.shape(from)));
        if let Some([a, b]) = before.looked.as_deref() {
            look_again(&mut entry.pair, Side::A, a);
            look_again(&mut entry.pair, Side::B, b);
        }
        if is_forgotten {
            // Its source is gone, and what arrived has to go again.
            entry.pair.side_mut(from).seen = Seen::Deleted(None);
        }
        let what = (action, MadeFrom::Then(made_from.as_ref()));
        let way = entry.pair.way(*direction).clone();
        arrive(ctx, &mut entry.pair, *direction, what, arrived.clone(), 1);
        if entry.malformed.as_ref().is_some_and(|(malformed, _)| malformed == direction) {
            *entry.pair.way_mut(*direction) = way;
        }
        let by = ctx.unanswered.by(key, *direction);
        entry.answered.extend(by);
        entry.dirty = true;
    }
}
