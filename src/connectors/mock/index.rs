//! Which objects have a text in a field.
//!
//! Keeps hashes instead of texts: what it finds has to be held against the object again.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// An object's id; the table and all that is kept beside it share one text.
pub type Id = Arc<str>;

/// Ids by the hash of a text in lower case.
#[derive(Default)]
pub(super) struct Index(HashMap<u64, Ids>);

/// Most texts are of one object.
enum Ids {
    One(Id),
    /// Two or more.
    Many(Box<BTreeSet<Id>>),
}

impl Index {
    /// Learns that an object has a text, case ignored.
    pub(super) fn add(&mut self, text: &str, id: &Id) {
        let Some(ids) = self.0.get_mut(&hash(text)) else {
            self.0.insert(hash(text), Ids::One(Arc::clone(id)));
            return;
        };
        match ids {
            Ids::One(known) if known == id => {}
            Ids::One(known) => {
                *ids = Ids::Many(Box::new([Arc::clone(known), Arc::clone(id)].into_iter().collect()));
            }
            Ids::Many(known) => {
                known.insert(Arc::clone(id));
            }
        }
    }

    /// Forgets that an object has a text.
    pub(super) fn drop(&mut self, text: &str, id: &str) {
        let hash = hash(text);
        match self.0.get_mut(&hash) {
            Some(Ids::One(known)) if **known == *id => {
                self.0.remove(&hash);
            }
            Some(ids) => {
                if let Ids::Many(known) = ids {
                    known.remove(id);
                    if let (1, Some(last)) = (known.len(), known.first()) {
                        *ids = Ids::One(Arc::clone(last));
                    }
                }
            }
            None => {}
        }
    }

    /// Gives the ids of the objects that may have a text, in order.
    pub(super) fn of(&self, text: &str) -> impl Iterator<Item = &Id> {
        let (one, many) = match self.0.get(&hash(text)) {
            None => (None, None),
            Some(Ids::One(id)) => (Some(id), None),
            Some(Ids::Many(ids)) => (None, Some(ids)),
        };
        one.into_iter().chain(many.into_iter().flat_map(|ids| ids.iter()))
    }
}

fn hash(text: &str) -> u64 {
    xxhash_rust::xxh3::xxh3_64(text.to_lowercase().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_come_and_go() {
        let mut index = Index::default();
        let told = |index: &Index| index.of("Ada").map(|id| id.to_string()).collect::<Vec<_>>().join(" ");
        // (id, comes, told, why)
        let cases = [
            ("2", true, "2", "one"),
            ("2", true, "2", "the same one"),
            ("1", true, "1 2", "another, in order"),
            ("3", false, "1 2", "one that was not there"),
            ("2", false, "1", "down to one"),
            ("2", false, "1", "gone already"),
            ("1", false, "", "none"),
            ("1", false, "", "nothing there"),
        ];
        for (id, comes, expected, why) in cases {
            match comes {
                true => index.add("ada", &id.into()),
                false => index.drop("ADA", id),
            }
            assert_eq!(told(&index), expected, "{why}");
        }
    }
}
