//! First contact: both sides are matched by key before anything is written.
//!
//! One side is read to its end and only noted; then the other is read, planned and delivered page
//! by page; then whatever only the first side has is planned. The same pass runs again after a change
//! of the rules that brings new fields in.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::filling::{Filling, Rest};
use super::inline;
use super::link::{End, LinkContext, Phase, at, lock};
use super::meter;
use super::page::{self, Fact, Facts, Mode, Tally, storage};
use super::poller::Poller;
use super::presence::measure;
use super::straight;
use super::walk::Walk;
use crate::connectors::Load;
use crate::engine::fault::Fault;
use crate::engine::plan::{Pair, Seen, Status};
use crate::engine::record::{Direction, Key, Side};
use crate::planted::{Bug, planted};
use crate::store::{LinkId, LinkWord, Store};

/// Which side is only noted first: the one that is written to, so that the reading of the other can
/// deliver at once.
fn noted_first(ctx: &LinkContext) -> Side {
    if ctx.rules.way(Direction::AToB).is_some() { Side::B } else { Side::A }
}

/// Matches both sides. Safe to run again at any time: what agrees is left alone.
pub async fn matching(
    ctx: &Arc<LinkContext>,
    pollers: &mut [Poller; 2],
    changed: bool,
) -> Result<Tally, Fault> {
    ctx.enter(Phase::Matching);
    if ctx.unsure.load(Ordering::Relaxed) {
        let _quiet = inline::quiet_both(ctx).await;
        take_stock(ctx).await?;
    }
    Side::BOTH.iter().for_each(|&side| ctx.begin_run(side));
    // Until this is through, no field counts as read: what was deleted before a read began anew shows at
    // its end only, so that one which is cut short has to be repeated whatever rules come next.
    ctx.store.remove(FIELDS_SPACE, &fields_key(ctx)).await.map_err(storage)?;
    for cursor in &ctx.cursors {
        *lock(cursor) = None;
    }
    let first = noted_first(ctx);
    let [a, b] = pollers;
    let (first_poller, second_poller) = match first {
        Side::A => (a, b),
        Side::B => (b, a),
    };
    let was_empty = ctx.presence.iter().all(|presence| lock(presence).count == 0);
    let mut total = first_poller.pass(Mode::Note).await?;
    let direction = first.other().outward();
    let is_empty = || lock(at(&ctx.presence, first)).count == 0;
    let mut opened = None;
    if is_empty() && ctx.end(first).features.loads && ctx.rules.way(direction).is_some() {
        opened = Some(ctx.end(first).destination.open_load(ctx.rules.shape(first)).await?);
        // A load begins with what stands there as it is opened: that has to be known, and not what stood before.
        *lock(at(&ctx.cursors, first)) = None;
        if !planted(Bug::LoadsUnread) {
            total.add(first_poller.pass(Mode::Note).await?);
        }
    }
    let noted = total.changed > 0;
    total.add(match opened.filter(|_| is_empty()) {
        Some(opened) => load(ctx, direction, opened, second_poller).await?,
        None => second_poller.pass(Mode::Plan).await?,
    });
    // A first fill leaves nothing unplanned.
    if noted || !was_empty {
        total.add(walk(ctx, changed).await?);
    }
    done(ctx).await?;
    Ok(total)
}

/// Fills an empty destination in one go: staged page by page, published once.
async fn load(
    ctx: &Arc<LinkContext>,
    direction: Direction,
    load: Box<dyn Load>,
    poller: &mut Poller,
) -> Result<Tally, Fault> {
    let quiet = inline::quiet_both(ctx).await;
    let id = ctx.store.begin_load(ctx.id, direction, load.mark()).await.map_err(storage)?;
    let filled = fill(ctx, poller, Filling::new(direction, id, load, ctx.sizes.scan_keys)).await;
    let (mut tally, rest) = match filled {
        Ok(filled) => filled,
        Err(fault) => {
            // What was staged may never have come to be; should that not be found out now, it is asked again.
            ctx.unsure.store(true, Ordering::Relaxed);
            take_stock(ctx).await?;
            return Err(fault);
        }
    };
    drop(quiet);
    meter::records(ctx, direction, Status::Synced, tally.delivered);
    tally.add(poller.after_load(rest).await?);
    Ok(tally)
}

/// Reads the source through, and makes what is staged of it count.
async fn fill(ctx: &LinkContext, poller: &mut Poller, filling: Filling) -> Result<(Tally, Rest), Fault> {
    let id = filling.id;
    let tally = poller.pass(Mode::Load(&filling)).await?;
    let rest = filling.finish().await?;
    ctx.store.end_load(id).await.map_err(storage)?;
    Ok((tally, rest))
}

/// Ends the loads that have become visible although the word for it was never stored: of their records both sides
/// are known. Gives whether there were any.
pub async fn end_published(store: &dyn Store, link: LinkId, ends: &[End; 2]) -> Result<bool, Fault> {
    let mut any = false;
    for load in store.loads(link).await.map_err(storage)? {
        let destination = &at(ends, load.direction.to()).destination;
        let Some(mark) = load.mark.filter(|_| !planted(Bug::LoadsUnmarked)) else { continue };
        if destination.holds_load(&mark).await? {
            store.end_load(load.id).await.map_err(storage)?;
            any = true;
        }
    }
    Ok(any)
}

/// Finds out what became of loads, and counts what is there. Nothing may be on its way meanwhile: whoever has read
/// a pair as void must not store it under a load that has ended.
async fn take_stock(ctx: &LinkContext) -> Result<(), Fault> {
    end_published(ctx.store.as_ref(), ctx.id, &ctx.ends).await?;
    let sums = measure(ctx.store.as_ref(), ctx.id).await.map_err(storage)?;
    for (side, presence) in Side::BOTH.into_iter().zip(sums.presence) {
        *lock(at(&ctx.presence, side)) = presence;
    }
    Ok(())
}

/// Plans all pairs anew from what is known of them; `changed` says that the rules mean something
/// else than when they were planned.
pub async fn walk(ctx: &LinkContext, changed: bool) -> Result<Tally, Fault> {
    let mut total = Tally::default();
    if planted(Bug::RulesNotReplanned) {
        return Ok(total);
    }
    let mut walk = Walk::default();
    while !walk.is_over() {
        if ctx.stop.is_cancelled() {
            return Err(Fault::stopping());
        }
        let pairs = walk.next(ctx).await?;
        let fact = if changed { Fact::Replan } else { Fact::Plan };
        let facts: Vec<(Key, Fact)> = pairs
            .into_iter()
            .filter(|pair| changed || pair.rules_version == 0 || unsettled(pair))
            .map(|pair| (pair.key, fact.clone()))
            .collect();
        let facts = Facts {
            straight: walk.is_over() || !straight::gathers(ctx),
            ..Facts::of(Side::A, facts, ctx.now())
        };
        total.add(page::take(ctx, facts, Mode::Plan).await?);
    }
    Ok(total)
}

/// Something of the pair was noted that nobody has planned yet, or that is still to be delivered.
fn unsettled(pair: &Pair) -> bool {
    [&pair.a, &pair.b].iter().any(|side| matches!(side.seen, Seen::Changed(_) | Seen::Deleted(_)))
}

/// A fingerprint that no rules have.
const OF_NO_RULES: u128 = 0;

/// Remembers under which rules the first pairs are about to be planned: should others come before all are, those
/// have to look at them again.
pub async fn begin_first(ctx: &LinkContext) -> Result<(), Fault> {
    let words = vec![LinkWord::PlannedUnder(ctx.rules.fingerprint)];
    ctx.store.tell_link(ctx.id, words).await.map_err(storage)
}

/// Remembers that pairs are about to be planned anew: should that be cut short, those that are done
/// and those that are not differ, and whatever rules come next have to look at all of them. A field that
/// these rules don't know is forgotten pair by pair: it does not count as read from now on.
pub async fn begin(ctx: &LinkContext) -> Result<(), Fault> {
    if planted(Bug::ReplanUnmarked) {
        return Ok(());
    }
    let read = fields_read(ctx).await?;
    let kept = Side::BOTH.map(|side| {
        let known = names(ctx, side).into_iter().filter(|name| at(&read, side).contains(name));
        known.collect::<Vec<String>>()
    });
    put_fields(ctx, &kept).await?;
    ctx.store.tell_link(ctx.id, vec![LinkWord::PlannedUnder(OF_NO_RULES)]).await.map_err(storage)
}

/// Remembers that all pairs are planned under these rules, and which fields they have seen.
pub async fn done(ctx: &LinkContext) -> Result<(), Fault> {
    // The fields first: a crash in between must not leave more of them named than were read.
    put_fields(ctx, &Side::BOTH.map(|side| names(ctx, side))).await?;
    let words = vec![LinkWord::Matched, LinkWord::PlannedUnder(ctx.rules.fingerprint)];
    ctx.store.tell_link(ctx.id, words).await.map_err(storage)
}

/// Tells whether every field that the rules know has been read on both sides already.
pub async fn covers(ctx: &LinkContext) -> Result<bool, Fault> {
    let read = fields_read(ctx).await?;
    Ok(Side::BOTH.iter().all(|&side| names(ctx, side).iter().all(|name| at(&read, side).contains(name))))
}

/// Gives the fields that were read of every pair, by side.
async fn fields_read(ctx: &LinkContext) -> Result<[Vec<String>; 2], Fault> {
    let stored = ctx.store.get(FIELDS_SPACE, &fields_key(ctx), ctx.now()).await.map_err(storage)?;
    let read: serde_json::Value =
        stored.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
    Ok(Side::BOTH.map(|side| {
        let known = read.get(side.as_str()).and_then(serde_json::Value::as_array).into_iter().flatten();
        known.filter_map(|name| name.as_str().map(str::to_owned)).collect()
    }))
}

async fn put_fields(ctx: &LinkContext, [a, b]: &[Vec<String>; 2]) -> Result<(), Fault> {
    let fields = serde_json::json!({ "a": a, "b": b }).to_string();
    ctx.store.put(FIELDS_SPACE, &fields_key(ctx), &fields, None).await.map_err(storage)
}

const FIELDS_SPACE: &str = "fields";

fn fields_key(ctx: &LinkContext) -> String {
    ctx.id.0.to_string()
}

fn names(ctx: &LinkContext, side: Side) -> Vec<String> {
    ctx.rules.shape(side).names().map(str::to_owned).collect()
}
