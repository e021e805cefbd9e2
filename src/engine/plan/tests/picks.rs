//! Conflicts that a person settles.

use super::*;
use crate::engine::plan::{Pick, pick};

#[test]
fn the_picked_value_travels_and_the_other_is_given_up() {
    let rules = rules_with(&format!(r#"{XY}, "conflict": "manual""#), ConflictPolicy::Manual, [true, true]);
    let at = |field: &str, side: Side| Pick { a_field: field.into(), b_field: field.into(), side };
    // (base, a, b, picks, a to b, b to a, why)
    let cases = [
        ("x=1", "x=2", "x=3", vec![at("x", Side::A)], "update x=2", "Agreed", "a's value"),
        ("x=1", "x=2", "x=3", vec![at("x", Side::B)], "Agreed", "update x=3", "b's value"),
        ("x=1", "x=null", "x=3", vec![at("x", Side::A)], "update x=null", "Agreed", "null is a value"),
        ("-", "x=2", "x=3", vec![at("x", Side::B)], "Agreed", "update x=3", "at first contact"),
        ("x=1 y=1", "x=2 y=2", "x=3 y=3", vec![at("x", Side::A)], "conflict y", "conflict y", "one of two"),
        (
            "x=1 y=1",
            "x=2 y=2",
            "x=3 y=3",
            vec![at("x", Side::A), at("y", Side::B)],
            "update x=2",
            "update y=3",
            "one each",
        ),
        ("x=1 y=1", "x=2 y=2", "x=3 y=1", vec![at("x", Side::B)], "update y=2", "update x=3", "others go on"),
        ("x=1", "x=2", "x=3", vec![at("z", Side::A)], "conflict x", "conflict x", "nothing of the kind"),
    ];
    for (base, a, b, picks, forth, back, why) in cases {
        let mut pair = pair();
        look(&mut pair, &rules, Side::A, base, a);
        look(&mut pair, &rules, Side::B, base, b);
        pick(&mut pair, &rules, &picks);
        for round in ["at once", "planned again"] {
            let decision = plan(&mut pair, &rules);
            assert_eq!(words(&decision.a_to_b, &rules, Side::B), forth, "{why}, {round}");
            assert_eq!(words(&decision.b_to_a, &rules, Side::A), back, "{why}, {round}");
        }
    }
}
