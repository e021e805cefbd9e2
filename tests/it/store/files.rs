//! The file of the SQLite store: whose it is, what is refused, what a crash leaves.

use std::fs;
use std::path::Path;

use record_sync::engine::plan::Pair;
use record_sync::engine::record::{Cursor, Direction, Side};
use record_sync::store::sqlite::{Durability, SqliteOptions, SqliteStore};
use record_sync::store::{Commit, LinkWord, Store, StoreError};

use super::*;

fn refusal(path: &Path) -> StoreError {
    match SqliteStore::open(path, SqliteOptions::default()) {
        Ok(_) => panic!("it was opened"),
        Err(error) => error,
    }
}

/// Commits pair after pair, each with the cursor that stands behind it.
async fn write_history(store: &dyn Store, link: LinkId, numbers: std::ops::Range<usize>) {
    for number in numbers {
        let commit = Commit {
            pairs: vec![agreed(&number.to_string())],
            jobs: vec![wanted(&number.to_string())],
            cursor: Some((Side::A, Some(Cursor(number.to_string())))),
            ..Commit::default()
        };
        assert_eq!(store.commit(link, commit, at(1)).await.unwrap().stale, []);
    }
}

fn raw(path: &Path) -> rusqlite::Connection {
    rusqlite::Connection::open(path).unwrap()
}

#[tokio::test]
async fn a_state_is_used_by_one_daemon_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("new/folder/state.sqlite");
    let first = open(&path);
    assert!(matches!(refusal(&path), StoreError::Locked { .. }), "a second opener");
    let other_name = folder.path().join("new/../new/folder/./state.sqlite");
    assert!(matches!(refusal(&other_name), StoreError::Locked { .. }), "the same file by another name");
    let clone = first.clone();
    drop(first);
    assert!(matches!(refusal(&path), StoreError::Locked { .. }), "a clone still has it");
    drop(clone);
    drop(open(&path));
}

#[tokio::test]
async fn everything_is_there_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.sqlite");
    let options = SqliteOptions { durability: Durability::Full, readers: 1, ..SqliteOptions::default() };
    let store = SqliteStore::open(&path, options).unwrap();
    let link = link(&store).await;
    write_history(&store, link, 0..20).await;
    let before = store.walk(link, None, 100).await.unwrap();
    store.tidy(at(1), true).await.unwrap();
    drop(store);
    assert!(!path.with_file_name("state.sqlite-wal").exists(), "closed, it is one file");
    let store = open(&path);
    assert_eq!(store.walk(link, None, 100).await.unwrap(), before);
    assert_eq!(lease(&store, link, 10, 100).await.len(), 20);
}

#[tokio::test]
async fn loads_left_over_stay_void_and_are_planned_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.sqlite");
    let store = open(&path);
    for name in ["loading", "quiet"] {
        let state = store.link("customer1", name).await.unwrap();
        store.tell_link(state.id, vec![LinkWord::Matched, LinkWord::PlannedUnder(7)]).await.unwrap();
    }
    let link = store.link("customer1", "loading").await.unwrap().id;
    let load = store.begin_load(link, Direction::AToB, None).await.unwrap();
    let commit = Commit { pairs: vec![agreed("1")], load: Some(load), ..Commit::default() };
    store.commit(link, commit, at(1)).await.unwrap();
    drop(store);
    let store = open(&path);
    assert_eq!(pair(&store, link, "1").await.unwrap().a.base, None, "it never arrived");
    let link_of = async |store: &SqliteStore, name| store.link("customer1", name).await.unwrap();
    let state = link_of(&store, "loading").await;
    assert_eq!((state.matched, state.planned_under), (false, Some(7)), "so it is planned again");
    assert!(link_of(&store, "quiet").await.matched);
    assert_ne!(
        store.begin_load(link, Direction::AToB, None).await.unwrap(),
        load,
        "its number is not given again"
    );

    let read = pair(&store, link, "1").await.unwrap();
    keep(&store, link, vec![Pair { version: read.version, ..agreed("1") }]).await;
    store.tell_link(link, vec![LinkWord::Matched]).await.unwrap();
    drop(store);
    let state = link_of(&open(&path), "loading").await;
    assert!(state.matched, "once its pairs were stored anew, the load is forgotten");
}

#[tokio::test]
async fn what_is_not_a_state_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.sqlite");
    let store = open(&path);
    let link = link(&store).await;
    write_history(&store, link, 0..200).await;
    drop(store);
    let good = fs::read(&path).unwrap();
    assert!(good.len() > 5 * 4096);

    let zeroed = |from: usize, to: usize| {
        let mut bytes = good.clone();
        bytes[from..to].fill(0);
        bytes
    };
    let with_header = |edit: &dyn Fn(&rusqlite::Connection)| {
        fs::write(&path, &good).unwrap();
        let db = raw(&path);
        edit(&db);
        db.close().unwrap();
        fs::read(&path).unwrap()
    };
    let newer = with_header(&|db| db.pragma_update(None, "user_version", 99).unwrap());
    let foreign = with_header(&|db| db.pragma_update(None, "application_id", 5).unwrap());
    let lacking = with_header(&|db| db.execute_batch("DROP TABLE kv").unwrap());
    let one_off = with_header(&|db| {
        db.execute_batch(
            "PRAGMA writable_schema = ON; UPDATE sqlite_schema SET rootpage = 99999 WHERE name = 'sheaves'",
        )
        .unwrap();
    });
    // (bytes, newer instead of corrupt, why)
    let cases = [
        (zeroed(0, 100), false, "no header"),
        (zeroed(4096, 5 * 4096), false, "pages of zeroes"),
        (good[..good.len() - 4096].to_vec(), false, "the end is missing"),
        (good[..60].to_vec(), false, "hardly anything is left"),
        (b"record_id,name\n1,Ann\n".repeat(20), false, "some other file"),
        (newer, true, "a newer daemon wrote it"),
        (foreign, false, "another program's database"),
        (lacking, false, "a table is gone"),
        (one_off, false, "the schema leads nowhere"),
    ];
    for (bytes, is_newer, why) in cases {
        fs::write(&path, &bytes).unwrap();
        match (refusal(&path), is_newer) {
            (StoreError::Newer { found: 99, known, .. }, true) => assert!(known < 99, "{why}"),
            (StoreError::Corrupt { detail, .. }, false) => assert!(!detail.is_empty(), "{why}"),
            (error, _) => panic!("{why}: {error}"),
        }
        assert!(fs::read(&path).unwrap() == bytes, "{why}: the file was touched");
        for suffix in ["-wal", "-shm"] {
            let beside = folder.path().join(format!("state.sqlite{suffix}"));
            let _ = fs::remove_file(beside);
        }
    }
    fs::write(&path, &good).unwrap();
    assert_eq!(open(&path).count_pairs(link).await.unwrap(), 200, "put back, it is as it was");
}

#[tokio::test]
async fn a_wal_without_its_state_is_not_thrown_away() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.sqlite");
    let wal = folder.path().join("state.sqlite-wal");
    for state in [None, Some("")] {
        fs::write(&wal, "what was not yet written back").unwrap();
        if let Some(text) = state {
            fs::write(&path, text).unwrap();
        }
        assert!(matches!(refusal(&path), StoreError::Corrupt { .. }));
        assert_eq!(fs::read(&wal).unwrap().len(), 29);
    }
    fs::remove_file(&wal).unwrap();
    drop(open(&path));
}

/// Copies a state as a crash leaves it, its WAL cut at `wal_bytes`.
fn crashed(path: &Path, to: &Path, wal_bytes: u64) {
    fs::copy(path, to).unwrap();
    let wal = |path: &Path| path.with_file_name("state.sqlite-wal");
    fs::copy(wal(path), wal(to)).unwrap();
    fs::File::options().write(true).open(wal(to)).unwrap().set_len(wal_bytes).unwrap();
}

#[tokio::test]
async fn a_crash_leaves_a_moment_that_was() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.sqlite");
    let store = open(&path);
    let link = link(&store).await;
    write_history(&store, link, 0..60).await;
    let wal_bytes = fs::metadata(path.with_file_name("state.sqlite-wal")).unwrap().len();
    let mut last = 0;
    for cut in 0..=12 {
        let place = folder.path().join(cut.to_string());
        fs::create_dir(&place).unwrap();
        let copy = place.join("state.sqlite");
        crashed(&path, &copy, wal_bytes * cut / 12);
        if wal_bytes * cut / 12 == 0 {
            continue;
        }
        let store = open(&copy);
        let Some(state) = store.links().await.unwrap().pop() else { continue };
        let pairs: Vec<Pair> = store.walk(link, None, 100).await.unwrap();
        let through = state.cursors[0].as_ref().map_or(0, |cursor| cursor.0.parse::<usize>().unwrap() + 1);
        assert_eq!(pairs.len(), through, "cut at {cut}: the cursor and the pairs before it");
        assert_eq!(store.count_pairs(link).await.unwrap() as usize, through, "cut at {cut}");
        assert_eq!(lease(&store, link, 10, 100).await.len(), through, "cut at {cut}: and their jobs");
        assert_conserved(&store, link, "after a crash").await;
        assert!(through >= last, "cut at {cut}: more of the WAL, more of the history");
        last = through;
    }
    assert_eq!(last, 60, "what was answered is there");
}

#[tokio::test]
async fn a_refused_state_keeps_its_wal() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.sqlite");
    let store = open(&path);
    let link = link(&store).await;
    write_history(&store, link, 0..60).await;
    let place = folder.path().join("copy");
    fs::create_dir(&place).unwrap();
    let (copy, wal) = (place.join("state.sqlite"), place.join("state.sqlite-wal"));
    crashed(&path, &copy, fs::metadata(path.with_file_name("state.sqlite-wal")).unwrap().len());
    let whole = fs::read(&copy).unwrap();
    let mut damaged = whole.clone();
    damaged[..16].fill(b'x');
    fs::write(&copy, &damaged).unwrap();
    let before = fs::read(&wal).unwrap();
    assert!(matches!(refusal(&copy), StoreError::Corrupt { .. }));
    assert!(fs::read(&copy).unwrap() == damaged, "the file");
    assert!(fs::read(&wal).unwrap() == before, "what was not yet written back");
    fs::write(&copy, &whole).unwrap();
    assert_eq!(open(&copy).count_pairs(link).await.unwrap(), 60, "mended, nothing is lost");
}

#[tokio::test]
async fn many_callers_at_once_are_all_served() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder.path().join("state.sqlite"));
    let link = link(&store).await;
    // Every third commit expects a version that is not there: it fails beside its neighbours.
    let commits = (0..600u32).map(|number| {
        let store = store.clone();
        async move {
            let version = if number % 3 == 0 { 5 } else { 0 };
            let pairs = vec![Pair { version, ..agreed(&number.to_string()) }];
            let commit = Commit { pairs, jobs: vec![wanted(&number.to_string())], ..Commit::default() };
            let committed = store.commit(link, commit, at(1)).await.unwrap();
            assert_eq!(committed.stale.len(), usize::from(number % 3 == 0));
            assert_eq!(committed.jobs.len(), usize::from(number % 3 != 0));
            pair(&store, link, &number.to_string()).await.is_some()
        }
    });
    let there = futures_util::future::join_all(commits).await;
    assert_eq!(there.iter().filter(|there| **there).count(), 400, "each reads its own write");
    assert_eq!(store.count_pairs(link).await.unwrap(), 400);
    assert_eq!(lease(&store, link, 10, 1000).await.len(), 400);
    assert_conserved(&store, link, "with every third undone").await;
}
