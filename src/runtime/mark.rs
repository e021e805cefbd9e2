//! The high-water mark of a queue: who fills it waits until it has drained.
//!
//! Invariant: a direction holds no more jobs than its mark and the pages of a pass that are under way together
//! (three of a scan, five where the other end is a local one, else one); what is not read yet is still at its source, and
//! nothing is lost by waiting.

use std::time::Duration;

use super::link::{LinkContext, along};
use super::page::storage;
use crate::engine::fault::Fault;
use crate::engine::record::Direction;
use crate::store::{Depth, LinkId, Store, StoreError};

/// How often a full queue is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Reading goes on when this part of the mark is free again, as a divisor: 10 %.
const FREE: u64 = 10;

/// Tells whether a direction holds as many jobs as it may.
pub async fn is_reached(
    store: &dyn Store,
    (customer, link): (&str, &str),
    id: LinkId,
    direction: Direction,
    mark: u64,
) -> Result<bool, StoreError> {
    // Both directions together are known without counting.
    if store.link(customer, link).await?.counters.active() < mark {
        return Ok(false);
    }
    Ok(waiting(along(&store.depth(id).await?, direction)) >= mark)
}

/// Waits while the direction is full.
pub(super) async fn wait(ctx: &LinkContext, direction: Direction) -> Result<(), Fault> {
    let mark = ctx.queue_max;
    if !is_reached(ctx.store.as_ref(), (&ctx.customer, &ctx.name), ctx.id, direction, mark)
        .await
        .map_err(storage)?
    {
        return Ok(());
    }
    let text = format!("the queue {} holds {mark} jobs, as many as `queue_max` lets it", direction.as_str());
    tracing::warn!(event = "queue.full", customer = %ctx.customer, link = %ctx.name,
        direction = direction.as_str(), "{text}; reading waits");
    ctx.trouble_reading(direction.from(), Some(format!("{text}; reading waits")));
    let low = mark - mark / FREE;
    loop {
        tokio::select! {
            biased;
            () = ctx.stop.cancelled() => return Err(Fault::stopping()),
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
        if waiting(along(&ctx.store.depth(ctx.id).await.map_err(storage)?, direction)) <= low {
            ctx.trouble_reading(direction.from(), None);
            tracing::info!(event = "queue.drained", customer = %ctx.customer, link = %ctx.name,
                direction = direction.as_str(), "reading goes on");
            return Ok(());
        }
    }
}

/// Counts the jobs that will go out by themselves.
fn waiting(depth: &Depth) -> u64 {
    depth.pending + depth.leased + depth.retrying + depth.waiting
}
