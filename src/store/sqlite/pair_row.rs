//! Pairs in and out of their table.

use std::sync::Arc;

use rusqlite::types::{Null, ValueRef};
use rusqlite::{CachedStatement, Connection, OptionalExtension, Row};

use super::row::{self, SeenBytes};
use super::shapes::Shapes;
use super::trouble::{Fallible, damaged};
use crate::engine::plan::{Pair, Seen, SideState};
use crate::engine::record::{Direction, Key, Side};
use crate::planted::{Bug, planted};
use crate::store::moves::{self, Mark};
use crate::store::{LinkId, LoadId, Looks, OpenLoad};

/// What [`Reading::pair`] expects, in order.
pub(super) const COLUMNS: &str =
    "key, version, rules_version, load, a_id, b_id, a_base, b_base, a_seen, b_seen, a_meta, b_meta, ab, ba";

/// What [`Reading::bare`] expects, in order.
pub(super) const BARE_COLUMNS: &str =
    "key, load, a_base IS NOT NULL, b_base IS NOT NULL, a_seen, b_seen, a_meta, b_meta";

/// Of a side, only what is added up.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Bare {
    pub is_there: bool,
    pub epoch: u32,
}

const INSERT: &str = "
INSERT INTO pairs (link, key, version, rules_version, load, a_id, b_id,
                   a_base, b_base, a_seen, b_seen, a_meta, b_meta, ab, ba)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)
ON CONFLICT DO NOTHING";

/// Takes the same parameters, and the expected version.
const UPDATE: &str = "
UPDATE pairs SET version = ?3, rules_version = ?4, load = ?5, a_id = ?6, b_id = ?7,
                 a_base = ?8, b_base = ?9, a_seen = ?10, b_seen = ?11, a_meta = ?12, b_meta = ?13,
                 ab = ?14, ba = ?15
WHERE link = ?1 AND key = ?2 AND version = ?16";

const DELETE: &str = "DELETE FROM pairs WHERE link = ?1 AND key = ?2 AND version = ?3";

/// Stores pairs of one link, one after the other, and counts them.
pub(super) struct Writing<'db> {
    db: &'db Connection,
    shapes: &'db mut Shapes,
    link: LinkId,
    insert: CachedStatement<'db>,
    update: CachedStatement<'db>,
    /// One buffer for all blobs of a row.
    bytes: Vec<u8>,
    /// The highest version that was forgotten in the link before; read when a pair is made anew.
    forgotten_before: Option<u32>,
    pub growth: Growth,
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
    pub fn new(db: &'db Connection, shapes: &'db mut Shapes, link: LinkId) -> Fallible<Self> {
        let insert = db.prepare_cached(INSERT)?;
        let update = db.prepare_cached(UPDATE)?;
        let bytes = Vec::with_capacity(1024);
        let growth = Growth::default();
        Ok(Self { db, shapes, link, insert, update, bytes, forgotten_before: None, growth })
    }

    /// Stores a pair as its next version; `false` where another version stands there than it expects.
    /// A new one begins above all versions that were ever forgotten: whoever still holds a forgotten pair
    /// must not take this one for it.
    pub fn put(&mut self, pair: &Pair, load: Option<LoadId>) -> Fallible<bool> {
        let ends = self.encode(pair)?;
        let is_new = pair.version == 0;
        let version = if is_new { self.forgotten()? } else { pair.version }.wrapping_add(1);
        let statement = if is_new { &mut self.insert } else { &mut self.update };
        statement.raw_bind_parameter(1, self.link.0)?;
        statement.raw_bind_parameter(2, pair.key.as_bytes())?;
        statement.raw_bind_parameter(3, version)?;
        statement.raw_bind_parameter(4, pair.rules_version)?;
        statement.raw_bind_parameter(5, load.map(|load| load.0))?;
        statement.raw_bind_parameter(6, pair.a.id.as_deref())?;
        statement.raw_bind_parameter(7, pair.b.id.as_deref())?;
        if !is_new {
            let expected = match planted(Bug::VersionIgnored) {
                true => version_of(self.db, self.link, &pair.key)?.unwrap_or_default(),
                false => pair.version,
            };
            statement.raw_bind_parameter(16, expected)?;
        }
        let mut start = 0;
        for (at, end) in (8..).zip(ends) {
            match self.bytes.get(start..end) {
                Some(blob) if !blob.is_empty() => statement.raw_bind_parameter(at, blob)?,
                _ => statement.raw_bind_parameter(at, Null)?,
            }
            start = end;
        }
        let changed = statement.raw_execute()?;
        self.growth.pairs += i64::from(is_new && changed > 0);
        Ok(changed > 0)
    }

    /// Returns the highest version that was ever forgotten in the link.
    fn forgotten(&mut self) -> Fallible<u32> {
        let before = match self.forgotten_before {
            Some(before) => before,
            None => super::links::forgotten(self.db, self.link)?,
        };
        self.forgotten_before = Some(before);
        Ok(before.max(self.growth.forgotten))
    }

    /// Writes the eight blobs of a row into the buffer and returns their ends.
    fn encode(&mut self, pair: &Pair) -> Fallible<[usize; 8]> {
        let Self { db, shapes, bytes, .. } = self;
        bytes.clear();
        let mut ends = [0; 8];
        let mut end = ends.iter_mut();
        let mut close = |bytes: &Vec<u8>| {
            if let Some(end) = end.next() {
                *end = bytes.len();
            }
        };
        if let Some(base) = &pair.a.base {
            row::put_image(bytes, shapes.intern(db, &base.shape)?, base);
        }
        close(bytes);
        if let Some(base) = &pair.b.base {
            let (of_a, shape) = (0..bytes.len(), shapes.intern(db, &base.shape)?);
            let is_same = pair.a.base.as_ref().is_some_and(|of_a| of_a.values.is_same(&base.values));
            row::put_image_beside(bytes, of_a, shape, base, is_same)?;
        }
        close(bytes);
        for side in [&pair.a, &pair.b] {
            let shape = match &side.seen {
                Seen::Changed(image) => shapes.intern(db, &image.shape)?,
                Seen::Never | Seen::AsBase | Seen::Deleted(_) => 0,
            };
            row::put_seen(bytes, &side.seen, shape);
            close(bytes);
        }
        for side in [&pair.a, &pair.b] {
            row::put_meta(bytes, side);
            close(bytes);
        }
        for way in [&pair.a_to_b, &pair.b_to_a] {
            row::put_way(bytes, way);
            close(bytes);
        }
        Ok(ends)
    }

    /// Forgets a pair; `false` where another version stands there. One that was never stored
    /// (version 0) is forgotten where none stands there.
    pub fn forget(&mut self, key: &Key, version: u32) -> Fallible<bool> {
        if version == 0 {
            return Ok(version_of(self.db, self.link, key)?.is_none());
        }
        let removed = self.db.prepare_cached(DELETE)?.execute((self.link.0, key.as_bytes(), version))?;
        if removed > 0 {
            self.growth.pairs -= 1;
            self.growth.forgotten = self.growth.forgotten.max(version);
        }
        Ok(removed > 0)
    }
}

fn version_of(db: &Connection, link: LinkId, key: &Key) -> Fallible<Option<u32>> {
    let mut find = db.prepare_cached("SELECT version FROM pairs WHERE link = ?1 AND key = ?2")?;
    Ok(find.query_row((link.0, key.as_bytes()), |row| row.get(0)).optional()?)
}

/// Reads pairs of one snapshot.
pub(super) struct Reading<'db> {
    db: &'db Connection,
    shapes: &'db mut Shapes,
    /// Loads that have not ended: their pairs read as if they had not been staged.
    open_loads: Vec<OpenLoad>,
    /// The shape that was last found to be that of the looks.
    looked: Option<u32>,
    /// Finds one pair; made at the first that is asked for, and kept.
    find: Option<CachedStatement<'db>>,
}

impl<'db> Reading<'db> {
    pub fn new(db: &'db Connection, shapes: &'db mut Shapes) -> Fallible<Self> {
        let open_loads = super::load::open(db, None)?;
        Ok(Self { db, shapes, open_loads, looked: None, find: None })
    }

    /// Reads one pair by its key.
    pub fn find(&mut self, link: LinkId, key: &Key) -> Fallible<Option<Pair>> {
        let mut find = match self.find.take() {
            Some(find) => find,
            None => self
                .db
                .prepare_cached(&format!("SELECT {COLUMNS} FROM pairs WHERE link = ?1 AND key = ?2"))?,
        };
        let mut rows = find.query((link.0, key.as_bytes()))?;
        let pair = match rows.next()? {
            Some(row) => Some(self.pair(row)?),
            None => None,
        };
        drop(rows);
        self.find = Some(find);
        Ok(pair)
    }

    /// Reads the pair of a row of [`COLUMNS`].
    pub fn pair(&mut self, row: &Row<'_>) -> Fallible<Pair> {
        let key = Key::from_bytes(blob(row, 0)?.ok_or_else(|| damaged("a key"))?);
        let mut pair = Pair { version: row.get(1)?, rules_version: row.get(2)?, ..Pair::new(key) };
        let load: Option<u32> = row.get(3)?;
        for side in Side::BOTH {
            self.side(row, side, pair.side_mut(side))?;
        }
        pair.a_to_b = row::take_way(blob(row, 12)?)?;
        pair.b_to_a = row::take_way(blob(row, 13)?)?;
        if let Some(direction) = load.and_then(|load| self.open_load(load)) {
            moves::unload(&mut pair, direction);
        }
        Ok(pair)
    }

    /// Tells whether the record of a row of [`COLUMNS`] looks so on that side, and is not dead in the
    /// direction from there. A no may be wrong: then the pair itself tells.
    pub fn looks_so(&mut self, row: &Row<'_>, looks: &Looks, look: &[u8]) -> Fallible<bool> {
        let at = looks.side as usize;
        let is_as_base = matches!(row.get_ref(8 + at)?, ValueRef::Null);
        let is_staged = !matches!(row.get_ref(3)?, ValueRef::Null) && !self.open_loads.is_empty();
        if !is_as_base || is_staged || row::is_dead(blob(row, 12 + at)?) {
            return Ok(false);
        }
        let Some((shape, values)) = base(row, looks.side)? else { return Ok(false) };
        if values != look {
            return Ok(false);
        }
        if self.looked == Some(shape) {
            return Ok(true);
        }
        let known = self.shapes.get(self.db, shape)?;
        let is_same = Arc::ptr_eq(&known, &looks.shape) || known == looks.shape;
        self.looked = is_same.then_some(shape);
        Ok(is_same)
    }

    fn side(&mut self, row: &Row<'_>, side: Side, state: &mut SideState) -> Fallible<()> {
        let at = side as usize;
        state.id = match row.get_ref(4 + at)? {
            ValueRef::Null => None,
            id => Some(id.as_str().map_err(|_| damaged("a remote id"))?.into()),
        };
        state.base = match base(row, side)? {
            Some((shape, values)) => Some(self.shapes.image(self.db, shape, values)?),
            None => None,
        };
        state.seen = match row::take_seen(blob(row, 8 + at)?)? {
            SeenBytes::Plain(seen) => seen,
            SeenBytes::Changed(bytes) => {
                let (shape, values) = row::image_parts(bytes)?;
                Seen::Changed(self.shapes.image(self.db, shape, values)?)
            }
        };
        row::take_meta(blob(row, 10 + at)?, state)
    }

    /// Reads the key and what is added up of a row of [`BARE_COLUMNS`].
    pub fn bare<'r>(&self, row: &'r Row<'_>) -> Fallible<(&'r [u8], [Bare; 2])> {
        let key = blob(row, 0)?.ok_or_else(|| damaged("a key"))?;
        let load: Option<u32> = row.get(1)?;
        let staged = load.and_then(|load| self.open_load(load));
        let mut bare = [Bare::default(); 2];
        for (side, bare) in Side::BOTH.into_iter().zip(&mut bare) {
            // As `moves::unload` says it: nothing has reached the destination of a load that has not ended.
            if staged.is_some_and(|direction| direction.to() == side) {
                continue;
            }
            let at = side as usize;
            bare.is_there = row::is_there(blob(row, 4 + at)?, row.get(2 + at)?);
            bare.epoch = row::epoch(blob(row, 6 + at)?)?;
        }
        Ok((key, bare))
    }

    /// Returns the direction of a load that has not ended.
    fn open_load(&self, load: u32) -> Option<Direction> {
        self.open_loads.iter().find(|open| open.id.0 == load).map(|open| open.direction)
    }
}

/// Returns the shape and the values of a side's base; those of B may stand with A only.
fn base<'r>(row: &'r Row<'_>, side: Side) -> Fallible<Option<(u32, &'r [u8])>> {
    let Some(bytes) = blob(row, 6 + side as usize)? else { return Ok(None) };
    let (shape, values) = row::image_parts(bytes)?;
    if side == Side::A || !values.is_empty() {
        return Ok(Some((shape, values)));
    }
    let of_a = blob(row, 6)?.map_or(Ok(values), |of_a| row::image_parts(of_a).map(|(_, values)| values))?;
    Ok(Some((shape, of_a)))
}

/// Returns a column's bytes; `None` for NULL.
pub(super) fn blob<'r>(row: &'r Row<'_>, at: usize) -> Fallible<Option<&'r [u8]>> {
    row.get_ref(at)?.as_blob_or_null().map_err(|_| damaged("a blob"))
}

/// Notes a status in a stored pair, where there is one and it says something else.
pub(super) fn mark(
    db: &Connection,
    link: LinkId,
    key: &Key,
    direction: Direction,
    mark: Mark,
) -> Fallible<()> {
    let column = match direction {
        Direction::AToB => "ab",
        Direction::BToA => "ba",
    };
    let mut select =
        db.prepare_cached(&format!("SELECT {column} FROM pairs WHERE link = ?1 AND key = ?2"))?;
    let found: Option<Option<Vec<u8>>> =
        select.query_row((link.0, key.as_bytes()), |row| row.get(0)).optional()?;
    let Some(bytes) = found else { return Ok(()) };
    let mut way = row::take_way(bytes.as_deref())?;
    if !mark.apply(&mut way) {
        return Ok(());
    }
    let mut bytes = Vec::with_capacity(32);
    row::put_way(&mut bytes, &way);
    let bytes = Some(bytes).filter(|bytes| !bytes.is_empty());
    db.prepare_cached(&format!(
        "UPDATE pairs SET {column} = ?3, version = version + 1 WHERE link = ?1 AND key = ?2"
    ))?
    .execute((link.0, key.as_bytes(), bytes))?;
    Ok(())
}
