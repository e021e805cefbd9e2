//! Printing and exit codes, the same for all commands.

use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;

use comfy_table::{Table, presets::UTF8_FULL_CONDENSED};
use serde_json::Value;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    Fine = 0,
    /// The command did its work and found something wrong.
    Problems = 1,
    Usage = 2,
    CouldNotRun = 3,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Prints a line of data. A reader that went away (`| head`) is no error.
pub(super) fn data(line: impl fmt::Display) -> Exit {
    match writeln!(anstream::stdout(), "{line}") {
        Ok(()) => Exit::Fine,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Fine,
        Err(error) => failed(format!("standard output can't be written: {error}; free some space")),
    }
}

/// Prints a line for the person, unless asked to be quiet.
pub(super) fn note(quiet: bool, line: impl fmt::Display) {
    if !quiet {
        let _ = writeln!(anstream::stderr(), "{line}");
    }
}

/// Prints why a command could not run.
pub(super) fn failed(reason: impl fmt::Display) -> Exit {
    let _ = writeln!(anstream::stderr(), "\u{1b}[1;31merror\u{1b}[0m: {reason}");
    Exit::CouldNotRun
}

/// Begins a table.
pub(super) fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_preset(UTF8_FULL_CONDENSED).set_header(header);
    table
}

/// Shows a value as a person reads it.
pub(super) fn plain(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}
