//! The keys that one scan or listing has shown, as hashes.
//!
//! Invariant: about 9 bytes a key, and growing copies nothing: a scan of any length stays small.

use std::collections::HashSet;
use std::hash::{BuildHasherDefault, Hasher};

use super::link::Presence;
use crate::engine::record::Key;

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
    open: HashSet<u64, BuildHasherDefault<AlreadyHashed>>,
}

/// A full piece, sorted.
struct Piece {
    hashes: Vec<u64>,
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
        let is_new = self.insert(hash);
        if is_new {
            self.presence.add(hash);
        }
        is_new
    }

    /// Tells whether a key was shown.
    pub fn has(&self, key: &Key) -> bool {
        self.has_hash(key.hash64())
    }

    fn has_hash(&self, hash: u64) -> bool {
        self.open.contains(&hash) || self.closed.iter().any(|piece| piece.has(hash))
    }

    fn insert(&mut self, hash: u64) -> bool {
        if self.closed.iter().any(|piece| piece.has(hash)) || !self.open.insert(hash) {
            return false;
        }
        if self.open.len() == PIECE {
            self.closed.push(Piece::of(self.open.drain().collect()));
        }
        true
    }
}

impl Piece {
    fn of(mut hashes: Vec<u64>) -> Self {
        hashes.sort_unstable();
        let mut filter = vec![0; WORDS];
        for &hash in &hashes {
            if let Some(word) = filter.get_mut(place(hash)) {
                *word |= bits(hash);
            }
        }
        Self { hashes, filter }
    }

    fn has(&self, hash: u64) -> bool {
        let bits = bits(hash);
        self.filter.get(place(hash)).is_some_and(|word| word & bits == bits)
            && self.hashes.binary_search(&hash).is_ok()
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
        let key = |number: usize| Key::from_text(&number.to_string()).expect("a key");
        let mut shown = Shown::default();
        let keys = 3 * PIECE + 10;
        for number in 0..keys {
            assert!(shown.note(&key(number)), "{number} is new");
        }
        assert_eq!(shown.presence.count, keys as u64);
        for number in (0..keys).step_by(97) {
            assert!(shown.has(&key(number)), "{number} was shown");
            assert!(!shown.note(&key(number)), "{number} comes a second time");
            assert!(!shown.has(&key(keys + number)), "{} was not", keys + number);
        }
        assert_eq!(shown.presence.count, keys as u64, "the second time counts for nothing");
    }
}
