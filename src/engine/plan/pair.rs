//! Everything that is known of two records that are one thing.
//!
//! A pair is a small reconciliation loop: `base` is what both sides last agreed on, `seen` is what
//! each side looks like now. Whatever differs and may travel is still to be delivered; so a restart,
//! a replayed page or our own write read back end in "nothing to do".

use crate::engine::record::{Direction, Image, Key, RemoteId, Revision, Side, Timestamp};

/// The stored knowledge of one pair.
#[derive(Clone, Debug, PartialEq)]
pub struct Pair {
    pub key: Key,
    /// Counts the commits of this pair; 0 says that it was never stored. A commit that expects
    /// another version than the stored one changes nothing.
    pub version: u32,
    /// The rules that last decided it.
    pub rules_version: u32,
    pub a: SideState,
    pub b: SideState,
    pub a_to_b: DirectionState,
    pub b_to_a: DirectionState,
}

/// What is known of one side of a pair.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SideState {
    pub id: Option<RemoteId>,
    pub revision: Option<Revision>,
    /// What this side looked like when both last agreed; `None` before they ever did, and once a
    /// deletion was agreed on.
    pub base: Option<Image>,
    pub seen: Seen,
    /// When we last saw it change.
    pub seen_at: Timestamp,
    /// The system's own stamp of that change.
    pub modified_at: Option<Timestamp>,
    /// The number of the scan of this side during which the record was last seen changed or written
    /// by us: a scan that ends may call a record missing only where this is older than the scan.
    pub epoch: u32,
}

/// What one side looks like now, as compared with its base.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Seen {
    /// Never seen on this side.
    #[default]
    Never,
    /// Just as the base says.
    AsBase,
    /// Otherwise than the base says.
    Changed(Image),
    /// Gone, since that moment where it is known.
    Deleted(Option<Timestamp>),
}

impl SideState {
    /// Returns what the side looks like now; `None` where there is no record.
    pub fn now(&self) -> Option<&Image> {
        match &self.seen {
            Seen::Never | Seen::Deleted(_) => None,
            Seen::AsBase => self.base.as_ref(),
            Seen::Changed(image) => Some(image),
        }
    }
}

/// What users read of one direction of a record. It tells the truth: `Synced` means that the
/// destination confirmed this very version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Status {
    /// Nothing was ever to be done in this direction.
    #[default]
    None,
    Queued,
    Retrying,
    Waiting,
    Conflict,
    Synced,
    SkippedByRule,
    Dead,
    Cancelled,
}

impl Status {
    /// Every status, in the order of its stored code.
    pub const ALL: [Self; 9] = [
        Self::None,
        Self::Queued,
        Self::Retrying,
        Self::Waiting,
        Self::Conflict,
        Self::Synced,
        Self::SkippedByRule,
        Self::Dead,
        Self::Cancelled,
    ];

    /// Returns the word that users read.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Queued => "queued",
            Self::Retrying => "retrying",
            Self::Waiting => "waiting",
            Self::Conflict => "conflict",
            Self::Synced => "synced",
            Self::SkippedByRule => "skipped_by_rule",
            Self::Dead => "dead",
            Self::Cancelled => "cancelled",
        }
    }
}

/// The status of one direction with what explains it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DirectionState {
    pub status: Status,
    pub attempts: u32,
    /// The last fault, or the rule that holds the record back.
    pub error: Option<String>,
    pub rules_version: u32,
    pub queued_at: Option<Timestamp>,
    pub synced_at: Option<Timestamp>,
}

impl Pair {
    /// Makes an empty pair that no store holds yet.
    pub fn new(key: Key) -> Self {
        Self {
            key,
            version: 0,
            rules_version: 0,
            a: SideState::default(),
            b: SideState::default(),
            a_to_b: DirectionState::default(),
            b_to_a: DirectionState::default(),
        }
    }

    /// Returns one side.
    pub fn side(&self, side: Side) -> &SideState {
        match side {
            Side::A => &self.a,
            Side::B => &self.b,
        }
    }

    /// Returns one side to change it.
    pub fn side_mut(&mut self, side: Side) -> &mut SideState {
        match side {
            Side::A => &mut self.a,
            Side::B => &mut self.b,
        }
    }

    /// Returns one direction's state.
    pub fn way(&self, direction: Direction) -> &DirectionState {
        match direction {
            Direction::AToB => &self.a_to_b,
            Direction::BToA => &self.b_to_a,
        }
    }

    /// Returns one direction's state to change it.
    pub fn way_mut(&mut self, direction: Direction) -> &mut DirectionState {
        match direction {
            Direction::AToB => &mut self.a_to_b,
            Direction::BToA => &mut self.b_to_a,
        }
    }
}
