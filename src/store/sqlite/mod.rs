//! The embedded store: one SQLite file, one writer thread, several readers.
//!
//! Invariant: only the writer's connection writes, and whoever asked it is answered after COMMIT.
//! The lock beside the file is held as long as one connection is open.

mod attempts;
mod books;
mod commit;
mod enqueue;
mod history;
mod ids;
mod inline;
mod job_row;
mod job_table;
mod jobs;
mod known;
mod kv;
mod lease;
mod links;
mod load;
mod open;
mod pair_row;
mod reader;
mod rescue;
mod row;
mod rules_versions;
mod schema;
mod sent;
mod settle;
mod shapes;
mod sheaf;
mod sheaves;
mod tidy;
mod trouble;
mod walk;
mod writer;

use std::collections::HashMap;
use std::fs::File;
use std::path::Path;
use std::sync::{Arc, Mutex, RwLock};
use std::thread::JoinHandle;

use async_trait::async_trait;
use rusqlite::Connection;
use tokio::sync::mpsc;

use self::books::Books;
use self::inline::Inline;
pub use self::inline::{Moment, Pace};
use self::job_table::Jobs;
use self::reader::Question;
use self::shapes::Shapes;
use self::trouble::Fallible;
use self::writer::{Answer, Request};
use super::{
    Commit, Committed, Depth, Enqueued, HistoryFilter, JobFilter, Known, LeaseRequest, Leased, LinkId,
    LinkState, LinkWord, LoadId, Looks, NewJob, Once, OpenLoad, Recorded, Remembered, Retried, RulesVersion,
    Settled, Settlement, Store, StoreError, Sums,
};
use crate::engine::job::{Attempt, Job};
use crate::engine::plan::Pair;
use crate::engine::record::{Direction, Key, RemoteId, Side, Timestamp};

/// How many calls may wait for the writer, and for the readers, before callers wait to ask.
const WAITING_MAX: usize = 256;

/// What a commit survives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// The end of the process; a power cut may undo the last moments, never tear them.
    #[default]
    Normal,
    /// A power cut as well; every group of commits waits for the disk.
    Full,
    /// The end of the process only, and nothing ever waits for the disk: for tests.
    Process,
}

/// How a state is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SqliteOptions {
    pub durability: Durability,
    /// Connections that read beside the writer; at least one, where calls are not inline.
    pub readers: usize,
    /// What the writer's connection keeps of the file; a reader's keeps a quarter of that.
    pub cache_bytes: u64,
    /// Refuses a state that is not there or of an older schema, instead of making it or bringing it up to date.
    pub as_it_is: bool,
}

impl Default for SqliteOptions {
    fn default() -> Self {
        Self { durability: Durability::Normal, readers: 2, cache_bytes: 8 << 20, as_it_is: false }
    }
}

/// The store in one SQLite file. Clones share it; the last one that goes closes it and waits for
/// what was still to be written.
#[derive(Clone)]
pub struct SqliteStore(Arc<Inner>);

struct Inner {
    /// Instead of all threads.
    inline: Option<Inline>,
    writer: Option<mpsc::Sender<Request>>,
    readers: Option<mpsc::Sender<Question>>,
    writer_thread: Option<JoinHandle<()>>,
    reader_threads: Vec<JoinHandle<()>>,
    /// Goes last: it says that the file is in use.
    _lock: File,
}

/// One connection with what it knows beside the file.
struct Session {
    db: Connection,
    shapes: Shapes,
    books: Books,
    path: String,
    /// Set by a request that has an answer and yet wants nothing of it kept.
    undo: bool,
    /// Set by a request that wants a checkpoint after its commit: whether to truncate the WAL.
    checkpoint: Option<bool>,
}

impl Session {
    fn jobs(&mut self) -> Jobs<'_> {
        Jobs::new(&self.db, &mut self.books)
    }

    /// Writes the WAL back; what can't be done now is done another time.
    fn run_checkpoint(&mut self) {
        let mode = if self.checkpoint.take() == Some(true) { "TRUNCATE" } else { "PASSIVE" };
        let _ = self.db.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |_| Ok(()));
    }
}

impl SqliteStore {
    /// Opens a state, or makes one where there is none. Blocks for the time of the checks.
    ///
    /// # Errors
    /// `Locked` where another process has it, `Newer`, `Corrupt`: the file is left as it was found.
    pub fn open(path: &Path, options: SqliteOptions) -> Result<Self, StoreError> {
        let opened = open::open(path, &SqliteOptions { readers: options.readers.max(1), ..options })?;
        let shapes = Arc::new(RwLock::new(HashMap::new()));
        let session = |db: Connection, writes: bool| Session {
            db,
            shapes: Shapes::new(Arc::clone(&shapes), writes),
            books: Books::default(),
            path: opened.path.clone(),
            undo: false,
            checkpoint: None,
        };
        let start = |name: &str, body: Box<dyn FnOnce() + Send>| {
            std::thread::Builder::new()
                .name(name.to_owned())
                .spawn(body)
                .map_err(|error| StoreError::Io(format!("{}: can't start a thread: {error}", opened.path)))
        };
        let (writer, requests) = mpsc::channel(WAITING_MAX);
        let (readers, questions) = mpsc::channel(WAITING_MAX);
        let questions = Arc::new(Mutex::new(questions));
        let mut reader_threads = Vec::with_capacity(opened.readers.len());
        for db in opened.readers {
            let session = session(db, false);
            let questions = Arc::clone(&questions);
            reader_threads.push(start("store-reader", Box::new(move || reader::serve(session, &questions)))?);
        }
        let session = session(opened.writer, true);
        let writer_thread = start("store-writer", Box::new(move || writer::serve(session, requests)))?;
        Ok(Self(Arc::new(Inner {
            inline: None,
            writer: Some(writer),
            readers: Some(readers),
            writer_thread: Some(writer_thread),
            reader_threads,
            _lock: opened.lock,
        })))
    }

    /// Opens a state whose calls run on the threads of their callers, one after the other, and pass
    /// `pace` before and behind: for tests that have to go the same way each time.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_inline(path: &Path, options: SqliteOptions, pace: Arc<dyn Pace>) -> Result<Self, StoreError> {
        let opened = open::open(path, &SqliteOptions { readers: 0, ..options })?;
        let session = Session {
            db: opened.writer,
            shapes: Shapes::new(Arc::default(), true),
            books: Books::default(),
            path: opened.path,
            undo: false,
            checkpoint: None,
        };
        Ok(Self(Arc::new(Inner {
            inline: Some(Inline::new(session, pace)),
            writer: None,
            readers: None,
            writer_thread: None,
            reader_threads: Vec::new(),
            _lock: opened.lock,
        })))
    }

    /// Has the writer do something of about `rows` rows.
    async fn write<T, F>(&self, rows: usize, run: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Session) -> Fallible<T> + Send + 'static,
    {
        self.submit(Request::new(rows, run)).await
    }

    async fn submit<T>(&self, (request, answer): (Request, Answer<T>)) -> Result<T, StoreError> {
        if let Some(inline) = &self.0.inline {
            return inline.write(request, answer).await;
        }
        let writer = self.0.writer.as_ref().ok_or_else(stopped)?;
        writer.send(request).await.map_err(|_| stopped())?;
        answer.await.map_err(|_| stopped())?
    }

    /// Asks a reader.
    async fn read<T, F>(&self, ask: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Session) -> Fallible<T> + Send + 'static,
    {
        let (question, answer) = reader::question(ask);
        if let Some(inline) = &self.0.inline {
            return inline.read(question, answer).await;
        }
        let readers = self.0.readers.as_ref().ok_or_else(stopped)?;
        readers.send(question).await.map_err(|_| stopped())?;
        answer.await.map_err(|_| stopped())?
    }
}

fn stopped() -> StoreError {
    StoreError::Io("the threads of the state have stopped".into())
}

impl Drop for Inner {
    /// Closes the writer's connection last: only it can write the WAL back into the file.
    fn drop(&mut self) {
        // A thread that panicked has said so itself.
        self.readers = None;
        for thread in self.reader_threads.drain(..) {
            let _ = thread.join();
        }
        self.writer = None;
        if let Some(thread) = self.writer_thread.take() {
            let _ = thread.join();
        }
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn link(&self, customer: &str, link: &str) -> Result<LinkState, StoreError> {
        let (customer, link) = (customer.to_owned(), link.to_owned());
        self.write(1, move |session| links::find_or_make(&session.db, &session.books, &customer, &link)).await
    }

    async fn links(&self) -> Result<Vec<LinkState>, StoreError> {
        self.read(|session| links::all(&session.db)).await
    }

    async fn tell_link(&self, link: LinkId, words: Vec<LinkWord>) -> Result<(), StoreError> {
        self.write(words.len(), move |session| links::tell(&session.db, link, &words)).await
    }

    async fn known(&self, link: LinkId, keys: Vec<Key>) -> Result<Vec<Option<Pair>>, StoreError> {
        self.read(move |session| known::known(session, link, &keys)).await
    }

    async fn known_beside(
        &self,
        link: LinkId,
        keys: Vec<Key>,
        looks: Looks,
    ) -> Result<Vec<Known>, StoreError> {
        self.read(move |session| known::known_beside(session, link, &keys, Some(&looks))).await
    }

    async fn commit(&self, link: LinkId, commit: Commit, now: Timestamp) -> Result<Committed, StoreError> {
        let rows = commit.pairs.len() + commit.jobs.len() + commit.forgotten.len() + commit.history.len();
        self.write(rows, move |session| commit::commit(session, link, commit, now)).await
    }

    async fn lease(&self, link: LinkId, request: LeaseRequest) -> Result<Vec<Leased>, StoreError> {
        self.write(request.limit, move |session| lease::lease(session, link, &request)).await
    }

    async fn settle(
        &self,
        link: LinkId,
        settlements: Vec<Settlement>,
        now: Timestamp,
    ) -> Result<Settled, StoreError> {
        self.write(settlements.len(), move |session| settle::settle(session, link, settlements, now)).await
    }

    async fn renew(
        &self,
        link: LinkId,
        leases: Vec<(i64, u64)>,
        until: Timestamp,
    ) -> Result<Vec<i64>, StoreError> {
        self.write(leases.len(), move |session| lease::renew(&session.db, link, &leases, until)).await
    }

    async fn rescue(&self, now: Timestamp, all: bool) -> Result<u64, StoreError> {
        self.write(1, move |session| rescue::rescue(session, now, all)).await
    }

    async fn keys_by_id(
        &self,
        link: LinkId,
        side: Side,
        ids: Vec<RemoteId>,
    ) -> Result<Vec<Option<Key>>, StoreError> {
        self.read(move |session| ids::keys(&session.db, link, side, &ids)).await
    }

    async fn walk(&self, link: LinkId, after: Option<Key>, limit: usize) -> Result<Vec<Pair>, StoreError> {
        self.read(move |session| walk::walk(session, link, after.as_ref(), limit)).await
    }

    async fn sums(
        &self,
        link: LinkId,
        after: Option<Key>,
        limit: usize,
    ) -> Result<(Sums, Option<Key>), StoreError> {
        self.read(move |session| walk::sums(session, link, after.as_ref(), limit)).await
    }

    async fn find(&self, key: &Key) -> Result<Vec<(LinkId, Pair)>, StoreError> {
        let key = key.clone();
        self.read(move |session| walk::find(session, &key)).await
    }

    async fn count_pairs(&self, link: LinkId) -> Result<u64, StoreError> {
        self.read(move |session| links::count_pairs(&session.db, link)).await
    }

    async fn remember(&self, link: LinkId, slip: Arc<Vec<u8>>, writes: u32) -> Result<i64, StoreError> {
        let (request, answer) = Request::new(1, move |session| sent::put(&session.db, link, &slip, writes));
        self.submit((request.looks_first(), answer)).await
    }

    async fn unanswered(&self, link: LinkId) -> Result<Vec<Remembered>, StoreError> {
        self.read(move |session| sent::of(&session.db, link)).await
    }

    async fn begin_load(
        &self,
        link: LinkId,
        direction: Direction,
        mark: Option<String>,
    ) -> Result<LoadId, StoreError> {
        self.write(1, move |session| load::begin(&session.db, link, direction, mark)).await
    }

    async fn loads(&self, link: LinkId) -> Result<Vec<OpenLoad>, StoreError> {
        self.read(move |session| load::open(&session.db, Some(link))).await
    }

    async fn end_load(&self, load: LoadId) -> Result<(), StoreError> {
        self.write(1, move |session| load::end(&session.db, load)).await
    }

    async fn job(&self, id: i64) -> Result<Option<(LinkId, Job)>, StoreError> {
        self.read(move |session| jobs::one(&session.db, id)).await
    }

    async fn jobs(&self, filter: JobFilter) -> Result<Vec<(LinkId, Job)>, StoreError> {
        self.read(move |session| jobs::list(&session.db, &filter)).await
    }

    async fn depth(&self, link: LinkId) -> Result<[Depth; 2], StoreError> {
        self.read(move |session| jobs::depth(&session.db, link)).await
    }

    async fn next_due(&self, link: LinkId, direction: Direction) -> Result<Option<Timestamp>, StoreError> {
        self.read(move |session| lease::next_due(&session.db, link, direction)).await
    }

    async fn enqueue(
        &self,
        link: LinkId,
        job: NewJob,
        once: Option<Once>,
        now: Timestamp,
    ) -> Result<Enqueued, StoreError> {
        let (request, answer) = Request::new(1, move |session| {
            enqueue::enqueue(&mut session.jobs(), link, job, once.as_ref(), now)
        });
        self.submit((request.looks_first(), answer)).await
    }

    async fn attempts(&self, job: i64) -> Result<Vec<Attempt>, StoreError> {
        self.read(move |session| attempts::of(&session.db, job)).await
    }

    async fn retry_job(&self, id: i64, now: Timestamp) -> Result<Retried, StoreError> {
        self.write(1, move |session| jobs::retry_job(&mut session.jobs(), id, now)).await
    }

    async fn forget_letters(&self, ids: Vec<i64>) -> Result<u64, StoreError> {
        self.write(ids.len(), move |session| jobs::forget_letters(&mut session.jobs(), &ids)).await
    }

    async fn retry_now(&self, link: LinkId, key: &Key, now: Timestamp) -> Result<Vec<i64>, StoreError> {
        let key = key.clone();
        self.write(1, move |session| jobs::retry_now(&mut session.jobs(), link, &key, now)).await
    }

    async fn cancel(&self, id: i64, now: Timestamp) -> Result<bool, StoreError> {
        self.write(1, move |session| jobs::cancel(&mut session.jobs(), id, now)).await
    }

    async fn history(&self, filter: HistoryFilter) -> Result<Vec<Recorded>, StoreError> {
        self.read(move |session| history::list(&session.db, &filter)).await
    }

    async fn prune_history(&self, before: Timestamp, bytes_max: u64) -> Result<u64, StoreError> {
        self.write(1, move |session| history::prune(&session.db, before, bytes_max)).await
    }

    async fn rules_version(&self, file: &str, text: &str, now: Timestamp) -> Result<u32, StoreError> {
        let (file, text) = (file.to_owned(), text.to_owned());
        self.write(1, move |session| rules_versions::find_or_make(&session.db, &file, &text, now)).await
    }

    async fn rules_versions(&self, file: &str) -> Result<Vec<RulesVersion>, StoreError> {
        let file = file.to_owned();
        self.read(move |session| rules_versions::list(&session.db, &file)).await
    }

    async fn get(&self, space: &str, key: &str, now: Timestamp) -> Result<Option<String>, StoreError> {
        let (space, key) = (space.to_owned(), key.to_owned());
        self.read(move |session| kv::get(&session.db, &space, &key, now)).await
    }

    async fn put(
        &self,
        space: &str,
        key: &str,
        value: &str,
        expires_at: Option<Timestamp>,
    ) -> Result<(), StoreError> {
        let (space, key, value) = (space.to_owned(), key.to_owned(), value.to_owned());
        let (request, answer) =
            Request::new(1, move |session| kv::put(&session.db, &space, &key, &value, expires_at));
        self.submit((request.looks_first(), answer)).await
    }

    async fn put_for_good(&self, space: &str, key: &str, value: &str) -> Result<(), StoreError> {
        let (space, key, value) = (space.to_owned(), key.to_owned(), value.to_owned());
        let (request, answer) =
            Request::new(1, move |session| kv::put(&session.db, &space, &key, &value, None));
        self.submit((request.for_good(), answer)).await
    }

    async fn list(&self, space: &str, now: Timestamp) -> Result<Vec<(String, String)>, StoreError> {
        let space = space.to_owned();
        self.read(move |session| kv::list(&session.db, &space, now)).await
    }

    async fn remove(&self, space: &str, key: &str) -> Result<bool, StoreError> {
        let (space, key) = (space.to_owned(), key.to_owned());
        self.write(1, move |session| kv::remove(&session.db, &space, &key)).await
    }

    async fn tidy(&self, now: Timestamp, force: bool) -> Result<(), StoreError> {
        self.write(1, move |session| tidy::tidy(session, now, force)).await
    }
}
