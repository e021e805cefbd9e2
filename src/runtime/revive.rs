//! Records that are to be made again where they were deleted, because they were edited at their source.
//!
//! What is known of the source is as old as its last poll. Where both sides lost the record since, each
//! direction would bring it back from what the other showed last.
//!
//! Where a write is in doubt, all that the source shows is taken in: what is known of it may be older than the
//! process.
//!
//! Invariant: a deleted record is made again only while its source still has it.

use super::inline::{observe_gone, observe_there};
use super::link::LinkContext;
use super::look;
use super::verdict::{Ending, Parcel, no_write, plan};
use super::worker::is_in_doubt;
use crate::connectors::{Call, Wanted};
use crate::engine::fault::Fault;
use crate::engine::plan::{Action, Pair, Projector, Seen};
use crate::engine::record::{Direction, Record, Side};
use crate::planted::{Bug, planted};

/// Looks at the sources of what would be made again and of what is in doubt; gives back what is still to be written.
pub(super) async fn check(
    ctx: &LinkContext,
    direction: Direction,
    parcels: Vec<Parcel>,
    settlements: &mut Vec<Ending>,
    call: &Call,
) -> Result<Vec<Parcel>, (Fault, Vec<Parcel>)> {
    let (doubtful, mut kept): (Vec<Parcel>, Vec<Parcel>) = parcels.into_iter().partition(|parcel| {
        is_in_doubt(ctx, direction, &parcel.job)
            || parcel.job.origin.is_planned() && is_revival(&parcel.entry.pair, direction, &parcel.action)
    });
    if doubtful.is_empty() {
        return Ok(kept);
    }
    let side = direction.from();
    let wanted: Vec<Wanted> = doubtful
        .iter()
        .map(|parcel| Wanted {
            key: parcel.entry.pair.key.clone(),
            id: parcel.entry.pair.side(side).id.clone(),
        })
        .collect();
    let found = match look::up(ctx, side, &wanted, call).await {
        Ok(found) => found,
        Err(fault) => {
            kept.extend(doubtful);
            return Err((fault, kept));
        }
    };
    let mut projector = Projector::new(&ctx.rules, side);
    for (mut parcel, found) in doubtful.into_iter().zip(found) {
        let there = found
            .as_ref()
            .and_then(|record| projector.project(record.clone()).ok())
            .is_some_and(|projected| projected.key == parcel.entry.pair.key);
        if is_in_doubt(ctx, direction, &parcel.job) {
            take_in(ctx, side, &mut parcel, found.filter(|_| there), &mut projector);
            parcel.action = plan(ctx, direction, &mut parcel.entry);
            kept.push(parcel);
            continue;
        }
        // Only whether it is there is taken in: what it shows may be a write of ours that is not settled.
        if !there {
            observe_gone(ctx, &mut parcel.entry.pair, side);
            parcel.action = plan(ctx, direction, &mut parcel.entry);
            parcel.made_from = None;
        }
        if parcel.action.is_write() {
            kept.push(parcel);
        } else {
            settlements.push(no_write(ctx, &parcel.job, parcel.entry, &parcel.action));
        }
    }
    Ok(kept)
}

/// Takes in how the source of a write in doubt looks: what is known of it may be what an earlier process has read.
/// That it is gone is for its stream to say, past the fuses; only what nobody else has either is gone for good.
fn take_in(
    ctx: &LinkContext,
    side: Side,
    parcel: &mut Parcel,
    found: Option<Record>,
    projector: &mut Projector,
) {
    let pair = &mut parcel.entry.pair;
    match found {
        Some(record) => observe_there(ctx, pair, side, Some(record), projector),
        None if pair.side(side.other()).now().is_none() => observe_gone(ctx, pair, side),
        None => {}
    }
}

/// Tells whether this makes a record again where it was deleted.
pub(super) fn is_revival(pair: &Pair, direction: Direction, action: &Action) -> bool {
    matches!(action, Action::Create(_))
        && matches!(pair.side(direction.to()).seen, Seen::Deleted(_))
        && !planted(Bug::RevivesUnasked)
}
