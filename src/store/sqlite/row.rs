//! The small blobs inside a pair's row. Pure.
//!
//! Numbers are LEB128, signed ones zigzag; a text at the end needs no length. An image is the number
//! of its shape, then [`Image::encode`].

use std::ops::Range;

use compact_str::CompactString;

use super::trouble::{Fallible, damaged};
use crate::engine::plan::{DirectionState, Seen, SideState, Status};
use crate::engine::record::{Image, Timestamp};

const NEVER: u8 = 0;
const CHANGED: u8 = 1;
const DELETED: u8 = 2;
const DELETED_AT: u8 = 3;

const HAS_MODIFIED: u8 = 1;
const HAS_REVISION: u8 = 2;

const HAS_QUEUED: u8 = 1;
const HAS_SYNCED: u8 = 2;
const HAS_ERROR: u8 = 4;

/// Appends an image under its shape's number.
pub(super) fn put_image(bytes: &mut Vec<u8>, shape: u32, image: &Image) {
    put_unsigned(bytes, shape.into());
    image.encode(bytes);
}

/// Appends the image of B after that of A, whose bytes stand in this range: only its shape's number where
/// the values are the same, as they are wherever rules only rename; `is_same` says so where it is known already. An
/// image is never without values.
pub(super) fn put_image_beside(
    bytes: &mut Vec<u8>,
    of_a: Range<usize>,
    shape: u32,
    image: &Image,
    is_same: bool,
) -> Fallible<()> {
    put_unsigned(bytes, shape.into());
    if is_same {
        return Ok(());
    }
    let start = bytes.len();
    image.encode(bytes);
    if of_a.is_empty() {
        return Ok(());
    }
    let (_, values) = image_parts(bytes.get(of_a).unwrap_or_default())?;
    if bytes.get(start..) == Some(values) {
        bytes.truncate(start);
    }
    Ok(())
}

/// Splits an image's bytes into its shape's number and its values.
pub(super) fn image_parts(bytes: &[u8]) -> Fallible<(u32, &[u8])> {
    let mut rest = bytes;
    let shape = take_u32(&mut rest).ok_or_else(|| damaged("the shape of an image"))?;
    Ok((shape, rest))
}

/// What a side's `seen` column holds, its image still in bytes.
pub(super) enum SeenBytes<'b> {
    Plain(Seen),
    Changed(&'b [u8]),
}

/// Appends what a side looks like; nothing for [`Seen::AsBase`], which is stored as NULL.
pub(super) fn put_seen(bytes: &mut Vec<u8>, seen: &Seen, shape: u32) {
    match seen {
        Seen::AsBase => {}
        Seen::Never => bytes.push(NEVER),
        Seen::Changed(image) => {
            bytes.push(CHANGED);
            put_image(bytes, shape, image);
        }
        Seen::Deleted(None) => bytes.push(DELETED),
        Seen::Deleted(Some(at)) => {
            bytes.push(DELETED_AT);
            put_signed(bytes, at.0);
        }
    }
}

/// Reads what [`put_seen`] wrote; `None` is the NULL.
pub(super) fn take_seen(bytes: Option<&[u8]>) -> Fallible<SeenBytes<'_>> {
    let Some(bytes) = bytes else { return Ok(SeenBytes::Plain(Seen::AsBase)) };
    let seen = match bytes {
        [NEVER] => Seen::Never,
        [CHANGED, image @ ..] => return Ok(SeenBytes::Changed(image)),
        [DELETED] => Seen::Deleted(None),
        [DELETED_AT, rest @ ..] => {
            let mut rest = rest;
            let at = take_signed(&mut rest).ok_or_else(|| damaged("the time of a deletion"))?;
            Seen::Deleted(Some(Timestamp(at)))
        }
        _ => return Err(damaged("what a side looks like")),
    };
    Ok(SeenBytes::Plain(seen))
}

/// Tells from a `seen` column whether the record is there; `has_base`: something was agreed on.
pub(super) fn is_there(bytes: Option<&[u8]>, has_base: bool) -> bool {
    match bytes {
        None => has_base,
        Some(bytes) => bytes.first() == Some(&CHANGED),
    }
}

/// Appends the times, the scan number and the revision of a side.
pub(super) fn put_meta(bytes: &mut Vec<u8>, side: &SideState) {
    let flags = flag(HAS_MODIFIED, side.modified_at.is_some()) | flag(HAS_REVISION, side.revision.is_some());
    bytes.push(flags);
    put_signed(bytes, side.seen_at.0);
    put_unsigned(bytes, side.epoch.into());
    if let Some(at) = side.modified_at {
        put_signed(bytes, at.0);
    }
    if let Some(revision) = &side.revision {
        bytes.extend_from_slice(revision.as_bytes());
    }
}

/// Reads what [`put_meta`] wrote into a side; NULL leaves it as it is.
pub(super) fn take_meta(bytes: Option<&[u8]>, side: &mut SideState) -> Fallible<()> {
    let Some(bytes) = bytes else { return Ok(()) };
    let mut read = || {
        let mut rest = bytes;
        let flags = take_byte(&mut rest)?;
        side.seen_at = Timestamp(take_signed(&mut rest)?);
        side.epoch = take_u32(&mut rest)?;
        if flags & HAS_MODIFIED != 0 {
            side.modified_at = Some(Timestamp(take_signed(&mut rest)?));
        }
        if flags & HAS_REVISION != 0 {
            side.revision = Some(CompactString::from_utf8(rest).ok()?);
        }
        Some(())
    };
    read().ok_or_else(|| damaged("the times of a side"))
}

/// Reads the scan number of what [`put_meta`] wrote; NULL has none.
pub(super) fn epoch(bytes: Option<&[u8]>) -> Fallible<u32> {
    let Some(bytes) = bytes else { return Ok(0) };
    let read = || {
        let mut rest = bytes;
        take_byte(&mut rest)?;
        take_signed(&mut rest)?;
        take_u32(&mut rest)
    };
    read().ok_or_else(|| damaged("the scan of a side"))
}

/// Appends a direction's state; nothing for the default, which is stored as NULL.
pub(super) fn put_way(bytes: &mut Vec<u8>, way: &DirectionState) {
    if *way == DirectionState::default() {
        return;
    }
    bytes.push(way.status as u8);
    let flags = flag(HAS_QUEUED, way.queued_at.is_some())
        | flag(HAS_SYNCED, way.synced_at.is_some())
        | flag(HAS_ERROR, way.error.is_some());
    bytes.push(flags);
    put_unsigned(bytes, way.attempts.into());
    put_unsigned(bytes, way.rules_version.into());
    for at in [way.queued_at, way.synced_at].into_iter().flatten() {
        put_signed(bytes, at.0);
    }
    if let Some(error) = &way.error {
        bytes.extend_from_slice(error.as_bytes());
    }
}

/// Tells whether a direction's state, as [`put_way`] wrote it, says that its record is dead.
pub(super) fn is_dead(bytes: Option<&[u8]>) -> bool {
    bytes.and_then(<[u8]>::first) == Some(&(Status::Dead as u8))
}

/// Reads what [`put_way`] wrote.
pub(super) fn take_way(bytes: Option<&[u8]>) -> Fallible<DirectionState> {
    let Some(bytes) = bytes else { return Ok(DirectionState::default()) };
    let read = || {
        let mut rest = bytes;
        let status = *Status::ALL.get(usize::from(take_byte(&mut rest)?))?;
        let flags = take_byte(&mut rest)?;
        let attempts = take_u32(&mut rest)?;
        let rules_version = take_u32(&mut rest)?;
        let mut time = |mask: u8| match flags & mask {
            0 => Some(None),
            _ => take_signed(&mut rest).map(|at| Some(Timestamp(at))),
        };
        let queued_at = time(HAS_QUEUED)?;
        let synced_at = time(HAS_SYNCED)?;
        let error = match flags & HAS_ERROR {
            0 => None,
            _ => Some(std::str::from_utf8(rest).ok()?.to_owned()),
        };
        Some(DirectionState { status, attempts, error, rules_version, queued_at, synced_at })
    };
    read().ok_or_else(|| damaged("the status of a direction"))
}

fn flag(mask: u8, is_set: bool) -> u8 {
    if is_set { mask } else { 0 }
}

/// Appends bytes behind their number.
pub(super) fn put_bytes(bytes: &mut Vec<u8>, part: &[u8]) {
    put_unsigned(bytes, part.len() as u64);
    bytes.extend_from_slice(part);
}

/// Reads what [`put_bytes`] wrote.
pub(super) fn take_bytes<'b>(rest: &mut &'b [u8]) -> Option<&'b [u8]> {
    let length = take_unsigned(rest)?;
    let (part, left) = rest.split_at_checked(usize::try_from(length).ok()?)?;
    *rest = left;
    Some(part)
}

pub(super) fn put_unsigned(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

fn put_signed(bytes: &mut Vec<u8>, number: i64) {
    put_unsigned(bytes, ((number << 1) ^ (number >> 63)) as u64);
}

fn take_byte(rest: &mut &[u8]) -> Option<u8> {
    let (&byte, left) = rest.split_first()?;
    *rest = left;
    Some(byte)
}

pub(super) fn take_unsigned(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0u64;
    for shift in (0..64).step_by(7) {
        let byte = take_byte(rest)?;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

pub(super) fn take_u32(rest: &mut &[u8]) -> Option<u32> {
    take_unsigned(rest)?.try_into().ok()
}

fn take_signed(rest: &mut &[u8]) -> Option<i64> {
    let number = take_unsigned(rest)?;
    Some((number >> 1) as i64 ^ -((number & 1) as i64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back_at_their_edges() {
        for number in [0, 1, -1, 63, -64, 64, i64::MAX, i64::MIN] {
            let mut bytes = Vec::new();
            put_signed(&mut bytes, number);
            assert_eq!(take_signed(&mut bytes.as_slice()), Some(number), "{number}");
        }
    }

    #[test]
    fn a_direction_comes_back_and_a_cut_one_is_refused() {
        let way = DirectionState {
            status: Status::Dead,
            attempts: 300,
            error: Some("é".into()),
            rules_version: u32::MAX,
            queued_at: None,
            synced_at: Some(Timestamp(-5)),
        };
        let mut bytes = Vec::new();
        put_way(&mut bytes, &way);
        assert_eq!(take_way(Some(&bytes)).expect("whole"), way);
        for cut in 0..5 {
            assert!(take_way(bytes.get(..cut)).is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn a_side_comes_back_with_and_without_its_rarer_parts() {
        let full = SideState {
            revision: Some("r1".into()),
            seen_at: Timestamp(1_700_000_000_000),
            modified_at: Some(Timestamp(7)),
            epoch: 9,
            ..SideState::default()
        };
        for side in [full, SideState::default()] {
            let mut bytes = Vec::new();
            put_meta(&mut bytes, &side);
            let mut back = SideState::default();
            take_meta(Some(&bytes), &mut back).expect("whole");
            assert_eq!(back, side);
        }
    }
}
