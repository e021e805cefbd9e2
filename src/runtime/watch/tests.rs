//! Real files, saved in every way that editors and operators know.

use std::fs;
use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

const LONG: Duration = Duration::from_secs(10);

/// Lays out a folder whose `rules.json` says `old`, and saves `new` over it.
struct Way {
    name: &'static str,
    before: fn(&Path),
    save: fn(&Path),
}

fn plain(folder: &Path) {
    fs::write(folder.join("rules.json"), "old").expect("a file");
}

fn replace_link(target: &str, link: &Path) {
    let parked = link.with_file_name("parked");
    symlink(target, &parked).expect("a link");
    fs::rename(parked, link).expect("a rename");
}

const WAYS: &[Way] = &[
    Way {
        name: "in place",
        before: plain,
        save: |folder| fs::write(folder.join("rules.json"), "new").expect("a save"),
    },
    Way {
        name: "by rename, as vim and our own API do",
        before: plain,
        save: |folder| {
            fs::write(folder.join(".rules.json.swp"), "new").expect("a save");
            fs::rename(folder.join(".rules.json.swp"), folder.join("rules.json")).expect("a rename");
        },
    },
    Way {
        name: "deleted and made anew after a while",
        before: plain,
        save: |folder| {
            fs::remove_file(folder.join("rules.json")).expect("a removal");
            std::thread::sleep(QUIET * 2);
            fs::write(folder.join("rules.json"), "new").expect("a save");
        },
    },
    Way {
        name: "by a swapped symlink",
        before: |folder| {
            fs::write(folder.join("first.json"), "old").expect("a file");
            fs::write(folder.join("second.json"), "new").expect("a file");
            symlink("first.json", folder.join("rules.json")).expect("a link");
        },
        save: |folder| replace_link("second.json", &folder.join("rules.json")),
    },
    Way {
        name: "by a swapped folder beside it, as Kubernetes does",
        before: |folder| {
            for (version, text) in [("..1", "old"), ("..2", "new")] {
                fs::create_dir(folder.join(version)).expect("a folder");
                fs::write(folder.join(version).join("rules.json"), text).expect("a file");
            }
            symlink("..1", folder.join("..data")).expect("a link");
            symlink("..data/rules.json", folder.join("rules.json")).expect("a link");
        },
        save: |folder| replace_link("..2", &folder.join("..data")),
    },
    Way {
        name: "behind a symlink into another folder",
        before: |folder| {
            fs::create_dir(folder.join("elsewhere")).expect("a folder");
            fs::write(folder.join("elsewhere/rules.json"), "old").expect("a file");
            symlink("elsewhere/rules.json", folder.join("rules.json")).expect("a link");
        },
        save: |folder| fs::write(folder.join("elsewhere/rules.json"), "new!").expect("a save"),
    },
    Way {
        name: "with the whole folder replaced",
        before: plain,
        save: |folder| {
            let aside = folder.with_extension("aside");
            fs::rename(folder, &aside).expect("a rename");
            fs::create_dir(folder).expect("a folder");
            fs::write(folder.join("rules.json"), "new").expect("a save");
            fs::remove_dir_all(aside).expect("a removal");
        },
    },
];

#[tokio::test]
async fn every_way_of_saving_is_seen() {
    for way in WAYS {
        let root = tempfile::tempdir().expect("a folder");
        let folder = root.path().join("conf");
        fs::create_dir(&folder).expect("a folder");
        (way.before)(&folder);
        let watcher = FileWatcher::new();
        let mut text = watcher.content(&folder.join("rules.json"));
        assert_eq!(text.borrow_and_update().as_deref(), Some("old"), "{}", way.name);
        (way.save)(&folder);
        let seen = text.wait_for(|text| text.as_ref().is_some_and(|text| text.starts_with("new")));
        tokio::time::timeout(LONG, seen).await.expect(way.name).expect("a watcher");
    }
}

/// Rules take effect within a second of being saved; the rest of it is for reading and compiling.
const _: () = assert!(LOOK_EVERY.as_millis() + QUIET_MAX.as_millis() < 900);

#[tokio::test]
async fn a_file_saved_twice_in_two_folders_is_seen_twice() {
    // A watch that died with the first folder would miss the second save.
    let root = tempfile::tempdir().expect("a folder");
    let folder = root.path().join("conf");
    let watcher = FileWatcher::new();
    let mut text = watcher.content(&folder.join("rules.json"));
    let bell = watcher.bell(&[folder.join("data.sqlite")]);
    assert_eq!(*text.borrow_and_update(), None, "the folder is not even there");
    for round in ["first", "second"] {
        fs::create_dir(&folder).expect("a folder");
        fs::write(folder.join("rules.json"), round).expect("a file");
        let seen = text.wait_for(|text| text.as_deref() == Some(round));
        tokio::time::timeout(LONG, seen).await.expect(round).expect("a watcher");
        tokio::time::timeout(LONG, bell.notified()).await.expect("a new folder may hold new data");
        fs::write(folder.join("data.sqlite"), "x").expect("a file");
        tokio::time::timeout(LONG, bell.notified()).await.expect("the bell rings again");
        fs::remove_dir_all(&folder).expect("a removal");
        let gone = text.wait_for(Option::is_none);
        tokio::time::timeout(LONG, gone).await.expect("gone").expect("a watcher");
    }
}

#[tokio::test]
async fn the_first_text_counts_as_new_and_the_same_text_does_not() {
    let folder = tempfile::tempdir().expect("a folder");
    plain(folder.path());
    let watcher = FileWatcher::new();
    let mut text = watcher.content(&folder.path().join("rules.json"));
    assert!(text.has_changed().expect("a watcher"), "whoever read it before misses nothing");
    text.mark_unchanged();
    plain(folder.path());
    fs::write(folder.path().join("other"), "x").expect("a file");
    tokio::time::sleep(LOOK_EVERY + QUIET * 2).await;
    assert!(!text.has_changed().expect("a watcher"), "the same content is no news");
}

#[tokio::test]
async fn half_a_save_is_not_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("rules.json");
    let watcher = FileWatcher::new();
    // A busy machine may stop the writer for longer than the quiet lasts: another round then.
    for _ in 0..10 {
        plain(folder.path());
        let mut text = watcher.content(&path);
        text.mark_unchanged();
        let mut slowest = Duration::ZERO;
        for part in ["", "n", "ne", "new"] {
            let began = clock::instant();
            fs::write(&path, part).expect("a part of a save");
            tokio::time::sleep(QUIET / 5).await;
            slowest = slowest.max(began.elapsed());
        }
        tokio::time::timeout(LONG, text.changed()).await.expect("a change").expect("a watcher");
        if slowest < QUIET / 2 {
            assert_eq!(text.borrow().as_deref(), Some("new"));
            return;
        }
    }
}

#[tokio::test]
async fn a_busy_folder_does_not_keep_a_save_from_being_seen() {
    let folder = tempfile::tempdir().expect("a folder");
    plain(folder.path());
    let watcher = FileWatcher::new();
    let mut text = watcher.content(&folder.path().join("rules.json"));
    text.mark_unchanged();
    let stop = Arc::new(AtomicBool::new(false));
    let (stopped, log) = (Arc::clone(&stop), folder.path().join("app.log"));
    let noise = std::thread::spawn(move || {
        while !stopped.load(Ordering::Acquire) {
            fs::write(&log, "noise").expect("a file");
            std::thread::sleep(Duration::from_micros(200));
        }
    });
    fs::write(folder.path().join("rules.json"), "new").expect("a save");
    let seen = tokio::time::timeout(Duration::from_secs(2), text.changed()).await;
    stop.store(true, Ordering::Release);
    noise.join().expect("the noise");
    seen.expect("in time").expect("a watcher");
    assert_eq!(text.borrow().as_deref(), Some("new"));
}

#[tokio::test]
async fn a_bell_rings_for_its_own_files_only() {
    let folder = tempfile::tempdir().expect("a folder");
    let watcher = FileWatcher::new();
    let bell = watcher.bell(&[folder.path().join("db"), folder.path().join("db-wal")]);
    fs::write(folder.path().join("other"), "x").expect("a file");
    let rang = tokio::time::timeout(Duration::from_millis(300), bell.notified()).await;
    assert!(rang.is_err(), "another file in the folder is nothing to us");
    fs::write(folder.path().join("db-wal"), "x").expect("a file");
    tokio::time::timeout(LONG, bell.notified()).await.expect("the bell rings");
}

#[tokio::test]
async fn a_bell_rings_for_data_behind_a_symlink() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::create_dir(folder.path().join("elsewhere")).expect("a folder");
    fs::write(folder.path().join("elsewhere/db"), "x").expect("a file");
    symlink("elsewhere/db", folder.path().join("db")).expect("a link");
    let watcher = FileWatcher::new();
    let bell = watcher.bell(&[folder.path().join("db")]);
    fs::write(folder.path().join("elsewhere/db"), "y").expect("a file");
    tokio::time::timeout(LONG, bell.notified()).await.expect("the bell rings");
}
