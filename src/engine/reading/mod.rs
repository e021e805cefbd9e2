//! How a stream that is read by its stamps is believed: how far back each read begins, and whether the
//! stream itself went back.
//!
//! Everything here is pure. Moments are the source's own stamps, never our clock.

mod overlap;
mod witness;

pub use overlap::{OVERLAP_MAX, Overlap, Reach};
pub use witness::{Fate, WITNESSES, Witnesses, went_back};
