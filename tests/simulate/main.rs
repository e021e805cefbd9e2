//! The real engine, runtime and store on simulated time, with simulated systems that fail in every
//! way we know, and an oracle that knows nothing of the engine.
//!
//! `make sim` plays many histories, `make sim SEED=n` one with its trace. `HISTORIES` and `STEPS` say
//! how many, and how long; `FIRST` which; `WITHIN` after how many seconds to begin no more.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test that meets the unexpected has to fail loudly"
)]

mod asks;
mod breaker;
mod chance;
mod connector;
mod doubt;
mod handed;
mod layout;
mod leases;
mod ledger;
mod life;
mod meddle;
mod oracle;
mod planted;
mod pushes;
mod reading;
mod rest;
mod run;
mod setup;
mod steps;
mod system;
mod world;

/// Plays histories; prints what happened in them.
#[test]
fn histories() {
    run::histories();
}

/// Plants bugs, one after the other; the simulation has to catch each.
#[test]
fn planted_bugs() {
    planted::bugs();
}
