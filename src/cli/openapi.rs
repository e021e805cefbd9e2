//! `record-sync openapi`: the description of the API.

use clap::Args;

use super::{Exit, output};
use crate::http::api;

/// Prints the description of the API (OpenAPI 3.1).
#[derive(Debug, Args)]
pub struct Openapi {}

impl Openapi {
    pub(super) fn run(&self) -> Exit {
        match api::openapi().to_pretty_json() {
            Ok(text) => output::data(text),
            Err(error) => output::failed(format!("the description can't be written: {error}")),
        }
    }
}
