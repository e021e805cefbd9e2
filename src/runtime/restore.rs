//! Brings values back to where they stood, or sets those that a person gave: a push that names the fields
//! of its destination.
//!
//! Invariant: a field is written only while it shows what was expected of it, as far as anything was.

use std::collections::BTreeMap;

use super::link::LinkContext;
use super::push::Payload;
use crate::engine::fault::FaultCode;
use crate::engine::history::{Cell, Operation, Restore};
use crate::engine::job::{JobError, JobState, Origin};
use crate::engine::plan::{Action, Pair, Why};
use crate::engine::record::{Direction, Key, Timestamp, Value};
use crate::store::NewJob;

/// Sets fields of a record that is there.
pub const SET: &str = "restore";
/// Makes a record again that we deleted.
pub const MAKE: &str = "recreate";

/// Makes the job that brings something back.
pub fn job(key: &Key, restore: &Restore, rules_version: u32, correlation_id: &str, now: Timestamp) -> NewJob {
    let operation = if restore.operation == Operation::Create { MAKE } else { SET };
    let data = serde_json::value::to_raw_value(&restore.data).unwrap_or_default();
    let payload = Payload { operation: operation.to_owned(), data, expect: restore.expect.clone() };
    NewJob {
        direction: restore.direction,
        key: key.clone(),
        origin: Origin::Push,
        priority: 1,
        due_at: now,
        attempts_max: 0,
        rules_version,
        correlation_id: correlation_id.to_owned(),
        payload: serde_json::to_string(&payload).ok(),
        replay_of: None,
        state: JobState::Pending,
        error: None,
    }
}

/// Makes the action of such a job; `None` where the payload is an ordinary push.
pub fn action(
    ctx: &LinkContext,
    direction: Direction,
    payload: &Payload,
    pair: &Pair,
) -> Option<Result<Action, JobError>> {
    match payload.operation.as_str() {
        SET => Some(set(ctx, direction, payload, pair)),
        MAKE => Some(make(ctx, direction, payload, pair)),
        _ => None,
    }
}

fn refused(message: impl Into<String>) -> JobError {
    JobError { code: FaultCode::Conflict, message: message.into() }
}

fn data(payload: &Payload) -> Result<BTreeMap<String, Cell>, JobError> {
    serde_json::from_str(payload.data.get())
        .map_err(|error| refused(format!("the payload can't be read: {error}")))
}

fn set(ctx: &LinkContext, direction: Direction, payload: &Payload, pair: &Pair) -> Result<Action, JobError> {
    let shape = ctx.rules.shape(direction.to());
    let Some(there) = pair.side(direction.to()).now() else {
        return Err(refused("the record is not there any more"));
    };
    let mut values = vec![Value::Absent; shape.len()];
    let mut moved = Vec::new();
    for (name, cell) in data(payload)? {
        let now = there.get(&name);
        if payload.expect.get(&name).is_some_and(|expected| !expected.0.agrees(now)) {
            moved.push(name);
        } else if let Some(place) = shape.position(&name).and_then(|at| values.get_mut(at))
            && !cell.0.agrees(now)
        {
            *place = cell.0;
        }
    }
    if values.iter().any(|value| !value.is_missing()) {
        return Ok(Action::Update(values.into()));
    }
    match moved.as_slice() {
        [] => Ok(Action::Nothing(Why::Agreed)),
        moved => Err(refused(format!("somebody has changed {} since", moved.join(", ")))),
    }
}

fn make(ctx: &LinkContext, direction: Direction, payload: &Payload, pair: &Pair) -> Result<Action, JobError> {
    if pair.side(direction.to()).now().is_some() {
        return Err(refused("the record is there again"));
    }
    let shape = ctx.rules.shape(direction.to());
    let mut values = vec![Value::Absent; shape.len()];
    for (name, cell) in data(payload)? {
        if let Some(place) = shape.position(&name).and_then(|at| values.get_mut(at)) {
            *place = cell.0;
        }
    }
    Ok(Action::Create(values.into()))
}
