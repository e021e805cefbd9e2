//! Writes in doubt: an earlier one of their record went out, and nobody answered.
//!
//! Invariant: what was learnt of both sides is stored before anything else is written: what goes out next is made
//! from what the store knows.

use super::inline::{observe_gone, observe_there};
use super::link::LinkContext;
use super::look;
use super::verdict::{Ending, Parcel, ending_of, plan};
use crate::connectors::Call;
use crate::engine::job::Job;
use crate::engine::plan::Projector;
use crate::engine::record::{Direction, Record, Side};
use crate::planted::{Bug, planted};
use crate::store::Transition;

/// Tells whether the planner has sent a write of this job's record and nobody has answered; whichever way it went:
/// what stands at this job's source may be nothing but that.
pub(super) fn is_in_doubt(ctx: &LinkContext, job: &Job) -> bool {
    let is_open = |direction: &Direction| {
        let is_meant = *direction == job.direction || !planted(Bug::DoubtOneWay);
        is_meant && ctx.unanswered.has(&job.key, *direction)
    };
    job.origin.is_planned() && Direction::BOTH.iter().any(is_open) && !planted(Bug::SentUnlooked)
}

/// Looks at the sources of what is in doubt, whose destinations have been looked at already, and ends those jobs
/// with what that taught: what is known of a source may be older than the process. Gives back the others.
pub(super) async fn resolve(
    ctx: &LinkContext,
    direction: Direction,
    parcels: Vec<Parcel>,
    settlements: &mut Vec<Ending>,
    call: &Call,
) -> Vec<Parcel> {
    let (doubtful, kept): (Vec<Parcel>, Vec<Parcel>) =
        parcels.into_iter().partition(|parcel| is_in_doubt(ctx, &parcel.job));
    if doubtful.is_empty() {
        return kept;
    }
    let side = direction.from();
    let epoch = ctx.epoch(side);
    let mut projector = Projector::new(&ctx.rules, side);
    for (mut parcel, found) in look::sources(ctx, doubtful, &mut projector, settlements, call).await {
        take_in(ctx, (side, epoch), &mut parcel, found, &mut projector);
        plan(ctx, direction, &mut parcel.entry);
        let looked = Some(parcel.job.key.clone());
        let again = Transition::Snoozed { due_at: ctx.now() };
        settlements.push(Ending { looked, ..ending_of(ctx, &parcel.job, again, parcel.entry) });
    }
    kept
}

/// Takes in how the source looks. That it is gone is for its stream to say, past the fuses; only what nobody else
/// has either is gone for good.
fn take_in(
    ctx: &LinkContext,
    (side, epoch): (Side, u32),
    parcel: &mut Parcel,
    found: Option<Record>,
    projector: &mut Projector,
) {
    let pair = &mut parcel.entry.pair;
    match found {
        Some(record) => observe_there(ctx, pair, (side, epoch), Some(record), projector),
        None if pair.side(side.other()).now().is_none() => observe_gone(ctx, pair, side),
        None => {}
    }
}
