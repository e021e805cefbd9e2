//! Losses of one side that a person has put aside: what the other side has is delivered back.
//!
//! Invariant: nothing is invented. What comes back is what the other side shows; where no way leads back,
//! both sides stay as they are and the loss does not travel.

use super::{Pair, Seen, anew};
use crate::engine::record::Side;
use crate::engine::rules::LinkRules;

/// What is not to be believed of a side.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Aside {
    pub deletes: bool,
    /// Positions of fields that turned empty.
    pub emptied: Vec<usize>,
    /// Whatever looks otherwise than both sides agreed: the stream went back in time.
    pub all: bool,
}

/// Takes a pair that was just observed as if its losses at `side` had been agreed on, and the other side
/// had then been filled anew. `was_there`: the side had the record before.
pub fn put_aside(pair: &mut Pair, side: Side, was_there: bool, rules: &LinkRules, aside: &Aside) {
    if pair.side(side).now().is_none() {
        if aside.deletes && was_there {
            deletion(pair, side);
        }
        return;
    }
    for &at in aside.emptied.iter().filter(|_| !aside.all) {
        if is_emptied(pair, side, at) {
            unchanged(pair, side, at, rules);
        }
    }
    if aside.all {
        for at in 0..rules.shape(side).len() {
            if is_changed(pair, side, at) {
                unchanged(pair, side, at, rules);
            }
        }
    }
}

/// Did the field have a value, and is it empty now?
pub fn is_emptied(pair: &Pair, side: Side, at: usize) -> bool {
    let state = pair.side(side);
    let (Seen::Changed(now), Some(base)) = (&state.seen, &state.base) else { return false };
    let (was, is) = (base.at(at), now.at(at));
    !was.is_blank() && is.is_blank() && !is.is_missing()
}

/// Does the field look otherwise than both sides agreed?
fn is_changed(pair: &Pair, side: Side, at: usize) -> bool {
    let state = pair.side(side);
    let (Seen::Changed(now), Some(base)) = (&state.seen, &state.base) else { return false };
    base.at(at) != now.at(at)
}

fn deletion(pair: &mut Pair, side: Side) {
    pair.side_mut(side).base = None;
    let other = pair.side_mut(side.other());
    if let (Seen::AsBase, Some(image)) = (&other.seen, other.base.clone()) {
        other.seen = Seen::Changed(image);
    }
    other.base = None;
}

/// Takes a field as if both sides had agreed on what it shows, and the other side's had then moved.
fn unchanged(pair: &mut Pair, side: Side, at: usize, rules: &LinkRules) {
    let state = pair.side_mut(side);
    if let (Seen::Changed(now), Some(base)) = (&state.seen, &mut state.base) {
        let value = now.at(at).clone();
        if let Some(place) = base.values.get_mut(at) {
            *place = value;
        }
        if base.values == now.values {
            state.seen = Seen::AsBase;
        }
    }
    let Some(way) = rules.way(side.outward()) else { return };
    let targets = way.targets().iter().copied().filter(|&target| way.reads(target).contains(&at));
    for target in targets {
        let other = pair.side_mut(side.other());
        let Some(base) = &mut other.base else { continue };
        if matches!(other.seen, Seen::AsBase) {
            other.seen = Seen::Changed(base.clone());
        }
        // The base says something else than stands there, so that the other side has moved.
        if let Some(place) = base.values.get_mut(target) {
            *place = anew::mark();
        }
    }
}
