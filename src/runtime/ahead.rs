//! Writes that are remembered before their page has its turn, and sent: the state writes them down while the page before
//! goes out, and they go out while the answers to that are taken in.
//!
//! Invariant: what goes out of a page is what was remembered of it. Only where a page writes in one direction can
//! that be said ahead: what becomes of the writes of one may change those of the other.

use super::inline::{self, Reply, at_once, places, writes};
use super::link::LinkContext;
use super::page::Entry;
use super::unanswered::OnItsWay;
use crate::engine::fault::Fault;
use crate::engine::record::Direction;

/// Writes that go out together.
pub(super) struct Chunk {
    /// Their places in the page.
    pub(super) places: Vec<usize>,
    /// How they are remembered; `None` where that was not needed. What could not be must not go out.
    pub(super) sent: Result<Option<OnItsWay>, Fault>,
}

/// All that a page writes to a local end, which takes it at once.
pub(super) struct Ahead {
    pub(super) direction: Direction,
    /// What has not gone out yet.
    pub(super) chunks: Vec<Chunk>,
    /// What was answered to the rest.
    pub(super) replies: Vec<Reply>,
}

impl Ahead {
    /// What is remembered of it and does not go out.
    pub(super) fn unsent(self) -> impl Iterator<Item = OnItsWay> {
        self.chunks.into_iter().filter_map(|chunk| chunk.sent.ok().flatten())
    }
}

/// Remembers what a decided page will write; `None` where that can't be said yet.
pub(super) async fn remember(ctx: &LinkContext, entries: &[Entry]) -> Option<Ahead> {
    let [a_to_b, b_to_a] = Direction::BOTH.map(|direction| places(ctx, entries, direction));
    let (direction, places) = match (a_to_b.is_empty(), b_to_a.is_empty()) {
        (false, true) => (Direction::AToB, a_to_b),
        (true, false) => (Direction::BToA, b_to_a),
        _ => return None,
    };
    if !at_once(ctx, direction) || ctx.fuses.is_held(direction) {
        return None;
    }
    let chunks = chunks(ctx, direction, entries, &places).await;
    Some(Ahead { direction, chunks, replies: Vec::new() })
}

/// Sends what is remembered; what is answered is taken in when the page has its turn.
pub(super) async fn send(ctx: &LinkContext, entries: &[Entry], ahead: &mut Ahead) {
    if ctx.fuses.is_held(ahead.direction) {
        return;
    }
    for chunk in std::mem::take(&mut ahead.chunks) {
        ahead.replies.extend(inline::send(ctx, ahead.direction, entries, chunk).await);
    }
}

/// Remembers writes in as many chunks as their end takes them in.
pub(super) async fn chunks(
    ctx: &LinkContext,
    direction: Direction,
    entries: &[Entry],
    places: &[usize],
) -> Vec<Chunk> {
    let at_most = ctx.end(direction.to()).features.batch_max.max(1);
    let mut chunks = Vec::with_capacity(places.len().div_ceil(at_most));
    for places in places.chunks(at_most) {
        let sent = ctx.remember(direction, writes(entries, places, direction)).await;
        chunks.push(Chunk { places: places.to_vec(), sent });
    }
    chunks
}
