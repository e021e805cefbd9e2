//! From an observed change to at most one action a direction.
//!
//! The flow of one change: [`Projector`] (normalise, validate, identity) gives key and image;
//! [`observe`] lays it beside what was known (delta); [`reconcile`] maps and merges both sides into
//! a [`Decision`]; [`mark`] writes the decision into the statuses; and, once a destination has
//! confirmed a write, [`delivered`] moves the base.
//!
//! Invariant: all of it is pure and total; the same pair under the same rules gives the same
//! decision, whichever side was polled first.

mod action;
pub mod anew;
pub mod aside;
pub mod circle;
mod deliver;
pub mod fuse;
mod merge;
mod observe;
mod pair;
mod pick;
mod project;
mod recognise;
mod reconcile;
pub mod sent;
#[cfg(test)]
mod tests;

pub use action::{Action, ConflictField, Decision, Why};
pub use deliver::{MadeFrom, Written, delivered, mark};
pub use observe::{Observation, observe, observe_deleted};
pub use pair::{DirectionState, Pair, Seen, SideState, Status};
pub use pick::{Pick, pick};
pub use project::{Projected, Projector};
pub use recognise::recognise;
pub use reconcile::{Occasion, reconcile};
