//! record-sync keeps the same records in step in two systems, both ways, under the rules of a file.
//!
//! Every record is a small reconciliation loop. A *link* keeps a stream at `a` and a stream at `b` in
//! step; a *pair* is the two records that are one thing, found by their *key*. For each pair the store
//! keeps per side the *base* (what both last agreed on) and what was *seen* since. Whatever differs and
//! may travel under the rules is still to be delivered: so a restart, a replayed page or our own write
//! read back all end in "nothing to do".
//!
//! ```text
//! source ─ project ─ observe ─ reconcile ─ deliver at once ─▶ commit        runtime::poller, page, inline
//!                                                               │ pairs, jobs and cursor, one transaction
//! settle ◀─ destination ◀─ gate ◀─ look ◀─ reconcile ◀─ lease ◀─┘           runtime::worker
//! ```
//!
//! # The floors, from the ground up
//!
//! Each uses only what stands above it in this list; `tests/architecture.rs` holds that against the code.
//!
//! | floor | what it is |
//! |---|---|
//! | [`engine`] | everything that decides: records, rules, plans, limits, jobs. Pure: no clock, no I/O, no async, no chance |
//! | [`store`] | the durable memory, behind one trait; SQLite, and a model in memory that the tests compare it with |
//! | [`connectors`] | the outside systems, one folder each, behind the same traits; their mocks |
//! | [`config`] | `customer_settings.toml` with environment and overlays, checked once |
//! | [`telemetry`] | the JSON log and the metrics |
//! | [`runtime`] | everything that does: pollers, workers, gates, reload, supervision |
//! | [`http`] | the API, and the mocks mounted on its port |
//! | [`cli`] | the commands, and the wiring of all floors |
//!
//! To follow one edit, read [`runtime::poller`], [`runtime::page`] and [`runtime::worker`] in that
//! order, and [`engine::plan`] for what they ask. `ARCHITECTURE.md` walks through it with names.

pub mod cli;
pub mod config;
pub mod connectors;
pub mod engine;
pub mod http;
pub mod planted;
pub mod runtime;
pub mod store;
pub mod telemetry;
