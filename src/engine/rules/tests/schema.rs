//! The schema and the reader agree: what one takes, the other takes.

use serde_json::{Value as Json, json};

use super::files::EXAMPLES;
use super::*;
use crate::engine::rules::rules_schema;
use crate::engine::rules::{condition, parse, parse_way, transform, validate};

/// Checks the part of JSON Schema that our schema uses; a keyword that it does not know fails.
fn fits(schema: &Json, root: &Json, value: &Json) -> bool {
    let Json::Object(schema) = schema else { return schema == &Json::Bool(true) };
    let text = |word: &Json| word.as_str().expect("a word").to_owned();
    schema.iter().all(|(keyword, operand)| match keyword.as_str() {
        "$schema" | "$id" | "title" | "description" | "$defs" => true,
        "$ref" => {
            let target = root.pointer(text(operand).trim_start_matches('#')).expect("a definition");
            fits(target, root, value)
        }
        "type" => match operand {
            Json::Array(kinds) => kinds.iter().any(|kind| is_a(&text(kind), value)),
            kind => is_a(&text(kind), value),
        },
        "enum" => operand.as_array().expect("a list").contains(value),
        "anyOf" => operand.as_array().expect("a list").iter().any(|schema| fits(schema, root, value)),
        "items" => value.as_array().is_none_or(|items| items.iter().all(|item| fits(operand, root, item))),
        "properties" | "additionalProperties" => value.as_object().is_none_or(|object| {
            let known = schema.get("properties").and_then(Json::as_object);
            object.iter().all(|(name, value)| {
                match (known.and_then(|known| known.get(name)), keyword.as_str()) {
                    (Some(schema), "properties") => fits(schema, root, value),
                    (None, "additionalProperties") => fits(operand, root, value),
                    _ => true,
                }
            })
        }),
        "required" => value.as_object().is_none_or(|object| {
            operand.as_array().expect("a list").iter().all(|name| object.contains_key(&text(name)))
        }),
        "minProperties" => {
            value.as_object().is_none_or(|object| object.len() as u64 >= operand.as_u64().expect("n"))
        }
        "maxProperties" => {
            value.as_object().is_none_or(|object| object.len() as u64 <= operand.as_u64().expect("n"))
        }
        "minLength" => value.as_str().is_none_or(|text| text.len() as u64 >= operand.as_u64().expect("n")),
        "minimum" => value.as_f64().is_none_or(|number| number >= operand.as_f64().expect("n")),
        "pattern" => {
            let pattern = regex::Regex::new(&text(operand)).expect("a pattern");
            value.as_str().is_none_or(|text| pattern.is_match(text))
        }
        other => panic!("the schema uses {other}, which this check does not know"),
    })
}

fn is_a(kind: &str, value: &Json) -> bool {
    match kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "number" => value.is_number(),
        "integer" => value.is_i64(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        other => panic!("unknown type {other}"),
    }
}

#[test]
fn the_schema_takes_every_example() {
    let schema = rules_schema();
    for text in EXAMPLES {
        let value: Json = serde_json::from_str(text).expect("JSON");
        assert!(fits(&schema, &schema, &value), "{text}");
    }
}

#[test]
fn the_schema_refuses_what_the_reader_refuses() {
    let cases = [
        json!([]),
        json!({"filtres": 1}),
        json!({"mappings": {"a": 7}}),
        json!({"mappings": {"a": ""}}),
        json!({"mappings": {"a": {"transform": "trim"}}}),
        json!({"mappings": {"a": {"to": "b", "trasform": "trim"}}}),
        json!({"mappings": {"a": {"to": "b", "transform": ["uper"]}}}),
        json!({"mappings": {"a": {"to": "b", "transform": "truncate"}}}),
        json!({"mappings": {"a": {"to": "b", "transform": {"phone": {"country": "DE"}}}}}),
        json!({"mappings": {"a": {"to": "b", "type": "number"}}}),
        json!({"filters": {"a": {}}}),
        json!({"filters": {"a": {"get": 1}}}),
        json!({"filters": {"a": {"in": 7}}}),
        json!({"filters": {"a": {"gt": true}}}),
        json!({"required_fields": "a"}),
        json!({"operations": ["upsert"]}),
        json!({"conflict": "newset"}),
        json!({"conflict": {"feilds": {}}}),
        json!({"deletes": "archive"}),
        json!({"deletes": {}}),
        json!({"deletes": {"archive": {}}}),
        json!({"deletes": {"a_to_b": "ignore", "archive": {"x": 1}}}),
        json!({"salesforce": {"required": []}}),
        json!({"links": {"l": {"filters": {}}}}),
        json!({"links": {"l": {"a_to_b": {"whn": "a"}}}}),
        json!({"links": {"l": {"a_to_b": {"validate": {"a": {"min_length": -1}}}}}}),
    ];
    let schema = rules_schema();
    for value in cases {
        assert!(RulesFile::parse(&value.to_string()).is_err(), "the reader takes {value}");
        assert!(!fits(&schema, &schema, &value), "the schema takes {value}");
    }
}

#[test]
fn the_schema_knows_every_key_of_the_reader() {
    let schema = rules_schema();
    // (place in the schema, the reader's keys)
    let cases: [(&str, &[&str]); 6] = [
        ("/properties", &parse::FLAT_KEYS),
        ("/$defs/direction/properties", &parse_way::KEYS),
        ("/$defs/gate/properties", &parse::GATE_KEYS),
        ("/$defs/operators/properties", &condition::OPERATORS),
        ("/$defs/demands/properties", &validate::KEYS),
        ("/$defs/mapping/properties", &parse::MAPPING_KEYS),
    ];
    for (place, keys) in cases {
        let known = schema.pointer(place).and_then(Json::as_object).expect(place);
        for key in keys {
            assert!(known.contains_key(*key), "{place} lacks {key}");
        }
    }
    for name in transform::NAMES {
        let argument = if name == "truncate" { "(3)" } else { "" };
        let value = json!({"mappings": {"a": {"to": "b", "transform": format!("{name}{argument}")}}});
        assert!(fits(&schema, &schema, &value), "{name}");
        RulesFile::parse(&value.to_string()).expect(name);
    }
}
