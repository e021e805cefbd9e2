//! Connections to one database file, and the way off the asynchronous threads.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, MAIN_DB, OpenFlags};

use super::wire;
use crate::connectors::Bounds;
pub(super) use crate::connectors::turns::lock;
use crate::engine::fault::{Fault, FaultCode};

/// Where a database is and how to open it.
#[derive(Clone, Debug)]
pub(super) struct Location {
    pub path: PathBuf,
    /// Makes the file where it is missing.
    pub create: bool,
    pub busy_timeout: Duration,
    pub bounds: Bounds,
}

/// A connection that is opened on first use, and again when another file took the path's place
/// (a restored backup): the old one would go on living, unseen by anybody.
pub(super) struct Db {
    location: Location,
    open: Option<(Connection, FileIdentity)>,
    /// SQLite opened it for reading only.
    reads_only: bool,
    /// Counts openings; what was learnt under an older number is void.
    generation: u64,
}

/// Tells two files at one path apart; `None` where the platform can't.
pub(super) type FileIdentity = Option<(u64, u64)>;

impl Db {
    pub fn new(location: Location) -> Self {
        Self { location, open: None, reads_only: false, generation: 0 }
    }

    /// Returns what may be kept of it in memory.
    pub fn bounds(&self) -> Bounds {
        self.location.bounds
    }

    /// Returns what tells the open file apart from another one at the same path.
    pub fn identity(&self) -> FileIdentity {
        self.open.as_ref().and_then(|(_, identity)| *identity)
    }

    /// Returns the connection and its generation.
    pub fn get(&mut self) -> Result<(&mut Connection, u64), Fault> {
        let stands = identity(&self.location.path);
        let same = matches!((&self.open, &stands), (Some((_, then)), Some(now)) if then == now);
        if !same {
            self.open = None;
            let conn = self.location.open()?;
            self.generation += 1;
            self.reads_only = self.location.reads_only(&conn);
            self.open = Some((conn, identity(&self.location.path).flatten()));
        }
        self.regain_writing();
        match &mut self.open {
            Some((conn, _)) => Ok((conn, self.generation)),
            None => Err(Fault::transient(FaultCode::Storage, "the connection went away while it was opened")),
        }
    }
}

impl Db {
    /// Opens anew what SQLite could only open for reading: it falls back to that, for the database or
    /// its log, also where it found no free descriptor or space for a moment, and would never write
    /// again. A database that is not ours to write stays as it is.
    fn regain_writing(&mut self) {
        if !self.reads_only {
            return;
        }
        if let Ok(fresh) = self.location.open()
            && !self.location.reads_only(&fresh)
        {
            self.open = Some((fresh, identity(&self.location.path).flatten()));
            self.reads_only = false;
            self.generation += 1;
        }
    }
}

impl Location {
    fn open(&self) -> Result<Connection, Fault> {
        let shown = self.path.display();
        if !self.path.exists() {
            if !self.create {
                return Err(Fault::fatal(
                    FaultCode::Configuration,
                    format!("the database {shown} does not exist"),
                    "correct `path`, or set `create = true` to have an empty one made",
                ));
            }
            if let Some(folder) = self.path.parent() {
                std::fs::create_dir_all(folder).map_err(|error| {
                    Fault::fatal(
                        FaultCode::Storage,
                        format!("the folder of {shown} can't be made: {error}"),
                        "make it, or correct `path`",
                    )
                })?;
            }
        }
        let mut flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        if self.create {
            flags |= OpenFlags::SQLITE_OPEN_CREATE;
        }
        let open = || -> rusqlite::Result<Connection> {
            let conn = Connection::open_with_flags(&self.path, flags)?;
            conn.busy_timeout(self.busy_timeout)?;
            conn.set_prepared_statement_cache_capacity(64);
            let kibibytes = i64::try_from(self.bounds.cache_bytes >> 10).unwrap_or(i64::MAX).max(1);
            conn.pragma_update(None, "cache_size", -kibibytes)?;
            // A plan does not depend on the values that are bound: else each use would make it anew.
            conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
            // The first look at the file: one that is no database shows here.
            conn.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
            Ok(conn)
        };
        open().map_err(|error| wire::classify(&format!("opening the database {shown}"), &error))
    }
}

impl Location {
    /// Tells a connection that can't write, by a transaction that writes nothing. Whoever holds the
    /// lock meanwhile is not waited for: being refused for that is being able to write.
    fn reads_only(&self, conn: &Connection) -> bool {
        // Where the database itself can't be written, such a transaction only reads and succeeds.
        if conn.is_readonly(MAIN_DB).unwrap_or(false) {
            return true;
        }
        let tried = conn.busy_timeout(Duration::ZERO).and_then(|()| {
            let tried = conn.execute_batch("BEGIN IMMEDIATE; ROLLBACK");
            conn.busy_timeout(self.busy_timeout)?;
            tried
        });
        tried.is_err_and(|error| error.sqlite_error_code() == Some(ErrorCode::ReadOnly))
    }
}

/// Reads a number that SQLite keeps under this name.
pub(super) fn pragma(conn: &Connection, name: &str) -> rusqlite::Result<i64> {
    conn.prepare_cached(&format!("PRAGMA {name}"))?.query_row([], |row| row.get(0))
}

/// Looks at the file without opening it: closing a second handle would drop SQLite's own locks.
/// Outer `None`: there is no file.
fn identity(path: &Path) -> Option<FileIdentity> {
    let meta = std::fs::metadata(path).ok()?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        Some(Some((meta.dev(), meta.ino())))
    }
    #[cfg(not(unix))]
    {
        let _ = meta;
        Some(None)
    }
}

/// Runs blocking work where it may block.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Fault> + Send + 'static,
) -> Result<T, Fault> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(_) => Err(cut_off()),
    }
}

/// What is to be said of work that ended in the middle.
pub(super) fn cut_off() -> Fault {
    Fault::transient(FaultCode::Storage, "the work on the database was cut off").and_may_have_happened()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_that_only_reads_is_opened_anew_once_it_can_write() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("app.sqlite");
        Connection::open(&path).unwrap().execute_batch("CREATE TABLE t (x)").unwrap();
        let busy_timeout = std::time::Duration::from_secs(1);
        let mut db =
            Db::new(Location { path: path.clone(), create: false, busy_timeout, bounds: Bounds::default() });
        let fallen_back = Connection::open_with_flags(&path, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
        db.open = Some((fallen_back, identity(&path).flatten()));
        (db.reads_only, db.generation) = (true, 1);

        let (conn, generation) = db.get().unwrap();
        conn.execute_batch("INSERT INTO t VALUES (1)").expect("it writes again");
        assert_eq!(generation, 2, "whoever counted changes on the old one begins anew");
        assert_eq!(db.get().unwrap().1, 2, "and it is kept");
    }

    #[test]
    fn a_connection_that_only_reads_is_known_and_one_that_has_to_wait_is_not_taken_for_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("app.sqlite");
        let other = Connection::open(&path).unwrap();
        other.execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE t (x)").unwrap();
        let busy_timeout = Duration::from_secs(1);
        let location =
            Location { path: path.clone(), create: false, busy_timeout, bounds: Bounds::default() };
        let reading = Connection::open_with_flags(&path, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
        assert!(location.reads_only(&reading));
        let conn = location.open().unwrap();
        assert!(!location.reads_only(&conn));
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        assert!(!location.reads_only(&conn), "somebody writes");
    }
}
