//! What the rules of a link mean, in words, for `record-sync check`.

use super::compile::{Arrow, Draft};
use super::compiled::LinkFacts;
use super::file::{DeleteEntry, WayEntry};
use crate::engine::record::Direction;

/// Writes one line for each pair of fields and for each other rule.
pub(super) fn describe(draft: &Draft<'_>, facts: &LinkFacts) -> Vec<String> {
    let mut lines = draft.words.clone();
    let both = facts.a_to_b && facts.b_to_a;
    let returns = |arrow: &Arrow, way: Direction| {
        let back = draft.arrows(if way == Direction::AToB { Direction::BToA } else { Direction::AToB });
        both && arrow.is_plain()
            && back.iter().any(|back| back.is_plain() && back.from == arrow.to && back.to == arrow.from)
    };
    for direction in Direction::BOTH.into_iter().filter(|direction| facts.runs(*direction)) {
        let (from, to) = (direction.from().as_str(), direction.to().as_str());
        for arrow in draft.arrows(direction) {
            if returns(arrow, direction) {
                if direction == Direction::AToB {
                    lines.push(format!("a.{} <-> b.{}", arrow.from, arrow.to));
                }
                continue;
            }
            lines.push(format!("{from}.{} -> {to}.{}{}", arrow.from, arrow.to, extras(arrow)));
        }
        if let Some(entry) = draft.entry(direction) {
            describe_way(entry, direction, &mut lines);
        }
        match draft.deletes.and_then(|entry| entry.of(direction)) {
            None | Some(DeleteEntry::Propagate) => {}
            Some(DeleteEntry::Ignore) => lines.push(format!("{}: deletions are ignored", direction.as_str())),
            Some(DeleteEntry::Archive(marks)) => {
                let marks: Vec<&str> = marks.iter().map(|(field, _)| field.name.as_str()).collect();
                lines.push(format!("{}: a deletion sets {}", direction.as_str(), marks.join(", ")));
            }
        }
    }
    lines
}

fn extras(arrow: &Arrow) -> String {
    let mut words: Vec<String> = arrow.chain.iter().map(|step| step.name().to_owned()).collect();
    words.extend(arrow.kind.map(|kind| format!("type {}", kind.as_str())));
    words.extend(arrow.default.as_ref().map(|_| "default".to_owned()));
    words.extend(arrow.required.then(|| "required".to_owned()));
    if words.is_empty() { String::new() } else { format!(" ({})", words.join(", ")) }
}

fn describe_way(entry: &WayEntry, direction: Direction, lines: &mut Vec<String>) {
    let way = direction.as_str();
    let mut list = |what: &str, names: Vec<&str>| {
        if !names.is_empty() {
            lines.push(format!("{way}: {what} {}", names.join(", ")));
        }
    };
    list("filtered by", entry.filters.iter().map(|(field, _)| field.name.as_str()).collect());
    list("needs", entry.required.iter().map(|field| field.name.as_str()).collect());
    list("held back by", entry.disallow.iter().map(|(field, _)| field.name.as_str()).collect());
    list("sets by expression", entry.set.iter().map(|(field, _)| field.name.as_str()).collect());
    list("normalises", entry.normalise.iter().map(|(field, _)| field.name.as_str()).collect());
    list("validates", entry.validate.iter().map(|(field, _)| field.name.as_str()).collect());
    if entry.when.is_some() {
        lines.push(format!("{way}: only when its expression holds"));
    }
    if let Some(operations) = entry.operations {
        let words =
            [("create", operations.create), ("update", operations.update), ("delete", operations.delete)];
        let words: Vec<&str> = words.iter().filter(|(_, allowed)| *allowed).map(|(word, _)| *word).collect();
        let words = if words.is_empty() { "nothing".to_owned() } else { words.join(", ") };
        lines.push(format!("{way}: may {words}"));
    }
}
