//! `record-sync rules`: what a rules file may say, and whether one does.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use clap::Subcommand;
use serde_json::json;

use super::{Exit, Globals, output};
use crate::config::{Config, Customer};
use crate::engine::rules::{RulesError, RulesFile, rules_schema};

/// A rules file is written by hand; a larger one is most likely the wrong one.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// Works on rules files.
#[derive(Debug, Subcommand)]
pub enum Rules {
    /// Print the JSON Schema of rules.json
    Schema,
    /// Check the rules files of the configuration, or the one named by --rules
    Check,
}

/// What was found in one file.
struct Checked {
    file: PathBuf,
    errors: Vec<RulesError>,
}

impl Rules {
    pub(super) fn run(&self, globals: &Globals) -> Exit {
        match self {
            Self::Schema => output::data(format!("{:#}", rules_schema())),
            Self::Check => check(globals),
        }
    }
}

/// Checks what needs no stream; `record-sync check` asks the streams too.
fn check(globals: &Globals) -> Exit {
    let config = match globals.load(&[]) {
        Ok(config) => config,
        Err(exit) => return exit,
    };
    let mut checked = Vec::new();
    for (file, customers) in files(&config) {
        match read(&file) {
            Ok(text) => {
                let errors = errors(&text, &customers);
                checked.push(Checked { file, errors });
            }
            Err(error) => {
                let remedy = "make the file, or name another with --rules";
                return output::failed(format!("{} can't be read: {error}; {remedy}", file.display()));
            }
        }
    }
    print(globals, &checked)
}

/// Returns every rules file with the customers that live under it.
fn files(config: &Config) -> Vec<(PathBuf, Vec<&Customer>)> {
    let mut files: Vec<(PathBuf, Vec<&Customer>)> = Vec::new();
    for customer in std::iter::once(&config.default).chain(config.customers.values()) {
        let file = customer.rules.as_ref().unwrap_or(&config.service.rules);
        match files.iter_mut().find(|(known, _)| known == file) {
            Some((_, customers)) => customers.push(customer),
            None => files.push((file.clone(), vec![customer])),
        }
    }
    files
}

fn read(file: &Path) -> std::io::Result<String> {
    let size = std::fs::metadata(file)?.len();
    if size > FILE_BYTES_MAX {
        return Err(std::io::Error::other(format!("{size} bytes are more than {FILE_BYTES_MAX}")));
    }
    std::fs::read_to_string(file)
}

fn errors(text: &str, customers: &[&Customer]) -> Vec<RulesError> {
    let rules = match RulesFile::parse(text) {
        Ok(rules) => rules,
        Err(error) => return vec![error],
    };
    let links: BTreeSet<&str> =
        customers.iter().flat_map(|customer| customer.links.keys()).map(String::as_str).collect();
    let systems = customers.iter().flat_map(|customer| &customer.systems);
    let systems: BTreeSet<&str> =
        systems.flat_map(|(name, system)| [name.as_str(), system.connector.as_str()]).collect();
    let (links, systems): (Vec<&str>, Vec<&str>) =
        (links.into_iter().collect(), systems.into_iter().collect());
    rules.unknown_names(&links, &systems)
}

fn print(globals: &Globals, checked: &[Checked]) -> Exit {
    let sound = checked.iter().all(|file| file.errors.is_empty());
    if globals.json {
        let error = |error: &RulesError| {
            json!({
                "line": error.line, "column": error.column, "pointer": error.pointer,
                "message": error.message, "remedy": error.remedy,
            })
        };
        let file = |checked: &Checked| {
            let errors: Vec<serde_json::Value> = checked.errors.iter().map(error).collect();
            json!({"file": checked.file, "errors": errors})
        };
        output::data(json!({"ok": sound, "files": checked.iter().map(file).collect::<Vec<_>>()}));
    } else {
        for Checked { file, errors } in checked {
            let file = file.display().to_string();
            for error in errors {
                output::data(error.in_file(&file));
            }
            if errors.is_empty() {
                output::note(globals.quiet, format!("{file}: fine"));
            }
        }
    }
    if sound { Exit::Fine } else { Exit::Problems }
}
