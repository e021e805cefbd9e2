//! What a confirmed write, and what a decision, does to a pair.

use std::sync::Arc;

use super::action::{Action, Decision, Why};
use super::observe::reshape;
use super::{Pair, Seen, SideState, Status};
use crate::engine::record::{Direction, Image, RemoteId, Revision, Schema, Side, Timestamp, Value, Values};
use crate::engine::rules::LinkRules;
use crate::planted::{Bug, planted};

/// A write that the destination confirmed.
#[derive(Debug)]
pub struct Written<'w> {
    pub direction: Direction,
    pub action: Action,
    pub made_from: MadeFrom<'w>,
    pub id: Option<RemoteId>,
    pub revision: Option<Revision>,
    /// How the destination stored it, where it said so.
    pub stored: Option<Image>,
    /// The destination compared in the same moment as it wrote: what it stored is all our doing.
    pub compared: bool,
    /// The scan of the destination that is under way, if any.
    pub epoch: u32,
    pub now: Timestamp,
}

/// The source's image from which a write was made.
#[derive(Clone, Copy, Debug)]
pub enum MadeFrom<'w> {
    /// As the source looks now: the pair has not changed since.
    Now,
    /// As it looked then; `None` where the source was gone.
    Then(Option<&'w Image>),
}

/// Moves the bases by what was delivered, and by no more: an edit made while its push was in
/// flight still differs afterwards, and is pushed again.
pub fn delivered(pair: &mut Pair, rules: &LinkRules, mut written: Written<'_>) {
    let direction = written.direction;
    let shape = rules.shape(direction.to());
    if planted(Bug::BaseStays) {
        return;
    }
    if planted(Bug::BaseFromNow) {
        written.made_from = MadeFrom::Now;
    }
    if let MadeFrom::Then(_) = written.made_from {
        // Read again since: it may have been stored under earlier rules.
        Side::BOTH.into_iter().for_each(|side| reshape(pair, side, rules.shape(side)));
    }
    match std::mem::replace(&mut written.action, Action::Nothing(Why::Agreed)) {
        Action::Create(values) => {
            let to = pair.side_mut(direction.to());
            to.base = None;
            to.id = None;
            write_at(to, values, shape, &written, true);
            let from = pair.side_mut(direction.from());
            match written.made_from {
                MadeFrom::Now => now_as_base(from),
                MadeFrom::Then(Some(image)) => {
                    stands_apart(from);
                    from.base = Some(image.clone());
                    settle_seen(from);
                }
                MadeFrom::Then(None) => {}
            }
        }
        Action::Update(values) => {
            let from = pair.side_mut(direction.from());
            match written.made_from {
                MadeFrom::Now => {
                    if let Some(image) = from.now().cloned() {
                        moved_from(from, &image, &values, direction, rules);
                    }
                }
                MadeFrom::Then(Some(image)) => moved_from(from, image, &values, direction, rules),
                MadeFrom::Then(None) => {}
            }
            write_at(pair.side_mut(direction.to()), values, shape, &written, false);
        }
        Action::Delete => {
            let to = pair.side_mut(direction.to());
            to.base = None;
            to.seen = Seen::Deleted(Some(written.now));
            to.seen_at = written.now;
            to.epoch = written.epoch;
            let from = pair.side_mut(direction.from());
            let base = from.base.take();
            if let (Seen::AsBase, Some(image)) = (&from.seen, base) {
                from.seen = Seen::Changed(image);
            }
        }
        Action::Nothing(_) | Action::Skip(_) | Action::Invalid(_) | Action::Conflict(_) => {}
    }
}

/// The destination now shows the written values, or what it made of them.
fn write_at(to: &mut SideState, values: Values, shape: &Arc<Schema>, written: &Written<'_>, creates: bool) {
    to.id = written.id.clone().or_else(|| to.id.take());
    // A destination that did not compare may have met another edit in the same version: read back, it
    // must not be taken for our own doing.
    let all_ours = written.compared || creates || written.stored.is_some() || planted(Bug::RevisionIsProof);
    to.revision = written.revision.clone().filter(|_| all_ours);
    to.seen_at = written.now;
    to.epoch = written.epoch;
    let base = to.base.get_or_insert_with(|| nothing_known(shape));
    if let (Some(stored), false) = (&written.stored, written.compared) {
        // Somebody may have worked on the other fields just before: that has still to travel.
        if matches!(to.seen, Seen::AsBase) {
            to.seen = Seen::Changed(base.clone());
        }
        if let Seen::Changed(image) = &mut to.seen {
            for (place, value) in image.values.iter_mut().zip(&stored.values) {
                if !value.is_missing() {
                    place.clone_from(value);
                }
            }
        }
    }
    let mut also = match &mut to.seen {
        Seen::Changed(image) => Some(image),
        Seen::Never | Seen::Deleted(_) | Seen::AsBase => None,
    };
    match (&written.stored, also.is_some()) {
        // An update that was not compared may have met another record, made since this one was deleted.
        (Some(stored), false) if creates || written.compared => base.values.clone_from(&stored.values),
        (None, false) if creates && is_whole(&values, base) => base.values = values,
        (stored, _) => {
            let places = base.values.iter_mut();
            for (position, (place, value)) in places.zip(&values).enumerate() {
                if value.is_missing() {
                    continue;
                }
                place.clone_from(stored.as_ref().map_or(value, |stored| stored.at(position)));
                if let Some(image) = also.as_deref_mut() {
                    put(image, position, place);
                }
            }
        }
    }
    // Only a create brings a record back: an update that was settled after the deletion was seen
    // had arrived before it.
    if creates && matches!(to.seen, Seen::Never | Seen::Deleted(_)) {
        to.seen = Seen::AsBase;
    }
    settle_seen(to);
}

/// Tells whether a write says something of every field of an image.
fn is_whole(values: &[Value], image: &Image) -> bool {
    values.len() == image.values.len() && !values.iter().any(Value::is_missing)
}

/// The source's base moves on the fields that the written ones were made from.
fn moved_from(
    from: &mut SideState,
    image: &Image,
    values: &[Value],
    direction: Direction,
    rules: &LinkRules,
) {
    let Some(way) = rules.way(direction) else { return };
    stands_apart(from);
    let base = from.base.get_or_insert_with(|| nothing_known(&image.shape));
    for (target, value) in values.iter().enumerate() {
        if value.is_missing() {
            continue;
        }
        for &source in way.reads(target) {
            put(base, source, image.at(source));
        }
    }
    settle_seen(from);
}

/// A side that stands as its base stands so no matter where the base moves: it may look as before again,
/// and no longer as it did when this was sent.
pub(super) fn stands_apart(state: &mut SideState) {
    if let (Seen::AsBase, Some(base)) = (&state.seen, &state.base) {
        state.seen = Seen::Changed(base.clone());
    }
}

/// All of what the side looks like now is agreed on.
fn now_as_base(state: &mut SideState) {
    if let Seen::Changed(image) = &mut state.seen {
        let shape = Arc::clone(&image.shape);
        state.base = Some(std::mem::replace(image, Image { shape, values: Values::default() }));
        state.seen = Seen::AsBase;
    }
}

pub(super) fn nothing_known(shape: &Arc<Schema>) -> Image {
    Image { shape: Arc::clone(shape), values: Values::all(Value::Unknown, shape.len()) }
}

pub(super) fn put(image: &mut Image, position: usize, value: &Value) {
    if let Some(place) = image.values.get_mut(position) {
        place.clone_from(value);
    }
}

/// A side that looks like its base again is as its base.
pub(super) fn settle_seen(state: &mut SideState) {
    if let (Seen::Changed(image), Some(base)) = (&state.seen, &state.base)
        && image.values == base.values
    {
        state.seen = Seen::AsBase;
    }
}

/// Writes a decision into the statuses of both directions.
pub fn mark(pair: &mut Pair, decision: &Decision, rules: &LinkRules, now: Timestamp) {
    pair.rules_version = rules.version;
    for direction in Direction::BOTH {
        let action = decision.action(direction);
        if planted(Bug::BaseMovesEarly) && action.is_write() {
            now_as_base(pair.side_mut(direction.from()));
        }
        let state = pair.way_mut(direction);
        let (status, error) = match action {
            Action::Create(_) | Action::Update(_) | Action::Delete => match state.status {
                // A try is under way or due: what it counted and met stays to be read.
                Status::Queued | Status::Retrying => (state.status, state.error.take()),
                _ if planted(Bug::SyncedWhenQueued) => (Status::Synced, None),
                _ => (Status::Queued, None),
            },
            Action::Skip(held) => (Status::SkippedByRule, Some(held.rule.clone())),
            Action::Invalid(invalid) => {
                (Status::Dead, Some(format!("{}: {} ({})", invalid.field, invalid.reason, invalid.rule)))
            }
            Action::Conflict(fields) => (Status::Conflict, Some(conflict_text(fields))),
            Action::Nothing(Why::Agreed) => (Status::Synced, None),
            Action::Nothing(Why::NoWay) => (Status::None, None),
            Action::Nothing(_) => match state.status {
                Status::Synced => (Status::Synced, None),
                _ => (Status::None, None),
            },
        };
        if status == Status::Queued && state.status != Status::Queued {
            state.queued_at = Some(now);
            state.attempts = 0;
        }
        if status == Status::Synced && state.status != Status::Synced {
            state.synced_at = Some(now);
        }
        state.status = status;
        state.error = error;
        state.rules_version = rules.version;
    }
}

fn conflict_text(fields: &[super::ConflictField]) -> String {
    let names: Vec<String> =
        fields.iter().map(|field| format!("{} / {}", field.a_field, field.b_field)).collect();
    format!("both sides changed {}", names.join(", "))
}
