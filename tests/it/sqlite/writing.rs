//! Batches that the database takes, refuses or can not take now.

use super::*;

#[tokio::test]
async fn refusals_say_which_column_and_leave_neighbours_alone() {
    // (table, refused values, kind, what it says, why)
    let cases = [
        ("v TEXT NOT NULL", Value::Null, FaultKind::Rejected, "t.v", "not null"),
        ("v TEXT UNIQUE", "taken".into(), FaultKind::Rejected, "t.v", "another unique column"),
        (
            "v TEXT UNIQUE ON CONFLICT REPLACE",
            "taken".into(),
            FaultKind::Rejected,
            "t.v",
            "never pushes a row out",
        ),
        ("v TEXT CHECK (v <> 'bad')", "bad".into(), FaultKind::Rejected, "CHECK", "the table's check"),
        (
            "v TEXT REFERENCES p (id)",
            "orphan".into(),
            FaultKind::Transient,
            "FOREIGN KEY",
            "the parent may come",
        ),
        (
            "v TEXT REFERENCES p (id) DEFERRABLE INITIALLY DEFERRED",
            "orphan".into(),
            FaultKind::Transient,
            "FOREIGN KEY",
            "shows at commit only",
        ),
        (
            "v TEXT NOT NULL ON CONFLICT ROLLBACK",
            Value::Null,
            FaultKind::Rejected,
            "t.v",
            "takes the whole transaction down",
        ),
    ];
    for (column, value, kind, says, why) in cases {
        let database = simple(
            &format!(
                "CREATE TABLE p (id TEXT PRIMARY KEY); INSERT INTO p VALUES ('ok1'), ('ok2'), ('taken');
                 CREATE TABLE t (id TEXT PRIMARY KEY, {column}); INSERT INTO t VALUES ('0', 'taken')"
            ),
            json!({}),
        );
        let create =
            |key: &str, value: Value| delivery(&[key.into()], Write::Create(vec![key.into(), value].into()));
        let outcomes = write(
            &database.destination(),
            &["id", "v"],
            vec![create("1", "ok1".into()), create("2", value), create("3", "ok2".into())],
        )
        .await;
        assert!(is_delivered(&outcomes[0]) && is_delivered(&outcomes[2]), "{why}: {outcomes:?}");
        match &outcomes[1] {
            Outcome::Failed(fault) => {
                assert_eq!(fault.kind, kind, "{why}");
                assert!(fault.message.contains(says) && fault.remedy.is_some(), "{why}: {fault}");
            }
            other => panic!("{why}: {other:?}"),
        }
        assert_eq!(
            database.text("SELECT group_concat(id) FROM (SELECT id FROM t ORDER BY id)"),
            "0,1,3",
            "{why}"
        );
    }
}

#[tokio::test]
async fn a_trigger_that_rolls_everything_back_fails_alone() {
    let database = simple(
        "CREATE TABLE t (id TEXT PRIMARY KEY, v TEXT);
         CREATE TRIGGER no BEFORE INSERT ON t WHEN NEW.v = 'bad' BEGIN SELECT RAISE(ROLLBACK, 'no bad ones'); END;
         CREATE TRIGGER up AFTER INSERT ON t BEGIN UPDATE t SET v = upper(v) WHERE id = NEW.id; END",
        json!({}),
    );
    let create = |key: &str, value: &str| {
        delivery(&[key.into()], Write::Create(vec![key.into(), value.into()].into()))
    };
    let outcomes = write(
        &database.destination(),
        &["id", "v"],
        vec![create("1", "a"), create("2", "bad"), create("3", "c")],
    )
    .await;
    match (&outcomes[0], &outcomes[1], &outcomes[2]) {
        (
            Outcome::Delivered { stored: Some(stored), .. },
            Outcome::Failed(fault),
            Outcome::Delivered { .. },
        ) => {
            assert_eq!(*stored.get("v"), "A".into(), "what the trigger made of it");
            assert!(fault.message.contains("no bad ones"), "{fault}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(database.text("SELECT group_concat(v) FROM t"), "A,C");
}

#[tokio::test]
async fn a_busy_database_is_worth_another_try() {
    let database = simple("CREATE TABLE t (id TEXT PRIMARY KEY)", json!({}));
    let app = database.app();
    app.execute_batch("BEGIN IMMEDIATE").unwrap();
    let system = open(database.folder.path(), json!({"path": "app.sqlite", "busy_timeout_ms": 20})).unwrap();
    let batch = Batch {
        shape: Schema::new(["id"]),
        deliveries: vec![delivery(&["1".into()], Write::Create(vec!["1".into()].into()))],
    };
    let destination = system.destination(&database.spec).unwrap();
    let fault = destination.write(&batch, &call()).await.expect_err("locked");
    assert_eq!((fault.kind, fault.may_have_happened), (FaultKind::Transient, false));
    app.execute_batch("ROLLBACK").unwrap();
    assert!(is_delivered(&destination.write(&batch, &call()).await.unwrap()[0]));
}

#[tokio::test]
async fn a_full_batch_goes_into_a_table_without_index_too() {
    for sql in ["CREATE TABLE t (id TEXT PRIMARY KEY, v TEXT)", "CREATE TABLE t (id TEXT, v TEXT)"] {
        let database = simple(sql, json!({}));
        let destination = database.destination();
        let rows = |value: &str, create: bool| -> Vec<Delivery> {
            (0..10_000)
                .map(|at| {
                    let key = Value::text(format!("k{at}"));
                    let values = vec![key.clone(), value.into()];
                    delivery(
                        &[key],
                        if create { Write::Create(values.into()) } else { Write::Update(values.into()) },
                    )
                })
                .collect()
        };
        let outcomes = write(&destination, &["id", "v"], rows("a", true)).await;
        assert!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::Delivered { stored: None, .. })));
        let outcomes = write(&destination, &["id", "v"], rows("a", true)).await;
        assert!(outcomes.iter().all(is_delivered), "a repeated batch is done already");
        let outcomes = write(&destination, &["id", "v"], rows("b", false)).await;
        assert!(outcomes.iter().all(is_delivered));
        assert_eq!(database.text("SELECT count(*) || max(v) || min(v) FROM t"), "10000bb");
    }
}
