//! Pairs in key order, in the bytes of one row. Pure.
//!
//! A sheaf is entries one behind the other: the length of the key, the key, the length of the pair, the pair
//! (`pair_row.rs`). Lengths are LEB128.

use std::ops::Range;

use super::row::{put_bytes, take_bytes};
use super::trouble::{Fallible, damaged};

/// Bytes of a sheaf with the key that it begins at, unless it is a single pair that takes more: two fill a page of 8 KiB.
pub(super) const BYTES_MAX: usize = 3_900;

/// One pair of a sheaf.
pub(super) struct Entry<'b> {
    pub key: &'b [u8],
    pub pair: &'b [u8],
    /// The bytes that it takes in the sheaf.
    pub range: Range<usize>,
}

/// The pairs of a sheaf, from some byte on.
pub(super) struct Entries<'b> {
    body: &'b [u8],
    at: usize,
}

/// Reads a sheaf.
pub(super) fn entries(body: &[u8]) -> Entries<'_> {
    Entries { body, at: 0 }
}

impl<'b> Entries<'b> {
    fn read(&mut self) -> Option<Entry<'b>> {
        let mut rest = self.body.get(self.at..)?;
        let (key, pair) = (take_bytes(&mut rest)?, take_bytes(&mut rest)?);
        let range = self.at..self.body.len() - rest.len();
        self.at = range.end;
        Some(Entry { key, pair, range })
    }
}

impl<'b> Iterator for Entries<'b> {
    type Item = Fallible<Entry<'b>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.at >= self.body.len() {
            return None;
        }
        let read = self.read().ok_or_else(|| damaged("a run of pairs"));
        if read.is_err() {
            self.at = self.body.len();
        }
        Some(read)
    }
}

/// Finds the pair of a key from some byte on, in front of which all keys are less: the bytes that it takes, or the empty
/// place where it would stand.
pub(super) fn place(body: &[u8], key: &[u8], from: usize) -> Fallible<Range<usize>> {
    for entry in (Entries { body, at: from }) {
        let Entry { key: standing, range, .. } = entry?;
        if standing >= key {
            return Ok(if standing == key { range } else { range.start..range.start });
        }
    }
    Ok(body.len()..body.len())
}

/// Returns the pair of a key.
pub(super) fn find<'b>(body: &'b [u8], key: &[u8]) -> Fallible<Option<&'b [u8]>> {
    for entry in entries(body) {
        let entry = entry?;
        if entry.key >= key {
            return Ok((entry.key == key).then_some(entry.pair));
        }
    }
    Ok(None)
}

/// Appends a pair.
pub(super) fn put(body: &mut Vec<u8>, key: &[u8], pair: &[u8]) {
    put_bytes(body, key);
    put_bytes(body, pair);
}

/// Returns the last key of a sheaf.
pub(super) fn last(body: &[u8]) -> Fallible<Option<&[u8]>> {
    let mut last = None;
    for entry in entries(body) {
        last = Some(entry?.key);
    }
    Ok(last)
}

/// Returns where a sheaf is to be parted that has outgrown its bounds: behind its first pair where that was put in last,
/// as keys in falling order are, else in the middle. At neither end; `None` where it is a single pair.
fn middle(body: &[u8], put_in: &Range<usize>) -> Fallible<Option<usize>> {
    let wanted = if put_in.start == 0 { put_in.end } else { body.len() / 2 };
    for entry in entries(body) {
        let Range { start, end } = entry?.range;
        if end >= wanted {
            // A last pair that is larger than all before it together stands alone.
            let at = if end < body.len() { end } else { start };
            return Ok(Some(at).filter(|at| *at > 0));
        }
    }
    Ok(None)
}

/// Parts a sheaf until each part is within the limit, or a single pair; `put_in` is what was put in last.
pub(super) fn parts(body: Vec<u8>, put_in: &Range<usize>, limit: usize) -> Fallible<Vec<Vec<u8>>> {
    let mut parts = Vec::new();
    let mut left = vec![(body, put_in.clone())];
    while let Some((mut body, put_in)) = left.pop() {
        let at = if body.len() > limit { middle(&body, &put_in)? } else { None };
        if let Some(at) = at {
            // Whatever is parted again is so in the middle.
            let behind = body.split_off(at);
            let end = behind.len();
            left.push((behind, end..end));
            let end = body.len();
            left.push((body, end..end));
        } else {
            parts.push(body);
        }
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sheaf(keys: &[&str]) -> Vec<u8> {
        let mut body = Vec::new();
        keys.iter().for_each(|key| put(&mut body, key.as_bytes(), format!("pair of {key}").as_bytes()));
        body
    }

    fn keys(body: &[u8]) -> Vec<String> {
        let keys =
            entries(body).map(|entry| String::from_utf8_lossy(entry.expect("an entry").key).into_owned());
        keys.collect()
    }

    #[test]
    fn pairs_come_back_in_order_and_are_found() {
        let body = sheaf(&["b", "d", "f"]);
        assert_eq!(keys(&body), ["b", "d", "f"]);
        for (key, wanted) in
            [("a", None), ("b", Some("pair of b")), ("c", None), ("f", Some("pair of f")), ("g", None)]
        {
            let found = find(&body, key.as_bytes()).expect("whole");
            assert_eq!(found, wanted.map(str::as_bytes), "{key}");
        }
    }

    #[test]
    fn a_place_is_where_the_pair_stands_or_would_stand() {
        let body = sheaf(&["b", "d"]);
        let each = body.len() / 2;
        // (key, searched from, place)
        let cases = [
            ("a", 0, 0..0),
            ("b", 0, 0..each),
            ("c", 0, each..each),
            ("d", each, each..2 * each),
            ("e", each, 2 * each..2 * each),
        ];
        for (key, from, wanted) in cases {
            assert_eq!(place(&body, key.as_bytes(), from).expect("whole"), wanted, "{key}");
        }
    }

    #[test]
    fn it_is_parted_until_each_part_is_small_enough_or_alone() {
        let of = |pairs: &[(&str, usize)]| {
            let mut body = Vec::new();
            pairs.iter().for_each(|(key, length)| put(&mut body, key.as_bytes(), &vec![0; *length]));
            body
        };
        let four = [("a", 100), ("b", 100), ("c", 100), ("d", 100)];
        let large = [("a", 10), ("b", 10), ("c", 5_000), ("d", 10), ("e", 5_000)];
        type Pairs<'p> = &'p [(&'p str, usize)];
        type Parts<'p> = &'p [&'p [&'p str]];
        // (pairs, the one that was put in last, limit, parts)
        let cases: [(Pairs<'_>, usize, usize, Parts<'_>); 5] = [
            (&four, 1, 500, &[&["a", "b", "c", "d"]]),
            (&four, 1, 300, &[&["a", "b"], &["c", "d"]]),
            (&four, 0, 350, &[&["a"], &["b", "c", "d"]]),
            (&large, 2, 300, &[&["a", "b"], &["c"], &["d"], &["e"]]),
            (&large[2..3], 0, 300, &[&["c"]]),
        ];
        for (pairs, place, limit, wanted) in cases {
            let body = of(pairs);
            let put_in = entries(&body).nth(place).expect("a pair").expect("whole").range;
            let parts = parts(body, &put_in, limit).expect("whole");
            assert_eq!(
                parts.iter().map(|part| keys(part)).collect::<Vec<_>>(),
                wanted,
                "{place} of {pairs:?}"
            );
        }
    }

    #[test]
    fn the_last_key_is_that_of_the_last_pair() {
        assert_eq!(last(&sheaf(&["a", "b"])).expect("whole"), Some(&b"b"[..]));
        assert_eq!(last(&[]).expect("whole"), None);
    }

    #[test]
    fn what_is_cut_is_refused() {
        let body = sheaf(&["key"]);
        for cut in 1..body.len() {
            let cut = body.get(..cut).expect("a part");
            assert!(find(cut, b"other").is_err() || find(cut, b"key").is_err(), "{cut:?}");
        }
    }
}
