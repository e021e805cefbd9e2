//! Delivers one direction of a link: lease → look → plan → gate → destination → settle.
//!
//! Invariant: what goes out is computed from the pair as it is at that moment, so that an older
//! intent never overtakes a newer one; and every delivery of a batch gets exactly one outcome.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::inline::{delivery, observe_there};
use super::link::{LinkContext, along, at, lock};
use super::page::{Before, Entry, decide, image_text, job_for, shift, storage};
use super::push;
use crate::connectors::{Batch, Call, Class, Delivery, Outcome, Wanted};
use crate::engine::fault::{Fault, FaultCode, FaultKind};
use crate::engine::job::{self, Ended, Job, JobError, JobNext, JobState, Origin};
use crate::engine::plan::{Action, Occasion, Pair, Projector, Seen, Status, Written, delivered};
use crate::engine::record::{Direction, Image, Side};
use crate::store::{Commit, LeaseRequest, Leased, NewJob, Settlement, StoreError, Transition};

/// How long a claim holds; a call times out long before.
const LEASE: Duration = Duration::from_secs(300);
/// How long a direction rests after a fault that only a person can mend.
const FATAL_REST: Duration = Duration::from_secs(15);
/// How long a direction rests at most because a server asked for patience; then it asks again.
const REST_MAX: Duration = Duration::from_secs(60);
/// How often a settlement is made again because its pair moved on.
const ROUNDS_MAX: usize = 16;
/// A worker looks at the queue this often although nobody called it.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// One job on its way out.
struct Parcel {
    job: Job,
    entry: Entry,
    action: Action,
    /// The source as it looked when the action was made.
    made_from: Option<Image>,
}

/// The end of one lease.
struct Ending {
    settlement: Settlement,
    before: Before,
    /// What a closer look brought up for the other direction.
    other: Option<NewJob>,
    /// The conflict that stands for the other direction is none any more.
    other_is_over: bool,
}

/// Works until the link stops.
pub async fn run(ctx: Arc<LinkContext>, direction: Direction) {
    loop {
        let rest = tokio::select! {
            () = ctx.stop.cancelled() => return,
            rest = next(&ctx, direction) => rest,
        };
        if rest.is_zero() {
            // What has been claimed is carried to its end also while the link stops: a call that is
            // under way is never dropped.
            match work(&ctx, direction).await {
                Ok(None) => continue,
                Ok(Some(rest)) => pause(&ctx, rest).await,
                Err(fault) => {
                    ctx.trouble_writing(direction, Some(fault.to_string()));
                    tracing::error!(event = "worker.failed", customer = %ctx.customer, link = %ctx.name,
                        direction = direction.as_str(), error = %fault, "the queue can't be worked on");
                    pause(&ctx, FATAL_REST).await;
                }
            }
            continue;
        }
        tokio::select! {
            () = ctx.stop.cancelled() => return,
            () = tokio::time::sleep(rest) => {}
            () = along(&ctx.due, direction).notified() => {}
        }
    }
}

async fn pause(ctx: &LinkContext, rest: Duration) {
    tokio::select! {
        () = ctx.stop.cancelled() => {}
        () = tokio::time::sleep(rest) => {}
    }
}

/// Says how long there is nothing to do: zero where a batch is full or has waited long enough.
async fn next(ctx: &LinkContext, direction: Direction) -> Duration {
    let tuning = *ctx.end(direction.to()).tuning.load_full();
    let due = match ctx.store.next_due(ctx.id, direction).await {
        Ok(Some(due)) => due,
        Ok(None) | Err(_) => return LOOK_EVERY,
    };
    let now = ctx.now();
    let ready = due.plus(tuning.flush_interval);
    if ready <= now {
        return Duration::ZERO;
    }
    if due <= now
        && let Ok(depth) = ctx.store.depth(ctx.id).await
    {
        let depth = along(&depth, direction);
        if depth.pending >= tuning.batch_size as u64 {
            return Duration::ZERO;
        }
    }
    ready.since(now).clamp(Duration::from_millis(1), LOOK_EVERY)
}

/// Claims and delivers one batch. Gives how long to rest where the destination can't be written to.
async fn work(ctx: &LinkContext, direction: Direction) -> Result<Option<Duration>, Fault> {
    let guard = along(&ctx.delivery, direction).lock().await;
    let end = ctx.end(direction.to());
    let tuning = *end.tuning.load_full();
    let now = ctx.now();
    let request = LeaseRequest {
        direction,
        owner: format!("{}/{}/{}", ctx.customer, ctx.name, direction.as_str()),
        now,
        until: now.plus(LEASE),
        limit: tuning.batch_size.clamp(1, end.features.batch_max.max(1)),
    };
    let leased = ctx.store.lease(ctx.id, request).await.map_err(storage)?;
    if leased.is_empty() {
        return Ok(None);
    }
    let call = Call {
        class: if leased.iter().any(|leased| leased.job.priority > 0) {
            Class::Interactive
        } else {
            Class::Live
        },
        correlation_id: leased.first().map(|leased| leased.job.correlation_id.clone()).unwrap_or_default(),
    };
    let mut settlements = Vec::new();
    let mut parcels = Vec::with_capacity(leased.len());
    for leased in leased {
        match pack(ctx, direction, leased) {
            Ok(parcel) => parcels.push(parcel),
            Err(ending) => settlements.push(*ending),
        }
    }
    let looked = look_first(ctx, direction, parcels, &mut settlements, &call).await;
    let (outcomes, parcels) = match looked {
        Ok(parcels) => {
            let outcomes = send(ctx, direction, &parcels, &call).await;
            push_again(ctx, direction, parcels, outcomes, &mut settlements, &call).await
        }
        Err((fault, parcels)) => (parcels.iter().map(|_| Outcome::Failed(fault.clone())).collect(), parcels),
    };
    let mut rest = None;
    let mut projector = Projector::new(&ctx.rules, direction.to());
    let mut retold = Vec::new();
    for (parcel, outcome) in parcels.into_iter().zip(outcomes) {
        let (ending, again) = conclude(ctx, direction, parcel, outcome, &mut projector, &mut rest);
        retold.push(again);
        settlements.push(ending);
    }
    settle(ctx, direction, settlements, retold).await?;
    drop(guard);
    Ok(rest)
}

/// Plans a claimed job anew from its pair.
fn pack(ctx: &LinkContext, direction: Direction, leased: Leased) -> Result<Parcel, Box<Ending>> {
    let Leased { job, pair } = leased;
    let mut entry = Entry::new(pair.unwrap_or_else(|| Pair::new(job.key.clone())));
    if let Some(JobNext::Dead { error }) = job::exhausted(&job, &ctx.end(direction.to()).retry) {
        return Err(Box::new(exhausted(ctx, direction, &job, entry, error)));
    }
    if job.origin == Origin::Push {
        return match push::action(ctx, direction, &job, &entry.pair) {
            Ok(action) => Ok(Parcel { job, entry, action, made_from: None }),
            Err(error) => Err(Box::new(dead(&job, entry.before, error))),
        };
    }
    let action = plan(ctx, direction, &mut entry);
    let made_from = entry.pair.side(direction.from()).now().cloned();
    if action.is_write() {
        return Ok(Parcel { job, entry, action, made_from });
    }
    Err(Box::new(no_write(ctx, &job, entry, &action)))
}

/// The attempts were used up by processes that died in the middle of them.
fn exhausted(
    ctx: &LinkContext,
    direction: Direction,
    job: &Job,
    mut entry: Entry,
    error: JobError,
) -> Ending {
    tracing::error!(event = "job.dead", customer = %ctx.customer, link = %ctx.name,
        direction = direction.as_str(), key = %job.key, job_id = job.id, attempt = job.attempts,
        error = %error.message, "the attempts are used up");
    let pair = &mut entry.pair;
    let payload = job.payload.clone().or_else(|| pair.side(direction.from()).now().map(image_text));
    let way = pair.way_mut(direction);
    way.status = Status::Dead;
    way.attempts = job.attempts;
    way.error = Some(error.message.clone());
    ending(ctx, job, Transition::Dead { error, payload }, entry, false)
}

fn plan(ctx: &LinkContext, direction: Direction, entry: &mut Entry) -> Action {
    decide(ctx, entry, Occasion::Change, ctx.now());
    along(&entry.actions, direction).clone()
}

/// The job turns out to write nothing.
fn no_write(ctx: &LinkContext, job: &Job, entry: Entry, action: &Action) -> Ending {
    let pair = &entry.pair;
    let transition = match action {
        Action::Conflict(_) => {
            let message = pair.way(job.direction).error.clone().unwrap_or_default();
            Transition::Conflict { error: JobError { code: FaultCode::Conflict, message } }
        }
        Action::Invalid(_) => {
            let message = pair.way(job.direction).error.clone().unwrap_or_default();
            let payload = pair.side(job.direction.from()).now().map(image_text);
            Transition::Dead { error: JobError { code: FaultCode::Validation, message }, payload }
        }
        _ => Transition::Obsolete,
    };
    let forget = pair.a.now().is_none() && pair.b.now().is_none();
    ending(ctx, job, transition, entry, forget)
}

fn dead(job: &Job, before: Before, error: JobError) -> Ending {
    let transition = Transition::Dead { error, payload: job.payload.clone() };
    let settlement = Settlement { job_id: job.id, fence: fence(job), transition, pair: None, forget: false };
    Ending { settlement, before, other: None, other_is_over: false }
}

fn fence(job: &Job) -> u64 {
    job.lease.as_ref().map_or(0, |lease| lease.fence)
}

/// A pair that was never stored and that nothing was learnt of is not stored now either.
fn ending(ctx: &LinkContext, job: &Job, transition: Transition, entry: Entry, forget: bool) -> Ending {
    let arrived = matches!(transition, Transition::Synced | Transition::Again { .. });
    let forget = forget && job.origin == Origin::Sync;
    let told = job.origin == Origin::Sync && (entry.pair.version > 0 || (arrived && !forget));
    let forget = forget && told;
    let (other, other_is_over) =
        if told && !forget { for_the_other(ctx, job.direction, &entry) } else { (None, false) };
    let settlement = Settlement {
        job_id: job.id,
        fence: fence(job),
        transition,
        pair: told.then_some(entry.pair),
        forget,
    };
    Ending { settlement, before: entry.before, other, other_is_over }
}

/// What the pair, looked at more closely, means for the direction that this worker does not serve:
/// nobody else would notice, because the next poll shows nothing new.
fn for_the_other(ctx: &LinkContext, direction: Direction, entry: &Entry) -> (Option<NewJob>, bool) {
    let other = direction.to().outward();
    let had = along(&entry.before.status, other);
    if matches!(had, Status::Queued | Status::Retrying | Status::Waiting) {
        // A job stands there and finds out for itself.
        return (None, false);
    }
    let job = job_for(ctx, entry, other, ctx.now(), None).filter(|job| job.state != JobState::Conflict);
    let is_over = *had == Status::Conflict
        && job.is_none()
        && !matches!(along(&entry.actions, other), Action::Conflict(_));
    (job, is_over)
}

/// Reads the destination just before the write, one call for the batch, where it can't compare for
/// itself: what moved there meanwhile is planned again.
async fn look_first(
    ctx: &LinkContext,
    direction: Direction,
    parcels: Vec<Parcel>,
    settlements: &mut Vec<Ending>,
    call: &Call,
) -> Result<Vec<Parcel>, (Fault, Vec<Parcel>)> {
    let end = ctx.end(direction.to());
    if end.features.compare_and_set || parcels.is_empty() {
        return Ok(parcels);
    }
    let wanted: Vec<Wanted> = parcels
        .iter()
        .map(|parcel| Wanted {
            key: parcel.entry.pair.key.clone(),
            id: parcel.entry.pair.side(direction.to()).id.clone(),
        })
        .collect();
    let found = match end.destination.look_up(&wanted, call).await {
        Ok(found) if found.len() == wanted.len() => found,
        Ok(_) => {
            let fault = Fault::transient(FaultCode::Protocol, "the look-up gave another number of records");
            return Err((fault, parcels));
        }
        Err(fault) => return Err((fault, parcels)),
    };
    let mut projector = Projector::new(&ctx.rules, direction.to());
    let mut kept = Vec::with_capacity(parcels.len());
    for (mut parcel, found) in parcels.into_iter().zip(found) {
        observe_there(ctx, &mut parcel.entry.pair, direction.to(), found, &mut projector);
        if parcel.job.origin == Origin::Push {
            match push::action(ctx, direction, &parcel.job, &parcel.entry.pair) {
                Ok(action) => parcel.action = action,
                Err(error) => {
                    settlements.push(dead(&parcel.job, parcel.entry.before, error));
                    continue;
                }
            }
        } else {
            parcel.action = plan(ctx, direction, &mut parcel.entry);
            parcel.made_from = parcel.entry.pair.side(direction.from()).now().cloned();
        }
        if parcel.action.is_write() {
            kept.push(parcel);
        } else {
            settlements.push(no_write(ctx, &parcel.job, parcel.entry, &parcel.action));
        }
    }
    Ok(kept)
}

async fn send(ctx: &LinkContext, direction: Direction, parcels: &[Parcel], call: &Call) -> Vec<Outcome> {
    if parcels.is_empty() {
        return Vec::new();
    }
    let end = ctx.end(direction.to());
    let deliveries: Vec<Delivery> =
        parcels.iter().filter_map(|parcel| delivery(&parcel.entry.pair, direction, &parcel.action)).collect();
    let batch = Batch { shape: Arc::clone(ctx.rules.shape(direction.to())), deliveries };
    let failed = |fault: Fault| parcels.iter().map(|_| Outcome::Failed(fault.clone())).collect();
    match end.destination.write(&batch, call).await {
        Ok(outcomes) if outcomes.len() == parcels.len() => {
            ctx.trouble_writing(direction, None);
            outcomes
        }
        Ok(outcomes) => failed(
            Fault::transient(
                FaultCode::Protocol,
                format!("{} outcomes came back for {} deliveries", outcomes.len(), parcels.len()),
            )
            .and_may_have_happened(),
        ),
        Err(fault) => {
            ctx.trouble_writing(direction, Some(fault.to_string()));
            failed(fault)
        }
    }
}

/// Sends pushes anew whose destination looked otherwise than we knew: nothing that is stored tells
/// the next attempt more, so the same answer would come again.
async fn push_again(
    ctx: &LinkContext,
    direction: Direction,
    parcels: Vec<Parcel>,
    outcomes: Vec<Outcome>,
    settlements: &mut Vec<Ending>,
    call: &Call,
) -> (Vec<Outcome>, Vec<Parcel>) {
    let mut projector = Projector::new(&ctx.rules, direction.to());
    let (mut ended, mut sent) = ((Vec::new(), Vec::new()), (outcomes, parcels));
    for _ in 0..job::PLANNED_AGAIN_MAX {
        let mut moved = Vec::new();
        for (outcome, mut parcel) in sent.0.into_iter().zip(sent.1) {
            let Outcome::Stale(current) = outcome else {
                ended.0.push(outcome);
                ended.1.push(parcel);
                continue;
            };
            if parcel.job.origin != Origin::Push {
                ended.0.push(Outcome::Stale(current));
                ended.1.push(parcel);
                continue;
            }
            observe_there(ctx, &mut parcel.entry.pair, direction.to(), current, &mut projector);
            match push::action(ctx, direction, &parcel.job, &parcel.entry.pair) {
                Ok(action) if action.is_write() => moved.push(Parcel { action, ..parcel }),
                Ok(action) => settlements.push(no_write(ctx, &parcel.job, parcel.entry, &action)),
                Err(error) => settlements.push(dead(&parcel.job, parcel.entry.before, error)),
            }
        }
        sent = (send(ctx, direction, &moved, call).await, moved);
        if sent.1.is_empty() {
            break;
        }
    }
    ended.0.extend(sent.0);
    ended.1.extend(sent.1);
    ended
}

/// What is needed to settle a delivery again on a pair that moved on meanwhile.
struct Retold {
    job: Job,
    action: Action,
    made_from: Option<Image>,
    arrived: Option<Arrived>,
}

#[derive(Clone)]
struct Arrived {
    id: Option<crate::engine::record::RemoteId>,
    revision: Option<crate::engine::record::Revision>,
    stored: Option<Image>,
}

fn conclude(
    ctx: &LinkContext,
    direction: Direction,
    parcel: Parcel,
    outcome: Outcome,
    projector: &mut Projector,
    rest: &mut Option<Duration>,
) -> (Ending, Retold) {
    let Parcel { job, mut entry, action, made_from } = parcel;
    let mut retold = Retold { job: job.clone(), action, made_from, arrived: None };
    let ending = match outcome {
        Outcome::Delivered { id, revision, stored } => {
            let stored = stored.and_then(|record| projector.project(record).ok()).map(|record| record.image);
            retold.arrived = Some(Arrived { id, revision, stored });
            ctx.view.last_success.store(ctx.now().0, Ordering::Relaxed);
            tracing::info!(event = "job.delivered", customer = %ctx.customer, link = %ctx.name,
                direction = direction.as_str(), key = %job.key, job_id = job.id, attempt = job.attempts,
                correlation_id = %job.correlation_id, rules_version = ctx.rules.version, "delivered");
            arrived(ctx, direction, entry, &retold)
        }
        Outcome::Stale(current) => {
            let known = entry.pair.side(direction.to()).clone();
            observe_there(ctx, &mut entry.pair, direction.to(), current, projector);
            let is_news = *entry.pair.side(direction.to()) != known;
            let action = if job.origin == Origin::Sync {
                plan(ctx, direction, &mut entry)
            } else {
                retold.action.clone()
            };
            if !action.is_write() {
                no_write(ctx, &job, entry, &action)
            } else if is_news && job.origin == Origin::Sync {
                // The attempt told us something new, so it is given back; it can't go on for ever,
                // because each round needs another edit over there.
                ending_of(ctx, &job, Transition::Snoozed { due_at: ctx.now() }, entry)
            } else {
                let fault = Fault::transient(
                    FaultCode::Conflict,
                    "the destination says that the record moved, and shows it as we know it",
                );
                failed(ctx, direction, &job, entry, &fault, rest)
            }
        }
        Outcome::Failed(fault) => failed(ctx, direction, &job, entry, &fault, rest),
    };
    (ending, retold)
}

/// A confirmed write moves the base; what still differs is due again at once.
fn arrived(ctx: &LinkContext, direction: Direction, mut entry: Entry, retold: &Retold) -> Ending {
    let Some(arrived) = retold.arrived.clone() else {
        return ending_of(ctx, &retold.job, Transition::Snoozed { due_at: ctx.now() }, entry);
    };
    if retold.job.origin == Origin::Push {
        // The destination's own poll takes the change from there to the other side.
        at(&ctx.bells, direction.to()).notify_one();
        return ending_of(ctx, &retold.job, Transition::Synced, entry);
    }
    let now = ctx.now();
    delivered(
        &mut entry.pair,
        &ctx.rules,
        Written {
            direction,
            action: &retold.action,
            made_from: retold.made_from.as_ref(),
            id: arrived.id,
            revision: arrived.revision,
            stored: arrived.stored,
            compared: ctx.end(direction.to()).features.compare_and_set,
            epoch: ctx.epoch(direction.to()),
            now,
        },
    );
    let way = entry.pair.way_mut(direction);
    way.status = Status::Synced;
    way.synced_at = Some(now);
    way.attempts = retold.job.attempts;
    way.error = None;
    let transition = if plan(ctx, direction, &mut entry).is_write() {
        Transition::Again { due_at: now }
    } else {
        Transition::Synced
    };
    let forget = entry.forget;
    ending(ctx, &retold.job, transition, entry, forget)
}

fn ending_of(ctx: &LinkContext, job: &Job, transition: Transition, entry: Entry) -> Ending {
    ending(ctx, job, transition, entry, false)
}

fn failed(
    ctx: &LinkContext,
    direction: Direction,
    job: &Job,
    mut entry: Entry,
    fault: &Fault,
    rest: &mut Option<Duration>,
) -> Ending {
    let now = ctx.now();
    ctx.view.last_failure.store(now.0, Ordering::Relaxed);
    let end = ctx.end(direction.to());
    let next = job::settle(job, Ended::Failed(fault), &end.retry, now);
    let (transition, status, event) = match next {
        JobNext::Retrying { due_at, error } => {
            (Transition::Retrying { due_at, error }, Status::Retrying, "job.retrying")
        }
        JobNext::Snoozed { due_at } => {
            // The whole destination asks for patience: the other jobs wait as well.
            *rest = Some(due_at.since(now).min(REST_MAX).max(rest.unwrap_or_default()));
            (Transition::Snoozed { due_at }, Status::Queued, "job.snoozed")
        }
        JobNext::Dead { error } => {
            let image = entry.pair.side(direction.from()).now();
            let payload = job.payload.clone().or_else(|| image.map(image_text));
            (Transition::Dead { error, payload }, Status::Dead, "job.dead")
        }
        JobNext::PauseStream { due_at, .. } => {
            *rest = Some(FATAL_REST);
            (Transition::Snoozed { due_at: due_at.min(now.plus(FATAL_REST)) }, Status::Queued, "job.paused")
        }
        // Planning again is what the next lease does anyway.
        JobNext::Replan | JobNext::Synced => {
            (Transition::Snoozed { due_at: now }, Status::Queued, "job.planned_again")
        }
    };
    tracing::warn!(event, customer = %ctx.customer, link = %ctx.name, direction = direction.as_str(),
        key = %job.key, job_id = job.id, attempt = job.attempts, correlation_id = %job.correlation_id,
        error = %fault, "a delivery failed");
    let way = entry.pair.way_mut(direction);
    way.status = status;
    way.attempts = job.attempts;
    way.error = Some(fault.to_string());
    if fault.kind == FaultKind::Fatal {
        ctx.trouble_writing(direction, Some(fault.to_string()));
    }
    ending_of(ctx, job, transition, entry)
}

/// Stores the ends of the leases; a pair that moved on is read and told again.
async fn settle(
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
        let settlements = left.iter().map(|ending| ending.settlement.clone()).collect();
        let settled = ctx.store.settle(ctx.id, settlements, ctx.now()).await.map_err(storage)?;
        let (stale, ended): (Vec<Ending>, Vec<Ending>) =
            left.into_iter().partition(|ending| settled.stale.contains(&ending.settlement.job_id));
        let held: Vec<&Ending> =
            ended.iter().filter(|ending| !settled.lost.contains(&ending.settlement.job_id)).collect();
        held.iter().for_each(|ending| count(ctx, ending));
        let over = held.iter().filter(|ending| ending.other_is_over);
        let obsolete: Vec<_> = over
            .filter_map(|ending| ending.settlement.pair.as_ref())
            .map(|pair| (direction.to().outward(), pair.key.clone()))
            .collect();
        if !obsolete.is_empty() {
            let commit = Commit { obsolete, ..Commit::default() };
            ctx.store.commit(ctx.id, commit, ctx.now()).await.map_err(storage)?;
        }
        left = again(ctx, direction, stale, &retold).await.map_err(storage)?;
    }
    // Their leases run out and are rescued; nothing is lost, some work is done twice.
    Err(Fault::transient(FaultCode::Conflict, "pairs kept moving while their deliveries were settled"))
}

/// Makes the jobs of the other direction durable before the pairs say that they stand. Should the
/// settlement turn out stale, such a job finds nothing to do.
async fn tell_the_other(ctx: &LinkContext, direction: Direction, endings: &[Ending]) -> Result<(), Fault> {
    let jobs: Vec<NewJob> = endings.iter().filter_map(|ending| ending.other.clone()).collect();
    if jobs.is_empty() {
        return Ok(());
    }
    let commit = Commit { jobs, ..Commit::default() };
    ctx.store.commit(ctx.id, commit, ctx.now()).await.map_err(storage)?;
    along(&ctx.due, direction.to().outward()).notify_one();
    Ok(())
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
        let known = ctx.store.known(ctx.id, vec![key.clone()]).await?;
        let pair = known.into_iter().flatten().next().unwrap_or_else(|| {
            // Forgotten while the write was on its way: the source has deleted it, and what arrived
            // has to go again.
            let mut pair = Pair::new(key);
            pair.side_mut(direction.from()).seen = Seen::Deleted(None);
            pair
        });
        let told = retold.iter().find(|retold| retold.job.id == settlement.job_id);
        fresh.push(match told {
            Some(told) if told.arrived.is_some() => arrived(ctx, direction, Entry::new(pair), told),
            _ => {
                let transition = match settlement.transition {
                    Transition::Retrying { .. } | Transition::Dead { .. } => settlement.transition,
                    // Whatever was concluded, the pair is another now: look at it again.
                    _ => Transition::Snoozed { due_at: ctx.now() },
                };
                let settlement = Settlement { transition, pair: None, forget: false, ..settlement };
                Ending { settlement, before, other: None, other_is_over: false }
            }
        });
    }
    Ok(fresh)
}

/// Keeps the sums of present keys in step with what was settled.
fn count(ctx: &LinkContext, ending: &Ending) {
    let Some(pair) = &ending.settlement.pair else { return };
    if ending.settlement.forget {
        ctx.forget(&pair.key);
    }
    let [before_a, before_b] = ending.before.present;
    for (side, before) in [(Side::A, before_a), (Side::B, before_b)] {
        let now = !ending.settlement.forget && pair.side(side).now().is_some();
        shift(&mut lock(at(&ctx.presence, side)), before, now, &pair.key);
    }
}
