//! `record-sync dead-letters …`: what could not be delivered, listed, replayed and deleted by a filter.

use clap::{Args, Subcommand};
use serde_json::Value;

use super::jobs::listed;
use super::output::plain;
use super::{Exit, Globals, client, output};

/// Shows and answers dead letters.
#[derive(Debug, Subcommand)]
pub enum DeadLetters {
    /// List dead letters, newest first
    List(Filter),
    /// Replay all that the filter means, each as a new job
    Replay(Bulk),
    /// Delete all that the filter means
    Delete(Bulk),
}

/// Which dead letters.
#[derive(Debug, Args)]
pub struct Filter {
    /// The customer; all where left out
    #[arg(long, value_name = "ID")]
    customer: Option<String>,
    /// A link
    #[arg(long, value_name = "LINK")]
    link: Option<String>,
    /// The code of the error, such as validation
    #[arg(long, value_name = "CODE")]
    code: Option<String>,
    /// A record's key
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// Those that died before this moment (RFC 3339)
    #[arg(long, value_name = "MOMENT")]
    before: Option<String>,
    /// Those that died at this moment or later
    #[arg(long, value_name = "MOMENT")]
    after: Option<String>,
}

/// Which dead letters, in bulk.
#[derive(Debug, Args)]
pub struct Bulk {
    #[command(flatten)]
    filter: Filter,
    /// All of them, for want of any other filter
    #[arg(long)]
    all: bool,
    /// Say how many and which, and do nothing
    #[arg(long)]
    dry_run: bool,
}

impl Filter {
    fn query(&self, more: &[(&str, Option<&str>)]) -> String {
        let mut pairs = vec![
            ("customer_id", self.customer.as_deref()),
            ("link", self.link.as_deref()),
            ("code", self.code.as_deref()),
            ("key", self.key.as_deref()),
            ("before", self.before.as_deref()),
            ("after", self.after.as_deref()),
        ];
        pairs.extend(more);
        client::query(&pairs)
    }
}

impl DeadLetters {
    pub(super) fn run(&self, globals: &Globals) -> Exit {
        match self {
            Self::List(filter) => {
                let path = format!("/v1/dead-letters{}", filter.query(&[]));
                client::print(globals, reqwest::Method::GET, &path, |body| output::data(listed(body)))
            }
            Self::Replay(bulk) => {
                bulk.run(globals, reqwest::Method::POST, "/v1/dead-letters/replay", "replayed")
            }
            Self::Delete(bulk) => bulk.run(globals, reqwest::Method::DELETE, "/v1/dead-letters", "deleted"),
        }
    }
}

impl Bulk {
    fn run(&self, globals: &Globals, method: reqwest::Method, path: &str, done: &str) -> Exit {
        let said = |is: bool| is.then_some("true");
        let query = self.filter.query(&[("all", said(self.all)), ("dry_run", said(self.dry_run))]);
        client::print(globals, method, &format!("{path}{query}"), |body: &Value| {
            let matched = plain(body.get("matched"));
            if self.dry_run {
                return output::data(format!("{matched} would be {done}"));
            }
            output::data(format!("{} of {matched} {done}", plain(body.get(done))))
        })
    }
}
