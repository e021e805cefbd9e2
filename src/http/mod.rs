//! The HTTP surface: API, mocks, web page.

pub mod mocks;
