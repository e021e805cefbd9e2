//! record-sync keeps the same records in step in two systems, both ways, under the rules of a file.

pub mod cli;
pub mod config;
pub mod connectors;
pub mod engine;
pub mod http;
pub mod runtime;
pub mod store;
pub mod telemetry;
