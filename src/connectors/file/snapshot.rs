//! A file held open, with proof that it is still the one at its path.
//!
//! A reader holds one handle for a whole pass, so that a rename over the file can't mix two
//! versions. A writer that truncates in place is found by comparing [`Stamp`]s before and after:
//! since stamps move in ticks of the kernel (10 ms at most), a file that was touched a moment ago
//! is given [`QUIET`] before it is opened, so that any later write moves the stamp.
//!
//! Invariant: nothing that was read under one stamp is believed once the stamp at the path differs.

use std::collections::HashMap;
use std::fs::{self, File, Metadata};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use crate::connectors::Clock;
use crate::engine::record::{Key, Timestamp};

use super::broken::Broken;
use super::overlay::{Overlay, Touch};
use super::replace::remove_leftovers;
use super::settings::{Format, Target};

/// How long a file must have been left alone: twice the coarsest tick of a kernel clock.
const QUIET: Duration = Duration::from_millis(20);

/// The same for CSV that does not end with a line end, where a last cell may be half written and
/// nothing in the text can tell.
const QUIET_OPEN_END: Duration = Duration::from_millis(500);

/// What tells one state of a file from the next, as far as the file system knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    /// Nanoseconds since 1970: of the content's last change, and of the inode's, which catches
    /// writers that set the former back.
    modified: i128,
    changed: i128,
}

impl Stamp {
    /// Reads it off what `stat` says.
    #[cfg(unix)]
    pub(super) fn of(meta: &Metadata) -> Self {
        use std::os::unix::fs::MetadataExt;
        let nanos = |seconds: i64, rest: i64| i128::from(seconds) * 1_000_000_000 + i128::from(rest);
        Self {
            device: meta.dev(),
            inode: meta.ino(),
            size: meta.size(),
            modified: nanos(meta.mtime(), meta.mtime_nsec()),
            changed: nanos(meta.ctime(), meta.ctime_nsec()),
        }
    }

    /// Reads it off what the system says; without inodes, size and time have to do.
    #[cfg(not(unix))]
    pub(super) fn of(meta: &Metadata) -> Self {
        let modified = meta.modified().ok().and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok());
        let modified = modified.map_or(0, |since| since.as_nanos() as i128);
        Self { device: 0, inode: 0, size: meta.len(), modified, changed: 0 }
    }

    /// Tells whether the same content stands under another name.
    pub(super) fn is_moved_only(&self, before: &Self) -> bool {
        *self == Self { changed: self.changed, ..*before }
    }

    /// Returns when the content last changed, by the file system's clock.
    pub(super) fn modified_at(&self) -> Timestamp {
        Timestamp(i64::try_from(self.modified.div_euclid(1_000_000)).unwrap_or(0))
    }

    /// Writes it as part of a cursor.
    pub(super) fn to_text(self) -> String {
        format!("{}-{}-{}-{}-{}", self.device, self.inode, self.size, self.modified, self.changed)
    }
}

/// What the ends that use one file share within this process.
#[derive(Debug, Default)]
pub(super) struct Shared {
    /// Held by whoever rewrites the file.
    writer: Mutex<()>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    existed: bool,
    /// The stamp under which we last published: that content is known to be whole.
    published: Option<Stamp>,
    /// The passes that are reading the file.
    overlays: Vec<Weak<Mutex<Overlay>>>,
}

static FILES: LazyLock<Mutex<HashMap<PathBuf, Arc<Shared>>>> = LazyLock::new(Mutex::default);

impl Shared {
    /// Finds the entry of a file, and clears away what a crash left beside it the first time. An
    /// entry lives as long as the process: that a file existed must not be forgotten.
    fn of(real: &Path) -> Arc<Self> {
        let mut files = FILES.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(shared) = files.get(real) {
            return Arc::clone(shared);
        }
        remove_leftovers(real);
        let shared = Arc::<Self>::default();
        files.insert(real.to_owned(), Arc::clone(&shared));
        shared
    }

    /// Waits for the right to rewrite the file. Not to be held across an `await`.
    pub(super) fn writer(&self) -> MutexGuard<'_, ()> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers what we just put there; `None` where somebody has written to it since.
    pub(super) fn publish(&self, stamp: Option<Stamp>) {
        let mut state = self.state();
        (state.existed, state.published) = (true, stamp);
    }

    /// Tells the passes that are under way what we just put there.
    pub(super) fn tell<'k>(&self, key: &[String], touches: impl Iterator<Item = (&'k Key, Touch)>) {
        let mut state = self.state();
        state.overlays.retain(|overlay| overlay.strong_count() > 0);
        if state.overlays.is_empty() {
            return;
        }
        let overlays: Vec<_> = state.overlays.iter().filter_map(Weak::upgrade).collect();
        for (record, touch) in touches {
            for overlay in &overlays {
                overlay.lock().unwrap_or_else(PoisonError::into_inner).note(key, record, &touch);
            }
        }
    }

    /// Begins to collect what we write, for a pass. To be called with the file open, and followed
    /// by a look that it is still the one at its path.
    pub(super) fn follow(&self, key: &[String]) -> Arc<Mutex<Overlay>> {
        let overlay = Arc::new(Mutex::new(Overlay::new(key)));
        self.state().overlays.push(Arc::downgrade(&overlay));
        overlay
    }

    /// Tells whether this state of the file is our own work.
    pub(super) fn is_ours(&self, stamp: Option<Stamp>) -> bool {
        stamp.is_some() && self.state().published == stamp
    }
}

/// Where a file really is, behind links, whether it exists or not.
pub(super) struct Place {
    pub(super) real: PathBuf,
    pub(super) shared: Arc<Shared>,
}

impl Place {
    /// Follows links, the last one included, so that a rewrite replaces the file and not the link.
    pub(super) fn find(path: &Path) -> Result<Self, Broken> {
        let real = real_path(path).map_err(Broken::Read)?;
        let shared = Shared::of(&real);
        Ok(Self { real, shared })
    }
}

fn real_path(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_owned();
    // As many links in a row as Linux follows.
    for _ in 0..40 {
        match fs::canonicalize(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            done => return done,
        }
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => fs::canonicalize(folder)?,
            _ => fs::canonicalize(".")?,
        };
        match fs::read_link(&path) {
            Ok(next) => path = folder.join(next),
            Err(_) => return Ok(folder.join(path.file_name().unwrap_or_default())),
        }
    }
    Err(io::Error::new(io::ErrorKind::InvalidInput, "too many symbolic links in a row"))
}

/// A file held open.
pub(super) struct Snapshot {
    pub(super) file: File,
    pub(super) stamp: Stamp,
    pub(super) meta: Metadata,
    path: PathBuf,
}

impl Snapshot {
    /// Opens the file once it has been left alone for a moment. `None`: there is none and never
    /// was, and it may be created.
    pub(super) fn open(target: &Target, place: &Place) -> Result<Option<Self>, Broken> {
        let found = match fs::metadata(&place.real) {
            Ok(meta) if meta.is_dir() => return Err(Broken::Folder),
            Ok(meta) if !meta.is_file() => {
                return Err(Broken::Read(io::Error::other("it is not a plain file")));
            }
            Ok(_) => File::open(&place.real),
            Err(error) => Err(error),
        };
        let mut file = match found {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return match (place.shared.state().existed, target.create) {
                    (true, _) => Err(Broken::Vanished),
                    (false, true) => Ok(None),
                    (false, false) => Err(Broken::Missing),
                };
            }
            Err(error) => return Err(Broken::Read(error)),
        };
        let meta = file.metadata().map_err(Broken::Read)?;
        let stamp = Stamp::of(&meta);
        place.shared.state().existed = true;
        if !place.shared.is_ours(Some(stamp)) {
            wait_for_quiet(&stamp, QUIET, &target.clock);
            if target.format == Format::Csv && !ends_with_line_end(&mut file).map_err(Broken::Read)? {
                wait_for_quiet(&stamp, QUIET_OPEN_END, &target.clock);
            }
        }
        let snapshot = Self { file, stamp, meta, path: target.path.clone() };
        snapshot.verify()?;
        Ok(Some(snapshot))
    }

    /// Checks that the file at the path is still this one, untouched.
    pub(super) fn verify(&self) -> Result<(), Broken> {
        if stamp_at(&self.path) == Some(self.stamp) { Ok(()) } else { Err(Broken::Changed) }
    }

    /// Checks that the file in hand is untouched, although another one may stand at the path by
    /// now: what was renamed away is whole, and the next pass reads the new one.
    pub(super) fn verify_in_hand(&self) -> Result<(), Broken> {
        let now = self.file.metadata().map(|meta| Stamp::of(&meta)).map_err(Broken::Read)?;
        let replaced = || stamp_at(&self.path).is_none_or(|there| there.inode != self.stamp.inode);
        // Losing its name counts as a change of the inode, not of the content.
        let same =
            now == self.stamp || (Stamp { changed: self.stamp.changed, ..now } == self.stamp && replaced());
        if same { Ok(()) } else { Err(Broken::Changed) }
    }

    /// Gives another reader from the front of the same handle's file.
    pub(super) fn reader(&self) -> Result<File, Broken> {
        let mut file = self.file.try_clone().map_err(Broken::Read)?;
        file.rewind().map_err(Broken::Read)?;
        Ok(file)
    }
}

/// Returns the stamp of what is at a path now.
pub(super) fn stamp_at(path: &Path) -> Option<Stamp> {
    fs::metadata(path).ok().map(|meta| Stamp::of(&meta))
}

/// Sleeps until the file is as old as asked; never longer than that, whatever the clocks say.
fn wait_for_quiet(stamp: &Stamp, quiet: Duration, clock: &Clock) {
    let now = clock();
    let modified = stamp.modified_at();
    // A stamp of the future is another machine's clock: nothing can be concluded from it.
    if modified.0 > now.0.saturating_add(1_000) {
        return;
    }
    if let Some(rest) = quiet.checked_sub(now.since(modified)) {
        std::thread::sleep(rest);
    }
}

fn ends_with_line_end(file: &mut File) -> io::Result<bool> {
    if file.seek(SeekFrom::End(0))? == 0 {
        return Ok(true);
    }
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    file.rewind()?;
    Ok(matches!(last, [b'\n' | b'\r']))
}
