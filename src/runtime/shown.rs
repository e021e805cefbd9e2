//! The keys that one scan or listing has shown, as hashes.
//!
//! Invariant: about 9 bytes a key, and growing copies nothing. As long as keys come in order, noting one is to write its
//! hash down: nothing is searched, and nothing sorted. Of a scan in order that is longer than it may remember, only the
//! sums of its spans are left: a scan of any length stays small, and whoever needs more of it reads it again.

use std::cmp::Ordering;
use std::collections::{BTreeSet, HashSet};
use std::hash::{BuildHasherDefault, Hasher};

use crate::engine::record::{Key, Presence};

/// Keys of a piece.
const PIECE: usize = 64 * 1024;
/// Words of a piece's filter: 8 bits a key, three of them set, all in one word: one in twenty keys
/// that the piece does not have is searched for in vain.
const WORDS: usize = PIECE / 8;

/// Keys of a span.
const SPAN: u64 = 1024;
/// Keys of records that can't be read which are remembered beside the spans.
const ODD_MAX: usize = 10_000;

/// Keys one behind the other, added up.
#[derive(Clone, Debug)]
pub struct Span {
    pub presence: Presence,
    pub last: Key,
}

/// What was shown.
#[derive(Default)]
pub struct Shown {
    pub presence: Presence,
    /// The keys that it may remember one by one; `None` for all.
    limit: Option<u64>,
    /// Empty where nobody will ask for them, or keys did not come in order.
    spans: Vec<Span>,
    /// Keys of what stands there and can't be read: they may be known as records, and may not.
    odd: BTreeSet<Key>,
    order: Order,
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

/// How the keys have come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Order {
    /// Each behind the one before.
    #[default]
    Kept,
    /// The same, and they are not remembered any more.
    Thin,
    Broken,
    /// Broken after they were forgotten: whether a key was shown before can't be told.
    Lost,
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
    /// Remembers so many keys one by one.
    pub fn with_limit(limit: u64) -> Self {
        Self { limit: Some(limit), ..Self::default() }
    }

    /// Tells that what was noted last can't be told from what was shown before: the scan has to begin anew, and to
    /// remember all.
    pub fn is_lost(&self) -> bool {
        self.order == Order::Lost
    }

    /// Gives the spans of a scan that is not remembered key by key.
    pub fn spans(&self) -> Option<&[Span]> {
        matches!(self.order, Order::Thin | Order::Lost).then_some(self.spans.as_slice())
    }

    /// Gives the keys of what can't be read, where spans stand for all others.
    pub fn odd(&self) -> &BTreeSet<Key> {
        &self.odd
    }

    /// Tells whether all keys came in order.
    pub fn is_in_order(&self) -> bool {
        matches!(self.order, Order::Kept | Order::Thin)
    }

    /// Notes the key of something that can't be read.
    pub fn note_odd(&mut self, key: &Key) {
        self.note(key);
        if self.limit.is_some() && self.order != Order::Broken {
            self.odd.insert(key.clone());
        }
        // More than that may be anything but records in order.
        if self.odd.len() > ODD_MAX {
            self.order = if self.spans().is_some() { Order::Lost } else { Order::Broken };
            self.odd.clear();
        }
    }

    /// Notes a key; false where it was shown before.
    pub fn note(&mut self, key: &Key) -> bool {
        let is_behind = match key.as_bytes().cmp(self.last.as_slice()) {
            // The one before, once more.
            Ordering::Equal if self.is_in_order() => return false,
            place => place.is_gt(),
        };
        let hash = key.hash64();
        if is_behind {
            self.last.clear();
            self.last.extend_from_slice(key.as_bytes());
        }
        match self.order {
            Order::Kept if !is_behind => {
                (self.order, self.spans) = (Order::Broken, Vec::new());
                self.odd.clear();
            }
            Order::Thin if !is_behind => self.order = Order::Lost,
            _ => {}
        }
        let is_new = is_behind || self.spans().is_some() || !self.has_hash(hash);
        if is_new {
            self.presence.add(hash);
            if self.spans().is_none() {
                self.insert(hash);
            }
            self.span(key, hash);
        }
        is_new
    }

    /// Adds a key to its span, and forgets all of them where they have become too many.
    fn span(&mut self, key: &Key, hash: u64) {
        let Some(limit) = self.limit.filter(|_| self.order != Order::Broken) else { return };
        match self.spans.last_mut().filter(|span| span.presence.count < SPAN) {
            Some(span) => {
                span.presence.add(hash);
                span.last.clone_from(key);
            }
            None => {
                let mut presence = Presence::default();
                presence.add(hash);
                self.spans.push(Span { presence, last: key.clone() });
            }
        }
        if self.order == Order::Kept && self.presence.count > limit {
            self.order = Order::Thin;
            (self.closed, self.open, self.found, self.noted) = Default::default();
        }
    }

    /// Tells whether a key was shown; where keys are not remembered, whether it may have been.
    pub fn has(&mut self, key: &Key) -> bool {
        match self.spans() {
            Some(_) => key.as_bytes() <= self.last.as_slice(),
            None => self.has_hash(key.hash64()),
        }
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
    fn a_scan_that_is_too_long_is_added_up_span_by_span() {
        let key = |number: u64| Key::from_text(&format!("{number:08}")).expect("a key");
        let scan = |keys: u64| {
            let mut shown = Shown::with_limit(2000);
            (0..keys).for_each(|number| assert!(shown.note(&key(number)), "{number} is new"));
            shown
        };
        let mut short = scan(2000);
        assert!(short.spans().is_none() && short.has(&key(7)) && !short.has(&key(2000)));
        assert!(!short.note(&key(7)) && !short.is_lost(), "it remembers every key");
        assert!(short.note(&key(9000)) && short.spans().is_none(), "out of order, it goes on to remember");

        let long = scan(5000);
        let spans = long.spans().expect("spans");
        assert_eq!(
            spans.iter().map(|span| span.presence.count).collect::<Vec<_>>(),
            [1024, 1024, 1024, 1024, 904]
        );
        assert_eq!(spans.last().map(|span| &span.last), Some(&key(4999)));
        let mut total = Presence::default();
        spans.iter().for_each(|span| total.merge(span.presence));
        assert_eq!((total, long.is_lost()), (long.presence, false));
        let mut long = long;
        assert!(long.has(&key(7)) && long.has(&key(4999)) && !long.has(&key(5000)), "it may have been");

        let mut lost = scan(5000);
        assert!(!lost.note(&key(4999)) && !lost.is_lost(), "the one before, once more");
        lost.note(&key(7));
        assert!(lost.is_lost(), "nobody knows whether that was shown");
    }

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
