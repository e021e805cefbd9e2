//! CEL expressions: values, reasons, and the bounds that keep them from running away.

use super::*;

/// The rules that set `out` from an expression over a stream with these fields.
fn set(source: &str) -> Result<LinkRules, RulesError> {
    let fields = ["record_id", "name", "age", "price", "tags", "info", "Full Name", "Account.Name"];
    let facts = LinkFacts { a: end("app", "t", &fields, false), ..facts() };
    let entry = format!(
        r#""fields": {{"name": "n"}}, "a_to_b": {{"set": {{"out": {}}}}}"#,
        serde_json::json!(source)
    );
    link(&entry, &facts)
}

#[test]
fn expressions_give_exact_values_or_reasons() {
    let record = r#"{"record_id": 1, "name": "Ada", "age": 36, "price": 12.5, "tags": ["x", "y"],
                     "info": {"city": "London"}, "Full Name": "Ada L", "Account.Name": "ACME"}"#;
    // (expression, outcome, why)
    let cases = [
        ("age + 1", Ok("37"), "whole numbers are int, not uint"),
        ("age >= 18 && name == 'Ada'", Ok("true"), "logic"),
        ("price * 2.0", Ok("25.0"), "floats"),
        ("age / 10", Ok("3"), "whole division"),
        ("name.startsWith('A') ? 'a' : 'b'", Ok("\"a\""), "choice"),
        ("upper(name) + lower('X') + trim(' y ')", Ok("\"ADAxy\""), "own functions"),
        ("'x' in tags", Ok("true"), "lists"),
        ("tags.exists(t, t == 'y')", Ok("true"), "loops"),
        ("tags.map(name, name + '!')", Ok("[\"x!\",\"y!\"]"), "a loop's variable hides a field"),
        ("info.city", Ok("\"London\""), "objects"),
        ("info.country", Err("there is no `country` in it"), "missing name"),
        ("has(info.country) ? info.country : 'none'", Ok("\"none\""), "asked before"),
        ("record.name", Ok("\"Ada\""), "through the record"),
        ("record[\"Full Name\"]", Ok("\"Ada L\""), "names with spaces"),
        ("Account.Name", Ok("\"ACME\""), "names with points"),
        ("has(record.name)", Ok("true"), "presence"),
        ("{'a': age, 'b': [price]}", Ok("{\"a\":36,\"b\":[12.5]}"), "maps, sorted"),
        ("string(age)", Ok("\"36\""), "conversion"),
        ("1 / 0", Err("division by zero"), "no panic"),
        ("9223372036854775807 + 1", Err("the number is too large"), "no wrap"),
        ("name + age", Err("`add` can't be applied to these kinds of values"), "kinds"),
        ("timestamp('2026-01-31T10:00:00+02:00')", Ok("\"2026-01-31T08:00:00Z\""), "moments"),
        ("name.matches('^A')", Ok("true"), "patterns"),
    ];
    for (source, outcome, why) in cases {
        let rules = set(source).unwrap_or_else(|error| panic!("{why}: {error}"));
        let made = map(&rules, Direction::AToB, record);
        match outcome {
            Ok(value) => assert!(
                made.as_ref().is_ok_and(|made| made.contains(&format!("\"out\":{value}"))),
                "{why}: {source}: {made:?}"
            ),
            Err(reason) => assert_eq!(made, Err(format!("set.out ({reason})")), "{why}: {source}"),
        }
    }
}

#[test]
fn missing_fields_are_null_and_numbers_keep_their_digits() {
    // (expression, record, outcome, why)
    let cases = [
        ("age == null ? 'none' : 'some'", r#"{"record_id": 1}"#, Some("\"none\""), "absent"),
        ("has(record.age)", r#"{"record_id": 1, "age": null}"#, Some("true"), "null is there"),
        ("age", r#"{"record_id": 1}"#, Some("null"), "a bare field"),
        (
            "price",
            r#"{"record_id": 1, "price": "12345678901234567890.123456789"}"#,
            Some("\"12345678901234567890.123456789\""),
            "untouched",
        ),
        ("age + 0", r#"{"record_id": 1, "age": 9007199254740993}"#, Some("9007199254740993"), "2^53+1"),
    ];
    for (source, record, value, why) in cases {
        let made = map(&set(source).expect(why), Direction::AToB, record);
        let expected = value.map(|value| format!("\"out\":{value}"));
        assert_eq!(
            made.as_ref().ok().map(|made| expected.as_ref().is_some_and(|value| made.contains(value))),
            expected.as_ref().map(|_| true),
            "{why}: {made:?}"
        );
    }
    let rules = set("price + 1.0").expect("rules");
    let way = rules.way(Direction::AToB).expect("way");
    let mut record = image(&rules, Side::A, r#"{"record_id": 1}"#);
    let at = rules.shape(Side::A).position("price").expect("price");
    record.values[at] = crate::engine::record::Number::parse("0.12345678901234567890123").expect("number");
    let invalid = way.map(&record).expect_err("rounding would be silent");
    assert!(invalid.reason.contains("more digits"), "{invalid:?}");
}

#[test]
fn expressions_are_checked_when_they_are_read() {
    // (expression, part of the error, why)
    let nested = format!("{}age{}", "(".repeat(60), ")".repeat(60));
    let chained = format!("age{}", " + 1".repeat(900));
    let long = format!("name == '{}'", "x".repeat(5000));
    let cases = [
        ("", "empty expression", "nothing"),
        ("age +", "invalid expression", "half"),
        ("age = 1", "write ==", "one equals sign"),
        ("age > 1 and age < 9", "write && for `and`", "words"),
        ("aeg > 1", "has no field `aeg`", "unknown field"),
        ("nme == ''", "did you mean `name`?", "a slip"),
        ("has(age)", "has(record.field)", "has of a bare field"),
        ("lenght(name) > 1", "unknown function `lenght`", "unknown function"),
        ("startWith(name, 'x')", "did you mean `startsWith`?", "a slip in a function"),
        ("name.matches('(')", "invalid pattern", "pattern"),
        (nested.as_str(), "brackets inside each other", "depth is bounded"),
        (chained.as_str(), "operators", "chains are bounded, they nest too"),
        (long.as_str(), "4 KiB", "length is bounded"),
        ("tags.all(a, tags.all(b, tags.all(c, a == b)))", "loops", "loops are bounded"),
        ("record == null", "record.field", "the bare record"),
    ];
    for (source, part, why) in cases {
        let error = set(source).expect_err(why);
        assert!(error.to_string().contains(part), "{why}: {error}");
    }
    let error =
        link(r#""fields": {"name": "n"}, "a_to_b": {"when": "'yes'"}"#, &facts()).expect_err("no bool");
    assert!(error.message.contains("true or false"), "{error}");
}

#[test]
fn deep_expressions_within_the_bounds_do_not_overflow() {
    // Tests run on a stack of 2 MiB, as the runtime's workers do.
    let deep = format!("{}age{} > 0", "(".repeat(23), ")".repeat(23));
    let chained = format!("age{} > 0", " + 1".repeat(150));
    let choices = format!("{}0 > 0", "age > 1 ? 1 : ".repeat(70));
    let members = format!("age{}", " in [age]".repeat(70));
    for source in [deep, chained, choices, members] {
        let rules = set(&source).unwrap_or_else(|error| panic!("{source}: {error}"));
        let _ = map(&rules, Direction::AToB, r#"{"record_id": 1, "age": 1}"#);
    }
}

#[test]
fn lists_are_bounded() {
    let rules = set("tags.all(t, t > 0)").expect("rules");
    let list: Vec<u32> = vec![1; 1001];
    let record = serde_json::json!({"record_id": 1, "tags": list}).to_string();
    let error = map(&rules, Direction::AToB, &record).expect_err("too long");
    assert!(error.contains("at most 1000 items"), "{error}");
}
