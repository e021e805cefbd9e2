//! What we wrote, so that reading it back is known to be ours.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use super::org::lock;
use crate::engine::record::Timestamp;

/// Own writes that are remembered at most. What is forgotten is taken for somebody else's edit, travels once and
/// settles.
const MAX: usize = 100_000;

/// Object and key.
type Place = Arc<(String, String)>;

/// Our last writes.
pub struct Footprints {
    max: usize,
    prints: Mutex<Prints>,
}

#[derive(Default)]
struct Prints {
    /// Each with its number and, once it was read back, the stamp that it had then.
    by_place: HashMap<Place, (u64, Option<Timestamp>)>,
    /// By number: the oldest comes first.
    by_age: BTreeMap<u64, Place>,
    number: u64,
}

impl Default for Footprints {
    fn default() -> Self {
        Self { max: MAX, prints: Mutex::default() }
    }
}

impl Footprints {
    /// Remembers that we are about to write a record; beyond the bound the oldest is forgotten.
    pub fn leave(&self, object: &str, key: &str) {
        let mut prints = lock(&self.prints);
        let prints = &mut *prints;
        prints.number += 1;
        let place: Place = Arc::new((object.to_owned(), key.to_owned()));
        if let Some((earlier, _)) = prints.by_place.insert(Arc::clone(&place), (prints.number, None)) {
            prints.by_age.remove(&earlier);
        }
        prints.by_age.insert(prints.number, place);
        if prints.by_place.len() > self.max
            && let Some((_, oldest)) = prints.by_age.pop_first()
        {
            prints.by_place.remove(&oldest);
        }
    }

    /// Tells whether a record that our user changed last stands as we left it. Other programs may work under the
    /// same user, so only the first stamp seen after a write of ours counts.
    pub fn is_one(&self, object: &str, key: &str, stamp: Timestamp) -> bool {
        let mut prints = lock(&self.prints);
        match prints.by_place.get_mut(&(object.to_owned(), key.to_owned())) {
            Some((_, seen @ None)) => {
                *seen = Some(stamp);
                true
            }
            Some((_, Some(seen))) => *seen == stamp,
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_is_forgotten_first_and_one_that_is_written_again_is_new() {
        let prints = Footprints { max: 3, ..Footprints::default() };
        ["a", "b", "c", "a", "d"].iter().for_each(|key| prints.leave("Contact", key));
        // (key, is known, why)
        let cases = [
            ("b", false, "the oldest"),
            ("a", true, "written again"),
            ("c", true, "within the bound"),
            ("d", true, "the newest"),
        ];
        for (key, is_known, why) in cases {
            assert_eq!(prints.is_one("Contact", key, Timestamp(1)), is_known, "{key}: {why}");
        }
        assert!(prints.is_one("Contact", "a", Timestamp(1)), "shown again");
        assert!(!prints.is_one("Contact", "a", Timestamp(2)), "somebody else under our name");
        prints.leave("Contact", "a");
        assert!(prints.is_one("Contact", "a", Timestamp(3)), "ours again");
        assert!(!prints.is_one("Account", "a", Timestamp(3)), "another object");
    }
}
