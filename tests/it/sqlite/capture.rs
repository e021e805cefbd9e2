//! The ways in which changes become known: scans, stamps, the log of triggers, marks of deletion.

use super::*;

#[tokio::test]
async fn a_thousand_rows_with_one_stamp_span_any_number_of_pages() {
    for stamp in
        ["'2026-01-01 00:00:00'", "'2026-01-01T00:00:00.5Z'", "1767225600", "1767225600123", "1767225600.5"]
    {
        let database = simple(
            &format!(
                "CREATE TABLE t (id INTEGER PRIMARY KEY, v, at); CREATE INDEX i ON t (at);
                 INSERT INTO t VALUES (0, 'first', {stamp})"
            ),
            json!({"capture": "column", "updated_at": "at", "overlap_seconds": 0}),
        );
        let mut source = database.source();
        let (_, cursor) = read_from(&mut *source, None, 100).await;
        database.run(&format!(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000)
             INSERT INTO t SELECT i, 'x', {stamp} FROM n"
        ));
        let (changes, cursor) = read_from(&mut *source, cursor, 100).await;
        let mut ids: Vec<usize> = texts(&changes, "id").iter().map(|id| id.parse().unwrap()).collect();
        ids.sort_unstable();
        assert_eq!(ids, (0..=1000).collect::<Vec<_>>(), "{stamp}");
        let (again, _) = read_from(&mut *source, cursor, 100).await;
        assert_eq!(again.len(), 1001, "equal stamps are read again: one may have come late");
    }
}

#[tokio::test]
async fn late_commits_and_odd_stamps_are_not_lost() {
    let database = simple(
        "CREATE TABLE t (id TEXT PRIMARY KEY, at);
         INSERT INTO t VALUES ('a', '2026-01-01 00:00:00'), ('b', '2026-01-01 00:00:10')",
        json!({"capture": "column", "updated_at": "at"}),
    );
    let mut source = database.source();
    let (changes, mut cursor) = read_from(&mut *source, None, 10).await;
    assert_eq!(texts(&changes, "id"), ["a", "b"]);
    // (edit, what the next pass shows, why)
    let cases = [
        ("", vec!["b"], "the overlap is read again"),
        ("INSERT INTO t VALUES ('c', '2026-01-01 00:00:06')", vec!["c", "b"], "committed late"),
        ("INSERT INTO t VALUES ('d', NULL)", vec!["c", "b", "d"], "no stamp: read in every pass"),
        ("INSERT INTO t VALUES ('e', 5)", vec!["c", "b", "d", "e"], "a number among texts"),
        ("INSERT INTO t VALUES ('f', '9999-12-31 00:00:00')", vec!["c", "b", "d", "e", "f"], "far ahead"),
        (
            "INSERT INTO t VALUES ('g', '2026-01-01 00:00:20')",
            vec!["c", "b", "g", "d", "e", "f"],
            "moves the cursor on",
        ),
        (
            "UPDATE t SET at = '2026-01-01 00:00:21' WHERE id = 'd'",
            vec!["g", "d", "e", "f"],
            "stamped at last",
        ),
    ];
    for (edit, expected, why) in cases {
        database.run(edit);
        let (changes, next) = read_from(&mut *source, cursor, 3).await;
        assert_eq!(texts(&changes, "id"), expected, "{why}");
        cursor = next;
    }
}

#[tokio::test]
async fn a_restored_database_is_named_and_deleted_rows_are_not_mistaken_for_one() {
    let rows = |from: usize, to: usize| {
        (from..=to)
            .map(|at| format!("INSERT INTO t VALUES ({at}, '2026-01-01 00:{at:02}:00');"))
            .collect::<String>()
    };
    let make = || {
        let table = "CREATE TABLE t (id INTEGER PRIMARY KEY, at TEXT);";
        simple(&format!("{table} {}", rows(10, 40)), json!({"capture": "column", "updated_at": "at"}))
    };
    // (edit, restored, why)
    let cases = [
        ("DELETE FROM t WHERE id = 40", false, "the newest row was deleted"),
        ("DELETE FROM t WHERE id > 35", false, "some of the newest were"),
        ("DELETE FROM t", false, "all were: the list and the fuse see to it"),
        ("DELETE FROM t WHERE id > 20", true, "none of the newest is left, older ones are"),
        ("UPDATE t SET at = '2025-01-01 00:00:00'", true, "rows went back in time"),
    ];
    for (edit, restored, why) in cases {
        let database = make();
        let mut source = database.source();
        let (_, cursor) = read_from(&mut *source, None, 100).await;
        database.run(edit);
        let page = source.read(cursor.as_ref(), 100, &call()).await;
        match (page, restored) {
            (Ok(_), false) => {}
            (Err(fault), true) => {
                assert_eq!(fault.kind, FaultKind::Fatal, "{why}");
                assert!(fault.message.contains("ahead of the data"), "{fault}");
            }
            (other, _) => panic!("{why}: {other:?}"),
        }
    }
    // Another file in its place, older by five rows.
    let (database, older) = (make(), make());
    older.run("DELETE FROM t WHERE id > 35; PRAGMA journal_mode = delete");
    let mut source = database.source();
    let (_, cursor) = read_from(&mut *source, None, 100).await;
    std::fs::rename(older.path(), database.path()).unwrap();
    for end in ["-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{}{end}", database.path().display()));
    }
    assert!(source.may_have_changed(), "another file");
    assert!(source.read(cursor.as_ref(), 100, &call()).await.is_err());
}

#[tokio::test]
async fn the_log_knows_restores_and_rebuilt_tables() {
    let database = simple(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT); INSERT INTO t VALUES (1, 'a'), (2, 'b')",
        json!({"capture": "triggers"}),
    );
    let mut source = database.source();
    let (changes, cursor) = read_from(&mut *source, None, 1).await;
    assert_eq!(texts(&changes, "id"), ["1", "2"]);

    database.run("UPDATE t SET id = 3 WHERE id = 1; UPDATE t SET v = 'c' WHERE id = 2; UPDATE t SET v = 'd' WHERE id = 2");
    let (changes, cursor) = read_from(&mut *source, cursor, 100).await;
    assert_eq!(texts(&changes, "id"), ["-1", "3", "2"], "a moved key is gone and come; a key changes once");
    assert!(record(&changes[1]).meta.modified_at.is_some_and(|at| at >= Timestamp(now().0 - 60_000)));

    let cursor = cursor.unwrap();
    assert_eq!(database.text("SELECT CAST(count(*) AS TEXT) FROM _record_sync_changes"), "4");
    source.ack(&cursor).await.unwrap();
    assert_eq!(database.text("SELECT CAST(count(*) AS TEXT) FROM _record_sync_changes"), "0", "pruned");

    database
        .run("DROP TABLE t; CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT); INSERT INTO t VALUES (9, 'z')");
    let (changes, cursor) = read_from(&mut *source, Some(cursor), 100).await;
    assert_eq!(texts(&changes, "id"), ["9"], "the triggers went with the table: all is read again");

    database.run("INSERT INTO t VALUES (10, 'y')");
    let (_, cursor) = read_from(&mut *source, cursor, 100).await;
    database.run("DELETE FROM _record_sync_changes; UPDATE sqlite_sequence SET seq = 1");
    let fault = source.read(cursor.as_ref(), 10, &call()).await.expect_err("the log ends earlier");
    assert!(fault.message.contains("ahead of the data"), "{fault}");
}

#[tokio::test]
async fn the_log_is_pruned_when_the_last_consumer_has_seen_it() {
    let mut database =
        simple("CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT)", json!({"capture": "triggers"}));
    let mut first = database.source();
    database.spec.consumer = "default/other/b".to_owned();
    let mut second = database.source();
    let (_, of_first) = read_from(&mut *first, None, 10).await;
    let (_, of_second) = read_from(&mut *second, None, 10).await;
    database.run("INSERT INTO t VALUES (1, 'a')");
    let (_, of_first) = read_from(&mut *first, of_first, 10).await;
    first.ack(&of_first.unwrap()).await.unwrap();
    let (changes, of_second) = read_from(&mut *second, of_second, 10).await;
    assert_eq!(texts(&changes, "id"), ["1"], "still there for the other");
    second.ack(&of_second.unwrap()).await.unwrap();
    assert_eq!(database.text("SELECT CAST(count(*) AS TEXT) FROM _record_sync_changes"), "0");
}

#[tokio::test]
async fn any_key_can_be_logged() {
    let database = Database::new(
        "CREATE TABLE t (a, b TEXT COLLATE NOCASE, v TEXT, PRIMARY KEY (a, b))",
        "t",
        &["a", "b"],
        json!({"capture": "triggers"}),
    );
    let mut source = database.source();
    let (_, cursor) = read_from(&mut *source, None, 10).await;
    database.run(
        "INSERT INTO t VALUES (x'00', 'blob', 'v'), (1.5, 'real', 'v'), (NULL, 'null', 'v'),
                              ('nul' || char(0), 'x', 'v'), (7, 'Ann', 'v'), (-3, 'neg', 'v')",
    );
    let (changes, cursor) = read_from(&mut *source, cursor, 10).await;
    assert_eq!(texts(&changes, "b"), ["real", "x", "Ann", "neg"], "blobs and nulls identify nothing");
    database.run("UPDATE t SET b = 'ANN' WHERE a = 7; DELETE FROM t WHERE a = -3");
    let (changes, _) = read_from(&mut *source, cursor, 10).await;
    assert_eq!(
        texts(&changes, "b"),
        ["-7,Ann", "ANN", "-\\-3,neg".trim_start_matches('\\').replace('\\', "").as_str()]
    );
}

#[tokio::test]
async fn vacuum_in_the_middle_of_a_scan_loses_no_row() {
    let database = simple("CREATE TABLE t (id TEXT, v)", json!({}));
    for at in 0..100 {
        database.run(&format!("INSERT INTO t (rowid, id) VALUES ({}, 'k{at}')", 1000 + at * 10));
    }
    let mut source = database.source();
    let page = source.read(None, 50, &call()).await.unwrap();
    database.run("VACUUM");
    let (rest, _) = read_from(&mut *source, page.cursor, 50).await;
    let mut ids = texts(&page.changes, "id");
    ids.extend(texts(&rest, "id"));
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 100, "row numbers moved, so the scan begins anew");
}

#[tokio::test]
async fn soft_deletion_marks_rows_and_takes_the_mark_away() {
    for capture in ["scan", "column", "triggers"] {
        let database = simple(
            "CREATE TABLE t (id TEXT PRIMARY KEY, v TEXT, at TEXT, gone TEXT);
             INSERT INTO t VALUES ('a', 'x', '2026-01-01 00:00:00', NULL), ('b', 'y', '2026-01-01 00:00:00', '2026-01-02 00:00:00')",
            json!({"capture": capture, "updated_at": "at", "deleted_at": "gone"}),
        );
        let mut source = database.source();
        let (changes, _) = read_from(&mut *source, None, 10).await;
        assert_eq!(texts(&changes, "id"), ["a", "-b"], "{capture}");
        match &changes[1] {
            Change::Delete(tombstone) => {
                assert_eq!(tombstone.at, Timestamp::parse_rfc3339("2026-01-02T00:00:00Z"));
            }
            other => panic!("{other:?}"),
        }
        if capture == "column" {
            let listing = source.list(None, 10, &call()).await.unwrap();
            assert_eq!(listing.keys, [Key::from_text("a").unwrap()]);
        }
        let destination = database.destination();
        let names = ["id", "v"];
        let back = Write::Create(vec!["b".into(), "back".into()].into());
        let outcomes = write(
            &destination,
            &names,
            vec![delivery(&["a".into()], Write::Delete), delivery(&["b".into()], back)],
        )
        .await;
        assert!(outcomes.iter().all(is_delivered), "{outcomes:?}");
        assert_eq!(
            database.text("SELECT group_concat(id || coalesce(v, '') || (gone IS NULL)) FROM t"),
            "ax0,bback1"
        );
    }
}

#[tokio::test]
async fn a_stamp_is_set_by_us_where_a_reader_goes_by_it() {
    let database = simple(
        "CREATE TABLE t (id TEXT PRIMARY KEY, v TEXT, at INTEGER);
         INSERT INTO t VALUES ('a', 'x', 1767225600123)",
        json!({"capture": "column", "updated_at": "at"}),
    );
    let mut source = database.source();
    let (_, cursor) = read_from(&mut *source, None, 10).await;
    let update = Write::Update(vec!["a".into(), "new".into()].into());
    write(&database.destination(), &["id", "v"], vec![delivery(&["a".into()], update)]).await;
    let (changes, _) = read_from(&mut *source, cursor, 10).await;
    assert_eq!(texts(&changes, "v"), ["new"]);
    let modified_at = record(&changes[0]).meta.modified_at.unwrap();
    assert!(modified_at > Timestamp(1_767_225_600_123), "in milliseconds, as its neighbours");
    // A write that finds everything as it should be touches nothing.
    let before = database.text("SELECT CAST(at AS TEXT) FROM t");
    let same = Write::Update(vec!["a".into(), "new".into()].into());
    let outcomes = write(&database.destination(), &["id", "v"], vec![delivery(&["a".into()], same)]).await;
    assert!(is_delivered(&outcomes[0]));
    assert_eq!(database.text("SELECT CAST(at AS TEXT) FROM t"), before);
}

#[tokio::test]
async fn nothing_happens_at_rest() {
    for capture in ["scan", "column", "triggers"] {
        let database = contacts(
            ", PRIMARY KEY (record_id)",
            "",
            json!({"capture": capture, "updated_at": "updated_at"}),
        );
        database.insert(&(0..5).map(Row::numbered).collect::<Vec<_>>()).await;
        let mut follower = Follower::new(&database);
        follower.pass(2).await;
        follower.pass(2).await;
        let mut source = database.source();
        let (_, cursor) = read_from(&mut *source, None, 2).await;
        let (_, _) = read_from(&mut *source, cursor.filter(|_| capture != "scan"), 2).await;
        assert!(!source.may_have_changed(), "{capture}: our own log-keeping wakes nobody");
    }
}
