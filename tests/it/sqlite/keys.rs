//! Keys in every form in which rows have them.

use super::*;

#[tokio::test]
async fn keys_are_found_in_whatever_form_they_are_stored() {
    // (declared key, stored literal, the other side's key, found, why)
    let cases: Vec<(&str, &str, Value, bool, &str)> = vec![
        ("INTEGER PRIMARY KEY", "7", "7".into(), true, "text for a number"),
        ("TEXT PRIMARY KEY", "'7'", Value::Int(7), true, "a number for text"),
        ("TEXT PRIMARY KEY", "'007'", Value::Int(7), false, "leading zeros tell apart"),
        ("PRIMARY KEY", "7", Value::Int(7), true, "no affinity, a number"),
        ("PRIMARY KEY", "'7'", Value::Int(7), true, "no affinity, text"),
        ("REAL PRIMARY KEY", "0.5", number("0.5"), true, "a broken number"),
        ("REAL PRIMARY KEY", "7", Value::Int(7), true, "a float of a whole amount"),
        ("TEXT PRIMARY KEY", "'e' || char(769)", "é".into(), true, "decomposed there, composed here"),
        ("TEXT COLLATE NOCASE PRIMARY KEY", "'A'", "a".into(), false, "case tells keys apart"),
        ("TEXT", "'k'", "k".into(), true, "no index at all"),
    ];
    for (declared, literal, key, found, why) in cases {
        let database = simple(
            &format!("CREATE TABLE t (id {declared}, v TEXT); INSERT INTO t VALUES ({literal}, 'old')"),
            json!({}),
        );
        let destination = database.destination();
        let wanted = [Wanted { key: Key::from_values([&key]).unwrap(), id: None }];
        let looked_up = destination.look_up(&wanted, &call()).await.unwrap();
        assert_eq!(looked_up[0].is_some(), found, "{why}");
        let update = Write::Update(vec![key.clone(), "new".into()].into());
        let outcomes = write(&destination, &["id", "v"], vec![delivery(&[key], update)]).await;
        assert_eq!(is_delivered(&outcomes[0]), found, "{why}: {outcomes:?}");
        assert_eq!(database.text("SELECT v FROM t"), if found { "new" } else { "old" }, "{why}");
    }
}

#[tokio::test]
async fn a_key_that_would_become_another_one_is_refused() {
    let database =
        simple("CREATE TABLE t (id INTEGER PRIMARY KEY, v); INSERT INTO t VALUES (7, 'seven')", json!({}));
    let create = Write::Create(vec!["007".into(), "bond".into()].into());
    let outcomes =
        write(&database.destination(), &["id", "v"], vec![delivery(&["007".into()], create)]).await;
    assert!(
        matches!(&outcomes[0], Outcome::Failed(fault) if fault.kind == FaultKind::Rejected),
        "{outcomes:?}"
    );
    assert_eq!(database.text("SELECT v FROM t"), "seven");
}

#[tokio::test]
async fn composite_and_duplicate_keys_are_walked_without_loss() {
    let mut rows = String::new();
    for tenant in ["a", "A", "b"] {
        for number in [10, 2, 1] {
            rows.push_str(&format!("INSERT INTO t VALUES ('{tenant}', {number}, '{tenant}{number}');"));
        }
    }
    let database = Database::new(
        &format!("CREATE TABLE t (tenant TEXT, n INTEGER, v TEXT, PRIMARY KEY (tenant, n)); {rows}"),
        "t",
        &["n", "tenant"],
        json!({}),
    );
    assert!(database.features().upsert_by_key);
    for limit in [1, 2, 4, 100] {
        let changes = read_all(&mut *database.source(), limit).await;
        assert_eq!(
            texts(&changes, "v"),
            ["A1", "A2", "A10", "a1", "a2", "a10", "b1", "b2", "b10"],
            "{limit}"
        );
    }
    let twice = simple(
        "CREATE TABLE t (id TEXT, v); CREATE INDEX i ON t (id);
         INSERT INTO t VALUES ('k', 1), ('k', 2), ('k', 3), ('l', 4), (NULL, 5), (NULL, 6)",
        json!({}),
    );
    assert!(!twice.features().upsert_by_key);
    for limit in [1, 2, 3] {
        let mut values = texts(&read_all(&mut *twice.source(), limit).await, "v");
        values.sort_unstable();
        assert_eq!(values, ["1", "2", "3", "4", "5", "6"], "pages of {limit}");
    }
    let update = Write::Update(vec!["k".into(), Value::Int(9)].into());
    let outcomes = write(&twice.destination(), &["id", "v"], vec![delivery(&["k".into()], update)]).await;
    assert!(
        matches!(&outcomes[0], Outcome::Failed(fault) if fault.message.contains("3 rows")),
        "{outcomes:?}"
    );
}
