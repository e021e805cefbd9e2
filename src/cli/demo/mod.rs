//! `record-sync demo`: a small table of people to play with.
//!
//! Works on the file like any outside program would: it knows nothing of links or of the daemon.

mod people;
mod table;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::json;

use super::{Exit, Globals, output};

/// Where the demo table is, from the configuration's folder.
const DEMO_FILE: &str = "data/demo.sqlite";

/// Works on the demo table.
#[derive(Debug, Subcommand)]
pub enum Demo {
    /// Add people to the table `users`; makes file and table, with a few people, where missing
    Insert(Insert),
}

/// Adds people.
#[derive(Debug, Args)]
pub struct Insert {
    /// How many
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(0..=10_000_000))]
    count: u64,
    /// Another file than data/demo.sqlite beside the configuration
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Make a missing table without the first few people
    #[arg(long)]
    bare: bool,
}

impl Demo {
    pub(super) fn run(&self, globals: &Globals) -> Exit {
        let Self::Insert(insert) = self;
        insert.run(globals)
    }
}

impl Insert {
    fn run(&self, globals: &Globals) -> Exit {
        let beside = self.file.as_deref().unwrap_or_else(|| DEMO_FILE.as_ref());
        let path = globals.base_dir().join(beside);
        let done = match table::insert(&path, self.count, self.bare) {
            Ok(done) => done,
            Err(error) => return output::failed(format!("{}: {error}", path.display())),
        };
        if globals.json {
            let (first, last) = done.added.unzip();
            return output::data(json!({
                "file": path, "made": done.made, "inserted": self.count, "first_id": first, "last_id": last,
            }));
        }
        if done.made {
            output::note(globals.quiet, format!("made {} with the table users", path.display()));
        }
        match done.added {
            Some((first, last)) if first == last => output::data(format!("inserted user {first}")),
            Some((first, last)) => output::data(format!("inserted {} users, {first} to {last}", self.count)),
            None => Exit::Fine,
        }
    }
}
