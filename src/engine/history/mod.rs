//! What happened to a pair: seen, decided, sent, answered, overwritten.
//!
//! An [`Event`] tells what the pair itself can't: a pair only knows how things stand now. A record's
//! first write therefore makes no event, the pair says when and by which rules it was.
//!
//! Invariant: a value in an event comes back exactly as it was, so that it can be brought back.

mod cell;
mod tell;
#[cfg(test)]
mod tests;
mod undo;
mod words;

use serde::{Deserialize, Serialize};

pub use cell::Cell;
pub use tell::{Verdicts, held_by, is_told_by_the_pair, written};
pub use undo::{Chosen, Kept, Plan, Restore, plan};

use super::plan::Action;
use super::record::{Direction, Key, Side, Timestamp};

/// One thing that happened to a pair.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    pub at: Timestamp,
    pub key: Key,
    /// The direction it tells of; `None` where it concerns the pair as a whole.
    pub direction: Option<Direction>,
    pub rules_version: u32,
    /// The pass, or the request, that it belongs to.
    pub run: String,
    pub attempt: u32,
    pub what: What,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// The destination confirmed a write.
    Written(Written),
    /// An attempt failed and will be made again.
    Failed(Failure),
    /// It can't be delivered, until somebody acts.
    Dead(Failure),
    /// A rule began to hold the record back.
    Held { rule: String },
    /// It does so no longer.
    Released { rule: String },
    /// Both sides changed the same fields, and nobody may decide but a person.
    Conflict(Vec<Contested>),
    /// A person decided.
    Resolved(Vec<Resolution>),
    /// Neither side has the record any more.
    Forgotten,
}

impl What {
    /// The kinds that a store tells apart without reading them, in the order of their stored code.
    pub const KINDS: [&'static str; 8] =
        ["written", "failed", "dead", "held", "released", "conflict", "resolved", "forgotten"];

    /// Returns the word for the kind.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Written(_) => "written",
            Self::Failed(_) => "failed",
            Self::Dead(_) => "dead",
            Self::Held { .. } => "held",
            Self::Released { .. } => "released",
            Self::Conflict(_) => "conflict",
            Self::Resolved(_) => "resolved",
            Self::Forgotten => "forgotten",
        }
    }

    /// Writes it as JSON, exactly.
    pub fn encode(&self) -> String {
        // Maps with names that are no text are the only thing that can't be written; there are none.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Reads what [`Self::encode`] wrote.
    pub fn decode(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }
}

/// Which kind of write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    Create,
    Update,
    Delete,
}

impl Operation {
    /// Returns the kind of an action; `None` where it writes nothing.
    pub fn of(action: &Action) -> Option<Self> {
        match action {
            Action::Create(_) => Some(Self::Create),
            Action::Update(_) => Some(Self::Update),
            Action::Delete => Some(Self::Delete),
            Action::Nothing(_) | Action::Skip(_) | Action::Invalid(_) | Action::Conflict(_) => None,
        }
    }
}

/// A confirmed write with what it overwrote.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Written {
    pub operation: Operation,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    pub fields: Vec<Overwritten>,
    /// What had changed at the source.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub seen: Vec<Moved>,
    /// The source's own stamp of that change, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub modified_at: Option<i64>,
    /// It was not the planner's: an application, a person or an undo asked for it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub asked: bool,
}

/// One field of the destination.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Overwritten {
    pub name: String,
    /// What stood there.
    pub before: Cell,
    pub sent: Cell,
    /// What the destination made of it, where it said something else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stored: Option<Cell>,
    /// What both sides last agreed on, where the destination had moved as well: its value lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agreed: Option<Cell>,
    /// The policy that decided, where both sides had a value of their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
}

impl Overwritten {
    /// Returns what we left at the destination.
    pub fn ours(&self) -> &Cell {
        self.stored.as_ref().unwrap_or(&self.sent)
    }
}

/// One field that had changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Moved {
    pub name: String,
    pub from: Cell,
    pub to: Cell,
}

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    pub code: String,
    pub message: String,
}

/// One field with two new values.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Contested {
    pub a_field: String,
    pub b_field: String,
    pub a: Cell,
    pub b: Cell,
}

/// What a person picked for one field.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Resolution {
    pub a_field: String,
    pub b_field: String,
    /// `a` or `b`; a value of its own where left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pick: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<Cell>,
}

impl Resolution {
    /// Makes the pick of one side's value.
    pub fn side(a_field: &str, b_field: &str, side: Side) -> Self {
        Self {
            a_field: a_field.to_owned(),
            b_field: b_field.to_owned(),
            pick: Some(side.as_str().to_owned()),
            value: None,
        }
    }
}
