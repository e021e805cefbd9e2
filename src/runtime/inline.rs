//! Delivery at first try: the page's own writes go straight to a local destination that compares and sets, and under
//! more conditions to a remote one (`straight.rs`); no job row is ever written for a record that arrived.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::ahead::{self, Ahead, Chunk};
use super::arrival::{Arrived, Before, Posted, arrive};
use super::filling::Filling;
use super::link::{LinkContext, along, along_mut, at, lock};
use super::meter;
use super::page::{Entry, decide};
use super::revive::is_revival;
use super::straight;
use super::tell::{self, Answer};
use crate::connectors::{Batch, Class, Delivery, Outcome, Write};
use crate::engine::fault::{Fault, FaultCode, FaultKind};
use crate::engine::plan::sent::Going;
use crate::engine::plan::{
    Action, MadeFrom, Occasion, Pair, Projector, Status, Why, observe, observe_deleted,
};
use crate::engine::record::{Direction, Record, Side, Value, Values};
use crate::planted::{Bug, planted};

/// What was delivered while a page was planned.
#[derive(Default)]
pub struct Inline {
    pub count: u64,
    /// Records that the destination refused for good, by their place in the page.
    pub failed: HashMap<usize, Fault>,
    /// What went out.
    pub(super) posted: Vec<Posted>,
}

/// Tells whether a page delivers in this direction by itself.
pub(super) fn at_once(ctx: &LinkContext, direction: Direction) -> bool {
    let end = ctx.end(direction.to());
    !end.remote && end.features.compare_and_set && ctx.rules.way(direction).is_some()
}

/// As long as it lives, nothing of its direction is on its way.
pub type Guard<'l> = tokio::sync::MutexGuard<'l, ()>;

/// Waits until nothing is on its way to `side`, nor in a direction that its page delivers in.
///
/// What a write that is not settled yet has left at `side` would look like an edit made there, and
/// could win against an edit that was really made. Nothing to wait for where the caller `is_quiet` already.
pub async fn quiet(ctx: &LinkContext, side: Side, is_quiet: bool) -> Vec<Guard<'_>> {
    let waits = |direction: &Direction| direction.to() == side || at_once(ctx, *direction);
    if is_quiet || planted(Bug::PagesUnlocked) {
        return Vec::new();
    }
    keep_quiet(ctx, Direction::BOTH.into_iter().filter(waits)).await
}

/// Keeps also the direction quiet that [`quiet`] left alone, where pages of this side may go straight and nothing is on
/// its way there now. Gives whether nothing is on its way any more in either.
pub fn quiet_too<'l>(ctx: &'l LinkContext, side: Side, quiet: &mut Vec<Guard<'l>>) -> bool {
    let other = side.outward();
    if quiet.is_empty() || !Direction::BOTH.iter().any(|&direction| straight::may_be(ctx, direction)) {
        return false;
    }
    // It never waits: a worker may be at it for long, and the page can be taken in meanwhile.
    at_once(ctx, other) || along(&ctx.delivery, other).try_lock().map(|guard| quiet.push(guard)).is_ok()
}

/// Waits until nothing is on its way in any direction.
pub async fn quiet_both(ctx: &LinkContext) -> Vec<Guard<'_>> {
    keep_quiet(ctx, Direction::BOTH.into_iter()).await
}

/// Taken in one order by all, so that no two wait for each other.
async fn keep_quiet(ctx: &LinkContext, directions: impl Iterator<Item = Direction>) -> Vec<Guard<'_>> {
    let mut guards = Vec::with_capacity(2);
    for direction in directions {
        guards.push(along(&ctx.delivery, direction).lock().await);
    }
    guards
}

/// Delivers what can be delivered at once; the rest keeps its status `queued` and becomes jobs. Only a page that
/// `is_alone` in both directions goes straight to remote ends.
pub(super) async fn deliver(
    ctx: &LinkContext,
    is_alone: bool,
    mut ahead: Option<Ahead>,
    entries: &mut [Entry],
) -> Inline {
    let mut inline = Inline::default();
    for direction in Direction::BOTH {
        let mut ahead = ahead.take_if(|ahead| ahead.direction == direction);
        let before = inline.count;
        for reply in ahead.iter_mut().flat_map(|ahead| ahead.replies.drain(..)) {
            take_reply(ctx, direction, entries, reply, &mut inline);
        }
        if ctx.fuses.is_held(direction) {
            // Nothing more of it goes out.
            inline.posted.extend(ahead.into_iter().flat_map(Ahead::unsent).map(Posted::unsent));
            arrived(ctx, direction, inline.count - before);
            continue;
        }
        if is_alone && straight::may_be(ctx, direction) {
            straight::deliver(ctx, direction, entries, &mut inline).await;
        } else if at_once(ctx, direction) {
            let chunks = match ahead {
                Some(ahead) => ahead.chunks,
                None => ahead::chunks(ctx, direction, entries, &places(ctx, entries, direction)).await,
            };
            for chunk in chunks {
                if let Some(reply) = send(ctx, direction, entries, chunk).await {
                    take_reply(ctx, direction, entries, reply, &mut inline);
                }
            }
        }
        arrived(ctx, direction, inline.count - before);
    }
    inline
}

/// Tells of records that arrived, whatever becomes of the page.
fn arrived(ctx: &LinkContext, direction: Direction, count: u64) {
    if count > 0 {
        ctx.view.last_success.store(ctx.now().0, Ordering::Relaxed);
        meter::records(ctx, direction, Status::Synced, count);
    }
}

/// The entries that want a write in this direction and for which no job stands already. What was deleted
/// there becomes a job, which looks whether its source still stands; so does what was sent and not answered.
pub(super) fn places(ctx: &LinkContext, entries: &[Entry], direction: Direction) -> Vec<usize> {
    entries
        .iter()
        .enumerate()
        .filter(|(_, entry)| entry.dirty && along(&entry.actions, direction).is_write())
        .filter(|(_, entry)| {
            !matches!(
                along(&entry.before.status, direction),
                Status::Queued | Status::Retrying | Status::Waiting
            )
        })
        .filter(|(_, entry)| !is_revival(&entry.pair, direction, along(&entry.actions, direction)))
        .filter(|(_, entry)| !ctx.unanswered.has(&entry.pair.key, direction))
        .map(|(place, _)| place)
        .collect()
}

/// What was answered to writes that went out together, in this epoch of their destination.
pub(super) struct Reply {
    places: Vec<usize>,
    answer: Result<Vec<Outcome>, Fault>,
    posted: Option<Posted>,
    epoch: u32,
}

/// Sends a chunk of a page's writes; `None` where nothing went out.
pub(super) async fn send(
    ctx: &LinkContext,
    direction: Direction,
    entries: &[Entry],
    Chunk { places, sent }: Chunk,
) -> Option<Reply> {
    let end = ctx.end(direction.to());
    let sent = match sent {
        Ok(sent) => sent,
        Err(fault) => {
            // What is not remembered does not go out; all become jobs.
            note(ctx, direction, fault.to_string());
            return None;
        }
    };
    let batch = Batch {
        shape: Arc::clone(ctx.rules.shape(direction.to())),
        deliveries: deliveries(entries, &places, direction),
    };
    let (began, epoch) = (tokio::time::Instant::now(), ctx.epoch(direction.to()));
    let answer = end.destination.write(&batch, &ctx.call(Class::Live)).await;
    let answer = answer.and_then(|outcomes| counted(outcomes, places.len()));
    meter::attempted(ctx, direction, began.elapsed());
    let posted = sent.map(|sent| Posted::answered(ctx, sent, answer.as_deref()));
    Some(Reply { places, answer, posted, epoch })
}

/// Takes in what was answered to a chunk.
fn take_reply(
    ctx: &LinkContext,
    direction: Direction,
    entries: &mut [Entry],
    Reply { places, answer, posted, epoch }: Reply,
    inline: &mut Inline,
) {
    match answer {
        Ok(outcomes) => take_outcomes(ctx, direction, entries, (&places, outcomes, epoch), posted, inline),
        Err(fault) => {
            // Nothing can be said of any record: all become jobs, which look before they repeat.
            note(ctx, direction, fault.to_string());
            inline.posted.extend(posted);
        }
    }
}

/// Takes in what became of the writes of a batch, which went out in this epoch of their destination.
pub(super) fn take_outcomes(
    ctx: &LinkContext,
    direction: Direction,
    entries: &mut [Entry],
    (places, outcomes, epoch): (&[usize], Vec<Outcome>, u32),
    mut posted: Option<Posted>,
    inline: &mut Inline,
) {
    let mut projector = Projector::new(&ctx.rules, direction.to());
    for (at, (&place, outcome)) in places.iter().zip(outcomes).enumerate() {
        let Some(entry) = entries.get_mut(place) else { continue };
        let before = posted.is_some().then(|| Before::of(entry, direction));
        let arrived = take_outcome(ctx, direction, (place, entry), (outcome, epoch), &mut projector, inline);
        if let (Some(posted), Some(before), Some(arrived)) = (&mut posted, before, arrived) {
            posted.note(at, before, arrived);
        }
    }
    inline.posted.extend(posted);
}

/// What is remembered of these entries before they go out.
pub(super) fn writes<'e>(
    entries: &'e [Entry],
    places: &'e [usize],
    direction: Direction,
) -> impl Iterator<Item = Going<'e>> {
    places.iter().filter_map(|&place| entries.get(place)).map(move |entry| {
        let from = entry.pair.side(direction.from());
        Going {
            key: &entry.pair.key,
            id: from.id.as_ref(),
            made_from: from.now(),
            is_known: *at(&entry.before.present, direction.from()),
            action: along(&entry.actions, direction),
        }
    })
}

/// Believes no answer that says more or less than was asked: whatever of it was carried out may have been.
pub(super) fn counted(outcomes: Vec<Outcome>, deliveries: usize) -> Result<Vec<Outcome>, Fault> {
    if outcomes.len() == deliveries {
        return Ok(outcomes);
    }
    let message = format!("{} outcomes came back for {deliveries} deliveries", outcomes.len());
    Err(Fault::transient(FaultCode::Protocol, message).and_may_have_happened())
}

/// Makes the deliveries of these entries.
fn deliveries(entries: &[Entry], places: &[usize], direction: Direction) -> Vec<Delivery> {
    let entries = places.iter().filter_map(|&place| entries.get(place));
    entries
        .filter_map(|entry| delivery(&entry.pair, direction, along(&entry.actions, direction).clone()))
        .collect()
}

/// Takes in what became of a write; gives what arrived.
fn take_outcome(
    ctx: &LinkContext,
    direction: Direction,
    (place, entry): (usize, &mut Entry),
    (outcome, epoch): (Outcome, u32),
    projector: &mut Projector,
    inline: &mut Inline,
) -> Option<Arrived> {
    match outcome {
        Outcome::Delivered { id, revision, stored } => {
            let stored = stored.and_then(|record| projector.project(record).ok()).map(|record| record.image);
            let arrived = Arrived { id, revision, stored, epoch };
            confirm(ctx, direction, entry, arrived.clone());
            inline.count += 1;
            return Some(arrived);
        }
        Outcome::Stale(current) => {
            observe_there(ctx, &mut entry.pair, (direction.to(), epoch), current, projector);
            entry.looked = true;
            decide(ctx, entry, Occasion::Change, ctx.now());
        }
        Outcome::Failed(fault) if fault.kind == FaultKind::Rejected => {
            let way = entry.pair.way_mut(direction);
            way.status = Status::Dead;
            way.attempts = 1;
            way.error = Some(fault.to_string());
            inline.failed.insert(place, fault);
        }
        // It was not tried, and nothing is wrong.
        Outcome::Failed(fault) if fault.is_stopping() => {}
        Outcome::Failed(fault) => note(ctx, direction, fault.to_string()),
    }
    None
}

fn confirm(ctx: &LinkContext, direction: Direction, entry: &mut Entry, arrived: Arrived) {
    let action = take_action(entry, direction);
    ctx.note_write(&entry.pair, direction, &action, ctx.now());
    let Arrived { id, revision, stored, .. } = &arrived;
    let answer = Answer { id: id.as_ref(), revision: revision.as_ref(), stored: stored.as_ref() };
    entry.history.extend(tell::inline(ctx, &entry.pair, direction, &action, &answer));
    arrive(ctx, &mut entry.pair, direction, (action, MadeFrom::Now), arrived, 1);
    entry.forget = entry.pair.a.now().is_none() && entry.pair.b.now().is_none();
}

/// Takes the action of a direction out of an entry, and leaves that there is nothing more to do.
fn take_action(entry: &mut Entry, direction: Direction) -> Action {
    std::mem::replace(along_mut(&mut entry.actions, direction), Action::Nothing(Why::Agreed))
}

/// Takes in how a side really looked during the scan of this number: one that has begun since may have passed it by.
pub fn observe_there(
    ctx: &LinkContext,
    pair: &mut Pair,
    (side, epoch): (Side, u32),
    current: Option<Record>,
    projector: &mut Projector,
) {
    let now = ctx.now();
    match current.map(|record| projector.project(record)) {
        Some(Ok(projected)) if projected.key == pair.key => {
            observe(pair, side, projected, epoch, now);
        }
        // A record under another key, or under none, is not this one.
        Some(_) | None => {
            observe_deleted(pair, side, None, epoch, now);
        }
    }
}

/// Takes in that a look found nothing.
pub fn observe_gone(ctx: &LinkContext, pair: &mut Pair, side: Side) {
    observe_deleted(pair, side, None, ctx.epoch(side), ctx.now());
}

/// Makes the delivery of an action; `None` where there is nothing to write.
pub fn delivery(pair: &Pair, direction: Direction, action: Action) -> Option<Delivery> {
    let to = pair.side(direction.to());
    let there =
        |bug| -> Option<Values> { to.now().filter(|_| !planted(bug)).map(|image| image.values.clone()) };
    let (write, expected) = match action {
        Action::Create(values) => (Write::Create(values), None),
        Action::Update(mut values) => {
            if planted(Bug::AbsentIsNull) {
                values.iter_mut().filter(|value| value.is_missing()).for_each(|value| *value = Value::Null);
            }
            (Write::Update(values), there(Bug::UpdateUncompared))
        }
        Action::Delete => (Write::Delete, there(Bug::DeleteUncompared)),
        Action::Nothing(_) | Action::Skip(_) | Action::Invalid(_) | Action::Conflict(_) => return None,
    };
    Some(Delivery {
        key: pair.key.clone(),
        id: to.id.clone().filter(|_| !matches!(write, Write::Create(_))),
        write,
        expected,
        revision: to.revision.clone(),
    })
}

/// Stages creates in a bulk load; whatever is no create becomes a job.
pub async fn stage(ctx: &LinkContext, entries: &mut [Entry], filling: &Filling) -> Result<Inline, Fault> {
    let direction = filling.direction;
    let mut inline = Inline::default();
    let places: Vec<usize> = places(ctx, entries, direction)
        .into_iter()
        .filter(|&place| {
            entries
                .get(place)
                .is_some_and(|entry| matches!(along(&entry.actions, direction), Action::Create(_)))
        })
        .collect();
    let deliveries = deliveries(entries, &places, direction);
    if deliveries.is_empty() {
        return Ok(inline);
    }
    let epoch = ctx.epoch(direction.to());
    let outcomes = filling.stage(&deliveries).await?;
    take_outcomes(ctx, direction, entries, (&places, outcomes, epoch), None, &mut inline);
    Ok(inline)
}

fn note(ctx: &LinkContext, direction: Direction, trouble: String) {
    ctx.trouble_writing(direction, Some(trouble));
}

/// Says what went wrong with the writes of a direction, or that they go well again.
impl LinkContext {
    pub fn trouble_writing(&self, direction: Direction, trouble: Option<String>) {
        let [_, _, a_to_b, b_to_a] = &self.view.trouble;
        let place = match direction {
            Direction::AToB => a_to_b,
            Direction::BToA => b_to_a,
        };
        *lock(place) = trouble;
    }

    /// The same for the reads of a side.
    pub fn trouble_reading(&self, side: Side, trouble: Option<String>) {
        let [a, b, _, _] = &self.view.trouble;
        let place = match side {
            Side::A => a,
            Side::B => b,
        };
        *lock(place) = trouble;
    }
}
