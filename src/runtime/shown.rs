//! The keys that one scan or listing has shown, as hashes.
//!
//! Invariant: about 9 bytes a key, and growing copies nothing: a scan of any length stays small. As long as keys come in
//! order, noting one is to write its hash down: nothing is searched, and nothing sorted.

use std::collections::HashSet;
use std::hash::{BuildHasherDefault, Hasher};

use crate::engine::record::{Key, Presence};

/// Keys of a piece.
const PIECE: usize = 64 * 1024;
/// Words of a piece's filter: 8 bits a key, three of them set, all in one word: one in twenty keys
/// that the piece does not have is searched for in vain.
const WORDS: usize = PIECE / 8;

/// What was shown.
#[derive(Default)]
pub struct Shown {
    pub presence: Presence,
    closed: Vec<Piece>,
    /// The latest hashes, as they came.
    open: Vec<u64>,
    /// So many of the open ones are among `found`.
    noted: usize,
    /// The open ones once more, to be searched; made when a key is asked for.
    found: HashSet<u64, BuildHasherDefault<AlreadyHashed>>,
    /// The greatest key so far, by its bytes: what comes behind it was not shown, and most scans go by keys.
    last: Vec<u8>,
}

/// A full piece.
struct Piece {
    /// As they came until somebody searches it; sorted from then on.
    hashes: Vec<u64>,
    /// Empty as long as they are not sorted.
    filter: Vec<u64>,
}

/// The values are hashes already.
#[derive(Default)]
struct AlreadyHashed(u64);

impl Hasher for AlreadyHashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

impl Shown {
    /// Notes a key; false where it was shown before.
    pub fn note(&mut self, key: &Key) -> bool {
        let hash = key.hash64();
        let is_behind = key.as_bytes() > self.last.as_slice();
        if is_behind {
            self.last.clear();
            self.last.extend_from_slice(key.as_bytes());
        }
        let is_new = is_behind || !self.has_hash(hash);
        if is_new {
            self.insert(hash);
            self.presence.add(hash);
        }
        is_new
    }

    /// Tells whether a key was shown.
    pub fn has(&mut self, key: &Key) -> bool {
        self.has_hash(key.hash64())
    }

    fn has_hash(&mut self, hash: u64) -> bool {
        self.found.extend(self.open.iter().skip(self.noted));
        self.noted = self.open.len();
        self.found.contains(&hash) || self.closed.iter_mut().any(|piece| piece.has(hash))
    }

    fn insert(&mut self, hash: u64) {
        self.open.push(hash);
        if self.open.len() == PIECE {
            self.closed.push(Piece { hashes: std::mem::take(&mut self.open), filter: Vec::new() });
            self.found.clear();
            self.noted = 0;
        }
    }
}

impl Piece {
    fn has(&mut self, hash: u64) -> bool {
        if self.filter.is_empty() {
            self.sort();
        }
        let bits = bits(hash);
        self.filter.get(place(hash)).is_some_and(|word| word & bits == bits)
            && self.hashes.binary_search(&hash).is_ok()
    }

    fn sort(&mut self) {
        self.hashes.sort_unstable();
        self.filter = vec![0; WORDS];
        for &hash in &self.hashes {
            if let Some(word) = self.filter.get_mut(place(hash)) {
                *word |= bits(hash);
            }
        }
    }
}

/// The word of a filter that a hash is marked in.
fn place(hash: u64) -> usize {
    (hash >> 32) as usize % WORDS
}

fn bits(hash: u64) -> u64 {
    [0, 6, 12].iter().fold(0, |bits, shift| bits | 1 << ((hash >> shift) & 63))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_shown_once_over_many_pieces() {
        const KEYS: usize = 3 * PIECE + 10;
        for why in ["by keys, as most scans go", "by numbers: texts go up and down", "backwards"] {
            let text = |number: usize| match why {
                "backwards" => format!("{:08}", 10 * KEYS - number),
                "by keys, as most scans go" => format!("{number:08}"),
                _ => number.to_string(),
            };
            let key = |number: usize| Key::from_text(&text(number)).expect("a key");
            let mut shown = Shown::default();
            for number in 0..KEYS {
                assert!(shown.note(&key(number)), "{why}: {number} is new");
            }
            assert_eq!(shown.presence.count, KEYS as u64);
            for number in (0..KEYS).step_by(97) {
                assert!(shown.has(&key(number)), "{why}: {number} was shown");
                assert!(!shown.note(&key(number)), "{why}: {number} comes a second time");
                assert!(!shown.has(&key(KEYS + number)), "{why}: {} was not", KEYS + number);
            }
            assert_eq!(shown.presence.count, KEYS as u64, "the second time counts for nothing");
        }
    }
}
