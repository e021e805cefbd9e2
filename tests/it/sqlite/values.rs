//! Values between the storage classes and ours: exact, or refused.

use super::*;

#[tokio::test]
async fn stored_values_are_read_exactly() {
    // (SQL literal, declared type, value or why it is none)
    let cases: [(&str, &str, Result<Value, &str>); 14] = [
        ("9007199254740993", "INTEGER", Ok(Value::Int(9_007_199_254_740_993))),
        ("9223372036854775807", "INTEGER", Ok(Value::Int(i64::MAX))),
        ("-9223372036854775808", "INTEGER", Ok(Value::Int(i64::MIN))),
        ("0.1", "REAL", Ok(number("0.1"))),
        ("1e300", "REAL", Ok(number("1e300"))),
        ("5", "REAL", Ok(Value::Int(5))),
        ("1", "BOOLEAN", Ok(Value::Int(1))),
        ("'007'", "TEXT", Ok("007".into())),
        ("''", "TEXT", Ok("".into())),
        ("'a' || char(0) || 'b'", "TEXT", Ok("a\0b".into())),
        ("NULL", "TEXT", Ok(Value::Null)),
        ("x'00ff'", "BLOB", Ok(Value::Bytes([0, 255].into()))),
        ("9e999", "REAL", Err("an infinite number")),
        ("CAST(x'ff41' AS TEXT)", "TEXT", Err("text that is not UTF-8")),
    ];
    for (literal, declared, expected) in cases {
        let database = simple(
            &format!(
                "CREATE TABLE t (id TEXT PRIMARY KEY, v {declared}); INSERT INTO t VALUES ('k', {literal})"
            ),
            json!({}),
        );
        let changes = read_all(&mut *database.source(), 10).await;
        match (&changes[0], expected) {
            (Change::Upsert(record), Ok(value)) => assert_eq!(*record.get("v"), value, "{literal}"),
            (Change::Malformed(malformed), Err(reason)) => {
                assert!(malformed.reason.contains(reason), "{}", malformed.reason);
                assert_eq!(malformed.key, Key::from_text("k").ok(), "the key can still be told");
            }
            (change, expected) => panic!("{literal}: {change:?} instead of {expected:?}"),
        }
    }
}

#[tokio::test]
async fn what_is_written_is_kept_or_refused_and_told() {
    // (declared type, value, what stands there (`None`: refused), the outcome says so, why)
    let cases: Vec<(&str, Value, Option<Value>, bool, &str)> = vec![
        ("INTEGER", Value::Int(i64::MIN), Some(Value::Int(i64::MIN)), false, "the end of i64"),
        ("INTEGER", number("18446744073709551615"), None, false, "u64 would lose digits"),
        ("TEXT", number("18446744073709551615"), Some("18446744073709551615".into()), true, "text keeps u64"),
        ("TEXT", number("1.10"), Some("1.10".into()), true, "and the number's own text"),
        ("NUMERIC", number("12345678901234567890.12345678901234567"), None, false, "38 digits"),
        ("REAL", number("0.1"), Some(number("0.1")), false, "the nearest float reads back alike"),
        ("REAL", Value::Int(3), Some(number("3.0")), false, "equal by amount"),
        ("REAL", Value::Int(9_007_199_254_740_993), None, false, "2^53+1 is no float"),
        ("INTEGER", "12".into(), Some(Value::Int(12)), true, "CSV has no integers"),
        ("INTEGER", "007".into(), None, false, "would come back as 7"),
        ("REAL", "1.50".into(), Some(number("1.5")), true, "asked for"),
        ("INTEGER", "abc".into(), Some("abc".into()), false, "stays as it is"),
        ("BOOLEAN", Value::Bool(true), Some(Value::Int(1)), true, "SQLite has no booleans"),
        ("TEXT", Value::Json("[1,2]".into()), Some("[1,2]".into()), true, "nor lists"),
        ("BLOB", Value::Bytes([0, 1].into()), Some(Value::Bytes([0, 1].into())), false, "bytes"),
        ("TEXT", "a\0b".into(), Some("a\0b".into()), false, "NUL"),
        ("TEXT", Value::Null, Some(Value::Null), false, "null"),
    ];
    for (declared, value, expected, told, why) in cases {
        let database = simple(&format!("CREATE TABLE t (id TEXT PRIMARY KEY, v {declared})"), json!({}));
        let create = Write::Create(vec!["k".into(), value.clone()].into());
        let outcomes =
            write(&database.destination(), &["id", "v"], vec![delivery(&["k".into()], create)]).await;
        match (&outcomes[0], expected) {
            (Outcome::Delivered { stored, .. }, Some(expected)) => {
                let changes = read_all(&mut *database.source(), 10).await;
                assert_eq!(*record(&changes[0]).get("v"), expected, "{why}");
                assert_eq!(stored.is_some(), told, "{why}: {stored:?}");
                let claimed = stored.as_ref().map_or(value, |record| record.get("v").clone());
                assert_eq!(claimed, expected, "{why}: what was claimed");
            }
            (Outcome::Failed(fault), None) => {
                assert_eq!((&fault.kind, fault.code), (&FaultKind::Rejected, FaultCode::Validation), "{why}");
                assert!(fault.message.contains("\"v\""), "names the column: {fault}");
            }
            (outcome, expected) => panic!("{why}: {outcome:?} instead of {expected:?}"),
        }
    }
}
