//! Everything that decides, and nothing that does.
//!
//! Invariant: no clock, no I/O, no async, no randomness. `now` is always an argument, and the
//! same input gives the same output, so that a decision can be repeated, enumerated and simulated.

pub mod fault;
pub mod flow;
pub mod history;
pub mod job;
pub mod plan;
pub mod reading;
pub mod record;
pub mod rules;
