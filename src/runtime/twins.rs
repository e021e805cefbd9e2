//! Records of one stream that claim the same key.
//!
//! Invariant: they are never taken for one: whoever came second is left out and said to be so, as long
//! as the first one stands.

use std::collections::HashMap;
use std::sync::Arc;

use super::link::LinkContext;
use super::look;
use super::page::{Fact, storage};
use crate::connectors::{Class, Wanted};
use crate::engine::fault::Fault;
use crate::engine::plan::Projector;
use crate::engine::record::{Key, Malformed, RemoteId, Side};

/// A record that claims a key, by its place in the page, and the record that has the key.
struct Claim {
    place: usize,
    by: Wanted,
    owner: Wanted,
}

/// Leaves out records of a page whose key belongs to another one, by its id, that still stands. One that
/// came to stand under the key of a deleted record is no twin: only a look-up of that id tells. And where
/// the claimant is gone itself, the page was read before that: under that id it is gone.
pub async fn part(
    ctx: &Arc<LinkContext>,
    side: Side,
    mut facts: Vec<(Key, Fact)>,
) -> Result<Vec<(Key, Fact)>, Fault> {
    let claims = claimed(ctx, side, &facts).await?;
    let claims = standing(ctx, side, claims, |claim| claim.owner.clone()).await?;
    let disputed = claims.into_iter().filter_map(|(claim, stands)| stands.then_some(claim)).collect();
    let claims = standing(ctx, side, disputed, |claim| claim.by.clone()).await?;
    for (claim, stands) in claims {
        let Some(fact) = facts.get_mut(claim.place) else { continue };
        *fact = match stands {
            true => left_out(&fact.0),
            false => (fact.0.clone(), Fact::Gone(None, claim.by.id)),
        };
    }
    Ok(facts)
}

/// Finds the facts that claim another one's key, in order.
async fn claimed(ctx: &LinkContext, side: Side, facts: &[(Key, Fact)]) -> Result<Vec<Claim>, Fault> {
    let named: Vec<(usize, &Key, &RemoteId)> = facts
        .iter()
        .enumerate()
        .filter_map(|(place, (key, fact))| Some((place, key, seen_id(fact)?)))
        .collect();
    if named.is_empty() {
        return Ok(Vec::new());
    }
    let ids = named.iter().map(|(_, _, id)| (*id).clone()).collect();
    let known = ctx.store.keys_by_id(ctx.id, side, ids).await.map_err(storage)?;
    let strange: Vec<_> =
        named.into_iter().zip(known).filter(|((_, key, _), known)| known.as_ref() != Some(key)).collect();
    let keys: Vec<Key> = strange.iter().map(|((_, key, _), _)| (*key).clone()).collect();
    let pairs = ctx.store.known(ctx.id, keys).await.map_err(storage)?;
    let mut owners: HashMap<&Key, RemoteId> = HashMap::new();
    let mut claims = Vec::new();
    for (((place, key, id), _), pair) in strange.into_iter().zip(pairs) {
        let known = pair.as_ref().map(|pair| pair.side(side)).filter(|known| known.now().is_some());
        let owner = owners.get(key).cloned().or_else(|| known.and_then(|known| known.id.clone()));
        match owner.filter(|owner| owner != id) {
            Some(owner) => {
                let named = |id: RemoteId| Wanted { key: key.clone(), id: Some(id) };
                claims.push(Claim { place, by: named(id.clone()), owner: named(owner) });
            }
            None => {
                owners.insert(key, id.clone());
            }
        }
    }
    Ok(claims)
}

fn seen_id(fact: &Fact) -> Option<&RemoteId> {
    match fact {
        Fact::Seen(projected) => projected.meta.id.as_ref(),
        _ => None,
    }
}

/// Tells of each claim whether a record of it stands under its id and key.
async fn standing(
    ctx: &Arc<LinkContext>,
    side: Side,
    claims: Vec<Claim>,
    which: impl Fn(&Claim) -> Wanted,
) -> Result<Vec<(Claim, bool)>, Fault> {
    if claims.is_empty() {
        return Ok(Vec::new());
    }
    let wanted: Vec<Wanted> = claims.iter().map(which).collect();
    let found = look::up(ctx, side, &wanted, &ctx.call(Class::Backfill)).await?;
    let mut projector = Projector::new(&ctx.rules, side);
    let standing = wanted.iter().zip(found).map(|(wanted, found)| {
        found
            .and_then(|record| projector.project(record).ok())
            .is_some_and(|found| found.key == wanted.key && found.meta.id == wanted.id)
    });
    Ok(claims.into_iter().zip(standing.collect::<Vec<bool>>()).collect())
}

/// What is said of a record that is left out: a dead letter of its own.
pub fn left_out(key: &Key) -> (Key, Fact) {
    let reason =
        format!("two records of the stream have the key {key}; make keys unique, this one is left out");
    let malformed = Malformed { key: None, raw: String::new(), reason };
    // A key that is too long for an addition is a dead letter itself.
    let own = Key::from_text(&format!("#duplicate-{key}")).unwrap_or_else(|_| key.clone());
    (own, Fact::Malformed(malformed))
}
