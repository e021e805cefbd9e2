//! Which keys a link's sides have, as sums that follow every commit.

use crate::store::{LinkId, Store, StoreError, Sums};

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
