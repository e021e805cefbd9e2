//! What a link does to its pairs, as events of their history.
//!
//! Invariant: an event is stored by the commit or the settlement that it tells of, never beside it.

use std::sync::Arc;

use super::link::{LinkContext, at, lock};
use super::page::Entry;
use crate::engine::history::{self, Event, Failure, Resolution, Verdicts, What};
use crate::engine::job::{Job, Origin};
use crate::engine::plan::sent::{Effect, Sent};
use crate::engine::plan::{self, Action, Pair, Pick};
use crate::engine::record::{Direction, Image, Key, Meta, Record, RemoteId, Revision, Side, json_text};
use crate::store::{NewJob, Transition};

/// What the destination answered to a write.
pub struct Answer<'a> {
    pub id: Option<&'a RemoteId>,
    pub revision: Option<&'a Revision>,
    pub stored: Option<&'a Image>,
}

/// Which try it was.
pub struct Try<'t> {
    pub run: &'t str,
    pub attempt: u32,
}

fn event(ctx: &LinkContext, key: &Key, direction: Option<Direction>, tried: &Try<'_>, what: What) -> Event {
    Event {
        at: ctx.now(),
        key: key.clone(),
        direction,
        rules_version: ctx.rules.version,
        run: tried.run.to_owned(),
        attempt: tried.attempt,
        what,
    }
}

/// Tells of a confirmed write, from the pair as it was before; `None` where the pair itself tells it.
pub fn written(
    ctx: &LinkContext,
    pair: &Pair,
    direction: Direction,
    action: &Action,
    made_from: Option<&Image>,
    answer: &Answer<'_>,
    tried: &Try<'_>,
) -> Option<Event> {
    let mut told = history::written(pair, &ctx.rules, direction, action, made_from, answer.stored)?;
    told.id = answer.id.or(pair.side(direction.to()).id.as_ref()).map(ToString::to_string);
    told.revision = answer.revision.map(ToString::to_string);
    Some(event(ctx, &pair.key, Some(direction), tried, What::Written(told)))
}

/// The same for a write that a page makes at once. Bulk loads come this way: what makes no event costs
/// next to nothing.
pub fn inline(
    ctx: &LinkContext,
    pair: &Pair,
    direction: Direction,
    action: &Action,
    answer: &Answer<'_>,
) -> Option<Event> {
    if history::is_told_by_the_pair(pair, direction, action) {
        return None;
    }
    let run = ctx.run(direction.from());
    written(ctx, pair, direction, action, None, answer, &Try { run: &run, attempt: 1 })
}

/// The same for a write that was asked for: it stands in no pair, so it is told in any case.
pub fn pushed(
    ctx: &LinkContext,
    pair: &Pair,
    direction: Direction,
    action: &Action,
    answer: &Answer<'_>,
    tried: &Try<'_>,
) -> Option<Event> {
    let operation = history::Operation::of(action)?;
    let told = written(ctx, pair, direction, action, None, answer, tried);
    let mut event = told.unwrap_or_else(|| {
        let told = history::Written {
            operation,
            id: answer.id.map(ToString::to_string),
            revision: answer.revision.map(ToString::to_string),
            fields: Vec::new(),
            seen: Vec::new(),
            modified_at: None,
            asked: true,
        };
        event(ctx, &pair.key, Some(direction), tried, What::Written(told))
    });
    if let What::Written(told) = &mut event.what {
        // What travels was handed in: the source had no part in it, and no policy decided.
        (told.asked, told.modified_at) = (true, None);
        told.seen.clear();
        told.fields.iter_mut().for_each(|field| (field.agreed, field.policy) = (None, None));
    }
    Some(event)
}

/// Tells how a plan changed what is said of a pair.
pub fn decided(ctx: &LinkContext, entry: &mut Entry, had: Verdicts) {
    let [a_to_b, b_to_a] = &entry.actions;
    let changes = had.changes(&entry.pair, [a_to_b, b_to_a]);
    for (direction, what) in changes {
        let run = ctx.run(direction.unwrap_or(Direction::AToB).from());
        let told = event(ctx, &entry.pair.key, direction, &Try { run: &run, attempt: 0 }, what);
        entry.history.push(told);
    }
}

/// Tells of a write whose answer was lost and that stands at its destination, from the pair as it was before.
pub fn recognised(ctx: &LinkContext, before: &Pair, sent: &Sent) -> Option<Event> {
    let (from, to) = (sent.direction.from(), sent.direction.to());
    let action = match &sent.effect {
        Effect::Gone => Action::Delete,
        Effect::Stands(image) => {
            let values = image.clone().reshaped(ctx.rules.shape(to)).values;
            if before.side(to).base.is_some() { Action::Update(values) } else { Action::Create(values) }
        }
    };
    let made_from = sent.made_from.clone().map(|image| image.reshaped(ctx.rules.shape(from)));
    let run = ctx.run(from);
    let answer = Answer { id: None, revision: None, stored: None };
    let tried = Try { run: &run, attempt: 1 };
    written(ctx, before, sent.direction, &action, made_from.as_ref(), &answer, &tried)
}

/// Tells of a dead letter that a page gave birth to.
pub fn born_dead(ctx: &LinkContext, job: &NewJob) -> Option<Event> {
    let failure = Failure::of(job.error.as_ref()?);
    let tried = Try { run: &job.correlation_id, attempt: 0 };
    Some(event(ctx, &job.key, Some(job.direction), &tried, What::Dead(failure)))
}

/// Tells of the end of an attempt that delivered nothing, where that is worth telling.
pub fn ended(ctx: &LinkContext, job: &Job, transition: &Transition) -> Option<Event> {
    let what = match transition {
        Transition::Retrying { error, .. } => What::Failed(Failure::of(error)),
        Transition::Dead { error, .. } => What::Dead(Failure::of(error)),
        _ => return None,
    };
    Some(event(ctx, &job.key, Some(job.direction), &of(job), what))
}

/// Tells that neither side has the record any more.
pub fn forgotten(ctx: &LinkContext, entry: &Entry) -> Event {
    let run = ctx.run(Side::A);
    event(ctx, &entry.pair.key, None, &Try { run: &run, attempt: 0 }, What::Forgotten)
}

/// Tells what a person decided.
pub fn resolved(ctx: &LinkContext, key: &Key, run: &str, resolutions: Vec<Resolution>) -> Event {
    event(ctx, key, None, &Try { run, attempt: 0 }, What::Resolved(resolutions))
}

/// Takes what a person picked into a pair, and tells of it; false where nothing of it is there.
pub fn pick(ctx: &LinkContext, entry: &mut Entry, picks: &[Pick]) -> bool {
    let taken = plan::pick(&mut entry.pair, &ctx.rules, picks);
    if taken.is_empty() {
        return false;
    }
    let sides = taken.iter().map(|pick| Resolution::side(&pick.a_field, &pick.b_field, pick.side)).collect();
    let told = resolved(ctx, &entry.pair.key, &ctx.run(Side::A), sides);
    entry.history.push(told);
    true
}

/// Names the try that a job is.
pub fn of(job: &Job) -> Try<'_> {
    Try { run: &job.correlation_id, attempt: job.attempts }
}

/// Tells of a delivery of a job.
pub fn delivered(
    ctx: &LinkContext,
    job: &Job,
    entry: &Entry,
    action: &Action,
    made_from: Option<&Image>,
    answer: &Answer<'_>,
) -> Option<Event> {
    let direction = job.direction;
    match job.origin {
        Origin::Push => pushed(ctx, &entry.pair, direction, action, answer, &of(job)),
        Origin::Sync | Origin::Asked => {
            written(ctx, &entry.pair, direction, action, made_from, answer, &of(job))
        }
    }
}

/// Writes an image as JSON, for dead letters.
pub fn image_text(image: &Image) -> String {
    json_text(&Record {
        schema: Arc::clone(&image.shape),
        values: image.values.clone(),
        meta: Meta::default(),
    })
}

impl LinkContext {
    /// Names the pass of a side that is under way, or was last.
    pub fn run(&self, side: Side) -> Arc<str> {
        Arc::clone(&lock(at(&self.runs, side)))
    }

    /// Begins a pass of a side: under the name that somebody gave who asked for it, or one of its own.
    pub fn begin_run(&self, side: Side) {
        let asked = lock(at(&self.view.asked_as, side)).take();
        let own = || format!("{}-{}-{}-{:x}", self.customer, self.name, side.as_str(), self.now().0).into();
        *lock(at(&self.runs, side)) = asked.unwrap_or_else(own);
    }
}
