//! `known`: pairs by key.
//!
//! A scan asks for keys that lie together: one walk along the sheaves then serves them all, in step
//! with the wanted keys. Where sheaves without any of them lie between, the walk steps over a few and then starts
//! anew at the next wanted key; it steps over fewer the less often that paid off, down to a look-up
//! a key.

use rusqlite::CachedStatement;

use super::Session;
use super::pair_row::{Reading, Stored};
use super::sheaf::{self, Entry};
use super::sheaves;
use super::trouble::Fallible;
use crate::engine::plan::Pair;
use crate::engine::record::Key;
use crate::store::{Known, LinkId, Looks};

/// To start anew costs about as much as to step over so many sheaves.
const PATIENCE_MAX: u32 = 2;

/// A key and its place in the answer.
type Wanted<'k> = (usize, &'k Key);

pub(super) fn known(session: &mut Session, link: LinkId, keys: &[Key]) -> Fallible<Vec<Option<Pair>>> {
    let known = known_beside(session, link, keys, None)?;
    Ok(known
        .into_iter()
        .map(|known| match known {
            Known::Pair(pair) => Some(pair),
            Known::Nothing | Known::Same => None,
        })
        .collect())
}

pub(super) fn known_beside(
    session: &mut Session,
    link: LinkId,
    keys: &[Key],
    looks: Option<&Looks>,
) -> Fallible<Vec<Known>> {
    let Session { db, shapes, .. } = session;
    let mut select = db.prepare_cached(&format!("{} AND first <= ?3 ORDER BY first", sheaves::FROM))?;
    let mut walk = Walk {
        reading: Reading::new(db, shapes)?,
        link,
        looks,
        patience: PATIENCE_MAX,
        found: keys.iter().map(|_| Known::Nothing).collect(),
    };
    let mut wanted: Vec<Wanted<'_>> = keys.iter().enumerate().collect();
    // Most often they come sorted, and this does next to nothing.
    wanted.sort_by_key(|(_, key)| *key);
    let mut rest = wanted.as_slice();
    while let [(_, first), ..] = rest {
        rest = walk.along(&mut select, first, rest)?;
    }
    Ok(walk.found)
}

struct Walk<'db> {
    reading: Reading<'db>,
    link: LinkId,
    looks: Option<&'db Looks>,
    /// How many sheaves to step over between two wanted ones before it is better to start anew.
    patience: u32,
    found: Vec<Known>,
}

impl Walk<'_> {
    /// Walks from the first wanted key on; gives back those it did not come to, fewer each time.
    fn along<'w, 'k>(
        &mut self,
        select: &mut CachedStatement<'_>,
        first: &Key,
        wanted: &'w [Wanted<'k>],
    ) -> Fallible<&'w [Wanted<'k>]> {
        let last = wanted.last().map_or(first, |(_, key)| *key);
        let mut rows = select.query((self.link.0, first.as_bytes(), last.as_bytes()))?;
        let mut rest = wanted;
        let mut left = self.patience;
        while let Some(row) = rows.next()? {
            let before = rest.len();
            rest = self.through(sheaves::body(row, 0)?, rest)?;
            if rest.is_empty() {
                break;
            }
            if rest.len() < before {
                left = self.patience;
            } else if left > 0 || rest.len() == wanted.len() {
                left = left.saturating_sub(1);
            } else {
                self.patience /= 2;
                return Ok(rest);
            }
        }
        self.patience = PATIENCE_MAX.min(self.patience + 1);
        // The range has ended: what is left is not there.
        Ok(&[])
    }

    /// Reads what is wanted of a sheaf; gives back what lies behind all that stands in it.
    fn through<'w, 'k>(&mut self, body: &[u8], wanted: &'w [Wanted<'k>]) -> Fallible<&'w [Wanted<'k>]> {
        let mut rest = wanted;
        for entry in sheaf::entries(body) {
            let entry = entry?;
            while let [(_, next), tail @ ..] = rest
                && next.as_bytes() < entry.key
            {
                rest = tail;
            }
            match rest {
                [] => break,
                [(_, next), ..] if next.as_bytes() == entry.key => rest = self.take(&entry, rest)?,
                _ => {}
            }
        }
        Ok(rest)
    }

    /// Reads a wanted pair into all its places: a key may be wanted more than once.
    fn take<'w, 'k>(
        &mut self,
        Entry { key, pair, .. }: &Entry<'_>,
        wanted: &'w [Wanted<'k>],
    ) -> Fallible<&'w [Wanted<'k>]> {
        let stored = Stored::parse(pair)?;
        let mut pair = None;
        let mut rest = wanted;
        let once = !matches!(wanted, [_, (_, second), ..] if second.as_bytes() == *key);
        while let [(at, next), tail @ ..] = rest
            && next.as_bytes() == *key
        {
            rest = tail;
            let Some(place) = self.found.get_mut(*at) else { continue };
            if once
                && let Some(looks) = self.looks
                && let Some(look) = looks.at(*at)
                && self.reading.looks_so(&stored, looks, look)?
            {
                *place = Known::Same;
                continue;
            }
            let more = matches!(rest, [(_, next), ..] if next.as_bytes() == *key);
            let whole = match pair.take() {
                Some(pair) => pair,
                None => self.reading.pair(key, &stored)?,
            };
            if more {
                pair = Some(whole.clone());
            }
            *place = Known::Pair(whole);
        }
        Ok(rest)
    }
}
