//! Records as they are now, asked for one by one.
//!
//! Invariant: as many answers as questions, in order; a system that answers otherwise is not believed.

use super::link::LinkContext;
use crate::connectors::{Call, Wanted};
use crate::engine::fault::{Fault, FaultCode};
use crate::engine::job::JobError;
use crate::engine::plan::Projector;
use crate::engine::record::{Record, Side};

/// Asked for in one call at most, whatever the system would take.
pub(super) const CHUNK_MAX: usize = 500;

/// Says that a look for one record has found another one: the system does not tell their keys apart, and a
/// write under this key would change that other record.
pub(super) fn taken(
    wanted: &Wanted,
    found: Option<&Record>,
    projector: &mut Projector,
    system: &str,
) -> Option<JobError> {
    // Under its own id it is the record asked for, whatever its key is by now.
    let other = found.filter(|other| other.meta.id.is_some() && other.meta.id != wanted.id)?;
    let there = projector.project(other.clone()).ok().filter(|there| there.key != wanted.key)?;
    Some(JobError {
        code: FaultCode::Conflict,
        message: format!(
            "{system} takes the key {} for {}, which another record has there; make the keys differ in more than \
             case or spaces",
            wanted.key, there.key
        ),
    })
}

/// Looks records up at a side, in as many calls as it takes; `None` where there is none.
pub(super) async fn up(
    ctx: &LinkContext,
    side: Side,
    wanted: &[Wanted],
    call: &Call,
) -> Result<Vec<Option<Record>>, Fault> {
    let end = ctx.end(side);
    let mut found = Vec::with_capacity(wanted.len());
    for chunk in wanted.chunks(end.call_limits(wanted.len()).1) {
        let answers = end.destination.look_up(chunk, call).await?;
        if answers.len() != chunk.len() {
            return Err(Fault::transient(FaultCode::Protocol, "the look-up gave another number of records"));
        }
        found.extend(answers);
    }
    Ok(found)
}
