//! What one complete scan has shown, and what it has not.
//!
//! Invariant: a record counts as missing only where a scan proved that it reached the end, the pair
//! was not touched since that scan began, and a look-up of its own confirms it.

use std::collections::HashSet;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::atomic::Ordering;

use super::link::{LinkContext, Presence, at, lock};
use super::page::{Fact, storage};
use crate::config::FuseConfig;
use crate::connectors::{Class, Wanted};
use crate::engine::fault::Fault;
use crate::engine::plan::Projector;
use crate::engine::record::{Key, Side};

const WALK: usize = 1000;

/// The keys that a scan has shown, 8 bytes each.
pub struct Shown {
    pub presence: Presence,
    kind: Kind,
}

enum Kind {
    /// The stream promises that keys are unique; pieces, so that growing copies nothing.
    Pieces(Vec<Vec<u64>>),
    /// It does not: each key is looked up, and the second one is refused.
    Set(HashSet<u64, BuildHasherDefault<AlreadyHashed>>),
}

/// The values are hashes already.
#[derive(Default)]
struct AlreadyHashed(u64);

impl Hasher for AlreadyHashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

const PIECE: usize = 64 * 1024;

impl Shown {
    /// Begins with nothing shown.
    pub fn new(keys_unique: bool) -> Self {
        let kind = if keys_unique { Kind::Pieces(Vec::new()) } else { Kind::Set(HashSet::default()) };
        Self { presence: Presence::default(), kind }
    }

    /// Notes a key; false where it was shown before.
    pub fn note(&mut self, key: &Key) -> bool {
        let hash = key.hash64();
        let new = match &mut self.kind {
            Kind::Set(set) => set.insert(hash),
            Kind::Pieces(pieces) => {
                match pieces.last_mut().filter(|piece| piece.len() < PIECE) {
                    Some(piece) => piece.push(hash),
                    None => {
                        let mut piece = Vec::with_capacity(PIECE);
                        piece.push(hash);
                        pieces.push(piece);
                    }
                }
                true
            }
        };
        if new {
            self.presence.add(hash);
        }
        new
    }

    /// Makes the keys searchable.
    fn sort(&mut self) {
        if let Kind::Pieces(pieces) = &mut self.kind {
            pieces.iter_mut().for_each(|piece| piece.sort_unstable());
        }
    }

    fn has(&self, key: &Key) -> bool {
        let hash = key.hash64();
        match &self.kind {
            Kind::Set(set) => set.contains(&hash),
            Kind::Pieces(pieces) => pieces.iter().any(|piece| piece.binary_search(&hash).is_ok()),
        }
    }
}

/// What a sweep found.
pub enum Missing {
    Keys(Vec<(Key, Fact)>),
    /// So many deletions at once are not believed.
    Fuse {
        reason: String,
    },
}

/// Finds the pairs that a complete scan of `side`, begun as number `epoch`, has not shown.
pub async fn missing(ctx: &LinkContext, side: Side, mut shown: Shown, epoch: u32) -> Result<Missing, Fault> {
    let present = *lock(at(&ctx.presence, side));
    if present == shown.presence {
        return Ok(Missing::Keys(Vec::new()));
    }
    shown.sort();
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
            break;
        }
    }
    let approved = at(&ctx.approved, side).load(Ordering::Relaxed);
    if !approved && implausible(keys.len() as u64, present.count, &ctx.fuse) {
        let reason = format!(
            "{} of {} records are gone from {} ({}) at once; approve it if that is meant, else mend the stream",
            keys.len(),
            present.count,
            side.as_str(),
            ctx.end(side).spec.stream
        );
        return Ok(Missing::Fuse { reason });
    }
    confirm(ctx, side, keys).await.map(Missing::Keys)
}

/// A direction freezes where more than the configured share of its pairs would be deleted at once,
/// and at least so many.
fn implausible(deletes: u64, present: u64, fuse: &FuseConfig) -> bool {
    deletes >= u64::from(fuse.deletes_min)
        && deletes.saturating_mul(100) > present.saturating_mul(u64::from(fuse.deletes_percent))
}

/// Looks each missing record up by itself: a scan that was short by mistake deletes nothing.
async fn confirm(ctx: &LinkContext, side: Side, keys: Vec<Wanted>) -> Result<Vec<(Key, Fact)>, Fault> {
    let end = ctx.end(side);
    let mut projector = Projector::new(&ctx.rules, side);
    let mut gone = Vec::with_capacity(keys.len());
    for chunk in keys.chunks(end.features.batch_max.clamp(1, 500)) {
        let found = end.destination.look_up(chunk, &ctx.call(Class::Backfill)).await?;
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
