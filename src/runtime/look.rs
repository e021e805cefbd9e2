//! Records as they are now, asked for one by one.
//!
//! Invariant: as many answers as questions, in order; a system that answers otherwise is not believed.

use super::link::LinkContext;
use super::verdict::{Ending, Parcel, source_away};
use crate::connectors::{Call, Wanted};
use crate::engine::fault::{Fault, FaultCode};
use crate::engine::job::JobError;
use crate::engine::plan::{Pair, Projector};
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

/// Asks for the record of a pair at a side.
pub(super) fn wanted(pair: &Pair, side: Side) -> Wanted {
    Wanted { key: pair.key.clone(), id: pair.side(side).id.clone() }
}

/// Looks at the sources of jobs, each with what stands there; another key's record is not theirs. Where a source
/// can't be looked at, they have ended and none comes back.
pub(super) async fn sources(
    ctx: &LinkContext,
    parcels: Vec<Parcel>,
    projector: &mut Projector,
    settlements: &mut Vec<Ending>,
    call: &Call,
) -> Vec<(Parcel, Option<Record>)> {
    let Some(side) = parcels.first().map(|parcel| parcel.job.direction.from()) else { return Vec::new() };
    let began = ctx.now();
    let asked: Vec<Wanted> = parcels.iter().map(|parcel| wanted(&parcel.entry.pair, side)).collect();
    match up(ctx, side, &asked, call).await {
        Ok(found) => {
            let mut is_its = |record: &Record, parcel: &Parcel| {
                projector
                    .project(record.clone())
                    .is_ok_and(|projected| projected.key == parcel.entry.pair.key)
            };
            let found: Vec<Option<Record>> = found
                .into_iter()
                .zip(&parcels)
                .map(|(found, of)| found.filter(|it| is_its(it, of)))
                .collect();
            parcels.into_iter().zip(found).collect()
        }
        Err(fault) => {
            let away = parcels.into_iter().map(|it| source_away(ctx, &it.job, it.entry, &fault, began));
            settlements.extend(away);
            Vec::new()
        }
    }
}
