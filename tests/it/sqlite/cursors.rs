//! Cursors that cannot lose: late commits, odd clocks, databases that were put back.

use super::*;
use record_sync::engine::fault::Fault;

const COLUMN: &str = r#"{"capture": "column", "updated_at": "at"}"#;
const TRIGGERS: &str = r#"{"capture": "triggers"}"#;

/// Ten rows, a second apart; stamps are whole seconds.
fn ten(options: &str, newest: i64) -> Database {
    let rows: Vec<String> = (1..=10).map(|id| format!("({id}, 'v{id}', {})", newest - 10 + id)).collect();
    let sql = format!(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT, at INTEGER); INSERT INTO t VALUES {}",
        rows.join(",")
    );
    Database::new(&sql, "t", &["id"], serde_json::from_str(options).unwrap())
}

fn seconds() -> i64 {
    now().0 / 1000
}

/// Reads and acknowledges until there is no more.
async fn follow(
    source: &mut dyn Source,
    mut cursor: Option<Cursor>,
) -> Result<(Vec<Change>, Option<Cursor>), Fault> {
    let mut changes = Vec::new();
    loop {
        let page = source.read(cursor.as_ref(), 4, &call()).await?;
        changes.extend(page.changes);
        cursor = page.cursor.or(cursor);
        if let Some(cursor) = &cursor {
            source.ack(cursor).await?;
        }
        if page.end != End::More {
            return Ok((changes, cursor));
        }
    }
}

#[tokio::test]
async fn whatever_the_clock_of_the_application_says_its_edits_are_seen() {
    // (how far its clock is off, why)
    for (off, why) in
        [(3600, "an hour ahead"), (-3600, "an hour behind"), (0, "right"), (-40 * 365 * 86_400, "in 1986")]
    {
        let there = seconds() + off;
        let database = ten(COLUMN, there);
        let mut source = database.source();
        let (changes, mut cursor) = follow(&mut *source, None).await.unwrap();
        assert_eq!(changes.len(), 10, "{why}");
        for step in 1..5 {
            database.run(&format!("UPDATE t SET v = 'e{step}', at = {} WHERE id = {step}", there + step));
            let (changes, next) = follow(&mut *source, cursor).await.unwrap();
            assert!(texts(&changes, "v").contains(&format!("e{step}")), "{why}: {changes:?}");
            cursor = next;
        }
    }
}

#[tokio::test]
async fn a_clock_that_steps_back_is_no_backup() {
    // (edits under a clock that is behind by so much, why)
    let cases = [
        (2, vec![10], "set right by two seconds: within the overlap"),
        (3600, vec![10], "the newest row, an hour back"),
        (3600, vec![10, 9, 8], "the three newest"),
    ];
    for (back, ids, why) in cases {
        let newest = seconds();
        let database = ten(COLUMN, newest);
        let mut source = database.source();
        let (_, cursor) = follow(&mut *source, None).await.unwrap();
        for id in &ids {
            database.run(&format!("UPDATE t SET v = 'stepped', at = {} WHERE id = {id}", newest - back));
        }
        let (changes, _) =
            follow(&mut *source, cursor).await.unwrap_or_else(|fault| panic!("{why}: {fault}"));
        let shown = texts(&changes, "v").iter().filter(|v| *v == "stepped").count();
        assert_eq!(shown, ids.len(), "{why}: {changes:?}");
    }
}

#[tokio::test]
async fn a_backup_is_known_although_the_file_is_the_same_and_was_written_to_since() {
    for (options, later) in [(COLUMN, 100), (TRIGGERS, 1)] {
        for written_since in [0, later] {
            let newest = seconds() - 1000;
            let database = ten(options, newest);
            let mut source = database.source();
            let (_, cursor) = follow(&mut *source, None).await.unwrap();
            // SQLite's own backup leaves the file where it is.
            let copy = database.folder.path().join("backup.sqlite");
            database.app().backup("main", &copy, None::<fn(_)>).unwrap();
            let mut cursor = cursor;
            for step in 1..=9 {
                database.run(&format!("UPDATE t SET v = 'later', at = {} WHERE id = {step}", newest + step));
                cursor = follow(&mut *source, cursor).await.unwrap().1;
            }
            database.app().restore("main", &copy, None::<fn(_)>).unwrap();
            for step in 0..written_since {
                database.run(&format!("INSERT INTO t VALUES ({}, 'new', {})", 100 + step, newest + 500));
            }
            // Also for whoever is started anew.
            for mut source in [source, database.source()] {
                let fault = follow(&mut *source, cursor.clone()).await.expect_err("put back");
                assert_eq!(
                    (fault.kind.clone(), fault.code),
                    (FaultKind::Fatal, FaultCode::Restored),
                    "{fault}"
                );
                assert!(fault.message.contains("ahead of the data of t"), "{fault}");
                assert!(fault.remedy.as_ref().unwrap().contains("approve"), "{fault}");
            }
            // From the beginning all goes on.
            let mut source = database.source();
            let (changes, cursor) = follow(&mut *source, None).await.unwrap();
            assert_eq!(changes.len(), 10 + written_since, "{options}");
            database.run(&format!("UPDATE t SET v = 'edited', at = {} WHERE id = 3", newest + 501));
            let (changes, cursor) = follow(&mut *source, cursor).await.unwrap();
            assert!(texts(&changes, "v").contains(&"edited".to_owned()), "{options}");
            follow(&mut *source, cursor).await.unwrap();
        }
    }
}

#[tokio::test]
async fn our_own_clock_makes_no_cursor() {
    // Two systems that differ in nothing but the time that they are told.
    let database = ten(COLUMN, seconds() - 100);
    let cursor_at = async |ahead: i64| {
        let system = (connectors::find("sqlite").unwrap().open)(Open {
            customer: "app".to_owned(),
            system: "app".to_owned(),
            settings: json!({"path": "{customer}.sqlite"}),
            base_dir: database.folder.path().to_owned(),
            mock_url: None,
            gate: Arc::new(FreeGate),
            clock: Arc::new(move || Timestamp(now().0 + ahead * 1000)),
            vault: Arc::new(record_sync::connectors::MemoryVault::default()),
            bounds: Default::default(),
        });
        let mut source = system.unwrap().source(&database.spec).unwrap();
        follow(&mut *source, None).await.unwrap().1
    };
    let right = cursor_at(0).await;
    for ahead in [-3600, 3600, 30 * 86_400] {
        assert_eq!(cursor_at(ahead).await, right, "{ahead} s");
    }
}
