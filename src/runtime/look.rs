//! Records as they are now, asked for one by one.
//!
//! Invariant: as many answers as questions, in order; a system that answers otherwise is not believed.

use std::collections::VecDeque;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;

use super::link::{Calls, LinkContext};
use super::reading;
use super::verdict::{Ending, Parcel, source_away};
use crate::connectors::{Call, Wanted};
use crate::engine::fault::{Fault, FaultCode, FaultKind};
use crate::engine::job::{self, JobError};
use crate::engine::plan::{Pair, Projector};
use crate::engine::record::{Record, Side};
use crate::planted::{Bug, planted};

/// Asked for in one call at most, whatever the system would take.
pub(super) const CHUNK_MAX: usize = 500;
/// So many calls in a row fail because of the system; those that one record spoils are three at most.
const IN_A_ROW_MAX: u32 = 8;
/// Calls that fail are not made again for longer: others wait meanwhile.
const PATIENCE: Duration = Duration::from_secs(30);
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

/// Looks records up at a side, in as many calls as it takes; `None` where there is none. Gives up with the first one
/// that can't be looked at.
pub(super) async fn up(
    ctx: &LinkContext,
    side: Side,
    wanted: &[Wanted],
    call: &Call,
) -> Result<Vec<Option<Record>>, Fault> {
    search(ctx, side, (wanted, &vec![1; wanted.len()]), call, Patience::ForAll).await.into_iter().collect()
}

/// The same for a page that others wait for: asks for nothing twice, and after a call that failed for nothing more.
pub(super) async fn once(
    ctx: &LinkContext,
    side: Side,
    wanted: &[Wanted],
    call: &Call,
) -> Vec<Result<Option<Record>, Fault>> {
    search(ctx, side, (wanted, &vec![1; wanted.len()]), call, Patience::None).await
}

/// What is done about a call that failed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Patience {
    /// Whatever may help, for each record.
    ForEach,
    /// The same, until one record can't be looked at.
    ForAll,
    /// Nothing.
    None,
}

/// The same for jobs, as far as it goes; `attempts` says for each which one this is. What failed before is asked for
/// with fewer others.
pub(super) async fn each(
    ctx: &LinkContext,
    side: Side,
    (wanted, attempts): (&[Wanted], &[u32]),
    call: &Call,
) -> Vec<Result<Option<Record>, Fault>> {
    search(ctx, side, (wanted, attempts), call, Patience::ForEach).await
}

/// Asks for all, part by part, several parts at once where the system stands that. A call that fails says nothing of
/// the records that it asks for together: it is made once more, and then in parts of a quarter, after all others, so
/// that calls that succeed stand between those that one record spoils, and no breaker opens because of it. From a
/// failure to the next success calls go one at a time, with pauses. Only who was asked for alone has failed; where call
/// after call fails it is the system, and the rest is put off at no cost.
async fn search(
    ctx: &LinkContext,
    side: Side,
    (wanted, attempts): (&[Wanted], &[u32]),
    call: &Call,
    patience: Patience,
) -> Vec<Result<Option<Record>, Fault>> {
    let end = ctx.end(side);
    let Calls { look, at_once, .. } = end.calls(wanted.len());
    let mut found: Vec<Option<Result<Option<Record>, Fault>>> = wanted.iter().map(|_| None).collect();
    let mut left: VecDeque<Part> =
        job::parts(attempts, look).into_iter().map(|places| Part { places, again: false }).collect();
    let mut row = Row::default();
    let mut stopped: Option<Fault> = None;
    let mut under_way = FuturesUnordered::new();
    let mut pause = None;
    loop {
        while pause.is_none()
            && stopped.is_none()
            && under_way.len() < row.at_once(at_once)
            && let Some(part) = left.pop_front()
        {
            under_way.push(ask_part(ctx, side, (wanted, part, row.begin()), call));
        }
        let (part, number, answers) = tokio::select! {
            biased;
            Some(answered) = under_way.next() => answered,
            rested = over(&mut pause), if pause.is_some() => {
                pause = None;
                stopped = stopped.or(rested.err());
                continue;
            }
            else => break,
        };
        let fault = match answers {
            Ok(answers) => {
                (row, pause) = (Row { begun: row.begun, ..Row::default() }, None);
                part.put(&mut found, answers.into_iter().map(Ok));
                continue;
            }
            Err(fault) => fault,
        };
        let next = match patience {
            Patience::None => Next::Stop(fault),
            Patience::ForEach | Patience::ForAll => row.after(&part, number, fault, end.remote),
        };
        let fault = match next {
            Next::Parts(parts) => {
                left.extend(parts);
                // What is the matter may be over soon.
                pause.get_or_insert_with(|| Box::pin(reading::rest(ctx, row.pause())));
                continue;
            }
            Next::Stop(fault) => {
                stopped.get_or_insert_with(|| fault.clone());
                fault
            }
            Next::Failed(fault) => fault,
        };
        if patience == Patience::ForAll {
            stopped.get_or_insert_with(|| fault.clone());
        }
        part.fail(&mut found, &fault);
    }
    let unasked = Fault::transient(FaultCode::Protocol, "the look-up was not made");
    let rest = stopped.unwrap_or_else(|| unasked.clone());
    left.iter().for_each(|part| part.fail(&mut found, &rest));
    found.into_iter().map(|found| found.unwrap_or_else(|| Err(unasked.clone()))).collect()
}

/// Waits until a pause is over.
async fn over<T>(pause: &mut Option<impl Future<Output = Result<T, Fault>> + Unpin>) -> Result<(), Fault> {
    match pause {
        Some(pause) => pause.await.map(drop),
        None => Ok(()),
    }
}

/// Makes the call of a part; gives it back with its number and the answers.
async fn ask_part(
    ctx: &LinkContext,
    side: Side,
    (wanted, part, number): (&[Wanted], Part, u64),
    call: &Call,
) -> (Part, u64, Result<Vec<Option<Record>>, Fault>) {
    let answers = ask(ctx, side, &part.of(wanted), call).await;
    (part, number, answers)
}

/// What one call asks for.
struct Part {
    places: Vec<usize>,
    /// It failed once.
    again: bool,
}

impl Part {
    fn of(&self, wanted: &[Wanted]) -> Vec<Wanted> {
        self.places.iter().filter_map(|&place| wanted.get(place)).cloned().collect()
    }

    fn put<T>(&self, found: &mut [Option<T>], answers: impl Iterator<Item = T>) {
        for (&place, answer) in self.places.iter().zip(answers) {
            if let Some(slot) = found.get_mut(place) {
                *slot = Some(answer);
            }
        }
    }

    fn fail<T: Clone>(&self, found: &mut [Option<Result<T, Fault>>], fault: &Fault) {
        self.put(found, std::iter::repeat_n(Err(fault.clone()), self.places.len()));
    }

    fn quarters(&self) -> Vec<Self> {
        let size = self.places.len().div_ceil(4).max(1);
        self.places.chunks(size).map(|places| Self { places: places.to_vec(), again: false }).collect()
    }
}

/// Calls that failed one after the other. Those that were under way together met the same moment, and count as one.
#[derive(Default)]
struct Row {
    failed: u32,
    /// Calls that have been begun, which numbers them.
    begun: u64,
    /// How many had been when one failed last that counts.
    counted: u64,
    since: Option<tokio::time::Instant>,
}

/// What a call that failed means for what it asked for.
enum Next {
    /// They are asked for again, after the others.
    Parts(Vec<Part>),
    Failed(Fault),
    /// Nor is anything else asked for.
    Stop(Fault),
}

impl Row {
    fn pause(&self) -> Duration {
        PAUSE.saturating_mul(1 << self.failed.saturating_sub(1).min(8)).min(PAUSE_MAX)
    }

    /// Numbers the next call.
    fn begin(&mut self) -> u64 {
        self.begun += 1;
        self.begun
    }

    /// Returns how many calls may be under way at once: while they fail, one that finds out.
    fn at_once(&self, most: usize) -> usize {
        if self.failed == 0 { most } else { 1 }
    }

    fn after(&mut self, part: &Part, number: u64, fault: Fault, is_remote: bool) -> Next {
        // Who asks for patience, or does not know us, need not be asked again.
        if matches!(fault.kind, FaultKind::Throttled { .. } | FaultKind::Fatal) {
            return Next::Stop(fault);
        }
        if number > self.counted {
            (self.failed, self.counted) = (self.failed + 1, self.begun);
        }
        let since = *self.since.get_or_insert_with(tokio::time::Instant::now);
        let is_alone = part.places.len() == 1;
        let is_over = self.failed >= IN_A_ROW_MAX || since.elapsed() >= PATIENCE;
        let is_worth_it = fault.kind == FaultKind::Transient && fault.code != FaultCode::Timeout;
        if !is_remote || planted(Bug::LookNotCut) {
            Next::Failed(fault)
        } else if is_over && !is_alone {
            Next::Stop(Fault { kind: FaultKind::Throttled { retry_after: None }, ..fault })
        } else if is_worth_it && !part.again && !is_over {
            Next::Parts(vec![Part { places: part.places.clone(), again: true }])
        } else if !is_alone && fault.code != FaultCode::Timeout {
            Next::Parts(part.quarters())
        } else {
            Next::Failed(fault)
        }
    }
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
    let attempts: Vec<u32> = parcels.iter().map(|parcel| parcel.job.attempts).collect();
    let mut looked = Vec::with_capacity(parcels.len());
    for (parcel, found) in parcels.into_iter().zip(each(ctx, side, (&asked, &attempts), call).await) {
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
