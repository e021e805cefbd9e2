//! What the reading end knows of the writing end beside it.

use super::*;

const PLAIN: &str = "CREATE TABLE t (id TEXT PRIMARY KEY, v TEXT); INSERT INTO t VALUES ('a', '1')";

/// What happens between two looks of the reading end.
#[derive(Clone, Copy)]
enum Event {
    Create(&'static str),
    Update(&'static str),
    Delete(&'static str),
    /// Somebody else's statement.
    Other(&'static str),
}
use Event::{Create, Delete, Other, Update};

async fn happen(database: &Database, writer: &dyn Destination, event: Event) {
    let values = |id: &str| [Value::text(id), Value::text("new")].into();
    let (id, write) = match event {
        Other(sql) => return database.run(sql),
        Create(id) => (id, Write::Create(values(id))),
        Update(id) => (id, Write::Update(values(id))),
        Delete(id) => (id, Write::Delete),
    };
    let batch = Batch { shape: Schema::new(["id", "v"]), deliveries: vec![delivery(&[id.into()], write)] };
    writer.write(&batch, &call()).await.expect("an answer");
}

#[tokio::test]
async fn our_own_writes_are_told_apart_from_those_of_others() {
    const TRIGGER: &str = "CREATE TABLE t (id TEXT PRIMARY KEY, v TEXT); INSERT INTO t VALUES ('a', '1'); \
        CREATE TABLE log (id); CREATE TRIGGER tr AFTER INSERT ON log BEGIN UPDATE t SET v = 'moved'; END";
    const CASCADE: &str = "CREATE TABLE t (id TEXT PRIMARY KEY, v TEXT REFERENCES t (id) ON DELETE CASCADE); \
        INSERT INTO t VALUES ('new', NULL)";
    let many = [Create("b"), Update("b"), Delete("a"), Create("a")];
    // (tables, what happens, is it all ours, why)
    let cases: [(&str, &[Event], bool, &str); 11] = [
        (PLAIN, &[], true, "nothing happened"),
        (PLAIN, &[Create("b")], true, "we made one"),
        (PLAIN, &many, true, "whatever we write"),
        (PLAIN, &[Create("a")], true, "what is refused as stale moves nothing"),
        (PLAIN, &[Other("UPDATE t SET v = '2'")], false, "somebody else wrote"),
        (PLAIN, &[Other("UPDATE t SET v = '2'"), Create("b")], false, "before us"),
        (PLAIN, &[Create("b"), Other("INSERT INTO t VALUES ('c', '3')")], false, "after us"),
        (PLAIN, &[Create("b"), Other("CREATE TABLE u (id)"), Create("c")], false, "between ours, elsewhere"),
        (TRIGGER, &[Create("b")], false, "a trigger may have done more than we are told"),
        (CASCADE, &[Delete("new")], false, "a deletion may have taken others along"),
        (CASCADE, &[Create("x")], true, "a new record takes nothing along"),
    ];
    for (sql, events, is_ours, why) in cases {
        let database = Database::new(sql, "t", &["id"], json!({}));
        let system = database.system();
        let mut source = system.source(&database.spec).unwrap();
        let writer = system.destination(&database.spec).unwrap();
        assert!(!source.only_ours().await, "before the first read nothing is known");
        read_all(&mut *source, 10).await;
        for &event in events {
            happen(&database, &*writer, event).await;
        }
        assert_eq!(source.only_ours().await, is_ours, "{why}");
        if is_ours {
            assert!(!source.may_have_changed(), "{why}: and that is known from now on");
            database.run("CREATE TABLE others (id)");
            assert!(source.may_have_changed() && !source.only_ours().await, "{why}: others are seen");
        }
        read_all(&mut *source, 10).await;
        assert!(source.only_ours().await, "{why}: once it is read, all is known again");
    }
}

#[tokio::test]
async fn a_stream_that_is_read_by_its_stamps_knows_it_as_well() {
    let options = json!({"capture": "column", "updated_at": "at"});
    let sql = "CREATE TABLE t (id TEXT PRIMARY KEY, v TEXT, at TEXT); \
               INSERT INTO t VALUES ('a', '1', '2026-01-01 00:00:00')";
    let database = Database::new(sql, "t", &["id"], options);
    let system = database.system();
    let mut source = system.source(&database.spec).unwrap();
    let writer = system.destination(&database.spec).unwrap();
    let (_, cursor) = read_from(&mut *source, None, 10).await;
    happen(&database, &*writer, Create("b")).await;
    assert!(source.only_ours().await);
    database.run("UPDATE t SET v = '2', at = '2026-01-02 00:00:00' WHERE id = 'a'");
    assert!(!source.only_ours().await);
    let (changes, _) = read_from(&mut *source, cursor, 10).await;
    assert!(texts(&changes, "id").contains(&"a".to_owned()), "{changes:?}");
}

#[tokio::test]
async fn a_writing_end_of_another_side_is_somebody_else() {
    let database = Database::new(PLAIN, "t", &["id"], json!({}));
    let system = database.system();
    let mut source = system.source(&database.spec).unwrap();
    let writer = system.destination(&database.spec).unwrap();
    let elsewhere = StreamSpec { consumer: "default/other/b".to_owned(), ..database.spec.clone() };
    let stranger = system.destination(&elsewhere).unwrap();
    read_all(&mut *source, 10).await;
    happen(&database, &*writer, Create("b")).await;
    assert!(source.only_ours().await);
    happen(&database, &*stranger, Create("c")).await;
    assert!(!source.only_ours().await, "another link wrote");
}

#[tokio::test]
async fn a_file_that_was_replaced_holds_nothing_of_ours() {
    let database = Database::new(PLAIN, "t", &["id"], json!({}));
    let system = database.system();
    let mut source = system.source(&database.spec).unwrap();
    let writer = system.destination(&database.spec).unwrap();
    read_all(&mut *source, 10).await;
    happen(&database, &*writer, Create("b")).await;
    let copy = database.path().with_extension("copy");
    Connection::open(&copy).unwrap().execute_batch(PLAIN).unwrap();
    std::fs::rename(copy, database.path()).unwrap();
    assert!(!source.only_ours().await);
}
