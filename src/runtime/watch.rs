//! Notices that files change.
//!
//! The parent folder is watched, never the file itself: a save by rename would end such a watch, and
//! a swapped symlink would never show. Contents are compared by hash after a moment of quiet, so that
//! every way of saving counts once; and a look at the file's own marks now and then catches what no
//! notification told, such as an edit behind a symlink into another folder.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use notify::{EventKind, RecursiveMode, Watcher};
use tokio::sync::{Notify, watch};

use super::link::lock;

/// No change for so long means that whoever saved is done.
const QUIET: Duration = Duration::from_millis(120);
/// Marks are looked at this often although nothing was told.
const LOOK_EVERY: Duration = Duration::from_millis(400);
/// Changes in a row that are waited out before a file is read although there is no quiet.
const BUSY_MAX: u32 = 8;

/// Watches files and their folders until it is dropped.
pub struct FileWatcher {
    inner: Arc<Inner>,
}

struct Inner {
    watcher: Mutex<Option<notify::RecommendedWatcher>>,
    folders: Mutex<BTreeSet<PathBuf>>,
    bells: Mutex<Vec<Bell>>,
    contents: Mutex<Vec<Content>>,
}

struct Bell {
    folder: PathBuf,
    name: OsString,
    ring: Weak<Notify>,
}

struct Content {
    path: PathBuf,
    folder: PathBuf,
    marks: Option<Marks>,
    dirty: bool,
    tell: watch::Sender<Option<String>>,
}

/// Length, time of change and number of the file that a path leads to.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Marks(u64, Option<std::time::SystemTime>, u64);

impl FileWatcher {
    /// Starts watching nothing yet. Where the system has no notifications left, looking still works.
    pub fn new() -> Self {
        let (told, hear): (Sender<notify::Event>, Receiver<notify::Event>) = channel();
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            if let Ok(event) = event
                && !matches!(event.kind, EventKind::Access(_))
            {
                // The receiver is gone only when the watcher is.
                let _ = told.send(event);
            }
        });
        if let Err(error) = &watcher {
            tracing::warn!(event = "watch.unavailable", error = %error, "files are looked at now and then instead");
        }
        let inner = Arc::new(Inner {
            watcher: Mutex::new(watcher.ok()),
            folders: Mutex::default(),
            bells: Mutex::default(),
            contents: Mutex::default(),
        });
        let weak = Arc::downgrade(&inner);
        std::thread::spawn(move || listen(&weak, &hear));
        Self { inner }
    }

    /// Rings when one of these files may have changed. Several files share one bell.
    pub fn bell(&self, paths: &[PathBuf]) -> Arc<Notify> {
        let ring = Arc::new(Notify::new());
        for path in paths {
            let (folder, name) = split(path);
            self.folder(&folder);
            lock(&self.inner.bells).push(Bell { folder, name, ring: Arc::downgrade(&ring) });
        }
        ring
    }

    /// Follows a file's text: a new value each time that its content is another, `None` while it is
    /// not there or no UTF-8.
    pub fn content(&self, path: &Path) -> watch::Receiver<Option<String>> {
        let (folder, _) = split(path);
        self.folder(&folder);
        let (tell, hear) = watch::channel(std::fs::read_to_string(path).ok());
        let content = Content { path: path.to_owned(), folder, marks: marks(path), dirty: false, tell };
        lock(&self.inner.contents).push(content);
        hear
    }

    fn folder(&self, folder: &Path) {
        if !lock(&self.inner.folders).insert(folder.to_owned()) {
            return;
        }
        if let Some(watcher) = lock(&self.inner.watcher).as_mut()
            && let Err(error) = watcher.watch(folder, RecursiveMode::NonRecursive)
        {
            tracing::warn!(event = "watch.folder_failed", error = %error, folder = %folder.display(),
                "the folder is looked at now and then instead");
        }
    }
}

impl Default for FileWatcher {
    fn default() -> Self {
        Self::new()
    }
}

fn split(path: &Path) -> (PathBuf, OsString) {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let folder = std::fs::canonicalize(folder).unwrap_or_else(|_| folder.to_owned());
    (folder, path.file_name().unwrap_or_default().to_owned())
}

fn marks(path: &Path) -> Option<Marks> {
    let data = std::fs::metadata(path).ok()?;
    #[cfg(unix)]
    let number = std::os::unix::fs::MetadataExt::ino(&data);
    #[cfg(not(unix))]
    let number = 0;
    Some(Marks(data.len(), data.modified().ok(), number))
}

fn listen(inner: &Weak<Inner>, hear: &Receiver<notify::Event>) {
    let mut busy = 0;
    loop {
        let wait = if busy > 0 { QUIET } else { LOOK_EVERY };
        let heard = hear.recv_timeout(wait);
        let Some(inner) = inner.upgrade() else { return };
        match heard {
            Ok(event) => {
                take(&inner, &event);
                busy += 1;
                if busy < BUSY_MAX || !lock(&inner.contents).iter().any(|content| content.dirty) {
                    continue;
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            // Without a notifier the looks are all there is.
            Err(RecvTimeoutError::Disconnected) => std::thread::sleep(LOOK_EVERY),
        }
        busy = 0;
        lock(&inner.contents).retain_mut(look);
    }
}

/// Rings bells at once; contents wait for quiet.
fn take(inner: &Inner, event: &notify::Event) {
    for path in &event.paths {
        let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { continue };
        lock(&inner.bells).retain(|bell| {
            let Some(ring) = bell.ring.upgrade() else { return false };
            if bell.folder == folder && bell.name == name {
                ring.notify_one();
            }
            true
        });
        for content in lock(&inner.contents).iter_mut() {
            content.dirty |= content.folder == folder;
        }
    }
}

/// Reads a content that may be another; false once nobody listens any more.
fn look(content: &mut Content) -> bool {
    let now = marks(&content.path);
    if content.dirty || now != content.marks {
        content.dirty = false;
        content.marks = now;
        let text = std::fs::read_to_string(&content.path).ok();
        content.tell.send_if_modified(|known| {
            let news = *known != text;
            if news {
                *known = text;
            }
            news
        });
    }
    !content.tell.is_closed()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every way that an editor saves, done to a file that leads to `rules.json`.
    type Save = fn(&Path);

    #[tokio::test]
    async fn every_way_of_saving_is_seen_once_it_is_done() {
        let ways: [(&str, Save); 4] = [
            ("in place", |folder| std::fs::write(folder.join("rules.json"), "new").expect("a save")),
            ("by rename", |folder| {
                std::fs::write(folder.join(".rules.json.swp"), "new").expect("a save");
                std::fs::rename(folder.join(".rules.json.swp"), folder.join("rules.json")).expect("a rename");
            }),
            ("deleted and made anew", |folder| {
                std::fs::remove_file(folder.join("rules.json")).expect("a removal");
                std::fs::write(folder.join("rules.json"), "new").expect("a save");
            }),
            ("by a swapped symlink", |folder| {
                std::fs::create_dir(folder.join("second")).expect("a folder");
                std::fs::write(folder.join("second/rules.json"), "new").expect("a file");
                std::os::unix::fs::symlink("second/rules.json", folder.join("link.tmp")).expect("a link");
                std::fs::rename(folder.join("link.tmp"), folder.join("rules.json")).expect("a rename");
            }),
        ];
        for (way, save) in ways {
            let folder = tempfile::tempdir().expect("a folder");
            let path = folder.path().join("rules.json");
            std::fs::write(&path, "old").expect("a file");
            let watcher = FileWatcher::new();
            let mut text = watcher.content(&path);
            save(folder.path());
            let seen = text.wait_for(|text| text.as_deref() == Some("new"));
            tokio::time::timeout(Duration::from_secs(10), seen).await.expect(way).expect("a watcher");
        }
    }

    #[tokio::test]
    async fn a_bell_rings_for_its_own_files_only() {
        let folder = tempfile::tempdir().expect("a folder");
        let watcher = FileWatcher::new();
        let bell = watcher.bell(&[folder.path().join("db"), folder.path().join("db-wal")]);
        std::fs::write(folder.path().join("other"), "x").expect("a file");
        let rang = tokio::time::timeout(Duration::from_millis(300), bell.notified()).await;
        assert!(rang.is_err(), "another file in the folder is nothing to us");
        std::fs::write(folder.path().join("db-wal"), "x").expect("a file");
        tokio::time::timeout(Duration::from_secs(10), bell.notified()).await.expect("the bell rings");
    }
}
