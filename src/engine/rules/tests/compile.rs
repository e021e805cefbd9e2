//! Which end is which, what reaches which field, and what is refused.

use super::*;

const FLAT: &str = r#"{
  "filters": {"status": "active"},
  "mappings": {"record_id": "record_id", "full_name": "name", "email_address": "email"}
}"#;

const A_TO_B: &str = "email>email_address name>full_name record_id>record_id";
const B_TO_A: &str = "email_address>email full_name>name record_id>record_id";

#[test]
fn the_flat_form_finds_its_turn_from_all_pairs_together() {
    let crm = ["record_id", "full_name", "email_address"];
    let swapped = |facts: LinkFacts| LinkFacts { a: facts.b, b: facts.a, ..facts };
    // (facts, a's arrows, why)
    let cases = [
        (facts(), A_TO_B, "the table has the right names, the CRM says nothing yet"),
        (closed(&crm), A_TO_B, "both ends speak"),
        (swapped(facts()), B_TO_A, "the ends the other way round"),
        (swapped(closed(&crm)), B_TO_A, "both speak, the other way round"),
    ];
    for (facts, expected, why) in cases {
        let rules = compile(FLAT, &facts).expect(why);
        assert_eq!(arrows(&rules, Direction::AToB), expected, "{why}");
        let back = if expected == A_TO_B { B_TO_A } else { A_TO_B };
        assert_eq!(arrows(&rules, Direction::BToA), back, "{why}");
    }
    let two_open_ends = LinkFacts { a: end("file", "x.csv", &["name"], true), ..facts() };
    let rules = compile(FLAT, &two_open_ends).expect("one known name is evidence enough");
    assert_eq!(arrows(&rules, Direction::AToB), A_TO_B);
}

#[test]
fn the_flat_form_is_refused_where_the_turn_cant_be_told() {
    let blank = LinkFacts { a: end("file", "x.csv", &[], true), ..facts() };
    let strangers = closed(&["record_id", "FirstName"]);
    let lookalike = closed(&["record_id", "full_nam", "email_address"]);
    // (facts, line, part of the error, why)
    let cases = [
        (blank, 3, "\"fields\": {\"full_name\": \"name\"}", "two empty ends"),
        (strangers, 3, "has no field `full_name`", "neither turn fits"),
        (lookalike, 3, "did you mean `full_nam`?", "a slip"),
    ];
    for (facts, line, part, why) in cases {
        let error = compile(FLAT, &facts).expect_err(why);
        assert!(error.to_string().contains(part), "{why}: {error}");
        assert_eq!(error.line, line, "{why}: {error}");
    }
}

#[test]
fn describe_says_the_turn_and_the_pairs() {
    let rules = compile(FLAT, &facts()).expect("rules");
    let words = rules.describe().join("\n");
    for part in
        ["left names are fields of b (Contact in salesforce)", "a.name <-> b.full_name", "filtered by status"]
    {
        assert!(words.contains(part), "{part}:\n{words}");
    }
}

#[test]
fn a_flat_filter_stands_in_both_shapes_where_it_may() {
    let rules = compile(FLAT, &facts()).expect("rules");
    assert!(rules.shape(Side::A).position("status").is_some());
    assert!(rules.shape(Side::B).position("status").is_some(), "the CRM is open");
    let rules = compile(FLAT, &closed(&["record_id", "full_name", "email_address"])).expect("rules");
    assert!(rules.shape(Side::B).position("status").is_none(), "the CRM has no such field");
    let error =
        compile(&FLAT.replace("status", "stat"), &closed(&["record_id", "full_name", "email_address"]))
            .expect_err("no end has it");
    assert!(error.to_string().contains("did you mean"), "{error}");
}

#[test]
fn links_have_fields_ways_and_keys() {
    let fields = r#""fields": {"name": "full_name"}"#;
    // (entry, a to b, b to a, why)
    let cases = [
        (
            fields.to_owned(),
            "name>full_name record_id>record_id",
            "full_name>name record_id>record_id",
            "fields serve both ways, keys come by themselves",
        ),
        (
            format!(r#"{fields}, "a_to_b": {{"mappings": {{"email": "mail"}}}}"#),
            "email>mail name>full_name record_id>record_id",
            "full_name>name record_id>record_id",
            "a direction extends fields",
        ),
        (
            format!(r#"{fields}, "a_to_b": {{"mappings": {{"email": "full_name"}}}}"#),
            "email>full_name record_id>record_id",
            "full_name>name record_id>record_id",
            "a direction overrides fields",
        ),
        (
            format!(r#"{fields}, "b_to_a": {{"set": {{"name": "first + last"}}}}"#),
            "name>full_name record_id>record_id",
            "first+last>name record_id>record_id",
            "an expression overrides too, and reads what it names",
        ),
        (
            r#""a_to_b": {"mappings": {"email": {"to": "mail", "transform": "lower"}}}"#.to_owned(),
            "email>mail record_id>record_id",
            "mail>email record_id>record_id",
            "one direction's mappings are turned round for the other",
        ),
        (
            r#""a_to_b": {"mappings": {"name": "x"}}, "b_to_a": {"mappings": {"y": "email"}}"#.to_owned(),
            "name>x record_id>record_id",
            "record_id>record_id y>email",
            "each its own",
        ),
    ];
    for (entry, a_to_b, b_to_a, why) in cases {
        let rules = link(&entry, &facts()).expect(why);
        assert_eq!(arrows(&rules, Direction::AToB), a_to_b, "{why}");
        assert_eq!(arrows(&rules, Direction::BToA), b_to_a, "{why}");
    }
}

#[test]
fn keys_stand_for_each_other_in_order() {
    let mut facts = facts();
    facts.b.key = vec!["External_Id__c".into()];
    let rules = link(r#""fields": {"record_id": "Legacy", "name": "Name"}"#, &facts).expect("rules");
    assert_eq!(
        arrows(&rules, Direction::AToB),
        "name>Name record_id>External_Id__c record_id>Legacy",
        "the copy is kept"
    );
    assert_eq!(arrows(&rules, Direction::BToA), "External_Id__c>record_id Name>name", "the key wins");
    assert_eq!(rules.key(Side::B), [0]);
    assert_eq!(rules.shape(Side::B).name(0), Some("External_Id__c"));

    let error =
        link(r#""a_to_b": {"mappings": {"email": "External_Id__c"}}"#, &facts).expect_err("another key");
    assert!(error.message.contains("can only be filled from the key `record_id`"), "{error}");
    let error =
        link(r#""a_to_b": {"set": {"External_Id__c": "record_id + 1"}}"#, &facts).expect_err("made key");
    assert!(error.message.contains("no expression may make"), "{error}");
    facts.b.key.push("Second".into());
    let error = link(r#""fields": {"name": "Name"}"#, &facts).expect_err("one key against two");
    assert!(error.remedy.is_some_and(|remedy| remedy.contains("same number")));
}

#[test]
fn without_rules_fields_of_the_same_name_stand_for_each_other() {
    let rules = compile("{}", &closed(&["record_id", "email", "Phone"])).expect("rules");
    assert_eq!(arrows(&rules, Direction::AToB), "email>email record_id>record_id");
    let error = compile("{}", &facts()).expect_err("the CRM's fields are not known");
    assert!(error.remedy.is_some_and(|remedy| remedy.contains("links.l")));
}

#[test]
fn only_configured_ways_exist() {
    let rules = compile(FLAT, &LinkFacts { b_to_a: false, ..facts() }).expect("rules");
    assert!(rules.way(Direction::AToB).is_some());
    assert!(rules.way(Direction::BToA).is_none());
}

#[test]
fn the_fingerprint_follows_the_meaning_alone() {
    let print =
        |text: &str| RulesFile::parse(text).expect("file").compile(9, &facts()).expect("rules").fingerprint;
    let base = print(FLAT);
    // (text, same meaning, why)
    let cases = [
        (FLAT.replace(['\n', ' '], ""), true, "white space"),
        (format!(r#"{{"description": "x", {}"#, &FLAT[1..]), true, "a description"),
        (
            FLAT.replace(
                r#""full_name": "name", "email_address": "email""#,
                r#""email_address": "email", "full_name": "name""#,
            ),
            true,
            "order of pairs",
        ),
        (FLAT.replace(r#""active""#, r#"["active"]"#), false, "a list is another condition"),
        (FLAT.replace(r#""name""#, r#"{"to": "name", "transform": "trim"}"#), false, "a transform"),
    ];
    for (text, same, why) in cases {
        assert_eq!(print(&text) == base, same, "{why}");
    }
    let when = |text: &str| {
        link(&format!(r#""fields": {{"name": "n"}}, "a_to_b": {{"when": "{text}"}}"#), &facts())
            .expect("rules")
            .fingerprint
    };
    assert_eq!(when("status=='x'"), when("status  ==  'x'"));
    assert_ne!(when("status=='x'"), when("status=='y'"));
}

#[test]
fn conflicts_and_deletes_by_field_and_direction() {
    let rules = link(
        r#""fields": {"name": "full_name", "email": "mail"},
           "conflict": {"default": "b", "fields": {"full_name": "manual"}},
           "deletes": {"a_to_b": {"archive": {"gone": true}}, "b_to_a": "ignore"}"#,
        &facts(),
    )
    .expect("rules");
    let at = |side: Side, name: &str| rules.shape(side).position(name).expect(name);
    assert_eq!(rules.conflict(at(Side::A, "name"), at(Side::B, "full_name")), ConflictPolicy::Manual);
    assert_eq!(rules.conflict(at(Side::A, "email"), at(Side::B, "mail")), ConflictPolicy::B);
    let archive = DeletePolicy::Archive(vec![(at(Side::B, "gone"), Value::Bool(true))]);
    assert_eq!(rules.deletes(Direction::AToB), &archive);
    assert_eq!(rules.deletes(Direction::BToA), &DeletePolicy::Ignore);

    let rules = compile(r#"{"mappings": {"full_name": "name"}}"#, &facts()).expect("rules");
    assert_eq!(rules.conflict(0, 0), ConflictPolicy::Newest, "the default");
    assert_eq!(rules.deletes(Direction::AToB), &DeletePolicy::Propagate, "the default");

    let error = link(r#""fields": {"name": "n"}, "conflict": {"fields": {"nane": "a"}}"#, &facts())
        .expect_err("slip");
    assert!(error.to_string().contains("did you mean `name`?"), "{error}");
    let error = link(r#""fields": {"name": "n"}, "deletes": {"archive": {"gone": true}}"#, &facts())
        .expect_err("no such column");
    assert!(error.message.contains("has no field `gone`"), "{error}");
}

#[test]
fn faults_against_the_streams_are_shown_where_they_stand() {
    // (entry, what is pointed at, part of the error, why)
    let cases = [
        (r#""fields": {"nme": "x"}"#, r#""nme""#, "did you mean `name`?", "no such column"),
        (
            r#""fields": {"name": "x"}, "a_to_b": {"filters": {"stat": 1}}"#,
            r#""stat""#,
            "has no field `stat`",
            "filter",
        ),
        (
            r#""fields": {"name": "x"}, "a_to_b": {"when": "stats == 'x'"}"#,
            r#""stats"#,
            "did you mean `status`?",
            "expression",
        ),
        (
            r#""fields": {"name": "x"}, "a_to_b": {"required_fields": ["mail"]}"#,
            r#""mail""#,
            "did you mean `email`?",
            "required",
        ),
        (
            r#""fields": {"name": "x"}, "a_to_b": {"filters": {"x": 1}}"#,
            r#""x": 1"#,
            "there it is called `name`",
            "the other end's name",
        ),
        (
            r#""fields": {"name": "x"}, "a_to_b": {"validate": {"q": {}}}"#,
            r#""q""#,
            "has no field `q`",
            "validate",
        ),
        (
            r#""fields": {"name": "x"}, "a_to_b": {"normalise": {"q": "trim"}}"#,
            r#""q""#,
            "has no field `q`",
            "normalise",
        ),
    ];
    for (entry, culprit, part, why) in cases {
        let text = format!(r#"{{"links": {{"l": {{{entry}}}}}}}"#);
        let column = text.find(culprit).expect(why) as u32 + 1;
        let error = link(entry, &facts()).expect_err(why);
        assert!(error.to_string().contains(part), "{why}: {error}");
        assert_eq!(error.column, column, "{why}: {error}");
    }
}

#[test]
fn what_cannot_be_written_is_said_of_the_direction_that_writes_it() {
    let mut facts = closed(&["record_id", "owner", "made"]);
    facts.b.barred = [("made".to_owned(), "it is theirs".to_owned())].into();
    let id = r#""record_id": "record_id""#;
    // (entry, part of what is said, why)
    let cases = [
        (format!(r#""fields": {{{id}, "name": "owner"}}"#), None, "a field"),
        (format!(r#""fields": {{{id}, "name": "made"}}"#), Some("a_to_b writes made"), "theirs"),
        (format!(r#""fields": {{{id}}}, "b_to_a": {{"mappings": {{"made": "email"}}}}"#), None, "only read"),
        (
            format!(r#""fields": {{{id}}}, "deletes": {{"a_to_b": {{"archive": {{"made": "gone"}}}}}}"#),
            Some("a_to_b writes made"),
            "a mark",
        ),
    ];
    for (entry, said, why) in cases {
        let barred = link(&entry, &facts).expect(why).barred(&facts);
        assert_eq!(barred.len(), usize::from(said.is_some()), "{why}: {barred:?}");
        assert!(said.is_none_or(|said| barred[0].starts_with(said)), "{why}: {barred:?}");
    }
    facts.b.barred = [("record_id".to_owned(), "it is computed".to_owned())].into();
    for (more, said) in [("", 1), (r#", "a_to_b": {"operations": ["update", "delete"]}"#, 0)] {
        let rules = link(&format!(r#""fields": {{{id}, "name": "owner"}}{more}"#), &facts).expect("rules");
        assert_eq!(rules.barred(&facts).len(), said, "a key is written where records are made: {more}");
    }
}

#[test]
fn the_fields_of_other_records_are_read_and_never_written() {
    let mut facts = closed(&["record_id", "owner", "made"]);
    facts.b.walks = vec!["owner".to_owned()];
    let id = r#""record_id": "record_id""#;
    let archive = r#""deletes": {"a_to_b": {"archive": {"owner.left": true}}}"#;
    // (entry, part of the refusal, why)
    let cases = [
        (
            format!(r#""fields": {{{id}}}, "b_to_a": {{"mappings": {{"owner.name": "name"}}}}"#),
            None,
            "only read",
        ),
        (
            format!(r#""fields": {{{id}}}, "b_to_a": {{"mappings": {{"made.name": "name"}}}}"#),
            Some("no field `made.name`"),
            "no reference",
        ),
        (format!(r#""fields": {{{id}, "name": "owner.name"}}"#), Some("only read"), "both ways"),
        (
            format!(r#""fields": {{{id}}}, "a_to_b": {{"set": {{"owner.name": "name"}}}}"#),
            Some("only read"),
            "worked out",
        ),
        (format!(r#""fields": {{{id}}}, {archive}"#), Some("only read"), "a mark"),
    ];
    for (entry, refused, why) in cases {
        let compiled = link(&entry, &facts).err().map(|error| error.to_string());
        assert_eq!(compiled.is_some(), refused.is_some(), "{why}: {compiled:?}");
        assert!(refused.is_none_or(|part| compiled.is_some_and(|said| said.contains(part))), "{why}");
    }
}
