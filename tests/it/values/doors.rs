//! The back doors of every end: values go in and are read past all code under test, with SQL, as bytes of
//! files, and through the mocks' own HTTP.

use std::collections::BTreeMap;

use rusqlite::Connection;
use serde_json::json;
use serde_json::value::RawValue;

use super::ends::End;
use super::meaning::Meaning;
use super::said;
use super::table::{Case, Cases, key};
use crate::scenario::PATIENCE;
use crate::scenario::daemon::Daemon;
use crate::scenario::home::Home;

/// An end of one pair of connectors, with its data.
pub struct Place<'t> {
    pub end: End,
    pub home: &'t Home,
    pub daemon: &'t Daemon,
    pub customer: &'t str,
    /// `a` or `b`: the system's name.
    pub system: &'static str,
}

/// Rows by key: the value, and the note beside it.
pub type Rows = BTreeMap<String, (Meaning, String)>;

fn note(now: &Rows, at: usize) -> &str {
    now.get(&key(at)).map_or("before", |(_, note)| note.as_str())
}

fn object_of(key: &str, value: &str, note: &str) -> String {
    format!("{{\"record_id\": \"{key}\", \"v\": {value}, \"note\": \"{note}\"}}")
}

/// The text of a file with these records.
pub fn text(format: &str, cases: &Cases, now: &Rows) -> Vec<u8> {
    if format == "csv" {
        let mut text = b"record_id,v,note\n".to_vec();
        for (at, case) in cases {
            let cell = said::in_csv(case.sort).unwrap();
            let row = [key(*at).as_bytes(), &cell, note(now, *at).as_bytes()].join(&b',');
            text.extend_from_slice(&row);
            text.push(b'\n');
        }
        return text;
    }
    let object = |(at, case): &(usize, &Case)| {
        object_of(&key(*at), &said::in_json(case.sort).unwrap(), note(now, *at))
    };
    let objects: Vec<String> = cases.iter().map(object).collect();
    match format {
        "json" => format!("[\n{}\n]\n", objects.join(",\n")).into(),
        // No bytes at all would be a file that is being written.
        _ if objects.is_empty() => b"\n".to_vec(),
        _ => objects.iter().map(|object| format!("{object}\n")).collect::<String>().into(),
    }
}

impl Place<'_> {
    fn file(&self) -> std::path::PathBuf {
        self.end.file(self.home, self.customer, self.system)
    }

    /// Gives the records of these cases their values, as somebody else would; notes stay as they are `now`.
    pub async fn put(&self, cases: &Cases, now: &Rows) {
        match self.end {
            End::Sqlite(column) => {
                let mut sql = String::from("BEGIN;");
                for (at, case) in cases {
                    let (key, value) = (key(*at), said::in_sql(case.sort, column).unwrap());
                    sql += &format!(
                        "INSERT INTO t VALUES ('{key}', {value}, 'before') ON CONFLICT DO UPDATE SET v = excluded.v;"
                    );
                }
                self.open().execute_batch(&(sql + "COMMIT")).unwrap();
            }
            End::File(format) => self.replace(&text(format, cases, now)),
            End::Salesforce | End::Outreach => {
                for (at, case) in cases {
                    self.push(&object_of(&key(*at), &said::in_json(case.sort).unwrap(), note(now, *at)))
                        .await;
                }
            }
        }
    }

    async fn push(&self, record: &str) {
        let path = format!("/v1/crms/mock/{}/push?customer_id={}", self.end.name(), self.customer);
        let request = self.daemon.request("POST", &path).header("content-type", "application/json");
        let answer = self.daemon.send(request.body(record.to_owned())).await;
        assert_eq!(answer.status, 201, "{record:.200}: {answer:?}");
    }

    fn open(&self) -> Connection {
        let conn = Connection::open(self.file()).unwrap();
        conn.busy_timeout(PATIENCE).unwrap();
        conn
    }

    fn replace(&self, text: &[u8]) {
        let aside = self.file().with_extension("aside");
        std::fs::write(&aside, text).unwrap();
        std::fs::rename(aside, self.file()).unwrap();
    }

    /// Reads what stands there.
    pub async fn rows(&self) -> Rows {
        match self.end {
            End::Sqlite(_) => self.cells(),
            End::File("csv") => self.table(),
            End::File("json") => objects(&std::fs::read_to_string(self.file()).unwrap()),
            End::File(_) => {
                let lines = std::fs::read_to_string(self.file()).unwrap();
                objects(&format!(
                    "[{}]",
                    lines.lines().filter(|line| !line.is_empty()).collect::<Vec<_>>().join(",")
                ))
            }
            End::Salesforce | End::Outreach => objects(&self.records().await),
        }
    }

    async fn records(&self) -> String {
        let (customer, system, stream) = (self.customer, self.system, self.end.stream(self.system));
        let path = format!("/mock/{customer}/{system}/__admin/records/{stream}");
        self.daemon.request("GET", &path).send().await.unwrap().text().await.unwrap()
    }

    fn cells(&self) -> Rows {
        let conn = self.open();
        let mut select = conn.prepare("SELECT record_id, v, note FROM t").unwrap();
        let row = |row: &rusqlite::Row<'_>| {
            Ok((row.get::<_, String>(0)?, (Meaning::of_cell(row.get_ref(1)?), row.get::<_, String>(2)?)))
        };
        select.query_map([], row).unwrap().collect::<Result<_, _>>().unwrap()
    }

    fn table(&self) -> Rows {
        let text = std::fs::read(self.file()).unwrap();
        let mut reader = csv::Reader::from_reader(text.as_slice());
        let mut rows = Rows::new();
        for record in reader.byte_records() {
            let record = record.unwrap();
            let place = record.position().unwrap().byte() as usize;
            let id = String::from_utf8(record[0].to_vec()).unwrap();
            let value = match &record[1] {
                // Only the quotes tell empty text from null.
                b"" if text[place + id.len()..].starts_with(b",\"\"") => Meaning::Text(String::new()),
                b"" => Meaning::Null,
                cell => String::from_utf8(cell.to_vec()).map_or(Meaning::Broken, Meaning::Text),
            };
            rows.insert(id, (value, String::from_utf8(record[2].to_vec()).unwrap()));
        }
        rows
    }

    /// Changes the note of every record there, and nothing else, as somebody else would.
    pub async fn annotate(&self, note: &str) {
        match self.end {
            End::Sqlite(_) => {
                self.open().execute("UPDATE t SET note = ?1", [note]).unwrap();
            }
            End::File(_) => {
                let text = std::fs::read(self.file()).unwrap();
                self.replace(&replaced(&text, b"before", note.as_bytes()));
            }
            End::Salesforce | End::Outreach => self.patch(note).await,
        }
    }

    /// Edits through the service's own API.
    async fn patch(&self, note: &str) {
        let mount = format!("/mock/{}/{}", self.customer, self.system);
        let (salesforce, stream) = (self.end == End::Salesforce, self.end.stream(self.system));
        let (address, form) = match salesforce {
            true => (
                "services/oauth2/token",
                "grant_type=client_credentials&client_id=client-id&client_secret=client-secret",
            ),
            false => (
                "oauth/token",
                "grant_type=refresh_token&client_id=client-id&client_secret=client-secret&refresh_token=or-refresh-1",
            ),
        };
        let request = self.daemon.request("POST", &format!("{mount}/{address}"));
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        let token =
            self.daemon.send(request.body(form)).await.body["access_token"].as_str().unwrap().to_owned();
        let records: Vec<serde_json::Map<String, serde_json::Value>> =
            loosely(&self.records().await).into_iter().collect();
        for record in records {
            let (path, kind, body) = match salesforce {
                true => (
                    format!("services/data/v59.0/sobjects/{stream}/{}", record["Id"].as_str().unwrap()),
                    "application/json",
                    json!({ "note": note }),
                ),
                false => (
                    format!("api/v2/{stream}/{}", record["id"]),
                    "application/vnd.api+json",
                    json!({ "data": { "type": stream.trim_end_matches('s'), "id": record["id"], "attributes": { "note": note } } }),
                ),
            };
            let request = self.daemon.request("PATCH", &format!("{mount}/{path}"));
            let request = request.bearer_auth(&token).header("content-type", kind);
            let answer = self.daemon.send(request.body(body.to_string())).await;
            assert!(answer.status < 300, "{answer:?}");
        }
    }
}

/// Only the ids are read of these: numbers that no float holds would not parse.
fn loosely(text: &str) -> Vec<serde_json::Map<String, serde_json::Value>> {
    let objects: Vec<BTreeMap<String, Box<RawValue>>> = serde_json::from_str(text).unwrap();
    let ids = |object: BTreeMap<String, Box<RawValue>>| {
        let ids = object.into_iter().filter(|(name, _)| name.eq_ignore_ascii_case("id"));
        ids.map(|(name, raw)| (name, serde_json::from_str(raw.get()).unwrap())).collect()
    };
    objects.into_iter().map(ids).collect()
}

fn objects(text: &str) -> Rows {
    let objects: Vec<BTreeMap<String, Box<RawValue>>> = serde_json::from_str(text).unwrap();
    let row = |object: BTreeMap<String, Box<RawValue>>| {
        let text = |name: &str| serde_json::from_str::<String>(object[name].get()).unwrap();
        (text("record_id"), (Meaning::of_json(&object["v"]), text("note")))
    };
    objects.into_iter().map(row).collect()
}

fn replaced(text: &[u8], old: &[u8], new: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.windows(old.len()).position(|part| part == old) {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(new);
        rest = &rest[at + old.len()..];
    }
    out.extend_from_slice(rest);
    out
}
