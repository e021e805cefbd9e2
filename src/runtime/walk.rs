//! All pairs of a link in the order of their keys, piece by piece.

use super::link::LinkContext;
use super::page::storage;
use crate::engine::fault::Fault;
use crate::engine::plan::Pair;
use crate::engine::record::Key;

/// Pairs of a piece.
pub(super) const PIECE: usize = 1000;

/// Where a walk stands.
#[derive(Default)]
pub(super) struct Walk {
    after: Option<Key>,
    is_over: bool,
}

impl Walk {
    /// Tells whether the last pairs were given.
    pub fn is_over(&self) -> bool {
        self.is_over
    }

    /// Gives the next pairs.
    pub async fn next(&mut self, ctx: &LinkContext) -> Result<Vec<Pair>, Fault> {
        let pairs = ctx.store.walk(ctx.id, self.after.take(), PIECE).await.map_err(storage)?;
        self.is_over = pairs.len() < PIECE;
        self.after = pairs.last().map(|pair| pair.key.clone());
        Ok(pairs)
    }
}
