//! How the records of a page look, for a store to lay beside what it knows.
//!
//! Nearly all of what a scan shows is as known. Compared as bytes where they are stored, such records
//! cost neither an image nor a pair.

use std::sync::Arc;

use crate::engine::plan::{Pair, Status};
use crate::engine::record::{Image, Schema, Side};

/// The images of one side, in the order of the keys that are asked for.
#[derive(Clone, Debug)]
pub struct Looks {
    pub side: Side,
    pub shape: Arc<Schema>,
    /// [`Image::encode`] of one after the other.
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

/// What is known of a key.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "one a record of a page; what is left out is most of a scan")]
pub enum Known {
    Nothing,
    /// The record looks on that side as it was said to, and nothing of it is dead.
    Same,
    Pair(Pair),
}

impl Known {
    /// Returns the pair, where it is told.
    pub fn pair(&self) -> Option<&Pair> {
        match self {
            Self::Pair(pair) => Some(pair),
            Self::Nothing | Self::Same => None,
        }
    }

    /// Lays a look beside a pair.
    pub fn beside(pair: Option<Pair>, look: Option<&[u8]>, looks: &Looks) -> Self {
        let Some(pair) = pair else { return Self::Nothing };
        let is_same = look.is_some_and(|look| {
            let now = pair.side(looks.side).now();
            pair.way(looks.side.outward()).status != Status::Dead
                && now.is_some_and(|now| {
                    let mut bytes = Vec::with_capacity(look.len());
                    now.encode(&mut bytes);
                    *now.shape == *looks.shape && bytes == look
                })
        });
        if is_same { Self::Same } else { Self::Pair(pair) }
    }
}

impl Looks {
    /// Begins with none.
    pub fn new(side: Side, shape: &Arc<Schema>) -> Self {
        Self { side, shape: Arc::clone(shape), bytes: Vec::new(), ends: Vec::new() }
    }

    /// Adds how the next record looks; `None`, or an image of another shape, is always told in full.
    pub fn push(&mut self, image: Option<&Image>) {
        if let Some(image) = image
            && Arc::ptr_eq(&image.shape, &self.shape)
        {
            image.encode(&mut self.bytes);
        }
        self.ends.push(self.bytes.len());
    }

    /// Returns the bytes of a look; `None` where nothing was said.
    pub fn at(&self, place: usize) -> Option<&[u8]> {
        let start = place.checked_sub(1).and_then(|before| self.ends.get(before)).copied().unwrap_or(0);
        self.bytes.get(start..*self.ends.get(place)?).filter(|look| !look.is_empty())
    }
}
