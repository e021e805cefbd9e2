//! When work may flow: the gate and its parts.
//!
//! Everything here is pure: `now` is an argument, and instead of waiting a function says when it
//! is worth asking again. `runtime/gate.rs` is the shell that waits.

mod adapt;
mod backoff;
mod breaker;
mod gate;
mod limiter;
mod tail;

pub use adapt::{Adapt, Went};
pub use backoff::full_jitter;
pub use breaker::{
    Breaker, BreakerMemory, BreakerPolicy, BreakerState, BreakerView, Ended, Permit, Tripped, Turn,
};
pub use gate::{Admission, Budget, Facts, Gate, GatePolicy, GateView, Why};
pub use limiter::{Limiter, Limits, SlotId};
pub use tail::Tail;

use crate::engine::record::Timestamp;

/// How urgent a call is; the more urgent one goes first.
///
/// The same three as `connectors::Class`, which the engine can't see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Urgency {
    /// A person waits for it.
    Interactive,
    /// A change that happened just now.
    Live,
    /// First loads, full scans, re-planning.
    Backfill,
}

impl Urgency {
    /// Every urgency, the most urgent first.
    pub const ALL: [Self; 3] = [Self::Interactive, Self::Live, Self::Backfill];
}

/// When it is worth asking again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Again {
    /// Not before this moment.
    At(Timestamp),
    /// Not before a call under way has ended or the limits have changed.
    AfterReply,
}

impl Again {
    /// Returns the moment, where it is known.
    pub fn at(self) -> Option<Timestamp> {
        match self {
            Self::At(at) => Some(at),
            Self::AfterReply => None,
        }
    }
}
