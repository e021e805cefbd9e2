//! The command line: one file a command.
//!
//! Data goes to standard output, everything else to standard error. Exit codes: 0 fine, 1 found
//! problems, 2 wrong usage (clap's own), 3 could not run.

mod catalogue;
mod check;
mod client;
mod completions;
mod dead_letters;
mod demo;
mod explain;
mod globals;
mod jobs;
mod mock;
mod once;
mod openapi;
mod output;
mod retry;
mod rules;
mod run;
mod service;
mod signals;
mod status;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

pub use catalogue::{catalogue, catalogue_of};
pub use globals::Globals;
pub use output::Exit;

/// Keeps the same records in step in two systems, both ways, under the rules of a file.
#[derive(Debug, Parser)]
#[command(name = "record-sync", version, about, propagate_version = true, arg_required_else_help = true)]
pub struct Cli {
    #[command(flatten)]
    pub globals: Globals,
    #[command(subcommand)]
    pub command: Command,
}

/// What can be asked for.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the service
    Run(run::Run),
    /// Run one two-way pass of a link and end
    Once(once::Once),
    /// Check configuration and rules, and connect to every system
    Check(check::Check),
    /// Work on the demo table
    #[command(subcommand)]
    Demo(demo::Demo),
    /// Serve a built-in mock by itself
    Mock(mock::Mock),
    /// Work on rules files
    #[command(subcommand)]
    Rules(rules::Rules),
    /// Show how the links are doing, or where one record stands
    Status(status::Status),
    /// Tell the whole story of a record, also why it was not synced
    Explain(explain::Explain),
    /// Try the jobs of a record again, now
    Retry(retry::Retry),
    /// Show and move jobs
    #[command(subcommand)]
    Jobs(jobs::Jobs),
    /// Show and answer dead letters
    #[command(subcommand)]
    DeadLetters(dead_letters::DeadLetters),
    /// Print the description of the API
    Openapi(openapi::Openapi),
    /// Print the completions of a shell
    Completions(completions::Completions),
}

/// Runs the command that the process was started with.
pub fn main() -> ExitCode {
    let Cli { globals, command } = Cli::parse();
    let done = match command {
        Command::Run(command) => command.run(&globals),
        Command::Once(command) => command.run(&globals),
        Command::Check(command) => command.run(&globals),
        Command::Status(command) => command.run(&globals),
        Command::Explain(command) => command.run(&globals),
        Command::Retry(command) => command.run(&globals),
        Command::Jobs(command) => command.run(&globals),
        Command::DeadLetters(command) => command.run(&globals),
        Command::Openapi(command) => command.run(),
        Command::Demo(command) => command.run(&globals),
        Command::Mock(command) => command.run(&globals),
        Command::Rules(command) => command.run(&globals),
        Command::Completions(command) => command.run(),
    };
    done.into()
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn global_flags_stand_anywhere() {
        for line in [
            ["record-sync", "--config", "x.toml", "demo", "insert"],
            ["record-sync", "demo", "insert", "--config", "x.toml"],
        ] {
            let cli = Cli::try_parse_from(line).unwrap();
            assert_eq!(cli.globals.config.to_str(), Some("x.toml"), "{line:?}");
        }
    }

    #[test]
    fn wrong_usage_ends_in_two() {
        for line in [vec!["record-sync", "nonsense"], vec!["record-sync", "demo", "insert", "--count", "x"]] {
            let error = Cli::try_parse_from(&line).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{line:?}");
        }
    }
}
