//! Records as they are now, asked for one by one.
//!
//! Invariant: as many answers as questions, in order; a system that answers otherwise is not believed.

use super::link::LinkContext;
use crate::connectors::{Call, Wanted};
use crate::engine::fault::{Fault, FaultCode};
use crate::engine::record::{Record, Side};

/// Asked for in one call at most, whatever the system would take.
pub(super) const CHUNK_MAX: usize = 500;

/// Looks records up at a side, in as many calls as it takes; `None` where there is none.
pub(super) async fn up(
    ctx: &LinkContext,
    side: Side,
    wanted: &[Wanted],
    call: &Call,
) -> Result<Vec<Option<Record>>, Fault> {
    let end = ctx.end(side);
    let mut found = Vec::with_capacity(wanted.len());
    for chunk in wanted.chunks(end.features.batch_max.clamp(1, CHUNK_MAX)) {
        let answers = end.destination.look_up(chunk, call).await?;
        if answers.len() != chunk.len() {
            return Err(Fault::transient(FaultCode::Protocol, "the look-up gave another number of records"));
        }
        found.extend(answers);
    }
    Ok(found)
}
