//! What one complete scan has shown, and what it has not.
//!
//! Invariant: a record counts as missing only where a scan proved that it reached the end, the pair
//! was not touched since that scan began, and a look-up of its own confirms it.

use std::collections::HashSet;

use super::link::{LinkContext, at, lock};
use super::look;
use super::page::{Fact, storage};
use super::shown::{Shown, Span};
use crate::connectors::{Class, Wanted};
use crate::engine::fault::Fault;
use crate::engine::plan::{Pair, Projector};
use crate::engine::record::{Key, Presence, Side};
use crate::planted::{Bug, planted};

const WALK: usize = 1000;
/// In more spans than that nobody looks up key by key what is gone: to read once more costs less.
const SPANS_MAX: usize = 16;

/// Finds the pairs that a complete scan of `side`, begun as number `epoch`, has not shown; `None` where the scan does not
/// remember enough for that.
pub async fn missing(
    ctx: &LinkContext,
    side: Side,
    mut shown: Shown,
    epoch: u32,
) -> Result<Option<Vec<Wanted>>, Fault> {
    let present = *lock(at(&ctx.presence, side));
    if present == shown.presence {
        return Ok(Some(Vec::new()));
    }
    if let Some(spans) = shown.spans() {
        if planted(Bug::SpansUnlooked) {
            return Ok(Some(Vec::new()));
        }
        let Some(keys) = unsure(ctx, side, spans, epoch).await? else { return Ok(None) };
        let gone: HashSet<Key> =
            confirm(ctx, side, keys.clone()).await?.into_iter().map(|(key, _)| key).collect();
        return Ok(Some(keys.into_iter().filter(|wanted| gone.contains(&wanted.key)).collect()));
    }
    let mut keys = Vec::new();
    let mut after = None;
    loop {
        let pairs = ctx.store.walk(ctx.id, after, WALK).await.map_err(storage)?;
        let full = pairs.len() == WALK;
        after = pairs.last().map(|pair| pair.key.clone());
        let gone = pairs.into_iter().filter(|pair| may_be_gone(pair, side, epoch) && !shown.has(&pair.key));
        keys.extend(gone.map(|pair| wanted(pair, side)));
        if !full {
            return Ok(Some(keys));
        }
    }
}

/// Finds the pairs of the spans that add up to something else than what is known, and of what lies behind the last one;
/// `None` where these are too many spans.
async fn unsure(
    ctx: &LinkContext,
    side: Side,
    spans: &[Span],
    epoch: u32,
) -> Result<Option<Vec<Wanted>>, Fault> {
    let (mut unsure, mut doubtful) = (Vec::new(), 0);
    let mut spans = spans.iter();
    let mut span = spans.next();
    let (mut known, mut keys) = (Presence::default(), Vec::new());
    let mut after = None;
    loop {
        let pairs = ctx.store.walk(ctx.id, after, WALK).await.map_err(storage)?;
        let full = pairs.len() == WALK;
        after = pairs.last().map(|pair| pair.key.clone());
        for pair in pairs {
            while let Some(over) = span.filter(|span| pair.key > span.last) {
                let (known, keys) = (std::mem::take(&mut known), std::mem::take(&mut keys));
                if known != over.presence {
                    doubtful += 1;
                    unsure.extend(keys);
                }
                span = spans.next();
            }
            known.shift(false, pair.side(side).now().is_some(), &pair.key);
            if may_be_gone(&pair, side, epoch) {
                keys.push(wanted(pair, side));
            }
        }
        if doubtful > SPANS_MAX || keys.len() > SPANS_MAX * WALK {
            return Ok(None);
        }
        if !full {
            if span.is_none_or(|span| span.presence != known) {
                unsure.extend(keys);
            }
            return Ok(Some(unsure));
        }
    }
}

fn may_be_gone(pair: &Pair, side: Side, epoch: u32) -> bool {
    let state = pair.side(side);
    state.now().is_some() && state.epoch < epoch
}

fn wanted(pair: Pair, side: Side) -> Wanted {
    Wanted { id: pair.side(side).id.clone(), key: pair.key }
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
