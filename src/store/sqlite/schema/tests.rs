use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::engine::record::{Key, Side};
use crate::store::LinkId;
use crate::store::sqlite::books::Books;
use crate::store::sqlite::pair_row::Stored;
use crate::store::sqlite::{ids, job_row, sheaves};

/// A database as a program of that schema left it.
fn older(schema: usize) -> Connection {
    let db = Connection::open_in_memory().expect("a database");
    for step in STEPS.iter().take(schema) {
        db.execute_batch(step).expect("a step");
    }
    db
}

#[test]
fn jobs_of_each_older_schema_are_brought_up_to_date() {
    for found in 1..8 {
        let mut db = older(found);
        db.execute_batch("INSERT INTO links (customer, link, dead) VALUES ('c', 'l', 1)").expect("a link");
        for state in 0..8 {
            let job = "INSERT INTO jobs (link, direction, key, state, origin, attempts, attempts_max, priority, \
                       due_at, created_at, updated_at, rules_version, correlation_id, owner, until, fence, dirty, \
                       sync_after, payload) \
                       VALUES (1, 1, cast('k' || ?1 AS BLOB), ?1, 0, 0, 0, 0, 10 + ?1, 1, 20 + ?1, 1, 'x', ?2, ?3, 1, 0, 0, 'p')";
            let (owner, until) = if state == 1 { (Some("me"), Some(99)) } else { (None, None) };
            db.execute(job, (state, owner, until)).expect("a job");
        }
        // The number of one that is gone is not given again; a letter that was answered is counted no more.
        db.execute_batch("UPDATE sqlite_sequence SET seq = 12 WHERE name = 'jobs'").expect("a number");
        if found >= 5 {
            db.execute_batch("UPDATE jobs SET replayed_by = 1 WHERE state = 6").expect("an answer");
        }
        migrate(&mut db, found as u32).expect("up to date");

        let mut rows = db
            .prepare("SELECT state, active, ready_at, resting, until, ended_at, due_at, payload FROM jobs ORDER BY id")
            .expect("a query");
        let read = |row: &rusqlite::Row<'_>| -> rusqlite::Result<[Option<i64>; 6]> {
            assert_eq!(row.get::<_, String>(7)?, "p");
            Ok([row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?, row.get(6)?])
        };
        let jobs: Vec<[Option<i64>; 6]> =
            rows.query_map([], read).expect("jobs").collect::<Result<_, _>>().expect("jobs");
        let answered = (found >= 5).then_some(26);
        // active, ready_at, resting, until, ended_at, due_at
        let wanted = [
            [Some(1), Some(10), None, None, None, Some(10)],
            [Some(1), None, None, Some(99), None, Some(11)],
            [Some(1), Some(12), Some(2), None, None, Some(12)],
            [Some(1), Some(13), Some(3), None, None, Some(13)],
            [Some(1), None, Some(4), None, None, Some(14)],
            [None, None, None, None, Some(25), Some(15)],
            [None, None, Some(6), None, answered, Some(16)],
            [None, None, Some(7), None, Some(27), Some(17)],
        ];
        assert_eq!(jobs, wanted, "from {found}");

        let mut depths =
            db.prepare("SELECT state, jobs FROM depths WHERE link = 1 AND direction = 1").expect("a query");
        let depths: BTreeMap<i64, i64> = depths
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
            .expect("depths")
            .collect::<Result<_, _>>()
            .expect("depths");
        let mut wanted: BTreeMap<i64, i64> = (0..5).map(|state| (state, 1)).collect();
        if found < 5 {
            wanted.insert(6, 1);
        }
        assert_eq!(depths, wanted, "from {found}");
        assert_eq!(Books::default().next_job(&db).expect("a number"), 13, "from {found}");
    }
}

/// What was in a row of its own stands in a sheaf, as it was.
#[test]
fn pairs_that_had_a_row_each_are_bound_into_sheaves() {
    for found in 1..9 {
        let mut db = older(found);
        db.execute_batch("INSERT INTO links (customer, link) VALUES ('c', 'l'), ('c', 'm')").expect("links");
        let hash = if found < 3 { ("hash,", "x'',") } else { ("", "") };
        for number in 0..300u32 {
            let pair = format!(
                "INSERT INTO pairs (link, key, {} version, rules_version, load, a_id, a_base, b_seen, b_meta, ab)
                 VALUES (1 + ?1 % 2, cast(printf('%05d', ?1) AS BLOB), {} ?1, 7, iif(?1 = 4, 9, NULL), iif(?1 % 3 = 0, 'id' || ?1, NULL),
                         zeroblob(100 + ?1), x'0102', x'03', iif(?1 = 5, x'0405', NULL))",
                hash.0, hash.1
            );
            db.execute(&pair, [number]).expect("a pair");
        }
        migrate(&mut db, found as u32).expect("up to date");
        for link in [1, 2] {
            let mut versions = Vec::new();
            sheaves::each(&db, LinkId(link), None, |key, stored| {
                let version = stored.version;
                let id = format!("id{version}");
                let base = vec![0; 100 + version as usize];
                let wanted = Stored {
                    version,
                    rules_version: 7,
                    load: (version == 4).then_some(9),
                    ids: [(version % 3 == 0).then_some(id.as_str()), None],
                    bases: [Some(&base), None],
                    seen: [None, Some(&[1, 2])],
                    metas: [None, Some(&[3])],
                    ways: [(version == 5).then_some(&[4, 5][..]), None],
                };
                assert_eq!(key, format!("{version:05}").as_bytes(), "from {found}");
                assert_eq!(*stored, wanted, "from {found}");
                versions.push(version);
                Ok(true)
            })
            .expect("pairs");
            let wanted: Vec<u32> = (0..300).filter(|number| 1 + number % 2 == link).collect();
            assert_eq!(versions, wanted, "from {found}");
        }
        let known = ids::keys(&db, LinkId(2), Side::A, &["id3".into(), "id5".into()]).expect("keys");
        assert_eq!(known, [Some(Key::from_bytes(b"00003")), None], "from {found}");
    }
}

/// Lists the indexes of `jobs` that a statement writes, and whether it makes a table for itself at every use.
fn written(db: &Connection, statement: &str) -> (BTreeSet<String>, bool) {
    let mut pages = db
        .prepare("SELECT rootpage, name FROM sqlite_schema WHERE type = 'index' AND tbl_name = 'jobs'")
        .expect("a query");
    let names: BTreeMap<i64, String> = pages
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
        .expect("indexes")
        .collect::<Result<_, _>>()
        .expect("indexes");
    let mut explained = db.prepare(&format!("EXPLAIN {statement}")).expect("a statement");
    let mut steps = explained.raw_query();
    let (mut found, mut makes_table) = (BTreeSet::new(), false);
    while let Some(step) = steps.next().expect("a step") {
        let code: String = step.get(1).expect("a code");
        makes_table |= code == "OpenEphemeral";
        if code == "OpenWrite" {
            found.extend(names.get(&step.get(3).expect("a page")).cloned());
        }
    }
    (found, makes_table)
}

#[test]
fn a_move_writes_only_the_indexes_whose_columns_it_changes() {
    let db = older(STEPS.len());
    let all = ["jobs_ended", "jobs_key", "jobs_leased", "jobs_ready", "jobs_resting"];
    // (statement, indexes, why)
    let cases: [(&str, &[&str], &str); 5] = [
        (job_row::INSERT, &all, "it may be born into each of them"),
        (job_row::LEASE, &["jobs_leased", "jobs_ready"], "the most frequent move"),
        (
            job_row::UPDATE,
            &["jobs_ended", "jobs_leased", "jobs_ready", "jobs_resting"],
            "it stays what it is",
        ),
        (job_row::UPDATE_ACTIVE, &all, "it ends"),
        ("DELETE FROM jobs WHERE id = ?1", &all, "it goes"),
    ];
    for (statement, wanted, why) in cases {
        let (found, makes_table) = written(&db, statement);
        assert_eq!(found, wanted.iter().map(|name| (*name).to_owned()).collect(), "{why}: {statement}");
        assert!(!makes_table, "{why}: a table of its own at every use: {statement}");
    }
}

/// An index that is named by a query and can't serve it fails the query, and so its tests.
#[test]
fn each_index_of_jobs_is_named_by_a_query() {
    let queries = [
        include_str!("../job_table.rs"),
        include_str!("../jobs.rs"),
        include_str!("../lease.rs"),
        include_str!("../rescue.rs"),
        include_str!("../tidy.rs"),
    ];
    let db = older(STEPS.len());
    let mut names = db
        .prepare("SELECT name FROM sqlite_schema WHERE type = 'index' AND tbl_name = 'jobs'")
        .expect("a query");
    let names: Vec<String> =
        names.query_map([], |row| row.get(0)).expect("indexes").collect::<Result<_, _>>().expect("indexes");
    assert_eq!(names.len(), 5);
    for name in names {
        let wanted = format!("INDEXED BY {name}");
        assert!(queries.iter().any(|text| text.contains(&wanted)), "nothing needs {name}");
    }
}
