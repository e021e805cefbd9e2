//! W8 and W10: a million pairs at rest, and a million jobs that wait when the process starts.

use std::fmt::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::{Connection, OpenFlags};

use super::daemon::Daemon;
use super::line::Line;
use super::measure::Run;
use super::service::Service;
use super::{Size, data};

/// Links that share the pairs.
const LINKS: usize = 10;
/// How long the idle process is watched.
const WATCHED: Duration = Duration::from_secs(20);
/// A little longer than a breaker is open at first.
const RESTS: Duration = Duration::from_secs(11);
const PATIENCE: Duration = Duration::from_secs(900);

/// W8: what ten links cost that have nothing to do.
pub fn idle(folder: &Path, size: &Size, tell: &mut dyn FnMut(Line)) {
    let rows = size.of("ROWS", 1_000_000);
    let folder = &folder.join("idle");
    std::fs::create_dir_all(folder).expect("a folder");
    let mut text =
        "[service]\nlisten = \"127.0.0.1:0\"\nstate = \"sqlite:state.sqlite\"\nrules = \"rules.json\"\n\
                    log_dir = \"logs\"\n"
            .to_owned();
    let mut rules = Vec::new();
    let fields: Vec<String> = data::COLUMNS.iter().map(|name| format!("\"{name}\": \"{name}\"")).collect();
    for link in 0..LINKS {
        for (side, filled) in [("left", rows / LINKS), ("right", 0)] {
            let file = format!("{side}{link}.sqlite");
            data::clean(folder, &file);
            data::fill(&folder.join(&file), filled);
            let system =
                format!("[default.systems.{side}{link}]\nconnector = \"sqlite\"\npath = \"{file}\"\n");
            text.push_str(&system);
        }
        write!(
            text,
            "[default.links.bench{link}]\n\
             a = {{ system = \"left{link}\", stream = \"users\", key = \"record_id\" }}\n\
             b = {{ system = \"right{link}\", stream = \"users\", key = \"record_id\" }}\n"
        )
        .expect("text");
        rules.push(format!("\"bench{link}\": {{\"fields\": {{{}}}}}", fields.join(", ")));
    }
    std::fs::write(folder.join("rules.json"), format!("{{\"links\": {{{}}}}}", rules.join(", ")))
        .expect("rules");
    let config = folder.join("idle.toml");
    std::fs::write(&config, text).expect("idle.toml");
    let mut daemon = Daemon::start(&config);
    let there = |link: usize| {
        std::thread::sleep(Duration::from_millis(200));
        data::count(&folder.join(format!("right{link}.sqlite"))) == rows / LINKS
    };
    for link in 0..LINKS {
        daemon.until("the first copies", PATIENCE, || there(link));
    }
    // What follows a first copy is over when nothing has been worked for a while.
    let mut before = daemon.cpu();
    loop {
        std::thread::sleep(Duration::from_secs(3));
        let now = daemon.cpu();
        if now - before < Duration::from_millis(150) {
            break;
        }
        before = now;
    }
    let before = daemon.cpu();
    std::thread::sleep(WATCHED);
    let cpu = daemon.cpu() - before;
    tell(Line {
        name: "W8",
        what: format!("{LINKS} links at rest, {rows} pairs, {} s", WATCHED.as_secs()),
        count: 0,
        sync: Run { elapsed: WATCHED, cpu, peak_kib: daemon.peak_kib() },
        bare: None,
        more: format!("{:.2} % of a core", cpu.as_secs_f64() / WATCHED.as_secs_f64() * 100.0),
    });
}

/// W10: how long a process that finds a million jobs takes to deliver the first.
pub fn restart(folder: &Path, service: &Service, size: &Size, tell: &mut dyn FnMut(Line)) {
    let jobs = size.of("ROWS", 1_000_000);
    let folder = &folder.join("restart");
    std::fs::create_dir_all(folder).expect("a folder");
    data::clean(folder, "left.sqlite");
    data::fill(&folder.join("left.sqlite"), jobs);
    let config = service.configure(folder, 200, &format!("queue_max = {}\n", 2 * jobs));
    // Nothing is answered while they pile up; a service that fails would be left alone for a while after the restart, too.
    service.begin(PATIENCE);
    let mut daemon = Daemon::start(&config);
    daemon.until("all jobs in the queue", PATIENCE, || queued(folder) == jobs);
    drop(daemon);
    service.begin(Duration::ZERO);
    // Calls that were never answered have opened the breaker, which outlives the process.
    std::thread::sleep(RESTS);
    let begun = Instant::now();
    let mut daemon = Daemon::start(&config);
    daemon.until("the first delivery", Duration::from_secs(120), || service.count() > 0);
    let elapsed = begun.elapsed();
    tell(Line {
        name: "W10",
        what: format!("restart with {jobs} queued jobs, until the first arrives"),
        count: 0,
        sync: Run { elapsed, cpu: daemon.cpu(), peak_kib: daemon.peak_kib() },
        bare: None,
        more: format!("{:.2} s", elapsed.as_secs_f64()),
    });
}

fn queued(folder: &Path) -> usize {
    let count = || -> rusqlite::Result<i64> {
        let state =
            Connection::open_with_flags(folder.join("state.sqlite"), OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        std::thread::sleep(Duration::from_millis(500));
        state.query_row("SELECT count(*) FROM jobs", [], |row| row.get(0))
    };
    count().unwrap_or(0) as usize
}
