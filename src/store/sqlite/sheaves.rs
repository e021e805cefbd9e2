//! The table of pairs: a row for each run of them, and no row for each. To write and to read a row costs many times
//! what the pair in it does.
//!
//! Invariants: a sheaf holds the keys of its link from `first` on and below that of the next; the lowest of a link has the
//! empty `first`, so that every key has its sheaf. It takes no more than [`sheaf::BYTES_MAX`], unless it is a single pair.

use std::ops::Range;

use rusqlite::{CachedStatement, Connection, OptionalExtension};

use super::ids;
use super::pair_row::{self, Encoder, Reading, Stored};
use super::shapes::Shapes;
use super::sheaf;
use super::trouble::Fallible;
use crate::engine::plan::Pair;
use crate::engine::record::{Direction, Key, Side};
use crate::planted::{Bug, planted};
use crate::store::moves::Mark;
use crate::store::{LinkId, LoadId};

/// The sheaf of a key.
const COVERING: &str =
    "SELECT id, first, body FROM sheaves WHERE link = ?1 AND first <= ?2 ORDER BY first DESC LIMIT 1";

/// Where the next one begins.
const NEXT: &str = "SELECT first FROM sheaves WHERE link = ?1 AND first > ?2 ORDER BY first LIMIT 1";

/// The sheaves of a link from that of a key on.
pub(super) const FROM: &str = "
SELECT body FROM sheaves
WHERE link = ?1 AND first >= coalesce(
    (SELECT first FROM sheaves WHERE link = ?1 AND first <= ?2 ORDER BY first DESC LIMIT 1), x'')";

/// Stores pairs of one link, one after the other, and counts them.
pub(super) struct Writing<'db> {
    db: &'db Connection,
    shapes: &'db mut Shapes,
    encoder: Encoder,
    sheaves: Sheaves<'db>,
    /// The highest version that was forgotten in the link before; read when a pair is made anew.
    forgotten_before: Option<u32>,
    growth: Growth,
}

/// What stored and forgotten pairs mean for their link.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Growth {
    /// By how many pairs it has grown.
    pub pairs: i64,
    /// The highest version that was forgotten; 0 for none.
    pub forgotten: u32,
}

impl<'db> Writing<'db> {
    pub fn new(db: &'db Connection, shapes: &'db mut Shapes, link: LinkId) -> Self {
        let (encoder, sheaves) = (Encoder::default(), Sheaves::new(db, link));
        Self { db, shapes, encoder, sheaves, forgotten_before: None, growth: Growth::default() }
    }

    /// Stores a pair as its next version; `false` where another version stands there than it expects.
    /// A new one begins above all versions that were ever forgotten: whoever still holds a forgotten pair
    /// must not take this one for it.
    pub fn put(&mut self, pair: &Pair, load: Option<LoadId>) -> Fallible<bool> {
        let key = pair.key.as_bytes();
        let link = self.sheaves.link;
        let standing = self.sheaves.seek(key)?.map(Stored::parse).transpose()?;
        let is_new = pair.version == 0;
        let is_expected = match &standing {
            None => is_new,
            Some(standing) => !is_new && (standing.version == pair.version || planted(Bug::VersionIgnored)),
        };
        if !is_expected {
            return Ok(false);
        }
        let had = standing.map(|standing| standing.ids).unwrap_or_default();
        for (side, had) in Side::BOTH.into_iter().zip(had) {
            ids::change(self.db, link, side, key, (had, pair.side(side).id.as_deref()))?;
        }
        let version = if is_new { self.forgotten()? } else { pair.version }.wrapping_add(1);
        let bytes = self.encoder.encode(self.db, self.shapes, (pair, version), load)?;
        self.sheaves.put(key, bytes)?;
        self.growth.pairs += i64::from(is_new);
        Ok(true)
    }

    /// Forgets a pair; `false` where another version stands there. One that was never stored
    /// (version 0) is forgotten where none stands there.
    pub fn forget(&mut self, key: &Key, version: u32) -> Fallible<bool> {
        let link = self.sheaves.link;
        let standing = self.sheaves.seek(key.as_bytes())?.map(Stored::parse).transpose()?;
        let Some(standing) = standing else { return Ok(version == 0) };
        if version == 0 || standing.version != version {
            return Ok(false);
        }
        for (side, had) in Side::BOTH.into_iter().zip(standing.ids) {
            ids::change(self.db, link, side, key.as_bytes(), (had, None))?;
        }
        self.sheaves.remove()?;
        self.growth.pairs -= 1;
        self.growth.forgotten = self.growth.forgotten.max(version);
        Ok(true)
    }

    /// Notes a status in a stored pair, where there is one and it says something else.
    pub fn mark(&mut self, key: &Key, direction: Direction, mark: Mark) -> Fallible<()> {
        self.sheaves.mark(key, direction, mark)
    }

    /// Ends; gives what it means for the link.
    pub fn finish(mut self) -> Fallible<Growth> {
        self.sheaves.flush()?;
        Ok(self.growth)
    }

    /// Returns the highest version that was ever forgotten in the link.
    fn forgotten(&mut self) -> Fallible<u32> {
        let before = match self.forgotten_before {
            Some(before) => before,
            None => super::links::forgotten(self.db, self.sheaves.link)?,
        };
        self.forgotten_before = Some(before);
        Ok(before.max(self.growth.forgotten))
    }
}

/// Notes a status in a stored pair, where there is one and it says something else.
pub(super) fn mark(
    db: &Connection,
    link: LinkId,
    key: &Key,
    direction: Direction,
    mark: Mark,
) -> Fallible<()> {
    let mut sheaves = Sheaves::new(db, link);
    sheaves.mark(key, direction, mark)?;
    sheaves.flush()
}

/// Writes sheaves of one link: one is open at a time, and stored when another is wanted.
struct Sheaves<'db> {
    db: &'db Connection,
    link: LinkId,
    open: Option<Open>,
}

/// The sheaf that is being written.
struct Open {
    /// `None` for one that is not stored yet.
    id: Option<i64>,
    first: Vec<u8>,
    /// Where the next one begins; `None` where there is none.
    until: Option<Vec<u8>>,
    body: Vec<u8>,
    is_changed: bool,
    /// What was sought last, and where it stands or would.
    key: Vec<u8>,
    place: Range<usize>,
}

impl Open {
    fn covers(&self, key: &[u8]) -> bool {
        self.first.as_slice() <= key && self.until.as_deref().is_none_or(|until| key < until)
    }
}

impl<'db> Sheaves<'db> {
    fn new(db: &'db Connection, link: LinkId) -> Self {
        Self { db, link, open: None }
    }

    /// Opens the sheaf of a key, and gives the pair that stands under it.
    fn seek(&mut self, key: &[u8]) -> Fallible<Option<&[u8]>> {
        if !self.open.as_ref().is_some_and(|open| open.covers(key)) {
            self.flush()?;
            self.open = Some(self.load(key)?);
        }
        let Some(open) = &mut self.open else { return Ok(None) };
        // Keys come in order most often.
        let from = if key >= open.key.as_slice() { open.place.start } else { 0 };
        open.place = sheaf::place(&open.body, key, from)?;
        open.key.clear();
        open.key.extend_from_slice(key);
        match open.place.is_empty() {
            true => Ok(None),
            false => sheaf::find(open.body.get(open.place.clone()).unwrap_or_default(), key),
        }
    }

    fn load(&self, key: &[u8]) -> Fallible<Open> {
        let found: Option<(i64, Vec<u8>, Vec<u8>)> = self
            .db
            .prepare_cached(COVERING)?
            .query_row((self.link.0, key), |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
            .optional()?;
        let until: Option<Vec<u8>> =
            self.db.prepare_cached(NEXT)?.query_row((self.link.0, key), |row| row.get(0)).optional()?;
        let (id, first, body) = match found {
            Some((id, first, body)) => (Some(id), first, body),
            None => (None, Vec::new(), Vec::new()),
        };
        Ok(Open { id, first, until, body, is_changed: false, key: Vec::new(), place: 0..0 })
    }

    /// Puts a pair under the key that was sought last.
    fn put(&mut self, key: &[u8], pair: &[u8]) -> Fallible<()> {
        let Some(open) = &mut self.open else { return Ok(()) };
        let mut entry = Vec::with_capacity(key.len() + pair.len() + 8);
        sheaf::put(&mut entry, key, pair);
        let is_behind = open.place.start == open.body.len();
        let limit = sheaf::BYTES_MAX.saturating_sub(open.first.len().max(key.len()));
        let is_full = open.body.len() - open.place.len() + entry.len() > limit;
        if is_full
            && is_behind
            && let Some(last) = sheaf::last(&open.body)?
        {
            // As keys in order come: the sheaf stays full, and the next one begins at once behind it, so that it takes in
            // what comes between them.
            let mut first = last.to_vec();
            first.push(0);
            let until = open.until.clone();
            self.flush()?;
            let (key, place) = (key.to_vec(), 0..entry.len());
            self.open = Some(Open { id: None, key, first, until, body: entry, is_changed: true, place });
            return Ok(());
        }
        let place = open.place.start..open.place.start + entry.len();
        open.body.splice(open.place.clone(), entry);
        (open.place, open.is_changed) = (place, true);
        if is_full { self.part(limit) } else { Ok(()) }
    }

    /// Parts the open sheaf; the lowest part stays open.
    fn part(&mut self, limit: usize) -> Fallible<()> {
        let Some(open) = &mut self.open else { return Ok(()) };
        let mut parts = sheaf::parts(std::mem::take(&mut open.body), &open.place, limit)?.into_iter();
        open.body = parts.next().unwrap_or_default();
        open.key.clear();
        open.place = 0..0;
        for (at, body) in parts.enumerate() {
            let first = sheaf::entries(&body).next().transpose()?.map(|entry| entry.key.to_vec());
            let first = first.unwrap_or_default();
            insert(self.db, self.link, &first, &body)?;
            if at == 0 {
                open.until = Some(first);
            }
        }
        Ok(())
    }

    /// Takes away the pair that was sought last, and stands there.
    fn remove(&mut self) -> Fallible<()> {
        let Some(open) = &mut self.open else { return Ok(()) };
        open.body.drain(open.place.clone());
        open.place = open.place.start..open.place.start;
        open.is_changed = true;
        Ok(())
    }

    fn mark(&mut self, key: &Key, direction: Direction, mark: Mark) -> Fallible<()> {
        let Some(stored) = self.seek(key.as_bytes())? else { return Ok(()) };
        match pair_row::marked(Stored::parse(stored)?, direction, mark)? {
            Some(marked) => self.put(key.as_bytes(), &marked),
            None => Ok(()),
        }
    }

    /// Stores the open sheaf.
    fn flush(&mut self) -> Fallible<()> {
        let Some(Open { id, first, body, .. }) = self.open.take().filter(|open| open.is_changed) else {
            return Ok(());
        };
        match id {
            None if body.is_empty() => {}
            None => insert(self.db, self.link, &first, &body)?,
            // The lowest one stays, so that every key has its sheaf.
            Some(id) if body.is_empty() && !first.is_empty() => {
                self.db.prepare_cached("DELETE FROM sheaves WHERE id = ?1")?.execute([id])?;
            }
            Some(id) => {
                self.db.prepare_cached("UPDATE sheaves SET body = ?2 WHERE id = ?1")?.execute((id, body))?;
            }
        }
        Ok(())
    }
}

fn insert(db: &Connection, link: LinkId, first: &[u8], body: &[u8]) -> Fallible<()> {
    db.prepare_cached("INSERT INTO sheaves (link, first, body) VALUES (?1, ?2, ?3)")?
        .execute((link.0, first, body))?;
    Ok(())
}

/// Finds pairs by their keys.
pub(super) struct Finding<'db> {
    find: CachedStatement<'db>,
}

impl<'db> Finding<'db> {
    pub fn new(db: &'db Connection) -> Fallible<Self> {
        Ok(Self { find: db.prepare_cached(COVERING)? })
    }

    /// Looks at the pair of a key.
    pub fn at<T>(
        &mut self,
        link: LinkId,
        key: &Key,
        look: impl FnOnce(&Stored<'_>) -> Fallible<T>,
    ) -> Fallible<Option<T>> {
        let mut rows = self.find.query((link.0, key.as_bytes()))?;
        let Some(row) = rows.next()? else { return Ok(None) };
        match sheaf::find(body(row, 2)?, key.as_bytes())? {
            Some(pair) => look(&Stored::parse(pair)?).map(Some),
            None => Ok(None),
        }
    }

    /// Reads the pair of a key.
    pub fn pair(&mut self, link: LinkId, key: &Key, reading: &mut Reading<'_>) -> Fallible<Option<Pair>> {
        self.at(link, key, |stored| reading.pair(key.as_bytes(), stored))
    }
}

/// Returns the number of the load that has stored the pair of a key.
pub(super) fn load_of(db: &Connection, link: LinkId, key: &Key) -> Fallible<Option<u32>> {
    Ok(Finding::new(db)?.at(link, key, |stored| Ok(stored.load))?.flatten())
}

/// Shows the pairs of a link after a key one by one, as long as that is wanted.
pub(super) fn each(
    db: &Connection,
    link: LinkId,
    after: Option<&Key>,
    mut show: impl FnMut(&[u8], &Stored<'_>) -> Fallible<bool>,
) -> Fallible<()> {
    let mut select = db.prepare_cached(&format!("{FROM} ORDER BY first"))?;
    // No key is empty, so all of them come after nothing.
    let after = after.map_or(&[][..], Key::as_bytes);
    let mut rows = select.query((link.0, after))?;
    while let Some(row) = rows.next()? {
        for entry in sheaf::entries(body(row, 0)?) {
            let entry = entry?;
            if entry.key > after && !show(entry.key, &Stored::parse(entry.pair)?)? {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// Returns the bytes of a sheaf.
pub(super) fn body<'r>(row: &'r rusqlite::Row<'_>, at: usize) -> Fallible<&'r [u8]> {
    row.get_ref(at)?.as_blob().map_err(|_| super::trouble::damaged("a run of pairs"))
}

#[cfg(test)]
mod tests;
