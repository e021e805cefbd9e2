//! What a run costs: time, work of the processors, memory.

use std::ffi::OsStr;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

/// A tick of the kernel's accounts; Linux shows a hundred a second.
const TICK: Duration = Duration::from_millis(10);

/// One measured run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Run {
    pub elapsed: Duration,
    /// Work of all cores together.
    pub cpu: Duration,
    /// Peak resident memory in KiB; 0 where it says nothing.
    pub peak_kib: u64,
}

impl Run {
    /// Of what runs in this process or in several, whose memory says nothing.
    pub fn of(elapsed: Duration) -> Self {
        Self { elapsed, ..Self::default() }
    }
}

/// Runs a program to its end, loudly where it fails.
pub fn child(command: &mut Command) -> (Run, Output) {
    let before = children_cpu();
    let begun = Instant::now();
    let output = command.output().expect("the program runs");
    let run = Run { elapsed: begun.elapsed(), cpu: children_cpu() - before, peak_kib: 0 };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    (run, output)
}

/// Runs a bare loop: this program with words of its own, in a process of its own, which tells its memory.
pub fn bare(words: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Run {
    let (run, output) = child(Command::new(std::env::current_exe().expect("this program")).args(words));
    Run { peak_kib: String::from_utf8_lossy(&output.stdout).trim().parse().unwrap_or(0), ..run }
}

/// Returns the run in the middle, by time.
pub fn median(runs: &mut [Run]) -> Run {
    runs.sort_by_key(|run| run.elapsed);
    runs[runs.len() / 2]
}

/// The peak resident memory of a process, in KiB, as Linux tells it.
pub fn peak_kib(process: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    line.and_then(|line| line.split_whitespace().nth(1)).and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// What a living process has worked so far.
pub fn cpu_of(process: u32) -> Duration {
    ticks(&process.to_string(), 11)
}

/// What all children that have ended have worked.
fn children_cpu() -> Duration {
    ticks("self", 13)
}

/// Reads two neighbouring fields of `/proc/…/stat`, counted behind the name: work of the program and for it.
fn ticks(process: &str, first: usize) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let behind = stat.rsplit(')').next().unwrap_or_default();
    let fields = behind.split_whitespace().skip(first).take(2);
    let ticks: u32 = fields.filter_map(|field| field.parse::<u32>().ok()).sum();
    TICK * ticks
}
