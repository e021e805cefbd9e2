//! A guard that freezes one direction on implausible data, until a person approves it.

use std::sync::atomic::Ordering;

use super::link::{LinkContext, along, at};
use super::page::storage;
use crate::engine::fault::Fault;
use crate::engine::record::{Direction, Side};

/// Freezes the direction that starts at this side, and says why.
pub async fn blow(ctx: &LinkContext, side: Side, reason: String) -> Result<(), Fault> {
    let direction = side.outward();
    let mut state = ctx.store.link(&ctx.customer, &ctx.name).await.map_err(storage)?;
    if along(&state.frozen, direction).as_ref() == Some(&reason) {
        return Ok(());
    }
    tracing::error!(event = "fuse.blown", customer = %ctx.customer, link = %ctx.name,
        direction = direction.as_str(), error = %reason, "the direction is frozen");
    set(&mut state.frozen, direction, Some(reason));
    ctx.store.put_link(&state).await.map_err(storage)
}

/// Takes note that a sweep of this side was plausible again, or was approved.
pub async fn whole(ctx: &LinkContext, side: Side) -> Result<(), Fault> {
    let direction = side.outward();
    let approved = at(&ctx.approved, side).swap(false, Ordering::Relaxed);
    let mut state = ctx.store.link(&ctx.customer, &ctx.name).await.map_err(storage)?;
    if along(&state.frozen, direction).is_none() {
        return Ok(());
    }
    tracing::info!(event = "fuse.mended", customer = %ctx.customer, link = %ctx.name,
        direction = direction.as_str(), approved, "the direction runs again");
    set(&mut state.frozen, direction, None);
    ctx.store.put_link(&state).await.map_err(storage)
}

fn set(frozen: &mut [Option<String>; 2], direction: Direction, reason: Option<String>) {
    let [a_to_b, b_to_a] = frozen;
    match direction {
        Direction::AToB => *a_to_b = reason,
        Direction::BToA => *b_to_a = reason,
    }
}
