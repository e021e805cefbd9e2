//! Laws of the merge, over every state of two fields on both sides under every policy.

use super::*;
use crate::engine::plan::observe_deleted;

const FIELD: [&str; 4] = ["", "null", "v1", "v2"];

/// Every look of a record with two fields, and a deleted one.
fn looks() -> Vec<String> {
    let field =
        |name: &str, value: &str| if value.is_empty() { String::new() } else { format!("{name}={value} ") };
    let mut looks: Vec<String> =
        FIELD.iter().flat_map(|x| FIELD.iter().map(move |y| field("x", x) + &field("y", y))).collect();
    looks.push("gone".to_owned());
    looks
}

fn every_policy() -> Vec<LinkRules> {
    let propagate = r#""propagate""#;
    let conflicts = ["newest", "a", "b", "manual", "max", "min", "union", "non_empty"];
    let archive = r#"{"a_to_b": {"archive": {"y": "v2"}}, "b_to_a": "propagate"}"#;
    let cases = conflicts.map(|conflict| (conflict, propagate)).into_iter();
    cases
        .chain([("newest", r#""ignore""#), ("b", archive)])
        .map(|(conflict, deletes)| rules(&format!(r#"{XY}, "conflict": "{conflict}", "deletes": {deletes}"#)))
        .collect()
}

fn saw(pair: &mut Pair, rules: &LinkRules, side: Side, now: &str) {
    if now == "gone" {
        observe_deleted(pair, side, None, 1, NOW);
    } else {
        see(pair, rules, side, now);
    }
}

/// Plans and carries out until nothing is left; gives how many writes that took.
fn settle(pair: &mut Pair, rules: &LinkRules, what: &dyn Fn() -> String) -> usize {
    let mut writes = 0;
    for _ in 0..4 {
        let decision = plan(pair, rules);
        let wanted: Vec<Direction> =
            Direction::BOTH.into_iter().filter(|&direction| decision.action(direction).is_write()).collect();
        if wanted.is_empty() {
            return writes;
        }
        for direction in wanted {
            writes += 1;
            carry_out(pair, rules, direction, decision.action(direction));
        }
    }
    panic!("it never settles: {}", what());
}

#[test]
fn every_state_settles_the_same_whoever_was_seen_first() {
    let looks = looks();
    for rules in every_policy() {
        for base in looks.iter().filter(|look| *look != "gone") {
            for a in &looks {
                for b in &looks {
                    let what = || format!("{:?}: base {base:?}, a {a:?}, b {b:?}", rules.describe());
                    let made = |first: Side| {
                        let mut pair = pair();
                        for side in Side::BOTH {
                            look(&mut pair, &rules, side, base, "=");
                        }
                        for side in [first, first.other()] {
                            saw(&mut pair, &rules, side, if side == Side::A { a } else { b });
                        }
                        pair
                    };
                    let mut pair = made(Side::A);
                    let mut other = made(Side::B);
                    assert_eq!(plan(&mut pair, &rules), plan(&mut other, &rules), "order: {}", what());
                    settle(&mut pair, &rules, &what);
                    settle(&mut other, &rules, &what);
                    assert_eq!(pair, other, "order, at last: {}", what());
                    keeps_edits(&pair, base, a, b, &rules, &what);
                    // Both sides read back as they stand: nothing new.
                    for side in Side::BOTH {
                        if let Some(now) = pair.side(side).now().cloned() {
                            let projected =
                                Projected { key: pair.key.clone(), image: now, meta: Meta::default() };
                            let seen = observe(&mut pair, side, projected, 2, NOW);
                            assert_eq!(seen, super::super::Observation::Same, "echo: {}", what());
                        }
                    }
                    assert_eq!(settle(&mut pair, &rules, &what), 0, "rest: {}", what());
                }
            }
        }
    }
}

/// A field that only one side worked on stands on both sides afterwards (what was taken away can't
/// travel; a pair in conflict waits with both).
fn keeps_edits(pair: &Pair, base: &str, a: &str, b: &str, rules: &LinkRules, what: &dyn Fn() -> String) {
    if a == "gone" || b == "gone" || pair.a_to_b.status == super::super::Status::Conflict {
        return;
    }
    for name in ["x", "y"] {
        let value = |side, look: &str| image(rules, side, look).get(name).clone();
        let (was, a, b) = (value(Side::A, base), value(Side::A, a), value(Side::B, b));
        let wanted = match (a != was, b != was) {
            (true, false) if !a.is_missing() => a,
            (false, true) if !b.is_missing() => b,
            _ => continue,
        };
        for side in Side::BOTH {
            let stands = pair.side(side).now().expect("a record").get(name).clone();
            assert!(stands.agrees(&wanted), "lost {name} at {side:?}: {}", what());
        }
    }
}
