//! Which keys a link's sides have, as sums that follow every commit.
//!
//! Invariant: sums that are kept in the state are those of its pairs: they are taken out before anything of their link is
//! written, and put there when nothing is written any more.

use std::sync::atomic::Ordering;

use super::link::{LinkContext, lock};
use super::supervisor::{Running, Runtime};
use crate::engine::record::{Presence, Timestamp};
use crate::store::{LinkId, Store, StoreError, Sums};

const SPACE: &str = "sums";
/// Counts up where a sum would mean something else.
const FORM: u32 = 1;

/// Pairs that are added up with one question.
const PIECE: usize = 100_000;

/// Adds up which keys a link's sides have, piece by piece, with the latest epoch that a pair was touched in:
/// a scan that begins anew must count as younger than all of them, also where its number was never stored.
pub async fn measure(store: &dyn Store, link: LinkId) -> Result<Sums, StoreError> {
    let mut sums = Sums::default();
    let mut after = None;
    loop {
        let (more, last) = store.sums(link, after, PIECE).await?;
        sums.merge(more);
        match last {
            Some(last) => after = Some(last),
            None => return Ok(sums),
        }
    }
}

/// Gives the sums of a link: as its last generation or the last process left them, unless something `has_moved` since;
/// else added up.
pub(super) async fn of(
    runtime: &Runtime,
    running: &Running,
    link: LinkId,
    has_moved: bool,
) -> Result<Sums, StoreError> {
    let store = runtime.store.as_ref();
    // Whatever comes of it: from here on pairs may be written.
    let kept = take(store, link, (runtime.clock)()).await?;
    let known = {
        let mut sums = lock(&running.sums);
        *sums = sums.or(kept);
        sums.filter(|_| !has_moved)
    };
    match known {
        Some(sums) => Ok(sums),
        None => measure(store, link).await,
    }
}

/// Keeps what a link knew that has come to rest, for its next generation and for the next process; nothing where that is
/// not sure, or it was not brought to rest as a `whole`.
pub(super) async fn keep(ctx: &LinkContext, running: &Running, whole: bool) {
    let sums = (whole && !ctx.unsure.load(Ordering::Relaxed)).then(|| ctx.sums());
    *lock(&running.sums) = sums;
    if let Some(sums) = sums
        && let Err(error) = put(ctx.store.as_ref(), ctx.id, sums).await
    {
        tracing::debug!(event = "sums.not_kept", customer = %ctx.customer, link = %ctx.name, error = %error,
            "the next start adds up all keys");
    }
}

async fn put(store: &dyn Store, link: LinkId, sums: Sums) -> Result<(), StoreError> {
    let [a, b] = sums.presence.map(|presence| (presence.count, presence.sum));
    let text = serde_json::json!([FORM, a, b, sums.epochs]).to_string();
    store.put(SPACE, &link.0.to_string(), &text, None).await
}

/// Takes out what was kept, where the link was brought to rest.
async fn take(store: &dyn Store, link: LinkId, now: Timestamp) -> Result<Option<Sums>, StoreError> {
    let name = link.0.to_string();
    let Some(text) = store.get(SPACE, &name, now).await? else { return Ok(None) };
    store.remove(SPACE, &name).await?;
    Ok(read(&text))
}

fn read(text: &str) -> Option<Sums> {
    let (form, a, b, epochs): (u32, (u64, u64), (u64, u64), [u32; 2]) = serde_json::from_str(text).ok()?;
    let presence = [a, b].map(|(count, sum)| Presence { count, sum });
    (form == FORM).then_some(Sums { presence, epochs })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::memory::MemoryStore;

    #[tokio::test]
    async fn sums_are_taken_once() {
        let store = MemoryStore::default();
        let link = store.link("default", "l").await.expect("a link").id;
        let presence = [Presence { count: 3, sum: u64::MAX }, Presence::default()];
        let sums = Sums { presence, epochs: [7, 0] };
        let now = Timestamp(0);
        assert_eq!(take(&store, link, now).await.expect("the store"), None, "nothing was kept");
        put(&store, link, sums).await.expect("the store");
        assert_eq!(take(&store, link, now).await.expect("the store"), Some(sums));
        assert_eq!(
            take(&store, link, now).await.expect("the store"),
            None,
            "somebody may have written since"
        );
        assert_eq!(read("[2, [0, 0], [0, 0], [0, 0]]"), None, "another form");
    }
}
