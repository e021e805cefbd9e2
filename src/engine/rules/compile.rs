//! A rules file and the facts of one link, made into the one meaning.
//!
//! The steps: find the link's own entry or take the flat one; make arrows, one for every field that
//! is written, in both directions; add the arrows of the key; lay out both shapes; bind guards and
//! expressions to positions.

use super::compile_way::compile_way;
use super::compiled::{ConflictPolicy, DeletePolicy, LinkFacts, LinkRules};
use super::convert::Kind;
use super::describe::describe;
use super::ends::Ends;
use super::error::{RulesError, Spot};
use super::file::{ConflictEntry, DeleteEntry, DeletesEntry, LinkEntry, MappingEntry, RulesFile, WayEntry};
use super::orient::{self, Turn};
use super::transform::Transform;
use crate::engine::record::{Direction, Side, Value};

/// How one field of the destination is filled from one of the source.
#[derive(Clone, Debug)]
pub(super) struct Arrow {
    pub from: String,
    pub to: String,
    pub spot: Spot,
    pub chain: Vec<Transform>,
    pub default: Option<Value>,
    pub required: bool,
    pub kind: Option<Kind>,
}

impl Arrow {
    /// Makes an arrow that copies.
    pub fn plain(from: &str, to: &str, spot: &Spot) -> Self {
        Self {
            from: from.to_owned(),
            to: to.to_owned(),
            spot: spot.clone(),
            chain: Vec::new(),
            default: None,
            required: false,
            kind: None,
        }
    }

    /// Makes an arrow as the mapping says, in the mapping's own direction.
    fn forward(mapping: &MappingEntry) -> Self {
        Self {
            chain: mapping.chain.clone(),
            default: mapping.default.clone(),
            required: mapping.required,
            kind: mapping.kind,
            ..Self::plain(&mapping.from.name, &mapping.to.name, &mapping.from.spot)
        }
    }

    /// Makes the arrow back: a plain copy, because no transform can be undone for certain.
    fn backward(mapping: &MappingEntry) -> Self {
        Self::plain(&mapping.to.name, &mapping.from.name, &mapping.to.spot)
    }

    /// Tells whether the arrow copies the value as it is.
    pub fn is_plain(&self) -> bool {
        self.chain.is_empty() && self.default.is_none() && !self.required && self.kind.is_none()
    }
}

/// The rules of one link by name, before positions.
pub(super) struct Draft<'f> {
    pub spot: Spot,
    /// Arrows of `a_to_b` and of `b_to_a`.
    pub arrows: [Vec<Arrow>; 2],
    pub entries: [Option<&'f WayEntry>; 2],
    pub conflict: Option<&'f ConflictEntry>,
    pub deletes: Option<&'f DeletesEntry>,
    /// One set of names for both directions: what an end does not know is asked of the other.
    pub flat: bool,
    pub words: Vec<String>,
}

impl<'f> Draft<'f> {
    pub fn arrows(&self, direction: Direction) -> &[Arrow] {
        let [a_to_b, b_to_a] = &self.arrows;
        match direction {
            Direction::AToB => a_to_b,
            Direction::BToA => b_to_a,
        }
    }

    pub fn entry(&self, direction: Direction) -> Option<&'f WayEntry> {
        let [a_to_b, b_to_a] = self.entries;
        match direction {
            Direction::AToB => a_to_b,
            Direction::BToA => b_to_a,
        }
    }
}

impl RulesFile {
    /// Compiles the rules of one link; `version` is the file's. Fails with the first fault found,
    /// at its place in the file.
    pub fn compile(&self, version: u32, facts: &LinkFacts) -> Result<LinkRules, RulesError> {
        let mut draft = match self.link(&facts.link) {
            Some(entry) => draft_link(entry, facts)?,
            None => self.draft_flat(facts)?,
        };
        check_key_lengths(&draft, facts)?;
        add_key_arrows(&mut draft, facts)?;
        let mut ends = Ends::new(facts);
        for side in Side::BOTH {
            for key in &facts.end(side).key {
                ends.place(side, key);
            }
        }
        for direction in Direction::BOTH.into_iter().filter(|direction| facts.runs(*direction)) {
            let mut arrows: Vec<&Arrow> = draft.arrows(direction).iter().collect();
            arrows.sort_by_key(|arrow| (&arrow.to, &arrow.from));
            for arrow in arrows {
                ends.known(direction.from(), &arrow.from, &arrow.spot)?;
                ends.own(direction.to(), &arrow.to, &arrow.spot)?;
                ends.place(direction.from(), &arrow.from);
                ends.place(direction.to(), &arrow.to);
            }
        }
        let mut ways = [None, None];
        for (way, direction) in ways.iter_mut().zip(Direction::BOTH) {
            if facts.runs(direction) {
                *way = Some(compile_way(&mut draft, direction, self, &mut ends)?);
            }
        }
        let conflicts = compile_conflicts(&draft, &mut ends)?;
        let deletes = compile_deletes(&draft, &mut ends)?;
        let keys =
            Side::BOTH.map(|side| facts.end(side).key.iter().map(|key| ends.place(side, key)).collect());
        let shapes = ends.shapes();
        // Only now is it known how wide the destinations are.
        for (way, direction) in ways.iter_mut().zip(Direction::BOTH) {
            let [a, b] = &shapes;
            let width = if direction.to() == Side::A { a.len() } else { b.len() };
            if let Some(way) = way {
                way.reads.resize(width, Vec::new());
            }
        }
        let conflict = draft.conflict.and_then(|entry| entry.default).unwrap_or(ConflictPolicy::Newest);
        let words = describe(&draft, facts);
        let first_contact = facts.first_contact;
        let mut rules = LinkRules {
            version,
            fingerprint: 0,
            shapes,
            keys,
            ways,
            first_contact,
            conflict,
            conflicts,
            deletes,
            words,
        };
        rules.fingerprint = xxhash_rust::xxh3::xxh3_128(rules.meaning().as_bytes());
        Ok(rules)
    }

    fn draft_flat(&self, facts: &LinkFacts) -> Result<Draft<'_>, RulesError> {
        let mut draft = Draft {
            spot: Spot::start(),
            arrows: [Vec::new(), Vec::new()],
            entries: [None, None],
            conflict: None,
            deletes: None,
            flat: true,
            words: Vec::new(),
        };
        let mappings = self.flat.as_ref().and_then(|flat| flat.way.mappings.as_deref()).unwrap_or_default();
        if mappings.is_empty() {
            same_names(&mut draft, facts)?;
        } else {
            let turn = orient::turn(mappings, facts)?;
            draft.words.push(orient::describe(turn, facts));
            let (there, back) = (mappings.iter().map(Arrow::forward), mappings.iter().map(Arrow::backward));
            draft.arrows = match turn {
                Turn::LeftIsA => [there.collect(), back.collect()],
                Turn::LeftIsB => [back.collect(), there.collect()],
            };
        }
        if let Some(flat) = &self.flat {
            draft.entries = [Some(&flat.way), Some(&flat.way)];
            draft.conflict = Some(&flat.conflict);
            draft.deletes = Some(&flat.deletes);
        }
        Ok(draft)
    }
}

fn draft_link<'f>(entry: &'f LinkEntry, facts: &LinkFacts) -> Result<Draft<'f>, RulesError> {
    let mut draft = Draft {
        spot: entry.link.spot.clone(),
        arrows: [Vec::new(), Vec::new()],
        entries: Direction::BOTH.map(|direction| entry.way(direction)),
        conflict: Some(&entry.conflict),
        deletes: Some(&entry.deletes),
        flat: false,
        words: Vec::new(),
    };
    let own = |direction: Direction| entry.way(direction).and_then(|way| way.mappings.as_deref());
    let [mut a_to_b, mut b_to_a] = match &entry.fields {
        Some(fields) => {
            [fields.iter().map(Arrow::forward).collect(), fields.iter().map(Arrow::backward).collect()]
        }
        None => [Vec::new(), Vec::new()],
    };
    if entry.fields.is_none() {
        match (own(Direction::AToB), own(Direction::BToA)) {
            // Expressions may be all that a link writes beside its keys.
            (None, None) if sets_anything(entry) && !streams_are_known(facts) => {}
            (None, None) => {
                same_names(&mut draft, facts)?;
                let [there, back] = draft.arrows;
                (a_to_b, b_to_a) = (there, back);
                draft.arrows = [Vec::new(), Vec::new()];
            }
            (Some(there), None) => b_to_a = there.iter().map(Arrow::backward).collect(),
            (None, Some(back)) => {
                check_turnable(back)?;
                a_to_b = back.iter().map(Arrow::backward).collect();
            }
            (Some(_), Some(_)) => {}
        }
    }
    extend(&mut a_to_b, own(Direction::AToB), entry.way(Direction::AToB));
    extend(&mut b_to_a, own(Direction::BToA), entry.way(Direction::BToA));
    draft.arrows = [a_to_b, b_to_a];
    Ok(draft)
}

/// Refuses mappings that can't be turned round. Names are unique on both sides of a direction's
/// mappings, so all of them can; the check keeps that so if one field may ever fill several.
fn check_turnable(mappings: &[MappingEntry]) -> Result<(), RulesError> {
    for (at, mapping) in mappings.iter().enumerate() {
        if mappings.iter().take(at).any(|first| first.from.name == mapping.from.name) {
            return Err(mapping.from.spot.remedied(
                format!("`{}` fills two fields, so the way back can't be told", mapping.from.name),
                "write the other direction's \"mappings\" too",
            ));
        }
    }
    Ok(())
}

/// Lays a direction's own mappings and expressions over those of `fields`, by target.
fn extend(arrows: &mut Vec<Arrow>, own: Option<&[MappingEntry]>, way: Option<&WayEntry>) {
    for mapping in own.unwrap_or_default() {
        arrows.retain(|arrow| arrow.to != mapping.to.name);
        arrows.push(Arrow::forward(mapping));
    }
    for (target, _) in way.map(|way| way.set.as_slice()).unwrap_or_default() {
        arrows.retain(|arrow| arrow.to != target.name);
    }
}

fn is_known(facts: &LinkFacts, side: Side) -> bool {
    !facts.end(side).open || !facts.end(side).fields.is_empty()
}

fn streams_are_known(facts: &LinkFacts) -> bool {
    Side::BOTH.into_iter().all(|side| is_known(facts, side))
}

fn sets_anything(entry: &LinkEntry) -> bool {
    entry.ways.iter().flatten().any(|way| !way.set.is_empty())
}

/// Without any mapping, fields of the same name stand for each other.
fn same_names(draft: &mut Draft<'_>, facts: &LinkFacts) -> Result<(), RulesError> {
    if let Some(side) = Side::BOTH.into_iter().find(|side| !is_known(facts, *side)) {
        return Err(draft.spot.remedied(
            format!(
                "the link `{}` has no mappings, and the fields of {} are not known",
                facts.link,
                facts.end(side).words(side)
            ),
            format!("write \"mappings\", or \"fields\" under links.{}", facts.link),
        ));
    }
    let shared: Vec<&String> = facts.a.fields.iter().filter(|field| facts.b.fields.contains(field)).collect();
    if shared.is_empty() && facts.a.key != facts.b.key {
        return Err(draft.spot.remedied(
            format!(
                "the link `{}` has no mappings, and its streams have no field of the same name",
                facts.link
            ),
            format!("write \"mappings\", or \"fields\" under links.{}", facts.link),
        ));
    }
    draft.words.push("no mappings: fields of the same name stand for each other".to_owned());
    let arrows: Vec<Arrow> =
        shared.into_iter().map(|field| Arrow::plain(field, field, &draft.spot)).collect();
    draft.arrows = [arrows.clone(), arrows];
    Ok(())
}

fn check_key_lengths(draft: &Draft<'_>, facts: &LinkFacts) -> Result<(), RulesError> {
    if facts.a.key.len() == facts.b.key.len() && !facts.a.key.is_empty() {
        return Ok(());
    }
    Err(draft.spot.remedied(
        format!(
            "the link `{}` has {} key fields at a and {} at b, which can't identify the same record",
            facts.link,
            facts.a.key.len(),
            facts.b.key.len()
        ),
        "name the same number of key fields at both ends",
    ))
}

/// Makes the key fields stand for each other, in order, where the mappings do not say so already.
fn add_key_arrows(draft: &mut Draft<'_>, facts: &LinkFacts) -> Result<(), RulesError> {
    let spot = draft.spot.clone();
    for direction in Direction::BOTH {
        let entry = draft.entry(direction);
        let explicit: Vec<(String, String)> = entry
            .and_then(|way| way.mappings.as_deref())
            .filter(|_| !draft.flat)
            .unwrap_or_default()
            .iter()
            .map(|mapping| (mapping.from.name.clone(), mapping.to.name.clone()))
            .collect();
        let sets = entry.map(|way| way.set.as_slice()).unwrap_or_default();
        let (from, to) = (&facts.end(direction.from()).key, &facts.end(direction.to()).key);
        let mut added = Vec::new();
        let mut dropped = Vec::new();
        let mut words = Vec::new();
        for (source, target) in from.iter().zip(to) {
            if let Some((named, _)) = sets.iter().find(|(named, _)| named.name == *target) {
                return Err(named.spot.remedied(
                    format!("`{target}` is a key field, which no expression may make"),
                    "remove it: key fields are filled from the key at the other end",
                ));
            }
            let arrows = draft.arrows(direction);
            match arrows.iter().find(|arrow| arrow.to == *target) {
                Some(arrow) if arrow.from == *source => {}
                Some(arrow) if explicit.contains(&(arrow.from.clone(), arrow.to.clone())) => {
                    return Err(arrow.spot.remedied(
                        format!("`{target}` is a key field and can only be filled from the key `{source}`"),
                        "map it from there, or make another field the key",
                    ));
                }
                other => {
                    if let Some(arrow) = other {
                        words.push(format!(
                            "{}: `{target}` is the key and is filled from `{source}`, not from `{}`",
                            direction.as_str(),
                            arrow.from
                        ));
                    }
                    dropped.push(target.clone());
                    added.push(Arrow::plain(source, target, &spot));
                }
            }
        }
        draft.words.extend(words);
        let [a_to_b, b_to_a] = &mut draft.arrows;
        let arrows = if direction == Direction::AToB { a_to_b } else { b_to_a };
        arrows.retain(|arrow| !dropped.contains(&arrow.to));
        arrows.extend(added);
    }
    Ok(())
}

type FieldPolicies = Vec<(usize, ConflictPolicy)>;

fn compile_conflicts(draft: &Draft<'_>, ends: &mut Ends<'_>) -> Result<[FieldPolicies; 2], RulesError> {
    let mut conflicts = [Vec::new(), Vec::new()];
    for (field, policy) in draft.conflict.map(|entry| entry.fields.as_slice()).unwrap_or_default() {
        let mapped = |side: Side| {
            let out = draft.arrows(side.outward()).iter().any(|arrow| arrow.from == field.name);
            out || draft.arrows(side.other().outward()).iter().any(|arrow| arrow.to == field.name)
        };
        let Some(side) = Side::BOTH.into_iter().find(|side| mapped(*side)) else {
            let names: Vec<&str> =
                draft.arrows.iter().flatten().flat_map(|arrow| [arrow.from.as_str(), &arrow.to]).collect();
            return Err(field.spot.unknown("mapped field", &field.name, names));
        };
        let at = ends.place(side, &field.name);
        let [a, b] = &mut conflicts;
        if side == Side::A { a.push((at, *policy)) } else { b.push((at, *policy)) }
    }
    for policies in &mut conflicts {
        policies.sort_unstable_by_key(|(at, _)| *at);
    }
    Ok(conflicts)
}

fn compile_deletes(draft: &Draft<'_>, ends: &mut Ends<'_>) -> Result<[DeletePolicy; 2], RulesError> {
    let mut policies = [DeletePolicy::Propagate, DeletePolicy::Propagate];
    for (policy, direction) in policies.iter_mut().zip(Direction::BOTH) {
        if !ends.facts.runs(direction) {
            continue;
        }
        match draft.deletes.and_then(|entry| entry.of(direction)) {
            None | Some(DeleteEntry::Propagate) => {}
            Some(DeleteEntry::Ignore) => *policy = DeletePolicy::Ignore,
            Some(DeleteEntry::Archive(marks)) => {
                let mut places = Vec::with_capacity(marks.len());
                for (field, value) in marks {
                    let to = direction.to();
                    // In a policy for both ways, a name may be that of the field's other end.
                    let stands_for = draft
                        .arrows(direction)
                        .iter()
                        .find(|arrow| arrow.from == field.name)
                        .map(|arrow| &arrow.to);
                    let name = match stands_for {
                        Some(target) if !ends.has(to, &field.name) => target,
                        _ => &field.name,
                    };
                    ends.own(to, name, &field.spot)?;
                    places.push((ends.place(to, name), value.clone()));
                }
                *policy = DeletePolicy::Archive(places);
            }
        }
    }
    Ok(policies)
}
