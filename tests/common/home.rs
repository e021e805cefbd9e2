//! A folder as a user has it: settings, rules, a database; and the binary run in it to its end.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use rusqlite::Connection;

/// The binary under test.
pub const BINARY: &str = env!("CARGO_BIN_EXE_record-sync");

/// Settings that poll often and wait for nobody, so that tests are short.
pub const TRIANGLE: &str = r#"
[service]
state = "sqlite:data/state.sqlite"

[default]
max_requests = 100000
window_size = 1
flush_interval = 0.05

[default.systems.app]
connector = "sqlite"
path = "data/demo.sqlite"

[default.systems.salesforce]
connector = "salesforce"
base_url = "mock"

[default.systems.outreach]
connector = "outreach"
base_url = "mock"
overlap_ms = 300

[default.links.sqlite-to-salesforce]
a = { system = "app", stream = "users", key = "record_id" }
b = { system = "salesforce", stream = "Contact", key = "record_id" }
poll_interval = 0.2

[default.links.sqlite-to-outreach]
a = { system = "app", stream = "users", key = "record_id" }
b = { system = "outreach", stream = "prospects", key = "record_id" }
poll_interval = 0.2
"#;

/// The rules of the demo.
pub const RULES: &str = r#"{
  "filters": { "status": "active" },
  "mappings": { "record_id": "record_id", "full_name": "name", "email_address": "email", "status": "status" }
}"#;

/// A folder that is gone after the test.
pub struct Home {
    folder: tempfile::TempDir,
}

impl Home {
    /// Makes a folder with these settings and rules, and an empty table `users`.
    pub fn new(settings: &str, rules: &str) -> Self {
        let home = Self { folder: tempfile::tempdir().unwrap() };
        home.write("customer_settings.toml", settings);
        home.write("rules.json", rules);
        home.users("data/demo.sqlite");
        home
    }

    /// Copies a folder of `examples/`.
    pub fn example(name: &str) -> Self {
        let home = Self { folder: tempfile::tempdir().unwrap() };
        copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(name), home.folder.path());
        home
    }

    /// Makes a folder with all that this one holds.
    pub fn copied(&self) -> Self {
        let home = Self { folder: tempfile::tempdir().unwrap() };
        copy(self.folder.path(), home.folder.path());
        home
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    /// Writes a file in place.
    pub fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// Writes a file as most editors do: beside it, then renamed over it.
    pub fn swap(&self, name: &str, text: &str) {
        let beside = self.path(&format!("{name}.new~"));
        std::fs::write(&beside, text).unwrap();
        std::fs::rename(beside, self.path(name)).unwrap();
    }

    /// Makes an empty table `users` as the demo has it.
    pub fn users(&self, file: &str) {
        let made = self.run(&[
            "demo",
            "insert",
            "--count",
            "0",
            "--bare",
            "--file",
            self.path(file).to_str().unwrap(),
        ]);
        assert!(made.status.success(), "{made:?}");
    }

    /// Opens a database of the folder.
    pub fn open(&self, file: &str) -> Connection {
        let conn = Connection::open(self.path(file)).unwrap();
        conn.busy_timeout(super::PATIENCE).unwrap();
        conn
    }

    /// Opens the demo database.
    pub fn app(&self) -> Connection {
        self.open("data/demo.sqlite")
    }

    /// Prepares the binary to be run in this folder, with nothing of our own environment that it reads.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(BINARY);
        command.args(arguments).current_dir(self.folder.path());
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("RECORD_SYNC_") {
                command.env_remove(name);
            }
        }
        command
    }

    /// Runs the binary to its end.
    pub fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Runs `once` for a link; its summary.
    pub fn once(&self, link: &str) -> serde_json::Value {
        self.once_within(link, 40)
    }

    /// The same, within so many seconds.
    pub fn once_within(&self, link: &str, seconds: u64) -> serde_json::Value {
        let done = self.run(&["once", "--link", link, "--json", "--timeout", &seconds.to_string()]);
        assert!(done.status.success(), "{done:?}");
        let summary: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
        assert_eq!(summary["complete"], true, "{summary}");
        summary
    }
}

/// Adds active people with these ids.
pub fn add_people(conn: &mut Connection, ids: std::ops::RangeInclusive<i64>) {
    let tx = conn.transaction().unwrap();
    for id in ids {
        let sql = "INSERT INTO users (record_id, name, email) VALUES (?1, ?2, ?3)";
        tx.execute(sql, (id, format!("Person {id}"), format!("person{id}@example.test"))).unwrap();
    }
    tx.commit().unwrap();
}

/// Returns name and email of a person of the table.
pub fn person(conn: &Connection, id: i64) -> Option<(String, String)> {
    use rusqlite::OptionalExtension;
    let sql = "SELECT name, email FROM users WHERE record_id = ?1";
    conn.query_row(sql, [id], |row| Ok((row.get(0)?, row.get(1)?))).optional().unwrap()
}

/// Reads all of a table `users`, in order.
pub fn people(conn: &Connection) -> Vec<(i64, String, String)> {
    let mut select = conn.prepare("SELECT record_id, name, email FROM users ORDER BY record_id").unwrap();
    let rows = select.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap();
    rows.map(Result::unwrap).collect()
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}
