//! Three-way merge, field by field.
//!
//! For each field that a direction writes, the mapped value is laid beside what stands there:
//!
//! | source changed | destination changed | decision |
//! |---|---|---|
//! | any | any | nothing, where both agree |
//! | yes | no  | write |
//! | no  | yes | nothing; the way back carries it, where there is one |
//! | yes | yes | a conflict: the policy; without a way back the source wins |
//! | no base | no base | first contact: the policy; without a way back the source wins |
//! | any | gone, or never seen | write: what is missing can't travel, so it wins nothing |
//! | no  | no  | nothing, unless the rules have changed: then map anew, until somebody works on either |

use std::cmp::Ordering;

use super::action::{Action, ConflictField, Decision, Why};
use super::reconcile::Occasion;
use super::{Pair, SideState, anew};
use crate::engine::record::{Direction, Image, Number, Side, Value, Values};
use crate::engine::rules::{self, ConflictPolicy, Held, Invalid, LinkRules, Mapped, Way};
use crate::planted::{Bug, planted};

/// One direction's view of the pair.
struct Leg<'r> {
    direction: Direction,
    way: &'r Way,
    mapped: Result<Mapped, Stop>,
}

/// Why a direction carries nothing.
enum Stop {
    Held(Held),
    Invalid(Invalid),
}

/// Both images with their states.
struct Sides<'p> {
    a: (&'p SideState, &'p Image),
    b: (&'p SideState, &'p Image),
}

/// Who wins a field.
enum Winner {
    Side(Side),
    /// Both get this value (in terms of the field at `a`).
    Both(Value),
    Nobody,
}

impl<'p> Sides<'p> {
    fn at(&self, side: Side) -> (&'p SideState, &'p Image) {
        match side {
            Side::A => self.a,
            Side::B => self.b,
        }
    }

    /// `None`: there is no base for this field.
    fn changed(&self, side: Side, position: usize) -> Option<bool> {
        let (state, image) = self.at(side);
        match state.base.as_ref().map(|base| base.at(position)) {
            None | Some(Value::Unknown) => None,
            Some(base) => Some(base != image.at(position)),
        }
    }

    /// Tells whether somebody worked on one of these; what the rules want delivered again is nobody's work.
    fn worked_on(&self, side: Side, positions: &[usize]) -> bool {
        positions.iter().any(|&position| {
            self.changed(side, position) == Some(true) && !anew::is_marked(self.base(side, position))
        })
    }

    /// What both agreed on; unknown where they never did.
    fn base(&self, side: Side, position: usize) -> &Value {
        let (state, _) = self.at(side);
        state.base.as_ref().map_or(&Value::Unknown, |base| base.at(position))
    }

    /// Who worked last, by the systems' own stamps; `a` where that can't be told.
    fn newest(&self) -> Side {
        match (self.a.0.modified_at, self.b.0.modified_at) {
            (Some(a), Some(b)) if b > a => Side::B,
            _ => Side::A,
        }
    }
}

/// What one direction wants, gathered field by field.
struct Wish {
    values: Values,
    writes: bool,
}

/// What both directions leave behind, gathered field by field.
struct Notes {
    open: [Vec<bool>; 2],
    conflicts: Vec<ConflictField>,
    again: Vec<(Side, usize, Value)>,
}

/// Merges two records that are both there.
pub(super) fn merge(pair: &Pair, a: &Image, b: &Image, rules: &LinkRules, occasion: Occasion) -> Decision {
    let sides = Sides { a: (&pair.a, a), b: (&pair.b, b) };
    let legs = Direction::BOTH.map(|direction| leg(direction, &sides, rules));
    let mut notes = Notes {
        open: [vec![false; a.values.len()], vec![false; b.values.len()]],
        conflicts: Vec::new(),
        again: Vec::new(),
    };
    let [mut forth, mut back] =
        [&b, &a].map(|image| Wish { values: Values::all(Value::Absent, image.values.len()), writes: false });
    for (at, wish) in [&mut forth, &mut back].into_iter().enumerate() {
        let (Some(Some(this)), Some(other)) = (legs.get(at), legs.get(1 - at)) else { continue };
        for &target in this.way.targets() {
            field(this, other.as_ref(), target, &sides, rules, occasion, wish, &mut notes);
        }
    }
    let Notes { open, conflicts, again } = notes;
    if !conflicts.is_empty() {
        let parked = Action::Conflict(conflicts);
        return Decision { a_to_b: parked.clone(), b_to_a: parked, open: None, again, forget: false };
    }
    let [a_to_b, b_to_a] = [(forth, 0), (back, 1)].map(|(wish, at)| {
        let Some(Some(leg)) = legs.get(at) else { return Action::Nothing(Why::NoWay) };
        finish(leg, wish)
    });
    Decision { a_to_b, b_to_a, open: Some(open), again, forget: false }
}

fn leg<'r>(direction: Direction, sides: &Sides<'_>, rules: &'r LinkRules) -> Option<Leg<'r>> {
    let way = rules.way(direction)?;
    let (_, from) = sides.at(direction.from());
    let (_, to) = sides.at(direction.to());
    let mapped = match way.admits(from, Some(to)) {
        Err(held) => Err(Stop::Held(held)),
        Ok(()) => way.map(from).map_err(Stop::Invalid),
    };
    Some(Leg { direction, way, mapped })
}

fn finish(leg: &Leg<'_>, wish: Wish) -> Action {
    match &leg.mapped {
        Err(Stop::Held(held)) => Action::Skip(held.clone()),
        Err(Stop::Invalid(invalid)) => Action::Invalid(invalid.clone()),
        Ok(_) if !wish.writes => Action::Nothing(Why::Agreed),
        Ok(_) if !leg.way.operations.update => Action::Skip(Held { rule: "operations.update".to_owned() }),
        Ok(mapped) if planted(Bug::WholeRecordWritten) => Action::Update(mapped.clone()),
        Ok(_) => Action::Update(wish.values),
    }
}

/// Decides one field of one direction; marks what stays open on both sides.
#[expect(clippy::too_many_arguments, reason = "the parent's locals, passed on flat")]
fn field(
    this: &Leg<'_>,
    other: Option<&Leg<'_>>,
    target: usize,
    sides: &Sides<'_>,
    rules: &LinkRules,
    occasion: Occasion,
    wish: &mut Wish,
    notes: &mut Notes,
) {
    let (from, to) = (this.direction.from(), this.direction.to());
    let sources = this.way.reads(target);
    let Ok(mapped) = &this.mapped else {
        // Held back: what changed here may travel once the rule lets it.
        if sources.iter().any(|&source| sides.changed(from, source) != Some(false)) {
            sources.iter().for_each(|&source| mark(&mut notes.open, from, source));
        }
        return;
    };
    let Some(want) = mapped
        .get(target)
        .filter(|want| !(want.is_missing() || planted(Bug::NullIsNothing) && **want == Value::Null))
    else {
        return;
    };
    let have = sides.at(to).1.at(target);
    if want.agrees(have) {
        return;
    }
    let counterpart = other.and_then(|other| {
        sources.iter().copied().find(|&source| {
            other.way.targets().contains(&source) && other.way.reads(source).contains(&target)
        })
    });
    let back = counterpart.and_then(|source| {
        other.and_then(|other| other.mapped.as_ref().ok()).and_then(|back| back.get(source))
    });
    // Who says the same in other words has edited nothing: alone it would have been agreed on.
    let here = changed_any(sides, from, sources).map(|here| here && !want.agrees(sides.base(to, target)));
    let there = sides.changed(to, target).map(|there| {
        let same = |source| back.is_some_and(|back| back.agrees(sides.base(from, source)));
        there && !counterpart.is_some_and(same)
    });
    let (here, there) = match (here, there, counterpart) {
        (Some(true), Some(true), Some(_)) => {
            let (ours, theirs) = (sides.worked_on(from, sources), sides.worked_on(to, &[target]));
            (Some(ours || !theirs), Some(theirs || !ours))
        }
        _ => (here, there),
    };
    let there = if planted(Bug::LastWriteWins) { Some(false) } else { there };
    // What the destination has there can't travel back: it is missing, or nothing was seen of it yet.
    let uncontested = back.is_some_and(Value::is_missing);
    let value = match (here, there, counterpart) {
        (Some(true), Some(false), _) => Some(want.clone()),
        (Some(false), Some(true), _) if uncontested => return,
        (Some(false), Some(true), _) => None,
        (Some(false), Some(false), counterpart) => {
            let again = occasion == Occasion::NewRules && (counterpart.is_none() || from == Side::A);
            if !again {
                return;
            }
            notes.again.push(match counterpart {
                // The base says something else than stands there, so that the source has moved.
                Some(source) => (from, source, anew::mark()),
                None => (to, target, Value::Unknown),
            });
            Some(want.clone())
        }
        (_, _, None) => Some(want.clone()),
        (_, _, Some(_)) if uncontested => Some(want.clone()),
        (_, _, Some(source)) => {
            if !(here == Some(true) && there == Some(true)) && agrees_backwards(other, source, sides, from) {
                return;
            }
            match winner(source, target, here, there, this, other, sides, rules) {
                Winner::Side(side) if side == from => Some(want.clone()),
                Winner::Side(_) => None,
                Winner::Both(value) => Some(value).filter(|value| !value.agrees(have)),
                Winner::Nobody => {
                    if from == Side::A {
                        notes.conflicts.push(conflict(source, target, sides));
                    }
                    None
                }
            }
        }
    };
    if value.is_none() && counterpart.is_none() {
        // Only the destination moved, and nothing carries it back: agreed as it is.
        return;
    }
    sources.iter().for_each(|&source| mark(&mut notes.open, from, source));
    mark(&mut notes.open, to, target);
    if let Some(value) = value {
        wish.writes = true;
        if let Some(place) = wish.values.get_mut(target) {
            *place = value;
        }
    }
}

/// `None` where there is no base for one of them.
fn changed_any(sides: &Sides<'_>, side: Side, positions: &[usize]) -> Option<bool> {
    let mut any = false;
    for &position in positions {
        any |= sides.changed(side, position)?;
    }
    Some(any)
}

/// At first contact it is enough that one way shows both values to be the same.
fn agrees_backwards(other: Option<&Leg<'_>>, source: usize, sides: &Sides<'_>, from: Side) -> bool {
    let Some(Ok(mapped)) = other.map(|other| &other.mapped) else { return false };
    mapped.get(source).is_some_and(|back| !back.is_missing() && back.agrees(sides.at(from).1.at(source)))
}

#[expect(clippy::too_many_arguments, reason = "the parent's locals, passed on flat")]
fn winner(
    source: usize,
    target: usize,
    here: Option<bool>,
    there: Option<bool>,
    this: &Leg<'_>,
    other: Option<&Leg<'_>>,
    sides: &Sides<'_>,
    rules: &LinkRules,
) -> Winner {
    let (at_a, at_b) = match this.direction {
        Direction::AToB => (source, target),
        Direction::BToA => (target, source),
    };
    let contact = here.is_none() || there.is_none();
    let policy = if contact { rules.first_contact } else { rules.conflict(at_a, at_b) };
    // Both values as the field at `a` would show them, so that both directions compare the same.
    let a_value = sides.a.1.at(at_a).clone();
    let back = match this.direction {
        Direction::AToB => other,
        Direction::BToA => Some(this),
    };
    let b_value = match back.map(|leg| &leg.mapped) {
        Some(Ok(mapped)) => mapped.get(at_a).filter(|value| !value.is_missing()).cloned(),
        _ => None,
    }
    .unwrap_or_else(|| sides.b.1.at(at_b).clone());
    match policy {
        ConflictPolicy::A if planted(Bug::PolicyBackwards) => Winner::Side(Side::B),
        ConflictPolicy::A => Winner::Side(Side::A),
        ConflictPolicy::B => Winner::Side(Side::B),
        ConflictPolicy::Newest => Winner::Side(sides.newest()),
        ConflictPolicy::Manual => Winner::Nobody,
        ConflictPolicy::Max => Winner::Side(by_order(&a_value, &b_value, Ordering::Less)),
        ConflictPolicy::Min => Winner::Side(by_order(&a_value, &b_value, Ordering::Greater)),
        ConflictPolicy::NonEmpty => match (a_value.is_blank(), b_value.is_blank()) {
            (true, false) => Winner::Side(Side::B),
            (false, true) => Winner::Side(Side::A),
            _ => Winner::Side(sides.newest()),
        },
        ConflictPolicy::Union => match union(&a_value, &b_value) {
            Some(value) => Winner::Both(value),
            None => Winner::Side(sides.newest()),
        },
    }
}

/// `b` wins only where `a` compares to it as `loses` says.
fn by_order(a: &Value, b: &Value, loses: Ordering) -> Side {
    if compare(a, b) == Some(loses) { Side::B } else { Side::A }
}

/// Numbers by amount to the last digit, all else by its plain text; blank is smallest.
fn compare(a: &Value, b: &Value) -> Option<Ordering> {
    let number = |value: &Value| match value {
        Value::Int(_) | Value::Number(_) => Some(value.clone()),
        Value::Text(text) => Number::parse(text),
        _ => None,
    };
    match (number(a), number(b)) {
        (Some(a), Some(b)) => rules::compare(&a, &b),
        _ => Some(a.to_plain().cmp(&b.to_plain())),
    }
}

/// Lists as JSON arrays or as text with `;` between the members; sorted, each member once.
fn union(a: &Value, b: &Value) -> Option<Value> {
    match (a, b) {
        (Value::Json(a), Value::Json(b)) => {
            let parse = |text: &str| serde_json::from_str::<Vec<Box<serde_json::value::RawValue>>>(text).ok();
            let mut members: Vec<String> =
                parse(a)?.into_iter().chain(parse(b)?).map(|raw| raw.get().to_owned()).collect();
            members.sort_unstable();
            members.dedup();
            Some(Value::Json(format!("[{}]", members.join(",")).into()))
        }
        (Value::Text(a), Value::Text(b)) => {
            let mut members: Vec<&str> =
                a.split(';').chain(b.split(';')).map(str::trim).filter(|member| !member.is_empty()).collect();
            members.sort_unstable();
            members.dedup();
            Some(Value::text(members.join(";")))
        }
        _ => None,
    }
}

fn conflict(source: usize, target: usize, sides: &Sides<'_>) -> ConflictField {
    let name = |image: &Image, position| image.shape.name(position).unwrap_or("").to_owned();
    ConflictField {
        a_field: name(sides.a.1, source),
        b_field: name(sides.b.1, target),
        a_value: sides.a.1.at(source).clone(),
        b_value: sides.b.1.at(target).clone(),
    }
}

fn mark(open: &mut [Vec<bool>; 2], side: Side, position: usize) {
    let [a, b] = open;
    let places = match side {
        Side::A => a,
        Side::B => b,
    };
    if let Some(place) = places.get_mut(position) {
        *place = true;
    }
}
