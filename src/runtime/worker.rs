//! Delivers one direction of a link: lease → look → plan → gate → destination → settle.
//!
//! Invariant: what goes out is computed from the pair as it is at that moment, so that an older
//! intent never overtakes a newer one; and every delivery of a batch gets exactly one outcome.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::inline::{delivery, observe_there};
use super::link::{LinkContext, along, at, lock};
use super::page::{image_text, shift, storage};
use super::push;
use crate::connectors::{Batch, Call, Class, Delivery, Outcome, Wanted};
use crate::engine::fault::{Fault, FaultCode, FaultKind};
use crate::engine::job::{self, Ended, Job, JobError, JobNext, Origin};
use crate::engine::plan::{Action, Occasion, Pair, Projector, Status, Written, delivered, mark, reconcile};
use crate::engine::record::{Direction, Image, Side};
use crate::store::{LeaseRequest, Leased, Settlement, StoreError, Transition};

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
    pair: Pair,
    action: Action,
    /// The source as it looked when the action was made.
    made_from: Option<Image>,
    /// On which sides the stored pair has a record.
    before: [bool; 2],
}

/// The end of one lease, with where the stored pair had a record before it.
struct Ending {
    settlement: Settlement,
    before: [bool; 2],
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
        Ok(parcels) => (send(ctx, direction, &parcels, &call).await, parcels),
        Err((fault, parcels)) => (parcels.iter().map(|_| Outcome::Failed(fault.clone())).collect(), parcels),
    };
    let mut rest = None;
    let mut projector = Projector::new(&ctx.rules, direction.to());
    let mut retold = Vec::new();
    for (parcel, outcome) in parcels.into_iter().zip(outcomes) {
        let before = parcel.before;
        let (settlement, again) = conclude(ctx, direction, parcel, outcome, &mut projector, &mut rest);
        retold.push(again);
        settlements.push(Ending { settlement, before });
    }
    settle(ctx, direction, settlements, retold).await?;
    drop(guard);
    Ok(rest)
}

/// Plans a claimed job anew from its pair.
fn pack(ctx: &LinkContext, direction: Direction, leased: Leased) -> Result<Parcel, Box<Ending>> {
    let Leased { job, pair } = leased;
    let mut pair = pair.unwrap_or_else(|| Pair::new(job.key.clone()));
    let before = present(&pair);
    if let Some(JobNext::Dead { error }) = job::exhausted(&job, &ctx.end(direction.to()).retry) {
        let settlement = exhausted(ctx, direction, &job, pair, error);
        return Err(Box::new(Ending { settlement, before }));
    }
    if job.origin == Origin::Push {
        return match push::action(ctx, direction, &job, &pair) {
            Ok(action) => Ok(Parcel { job, pair, action, made_from: None, before }),
            Err(error) => Err(Box::new(Ending { settlement: dead(&job, error), before })),
        };
    }
    let action = plan(ctx, direction, &mut pair);
    let made_from = pair.side(direction.from()).now().cloned();
    if action.is_write() {
        return Ok(Parcel { job, pair, action, made_from, before });
    }
    Err(Box::new(Ending { settlement: no_write(&job, pair, &action), before }))
}

/// The attempts were used up by processes that died in the middle of them.
fn exhausted(
    ctx: &LinkContext,
    direction: Direction,
    job: &Job,
    mut pair: Pair,
    error: JobError,
) -> Settlement {
    tracing::error!(event = "job.dead", customer = %ctx.customer, link = %ctx.name,
        direction = direction.as_str(), key = %job.key, job_id = job.id, attempt = job.attempts,
        error = %error.message, "the attempts are used up");
    let payload = job.payload.clone().or_else(|| pair.side(direction.from()).now().map(image_text));
    let way = pair.way_mut(direction);
    way.status = Status::Dead;
    way.attempts = job.attempts;
    way.error = Some(error.message.clone());
    settlement(job, Transition::Dead { error, payload }, pair, false)
}

fn present(pair: &Pair) -> [bool; 2] {
    [pair.a.now().is_some(), pair.b.now().is_some()]
}

fn plan(ctx: &LinkContext, direction: Direction, pair: &mut Pair) -> Action {
    let decision = reconcile(pair, &ctx.rules, Occasion::Change);
    mark(pair, &decision, &ctx.rules, ctx.now());
    decision.action(direction).clone()
}

/// The job turns out to write nothing.
fn no_write(job: &Job, pair: Pair, action: &Action) -> Settlement {
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
    settlement(job, transition, pair, forget)
}

fn dead(job: &Job, error: JobError) -> Settlement {
    let transition = Transition::Dead { error, payload: job.payload.clone() };
    Settlement { job_id: job.id, fence: fence(job), transition, pair: None, forget: false }
}

fn fence(job: &Job) -> u64 {
    job.lease.as_ref().map_or(0, |lease| lease.fence)
}

/// A pair that was never stored and that nothing was learnt of is not stored now either.
fn settlement(job: &Job, transition: Transition, pair: Pair, forget: bool) -> Settlement {
    let stored = pair.version > 0;
    Settlement {
        job_id: job.id,
        fence: fence(job),
        transition,
        pair: (stored && job.origin == Origin::Sync).then_some(pair),
        forget: forget && stored && job.origin == Origin::Sync,
    }
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
            key: parcel.pair.key.clone(),
            id: parcel.pair.side(direction.to()).id.clone(),
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
        observe_there(ctx, &mut parcel.pair, direction.to(), found, &mut projector);
        if parcel.job.origin == Origin::Push {
            match push::action(ctx, direction, &parcel.job, &parcel.pair) {
                Ok(action) => parcel.action = action,
                Err(error) => {
                    let settlement = dead(&parcel.job, error);
                    settlements.push(Ending { settlement, before: parcel.before });
                    continue;
                }
            }
        } else {
            parcel.action = plan(ctx, direction, &mut parcel.pair);
            parcel.made_from = parcel.pair.side(direction.from()).now().cloned();
        }
        if parcel.action.is_write() {
            kept.push(parcel);
        } else {
            let settlement = no_write(&parcel.job, parcel.pair, &parcel.action);
            settlements.push(Ending { settlement, before: parcel.before });
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
        parcels.iter().filter_map(|parcel| delivery(&parcel.pair, direction, &parcel.action)).collect();
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
) -> (Settlement, Retold) {
    let Parcel { job, mut pair, action, made_from, .. } = parcel;
    let mut retold = Retold { job: job.clone(), action, made_from, arrived: None };
    let settlement = match outcome {
        Outcome::Delivered { id, revision, stored } => {
            let stored = stored.and_then(|record| projector.project(record).ok()).map(|record| record.image);
            retold.arrived = Some(Arrived { id, revision, stored });
            ctx.view.last_success.store(ctx.now().0, Ordering::Relaxed);
            tracing::info!(event = "job.delivered", customer = %ctx.customer, link = %ctx.name,
                direction = direction.as_str(), key = %job.key, job_id = job.id, attempt = job.attempts,
                correlation_id = %job.correlation_id, rules_version = ctx.rules.version, "delivered");
            arrived(ctx, direction, pair, &retold)
        }
        Outcome::Stale(current) => {
            observe_there(ctx, &mut pair, direction.to(), current, projector);
            let action = plan(ctx, direction, &mut pair);
            if job.origin == Origin::Sync && !action.is_write() {
                no_write(&job, pair, &action)
            } else {
                // The attempt told us something new, so it is given back; it can't go on for ever,
                // because each round needs another edit over there.
                settlement(&job, Transition::Snoozed { due_at: ctx.now() }, pair, false)
            }
        }
        Outcome::Failed(fault) => failed(ctx, direction, &job, pair, &fault, rest),
    };
    (settlement, retold)
}

/// A confirmed write moves the base; what still differs is due again at once.
fn arrived(ctx: &LinkContext, direction: Direction, mut pair: Pair, retold: &Retold) -> Settlement {
    let Some(arrived) = retold.arrived.clone() else {
        return settlement(&retold.job, Transition::Snoozed { due_at: ctx.now() }, pair, false);
    };
    if retold.job.origin == Origin::Push {
        // The destination's own poll takes the change from there to the other side.
        at(&ctx.bells, direction.to()).notify_one();
        return Settlement {
            job_id: retold.job.id,
            fence: fence(&retold.job),
            transition: Transition::Synced,
            pair: None,
            forget: false,
        };
    }
    let now = ctx.now();
    delivered(
        &mut pair,
        &ctx.rules,
        Written {
            direction,
            action: &retold.action,
            made_from: retold.made_from.as_ref(),
            id: arrived.id,
            revision: arrived.revision,
            stored: arrived.stored,
            epoch: ctx.epoch(direction.to()),
            now,
        },
    );
    let way = pair.way_mut(direction);
    way.status = Status::Synced;
    way.synced_at = Some(now);
    way.attempts = retold.job.attempts;
    way.error = None;
    let decision = reconcile(&mut pair, &ctx.rules, Occasion::Change);
    mark(&mut pair, &decision, &ctx.rules, now);
    let transition = if decision.action(direction).is_write() {
        Transition::Again { due_at: now }
    } else {
        Transition::Synced
    };
    settlement(&retold.job, transition, pair, decision.forget)
}

fn failed(
    ctx: &LinkContext,
    direction: Direction,
    job: &Job,
    mut pair: Pair,
    fault: &Fault,
    rest: &mut Option<Duration>,
) -> Settlement {
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
            let payload = job.payload.clone().or_else(|| pair.side(direction.from()).now().map(image_text));
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
    let way = pair.way_mut(direction);
    way.status = status;
    way.attempts = job.attempts;
    way.error = Some(fault.to_string());
    if fault.kind == FaultKind::Fatal {
        ctx.trouble_writing(direction, Some(fault.to_string()));
    }
    settlement(job, transition, pair, false)
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
        let settlements = left.iter().map(|ending| ending.settlement.clone()).collect();
        let settled = ctx.store.settle(ctx.id, settlements, ctx.now()).await.map_err(storage)?;
        let (stale, ended): (Vec<Ending>, Vec<Ending>) =
            left.into_iter().partition(|ending| settled.stale.contains(&ending.settlement.job_id));
        let held = ended.iter().filter(|ending| !settled.lost.contains(&ending.settlement.job_id));
        held.for_each(|ending| count(ctx, ending));
        left = again(ctx, direction, stale, &retold).await.map_err(storage)?;
    }
    // Their leases run out and are rescued; nothing is lost, some work is done twice.
    Err(Fault::transient(FaultCode::Conflict, "pairs kept moving while their deliveries were settled"))
}

/// Tells settlements again on the pairs as they are now.
async fn again(
    ctx: &LinkContext,
    direction: Direction,
    stale: Vec<Ending>,
    retold: &[Retold],
) -> Result<Vec<Ending>, StoreError> {
    let mut fresh = Vec::with_capacity(stale.len());
    for Ending { settlement, before } in stale {
        let Some(key) = settlement.pair.as_ref().map(|pair| pair.key.clone()) else { continue };
        let known = ctx.store.known(ctx.id, vec![key.clone()]).await?;
        let pair = known.into_iter().flatten().next().unwrap_or_else(|| Pair::new(key));
        let told = retold.iter().find(|retold| retold.job.id == settlement.job_id);
        fresh.push(match told {
            Some(told) if told.arrived.is_some() => {
                let before = present(&pair);
                Ending { settlement: arrived(ctx, direction, pair, told), before }
            }
            _ => {
                let transition = match settlement.transition {
                    Transition::Retrying { .. } | Transition::Dead { .. } => settlement.transition,
                    // Whatever was concluded, the pair is another now: look at it again.
                    _ => Transition::Snoozed { due_at: ctx.now() },
                };
                let settlement = Settlement { transition, pair: None, forget: false, ..settlement };
                Ending { settlement, before }
            }
        });
    }
    Ok(fresh)
}

/// Keeps the sums of present keys in step with what was settled.
fn count(ctx: &LinkContext, ending: &Ending) {
    let Some(pair) = &ending.settlement.pair else { return };
    let [before_a, before_b] = ending.before;
    for (side, before) in [(Side::A, before_a), (Side::B, before_b)] {
        let now = !ending.settlement.forget && pair.side(side).now().is_some();
        shift(&mut lock(at(&ctx.presence, side)), before, now, &pair.key);
    }
}
