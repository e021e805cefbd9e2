//! Where the time of a copy goes, as a flame graph: `RECORD_SYNC_BENCH_FLAMES=1 make bench`, where `perf` is on PATH.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::process::{Command, Stdio};

use inferno::collapse::Collapse;
use inferno::collapse::perf::Folder;
use inferno::flamegraph::{self, Options};

/// Looks a second: no multiple of what the program does at regular times.
const LOOKS: &str = "499";
/// The deepest stacks are those of the page's stages, and of SQLite below them.
const STACKS: &str = "dwarf,16384";

/// Tells whether somebody wants them.
pub fn are_wanted() -> bool {
    std::env::vars().any(|(name, value)| name == "RECORD_SYNC_BENCH_FLAMES" && value != "0")
}

/// Syncs the link of a configuration once under `perf`, and draws what it was at into a file. Loud where that fails.
pub fn draw(folder: &Path, config: &Path, picture: &Path) {
    let (looks, told) = (folder.join("perf.data"), folder.join("perf.txt"));
    let recorded = Command::new("perf")
        .args(["record", "-F", LOOKS, "--call-graph", STACKS, "-o"])
        .arg(&looks)
        .args(["--", env!("CARGO_BIN_EXE_record-sync"), "once", "--link", "bench", "--json", "--config"])
        .arg(config)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    assert!(recorded.expect("perf is on PATH").success(), "perf record");
    // Inlined calls are many, and to look each of them up takes minutes.
    let shown = Command::new("perf")
        .args(["script", "--no-inline", "-i"])
        .arg(&looks)
        .stdout(File::create(&told).expect("perf.txt"))
        .stderr(Stdio::null())
        .status();
    assert!(shown.expect("perf is on PATH").success(), "perf script");
    let mut folded = Vec::new();
    Folder::default()
        .collapse(BufReader::new(File::open(&told).expect("perf.txt")), &mut folded)
        .expect("stacks that can be folded");
    let mut options = Options::default();
    options.title = "A first copy: what its threads were at".to_owned();
    let picture = File::create(picture).expect("a picture");
    flamegraph::from_reader(&mut options, folded.as_slice(), picture).expect("a flame graph");
    [looks, told].iter().for_each(|file| std::fs::remove_file(file).expect("a file of ours"));
}
