//! The one thread that writes.
//!
//! Requests that wait at the same moment share a transaction: a commit costs far more than what
//! stands in it. Each answers after COMMIT, and each but the first has a savepoint of its own, so
//! that one that fails takes nobody with it. The first needs none: alone, it is undone as a whole.
//! Nor does one that looks before it writes: a savepoint keeps a copy of every page that is changed
//! under it, which costs small requests more than what they do.

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::Session;
use super::trouble::{Fallible, Trouble};
use crate::store::StoreError;

/// A transaction takes in no more requests beyond either.
const GROUP_REQUESTS_MAX: usize = 64;
const GROUP_ROWS_MAX: usize = 10_000;

const SYNCHRONOUS: &str = "synchronous";
/// Commits do not wait for the disk; the power may take the last ones.
const SYNCHRONOUS_NORMAL: i64 = 1;

/// One caller's part of a transaction.
pub(super) struct Request {
    work: Box<dyn Work>,
    rows: usize,
    /// Its transaction is its own, and outlives a power failure.
    for_good: bool,
    /// It can fail only before its first change, but for a disk that fails.
    looks_first: bool,
}

/// Where the answer to a request comes in.
pub(super) type Answer<T> = oneshot::Receiver<Result<T, StoreError>>;

/// What a request does, and whom it answers.
trait Work: Send {
    /// Does it; says whether its changes are to be kept.
    fn run(&mut self, session: &mut Session) -> bool;
    /// Returns why it failed, where it did.
    fn failure(&self) -> Option<StoreError>;
    /// Tells the caller, once the fate of the transaction is known.
    fn answer(self: Box<Self>, committed: Result<(), StoreError>);
}

struct Task<T, F> {
    run: Option<F>,
    result: Option<Result<T, StoreError>>,
    caller: oneshot::Sender<Result<T, StoreError>>,
}

impl<T, F> Work for Task<T, F>
where
    T: Send,
    F: FnOnce(&mut Session) -> Fallible<T> + Send,
{
    fn run(&mut self, session: &mut Session) -> bool {
        let Some(run) = self.run.take() else { return false };
        let result = run(session);
        let undo = std::mem::take(&mut session.undo);
        let keep = result.is_ok() && !undo;
        self.result = Some(result.map_err(|trouble| trouble.into_error(&session.path)));
        keep
    }

    fn failure(&self) -> Option<StoreError> {
        self.result.as_ref().and_then(|result| result.as_ref().err().cloned())
    }

    fn answer(self: Box<Self>, committed: Result<(), StoreError>) {
        let result = match (self.result, committed) {
            (Some(Err(error)), _) | (_, Err(error)) => Err(error),
            (Some(result), Ok(())) => result,
            (None, Ok(())) => Err(StoreError::Io("the state was not asked".into())),
        };
        // The caller may have gone; what was done stays done.
        let _ = self.caller.send(result);
    }
}

impl Request {
    /// Makes a request of about `rows` rows, and the place where its answer will come in.
    pub fn new<T, F>(rows: usize, run: F) -> (Self, Answer<T>)
    where
        T: Send + 'static,
        F: FnOnce(&mut Session) -> Fallible<T> + Send + 'static,
    {
        let (caller, answer) = oneshot::channel();
        let work = Box::new(Task { run: Some(run), result: None, caller });
        (Self { work, rows, for_good: false, looks_first: false }, answer)
    }

    /// Has it share a transaction without a savepoint.
    #[must_use]
    pub fn looks_first(self) -> Self {
        Self { looks_first: true, ..self }
    }

    /// Has its commit wait for the disk.
    #[must_use]
    pub fn for_good(self) -> Self {
        Self { for_good: true, ..self }
    }
}

/// Serves requests until nobody can send any more.
pub(super) fn serve(mut session: Session, mut requests: mpsc::Receiver<Request>) {
    let mut next = None;
    while let Some(first) = next.take().or_else(|| requests.blocking_recv()) {
        next = serve_group(&mut session, first, &mut requests);
    }
}

/// Serves one request in a transaction of its own.
pub(super) fn serve_one(session: &mut Session, request: Request) {
    let (_, mut nobody) = mpsc::channel(1);
    serve_group(session, request, &mut nobody);
}

/// Serves one request and those that wait beside it; gives one that came up and needs a transaction of its own.
fn serve_group(
    session: &mut Session,
    first: Request,
    requests: &mut mpsc::Receiver<Request>,
) -> Option<Request> {
    if !first.for_good {
        return serve_together(session, first, requests);
    }
    // Within a transaction it can't be changed.
    match sync_commits(session) {
        Ok(before) => {
            serve_one(session, Request { for_good: false, ..first });
            if let Some(before) = before {
                // Where this fails, commits are slower and no less safe.
                let _ = session.db.pragma_update(None, SYNCHRONOUS, before);
            }
        }
        Err(error) => first.work.answer(Err(Trouble::from(error).into_error(&session.path))),
    }
    None
}

/// Has every commit wait for the disk, which in WAL mode is what `FULL` means, also beside readers. Gives what was
/// in force; `None` where nothing had to be changed.
fn sync_commits(session: &Session) -> rusqlite::Result<Option<i64>> {
    let before: i64 = session.db.pragma_query_value(None, SYNCHRONOUS, |row| row.get(0))?;
    let waits_too_late = before == SYNCHRONOUS_NORMAL;
    if waits_too_late {
        session.db.pragma_update(None, SYNCHRONOUS, "FULL")?;
    }
    Ok(waits_too_late.then_some(before))
}

fn serve_together(
    session: &mut Session,
    first: Request,
    requests: &mut mpsc::Receiver<Request>,
) -> Option<Request> {
    let mut kept: Vec<Box<dyn Work>> = Vec::new();
    let mut rows = 0;
    let mut next = Some(first);
    let mut left = None;
    while let Some(mut request) = next {
        rows += request.rows;
        let tried = if kept.is_empty() {
            try_alone(session, request.work.as_mut())
        } else {
            try_among(session, &mut request)
        };
        match tried {
            Ok(true) => kept.push(request.work),
            Ok(false) => request.work.answer(Ok(())),
            Err(trouble) => {
                let error = request.work.failure().unwrap_or_else(|| trouble.into_error(&session.path));
                roll_back(session);
                kept.push(request.work);
                answer_all(kept, &Err(error));
                return None;
            }
        }
        let is_full = rows >= GROUP_ROWS_MAX || kept.len() >= GROUP_REQUESTS_MAX;
        next = if is_full { None } else { requests.try_recv().ok() };
        left = next.take_if(|next| next.for_good);
    }
    if kept.is_empty() {
        return left;
    }
    let Session { db, books, .. } = &mut *session;
    let committed = match books.write(db).and_then(|()| say(db, "COMMIT")) {
        Ok(()) => {
            session.shapes.committed();
            Ok(())
        }
        Err(trouble) => {
            roll_back(session);
            Err(trouble.into_error(&session.path))
        }
    };
    if session.checkpoint.is_some() && committed.is_ok() {
        session.run_checkpoint();
    }
    answer_all(kept, &committed);
    left
}

/// Executes a statement that is always the same.
fn say(db: &Connection, sql: &str) -> Fallible<()> {
    db.prepare_cached(sql)?.execute([])?;
    Ok(())
}

/// Runs the first of a transaction; where it is not to be kept, there is no transaction afterwards.
fn try_alone(session: &mut Session, work: &mut dyn Work) -> Fallible<bool> {
    say(&session.db, "BEGIN IMMEDIATE")?;
    let keep = work.run(session);
    if keep {
        session.books.keep();
    } else {
        roll_back(session);
    }
    Ok(keep)
}

/// Runs one more; `Err` says that the transaction is lost for all in it.
fn try_among(session: &mut Session, request: &mut Request) -> Fallible<bool> {
    let changes = session.db.total_changes();
    if !request.looks_first {
        say(&session.db, "SAVEPOINT request")?;
    }
    let keep = request.work.run(session);
    if session.db.is_autocommit() {
        // A full disk or a failing one makes SQLite roll back everything.
        return Err(Trouble::Unusable("the transaction was rolled back".into()));
    }
    if keep {
        session.books.keep();
    } else {
        session.books.undo();
        session.shapes.rolled_back();
    }
    match (request.looks_first, keep) {
        (true, false) if session.db.total_changes() != changes => {
            return Err(Trouble::Unusable("half of a request can't be undone".into()));
        }
        (true, _) => {}
        (false, true) => say(&session.db, "RELEASE request")?,
        (false, false) => {
            say(&session.db, "ROLLBACK TO request")?;
            say(&session.db, "RELEASE request")?;
        }
    }
    Ok(keep)
}

fn roll_back(session: &mut Session) {
    if !session.db.is_autocommit() {
        // Where even this fails, the next BEGIN fails too and says why.
        let _ = session.db.execute_batch("ROLLBACK");
    }
    session.shapes.rolled_back();
    session.books.rolled_back();
    session.checkpoint = None;
}

fn answer_all(works: Vec<Box<dyn Work>>, committed: &Result<(), StoreError>) {
    for work in works {
        work.answer(committed.clone());
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::{Arc, RwLock};

    use super::*;
    use crate::engine::record::Timestamp;
    use crate::store::sqlite::books::Books;
    use crate::store::sqlite::shapes::Shapes;
    use crate::store::sqlite::{Durability, SqliteOptions, kv, open};

    fn session(folder: &tempfile::TempDir) -> Session {
        session_with(folder, &SqliteOptions::default())
    }

    fn session_with(folder: &tempfile::TempDir, options: &SqliteOptions) -> Session {
        let opened = open::open(&folder.path().join("state"), options).expect("a state");
        let shapes = Shapes::new(Arc::new(RwLock::new(HashMap::new())), true);
        Session {
            db: opened.writer,
            shapes,
            books: Books::default(),
            path: opened.path,
            undo: false,
            checkpoint: None,
        }
    }

    fn put(name: &'static str, value: String, then: Result<(), &'static str>) -> Put {
        Request::new(1, move |session| {
            kv::put(&session.db, "s", name, &value, None)?;
            then.map_err(|why| Trouble::Unusable(why.to_owned()))
        })
    }

    type Put = (Request, Answer<()>);

    /// Serves requests that all wait when the writer comes; gives their answers and what is stored.
    fn serve_all(session: &mut Session, puts: Vec<Put>) -> (Vec<Result<(), StoreError>>, Vec<String>) {
        let (sender, mut requests) = mpsc::channel(8);
        let (waiting, answers): (Vec<_>, Vec<_>) = puts.into_iter().unzip();
        for request in waiting {
            assert!(sender.blocking_send(request).is_ok());
        }
        let mut next = None;
        while let Some(first) = next.take().or_else(|| requests.try_recv().ok()) {
            next = serve_group(session, first, &mut requests);
        }
        let answers = answers.into_iter().map(|answer| answer.blocking_recv().expect("an answer")).collect();
        let stored = kv::list(&session.db, "s", Timestamp(0)).expect("a list");
        (answers, stored.into_iter().map(|(name, _)| name).collect())
    }

    #[test]
    fn one_that_fails_takes_nobody_with_it() {
        for failing in 0..3 {
            let folder = tempfile::tempdir().expect("a folder");
            let mut session = session(&folder);
            let puts = ["a", "b", "c"].into_iter().enumerate();
            let puts = puts.map(|(at, name)| {
                let then = if at == failing { Err("no") } else { Ok(()) };
                put(name, "v".into(), then)
            });
            let (answers, stored) = serve_all(&mut session, puts.collect());
            for (at, name) in ["a", "b", "c"].into_iter().enumerate() {
                assert_eq!(answers[at].is_ok(), at != failing, "{name} where {failing} fails");
                assert_eq!(stored.contains(&name.to_owned()), at != failing, "{name} where {failing} fails");
            }
        }
    }

    #[test]
    fn without_a_savepoint_only_half_a_request_takes_the_others_with_it() {
        // (whether it writes before it fails, who is told that it worked, what is stored, why)
        let cases: [(bool, [bool; 3], &[&str], &str); 2] = [
            (false, [true, false, true], &["a", "c"], "it has changed nothing"),
            (true, [false, false, true], &["c"], "nobody can tell its changes from those before"),
        ];
        for (writes, told, stored, why) in cases {
            let folder = tempfile::tempdir().expect("a folder");
            let mut session = session(&folder);
            let (failing, answer) = Request::new(1, move |session| {
                if writes {
                    kv::put(&session.db, "s", "b", "v", None)?;
                }
                Err::<(), _>(Trouble::Unusable("no".into()))
            });
            let mut puts = vec![put("a", "v".into(), Ok(())), put("c", "v".into(), Ok(()))];
            puts.insert(1, (failing.looks_first(), answer));
            let (answers, found) = serve_all(&mut session, puts);
            assert_eq!(answers.iter().map(Result::is_ok).collect::<Vec<bool>>(), told, "{why}");
            assert_eq!(found, stored, "{why}");
        }
    }

    #[test]
    fn what_is_for_good_waits_for_the_disk_in_a_transaction_of_its_own() {
        // (durability, level of the others, level of the one, why)
        let cases = [
            (Durability::Normal, 1, 2, "raised for that one, and lowered again"),
            (Durability::Full, 2, 2, "all wait"),
            (Durability::Process, 0, 0, "tests never wait"),
        ];
        for (durability, others, one, why) in cases {
            let folder = tempfile::tempdir().expect("a folder");
            let options = SqliteOptions { durability, ..SqliteOptions::default() };
            let mut session = session_with(&folder, &options);
            // A reader stands in the way of every checkpoint.
            let reader = rusqlite::Connection::open(folder.path().join("state")).expect("a reader");
            reader.execute_batch("BEGIN; SELECT count(*) FROM kv").expect("a reading");
            let level = |name: &'static str| {
                Request::new(1, move |session| {
                    let level: i64 = session.db.pragma_query_value(None, SYNCHRONOUS, |row| row.get(0))?;
                    kv::put(&session.db, "s", name, &level.to_string(), None)?;
                    Ok(())
                })
            };
            let mut puts: Vec<Put> = ["a", "b", "c", "d"].into_iter().map(level).collect();
            let (request, answer) = puts.remove(2);
            puts.insert(2, (request.for_good(), answer));
            let (answers, stored) = serve_all(&mut session, puts);
            assert!(answers.iter().all(Result::is_ok), "{why}: {answers:?}");
            assert_eq!(stored.len(), 4, "{why}");
            let levels = kv::list(&session.db, "s", Timestamp(0)).expect("a list");
            let levels: Vec<&str> = levels.iter().map(|(_, level)| level.as_str()).collect();
            let (others, one) = (others.to_string(), one.to_string());
            assert_eq!(levels, [&others, &others, &one, &others], "{why}");
        }
    }

    #[test]
    fn a_full_disk_is_said_and_survived() {
        for place in 0..3 {
            let folder = tempfile::tempdir().expect("a folder");
            let mut session = session(&folder);
            let pages: i64 = session
                .db
                .pragma_query_value(None, "page_count", |row| row.get(0))
                .expect("a number of pages");
            let set_limit = |session: &Session, pages: i64| {
                session
                    .db
                    .pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()))
                    .expect("a limit");
            };
            set_limit(&session, pages + 2);
            let mut puts: Vec<Put> =
                ["a", "b"].into_iter().map(|name| put(name, "v".into(), Ok(()))).collect();
            puts.insert(place, put("big", "x".repeat(100_000), Ok(())));
            let (answers, stored) = serve_all(&mut session, puts);
            assert!(matches!(answers[place], Err(StoreError::Full(_))), "{place}: {answers:?}");
            assert!(!stored.contains(&"big".to_owned()));
            let said = answers.iter().filter(|answer| answer.is_ok()).count();
            assert_eq!(stored.len(), said, "{place}: stored is what was answered");
            set_limit(&session, 1_000_000);
            let (answers, _) = serve_all(&mut session, vec![put("big", "x".repeat(100_000), Ok(()))]);
            assert!(answers[0].is_ok(), "{place}: with room again it goes on");
        }
    }
}
