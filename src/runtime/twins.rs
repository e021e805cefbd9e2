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

/// Leaves out records of a page whose key belongs to another one, by its id, that still stands. One that
/// came to stand under the key of a deleted record is no twin: only a look-up of that id tells.
pub async fn part(
    ctx: &Arc<LinkContext>,
    side: Side,
    mut facts: Vec<(Key, Fact)>,
) -> Result<Vec<(Key, Fact)>, Fault> {
    let (places, wanted) = claimed(ctx, side, &facts).await?;
    if wanted.is_empty() {
        return Ok(facts);
    }
    let standing = standing(ctx, side, &wanted).await?;
    for (place, _) in places.into_iter().zip(standing).filter(|(_, stands)| *stands) {
        if let Some(fact) = facts.get_mut(place) {
            *fact = left_out(&fact.0);
        }
    }
    Ok(facts)
}

/// Finds the facts that claim another one's key: their places, and who has it.
async fn claimed(
    ctx: &LinkContext,
    side: Side,
    facts: &[(Key, Fact)],
) -> Result<(Vec<usize>, Vec<Wanted>), Fault> {
    let named: Vec<(usize, &Key, &RemoteId)> = facts
        .iter()
        .enumerate()
        .filter_map(|(place, (key, fact))| Some((place, key, seen_id(fact)?)))
        .collect();
    if named.is_empty() {
        return Ok(Default::default());
    }
    let ids = named.iter().map(|(_, _, id)| (*id).clone()).collect();
    let known = ctx.store.keys_by_id(ctx.id, side, ids).await.map_err(storage)?;
    let strange: Vec<_> =
        named.into_iter().zip(known).filter(|((_, key, _), known)| known.as_ref() != Some(key)).collect();
    let keys: Vec<Key> = strange.iter().map(|((_, key, _), _)| (*key).clone()).collect();
    let pairs = ctx.store.known(ctx.id, keys).await.map_err(storage)?;
    let mut owners: HashMap<&Key, RemoteId> = HashMap::new();
    let (mut places, mut wanted) = (Vec::new(), Vec::new());
    for (((place, key, id), _), pair) in strange.into_iter().zip(pairs) {
        let known = pair.as_ref().map(|pair| pair.side(side)).filter(|known| known.now().is_some());
        let owner = owners.get(key).cloned().or_else(|| known.and_then(|known| known.id.clone()));
        match owner.filter(|owner| owner != id) {
            Some(owner) => {
                places.push(place);
                wanted.push(Wanted { key: key.clone(), id: Some(owner) });
            }
            None => {
                owners.insert(key, id.clone());
            }
        }
    }
    Ok((places, wanted))
}

fn seen_id(fact: &Fact) -> Option<&RemoteId> {
    match fact {
        Fact::Seen(projected) => projected.meta.id.as_ref(),
        _ => None,
    }
}

/// Tells which of the records stand under their id and key.
async fn standing(ctx: &Arc<LinkContext>, side: Side, wanted: &[Wanted]) -> Result<Vec<bool>, Fault> {
    let found = look::up(ctx, side, wanted, &ctx.call(Class::Backfill)).await?;
    let mut projector = Projector::new(&ctx.rules, side);
    let standing = wanted.iter().zip(found).map(|(wanted, found)| {
        found
            .and_then(|record| projector.project(record).ok())
            .is_some_and(|found| found.key == wanted.key && found.meta.id == wanted.id)
    });
    Ok(standing.collect())
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
