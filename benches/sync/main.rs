//! The whole path beside a bare loop of the same work, in one run: `make bench`.
//!
//! Every workload runs several times, interleaved with a loop that only reads and writes (no rules,
//! no state, the same database settings). What counts is the ratio of the medians; times alone say
//! more about the machine. Rows at the destination are counted before a figure is believed.
//!
//! `RECORD_SYNC_BENCH_ROWS` and `RECORD_SYNC_BENCH_ROUNDS` change the size; `make bench ARGS="W6 W6b"` runs
//! only the workloads that are named.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a benchmark measures real time, and what it can't do has to stop it loudly"
)]

mod bare;
mod calls;
mod data;
mod jobs;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// One workload: what is read and what is written.
struct Workload {
    name: &'static str,
    what: &'static str,
    source: &'static str,
    destination: &'static str,
}

const WORKLOADS: &[Workload] = &[
    Workload { name: "W1", what: "SQLite → SQLite", source: "source.sqlite", destination: "copy.sqlite" },
    Workload { name: "W2", what: "SQLite → CSV", source: "source.sqlite", destination: "copy.csv" },
    Workload {
        name: "W2b", what: "SQLite → JSON Lines", source: "source.sqlite", destination: "copy.jsonl"
    },
    Workload { name: "W3", what: "CSV → SQLite", source: "source.csv", destination: "copy.sqlite" },
];

/// One measured run.
#[derive(Clone, Copy)]
struct Run {
    elapsed: Duration,
    /// Peak resident memory in KiB.
    peak_kib: u64,
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    if let [mode, source, destination] = arguments.as_slice()
        && mode == "bare"
    {
        bare::run(Path::new(source), Path::new(destination));
        println!("{}", peak_kib("self"));
        return;
    }
    let rows = number("RECORD_SYNC_BENCH_ROWS", 1_000_000);
    let rounds = number("RECORD_SYNC_BENCH_ROUNDS", 3);
    let is_wanted =
        |name: &str| arguments.is_empty() || arguments.iter().any(|wanted| wanted.eq_ignore_ascii_case(name));
    let folder = tempfile::tempdir().expect("a temporary folder");
    println!("| workload | a second | bare | ratio | peak MiB | bare MiB | |");
    println!("|---|---|---|---|---|---|---|");
    let mut report = Vec::new();
    let copies: Vec<&Workload> = WORKLOADS.iter().filter(|workload| is_wanted(workload.name)).collect();
    if !copies.is_empty() {
        eprintln!("making {rows} rows of 8 columns …");
        data::make(folder.path(), rows);
    }
    for workload in copies {
        let (mut bares, mut syncs) = (Vec::new(), Vec::new());
        for round in 0..rounds {
            bares.push(bare_run(folder.path(), workload, rows));
            syncs.push(sync_run(folder.path(), workload, rows));
            tell_round(workload.name, round, &syncs, &bares);
        }
        let (bare, sync) = (median(&mut bares), median(&mut syncs));
        report.push(tell(workload.name, workload.what, rows, [sync, bare], ""));
    }
    if is_wanted("W6") {
        let records = number("RECORD_SYNC_BENCH_CALLS", 10_000);
        let (mut bares, mut syncs) = (Vec::new(), Vec::new());
        for round in 0..rounds {
            bares.push(Run::of(calls::bare(records)));
            syncs.push(Run::of(calls::run(folder.path(), records)));
            tell_round("W6", round, &syncs, &bares);
        }
        let what = "SQLite → HTTP, one record a call";
        report.push(tell("W6", what, records, [median(&mut syncs), median(&mut bares)], ""));
    }
    if is_wanted("W6b") {
        let count = number("RECORD_SYNC_BENCH_JOBS", 100_000);
        let (mut bares, mut syncs, mut waits) = (Vec::new(), Vec::new(), Vec::new());
        for round in 0..rounds {
            bares.push(Run::of(jobs::bare(folder.path(), count)));
            let run = jobs::run(folder.path(), count);
            syncs.push(Run::of(run.elapsed));
            waits.push(run.p95);
            tell_round("W6b", round, &syncs, &bares);
        }
        waits.sort_unstable();
        let p95 = format!("p95 of a caller {:.1} ms", waits[waits.len() / 2].as_secs_f64() * 1e3);
        let what = "durable jobs: enqueue, lease, settle";
        report.push(tell("W6b", what, count, [median(&mut syncs), median(&mut bares)], &p95));
    }
    let out = PathBuf::from("target/bench");
    std::fs::create_dir_all(&out).expect("target/bench");
    let text = serde_json::to_string_pretty(&report).expect("JSON");
    std::fs::write(out.join("sync.json"), text).expect("target/bench/sync.json");
}

impl Run {
    /// Of what runs in this process or in several, whose memory says nothing.
    fn of(elapsed: Duration) -> Self {
        Self { elapsed, peak_kib: 0 }
    }
}

fn tell_round(name: &str, round: usize, syncs: &[Run], bares: &[Run]) {
    let last = |runs: &[Run]| runs.last().map_or(0.0, |run| run.elapsed.as_secs_f64());
    eprintln!("{name} round {}: {:.2} s, bare {:.2} s", round + 1, last(syncs), last(bares));
}

/// Prints one line of the table; gives it for the report.
fn tell(name: &str, what: &str, rows: usize, [sync, bare]: [Run; 2], more: &str) -> serde_json::Value {
    let rate = |run: Run| rows as f64 / run.elapsed.as_secs_f64();
    let ratio = sync.elapsed.as_secs_f64() / bare.elapsed.as_secs_f64();
    let mib = |run: Run| if run.peak_kib > 0 { (run.peak_kib / 1024).to_string() } else { String::new() };
    println!(
        "| {name} {what} | {:.0} | {:.0} | {ratio:.2} | {} | {} | {more} |",
        rate(sync),
        rate(bare),
        mib(sync),
        mib(bare)
    );
    serde_json::json!({
        "workload": name, "what": what, "rows": rows,
        "seconds": sync.elapsed.as_secs_f64(), "bare_seconds": bare.elapsed.as_secs_f64(),
        "ratio": ratio, "peak_kib": sync.peak_kib, "bare_peak_kib": bare.peak_kib, "more": more,
    })
}

fn bare_run(folder: &Path, workload: &Workload, rows: usize) -> Run {
    let destination = folder.join(workload.destination);
    data::clean(folder, workload.destination);
    let begun = Instant::now();
    let output = Command::new(std::env::current_exe().expect("this program"))
        .args(["bare".as_ref(), folder.join(workload.source).as_os_str(), destination.as_os_str()])
        .output()
        .expect("the bare loop runs");
    let elapsed = begun.elapsed();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(data::count(&destination), rows, "the bare loop wrote everything");
    let peak_kib = String::from_utf8_lossy(&output.stdout).trim().parse().unwrap_or(0);
    Run { elapsed, peak_kib }
}

fn sync_run(folder: &Path, workload: &Workload, rows: usize) -> Run {
    let destination = folder.join(workload.destination);
    data::clean(folder, workload.destination);
    let config = data::configure(folder, workload.source, workload.destination);
    let begun = Instant::now();
    let output = Command::new(env!("CARGO_BIN_EXE_record-sync"))
        .args(["once", "--link", "bench", "--json", "--config"])
        .arg(&config)
        .output()
        .expect("record-sync runs");
    let elapsed = begun.elapsed();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(data::count(&destination), rows, "record-sync wrote everything");
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON on stdout");
    Run { elapsed, peak_kib: answer["peak_kib"].as_u64().unwrap_or(0) }
}

fn median(runs: &mut [Run]) -> Run {
    runs.sort_by_key(|run| run.elapsed);
    runs[runs.len() / 2]
}

fn number(name: &str, fallback: usize) -> usize {
    std::env::vars()
        .find(|(key, _)| key == name)
        .and_then(|(_, value)| value.parse().ok())
        .unwrap_or(fallback)
}

/// The peak resident memory of a process, in KiB, as Linux tells it.
fn peak_kib(process: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    line.and_then(|line| line.split_whitespace().nth(1)).and_then(|text| text.parse().ok()).unwrap_or(0)
}
