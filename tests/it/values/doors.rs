//! The back doors of every end: values go in and are read past all code under test, with SQL, as bytes of
//! files, and through the mocks' own HTTP.

use std::collections::BTreeMap;

use rusqlite::Connection;
use serde_json::json;
use serde_json::value::RawValue;

use super::ends::End;
use super::meaning::Meaning;
use super::said;
use super::table::Sort;
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

/// Records to put in: keys and values.
pub type Entries = Vec<(String, Sort)>;

fn note<'r>(now: &'r Rows, key: &str) -> &'r str {
    now.get(key).map_or("before", |(_, note)| note.as_str())
}

fn object(key: &str, sort: Sort, now: &Rows) -> String {
    let (key, note, value) = (json!(key), note(now, key), said::in_json(sort).unwrap());
    format!("{{\"record_id\": {key}, \"v\": {value}, \"note\": \"{note}\"}}")
}

/// The text of a file with these records.
pub fn text(format: &str, entries: &Entries, now: &Rows) -> Vec<u8> {
    if format == "csv" {
        let mut text = b"record_id,v,note\n".to_vec();
        for (key, sort) in entries {
            let cell = said::in_csv(*sort).unwrap();
            let row = [said::csv_text(key).as_bytes(), &cell, note(now, key).as_bytes()].join(&b',');
            text.extend_from_slice(&row);
            text.push(b'\n');
        }
        return text;
    }
    let objects: Vec<String> = entries.iter().map(|(key, sort)| object(key, *sort, now)).collect();
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

    /// Gives records their values, as somebody else would; notes stay as they are `now`. A file is written
    /// anew, with these records only.
    pub async fn put(&self, entries: &Entries, now: &Rows) {
        match self.end {
            End::Sqlite(column) => {
                let mut sql = String::from("BEGIN;");
                for (key, sort) in entries {
                    let (key, value) = (said::sql_text(key), said::in_sql(*sort, column).unwrap());
                    sql += &format!(
                        "INSERT INTO t VALUES ({key}, {value}, 'before') ON CONFLICT DO UPDATE SET v = excluded.v;"
                    );
                }
                self.open().execute_batch(&(sql + "COMMIT")).unwrap();
            }
            End::File(format) => self.replace(&text(format, entries, now)),
            End::Salesforce | End::Outreach | End::ServiceNow => {
                for (key, sort) in entries {
                    self.push(&object(key, *sort, now)).await;
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

    pub fn open(&self) -> Connection {
        let conn = Connection::open(self.file()).unwrap();
        conn.busy_timeout(PATIENCE).unwrap();
        conn
    }

    pub fn replace(&self, text: &[u8]) {
        let aside = self.file().with_extension("aside");
        std::fs::write(&aside, text).unwrap();
        std::fs::rename(aside, self.file()).unwrap();
    }

    /// Reads what stands there.
    pub async fn rows(&self) -> Rows {
        match self.end {
            End::Sqlite(_) => self.cells(),
            End::File("csv") => self.table(),
            End::File("json") => rows_of(&std::fs::read_to_string(self.file()).unwrap()),
            End::File(_) => {
                let lines = std::fs::read_to_string(self.file()).unwrap();
                rows_of(&format!(
                    "[{}]",
                    lines.lines().filter(|line| !line.is_empty()).collect::<Vec<_>>().join(",")
                ))
            }
            End::Salesforce | End::Outreach => rows_of(&self.records().await),
            End::ServiceNow => {
                let rows = rows_of(&self.records().await).into_iter();
                rows.map(|(key, (value, note))| (key, (value.or_null(), note))).collect()
            }
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
                b"" if text[place + said::csv_text(&id).len()..].starts_with(b",\"\"") => {
                    Meaning::Text(String::new())
                }
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
            End::Salesforce | End::Outreach | End::ServiceNow => self.patch(note).await,
        }
    }

    /// Edits through the service's own API.
    async fn patch(&self, note: &str) {
        let mount = format!("/mock/{}/{}", self.customer, self.system);
        let stream = self.end.stream(self.system);
        let (address, form) = match self.end {
            End::Salesforce => (
                "services/oauth2/token",
                "grant_type=client_credentials&client_id=client-id&client_secret=client-secret",
            ),
            End::ServiceNow => (
                "oauth_token.do",
                "grant_type=client_credentials&client_id=client-id&client_secret=client-secret",
            ),
            _ => (
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
            let (path, kind, body) = match self.end {
                End::ServiceNow => (
                    format!("api/now/table/{stream}/{}", record["sys_id"].as_str().unwrap()),
                    "application/json",
                    json!({ "note": note }),
                ),
                End::Salesforce => (
                    format!("services/data/v59.0/sobjects/{stream}/{}", record["Id"].as_str().unwrap()),
                    "application/json",
                    json!({ "note": note }),
                ),
                _ => (
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
        let ids =
            object.into_iter().filter(|(name, _)| name.trim_start_matches("sys_").eq_ignore_ascii_case("id"));
        ids.map(|(name, raw)| (name, serde_json::from_str(raw.get()).unwrap())).collect()
    };
    objects.into_iter().map(ids).collect()
}

fn rows_of(text: &str) -> Rows {
    let objects: Vec<BTreeMap<String, Box<RawValue>>> = serde_json::from_str(text).unwrap();
    let row = |object: BTreeMap<String, Box<RawValue>>| {
        let text = |name: &str| serde_json::from_str::<String>(object[name].get()).unwrap();
        let value = object.get("v").map_or(Meaning::Null, |value| Meaning::of_json(value));
        (text("record_id"), (value, text("note")))
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
