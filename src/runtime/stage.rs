//! A stage that pages go through, one behind the other.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::StreamExt as _;
use futures_util::stream::FuturesOrdered;

/// Pages that are in a stage or through it and not handed on. They leave it as they came in, whichever is through first.
pub(super) struct Stage<'l, T> {
    under_way: FuturesOrdered<Pin<Box<dyn Future<Output = T> + Send + 'l>>>,
    through: VecDeque<T>,
    at_most: usize,
}

impl<'l, T> Stage<'l, T> {
    /// Has room for so many pages.
    pub fn of(at_most: usize) -> Self {
        Self { under_way: FuturesOrdered::new(), through: VecDeque::new(), at_most }
    }

    /// Takes a page in; the caller has seen that there is room.
    pub fn begin(&mut self, work: impl Future<Output = T> + Send + 'l) {
        self.under_way.push_back(Box::pin(work));
    }

    /// Has the pages go on.
    pub fn poll(&mut self, context: &mut Context<'_>) {
        while let Poll::Ready(Some(done)) = self.under_way.poll_next_unpin(context) {
            self.through.push_back(done);
        }
    }

    /// Takes out the first one where that is through.
    pub fn through(&mut self) -> Option<T> {
        self.through.pop_front()
    }

    /// Counts the pages in it.
    pub fn len(&self) -> usize {
        self.under_way.len() + self.through.len()
    }

    pub fn has_room(&self) -> bool {
        self.len() < self.at_most
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
