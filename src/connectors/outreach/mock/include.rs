//! `include`: the records that those of an answer lead to, each once.

use std::collections::BTreeSet;

use super::super::super::mock::{Object, Table};
use super::super::wire::{Resource, relation_type};
use super::Visit;
use super::refusal::Refused;
use super::render::{push_resource, sparse_of};

/// What `include` names.
pub struct Wanted {
    relations: Vec<String>,
    found: BTreeSet<(String, String)>,
}

impl Wanted {
    /// Reads what is asked for; a strict mock refuses what leads nowhere.
    pub fn parse(visit: &Visit<'_>, pairs: &[(String, String)]) -> Result<Option<Self>, Refused> {
        let Some((_, names)) = pairs.iter().find(|(name, _)| name == "include") else { return Ok(None) };
        let names = names.split(',').map(str::trim).filter(|name| !name.is_empty());
        let relations: Vec<String> = names.map(str::to_owned).collect();
        let unknown = |name: &&String| visit.kind.is_some_and(|kind| !kind.to_one.contains(&name.as_str()));
        match relations.iter().find(unknown) {
            Some(name) => Err(Refused::parameter("include", &format!("names no relationship: {name}"))),
            None => Ok(Some(Self { relations, found: BTreeSet::new() })),
        }
    }

    /// Notes what an object of the answer leads to.
    pub fn note(&mut self, object: &Object) {
        for relation in &self.relations {
            let id = object.plain(&format!("{relation}.id"));
            if let Some(id) = id {
                self.found.insert((relation_type(relation).to_owned(), id.into()));
            }
        }
    }

    /// Appends the member `included`.
    pub fn push(&self, visit: &Visit<'_>, pairs: &[(String, String)], table: &Table, out: &mut String) {
        out.push_str(",\"included\":[");
        let mut first = true;
        for (singular, id) in &self.found {
            let Some(resource) = Resource::parse(singular) else { continue };
            let Some(object) = table.get(&resource.plural, id) else { continue };
            if !std::mem::take(&mut first) {
                out.push(',');
            }
            push_resource(&resource, object, &sparse_of(pairs, &resource), &visit.request.base_url, out);
        }
        out.push(']');
    }
}
