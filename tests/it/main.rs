//! The one integration-test binary: every module links the same build of the crate.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that meets the unexpected has to fail loudly"
)]

#[macro_use]
mod conformance;
mod clients;
mod config;
mod file;
mod hostile;
mod outreach;
mod reconcile;
mod reconcile_table;
mod rest;
mod salesforce;
mod scenario;
mod servicenow;
mod sqlite;
mod store;
mod values;
