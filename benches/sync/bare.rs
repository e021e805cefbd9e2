//! The least that can be done: read a row, write a row, commit now and then.

use std::io::Write;
use std::path::Path;

use rusqlite::{Connection, types::ValueRef};

/// Rows in a transaction.
const COMMIT: usize = 10_000;

/// Copies every row from one file to the other.
pub fn run(source: &Path, destination: &Path) {
    let ending = |path: &Path| path.extension().map(|ending| ending.to_string_lossy().into_owned());
    match (ending(source).as_deref(), ending(destination).as_deref()) {
        (Some("sqlite"), Some("sqlite")) => sqlite_to_sqlite(source, destination),
        (Some("sqlite"), Some(format)) => sqlite_to_file(source, destination, format == "csv"),
        _ => csv_to_sqlite(source, destination),
    }
}

const SELECT: &str =
    "SELECT record_id, name, email, company, city, phone, score, status FROM users ORDER BY record_id";
const INSERT: &str = "INSERT INTO users VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";

fn open(path: &Path) -> Connection {
    let database = Connection::open(path).expect("a database");
    database.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL").expect("pragmas");
    database
}

fn sqlite_to_sqlite(source: &Path, destination: &Path) {
    let (source, destination) = (open(source), open(destination));
    let mut select = source.prepare(SELECT).expect("a query");
    let mut insert = destination.prepare(INSERT).expect("a statement");
    let mut rows = select.query([]).expect("rows");
    let mut open = 0;
    while let Some(row) = rows.next().expect("a row") {
        if open == 0 {
            destination.execute_batch("BEGIN").expect("begin");
        }
        for column in 0..8 {
            let value = row.get_ref(column).expect("a column");
            let bound: rusqlite::types::ToSqlOutput<'_> = rusqlite::types::ToSqlOutput::Borrowed(value);
            insert.raw_bind_parameter(column + 1, bound).expect("a value");
        }
        insert.raw_execute().expect("an insert");
        open += 1;
        if open == COMMIT {
            destination.execute_batch("COMMIT").expect("commit");
            open = 0;
        }
    }
    if open > 0 {
        destination.execute_batch("COMMIT").expect("commit");
    }
}

fn sqlite_to_file(source: &Path, destination: &Path, csv: bool) {
    let source = open(source);
    let mut select = source.prepare(SELECT).expect("a query");
    let mut rows = select.query([]).expect("rows");
    let temporary = destination.with_extension("tmp");
    let mut out =
        std::io::BufWriter::with_capacity(1 << 18, std::fs::File::create(&temporary).expect("a file"));
    let names = super::data::COLUMNS;
    if csv {
        writeln!(out, "{}", names.join(",")).expect("a header");
    }
    while let Some(row) = rows.next().expect("a row") {
        for (column, name) in names.iter().enumerate() {
            let before = match (csv, column) {
                (true, 0) => "",
                (true, _) => ",",
                (false, 0) => "{",
                (false, _) => ",",
            };
            out.write_all(before.as_bytes()).expect("a separator");
            if !csv {
                write!(out, "\"{name}\":").expect("a name");
            }
            match row.get_ref(column).expect("a column") {
                ValueRef::Integer(int) => write!(out, "{int}").expect("a value"),
                ValueRef::Real(real) => write!(out, "{real:?}").expect("a value"),
                ValueRef::Text(text) if csv => out.write_all(text).expect("a value"),
                ValueRef::Text(text) => {
                    write!(out, "\"{}\"", std::str::from_utf8(text).expect("UTF-8")).expect("a value");
                }
                ValueRef::Null | ValueRef::Blob(_) => {}
            }
        }
        out.write_all(if csv { b"\n" } else { b"}\n" }).expect("an end");
    }
    let file = out.into_inner().expect("the file");
    file.sync_all().expect("fsync");
    std::fs::rename(temporary, destination).expect("a rename");
}

fn csv_to_sqlite(source: &Path, destination: &Path) {
    let destination = open(destination);
    let mut insert = destination.prepare(INSERT).expect("a statement");
    let mut reader =
        csv::ReaderBuilder::new().buffer_capacity(1 << 18).from_path(source).expect("a CSV file");
    let mut record = csv::StringRecord::new();
    let mut open = 0;
    while reader.read_record(&mut record).expect("a record") {
        if open == 0 {
            destination.execute_batch("BEGIN").expect("begin");
        }
        for (column, text) in record.iter().enumerate() {
            insert.raw_bind_parameter(column + 1, text).expect("a value");
        }
        insert.raw_execute().expect("an insert");
        open += 1;
        if open == COMMIT {
            destination.execute_batch("COMMIT").expect("commit");
            open = 0;
        }
    }
    if open > 0 {
        destination.execute_batch("COMMIT").expect("commit");
    }
}
