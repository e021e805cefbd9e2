//! The file behind a mock's table.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, ErrorCode, params};

/// Changes wait here until they are flushed together; the last one of each object counts.
pub(super) struct Disk {
    path: PathBuf,
    connection: Connection,
    objects: BTreeMap<(String, String), Option<String>>,
    facts: BTreeMap<String, String>,
}

impl Disk {
    pub(super) fn open(path: &Path) -> rusqlite::Result<Self> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)
                .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))?;
        }
        let connection = connect(path)?;
        Ok(Self { path: path.to_owned(), connection, objects: BTreeMap::new(), facts: BTreeMap::new() })
    }

    /// Hands out everything that the file holds.
    pub(super) fn load(
        &self,
        mut object: impl FnMut(String, String, String),
        mut fact: impl FnMut(String, String),
    ) -> rusqlite::Result<()> {
        let mut statement = self.connection.prepare("SELECT stream, id, body FROM objects")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            object(row.get(0)?, row.get(1)?, row.get(2)?);
        }
        let mut statement = self.connection.prepare("SELECT name, value FROM facts")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            fact(row.get(0)?, row.get(1)?);
        }
        Ok(())
    }

    pub(super) fn stage_object(&mut self, stream: &str, id: &str, body: Option<String>) {
        self.objects.insert((stream.to_owned(), id.to_owned()), body);
    }

    pub(super) fn stage_fact(&mut self, name: &str, value: &str) {
        self.facts.insert(name.to_owned(), value.to_owned());
    }

    /// Writes what is staged in one transaction; on failure it stays staged.
    pub(super) fn flush(&mut self) -> rusqlite::Result<()> {
        if self.objects.is_empty() && self.facts.is_empty() {
            return Ok(());
        }
        match self.write() {
            // SQLite falls back to reading where a file can't be opened for a moment, and stays so.
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::ReadOnly) => {
                self.connection = connect(&self.path)?;
                self.write()
            }
            written => written,
        }
    }

    fn write(&mut self) -> rusqlite::Result<()> {
        let transaction = self.connection.transaction()?;
        {
            let mut put = transaction.prepare_cached("INSERT OR REPLACE INTO objects VALUES (?1, ?2, ?3)")?;
            let mut remove =
                transaction.prepare_cached("DELETE FROM objects WHERE stream = ?1 AND id = ?2")?;
            for ((stream, id), body) in &self.objects {
                match body {
                    Some(body) => put.execute(params![stream, id, body])?,
                    None => remove.execute(params![stream, id])?,
                };
            }
            let mut put = transaction.prepare_cached("INSERT OR REPLACE INTO facts VALUES (?1, ?2)")?;
            for (name, value) in &self.facts {
                put.execute(params![name, value])?;
            }
        }
        transaction.commit()?;
        self.objects.clear();
        self.facts.clear();
        Ok(())
    }
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.execute_batch(
        "PRAGMA journal_mode = WAL;
         PRAGMA synchronous = NORMAL;
         CREATE TABLE IF NOT EXISTS objects (
             stream TEXT NOT NULL, id TEXT NOT NULL, body TEXT NOT NULL, PRIMARY KEY (stream, id)
         ) WITHOUT ROWID;
         CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;",
    )?;
    Ok(connection)
}
