//! Rings of links: A→B→C→A, in which a value comes back to where it started.
//!
//! One link never sends its own write back, because the pair knows it as its base; the next link of a ring
//! can't know that. A ring comes to rest where every link of it brings a value into a form (a copy, a
//! transform): once round, the value finds itself there already. It never does where a link computes
//! (`set`): `x + "!"` is longer each time. Nor where a field comes back as another field: two values then
//! chase each other for ever.
//!
//! Invariant: such a ring is found before its last link moves anything.

use super::compiled::{LinkFacts, LinkRules};
use super::way::Made;
use crate::engine::record::{Direction, Side};

/// One field of one stream.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    pub system: String,
    pub stream: String,
    pub field: String,
}

/// A field from which another one is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flow {
    pub link: String,
    pub from: Place,
    pub to: Place,
    /// What went through once goes through again unchanged.
    pub settles: bool,
}

/// Steps after which the search for rings gives up and lets the links run: far beyond what any
/// configuration has, and the runtime stops circles as well.
const STEPS_MAX: usize = 200_000;

impl LinkRules {
    /// Lists which fields are made from which, both ways.
    pub fn flows(&self, facts: &LinkFacts) -> Vec<Flow> {
        let place = |side: Side, at: usize| {
            let end = match side {
                Side::A => &facts.a,
                Side::B => &facts.b,
            };
            let field = self.shape(side).name(at).unwrap_or_default().to_owned();
            Place { system: end.system.clone(), stream: end.stream.clone(), field }
        };
        let mut flows = Vec::new();
        for direction in Direction::BOTH {
            let Some(way) = self.way(direction) else { continue };
            for step in &way.steps {
                let settles = match &step.made {
                    Made::Copy(_) | Made::Field(_) => true,
                    Made::Set(_, expression) => expression.is_plain(),
                };
                flows.extend(way.reads(step.target).iter().map(|&source| Flow {
                    link: facts.link.clone(),
                    from: place(direction.from(), source),
                    to: place(direction.to(), step.target),
                    settles,
                }));
            }
        }
        flows
    }
}

/// Looks for a ring through `new` and at least one other link that would never come to rest; says it in
/// words, with what to do.
pub fn restless(new: &[Flow], others: &[Flow]) -> Option<String> {
    let all: Vec<&Flow> = new.iter().chain(others).collect();
    let mut steps = 0;
    for start in new {
        let mut path = vec![start];
        if let Some(ring) = ring(&all, start, &mut path, &mut steps) {
            return Some(ring);
        }
    }
    None
}

/// Goes on from the end of a path that meets no place twice, until it is back at its start.
fn ring<'f>(
    all: &[&'f Flow],
    start: &'f Flow,
    path: &mut Vec<&'f Flow>,
    steps: &mut usize,
) -> Option<String> {
    *steps += 1;
    let end = &path.last()?.to;
    if *end == start.from {
        return verdict(path);
    }
    if *steps > STEPS_MAX {
        return None;
    }
    for &next in all {
        let visited =
            next.to != start.from && path.iter().any(|flow| flow.from == next.to || flow.to == next.to);
        if next.from == *end && !visited {
            path.push(next);
            if let Some(found) = ring(all, start, path, steps) {
                return Some(found);
            }
            path.pop();
        }
    }
    None
}

fn verdict(path: &[&Flow]) -> Option<String> {
    let first = path.first()?;
    if path.iter().all(|flow| flow.link == first.link) {
        return None;
    }
    let computed = path.iter().find(|flow| !flow.settles);
    let chased = path.iter().enumerate().find_map(|(at, flow)| {
        let later = path
            .iter()
            .skip(at + 1)
            .find(|later| (&later.from.system, &later.from.stream) == (&flow.from.system, &flow.from.stream));
        later.map(|later| (flow, later))
    });
    let why = match (computed, chased) {
        (Some(flow), _) => format!("link {} computes {} anew each time round", flow.link, flow.to.field),
        (None, Some((one, other))) => {
            format!(
                "{} and {} of {} would chase each other",
                one.from.field, other.from.field, one.from.stream
            )
        }
        (None, None) => return None,
    };
    let mut places = vec![words(&first.from)];
    places.extend(path.iter().map(|flow| format!("{} (by {})", words(&flow.to), flow.link)));
    Some(format!(
        "the links form a ring that never comes to rest: {}; {why}; leave that field out of one of the links, or \
         let one of them run one way only",
        places.join(" → ")
    ))
}

fn words(place: &Place) -> String {
    format!("{}/{}.{}", place.system, place.stream, place.field)
}
