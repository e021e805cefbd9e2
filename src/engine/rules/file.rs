//! A rules file as it was written: checked in itself, not yet against any stream.

use super::compiled::{ConflictPolicy, Operations};
use super::condition::Condition;
use super::convert::Kind;
use super::error::{RulesError, Spot};
use super::expr::Parsed;
use super::transform::Transform;
use super::validate::Demands;
use crate::engine::record::{Direction, Value};

/// A parsed `rules.json`, in any of its forms.
#[derive(Clone, Debug)]
pub struct RulesFile {
    pub(super) flat: Option<FlatEntry>,
    pub(super) links: Vec<LinkEntry>,
    pub(super) gates: Vec<GateEntry>,
}

/// A name and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Named {
    pub name: String,
    pub spot: Spot,
}

/// Form 1: one set of pairs for every link without an entry of its own.
#[derive(Clone, Debug)]
pub(super) struct FlatEntry {
    pub way: WayEntry,
    pub conflict: ConflictEntry,
    pub deletes: DeletesEntry,
}

/// Form 2: the rules of one link.
#[derive(Clone, Debug)]
pub(super) struct LinkEntry {
    pub link: Named,
    /// From `a` to `b`.
    pub fields: Option<Vec<MappingEntry>>,
    pub ways: [Option<WayEntry>; 2],
    pub conflict: ConflictEntry,
    pub deletes: DeletesEntry,
}

/// Form 3: what may pass one system.
#[derive(Clone, Debug)]
pub(super) struct GateEntry {
    pub system: Named,
    pub required: Vec<Named>,
    pub disallow: Vec<(Named, Condition)>,
}

/// What stands in one direction.
#[derive(Clone, Debug, Default)]
pub(super) struct WayEntry {
    pub spot: Option<Spot>,
    pub filters: Vec<(Named, Condition)>,
    pub when: Option<(Spot, Parsed)>,
    pub required: Vec<Named>,
    pub disallow: Vec<(Named, Condition)>,
    pub mappings: Option<Vec<MappingEntry>>,
    pub set: Vec<(Named, Parsed)>,
    pub operations: Option<Operations>,
    pub normalise: Vec<(Named, Vec<Transform>)>,
    pub validate: Vec<(Named, Demands)>,
}

/// One pair of names that stand for each other, with what happens on the way.
#[derive(Clone, Debug)]
pub(super) struct MappingEntry {
    pub from: Named,
    pub to: Named,
    pub chain: Vec<Transform>,
    pub default: Option<Value>,
    pub required: bool,
    pub kind: Option<Kind>,
}

/// `conflict` as it was written.
#[derive(Clone, Debug, Default)]
pub(super) struct ConflictEntry {
    pub default: Option<ConflictPolicy>,
    pub fields: Vec<(Named, ConflictPolicy)>,
}

/// `deletes` as it was written, by direction.
#[derive(Clone, Debug, Default)]
pub(super) struct DeletesEntry(pub [Option<DeleteEntry>; 2]);

#[derive(Clone, Debug)]
pub(super) enum DeleteEntry {
    Propagate,
    Ignore,
    Archive(Vec<(Named, Value)>),
}

impl DeletesEntry {
    pub fn of(&self, direction: Direction) -> Option<&DeleteEntry> {
        let Self([a_to_b, b_to_a]) = self;
        match direction {
            Direction::AToB => a_to_b.as_ref(),
            Direction::BToA => b_to_a.as_ref(),
        }
    }
}

impl LinkEntry {
    pub fn way(&self, direction: Direction) -> Option<&WayEntry> {
        let [a_to_b, b_to_a] = &self.ways;
        match direction {
            Direction::AToB => a_to_b.as_ref(),
            Direction::BToA => b_to_a.as_ref(),
        }
    }
}

impl RulesFile {
    /// Finds the entry of a link.
    pub(super) fn link(&self, name: &str) -> Option<&LinkEntry> {
        self.links.iter().find(|entry| entry.link.name == name)
    }

    /// Names the links and systems of the file that the configuration does not have. `systems`
    /// are the configured names and those of their connectors.
    pub fn unknown_names(&self, links: &[impl AsRef<str>], systems: &[impl AsRef<str>]) -> Vec<RulesError> {
        let unknown = |named: &Named, what: &str, known: Vec<&str>| {
            (!known.contains(&named.name.as_str())).then(|| named.spot.unknown(what, &named.name, known))
        };
        let links: Vec<&str> = links.iter().map(AsRef::as_ref).collect();
        let systems: Vec<&str> = systems.iter().map(AsRef::as_ref).collect();
        let of_links = self.links.iter().filter_map(|entry| unknown(&entry.link, "link", links.clone()));
        let of_gates =
            self.gates.iter().filter_map(|gate| unknown(&gate.system, "key or system", systems.clone()));
        of_links.chain(of_gates).collect()
    }

    /// Refuses a file with names that the configuration does not have; gives the first of them.
    pub fn check_names(
        &self,
        links: &[impl AsRef<str>],
        systems: &[impl AsRef<str>],
    ) -> Result<(), RulesError> {
        self.unknown_names(links, systems).into_iter().next().map_or(Ok(()), Err)
    }

    /// Returns the links that have an entry of their own.
    pub fn links(&self) -> impl Iterator<Item = &str> {
        self.links.iter().map(|entry| entry.link.name.as_str())
    }
}
