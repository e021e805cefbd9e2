//! The back doors of every connector: values go in and are read past all code under test, with SQL, as
//! bytes of files, and through the mocks' own HTTP.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use rusqlite::{Connection, OpenFlags};
use serde_json::json;
use serde_json::value::RawValue;

use super::meaning::Meaning;
use super::table::{Cases, Sort, key};
use crate::scenario::daemon::Daemon;
use crate::scenario::home::Home;

/// One kind of end: a column of SQLite by its declared type, a format of files, a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Sqlite(&'static str),
    File(&'static str),
    Salesforce,
    Outreach,
}

pub const ENDS: [End; 10] = [
    End::Sqlite("TEXT"),
    End::Sqlite("INTEGER"),
    End::Sqlite("NUMERIC"),
    End::Sqlite("REAL"),
    End::Sqlite(""),
    End::File("csv"),
    End::File("json"),
    End::File("jsonl"),
    End::Salesforce,
    End::Outreach,
];

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

impl End {
    /// A name that may stand in a customer's.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sqlite("TEXT") => "text",
            Self::Sqlite("INTEGER") => "integer",
            Self::Sqlite("NUMERIC") => "numeric",
            Self::Sqlite("REAL") => "real",
            Self::Sqlite(_) => "untyped",
            Self::File(format) => format,
            Self::Salesforce => "salesforce",
            Self::Outreach => "outreach",
        }
    }

    pub fn is_remote(self) -> bool {
        matches!(self, Self::Salesforce | Self::Outreach)
    }

    /// Both ends of a link at one service need streams of their own.
    fn stream(self, system: &str) -> String {
        match (self, system) {
            (Self::Sqlite(_), _) => "t".to_owned(),
            (Self::File(format), _) => format!("t.{format}"),
            (Self::Salesforce, "a") => "Contact".to_owned(),
            (Self::Salesforce, _) => "Lead".to_owned(),
            (Self::Outreach, "a") => "prospects".to_owned(),
            (Self::Outreach, _) => "accounts".to_owned(),
        }
    }

    /// The tables of the configuration.
    pub fn settings(self, customer: &str, system: &str) -> String {
        let folder = format!("data/{customer}/{system}");
        let connector = match self {
            Self::Sqlite(_) => format!("connector = \"sqlite\"\npath = \"{folder}/t.sqlite\""),
            Self::File(_) => format!("connector = \"file\"\npath = \"{folder}\""),
            Self::Salesforce => "connector = \"salesforce\"\nbase_url = \"mock\"".to_owned(),
            Self::Outreach => "connector = \"outreach\"\nbase_url = \"mock\"\noverlap_ms = 0".to_owned(),
        };
        format!("[{customer}.systems.{system}]\n{connector}\n\n")
    }

    /// The end of a link in the configuration.
    pub fn entry(self, system: &str) -> String {
        format!("{{ system = \"{system}\", stream = \"{}\", key = \"record_id\" }}", self.stream(system))
    }

    /// Makes the table or the file; what a service holds is pushed once it runs.
    pub fn prepare(self, home: &Home, customer: &str, system: &str, cases: &Cases) {
        let place = format!("data/{customer}/{system}/{}", self.stream(system));
        std::fs::create_dir_all(home.path(&place).parent().unwrap()).unwrap();
        match self {
            Self::Sqlite(column) => {
                let mut sql = format!(
                    "PRAGMA journal_mode = wal; CREATE TABLE t (record_id TEXT PRIMARY KEY, v {column}, note TEXT); BEGIN;"
                );
                for (at, case) in cases {
                    let Some(value) = in_sql(case.sort, column) else { continue };
                    write!(sql, "INSERT INTO t VALUES ('{}', {value}, 'before');", key(*at)).unwrap();
                }
                home.open(&format!("data/{customer}/{system}/t.sqlite"))
                    .execute_batch(&(sql + "COMMIT"))
                    .unwrap();
            }
            Self::File(format) => {
                let text = if format == "csv" { csv(cases) } else { json_text(format, cases).into() };
                std::fs::write(home.path(&place), text).unwrap();
            }
            Self::Salesforce | Self::Outreach => {}
        }
    }
}

/// The value as SQL; `None` where SQLite has nothing like it.
fn in_sql(sort: Sort, column: &str) -> Option<String> {
    let text = |text: &str| {
        let hex: String = text.bytes().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"));
        format!("CAST(x'{hex}' AS TEXT)")
    };
    Some(match sort {
        Sort::Null => "NULL".to_owned(),
        Sort::Flag(_) => return None,
        Sort::Number(number) if column == "TEXT" => text(number),
        // Where no number of SQLite is this one, people write text.
        Sort::Number(number) if column.is_empty() && number.len() > 24 => text(number),
        Sort::Number(number) => number.to_owned(),
        Sort::Text(plain) | Sort::Nested(plain) => text(plain),
        Sort::Long(bytes) => format!("replace(hex(zeroblob({})), '0', 'x')", bytes / 2),
        Sort::Bytes(bytes) => {
            format!("x'{}'", bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
        }
        Sort::Broken { sql, .. } => sql?.to_owned(),
    })
}

/// The value as JSON; `None` where JSON has nothing like it.
fn in_json(sort: Sort) -> Option<String> {
    Some(match sort {
        Sort::Null => "null".to_owned(),
        Sort::Flag(flag) => flag.to_string(),
        Sort::Number(text) | Sort::Nested(text) => text.to_owned(),
        Sort::Text(text) => serde_json::to_string(text).unwrap(),
        Sort::Long(bytes) => format!("\"{}\"", "x".repeat(bytes)),
        Sort::Bytes(_) => return None,
        Sort::Broken { json, .. } => json?.to_owned(),
    })
}

fn json_text(format: &str, cases: &Cases) -> String {
    let objects: Vec<String> = cases
        .iter()
        .filter_map(|(at, case)| Some((*at, in_json(case.sort)?)))
        .map(|(at, value)| {
            format!("{{\"record_id\": \"{}\", \"v\": {value}, \"note\": \"before\"}}", key(at))
        })
        .collect();
    match format {
        "json" => format!("[\n{}\n]\n", objects.join(",\n")),
        // No bytes at all would be a file that is being written.
        _ if objects.is_empty() => "\n".to_owned(),
        _ => objects.iter().map(|object| format!("{object}\n")).collect(),
    }
}

fn csv(cases: &Cases) -> Vec<u8> {
    let mut text = b"record_id,v,note\n".to_vec();
    for (at, case) in cases {
        let cell = match case.sort {
            Sort::Null => Vec::new(),
            Sort::Flag(flag) => flag.to_string().into_bytes(),
            Sort::Number(text) => text.into(),
            Sort::Text(text) | Sort::Nested(text) => {
                format!("\"{}\"", text.replace('"', "\"\"")).into_bytes()
            }
            Sort::Long(bytes) => "x".repeat(bytes).into_bytes(),
            Sort::Bytes(_) => continue,
            Sort::Broken { csv: Some(bytes), .. } => bytes.to_vec(),
            Sort::Broken { csv: None, .. } => continue,
        };
        text.extend_from_slice(key(*at).as_bytes());
        text.push(b',');
        text.extend_from_slice(&cell);
        text.extend_from_slice(b",before\n");
    }
    text
}

impl Place<'_> {
    fn file(&self) -> std::path::PathBuf {
        let name = match self.end {
            End::Sqlite(_) => "t.sqlite".to_owned(),
            end => end.stream(self.system),
        };
        self.home.path(&format!("data/{}/{}/{name}", self.customer, self.system))
    }

    /// Pushes what a service is to hold, as somebody else's edits.
    pub async fn fill(&self, cases: &Cases) {
        if !self.end.is_remote() {
            return;
        }
        for (at, case) in cases {
            let Some(value) = in_json(case.sort) else { continue };
            let path = format!("/v1/crms/mock/{}/push?customer_id={}", self.end.name(), self.customer);
            let body = format!("{{\"record_id\": \"{}\", \"v\": {value}, \"note\": \"before\"}}", key(*at));
            let request = self.daemon.request("POST", &path).header("content-type", "application/json");
            let answer = self.daemon.send(request.body(body)).await;
            let broken = matches!(case.sort, Sort::Broken { .. });
            assert_eq!(answer.status == 201, !broken, "{}: {answer:?}", case.name);
        }
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
        let conn = Connection::open_with_flags(self.file(), OpenFlags::SQLITE_OPEN_READ_WRITE).unwrap();
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
                let conn = Connection::open(self.file()).unwrap();
                conn.busy_timeout(std::time::Duration::from_secs(10)).unwrap();
                conn.execute("UPDATE t SET note = ?1", [note]).unwrap();
            }
            End::File(_) => {
                let text = std::fs::read(self.file()).unwrap();
                let aside = self.file().with_extension("aside");
                std::fs::write(&aside, replaced(&text, b"before", note.as_bytes())).unwrap();
                std::fs::rename(aside, self.file()).unwrap();
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
