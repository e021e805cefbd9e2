//! Fields that the rules write and that can't be written.
//!
//! They are no mistake of the rules' text, and as long as no value of theirs differs nothing is sent there; so rules
//! that name them compile, and the check before the first run says it.

use std::collections::BTreeSet;

use super::compiled::{DeletePolicy, LinkFacts, LinkRules};
use crate::engine::record::Direction;

impl LinkRules {
    /// Says of each direction which of the fields that it writes can't be written, and what helps.
    pub fn barred(&self, facts: &LinkFacts) -> Vec<String> {
        let mut said = Vec::new();
        for direction in Direction::BOTH {
            let (Some(way), end) = (self.way(direction), facts.end(direction.to())) else { continue };
            let shape = self.shape(direction.to());
            let key = self.key(direction.to());
            let others = way.targets().iter().copied().filter(|target| !key.contains(target));
            // An update finds its record by the key, and writes it nowhere.
            let made = key.iter().copied().filter(|_| way.operations.create);
            let marks = match self.deletes(direction) {
                DeletePolicy::Archive(marks) => marks.as_slice(),
                DeletePolicy::Propagate | DeletePolicy::Ignore => &[],
            };
            let marks = marks.iter().map(|(at, _)| *at);
            let written: BTreeSet<usize> = made.chain(others).chain(marks).collect();
            for name in written.into_iter().filter_map(|at| shape.name(at)) {
                if let Some(why) = end.barred.get(name) {
                    let (system, stream) = (&end.system, &end.stream);
                    said.push(format!("{} writes {name} of {stream} in {system}: {why}", direction.as_str()));
                }
            }
        }
        said
    }
}
