//! Deterministic data for the benchmarks, and the configuration that syncs it.

use std::io::Write;
use std::path::{Path, PathBuf};

use rusqlite::Connection;

pub const COLUMNS: [&str; 8] = ["record_id", "name", "email", "company", "city", "phone", "score", "status"];

pub const TABLE: &str = "CREATE TABLE users (record_id INTEGER PRIMARY KEY, name TEXT, email TEXT, \
     company TEXT, city TEXT, phone TEXT, score REAL, status TEXT)";

/// Makes `source.sqlite` and `source.csv` with the same rows.
pub fn make(folder: &Path, rows: usize) {
    let mut database = Connection::open(folder.join("source.sqlite")).expect("source.sqlite");
    database.execute_batch(&format!("PRAGMA journal_mode = WAL; {TABLE}")).expect("a table");
    let csv = std::fs::File::create(folder.join("source.csv")).expect("source.csv");
    let mut csv = std::io::BufWriter::new(csv);
    writeln!(csv, "{}", COLUMNS.join(",")).expect("a header");
    let transaction = database.transaction().expect("a transaction");
    {
        let mut insert = transaction
            .prepare("INSERT INTO users VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)")
            .expect("a statement");
        for id in 1..=rows as i64 {
            let row = person(id);
            writeln!(
                csv,
                "{},{},{},{},{},{},{:?},{}",
                row.0, row.1, row.2, row.3, row.4, row.5, row.6, row.7
            )
            .expect("a line");
            insert.execute(row).expect("a row");
        }
    }
    transaction.commit().expect("a commit");
    csv.flush().expect("the file");
}

/// One row, as [`COLUMNS`] name it.
pub type Person = (i64, String, String, String, String, String, f64, &'static str);

/// Makes the row of an id.
pub fn person(id: i64) -> Person {
    (
        id,
        format!("Person {id}"),
        format!("person{id}@example.test"),
        format!("Company {}", id % 5000),
        format!("City {}", id % 700),
        format!("+49 30 {:07}", id % 9_999_991),
        (id % 1000) as f64 / 8.0,
        if id % 10 == 0 { "new" } else { "active" },
    )
}

/// Fills the empty table of a database.
pub fn fill(path: &Path, rows: usize) {
    fill_by(path, rows, "INSERT INTO users VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)");
}

/// Fills the empty table of a database that has a stamp in its last column: one every ten seconds, as records that are
/// edited one by one have them.
pub fn fill_stamped(path: &Path, rows: usize) {
    fill_by(
        path,
        rows,
        "INSERT INTO users VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, \
         strftime('%Y-%m-%d %H:%M:%f', 1750000000 + ?1 * 10, 'unixepoch'))",
    );
}

fn fill_by(path: &Path, rows: usize, insert: &str) {
    let mut database = Connection::open(path).expect("a database");
    let transaction = database.transaction().expect("a transaction");
    {
        let mut insert = transaction.prepare(insert).expect("a statement");
        for id in 1..=rows as i64 {
            insert.execute(person(id)).expect("a row");
        }
    }
    transaction.commit().expect("a commit");
}

/// Removes what a run has left behind.
pub fn clean(folder: &Path, destination: &str) {
    for name in [destination, "state.sqlite"] {
        for ending in ["", "-wal", "-shm", ".lock"] {
            let _ = std::fs::remove_file(folder.join(format!("{name}{ending}")));
        }
    }
    if destination.ends_with(".sqlite") {
        let database = Connection::open(folder.join(destination)).expect("a destination");
        database.execute_batch(&format!("PRAGMA journal_mode = WAL; {TABLE}")).expect("a table");
    }
}

/// Counts the records at a destination.
pub fn count(path: &Path) -> usize {
    match path.extension().and_then(|ending| ending.to_str()) {
        Some("sqlite") => {
            let database = Connection::open(path).expect("the destination");
            let count = database.query_row("SELECT count(*) FROM users", [], |row| row.get::<_, i64>(0));
            count.expect("a count") as usize
        }
        Some("csv") => csv::Reader::from_path(path).expect("a CSV file").into_byte_records().count(),
        _ => std::fs::read(path).expect("a file").iter().filter(|byte| **byte == b'\n').count(),
    }
}

/// Writes configuration and rules for one link between two of the files; `options` stand at both
/// ends.
pub fn configure(folder: &Path, source: &str, destination: &str, options: &str) -> PathBuf {
    let system = |name: &str, file: &str| {
        let connector = if file.ends_with(".sqlite") { "sqlite" } else { "file" };
        format!("[default.systems.{name}]\nconnector = \"{connector}\"\npath = \"{file}\"\n")
    };
    let stream = |file: &str| if file.ends_with(".sqlite") { "users".to_owned() } else { file.to_owned() };
    let text = format!(
        "[service]\nlisten = \"127.0.0.1:0\"\nstate = \"sqlite:state.sqlite\"\nrules = \"rules.json\"\n\
         log_dir = \"logs\"\n{}{}[default.links.bench]\n\
         a = {{ system = \"left\", stream = \"{}\", key = \"record_id\"{options} }}\n\
         b = {{ system = \"right\", stream = \"{}\", key = \"record_id\"{options} }}\ndirection = \"both\"\n",
        system("left", source),
        system("right", destination),
        stream(source),
        stream(destination)
    );
    rules(folder);
    let path = folder.join("customer_settings.toml");
    std::fs::write(&path, text).expect("customer_settings.toml");
    path
}

/// Writes rules that take every column over as it is.
pub fn rules(folder: &Path) {
    let fields: Vec<String> = COLUMNS.iter().map(|name| format!("\"{name}\": \"{name}\"")).collect();
    let rules = format!("{{\"links\": {{\"bench\": {{\"fields\": {{{}}}}}}}}}", fields.join(", "));
    std::fs::write(folder.join("rules.json"), rules).expect("rules.json");
}
