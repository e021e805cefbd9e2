//! `/jobs/query`: jobs that read.

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use serde_json::Value as Json;

use super::form::Form;
use super::results::shuffled;
use super::{Job, QUERY_JOBS_MAX, State, Work, invalid_value, not_ready};
use crate::connectors::mock::{Object, Reply, Table};
use crate::connectors::salesforce::mock::errors::ApiError;
use crate::connectors::salesforce::mock::found::{candidates, found_rows};
use crate::connectors::salesforce::mock::objects::Kind;
use crate::connectors::salesforce::mock::soql::{self, Column, Query, Select};
use crate::connectors::salesforce::mock::{Visit, lock};
use crate::engine::record::Value;

/// Rows of a page where nobody asks for less: clients exist that fail on a second page.
const PAGE_DEFAULT: usize = 1_000_000;

/// What a job reads, and what it found.
pub(super) struct Extract {
    query: Query,
    /// CSV: the header, then the rows.
    body: Vec<u8>,
    header: usize,
    /// Where each row ends.
    ends: Vec<usize>,
}

impl Extract {
    pub fn count(&self) -> usize {
        self.ends.len()
    }

    pub fn bytes(&self) -> usize {
        self.body.len()
    }
}

impl Visit<'_> {
    pub(super) fn query_jobs(&mut self, rest: &[&str]) -> Result<Reply, ApiError> {
        match (self.request.method.as_str(), rest) {
            ("POST", []) => self.open_extract(),
            ("GET", []) => Ok(self.list_jobs(false)),
            ("GET", [id]) => self.show_job(id, false),
            ("PATCH", [id]) => self.change_job(id, false),
            ("DELETE", [id]) => self.delete_job(id, false),
            ("GET", [id, "results"]) => self.page_of_results(id),
            (_, []) => Err(ApiError::method("GET,POST")),
            (_, [_]) => Err(ApiError::method("GET,PATCH,DELETE")),
            _ => Err(ApiError::not_found()),
        }
    }

    fn open_extract(&mut self) -> Result<Reply, ApiError> {
        if self.version < 47 {
            return Err(ApiError::not_found());
        }
        let members = self.members()?;
        let text = |name: &str| members.get(name).and_then(Json::as_str).unwrap_or_default();
        let asked = text("operation");
        let operation = ["query", "queryAll"].into_iter().find(|known| *known == asked);
        let operation = operation.ok_or_else(|| invalid_value(asked, "operation"))?;
        let form = Form::read(&members)?;
        let query = soql::parse(text("query"))?;
        let object = self.object(&query.from).ok_or_else(|| ApiError::unknown_object(&query.from))?;
        if matches!(query.select, Select::Count | Select::CountOf(..)) {
            let message = "Aggregate Relationship not supported in Bulk Query";
            return Err(ApiError::new(400, "FUNCTIONALITY_NOT_ENABLED", message));
        }
        if query.offset > 0 {
            let message = "Offset is not supported in Bulk Query";
            return Err(ApiError::new(400, "API_ERROR", message));
        }
        soql::plan(&query, &object, self.table, self.now)?;
        {
            let mut jobs = lock(&self.org.jobs);
            if jobs.queries >= QUERY_JOBS_MAX {
                let message = "ExceededQuota : DailyBulkV2QueryJobs Limit exceeded.";
                return Err(ApiError::new(400, "EXCEEDEDQUOTA", message));
            }
            jobs.queries += 1;
        }
        let work = Work::Extract(Extract { query, body: Vec::new(), header: 0, ends: Vec::new() });
        let shown = self.open_job(object.name, operation, form, work);
        Ok(Reply::json(200, shown.to_string()))
    }

    /// Reads all that the query finds, as it stands now, and keeps it.
    pub(super) fn extract(&mut self, job: &mut Job) {
        let (form, with_deleted) = (job.form, job.operation == "queryAll");
        let object = self.object(&job.object);
        let Work::Extract(extract) = &mut job.work else { return };
        let read = object.ok_or_else(ApiError::not_found).and_then(|object| {
            let query = &extract.query;
            let plan = soql::plan(query, &object, self.table, self.now)?;
            let candidates = candidates(self.table, &object, &plan);
            let mut found = found_rows(self.table, &object, &plan, query, with_deleted, &candidates);
            if !plan.is_ordered() {
                let mut numbered: Vec<_> = found.into_iter().enumerate().collect();
                numbered.sort_by_key(|(number, _)| shuffled(self.org.seed, *number));
                found = numbered.into_iter().map(|(_, row)| row).collect();
            }
            let rows = found.into_iter().map(|(_, row)| row);
            written(form, self.table, &plan.columns, rows)
                .map_err(|error| ApiError::new(500, "UNKNOWN_EXCEPTION", error.to_string()))
        });
        match read {
            Ok((body, header, ends)) => {
                (extract.body, extract.header, extract.ends) = (body, header, ends);
                job.state = State::JobComplete;
            }
            Err(error) => {
                job.fail(format!(
                    "InvalidBatch : Failed to process query: {}: {}",
                    error.code, error.message
                ));
            }
        }
    }

    fn page_of_results(&mut self, id: &str) -> Result<Reply, ApiError> {
        let asked = self.request.query_value("maxRecords");
        let rows_max = match asked.as_deref().map(|text| (text, text.parse::<usize>())) {
            None => PAGE_DEFAULT,
            Some((_, Ok(number))) if number > 0 => number,
            Some((text, _)) => return Err(invalid_value(text, "maxRecords")),
        };
        let locator = self.request.query_value("locator");
        self.with_job(id, false, |job| {
            if job.state != State::JobComplete {
                return Err(not_ready(job.state));
            }
            let Work::Extract(extract) = &job.work else { return Err(ApiError::not_found()) };
            let from = match locator {
                None => 0,
                Some(text) => offset(&text)
                    .filter(|from| *from < extract.count())
                    .ok_or_else(|| ApiError::new(400, "INVALID_QUERY_LOCATOR", "invalid query locator"))?,
            };
            let until = from.saturating_add(rows_max).min(extract.count());
            let end_of = |rows: usize| match rows {
                0 => extract.header,
                rows => extract.ends.get(rows - 1).copied().unwrap_or(extract.header),
            };
            let part = |range: std::ops::Range<usize>| extract.body.get(range).unwrap_or_default();
            let body = [part(0..extract.header), part(end_of(from)..end_of(until))].concat();
            let next = match until == extract.count() {
                // The word, not an absent header.
                true => "null".to_owned(),
                false => BASE64.encode(until.to_string()),
            };
            let headers = vec![("content-type".to_owned(), "text/csv".to_owned())];
            Ok(Reply { status: 200, headers, body, ..Reply::default() }
                .with_header("sforce-numberofrecords", (until - from).to_string())
                .with_header("sforce-locator", next))
        })
    }
}

fn offset(locator: &str) -> Option<usize> {
    let text = BASE64.decode(locator.trim_end_matches('=')).ok()?;
    std::str::from_utf8(&text).ok()?.parse().ok()
}

/// Writes header and rows; gives the length of the header and where each row ends.
fn written<'r>(
    form: Form,
    table: &'r Table,
    columns: &[Column],
    rows: impl Iterator<Item = &'r Object>,
) -> csv::Result<(Vec<u8>, usize, Vec<usize>)> {
    let mut writer = form.writer();
    writer.write_record(columns.iter().map(Column::label))?;
    writer.flush()?;
    let header = writer.get_ref().len();
    let mut ends = Vec::new();
    for row in rows {
        let cells = columns.iter().map(|column| cell(column, &column.value(row, table)));
        writer.write_record(cells)?;
        writer.flush()?;
        ends.push(writer.get_ref().len());
    }
    let body = writer.into_inner().map_err(|error| csv::Error::from(error.into_error()))?;
    Ok((body, header, ends))
}

fn cell(column: &Column, value: &Value) -> String {
    let text = String::from(value.to_plain().unwrap_or_default());
    match (column.field.as_ref().map(|field| field.kind), text.strip_suffix("+0000")) {
        // In CSV moments end in Z.
        (Some(Kind::Datetime), Some(moment)) => format!("{moment}Z"),
        _ => text,
    }
}
