//! What one complete scan has shown, and what it has not.
//!
//! Invariant: a record counts as missing only where a scan proved that it reached the end, the pair
//! was not touched since that scan began, and a look-up of its own confirms it.

use std::collections::HashSet;
use std::ops::Bound;

use super::link::{LinkContext, at, lock};
use super::look;
use super::page::Fact;
use super::shown::{Shown, Span};
use super::walk::{PIECE, Walk};
use crate::connectors::{Class, Deletes, Wanted};
use crate::engine::fault::{Fault, FaultCode};
use crate::engine::plan::{Pair, Projector};
use crate::engine::record::{Key, Presence, Side};
use crate::planted::{Bug, planted};

/// In more spans than that nobody looks up key by key what is gone: to read once more costs less.
const SPANS_MAX: usize = 16;

/// What a complete scan has not shown.
#[derive(Default)]
pub struct Missing {
    pub gone: Vec<Wanted>,
    /// What else it has not shown, but was touched since the scan began: it may have come behind it. One more than are
    /// looked up at once at most.
    pub touched: Vec<Wanted>,
}

/// Finds the pairs that a complete scan of `side`, begun as number `epoch`, has not shown; `None` where the scan does not
/// remember enough for that.
pub async fn missing(
    ctx: &LinkContext,
    side: Side,
    mut shown: Shown,
    epoch: u32,
) -> Result<Option<Missing>, Fault> {
    let present = *lock(at(&ctx.presence, side));
    if present == shown.presence {
        return Ok(Some(Missing::default()));
    }
    // No other read shows what was gone when this one came to its place: so what was written meanwhile is looked up, too.
    let is_last = ctx.end(side).features.deletes == Deletes::Reported;
    let epoch = epoch.saturating_add(u32::from(is_last));
    if shown.spans().is_some() {
        if planted(Bug::SpansUnlooked) {
            return Ok(Some(Missing::default()));
        }
        let Some(mut missing) = unsure(ctx, side, &shown, epoch).await? else { return Ok(None) };
        missing.gone = really_gone(ctx, side, missing.gone).await?;
        return Ok(Some(missing));
    }
    let mut missing = Missing::default();
    let mut walk = Walk::default();
    while !walk.is_over() {
        let pairs = walk.next(ctx).await?.into_iter();
        let unshown = pairs.filter(|pair| is_there(pair, side) && !shown.has(&pair.key));
        unshown.for_each(|pair| missing.take(pair, side, epoch));
    }
    Ok(Some(missing))
}

impl Missing {
    /// Takes in what was not shown.
    fn take(&mut self, pair: Pair, side: Side, epoch: u32) {
        let is_touched = pair.side(side).epoch >= epoch;
        let wanted = Wanted { id: pair.side(side).id.clone(), key: pair.key };
        if is_touched { self.touch([wanted]) } else { self.gone.push(wanted) }
    }

    /// Keeps no more than says that these are too many to be looked up.
    fn touch(&mut self, touched: impl IntoIterator<Item = Wanted>) {
        let room = (look::CHUNK_MAX + 1).saturating_sub(self.touched.len());
        self.touched.extend(touched.into_iter().take(room));
    }

    fn len(&self) -> usize {
        self.gone.len() + self.touched.len()
    }

    fn extend(&mut self, other: Self) {
        self.gone.extend(other.gone);
        self.touch(other.touched);
    }
}

/// Finds the pairs of the spans that add up to something else than what is known, and of what lies behind the last one;
/// `None` where these are too many to be looked up, or a look costs as much as to read all.
async fn unsure(ctx: &LinkContext, side: Side, shown: &Shown, epoch: u32) -> Result<Option<Missing>, Fault> {
    let end = ctx.end(side);
    let looks_cheaply = !end.remote && !end.features.loads;
    let (mut unsure, mut doubtful) = (Missing::default(), 0);
    let mut spans = shown.spans().unwrap_or_default().iter();
    let mut span = spans.next();
    let mut known = Known::default();
    let mut walk = Walk::default();
    while !walk.is_over() {
        for pair in walk.next(ctx).await? {
            while let Some(over) = span.filter(|span| pair.key > span.last) {
                let gone = std::mem::take(&mut known).gone(Some(over), shown);
                doubtful += usize::from(!gone.gone.is_empty());
                unsure.extend(gone);
                span = spans.next();
                known.from = Some(over.last.clone());
            }
            known.take(pair, side, epoch, shown);
        }
        let too_many = doubtful > SPANS_MAX || known.keys.len() > SPANS_MAX * PIECE;
        if too_many || (doubtful > 0 && !looks_cheaply) {
            return Ok(None);
        }
    }
    unsure.extend(known.gone(span, shown));
    Ok(Some(unsure).filter(|unsure| unsure.gone.is_empty() || looks_cheaply))
}

/// What is known of a span.
#[derive(Default)]
struct Known {
    presence: Presence,
    /// What may be gone of it: all but what can't be read.
    keys: Missing,
    /// Of it, what can't be read.
    odd: Presence,
    /// The span begins behind this key.
    from: Option<Key>,
}

impl Known {
    fn take(&mut self, pair: Pair, side: Side, epoch: u32, shown: &Shown) {
        if !is_there(&pair, side) {
            return;
        }
        self.presence.add(pair.key.hash64());
        // What stands there and can't be read is not gone.
        match shown.odd().contains(&pair.key) {
            true => self.odd.add(pair.key.hash64()),
            false => self.keys.take(pair, side, epoch),
        }
    }

    /// Gives what may be gone of a span; all of what lies behind the last one.
    fn gone(mut self, span: Option<&Span>, shown: &Shown) -> Missing {
        let Some(span) = span else { return self.keys };
        let from = self.from.map_or(Bound::Unbounded, Bound::Excluded);
        let odd = shown.odd().range((from, Bound::Included(span.last.clone())));
        // Those that are not known as records are among what was shown, and not among what is known.
        odd.for_each(|key| self.presence.add(key.hash64()));
        self.odd.merge(span.presence);
        if self.presence == self.odd { Missing::default() } else { self.keys }
    }
}

fn is_there(pair: &Pair, side: Side) -> bool {
    pair.side(side).now().is_some()
}

/// Says that a scan can't tell what is gone: a defect, where it was to remember all.
pub fn forgetful() -> Fault {
    Fault::transient(FaultCode::Protocol, "a scan that does not remember its keys can't tell what is gone")
}

/// Leaves those that a look-up of their own does not find.
pub async fn really_gone(ctx: &LinkContext, side: Side, mut keys: Vec<Wanted>) -> Result<Vec<Wanted>, Fault> {
    let gone: HashSet<Key> =
        confirm(ctx, side, keys.clone()).await?.into_iter().map(|(key, _)| key).collect();
    keys.retain(|wanted| gone.contains(&wanted.key));
    Ok(keys)
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
