//! Columns that come, go and stand elsewhere while the daemon runs.

use futures_util::future::join_all;
use serde_json::{Value, json};

use super::daemon::{Answer, until};
use super::tables::{OFTEN, Tables, fill, settings};

const TABLE: &str = "
    CREATE TABLE t (id INTEGER PRIMARY KEY, x TEXT, y TEXT, at REAL DEFAULT (unixepoch('subsec')))";
/// What an edit sets besides.
const NOW: &str = "at = unixepoch('subsec')";
/// So few that no fuse counts them: none stands in for what is tested here.
const ROWS: i64 = 6;
const AS_FILLED: &str = "1:x1,y1 2:x2,y2 3:x3,y3 4:x4,y4 5:x5,y5 6:x6,y6";

/// (options of end a, what is special about it)
const CAPTURES: [(&str, &str); 3] = [
    (r#"capture = "scan""#, "all is read each time: by which columns?"),
    (r#"capture = "triggers""#, "its triggers are renamed or dropped along with what they stand on"),
    (r#"capture = "column", updated_at = "at""#, "no stamp moves when a table changes its form"),
];

async fn start(capture: &str) -> Tables {
    let (settings, rules) = (settings(capture, OFTEN), rules(&["x", "y"]).to_string());
    let rows = fill(ROWS, "'x' || id, 'y' || id, unixepoch('subsec')");
    let tables = Tables::in_step(&settings, &rules, TABLE, &rows).await;
    assert_eq!(tables.rows_with("two", "x,y"), AS_FILLED);
    tables
}

/// Rules that map these columns, by the same names.
fn rules(columns: &[&str]) -> Value {
    let fields = columns.iter().chain(&["id"]).map(|name| ((*name).to_owned(), json!(name)));
    json!({"links": {"l": {"fields": Value::Object(fields.collect())}}})
}

async fn both_show(tables: &Tables, what: &str, columns: &str, wanted: &str) {
    let both = async || [tables.rows_with("one", columns), tables.rows_with("two", columns)];
    until(what, both, |shown| shown.iter().all(|rows| rows == wanted)).await;
}

/// Edits a column on either side, and waits for both edits on both.
async fn travels(tables: &Tables, column: &str, word: &str) {
    tables.run("one", &format!("UPDATE t SET {column} = 'one {word}', {NOW} WHERE id = 1"));
    tables.run("two", &format!("UPDATE t SET {column} = 'two {word}' WHERE id = 2"));
    for table in ["one", "two"] {
        let both = format!("{column} = CASE id WHEN 1 THEN 'one {word}' WHEN 2 THEN 'two {word}' END");
        tables.until_count(&format!("{column} travels {word}"), table, &both, 2).await;
    }
}

#[tokio::test]
async fn a_column_that_was_added_can_be_mapped_at_once() {
    for (capture, why) in CAPTURES {
        let tables = start(capture).await;
        let add = |table: &str, column: &str| {
            tables.run(table, &format!("ALTER TABLE t ADD COLUMN {column} TEXT"));
            tables.run(table, &format!("UPDATE t SET {column} = '{column}' || id WHERE '{table}' = 'one'"));
        };
        let post = async |columns: &[&str]| tables.daemon.post("/v1/sync/rules", rules(columns)).await;
        let in_force = async || tables.daemon.get("/v1/sync/rules").await;
        ["one", "two"].iter().for_each(|table| add(table, "z"));
        let posted = post(&["x", "y", "z"]).await;
        assert_eq!(
            (posted.status, &posted.body["changed"]),
            (200, &json!(["default/l"])),
            "{why}: {posted:?}"
        );
        tables.until_count("z as it stood there before", "two", "z = 'z' || id", ROWS).await;
        travels(&tables, "z", "posted").await;

        // One that is missing at one end, or everywhere, is still refused, and nothing is lost by that.
        add("one", "w");
        let (version, text) = (in_force().await.body["version"].clone(), tables.home.read("rules.json"));
        for wrong in ["w", "nowhere"] {
            let refused = post(&["x", "y", "z", wrong]).await;
            refused.is_problem(422);
            let words = refused.body.to_string();
            assert!(words.contains(&format!("has no field `{wrong}`")), "{why}: {words}");
            assert_eq!(in_force().await.body["version"], version, "{why}");
            assert_eq!(tables.home.read("rules.json"), text, "{why}");
        }
        tables.home.write("rules.json", &rules(&["x", "nowhere"]).to_string());
        let refused = |answer: &Answer| answer.body["last_reload_successful"] == false;
        let told = tables.daemon.until("/v1/sync/rules", "the file is refused", refused).await;
        let words = told.body["error"]["message"].as_str().unwrap();
        assert!(words.contains("has no field `nowhere`"), "{why}: {words}");
        assert_eq!(
            (&told.body["version"], &told.body["rules"]),
            (&version, &rules(&["x", "y", "z"])),
            "{why}"
        );
        travels(&tables, "y", "under the last good rules").await;

        add("two", "w");
        tables.home.swap("rules.json", &rules(&["x", "y", "z", "w"]).to_string());
        tables.until_count("w as it stood there before", "two", "w = 'w' || id", ROWS).await;
        travels(&tables, "w", "by the file").await;
        assert_eq!(in_force().await.body["last_reload_successful"], true, "{why}");
        assert_eq!(tables.link().await["pairs"], ROWS, "{why}");
    }
}

/// Renames a mapped column away and back, with edits on both sides meanwhile. Whatever could not be written
/// rests a while, so the captures rest side by side.
async fn away_and_back((capture, why): (&str, &str), has_restart: bool) {
    let mut tables = start(capture).await;
    tables.run("one", "ALTER TABLE t RENAME COLUMN x TO aside");
    let frozen = tables.frozen("x is gone").await;
    let words = frozen["frozen"].as_str().unwrap();
    assert!(words.contains("has no column \"x\""), "{why}: {words}");
    assert_eq!(frozen["held_back"]["findings"][0]["kind"], "unreadable", "{why}: {frozen}");
    for word in ["approve", "discard"] {
        tables.answer(word).await.is_problem(409);
    }
    tables.run("one", &format!("UPDATE t SET aside = 'one', {NOW} WHERE id = 1"));
    tables.run("one", "INSERT INTO t (id, aside, y) VALUES (7, 'new', 'at one'); DELETE FROM t WHERE id = 3");
    tables.run("two", "UPDATE t SET x = 'two' WHERE id = 2");
    tables.run("two", "INSERT INTO t (id, x, y) VALUES (8, 'new', 'at two'); DELETE FROM t WHERE id = 4");
    let waiting = |link: &Value| link["b_to_a"]["backlog"] == 3;
    tables.until_link("the other direction waits", waiting).await;
    if has_restart {
        tables = tables.restart();
        let blocked = tables.until_link("it can't open", |link| link["state"] == "blocked").await;
        assert!(blocked["error"].as_str().unwrap().contains("has no field `x`"), "{why}: {blocked}");
        assert!(blocked["a_to_b"]["frozen"].is_string() && waiting(&blocked), "{why}: {blocked}");
        // Not even looked at, before the column is back.
        tables.run("two", "UPDATE t SET y = 'late' WHERE id = 6");
    }
    let late = if has_restart { "late" } else { "y6" };
    let here = "1:one,y1 2:x2,y2 4:x4,y4 5:x5,y5 6:x6,y6 7:new,at one";
    let there = format!("1:x1,y1 2:two,y2 3:x3,y3 5:x5,y5 6:x6,{late} 8:new,at two");
    assert_eq!(tables.rows_with("one", "aside,y"), here, "{why}");
    assert_eq!(tables.rows_with("two", "x,y"), there, "{why}");

    tables.run("one", "ALTER TABLE t RENAME COLUMN aside TO x");
    let all = format!("1:one,y1 2:two,y2 5:x5,y5 6:x6,{late} 7:new,at one 8:new,at two");
    both_show(&tables, why, "x,y", &all).await;
    tables.runs_again(why).await;
    tables.daemon.pass("l").await;
    both_show(&tables, why, "x,y", &all).await;
    let link = tables.until_link("nothing waits", |link| link["b_to_a"]["backlog"] == 0).await;
    assert_eq!((&link["pairs"], &link["state"]), (&json!(6), &json!("live")), "{why}: {link}");
    for way in ["a_to_b", "b_to_a"] {
        assert_eq!(link[way]["jobs"]["dead"], 0, "{why}: {link}");
    }
    travels(&tables, "x", "as before").await;
}

#[tokio::test]
async fn a_column_that_is_renamed_away_freezes_until_it_is_back() {
    join_all(CAPTURES.map(|capture| away_and_back(capture, false))).await;
}

#[tokio::test]
async fn a_column_that_is_away_when_the_daemon_starts_costs_nothing() {
    join_all(CAPTURES.map(|capture| away_and_back(capture, true))).await;
}

#[tokio::test]
async fn rules_for_a_link_that_can_not_open_are_checked_as_well() {
    let tables = start(CAPTURES[0].0).await;
    tables.run("one", "ALTER TABLE t RENAME COLUMN x TO aside");
    let tables = tables.restart();
    tables.until_link("it can't open", |link| link["state"] == "blocked").await;
    let mut other_words = rules(&["x", "y"]);
    other_words["links"]["l"]["conflict"] = json!("a");
    // (rules, status, why)
    let cases = [
        (rules(&["y", "nowhere"]), 422, "they would only block it anew"),
        (other_words, 200, "no worse than those in force: other links must not wait for this one"),
        (rules(&["y"]), 200, "they heal it"),
        (rules(&["x", "y"]), 422, "and now it has something to lose"),
    ];
    for (rules, status, why) in cases {
        let posted = tables.daemon.post("/v1/sync/rules", rules.clone()).await;
        assert_eq!(posted.status, status, "{why}: {posted:?}");
        let in_force = tables.daemon.get("/v1/sync/rules").await.body["rules"].clone();
        assert_eq!(in_force == rules, status == 200, "{why}");
        if why == "they heal it" {
            travels(&tables, "y", "without x").await;
        }
    }
    tables.run("one", "ALTER TABLE t RENAME COLUMN aside TO x");
    assert_eq!(tables.daemon.post("/v1/sync/rules", rules(&["x", "y"])).await.status, 200);
    // What is edited before both sides are matched by the new field has no base: a policy would decide.
    tables.daemon.pass("l").await;
    travels(&tables, "x", "again").await;
}

#[tokio::test]
async fn a_table_made_anew_in_another_order_is_the_same_table() {
    for (capture, why) in CAPTURES {
        for (anew, other) in [("one", "two"), ("two", "one")] {
            let tables = start(capture).await;
            for happened in ["INSERT", "UPDATE", "DELETE"] {
                let trigger = format!("CREATE TRIGGER sees_{happened} AFTER {happened} ON t");
                let sql = format!("{trigger} BEGIN INSERT INTO writes VALUES ('{happened}'); END");
                tables.run(other, &format!("CREATE TABLE IF NOT EXISTS writes (happened TEXT); {sql}"));
            }
            let writes = || tables.number(other, "SELECT count(*) FROM writes");
            tables.run(
                anew,
                "BEGIN IMMEDIATE;
                 CREATE TABLE fresh (
                     y TEXT, more TEXT DEFAULT 'more', at REAL DEFAULT (unixepoch('subsec')), x TEXT,
                     id INTEGER PRIMARY KEY
                 );
                 INSERT INTO fresh (id, x, y, at) SELECT id, x, y, at FROM t;
                 DROP TABLE t;
                 ALTER TABLE fresh RENAME TO t;
                 COMMIT",
            );
            for _ in 0..3 {
                tables.daemon.pass("l").await;
            }
            assert_eq!(writes(), 0, "{why}, {anew} made anew");
            both_show(&tables, why, "x,y", AS_FILLED).await;

            tables.run(anew, &format!("UPDATE t SET y = 'late', {NOW} WHERE id = 3"));
            let late = AS_FILLED.replace("y3", "late");
            both_show(&tables, why, "x,y", &late).await;
            assert_eq!(writes(), 1, "{why}, {anew} made anew");
            tables.run(other, &format!("UPDATE t SET x = 'back', {NOW} WHERE id = 4"));
            tables.run(other, "INSERT INTO t (id, x, y) VALUES (7, 'x7', 'y7'); DELETE FROM t WHERE id = 1");
            let all = format!("{} 7:x7,y7", late.replace("1:x1,y1 ", "").replace("x4", "back"));
            both_show(&tables, why, "x,y", &all).await;
            tables.daemon.pass("l").await;
            assert_eq!(writes(), 4, "{why}, {anew} made anew: these three came from there");
            assert_eq!(tables.count(anew, "more = 'more'"), ROWS, "{why}: a new row has its default, too");
            assert_eq!(tables.link().await["a_to_b"]["frozen"], Value::Null, "{why}");
        }
    }
}
