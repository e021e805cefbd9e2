//! W4: ten thousand of a million records have changed; they are found and delivered, both directions on.

use std::path::Path;

use rusqlite::Connection;

use super::line::{Line, tell_round};
use super::measure::{self, Run, median, peak_kib};
use super::{Size, copies, data};

/// One record in so many changes.
const EVERY: usize = 100;

/// How changes are found, and the options that say so.
const CAPTURES: [(&str, &str, &str); 3] = [
    ("W4 column", "by a stamp", ", capture = \"column\", updated_at = \"updated_at\""),
    ("W4 triggers", "by triggers", ", capture = \"triggers\""),
    ("W4 scan", "by a scan", ", capture = \"scan\""),
];

/// Does the least that finds and copies what has changed, in a process of its own: by the stamp, or by laying both
/// tables side by side.
pub fn run_bare(how: &str, folder: &Path) {
    let there = Connection::open(folder.join("right.sqlite")).expect("a database");
    there.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL").expect("pragmas");
    let left = folder.join("left.sqlite").display().to_string();
    there.execute("ATTACH ?1 AS here", [left]).expect("the other database");
    let columns = data::COLUMNS.join(", ");
    let differs = match how {
        "scan" => format!("SELECT {columns} FROM here.users EXCEPT SELECT {columns} FROM main.users"),
        _ => format!(
            "SELECT {columns} FROM here.users WHERE updated_at > (SELECT coalesce(max(updated_at), '2026-02') FROM main.users)"
        ),
    };
    there
        .execute_batch(&format!(
            "BEGIN; INSERT OR REPLACE INTO main.users ({columns}, updated_at) SELECT *, '2030-01-01 00:00:00' FROM ({differs});
             COMMIT"
        ))
        .expect("the copy");
    println!("{}", peak_kib("self"));
}

/// Measures those that are wanted.
pub fn measure(folder: &Path, size: &Size, tell: &mut dyn FnMut(Line)) {
    let rows = size.of("ROWS", 1_000_000);
    for (name, what, options) in CAPTURES {
        if !size.is_wanted("W4") && !size.is_wanted(name) {
            continue;
        }
        let folder = &folder.join(name.replace(' ', "-"));
        std::fs::create_dir_all(folder).expect("a folder");
        // Alike on both sides, so that what changes later is all that is to be written.
        for file in ["left.sqlite", "right.sqlite"] {
            table(&folder.join(file), rows);
        }
        let config = data::configure(folder, "left.sqlite", "right.sqlite", options);
        copies::once(&config);
        let (mut syncs, mut bares) = (Vec::new(), Vec::new());
        for round in 0..size.rounds {
            change(folder, "left.sqlite", &format!("Sync {round}"));
            syncs.push(copies::once(&config));
            assert_eq!(changed(folder, &format!("Sync {round}")), rows / EVERY, "every change arrived");
            let scratch = folder.join("bare");
            bares.push(bare_run(folder, &scratch, name, &format!("Bare {round}"), rows));
            tell_round(name, round, &syncs[round], Some(&bares[round]));
        }
        let _ = std::fs::remove_dir_all(folder);
        tell(Line {
            name,
            what: format!("{} of {rows} changed, found {what}", rows / EVERY),
            count: rows / EVERY,
            sync: median(&mut syncs),
            bare: Some(median(&mut bares)),
            more: String::new(),
        });
    }
}

/// Changes a copy of both tables, and has the bare loop find it.
fn bare_run(folder: &Path, scratch: &Path, name: &str, tag: &str, rows: usize) -> Run {
    std::fs::create_dir_all(scratch).expect("a folder");
    for file in ["left.sqlite", "right.sqlite"] {
        let database = Connection::open(folder.join(file)).expect("a database");
        let copy = scratch.join(file).display().to_string();
        let _ = std::fs::remove_file(&copy);
        database.execute("VACUUM INTO ?1", [copy]).expect("a copy");
        // What the triggers of the original wrote down would be paid for here, too.
        let copy = Connection::open(scratch.join(file)).expect("a copy");
        without_triggers(&copy);
    }
    change(scratch, "left.sqlite", tag);
    let how = if name.ends_with("scan") { "scan" } else { "stamp" };
    let run = measure::bare(["changes".as_ref(), how.as_ref(), scratch.as_os_str()]);
    assert_eq!(changed(scratch, tag), rows / EVERY, "the bare loop found every change");
    run
}

fn without_triggers(database: &Connection) {
    let mut select =
        database.prepare("SELECT name FROM sqlite_schema WHERE type = 'trigger'").expect("a query");
    let names = select.query_map([], |row| row.get::<_, String>(0)).expect("triggers");
    let names: Vec<String> = names.collect::<Result<_, _>>().expect("names");
    for name in names {
        database.execute_batch(&format!("DROP TRIGGER \"{name}\"")).expect("no trigger");
    }
}

fn table(path: &Path, rows: usize) {
    let database = Connection::open(path).expect("a database");
    let stamped = data::TABLE.replace("status TEXT)", "status TEXT, updated_at TEXT)");
    let sql = format!("PRAGMA journal_mode = WAL; {stamped}; CREATE INDEX users_at ON users (updated_at)");
    database.execute_batch(&sql).expect("a table");
    drop(database);
    data::fill_stamped(path, rows);
}

fn change(folder: &Path, file: &str, tag: &str) {
    let database = Connection::open(folder.join(file)).expect("a database");
    database
        .execute(
            "UPDATE users SET name = ?1, updated_at = strftime('%Y-%m-%d %H:%M:%f', 'now') WHERE record_id % ?2 = 0",
            rusqlite::params![tag, EVERY as i64],
        )
        .expect("changes");
}

fn changed(folder: &Path, tag: &str) -> usize {
    let database = Connection::open(folder.join("right.sqlite")).expect("a database");
    let sql = "SELECT count(*) FROM users WHERE name = ?1";
    database.query_row(sql, [tag], |row| row.get::<_, i64>(0)).expect("a count") as usize
}
