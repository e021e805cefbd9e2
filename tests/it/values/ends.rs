//! The kinds of ends, and how each is configured.

use std::path::PathBuf;

use rusqlite::Connection;

use super::doors::{Entries, Rows, text};
use super::said;
use super::table::Sort;
use crate::scenario::home::Home;

/// One kind of end: a column of SQLite by its declared type, a format of files, a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Sqlite(&'static str),
    File(&'static str),
    Salesforce,
    Outreach,
    ServiceNow,
}

pub const ENDS: [End; 11] = [
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
    End::ServiceNow,
];

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
            Self::ServiceNow => "servicenow",
        }
    }

    pub fn is_remote(self) -> bool {
        matches!(self, Self::Salesforce | Self::Outreach | Self::ServiceNow)
    }

    /// Both ends of a link at one service need streams of their own.
    pub fn stream(self, system: &str) -> String {
        match (self, system) {
            (Self::Sqlite(_), _) => "t".to_owned(),
            (Self::File(format), _) => format!("t.{format}"),
            (Self::Salesforce, "a") => "Contact".to_owned(),
            (Self::Salesforce, _) => "Lead".to_owned(),
            (Self::Outreach, "a") => "prospects".to_owned(),
            (Self::Outreach, _) => "accounts".to_owned(),
            (Self::ServiceNow, "a") => "incident".to_owned(),
            (Self::ServiceNow, _) => "problem".to_owned(),
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
            Self::ServiceNow => {
                "connector = \"servicenow\"\nbase_url = \"mock\"\noverlap_seconds = 1".to_owned()
            }
        };
        format!("[{customer}.systems.{system}]\n{connector}\n\n")
    }

    /// The end of a link in the configuration.
    pub fn entry(self, system: &str) -> String {
        format!("{{ system = \"{system}\", stream = \"{}\", key = \"record_id\" }}", self.stream(system))
    }

    /// Where the data of an end on this machine is.
    pub fn file(self, home: &Home, customer: &str, system: &str) -> PathBuf {
        let name = match self {
            Self::Sqlite(_) => "t.sqlite".to_owned(),
            end => end.stream(system),
        };
        home.path(&format!("data/{customer}/{system}/{name}"))
    }

    /// Makes an empty table or file; a service needs nothing made.
    pub fn make(self, home: &Home, customer: &str, system: &str) {
        let file = self.file(home, customer, system);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        match self {
            Self::Sqlite(column) => {
                let table = format!("CREATE TABLE t (record_id TEXT PRIMARY KEY, v {column}, note TEXT)");
                let conn = Connection::open(file).unwrap();
                conn.execute_batch(&format!("PRAGMA journal_mode = wal; {table}")).unwrap();
            }
            Self::File(format) => std::fs::write(file, text(format, &Entries::new(), &Rows::new())).unwrap(),
            Self::Salesforce | Self::Outreach | Self::ServiceNow => {}
        }
    }

    /// Tells whether an end of this kind has a way to hold a value at all.
    pub fn can_say(self, sort: Sort) -> bool {
        match self {
            Self::Sqlite(column) => said::in_sql(sort, column).is_some(),
            Self::File("csv") => said::in_csv(sort).is_some(),
            Self::File(_) => said::in_json(sort).is_some(),
            // A service takes nothing that is no JSON.
            Self::Salesforce | Self::Outreach | Self::ServiceNow => {
                said::in_json(sort).is_some() && !matches!(sort, Sort::Broken { .. })
            }
        }
    }
}
