//! Sends what a worker has packed or a page has to write, in as many calls as it takes, several under way at once.
//!
//! Invariant: every record gets exactly one outcome; nothing goes out whose claim was lost while the calls before
//! it were made; a call that is refused as a whole is cut in two until the
//! record that spoils it goes alone, so that the others arrive.

use std::sync::Arc;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;

use super::claims::Claims;
use super::inline::{counted, delivery};
use super::link::{Calls, LinkContext};
use super::verdict::Parcel;
use crate::connectors::{Batch, Call, Delivery, Outcome};
use crate::engine::fault::{Fault, FaultCode, FaultKind};
use crate::engine::job;
use crate::engine::record::Direction;
use crate::planted::{Bug, planted};

/// What is to be sent, by places.
pub(super) trait Cargo {
    /// Says for each record which attempt this is, from 1.
    fn attempts(&self) -> Vec<u32>;
    /// Makes the delivery of a record.
    fn delivery(&self, place: usize) -> Option<Delivery>;
    /// Leaves out of a call, just before it goes out, what must not go out any more.
    ///
    /// # Errors
    /// Nothing of it may, nor of the calls that have not begun.
    fn held(
        &self,
        ctx: &LinkContext,
        part: Vec<usize>,
    ) -> impl Future<Output = Result<Vec<usize>, Fault>> + Send;
}

/// What a worker has claimed.
pub(super) struct Claimed<'b> {
    pub(super) direction: Direction,
    pub(super) parcels: &'b [Parcel],
    pub(super) claims: &'b Claims,
}

impl Cargo for Claimed<'_> {
    fn attempts(&self) -> Vec<u32> {
        self.parcels.iter().map(|parcel| parcel.job.attempts).collect()
    }

    fn delivery(&self, place: usize) -> Option<Delivery> {
        let parcel = self.parcels.get(place)?;
        delivery(&parcel.entry.pair, self.direction, parcel.action.clone())
    }

    /// What is left out has no outcome that counts: its job is somebody else's.
    async fn held(&self, ctx: &LinkContext, mut part: Vec<usize>) -> Result<Vec<usize>, Fault> {
        match self.claims.lost(ctx).await {
            Some(lost) => {
                part.retain(|&place| !self.parcels.get(place).is_some_and(|it| lost.contains(&it.job.id)));
            }
            None => part.clear(),
        }
        Ok(part)
    }
}

/// Writes records to their destination, in several calls at once where it stands that; gives an outcome each, in order.
pub(super) async fn send<C: Cargo + Sync>(
    ctx: &LinkContext,
    direction: Direction,
    cargo: &C,
    call: &Call,
) -> Vec<Outcome> {
    let attempts = cargo.attempts();
    let Calls { write, at_once, .. } = ctx.end(direction.to()).calls(attempts.len());
    let mut outcomes: Vec<Option<Outcome>> = attempts.iter().map(|_| None).collect();
    let mut left = job::parts(&attempts, write.min(attempts.len()));
    // The first part is the last to be pushed.
    left.reverse();
    let mut stopped: Option<Fault> = None;
    let mut under_way = FuturesUnordered::new();
    loop {
        while stopped.is_none()
            && under_way.len() < at_once
            && let Some(part) = left.pop()
        {
            under_way.push(send_held(ctx, direction, cargo, part, call));
        }
        let Some((part, sent)) = under_way.next().await else { break };
        match sent {
            Ok(sent) => {
                for (place, outcome) in part.into_iter().zip(sent) {
                    put(&mut outcomes, place, outcome);
                }
            }
            Err(fault)
                if fault.kind == FaultKind::Rejected && part.len() > 1 && !planted(Bug::BatchNotCut) =>
            {
                left.extend(job::halves(part).into_iter().flatten().rev());
            }
            Err(fault) => {
                // Who asks for patience, or does not know us, need not be asked for every part.
                if matches!(fault.kind, FaultKind::Throttled { .. } | FaultKind::Fatal) {
                    stopped = Some(fault.clone());
                }
                part.into_iter().for_each(|place| put(&mut outcomes, place, Outcome::Failed(fault.clone())));
            }
        }
    }
    if let Some(fault) = stopped {
        left.into_iter()
            .flatten()
            .for_each(|place| put(&mut outcomes, place, Outcome::Failed(fault.clone())));
    }
    let unsent = || Outcome::Failed(Fault::transient(FaultCode::Protocol, "the delivery was not sent"));
    outcomes.into_iter().map(|outcome| outcome.unwrap_or_else(unsent)).collect()
}

/// Makes one call with what of a part may go out still.
async fn send_held<C: Cargo + Sync>(
    ctx: &LinkContext,
    direction: Direction,
    cargo: &C,
    part: Vec<usize>,
    call: &Call,
) -> (Vec<usize>, Result<Vec<Outcome>, Fault>) {
    match cargo.held(ctx, part.clone()).await {
        Ok(part) if part.is_empty() => (part, Ok(Vec::new())),
        Ok(part) => {
            let deliveries = part.iter().filter_map(|&place| cargo.delivery(place)).collect();
            let sent = send_part(ctx, direction, deliveries, part.len(), call).await;
            (part, sent)
        }
        Err(fault) => (part, Err(fault)),
    }
}

fn put(outcomes: &mut [Option<Outcome>], place: usize, outcome: Outcome) {
    if let Some(slot) = outcomes.get_mut(place) {
        *slot = Some(outcome);
    }
}

/// Makes one call.
async fn send_part(
    ctx: &LinkContext,
    direction: Direction,
    deliveries: Vec<Delivery>,
    count: usize,
    call: &Call,
) -> Result<Vec<Outcome>, Fault> {
    let end = ctx.end(direction.to());
    let batch = Batch { shape: Arc::clone(ctx.rules.shape(direction.to())), deliveries };
    match end.destination.write(&batch, call).await {
        Ok(outcomes) => {
            let outcomes = counted(outcomes, count)?;
            ctx.trouble_writing(direction, None);
            Ok(mixed_up(outcomes))
        }
        Err(_) if planted(Bug::FaultIsSuccess) => Ok((0..count).map(|_| through()).collect()),
        Err(fault) => {
            ctx.trouble_writing(direction, Some(fault.to_string()));
            Err(fault)
        }
    }
}

fn through() -> Outcome {
    Outcome::Delivered { id: None, revision: None, stored: None }
}

/// Gives the outcomes of a batch as they came, unless a bug is planted here.
fn mixed_up(mut outcomes: Vec<Outcome>) -> Vec<Outcome> {
    let is_through = |outcome: &Outcome| matches!(outcome, Outcome::Delivered { .. });
    if planted(Bug::OutcomesMixedUp) {
        outcomes.reverse();
    }
    if planted(Bug::BatchIsThrough) && outcomes.iter().any(is_through) {
        outcomes.iter_mut().filter(|outcome| !is_through(outcome)).for_each(|outcome| *outcome = through());
    }
    outcomes
}
