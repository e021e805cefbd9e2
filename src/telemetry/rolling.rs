//! The log file: `record_sync.log` is always the one being written; older ones are put aside.
//!
//! Rotated by day (UTC) and by size to `record_sync.YYYY-MM-DD.N.log`, of which a bounded number is
//! kept. (The rolling writer of `tracing-appender` dates the file that is being written and knows no
//! size, and people `tail -f` one name.)
//!
//! Invariant: a write never fails upwards. What could not be written is counted, and the file is
//! tried again.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use super::Clock;
use crate::engine::record::Timestamp;

/// The file that is being written.
pub const LOG_FILE: &str = "record_sync.log";

const PREFIX: &str = "record_sync.";
const SUFFIX: &str = ".log";
/// Lines are gathered up to this many bytes; the writer's thread flushes when it runs out of lines.
const BUFFER_BYTES: usize = 64 * 1024;
/// How often a file that is not to be had is tried again, and looked after when somebody removed it.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Where and how to roll.
pub(super) struct Policy {
    pub folder: PathBuf,
    pub bytes_max: u64,
    pub files_max: usize,
    pub clock: Clock,
    /// Counts lines that were lost.
    pub lost: Arc<AtomicU64>,
}

/// The rolling file, for one writing thread.
pub(super) struct RollingFile {
    policy: Policy,
    open: Option<Open>,
    /// Whole lines, not yet in the file.
    buffer: Vec<u8>,
    looked_at: Option<Timestamp>,
}

struct Open {
    file: File,
    bytes: u64,
    /// `YYYY-MM-DD` of the lines in the file.
    day: String,
    /// A write broke off: the next line starts on a line of its own.
    torn: bool,
}

impl RollingFile {
    pub fn new(policy: Policy) -> Self {
        Self { policy, open: None, buffer: Vec::with_capacity(BUFFER_BYTES), looked_at: None }
    }

    /// Writes the buffer out; counts its lines as lost where that fails.
    fn write_out(&mut self) {
        if self.buffer.is_empty() {
            return;
        }
        let now = (self.policy.clock)();
        if self.prepare(now).is_err() || !self.append() {
            let lines = self.buffer.iter().filter(|byte| **byte == b'\n').count();
            self.policy.lost.fetch_add(u64::try_from(lines).unwrap_or(u64::MAX), Ordering::Relaxed);
        }
        self.buffer.clear();
    }

    fn append(&mut self) -> bool {
        let Some(open) = &mut self.open else { return false };
        let torn = open.torn;
        open.torn = true;
        let done = (if torn { open.file.write_all(b"\n") } else { Ok(()) })
            .and_then(|()| open.file.write_all(&self.buffer));
        if done.is_ok() {
            open.torn = false;
            open.bytes += u64::try_from(self.buffer.len()).unwrap_or(u64::MAX);
        }
        done.is_ok()
    }

    /// Has a file open that takes the buffer: opens, rolls, or opens anew.
    fn prepare(&mut self, now: Timestamp) -> io::Result<()> {
        let path = self.policy.folder.join(LOG_FILE);
        let look = self.looked_at.is_none_or(|at| now < at || now.since(at) >= LOOK_EVERY);
        if look {
            self.looked_at = Some(now);
            // Somebody removed or moved it: what we write would be read by nobody.
            if self.open.as_ref().is_some_and(|open| !open.is_at(&path)) {
                self.open = None;
            }
        }
        if self.open.is_none() {
            if !look {
                return Err(io::Error::other("the log file could not be opened a moment ago"));
            }
            fs::create_dir_all(&self.policy.folder)?;
            self.open = Some(Open::at(&path, now)?);
        }
        let full = self.open.as_ref().is_some_and(|open| {
            let bytes = open.bytes.saturating_add(u64::try_from(self.buffer.len()).unwrap_or(u64::MAX));
            open.bytes > 0 && (bytes > self.policy.bytes_max || open.day != day(now))
        });
        if full && let Some(open) = self.open.take() {
            self.put_aside(&path, &open.day)?;
            self.open = Some(Open::at(&path, now)?);
        }
        Ok(())
    }

    fn put_aside(&self, path: &Path, day: &str) -> io::Result<()> {
        let mut aside = aside_files(&self.policy.folder);
        let last = aside.iter().filter(|file| file.day == day).map(|file| file.number).max();
        let number = last.unwrap_or(0) + 1;
        let name = format!("{PREFIX}{day}.{number}{SUFFIX}");
        fs::rename(path, self.policy.folder.join(&name))?;
        aside.push(Aside { day: day.to_owned(), number, name });
        aside.sort();
        let surplus = aside.len().saturating_sub(self.policy.files_max);
        for file in aside.iter().take(surplus) {
            // One that can't be removed now is tried again at the next roll.
            let _ = fs::remove_file(self.policy.folder.join(&file.name));
        }
        Ok(())
    }
}

impl Open {
    fn at(path: &Path, now: Timestamp) -> io::Result<Self> {
        let mut file = OpenOptions::new().create(true).read(true).append(true).open(path)?;
        let metadata = file.metadata()?;
        // A process that was killed may have left half a line.
        let torn = metadata.len() > 0 && !ends_a_line(&mut file)?;
        let written = metadata.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
        let written = Timestamp(i64::try_from(written.as_millis()).unwrap_or(i64::MAX));
        let day = if metadata.len() == 0 { day(now) } else { day(written) };
        Ok(Self { file, bytes: metadata.len(), day, torn })
    }

    #[cfg(unix)]
    fn is_at(&self, path: &Path) -> bool {
        use std::os::unix::fs::MetadataExt;
        let same = |a: &fs::Metadata, b: &fs::Metadata| (a.dev(), a.ino()) == (b.dev(), b.ino());
        matches!((self.file.metadata(), fs::metadata(path)), (Ok(a), Ok(b)) if same(&a, &b))
    }

    #[cfg(not(unix))]
    fn is_at(&self, path: &Path) -> bool {
        path.exists()
    }
}

/// A file that was put aside; ordered by age.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Aside {
    day: String,
    number: u64,
    name: String,
}

fn aside_files(folder: &Path) -> Vec<Aside> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names.filter_map(Aside::parse).collect()
}

impl Aside {
    fn parse(name: String) -> Option<Self> {
        let (day, number) = name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?.split_once('.')?;
        let is_day = day.len() == 10 && day.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
        let number = number.parse().ok()?;
        let day = day.to_owned();
        is_day.then_some(Self { day, number, name })
    }
}

fn ends_a_line(file: &mut File) -> io::Result<bool> {
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
}

fn day(at: Timestamp) -> String {
    at.to_string().chars().take(10).collect()
}

impl Write for RollingFile {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.buffer.len() + line.len() > BUFFER_BYTES {
            self.write_out();
        }
        self.buffer.extend_from_slice(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.write_out();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicI64;

    use super::*;

    const DAY_MS: i64 = 86_400_000;

    struct Fixture {
        folder: tempfile::TempDir,
        now: Arc<AtomicI64>,
        lost: Arc<AtomicU64>,
    }

    impl Fixture {
        fn new() -> Self {
            // Files carry the real time in their metadata, so a test's days lie in the future.
            let now = Arc::new(AtomicI64::new(40_000 * DAY_MS));
            Self { folder: tempfile::tempdir().unwrap(), now, lost: Arc::default() }
        }

        fn file(&self, bytes_max: u64, files_max: usize) -> RollingFile {
            let now = self.now.clone();
            RollingFile::new(Policy {
                folder: self.folder.path().join("logs"),
                bytes_max,
                files_max,
                clock: Arc::new(move || Timestamp(now.load(Ordering::Relaxed))),
                lost: self.lost.clone(),
            })
        }

        fn names(&self) -> Vec<String> {
            let entries = fs::read_dir(self.folder.path().join("logs")).unwrap();
            let mut names: Vec<String> =
                entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
            names.sort();
            names
        }

        fn text(&self, name: &str) -> String {
            fs::read_to_string(self.folder.path().join("logs").join(name)).unwrap()
        }
    }

    fn line(file: &mut RollingFile, text: &str) {
        writeln!(file, "{text}").unwrap();
        file.flush().unwrap();
    }

    #[test]
    fn rolls_by_size_and_keeps_a_bounded_number() {
        let fixture = Fixture::new();
        let mut file = fixture.file(10, 2);
        for number in 0..5 {
            line(&mut file, &format!("line {number}"));
        }
        assert_eq!(
            fixture.names(),
            ["record_sync.2079-07-08.3.log", "record_sync.2079-07-08.4.log", "record_sync.log"]
        );
        assert_eq!(fixture.text("record_sync.2079-07-08.4.log"), "line 3\n");
        assert_eq!(fixture.text(LOG_FILE), "line 4\n");
    }

    #[test]
    fn rolls_by_day_under_the_day_of_its_lines() {
        let fixture = Fixture::new();
        let mut file = fixture.file(1_000, 5);
        line(&mut file, "old");
        fixture.now.fetch_add(DAY_MS, Ordering::Relaxed);
        line(&mut file, "new");
        assert_eq!(fixture.names(), ["record_sync.2079-07-08.1.log", "record_sync.log"]);
        assert_eq!(fixture.text(LOG_FILE), "new\n");
    }

    #[test]
    fn goes_on_in_an_existing_file() {
        let fixture = Fixture::new();
        line(&mut fixture.file(1_000, 5), "one");
        // The second process runs on the day that the file's metadata tells.
        let path = fixture.folder.path().join("logs").join(LOG_FILE);
        let written = fs::metadata(&path).unwrap().modified().unwrap().duration_since(UNIX_EPOCH).unwrap();
        fixture.now.store(i64::try_from(written.as_millis()).unwrap(), Ordering::Relaxed);
        line(&mut fixture.file(1_000, 5), "two");
        assert_eq!(fixture.text(LOG_FILE), "one\ntwo\n");
        fs::write(&path, "{\"half").unwrap();
        line(&mut fixture.file(1_000, 5), "three");
        assert_eq!(fixture.text(LOG_FILE), "{\"half\nthree\n", "half a line stays alone");
    }

    #[test]
    fn a_removed_file_is_made_again() {
        let fixture = Fixture::new();
        let mut file = fixture.file(1_000, 5);
        line(&mut file, "one");
        fs::remove_dir_all(fixture.folder.path().join("logs")).unwrap();
        fixture.now.fetch_add(1_000, Ordering::Relaxed);
        line(&mut file, "two");
        assert_eq!(fixture.text(LOG_FILE), "two\n");
    }

    #[test]
    fn what_can_not_be_written_is_counted_and_tried_again() {
        let fixture = Fixture::new();
        let logs = fixture.folder.path().join("logs");
        fs::write(&logs, "a file where the folder should be").unwrap();
        let mut file = fixture.file(1_000, 5);
        line(&mut file, "one");
        line(&mut file, "two");
        assert_eq!(fixture.lost.load(Ordering::Relaxed), 2);
        fs::remove_file(&logs).unwrap();
        line(&mut file, "three");
        assert_eq!(fixture.lost.load(Ordering::Relaxed), 3, "not tried again at once");
        fixture.now.fetch_add(1_000, Ordering::Relaxed);
        line(&mut file, "four");
        assert_eq!(fixture.text(LOG_FILE), "four\n");
        assert_eq!(fixture.lost.load(Ordering::Relaxed), 3);
    }
}
