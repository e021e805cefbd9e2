//! Holds the floors of the design against the code: who may use whom, how long a file may be, what
//! every file begins with.
//!
//! It reads the sources as text: comments, strings and `#[cfg(test)]` blocks are blanked out first,
//! so that what is left is code that ships. Every exception stands in a table here, with its reason.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that meets the unexpected has to fail loudly"
)]

#[path = "architecture/blank.rs"]
mod blank;
#[path = "architecture/scan.rs"]
mod scan;

use std::collections::BTreeSet;
use std::path::Path;

use scan::{Source, names_in_manifest, sources, tracked_texts};

/// A floor: what it is, and what it may use besides itself and `std`.
struct Floor {
    name: &'static str,
    /// Other floors; `connectors/traits` are the traits without any one connector.
    floors: &'static [&'static str],
    /// Outside crates; `None` for all.
    crates: Option<&'static [&'static str]>,
    /// Parts of `std` (and what they would do there) that the floor must not touch.
    never: &'static [(&'static str, &'static str)],
}

const PURE: &[(&str, &str)] = &[
    ("std::fs", "read files in a connector or the runtime and pass in the text"),
    ("std::net", "call out in a connector"),
    ("std::env", "read the environment in config and pass in the value"),
    ("std::thread", "start threads in the runtime"),
    ("std::process", "leave the process to main"),
    ("std::time::Instant", "take `now` as an argument"),
    ("std::time::SystemTime", "take `now` as an argument"),
];

const FLOORS: &[Floor] = &[
    Floor {
        name: "engine",
        floors: &[],
        // jiff: formats and parses times, its clock is banned by clippy.toml. The rest are the
        // expression language, patterns, hashes, compact texts and lists, Unicode and phone numbers: all pure.
        crates: Some(&[
            "serde",
            "serde_json",
            "thiserror",
            "compact_str",
            "smallvec",
            "xxhash_rust",
            "blake3",
            "cel",
            "jiff",
            "phonenumber",
            "regex",
            "unicode_normalization",
            "schemars",
            "strsim",
            "percent_encoding",
            "url",
        ]),
        never: PURE,
    },
    Floor {
        name: "store",
        floors: &["engine"],
        crates: Some(&[
            "rusqlite",
            "async_trait",
            "tokio",
            "thiserror",
            "serde",
            "serde_json",
            "compact_str",
            "tracing",
        ]),
        never: &[],
    },
    Floor {
        name: "connectors",
        floors: &["engine"],
        // Each connector brings its own vendor crate; those of other floors stay out.
        crates: Some(&[
            "async_trait",
            "base64",
            "compact_str",
            "csv",
            "futures_util",
            "jiff",
            // Logins by a signed assertion, at both ends of the wire.
            "jsonwebtoken",
            "metrics",
            "percent_encoding",
            "reqwest",
            "rusqlite",
            "schemars",
            "secrecy",
            "serde",
            "serde_json",
            "serde_path_to_error",
            "tempfile",
            "thiserror",
            "tokio",
            "tokio_util",
            "tracing",
            // Keys are compared in one Unicode form.
            "unicode_normalization",
            "url",
            "uuid",
            "xxhash_rust",
            "blake3",
        ]),
        never: &[],
    },
    Floor {
        name: "config",
        floors: &["engine"],
        crates: Some(&["annotate_snippets", "serde_json", "strsim", "thiserror", "toml"]),
        never: &[("std::thread", "start threads in the runtime")],
    },
    Floor {
        name: "telemetry",
        floors: &["engine"],
        crates: Some(&[
            "anstream",
            "metrics",
            "metrics_exporter_prometheus",
            "serde_json",
            "tracing",
            "tracing_appender",
            "tracing_subscriber",
        ]),
        never: &[],
    },
    Floor {
        name: "runtime",
        floors: &["engine", "store", "connectors/traits", "config", "telemetry"],
        crates: Some(&[
            "arc_swap",
            "async_trait",
            "compact_str",
            "futures_util",
            "metrics",
            "notify",
            // What a vault keeps shows in no text by accident.
            "secrecy",
            "serde",
            "serde_json",
            // Rules that were posted are written beside their file and put in its place.
            "tempfile",
            "thiserror",
            "tokio",
            "tokio_util",
            "tracing",
            "uuid",
            "xxhash_rust",
            "blake3",
        ]),
        never: &[],
    },
    Floor {
        name: "http",
        floors: &["engine", "store", "connectors/traits", "config", "telemetry", "runtime"],
        crates: Some(&[
            "arc_swap",
            "async_trait",
            "axum",
            "futures_util",
            "metrics",
            "serde",
            "serde_json",
            "serde_path_to_error",
            "thiserror",
            "tokio",
            "tokio_util",
            "tower",
            "tower_http",
            "tracing",
            "utoipa",
            "utoipa_axum",
            "utoipa_swagger_ui",
            "uuid",
            "xxhash_rust",
            "blake3",
        ]),
        never: &[],
    },
    Floor {
        name: "cli",
        // It wires: the connectors' table to the configuration, the mocks to a listener.
        floors: &["engine", "store", "connectors/traits", "config", "telemetry", "runtime", "http"],
        crates: Some(&[
            "anstream",
            // The router of the http floor is put on its listener here.
            "axum",
            "clap",
            "clap_complete",
            "comfy_table",
            "indicatif",
            // `status` and `retry` are clients of the daemon that runs beside.
            "percent_encoding",
            "reqwest",
            "serde",
            "serde_json",
            // `check` opens systems beside a state that it throws away.
            "tempfile",
            "thiserror",
            "tokio",
            "tokio_util",
            "tracing",
            // Some commands talk to the running daemon.
            "reqwest",
        ]),
        never: &[],
    },
    Floor { name: "main", floors: &["cli"], crates: Some(&[]), never: &[] },
];

/// Files that may use more than their floor, each with what and why.
const EXCEPTIONS: &[(&str, &str, &str)] = &[(
    "src/cli/demo/table.rs",
    "rusqlite",
    "makes the demo table from outside, like any other program would",
)];

/// Folders under `src/connectors` that are no connector: what the HTTP ones and the mocks share.
const SHARED_BY_CONNECTORS: &[&str] = &["rest", "mock"];

/// Connectors whose folder has another name, with the reason.
const FOLDERS: &[(&str, &str, &str)] = &[("rest", "api", "`rest` is what all connectors over HTTP share")];

/// A file is hard to hold in mind beyond this.
const LINES_MAX: usize = 500;

fn report(broken: &BTreeSet<String>, remedy: &str) {
    let list: String = broken.iter().map(|line| format!("\n  {line}")).collect();
    assert!(broken.is_empty(), "\n{} broken:{list}\n\nremedy: {remedy}\n", broken.len());
}

fn excepted(source: &Source, what: &str) -> bool {
    EXCEPTIONS.iter().any(|(file, name, _)| *file == source.path && *name == what)
}

#[test]
fn floors_use_only_the_floors_below_them() {
    let mut broken = BTreeSet::new();
    for source in sources() {
        let Some(floor) = FLOORS.iter().find(|floor| floor.name == source.floor()) else { continue };
        for used in source.crate_paths() {
            let Some(other) = used.path.first() else { continue };
            let known = FLOORS.iter().any(|floor| floor.name == other);
            let traits = format!("{other}/traits");
            let allowed = other == floor.name || floor.floors.iter().any(|f| f == other || *f == traits);
            if known && !allowed && !excepted(source, other) {
                let (path, line) = (&source.path, used.line);
                broken.insert(format!("{path}:{line}: `{}` uses `{other}`", floor.name));
            }
        }
    }
    report(
        &broken,
        "move the code to the floor that may do this, or pass the value in as an argument; \
         the table FLOORS in tests/architecture.rs says who may use whom",
    );
}

#[test]
fn floors_use_only_their_own_crates() {
    let dependencies = names_in_manifest();
    let mut broken = BTreeSet::new();
    for source in sources() {
        let Some(floor) = FLOORS.iter().find(|floor| floor.name == source.floor()) else { continue };
        let Some(allowed) = floor.crates else { continue };
        for (name, line) in source.outside_crates(&dependencies) {
            if !allowed.contains(&name.as_str()) && !excepted(source, &name) {
                broken.insert(format!("{}:{line}: `{}` uses the crate `{name}`", source.path, floor.name));
            }
        }
        for (path, remedy) in floor.never {
            for line in source.lines_with_path(path) {
                if !excepted(source, path) {
                    let name = floor.name;
                    broken.insert(format!("{}:{line}: `{name}` uses `{path}`; {remedy}", source.path));
                }
            }
        }
    }
    report(
        &broken,
        "do it on the floor that has this crate, or add the crate to its floor in \
         tests/architecture.rs with the reason",
    );
}

#[test]
fn connectors_do_not_know_each_other() {
    let folders = connector_folders();
    let mut broken = BTreeSet::new();
    for source in sources() {
        let own = source.connector();
        for used in source.crate_paths() {
            let [floor, other, ..] = used.path.as_slice() else { continue };
            let foreign = floor == "connectors" && folders.contains(other) && own.as_ref() != Some(other);
            // The table that lists them is the one place that names them.
            if foreign && source.path != "src/connectors/mod.rs" && !excepted(source, other) {
                broken.insert(format!("{}:{}: names the connector `{other}`", source.path, used.line));
            }
        }
    }
    report(
        &broken,
        "go through the traits and `Features` in src/connectors/mod.rs; what HTTP connectors share \
         belongs into `rest`, what mocks share into `mock`",
    );
}

fn connector_folders() -> BTreeSet<String> {
    let root = scan::root().join("src/connectors");
    let entries = std::fs::read_dir(root).unwrap().map(Result::unwrap);
    let folders = entries.filter(|entry| entry.path().is_dir());
    let names = folders.map(|entry| entry.file_name().into_string().unwrap());
    names.filter(|name| !SHARED_BY_CONNECTORS.contains(&name.as_str())).collect()
}

#[test]
fn every_connector_has_a_folder_and_an_entry() {
    let folder = |name: &str| {
        let renamed = FOLDERS.iter().find(|(connector, ..)| *connector == name);
        renamed.map_or(name, |(_, folder, _)| folder).to_owned()
    };
    let entries: BTreeSet<String> =
        record_sync::connectors::CONNECTORS.iter().map(|connector| folder(connector.name)).collect();
    let folders = connector_folders();
    let mut broken: BTreeSet<String> = BTreeSet::new();
    broken.extend(folders.difference(&entries).map(|name| format!("src/connectors/{name}/ has no entry")));
    broken.extend(entries.difference(&folders).map(|name| format!("the entry `{name}` has no folder")));
    report(&broken, "a connector is one folder, one `mod` line and one entry in CONNECTORS, all of one name");
}

#[test]
fn files_are_short() {
    let long = |source: &&Source| source.text.lines().count() > LINES_MAX;
    let broken = sources().iter().filter(long);
    let broken = broken.map(|source| format!("{}: {} lines", source.path, source.text.lines().count()));
    report(&broken.collect(), "split the file by noun; around 300 lines is already long");
}

#[test]
fn files_say_what_they_are_for() {
    let silent = sources().iter().filter(|source| !source.is_test() && !source.text.starts_with("//! "));
    report(
        &silent.map(|source| source.path.clone()).collect(),
        "begin the file with `//! ` and its purpose; then `Invariant: …` where there is one",
    );
}

#[test]
fn nothing_speaks_of_one_machine() {
    // Put together here, so that this file does not find itself.
    let places = ["root", "work", "home", "Users", "mnt"].map(|folder| format!("/{folder}/"));
    let mut broken = BTreeSet::new();
    for (path, text) in tracked_texts() {
        for (number, line) in text.lines().enumerate() {
            if places.iter().any(|place| scan::has_absolute_path(line, place)) {
                broken.insert(format!("{path}:{}: {}", number + 1, line.trim()));
            }
        }
    }
    report(&broken, "write a path relative to the project, or one that every machine has");
}

#[test]
fn every_exception_is_still_needed() {
    let sources = sources();
    let dependencies = names_in_manifest();
    let unused = EXCEPTIONS.iter().filter(|(file, what, _)| {
        let source = sources.iter().find(|source| source.path == *file);
        !source.is_some_and(|source| {
            source.outside_crates(&dependencies).iter().any(|(name, _)| name == what)
                || source.crate_paths().iter().any(|used| used.path.first().is_some_and(|p| p == what))
                || !source.lines_with_path(what).is_empty()
        })
    });
    report(
        &unused.map(|(file, what, _)| format!("{file} no longer uses `{what}`")).collect(),
        "remove the line from EXCEPTIONS",
    );
    assert!(EXCEPTIONS.iter().all(|(file, _, reason)| Path::new(file).is_relative() && !reason.is_empty()));
}
