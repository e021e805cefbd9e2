//! Records as they are now, asked for one by one.
//!
//! Invariant: as many answers as questions, in order; a system that answers otherwise is not believed.

use std::time::Duration;

use super::link::LinkContext;
use super::reading::unless_stopped;
use super::verdict::{Ending, Parcel, source_away};
use crate::connectors::{Call, Wanted};
use crate::engine::fault::{Fault, FaultCode, FaultKind};
use crate::engine::job::JobError;
use crate::engine::plan::{Pair, Projector};
use crate::engine::record::{Record, Side};
use crate::planted::{Bug, planted};

/// Asked for in one call at most, whatever the system would take.
pub(super) const CHUNK_MAX: usize = 500;
/// So many calls in a row fail because of the system: more than it takes to find one record in any call.
const IN_A_ROW_MAX: u32 = 16;
/// The wait after a call that failed; doubles with each in a row.
const PAUSE: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(1);

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
    each(ctx, side, wanted, call).await.into_iter().collect()
}

/// The same, as far as it goes: a call that fails says nothing of the records of the others, and is made again in
/// halves until a record that spoils it is asked for alone. Only such a record has failed; where call after call
/// fails it is the system, and the others are put off at no cost.
pub(super) async fn each(
    ctx: &LinkContext,
    side: Side,
    wanted: &[Wanted],
    call: &Call,
) -> Vec<Result<Option<Record>, Fault>> {
    let mut found = Vec::with_capacity(wanted.len());
    let mut left: Vec<&[Wanted]> = chunks(ctx, side, wanted).collect();
    // The first part is the last to be pushed.
    left.reverse();
    let mut in_a_row = 0;
    let mut stopped: Option<Fault> = None;
    while let Some(part) = left.pop() {
        let answers = match &stopped {
            Some(fault) => Err(fault.clone()),
            None => ask(ctx, side, part, call).await,
        };
        let fault = match answers {
            Ok(answers) => {
                in_a_row = 0;
                found.extend(answers.into_iter().map(Ok));
                continue;
            }
            Err(fault) => fault,
        };
        in_a_row += 1;
        if matches!(fault.kind, FaultKind::Throttled { .. } | FaultKind::Fatal) {
            // Who asks for patience, or does not know us, need not be asked again.
            stopped = Some(fault.clone());
        } else if in_a_row >= IN_A_ROW_MAX {
            stopped = Some(Fault { kind: FaultKind::Throttled { retry_after: None }, ..fault.clone() });
        } else if part.len() > 1 && !planted(Bug::LookNotCut) {
            let (first, second) = part.split_at(part.len() / 2);
            left.extend([second, first]);
            if fault.kind == FaultKind::Transient {
                stopped = moment(ctx, in_a_row).await.err();
            }
            continue;
        }
        // Who was asked for alone has failed.
        let fault = stopped.as_ref().filter(|_| part.len() > 1).unwrap_or(&fault);
        found.extend(part.iter().map(|_| Err(fault.clone())));
    }
    found
}

/// Waits a moment after a call that failed: what is the matter may be over soon.
async fn moment(ctx: &LinkContext, in_a_row: u32) -> Result<(), Fault> {
    let pause = PAUSE.saturating_mul(1 << in_a_row.saturating_sub(1).min(8)).min(PAUSE_MAX);
    let waiting = async {
        tokio::time::sleep(pause).await;
        Ok(())
    };
    unless_stopped(ctx, waiting).await
}

/// Cuts what is to be looked up into calls.
fn chunks<'w>(ctx: &LinkContext, side: Side, wanted: &'w [Wanted]) -> impl Iterator<Item = &'w [Wanted]> {
    wanted.chunks(ctx.end(side).call_limits(wanted.len()).1)
}

/// Makes one call.
async fn ask(
    ctx: &LinkContext,
    side: Side,
    wanted: &[Wanted],
    call: &Call,
) -> Result<Vec<Option<Record>>, Fault> {
    let answers = ctx.end(side).destination.look_up(wanted, call).await?;
    match answers.len() == wanted.len() {
        true => Ok(answers),
        false => Err(Fault::transient(FaultCode::Protocol, "the look-up gave another number of records")),
    }
}

/// Asks for the record of a pair at a side.
pub(super) fn wanted(pair: &Pair, side: Side) -> Wanted {
    Wanted { key: pair.key.clone(), id: pair.side(side).id.clone() }
}

/// Looks at the sources of jobs, each with what stands there; another key's record is not theirs. Those whose source
/// can't be looked at have ended.
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
    let mut looked = Vec::with_capacity(parcels.len());
    for (parcel, found) in parcels.into_iter().zip(each(ctx, side, &asked, call).await) {
        match found {
            Ok(found) => {
                let key = &parcel.entry.pair.key;
                let mut is_its =
                    |record: &Record| projector.project(record.clone()).is_ok_and(|there| there.key == *key);
                let found = found.filter(|record| is_its(record));
                looked.push((parcel, found));
            }
            Err(fault) => settlements.push(source_away(ctx, &parcel.job, parcel.entry, &fault, began)),
        }
    }
    looked
}
