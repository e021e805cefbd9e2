//! What a write was whose answer is not known, how the sides look now, and what is to be done.

use super::*;
use crate::engine::plan::recognise;
use crate::engine::plan::sent::{Effect, Sent};

/// One case: `a` had `was` when the write went out; bases and sides in the words of `look`.
struct Case {
    why: &'static str,
    /// What went out to `b`; `gone` for a deletion.
    sent: &'static str,
    was: &'static str,
    a: (&'static str, &'static str),
    b: (&'static str, &'static str),
    /// It stands there: the bases move.
    ours: bool,
    a_to_b: &'static str,
    b_to_a: &'static str,
}

const CASES: &[Case] = &[
    Case {
        why: "it arrived, and nothing happened since",
        sent: "x=1",
        was: "x=1 y=0",
        a: ("x=0 y=0", "x=1 y=0"),
        b: ("x=0 y=0", "x=1 y=0"),
        ours: true,
        a_to_b: "Agreed",
        b_to_a: "Agreed",
    },
    Case {
        why: "it arrived, and the source was edited again: that is no conflict with our own echo",
        sent: "x=1",
        was: "x=1 y=0",
        a: ("x=0 y=0", "x=2 y=0"),
        b: ("x=0 y=0", "x=1 y=0"),
        ours: true,
        a_to_b: "update x=2",
        b_to_a: "Agreed",
    },
    Case {
        why: "it arrived, and the source was set back to what stood there before",
        sent: "x=1",
        was: "x=1 y=0",
        a: ("x=0 y=0", "="),
        b: ("x=0 y=0", "x=1 y=0"),
        ours: true,
        a_to_b: "update x=0",
        b_to_a: "Agreed",
    },
    Case {
        why: "it arrived, and the source was deleted: the destination was not edited",
        sent: "x=1",
        was: "x=1 y=0",
        a: ("x=0 y=0", "gone"),
        b: ("x=0 y=0", "x=1 y=0"),
        ours: true,
        a_to_b: "delete",
        b_to_a: "OtherDirection",
    },
    Case {
        why: "it arrived, and one of its fields was edited over it",
        sent: "x=1 y=1",
        was: "x=1 y=1",
        a: ("x=0 y=0", "x=1 y=1"),
        b: ("x=0 y=0", "x=1 y=3"),
        ours: true,
        a_to_b: "Agreed",
        b_to_a: "update y=3",
    },
    Case {
        why: "it did not arrive",
        sent: "x=1",
        was: "x=1 y=0",
        a: ("x=0 y=0", "x=2 y=0"),
        b: ("x=0 y=0", "="),
        ours: false,
        a_to_b: "update x=2",
        b_to_a: "Agreed",
    },
    Case {
        why: "somebody works on another field, and nothing says that it arrived",
        sent: "x=1",
        was: "x=1 y=0",
        a: ("x=0 y=0", "x=1 y=0"),
        b: ("x=0 y=0", "x=0 y=5"),
        ours: false,
        a_to_b: "update x=1",
        b_to_a: "update y=5",
    },
    Case {
        why: "a record that it made; the source was edited since",
        sent: "x=1 y=1",
        was: "x=1 y=1",
        a: ("-", "x=1 y=2"),
        b: ("-", "x=1 y=1"),
        ours: true,
        a_to_b: "update y=2",
        b_to_a: "Agreed",
    },
    Case {
        why: "a record that it made; the source was deleted since",
        sent: "x=1 y=1",
        was: "x=1 y=1",
        a: ("-", "gone"),
        b: ("-", "x=1 y=1"),
        ours: true,
        a_to_b: "delete",
        b_to_a: "OtherDirection",
    },
    Case {
        why: "a record that it made; the source was deleted and forgotten since",
        sent: "x=1 y=1",
        was: "x=1 y=1",
        a: ("-", "-"),
        b: ("-", "x=1 y=1"),
        ours: true,
        a_to_b: "delete",
        b_to_a: "OtherDirection",
    },
    Case {
        why: "somebody else made the record: first contact",
        sent: "x=1 y=1",
        was: "x=1 y=1",
        a: ("-", "x=1 y=1"),
        b: ("-", "x=7 y=8"),
        ours: false,
        a_to_b: "update x=1 y=1",
        b_to_a: "Agreed",
    },
    Case {
        why: "a deletion that arrived; the source was made again just as it was",
        sent: "gone",
        was: "-",
        a: ("x=0 y=0", "="),
        b: ("x=0 y=0", "gone"),
        ours: true,
        a_to_b: "create x=0 y=0",
        b_to_a: "NothingThere",
    },
    Case {
        why: "a deletion that did not arrive",
        sent: "gone",
        was: "-",
        a: ("x=0 y=0", "gone"),
        b: ("x=0 y=0", "="),
        ours: false,
        a_to_b: "delete",
        b_to_a: "OtherDirection",
    },
];

#[test]
fn what_went_out_is_known_again() {
    let rules = rules_with(XY, ConflictPolicy::A, [true, true]);
    for Case { why, sent, was, a, b, ours, a_to_b, b_to_a } in CASES {
        let mut pair = pair();
        look(&mut pair, &rules, Side::A, a.0, a.1);
        look(&mut pair, &rules, Side::B, b.0, b.1);
        let effect = match *sent {
            "gone" => Effect::Gone,
            values => Effect::Stands(image(&rules, Side::B, values)),
        };
        let made_from = (*was != "-").then(|| image(&rules, Side::A, was));
        let sent = Sent {
            key: pair.key.clone(),
            direction: Direction::AToB,
            id: None,
            made_from,
            is_known: true,
            effect,
        };
        assert_eq!(recognise(&mut pair, &rules, &sent).is_some(), *ours, "{why}");
        assert!(recognise(&mut pair.clone(), &rules, &sent).is_none(), "{why}: known once, known for good");
        let decision = plan(&mut pair, &rules);
        assert_eq!(words(&decision.a_to_b, &rules, Side::B), *a_to_b, "{why}");
        assert_eq!(words(&decision.b_to_a, &rules, Side::A), *b_to_a, "{why}");
    }
}
