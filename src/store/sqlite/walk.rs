//! Pairs at large: in key order, and across links.

use super::Session;
use super::links;
use super::pair_row::Reading;
use super::sheaves::{self, Finding};
use super::trouble::Fallible;
use crate::engine::plan::Pair;
use crate::engine::record::Key;
use crate::store::{LinkId, Sums};

/// Walks the pairs of a link after a key.
pub(super) fn walk(
    session: &mut Session,
    link: LinkId,
    after: Option<&Key>,
    limit: usize,
) -> Fallible<Vec<Pair>> {
    let Session { db, shapes, .. } = session;
    let mut reading = Reading::new(db, shapes)?;
    let mut pairs = Vec::new();
    if limit == 0 {
        return Ok(pairs);
    }
    sheaves::each(db, link, after, |key, stored| {
        pairs.push(reading.pair(key, stored)?);
        Ok(pairs.len() < limit)
    })?;
    Ok(pairs)
}

/// Adds up pairs of a link after a key, without making them; gives the last where there may be more.
pub(super) fn sums(
    session: &mut Session,
    link: LinkId,
    after: Option<&Key>,
    limit: usize,
) -> Fallible<(Sums, Option<Key>)> {
    let Session { db, shapes, .. } = session;
    let reading = Reading::new(db, shapes)?;
    let (mut sums, mut count) = (Sums::default(), 0);
    let mut last = None;
    sheaves::each(db, link, after, |key, stored| {
        let state = reading.bare(stored)?;
        for ((state, presence), epoch) in state.into_iter().zip(&mut sums.presence).zip(&mut sums.epochs) {
            if state.is_there {
                presence.add(Key::hash64_of(key));
            }
            *epoch = state.epoch.max(*epoch);
        }
        count += 1;
        if count >= limit {
            last = Some(Key::from_bytes(key));
        }
        Ok(count < limit)
    })?;
    Ok((sums, last))
}

/// Finds the pairs of one key in all links; a point look-up each.
pub(super) fn find(session: &mut Session, key: &Key) -> Fallible<Vec<(LinkId, Pair)>> {
    let Session { db, shapes, .. } = session;
    let ids: Vec<LinkId> = links::all(db)?.into_iter().map(|state| state.id).collect();
    let mut reading = Reading::new(db, shapes)?;
    let mut finding = Finding::new(db)?;
    let mut found = Vec::new();
    for link in ids {
        if let Some(pair) = finding.pair(link, key, &mut reading)? {
            found.push((link, pair));
        }
    }
    Ok(found)
}
