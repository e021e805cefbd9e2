//! A change that an application hands in (`POST /v1/sync/`): it is written to the destination like
//! any delivery, and from there it travels on by the ordinary poll.

use serde_json::value::RawValue;

use super::inline::observe_there;
use super::link::LinkContext;
use super::page::Entry;
use super::restore;
use super::verdict::{Ending, Parcel, dead, gone, no_write, plan};
use crate::engine::fault::FaultCode;
use crate::engine::history::Cell;
use crate::engine::job::{Job, JobError, Origin};
use crate::engine::plan::{Action, Pair, Projector, Why};
use crate::engine::record::{Direction, Image, Record, Side, Value, Values, value_from_raw};
use crate::planted::{Bug, planted};

/// What a push job carries.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
pub struct Payload {
    /// `create`, `update` or `delete`; or one of [`restore`].
    pub operation: String,
    /// A JSON object: fields by their names at the source, or by those at the destination.
    pub data: Box<RawValue>,
    /// What has to stand at the destination, for [`restore`].
    #[serde(default, skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    pub expect: std::collections::BTreeMap<String, Cell>,
}

/// Makes the action of a push job, through the same rules as a polled change.
fn action(ctx: &LinkContext, direction: Direction, job: &Job, pair: &Pair) -> Result<Action, JobError> {
    let refused = |message: String| JobError { code: FaultCode::Validation, message };
    let payload: Payload = serde_json::from_str(job.payload.as_deref().unwrap_or("null"))
        .map_err(|error| refused(format!("the payload of the push can't be read: {error}")))?;
    if let Some(action) = restore::action(ctx, direction, &payload, pair) {
        return action;
    }
    let there = pair.side(direction.to()).now();
    if payload.operation == "delete" {
        return Ok(match there {
            Some(_) => Action::Delete,
            None if planted(Bug::PushMakesAgain) => {
                Action::Create(Values::all(Value::Null, ctx.rules.shape(direction.to()).len()))
            }
            None => Action::Nothing(Why::NothingThere),
        });
    }
    let members: std::collections::BTreeMap<String, Box<RawValue>> =
        serde_json::from_str(payload.data.get()).map_err(|error| refused(error.to_string()))?;
    let Some(way) = ctx.rules.way(direction) else {
        return Err(refused(format!("nothing travels {} on this link", direction.as_str())));
    };
    let shape = ctx.rules.shape(direction.from());
    let mut image = Image {
        shape: std::sync::Arc::clone(shape),
        values: pair.side(direction.from()).now().map_or_else(
            || Values::all(Value::Absent, shape.len()),
            |image| image.clone().reshaped(shape).values,
        ),
    };
    let mut direct = Vec::new();
    let mut touched = vec![false; shape.len()];
    for (name, raw) in &members {
        let value = value_from_raw(raw).map_err(|error| refused(format!("{name}: {error}")))?;
        match (shape.position(name), ctx.rules.shape(direction.to()).position(name)) {
            (Some(position), _) => {
                if let (Some(place), Some(touch)) =
                    (image.values.get_mut(position), touched.get_mut(position))
                {
                    (*place, *touch) = (value, true);
                }
            }
            (None, Some(position)) => direct.push((position, value)),
            (None, None) => {}
        }
    }
    key_in(ctx, direction, job, &mut image, &mut touched);
    way.admits(&image, there).map_err(|held| refused(format!("held back by the rule {}", held.rule)))?;
    let mut values = way
        .map(&image)
        .map_err(|invalid| refused(format!("{}: {} ({})", invalid.field, invalid.reason, invalid.rule)))?;
    if there.is_some() && !planted(Bug::PushWritesAll) {
        // An update touches only what it names.
        for (target, value) in values.iter_mut().enumerate() {
            if !way.reads(target).iter().any(|&source| touched.get(source) == Some(&true)) {
                *value = Value::Absent;
            }
        }
    }
    for (position, value) in direct {
        if let Some(place) = values.get_mut(position) {
            *place = value;
        }
    }
    Ok(match there {
        None => Action::Create(values),
        Some(there) => {
            let same = |(at, value): (usize, &Value)| value.is_missing() || value.agrees(there.at(at));
            if values.iter().enumerate().all(same) {
                Action::Nothing(Why::Agreed)
            } else {
                Action::Update(values)
            }
        }
    })
}

/// Plans a claimed push from what is known of its pair. Where the planner has sent a write of the record and nobody
/// has answered, that is found out first: else what the push does would be taken for it.
pub(super) fn parcel(ctx: &LinkContext, job: Job, mut entry: Entry) -> Result<Parcel, Box<Ending>> {
    let direction = job.direction;
    if ctx.unanswered.has(&job.key, direction) {
        let action = plan(ctx, direction, &mut entry);
        return Ok(ahead(job, entry, action));
    }
    if let Some((entry, action)) = record_first(ctx, direction, &job, &entry) {
        return Ok(ahead(job, entry, action));
    }
    match action(ctx, direction, &job, &entry.pair) {
        Ok(action) => Ok(Parcel { job, entry, action, made_from: None }),
        Err(error) => Err(Box::new(dead(ctx, &job, entry.before, error))),
    }
}

/// Plans a push again by what its destination shows; ends it where nothing is left to be written, or where
/// nobody has the record any more.
pub(super) fn anew(
    ctx: &LinkContext,
    Parcel { job, mut entry, .. }: Parcel,
    (found, epoch): (Option<Record>, u32),
    projector: &mut Projector,
) -> Result<Parcel, Box<Ending>> {
    let direction = job.direction;
    let was_there = entry.pair.side(direction.to()).now().is_some();
    observe_there(ctx, &mut entry.pair, (direction.to(), epoch), found, projector);
    let Parcel { job, entry, action, made_from } = parcel(ctx, job, entry)?;
    let is_nowhere = Side::BOTH.iter().all(|&side| entry.pair.side(side).now().is_none());
    match action {
        Action::Create(_) if was_there && is_nowhere => Err(Box::new(gone(ctx, &job, entry))),
        action if action.is_write() => Ok(Parcel { job, entry, action, made_from }),
        action => Err(Box::new(no_write(ctx, &job, entry, &action))),
    }
}

/// Plans the record that a push is to change, where its source has it and its destination not: it is made as the
/// planner makes it, so that it is known what of it was taken from the source; what is pushed changes it then.
fn record_first(
    ctx: &LinkContext,
    direction: Direction,
    job: &Job,
    entry: &Entry,
) -> Option<(Entry, Action)> {
    let (from, to) = (entry.pair.side(direction.from()), entry.pair.side(direction.to()));
    if from.now().is_none() || to.now().is_some() {
        return None;
    }
    let payload: Payload = serde_json::from_str(job.payload.as_deref()?).ok()?;
    if !matches!(payload.operation.as_str(), "create" | "update") {
        return None;
    }
    let mut entry = Entry { before: entry.before, ..Entry::new(entry.pair.clone()) };
    let action = plan(ctx, direction, &mut entry);
    matches!(action, Action::Create(_)).then_some((entry, action))
}

/// Lets the claimed job of a push be the planner's until this attempt has ended; it keeps its payload.
fn ahead(job: Job, entry: Entry, action: Action) -> Parcel {
    let made_from = entry.pair.side(job.direction.from()).now().cloned();
    Parcel { job: Job { origin: Origin::Sync, ..job }, entry, action, made_from }
}

/// Tells whether a claimed job makes the record that a push is to change, and has the push before it.
pub(super) fn goes_ahead(job: &Job) -> bool {
    job.origin == Origin::Sync && job.payload.is_some()
}

/// The record's own id stands for the key fields that the data does not name.
fn key_in(ctx: &LinkContext, direction: Direction, job: &Job, image: &mut Image, touched: &mut [bool]) {
    for (&position, part) in ctx.rules.key(direction.from()).iter().zip(job.key.parts()) {
        if let (Some(place), Some(touch)) = (image.values.get_mut(position), touched.get_mut(position))
            && place.is_blank()
        {
            *place = crate::engine::record::Number::parse(&part)
                .filter(|value| matches!(value, Value::Int(_)))
                .unwrap_or(Value::Text(part));
            *touch = true;
        }
    }
}
