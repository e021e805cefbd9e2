//! What the reading end learns from the writing end beside it: whether anybody but us has written.
//!
//! SQLite counts for each connection what others have committed (`PRAGMA data_version`). The count of the writing end
//! does not move with its own writes. As long as it stands, whatever the reading end finds changed is our own doing and
//! was told to whoever asked for it.

use std::sync::{Arc, Mutex, Weak};

use super::db::lock;

/// How a writing end stands. Between two equal stands nobody else has written, and nothing was written that could have
/// moved more than was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stand {
    /// Which opening of the file it is.
    pub generation: u64,
    /// What others have committed, as SQLite counts it.
    pub version: i64,
    /// Writes of our own that may have moved more than was told.
    pub doubts: u64,
}

/// Whoever can say how it stands.
pub(super) trait Stands: Send {
    /// `None` where it can't be told.
    fn stand(&mut self) -> Option<Stand>;
}

/// One that writes; gone when nobody can write by it any more.
type Writer = Weak<Mutex<dyn Stands>>;

/// The writing end of one end of a link, as far as there is one.
#[derive(Clone, Default)]
pub(super) struct Twin(Arc<Mutex<Option<Writer>>>);

impl Twin {
    /// Says who writes from now on.
    pub fn meet(&self, writer: Writer) {
        *lock(&self.0) = Some(writer);
    }

    /// Asks how the writing end stands; waits for a write that is under way.
    pub fn stand(&self) -> Option<Stand> {
        let writer = lock(&self.0).as_ref().and_then(Weak::upgrade)?;
        lock(&writer).stand()
    }
}
