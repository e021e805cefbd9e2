//! Work that blocks, done piece by piece in the order in which it was asked for.
//!
//! Callers need not wait for each other before they ask: the next piece begins when the one before it ends, whatever
//! the asynchronous threads are at. A lock alone would not keep the order.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// Takes one piece of work after the other to what they work on.
pub struct Turns<C> {
    at: Arc<Mutex<C>>,
    waiting: Arc<Mutex<VecDeque<Piece<C>>>>,
}

type Piece<C> = Box<dyn FnOnce(&mut C) + Send>;

impl<C: Send + 'static> Turns<C> {
    /// Begins with nothing to do; others may lock what it works on between two pieces.
    pub fn new(at: Arc<Mutex<C>>) -> Self {
        Self { at, waiting: Arc::default() }
    }

    /// Does a piece of work when all that was asked for before is done; `None` where it was cut off. Once asked for,
    /// it is done also where nobody waits any more.
    pub async fn take<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut C) -> T + Send + 'static,
    ) -> Option<T> {
        let (tell, told) = oneshot::channel();
        let piece = move |at: &mut C| {
            let _ = tell.send(work(at));
        };
        lock(&self.waiting).push_back(Box::new(piece));
        let (at, waiting) = (Arc::clone(&self.at), Arc::clone(&self.waiting));
        // As many of these as there are pieces: each does the first one that is left.
        tokio::task::spawn_blocking(move || {
            let mut at = lock(&at);
            let first = lock(&waiting).pop_front();
            if let Some(first) = first {
                first(&mut at);
            }
        });
        told.await.ok()
    }
}

/// Locks; a piece that panicked was cut off, which its caller is told, and left nothing half-done that would not be
/// undone: a transaction is rolled back by the next one, a file is replaced as a whole.
pub fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Waker};

    use super::*;

    #[tokio::test]
    async fn pieces_are_done_in_the_order_in_which_they_were_asked_for() {
        let done = Arc::new(Mutex::new(Vec::new()));
        let turns = Turns::new(Arc::clone(&done));
        let ask = |number| {
            Box::pin(turns.take(move |done: &mut Vec<usize>| {
                done.push(number);
                number
            }))
        };
        let mut asked: Vec<_> = (0..64).map(ask).collect();
        {
            // Nobody can begin before all have asked.
            let _held = lock(&done);
            let mut context = Context::from_waker(Waker::noop());
            for piece in &mut asked {
                assert!(piece.as_mut().poll(&mut context).is_pending(), "asked, and not done yet");
            }
        }
        for (number, piece) in asked.into_iter().enumerate() {
            assert_eq!(piece.await, Some(number));
        }
        assert_eq!(*lock(&done), (0..64).collect::<Vec<usize>>());
    }

    #[tokio::test]
    async fn who_panics_is_cut_off_and_nobody_else() {
        let turns = Turns::new(Arc::new(Mutex::new(0)));
        assert_eq!(turns.take(|_| -> usize { panic!("as planned") }).await, None);
        assert_eq!(turns.take(|count| *count + 1).await, Some(1));
    }
}
