//! What stands at the destination because we wrote it, although nobody told us so.
//!
//! Invariant: a write is taken for carried out only where a field shows what it said and not what both sides
//! agreed on before. Whatever of it shows neither was then edited over it: by somebody who saw it, because a write
//! arrives as a whole. Who edits the source after it went out edits what it said; so nothing that was made there
//! can lose against our own echo.

use std::sync::Arc;

use super::deliver::{nothing_known, put, settle_seen, stands_apart};
use super::observe::reshape;
use super::sent::{Effect, Sent};
use super::{Pair, Seen, SideState};
use crate::engine::record::{Image, Schema, Side, Value};
use crate::engine::rules::LinkRules;

/// Lays a write whose answer is not known beside what the destination shows. Where it was carried out, the
/// bases move as if it had been confirmed, and what comes back is the pair as it was when the write went out, as
/// far as that is known.
pub fn recognise(pair: &mut Pair, rules: &LinkRules, sent: &Sent) -> Option<Pair> {
    Side::BOTH.into_iter().for_each(|side| reshape(pair, side, rules.shape(side)));
    let (from, to) = (sent.direction.from(), sent.direction.to());
    match &sent.effect {
        Effect::Gone => {
            let state = pair.side(to);
            if !matches!(state.seen, Seen::Deleted(_)) || state.base.is_none() {
                return None;
            }
            let before = as_agreed(pair, to);
            pair.side_mut(to).base = None;
            let from = pair.side_mut(from);
            let base = from.base.take();
            if let (Seen::AsBase, Some(image)) = (&from.seen, base) {
                from.seen = Seen::Changed(image);
            }
            Some(before)
        }
        Effect::Stands(written) => {
            let written = written.clone().reshaped(rules.shape(to));
            let moved = moved(pair.side(to), &written, rules.key(to))?;
            let before = as_agreed(pair, to);
            let made_from = sent.made_from.clone().map(|image| image.reshaped(rules.shape(from)));
            if let Some(image) = &made_from {
                let reads = |target: &usize| {
                    rules
                        .way(sent.direction)
                        .map(|way| way.reads(*target))
                        .unwrap_or_default()
                        .iter()
                        .copied()
                };
                let sources: Vec<usize> = moved.iter().flat_map(reads).collect();
                let unmoved: Vec<usize> = places(&written)
                    .filter(|target| !moved.contains(target))
                    .flat_map(|target| reads(&target).collect::<Vec<_>>())
                    .collect();
                agreed(pair.side_mut(from), image, &sources, &unmoved);
            }
            let shape = Arc::clone(rules.shape(to));
            stands(pair.side_mut(to), &written, &moved, &shape);
            Some(before)
        }
    }
}

/// The pair while a side showed what was agreed on.
fn as_agreed(pair: &Pair, side: Side) -> Pair {
    let mut before = pair.clone();
    let state = before.side_mut(side);
    state.seen = if state.base.is_some() { Seen::AsBase } else { Seen::Never };
    before
}

/// The fields that a write left a value in.
fn places(written: &Image) -> impl Iterator<Item = usize> + '_ {
    written.values.iter().enumerate().filter(|(_, value)| !value.is_missing()).map(|(place, _)| place)
}

/// The written fields whose base moves, where the write was carried out. One that shows what was agreed on
/// before is left alone; one that shows neither was edited over ours. The key says nothing: whoever makes the
/// record gives it the same.
fn moved(state: &SideState, written: &Image, key: &[usize]) -> Option<Vec<usize>> {
    let there = state.now()?;
    let before = |place| state.base.as_ref().map_or(&Value::Unknown, |base| base.at(place));
    let differs: Vec<usize> = places(written).filter(|&place| there.at(place) != before(place)).collect();
    let is_ours = |place: &usize| written.at(*place).agrees(there.at(*place));
    let tells = |place: &usize| !key.contains(place);
    let has_more = places(written).any(|place| tells(&place));
    if !differs.iter().any(|place| is_ours(place) && (tells(place) || !has_more)) {
        return None;
    }
    // Of a record of which nothing was known, another field may be anybody's.
    let known = state.base.is_some();
    Some(differs.into_iter().filter(|place| known || is_ours(place)).collect())
}

/// The source's base says what the write was made from.
fn agreed(state: &mut SideState, image: &Image, sources: &[usize], unmoved: &[usize]) {
    if matches!(state.seen, Seen::Never) {
        // It was there when the write was made of it. Nothing is known of it any more: it was forgotten.
        state.seen = Seen::Deleted(None);
    }
    stands_apart(state);
    match &mut state.base {
        Some(base) => sources.iter().for_each(|&source| put(base, source, image.at(source))),
        None => {
            let mut base = image.clone();
            unmoved.iter().filter(|source| !sources.contains(source)).for_each(|&source| {
                put(&mut base, source, &Value::Unknown);
            });
            state.base = Some(base);
        }
    }
    settle_seen(state);
}

/// The destination's base says what stands there of the write.
fn stands(state: &mut SideState, written: &Image, moved: &[usize], shape: &Arc<Schema>) {
    stands_apart(state);
    let there = state.now().cloned();
    let base = state.base.get_or_insert_with(|| nothing_known(shape));
    for &place in moved {
        let shown = there.as_ref().map(|there| there.at(place));
        let ours = shown.filter(|shown| written.at(place).agrees(shown)).unwrap_or(written.at(place));
        put(base, place, ours);
    }
    settle_seen(state);
}
