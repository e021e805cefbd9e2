//! The HTTP surface: API, mocks, web page.

pub mod api;
pub mod input;
pub mod mocks;
pub mod once;
pub mod problem;
pub mod server;
