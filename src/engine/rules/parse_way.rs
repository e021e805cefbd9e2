//! What may stand in one direction, and in the flat form.

use std::cmp::Ordering;

use super::compiled::Operations;
use super::condition::{Condition, OPERATORS, Test};
use super::error::{RulesError, Spot};
use super::expr::Parsed;
use super::file::{Named, WayEntry};
use super::json::{Data, Member, Node};
use super::parse::{mappings, named, values};
use super::transform::Transform;
use super::validate::{self, Demands};

/// Keys of one direction.
pub(super) const KEYS: [&str; 9] = [
    "filters",
    "when",
    "required_fields",
    "disallow_if",
    "mappings",
    "set",
    "operations",
    "normalise",
    "validate",
];

/// Reads `a_to_b` or `b_to_a`.
pub(super) fn direction(member: &Member) -> Result<WayEntry, RulesError> {
    let mut entry = way(member.value.object("an object with the direction's rules")?)?;
    entry.spot = Some(member.spot.clone());
    let mapped = entry.mappings.as_deref().unwrap_or_default();
    for (at, mapping) in mapped.iter().enumerate() {
        if mapped.iter().take(at).any(|first| first.to.name == mapping.to.name) {
            return Err(written_twice(&mapping.to.spot, &mapping.to.name));
        }
    }
    Ok(entry)
}

/// Reads the keys of one direction.
pub(super) fn way(members: &[Member]) -> Result<WayEntry, RulesError> {
    let mut entry = WayEntry::default();
    for member in members {
        let value = &member.value;
        match member.name.as_str() {
            "filters" => entry.filters = conditions(value)?,
            "when" => entry.when = Some((value.spot.clone(), when(value)?)),
            "required_fields" => entry.required = names(value)?,
            "disallow_if" => entry.disallow = conditions(value)?,
            "mappings" => {
                entry.mappings = Some(mappings(value)?);
            }
            "set" => {
                for part in value.object("an object of expressions by field")? {
                    entry.set.push((named(part), expression(&part.value)?));
                }
            }
            "operations" => entry.operations = Some(operations(value)?),
            "normalise" => {
                for part in value.object("an object of transforms by field")? {
                    entry.normalise.push((named(part), Transform::read_chain(&part.value)?));
                }
            }
            "validate" => {
                for part in value.object("an object of demands by field")? {
                    entry.validate.push((named(part), Demands::read(&part.value)?));
                }
            }
            "description" => {}
            other => return Err(member.spot.unknown("key", other, KEYS)),
        }
    }
    let mapped = entry.mappings.iter().flatten();
    for mapping in mapped {
        if let Some((set, _)) = entry.set.iter().find(|(set, _)| set.name == mapping.to.name) {
            return Err(written_twice(&set.spot, &set.name));
        }
    }
    Ok(entry)
}

fn written_twice(spot: &Spot, name: &str) -> RulesError {
    spot.remedied(format!("`{name}` is written twice in this direction"), "keep one of both")
}

/// Reads a list of names.
pub(super) fn names(node: &Node) -> Result<Vec<Named>, RulesError> {
    node.list("a list of fields")?
        .iter()
        .map(|item| Ok(Named { name: item.text("the name of a field")?.to_owned(), spot: item.spot.clone() }))
        .collect()
}

/// Reads conditions by field.
pub(super) fn conditions(node: &Node) -> Result<Vec<(Named, Condition)>, RulesError> {
    node.object("an object of conditions by field")?
        .iter()
        .map(|member| Ok((named(member), condition(&member.value)?)))
        .collect()
}

fn condition(node: &Node) -> Result<Condition, RulesError> {
    match &node.data {
        Data::List(_) => Ok(Condition::AnyOf(values(node)?)),
        Data::Object(members) if members.is_empty() => {
            Err(node.spot.remedied("a condition without an operator", "write a value, or {\"eq\": value}"))
        }
        Data::Object(members) => Ok(Condition::All(members.iter().map(test).collect::<Result<_, _>>()?)),
        _ => Ok(Condition::Is(node.value()?)),
    }
}

fn test(member: &Member) -> Result<Test, RulesError> {
    let node = &member.value;
    let ordered = |one, other| match &node.data {
        Data::Number(_) | Data::Text(_) => Ok(Test::Ordered(one, other, node.value()?)),
        _ => Err(node.expected("a number or a text")),
    };
    match member.name.as_str() {
        "eq" => Ok(Test::Eq(node.value()?)),
        "ne" => Ok(Test::Ne(node.value()?)),
        "gt" => ordered(Ordering::Greater, Ordering::Greater),
        "gte" => ordered(Ordering::Greater, Ordering::Equal),
        "lt" => ordered(Ordering::Less, Ordering::Less),
        "lte" => ordered(Ordering::Less, Ordering::Equal),
        "in" => Ok(Test::In(values(node)?)),
        "not_in" => Ok(Test::NotIn(values(node)?)),
        "contains" => match &node.data {
            Data::List(_) | Data::Object(_) | Data::Null => {
                Err(node.expected("a text, a number or a boolean"))
            }
            _ => Ok(Test::Contains(node.value()?)),
        },
        "matches" => Ok(Test::Matches(validate::pattern(node)?)),
        "exists" => Ok(Test::Exists(node.flag("true or false")?)),
        other => Err(member.spot.unknown("operator", other, OPERATORS)),
    }
}

/// Reads an expression; its own errors point into the text.
fn expression(node: &Node) -> Result<Parsed, RulesError> {
    let source = node.text("a CEL expression")?;
    Parsed::read(source).map_err(|error| {
        let mut spot = node.spot.clone();
        // Escapes shift the columns: then the whole text is pointed at.
        let verbatim = node.raw.len() == source.len() + 2;
        spot.column += error.column.filter(|_| verbatim).map_or(0, |column| column + 1);
        match error.remedy {
            Some(remedy) => spot.remedied(error.message, remedy),
            None => spot.error(error.message),
        }
    })
}

fn when(node: &Node) -> Result<Parsed, RulesError> {
    let parsed = expression(node)?;
    if parsed.is_never_bool() {
        return Err(node.spot.remedied(
            "`when` has to give true or false",
            "write a comparison such as status == \"active\"",
        ));
    }
    Ok(parsed)
}

fn operations(node: &Node) -> Result<Operations, RulesError> {
    let mut operations = Operations { create: false, update: false, delete: false };
    for item in node.list("a list of create, update and delete")? {
        match item.text("create, update or delete")? {
            "create" => operations.create = true,
            "update" => operations.update = true,
            "delete" => operations.delete = true,
            other => return Err(item.spot.unknown("operation", other, ["create", "update", "delete"])),
        }
    }
    Ok(operations)
}
