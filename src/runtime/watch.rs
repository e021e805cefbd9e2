//! Notices that files change.
//!
//! The parent folder is watched, never the file itself: a save by rename would end such a watch, and
//! a swapped symlink would never show. A content is read after a moment of quiet and told when it is
//! another, so that every way of saving counts once. A look at the files' own marks now and then
//! catches what no notification told, such as an edit behind a symlink into another folder.
//!
//! Invariant: a change is told late at worst, never not at all, unless it was taken back before.

mod news;
mod place;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use notify::{EventKind, RecursiveMode, Watcher};
use tokio::sync::{Notify, watch};

use self::news::{Heard, News};
use self::place::{Marks, Place};
use super::clock;
use super::link::lock;

/// No change for so long means that whoever saved is done.
const QUIET: Duration = Duration::from_millis(150);
/// A file that is never quiet is read after so long.
const QUIET_MAX: Duration = Duration::from_millis(450);
/// Marks are looked at this often although nothing was told; with [`QUIET`], an edit that nobody
/// notified takes effect within a second.
const LOOK_EVERY: Duration = Duration::from_millis(400);
/// Notifications are collected for so long.
const REST: Duration = Duration::from_millis(10);
/// What was collected is taken for so long, before the next rest: each notification by itself wakes somebody.
const AWAKE: Duration = Duration::from_millis(2);
/// Bells and looks at the marks rest for so long after they were told something: a file of ours that is written all the
/// time must not wake its pollers as often.
const HEARD: Duration = Duration::from_millis(5);

/// Watches files and their folders until it is dropped.
pub struct FileWatcher {
    inner: Arc<Inner>,
}

struct Inner {
    watcher: Mutex<Option<notify::RecommendedWatcher>>,
    /// The folders under watch with the marks under which the watch began.
    folders: Mutex<BTreeMap<PathBuf, Option<Marks>>>,
    bells: Mutex<Vec<Bell>>,
    contents: Mutex<Vec<Content>>,
}

struct Bell {
    place: Place,
    ring: Weak<Notify>,
}

struct Content {
    place: Place,
    marks: Option<Marks>,
    /// When the first and the last change came that was not read yet.
    touched: Option<(Instant, Instant)>,
    tell: watch::Sender<Option<String>>,
}

impl FileWatcher {
    /// Starts watching nothing yet. Where the system has no notifications left, looking still works.
    pub fn new() -> Self {
        let news = Arc::new(News::default());
        let watcher = listener(Arc::clone(&news));
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
        std::thread::spawn(move || listen(&weak, &news));
        Self { inner }
    }

    /// Follows nothing: for tests on simulated time, which tell of changes themselves.
    pub fn still() -> Self {
        let inner = Inner {
            watcher: Mutex::new(None),
            folders: Mutex::default(),
            bells: Mutex::default(),
            contents: Mutex::default(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Rings at once when one of these files may have changed. Several files share one bell.
    pub fn bell(&self, paths: &[PathBuf]) -> Arc<Notify> {
        let ring = Arc::new(Notify::new());
        for path in paths {
            let place = Place::of_data(path);
            self.inner.follow(place.folder());
            lock(&self.inner.bells).push(Bell { place, ring: Arc::downgrade(&ring) });
        }
        ring
    }

    /// Follows a file's text: a new value each time that its content is another, `None` while it is
    /// not there or no UTF-8. The text as it is now counts as new, so that whoever read the file
    /// before misses nothing.
    pub fn content(&self, path: &Path) -> watch::Receiver<Option<String>> {
        let place = Place::of_name(path);
        self.inner.follow(place.folder());
        // The marks first: a change after them is seen as one.
        let marks = place.marks();
        let (tell, mut hear) = watch::channel(std::fs::read_to_string(path).ok());
        hear.mark_changed();
        lock(&self.inner.contents).push(Content { place, marks, touched: None, tell });
        hear
    }
}

impl Default for FileWatcher {
    fn default() -> Self {
        Self::new()
    }
}

/// Makes the notifier. It rests after what it told, so that a file that is written all the time costs little: meanwhile
/// the system makes one notification of many.
fn listener(news: Arc<News>) -> notify::Result<notify::RecommendedWatcher> {
    let mut rested: Option<Instant> = None;
    notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        match event {
            Ok(event) if matches!(event.kind, EventKind::Access(_)) => {}
            Ok(event) => news.tell(event),
            Err(_) => news.miss(),
        }
        if rested.is_none_or(|rested| clock::instant().duration_since(rested) > AWAKE) {
            std::thread::sleep(REST);
            rested = Some(clock::instant());
        }
    })
}

fn listen(inner: &Weak<Inner>, news: &News) {
    let mut next_look = clock::instant();
    let mut wait = Duration::ZERO;
    loop {
        // Without a notifier nothing is ever told, and the looks are all there is.
        let Heard { paths, missed } = news.wait(wait);
        let Some(inner) = inner.upgrade() else { return };
        let now = clock::instant();
        inner.take(&paths, now);
        if missed || now >= next_look {
            inner.look(missed, now);
            next_look = now + LOOK_EVERY;
        }
        let due = inner.read_the_quiet(now);
        if !paths.is_empty() {
            std::thread::sleep(HEARD);
        }
        wait = due.map_or(next_look, |due| due.min(next_look)).saturating_duration_since(clock::instant());
    }
}

impl Inner {
    /// Watches a folder; tells whether the watch is new. A folder that was replaced by another one
    /// of the same name needs a new watch.
    fn follow(&self, folder: &Path) -> bool {
        let marks = Marks::of_folder(folder);
        let mut folders = lock(&self.folders);
        let known = folders.get(folder);
        if known == Some(&marks) {
            return false;
        }
        let first = known.is_none();
        folders.insert(folder.to_owned(), marks);
        let mut watcher = lock(&self.watcher);
        let Some(watcher) = watcher.as_mut() else { return false };
        if !first {
            // It may have ended by itself with the old folder.
            let _ = watcher.unwatch(folder);
        }
        if marks.is_none() {
            return false;
        }
        if let Err(error) = watcher.watch(folder, RecursiveMode::NonRecursive) {
            tracing::warn!(event = "watch.folder_failed", error = %error, folder = %folder.display(),
                "the folder is looked at now and then instead");
        }
        true
    }

    /// Rings bells at once; contents wait for quiet.
    fn take(&self, paths: &HashSet<PathBuf>, now: Instant) {
        if paths.is_empty() {
            return;
        }
        // A folder that was removed or renamed itself took its watch with it.
        let mut folders = lock(&self.folders);
        folders.iter_mut().filter(|(folder, _)| paths.contains(*folder)).for_each(|(_, marks)| *marks = None);
        drop(folders);
        let is_told = |place: &Place| paths.iter().any(|path| place.is(path));
        lock(&self.bells).iter().filter(|bell| is_told(&bell.place)).for_each(Bell::ring);
        for content in lock(&self.contents).iter_mut() {
            if is_told(&content.place) {
                content.touch(now);
            } else if paths.iter().any(|path| path.parent() == Some(content.place.folder())) {
                // Another name in the folder may be the symlink that leads to ours.
                content.glance(now);
            }
        }
    }

    /// Looks at everything without being told to.
    fn look(&self, missed: bool, now: Instant) {
        let mut bells = lock(&self.bells);
        bells.retain(|bell| bell.ring.strong_count() > 0);
        let mut contents = lock(&self.contents);
        contents.retain(|content| !content.tell.is_closed());
        let bell_places = bells.iter_mut().map(|bell| &mut bell.place);
        let content_places = contents.iter_mut().map(|content| &mut content.place);
        let mut renewed = BTreeSet::new();
        for place in bell_places.chain(content_places) {
            place.renew();
            if self.follow(place.folder()) {
                renewed.insert(place.folder().to_owned());
            }
        }
        // Whatever happened there before the watch began went unnoticed.
        bells.iter().filter(|bell| missed || renewed.contains(bell.place.folder())).for_each(Bell::ring);
        contents.iter_mut().for_each(|content| content.glance(now));
    }

    /// Reads the contents that are quiet by now; gives when the next one will be.
    fn read_the_quiet(&self, now: Instant) -> Option<Instant> {
        let mut contents = lock(&self.contents);
        for content in contents.iter_mut() {
            if content.due().is_some_and(|due| due <= now) {
                content.read();
            }
        }
        contents.iter().filter_map(Content::due).min()
    }
}

impl Bell {
    fn ring(&self) {
        if let Some(ring) = self.ring.upgrade() {
            ring.notify_one();
        }
    }
}

impl Content {
    fn touch(&mut self, now: Instant) {
        let first = self.touched.map_or(now, |(first, _)| first);
        self.touched = Some((first, now));
    }

    fn glance(&mut self, now: Instant) {
        let marks = self.place.marks();
        if marks != self.marks {
            self.marks = marks;
            self.touch(now);
        }
    }

    fn due(&self) -> Option<Instant> {
        self.touched.map(|(first, last)| (last + QUIET).min(first + QUIET_MAX))
    }

    fn read(&mut self) {
        self.touched = None;
        self.marks = self.place.marks();
        let text = std::fs::read_to_string(self.place.path()).ok();
        self.tell.send_if_modified(|known| {
            let news = *known != text;
            if news {
                *known = text;
            }
            news
        });
    }
}

#[cfg(test)]
mod tests;
