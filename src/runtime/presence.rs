//! Which keys a link's sides have, as sums that follow every commit.

use super::link::{Presence, Sums};
use crate::engine::record::{Key, Side};
use crate::store::{LinkId, Store, StoreError};

/// Moves a key in or out.
pub fn shift(presence: &mut Presence, before: bool, now: bool, key: &Key) {
    match (before, now) {
        (false, true) => presence.add(key.hash64()),
        (true, false) => presence.remove(key.hash64()),
        _ => {}
    }
}

/// Adds up which keys a link's sides have, page by page, with the latest epoch that a pair was touched in:
/// a scan that begins anew must count as younger than all of them, also where its number was never stored.
pub async fn measure(store: &dyn Store, link: LinkId) -> Result<Sums, StoreError> {
    const PAGE: usize = 1000;
    let mut sums = Sums::default();
    let mut after = None;
    loop {
        let pairs = store.walk(link, after, PAGE).await?;
        for pair in &pairs {
            for ((side, presence), epoch) in
                Side::BOTH.into_iter().zip(&mut sums.presence).zip(&mut sums.epochs)
            {
                shift(presence, false, pair.side(side).now().is_some(), &pair.key);
                *epoch = pair.side(side).epoch.max(*epoch);
            }
        }
        if pairs.len() < PAGE {
            return Ok(sums);
        }
        after = pairs.last().map(|pair| pair.key.clone());
    }
}
