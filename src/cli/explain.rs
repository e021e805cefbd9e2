//! `record-sync explain LINK KEY`: the whole story of a record.

use clap::Args;
use serde_json::Value;

use super::{Exit, Globals, client, output};

/// Tells the whole story of a record, also why it was not synced.
#[derive(Debug, Args)]
pub struct Explain {
    /// A link
    link: String,
    /// A record's key
    key: String,
    /// The customer
    #[arg(long, value_name = "ID", default_value = "default")]
    customer: String,
}

impl Explain {
    pub(super) fn run(&self, globals: &Globals) -> Exit {
        let [link, key, customer] = [&self.link, &self.key, &self.customer].map(|text| client::segment(text));
        let path = format!("/v1/explain/{link}/{key}?customer_id={customer}");
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
        let story = answer.body.get("story").and_then(Value::as_array).cloned().unwrap_or_default();
        story.iter().filter_map(Value::as_str).fold(Exit::Fine, |_, line| output::data(line))
    }
}
