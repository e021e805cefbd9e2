//! Delivery at first try to a remote system: what a page has to write goes out in calls of a batch, several at once,
//! and no job row is ever written for a record that arrived.
//!
//! Invariant: a page goes this way only while nothing else of its link is on its way and nothing waits in the direction.
//! It waits for no window, and for nobody for long: whatever is not delivered becomes the job that it would
//! have been, which looks before it repeats what may have happened.

use std::time::Duration;

use super::arrival::Posted;
use super::inline::{self, Inline, delivery, observe_there};
use super::link::{LinkContext, along};
use super::look;
use super::meter;
use super::page::{Entry, decide};
use super::revive::is_revival;
use super::send::{Cargo, send};
use crate::connectors::{Call, Class, Delivery, Outcome, Wanted};
use crate::engine::fault::Fault;
use crate::engine::plan::{Action, Occasion, Projector};
use crate::engine::record::Direction;
use crate::planted::{Bug, planted};

/// No more calls begin after so long: the workers of both directions and the other side's pages wait meanwhile.
pub(super) const HELD_MAX: Duration = Duration::from_secs(2);

/// Tells whether pages may deliver to an end without a job.
pub(super) fn may_be(ctx: &LinkContext, direction: Direction) -> bool {
    ctx.end(direction.to()).remote && ctx.rules.way(direction).is_some() && !planted(Bug::PagesUnlocked)
}

/// Tells whether an end takes a backlog in bulk: of a long pass no page may take calls for itself.
pub(super) fn gathers(ctx: &LinkContext) -> bool {
    ctx.ends.iter().any(|end| end.features.bulk.is_some())
}

/// Delivers what can be delivered now; the rest keeps its status `queued` and becomes jobs.
pub(super) async fn deliver(
    ctx: &LinkContext,
    direction: Direction,
    entries: &mut [Entry],
    inline: &mut Inline,
) {
    let is_in_doubt =
        |entry: &Entry| Direction::BOTH.iter().any(|&way| ctx.unanswered.has(&entry.pair.key, way));
    let mut places = inline::places(ctx, entries, direction);
    // What stands at its source may be nothing but a write of ours.
    places.retain(|&place| entries.get(place).is_some_and(|entry| !is_in_doubt(entry)));
    if places.is_empty() || !is_open(ctx, direction, places.len()).await {
        return;
    }
    let began = tokio::time::Instant::now();
    let call = Call { correlation_id: ctx.run(direction.from()).to_string(), ..ctx.call(Class::Live) };
    let places = look_first(ctx, direction, entries, places, &call).await;
    let writes = inline::writes(entries, &places, direction);
    let sent = match ctx.remember(direction, writes).await {
        Ok(sent) => sent,
        Err(fault) => {
            // What is not remembered does not go out; all become jobs.
            ctx.trouble_writing(direction, Some(fault.to_string()));
            return;
        }
    };
    let page = Page { direction, entries, places: &places, until: began + HELD_MAX };
    let epoch = ctx.epoch(direction.to());
    let outcomes = send(ctx, direction, &page, &call).await;
    if !places.is_empty() {
        meter::attempted(ctx, direction, began.elapsed());
    }
    let posted = sent.map(|sent| Posted::answered(ctx, sent, Ok(&outcomes)));
    let is_through = |outcome: &Outcome| matches!(outcome, Outcome::Delivered { .. });
    let arrived: Vec<bool> = outcomes.iter().map(is_through).collect();
    inline::take_outcomes(ctx, direction, entries, (&places, outcomes, epoch), posted, inline);
    for (&place, _) in places.iter().zip(arrived).filter(|(_, has_arrived)| *has_arrived) {
        if let Some(entry) = entries.get_mut(place) {
            // What the answer shows of the record may have to travel the other way.
            decide(ctx, entry, Occasion::Change, ctx.now());
        }
    }
}

/// Tells whether so many writes may go out now: nobody else goes first, the window has room for them, and they need not
/// wait for company.
async fn is_open(ctx: &LinkContext, direction: Direction, writes: usize) -> bool {
    let end = ctx.end(direction.to());
    let needs_company = !end.tuning.load().flush_interval.is_zero() && writes < end.batch_limit();
    let is_backlog = end.features.bulk.is_some_and(|bulk| writes >= bulk.from);
    !needs_company && !is_backlog && end.has_room(writes) && is_idle(ctx, direction).await
}

/// Tells whether no job waits in a direction or is at work: what does goes first, also where it comes later, and whoever
/// rests because of a fault has its jobs waiting.
pub(super) async fn is_idle(ctx: &LinkContext, direction: Direction) -> bool {
    let depth = ctx.store.depth(ctx.id).await;
    depth.is_ok_and(|depth| {
        let depth = along(&depth, direction);
        depth.pending + depth.leased + depth.retrying + depth.waiting == 0
    })
}

/// Reads the destination just before the write where it can't compare for itself, as a worker does. Gives what is still
/// to be written; what could not be looked at, and what a closer look has to tell, is left to jobs.
async fn look_first(
    ctx: &LinkContext,
    direction: Direction,
    entries: &mut [Entry],
    places: Vec<usize>,
    call: &Call,
) -> Vec<usize> {
    let (end, side) = (ctx.end(direction.to()), direction.to());
    let is_unlooked = |entry: &Entry| {
        let creates = matches!(along(&entry.actions, direction), Action::Create(_));
        end.features.compare_and_set
            || planted(Bug::WritesUnlooked)
            || planted(Bug::CreatesUnlooked) && creates
    };
    let (mut kept, asked): (Vec<usize>, Vec<usize>) =
        places.into_iter().partition(|&place| entries.get(place).is_some_and(is_unlooked));
    let wanted: Vec<Wanted> = asked
        .iter()
        .filter_map(|&place| entries.get(place))
        .map(|entry| look::wanted(&entry.pair, side))
        .collect();
    let epoch = ctx.epoch(side);
    let found = look::once(ctx, side, &wanted, call).await;
    let mut projector = Projector::new(&ctx.rules, side);
    for ((place, wanted), found) in asked.into_iter().zip(wanted).zip(found) {
        let (Some(entry), Ok(found)) = (entries.get_mut(place), found) else { continue };
        let is_delete = *along(&entry.actions, direction) == Action::Delete;
        let taken = look::taken(&wanted, found.as_ref(), &mut projector, &end.system_name);
        if taken.is_some() && !is_delete {
            continue;
        }
        observe_there(ctx, &mut entry.pair, (side, epoch), found, &mut projector);
        entry.looked = true;
        decide(ctx, entry, Occasion::Change, ctx.now());
        let action = along(&entry.actions, direction);
        if action.is_write() && !is_revival(&entry.pair, direction, action) {
            kept.push(place);
        }
    }
    kept
}

/// What a page sends.
struct Page<'p> {
    direction: Direction,
    entries: &'p [Entry],
    places: &'p [usize],
    until: tokio::time::Instant,
}

impl Cargo for Page<'_> {
    fn attempts(&self) -> Vec<u32> {
        vec![1; self.places.len()]
    }

    fn delivery(&self, place: usize) -> Option<Delivery> {
        let entry = self.entries.get(*self.places.get(place)?)?;
        delivery(&entry.pair, self.direction, along(&entry.actions, self.direction).clone())
    }

    /// Others may have used up the window, or the system may have slowed down.
    async fn held(&self, ctx: &LinkContext, part: Vec<usize>) -> Result<Vec<usize>, Fault> {
        let is_held = tokio::time::Instant::now() < self.until;
        match is_held && ctx.end(self.direction.to()).has_room(part.len()) {
            true => Ok(part),
            false => Err(Fault::stopping()),
        }
    }
}
