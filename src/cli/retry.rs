//! `record-sync retry KEY`: dead, retrying and waiting jobs of a record again, now.

use clap::Args;

use super::{Exit, Globals, client, output};

/// Tries the jobs of a record again, now.
#[derive(Debug, Args)]
pub struct Retry {
    /// The record's key
    key: String,
}

impl Retry {
    pub(super) fn run(&self, globals: &Globals) -> Exit {
        let path = format!("/v1/sync/retry/{}", client::segment(&self.key));
        let answer = match client::ask(globals, reqwest::Method::POST, &path) {
            Ok(answer) => answer,
            Err(exit) => return exit,
        };
        if globals.json {
            output::data(&answer.body);
            return if answer.ok { Exit::Fine } else { Exit::Problems };
        }
        if !answer.ok {
            return client::problem(&answer);
        }
        let jobs = answer.body.get("jobs").and_then(serde_json::Value::as_array).map_or(0, Vec::len);
        output::data(format!("{}: {jobs} due now", self.key))
    }
}
