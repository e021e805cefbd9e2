//! Programs that copy a table and keep no state, where the machine has them: the same work, once.

use std::path::Path;
use std::process::{Command, Stdio};

use super::data;
use super::measure::child;

/// Makes a peer's arguments of the names of source and destination.
type Script = fn(&str, &str) -> Vec<String>;

/// Copies by each peer that is on PATH, and says in words how long each took.
pub fn times(folder: &Path, source: &str, destination: &str, rows: usize) -> String {
    let peers: [(&str, Script); 2] = [("sqlite3", by_sqlite3), ("duckdb", by_duckdb)];
    let mut told = Vec::new();
    for (peer, script) in peers.iter().filter(|(peer, _)| is_there(peer)) {
        data::clean(folder, destination);
        let mut command = Command::new(peer);
        command.current_dir(folder).args(script(source, destination)).stdin(Stdio::null());
        let (run, _) = child(&mut command);
        assert_eq!(data::count(&folder.join(destination)), rows, "{peer} wrote everything");
        told.push(format!("{peer} {:.2} s", run.elapsed.as_secs_f64()));
    }
    told.join(", ")
}

fn is_there(program: &str) -> bool {
    let asked = Command::new(program).arg("--version").stdin(Stdio::null()).output();
    asked.is_ok_and(|output| output.status.success())
}

const QUERY: &str = "SELECT * FROM users ORDER BY record_id";

fn by_sqlite3(source: &str, destination: &str) -> Vec<String> {
    let words: Vec<String> = match (source, destination.rsplit('.').next()) {
        (source, Some("sqlite")) if source.ends_with(".csv") => vec![
            destination.to_owned(),
            "PRAGMA synchronous = NORMAL".to_owned(),
            format!(".import --csv --skip 1 {source} users"),
        ],
        (_, Some("sqlite")) => vec![
            destination.to_owned(),
            "PRAGMA synchronous = NORMAL".to_owned(),
            format!(
                "ATTACH '{source}' AS there; INSERT INTO users {}",
                QUERY.replace("users", "there.users")
            ),
        ],
        (_, Some("csv")) => {
            vec![
                source.to_owned(),
                ".headers on".into(),
                ".mode csv".into(),
                format!(".once {destination}"),
                QUERY.into(),
            ]
        }
        _ => {
            let object = data::COLUMNS.map(|name| format!("'{name}', {name}")).join(", ");
            let query = format!("SELECT json_object({object}) FROM users ORDER BY record_id");
            vec![source.to_owned(), ".mode list".into(), format!(".once {destination}"), query]
        }
    };
    words
}

fn by_duckdb(source: &str, destination: &str) -> Vec<String> {
    let read = match source.ends_with(".csv") {
        true => format!("read_csv('{source}')"),
        false => format!("sqlite_scan('{source}', 'users')"),
    };
    let write = match destination.rsplit('.').next() {
        Some("sqlite") => {
            format!("ATTACH '{destination}' AS there (TYPE sqlite); INSERT INTO there.users FROM {read}")
        }
        Some("csv") => format!("COPY (FROM {read}) TO '{destination}' (HEADER)"),
        _ => format!("COPY (FROM {read}) TO '{destination}' (FORMAT json)"),
    };
    vec!["-c".to_owned(), write]
}
