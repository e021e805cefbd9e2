//! Values that come round in a circle, and when to stop them.
//!
//! Two systems that each bring a value into their own form, without saying so when they are written to,
//! look like two people who edit against each other: every write of ours comes back as an edit. What tells
//! them apart is that the very same write comes again, with the way back in between, and soon.
//!
//! Invariant: a write is stopped only where it was made [`ROUNDS_MAX`] times before, each time undone by a
//! write in the other direction, with no longer rest than the window in between. So an edit to another
//! value always passes, and so does one made after a rest.

use std::collections::VecDeque;
use std::time::Duration;

use super::{Action, Decision, Pair};
use crate::engine::record::{Direction, Schema, Timestamp, Value, encode_values};
use crate::engine::rules::{Invalid, LinkRules};

/// Rounds that are made before a circle is believed.
pub const ROUNDS_MAX: usize = 3;
/// What the rounds are told apart by: both ways of each, and a little more.
const TURNS_MAX: usize = 2 * ROUNDS_MAX + 2;
/// Characters of a value that are shown.
const SHOWN_MAX: usize = 60;

/// The rule's name in statuses and dead letters.
pub const OSCILLATING: &str = "oscillating";

/// What was lately written to both sides of one pair.
#[derive(Clone, Debug, Default)]
pub struct Circle {
    turns: VecDeque<Turn>,
}

#[derive(Clone, Debug)]
struct Turn {
    direction: Direction,
    print: u64,
    at: Timestamp,
    shown: String,
}

impl Circle {
    /// Notes a write that was delivered; tells whether it was an echo: the very same one was made within
    /// the window, and undone by a write the other way.
    pub fn note(
        &mut self,
        direction: Direction,
        action: &Action,
        rules: &LinkRules,
        at: Timestamp,
        window: Duration,
    ) -> bool {
        if !action.is_write() {
            return false;
        }
        let is_echo = self.rounds(direction, action, at, window) > 0;
        if self.turns.len() >= TURNS_MAX {
            self.turns.pop_front();
        }
        // The first write of a pair is nearly always the last as well: it is shown by those that follow.
        let shown =
            if self.turns.is_empty() { String::new() } else { show(action, rules.shape(direction.to())) };
        self.turns.push_back(Turn { direction, print: print(action), at, shown });
        is_echo
    }

    /// Tells whether nothing was written within the window.
    pub fn is_over(&self, now: Timestamp, window: Duration) -> bool {
        self.turns.back().is_none_or(|turn| now.since(turn.at) > window)
    }

    /// Gives the circle in words where this write would be one more round of it.
    pub fn comes_round(
        &self,
        direction: Direction,
        action: &Action,
        now: Timestamp,
        window: Duration,
    ) -> Option<String> {
        let rounds = self.rounds(direction, action, now, window);
        (rounds >= ROUNDS_MAX).then(|| self.words())
    }

    /// Counts how often this write was made and undone, with no longer rest than the window in between.
    fn rounds(&self, direction: Direction, action: &Action, now: Timestamp, window: Duration) -> usize {
        if !action.is_write() || self.turns.is_empty() {
            return 0;
        }
        let print = print(action);
        let (mut rounds, mut undone, mut later) = (0, false, now);
        for turn in self.turns.iter().rev() {
            if later.since(turn.at) > window {
                break;
            }
            later = turn.at;
            if turn.direction != direction {
                undone = true;
            } else if turn.print == print && undone {
                (rounds, undone) = (rounds + 1, false);
            }
        }
        rounds
    }

    /// The last round: a write each way.
    fn words(&self) -> String {
        let last = self.turns.iter().rev().take(2).rev();
        let turns: Vec<String> =
            last.map(|turn| format!("{} {}", turn.direction.as_str(), turn.shown)).collect();
        turns.join(", then ")
    }
}

/// Stops what would go round once more; the difference stays, and a dead letter says why.
pub fn stop(circle: &Circle, pair: &Pair, decision: &mut Decision, now: Timestamp, window: Duration) {
    for direction in Direction::BOTH {
        let action = decision.action(direction);
        let Some(circle) = circle.comes_round(direction, action, now, window) else { continue };
        let field = match action {
            Action::Create(values) | Action::Update(values) => first_field(pair, direction, values),
            _ => String::new(),
        };
        let reason = format!(
            "the values come round in a circle ({circle}, and so on): both sides keep changing what is written to \
             them; make them store one form, or give one of them the say in the rules"
        );
        let stopped = Action::Invalid(Invalid { field, rule: OSCILLATING.to_owned(), reason });
        match direction {
            Direction::AToB => decision.a_to_b = stopped,
            Direction::BToA => decision.b_to_a = stopped,
        }
    }
}

fn first_field(pair: &Pair, direction: Direction, values: &[Value]) -> String {
    let shape = pair.side(direction.to()).now().map(|image| &image.shape);
    let at = values.iter().position(|value| !value.is_missing());
    at.and_then(|at| shape?.name(at)).unwrap_or_default().to_owned()
}

/// Tells writes apart.
fn print(action: &Action) -> u64 {
    let mut bytes = Vec::with_capacity(128);
    match action {
        Action::Create(values) => {
            bytes.push(1);
            encode_values(values, &mut bytes);
        }
        Action::Update(values) => {
            bytes.push(2);
            encode_values(values, &mut bytes);
        }
        _ => bytes.push(3),
    }
    xxhash_rust::xxh3::xxh3_64(&bytes)
}

/// What a write says, shortened.
fn show(action: &Action, shape: &Schema) -> String {
    let (Action::Create(values) | Action::Update(values)) = action else { return "deletes it".to_owned() };
    let fields = shape.names().zip(values).filter(|(_, value)| !value.is_missing());
    let shown: Vec<String> = fields
        .take(3)
        .map(|(name, value)| {
            let text = value.to_plain().map_or_else(|| "null".to_owned(), |text| format!("{text:?}"));
            let short: String = text.chars().take(SHOWN_MAX).collect();
            format!("{name} = {short}")
        })
        .collect();
    shown.join(", ")
}
