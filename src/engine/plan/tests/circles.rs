//! Two systems that each keep a value in their own form, and what is told apart from them.

use std::time::Duration;

use super::*;
use crate::engine::plan::circle::{self, Circle, OSCILLATING};

const WINDOW: Duration = Duration::from_secs(600);

/// A pair with its memory, at a time that goes on.
struct World {
    rules: LinkRules,
    pair: Pair,
    circle: Circle,
    now: Timestamp,
    echoes: usize,
}

impl World {
    fn new() -> Self {
        let rules = rules(XY);
        let mut pair = pair();
        for side in Side::BOTH {
            look(&mut pair, &rules, side, "x=start", "=");
        }
        Self { rules, pair, circle: Circle::default(), now: NOW, echoes: 0 }
    }

    fn plan(&mut self) -> Decision {
        let mut decision = reconcile(&mut self.pair, &self.rules, Occasion::Change);
        circle::stop(&self.circle, &self.pair, &mut decision, self.now, WINDOW);
        mark(&mut self.pair, &decision, &self.rules, self.now);
        decision
    }

    /// Somebody, or the system itself, leaves this at a side; gives how many writes that made.
    fn shows(&mut self, side: Side, now: &str, rest: Duration) -> usize {
        self.now = self.now.plus(rest);
        see(&mut self.pair, &self.rules, side, now);
        let decision = self.plan();
        let mut writes = 0;
        for direction in Direction::BOTH {
            let action = decision.action(direction);
            if action.is_write() {
                writes += 1;
                self.echoes +=
                    usize::from(self.circle.note(direction, action, &self.rules, self.now, WINDOW));
                carry_out(&mut self.pair, &self.rules, direction, action);
            }
        }
        writes
    }
}

const SOON: Duration = Duration::from_secs(5);

#[test]
fn two_systems_with_forms_of_their_own_are_stopped() {
    let mut world = World::new();
    let mut writes = world.shows(Side::A, "x=Name", SOON);
    for _ in 0..20 {
        // b keeps it in small letters and a in large ones, and neither says so.
        writes += world.shows(Side::B, "x=name", SOON);
        writes += world.shows(Side::A, "x=NAME", SOON);
    }
    assert!(writes <= 8, "{writes} writes before it was stopped");
    assert!((1..writes).contains(&world.echoes), "{} of {writes} writes repeat another", world.echoes);
    let stopped = [&world.pair.a_to_b, &world.pair.b_to_a];
    let error = stopped.iter().find_map(|way| way.error.clone()).expect("a reason");
    for part in [OSCILLATING, "NAME", "name", "a_to_b", "b_to_a"] {
        assert!(error.contains(part), "the circle is shown, with {part}: {error}");
    }
    assert!(stopped.iter().any(|way| way.status == super::super::Status::Dead), "{stopped:?}");
    assert_eq!(world.shows(Side::A, "x=Other", SOON), 1, "an edit to something else passes");
}

#[test]
fn what_is_no_circle_passes() {
    let long = Duration::from_secs(3600);
    // (who edits, to what, after which rest; why)
    type Edits = &'static [(Side, &'static str)];
    let cases: [(Edits, Duration, &str); 4] = [
        (&[(Side::A, "x=on"), (Side::A, "x=off")], SOON, "one side flips a switch"),
        (&[(Side::A, "x=open"), (Side::B, "x=closed")], long, "two people at work, with time in between"),
        (
            &[(Side::A, "x=1 y=1"), (Side::B, "x=1 y=2"), (Side::A, "x=1 y=3"), (Side::B, "x=1 y=4")],
            long,
            "and more",
        ),
        (&[(Side::B, "x=b")], SOON, "the same edit again and again"),
    ];
    for (edits, rest, why) in cases {
        let mut world = World::new();
        for round in 0..12 {
            for (side, now) in edits {
                world.shows(*side, now, rest);
                let dead = [&world.pair.a_to_b, &world.pair.b_to_a]
                    .iter()
                    .any(|way| way.status == super::super::Status::Dead);
                assert!(!dead, "{why}: round {round}, {now}");
            }
        }
        assert_eq!(world.echoes, 0, "{why}: nothing came round");
    }
}

#[test]
fn new_values_each_time_are_no_circle() {
    let mut world = World::new();
    for round in 0..50 {
        let side = if round % 2 == 0 { Side::A } else { Side::B };
        assert_eq!(world.shows(side, &format!("x={round}"), SOON), 1, "round {round}");
    }
}
