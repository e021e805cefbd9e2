//! Pairs in and out of the bytes that a sheaf holds of them.
//!
//! Numbers, then parts, each behind its length and one more; 0 stands for the usual: no id of its own, seen as its base,
//! nothing ever to be done. The forms of the parts are those of `row.rs`.

use std::sync::Arc;

use rusqlite::Connection;

use super::row::{self, SeenBytes};
use super::shapes::Shapes;
use super::trouble::{Fallible, damaged};
use crate::engine::plan::{Pair, Seen, SideState};
use crate::engine::record::{Direction, Key, Side};
use crate::store::moves::{self, Mark};
use crate::store::{LoadId, Looks, OpenLoad};

/// A stored pair, taken apart; nothing of it is copied. What there is two of is that of A and that of B, or of the
/// directions from there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Stored<'b> {
    pub version: u32,
    pub rules_version: u32,
    pub load: Option<u32>,
    pub ids: [Option<&'b str>; 2],
    pub bases: [Option<&'b [u8]>; 2],
    pub seen: [Option<&'b [u8]>; 2],
    pub metas: [Option<&'b [u8]>; 2],
    pub ways: [Option<&'b [u8]>; 2],
}

impl<'b> Stored<'b> {
    /// Takes a pair apart.
    pub fn parse(bytes: &'b [u8]) -> Fallible<Self> {
        let mut rest = bytes;
        Self::read(&mut rest).ok_or_else(|| damaged("a pair"))
    }

    fn read(rest: &mut &'b [u8]) -> Option<Self> {
        let (version, rules_version) = (row::take_u32(rest)?, row::take_u32(rest)?);
        let load = row::take_u32(rest)?.checked_sub(1);
        let mut stored = Self { version, rules_version, load, ..Self::default() };
        for id in &mut stored.ids {
            *id = match take_part(rest)? {
                Some(bytes) => Some(std::str::from_utf8(bytes).ok()?),
                None => None,
            };
        }
        let Self { bases, seen, metas, ways, .. } = &mut stored;
        for part in [bases, seen, metas, ways].into_iter().flatten() {
            *part = take_part(rest)?;
        }
        Some(stored)
    }

    /// Appends it as [`Stored::parse`] reads it.
    pub fn put(&self, bytes: &mut Vec<u8>) {
        row::put_unsigned(bytes, self.version.into());
        row::put_unsigned(bytes, self.rules_version.into());
        row::put_unsigned(bytes, self.load.map_or(0, |load| u64::from(load) + 1));
        let Self { ids, bases, seen, metas, ways, .. } = self;
        ids.iter().for_each(|id| put_part(bytes, id.map(str::as_bytes)));
        [bases, seen, metas, ways].into_iter().flatten().for_each(|part| put_part(bytes, *part));
    }

    /// Returns the shape and the values of a side's base; those of B may stand with A only.
    fn base(&self, side: Side) -> Fallible<Option<(u32, &'b [u8])>> {
        let Some(bytes) = *of(&self.bases, side) else { return Ok(None) };
        let (shape, values) = row::image_parts(bytes)?;
        if side == Side::A || !values.is_empty() {
            return Ok(Some((shape, values)));
        }
        let of_a = of(&self.bases, Side::A)
            .map_or(Ok(values), |of_a| row::image_parts(of_a).map(|(_, values)| values))?;
        Ok(Some((shape, of_a)))
    }
}

/// Picks what is a side's, or that of the direction from there.
fn of<T>([of_a, of_b]: &[T; 2], side: Side) -> &T {
    match side {
        Side::A => of_a,
        Side::B => of_b,
    }
}

fn put_part(bytes: &mut Vec<u8>, part: Option<&[u8]>) {
    row::put_unsigned(bytes, part.map_or(0, |part| part.len() as u64 + 1));
    bytes.extend_from_slice(part.unwrap_or_default());
}

#[expect(clippy::option_option, reason = "nothing to be read, and no such part, are two things")]
fn take_part<'b>(rest: &mut &'b [u8]) -> Option<Option<&'b [u8]>> {
    let Some(length) = row::take_unsigned(rest)?.checked_sub(1) else { return Some(None) };
    let (part, left) = rest.split_at_checked(usize::try_from(length).ok()?)?;
    *rest = left;
    Some(Some(part))
}

/// Makes the bytes of pairs, one after the other.
#[derive(Default)]
pub(super) struct Encoder {
    /// One buffer for all parts of a pair.
    parts: Vec<u8>,
    bytes: Vec<u8>,
}

impl Encoder {
    /// Returns the bytes of a pair under a version.
    pub fn encode(
        &mut self,
        db: &Connection,
        shapes: &mut Shapes,
        (pair, version): (&Pair, u32),
        load: Option<LoadId>,
    ) -> Fallible<&[u8]> {
        let ends = self.put_parts(db, shapes, pair)?;
        let mut start = 0;
        let [a_base, b_base, a_seen, b_seen, a_meta, b_meta, ab, ba] = ends.map(|end| {
            let part = self.parts.get(start..end).filter(|part| !part.is_empty());
            start = end;
            part
        });
        let stored = Stored {
            version,
            rules_version: pair.rules_version,
            load: load.map(|load| load.0),
            ids: [pair.a.id.as_deref(), pair.b.id.as_deref()],
            bases: [a_base, b_base],
            seen: [a_seen, b_seen],
            metas: [a_meta, b_meta],
            ways: [ab, ba],
        };
        self.bytes.clear();
        stored.put(&mut self.bytes);
        Ok(&self.bytes)
    }

    /// Writes the parts into their buffer and returns their ends.
    fn put_parts(&mut self, db: &Connection, shapes: &mut Shapes, pair: &Pair) -> Fallible<[usize; 8]> {
        let bytes = &mut self.parts;
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
}

/// Returns a stored pair with a status noted in it, as its next version; `None` where it says so already.
pub(super) fn marked(stored: Stored<'_>, direction: Direction, mark: Mark) -> Fallible<Option<Vec<u8>>> {
    let mut way = row::take_way(*of(&stored.ways, direction.from()))?;
    if !mark.apply(&mut way) {
        return Ok(None);
    }
    let mut part = Vec::with_capacity(32);
    row::put_way(&mut part, &way);
    let part = Some(part.as_slice()).filter(|part| !part.is_empty());
    let [ab, ba] = stored.ways;
    let ways = match direction {
        Direction::AToB => [part, ba],
        Direction::BToA => [ab, part],
    };
    let mut bytes = Vec::with_capacity(256);
    Stored { version: stored.version.wrapping_add(1), ways, ..stored }.put(&mut bytes);
    Ok(Some(bytes))
}

/// Of a side, only what is added up.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Bare {
    pub is_there: bool,
    pub epoch: u32,
}

/// Reads pairs of one snapshot.
pub(super) struct Reading<'db> {
    db: &'db Connection,
    shapes: &'db mut Shapes,
    /// Loads that have not ended: their pairs read as if they had not been staged.
    open_loads: Vec<OpenLoad>,
    /// The shape that was last found to be that of the looks.
    looked: Option<u32>,
}

impl<'db> Reading<'db> {
    pub fn new(db: &'db Connection, shapes: &'db mut Shapes) -> Fallible<Self> {
        let open_loads = super::load::open(db, None)?;
        Ok(Self { db, shapes, open_loads, looked: None })
    }

    /// Makes the pair of a key.
    pub fn pair(&mut self, key: &[u8], stored: &Stored<'_>) -> Fallible<Pair> {
        let Stored { version, rules_version, .. } = *stored;
        let mut pair = Pair { version, rules_version, ..Pair::new(Key::from_bytes(key)) };
        for side in Side::BOTH {
            self.side(stored, side, pair.side_mut(side))?;
        }
        let [ab, ba] = stored.ways;
        (pair.a_to_b, pair.b_to_a) = (row::take_way(ab)?, row::take_way(ba)?);
        if let Some(direction) = self.staged(stored) {
            moves::unload(&mut pair, direction);
        }
        Ok(pair)
    }

    /// Tells whether the record of a stored pair looks so on that side, and is not dead in the direction from there.
    /// A no may be wrong: then the pair itself tells.
    pub fn looks_so(&mut self, stored: &Stored<'_>, looks: &Looks, look: &[u8]) -> Fallible<bool> {
        let is_as_base = of(&stored.seen, looks.side).is_none();
        if !is_as_base || self.staged(stored).is_some() || row::is_dead(*of(&stored.ways, looks.side)) {
            return Ok(false);
        }
        let Some((shape, values)) = stored.base(looks.side)? else { return Ok(false) };
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

    fn side(&mut self, stored: &Stored<'_>, side: Side, state: &mut SideState) -> Fallible<()> {
        state.id = of(&stored.ids, side).map(Into::into);
        state.base = match stored.base(side)? {
            Some((shape, values)) => Some(self.shapes.image(self.db, shape, values)?),
            None => None,
        };
        state.seen = match row::take_seen(*of(&stored.seen, side))? {
            SeenBytes::Plain(seen) => seen,
            SeenBytes::Changed(bytes) => {
                let (shape, values) = row::image_parts(bytes)?;
                Seen::Changed(self.shapes.image(self.db, shape, values)?)
            }
        };
        row::take_meta(*of(&stored.metas, side), state)
    }

    /// Reads what is added up of the sides of a stored pair.
    pub fn bare(&self, stored: &Stored<'_>) -> Fallible<[Bare; 2]> {
        let staged = self.staged(stored);
        let mut bare = [Bare::default(); 2];
        for (side, bare) in Side::BOTH.into_iter().zip(&mut bare) {
            // As `moves::unload` says it: nothing has reached the destination of a load that has not ended.
            if staged.is_some_and(|direction| direction.to() == side) {
                continue;
            }
            bare.is_there = row::is_there(*of(&stored.seen, side), of(&stored.bases, side).is_some());
            bare.epoch = row::epoch(*of(&stored.metas, side))?;
        }
        Ok(bare)
    }

    /// Returns the direction of the load that has staged a pair and has not ended.
    fn staged(&self, stored: &Stored<'_>) -> Option<Direction> {
        let load = stored.load?;
        self.open_loads.iter().find(|open| open.id.0 == load).map(|open| open.direction)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stored_pair_comes_back_and_a_cut_one_is_refused() {
        let cases = [
            Stored::default(),
            Stored {
                version: 7,
                rules_version: 300,
                load: Some(0),
                ids: [None, Some("é")],
                bases: [Some(b"base"), Some(b"")],
                seen: [None, Some(b"s")],
                metas: [Some(b"m"), None],
                ways: [None, Some(b"way")],
            },
        ];
        for stored in cases {
            let mut bytes = Vec::new();
            stored.put(&mut bytes);
            assert_eq!(Stored::parse(&bytes).expect("whole"), stored);
            for cut in 0..bytes.len() {
                assert!(Stored::parse(bytes.get(..cut).expect("a part")).is_err(), "cut at {cut}");
            }
        }
    }
}
