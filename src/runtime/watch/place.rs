//! Where a file is and what it looks like from outside.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// A file by its path, and by the folder and name under which notifications speak of it.
pub(super) struct Place {
    path: PathBuf,
    folder: PathBuf,
    name: OsString,
    /// Follow a symlink to the file behind it: data is written there.
    through: bool,
}

impl Place {
    /// Means whatever stands under a name: a symlink may be swapped.
    pub(super) fn of_name(path: &Path) -> Self {
        Self::new(path, false)
    }

    /// Means the data behind a path.
    pub(super) fn of_data(path: &Path) -> Self {
        Self::new(path, true)
    }

    fn new(path: &Path, through: bool) -> Self {
        let mut place =
            Self { path: path.to_owned(), folder: PathBuf::new(), name: OsString::new(), through };
        place.renew();
        place
    }

    /// Finds folder and name anew: any part of the path may be a symlink that was swapped.
    pub(super) fn renew(&mut self) {
        let behind = if self.through { std::fs::canonicalize(&self.path).ok() } else { None };
        let path = behind.as_deref().unwrap_or(&self.path);
        let parent = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let parent = parent.unwrap_or(Path::new("."));
        self.folder = std::fs::canonicalize(parent).unwrap_or_else(|_| parent.to_owned());
        self.name = path.file_name().unwrap_or_default().to_owned();
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Tells whether a notification's path is this file's.
    pub(super) fn is(&self, path: &Path) -> bool {
        path.file_name() == Some(&self.name) && path.parent() == Some(&self.folder)
    }

    /// Returns the marks of the file that the path leads to; `None` where there is none.
    pub(super) fn marks(&self) -> Option<Marks> {
        let data = std::fs::metadata(&self.path).ok()?;
        Some(Marks { number: number(&data), length: data.len(), modified: data.modified().ok() })
    }
}

/// What tells one state of a file from another without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Marks {
    number: u64,
    length: u64,
    modified: Option<std::time::SystemTime>,
}

impl Marks {
    /// Returns the marks that a folder keeps for life. Numbers are given out again at once, so its
    /// time of birth counts too, where it has one.
    pub(super) fn of_folder(folder: &Path) -> Option<Self> {
        let data = std::fs::metadata(folder).ok()?;
        Some(Self { number: number(&data), length: 0, modified: data.created().ok() })
    }
}

#[cfg(unix)]
fn number(data: &std::fs::Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::ino(data)
}

#[cfg(not(unix))]
fn number(_data: &std::fs::Metadata) -> u64 {
    0
}
