//! The JSON Schema of `rules.json`, for editors and for `record-sync rules schema`.
//!
//! It is as strict as the reader on names and kinds of values. What it leaves to the reader:
//! expressions, patterns, names that have to be unique, and everything that needs a stream.

use serde_json::{Map, Value, json};

use super::convert::Kind;
use super::parse::POLICIES;
use super::transform;

/// Returns the schema (draft 2020-12) of a whole rules file.
pub fn rules_schema() -> Value {
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "https://record-sync.invalid/rules.schema.json",
        "title": "record-sync rules",
        "description": "Flat rules for every link, rules by link, and gates by system; all may stand in one file.",
        "type": "object",
        "properties": {
            "$schema": {"type": "string"},
            "description": {"type": "string"},
            "mappings": described("#/$defs/mappings", "Names that stand for each other, in both directions."),
            "filters": described("#/$defs/conditions", "Only records that meet all of these are synced."),
            "required_fields": reference("#/$defs/names"),
            "disallow_if": reference("#/$defs/conditions"),
            "operations": reference("#/$defs/operations"),
            "conflict": reference("#/$defs/conflict"),
            "deletes": reference("#/$defs/deletes"),
            "links": {
                "type": "object",
                "description": "Rules by the name of a link; such a link takes nothing from the flat rules.",
                "additionalProperties": reference("#/$defs/link"),
            },
        },
        "additionalProperties": reference("#/$defs/gate"),
        "$defs": definitions(),
    })
}

fn definitions() -> Value {
    json!({
        "link": {
            "type": "object",
            "properties": {
                "description": {"type": "string"},
                "fields": described("#/$defs/mappings", "Fields of a on the left, of b on the right; both directions."),
                "a_to_b": reference("#/$defs/direction"),
                "b_to_a": reference("#/$defs/direction"),
                "conflict": reference("#/$defs/conflict"),
                "deletes": reference("#/$defs/deletes"),
            },
            "additionalProperties": false,
        },
        "direction": direction(),
        "gate": {
            "type": "object",
            "description": "What may pass a system: the name of a configured system or of its connector.",
            "properties": {
                "required_fields": described("#/$defs/names", "What goes into the system has to have these."),
                "disallow_if": described("#/$defs/conditions", "What meets one of these does not pass, either way."),
            },
            "additionalProperties": false,
        },
        "name": {"type": "string", "minLength": 1},
        "names": {"type": "array", "items": reference("#/$defs/name")},
        "mappings": {
            "type": "object",
            "additionalProperties": {"anyOf": [reference("#/$defs/name"), reference("#/$defs/mapping")]},
        },
        "mapping": mapping(),
        "type": {"enum": Kind::ALL.iter().map(|(word, _)| *word).collect::<Vec<_>>()},
        "transform": transform(),
        "transforms": {
            "anyOf": [
                reference("#/$defs/transform"),
                {"type": "array", "items": reference("#/$defs/transform")},
            ],
        },
        "conditions": {"type": "object", "additionalProperties": reference("#/$defs/condition")},
        "condition": condition(),
        "operators": operators(),
        "operations": {
            "type": "array",
            "items": {"enum": ["create", "update", "delete"]},
            "description": "What this may do at the destination; all, where it is left out.",
        },
        "demands": demands(),
        "policy": {"enum": POLICIES.iter().map(|(word, _)| *word).collect::<Vec<_>>()},
        "conflict": {
            "anyOf": [
                reference("#/$defs/policy"),
                {
                    "type": "object",
                    "properties": {
                        "default": reference("#/$defs/policy"),
                        "fields": {"type": "object", "additionalProperties": reference("#/$defs/policy")},
                    },
                    "additionalProperties": false,
                },
            ],
        },
        "delete_policy": {
            "anyOf": [
                {"enum": ["propagate", "ignore"]},
                {
                    "type": "object",
                    "properties": {"archive": {"type": "object", "minProperties": 1}},
                    "required": ["archive"],
                    "additionalProperties": false,
                },
            ],
        },
        "deletes": {
            "anyOf": [
                reference("#/$defs/delete_policy"),
                {
                    "type": "object",
                    "properties": {
                        "a_to_b": reference("#/$defs/delete_policy"),
                        "b_to_a": reference("#/$defs/delete_policy"),
                    },
                    "minProperties": 1,
                    "additionalProperties": false,
                },
            ],
        },
    })
}

fn direction() -> Value {
    json!({
        "type": "object",
        "properties": {
            "description": {"type": "string"},
            "normalise": {
                "type": "object",
                "description": "Transforms of the source that come before all else.",
                "additionalProperties": reference("#/$defs/transforms"),
            },
            "validate": {
                "type": "object",
                "description": "A record that breaks one of these is not written, and says why.",
                "additionalProperties": reference("#/$defs/demands"),
            },
            "filters": reference("#/$defs/conditions"),
            "when": {"type": "string", "minLength": 1, "description": "A CEL expression over the source's fields."},
            "required_fields": reference("#/$defs/names"),
            "disallow_if": reference("#/$defs/conditions"),
            "mappings": reference("#/$defs/mappings"),
            "set": {
                "type": "object",
                "description": "Fields of the destination, each made by a CEL expression.",
                "additionalProperties": {"type": "string", "minLength": 1},
            },
            "operations": reference("#/$defs/operations"),
        },
        "additionalProperties": false,
    })
}

fn mapping() -> Value {
    json!({
        "type": "object",
        "properties": {
            "to": reference("#/$defs/name"),
            "transform": reference("#/$defs/transforms"),
            "default": {"description": "Stands in for a value that is missing or null."},
            "required": {"type": "boolean"},
            "type": reference("#/$defs/type"),
        },
        "required": ["to"],
        "additionalProperties": false,
    })
}

fn transform() -> Value {
    let plain: Vec<&str> = transform::NAMES.into_iter().filter(|name| *name != "truncate").collect();
    let option = |name: &str, kind: &str| {
        json!({"anyOf": [
            {"type": kind},
            {"type": "object", "properties": {name: {"type": kind}}, "additionalProperties": false},
        ]})
    };
    json!({
        "anyOf": [
            {"enum": plain},
            {"type": "string", "pattern": "^\\s*(phone|date|truncate)\\s*\\(.*\\)\\s*$"},
            {
                "type": "object",
                "properties": {
                    "phone": option("region", "string"),
                    "date": option("format", "string"),
                    "truncate": option("length", "integer"),
                },
                "minProperties": 1,
                "maxProperties": 1,
                "additionalProperties": false,
            },
        ],
    })
}

fn condition() -> Value {
    json!({
        "description": "A value is compared, a list means any of, an object holds operators, all of which have to hold.",
        "anyOf": [
            {"type": ["string", "number", "boolean", "null", "array"]},
            reference("#/$defs/operators"),
        ],
    })
}

fn operators() -> Value {
    let bound = json!({"type": ["number", "string"]});
    json!({
        "type": "object",
        "properties": {
            "eq": {},
            "ne": {},
            "gt": bound,
            "gte": bound,
            "lt": bound,
            "lte": bound,
            "in": {"type": "array"},
            "not_in": {"type": "array"},
            "contains": {"type": ["string", "number", "boolean"]},
            "matches": {"type": "string"},
            "exists": {"type": "boolean"},
        },
        "minProperties": 1,
        "additionalProperties": false,
    })
}

fn demands() -> Value {
    let bound = json!({"type": ["number", "string"]});
    let length = json!({"type": "integer", "minimum": 0});
    json!({
        "type": "object",
        "properties": {
            "required": {"type": "boolean"},
            "type": reference("#/$defs/type"),
            "min": bound,
            "max": bound,
            "min_length": length,
            "max_length": length,
            "pattern": {"type": "string"},
            "one_of": {"type": "array"},
        },
        "additionalProperties": false,
    })
}

fn reference(to: &str) -> Value {
    json!({ "$ref": to })
}

fn described(to: &str, words: &str) -> Value {
    let mut schema = Map::new();
    schema.insert("$ref".to_owned(), to.into());
    schema.insert("description".to_owned(), words.into());
    Value::Object(schema)
}
