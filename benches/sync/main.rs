//! The whole path beside a bare loop of the same work, in one run: `make bench`.
//!
//! Every workload runs several times, interleaved with a loop that only reads and writes (no rules,
//! no state, the same database settings). What counts is the ratio of the medians; times alone say
//! more about the machine. Rows at the destination are counted before a figure is believed.
//!
//! `make bench ARGS="W1 W6b"` runs only the workloads that are named; the environment makes them smaller:
//! `RECORD_SYNC_BENCH_ROUNDS` (3), `_ROWS` (1000000), `_BATCHED` (100000), `_CALLS` (10000), `_JOBS` (100000),
//! `_SECONDS` (20) and `_PLANNED` (100000).

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a benchmark measures real time, and what it can't do has to stop it loudly"
)]

mod bare;
mod changes;
mod copies;
mod daemon;
mod data;
mod deliveries;
mod flame;
mod jobs;
mod latency;
mod line;
mod measure;
mod peers;
mod plot;
mod rest;
mod service;
mod stages;

use std::path::{Path, PathBuf};

use line::Line;
use service::Service;

/// What is to be run, and how much of it.
pub struct Size {
    wanted: Vec<String>,
    pub rounds: usize,
}

impl Size {
    /// Tells whether a workload is to be run: by its name, or that of its family (`W4` of `W4 scan`).
    pub fn is_wanted(&self, name: &str) -> bool {
        let family = name.split(' ').next().unwrap_or(name);
        let is = |wanted: &String| wanted.eq_ignore_ascii_case(name) || wanted.eq_ignore_ascii_case(family);
        self.wanted.is_empty() || self.wanted.iter().any(is)
    }

    /// Returns how many, by the environment.
    pub fn of(&self, what: &str, usual: usize) -> usize {
        number(&format!("RECORD_SYNC_BENCH_{what}"), usual)
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["bare", source, destination] => copies::run_bare(Path::new(source), Path::new(destination)),
        ["changes", how, folder] => changes::run_bare(how, Path::new(folder)),
        ["deliveries", url, database, batch, at_once] => {
            let number = |text: &str| text.parse().expect("a number");
            deliveries::run_bare(url, Path::new(database), number(batch), number(at_once));
        }
        _ => measure(Size { rounds: number("RECORD_SYNC_BENCH_ROUNDS", 3), wanted: arguments }),
    }
}

fn measure(size: Size) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let folder = folder.path();
    let service = Service::start();
    let mut lines: Vec<Line> = Vec::new();
    println!("{}", line::HEAD);
    let mut tell = |line: Line| {
        println!("{}", line.text());
        lines.push(line);
    };
    let out = PathBuf::from("target/bench");
    std::fs::create_dir_all(&out).expect("target/bench");
    copies::measure(folder, &size, &out, &mut tell);
    changes::measure(folder, &size, &mut tell);
    deliveries::measure(folder, &service, &size, &mut tell);
    if size.is_wanted("W6b") {
        jobs::measure(folder, &size, &mut tell);
    }
    latency::measure(folder, &service, &size, &mut tell);
    if size.is_wanted("W8") {
        rest::idle(folder, &size, &mut tell);
    }
    if size.is_wanted("W10") {
        rest::restart(folder, &service, &size, &mut tell);
    }
    if size.is_wanted("W11") {
        stages::measure(&size, &mut tell);
    }
    let report: Vec<serde_json::Value> = lines.iter().map(Line::json).collect();
    let text = serde_json::to_string_pretty(&report).expect("JSON");
    std::fs::write(out.join("sync.json"), text).expect("target/bench/sync.json");
    std::fs::write(out.join("sync.svg"), plot::svg(&lines)).expect("target/bench/sync.svg");
}

fn number(name: &str, fallback: usize) -> usize {
    std::env::vars()
        .find(|(key, _)| key == name)
        .and_then(|(_, value)| value.parse().ok())
        .unwrap_or(fallback)
}
