//! Which end of a link the left names of the flat form belong to.

use super::compiled::LinkFacts;
use super::ends::Ends;
use super::error::RulesError;
use super::file::MappingEntry;
use crate::engine::record::Side;

/// Whose fields the left names are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    LeftIsA,
    LeftIsB,
}

impl Turn {
    /// Returns the end that the left names belong to.
    fn left(self) -> Side {
        match self {
            Self::LeftIsA => Side::A,
            Self::LeftIsB => Side::B,
        }
    }
}

/// What speaks for and against a turn.
struct Evidence<'m> {
    /// Names that a stream with known fields does not have.
    against: Vec<(Side, &'m str, &'m MappingEntry, bool)>,
    /// Names that a stream is known to have.
    count: usize,
}

/// Finds the turn from all pairs together. A stream with known fields speaks by what it has and by
/// what it lacks, an open one only by what it has.
pub(super) fn turn(mappings: &[MappingEntry], facts: &LinkFacts) -> Result<Turn, RulesError> {
    let (a, b) = (weigh(mappings, facts, Turn::LeftIsA), weigh(mappings, facts, Turn::LeftIsB));
    match (a.against.is_empty(), b.against.is_empty()) {
        (true, false) => Ok(Turn::LeftIsA),
        (false, true) => Ok(Turn::LeftIsB),
        (true, true) if a.count != b.count => {
            Ok(if a.count > b.count { Turn::LeftIsA } else { Turn::LeftIsB })
        }
        // Where both names of each pair are the same, the turn says nothing.
        (true, true) if mappings.iter().all(|pair| pair.from.name == pair.to.name) => Ok(Turn::LeftIsA),
        (true, true) => Err(undecided(mappings, facts)),
        (false, false) => {
            let a_is_better = (a.against.len(), b.count) <= (b.against.len(), a.count);
            Err(misfit(if a_is_better { &a } else { &b }, facts))
        }
    }
}

fn weigh<'m>(mappings: &'m [MappingEntry], facts: &LinkFacts, turn: Turn) -> Evidence<'m> {
    let mut evidence = Evidence { against: Vec::new(), count: 0 };
    for mapping in mappings {
        for (name, side, left) in
            [(&mapping.from.name, turn.left(), true), (&mapping.to.name, turn.left().other(), false)]
        {
            let end = facts.end(side);
            if end.has(name) {
                evidence.count += 1;
            } else if !end.open {
                evidence.against.push((side, name, mapping, left));
            }
        }
    }
    evidence
}

fn undecided(mappings: &[MappingEntry], facts: &LinkFacts) -> RulesError {
    let pair = mappings.iter().find(|pair| pair.from.name != pair.to.name);
    let (left, right) = pair.map_or(("", ""), |pair| (&pair.from.name, &pair.to.name));
    let spot = pair.map_or_else(super::error::Spot::start, |pair| pair.from.spot.clone());
    let link = &facts.link;
    spot.remedied(
        format!(
            "for the link `{link}` it can't be told whether `{left}` belongs to {} or to {}",
            facts.a.words(Side::A),
            facts.b.words(Side::B)
        ),
        format!(
            "write {{\"links\": {{\"{link}\": {{\"fields\": {{\"{left}\": \"{right}\"}}}}}}}}, the fields of a on the left"
        ),
    )
}

fn misfit(evidence: &Evidence<'_>, facts: &LinkFacts) -> RulesError {
    match evidence.against.first() {
        Some((side, name, mapping, left)) => {
            let spot = if *left { &mapping.from.spot } else { &mapping.to.spot };
            let mut error = Ends::new(facts).missing(*side, name, spot);
            error.message = format!("for the link `{}`: {}", facts.link, error.message);
            error
        }
        None => super::error::Spot::start().error("the mappings do not fit the streams"),
    }
}

/// Says the turn in words.
pub(super) fn describe(turn: Turn, facts: &LinkFacts) -> String {
    let side = turn.left();
    format!(
        "flat mappings: the left names are fields of {}, the right ones of {}",
        facts.end(side).words(side),
        facts.end(side.other()).words(side.other())
    )
}
