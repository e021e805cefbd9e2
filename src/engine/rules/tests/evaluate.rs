//! Records held back, mapped or refused, both ways.

use super::*;
use Direction::{AToB, BToA};

#[test]
fn filters_hold_back_what_they_do_not_meet() {
    let with = |filters: &str| {
        link(&format!(r#""fields": {{"name": "n"}}, "a_to_b": {{"filters": {filters}}}"#), &facts())
            .expect(filters)
    };
    let active = r#"{"record_id": 1, "name": "Ada", "email": "a@x.org", "status": "active"}"#;
    // (filters, rule that holds the record back, why)
    let cases = [
        (r#"{"status": "active"}"#, None, "equal"),
        (r#"{"status": "gone"}"#, Some("filters.status"), "not equal"),
        (r#"{"status": ["gone", "active"]}"#, None, "any of"),
        (r#"{"record_id": "1"}"#, None, "1 is \"1\" between systems"),
        (r#"{"record_id": {"gte": 1, "lt": 2}}"#, None, "all operators"),
        (r#"{"record_id": {"gt": 1}}"#, Some("filters.record_id"), "one operator fails"),
        (r#"{"email": {"contains": "@x."}, "name": {"matches": "^A"}}"#, None, "all fields"),
        (r#"{"email": {"exists": false}}"#, Some("filters.email"), "it is there"),
        (r#"{"status": {"not_in": ["gone"]}, "name": {"ne": "Bob"}}"#, None, "negations"),
    ];
    for (filters, rule, why) in cases {
        assert_eq!(held(&with(filters), AToB, active, None).as_deref(), rule, "{why}");
    }
}

#[test]
fn a_filter_that_no_mapping_carries_is_asked_of_the_other_end() {
    let rules = compile(r#"{"filters": {"status": "active"}, "mappings": {"full_name": "name"}}"#, &facts())
        .expect("rules");
    let plain = r#"{"record_id": 1, "full_name": "Ada"}"#;
    // (record at b, record at a, held, why)
    let cases = [
        (plain, Some(r#"{"record_id": 1, "status": "active"}"#), None, "the table knows it"),
        (plain, Some(r#"{"record_id": 1, "status": "gone"}"#), Some("filters.status"), "and says no"),
        (plain, None, Some("filters.status"), "nobody knows it"),
        (
            r#"{"record_id": 1, "status": "gone"}"#,
            Some(r#"{"record_id": 1, "status": "active"}"#),
            Some("filters.status"),
            "its own word counts first",
        ),
    ];
    for (here, there, rule, why) in cases {
        assert_eq!(held(&rules, BToA, here, there).as_deref(), rule, "{why}");
    }
    let rules = compile(r#"{"filters": {"name": "Ada"}, "mappings": {"full_name": "name"}}"#, &facts())
        .expect("rules");
    assert_eq!(held(&rules, BToA, plain, None), None, "a mapped name is carried: full_name is asked");
}

#[test]
fn guards_are_asked_in_order_and_name_themselves() {
    let rules = link(
        r#""fields": {"name": "n"},
           "a_to_b": {"filters": {"status": "active"}, "when": "record_id > 10",
                      "required_fields": ["email"], "disallow_if": {"name": ["Bob", "Eve"]}}"#,
        &facts(),
    )
    .expect("rules");
    // (record, rule, why)
    let cases = [
        (r#"{"record_id": 11, "status": "active", "email": "e", "name": "Ada"}"#, None, "all fine"),
        (r#"{"record_id": 1, "status": "x"}"#, Some("filters.status"), "filters first"),
        (r#"{"record_id": 1, "status": "active"}"#, Some("when"), "then when"),
        (
            r#"{"record_id": 11, "status": "active", "email": ""}"#,
            Some("required_fields.email"),
            "empty is not there",
        ),
        (
            r#"{"record_id": 11, "status": "active", "email": "e", "name": "Eve"}"#,
            Some("disallow_if.name"),
            "gates last",
        ),
        (
            r#"{"record_id": "x", "status": "active"}"#,
            Some("when: found no matching overload for '_>_' applied to '(string, int)'"),
            "an expression that fails says why",
        ),
    ];
    for (record, rule, why) in cases {
        assert_eq!(held(&rules, AToB, record, None).as_deref(), rule, "{why}");
    }
}

#[test]
fn gates_stand_beside_the_other_forms() {
    let text = r#"{"salesforce": {"required_fields": ["email"], "disallow_if": {"do_not_sync": true}},
                   "mappings": {"full_name": "name", "email_address": "email"}}"#;
    let rules = compile(text, &facts()).expect("rules");
    // (direction, record, other end, rule, why)
    let cases = [
        (AToB, r#"{"record_id": 1, "email": "e"}"#, None, None, "fine"),
        (AToB, r#"{"record_id": 1}"#, None, Some("required_fields.email"), "needed to go in"),
        (
            AToB,
            r#"{"record_id": 1, "email": "e"}"#,
            Some(r#"{"do_not_sync": 1}"#),
            Some("disallow_if.do_not_sync"),
            "marked there",
        ),
        (BToA, r#"{"record_id": 1, "do_not_sync": true}"#, None, Some("disallow_if.do_not_sync"), "nor out"),
        (BToA, r#"{"record_id": 1}"#, None, None, "nothing is required to come out"),
    ];
    for (direction, record, other, rule, why) in cases {
        assert_eq!(held(&rules, direction, record, other).as_deref(), rule, "{why}");
    }
    let elsewhere = text.replace("salesforce", "outreach");
    let rules = compile(&elsewhere, &facts()).expect("rules");
    assert_eq!(held(&rules, AToB, r#"{"record_id": 1}"#, None), None, "another system's gate");
    let by_connector = compile(&text.replace("salesforce", "sqlite"), &facts()).expect("rules");
    assert!(held(&by_connector, BToA, r#"{"record_id": 1}"#, None).is_some(), "the connector's name does");
}

#[test]
fn records_are_mapped_both_ways() {
    let rules = link(
        r#""fields": {"name": {"to": "full_name", "transform": ["trim", "title_case"], "default": "Unknown"},
                      "email": {"to": "mail", "transform": "email", "required": true},
                      "status": {"to": "active", "type": "bool"}},
           "a_to_b": {"set": {"source": "'app'", "label": "name + ' <' + email + '>'"}}"#,
        &facts(),
    )
    .expect("rules");
    // (direction, record, outcome, why)
    let cases = [
        (
            AToB,
            r#"{"record_id": 1, "name": " ada lovelace ", "email": "A@X.org", "status": "yes"}"#,
            Ok(
                r#"{"record_id":1,"active":true,"full_name":"Ada Lovelace","mail":"a@x.org","source":"app","label":" ada lovelace  <A@X.org>"}"#,
            ),
            "transforms, types and expressions",
        ),
        (
            AToB,
            r#"{"record_id": 1, "name": null, "email": "a@x.org"}"#,
            Err("set.label (`add` can't be applied to these kinds of values)"),
            "an expression that fails is a validation failure",
        ),
        (
            AToB,
            r#"{"record_id": 1, "name": "x", "email": "nope"}"#,
            Err("mappings.email.transform.email (the text is no e-mail address)"),
            "a transform",
        ),
        (
            AToB,
            r#"{"record_id": 1, "name": "x"}"#,
            Err("mappings.email.required (the field is missing or empty)"),
            "required",
        ),
        (
            AToB,
            r#"{"record_id": 1, "name": "x", "email": "a@x.org", "status": "maybe"}"#,
            Err("mappings.status.type (text of 5 characters is no yes or no)"),
            "type",
        ),
        (
            BToA,
            r#"{"record_id": 1, "full_name": " ada ", "mail": null}"#,
            Ok(r#"{"record_id":1,"name":" ada ","email":null}"#),
            "the way back copies, null is null, absent is not written",
        ),
    ];
    for (direction, record, outcome, why) in cases {
        assert_eq!(
            map(&rules, direction, record),
            outcome.map(str::to_owned).map_err(str::to_owned),
            "{why}"
        );
    }
    let rules = link(r#""fields": {"name": {"to": "n", "default": "Unknown"}}"#, &facts()).expect("rules");
    assert_eq!(map(&rules, AToB, r#"{"record_id": 1}"#).as_deref(), Ok(r#"{"record_id":1,"n":"Unknown"}"#));
    assert_eq!(
        map(&rules, AToB, r#"{"record_id": 1, "name": null}"#).as_deref(),
        Ok(r#"{"record_id":1,"n":"Unknown"}"#)
    );
}

#[test]
fn what_nobody_has_seen_is_not_written() {
    let rules = link(
        r#""fields": {"name": {"to": "n", "default": "x", "required": true}, "email": "e"}, "a_to_b": {"set": {"s": "status + ''"}}"#,
        &facts(),
    )
    .expect("rules");
    let mut record = image(&rules, Side::A, r#"{"record_id": 1}"#);
    for value in record.values.iter_mut().skip(1) {
        *value = Value::Unknown;
    }
    let mapped = rules.way(AToB).expect("way").map(&record).expect("mapped");
    assert_eq!(*mapped, [Value::Int(1), Value::Absent, Value::Absent, Value::Absent]);
}

#[test]
fn normalise_comes_first_and_validate_before_mapping() {
    let rules = link(
        r#""fields": {"name": "n", "email": "e"},
           "a_to_b": {"normalise": {"status": ["trim", "lower"], "email": "email"},
                      "filters": {"status": "active"},
                      "validate": {"name": {"required": true, "max_length": 5}}}"#,
        &facts(),
    )
    .expect("rules");
    let record = r#"{"record_id": 1, "status": " ACTIVE ", "name": "Ada", "email": "A@X.ORG"}"#;
    assert_eq!(held(&rules, AToB, record, None), None, "the filter sees normalised values");
    assert_eq!(map(&rules, AToB, record).as_deref(), Ok(r#"{"record_id":1,"e":"a@x.org","n":"Ada"}"#));
    let too_long = record.replace("Ada", "Augusta");
    assert_eq!(
        map(&rules, AToB, &too_long),
        Err("validate.name.max_length (7 characters are too many)".into())
    );
    let no_mail = record.replace("A@X.ORG", "nope");
    assert_eq!(
        map(&rules, AToB, &no_mail),
        Err("normalise.email.email (the text is no e-mail address)".into())
    );
}

#[test]
fn no_mapping_may_change_a_key() {
    let rules = link(r#""fields": {"record_id": {"to": "record_id", "transform": "upper"}}"#, &facts())
        .expect("rules");
    assert!(map(&rules, AToB, r#"{"record_id": "X1"}"#).is_ok(), "it stays the same");
    assert!(map(&rules, AToB, r#"{"record_id": "x1"}"#).is_err(), "it would be another");
    let rules =
        link(r#""fields": {"record_id": {"to": "record_id", "type": "string"}}"#, &facts()).expect("rules");
    assert_eq!(
        map(&rules, AToB, r#"{"record_id": 7}"#).as_deref(),
        Ok(r#"{"record_id":"7"}"#),
        "7 and \"7\" are one key"
    );
}

#[test]
fn operations_are_what_the_file_allows() {
    let rules =
        link(r#""fields": {"name": "n"}, "a_to_b": {"operations": ["create"]}"#, &facts()).expect("rules");
    let a_to_b = rules.way(AToB).expect("way").operations;
    assert!(a_to_b.create && !a_to_b.update && !a_to_b.delete);
    let b_to_a = rules.way(BToA).expect("way").operations;
    assert!(b_to_a.create && b_to_a.update && b_to_a.delete, "all, where nothing is said");
}

#[test]
fn what_is_mapped_has_a_place_for_every_field_of_the_other_end() {
    // (entry, are the source's own values taken, why)
    let cases = [
        (r#""fields": {"name": "n", "email": "e"}"#, true, "all is taken over, in its order"),
        (r#""fields": {"name": {"to": "n", "transform": ["trim"]}}"#, false, "a value is changed"),
        (
            r#""fields": {"name": "n"}, "deletes": {"a_to_b": {"archive": {"gone": true}}, "b_to_a": "ignore"}"#,
            false,
            "the other end has a field that nothing is mapped to",
        ),
    ];
    for (entry, are_same, why) in cases {
        let rules = link(entry, &facts()).expect(why);
        let record = image(&rules, Side::A, r#"{"record_id": 1, "name": "Ann", "email": "a@example.test"}"#);
        let mapped = rules.way(AToB).expect("a way").map(&record).expect("mapped");
        assert_eq!(mapped.len(), rules.shape(Side::B).len(), "{why}");
        assert_eq!(mapped.is_same(&record.values), are_same, "{why}");
    }
}
