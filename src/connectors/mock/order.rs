//! The objects of a stream in the order of a mark, such as the moment of the last change, and the id.
//!
//! Invariant: holds just the objects that have a mark, each once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::index::Id;
use super::object::Object;

/// Reads the mark of an object; `None` where it has none that could be put in order.
pub(super) type Mark = Box<dyn Fn(&Object) -> Option<i64> + Send + Sync>;

/// How ids of the same mark stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rank {
    /// Byte by byte.
    Bytes,
    /// Shorter ones first, so that numbers count as numbers.
    Length,
}

/// Objects in order.
pub struct Order {
    mark: Mark,
    rank: Rank,
    places: BTreeSet<Place>,
    /// Objects without a mark.
    unmarked: usize,
}

/// By mark, by length where that counts, by id.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    mark: i64,
    length: usize,
    id: Id,
}

impl Order {
    /// Puts objects in order.
    pub(super) fn of(objects: &BTreeMap<Id, Object>, mark: Mark, rank: Rank) -> Self {
        let mut order = Self { mark, rank, places: BTreeSet::new(), unmarked: 0 };
        let marked = objects.iter().filter_map(|(id, object)| Some(((order.mark)(object)?, id)));
        // All at once: a tree that is made of sorted places is full.
        let places: BTreeSet<Place> = marked.map(|(mark, id)| order.place(mark, Arc::clone(id))).collect();
        order.unmarked = objects.len() - places.len();
        order.places = places;
        order
    }

    pub(super) fn add(&mut self, id: &Id, object: &Object) {
        match (self.mark)(object) {
            Some(mark) => drop(self.places.insert(self.place(mark, Arc::clone(id)))),
            None => self.unmarked += 1,
        }
    }

    pub(super) fn drop(&mut self, id: &Id, object: &Object) {
        match (self.mark)(object) {
            Some(mark) => drop(self.places.remove(&self.place(mark, Arc::clone(id)))),
            None => self.unmarked = self.unmarked.saturating_sub(1),
        }
    }

    /// Iterates over marks and ids from a place on, this place included.
    pub fn from(&self, mark: i64, id: &str) -> impl Iterator<Item = (i64, &Id)> {
        let places = self.places.range(self.place(mark, Id::from(id))..);
        places.map(|place| (place.mark, &place.id))
    }

    /// Counts the objects that stand in it.
    pub fn count(&self) -> usize {
        self.places.len()
    }

    /// Tells whether all objects stand in it.
    pub fn is_whole(&self) -> bool {
        self.unmarked == 0
    }

    fn place(&self, mark: i64, id: Id) -> Place {
        let length = match self.rank {
            Rank::Bytes => 0,
            Rank::Length => id.len(),
        };
        Place { mark, length, id }
    }
}
