//! What the planner can decide.

use crate::engine::record::{Direction, Side, Value, Values};
use crate::engine::rules::{Held, Invalid};

/// Why nothing is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Both sides agree under the rules.
    Agreed,
    /// The rules let nothing travel this way, or not this kind of write.
    NoWay,
    /// A deletion that the policy ignores.
    DeleteIgnored,
    /// There is nothing on this side that could travel.
    NothingThere,
    /// The other direction settles it.
    OtherDirection,
}

/// One decision for one direction.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    Nothing(Why),
    /// Values by position of the destination's shape; absent ones are not written.
    Create(Values),
    /// The same: only fields to change are there.
    Update(Values),
    Delete,
    /// A rule holds the record back.
    Skip(Held),
    /// The record can't be mapped; a dead letter.
    Invalid(Invalid),
    /// Parked until a person picks.
    Conflict(Vec<ConflictField>),
}

impl Action {
    /// Tells whether something is to be written at the destination.
    pub fn is_write(&self) -> bool {
        matches!(self, Self::Create(_) | Self::Update(_) | Self::Delete)
    }
}

/// One field with two new values.
#[derive(Clone, Debug, PartialEq)]
pub struct ConflictField {
    pub a_field: String,
    pub b_field: String,
    pub a_value: Value,
    pub b_value: Value,
}

/// What is to be done with a pair: an action a direction, and what is agreed already.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    pub a_to_b: Action,
    pub b_to_a: Action,
    /// Positions (at `a`, at `b`) whose base must not move yet, because their difference has still
    /// to travel. All others are agreed on as they are. `None`: no base moves at all.
    pub(super) open: Option<[Vec<bool>; 2]>,
    /// What the rules map anew although nobody worked on it: (side, position, what its base shall
    /// say until it was delivered), so that the difference outlives this moment.
    pub(super) again: Vec<(Side, usize, Value)>,
    /// No side has the record any more: nothing is left to be known.
    pub forget: bool,
}

impl Decision {
    /// Returns the action of one direction.
    pub fn action(&self, direction: Direction) -> &Action {
        match direction {
            Direction::AToB => &self.a_to_b,
            Direction::BToA => &self.b_to_a,
        }
    }

    pub(super) fn of(direction: Direction, action: Action, other: Action) -> Self {
        let (a_to_b, b_to_a) = match direction {
            Direction::AToB => (action, other),
            Direction::BToA => (other, action),
        };
        Self { a_to_b, b_to_a, open: None, again: Vec::new(), forget: false }
    }

    pub(super) fn open_at(&self, side: Side) -> Option<&[bool]> {
        let [a, b] = self.open.as_ref()?;
        Some(match side {
            Side::A => a,
            Side::B => b,
        })
    }
}
