//! Atomic replacement: a copy beside the file, made durable, then renamed over it.
//!
//! Invariant: at every instruction the path shows the old content or the new, whole; a crash
//! leaves at most a temporary file, which the next process removes.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::broken::Broken;
use super::snapshot::{Snapshot, Stamp};

/// Bytes that are collected before they go to the file.
const SPILL_BYTES: usize = 256 << 10;

/// Where rewritten content goes: into memory, and from there on as it grows.
pub(super) trait Sink {
    /// What is not passed on yet; append here.
    fn buffer(&mut self) -> &mut Vec<u8>;
    /// Passes on what has collected, once it is worth it.
    fn spill(&mut self) -> Result<(), Broken>;
}

/// Memory alone, for tests.
impl Sink for Vec<u8> {
    fn buffer(&mut self) -> &mut Vec<u8> {
        self
    }

    fn spill(&mut self) -> Result<(), Broken> {
        Ok(())
    }
}

/// The copy under way. Dropped unpublished, it is removed.
pub(super) struct Temp {
    path: PathBuf,
    real: PathBuf,
    file: File,
    buffer: Vec<u8>,
}

static COUNT: AtomicU64 = AtomicU64::new(0);

impl Temp {
    /// Makes an empty copy beside the file, with the rights of the old one. It stays locked while
    /// we live: that is how another process tells it from what a crash left.
    pub(super) fn create(real: &Path, like: Option<&Metadata>) -> Result<Self, Broken> {
        let (folder, prefix) = split(real);
        // More names than that are not taken by chance.
        for _ in 0..100 {
            let count = COUNT.fetch_add(1, Ordering::Relaxed);
            let path = folder.join(format!("{prefix}{}-{count}.tmp", std::process::id()));
            let file = match OpenOptions::new().write(true).read(true).create_new(true).open(&path) {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                Err(error) => return Err(Broken::Write(error)),
            };
            if matches!(file.try_lock(), Err(fs::TryLockError::WouldBlock)) {
                // Somebody takes it for a left-over and is about to remove it.
                continue;
            }
            let buffer = Vec::with_capacity(SPILL_BYTES * 2);
            let temp = Self { path, real: real.to_owned(), file, buffer };
            if let Some(meta) = like {
                keep_rights(&temp.file, meta).map_err(Broken::Write)?;
            }
            return Ok(temp);
        }
        Err(Broken::Write(io::Error::other("no free name for a temporary file")))
    }

    /// Writes everything collected into the file.
    pub(super) fn drain(&mut self) -> Result<(), Broken> {
        self.file.write_all(&self.buffer).map_err(Broken::Write)?;
        self.buffer.clear();
        Ok(())
    }

    /// Tells this copy from every other file, wherever it is moved to.
    pub(super) fn mark(&self) -> Option<String> {
        self.file.metadata().ok().and_then(|meta| mark_of(&meta))
    }

    /// Kernels stamp writes by a clock that ticks: a write of others in the same tick would leave no other stamp. Ours
    /// stands between two ticks. Best effort: not all file systems keep moments as fine.
    fn leave_the_tick(&self) {
        const BESIDE: Duration = Duration::from_nanos(1_234);
        let modified = self.file.metadata().and_then(|meta| meta.modified());
        let _ = modified.and_then(|at| self.file.set_modified(at + BESIDE));
    }

    /// Makes the copy durable and puts it in the place of `old`, which must still be there
    /// untouched; where there was none, there must be none still. Gives how it stands there; `None` where somebody has
    /// written to it since.
    pub(super) fn publish(mut self, old: Option<&Snapshot>) -> Result<Option<Stamp>, Broken> {
        self.drain()?;
        self.leave_the_tick();
        self.file.sync_all().map_err(Broken::Write)?;
        let stamp = || self.file.metadata().map(|meta| Stamp::of(&meta)).map_err(Broken::Write);
        let whole = stamp()?;
        match old {
            Some(old) => {
                old.verify()?;
                fs::rename(&self.path, &self.real).map_err(Broken::Write)?;
            }
            None => match fs::hard_link(&self.path, &self.real) {
                // A link, other than a rename, never replaces what somebody just put there.
                Ok(()) => fs::remove_file(&self.path).map_err(Broken::Write)?,
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Err(Broken::Changed),
                Err(_) if self.real.exists() => return Err(Broken::Changed),
                Err(_) => fs::rename(&self.path, &self.real).map_err(Broken::Write)?,
            },
        }
        // Should this fail, the new content is in place all the same; a crash now may bring the
        // old one back, so it is not reported as written.
        sync_folder(&self.real).map_err(Broken::Write)?;
        let now = stamp()?;
        Ok(Some(now).filter(|now| now.is_moved_only(&whole)))
    }
}

impl Sink for Temp {
    fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.buffer
    }

    fn spill(&mut self) -> Result<(), Broken> {
        if self.buffer.len() >= SPILL_BYTES { self.drain() } else { Ok(()) }
    }
}

impl Drop for Temp {
    fn drop(&mut self) {
        // After a rename there is nothing under this name; nobody else uses it.
        let _ = fs::remove_file(&self.path);
    }
}

/// Tells one file from every other that ever stands at its path: a number is given again once its file is gone, and
/// hardly at the same moment. `None` where the file system keeps no moment of birth.
#[cfg(unix)]
pub(super) fn mark_of(meta: &Metadata) -> Option<String> {
    use std::os::unix::fs::MetadataExt;
    let born = meta.created().ok()?.duration_since(std::time::UNIX_EPOCH).ok()?;
    Some(format!("{}-{}", meta.ino(), born.as_nanos()))
}

#[cfg(not(unix))]
pub(super) fn mark_of(_meta: &Metadata) -> Option<String> {
    None
}

/// Splits a path into its folder and what the names of its temporary files begin with.
fn split(real: &Path) -> (PathBuf, String) {
    let folder = real.parent().map_or_else(PathBuf::new, Path::to_owned);
    let name = real.file_name().unwrap_or_default().to_string_lossy();
    (folder, format!(".{name}.record-sync-"))
}

/// Removes temporary files of this file that no living process holds.
pub(super) fn remove_leftovers(real: &Path) {
    let (folder, prefix) = split(real);
    let Ok(entries) = fs::read_dir(&folder) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        if !name.starts_with(&prefix) || !name.ends_with(".tmp") {
            continue;
        }
        if File::open(entry.path()).is_ok_and(|file| file.try_lock().is_ok()) {
            // Best effort: a left-over wastes space and does no harm.
            let _ = fs::remove_file(entry.path());
        }
    }
}

#[cfg(unix)]
fn keep_rights(file: &File, meta: &Metadata) -> io::Result<()> {
    use std::os::unix::fs::MetadataExt;
    // Only root may give a file away; for others it is theirs already or can't be kept.
    let _ = std::os::unix::fs::fchown(file, Some(meta.uid()), Some(meta.gid()));
    file.set_permissions(meta.permissions())
}

#[cfg(not(unix))]
fn keep_rights(file: &File, meta: &Metadata) -> io::Result<()> {
    file.set_permissions(meta.permissions())
}

#[cfg(unix)]
pub(super) fn sync_folder(real: &Path) -> io::Result<()> {
    File::open(real.parent().unwrap_or(Path::new(".")))?.sync_all()
}

/// Elsewhere a folder can't be synced by itself.
#[cfg(not(unix))]
pub(super) fn sync_folder(_real: &Path) -> io::Result<()> {
    Ok(())
}
