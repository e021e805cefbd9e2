//! What the reading end knows of the writing end beside it: whether anybody but us has written.
//!
//! Every replacement is made from a content whose stamp is known, and fails where another stands there by then. As long
//! as one was made from the next, from what the reading end has read to what stands there now, all that changed is our
//! own doing and was told to whoever asked for it.

use std::sync::{Arc, Mutex, PoisonError};

use super::snapshot::Stamp;

/// A state of the file; `None`: there is no file.
pub(super) type State = Option<Stamp>;

/// From one state to another by nothing but writes of one end of a link.
#[derive(Clone, Copy, Debug)]
struct Way {
    from: State,
    to: State,
}

/// The way from what was read last, as far as there is one. Shared by both ends of one end of a link.
#[derive(Clone, Debug, Default)]
pub(super) struct Trail(Arc<Mutex<Option<Way>>>);

impl Trail {
    /// Begins anew at what is about to be read.
    pub fn begin(&self, at: State) {
        self.set(Some(Way { from: at, to: at }));
    }

    /// Takes note of a replacement that we made, unless others have written since (`None`) or it is not told of every
    /// record that looks otherwise now.
    pub fn go_on(&self, before: State, after: Option<Stamp>, is_told: bool) {
        let way = self.way().filter(|way| is_told && way.to == before);
        self.set(way.zip(after).map(|(way, after)| Way { to: Some(after), ..way }));
    }

    /// Tells whether nothing but our writes lies between two states.
    pub fn leads(&self, from: State, to: State) -> bool {
        self.way().is_some_and(|way| way.from == from && way.to == to)
    }

    fn way(&self) -> Option<Way> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, way: Option<Way>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = way;
    }
}
