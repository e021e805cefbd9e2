//! `rules.json` read as a whole: which form it has, and what stands where.

use super::compiled::ConflictPolicy;
use super::convert::Kind;
use super::error::{RulesError, nearest};
use super::file::{
    ConflictEntry, DeleteEntry, DeletesEntry, FlatEntry, GateEntry, LinkEntry, MappingEntry, Named, RulesFile,
};
use super::json::{Data, Member, Node};
use super::parse_way::{self, conditions, names};
use super::transform::Transform;
use crate::engine::record::Value;

/// Keys that a flat file may have.
pub(super) const FLAT_KEYS: [&str; 7] =
    ["filters", "mappings", "required_fields", "disallow_if", "operations", "conflict", "deletes"];
/// Keys that change nothing.
const SILENT_KEYS: [&str; 2] = ["$schema", "description"];
/// Keys that need a direction, and so a link.
const LINK_ONLY_KEYS: [&str; 7] = ["when", "set", "normalise", "validate", "fields", "a_to_b", "b_to_a"];
/// Keys of one link.
const LINK_KEYS: [&str; 6] = ["fields", "a_to_b", "b_to_a", "conflict", "deletes", "description"];
/// Keys of one system's gate.
pub(super) const GATE_KEYS: [&str; 2] = ["required_fields", "disallow_if"];
/// Keys of a mapping's long form.
pub(super) const MAPPING_KEYS: [&str; 5] = ["to", "transform", "default", "required", "type"];

/// The conflict policies with the words that users write.
pub(super) const POLICIES: [(&str, ConflictPolicy); 8] = [
    ("newest", ConflictPolicy::Newest),
    ("a", ConflictPolicy::A),
    ("b", ConflictPolicy::B),
    ("manual", ConflictPolicy::Manual),
    ("max", ConflictPolicy::Max),
    ("min", ConflictPolicy::Min),
    ("union", ConflictPolicy::Union),
    ("non_empty", ConflictPolicy::NonEmpty),
];

impl RulesFile {
    /// Reads a rules file of any form and checks all of it that needs no stream.
    pub fn parse(text: &str) -> Result<Self, RulesError> {
        let root = Node::parse(text)?;
        let mut file = Self { flat: None, links: Vec::new(), gates: Vec::new() };
        let mut flat = Vec::new();
        for member in root.object("an object with the rules")? {
            let name = member.name.as_str();
            if FLAT_KEYS.contains(&name) {
                flat.push(member.clone());
            } else if name == "links" {
                let links = member.value.object("an object of links by name")?;
                file.links = links.iter().map(link).collect::<Result<_, _>>()?;
            } else if LINK_ONLY_KEYS.contains(&name) {
                let remedy = format!("write it under links: {{\"links\": {{\"LINK\": {{… \"{name}\" …}}}}}}");
                return Err(member.spot.remedied(format!("`{name}` belongs to one link"), remedy));
            } else if !SILENT_KEYS.contains(&name) {
                file.gates.push(gate(member)?);
            }
        }
        if !flat.is_empty() {
            file.flat = Some(flat_entry(&flat)?);
        }
        Ok(file)
    }
}

fn flat_entry(members: &[Member]) -> Result<FlatEntry, RulesError> {
    let mut conflict = ConflictEntry::default();
    let mut deletes = DeletesEntry::default();
    let mut rest = Vec::new();
    for member in members {
        match member.name.as_str() {
            "conflict" => conflict = read_conflict(&member.value)?,
            "deletes" => deletes = read_deletes(&member.value)?,
            _ => rest.push(member.clone()),
        }
    }
    let way = parse_way::way(&rest)?;
    if let Some(mappings) = &way.mappings {
        check_invertible(mappings)?;
    }
    Ok(FlatEntry { way, conflict, deletes })
}

fn link(member: &Member) -> Result<LinkEntry, RulesError> {
    let mut entry = LinkEntry {
        link: named(member),
        fields: None,
        ways: [None, None],
        conflict: ConflictEntry::default(),
        deletes: DeletesEntry::default(),
    };
    for part in member.value.object("an object with the link's rules")? {
        let [a_to_b, b_to_a] = &mut entry.ways;
        match part.name.as_str() {
            "fields" => {
                let fields = mappings(&part.value)?;
                check_invertible(&fields)?;
                entry.fields = Some(fields);
            }
            "a_to_b" => *a_to_b = Some(parse_way::direction(part)?),
            "b_to_a" => *b_to_a = Some(parse_way::direction(part)?),
            "conflict" => entry.conflict = read_conflict(&part.value)?,
            "deletes" => entry.deletes = read_deletes(&part.value)?,
            "description" => {}
            key if parse_way::KEYS.contains(&key) => {
                let remedy = format!(
                    "write it under \"a_to_b\", \"b_to_a\" or both; \"fields\" serves both: {{\"{key}\": …}}"
                );
                return Err(part.spot.remedied(format!("`{key}` belongs to one direction"), remedy));
            }
            other => return Err(part.spot.unknown("key", other, LINK_KEYS)),
        }
    }
    Ok(entry)
}

/// A system's gate, or a key that was misspelt.
fn gate(member: &Member) -> Result<GateEntry, RulesError> {
    let known = || FLAT_KEYS.into_iter().chain(["links"]);
    let Data::Object(members) = &member.value.data else {
        return Err(member.spot.unknown("key", &member.name, known()));
    };
    let foreign = members.iter().find(|part| !GATE_KEYS.contains(&part.name.as_str()));
    if foreign.is_some() && nearest(&member.name, known()).is_some() {
        return Err(member.spot.unknown("key", &member.name, known()));
    }
    let mut entry = GateEntry { system: named(member), required: Vec::new(), disallow: Vec::new() };
    for part in members {
        match part.name.as_str() {
            "required_fields" => entry.required = names(&part.value)?,
            "disallow_if" => entry.disallow = conditions(&part.value)?,
            other => {
                let what = format!("key of the gate `{}`", member.name);
                return Err(part.spot.unknown(&what, other, GATE_KEYS));
            }
        }
    }
    Ok(entry)
}

/// Makes a name out of a member's.
pub(super) fn named(member: &Member) -> Named {
    Named { name: member.name.clone(), spot: member.spot.clone() }
}

/// Reads pairs of names, each with what happens on the way.
pub(super) fn mappings(node: &Node) -> Result<Vec<MappingEntry>, RulesError> {
    let members = node.object("an object of pairs such as {\"from\": \"to\"}")?;
    members.iter().map(mapping).collect()
}

fn mapping(member: &Member) -> Result<MappingEntry, RulesError> {
    let from = named(member);
    let to = |node: &Node| {
        let name = node.text("the name of a field")?.to_owned();
        if name.is_empty() {
            return Err(node.spot.remedied("an empty name", "write the name of a field"));
        }
        Ok(Named { name, spot: node.spot.clone() })
    };
    if from.name.is_empty() {
        return Err(from.spot.remedied("an empty name", "write the name of a field"));
    }
    let parts = match &member.value.data {
        Data::Object(parts) => parts.as_slice(),
        Data::Text(_) => {
            let to = to(&member.value)?;
            return Ok(MappingEntry {
                from,
                to,
                chain: Vec::new(),
                default: None,
                required: false,
                kind: None,
            });
        }
        _ => return Err(member.value.expected("the name of a field, or an object with \"to\"")),
    };
    let Some(target) = parts.iter().find(|part| part.name == "to") else {
        let remedy = format!("write {{\"{}\": {{\"to\": \"field\", …}}}}", member.name);
        return Err(member.value.spot.remedied("a mapping without `to`", remedy));
    };
    let to = to(&target.value)?;
    let mut entry = MappingEntry { from, to, chain: Vec::new(), default: None, required: false, kind: None };
    for part in parts {
        match part.name.as_str() {
            "to" => {}
            "transform" => entry.chain = Transform::read_chain(&part.value)?,
            "default" => entry.default = Some(part.value.value()?),
            "required" => entry.required = part.value.flag("true or false")?,
            "type" => entry.kind = Some(kind(&part.value)?),
            other => return Err(part.spot.unknown("key of a mapping", other, MAPPING_KEYS)),
        }
    }
    Ok(entry)
}

/// Refuses two fields that stand for the same one: the way back could not tell which to fill.
fn check_invertible(mappings: &[MappingEntry]) -> Result<(), RulesError> {
    for (at, mapping) in mappings.iter().enumerate() {
        if let Some(first) = mappings.iter().take(at).find(|first| first.to.name == mapping.to.name) {
            return Err(mapping.to.spot.remedied(
                format!(
                    "`{}` and `{}` both stand for `{}`, so the way back can't be told",
                    first.from.name, mapping.from.name, mapping.to.name
                ),
                "keep one of both here, and write the other under one direction's \"mappings\"",
            ));
        }
    }
    Ok(())
}

/// Reads the word for a kind of value.
pub(super) fn kind(node: &Node) -> Result<Kind, RulesError> {
    let word = node.text("a type")?;
    let found = Kind::ALL.iter().find(|(known, _)| *known == word);
    found
        .map(|(_, kind)| *kind)
        .ok_or_else(|| node.spot.unknown("type", word, Kind::ALL.iter().map(|(known, _)| *known)))
}

/// Reads a list of values.
pub(super) fn values(node: &Node) -> Result<Vec<Value>, RulesError> {
    node.list("a list of values")?.iter().map(Node::value).collect()
}

fn policy(node: &Node) -> Result<ConflictPolicy, RulesError> {
    let word = node.text("a conflict policy")?;
    let found = POLICIES.iter().find(|(known, _)| *known == word);
    found
        .map(|(_, policy)| *policy)
        .ok_or_else(|| node.spot.unknown("conflict policy", word, POLICIES.iter().map(|(known, _)| *known)))
}

fn read_conflict(node: &Node) -> Result<ConflictEntry, RulesError> {
    let mut entry = ConflictEntry::default();
    let Data::Object(members) = &node.data else {
        entry.default = Some(policy(node)?);
        return Ok(entry);
    };
    for member in members {
        match member.name.as_str() {
            "default" => entry.default = Some(policy(&member.value)?),
            "fields" => {
                for field in member.value.object("an object of policies by field")? {
                    entry.fields.push((named(field), policy(&field.value)?));
                }
            }
            other => return Err(member.spot.unknown("key", other, ["default", "fields"])),
        }
    }
    Ok(entry)
}

fn read_deletes(node: &Node) -> Result<DeletesEntry, RulesError> {
    let by_direction = |name: &str| matches!(name, "a_to_b" | "b_to_a");
    let mut entry = DeletesEntry::default();
    let DeletesEntry([a_to_b, b_to_a]) = &mut entry;
    match &node.data {
        Data::Object(members) if members.iter().any(|member| by_direction(&member.name)) => {
            for member in members {
                match member.name.as_str() {
                    "a_to_b" => *a_to_b = Some(delete(&member.value)?),
                    "b_to_a" => *b_to_a = Some(delete(&member.value)?),
                    other => return Err(member.spot.unknown("direction", other, ["a_to_b", "b_to_a"])),
                }
            }
        }
        _ => {
            let both = delete(node)?;
            *a_to_b = Some(both.clone());
            *b_to_a = Some(both);
        }
    }
    Ok(entry)
}

const ARCHIVE_REMEDY: &str = "write {\"archive\": {\"field\": value}}: the fields that mark a record as gone";

fn delete(node: &Node) -> Result<DeleteEntry, RulesError> {
    match &node.data {
        Data::Text(word) => match word.as_str() {
            "propagate" => Ok(DeleteEntry::Propagate),
            "ignore" => Ok(DeleteEntry::Ignore),
            "archive" => Err(node.spot.remedied("`archive` has to say what it writes", ARCHIVE_REMEDY)),
            other => Err(node.spot.unknown("delete policy", other, ["propagate", "ignore", "archive"])),
        },
        Data::Object(members) => match members.as_slice() {
            [only] if only.name == "archive" => {
                let fields = only.value.object("an object of values by field")?;
                if fields.is_empty() {
                    return Err(only.spot.remedied("`archive` has to say what it writes", ARCHIVE_REMEDY));
                }
                let marks: Result<Vec<_>, _> =
                    fields.iter().map(|field| Ok((named(field), field.value.value()?))).collect();
                Ok(DeleteEntry::Archive(marks?))
            }
            [first, ..] => Err(first.spot.unknown("key", &first.name, ["a_to_b", "b_to_a", "archive"])),
            [] => Err(node.expected("propagate, ignore or {\"archive\": …}")),
        },
        _ => Err(node.expected("propagate, ignore or {\"archive\": …}")),
    }
}
