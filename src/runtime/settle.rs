//! Stores what became of a batch.

use std::time::Duration;

use super::arrival;
use super::link::{LinkContext, along, at, lock};
use super::meter::Outcomes;
use super::page::{Entry, storage};
use super::verdict::{Ending, Retold, arrived};
use super::wanted::sync_job;
use crate::engine::fault::{Fault, FaultCode};
use crate::engine::job::Origin;
use crate::engine::plan::{Pair, Seen, Status};
use crate::engine::record::{Direction, Key, Side};
use crate::planted::{Bug, planted};
use crate::store::{Commit, NewJob, Settlement, StoreError, Transition};

/// How often a settlement is made again because its pair moved on.
const ROUNDS_MAX: usize = 16;

/// Rests between attempts to store what is known already: half a minute together, a small part of a lease.
/// Whoever gives up leaves the jobs claimed, and nobody touches them until their leases run out.
const RESTS: [Duration; 6] = [
    Duration::from_millis(50),
    Duration::from_millis(200),
    Duration::from_secs(1),
    Duration::from_secs(4),
    Duration::from_secs(10),
    Duration::from_secs(15),
];

/// Stores the ends of the leases; a pair that moved on is read and told again.
pub(super) async fn settle(
    ctx: &LinkContext,
    direction: Direction,
    mut left: Vec<Ending>,
    retold: Vec<Retold>,
) -> Result<(), Fault> {
    for _ in 0..ROUNDS_MAX {
        if left.is_empty() {
            return Ok(());
        }
        tell_the_other(ctx, direction, &left).await?;
        // Before it is so: whoever finds a pair gone must find this as well.
        let gone = left.iter().filter(|ending| ending.settlement.forget);
        for pair in gone.filter_map(|ending| ending.settlement.pair.as_ref()) {
            ctx.forget(&pair.key);
        }
        let settlements = || left.iter().map(|ending| ending.settlement.clone()).collect();
        let settled = insist(ctx, || ctx.store.settle(ctx.id, settlements(), ctx.now())).await?;
        let (stale, ended): (Vec<Ending>, Vec<Ending>) =
            left.into_iter().partition(|ending| settled.stale.contains(&ending.settlement.job_id));
        let (lost, held): (Vec<Ending>, Vec<Ending>) =
            ended.into_iter().partition(|ending| settled.lost.contains(&ending.settlement.job_id));
        take_note(ctx, direction, &lost, &retold).await?;
        held.iter().for_each(|ending| count(ctx, ending));
        held.iter().for_each(|ending| ctx.unanswered.forget(&ending.settlement.answered));
        outcomes(direction, &held).count(ctx);
        let over = held.iter().filter(|ending| ending.other_is_over);
        let obsolete: Vec<_> = over
            .filter_map(|ending| ending.settlement.pair.as_ref())
            .map(|pair| (direction.to().outward(), pair.key.clone()))
            .collect();
        if !obsolete.is_empty() {
            let commit = || Commit { obsolete: obsolete.clone(), ..Commit::default() };
            insist(ctx, || ctx.store.commit(ctx.id, commit(), ctx.now())).await?;
        }
        left = again(ctx, direction, stale, &retold).await.map_err(storage)?;
    }
    // Their leases run out and are rescued; nothing is lost, some work is done twice.
    Err(Fault::transient(FaultCode::Conflict, "pairs kept moving while their deliveries were settled"))
}

/// Asks the store until it does it: a disk that is full or fails for a moment must not cost a lease.
async fn insist<T, F>(ctx: &LinkContext, mut call: impl FnMut() -> F) -> Result<T, Fault>
where
    F: Future<Output = Result<T, StoreError>>,
{
    for rest in RESTS {
        match call().await {
            Err(error @ (StoreError::Full(_) | StoreError::Io(_))) => {
                tracing::warn!(event = "settle.failed", customer = %ctx.customer, link = %ctx.name, error = %error,
                    "what became of a batch can't be stored yet");
            }
            done => return done.map_err(storage),
        }
        tokio::select! {
            biased;
            () = ctx.stop.cancelled() => break,
            () = tokio::time::sleep(rest) => {}
        }
    }
    call().await.map_err(storage)
}

/// Makes the jobs of the other direction durable before the pairs say that they stand. Should the
/// settlement turn out stale, such a job finds nothing to do.
async fn tell_the_other(ctx: &LinkContext, direction: Direction, endings: &[Ending]) -> Result<(), Fault> {
    let jobs: Vec<NewJob> = endings.iter().filter_map(|ending| ending.other.clone()).collect();
    if jobs.is_empty() {
        return Ok(());
    }
    let commit = || Commit { jobs: jobs.clone(), ..Commit::default() };
    insist(ctx, || ctx.store.commit(ctx.id, commit(), ctx.now())).await?;
    along(&ctx.due, direction.to().outward()).notify_one();
    Ok(())
}

/// Takes note of what arrived for jobs that are ours no more, cancelled or taken back meanwhile: the jobs stay
/// as they are, but who edits what we wrote must not seem to have edited what stood before.
async fn take_note(
    ctx: &LinkContext,
    direction: Direction,
    lost: &[Ending],
    retold: &[Retold],
) -> Result<(), Fault> {
    let told =
        lost.iter().filter_map(|lost| retold.iter().find(|told| told.job.id == lost.settlement.job_id));
    let (arrived, others): (Vec<&Retold>, Vec<&Retold>) = told.partition(|told| told.arrived.is_some());
    let answered: Vec<_> = others.iter().flat_map(|told| told.answered(ctx)).collect();
    if !answered.is_empty() {
        let commit = || Commit { answered: answered.clone(), ..Commit::default() };
        insist(ctx, || ctx.store.commit(ctx.id, commit(), ctx.now())).await?;
        ctx.unanswered.forget(&answered);
    }
    let planned = arrived.into_iter().filter(|told| told.job.origin.is_planned());
    for told in planned.filter(|_| !planted(Bug::LostUnnoted)) {
        for _ in 0..ROUNDS_MAX {
            let pair = now(ctx, direction, &told.job.key).await.map_err(storage)?;
            let Ending { settlement, before, other, .. } = answering(ctx, direction, pair, told);
            let Some(pair) = &settlement.pair else { break };
            let answered = settlement.answered.clone();
            let mut commit = Commit { history: settlement.history.clone(), answered, ..Commit::default() };
            commit.jobs.extend(other);
            match settlement.transition {
                Transition::Synced => commit.obsolete.push((direction, pair.key.clone())),
                _ => commit.jobs.push(sync_job(ctx, direction, pair.key.clone(), ctx.now())),
            }
            if settlement.forget {
                ctx.forget(&pair.key);
                commit.forgotten.push((pair.key.clone(), pair.version));
            } else {
                commit.pairs.push(pair.clone());
            }
            let stored = insist(ctx, || ctx.store.commit(ctx.id, commit.clone(), ctx.now())).await?;
            if stored.stale.is_empty() {
                ctx.unanswered.forget(&settlement.answered);
                count(ctx, &Ending { settlement, before, other: None, other_is_over: false, looked: None });
                ctx.due.iter().for_each(tokio::sync::Notify::notify_one);
                break;
            }
        }
    }
    Ok(())
}

/// Tells what arrived on the pair as it is now, and that this answers it.
fn answering(ctx: &LinkContext, direction: Direction, pair: Pair, told: &Retold) -> Ending {
    let mut entry = Entry::new(pair);
    arrival::look_again(&mut entry.pair, direction.to(), &told.there);
    let mut ending = arrived(ctx, direction, entry, told);
    ending.settlement.answered.extend(told.answered(ctx));
    ending
}

/// Reads a pair as it stands. One that was forgotten while its write was on its way was deleted at its source,
/// and what arrived has to go again.
async fn now(ctx: &LinkContext, direction: Direction, key: &Key) -> Result<Pair, StoreError> {
    let known = ctx.store.known(ctx.id, vec![key.clone()]).await?;
    Ok(known.into_iter().flatten().next().unwrap_or_else(|| {
        let mut pair = Pair::new(key.clone());
        pair.side_mut(direction.from()).seen = Seen::Deleted(None);
        pair
    }))
}

/// Tells settlements again on the pairs as they are now.
async fn again(
    ctx: &LinkContext,
    direction: Direction,
    stale: Vec<Ending>,
    retold: &[Retold],
) -> Result<Vec<Ending>, StoreError> {
    let mut fresh = Vec::with_capacity(stale.len());
    for Ending { settlement, before, .. } in stale {
        let Some(key) = settlement.pair.as_ref().map(|pair| pair.key.clone()) else { continue };
        let pair = now(ctx, direction, &key).await?;
        let told = retold.iter().find(|retold| retold.job.id == settlement.job_id);
        fresh.push(match told {
            Some(told) if told.arrived.is_some() => answering(ctx, direction, pair, told),
            told => {
                let stands = match settlement.transition {
                    Transition::Retrying { .. } => true,
                    // What the destination refused is refused. What somebody asked for may be there by now, and
                    // the planner, who wants it since, does not ask again.
                    Transition::Dead { .. } => told.is_some_and(|told| told.job.origin != Origin::Asked),
                    _ => false,
                };
                // Whatever else was concluded, the pair is another now: look at it again.
                let again = Transition::Snoozed { due_at: ctx.now() };
                let transition = if stands { settlement.transition } else { again };
                let history = match transition {
                    Transition::Snoozed { .. } => Vec::new(),
                    _ => settlement.history,
                };
                // What a look has taught is not stored: it has to look again.
                let answered = told.map(|told| told.answered(ctx)).unwrap_or_default();
                let settlement =
                    Settlement { transition, pair: None, forget: false, history, answered, ..settlement };
                Ending { settlement, before, other: None, other_is_over: false, looked: None }
            }
        });
    }
    Ok(fresh)
}

/// What the metrics count of ends that are stored.
fn outcomes(direction: Direction, held: &[Ending]) -> Outcomes {
    let mut outcomes = Outcomes::default();
    for ending in held {
        let had = *along(&ending.before.status, direction);
        let status = ending.settlement.pair.as_ref().map(|pair| pair.way(direction).status);
        match ending.settlement.transition {
            Transition::Synced | Transition::Again { .. } => outcomes.note(direction, Status::Synced),
            Transition::Retrying { .. } => outcomes.note(direction, Status::Retrying),
            Transition::Dead { .. } => outcomes.note(direction, Status::Dead),
            Transition::Conflict { .. } => outcomes.note(direction, Status::Conflict),
            Transition::Obsolete if status == Some(Status::SkippedByRule) && had != Status::SkippedByRule => {
                outcomes.note(direction, Status::SkippedByRule);
            }
            _ => {}
        }
    }
    outcomes
}

/// Keeps the sums of present keys in step with what was settled.
fn count(ctx: &LinkContext, ending: &Ending) {
    if planted(Bug::PresenceUncounted) {
        return;
    }
    let Some(pair) = &ending.settlement.pair else { return };
    let [before_a, before_b] = ending.before.present;
    for (side, before) in [(Side::A, before_a), (Side::B, before_b)] {
        let now = !ending.settlement.forget && pair.side(side).now().is_some();
        lock(at(&ctx.presence, side)).shift(before, now, &pair.key);
    }
}
