//! Files of every form, right and wrong, with the place of each fault.

use super::*;

/// Files of every form that are right.
pub(super) const EXAMPLES: [&str; 8] = [
    r#"{}"#,
    r#"{"filters": {"status": "active"}, "mappings": {"record_id": "record_id", "full_name": "name", "email_address": "email"}}"#,
    r#"{"salesforce": {"required_fields": ["email"], "disallow_if": {"do_not_sync": true}}}"#,
    r#"{"description": "x", "mappings": {"a": "b"}, "conflict": "newest", "deletes": "ignore", "operations": ["create"],
        "outreach": {"disallow_if": {"x": {"gt": 3}}}}"#,
    r#"{"links": {"l": {"fields": {"name": "full_name"}, "conflict": {"default": "a", "fields": {"name": "union"}},
        "deletes": {"a_to_b": {"archive": {"gone": true}}, "b_to_a": "propagate"}}},
        "salesforce": {"required_fields": ["email"]}}"#,
    r#"{"links": {"l": {"a_to_b": {
        "filters": {"a": 1, "b": [1, "x", null], "c": {"eq": 1, "ne": null, "gt": 1, "gte": "2026-01-01", "lt": 2, "lte": 2.5,
                    "in": [1], "not_in": ["x"], "contains": "y", "matches": "^z", "exists": true}},
        "when": "a > 1", "required_fields": ["a"], "disallow_if": {"a": {"in": [7]}},
        "mappings": {"a": "b", "c": {"to": "d", "transform": ["trim", "phone(DE)", {"phone": {"region": "DE"}}, {"truncate": 5}],
                     "default": {"x": []}, "required": true, "type": "string"}},
        "set": {"e": "a + 1"}, "operations": [], "normalise": {"a": "lower", "b": ["upper"]},
        "validate": {"a": {"required": true, "type": "int", "min": 1, "max": 9, "min_length": 1, "max_length": 3,
                     "pattern": "^x", "one_of": [1]}}}}}}"#,
    r#"{"links": {}}"#,
    r#"{"$schema": "rules.schema.json", "links": {"l": {"b_to_a": {"description": "nothing"}}}}"#,
];

#[test]
fn right_files_are_read() {
    for text in EXAMPLES {
        RulesFile::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    }
}

#[test]
fn faults_are_found_where_they_stand_and_say_what_to_write() {
    // (text, line, column, pointer, part of the error, why)
    let cases = [
        ("[]", 1, 1, "", "expected an object", "a list"),
        ("{\"filtres\": {\"status\": \"x\"}}", 1, 2, "/filtres", "did you mean `filters`?", "misspelt key"),
        ("{\"mapping\": {\"a\": \"b\"}}", 1, 2, "/mapping", "did you mean `mappings`?", "singular"),
        ("{\"colour\": 1}", 1, 2, "/colour", "unknown key", "a strange key"),
        ("{\"when\": \"a > 1\"}", 1, 2, "/when", "write it under links", "needs a direction"),
        (
            "{\"salesforce\": {\"required\": []}}",
            1,
            17,
            "/salesforce/required",
            "key of the gate `salesforce`",
            "gate key",
        ),
        ("{\n  \"mappings\": {\n    \"a\": 7\n  }\n}", 3, 10, "/mappings/a", "found a number", "type"),
        (
            "{\"mappings\": {\"a\": \"c\", \"b\": \"c\"}}",
            1,
            30,
            "/mappings/b",
            "both stand for `c`",
            "not invertible",
        ),
        (
            "{\"mappings\": {\"a\": {\"transform\": \"trim\"}}}",
            1,
            20,
            "/mappings/a",
            "without `to`",
            "no target",
        ),
        (
            "{\"mappings\": {\"a\": {\"to\": \"b\", \"trasform\": \"trim\"}}}",
            1,
            32,
            "/mappings/a/trasform",
            "did you mean `transform`?",
            "mapping key",
        ),
        (
            "{\"mappings\": {\"a\": {\"to\": \"b\", \"transform\": [\"trim\", \"uper\"]}}}",
            1,
            54,
            "/mappings/a/transform/1",
            "did you mean `upper`?",
            "transform",
        ),
        (
            "{\"mappings\": {\"a\": {\"to\": \"b\", \"type\": \"number\"}}}",
            1,
            40,
            "/mappings/a/type",
            "unknown type",
            "type word",
        ),
        ("{\"filters\": {\"a\": {\"get\": 1}}}", 1, 20, "/filters/a/get", "did you mean `gt", "operator"),
        (
            "{\"filters\": {\"a\": {\"matches\": \"(\"}}}",
            1,
            31,
            "/filters/a/matches",
            "invalid pattern",
            "pattern",
        ),
        ("{\"filters\": {\"a\": {}}}", 1, 19, "/filters/a", "without an operator", "empty condition"),
        ("{\"filters\": {\"a\": {\"in\": 7}}}", 1, 26, "/filters/a/in", "expected a list", "operand"),
        ("{\"conflict\": \"newset\"}", 1, 14, "/conflict", "did you mean `newest`?", "policy"),
        (
            "{\"deletes\": \"archive\"}",
            1,
            13,
            "/deletes",
            "{\"archive\": {\"field\": value}}",
            "archive needs a field",
        ),
        (
            "{\"deletes\": {\"a_to_c\": \"ignore\"}}",
            1,
            14,
            "/deletes/a_to_c",
            "did you mean `a_to_b`?",
            "direction",
        ),
        ("{\"operations\": [\"upsert\"]}", 1, 17, "/operations/0", "write one of: create", "operation"),
        (
            "{\"links\": {\"l\": {\"filters\": {}}}}",
            1,
            18,
            "/links/l/filters",
            "under \"a_to_b\"",
            "needs a direction",
        ),
        (
            "{\"links\": {\"l\": {\"a_to_b\": {\"when\": \"a >\"}}}}",
            1,
            41,
            "/links/l/a_to_b/when",
            "invalid expression",
            "into the text",
        ),
        (
            "{\"links\": {\"l\": {\"a_to_b\": {\"when\": \"1 + 1\"}}}}",
            1,
            37,
            "/links/l/a_to_b/when",
            "true or false",
            "no bool",
        ),
        (
            "{\"links\": {\"l\": {\"a_to_b\": {\"mappings\": {\"a\": \"c\", \"b\": \"c\"}}}}}",
            1,
            57,
            "/links/l/a_to_b/mappings/b",
            "written twice",
            "one target",
        ),
        (
            "{\"links\": {\"l\": {\"a_to_b\": {\"mappings\": {\"a\": \"c\"}, \"set\": {\"c\": \"1\"}}}}}",
            1,
            61,
            "/links/l/a_to_b/set/c",
            "written twice",
            "mapped and set",
        ),
        ("{\"a\": 1,}", 1, 9, "", "remove the comma", "syntax"),
    ];
    for (text, line, column, pointer, part, why) in cases {
        let error = RulesFile::parse(text).expect_err(why);
        assert!(error.to_string().contains(part), "{why}: {error}");
        assert_eq!(
            (error.line, error.column, error.pointer.as_str()),
            (line, column, pointer),
            "{why}: {error}"
        );
        assert!(error.remedy.is_some() || why == "into the text", "{why}: no remedy: {error}");
    }
}

#[test]
fn errors_are_written_as_editors_link_them() {
    let error = RulesFile::parse("{\n  \"conflict\": \"newset\"\n}").expect_err("misspelt");
    assert_eq!(
        error.in_file("rules.json"),
        "rules.json:2:15: unknown conflict policy `newset`; did you mean `newest`?"
    );
}

#[test]
fn names_that_the_configuration_does_not_have_are_reported() {
    let file = RulesFile::parse(
        r#"{"links": {"one": {}, "tow": {}}, "salesfroce": {"disallow_if": {}}, "sqlite": {}}"#,
    )
    .expect("file");
    assert!(file.check_names(&["one", "tow"], &["salesfroce", "sqlite"]).is_ok());
    let errors: Vec<String> = file
        .unknown_names(&["one", "two"], &["app", "salesforce", "sqlite"])
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        errors,
        [
            "1:23: unknown link `tow`; did you mean `two`?",
            "1:35: unknown key or system `salesfroce`; did you mean `salesforce`?"
        ]
    );
}
