//! Claims on jobs, kept for as long as their work goes on: a call may wait long for its window.
//!
//! Invariant: nothing is sent for a claim that has run out and was taken back. Where the process stood still
//! for longer than its claims hold, they are renewed before the next call, and what is lost is left alone.

use super::link::LinkContext;
use super::page::storage;
use super::verdict::{Parcel, fence};
use crate::engine::fault::Fault;
use crate::engine::record::Timestamp;
use crate::planted::{Bug, planted};
use crate::store::Leased;

/// The claims of one batch.
pub(super) struct Claims {
    /// Jobs with the fences that their leases gave.
    list: Vec<(i64, u64)>,
    since: Timestamp,
}

/// A claim is renewed when this part of its time is over, as a divisor.
const RENEWED_AFTER: u32 = 3;

impl Claims {
    pub(super) fn of(leased: &[Leased], since: Timestamp) -> Self {
        let list = leased.iter().map(|leased| (leased.job.id, fence(&leased.job))).collect();
        Self { list, since }
    }

    /// Does the work, and renews the claims meanwhile.
    pub(super) async fn keep<T>(&self, ctx: &LinkContext, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                biased;
                done = &mut work => return done,
                () = tokio::time::sleep(ctx.lease / RENEWED_AFTER) => {
                    if let Err(fault) = self.renew(ctx).await {
                        tracing::warn!(event = "lease.not_renewed", customer = %ctx.customer, link = %ctx.name,
                            error = %fault, "claims could not be renewed");
                    }
                }
            }
        }
    }

    /// Leaves out what is claimed no more.
    pub(super) async fn held(&self, ctx: &LinkContext, parcels: Vec<Parcel>) -> Vec<Parcel> {
        match self.lost(ctx).await {
            Some(lost) => parcels.into_iter().filter(|parcel| !lost.contains(&parcel.job.id)).collect(),
            None => Vec::new(),
        }
    }

    /// Gives the jobs that are claimed no more; asks only where the claims have become old. `None` where that can't
    /// be told: whoever can't ask does nothing, the leases run out, and the jobs are taken back.
    pub(super) async fn lost(&self, ctx: &LinkContext) -> Option<Vec<i64>> {
        if ctx.now().since(self.since) < ctx.lease / RENEWED_AFTER {
            return Some(Vec::new());
        }
        self.renew(ctx).await.ok()
    }

    async fn renew(&self, ctx: &LinkContext) -> Result<Vec<i64>, Fault> {
        if planted(Bug::LeaseNotRenewed) {
            return Ok(Vec::new());
        }
        let until = ctx.now().plus(ctx.lease);
        ctx.store.renew(ctx.id, self.list.clone(), until).await.map_err(storage)
    }
}
