//! The rules from text to verdict.

mod compile;
mod evaluate;
mod expressions;
mod files;
mod random;
mod rings;
mod schema;
mod verdicts;

use super::{ConflictPolicy, DeletePolicy, EndFacts, LinkFacts, LinkRules, RulesError, RulesFile};
use crate::engine::record::{Direction, Image, Side, Value, json_text, value_from_json};

/// An end with fields; `open` where others may come up.
fn end(system: &str, stream: &str, fields: &[&str], open: bool) -> EndFacts {
    EndFacts {
        system: system.into(),
        connector: if system == "app" { "sqlite".into() } else { system.into() },
        stream: stream.into(),
        key: vec!["record_id".into()],
        fields: fields.iter().map(|field| (*field).to_owned()).collect(),
        open,
        walks: Vec::new(),
        barred: Default::default(),
    }
}

/// Users in SQLite and an open CRM that has nothing yet, both ways.
fn facts() -> LinkFacts {
    LinkFacts {
        link: "l".into(),
        a: end("app", "users", &["record_id", "name", "email", "status"], false),
        b: end("salesforce", "Contact", &[], true),
        a_to_b: true,
        b_to_a: true,
        first_contact: ConflictPolicy::Newest,
    }
}

/// The same with a CRM that has exactly these fields.
fn closed(fields: &[&str]) -> LinkFacts {
    LinkFacts { b: end("salesforce", "Contact", fields, false), ..facts() }
}

fn compile(text: &str, facts: &LinkFacts) -> Result<LinkRules, RulesError> {
    RulesFile::parse(text)?.compile(1, facts)
}

/// Compiles one link's entry, written as its content.
fn link(entry: &str, facts: &LinkFacts) -> Result<LinkRules, RulesError> {
    compile(&format!(r#"{{"links": {{"l": {{{entry}}}}}}}"#), facts)
}

/// An image of one end out of a JSON object; what is not in it is absent.
fn image(rules: &LinkRules, side: Side, json: &str) -> Image {
    let object: serde_json::Value = serde_json::from_str(json).expect("JSON");
    let values = rules
        .shape(side)
        .names()
        .map(|name| object.get(name).map_or(Value::Absent, value_from_json))
        .collect();
    Image { shape: rules.shape(side).clone(), values }
}

/// Maps a record that way and writes what comes out, absent fields left out.
fn map(rules: &LinkRules, direction: Direction, json: &str) -> Result<String, String> {
    let way = rules.way(direction).expect("a way");
    let values = way
        .map(&image(rules, direction.from(), json))
        .map_err(|invalid| format!("{} ({})", invalid.rule, invalid.reason))?;
    let shape = rules.shape(direction.to());
    let record = crate::engine::record::Record { schema: shape.clone(), values, meta: Default::default() };
    Ok(json_text(&record))
}

/// Says which rule holds a record back, if any.
fn held(rules: &LinkRules, direction: Direction, json: &str, other: Option<&str>) -> Option<String> {
    let other = other.map(|json| image(rules, direction.to(), json));
    let from = image(rules, direction.from(), json);
    rules.way(direction).expect("a way").admits(&from, other.as_ref()).err().map(|held| held.rule)
}

/// The arrows of a direction: `from>to`, sorted.
fn arrows(rules: &LinkRules, direction: Direction) -> String {
    let way = rules.way(direction).expect("a way");
    let (from, to) = (rules.shape(direction.from()), rules.shape(direction.to()));
    let mut arrows: Vec<String> = way
        .targets()
        .iter()
        .map(|&target| {
            let reads: Vec<&str> = way.reads(target).iter().filter_map(|&at| from.name(at)).collect();
            format!("{}>{}", reads.join("+"), to.name(target).unwrap_or("?"))
        })
        .collect();
    arrows.sort();
    arrows.join(" ")
}
