//! Two databases kept in step by the real runtime: pages, workers, store and connector together.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use record_sync::engine::plan::{Pair, Seen};
use record_sync::engine::record::{Direction, Image, Key, Schema, Timestamp, Value};
use record_sync::runtime::clock;
use record_sync::runtime::gate::Gates;
use record_sync::runtime::link::{Phase, lock};
use record_sync::runtime::overrides::Overrides;
use record_sync::runtime::supervisor::{Runtime, RuntimeParts};
use record_sync::runtime::watch::FileWatcher;
use record_sync::store::sqlite::{SqliteOptions, SqliteStore};
use record_sync::store::{Commit, Store};
use record_sync::{cli, config};
use rusqlite::Connection;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

const SETTINGS: &str = r#"
[service]
state = "sqlite:state.sqlite"
rules = "rules.json"
[default]
flush_interval = 0.0
[default.systems.left]
connector = "sqlite"
path = "left.sqlite"
[default.systems.right]
connector = "sqlite"
path = "right.sqlite"
[default.links.both]
a = { system = "left", stream = "t", key = "id" }
b = { system = "right", stream = "t", key = "id" }
direction = "both"
poll_interval = 0.1
"#;
const RULES: &str = r#"{"links": {"both": {"fields": {"id": "id", "x": "x", "y": "y"}}}}"#;

/// Two databases and the state between them.
struct Place(TempDir);

impl Place {
    fn new(left: &str, right: &str) -> Self {
        let place = Self::empty(SETTINGS);
        for (side, rows) in [("left", left), ("right", right)] {
            let table = "PRAGMA journal_mode = wal; CREATE TABLE t (id TEXT PRIMARY KEY, x TEXT, y TEXT);";
            place.run(side, &format!("{table} {rows}"));
        }
        place
    }

    fn empty(settings: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("customer_settings.toml"), settings).unwrap();
        std::fs::write(folder.path().join("rules.json"), RULES).unwrap();
        Self(folder)
    }

    /// A database of two rows, and a file that is still to be filled.
    fn with_empty_file() -> Self {
        let settings = SETTINGS.replace(
            "[default.systems.right]\nconnector = \"sqlite\"\npath = \"right.sqlite\"",
            "[default.systems.right]\nconnector = \"file\"\npath = \"right.csv\"",
        );
        assert!(settings.contains("right.csv"));
        let place = Self::empty(&settings);
        place.run(
            "left",
            "PRAGMA journal_mode = wal; CREATE TABLE t (id TEXT PRIMARY KEY, x TEXT, y TEXT);
             INSERT INTO t VALUES ('1', 'a', 'a'), ('2', 'b', 'b')",
        );
        std::fs::write(place.path().join("right.csv"), "id,x,y\n").unwrap();
        place
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn file(&self) -> String {
        std::fs::read_to_string(self.path().join("right.csv")).unwrap_or_default()
    }

    /// Fills the file, and leaves all as if the process had died before the state said that it is filled.
    #[cfg(unix)]
    async fn fill_and_die(&self) {
        use std::os::unix::fs::MetadataExt;
        let runtime = self.start().await;
        self.until_filled(&runtime).await;
        runtime.drain(Duration::from_secs(5)).await;
        drop(runtime);
        let state = SqliteStore::open(&self.path().join("state.sqlite"), SqliteOptions::default()).unwrap();
        let link = state.link("default", "both").await.unwrap().id;
        let there = std::fs::metadata(self.path().join("right.csv")).unwrap();
        let born = there.created().unwrap().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos();
        let mark = format!("{}-{born}", there.ino());
        let load = state.begin_load(link, Direction::AToB, Some(mark)).await.unwrap();
        let pairs = state.walk(link, None, 10).await.unwrap();
        let commit = Commit { pairs, load: Some(load), ..Commit::default() };
        assert_eq!(state.commit(link, commit, Timestamp(1)).await.unwrap().stale, []);
    }

    async fn until_filled(&self, runtime: &Runtime) {
        eventually("the load", || self.file() == "id,x,y\n1,a,a\n2,b,b\n").await;
        eventually("a link that lives", || {
            let running = runtime.running("default", "both");
            running.is_some_and(|running| *lock(&running.view.phase) == Phase::Live)
        })
        .await;
    }

    fn run(&self, side: &str, sql: &str) {
        let db = Connection::open(self.path().join(format!("{side}.sqlite"))).unwrap();
        db.busy_timeout(Duration::from_secs(5)).unwrap();
        db.execute_batch(sql).unwrap();
    }

    fn rows(&self, side: &str) -> String {
        let db = Connection::open(self.path().join(format!("{side}.sqlite"))).unwrap();
        db.busy_timeout(Duration::from_secs(5)).unwrap();
        let rows =
            "SELECT coalesce(group_concat(id || ':' || coalesce(x, '-') || ',' || coalesce(y, '-'), ' '), '')
            FROM (SELECT * FROM t ORDER BY id)";
        db.query_row(rows, [], |row| row.get(0)).unwrap()
    }

    /// Starts the service over what stands here; with what was left, if it ran before.
    async fn start(&self) -> Arc<Runtime> {
        let path = self.path().join("customer_settings.toml");
        let config = config::load_file(&path, &|_| None, &cli::catalogue()).unwrap();
        let state = SqliteStore::open(&self.path().join("state.sqlite"), SqliteOptions::default()).unwrap();
        let store: Arc<dyn Store> = Arc::new(state);
        let clock = clock::real();
        let stop = CancellationToken::new();
        let runtime = Runtime::new(RuntimeParts {
            gates: Gates::new(Arc::clone(&clock), None, stop.clone()),
            overrides: Overrides::open(Arc::clone(&store), clock()).await.unwrap(),
            store,
            clock,
            connectors: record_sync::connectors::CONNECTORS,
            config,
            rules: None,
            vault: None,
            mock_url: Arc::new(|_, _, _| None),
            watcher: FileWatcher::new(),
            stop,
        });
        runtime.start().await.unwrap();
        runtime
    }

    /// Waits until both sides show these rows.
    async fn until(&self, rows: &str, why: &str) {
        for _ in 0..300 {
            if self.rows("left") == rows && self.rows("right") == rows {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("{why}: left {:?}, right {:?}, not {rows:?}", self.rows("left"), self.rows("right"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn both_sides_come_together_whatever_is_done_to_them() {
    let place = Place::new(
        "INSERT INTO t VALUES ('1', 'a', 'a'), ('2', 'b', 'b')",
        "INSERT INTO t VALUES ('3', 'c', 'c')",
    );
    let runtime = place.start().await;
    place.until("1:a,a 2:b,b 3:c,c", "first contact").await;
    // (what is done at left, at right, what both show then, why)
    let cases = [
        ("UPDATE t SET x = 'A' WHERE id = '1'", "", "1:A,a 2:b,b 3:c,c", "an edit"),
        ("", "UPDATE t SET x = 'B' WHERE id = '2'", "1:A,a 2:B,b 3:c,c", "and back"),
        (
            "UPDATE t SET x = 'l' WHERE id = '3'",
            "UPDATE t SET y = 'r' WHERE id = '3'",
            "1:A,a 2:B,b 3:l,r",
            "different fields",
        ),
        ("DELETE FROM t WHERE id = '2'", "", "1:A,a 3:l,r", "a deletion"),
        (
            "INSERT INTO t VALUES ('2', 'new', 'new')",
            "",
            "1:A,a 2:new,new 3:l,r",
            "re-created after its deletion",
        ),
        ("UPDATE t SET id = '4' WHERE id = '2'", "", "1:A,a 3:l,r 4:new,new", "another key"),
    ];
    for (left, right, rows, why) in cases {
        place.run("left", left);
        place.run("right", right);
        place.until(rows, why).await;
    }
    runtime.drain(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happens_while_it_is_down_is_settled_when_it_is_back() {
    let place = Place::new("INSERT INTO t VALUES ('1', 'a', 'a'), ('2', 'b', 'b'), ('3', 'c', 'c')", "");
    let runtime = place.start().await;
    place.until("1:a,a 2:b,b 3:c,c", "first contact").await;
    runtime.drain(Duration::from_secs(5)).await;
    drop(runtime);
    place.run(
        "left",
        "UPDATE t SET x = 'L' WHERE id = '1'; DELETE FROM t WHERE id = '2'; DELETE FROM t WHERE id = '3'",
    );
    place.run("right", "UPDATE t SET y = 'R' WHERE id = '1'; UPDATE t SET x = 'kept' WHERE id = '2'");
    let runtime = place.start().await;
    place.until("1:L,R 2:kept,b", "edits of both, an edit that beats a deletion, a deletion").await;
    runtime.drain(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_deletions_at_once_are_not_believed() {
    let rows: Vec<String> = (10..40).map(|id| format!("('{id}', 'x', 'y')")).collect();
    let place = Place::new(&format!("INSERT INTO t VALUES {}", rows.join(",")), "");
    let runtime = place.start().await;
    let full = place.rows("left");
    place.until(&full, "first contact").await;
    place.run("left", "DELETE FROM t");
    for _ in 0..200 {
        let frozen = runtime.store.link("default", "both").await.unwrap().frozen;
        if frozen[0].is_some() {
            assert_eq!(place.rows("right"), full, "nothing is deleted until somebody approves");
            runtime.drain(Duration::from_secs(5)).await;
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the fuse did not blow; right shows {:?}", place.rows("right"));
}

/// Writers on both sides at once, on fields of their own: nothing of theirs is ever taken back by a page
/// that was read before our own write.
#[tokio::test(flavor = "multi_thread")]
async fn no_edit_is_lost_among_concurrent_ones() {
    let rows: Vec<String> = (10..40).map(|id| format!("('{id}', '0', '0')")).collect();
    let place = Place::new(&format!("INSERT INTO t VALUES {}", rows.join(",")), "");
    let runtime = place.start().await;
    let full = place.rows("left");
    place.until(&full, "first contact").await;
    for round in 1..=15 {
        place.run("left", &format!("UPDATE t SET x = '{round}'"));
        place.run("right", &format!("UPDATE t SET y = '{round}'"));
        tokio::time::sleep(Duration::from_millis(7 * round)).await;
    }
    let last: Vec<String> = (10..40).map(|id| format!("{id}:15,15")).collect();
    place.until(&last.join(" "), "the last edits of both").await;
    runtime.drain(Duration::from_secs(5)).await;
}

/// A row that is marked as deleted and a living one under the same key, on one page: the living one counts,
/// whichever is read first, at every scan.
#[tokio::test(flavor = "multi_thread")]
async fn a_living_row_counts_beside_a_deleted_one_of_its_key() {
    let settings = SETTINGS.replace(
        r#"a = { system = "left", stream = "t", key = "id" }"#,
        r#"a = { system = "left", stream = "t", key = "id", deleted_at = "gone" }"#,
    );
    let place = Place::empty(&settings);
    place.run(
        "left",
        "PRAGMA journal_mode = wal; CREATE TABLE t (n INTEGER PRIMARY KEY, id TEXT, x TEXT, y TEXT, gone TEXT);
         INSERT INTO t VALUES (2, '1', 'live', 'live', NULL)",
    );
    place.run("right", "PRAGMA journal_mode = wal; CREATE TABLE t (id TEXT PRIMARY KEY, x TEXT, y TEXT)");
    let runtime = place.start().await;
    let living = |rows: &str| format!("SELECT '{rows}' = (SELECT group_concat(x) FROM t)");
    let shows = |rows: &'static str| {
        let db = Connection::open(place.path().join("right.sqlite")).unwrap();
        db.busy_timeout(Duration::from_secs(5)).unwrap();
        db.query_row(&living(rows), [], |row| row.get::<_, Option<bool>>(0)).unwrap() == Some(true)
    };
    eventually("the living row", || shows("live")).await;
    place.run("left", "INSERT INTO t VALUES (1, '1', 'old', 'old', '2026-01-01T00:00:00Z')");
    for _ in 0..10 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(shows("live"), "no scan deletes it");
    }
    runtime.drain(Duration::from_secs(5)).await;
}

/// What a broken-off load left behind and the source has deleted since: the next load comes to its end,
/// and the record stays gone.
#[tokio::test(flavor = "multi_thread")]
async fn a_load_after_a_broken_one_comes_to_its_end() {
    let place = Place::with_empty_file();
    let state = SqliteStore::open(&place.path().join("state.sqlite"), SqliteOptions::default()).unwrap();
    let link = state.link("default", "both").await.unwrap().id;
    let load = state.begin_load(link, Direction::AToB, None).await.unwrap();
    let mut pair = Pair::new(Key::from_text("9").unwrap());
    for side in [&mut pair.a, &mut pair.b] {
        let values = ["9", "old", "old"].map(Value::text).to_vec();
        side.base = Some(Image { shape: Schema::new(["id", "x", "y"]), values: values.into() });
        side.seen = Seen::AsBase;
    }
    let commit = Commit { pairs: vec![pair], load: Some(load), ..Commit::default() };
    state.commit(link, commit, Timestamp(1)).await.unwrap();
    drop(state);
    let runtime = place.start().await;
    place.until_filled(&runtime).await;
    place.run("left", "UPDATE t SET x = 'A' WHERE id = '1'");
    eventually("an edit afterwards", || place.file() == "id,x,y\n1,A,a\n2,b,b\n").await;
    runtime.drain(Duration::from_secs(5)).await;
}

/// The process dies between the moment in which a load becomes visible and that in which the state says so: what
/// is edited before the next start, on whichever side, does not lose against what was loaded.
#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn a_load_that_nobody_said_had_ended_is_known_again() {
    let place = Place::with_empty_file();
    place.fill_and_die().await;
    place.run("left", "UPDATE t SET x = 'A' WHERE id = '1'");
    std::fs::write(place.path().join("right.csv"), "id,x,y\n1,a,a\n2,B,b\n").unwrap();
    let runtime = place.start().await;
    eventually("both edits in the file", || place.file() == "id,x,y\n1,A,a\n2,B,b\n").await;
    eventually("both edits in the database", || place.rows("left") == "1:A,a 2:B,b").await;
    runtime.drain(Duration::from_secs(5)).await;
}

/// The same, and the next rules make something else of what was loaded.
#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn new_rules_make_a_load_anew_that_is_known_again() {
    let place = Place::with_empty_file();
    place.fill_and_die().await;
    let upper = r#""x": {"to": "x", "transform": "upper"}"#;
    std::fs::write(place.path().join("rules.json"), RULES.replace(r#""x": "x""#, upper)).unwrap();
    let runtime = place.start().await;
    eventually("what the new rules make", || place.file() == "id,x,y\n1,A,a\n2,B,b\n").await;
    runtime.drain(Duration::from_secs(5)).await;
}

/// A table read by its stamps shows a row again that is edited while the first pass is under way: it is the
/// same row, and its last edit counts.
#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_changes_during_the_first_pass_is_no_second_one() {
    let settings = SETTINGS.replace(
        r#"a = { system = "left", stream = "t", key = "id" }"#,
        r#"a = { system = "left", stream = "t", key = "id", capture = "column", updated_at = "at", overlap_seconds = 60 }"#,
    );
    let place = Place::empty(&settings);
    place.run(
        "left",
        "PRAGMA journal_mode = wal; CREATE TABLE t (id INTEGER PRIMARY KEY, x TEXT, y TEXT, at INTEGER);
         WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 5000)
         INSERT INTO t SELECT i, 'x', 'y', unixepoch() - 10000 + i FROM n",
    );
    place.run("right", "PRAGMA journal_mode = wal; CREATE TABLE t (id INTEGER PRIMARY KEY, x TEXT, y TEXT)");
    let runtime = place.start().await;
    let count = |sql: &str| {
        let db = Connection::open(place.path().join("right.sqlite")).unwrap();
        db.busy_timeout(Duration::from_secs(5)).unwrap();
        db.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap()
    };
    // As soon as the first page is over there, the pass is under way.
    eventually("the first page", || count("SELECT count(*) FROM t") > 0).await;
    place.run("left", "UPDATE t SET x = 'edited', at = unixepoch() WHERE id <= 100");
    eventually("all rows, with the edits", || {
        count("SELECT count(*) FROM t") == 5000 && count("SELECT count(*) FROM t WHERE x = 'edited'") == 100
    })
    .await;
    let link = runtime.store.link("default", "both").await.unwrap();
    assert_eq!(link.counters.dead, 0, "nobody was called a second record");
    runtime.drain(Duration::from_secs(5)).await;
}

async fn eventually(what: &str, is_so: impl Fn() -> bool) {
    for _ in 0..300 {
        if is_so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{what} did not come");
}
