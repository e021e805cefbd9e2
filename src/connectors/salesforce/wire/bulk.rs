//! Bulk API 2.0: jobs, the CSV that goes in and comes out, and what became of each row.

use std::collections::HashMap;

use csv::{ReaderBuilder, StringRecord, Terminator, Writer, WriterBuilder};
use serde::Deserialize;

use super::classify::Refusal;
use super::describe::Kind;
use super::save::{SaveItem, flag_of};
use crate::engine::record::{Number, Value};

/// Clears a field; an empty cell leaves it alone.
const CLEARS: &str = "#N/A";

/// What a job says of itself.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct JobInfo {
    pub id: String,
    pub state: String,
    pub object: String,
    pub created_by_id: String,
    pub error_message: Option<String>,
    pub number_records_processed: u64,
    pub number_records_failed: u64,
}

impl JobInfo {
    /// Reads a reply that tells of one job.
    pub fn decode(body: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(body)
    }

    /// Reads a page of a list of jobs, with where the next one is: below the API's root.
    pub fn decode_list(body: &[u8]) -> Result<(Vec<Self>, Option<String>), serde_json::Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct List {
            records: Vec<JobInfo>,
            done: Option<bool>,
            next_records_url: Option<String>,
        }
        let list: List = serde_json::from_slice(body)?;
        let next = list.next_records_url.filter(|_| list.done != Some(true));
        match next.as_deref().map(|next| next.find("/jobs/").and_then(|at| next.get(at + 1..))) {
            Some(Some(path)) => Ok((list.records, Some(path.to_owned()))),
            None if list.done != Some(false) => Ok((list.records, None)),
            // A list that is cut short would hide jobs.
            _ => Err(serde::de::Error::custom("the list goes on, and does not say where")),
        }
    }

    /// Tells whether nothing will change any more.
    pub fn is_over(&self) -> bool {
        matches!(self.state.as_str(), "JobComplete" | "Failed" | "Aborted")
    }

    /// Tells whether it waits to be begun.
    pub fn is_open(&self) -> bool {
        self.state == "Open"
    }

    /// Tells whether it may be writing at this moment.
    pub fn is_at_work(&self) -> bool {
        matches!(self.state.as_str(), "UploadComplete" | "InProgress")
    }
}

/// Writes what opens a job that takes rows in.
pub fn ingest_body(object: &str, operation: &str, external_id: Option<&str>) -> String {
    let mut body = serde_json::json!({
        "object": object, "operation": operation, "contentType": "CSV", "lineEnding": "LF",
        "columnDelimiter": "COMMA",
    });
    if let (Some(field), Some(members)) = (external_id, body.as_object_mut()) {
        members.insert("externalIdFieldName".to_owned(), field.into());
    }
    body.to_string()
}

/// Writes what opens a job that gives live rows out.
pub fn query_body(soql: &str) -> String {
    serde_json::json!({ "operation": "query", "query": soql, "lineEnding": "LF", "columnDelimiter": "COMMA" })
        .to_string()
}

/// Writes a value as a cell; `None` where CSV can't say it. Text that is the very word for clearing is one such.
pub fn cell(kind: Option<Kind>, value: &Value) -> Option<String> {
    let flag = |value: &Value| match value {
        Value::Bool(flag) => Some(flag.to_string()),
        _ => None,
    };
    match (kind, value) {
        (_, Value::Absent | Value::Unknown) => Some(String::new()),
        (_, Value::Null) => Some(CLEARS.to_owned()),
        // The service trims, and holds no empty texts: by JSON they clear as well.
        (_, Value::Text(text)) if text.as_str().trim().is_empty() => Some(CLEARS.to_owned()),
        // Nor what it might take for the word once it is trimmed.
        (_, Value::Text(text)) if text.as_str().trim().eq_ignore_ascii_case(CLEARS) => None,
        (_, Value::Text(text)) if text.as_str().contains('\0') => None,
        (Some(Kind::Boolean), value) => {
            flag(value).or_else(|| flag(&flag_of(value)?)).or_else(|| plain(value))
        }
        (_, value) => plain(value),
    }
}

fn plain(value: &Value) -> Option<String> {
    value.to_plain().map(String::from)
}

/// A header and rows on their way out.
pub struct Csv {
    writer: Writer<Vec<u8>>,
    /// Bytes so far, at most.
    len: usize,
}

impl Csv {
    /// Begins with the header.
    pub fn new<'n>(names: impl Iterator<Item = &'n str> + Clone) -> Result<Self, csv::Error> {
        let writer = WriterBuilder::new().terminator(Terminator::Any(b'\n')).from_writer(Vec::new());
        let mut csv = Self { writer, len: 0 };
        csv.push(names)?;
        Ok(csv)
    }

    /// Adds a row.
    pub fn push<C: AsRef<str>>(&mut self, row: impl Iterator<Item = C> + Clone) -> Result<(), csv::Error> {
        self.len += Self::row_len(row.clone());
        self.writer.write_record(row.map(|cell| cell.as_ref().as_bytes().to_vec()))
    }

    /// Counts the bytes that a row takes: every cell in quotes, and those in it doubled.
    pub fn row_len<C: AsRef<str>>(row: impl Iterator<Item = C>) -> usize {
        let quotes = |text: &str| text.bytes().filter(|byte| *byte == b'"').count();
        row.map(|cell| cell.as_ref().len() + quotes(cell.as_ref()) + 3).sum()
    }

    /// Tells how many bytes it has at most.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Ends it.
    pub fn into_text(self) -> Result<String, csv::Error> {
        let bytes = self.writer.into_inner().map_err(|error| csv::Error::from(error.into_error()))?;
        String::from_utf8(bytes).map_err(|error| std::io::Error::other(error).into())
    }
}

/// What became of the rows of a job, by what stands in their column.
#[derive(Default)]
pub struct Told(HashMap<String, SaveItem>);

impl Told {
    /// Learns of rows that were saved, or of rows that were refused: both come under their own heads, followed by
    /// the columns as they were sent, in no order.
    pub fn learn(&mut self, body: &[u8], column: &str) -> Result<(), csv::Error> {
        let mut reader = ReaderBuilder::new().flexible(true).from_reader(body);
        let heads = reader.headers()?.clone();
        let place = |name: &str| heads.iter().position(|head| head.eq_ignore_ascii_case(name));
        // Ours may be called as theirs are; theirs come first.
        let ours = heads.iter().enumerate().skip(2).find(|(_, head)| head.eq_ignore_ascii_case(column));
        let (id, error, ours) = (place("sf__Id"), place("sf__Error"), ours.map(|(at, _)| at));
        let text = |row: &StringRecord, at: Option<usize>| at.and_then(|at| row.get(at)).map(str::to_owned);
        for row in reader.records() {
            let row = row?;
            let Some(key) = text(&row, ours) else { continue };
            let errors: Vec<Refusal> = text(&row, error).as_deref().map(refusal).into_iter().collect();
            let id = text(&row, id).filter(|id| !id.is_empty());
            self.0.insert(key, SaveItem { id, success: errors.is_empty(), errors });
        }
        Ok(())
    }

    /// Hands out what is known of the row with this text in its column.
    pub fn take(&mut self, key: &str) -> Option<SaveItem> {
        self.0.remove(key)
    }
}

/// Reads `CODE:message:Field1,Field2 --`.
fn refusal(text: &str) -> Refusal {
    let (code, rest) = text.split_once(':').unwrap_or((text, ""));
    let (message, fields) = rest.rsplit_once(':').unwrap_or((rest, ""));
    let fields = fields.trim().trim_end_matches("--").trim();
    let fields = fields.split(',').map(str::trim).filter(|field| !field.is_empty()).map(str::to_owned);
    Refusal { code: code.trim().to_owned(), message: message.to_owned(), fields: fields.collect() }
}

/// Turns a cell of a result into the value that JSON gives for it.
pub fn value_of(kind: Option<Kind>, text: &str) -> Value {
    if text.is_empty() {
        return Value::Null;
    }
    match kind {
        Some(Kind::Boolean) => match text {
            "true" => Value::Bool(true),
            "false" => Value::Bool(false),
            other => Value::text(other),
        },
        Some(Kind::Number) => Number::parse(text).unwrap_or_else(|| Value::text(text)),
        // Here moments end in Z, there in an offset.
        Some(Kind::DateTime) => match text.strip_suffix('Z') {
            Some(moment) => Value::text(format!("{moment}+0000")),
            None => Value::text(text),
        },
        _ => Value::text(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_says_what_json_would() {
        // (kind, value, cell, why)
        let cases = [
            (Some(Kind::Text), Value::text("a"), Some("a"), "text"),
            (Some(Kind::Text), Value::Absent, Some(""), "left alone"),
            (Some(Kind::Text), Value::Null, Some("#N/A"), "cleared"),
            (Some(Kind::Text), Value::text(""), Some("#N/A"), "the service knows no empty text"),
            (Some(Kind::Text), Value::text(" \t\n"), Some("#N/A"), "nothing is left once it is trimmed"),
            (Some(Kind::Text), Value::text(" a "), Some(" a "), "and here something is"),
            (Some(Kind::Text), Value::text("#N/A"), None, "nobody could tell it from clearing"),
            (Some(Kind::Text), Value::text(" #n/a "), None, "nor this, once it is trimmed"),
            (Some(Kind::Text), Value::text("a\0"), None, "and this ends a text for many a reader"),
            (Some(Kind::Text), Value::Int(7), Some("7"), "a number as text"),
            (Some(Kind::Boolean), Value::Int(1), Some("true"), "SQLite has no flags"),
            (Some(Kind::Boolean), Value::Bool(false), Some("false"), "a flag"),
            (Some(Kind::Boolean), Value::text("maybe"), Some("maybe"), "will be refused"),
            (Some(Kind::Number), Value::text("1.50"), Some("1.50"), "every digit"),
        ];
        for (kind, value, cell_text, why) in cases {
            assert_eq!(cell(kind, &value).as_deref(), cell_text, "{why}");
        }
    }

    #[test]
    fn a_result_reads_as_json_would() {
        // (kind, text, value, why)
        let cases = [
            (Kind::Text, "", Value::Null, "empty is null"),
            (Kind::Text, "true", Value::text("true"), "text stays text"),
            (Kind::Boolean, "true", Value::Bool(true), "a flag"),
            (
                Kind::Number,
                "12345678901234567890.12",
                Number::parse("12345678901234567890.12").unwrap(),
                "digits",
            ),
            (
                Kind::DateTime,
                "2024-09-09T20:41:31.000Z",
                Value::text("2024-09-09T20:41:31.000+0000"),
                "as a page has it",
            ),
            (Kind::Date, "2024-09-09", Value::text("2024-09-09"), "a day"),
        ];
        for (kind, text, value, why) in cases {
            assert_eq!(value_of(Some(kind), text), value, "{why}");
        }
    }

    #[test]
    fn rows_are_known_by_their_own_column() {
        let mut told = Told::default();
        let saved = b"\"sf__Id\",\"sf__Created\",\"Ext__c\",\"Name\"\n\"003B\",\"true\",\"k2\",\"b, c\"\n\"003A\",\"false\",\"k1\",\"line\nbreak\"\n";
        told.learn(saved, "ext__c").expect("CSV");
        let failed = b"\"sf__Id\",\"sf__Error\",\"Ext__c\",\"Name\"\n\"\",\"REQUIRED_FIELD_MISSING:Required fields are missing: [LastName]:LastName --\",\"k3\",\"\"\n\"\",\"UNABLE_TO_LOCK_ROW:unable to obtain: 1:--\",\"k4\",\"\"\n";
        told.learn(failed, "Ext__c").expect("CSV");
        assert_eq!(told.take("k1").and_then(|item| item.id).as_deref(), Some("003A"), "whatever the order");
        let item = told.take("k3").expect("told");
        assert!(!item.success && item.id.is_none());
        let refusal = item.errors.first().expect("an error");
        assert_eq!(refusal.code, "REQUIRED_FIELD_MISSING");
        assert_eq!(refusal.message, "Required fields are missing: [LastName]");
        assert_eq!(refusal.fields, ["LastName"]);
        assert!(told.take("k4").expect("told").errors.first().expect("an error").fields.is_empty());
        assert!(told.take("k5").is_none(), "nothing was said of it");
    }

    #[test]
    fn a_list_of_jobs_says_where_it_goes_on() {
        let next = r#""nextRecordsUrl":"/services/data/v61.0/jobs/ingest?queryLocator=01gA""#;
        // (members, next page, why)
        let cases = [
            (r#""done":true,"nextRecordsUrl":null"#.to_owned(), Ok(None), "all of it"),
            (String::from(r#""done":true"#), Ok(None), "all of it"),
            (format!(r#""done":false,{next}"#), Ok(Some("jobs/ingest?queryLocator=01gA")), "there is more"),
            (
                r#""done":false,"nextRecordsUrl":null"#.to_owned(),
                Err(()),
                "there is more, and nobody says where",
            ),
            (r#""done":false,"nextRecordsUrl":"/else""#.to_owned(), Err(()), "that is no list of jobs"),
        ];
        for (members, expected, why) in cases {
            let body = format!(r#"{{{members},"records":[{{"id":"750A","state":"Open"}}]}}"#);
            let listed = JobInfo::decode_list(body.as_bytes());
            let next = listed.as_ref().map(|(_, next)| next.as_deref()).map_err(|_| ());
            assert_eq!(next, expected, "{why}");
            assert!(listed.is_ok_and(|(jobs, _)| jobs.len() == 1 && jobs[0].is_open()) == expected.is_ok());
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        let mut csv = Csv::new(["Ext__c", "Name"].into_iter()).expect("CSV");
        csv.push(["k,1", "say \"hi\"\nand go"].iter()).expect("a row");
        let most = csv.len();
        let text = csv.into_text().expect("CSV");
        assert_eq!(text, "Ext__c,Name\n\"k,1\",\"say \"\"hi\"\"\nand go\"\n");
        assert!(text.len() <= most, "{most}");
    }
}
