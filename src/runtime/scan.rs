//! What one complete scan has shown, and what it has not.
//!
//! Invariant: a record counts as missing only where a scan proved that it reached the end, the pair
//! was not touched since that scan began, and a look-up of its own confirms it.

use super::link::{LinkContext, at, lock};
use super::look;
use super::page::{Fact, storage};
use super::shown::Shown;
use crate::connectors::{Class, Wanted};
use crate::engine::fault::Fault;
use crate::engine::plan::Projector;
use crate::engine::record::{Key, Side};
use crate::planted::{Bug, planted};

const WALK: usize = 1000;

/// Finds the pairs that a complete scan of `side`, begun as number `epoch`, has not shown.
pub async fn missing(
    ctx: &LinkContext,
    side: Side,
    mut shown: Shown,
    epoch: u32,
) -> Result<Vec<Wanted>, Fault> {
    let present = *lock(at(&ctx.presence, side));
    if present == shown.presence {
        return Ok(Vec::new());
    }
    let mut keys = Vec::new();
    let mut after = None;
    loop {
        let pairs = ctx.store.walk(ctx.id, after, WALK).await.map_err(storage)?;
        let full = pairs.len() == WALK;
        after = pairs.last().map(|pair| pair.key.clone());
        let gone = pairs.into_iter().filter(|pair| {
            let state = pair.side(side);
            state.now().is_some() && state.epoch < epoch && !shown.has(&pair.key)
        });
        keys.extend(gone.map(|pair| Wanted { id: pair.side(side).id.clone(), key: pair.key }));
        if !full {
            return Ok(keys);
        }
    }
}

/// Looks each missing record up by itself: a scan that was short by mistake deletes nothing.
pub async fn confirm(ctx: &LinkContext, side: Side, keys: Vec<Wanted>) -> Result<Vec<(Key, Fact)>, Fault> {
    let mut projector = Projector::new(&ctx.rules, side);
    if planted(Bug::DeletesUnlooked) {
        return Ok(keys.into_iter().map(|wanted| (wanted.key, Fact::Gone(None, None))).collect());
    }
    let mut gone = Vec::with_capacity(keys.len());
    for chunk in keys.chunks(look::CHUNK_MAX) {
        let found = look::up(ctx, side, chunk, &ctx.call(Class::Backfill)).await?;
        for (wanted, found) in chunk.iter().zip(found) {
            // Found by its id under another key, it is another record now.
            let is_there = found
                .is_some_and(|record| projector.project(record).is_ok_and(|found| found.key == wanted.key));
            if !is_there {
                gone.push((wanted.key.clone(), Fact::Gone(None, None)));
            }
        }
    }
    Ok(gone)
}
