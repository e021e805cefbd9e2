//! Writes whose answers are not known, batch by batch.
//!
//! Invariant: an answer is stored by the commit or the settlement that holds what it means, never beside it; a
//! batch goes when its last write is answered.

use std::collections::BTreeSet;

/// A write of a batch that [`Store::remember`](super::Store::remember) has stored, whose answer is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Answered {
    pub batch: i64,
    /// Which of its writes, counted from 0; `None` for all of them.
    pub place: Option<u32>,
}

/// A batch of writes that are not all answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remembered {
    pub batch: i64,
    /// What was sent, in the form that [`sent`](crate::engine::plan::sent) owns.
    pub slip: Vec<u8>,
    /// The places of those that are answered.
    pub answered: BTreeSet<u32>,
}
