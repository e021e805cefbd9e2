//! The whole program as a user meets it: the real binary in a folder of its own, real HTTP, real files.
//!
//! These tests prove the wiring; what each part decides is tested where it stands. Nothing here measures
//! time: whatever is waited for has a generous end.

mod api;
mod at_once;
mod audit;
mod backlog;
mod check;
mod columns;
mod crash;
pub mod daemon;
mod described;
mod examples;
mod fuses;
#[allow(dead_code, reason = "shared by test binaries, none of which uses all of it")]
#[path = "../common/home.rs"]
pub mod home;
mod jobs;
mod letters;
mod live;
mod memory;
mod metrics;
#[allow(dead_code, reason = "shared by test binaries, none of which uses all of it")]
#[path = "../common/outside.rs"]
pub mod outside;
mod purged;
mod push;
mod restored;
mod rings;
mod rotation;
mod servicenow;
mod storm;
mod story;
mod tables;
mod triangle;
mod trouble;
mod window;

use std::time::Duration;

/// Nothing that is waited for takes this long on any machine, unless it is broken.
pub const PATIENCE: Duration = Duration::from_secs(40);
