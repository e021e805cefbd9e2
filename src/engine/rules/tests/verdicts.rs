//! What every rule says of a record, in words.

use super::*;

#[test]
fn every_rule_says_what_it_wants_and_what_it_found() {
    let entry = r#""fields": {"name": "n", "email": "e"}, "a_to_b": {
        "filters": {"status": ["active", "new"], "record_id": {"gte": 5}}, "when": "name != \"Bob\"",
        "required_fields": ["email"], "disallow_if": {"name": "Eve"}}"#;
    let rules = link(entry, &facts()).expect("rules");
    // (record, rules that hold it back with their words, why)
    let cases = [
        (
            r#"{"record_id": 7, "name": "Ada", "email": "a@x.org", "status": "new"}"#,
            vec![],
            "nothing to object",
        ),
        (
            r#"{"record_id": 3, "name": "Bob", "status": "gone"}"#,
            vec![
                ("filters.record_id", "record_id must be greater than or equal to 5; it is 3"),
                ("filters.status", "status must be one of \"active\", \"new\"; it is \"gone\""),
                ("required_fields.email", "email must not be empty; it is not there"),
                ("when", "the expression does not hold"),
            ],
            "all that hold it back, not just the first",
        ),
        (
            r#"{"record_id": 7, "name": "Eve", "email": "", "status": "new"}"#,
            vec![
                ("disallow_if.name", "name must not be \"Eve\"; it is \"Eve\""),
                ("required_fields.email", "email must not be empty; it is \"\""),
            ],
            "a gate",
        ),
    ];
    for (record, expected, why) in cases {
        let from = image(&rules, Side::A, record);
        let way = rules.way(Direction::AToB).expect("a way");
        let verdicts = way.verdicts(&from, None);
        assert_eq!(verdicts.len(), 5, "{why}: each rule speaks");
        let mut against: Vec<(&str, &str)> = verdicts
            .iter()
            .filter(|verdict| !verdict.passes)
            .map(|verdict| (verdict.rule.as_str(), verdict.words.as_str()))
            .collect();
        against.sort_unstable();
        assert_eq!(against, expected, "{why}");
        assert_eq!(way.admits(&from, None).is_ok(), expected.is_empty(), "{why}: as the planner says");
    }
}
