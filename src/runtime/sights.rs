//! What the changes of a page say: facts under their keys.
//!
//! Invariant: nothing that a source showed is dropped here; what can't be named is kept under a name made
//! from its content, and what is named by an id is found by it.

use super::page::{Fact, storage};
use super::poller::Poller;
use super::shown::Shown;
use super::twins;
use crate::connectors::Deletes;
use crate::engine::fault::{Fault, FaultCode};
use crate::engine::record::{Change, Key, Malformed, RemoteId, Timestamp, Tombstone};

impl Poller {
    /// Turns changes into facts under their keys; tells whether any of these were shown before.
    pub(super) async fn facts(
        &mut self,
        changes: Vec<Change>,
        mut shown: Option<&mut Shown>,
    ) -> Result<(Vec<(Key, Fact)>, bool), Fault> {
        let mut facts = Vec::with_capacity(changes.len());
        let mut is_again = false;
        let deletes = self.ctx.end(self.side).features.deletes;
        let reported = deletes == Deletes::Reported;
        let mut by_id = Vec::new();
        for change in changes {
            match change {
                Change::Upsert(record) => match self.projector.project(record) {
                    Ok(projected) => {
                        if let Some(id) = projected.meta.id.as_ref().filter(|_| reported) {
                            by_id.push((facts.len(), id.clone(), None));
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
                Change::Delete(Tombstone { id: Some(id), at, .. }) => by_id.push((facts.len(), id, at)),
                Change::Delete(_) => {}
                Change::Malformed(malformed) => match &malformed.key {
                    Some(key) => {
                        if let Some(shown) = shown.as_mut() {
                            shown.note(key);
                        }
                        facts.push((key.clone(), Fact::Malformed(malformed)));
                    }
                    None => facts.push(nameless(malformed)?),
                },
            }
        }
        let facts = twins::part(&self.ctx, self.side, facts).await?;
        if by_id.is_empty() {
            return Ok((facts, is_again));
        }
        let ids = by_id.iter().map(|(_, id, _)| id.clone()).collect();
        let keys = self.ctx.store.keys_by_id(self.ctx.id, self.side, ids).await.map_err(storage)?;
        Ok((with_gone(facts, by_id.into_iter().zip(keys)), is_again))
    }
}

/// Puts what is gone by its id in its place among the facts of a page: deleted, or shown there under
/// another key than it had. A deletion of what we never knew is no news.
fn with_gone(
    facts: Vec<(Key, Fact)>,
    by_id: impl Iterator<Item = ((usize, RemoteId, Option<Timestamp>), Option<Key>)>,
) -> Vec<(Key, Fact)> {
    let mut all = Vec::with_capacity(facts.len());
    let mut facts = facts.into_iter().enumerate().peekable();
    for ((place, id, at), key) in by_id {
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
