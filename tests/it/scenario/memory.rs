//! Memory is bounded, however wide and however many the records are.

use serde_json::Value;

use super::home::Home;
use super::tables::{fill, home, link, settings, systems};

const RULES: &str = r#"{"links": {"l": {"fields": {"id": "id", "v": "v"}}}}"#;
const TABLE: &str = "CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT)";

/// One pass of the link; gives its summary.
fn once(home: &Home, link: &str) -> Value {
    let output = home.run(&["once", "--link", link, "--json"]);
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    serde_json::from_str(&told)
        .unwrap_or_else(|_| panic!("{told}{}", String::from_utf8_lossy(&output.stderr)))
}

fn count(home: &Home, table: &str, condition: &str) -> i64 {
    let sql = format!("SELECT count(*) FROM t WHERE {condition}");
    home.open(&format!("data/{table}.sqlite")).query_row(&sql, [], |row| row.get(0)).unwrap()
}

#[test]
fn wide_records_are_read_a_few_at_a_time() {
    const ROWS: i64 = 600;
    const KIB: i64 = 200;
    let home = home(&settings("", ""), RULES, &["one", "two"], TABLE);
    let value = format!("hex(zeroblob({}))", KIB * 1024 / 2);
    home.open("data/one.sqlite").execute_batch(&fill(ROWS, &value)).unwrap();
    let told = once(&home, "l");
    assert_eq!((&told["synced"], &told["complete"]), (&ROWS.into(), &true.into()), "{told}");
    assert_eq!(count(&home, "two", &format!("length(v) = {}", KIB * 1024)), ROWS);
    // A page of as many records as are read where they are small would hold all of it, some times over.
    let peak = told["peak_kib"].as_i64().unwrap();
    assert!(peak < ROWS * KIB, "{peak} KiB for {} KiB of values", ROWS * KIB);
}

/// A table of numbers, whose order is that of their keys, and one of texts, whose order is not: each longer than a scan may
/// remember key by key.
#[test]
fn what_is_gone_from_a_long_scan_is_found_without_remembering_its_keys() {
    const ROWS: i64 = 5_000;
    let cases = [
        ("in order", "id BETWEEN 100 AND 109 OR id > 4990", 20, "a few spans are looked up"),
        ("in order", "id % 250 = 0", 20, "spread over all of it"),
        ("out of order", "id % 250 = 0", 20, "the scan begins anew and remembers all"),
        ("turning back", "id % 250 = 0", 20, "the same where that shows late"),
    ];
    for (order, gone, rows, why) in cases {
        let systems = systems(&["one", "two"]).replace("[service]\n", "[service]\nscan_keys_max = 1000\n");
        let fuse = "fuse = { deletes_min = 1000 }\n";
        let link = link("l", ["one", "two"], "", fuse);
        let make = match order {
            "in order" => TABLE,
            "out of order" => "CREATE TABLE t (id TEXT PRIMARY KEY, v TEXT)",
            // Read by row numbers: the last ones have the least keys.
            _ => "CREATE TABLE t (n INTEGER PRIMARY KEY, id INTEGER UNIQUE NOT NULL, v TEXT)",
        };
        let home = home(&(systems + &link), RULES, &["one", "two"], make);
        let fill = match order {
            "turning back" => fill(ROWS, "(id + 200) % 5000, 'v'"),
            _ => fill(ROWS, "'v'"),
        };
        home.open("data/one.sqlite").execute_batch(&fill).unwrap();
        assert_eq!(once(&home, "l")["synced"], ROWS, "{why}");
        home.open("data/one.sqlite").execute_batch(&format!("DELETE FROM t WHERE {gone}")).unwrap();
        let told = once(&home, "l");
        assert_eq!((&told["synced"], &told["complete"]), (&rows.into(), &true.into()), "{why}: {told}");
        assert_eq!(count(&home, "two", gone), 0, "{why}");
        assert_eq!(count(&home, "two", "1"), count(&home, "one", "1"), "{why}");
        assert_eq!(once(&home, "l")["synced"], 0, "{why}: and nothing moves any more");
    }
}

#[test]
fn a_budget_is_read_and_one_that_can_not_be_is_told() {
    let home = home(&settings("", ""), RULES, &["one", "two"], TABLE);
    let checked = |budget: &str| {
        let output = home.command(&["check"]).env("RECORD_SYNC_MEMORY_BUDGET", budget).output().unwrap();
        let told =
            format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        (output.status.code(), told)
    };
    assert_eq!(checked("64MB").0, Some(0), "{}", checked("64MB").1);
    for (budget, wanted) in [
        ("a lot", "`a lot` is no amount of memory"),
        ("10MB", "a memory budget of `10MB` is less than the process itself takes"),
    ] {
        let (code, told) = checked(budget);
        assert!(code != Some(0) && told.contains(wanted) && told.contains("such as \"64MB\""), "{told}");
    }
}

#[test]
fn what_can_not_be_read_is_not_gone_from_a_long_scan() {
    const ROWS: i64 = 5_000;
    let systems = systems(&["one", "two"]).replace("[service]\n", "[service]\nscan_keys_max = 1000\n");
    let settings = systems + &link("l", ["one", "two"], "", "");
    let home = home(&settings, RULES, &["one", "two"], TABLE);
    home.open("data/one.sqlite").execute_batch(&fill(ROWS, "'v'")).unwrap();
    assert_eq!(once(&home, "l")["synced"], ROWS);
    // (what happens, rows that are left at the other end, why)
    let cases = [
        (
            "UPDATE t SET v = CAST(x'ff' AS TEXT) WHERE id = 2000; DELETE FROM t WHERE id = 2001",
            4_999,
            "beside one that is",
        ),
        ("INSERT INTO t VALUES (2001, CAST(x'ff' AS TEXT))", 4_999, "nor one that was never known"),
        ("DELETE FROM t WHERE id IN (2002, 4000)", 4_997, "and what is gone is found all the same"),
        ("UPDATE t SET v = 'mended' WHERE id IN (2000, 2001)", 4_998, "mended, they arrive"),
    ];
    for (sql, left, why) in cases {
        home.open("data/one.sqlite").execute_batch(sql).unwrap();
        once(&home, "l");
        assert_eq!(count(&home, "two", "1"), left, "{why}");
    }
    assert_eq!(count(&home, "two", "v = 'mended'"), 2);
}

#[test]
fn a_key_that_comes_twice_in_a_long_file_is_loaded_once() {
    const ROWS: usize = 3_000;
    let settings = "[service]\nstate = \"sqlite:data/state.sqlite\"\nscan_keys_max = 1000\n[default]\nflush_interval = 0.0\n\
        [default.systems.files]\nconnector = \"file\"\npath = \"data\"\n[default.links.l]\n\
        a = { system = \"files\", stream = \"one.csv\", key = \"id\" }\nb = { system = \"files\", stream = \"two.csv\", key = \"id\" }\n";
    for (twin, why) in [(2_000, "its own neighbour"), (5, "far behind"), (1_999, "across the place")] {
        let home = Home::new(settings, RULES);
        let mut lines = vec!["id,v".to_owned()];
        lines.extend((0..ROWS).map(|number| format!("{number:05},v")));
        lines.insert(2_002, format!("{twin:05},twin"));
        std::fs::create_dir_all(home.path("data")).unwrap();
        std::fs::write(home.path("data/one.csv"), lines.join("\n") + "\n").unwrap();
        once(&home, "l");
        let made = std::fs::read_to_string(home.path("data/two.csv")).unwrap();
        let mut keys: Vec<&str> = made.lines().skip(1).filter_map(|line| line.split(',').next()).collect();
        let count = keys.len();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!((keys.len(), count), (ROWS, ROWS), "{why}");
    }
}
