//! One direction: guards, expressions and steps bound to positions.

use super::compile::{Arrow, Draft};
use super::compiled::Operations;
use super::condition::Condition;
use super::ends::Ends;
use super::error::{RulesError, Spot};
use super::expr::{Expression, Parsed};
use super::file::{Named, RulesFile, WayEntry};
use super::way::{Check, FieldStep, Guard, Made, Normal, Step, Way};
use crate::engine::record::{Direction, Side};

/// Where a guard finds its field.
struct Place {
    at: Option<usize>,
    other: Option<usize>,
}

/// Compiles a direction that exists.
pub(super) fn compile_way(
    draft: &mut Draft<'_>,
    direction: Direction,
    file: &RulesFile,
    ends: &mut Ends<'_>,
) -> Result<Way, RulesError> {
    let none = WayEntry::default();
    let entry = draft.entry(direction).unwrap_or(&none);
    let mut way = Way {
        operations: entry.operations.unwrap_or(Operations { create: true, update: true, delete: true }),
        normalise: Vec::new(),
        filters: guards(draft, direction, ends, "filters", &entry.filters)?,
        when: None,
        required: required(draft, direction, ends, &entry.required)?,
        disallow: guards(draft, direction, ends, "disallow_if", &entry.disallow)?,
        validate: Vec::new(),
        steps: Vec::new(),
        targets: Vec::new(),
        reads: Vec::new(),
        keys: None,
    };
    let from = direction.from();
    for (field, chain) in &entry.normalise {
        ends.known(from, &field.name, &field.spot)?;
        let at = ends.place(from, &field.name);
        way.normalise.push(Normal { at, field: field.name.clone(), chain: chain.clone() });
    }
    for (field, demands) in &entry.validate {
        ends.known(from, &field.name, &field.spot)?;
        let at = ends.place(from, &field.name);
        way.validate.push(Check { at, field: field.name.clone(), demands: demands.clone() });
    }
    if let Some((spot, parsed)) = &entry.when {
        way.when = Some(bind(parsed, from, ends, spot)?);
    }
    for (target, parsed) in &entry.set {
        ends.own(direction.to(), &target.name, &target.spot)?;
        let expression = bind(parsed, from, ends, &target.spot)?;
        let at = ends.place(direction.to(), &target.name);
        way.steps.push(Step { target: at, made: Made::Set(target.name.clone(), Box::new(expression)) });
    }
    for arrow in draft.arrows(direction) {
        let (source, target) = (ends.place(from, &arrow.from), ends.place(direction.to(), &arrow.to));
        way.steps.push(Step { target, made: make(arrow, source) });
    }
    gates(draft, direction, file, ends, &mut way)?;
    finish(&mut way, direction, ends);
    Ok(way)
}

/// Puts the steps in order and notes what each target reads.
fn finish(way: &mut Way, direction: Direction, ends: &mut Ends<'_>) {
    way.steps.sort_by_key(|step| step.target);
    way.targets = way.steps.iter().map(|step| step.target).collect();
    for step in &way.steps {
        let sources = match &step.made {
            Made::Copy(at) => vec![*at],
            Made::Field(field) => vec![field.from],
            Made::Set(_, expression) => expression.slots.clone(),
        };
        if way.reads.len() <= step.target {
            way.reads.resize(step.target + 1, Vec::new());
        }
        if let Some(reads) = way.reads.get_mut(step.target) {
            *reads = sources;
        }
    }
    let facts = ends.facts;
    let mut places =
        |side: Side| -> Vec<usize> { facts.end(side).key.iter().map(|key| ends.place(side, key)).collect() };
    let (source, target) = (places(direction.from()), places(direction.to()));
    let changed = way.normalise.iter().any(|normal| source.contains(&normal.at));
    let made =
        way.steps.iter().any(|step| target.contains(&step.target) && !matches!(step.made, Made::Copy(_)));
    way.keys = (changed || made).then_some((source, target));
}

fn make(arrow: &Arrow, source: usize) -> Made {
    if arrow.is_plain() {
        return Made::Copy(source);
    }
    Made::Field(Box::new(FieldStep {
        from: source,
        field: arrow.from.clone(),
        chain: arrow.chain.clone(),
        default: arrow.default.clone(),
        required: arrow.required,
        kind: arrow.kind,
    }))
}

fn guards(
    draft: &Draft<'_>,
    direction: Direction,
    ends: &mut Ends<'_>,
    what: &str,
    conditions: &[(Named, Condition)],
) -> Result<Vec<Guard>, RulesError> {
    let mut guards = Vec::with_capacity(conditions.len());
    for (field, condition) in conditions {
        let place = place(draft, direction, ends, &field.name, draft.flat)
            .ok_or_else(|| unknown(draft, direction, ends, field))?;
        let rule = format!("{what}.{}", field.name);
        guards.push(Guard { rule, at: place.at, other: place.other, condition: condition.clone() });
    }
    Ok(guards)
}

fn required(
    draft: &Draft<'_>,
    direction: Direction,
    ends: &mut Ends<'_>,
    fields: &[Named],
) -> Result<Vec<Guard>, RulesError> {
    let mut guards = Vec::with_capacity(fields.len());
    for field in fields {
        let place = place(draft, direction, ends, &field.name, draft.flat)
            .ok_or_else(|| unknown(draft, direction, ends, field))?;
        guards.push(present(field, place));
    }
    Ok(guards)
}

fn present(field: &Named, place: Place) -> Guard {
    Guard {
        rule: format!("required_fields.{}", field.name),
        at: place.at,
        other: place.other,
        // Not asked: a required field is looked at for being blank.
        condition: Condition::All(Vec::new()),
    }
}

/// Adds the gates of both systems. `required_fields` guards what goes into the system,
/// `disallow_if` whatever passes it, either way.
fn gates(
    draft: &mut Draft<'_>,
    direction: Direction,
    file: &RulesFile,
    ends: &mut Ends<'_>,
    way: &mut Way,
) -> Result<(), RulesError> {
    for side in [direction.to(), direction.from()] {
        let end = ends.facts.end(side);
        for gate in &file.gates {
            if gate.system.name != end.system && gate.system.name != end.connector {
                continue;
            }
            let required = if side == direction.to() { gate.required.as_slice() } else { &[] };
            for field in required {
                let place = place(draft, direction, ends, &field.name, true)
                    .ok_or_else(|| unknown(draft, direction, ends, field))?;
                way.required.push(present(field, place));
            }
            for (field, condition) in &gate.disallow {
                let Some(place) = place(draft, direction, ends, &field.name, true) else {
                    draft.words.push(format!(
                        "{}: the gate of {} asks for `{}`, which neither end has",
                        direction.as_str(),
                        gate.system.name,
                        field.name
                    ));
                    continue;
                };
                let rule = format!("disallow_if.{}", field.name);
                way.disallow.push(Guard {
                    rule,
                    at: place.at,
                    other: place.other,
                    condition: condition.clone(),
                });
            }
        }
    }
    Ok(())
}

/// Finds the field that a guard names. `shared` names (of the flat form and of gates) may also be
/// those of the destination, because one name serves both directions there.
fn place(
    draft: &Draft<'_>,
    direction: Direction,
    ends: &mut Ends<'_>,
    name: &str,
    shared: bool,
) -> Option<Place> {
    let (from, to) = (direction.from(), direction.to());
    let arrows = draft.arrows(direction);
    if arrows.iter().any(|arrow| arrow.from == name) {
        return Some(Place { at: Some(ends.place(from, name)), other: None });
    }
    if shared && let Some(arrow) = arrows.iter().find(|arrow| arrow.to == name) {
        return Some(Place { at: Some(ends.place(from, &arrow.from)), other: None });
    }
    let at = ends.may_have(from, name).then(|| ends.place(from, name));
    let asked_there = if shared { ends.may_have(to, name) } else { ends.has(to, name) };
    let other = asked_there.then(|| ends.place(to, name));
    if at.is_none() && (other.is_none() || !shared) {
        return None;
    }
    Some(Place { at, other })
}

/// Makes the error that a guard's field is nowhere.
fn unknown(draft: &Draft<'_>, direction: Direction, ends: &Ends<'_>, field: &Named) -> RulesError {
    let mut error = ends.missing(direction.from(), &field.name, &field.spot);
    if let Some(arrow) = draft.arrows(direction).iter().find(|arrow| arrow.to == field.name) {
        error.remedy = Some(format!("there it is called `{}`", arrow.from));
    }
    error
}

/// Binds an expression to the fields of the source.
fn bind(parsed: &Parsed, side: Side, ends: &mut Ends<'_>, spot: &Spot) -> Result<Expression, RulesError> {
    let mut places: Vec<(Vec<String>, usize, usize)> = Vec::new();
    for parts in parsed.fields() {
        let (name, taken) = field_of(&parts, side, ends).ok_or_else(|| {
            let spoken = parts.iter().skip(usize::from(is_record(&parts, side, ends))).take(1);
            ends.missing(side, &spoken.cloned().collect::<String>(), spot)
        })?;
        let at = ends.place(side, &name);
        places.push((parts, at, taken));
    }
    Ok(parsed.bind(&|parts| {
        places
            .iter()
            .find(|(known, ..)| known.iter().map(String::as_str).eq(parts.iter().copied()))
            .map(|(_, at, taken)| (*at, *taken))
    }))
}

/// Tells whether a dotted name begins with the record rather than with a field of that name.
fn is_record(parts: &[String], side: Side, ends: &Ends<'_>) -> bool {
    parts.len() > 1 && parts.first().is_some_and(|root| root == "record") && !ends.has(side, "record")
}

/// Finds the field that a dotted name begins with: the longest name that the stream is known to
/// have (`Account.Name` is one field of Salesforce), else its first part where the stream is open.
fn field_of(parts: &[String], side: Side, ends: &Ends<'_>) -> Option<(String, usize)> {
    let skipped = usize::from(is_record(parts, side, ends));
    let names = parts.get(skipped..)?;
    (1..=names.len())
        .rev()
        .filter_map(|length| Some((names.get(..length)?.join("."), skipped + length)))
        .find(|(name, _)| ends.has(side, name))
        .or_else(|| Some((names.first()?.clone(), skipped + 1)).filter(|(name, _)| ends.may_have(side, name)))
}
