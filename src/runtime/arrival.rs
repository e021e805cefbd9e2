//! What arrived at its destination: taken up in its pair, and once more where the pair moved on before that was stored.
//!
//! Invariant: what is known to have arrived moves the bases of its pair, whatever else happened to that meanwhile. Who
//! edits what we wrote must not seem to have edited what stood before.

use std::collections::HashMap;

use super::link::{LinkContext, along};
use super::page::Entry;
use super::unanswered::OnItsWay;
use crate::connectors::Outcome;
use crate::engine::fault::Fault;
use crate::engine::plan::sent::{Effect, Sent};
use crate::engine::plan::{
    Action, MadeFrom, Pair, Projected, Seen, SideState, Status, Written, delivered, observe,
};
use crate::engine::record::{Direction, Image, Key, Meta, RemoteId, Revision, Side};
use crate::store::Answered;

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
    if let Some(image) = there.now().filter(|_| there.seen_at > pair.side(side).seen_at) {
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

    /// Gives what arrived, for the page to be planned anew.
    pub(super) fn overtaken(self) -> Vec<Overtaken> {
        // What can't be read is told of where it is kept in mind.
        let sent = self.sent.writes().unwrap_or_default();
        let both = self.arrived.into_iter().map(|(place, story)| (sent.get(place).cloned(), story));
        both.filter_map(|(sent, story)| Some(Overtaken { sent: sent?, story })).collect()
    }
}

/// What a page knew of a destination when a write went out.
#[derive(Clone, Debug)]
pub(super) struct Before {
    creates: bool,
    /// How it looked; `None` where nobody looked just before.
    there: Option<Box<SideState>>,
}

impl Before {
    pub(super) fn of(ctx: &LinkContext, entry: &Entry, direction: Direction) -> Self {
        let looks = !ctx.end(direction.to()).features.compare_and_set;
        let creates = matches!(along(&entry.actions, direction), Action::Create(_));
        Self { creates, there: looks.then(|| Box::new(entry.pair.side(direction.to()).clone())) }
    }
}

/// What there is to tell of a write that arrived.
#[derive(Clone, Debug)]
struct Story {
    before: Before,
    arrived: Arrived,
}

/// What arrived of a page that was overtaken before that was stored.
#[derive(Clone, Debug)]
pub struct Overtaken {
    sent: Sent,
    story: Story,
}

/// Takes up in the pairs as they are known now what arrived before they were read.
pub(super) fn take_up(ctx: &LinkContext, arrived: &[Overtaken], entries: &mut [Entry]) {
    if arrived.is_empty() {
        return;
    }
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
        let Sent { key, direction, made_from, effect, .. } = &self.sent;
        let Story { before, arrived } = &self.story;
        let (from, to) = (direction.from(), direction.to());
        let action = match effect {
            Effect::Gone => Action::Delete,
            Effect::Stands(image) => {
                let values = image.clone().reshaped(ctx.rules.shape(to)).values;
                if before.creates { Action::Create(values) } else { Action::Update(values) }
            }
        };
        let made_from = made_from.clone().map(|image| image.reshaped(ctx.rules.shape(from)));
        let state = entry.pair.side_mut(from);
        if matches!(state.seen, Seen::Never) {
            // It was forgotten meanwhile: its source is gone, and what arrived has to go again.
            state.seen = Seen::Deleted(None);
        }
        if let Some(there) = &before.there {
            look_again(&mut entry.pair, to, there);
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
