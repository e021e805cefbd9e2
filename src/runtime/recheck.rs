//! Facts that were read before something newer became known of their records.
//!
//! A page is on its way for a while. What we wrote meanwhile, or deleted, it shows as it was before;
//! taken at its word it would look like an edit that takes ours back.
//!
//! Invariant: such a fact is never taken in; the record is looked up as it is now.

use std::collections::HashMap;

use super::link::LinkContext;
use super::look;
use super::page::Fact;
use super::reading::unless_stopped;
use crate::connectors::{Class, Wanted};
use crate::engine::fault::Fault;
use crate::engine::plan::Projector;
use crate::engine::record::{Key, Side, Timestamp};
use crate::planted::{Bug, planted};
use crate::store::Known;

/// Looks up what can't be believed; gives new facts by their places in the page.
pub async fn renew(
    ctx: &LinkContext,
    side: Side,
    facts: &[(Key, Fact)],
    known: &[Known],
    read_at: Timestamp,
) -> Result<HashMap<usize, Fact>, Fault> {
    let wanted = |at: usize| {
        let ((key, _), known) = facts.get(at).zip(known.get(at))?;
        let id = known.pair().and_then(|pair| pair.side(side).id.clone());
        Some((at, Wanted { key: key.clone(), id }))
    };
    let doubtful: Vec<(usize, Wanted)> =
        doubtful(ctx, side, facts, known, read_at).filter_map(wanted).collect();
    let mut renewed = HashMap::with_capacity(doubtful.len());
    if doubtful.is_empty() {
        return Ok(renewed);
    }
    let (places, wanted): (Vec<usize>, Vec<Wanted>) = doubtful.into_iter().unzip();
    let found = unless_stopped(ctx, look::up(ctx, side, &wanted, &ctx.call(Class::Live))).await?;
    let mut projector = Projector::new(&ctx.rules, side);
    for ((at, wanted), found) in places.into_iter().zip(wanted).zip(found) {
        let fact = match found.map(|record| projector.project(record)) {
            Some(Ok(projected)) if projected.key == wanted.key => Fact::Seen(projected),
            Some(_) | None => Fact::Gone(None, None),
        };
        renewed.insert(at, fact);
    }
    Ok(renewed)
}

/// Gives the places of the facts that can't be believed.
pub fn doubtful(
    ctx: &LinkContext,
    side: Side,
    facts: &[(Key, Fact)],
    known: &[Known],
    read_at: Timestamp,
) -> impl Iterator<Item = usize> {
    let both = facts.iter().zip(known).enumerate();
    both.filter(move |(_, ((key, fact), known))| is_doubtful(ctx, side, key, fact, known, read_at))
        .map(|(at, _)| at)
}

/// The page says something else than we know, and we learnt what we know after it was read.
fn is_doubtful(
    ctx: &LinkContext,
    side: Side,
    key: &Key,
    fact: &Fact,
    known: &Known,
    read_at: Timestamp,
) -> bool {
    // Made anew since it was forgotten, a pair knows nothing yet of what was deleted there.
    let was_forgotten =
        || ctx.forgotten_at(key).is_some_and(|at| at >= read_at) && !planted(Bug::ForgottenForgotten);
    let newer = match known {
        Known::Same => false,
        Known::Pair(pair) => pair.side(side).seen_at >= read_at || was_forgotten(),
        Known::Nothing => was_forgotten(),
    };
    let now = known.pair().and_then(|pair| pair.side(side).now());
    newer
        && !planted(Bug::StaleReadBelieved)
        && match fact {
            Fact::Seen(projected) => now != Some(&projected.image),
            Fact::Gone(..) => now.is_some(),
            Fact::Replan | Fact::Plan | Fact::Pick(_) | Fact::Malformed(_) => false,
        }
}
