//! What happens between two moments: writes in flight, replies that tell more, rules that change.

use super::*;
use crate::engine::plan::{Observation, Status, observe_deleted};

fn agreed(rules: &LinkRules, base: &str) -> Pair {
    let mut pair = pair();
    for side in Side::BOTH {
        look(&mut pair, rules, side, base, "=");
    }
    pair
}

#[test]
fn an_edit_made_while_its_push_was_in_flight_is_pushed_again() {
    let rules = rules(XY);
    let mut pair = agreed(&rules, "x=1");
    see(&mut pair, &rules, Side::A, "x=2");
    let action = plan(&mut pair, &rules).a_to_b;
    let made_from = pair.a.now().cloned();
    see(&mut pair, &rules, Side::A, "x=3");
    arrives(&mut pair, &rules, Direction::AToB, &action, made_from.as_ref());
    let decision = plan(&mut pair, &rules);
    assert_eq!(words(&decision.a_to_b, &rules, Side::B), "update x=3");
    assert_eq!(pair.a_to_b.status, Status::Queued, "it is not synced yet");
}

#[test]
fn an_edit_that_is_taken_back_while_its_push_is_in_flight_is_taken_back_there_too() {
    let rules = rules(XY);
    let mut pair = agreed(&rules, "x=1");
    see(&mut pair, &rules, Side::A, "x=2");
    let action = plan(&mut pair, &rules).a_to_b;
    let made_from = pair.a.now().cloned();
    see(&mut pair, &rules, Side::A, "x=1");
    arrives(&mut pair, &rules, Direction::AToB, &action, made_from.as_ref());
    let decision = plan(&mut pair, &rules);
    assert_eq!(words(&decision.a_to_b, &rules, Side::B), "update x=1");
    carry_out(&mut pair, &rules, Direction::AToB, &decision.a_to_b);
    assert_eq!(words(&plan(&mut pair, &rules).a_to_b, &rules, Side::B), "Agreed");
}

#[test]
fn what_was_met_in_the_same_version_as_our_write_is_not_taken_for_ours() {
    let rules = rules(XY);
    // (whether the destination compared, what travels back, why)
    let cases = [
        (true, "Agreed", "nobody else can have been there: it is a canonical form"),
        (false, "update y=7", "somebody edited it between look and write"),
    ];
    for (compared, expected, why) in cases {
        let mut pair = agreed(&rules, "x=1 y=1");
        see(&mut pair, &rules, Side::A, "x=2 y=1");
        let action = plan(&mut pair, &rules).a_to_b;
        let made_from = pair.a.now().cloned();
        let written = Written {
            revision: Some("r2".into()),
            compared,
            ..written(Direction::AToB, &action, made_from.as_ref())
        };
        delivered(&mut pair, &rules, written);
        let meta = Meta { revision: Some("r2".into()), ..Meta::default() };
        see_as(&mut pair, &rules, Side::B, "x=2 y=7", meta);
        let decision = plan(&mut pair, &rules);
        assert_eq!(words(&decision.b_to_a, &rules, Side::A), expected, "{why}");
    }
}

#[test]
fn what_arrived_is_told_on_a_pair_that_was_stored_under_earlier_rules() {
    let before = rules(r#""fields": {"id": "id", "y": "y"}"#);
    let rules = rules(XY);
    let stored = agreed(&before, "y=1");
    let mut pair = stored.clone();
    see(&mut pair, &rules, Side::A, "x=5 y=2");
    let action = plan(&mut pair, &rules).a_to_b;
    let made_from = pair.a.now().cloned();
    // Somebody moved it meanwhile, so that it is read again.
    let mut again = stored;
    arrives(&mut again, &rules, Direction::AToB, &action, made_from.as_ref());
    assert_eq!(stands(&again, Side::B), "x=5 y=2");
    see(&mut again, &rules, Side::A, "x=5 y=2");
    assert_eq!(words(&plan(&mut again, &rules).a_to_b, &rules, Side::B), "Agreed");
}

#[test]
fn rules_that_map_anew_are_remembered_until_delivered() {
    let before = rules(XY);
    // (new rules, what is written, why)
    let cases = [
        (
            r#""a_to_b": {"mappings": {"id": "id", "x": {"to": "x", "transform": ["upper"]}}}, "b_to_a": {"mappings": {"id": "id", "x": "x"}}"#,
            "update x=V",
            "a field with a way back",
        ),
        (
            r#""a_to_b": {"mappings": {"id": "id", "x": {"to": "x", "transform": ["upper"]}}}, "b_to_a": {"mappings": {"id": "id"}}"#,
            "update x=V",
            "and without one",
        ),
    ];
    for (entry, expected, why) in cases {
        let rules = rules(entry);
        let mut pair = agreed(&before, "x=v");
        let first = plan_on(&mut pair, &rules, Occasion::NewRules);
        assert_eq!(words(&first.a_to_b, &rules, Side::B), expected, "{why}");
        let later = plan(&mut pair, &rules);
        assert_eq!(words(&later.a_to_b, &rules, Side::B), expected, "{why}: a job plans on its own");
        carry_out(&mut pair, &rules, Direction::AToB, &later.a_to_b);
        let at_last = plan(&mut pair, &rules);
        assert_eq!(words(&at_last.a_to_b, &rules, Side::B), "Agreed", "{why}");
        assert_eq!(pair.a_to_b.status, Status::Synced, "{why}");
    }
}

#[test]
fn rules_that_map_anew_stand_back_behind_what_somebody_does() {
    let upper = r#""a_to_b": {"mappings": {"id": "id", "x": {"to": "x", "transform": ["upper"]}, "y": "y"}}, "b_to_a": {"mappings": {"id": "id", "x": "x", "y": "y"}}"#;
    // (what `a` and `b` show then, what is done, why)
    let cases = [
        ("=", "=", ["update x=V", "Agreed"], "nobody does anything"),
        ("=", "x=w y=1", ["Agreed", "update x=w"], "edited where it was to be written"),
        ("x=u y=1", "=", ["update x=U", "Agreed"], "edited where it comes from"),
        ("=", "x=v y=2", ["update x=V", "update y=2"], "edited beside it"),
        ("=", "gone", ["OtherDirection", "delete"], "deleted: the rules bring nothing back"),
    ];
    for policy in ["a", "b", "newest", "manual"] {
        let (before, rules) = (rules(XY), rules(&format!(r#"{upper}, "conflict": "{policy}""#)));
        for (a, b, expected, why) in cases {
            let mut pair = agreed(&before, "x=v y=1");
            plan_on(&mut pair, &rules, Occasion::NewRules);
            for (side, now) in [(Side::A, a), (Side::B, b)] {
                match now {
                    "=" => {}
                    "gone" => {
                        observe_deleted(&mut pair, side, None, 1, NOW);
                    }
                    now => {
                        see(&mut pair, &rules, side, now);
                    }
                }
            }
            let decision = plan(&mut pair, &rules);
            let got = Direction::BOTH.map(|way| words(decision.action(way), &rules, way.to()));
            assert_eq!(got, expected, "{why}, {policy}");
            for direction in Direction::BOTH {
                carry_out(&mut pair, &rules, direction, decision.action(direction));
            }
            let rest = plan(&mut pair, &rules);
            assert!(!rest.b_to_a.is_write(), "{why}, {policy}: {rest:?}");
        }
    }
}

#[test]
fn what_a_reply_tells_beside_our_fields_is_an_edit_unless_it_was_compared() {
    let rules = rules(XY);
    // (how the destination looked before the write, whether it compared, what travels back)
    let cases = [
        ("x=1 y=1", true, "Agreed"),
        ("x=1 y=1", false, "update y=7"),
        // Edited twice: before the look, and between look and write.
        ("x=1 y=5", false, "update y=7"),
    ];
    for (there, compared, expected) in cases {
        let mut pair = agreed(&rules, "x=1 y=1");
        see(&mut pair, &rules, Side::A, "x=2 y=1");
        see(&mut pair, &rules, Side::B, there);
        let action = plan(&mut pair, &rules).a_to_b;
        let stored = image(&rules, Side::B, "x=2 y=7");
        carry_out_as(&mut pair, &rules, Direction::AToB, &action, Some(stored), compared);
        let decision = plan(&mut pair, &rules);
        assert_eq!(words(&decision.b_to_a, &rules, Side::A), expected, "{there}, compared: {compared}");
        assert_eq!(words(&decision.a_to_b, &rules, Side::B), "Agreed", "{there}, compared: {compared}");
    }
}

#[test]
fn a_canonical_form_is_adopted() {
    let rules = rules(XY);
    let mut pair = agreed(&rules, "x=a");
    see(&mut pair, &rules, Side::A, "x=B");
    let action = plan(&mut pair, &rules).a_to_b;
    carry_out_as(&mut pair, &rules, Direction::AToB, &action, Some(image(&rules, Side::B, "x=b")), false);
    assert_eq!(see(&mut pair, &rules, Side::B, "x=b"), Observation::Same);
    let decision = plan(&mut pair, &rules);
    assert!(!decision.a_to_b.is_write() && !decision.b_to_a.is_write(), "{decision:?}");
}

#[test]
fn the_same_look_still_tells_of_version_and_id() {
    let rules = rules(XY);
    let mut pair = agreed(&rules, "x=1");
    let meta = Meta { revision: Some("r2".into()), ..Meta::default() };
    assert_eq!(see_as(&mut pair, &rules, Side::B, "x=1", meta), Observation::Same, "nothing to store");
    assert_eq!(pair.b.revision.as_deref(), Some("r2"), "the next write is compared with it");
    let meta = Meta { id: Some("new".into()), ..Meta::default() };
    assert_eq!(see_as(&mut pair, &rules, Side::B, "x=1", meta), Observation::News, "another record");
    assert_eq!(pair.b.id.as_deref(), Some("new"));
}

#[test]
fn an_update_settled_after_the_deletion_was_seen_does_not_undo_it() {
    let rules = rules(XY);
    let mut pair = agreed(&rules, "x=1");
    see(&mut pair, &rules, Side::A, "x=2");
    let action = plan(&mut pair, &rules).a_to_b;
    observe_deleted(&mut pair, Side::B, None, 1, NOW);
    carry_out(&mut pair, &rules, Direction::AToB, &action);
    assert!(pair.b.now().is_none());
    assert_eq!(words(&plan(&mut pair, &rules).b_to_a, &rules, Side::A), "delete", "nothing was edited since");
}

#[test]
fn an_update_that_met_another_record_after_the_deletion_was_seen_takes_only_its_own_for_agreed() {
    let rules = rules(XY);
    let mut pair = agreed(&rules, "x=1 y=1");
    see(&mut pair, &rules, Side::A, "x=2 y=1");
    let action = plan(&mut pair, &rules).a_to_b;
    observe_deleted(&mut pair, Side::B, None, 1, NOW);
    let stored = image(&rules, Side::B, "x=2 y=7");
    carry_out_as(&mut pair, &rules, Direction::AToB, &action, Some(stored), false);
    see(&mut pair, &rules, Side::B, "x=2 y=7");
    let decision = plan(&mut pair, &rules);
    assert_eq!(words(&decision.b_to_a, &rules, Side::A), "update y=7", "somebody else made it so");
}

#[test]
fn a_create_that_arrives_after_its_source_was_deleted_is_taken_back() {
    let rules = rules(XY);
    let mut pair = pair();
    see(&mut pair, &rules, Side::A, "x=1");
    let action = plan(&mut pair, &rules).a_to_b;
    let made_from = pair.a.now().cloned();
    observe_deleted(&mut pair, Side::A, None, 1, NOW);
    arrives(&mut pair, &rules, Direction::AToB, &action, made_from.as_ref());
    assert_eq!(words(&plan(&mut pair, &rules).a_to_b, &rules, Side::B), "delete");
}

#[test]
fn an_edit_that_is_taken_back_while_its_create_is_in_flight_is_taken_back_there_too() {
    let rules = rules(XY);
    let mut pair = agreed(&rules, "x=1");
    see(&mut pair, &rules, Side::B, "x=2");
    observe_deleted(&mut pair, Side::A, None, 1, NOW);
    let action = plan(&mut pair, &rules).b_to_a;
    let made_from = pair.b.now().cloned();
    see(&mut pair, &rules, Side::B, "x=1");
    arrives(&mut pair, &rules, Direction::BToA, &action, made_from.as_ref());
    assert_eq!(words(&plan(&mut pair, &rules).b_to_a, &rules, Side::A), "update x=1");
}

#[test]
fn a_value_that_was_set_before_the_created_record_was_read_back_travels() {
    for first_contact in [ConflictPolicy::Newest, ConflictPolicy::A, ConflictPolicy::B] {
        let rules = rules_with(XY, first_contact, [true, true]);
        let mut pair = pair();
        see(&mut pair, &rules, Side::A, "x=1");
        let action = plan(&mut pair, &rules).a_to_b;
        carry_out(&mut pair, &rules, Direction::AToB, &action);
        see(&mut pair, &rules, Side::A, "x=1 y=5");
        let decision = plan(&mut pair, &rules);
        assert_eq!(words(&decision.a_to_b, &rules, Side::B), "update y=5", "{first_contact:?}");
    }
}
