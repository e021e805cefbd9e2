//! What is well after a fault, told by what both sides hold.

use std::collections::BTreeMap;
use std::fmt;

use rusqlite::Connection;
use serde_json::Value;

use crate::home::Home;
use crate::outside::Outside;
use crate::person::wait;
use crate::scene::{FILE, Other, People, Prepared};

/// A record as a side shows it; a key may come twice.
type Row = (i64, (String, String));

/// What is wrong; all zero and empty where nothing is.
#[derive(Debug, Default)]
pub struct Verdict {
    /// Records that miss, or show something else than the last edit.
    pub lost: usize,
    /// Records beyond the first of a key, and those that should be gone.
    pub duplicated: usize,
    /// Whether a person would have to do something.
    pub manual: bool,
    pub complaints: Vec<String>,
}

impl Verdict {
    pub fn is_well(&self) -> bool {
        self.lost == 0 && self.duplicated == 0 && !self.manual && self.complaints.is_empty()
    }

    pub fn complain(&mut self, what: impl Into<String>) {
        self.complaints.push(what.into());
    }

    /// Compares a side with what it must hold.
    pub fn compare(&mut self, side: &str, found: &[Row], wanted: &People) {
        let mut by_key: BTreeMap<i64, Vec<&(String, String)>> = BTreeMap::new();
        for (id, person) in found {
            by_key.entry(*id).or_default().push(person);
        }
        for (id, person) in wanted {
            match by_key.get(id).map(Vec::as_slice) {
                Some([one]) if *one == person => {}
                Some([one]) => {
                    self.lost += 1;
                    self.complain(format!("{side}: {id} is {one:?}, not {person:?}"));
                }
                Some(several) => {
                    self.duplicated += several.len() - 1;
                    self.complain(format!("{side}: {id} stands there {} times", several.len()));
                }
                None => {
                    self.lost += 1;
                    self.complain(format!("{side}: {id} is missing"));
                }
            }
        }
        for (id, persons) in by_key.iter().filter(|(id, _)| !wanted.contains_key(id)) {
            self.duplicated += persons.len();
            self.complain(format!("{side}: {id} should not be there"));
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "lost {}, duplicated {}, manual steps {}",
            self.lost,
            self.duplicated,
            u8::from(self.manual)
        )?;
        for complaint in self.complaints.iter().take(12) {
            write!(f, "\n    {}", complaint.chars().take(1_500).collect::<String>())?;
        }
        Ok(())
    }
}

/// Looks at the file at the moment of the fault: old or new, but whole.
pub fn look_at_file(home: &Home, verdict: &mut Verdict) {
    match read_csv(home) {
        Ok(found) if found.len() >= 150 => {}
        Ok(found) => verdict.complain(format!("half a file: {} records", found.len())),
        Err(error) => verdict.complain(format!("half a file: {error}")),
    }
}

/// Looks at both sides, the state and every database.
pub fn look_at_all(prepared: &Prepared, home: &Home, mock: Option<&Outside>, verdict: &mut Verdict) {
    let wanted = &prepared.wanted;
    let table: Vec<_> = crate::home::people(&home.app())
        .into_iter()
        .map(|(id, name, address)| (id, (name, address)))
        .collect();
    verdict.compare("table", &table, wanted);
    match mock {
        Some(mock) => {
            let found = records(mock, prepared.scene.other);
            verdict.compare(prepared.scene.other.stream(), &found, wanted);
        }
        None => match read_csv(home) {
            Ok(found) => verdict.compare("file", &found, wanted),
            Err(error) => verdict.complain(format!("the file can't be read: {error}")),
        },
    }
    for left in std::fs::read_dir(home.path("files")).into_iter().flatten().flatten() {
        let name = left.file_name().to_string_lossy().into_owned();
        if name != "people.csv" {
            verdict.complain(format!("left over: files/{name}"));
        }
    }
    let state = home.open("data/state.sqlite");
    let count = |what: &str| -> i64 { state.query_row(what, [], |row| row.get(0)).unwrap() };
    let open = count("SELECT count(*) FROM jobs WHERE state < 5");
    let dead = count("SELECT count(*) FROM jobs WHERE state = 6");
    let frozen = count("SELECT count(*) FROM links WHERE frozen_ab IS NOT NULL OR frozen_ba IS NOT NULL");
    let loads = count("SELECT count(*) FROM loads");
    if open + dead + frozen + loads > 0 {
        verdict.manual |= dead + frozen > 0;
        verdict.complain(format!("{open} jobs open, {dead} dead, {frozen} links frozen, {loads} loads open"));
    }
}

/// Asks every database of the folder whether it is whole.
pub fn check_integrity(home: &Home, verdict: &mut Verdict) {
    let folders = ["data", "data/mock"].map(|folder| std::fs::read_dir(home.path(folder)));
    for entry in folders.into_iter().flatten().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.ends_with(".sqlite") {
            continue;
        }
        let conn = Connection::open(entry.path()).unwrap();
        let said = conn.query_row("PRAGMA integrity_check", [], |row| row.get::<_, String>(0));
        if !matches!(said.as_deref(), Ok("ok")) {
            verdict.complain(format!("{name}: {said:?}"));
        }
    }
}

fn read_csv(home: &Home) -> Result<Vec<Row>, String> {
    let text = std::fs::read_to_string(home.path(FILE)).map_err(|error| error.to_string())?;
    if !text.ends_with('\n') {
        return Err("the last line is cut".to_owned());
    }
    let mut reader = csv::ReaderBuilder::new().flexible(false).from_reader(text.as_bytes());
    let rows = reader.deserialize::<(i64, String, String)>();
    rows.map(|row| row.map(|(id, name, address)| (id, (name, address))).map_err(|error| error.to_string()))
        .collect()
}

fn records(mock: &Outside, other: Other) -> Vec<Row> {
    let found = wait(mock.get(&format!("records/{}", other.stream())));
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    found
        .iter()
        .map(|it| {
            let key = text(&it["record_id"]);
            let id = key.parse().unwrap_or_else(|_| panic!("{it}"));
            (id, (text(&it["full_name"]), text(&it["email"])))
        })
        .collect()
}
