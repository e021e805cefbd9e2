//! What the changes of a page say: facts under their keys.
//!
//! Invariant: nothing that a source showed is dropped here; what can't be named is kept under a name made
//! from its content, and what is named by an id is found by it.

use std::sync::Arc;

use super::facts::OfId;
use super::link::LinkContext;
use super::page::{Fact, Facts, storage};
use super::poller::Poller;
use super::shown::Shown;
use super::twins;
use crate::connectors::Deletes;
use crate::engine::fault::{Fault, FaultCode};
use crate::engine::plan::Projector;
use crate::engine::record::{Change, Key, Malformed, Side, Tombstone};

/// What the changes of a page say, some of it still by id.
pub(super) struct Sights {
    pub list: Vec<(Key, Fact)>,
    pub ids: Vec<OfId>,
    /// A key comes twice, or was shown before.
    pub is_again: bool,
}

impl Poller {
    /// Turns changes into facts.
    pub(super) async fn facts(
        &mut self,
        changes: Vec<Change>,
        shown: Option<&mut Shown>,
    ) -> Result<Sights, Fault> {
        let deletes = self.ctx.end(self.side).features.deletes;
        let sights = Sights::of(changes, deletes, &mut self.projector, shown)?;
        parted(&self.ctx, self.side, sights).await
    }
}

/// Leaves out whose key belongs to another record, as far as the pages before are taken in.
pub(super) async fn parted(ctx: &Arc<LinkContext>, side: Side, sights: Sights) -> Result<Sights, Fault> {
    let list = twins::part(ctx, side, sights.list).await?;
    Ok(Sights { list, ..sights })
}

impl Sights {
    /// Says what changes say, each by itself.
    pub(super) fn of(
        changes: Vec<Change>,
        deletes: Deletes,
        projector: &mut Projector,
        mut shown: Option<&mut Shown>,
    ) -> Result<Self, Fault> {
        let mut facts = Vec::with_capacity(changes.len());
        let mut is_again = false;
        let reported = deletes == Deletes::Reported;
        let mut ids = Vec::new();
        for change in changes {
            match change {
                Change::Upsert(record) => match projector.project(record) {
                    Ok(projected) => {
                        if let Some(id) = projected.meta.id.as_ref().filter(|_| reported) {
                            ids.push(OfId { place: facts.len(), id: id.clone(), at: None });
                        }
                        let again = shown.as_mut().is_some_and(|shown| !shown.note(&projected.key));
                        is_again |= again;
                        // Read by its stamps, a stream shows a record again that changed meanwhile; one
                        // that has an id is looked up.
                        if again && deletes == Deletes::Scanned && projected.meta.id.is_none() {
                            facts.push(twins::left_out(&projected.key));
                        } else {
                            facts.push((projected.key.clone(), Fact::Seen(projected)));
                        }
                    }
                    Err(malformed) => facts.push(nameless(malformed)?),
                },
                // Under its id, so that an old tombstone that is shown again spares the record that has
                // come to stand under the key since.
                Change::Delete(Tombstone { key: Some(key), id, at }) => facts.push((key, Fact::Gone(at, id))),
                Change::Delete(Tombstone { id: Some(id), at, .. }) => {
                    ids.push(OfId { place: facts.len(), id, at });
                }
                Change::Delete(_) => {}
                Change::Malformed(malformed) => match &malformed.key {
                    Some(key) => {
                        if let Some(shown) = shown.as_mut() {
                            shown.note_odd(key);
                        }
                        facts.push((key.clone(), Fact::Malformed(malformed)));
                    }
                    None => facts.push(nameless(malformed)?),
                },
            }
        }
        Ok(Self { list: facts, ids, is_again })
    }
}

/// Finds the keys of what a page says by id. A look before a write may just have learnt of a record whose
/// deletion the page already tells: so nothing may be on its way to the page's side meanwhile.
pub(super) async fn named(ctx: &LinkContext, mut facts: Facts) -> Result<Facts, Fault> {
    if facts.ids.is_empty() {
        return Ok(facts);
    }
    let of_ids = std::mem::take(&mut facts.ids);
    let ids = of_ids.iter().map(|of| of.id.clone()).collect();
    let keys = ctx.store.keys_by_id(ctx.id, facts.side, ids).await.map_err(storage)?;
    // A page that came to nothing may have written it and not have noted it.
    let named = of_ids.into_iter().zip(keys).map(|(of, key)| {
        let key = key.or_else(|| ctx.unanswered.key_of(&of.id, facts.side.outward()));
        (of, key)
    });
    facts.list = with_gone(facts.list, named);
    Ok(facts)
}

/// Puts what is gone by its id in its place among the facts of a page: deleted, or shown there under
/// another key than it had. A deletion of what we never knew is no news.
fn with_gone(facts: Vec<(Key, Fact)>, ids: impl Iterator<Item = (OfId, Option<Key>)>) -> Vec<(Key, Fact)> {
    let mut all = Vec::with_capacity(facts.len());
    let mut facts = facts.into_iter().enumerate().peekable();
    for (OfId { place, id, at }, key) in ids {
        while let Some((_, fact)) = facts.next_if(|(at, _)| *at < place) {
            all.push(fact);
        }
        let shown = facts.peek().and_then(|(_, (key, fact))| match fact {
            Fact::Seen(projected) if projected.meta.id.as_ref() == Some(&id) => Some(key),
            _ => None,
        });
        if let Some(key) = key.filter(|key| shown != Some(key)) {
            all.push((key, Fact::Gone(at, Some(id))));
        }
    }
    all.extend(facts.map(|(_, fact)| fact));
    all
}

/// A record without an identity is kept as a dead letter under a name made from its content.
fn nameless(malformed: Malformed) -> Result<(Key, Fact), Fault> {
    let name = format!("#malformed-{:032x}", xxhash_rust::xxh3::xxh3_128(malformed.raw.as_bytes()));
    let key =
        Key::from_text(&name).map_err(|error| Fault::rejected(FaultCode::Validation, error.to_string()))?;
    Ok((key, Fact::Malformed(malformed)))
}
