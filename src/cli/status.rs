//! `record-sync status [KEY]`: how the daemon, its links and one record are doing.

use clap::Args;
use comfy_table::Table;
use serde_json::Value;

use super::output::{plain, table};
use super::{Exit, Globals, client, output};

/// Shows how the links are doing, or where one record stands.
#[derive(Debug, Args)]
pub struct Status {
    /// A record's key
    key: Option<String>,
}

impl Status {
    pub(super) fn run(&self, globals: &Globals) -> Exit {
        let path = match &self.key {
            Some(key) => format!("/v1/sync/status/{}", client::segment(key)),
            None => "/v1/sync/status".to_owned(),
        };
        let answer = match client::ask(globals, reqwest::Method::GET, &path) {
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
        let links = answer.body.get("links").and_then(Value::as_array).cloned().unwrap_or_default();
        match &self.key {
            Some(key) => {
                output::data(format!("{key}: {}", plain(answer.body.get("status"))));
                output::data(record(&links))
            }
            None => output::data(overview(&links)),
        }
    }
}

fn overview(links: &[Value]) -> Table {
    let mut table =
        table(&["customer", "link", "state", "pairs", "a→b waiting", "b→a waiting", "dead", "problem"]);
    for link in links {
        let number = |pointer: &str| link.pointer(pointer).and_then(Value::as_u64).unwrap_or(0);
        let places = [
            "/error",
            "/a/error",
            "/b/error",
            "/a_to_b/error",
            "/b_to_a/error",
            "/a_to_b/frozen",
            "/b_to_a/frozen",
        ];
        let problem = places.iter().find_map(|place| link.pointer(place).and_then(Value::as_str));
        table.add_row([
            plain(link.get("customer")),
            plain(link.get("link")),
            plain(link.get("state")),
            number("/pairs").to_string(),
            number("/a_to_b/backlog").to_string(),
            number("/b_to_a/backlog").to_string(),
            (number("/a_to_b/jobs/dead") + number("/b_to_a/jobs/dead")).to_string(),
            problem.unwrap_or_default().to_owned(),
        ]);
    }
    table
}

fn record(links: &[Value]) -> Table {
    let mut table = table(&["customer", "link", "direction", "status", "attempts", "synced at", "error"]);
    for link in links {
        for direction in ["a_to_b", "b_to_a"] {
            let of = |name: &str| link.get(direction).and_then(|way| way.get(name));
            table.add_row([
                plain(link.get("customer")),
                plain(link.get("link")),
                direction.to_owned(),
                plain(of("status")),
                plain(of("attempts")),
                plain(of("synced_at")),
                plain(of("error")),
            ]);
        }
    }
    table
}
