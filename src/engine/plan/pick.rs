//! A conflict that a person settles: whose value stands.

use std::sync::Arc;

use super::{Pair, Seen};
use crate::engine::record::{Image, Side, Value, Values};
use crate::engine::rules::LinkRules;

/// One field, and the side whose value stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pick {
    pub a_field: String,
    pub b_field: String,
    pub side: Side,
}

impl Pick {
    fn field(&self, side: Side) -> &str {
        match side {
            Side::A => &self.a_field,
            Side::B => &self.b_field,
        }
    }
}

/// Takes the loser's change as known and the winner's as still to be delivered, so that planning the pair
/// carries the winner's value over; gives what was taken in. What no side shows any more is left out.
pub fn pick(pair: &mut Pair, rules: &LinkRules, picks: &[Pick]) -> Vec<Pick> {
    let mut taken = Vec::new();
    for pick in picks {
        let loser = pick.side.other();
        let position = |side: Side| rules.shape(side).position(pick.field(side));
        let (Some(kept), Some(lost)) = (position(pick.side), position(loser)) else { continue };
        if pair.a.now().is_none() || pair.b.now().is_none() {
            continue;
        }
        let reads = rules.way(pick.side.outward()).map_or(&[][..], |way| way.reads(lost));
        for &source in reads.iter().filter(|&&source| source != kept) {
            // Nobody decided about these: what was never agreed on is taken as it is.
            rebase(pair, rules, pick.side, source, |now, base| {
                if *base == Value::Unknown { now.clone() } else { base.clone() }
            });
        }
        rebase(pair, rules, pick.side, kept, |now, base| match base {
            base if *base == Value::Unknown || base == now => other_than(now),
            base => base.clone(),
        });
        rebase(pair, rules, loser, lost, |now, _| now.clone());
        taken.push(pick.clone());
    }
    taken
}

/// Gives the base of one field another value, made of what stands there and what the base said.
fn rebase(
    pair: &mut Pair,
    rules: &LinkRules,
    side: Side,
    position: usize,
    value: impl Fn(&Value, &Value) -> Value,
) {
    let shape = rules.shape(side);
    let state = pair.side_mut(side);
    let Some(now) = state.now().cloned().map(|now| now.reshaped(shape)) else { return };
    let unknown = || Image { shape: Arc::clone(shape), values: Values::all(Value::Unknown, shape.len()) };
    let mut base = state.base.take().map_or_else(unknown, |base| base.reshaped(shape));
    if let Some(place) = base.values.get_mut(position) {
        let made = value(now.at(position), place);
        *place = made;
    }
    state.seen = if base.values == now.values { Seen::AsBase } else { Seen::Changed(now) };
    state.base = Some(base);
}

/// Gives a value that is not this one.
fn other_than(value: &Value) -> Value {
    if matches!(value, Value::Absent) { Value::Null } else { Value::Absent }
}
