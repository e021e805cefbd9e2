//! Which keys a link's sides have, as sums that follow every commit.

use std::sync::atomic::Ordering;

use super::link::{LinkContext, lock};
use super::supervisor::{Running, Runtime};
use crate::store::{LinkId, Store, StoreError, Sums};

/// Pairs that are added up with one question.
const PIECE: usize = 100_000;

/// Adds up which keys a link's sides have, piece by piece, with the latest epoch that a pair was touched in:
/// a scan that begins anew must count as younger than all of them, also where its number was never stored.
pub async fn measure(store: &dyn Store, link: LinkId) -> Result<Sums, StoreError> {
    let mut sums = Sums::default();
    let mut after = None;
    loop {
        let (more, last) = store.sums(link, after, PIECE).await?;
        sums.merge(more);
        match last {
            Some(last) => after = Some(last),
            None => return Ok(sums),
        }
    }
}

/// Gives the sums of a link: as its last generation left them, unless something `has_moved` since; else added up.
pub(super) async fn of(
    runtime: &Runtime,
    running: &Running,
    link: LinkId,
    has_moved: bool,
) -> Result<Sums, StoreError> {
    let known = (*lock(&running.sums)).filter(|_| !has_moved);
    match known {
        Some(sums) => Ok(sums),
        None => measure(runtime.store.as_ref(), link).await,
    }
}

/// Keeps what a link knew that has come to rest, for its next generation; nothing where that is not sure, or it was not
/// brought to rest as a `whole`.
pub(super) fn keep(ctx: &LinkContext, running: &Running, whole: bool) {
    let sums = (whole && !ctx.unsure.load(Ordering::Relaxed)).then(|| ctx.sums());
    *lock(&running.sums) = sums;
}
