//! Kill points: the real binary, killed or refused by the system at any call that changes something,
//! started again, and nothing is lost, doubled or left to a person.
//!
//! Invariant 12 of the design, by `strace`: a reference run is counted first, then played once for each
//! of its calls and each fault. `make crash` takes every point, the tests a sample that another seed
//! picks each day; `POINT=…` plays one, with the end of its log.
//!
//! Not shown here: what a power cut does to pages that the disk had not yet written.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test that meets the unexpected has to fail loudly; the sample ends by the clock"
)]

#[allow(dead_code, reason = "shared by test binaries, none of which uses all of it")]
#[path = "../common/home.rs"]
mod home;
#[allow(dead_code, reason = "shared by test binaries, none of which uses all of it")]
#[path = "../common/outside.rs"]
mod outside;
mod person;
mod play;
mod point;
mod proof;
mod scene;
mod trace;
mod verdict;

use std::time::Duration;

/// Nothing that is waited for takes this long on any machine, unless it is broken.
pub const PATIENCE: Duration = Duration::from_secs(40);

/// Takes points; prints what was found.
#[test]
fn kill_points() {
    proof::take();
}
