//! What became of one job: the pair as it stands after it, and where the job goes from here.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::arrival::{Arrived, arrive};
use super::asked;
use super::inline::observe_there;
use super::link::{LinkContext, along, at};
use super::meter::millis;
use super::page::{Before, Entry, decide};
use super::push;
use super::tell::{self, Answer, image_text};
use super::wanted::job_for;
use crate::connectors::Outcome;
use crate::engine::fault::{Fault, FaultCode};
use crate::engine::history::{Event, What};
use crate::engine::job::{self, Ended, Job, JobError, JobNext, JobState, Origin};
use crate::engine::plan::{Action, MadeFrom, Occasion, Projector, SideState, Status};
use crate::engine::record::{Direction, Image, Key, Side, Timestamp};
use crate::planted::{Bug, planted};
use crate::store::{Answered, NewJob, Settlement, Transition};

/// How long a direction rests after a fault that only a person can mend.
pub(super) const FATAL_REST: Duration = Duration::from_secs(15);
/// How long a direction rests at most because a server asked for patience; then it asks again.
const REST_MAX: Duration = Duration::from_secs(60);

/// One job on its way out.
pub(super) struct Parcel {
    pub(super) job: Job,
    pub(super) entry: Entry,
    pub(super) action: Action,
    /// The source as it looked when the action was made.
    pub(super) made_from: Option<Image>,
}

/// The end of one lease.
pub(super) struct Ending {
    pub(super) settlement: Settlement,
    pub(super) before: Before,
    /// What a closer look brought up for the other direction.
    pub(super) other: Option<NewJob>,
    /// The conflict that stands for the other direction is none any more.
    pub(super) other_is_over: bool,
    /// It tells no more than what looks at both sides of this record have shown.
    pub(super) looked: Option<Key>,
}

impl Ending {
    /// Says nothing of the pair: how it stands is not known better than before.
    pub(super) fn unlearnt(mut self) -> Self {
        (self.settlement.pair, self.settlement.forget, self.other) = (None, false, None);
        self.settlement.answered.clear();
        self.settlement.history.retain(|event| matches!(event.what, What::Failed(_) | What::Dead(_)));
        self
    }
}

pub(super) fn plan(ctx: &LinkContext, direction: Direction, entry: &mut Entry) -> Action {
    decide(ctx, entry, Occasion::Change, ctx.now());
    along(&entry.actions, direction).clone()
}

/// The attempts were used up by processes that died in the middle of them.
pub(super) fn exhausted(
    ctx: &LinkContext,
    direction: Direction,
    job: &Job,
    mut entry: Entry,
    error: JobError,
) -> Ending {
    log_dead(ctx, job, &error);
    let pair = &mut entry.pair;
    let payload = job.payload.clone().or_else(|| pair.side(direction.from()).now().map(image_text));
    let way = pair.way_mut(direction);
    way.status = Status::Dead;
    way.attempts = job.attempts;
    way.error = Some(error.message.clone());
    ending(ctx, job, Transition::Dead { error, payload }, entry, false)
}

/// The job turns out to write nothing.
pub(super) fn no_write(ctx: &LinkContext, job: &Job, entry: Entry, action: &Action) -> Ending {
    let pair = &entry.pair;
    let transition = match action {
        Action::Conflict(_) => {
            let message = pair.way(job.direction).error.clone().unwrap_or_default();
            Transition::Conflict { error: JobError { code: FaultCode::Conflict, message } }
        }
        Action::Invalid(_) => {
            let message = pair.way(job.direction).error.clone().unwrap_or_default();
            let error = JobError { code: FaultCode::Validation, message };
            log_dead(ctx, job, &error);
            Transition::Dead { error, payload: pair.side(job.direction.from()).now().map(image_text) }
        }
        action => asked::unmet(ctx, job, pair, action).map_or(Transition::Obsolete, |error| {
            log_dead(ctx, job, &error);
            Transition::Dead { error, payload: job.payload.clone() }
        }),
    };
    let forget = pair.a.now().is_none() && pair.b.now().is_none();
    ending(ctx, job, transition, entry, forget)
}

pub(super) fn dead(ctx: &LinkContext, job: &Job, before: Before, error: JobError) -> Ending {
    log_dead(ctx, job, &error);
    let transition = Transition::Dead { error, payload: job.payload.clone() };
    let history = tell::ended(ctx, job, &transition).into_iter().collect();
    let settlement = Settlement {
        job_id: job.id,
        fence: fence(job),
        transition,
        pair: None,
        forget: false,
        history,
        reason: None,
        answered: Vec::new(),
    };
    Ending { settlement, before, other: None, other_is_over: false, looked: None }
}

fn log_dead(ctx: &LinkContext, job: &Job, error: &JobError) {
    tracing::error!(event = "job.dead", customer = %ctx.customer, link = %ctx.name,
        direction = job.direction.as_str(), key = %job.key, job_id = job.id, attempt = job.attempts,
        correlation_id = %job.correlation_id, rules_version = ctx.rules.version, error = %error.message,
        "a dead letter");
}

/// The same of what a page finds that can't be delivered at all.
pub(super) fn log_born_dead(ctx: &LinkContext, id: i64, job: &NewJob) {
    tracing::error!(event = "job.dead", customer = %ctx.customer, link = %ctx.name,
        direction = job.direction.as_str(), key = %job.key, job_id = id,
        correlation_id = %job.correlation_id, rules_version = job.rules_version,
        error = job.error.as_ref().map(|error| error.message.as_str()), "a dead letter");
}

/// Tells of what is put off because its system asks for patience or needs a person: a line for each reason.
pub(super) fn log_put_off(ctx: &LinkContext, direction: Direction, endings: &[Ending], correlation_id: &str) {
    let mut reasons: BTreeMap<&str, u64> = BTreeMap::new();
    for reason in endings.iter().filter_map(|ending| ending.settlement.reason.as_ref()) {
        *reasons.entry(&reason.message).or_default() += 1;
    }
    for (reason, records) in reasons {
        tracing::warn!(event = "job.put_off", customer = %ctx.customer, link = %ctx.name,
            direction = direction.as_str(), records, correlation_id, rules_version = ctx.rules.version,
            error = reason, "deliveries are put off");
    }
}

pub(super) fn fence(job: &Job) -> u64 {
    job.lease.as_ref().map_or(0, |lease| lease.fence)
}

/// Puts a push off whose look has shown that nobody has its record any more. That is stored first: else the
/// deletion that the other side tells of would be laid to the record that the push makes.
pub(super) fn gone(ctx: &LinkContext, job: &Job, mut entry: Entry) -> Ending {
    plan(ctx, job.direction, &mut entry);
    ends(ctx, job, Transition::Snoozed { due_at: ctx.now() }, entry, true, true)
}

/// A pair that was never stored and that nothing was learnt of is not stored now either.
pub(super) fn ending(
    ctx: &LinkContext,
    job: &Job,
    transition: Transition,
    entry: Entry,
    forget: bool,
) -> Ending {
    ends(ctx, job, transition, entry, forget, job.origin.is_planned())
}

fn ends(
    ctx: &LinkContext,
    job: &Job,
    transition: Transition,
    mut entry: Entry,
    forget: bool,
    tells: bool,
) -> Ending {
    let transition = match transition {
        Transition::Synced | Transition::Obsolete | Transition::Conflict { .. } if push::goes_ahead(job) => {
            Transition::Again { due_at: ctx.now() }
        }
        other => other,
    };
    let mut history = std::mem::take(&mut entry.history);
    history.extend(tell::ended(ctx, job, &transition));
    let arrived = matches!(transition, Transition::Synced | Transition::Again { .. });
    // What the other direction sent may still be there: its own look has to tell.
    let other = job.direction.to().outward();
    let forget = forget && tells && !(ctx.rules.way(other).is_some() && ctx.is_open(&entry, other));
    // Of a pair that was forgotten, the look has told what became of what had gone out.
    let is_open = forget && ctx.unanswered.has(&entry.pair.key, job.direction);
    let is_stored = entry.pair.version > 0;
    let is_worth_it = is_stored || !entry.answered.is_empty() || is_open || (arrived && !forget);
    let told = tells && is_worth_it;
    let forget = forget && told;
    if forget && !arrived && is_stored {
        history.push(tell::forgotten(ctx, &entry));
    }
    let answered = if told { std::mem::take(&mut entry.answered) } else { Vec::new() };
    let (other, other_is_over) =
        if told && !forget { for_the_other(ctx, job.direction, &entry) } else { (None, false) };
    let settlement = Settlement {
        job_id: job.id,
        fence: fence(job),
        transition,
        pair: told.then_some(entry.pair),
        forget,
        history,
        reason: None,
        answered,
    };
    Ending { settlement, before: entry.before, other, other_is_over, looked: None }
}

/// What the pair, looked at more closely, means for the direction that this worker does not serve:
/// nobody else would notice, because the next poll shows nothing new.
pub(super) fn for_the_other(
    ctx: &LinkContext,
    direction: Direction,
    entry: &Entry,
) -> (Option<NewJob>, bool) {
    let other = direction.to().outward();
    let had = along(&entry.before.status, other);
    if matches!(had, Status::Queued | Status::Retrying | Status::Waiting) || planted(Bug::OtherWayForgotten) {
        // A job stands there and finds out for itself.
        return (None, false);
    }
    let job = job_for(ctx, entry, other, ctx.now(), None).filter(|job| job.state != JobState::Conflict);
    let is_over = *had == Status::Conflict
        && job.is_none()
        && !matches!(along(&entry.actions, other), Action::Conflict(_));
    (job, is_over)
}

/// What is needed to settle a delivery again on a pair that moved on meanwhile.
pub(super) struct Retold {
    pub(super) job: Job,
    pub(super) action: Action,
    pub(super) made_from: Option<Image>,
    /// How the destination was known to look when the write went out: a look may have shown it just before.
    pub(super) there: SideState,
    pub(super) arrived: Option<Arrived>,
    /// Whether what was sent took effect is known: nobody has to look.
    pub(super) is_answer: bool,
    /// The delivery as history tells it.
    pub(super) told: Option<Event>,
}

impl Retold {
    /// Gives what is answered once this is stored.
    pub(super) fn answered(&self, ctx: &LinkContext) -> Vec<Answered> {
        if self.is_answer { ctx.unanswered.by(&self.job.key, self.job.direction) } else { Vec::new() }
    }
}

pub(super) fn conclude(
    ctx: &LinkContext,
    direction: Direction,
    parcel: Parcel,
    (outcome, epoch, took): (Outcome, u32, Duration),
    projector: &mut Projector,
    rest: &mut Option<Duration>,
) -> (Ending, Retold) {
    let Parcel { job, mut entry, action, made_from } = parcel;
    let there = entry.pair.side(direction.to()).clone();
    let mut retold =
        Retold { job: job.clone(), action, made_from, there, arrived: None, is_answer: false, told: None };
    let ending = match outcome {
        Outcome::Delivered { id, revision, stored } => {
            let stored = stored.and_then(|record| projector.project(record).ok()).map(|record| record.image);
            let answer = Answer { id: id.as_ref(), revision: revision.as_ref(), stored: stored.as_ref() };
            let made_from = retold.made_from.as_ref();
            retold.told = tell::delivered(ctx, &job, &entry, &retold.action, made_from, &answer);
            retold.arrived = Some(Arrived { id, revision, stored, epoch });
            ctx.view.last_success.store(ctx.now().0, Ordering::Relaxed);
            tracing::info!(event = "job.delivered", customer = %ctx.customer, link = %ctx.name,
                direction = direction.as_str(), key = %job.key, job_id = job.id, attempt = job.attempts,
                correlation_id = %job.correlation_id, rules_version = ctx.rules.version,
                duration_ms = millis(took), "delivered");
            arrived(ctx, direction, entry, &retold)
        }
        Outcome::Stale(_) if planted(Bug::StaleIsThrough) => {
            retold.arrived = Some(Arrived { id: None, revision: None, stored: None, epoch });
            arrived(ctx, direction, entry, &retold)
        }
        Outcome::Stale(current) => {
            let known = entry.pair.side(direction.to()).clone();
            observe_there(ctx, &mut entry.pair, (direction.to(), epoch), current, projector);
            let is_news = *entry.pair.side(direction.to()) != known;
            let action = if job.origin.is_planned() {
                plan(ctx, direction, &mut entry)
            } else {
                retold.action.clone()
            };
            if !action.is_write() {
                no_write(ctx, &job, entry, &action)
            } else if is_news && job.origin.is_planned() {
                // The attempt told us something new, so it is given back; it can't go on for ever,
                // because each round needs another edit over there.
                ending_of(ctx, &job, Transition::Snoozed { due_at: ctx.now() }, entry)
            } else {
                let fault = Fault::transient(
                    FaultCode::Conflict,
                    "the destination says that the record moved, and shows it as we know it",
                );
                failed(ctx, &job, entry, direction.to(), (&fault, took), rest)
            }
        }
        Outcome::Failed(fault) if fault.is_stopping() => handed_back(ctx, &job, entry),
        Outcome::Failed(fault) => {
            let ending = failed(ctx, &job, entry, direction.to(), (&fault, took), rest);
            // Where nothing was to be written, only a look has failed.
            if retold.action.is_write() { ending } else { ending.unlearnt() }
        }
    };
    (ending, retold)
}

/// A confirmed write moves the base; what still differs is due again at once.
pub(super) fn arrived(ctx: &LinkContext, direction: Direction, mut entry: Entry, retold: &Retold) -> Ending {
    let Some(arrived) = retold.arrived.clone() else {
        return ending_of(ctx, &retold.job, Transition::Snoozed { due_at: ctx.now() }, entry);
    };
    entry.history.extend(retold.told.clone());
    if retold.job.origin == Origin::Push && !planted(Bug::PushIsEcho) {
        // The destination's own poll takes the change from there to the other side.
        at(&ctx.bells, direction.to()).notify_one();
        return ending_of(ctx, &retold.job, Transition::Synced, entry);
    }
    let now = ctx.now();
    ctx.note_write(&entry.pair, direction, &retold.action, now);
    let what = (retold.action.clone(), MadeFrom::Then(retold.made_from.as_ref()));
    arrive(ctx, &mut entry.pair, direction, what, arrived, retold.job.attempts);
    let transition = if plan(ctx, direction, &mut entry).is_write() {
        Transition::Again { due_at: now }
    } else {
        Transition::Synced
    };
    let forget = entry.forget;
    ending(ctx, &retold.job, transition, entry, forget)
}

pub(super) fn ending_of(ctx: &LinkContext, job: &Job, transition: Transition, entry: Entry) -> Ending {
    ending(ctx, job, transition, entry, false)
}

/// Nothing was tried and nothing is wrong: the next start goes on where this one was.
pub(super) fn handed_back(ctx: &LinkContext, job: &Job, entry: Entry) -> Ending {
    ending_of(ctx, job, Transition::Snoozed { due_at: ctx.now() }, entry)
}

/// Ends an attempt whose source could not be looked at: nothing else of its batch waits for that, and how its pair
/// stands is not known better than before.
pub(super) fn source_away(
    ctx: &LinkContext,
    job: &Job,
    entry: Entry,
    fault: &Fault,
    began: Timestamp,
) -> Ending {
    let took = ctx.now().since(began);
    if fault.is_stopping() {
        return handed_back(ctx, job, entry).unlearnt();
    }
    failed(ctx, job, entry, job.direction.from(), (fault, took), &mut None).unlearnt()
}

/// Ends an attempt that failed at a side: usually that which is written to, whose direction then may `rest`.
pub(super) fn failed(
    ctx: &LinkContext,
    job: &Job,
    mut entry: Entry,
    side: Side,
    (fault, took): (&Fault, Duration),
    rest: &mut Option<Duration>,
) -> Ending {
    let (direction, now) = (job.direction, ctx.now());
    ctx.view.last_failure.store(now.0, Ordering::Relaxed);
    let end = ctx.end(side);
    let ended = end.outage(fault, now).map_or(Ended::Failed(fault), |until| Ended::Outage { until });
    let next = job::settle(job, ended, &end.retry, now);
    let mut reason = None;
    let (transition, status, event) = match next {
        JobNext::Retrying { due_at, error } => {
            (Transition::Retrying { due_at, error }, Status::Retrying, Some("job.retrying"))
        }
        JobNext::Snoozed { due_at } => {
            // The whole destination asks for patience: the other jobs wait as well.
            *rest = Some(due_at.since(now).min(REST_MAX).max(rest.unwrap_or_default()));
            reason = Some(JobError { code: fault.code, message: fault.to_string() });
            (Transition::Snoozed { due_at }, Status::Queued, None)
        }
        JobNext::Dead { error } => {
            let image = entry.pair.side(direction.from()).now();
            let payload = job.payload.clone().or_else(|| image.map(image_text));
            (Transition::Dead { error, payload }, Status::Dead, Some("job.dead"))
        }
        JobNext::PauseStream { due_at, .. } => {
            *rest = Some(FATAL_REST);
            reason = Some(JobError { code: fault.code, message: fault.to_string() });
            (Transition::Snoozed { due_at: due_at.min(now.plus(FATAL_REST)) }, Status::Queued, None)
        }
        // Planning again is what the next lease does anyway.
        JobNext::Replan | JobNext::Synced => {
            (Transition::Snoozed { due_at: now }, Status::Queued, Some("job.planned_again"))
        }
    };
    // What is the system's trouble is told once for all that meet it.
    if let Some(event) = event {
        tracing::warn!(event, customer = %ctx.customer, link = %ctx.name, direction = direction.as_str(),
            key = %job.key, job_id = job.id, attempt = job.attempts, correlation_id = %job.correlation_id,
            rules_version = ctx.rules.version, duration_ms = millis(took), error = %fault, "a delivery failed");
    }
    let way = entry.pair.way_mut(direction);
    way.status = status;
    way.attempts = job.attempts;
    way.error = Some(fault.to_string());
    if reason.is_some() && side == direction.to() {
        ctx.trouble_writing(direction, Some(fault.to_string()));
    }
    let mut ending = ending_of(ctx, job, transition, entry);
    ending.settlement.reason = reason;
    ending
}
