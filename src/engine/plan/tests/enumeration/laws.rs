//! What holds for every case.

use super::oracle::{self, End};
use super::*;
use crate::engine::plan::{ConflictField, Observation, Status, Why};

/// Rounds after which a pair that still writes never settles: an edit each way, and one to spare.
const ROUNDS_MAX: usize = 3;

/// Checks every law on one case.
pub(super) fn hold(case: &Case, regime: &Regime, number: usize, figures: &mut Figures) {
    let rules = &regime.rules;
    let mut pair = seen(case, regime.stamps, rules, Side::A);
    let decision = plan(&mut pair, rules);
    figures.cases += 1;
    *figures.kinds.entry(one_decision(&decision, case, regime)).or_default() += 1;
    idempotent(&pair, &decision, case, regime);
    order_of_observation(case, regime, number, &pair, &decision);
    // Other worlds are built for a share of the cases.
    if number.is_multiple_of(4) {
        mirror(case, regime, &decision);
    }
    if number % 8 == 1 && regime.deletes != Deletes::Archive {
        order_of_fields(case, regime, &decision);
    }
    settles(case, regime, &mut pair, decision);
    as_the_rules_say(case, regime, &pair);
    echoes(case, regime, &mut pair);
}

/// The pair after both sides were looked at.
fn seen(case: &Case, stamps: Stamps, rules: &LinkRules, first: Side) -> Pair {
    let mut pair = case.before(rules);
    for side in [first, first.other()] {
        case.observe(&mut pair, stamps, rules, side);
    }
    pair
}

/// Exactly one decision: both directions fit together, and no field is written both ways unless both
/// get the same value. Gives its kind.
fn one_decision(decision: &Decision, case: &Case, regime: &Regime) -> &'static str {
    let fail = |why: &str| -> ! { panic!("{why}: {case:?} under {}: {decision:?}", regime.name) };
    match (&decision.a_to_b, &decision.b_to_a) {
        (Action::Create(_), Action::Nothing(_)) => "create at b",
        (Action::Nothing(_), Action::Create(_)) => "create at a",
        (Action::Delete, Action::Nothing(_)) => "delete at b",
        (Action::Nothing(_), Action::Delete) => "delete at a",
        (Action::Update(_), Action::Nothing(_)) => "update at b",
        (Action::Nothing(_), Action::Update(_)) => "update at a",
        (Action::Update(at_b), Action::Update(at_a)) => {
            let both = at_a.iter().zip(at_b).filter(|(a, b)| !a.is_missing() && !b.is_missing());
            if both.into_iter().any(|(a, b)| a != b) {
                fail("a field swaps its values");
            }
            "update both"
        }
        (Action::Conflict(a), Action::Conflict(b)) if a == b && !a.is_empty() => "conflict",
        (Action::Nothing(Why::Agreed), Action::Nothing(Why::Agreed)) => "agreed",
        (Action::Nothing(_), Action::Nothing(_)) => "nothing",
        _ => fail("both directions do not fit together"),
    }
}

/// Planning again says the same, and what the first plan moved stays where it is.
fn idempotent(planned: &Pair, decision: &Decision, case: &Case, regime: &Regime) {
    let mut again = planned.clone();
    let second = plan(&mut again, &regime.rules);
    for direction in Direction::BOTH {
        let (first, second) = (decision.action(direction), second.action(direction));
        assert_eq!(first, second, "idempotent: {case:?} under {}", regime.name);
    }
    assert_eq!(again, *planned, "idempotent: {case:?} under {}", regime.name);
}

/// Whoever was seen first, and whether or not it was planned in between: the same.
fn order_of_observation(case: &Case, regime: &Regime, number: usize, planned: &Pair, decision: &Decision) {
    let rules = &regime.rules;
    let mut other = seen(case, regime.stamps, rules, Side::B);
    assert_eq!(plan(&mut other, rules), *decision, "order: {case:?} under {}", regime.name);
    assert_eq!(other, *planned, "order: {case:?} under {}", regime.name);
    // Each order on half of the cases; the other half of the same law is in the next case.
    let first = if number.is_multiple_of(2) { Side::A } else { Side::B };
    let mut between = case.before(rules);
    case.observe(&mut between, regime.stamps, rules, first);
    plan(&mut between, rules);
    case.observe(&mut between, regime.stamps, rules, first.other());
    let late = plan(&mut between, rules);
    for direction in Direction::BOTH {
        let (early, late) = (decision.action(direction), late.action(direction));
        let same = early == late || (!early.is_write() && !late.is_write());
        assert!(
            same,
            "planned in between, {first:?} first: {case:?} under {}: {early:?}, then {late:?}",
            regime.name
        );
    }
}

/// With the sides exchanged, and the policy's side with them, the decision is exchanged.
fn mirror(case: &Case, regime: &Regime, decision: &Decision) {
    // Where nothing tells who is newer `a` wins, on whichever side it stands.
    let tie = regime.stamps == [None, None];
    let by_newest =
        matches!(regime.conflict, ConflictPolicy::Newest | ConflictPolicy::Union | ConflictPolicy::NonEmpty);
    let both_there = matches!(case.looks, [Look::Shows(_), Look::Shows(_)]);
    if tie && by_newest && both_there {
        return;
    }
    let swapped = [regime.stamps[1], regime.stamps[0]];
    let mut pair = seen(&case.mirrored(), swapped, &regime.mirrored, Side::A);
    let mirrored = plan(&mut pair, &regime.mirrored);
    for direction in Direction::BOTH {
        let back = direction.to().outward();
        let (here, there) = (decision.action(direction).clone(), mirrored.action(back).clone());
        assert_eq!(here, exchanged(there), "mirror: {case:?} under {}", regime.name);
    }
}

fn exchanged(action: Action) -> Action {
    match action {
        Action::Conflict(fields) => Action::Conflict(
            fields
                .into_iter()
                .map(|field| ConflictField {
                    a_field: field.b_field,
                    b_field: field.a_field,
                    a_value: field.b_value,
                    b_value: field.a_value,
                })
                .collect(),
        ),
        other => other,
    }
}

/// With the fields in another order, the decision is the same in that order.
fn order_of_fields(case: &Case, regime: &Regime, decision: &Decision) {
    let rules = &regime.rules;
    let order = [1, 2, 0];
    let mut pair = seen(&case.permuted(order), regime.stamps, rules, Side::A);
    let permuted = plan(&mut pair, rules);
    for direction in Direction::BOTH {
        let shape = rules.shape(direction.to());
        let place = |name: &str| shape.position(name).expect("a field");
        let names = ["x", "y", "z"];
        let (was, is) = (decision.action(direction), permuted.action(direction));
        match (was, is) {
            (Action::Update(was), Action::Update(is)) | (Action::Create(was), Action::Create(is)) => {
                // The field that now stands at `to` stood at `from`.
                for (to, from) in order.into_iter().enumerate() {
                    assert_eq!(
                        is[place(names[to])],
                        was[place(names[from])],
                        "order of fields: {case:?} under {}",
                        regime.name
                    );
                }
            }
            (Action::Conflict(was), Action::Conflict(is)) => assert_eq!(was.len(), is.len()),
            (was, is) => assert_eq!(was, is, "order of fields: {case:?} under {}", regime.name),
        }
    }
}

/// Carries the decision out; planning again soon yields nothing.
fn settles(case: &Case, regime: &Regime, pair: &mut Pair, first: Decision) {
    let rules = &regime.rules;
    let mut decision = first;
    for _ in 0..ROUNDS_MAX {
        let wanted = Direction::BOTH.map(|direction| decision.action(direction).is_write());
        if wanted == [false, false] {
            return;
        }
        for (direction, wanted) in Direction::BOTH.into_iter().zip(wanted) {
            if wanted {
                carry_out(pair, rules, direction, decision.action(direction));
            }
        }
        let agreed = plan(pair, rules);
        let quiet = Direction::BOTH.iter().all(|&direction| !agreed.action(direction).is_write());
        assert!(quiet, "applied, and planned again: {case:?} under {}: {agreed:?}", regime.name);
        decision = agreed;
    }
    panic!("it never settles: {case:?} under {}", regime.name);
}

/// Both sides stand as the rules of the merge say, and no edit of one side alone is lost.
fn as_the_rules_say(case: &Case, regime: &Regime, pair: &Pair) {
    let what =
        || format!("{case:?} under {}: {} / {}", regime.name, stands(pair, Side::A), stands(pair, Side::B));
    let rules = &regime.rules;
    let (ends, unions) = match oracle::end(case, regime) {
        End::Parked => {
            let parked = [pair.a_to_b.status, pair.b_to_a.status];
            assert_eq!(parked, [Status::Conflict; 2], "parked: {}", what());
            let untouched = Side::BOTH.map(|side| pair.side(side).now().cloned());
            let shown = Side::BOTH.map(|side| shows(case, side).map(|fields| image_of(rules, side, fields)));
            assert_eq!(untouched, shown, "parked as it was: {}", what());
            return;
        }
        End::Stands(ends) => (ends, [false; 3]),
        End::Unions(unions, ends) => (ends, unions),
    };
    for (side, end) in Side::BOTH.into_iter().zip(ends) {
        let now = pair.side(side).now();
        assert_eq!(now.is_some(), end.is_some(), "a record at {side:?}: {}", what());
        let (Some(now), Some(end)) = (now, end) else { continue };
        for ((name, number), union) in ["x", "y", "z"].into_iter().zip(end).zip(unions) {
            let wanted = if union { Value::text("v1;v2") } else { value(number) };
            assert!(
                now.get(name).agrees(&wanted) || *now.get(name) == Value::Unknown && wanted.is_blank(),
                "{name} at {side:?} is {wanted:?}: {}",
                what()
            );
        }
    }
}

fn shows(case: &Case, side: Side) -> Option<Fields> {
    match case.looks[usize::from(side == Side::B)] {
        Look::Shows(fields) => Some(fields),
        Look::Never | Look::Gone => None,
    }
}

/// Both sides read back as they stand: nothing new, and nothing to do.
fn echoes(case: &Case, regime: &Regime, pair: &mut Pair) {
    for side in Side::BOTH {
        if let Some(now) = pair.side(side).now().cloned() {
            let projected = Projected { key: pair.key.clone(), image: now, meta: Meta::default() };
            let seen = observe(pair, side, projected, 2, NOW);
            assert_eq!(seen, Observation::Same, "echo: {case:?} under {}", regime.name);
        }
    }
    let rest = plan(pair, &regime.rules);
    let quiet = Direction::BOTH.iter().all(|&direction| !rest.action(direction).is_write());
    assert!(quiet, "rest: {case:?} under {}: {rest:?}", regime.name);
}
