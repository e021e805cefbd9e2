//! The threads that read, each on a connection of its own and a snapshot a request.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{mpsc, oneshot};

use super::Session;
use super::trouble::Fallible;
use crate::store::StoreError;

/// One caller's question.
pub(super) type Question = Box<dyn FnOnce(&mut Session) + Send>;

/// The readers take turns at one queue.
pub(super) type Questions = Arc<Mutex<mpsc::Receiver<Question>>>;

/// Makes a question, and the place where its answer will come in.
pub(super) fn question<T, F>(ask: F) -> (Question, oneshot::Receiver<Result<T, StoreError>>)
where
    T: Send + 'static,
    F: FnOnce(&mut Session) -> Fallible<T> + Send + 'static,
{
    let (caller, answer) = oneshot::channel();
    let question = Box::new(move |session: &mut Session| {
        let result = in_snapshot(session, ask).map_err(|trouble| trouble.into_error(&session.path));
        // The caller may have gone.
        let _ = caller.send(result);
    });
    (question, answer)
}

/// Serves questions until nobody can send any more.
pub(super) fn serve(mut session: Session, questions: &Questions) {
    loop {
        let next = questions.lock().unwrap_or_else(PoisonError::into_inner).blocking_recv();
        match next {
            Some(ask) => ask(&mut session),
            None => return,
        }
    }
}

fn in_snapshot<T>(session: &mut Session, ask: impl FnOnce(&mut Session) -> Fallible<T>) -> Fallible<T> {
    session.db.execute_batch("BEGIN")?;
    let result = ask(session);
    session.db.execute_batch("COMMIT")?;
    result
}
