//! The decision: both sides and their base in, an action a direction out.
//!
//! | `a` now  | `b` now  | decision |
//! |----------|----------|----------|
//! | there    | there    | merge field by field (`merge.rs`) |
//! | there    | never    | create at `b` |
//! | there, as base  | deleted | the delete policy of b→a at `a` |
//! | there, changed where `a`→`b` reads | deleted | the edit wins: create at `b` again |
//! | gone     | gone     | forget the pair |
//!
//! and the same with the sides exchanged.

use super::action::{Action, Decision, Why};
use super::{Pair, Seen, anew, merge, observe};
use crate::engine::record::{Direction, Image, Side, Value, Values};
use crate::engine::rules::{DeletePolicy, Held, LinkRules, Way};
use crate::planted::{Bug, planted};

/// On what occasion a pair is planned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Occasion {
    /// A side was observed, or a job is about to be delivered.
    Change,
    /// The rules mean something else than before: fields on which nobody worked are mapped anew.
    NewRules,
}

/// Decides what is to be done with a pair, and moves the bases of what is agreed on already.
///
/// Total and pure. Afterwards the pair's images lie under the shapes of `rules`.
pub fn reconcile(pair: &mut Pair, rules: &LinkRules, occasion: Occasion) -> Decision {
    for side in Side::BOTH {
        observe::reshape(pair, side, rules.shape(side));
    }
    let decision = decide(pair, rules, occasion);
    agree(pair, &decision);
    expect_again(pair, &decision);
    decision
}

fn decide(pair: &Pair, rules: &LinkRules, occasion: Occasion) -> Decision {
    match (pair.a.now(), pair.b.now()) {
        (Some(a), Some(b)) => merge::merge(pair, a, b, rules, occasion),
        (Some(a), None) => one_sided(pair, Side::A, a, rules),
        (None, Some(b)) if !(planted(Bug::ForgetsEarly) && matches!(pair.a.seen, Seen::Deleted(_))) => {
            one_sided(pair, Side::B, b, rules)
        }
        (None, _) => {
            let nothing = || Action::Nothing(Why::NothingThere);
            Decision { forget: true, ..Decision::of(Direction::AToB, nothing(), nothing()) }
        }
    }
}

/// Only `side` has the record: it is new, or it was deleted at the other end.
fn one_sided(pair: &Pair, side: Side, image: &Image, rules: &LinkRules) -> Decision {
    let outward = side.outward();
    let inward = side.other().outward();
    let deleted_there = matches!(pair.side(side.other()).seen, Seen::Deleted(_));
    if deleted_there && !edited(pair, side, image, rules.way(outward)) {
        let action = delete(pair.side(side.other()).base.as_ref(), image, inward, rules);
        return Decision::of(inward, action, Action::Nothing(Why::OtherDirection));
    }
    let action = match rules.way(outward) {
        Some(way) => create(way, image),
        None => Action::Nothing(Why::NoWay),
    };
    Decision::of(outward, action, Action::Nothing(Why::NothingThere))
}

/// Tells whether somebody worked on what travels from here. What does not travel, or says the same as the
/// other side did, is no reason to keep a record that the other side deleted: it would depend on which
/// side was looked at first.
fn edited(pair: &Pair, side: Side, image: &Image, outward: Option<&Way>) -> bool {
    if planted(Bug::DeleteWins) {
        return false;
    }
    if planted(Bug::DeleteNeverWins) {
        return true;
    }
    let state = pair.side(side);
    let (base, way) = match (&state.seen, &state.base, outward) {
        (Seen::Changed(_), Some(base), Some(way)) => (base, way),
        // Never agreed on with the other side, so its deletion does not mean this record.
        (Seen::Changed(_), None, _) => return true,
        _ => return false,
    };
    let mapped = way.map(image);
    way.targets().iter().any(|&target| {
        let changed = way
            .reads(target)
            .iter()
            .any(|&source| base.at(source) != image.at(source) && !anew::is_marked(base.at(source)));
        changed
            && mapped.as_ref().map_or(true, |mapped| {
                let want = mapped.get(target).filter(|want| !want.is_missing());
                let there = pair.side(side.other()).base.as_ref();
                want.is_some_and(|want| !there.is_some_and(|there| want.agrees(there.at(target))))
            })
    })
}

fn not_allowed(operation: &str) -> Action {
    Action::Skip(Held { rule: format!("operations.{operation}") })
}

fn create(way: &Way, image: &Image) -> Action {
    if !way.operations.create {
        return not_allowed("create");
    }
    if let Err(held) = way.admits(image, None) {
        return Action::Skip(held);
    }
    match way.map(image) {
        Ok(values) => Action::Create(values),
        Err(invalid) => Action::Invalid(invalid),
    }
}

/// What a deletion at the source of `direction` does at its destination, which shows `image`.
fn delete(gone: Option<&Image>, image: &Image, direction: Direction, rules: &LinkRules) -> Action {
    let Some(way) = rules.way(direction) else { return Action::Nothing(Why::NoWay) };
    // A record that the filter kept from travelling does not delete anything either.
    if let Some(Err(held)) = gone.map(|gone| way.admits(gone, Some(image))) {
        return Action::Skip(held);
    }
    match rules.deletes(direction) {
        DeletePolicy::Ignore => Action::Nothing(Why::DeleteIgnored),
        DeletePolicy::Propagate if way.operations.delete => Action::Delete,
        DeletePolicy::Propagate => not_allowed("delete"),
        DeletePolicy::Archive(fields) => match archive(fields, image) {
            Action::Update(_) if !way.operations.update => not_allowed("update"),
            action => action,
        },
    }
}

fn archive(fields: &[(usize, Value)], image: &Image) -> Action {
    let mut values = Values::all(Value::Absent, image.values.len());
    let mut differs = false;
    for (position, value) in fields {
        if !image.at(*position).agrees(value) {
            differs = true;
            if let Some(place) = values.get_mut(*position) {
                *place = value.clone();
            }
        }
    }
    if differs { Action::Update(values) } else { Action::Nothing(Why::Agreed) }
}

/// Keeps in the bases what the rules want delivered although nobody worked on it.
fn expect_again(pair: &mut Pair, decision: &Decision) {
    for (side, position, value) in &decision.again {
        let state = pair.side_mut(*side);
        let Some(base) = &mut state.base else { continue };
        if matches!(state.seen, Seen::AsBase) {
            state.seen = Seen::Changed(base.clone());
        }
        if let Some(place) = base.values.get_mut(*position) {
            place.clone_from(value);
        }
    }
}

/// Moves the base of every field whose difference needs not travel.
fn agree(pair: &mut Pair, decision: &Decision) {
    for side in Side::BOTH {
        let Some(open) = decision.open_at(side) else { continue };
        let state = pair.side_mut(side);
        let Seen::Changed(image) = &state.seen else { continue };
        let shape = std::sync::Arc::clone(&image.shape);
        let base = state.base.get_or_insert_with(|| Image {
            values: Values::all(Value::Unknown, shape.len()),
            shape: std::sync::Arc::clone(&shape),
        });
        for ((place, value), open) in base.values.iter_mut().zip(&image.values).zip(open) {
            if !open && place != value {
                *place = value.clone();
            }
        }
        if base.values == image.values {
            state.seen = Seen::AsBase;
        }
    }
}
