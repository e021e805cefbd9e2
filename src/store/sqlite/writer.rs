//! The one thread that writes.
//!
//! Requests that wait at the same moment share a transaction: a commit costs far more than what
//! stands in it. Each answers after COMMIT, and each but the first has a savepoint of its own, so
//! that one that fails takes nobody with it. The first needs none: alone, it is undone as a whole.

use tokio::sync::{mpsc, oneshot};

use super::Session;
use super::trouble::{Fallible, Trouble};
use crate::store::StoreError;

/// A transaction takes in no more requests beyond either.
const GROUP_REQUESTS_MAX: usize = 64;
const GROUP_ROWS_MAX: usize = 10_000;

/// One caller's part of a transaction.
pub(super) struct Request {
    work: Box<dyn Work>,
    rows: usize,
}

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
    pub fn new<T, F>(rows: usize, run: F) -> (Self, oneshot::Receiver<Result<T, StoreError>>)
    where
        T: Send + 'static,
        F: FnOnce(&mut Session) -> Fallible<T> + Send + 'static,
    {
        let (caller, answer) = oneshot::channel();
        let work = Box::new(Task { run: Some(run), result: None, caller });
        (Self { work, rows }, answer)
    }
}

/// Serves requests until nobody can send any more.
pub(super) fn serve(mut session: Session, mut requests: mpsc::Receiver<Request>) {
    while let Some(first) = requests.blocking_recv() {
        serve_group(&mut session, first, &mut requests);
    }
}

/// Serves one request in a transaction of its own.
pub(super) fn serve_one(session: &mut Session, request: Request) {
    let (_, mut nobody) = mpsc::channel(1);
    serve_group(session, request, &mut nobody);
}

fn serve_group(session: &mut Session, first: Request, requests: &mut mpsc::Receiver<Request>) {
    let mut kept: Vec<Box<dyn Work>> = Vec::new();
    let mut rows = 0;
    let mut next = Some(first);
    while let Some(mut request) = next {
        rows += request.rows;
        let tried = if kept.is_empty() {
            try_alone(session, request.work.as_mut())
        } else {
            try_among(session, request.work.as_mut())
        };
        match tried {
            Ok(true) => kept.push(request.work),
            Ok(false) => request.work.answer(Ok(())),
            Err(trouble) => {
                let error = request.work.failure().unwrap_or_else(|| trouble.into_error(&session.path));
                roll_back(session);
                kept.push(request.work);
                return answer_all(kept, &Err(error));
            }
        }
        let is_full = rows >= GROUP_ROWS_MAX || kept.len() >= GROUP_REQUESTS_MAX;
        next = if is_full { None } else { requests.try_recv().ok() };
    }
    if kept.is_empty() {
        return;
    }
    let committed = match session.db.execute_batch("COMMIT") {
        Ok(()) => {
            session.shapes.committed();
            Ok(())
        }
        Err(error) => {
            roll_back(session);
            Err(Trouble::from(error).into_error(&session.path))
        }
    };
    if session.checkpoint.is_some() && committed.is_ok() {
        session.run_checkpoint();
    }
    answer_all(kept, &committed);
}

/// Runs the first of a transaction; where it is not to be kept, there is no transaction afterwards.
fn try_alone(session: &mut Session, work: &mut dyn Work) -> Fallible<bool> {
    session.db.execute_batch("BEGIN IMMEDIATE")?;
    let keep = work.run(session);
    if !keep {
        roll_back(session);
    }
    Ok(keep)
}

/// Runs one more; `Err` says that the transaction is lost for all in it.
fn try_among(session: &mut Session, work: &mut dyn Work) -> Fallible<bool> {
    session.db.execute_batch("SAVEPOINT request")?;
    let keep = work.run(session);
    if session.db.is_autocommit() {
        // A full disk or a failing one makes SQLite roll back everything.
        return Err(Trouble::Unusable("the transaction was rolled back".into()));
    }
    if !keep {
        session.db.execute_batch("ROLLBACK TO request")?;
        session.shapes.rolled_back();
    }
    session.db.execute_batch("RELEASE request")?;
    Ok(keep)
}

fn roll_back(session: &mut Session) {
    if !session.db.is_autocommit() {
        // Where even this fails, the next BEGIN fails too and says why.
        let _ = session.db.execute_batch("ROLLBACK");
    }
    session.shapes.rolled_back();
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
    use crate::store::sqlite::shapes::Shapes;
    use crate::store::sqlite::{SqliteOptions, kv, open};

    fn session(folder: &tempfile::TempDir) -> Session {
        let opened = open::open(&folder.path().join("state"), &SqliteOptions::default()).expect("a state");
        let shapes = Shapes::new(Arc::new(RwLock::new(HashMap::new())), true);
        Session { db: opened.writer, shapes, path: opened.path, undo: false, checkpoint: None }
    }

    fn put(name: &'static str, value: String, then: Result<(), &'static str>) -> Put {
        Request::new(1, move |session| {
            kv::put(&session.db, "s", name, &value, None)?;
            then.map_err(|why| Trouble::Unusable(why.to_owned()))
        })
    }

    type Put = (Request, oneshot::Receiver<Result<(), StoreError>>);

    /// Serves requests that all wait when the writer comes; gives their answers and what is stored.
    fn serve_all(session: &mut Session, puts: Vec<Put>) -> (Vec<Result<(), StoreError>>, Vec<String>) {
        let (sender, mut requests) = mpsc::channel(8);
        let (waiting, answers): (Vec<_>, Vec<_>) = puts.into_iter().unzip();
        for request in waiting {
            assert!(sender.blocking_send(request).is_ok());
        }
        while let Ok(first) = requests.try_recv() {
            serve_group(session, first, &mut requests);
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
