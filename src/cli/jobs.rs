//! `record-sync jobs …`: what is on its way, and one job cancelled, tried again or replayed.

use clap::{Args, Subcommand};
use serde_json::Value;

use super::output::{plain, table};
use super::{Exit, Globals, client, output};

/// Shows and moves jobs.
#[derive(Debug, Subcommand)]
pub enum Jobs {
    /// List jobs, newest first
    List(List),
    /// Show one job and its last attempts
    Show(One),
    /// Cancel an active job
    Cancel(One),
    /// Make a dead, retrying or waiting job due now
    Retry(One),
    /// Do what an ended job did again, as a new job
    Replay(One),
}

/// Which jobs.
#[derive(Debug, Args)]
pub struct List {
    /// pending, leased, retrying, waiting, conflict, synced, dead or cancelled
    #[arg(long, value_name = "STATE")]
    state: Option<String>,
    /// The customer; all where left out
    #[arg(long, value_name = "ID")]
    customer: Option<String>,
    /// A link
    #[arg(long, value_name = "LINK")]
    link: Option<String>,
    /// A record's key
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: usize,
}

/// One job.
#[derive(Debug, Args)]
pub struct One {
    /// The job's number
    id: i64,
}

impl Jobs {
    pub(super) fn run(&self, globals: &Globals) -> Exit {
        match self {
            Self::List(list) => list.run(globals),
            Self::Show(One { id }) => show(globals, *id),
            Self::Cancel(One { id }) => act(globals, *id, "cancel"),
            Self::Retry(One { id }) => act(globals, *id, "retry"),
            Self::Replay(One { id }) => act(globals, *id, "replay"),
        }
    }
}

impl List {
    fn run(&self, globals: &Globals) -> Exit {
        let limit = self.limit.to_string();
        let query = client::query(&[
            ("state", self.state.as_deref()),
            ("customer_id", self.customer.as_deref()),
            ("link", self.link.as_deref()),
            ("key", self.key.as_deref()),
            ("limit", Some(&limit)),
        ]);
        client::print(globals, reqwest::Method::GET, &format!("/v1/jobs{query}"), |body| {
            output::data(listed(body))
        })
    }
}

/// Lays jobs out in lines.
pub(super) fn listed(body: &Value) -> comfy_table::Table {
    let mut lines =
        table(&["job", "customer", "link", "direction", "key", "state", "attempts", "due at", "error"]);
    for job in body.get("items").and_then(Value::as_array).into_iter().flatten() {
        let names = ["id", "customer", "link", "direction", "key", "state", "attempts", "due_at"];
        let mut line: Vec<String> = names.iter().map(|name| plain(job.get(name))).collect();
        line.push(plain(job.pointer("/error/message")));
        lines.add_row(line);
    }
    lines
}

fn show(globals: &Globals, id: i64) -> Exit {
    let job = match client::ask(globals, reqwest::Method::GET, &format!("/v1/jobs/{id}")) {
        Ok(answer) if answer.ok => answer.body,
        Ok(answer) => return client::problem(&answer),
        Err(exit) => return exit,
    };
    let attempts = match client::ask(globals, reqwest::Method::GET, &format!("/v1/jobs/{id}/attempts")) {
        Ok(answer) => answer.body,
        Err(exit) => return exit,
    };
    if globals.json {
        return output::data(serde_json::json!({ "job": job, "attempts": attempts.get("items") }));
    }
    for (name, value) in job.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null()) {
        output::data(format!("{name}: {}", plain(Some(value))));
    }
    let mut lines = table(&["attempt", "started at", "ms", "outcome", "error"]);
    for attempt in attempts.get("items").and_then(Value::as_array).into_iter().flatten() {
        let mut line: Vec<String> = ["number", "started_at", "duration_ms", "outcome"]
            .iter()
            .map(|name| plain(attempt.get(name)))
            .collect();
        line.push(plain(attempt.pointer("/error/message")));
        lines.add_row(line);
    }
    output::data(lines)
}

fn act(globals: &Globals, id: i64, deed: &str) -> Exit {
    client::print(globals, reqwest::Method::POST, &format!("/v1/jobs/{id}/{deed}"), |job| {
        output::data(format!("job {}: {}", plain(job.get("id")), plain(job.get("state"))))
    })
}
