//! From an observed change to at most one action a direction.

mod pair;

pub use pair::{DirectionState, Pair, Seen, SideState, Status};
