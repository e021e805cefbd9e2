//! Tables `t` in SQLite files of their own, kept in step: most often `one` and `two`, by the link `l`.

use rusqlite::Connection;
use serde_json::{Value, json};

use super::daemon::{Answer, Daemon, until};
use super::home::Home;

/// Options of a link that polls often.
pub const OFTEN: &str = "poll_interval = 0.1\n";
/// The condition that every row meets.
pub const ALL: &str = "true";

/// The service, and these tables as systems.
pub fn systems(tables: &[&str]) -> String {
    let mut settings =
        String::from("[service]\nstate = \"sqlite:data/state.sqlite\"\n[default]\nflush_interval = 0.0\n");
    for table in tables {
        settings +=
            &format!("[default.systems.{table}]\nconnector = \"sqlite\"\npath = \"data/{table}.sqlite\"\n");
    }
    settings
}

/// A link of two tables, with the options of its end a and its own.
pub fn link(name: &str, [a, b]: [&str; 2], end_a: &str, options: &str) -> String {
    let end_a = if end_a.is_empty() { String::new() } else { format!(", {end_a}") };
    format!(
        "[default.links.{name}]
a = {{ system = \"{a}\", stream = \"t\", key = \"id\"{end_a} }}
b = {{ system = \"{b}\", stream = \"t\", key = \"id\" }}
{options}"
    )
}

/// Both tables and their link.
pub fn settings(end_a: &str, options: &str) -> String {
    systems(&["one", "two"]) + &link("l", ["one", "two"], end_a, options)
}

/// A folder with these tables, each as `make` makes it.
pub fn home(settings: &str, rules: &str, tables: &[&str], make: &str) -> Home {
    let home = Home::new(settings, rules);
    for table in tables {
        let conn = home.open(&format!("data/{table}.sqlite"));
        conn.execute_batch(&format!("PRAGMA journal_mode = wal; {make}")).unwrap();
    }
    home
}

/// SQL that inserts rows 1, 2, … with these values after `id`.
pub fn fill(rows: i64, values: &str) -> String {
    format!(
        "WITH RECURSIVE ids (id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM ids WHERE id < {rows})
         INSERT INTO t SELECT id, {values} FROM ids"
    )
}

/// The tables and the daemon that keeps them in step.
pub struct Tables {
    pub home: Home,
    pub daemon: Daemon,
}

impl Tables {
    pub fn start(home: Home) -> Self {
        let daemon = Daemon::start(&home);
        Self { home, daemon }
    }

    /// Makes both tables, fills the first, and waits until they are in step.
    pub async fn in_step(settings: &str, rules: &str, make: &str, fill: &str) -> Self {
        let tables = Self::start({
            let home = home(settings, rules, &["one", "two"], make);
            home.open("data/one.sqlite").execute_batch(fill).unwrap();
            home
        });
        tables.until_count("both are full", "two", ALL, tables.count("one", ALL)).await;
        tables.daemon.pass("l").await;
        tables
    }

    /// Ends the daemon.
    pub fn stop(self) -> Home {
        assert!(self.daemon.terminate().success());
        self.home
    }

    pub fn restart(self) -> Self {
        Self::start(self.stop())
    }

    pub fn db(&self, table: &str) -> Connection {
        self.home.open(&format!("data/{table}.sqlite"))
    }

    pub fn run(&self, table: &str, sql: &str) {
        self.db(table).execute_batch(sql).unwrap();
    }

    pub fn number(&self, table: &str, sql: &str) -> i64 {
        self.db(table).query_row(sql, [], |row| row.get(0)).unwrap()
    }

    /// Counts the rows that meet a condition.
    pub fn count(&self, table: &str, condition: &str) -> i64 {
        self.number(table, &format!("SELECT count(*) FROM t WHERE {condition}"))
    }

    pub async fn until_count(&self, what: &str, table: &str, condition: &str, wanted: i64) {
        until(what, async || self.count(table, condition), |&count| count == wanted).await;
    }

    /// All of a table: `id:x`.
    pub fn rows(&self, table: &str) -> String {
        self.rows_with(table, "x")
    }

    /// All of a table: `id:x,y`, where such are the columns.
    pub fn rows_with(&self, table: &str, columns: &str) -> String {
        let values: Vec<String> =
            columns.split(',').map(|name| format!("coalesce({name}, 'NULL')")).collect();
        let values = values.join(" || ',' || ");
        let sql = format!(
            "SELECT coalesce(group_concat(id || ':' || {values}, ' '), '') FROM (SELECT * FROM t ORDER BY id)"
        );
        self.db(table).query_row(&sql, [], |row| row.get(0)).unwrap()
    }

    pub async fn shows(&self, table: &str, wanted: &str) {
        until(wanted, async || self.rows(table), |rows| rows == wanted).await;
    }

    /// What is said of the link.
    pub async fn link(&self) -> Value {
        self.daemon.get("/v1/links").await.body["items"][0].clone()
    }

    pub async fn until_link(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        until(what, async || self.link().await, wanted).await
    }

    /// Waits until a→b is frozen, and gives what it says.
    pub async fn frozen(&self, what: &str) -> Value {
        let link =
            self.until_link(&format!("frozen: {what}"), |link| link["a_to_b"]["frozen"].is_string()).await;
        assert_eq!(link["b_to_a"]["frozen"], Value::Null, "the other direction runs");
        link["a_to_b"].clone()
    }

    pub async fn runs_again(&self, what: &str) {
        let runs = |link: &Value| link["a_to_b"]["frozen"].is_null() && link["b_to_a"]["frozen"].is_null();
        let link = self.until_link(&format!("runs again: {what}"), runs).await;
        assert_eq!(link["a_to_b"]["held_back"], Value::Null);
    }

    /// Approves or discards what is held back.
    pub async fn answer(&self, word: &str) -> Answer {
        self.daemon.post(&format!("/v1/links/l/{word}"), json!({})).await
    }
}
