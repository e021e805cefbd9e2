//! (base, `a`, `b`, rules) → (action each way, how both sides stand once the actions are done).

use super::*;

/// Base and look of both sides, rules, the actions from `a` to `b` and from `b` to `a`, how `a` and
/// `b` stand after delivery, why.
type Case =
    ([&'static str; 2], [&'static str; 2], &'static str, [&'static str; 2], [&'static str; 2], &'static str);

#[rustfmt::skip]
const CASES: &[Case] = &[
    // One side.
    (["x=1", "x=1"], ["x=2", "="], XY, ["update x=2", "Agreed"], ["x=2", "x=2"], "an edit travels"),
    (["x=1", "x=1"], ["=", "x=2"], XY, ["Agreed", "update x=2"], ["x=2", "x=2"], "and back"),
    (["x=1", "x=1"], ["x=null", "="], XY, ["update x=null", "Agreed"], ["x=null", "x=null"], "null is a value"),
    (["x=1 y=1", "x=1 y=1"], ["y=1", "="], XY, ["Agreed", "Agreed"], ["y=1", "x=1 y=1"], "what is absent is not written, and no difference that waits"),
    (["x=1", "x=1"], ["z=9 x=1", "="], XY, ["Agreed", "Agreed"], ["x=1", "x=1"], "a field that no rule knows"),
    // Both sides.
    (["x=1 y=1", "x=1 y=1"], ["x=2 y=1", "x=1 y=2"], XY, ["update x=2", "update y=2"], ["x=2 y=2", "x=2 y=2"], "different fields: nobody loses"),
    (["x=1", "x=1"], ["x=2", "x=2"], XY, ["Agreed", "Agreed"], ["x=2", "x=2"], "the same edit twice is no conflict"),
    (["x=1", "x=1"], ["x=2", "x=3"], XY, ["update x=2", "Agreed"], ["x=2", "x=2"], "ties go to a"),
    (["x=1", "x=1"], ["x=2", "x=3"], r#""fields": {"id": "id", "x": "x"}, "conflict": "b""#, ["Agreed", "update x=3"], ["x=3", "x=3"], "b wins"),
    (["x=1", "x=1"], ["x=2", "x=3"], r#""fields": {"id": "id", "x": "x"}, "conflict": "max""#, ["Agreed", "update x=3"], ["x=3", "x=3"], "the larger"),
    (["x=1", "x=1"], ["x=9", "x=10"], r#""fields": {"id": "id", "x": "x"}, "conflict": "min""#, ["update x=9", "Agreed"], ["x=9", "x=9"], "the smaller, as a number"),
    (["x=a", "x=a"], ["x=a;b", "x=a;c"], r#""fields": {"id": "id", "x": "x"}, "conflict": "union""#, ["update x=a;b;c", "update x=a;b;c"], ["x=a;b;c", "x=a;b;c"], "both get all members"),
    (["x=1", "x=1"], ["x=null", "x=3"], r#""fields": {"id": "id", "x": "x"}, "conflict": "non_empty""#, ["Agreed", "update x=3"], ["x=3", "x=3"], "something beats nothing"),
    (["x=1 y=1", "x=1 y=1"], ["x=2 y=2", "x=3 y=1"], r#""fields": {"id": "id", "x": "x", "y": "y"}, "conflict": "manual""#, ["conflict x", "conflict x"], ["x=1 y=1 | x=2 y=2", "x=1 y=1 | x=3 y=1"], "parked as a whole, no base moves"),
    (["x=1 y=1", "x=1 y=1"], ["y=1", "x=3 y=1"], XY, ["Agreed", "update x=3"], ["x=3 y=1", "x=3 y=1"], "what is missing wins nothing"),
    // First contact.
    (["-", "-"], ["x=1", "-"], XY, ["create x=1", "NothingThere"], ["x=1", "x=1 y=?"], "new at a; y was not written and is not known"),
    (["-", "-"], ["-", "x=1"], XY, ["NothingThere", "create x=1"], ["x=1 y=?", "x=1"], "new at b"),
    (["-", "-"], ["x=1", "x=1"], XY, ["Agreed", "Agreed"], ["x=1", "x=1"], "equal: the base, and no write"),
    (["-", "-"], ["x=1", "x=2"], XY, ["update x=1", "Agreed"], ["x=1", "x=1"], "newest; ties go to a"),
    (["-", "-"], ["x=1", "y=2"], XY, ["update x=1", "update y=2"], ["x=1 y=2", "x=1 y=2"], "each fills what the other lacks"),
    // Deletes.
    (["x=1", "x=1"], ["gone", "="], XY, ["delete", "OtherDirection"], ["- | gone", "- | gone"], "a deletion travels"),
    (["x=1", "x=1"], ["=", "gone"], XY, ["OtherDirection", "delete"], ["- | gone", "- | gone"], "and back"),
    (["x=1", "x=1"], ["x=2", "gone"], XY, ["create x=2", "NothingThere"], ["x=2", "x=2 y=?"], "the edit wins"),
    (["x=1", "x=1"], ["gone", "gone"], XY, ["NothingThere", "NothingThere"], ["x=1 | gone", "x=1 | gone"], "nothing is left"),
    (["-", "-"], ["x=3", "gone"], XY, ["create x=3", "NothingThere"], ["x=3", "x=3 y=?"], "a deletion that was through: a new record"),
    (["x=1", "x=1"], ["=", "gone"], r#""fields": {"id": "id", "x": "x"}, "deletes": "ignore""#, ["OtherDirection", "DeleteIgnored"], ["x=1", "x=1 | gone"], "kept, as the policy says"),
    (["x=1 y=1", "x=1 y=1"], ["x=1 y=5", "gone"], r#""a_to_b": {"mappings": {"id": "id", "x": "x"}}, "b_to_a": {"mappings": {"id": "id", "x": "x", "y": "y"}}"#, ["OtherDirection", "delete"], ["- | gone", "- | gone"], "an edit that can't travel saves nothing, whichever was seen first"),
    // Rules that hold back.
    (["x=1", "x=1"], ["x=2", "="], r#""fields": {"id": "id", "x": "x"}, "a_to_b": {"filters": {"x": 1}}"#, ["skip filters.x", "Agreed"], ["x=1 | x=2", "x=1"], "held back, and remembered"),
    (["x=1", "x=1"], ["x=2", "="], r#""fields": {"id": "id", "x": "x"}, "a_to_b": {"operations": ["create"]}"#, ["skip operations.update", "Agreed"], ["x=1 | x=2", "x=1"], "a status that says which rule"),
    (["x=1", "x=1"], ["gone", "="], r#""fields": {"id": "id", "x": "x"}, "a_to_b": {"operations": ["create", "update"]}"#, ["skip operations.delete", "OtherDirection"], ["x=1 | gone", "x=1"], "no deletion"),
    (["-", "-"], ["x=1", "-"], r#""fields": {"id": "id", "x": "x"}, "a_to_b": {"operations": ["update"]}"#, ["skip operations.create", "NothingThere"], ["- | x=1", "- | -"], "no creation"),
    // Ways that change on the way.
    (["x=a", "x=A"], ["x=b", "="], r#""a_to_b": {"mappings": {"id": "id", "x": {"to": "x", "transform": ["upper"]}}}, "b_to_a": {"mappings": {"id": "id", "x": "x"}}"#, ["update x=B", "Agreed"], ["x=b", "x=B"], "what B makes of it does not come back"),
];

#[test]
fn decisions() {
    let mut wrong = Vec::new();
    for (base, now, entry, actions, after, why) in CASES {
        let rules = rules(entry);
        let mut pair = pair();
        look(&mut pair, &rules, Side::A, base[0], now[0]);
        look(&mut pair, &rules, Side::B, base[1], now[1]);
        let decision = plan(&mut pair, &rules);
        let got = Direction::BOTH.map(|direction| words(decision.action(direction), &rules, direction.to()));
        if got != *actions {
            wrong.push(format!("{why}: {base:?} {now:?}: {got:?}, not {actions:?}"));
        }
        for direction in Direction::BOTH {
            carry_out(&mut pair, &rules, direction, decision.action(direction));
        }
        let stand = Side::BOTH.map(|side| stands(&pair, side));
        if stand != *after {
            wrong.push(format!("{why}: {base:?} {now:?}: afterwards {stand:?}, not {after:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn first_contact_asks_its_policy() {
    for (policy, expected) in [
        (ConflictPolicy::A, ["update x=1", "Agreed"]),
        (ConflictPolicy::B, ["Agreed", "update x=2"]),
        (ConflictPolicy::Manual, ["conflict x", "conflict x"]),
    ] {
        let rules = rules_with(XY, policy, [true, true]);
        let mut pair = pair();
        look(&mut pair, &rules, Side::A, "-", "x=1");
        look(&mut pair, &rules, Side::B, "-", "x=2");
        let decision = plan(&mut pair, &rules);
        let got = Direction::BOTH.map(|direction| words(decision.action(direction), &rules, direction.to()));
        assert_eq!(got, expected, "{policy:?}");
    }
}

#[test]
fn one_way_the_source_wins() {
    let rules =
        rules_with(r#""a_to_b": {"mappings": {"id": "id", "x": "x"}}"#, ConflictPolicy::B, [true, false]);
    for (a, b, expected) in [("x=2", "=", "update x=2"), ("x=2", "x=3", "update x=2"), ("=", "x=3", "Agreed")]
    {
        let mut pair = pair();
        look(&mut pair, &rules, Side::A, "x=1", a);
        look(&mut pair, &rules, Side::B, "x=1", b);
        let decision = plan(&mut pair, &rules);
        assert_eq!(words(decision.action(Direction::AToB), &rules, Side::B), expected, "{a} {b}");
        assert_eq!(words(decision.action(Direction::BToA), &rules, Side::A), "NoWay", "{a} {b}");
    }
}
