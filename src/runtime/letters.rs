//! Dead letters in bulk: many of them replayed or deleted by a filter.
//!
//! Invariant: whoever goes on where an answer ended comes to every letter, also behind such as were left alone.

use std::sync::Arc;

use super::jobs::{JobProblem, Listed};
use super::operate::OperateError;
use super::supervisor::Runtime;
use crate::store::JobFilter;

/// One request works on so many letters at most; what is left is for the next, from [`Bulk::next`] on.
pub const BULK_MAX: usize = 10_000;
/// Letters that are read, replayed or deleted in one go: the store makes one commit of them.
const CHUNK: usize = 200;

/// Which letters are meant.
#[derive(Clone, Debug, Default)]
pub struct Letters {
    pub customer: Option<String>,
    pub link: Option<String>,
    pub filter: JobFilter,
}

/// What became of them.
#[derive(Debug, Default)]
pub struct Bulk {
    pub matched: u64,
    /// The jobs that were made, or the letters that were deleted; at a dry run the letters that are meant.
    pub done: Vec<i64>,
    /// Letters that were left alone, each with the reason.
    pub left: Vec<(i64, String)>,
    /// Where the next request goes on: there are more than one works on.
    pub next: Option<i64>,
}

/// What is to be done with letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    Look,
    Replay,
    Delete,
}

impl Runtime {
    /// Does something with all letters that are meant, newest first.
    pub async fn answer_letters(
        self: &Arc<Self>,
        letters: &Letters,
        deed: Deed,
        correlation_id: &str,
    ) -> Result<Bulk, JobProblem> {
        let mut bulk = Bulk::default();
        let mut before = letters.filter.before;
        while bulk.matched < BULK_MAX as u64 {
            let filter = JobFilter { before, limit: CHUNK, ..letters.filter.clone() };
            let place = (letters.customer.as_deref(), letters.link.as_deref());
            let (found, next) = self.list_jobs(place, filter).await?;
            bulk.matched += found.len() as u64;
            match deed {
                Deed::Look => bulk.done.extend(found.iter().map(|letter| letter.job.id)),
                Deed::Delete => self.delete(&found, &mut bulk).await?,
                Deed::Replay => self.replay_all(&found, correlation_id, &mut bulk).await?,
            }
            before = next;
            if next.is_none() {
                break;
            }
        }
        debug_assert!(before.is_none() || bulk.matched >= BULK_MAX as u64, "all letters are gone through");
        bulk.next = before;
        Ok(bulk)
    }

    async fn delete(&self, found: &[Listed], bulk: &mut Bulk) -> Result<(), JobProblem> {
        let ids: Vec<i64> = found.iter().map(|letter| letter.job.id).collect();
        let deleted = self.store.forget_letters(ids.clone()).await?;
        tracing::info!(event = "job.forgotten", count = deleted, "dead letters were deleted");
        bulk.done.extend(ids);
        Ok(())
    }

    async fn replay_all(
        self: &Arc<Self>,
        found: &[Listed],
        correlation_id: &str,
        bulk: &mut Bulk,
    ) -> Result<(), JobProblem> {
        for letter in found {
            match self.start_link(&letter.link.0, &letter.link.1).await {
                Ok(_) => {}
                Err(error) => {
                    bulk.left.push((letter.job.id, OperateError::Start(error).to_string()));
                    continue;
                }
            }
            match self.replay(letter, correlation_id, None).await {
                Ok(made) => bulk.done.push(made.job.id),
                Err(JobProblem::Store(error)) => return Err(error.into()),
                Err(problem) => bulk.left.push((letter.job.id, problem.to_string())),
            }
        }
        Ok(())
    }
}
