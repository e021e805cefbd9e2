//! Records that are to be made again where they were deleted, because they were edited at their source, or
//! because somebody hands in a change of them.
//!
//! What is known of the source is as old as its last poll. Where both sides lost the record since, each
//! direction would bring it back from what the other showed last.
//!
//! Invariant: what a source showed of a deleted record is written again only while it still shows it.

use super::inline::observe_gone;
use super::link::LinkContext;
use super::look;
use super::verdict::{Ending, Parcel, gone, no_write, plan};
use crate::connectors::Call;
use crate::engine::job::Origin;
use crate::engine::plan::{Action, Pair, Projector, Seen};
use crate::engine::record::Direction;
use crate::planted::{Bug, planted};

/// Looks at the sources of what would be made again; gives back what is still to be written.
pub(super) async fn check(
    ctx: &LinkContext,
    direction: Direction,
    parcels: Vec<Parcel>,
    settlements: &mut Vec<Ending>,
    call: &Call,
) -> Vec<Parcel> {
    let (revived, mut kept): (Vec<Parcel>, Vec<Parcel>) =
        parcels.into_iter().partition(|parcel| is_revival(&parcel.entry.pair, direction, &parcel.action));
    if revived.is_empty() {
        return kept;
    }
    let side = direction.from();
    let mut projector = Projector::new(&ctx.rules, side);
    for (mut parcel, found) in look::sources(ctx, revived, &mut projector, settlements, call).await {
        // Only whether it is there is taken in: what it shows may be a write of ours that is not settled.
        if found.is_none() {
            observe_gone(ctx, &mut parcel.entry.pair, side);
            if parcel.job.origin == Origin::Push {
                settlements.push(gone(ctx, &parcel.job, parcel.entry));
                continue;
            }
            parcel.action = plan(ctx, direction, &mut parcel.entry);
            parcel.made_from = None;
        }
        if parcel.action.is_write() {
            kept.push(parcel);
        } else {
            settlements.push(no_write(ctx, &parcel.job, parcel.entry, &parcel.action));
        }
    }
    kept
}

/// Tells whether this makes a record of its source again where it was deleted.
pub(super) fn is_revival(pair: &Pair, direction: Direction, action: &Action) -> bool {
    matches!(action, Action::Create(_))
        && pair.side(direction.from()).now().is_some()
        && matches!(pair.side(direction.to()).seen, Seen::Deleted(_))
        && !planted(Bug::RevivesUnasked)
}
