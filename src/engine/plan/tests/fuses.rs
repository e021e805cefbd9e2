//! What is too much at once, and what becomes of a loss that is put aside.

use super::*;
use crate::engine::plan::aside::{Aside, is_emptied, put_aside};
use crate::engine::plan::fuse::{Counts, Kind, Limits, Stream, findings};
use crate::engine::plan::observe_deleted;

const LIMITS: Limits =
    Limits { deletes_min: 10, deletes_percent: 20, emptied_min: 10, emptied_percent: 50, empty_min: 3 };

#[test]
fn much_at_once_is_not_believed() {
    // (shown, gone, emptied, known, from the first on, to the end; what is found, why)
    type Case = (u64, u64, u64, u64, bool, bool, Option<Kind>, &'static str);
    #[rustfmt::skip]
    let cases: &[Case] = &[
        (80, 20, 0, 100, true, true, None, "a fifth is still believed"),
        (79, 21, 0, 100, true, true, Some(Kind::Deletes), "more than that is not"),
        (1, 9, 0, 10, true, true, None, "few are believed, whatever their part is"),
        (0, 10, 0, 10, true, true, Some(Kind::EmptyStream), "nothing at all"),
        (0, 3, 0, 3, true, true, Some(Kind::EmptyStream), "of three"),
        (0, 2, 0, 2, true, true, None, "the last two may go"),
        (0, 0, 0, 5, false, false, None, "nothing new is no empty stream"),
        (30, 30, 0, 100, false, false, Some(Kind::Deletes), "tombstones count as well"),
        (1000, 0, 500, 5000, true, false, None, "half of what was shown"),
        (1000, 0, 501, 5000, true, false, Some(Kind::Emptied), "most of what was shown"),
        (501, 0, 501, 5000, false, false, None, "all that changed, and few of all"),
        (9, 0, 9, 9, true, true, None, "nine are few"),
        (10, 0, 10, 10, true, true, Some(Kind::Emptied), "ten are not"),
    ];
    let rules = rules(XY);
    let shape = rules.shape(Side::A);
    let at = shape.position("x").expect("a field");
    for &(shown, gone, emptied, present, whole, complete, expected, why) in cases {
        let mut counts = Counts { shown, gone, emptied: vec![0; at + 1] };
        counts.emptied[at] = emptied;
        let found = findings(&counts, Stream { present, whole, complete }, &LIMITS, shape);
        assert_eq!(found.first().map(|finding| finding.kind), expected, "{why}: {found:?}");
        for finding in found {
            assert!(finding.within(&counts, shape), "{why}: what was weighed is let through");
            assert!(!finding.within(&Counts::default(), shape), "{why}");
            assert!(finding.is_covered(std::slice::from_ref(&finding)), "{why}: and so is what was told");
        }
    }
}

#[test]
fn a_stream_that_went_back_takes_nothing_with_it_when_it_is_put_aside() {
    // (base, what `a` shows, what `b` shows, actions, why)
    #[rustfmt::skip]
    let cases = [
        ("x=2 y=2", "x=1 y=1", "=", ["Agreed", "update x=2 y=2"], "what was known comes back"),
        ("x=2 y=2", "x=1 y=2", "x=2 y=3", ["Agreed", "update x=2 y=3"], "with what the other side edited since"),
        ("x=2 y=2", "x=1 y=2", "x=3 y=2", ["Agreed", "update x=3"], "also where both look otherwise"),
        ("x=2 y=2", "x=2 y=2", "=", ["Agreed", "Agreed"], "a record of before the backup"),
        ("x=2 y=2", "gone", "=", ["NothingThere", "create x=2 y=2"], "a record of after it"),
    ];
    for (base, a, b, actions, why) in cases {
        let rules = rules(XY);
        let mut pair = pair();
        for side in Side::BOTH {
            look(&mut pair, &rules, side, base, "=");
        }
        if b != "=" {
            see(&mut pair, &rules, Side::B, b);
        }
        if a == "gone" {
            observe_deleted(&mut pair, Side::A, None, 1, NOW);
        } else {
            see(&mut pair, &rules, Side::A, a);
        }
        put_aside(&mut pair, Side::A, true, &rules, &Aside { deletes: true, emptied: Vec::new(), all: true });
        let decision = plan(&mut pair, &rules);
        let got = Direction::BOTH.map(|direction| words(decision.action(direction), &rules, direction.to()));
        assert_eq!(got, actions, "{why}");
    }
}

#[test]
fn what_is_put_aside_comes_back_from_the_other_side() {
    let one_way = r#""a_to_b": {"mappings": {"id": "id", "x": "x", "y": "y"}}"#;
    // (rules, base, what `a` shows now, actions, how both stand afterwards, why)
    type Case =
        (&'static str, &'static str, &'static str, [&'static str; 2], [&'static str; 2], &'static str);
    #[rustfmt::skip]
    let cases: &[Case] = &[
        (XY, "x=1 y=1", "gone", ["NothingThere", "create x=1 y=1"], ["x=1 y=1", "x=1 y=1"], "made again"),
        (XY, "x=1 y=1", "x=null y=1", ["Agreed", "update x=1"], ["x=1 y=1", "x=1 y=1"], "filled again"),
        (XY, "x=1 y=1", "x=null y=2", ["update y=2", "update x=1"], ["x=1 y=2", "x=1 y=2"], "an edit beside it travels"),
        (XY, "x=1 y=1", "x=2 y=1", ["update x=2", "Agreed"], ["x=2 y=1", "x=2 y=1"], "an edit is no loss"),
        (one_way, "x=1 y=1", "gone", ["NothingThere", "NoWay"], ["- | gone", "- | x=1 y=1"], "no way back: the loss does not travel"),
        (one_way, "x=1 y=1", "x=null y=1", ["Agreed", "NoWay"], ["x=null y=1", "x=1 y=1"], "nor does this"),
    ];
    for &(entry, base, now, actions, after, why) in cases {
        let rules = rules_with(entry, ConflictPolicy::Newest, [true, entry == XY]);
        let at = rules.shape(Side::A).position("x").expect("a field");
        let mut pair = pair();
        for side in Side::BOTH {
            look(&mut pair, &rules, side, base, "=");
        }
        if now == "gone" {
            observe_deleted(&mut pair, Side::A, None, 1, NOW);
        } else {
            see(&mut pair, &rules, Side::A, now);
        }
        assert_eq!(is_emptied(&pair, Side::A, at), now.starts_with("x=null"), "{why}");
        put_aside(&mut pair, Side::A, true, &rules, &Aside { deletes: true, emptied: vec![at], all: false });
        let decision = plan(&mut pair, &rules);
        let got = Direction::BOTH.map(|direction| words(decision.action(direction), &rules, direction.to()));
        assert_eq!(got, actions, "{why}");
        for direction in Direction::BOTH {
            carry_out(&mut pair, &rules, direction, decision.action(direction));
        }
        let rest = plan(&mut pair, &rules);
        assert!(Direction::BOTH.iter().all(|&way| !rest.action(way).is_write()), "{why}: {rest:?}");
        assert_eq!(Side::BOTH.map(|side| stands(&pair, side)), after, "{why}");
    }
}
