//! W1 to W3: a whole table, copied along four ways, beside a loop that only reads and writes, and the peers that
//! are on PATH.

use std::path::Path;
use std::process::Command;

use super::line::{Line, tell_round};
use super::measure::{self, Run, child, median, peak_kib};
use super::{Size, bare, data, flame, peers};

/// What is read and what is written.
struct Copy {
    name: &'static str,
    what: &'static str,
    source: &'static str,
    destination: &'static str,
}

const COPIES: &[Copy] = &[
    Copy { name: "W1", what: "SQLite → SQLite", source: "source.sqlite", destination: "copy.sqlite" },
    Copy { name: "W2", what: "SQLite → CSV", source: "source.sqlite", destination: "copy.csv" },
    Copy { name: "W2b", what: "SQLite → JSON Lines", source: "source.sqlite", destination: "copy.jsonl" },
    Copy { name: "W3", what: "CSV → SQLite", source: "source.csv", destination: "copy.sqlite" },
];

/// Does the work of the bare loop in a process of its own, and tells its memory.
pub fn run_bare(source: &Path, destination: &Path) {
    bare::run(source, destination);
    println!("{}", peak_kib("self"));
}

/// Measures those that are wanted.
pub fn measure(folder: &Path, size: &Size, out: &Path, tell: &mut dyn FnMut(Line)) {
    let wanted: Vec<&Copy> = COPIES.iter().filter(|copy| size.is_wanted(copy.name)).collect();
    if wanted.is_empty() {
        return;
    }
    let rows = size.of("ROWS", 1_000_000);
    eprintln!("making {rows} rows of 8 columns …");
    data::make(folder, rows);
    for copy in wanted {
        let (mut bares, mut syncs) = (Vec::new(), Vec::new());
        for round in 0..size.rounds {
            bares.push(bare_run(folder, copy, rows));
            syncs.push(sync_run(folder, copy, rows));
            tell_round(copy.name, round, &syncs[round], Some(&bares[round]));
        }
        data::clean(folder, copy.destination);
        if flame::are_wanted() {
            let config = data::configure(folder, copy.source, copy.destination, "");
            flame::draw(folder, &config, &out.join(format!("{}.svg", copy.name)));
            data::clean(folder, copy.destination);
        }
        tell(Line {
            name: copy.name,
            what: copy.what.to_owned(),
            count: rows,
            sync: median(&mut syncs),
            bare: Some(median(&mut bares)),
            more: peers::times(folder, copy.source, copy.destination, rows),
        });
    }
}

fn bare_run(folder: &Path, copy: &Copy, rows: usize) -> Run {
    let destination = folder.join(copy.destination);
    data::clean(folder, copy.destination);
    let run = measure::bare(["bare".as_ref(), folder.join(copy.source).as_os_str(), destination.as_os_str()]);
    assert_eq!(data::count(&destination), rows, "the bare loop wrote everything");
    run
}

fn sync_run(folder: &Path, copy: &Copy, rows: usize) -> Run {
    let destination = folder.join(copy.destination);
    data::clean(folder, copy.destination);
    let config = data::configure(folder, copy.source, copy.destination, "");
    let run = once(&config);
    assert_eq!(data::count(&destination), rows, "record-sync wrote everything");
    run
}

/// Has the binary sync the link once.
pub fn once(config: &Path) -> Run {
    let arguments = ["once", "--link", "bench", "--json", "--config"];
    let (run, output) = child(Command::new(env!("CARGO_BIN_EXE_record-sync")).args(arguments).arg(config));
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON on stdout");
    Run { peak_kib: answer["peak_kib"].as_u64().unwrap_or(0), ..run }
}
