//! What a side looks like now, laid beside what was known of it.

use std::sync::Arc;

use super::{Pair, Projected, Seen, SideState};
use crate::engine::record::{Image, Schema, Side, Timestamp, Value, Values};
use crate::planted::{Bug, planted};

/// What an observation changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Observation {
    /// Just as known: a replay, an overlap, or our own write read back.
    Same,
    /// The side looks otherwise than it did.
    News,
}

/// Takes in how a record looks at one side.
///
/// Our own write read back under the revision that the write returned is ours whatever the
/// destination made of the values: the image as it stands there is adopted as that side's base.
pub fn observe(pair: &mut Pair, side: Side, projected: Projected, epoch: u32, now: Timestamp) -> Observation {
    let Projected { image, meta, .. } = projected;
    let state = pair.side_mut(side);
    if state.now().is_some_and(|known| alike(known, &image)) {
        // The version may have moved although no field did that the rules know: the next write has
        // to be compared with it.
        if meta.revision.is_some() {
            state.revision = meta.revision;
        }
        // The same key under another id is another record there: it has to be found by that one.
        let moved = meta.id.is_some() && meta.id != state.id;
        if moved {
            state.id = meta.id;
        }
        return if moved { Observation::News } else { Observation::Same };
    }
    // Under a revision that was observed it would look as known.
    let ours = meta.revision.is_some() && meta.revision == state.revision && is_known(state);
    let ours = ours
        || planted(Bug::EchoByTimeOut)
            && matches!(state.seen, Seen::AsBase)
            && now.since(state.seen_at) < std::time::Duration::from_secs(2);
    state.id = meta.id.or_else(|| state.id.take());
    state.revision = meta.revision;
    state.modified_at = meta.modified_at;
    state.seen_at = now;
    state.epoch = epoch;
    if ours {
        adopt(state, image);
        return Observation::News;
    }
    state.seen = match &state.base {
        Some(base) if alike(base, &image) => Seen::AsBase,
        _ => Seen::Changed(image),
    };
    Observation::News
}

/// The record was there, and something was agreed on.
fn is_known(state: &SideState) -> bool {
    state.base.is_some() && state.now().is_some()
}

/// Takes what our own write has made of the record for what was agreed on, where it stands otherwise than
/// we sent it. A field of which nothing was known before is none of what we wrote; and one that stands as
/// known may be somebody's edit from before, which is still to travel.
fn adopt(state: &mut SideState, image: Image) {
    let Some(known) = state.now().map(|known| known.clone().reshaped(&image.shape)) else { return };
    let Some(base) = state.base.take() else { return };
    let mut base = base.reshaped(&image.shape);
    for ((place, known), value) in base.values.iter_mut().zip(&known.values).zip(&image.values) {
        if !matches!(place, Value::Unknown) && known != value {
            place.clone_from(value);
        }
    }
    state.seen = if base.values == image.values { Seen::AsBase } else { Seen::Changed(image) };
    state.base = Some(base);
}

/// Takes in that a record is gone from one side.
pub fn observe_deleted(
    pair: &mut Pair,
    side: Side,
    at: Option<Timestamp>,
    epoch: u32,
    now: Timestamp,
) -> Observation {
    let state = pair.side_mut(side);
    if state.now().is_none() {
        return Observation::Same;
    }
    state.seen = Seen::Deleted(at);
    state.modified_at = at;
    state.seen_at = now;
    state.epoch = epoch;
    Observation::News
}

/// Lays what the store gave out under the shapes of the rules that are in force.
pub(super) fn reshape(pair: &mut Pair, side: Side, shape: &Arc<Schema>) {
    let state = pair.side_mut(side);
    state.base = state.base.take().map(|base| base.reshaped(shape));
    if let Seen::Changed(image) = &mut state.seen {
        let taken = std::mem::replace(image, Image { shape: Arc::clone(shape), values: Values::default() });
        *image = taken.reshaped(shape);
    }
}

/// Same shape and same values.
fn alike(known: &Image, image: &Image) -> bool {
    known == image
}
