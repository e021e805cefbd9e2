//! Delivers one direction of a link: lease → look → plan → gate → destination → settle.
//!
//! Invariant: what goes out is computed from the pair as it is at that moment, so that an older
//! intent never overtakes a newer one; and every delivery of a batch gets exactly one outcome.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::asked;
use super::claims::Claims;
use super::doubt::{self, is_in_doubt};
use super::inline::observe_there;
use super::link::{LinkContext, along, at};
use super::look;
use super::meter;
use super::page::{Entry, storage};
use super::push;
use super::revive;
use super::send::{Claimed, send};
use super::settle::settle;
use super::verdict::{
    Ending, FATAL_REST, Parcel, Retold, conclude, dead, exhausted, fence, handed_back, log_put_off, no_write,
    plan,
};
use crate::connectors::{Call, Class, Outcome, Wanted};
use crate::engine::fault::Fault;
use crate::engine::job::{self, JobNext, Origin};
use crate::engine::plan::sent::Going;
use crate::engine::plan::{Action, Pair, Projector};
use crate::engine::record::{Direction, Key};
use crate::planted::{Bug, planted};
use crate::store::{LeaseRequest, Leased, Settlement, Transition};

/// A worker looks at the queue this often although nobody called it.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// Ends of a batch that are stored in one transaction: those of a backlog are kept in memory for no longer.
const SETTLED_AT_ONCE: usize = 1_000;
/// When to come back to a record whose other side is being written.
const PUT_OFF: Duration = Duration::from_millis(50);

/// Works until the link stops.
pub async fn run(ctx: Arc<LinkContext>, direction: Direction) {
    loop {
        let rest = tokio::select! {
            biased;
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
            biased;
            () = ctx.stop.cancelled() => return,
            () = tokio::time::sleep(rest) => {}
            () = along(&ctx.due, direction).notified() => {}
        }
    }
}

async fn pause(ctx: &LinkContext, rest: Duration) {
    tokio::select! {
        biased;
        () = ctx.stop.cancelled() => {}
        () = tokio::time::sleep(rest) => {}
    }
}

/// Says how long there is nothing to do: zero where a batch is full or has waited long enough.
async fn next(ctx: &LinkContext, direction: Direction) -> Duration {
    if ctx.fuses.is_held(direction) {
        return LOOK_EVERY;
    }
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
    let now = ctx.now();
    let request = LeaseRequest {
        direction,
        owner: format!("{}/{}/{}", ctx.customer, ctx.name, direction.as_str()),
        now,
        until: now.plus(ctx.lease),
        limit: batch_limit(ctx, direction).await,
    };
    let freed = ctx.busy.freed();
    let leased = ctx.store.lease(ctx.id, request).await.map_err(storage)?;
    if leased.is_empty() {
        return Ok(None);
    }
    let mut rest = None;
    let call = Call {
        class: if leased.iter().any(|leased| leased.job.priority > 0) {
            Class::Interactive
        } else {
            Class::Live
        },
        correlation_id: asked::correlation(&leased),
        link: Some(ctx.name.as_str().into()),
        stop: ctx.stop.clone(),
    };
    let (hold, leased, others) = ctx.busy.hold(leased);
    let claims = Claims::of(&leased, now);
    let mut settlements: Vec<Ending> = others.into_iter().map(|leased| put_off(ctx, leased)).collect();
    if !planted(Bug::PutOffLate) {
        // Nobody renews the claims on what is left alone, and it is due long before this batch is through.
        settle(ctx, direction, std::mem::take(&mut settlements), Vec::new()).await?;
    }
    let (guard, leased) = if leased.iter().any(|leased| leased.job.origin == Origin::Asked) {
        drop(guard);
        let look = async {
            let leased = asked::look(ctx, direction, leased, &mut settlements, &call).await;
            let guard = along(&ctx.delivery, direction).lock().await;
            Ok::<_, Fault>((guard, asked::refresh(ctx, leased).await?))
        };
        claims.keep(ctx, look).await?
    } else if ctx.busy.freed() != freed {
        // The other direction wrote something between the claim, which read the pairs, and the hold.
        (guard, asked::refresh(ctx, leased).await?)
    } else {
        (guard, leased)
    };
    let mut parcels = Vec::with_capacity(leased.len());
    for leased in leased {
        match pack(ctx, direction, leased) {
            Ok(parcel) => parcels.push(parcel),
            Err(ending) => settlements.push(*ending),
        }
    }
    let is_pushed = parcels.iter().any(|parcel| parcel.job.origin == Origin::Push);
    let pushed = |count| at(&ctx.pushed, direction.to()).fetch_add(count, Ordering::AcqRel);
    pushed(u64::from(is_pushed));
    let began = tokio::time::Instant::now();
    let tried = claims.keep(ctx, deliver(ctx, direction, parcels, &claims, &mut settlements, &call)).await;
    pushed(u64::from(is_pushed));
    let took = began.elapsed();
    if !tried.is_empty() {
        meter::attempted(ctx, direction, took);
    }
    for ending in &mut settlements {
        // A look has told what became of what went out before.
        let answered = match &ending.looked {
            Some(key) => Direction::BOTH.iter().flat_map(|&way| ctx.unanswered.by(key, way)).collect(),
            None => ended(ending).map(|key| ctx.unanswered.by(key, direction)).unwrap_or_default(),
        };
        ending.settlement.answered.extend(answered);
    }
    let mut projector = Projector::new(&ctx.rules, direction.to());
    let mut retold = Vec::new();
    for Tried { parcel, outcome, went_out, epoch } in tried {
        // What somebody pushes says nothing of what the planner has sent.
        let is_answer = went_out && parcel.job.origin.is_planned() && !outcome.may_have_happened();
        let (mut ending, mut again) =
            conclude(ctx, direction, parcel, (outcome, epoch, took), &mut projector, &mut rest);
        again.is_answer = is_answer;
        ending.settlement.answered.extend(again.answered(ctx));
        retold.push(again);
        settlements.push(ending);
        if settlements.len() >= SETTLED_AT_ONCE {
            end(ctx, &call, direction, std::mem::take(&mut settlements), std::mem::take(&mut retold)).await?;
        }
    }
    end(ctx, &call, direction, settlements, retold).await?;
    drop(hold);
    drop(guard);
    Ok(rest)
}

/// Tells of and stores what became of some of a batch.
async fn end(
    ctx: &LinkContext,
    call: &Call,
    direction: Direction,
    endings: Vec<Ending>,
    retold: Vec<Retold>,
) -> Result<(), Fault> {
    log_put_off(ctx, direction, &endings, &call.correlation_id);
    settle(ctx, direction, endings, retold).await
}

/// Says how many jobs to claim: a batch for each call that may be under way, or far more of a backlog where the
/// destination is better off with that.
async fn batch_limit(ctx: &LinkContext, direction: Direction) -> usize {
    let end = ctx.end(direction.to());
    if let Some(bulk) = end.features.bulk
        && let Ok(depth) = ctx.store.depth(ctx.id).await
        && along(&depth, direction).pending + along(&depth, direction).retrying >= bulk.from as u64
    {
        return bulk.max;
    }
    end.claim_limit()
}

/// Leaves a job alone for a moment, at no cost: the other side of its pair is being written.
fn put_off(ctx: &LinkContext, Leased { job, pair }: Leased) -> Ending {
    let before = Entry::new(pair.unwrap_or_else(|| Pair::new(job.key.clone()))).before;
    let settlement = Settlement {
        job_id: job.id,
        fence: fence(&job),
        transition: Transition::Snoozed { due_at: ctx.now().plus(PUT_OFF) },
        pair: None,
        forget: false,
        history: Vec::new(),
        reason: None,
        answered: Vec::new(),
    };
    Ending { settlement, before, other: None, other_is_over: false, looked: None }
}

/// What became of a parcel.
struct Tried {
    parcel: Parcel,
    outcome: Outcome,
    /// It was sent; else something before that has failed.
    went_out: bool,
    /// The scan of the destination that had begun by then.
    epoch: u32,
}

/// Gives the key of what ended with a look at where it goes to: nothing that went out there before is open any more.
fn ended(ending: &Ending) -> Option<&Key> {
    let is_over = matches!(ending.settlement.transition, Transition::Obsolete | Transition::Conflict { .. });
    ending.settlement.pair.as_ref().filter(|_| is_over).map(|pair| &pair.key)
}

/// Delivers parcels; pushes whose destination looked otherwise than we knew once more, because nothing that is
/// stored tells the next attempt more, and the same answer would come again.
async fn deliver(
    ctx: &LinkContext,
    direction: Direction,
    mut parcels: Vec<Parcel>,
    claims: &Claims,
    settlements: &mut Vec<Ending>,
    call: &Call,
) -> Vec<Tried> {
    let mut ended = Vec::with_capacity(parcels.len());
    let mut projector = Projector::new(&ctx.rules, direction.to());
    for round in 0..=job::PLANNED_AGAIN_MAX {
        let sent =
            deliver_once(ctx, direction, std::mem::take(&mut parcels), claims, settlements, call).await;
        for Tried { parcel, outcome, went_out, epoch } in sent {
            match outcome {
                Outcome::Stale(current)
                    if parcel.job.origin == Origin::Push && round < job::PLANNED_AGAIN_MAX =>
                {
                    match push::anew(ctx, parcel, (current, epoch), &mut projector) {
                        Ok(parcel) => parcels.push(parcel),
                        Err(ending) => settlements.push(*ending),
                    }
                }
                outcome => ended.push(Tried { parcel, outcome, went_out, epoch }),
            }
        }
        if parcels.is_empty() {
            break;
        }
    }
    ended
}

/// Looks, and sends what is still to be written.
async fn deliver_once(
    ctx: &LinkContext,
    direction: Direction,
    parcels: Vec<Parcel>,
    claims: &Claims,
    settlements: &mut Vec<Ending>,
    call: &Call,
) -> Vec<Tried> {
    let (parcels, mut tried) = look_first(ctx, direction, parcels, settlements, call).await;
    let parcels = doubt::resolve(ctx, direction, parcels, settlements, call).await;
    let parcels = revive::check(ctx, direction, parcels, settlements, call).await;
    let parcels = claims.held(ctx, parcels).await;
    let planned = parcels.iter().filter(|parcel| parcel.job.origin.is_planned());
    let writes = planned.map(|parcel| {
        let Entry { pair, before, .. } = &parcel.entry;
        Going {
            key: &pair.key,
            id: pair.side(direction.from()).id.as_ref(),
            made_from: parcel.made_from.as_ref(),
            is_known: *at(&before.present, direction.from()),
            action: &parcel.action,
        }
    });
    match ctx.remember(direction, writes).await {
        Ok(sent) => sent.iter().for_each(|sent| ctx.keep_in_mind(sent)),
        Err(fault) => {
            // What is not remembered does not go out: nothing was tried, and nothing is counted.
            ctx.trouble_writing(direction, Some(fault.to_string()));
            let back = parcels.into_iter().map(|parcel| handed_back(ctx, &parcel.job, parcel.entry));
            settlements.extend(back);
            return tried;
        }
    }
    let claimed = Claimed { direction, parcels: &parcels, claims };
    let epoch = ctx.epoch(direction.to());
    let outcomes = send(ctx, direction, &claimed, call).await;
    let sent = parcels.into_iter().zip(outcomes);
    tried.extend(sent.map(|(parcel, outcome)| Tried { parcel, outcome, went_out: true, epoch }));
    tried
}

/// Plans a claimed job anew from its pair.
fn pack(ctx: &LinkContext, direction: Direction, leased: Leased) -> Result<Parcel, Box<Ending>> {
    let Leased { mut job, pair } = leased;
    let mut entry = Entry::new(pair.unwrap_or_else(|| Pair::new(job.key.clone())));
    if let Some(JobNext::Dead { error }) = job::exhausted(&job, &ctx.end(direction.to()).retry) {
        return Err(Box::new(exhausted(ctx, direction, &job, entry, error)));
    }
    if job.origin == Origin::Push {
        // Also where there seems to be nothing to write: what is stored is no proof of how the destination looks.
        return push::parcel(ctx, job, entry);
    }
    if job.origin == Origin::Sync {
        // What a dead letter carried is of no use any more; with it the job would seem to go ahead of a push.
        job.payload = None;
    }
    let action = plan(ctx, direction, &mut entry);
    let made_from = entry.pair.side(direction.from()).now().cloned();
    // What was asked for, and what may have been written, is looked at where it goes to, too, before anybody is
    // told that nothing is to be done.
    if action.is_write() || job.origin == Origin::Asked || is_in_doubt(ctx, &job) {
        return Ok(Parcel { job, entry, action, made_from });
    }
    Err(Box::new(no_write(ctx, &job, entry, &action)))
}

/// Reads the destination just before the write where it can't compare for itself or where nothing seems to be left to
/// write: what moved there meanwhile is planned again. Gives what is to be sent, and what could not be looked at.
async fn look_first(
    ctx: &LinkContext,
    direction: Direction,
    parcels: Vec<Parcel>,
    settlements: &mut Vec<Ending>,
    call: &Call,
) -> (Vec<Parcel>, Vec<Tried>) {
    let end = ctx.end(direction.to());
    let compares = end.features.compare_and_set;
    let (mut kept, parcels): (Vec<Parcel>, Vec<Parcel>) = parcels.into_iter().partition(|parcel| {
        let creates = matches!(parcel.action, Action::Create(_));
        let unlooked = planted(Bug::WritesUnlooked) || planted(Bug::CreatesUnlooked) && creates;
        let in_doubt = is_in_doubt(ctx, &parcel.job);
        (compares && !in_doubt || unlooked) && parcel.action.is_write()
    });
    let mut failed = Vec::new();
    let wanted: Vec<Wanted> =
        parcels.iter().map(|parcel| look::wanted(&parcel.entry.pair, direction.to())).collect();
    let attempts: Vec<u32> = parcels.iter().map(|parcel| parcel.job.attempts).collect();
    let epoch = ctx.epoch(direction.to());
    let found = look::each(ctx, direction.to(), (&wanted, &attempts), call).await;
    let mut projector = Projector::new(&ctx.rules, direction.to());
    for ((mut parcel, found), wanted) in parcels.into_iter().zip(found).zip(wanted) {
        let found = match found {
            Ok(found) => found,
            Err(fault) => {
                failed.push(Tried { parcel, outcome: Outcome::Failed(fault), went_out: false, epoch });
                continue;
            }
        };
        if parcel.action != Action::Delete
            && let Some(error) = look::taken(&wanted, found.as_ref(), &mut projector, &end.system_name)
        {
            settlements.push(dead(ctx, &parcel.job, parcel.entry.before, error));
            continue;
        }
        if parcel.job.origin == Origin::Push {
            match push::anew(ctx, parcel, (found, epoch), &mut projector) {
                Ok(parcel) => kept.push(parcel),
                Err(ending) => settlements.push(*ending),
            }
            continue;
        }
        observe_there(ctx, &mut parcel.entry.pair, (direction.to(), epoch), found, &mut projector);
        parcel.action = plan(ctx, direction, &mut parcel.entry);
        parcel.made_from = parcel.entry.pair.side(direction.from()).now().cloned();
        if parcel.action.is_write() || is_in_doubt(ctx, &parcel.job) {
            kept.push(parcel);
        } else {
            settlements.push(no_write(ctx, &parcel.job, parcel.entry, &parcel.action));
        }
    }
    (kept, failed)
}
