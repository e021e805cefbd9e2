//! Opening a state: whose it is, whether it is whole, whether we know its schema.
//!
//! Invariant: a state that is refused is left byte for byte as it was found, and none is ever made
//! anew where one stood.

use std::fs::{self, File, TryLockError};
use std::io::Read;
use std::path::{Path, PathBuf};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::trouble::Trouble;
use super::{Durability, SqliteOptions, schema};
use crate::store::StoreError;

/// Up to this size every page is checked, which takes some tenths of a second at most; beyond it,
/// the header, the length and the schema.
const FULL_CHECK_BYTES_MAX: u64 = 64 << 20;

/// Bytes of a page of a state that is made anew: half as many calls as by SQLite's own 4096, and for rows that come in
/// order the same bytes. One that is there keeps what it has.
const PAGE_BYTES: u32 = 8192;
/// The WAL is written back at so many bytes and cut down to `WAL_BYTES_MAX` afterwards.
const CHECKPOINT_BYTES: u32 = 16 << 20;
const WAL_BYTES_MAX: u32 = 64 << 20;

const STATEMENTS_MAX: usize = 64;
const BUSY_MS: u32 = 5000;

/// A state that is ours, whole and of today's schema.
pub(super) struct Opened {
    pub writer: Connection,
    pub readers: Vec<Connection>,
    /// Held for life; the lock goes with it.
    pub lock: File,
    pub path: String,
}

/// Locks, checks, migrates and opens.
pub(super) fn open(path: &Path, options: &SqliteOptions) -> Result<Opened, StoreError> {
    let shown = path.display().to_string();
    let io = |what: &str, error: std::io::Error| StoreError::Io(format!("{shown}: {what}: {error}"));
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        fs::create_dir_all(folder).map_err(|error| io("can't make its folder", error))?;
    }
    let path = resolved(path);
    let lock = lock(&path, &shown)?;
    let is_new = is_new(&path, &shown)?;
    if is_new && options.as_it_is {
        return Err(StoreError::Io(format!("{shown}: there is none")));
    }
    if is_new {
        make_private(&path).map_err(|error| io("can't make it", error))?;
    }
    let mut writer =
        connect(&path, false, options.cache_bytes).map_err(|trouble| trouble.into_error(&shown))?;
    if !is_new {
        let found = check(&writer, &path, &shown)?;
        if options.as_it_is && found < schema::version() {
            let told = "it is of an older record-sync; start this one once, which brings it up to date";
            return Err(StoreError::Io(format!("{shown}: {told}")));
        }
    }
    let ready = prepare(&mut writer, options).and_then(|()| {
        (0..options.readers)
            .map(|_| connect(&path, true, options.cache_bytes / 4))
            .collect::<Result<Vec<_>, _>>()
    });
    let readers = ready.map_err(|trouble| trouble.into_error(&shown))?;
    Ok(Opened { writer, readers, lock, path: shown })
}

/// Follows links, so that two names of one state meet at one lock.
fn resolved(path: &Path) -> PathBuf {
    if let Ok(whole) = path.canonicalize() {
        return whole;
    }
    match (path.parent().map(Path::canonicalize), path.file_name()) {
        (Some(Ok(folder)), Some(name)) => folder.join(name),
        _ => path.to_owned(),
    }
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn lock(path: &Path, shown: &str) -> Result<File, StoreError> {
    let place = beside(path, ".lock");
    let refused =
        |error: std::io::Error| StoreError::Io(format!("{shown}: can't lock {}: {error}", place.display()));
    let file = File::options().create(true).truncate(false).write(true).open(&place).map_err(refused)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::Locked { path: shown.to_owned() }),
        Err(TryLockError::Error(error)) => Err(refused(error)),
    }
}

/// Tells whether there is no state yet. SQLite would take an empty file for one, throw a WAL beside
/// it away, and go on with nothing.
fn is_new(path: &Path, shown: &str) -> Result<bool, StoreError> {
    let corrupt = |detail: String| StoreError::Corrupt { path: shown.to_owned(), detail };
    let io = |error: std::io::Error| StoreError::Io(format!("{shown}: {error}"));
    let length = |path: &Path| match fs::metadata(path) {
        Ok(found) => Ok(found.len()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(io(error)),
    };
    if length(path)? == 0 {
        let wal = beside(path, "-wal");
        if length(&wal)? > 0 {
            return Err(corrupt(format!("it is empty although {} is not", wal.display())));
        }
        return Ok(true);
    }
    let mut head = Vec::with_capacity(100);
    File::open(path).and_then(|file| file.take(100).read_to_end(&mut head)).map_err(io)?;
    if head.len() < 100 || !head.starts_with(b"SQLite format 3\0") {
        return Err(corrupt("it is not a SQLite database".into()));
    }
    Ok(false)
}

/// Makes the file for our user alone, since records and tokens stand in it; SQLite gives the files beside it
/// the same rights. One that is there keeps those that a person gave it.
fn make_private(path: &Path) -> std::io::Result<()> {
    let mut options = File::options();
    options.create(true).append(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map(drop)
}

fn connect(path: &Path, reads_only: bool, cache_bytes: u64) -> Result<Connection, Trouble> {
    let flags = if reads_only {
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX
    } else {
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX
    };
    let db = Connection::open_with_flags(path, flags)?;
    // Where a file can't be opened for writing, SQLite falls back to reading, and every commit would fail.
    if !reads_only && db.is_readonly(rusqlite::MAIN_DB)? {
        return Err(Trouble::Unusable(
            "it can't be opened for writing: let record-sync write to the file and its folder".to_owned(),
        ));
    }
    // Until it has passed the checks, nothing of the WAL may be moved into the file.
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    // A plan does not depend on the values that are bound: else each use would make it anew.
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    db.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    db.pragma_update(None, "busy_timeout", BUSY_MS)?;
    db.pragma_update(None, "temp_store", "MEMORY")?;
    let kibibytes = i64::try_from(cache_bytes >> 10).unwrap_or(i64::MAX).max(1);
    db.pragma_update(None, "cache_size", -kibibytes)?;
    Ok(db)
}

/// Refuses what is not ours, newer than us, or damaged; gives the version of its schema.
fn check(db: &Connection, path: &Path, shown: &str) -> Result<u32, StoreError> {
    let fail = |error: rusqlite::Error| Trouble::from(error).into_error(shown);
    let corrupt = |detail: &str| StoreError::Corrupt { path: shown.to_owned(), detail: detail.to_owned() };
    let number = |name: &str| db.pragma_query_value(None, name, |row| row.get::<_, i64>(0)).map_err(fail);
    let has_tables: bool =
        db.query_row("SELECT EXISTS (SELECT 1 FROM sqlite_schema)", [], |row| row.get(0)).map_err(fail)?;
    let found = number("user_version")?;
    if number("application_id")? != i64::from(schema::APPLICATION_ID) {
        // A crash before the first step leaves a database without tables.
        let is_blank = !has_tables && found == 0;
        return if is_blank { Ok(0) } else { Err(corrupt("it is another program's database")) };
    }
    if found > i64::from(schema::version()) {
        let found = u32::try_from(found).unwrap_or(u32::MAX);
        return Err(StoreError::Newer { path: shown.to_owned(), found, known: schema::version() });
    }
    check_pages(db, path, shown)?;
    let found = u32::try_from(found).unwrap_or(0);
    for table in schema::tables(found) {
        let probe = format!("SELECT 1 FROM {table} LIMIT 1");
        let mut statement =
            db.prepare(&probe).map_err(|_| corrupt(&format!("the table {table} is missing")))?;
        statement.query([]).and_then(|mut rows| rows.next().map(drop)).map_err(fail)?;
    }
    Ok(found)
}

fn check_pages(db: &Connection, path: &Path, shown: &str) -> Result<(), StoreError> {
    let fail = |error: rusqlite::Error| Trouble::from(error).into_error(shown);
    let corrupt = |detail: String| StoreError::Corrupt { path: shown.to_owned(), detail };
    let number =
        |name: &str| db.pragma_query_value(None, name, |row| super::links::unsigned(row, 0)).map_err(fail);
    let bytes = fs::metadata(path).map_err(|error| StoreError::Io(format!("{shown}: {error}")))?.len();
    let has_wal = fs::metadata(beside(path, "-wal")).is_ok_and(|wal| wal.len() > 0);
    let wanted = number("page_count")? * number("page_size")?;
    if !has_wal && bytes < wanted {
        return Err(corrupt(format!("it ends after {bytes} bytes and should have {wanted}")));
    }
    if bytes <= FULL_CHECK_BYTES_MAX {
        let verdict: String = db.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(fail)?;
        if verdict != "ok" {
            return Err(corrupt(verdict));
        }
    }
    Ok(())
}

fn prepare(db: &mut Connection, options: &SqliteOptions) -> Result<(), Trouble> {
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)?;
    // Does nothing where there is a page already.
    db.pragma_update(None, "page_size", PAGE_BYTES)?;
    let mode: String = db.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
    if mode != "wal" {
        return Err(Trouble::Unusable(format!("the file system can't share a WAL (journal mode {mode})")));
    }
    let synchronous = match options.durability {
        Durability::Normal => "NORMAL",
        Durability::Full => "FULL",
        Durability::Process => "OFF",
    };
    db.pragma_update(None, "synchronous", synchronous)?;
    let page: u32 = db.pragma_query_value(None, "page_size", |row| row.get(0))?;
    db.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_BYTES / page.max(512))?;
    db.pragma_update(None, "journal_size_limit", WAL_BYTES_MAX)?;
    let found: u32 = db.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if options.as_it_is {
        return Ok(());
    }
    schema::migrate(db, found)?;
    super::load::leave_void(db)
}
