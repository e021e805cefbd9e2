//! Which objects have a text, in a field or wherever a mock finds it.
//!
//! Keeps hashes instead of texts: what is found is held against the object again.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use compact_str::CompactString;

use super::object::Object;

/// An object's id; the table and all that is kept beside it share one text.
pub type Id = Arc<str>;

/// Reads the texts by which an object is found.
pub(super) type Texts = Box<dyn Fn(&Object) -> Vec<CompactString> + Send + Sync>;

/// Ids by the hash of a text in lower case.
pub(super) struct Index {
    texts: Texts,
    ids: HashMap<u64, Ids>,
}

/// Most texts are of one object.
enum Ids {
    One(Id),
    /// Two or more.
    #[expect(clippy::box_collection, reason = "an entry, of which there is one a row, stays at 16 bytes")]
    Many(Box<BTreeSet<Id>>),
}

impl Index {
    pub(super) fn new(texts: Texts) -> Self {
        Self { texts, ids: HashMap::new() }
    }

    /// Learns of an object.
    pub(super) fn add(&mut self, id: &Id, object: &Object) {
        for text in (self.texts)(object) {
            self.link(&text, id);
        }
    }

    /// Forgets an object.
    pub(super) fn drop(&mut self, id: &str, object: &Object) {
        for text in (self.texts)(object) {
            self.unlink(&text, id);
        }
    }

    /// Tells whether an object has a text, case ignored.
    pub(super) fn has(&self, object: &Object, text: &str) -> bool {
        let wanted = text.to_lowercase();
        (self.texts)(object).iter().any(|own| own.as_str().to_lowercase() == wanted)
    }

    fn link(&mut self, text: &str, id: &Id) {
        let hash = hash(text);
        let Some(ids) = self.ids.get_mut(&hash) else {
            self.ids.insert(hash, Ids::One(Arc::clone(id)));
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

    fn unlink(&mut self, text: &str, id: &str) {
        let hash = hash(text);
        match self.ids.get_mut(&hash) {
            Some(Ids::One(known)) if **known == *id => {
                self.ids.remove(&hash);
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

    /// Counts the objects that may have a text.
    pub(super) fn count(&self, text: &str) -> usize {
        match self.ids.get(&hash(text)) {
            None => 0,
            Some(Ids::One(_)) => 1,
            Some(Ids::Many(ids)) => ids.len(),
        }
    }

    /// Gives the ids of the objects that may have a text, in order.
    pub(super) fn of(&self, text: &str) -> impl Iterator<Item = &Id> {
        let (one, many) = match self.ids.get(&hash(text)) {
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
        let mut index = Index::new(Box::new(|_| Vec::new()));
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
                true => index.link("ada", &id.into()),
                false => index.unlink("ADA", id),
            }
            assert_eq!(told(&index), expected, "{why}");
        }
    }
}
