//! The one meaning that all three forms compile to.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::way::Way;
use crate::engine::record::{Direction, Schema, Side, Value, Values};

/// What compiling needs to know of a link.
#[derive(Clone, Debug, PartialEq)]
pub struct LinkFacts {
    pub link: String,
    pub a: EndFacts,
    pub b: EndFacts,
    /// The configured `direction`: which ways exist at all.
    pub a_to_b: bool,
    pub b_to_a: bool,
    pub first_contact: ConflictPolicy,
}

/// What compiling needs to know of one end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndFacts {
    /// The configured system's name and its connector's: form 3 may name either.
    pub system: String,
    pub connector: String,
    pub stream: String,
    pub key: Vec<String>,
    /// The fields that the stream is known to have.
    pub fields: Vec<String>,
    /// Other fields may come up or be made on first write.
    pub open: bool,
    /// Fields that refer to another record, whose fields can be read as `field.other`.
    pub walks: Vec<String>,
    /// Fields that can't be written there, with the reason and what helps.
    pub barred: BTreeMap<String, String>,
}

/// Who wins a field that both sides changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConflictPolicy {
    Newest,
    A,
    B,
    Manual,
    Max,
    Min,
    Union,
    NonEmpty,
}

/// What a deletion at one end means for the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeletePolicy {
    Propagate,
    Ignore,
    /// Writes these values (by position at the other end) instead of deleting.
    Archive(Vec<(usize, Value)>),
}

/// Which kinds of writes a direction may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operations {
    pub create: bool,
    pub update: bool,
    pub delete: bool,
}

/// A record is held back: the rule in words, for its status (`filters.status`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    pub rule: String,
}

/// A record can't be mapped: a failed transform, a missing required field, a wrong type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid {
    pub field: String,
    pub rule: String,
    pub reason: String,
}

/// Values for the other end, by position of its shape; `Absent` where nothing is to be written.
pub type Mapped = Values;

/// The rules of one link, compiled against the fields of both streams.
#[derive(Debug)]
pub struct LinkRules {
    /// The version of the file that they came from.
    pub version: u32,
    /// Tells equal meanings apart from different ones: a reload that leaves it as it is re-plans
    /// nothing.
    pub fingerprint: u128,
    pub(super) shapes: [Arc<Schema>; 2],
    pub(super) keys: [Vec<usize>; 2],
    pub(super) ways: [Option<Way>; 2],
    /// How first contact and field conflicts are settled.
    pub first_contact: ConflictPolicy,
    pub(super) conflict: ConflictPolicy,
    /// The policies of single fields, by position at each end.
    pub(super) conflicts: [Vec<(usize, ConflictPolicy)>; 2],
    pub(super) deletes: [DeletePolicy; 2],
    pub(super) words: Vec<String>,
}

impl LinkRules {
    /// Returns the fields that the rules know at one end, the key's among them.
    pub fn shape(&self, side: Side) -> &Arc<Schema> {
        let [a, b] = &self.shapes;
        match side {
            Side::A => a,
            Side::B => b,
        }
    }

    /// Returns the positions of the key fields in the shape of one end.
    pub fn key(&self, side: Side) -> &[usize] {
        let [a, b] = &self.keys;
        match side {
            Side::A => a,
            Side::B => b,
        }
    }

    /// Returns a direction's rules; `None` where nothing travels that way.
    pub fn way(&self, direction: Direction) -> Option<&Way> {
        let [a_to_b, b_to_a] = &self.ways;
        match direction {
            Direction::AToB => a_to_b.as_ref(),
            Direction::BToA => b_to_a.as_ref(),
        }
    }

    /// Returns who wins where both sides changed fields that stand for each other: `a` and `b` are
    /// their positions.
    pub fn conflict(&self, a: usize, b: usize) -> ConflictPolicy {
        let [of_a, of_b] = &self.conflicts;
        let find = |policies: &[(usize, ConflictPolicy)], at: usize| {
            policies.iter().find(|(position, _)| *position == at).map(|(_, policy)| *policy)
        };
        find(of_a, a).or_else(|| find(of_b, b)).unwrap_or(self.conflict)
    }

    /// Returns what a deletion at the direction's source means for its destination.
    pub fn deletes(&self, direction: Direction) -> &DeletePolicy {
        let [a_to_b, b_to_a] = &self.deletes;
        match direction {
            Direction::AToB => a_to_b,
            Direction::BToA => b_to_a,
        }
    }

    /// Says in words what the rules mean for this link, which end is which among them: one line
    /// each, for `record-sync check`.
    pub fn describe(&self) -> &[String] {
        &self.words
    }

    /// Writes what decides, and nothing else, in one form: positions, names, policies. Neither
    /// the version nor the way the file was written is in it.
    pub(super) fn meaning(&self) -> String {
        let names: Vec<Vec<&str>> = self.shapes.iter().map(|shape| shape.names().collect()).collect();
        format!(
            "{names:?} {:?} {:?} {:?} {:?} {:?} {:?}",
            self.keys, self.ways, self.first_contact, self.conflict, self.conflicts, self.deletes
        )
    }
}
