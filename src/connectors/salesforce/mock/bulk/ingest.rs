//! `/jobs/ingest`: jobs that change records.

use serde_json::Value as Json;

use super::form::Form;
use super::load::Load;
use super::results::{Which, results};
use super::{State, Work, invalid_job, invalid_value, not_ready};
use crate::connectors::mock::Reply;
use crate::connectors::salesforce::mock::Visit;
use crate::connectors::salesforce::mock::errors::ApiError;
use crate::connectors::salesforce::mock::sobjects::external_id;
use crate::engine::record::Value;

/// Bytes of an upload: 150 MB once it is base64.
const UPLOAD_MAX: usize = 150_000_000 / 4 * 3;

const OPERATIONS: [&str; 5] = ["insert", "update", "upsert", "delete", "hardDelete"];

impl Visit<'_> {
    pub(super) fn ingest(&mut self, rest: &[&str]) -> Result<Reply, ApiError> {
        match (self.request.method.as_str(), rest) {
            ("POST", []) => self.open_load(),
            ("GET", []) => Ok(self.list_jobs(true)),
            ("GET", [id]) => self.show_job(id, true),
            ("PATCH", [id]) => self.change_job(id, true),
            ("DELETE", [id]) => self.delete_job(id, true),
            ("PUT", [id, "batches"]) => self.upload(id),
            ("GET", [id, "successfulResults"]) => self.results_of(id, Which::Successful),
            ("GET", [id, "failedResults"]) => self.results_of(id, Which::Failed),
            ("GET", [id, "unprocessedrecords" | "unprocessedRecords"]) => {
                self.results_of(id, Which::Unprocessed)
            }
            (_, []) => Err(ApiError::method("GET,POST")),
            (_, [_]) => Err(ApiError::method("GET,PATCH,DELETE")),
            (_, [_, "batches"]) => Err(ApiError::method("PUT")),
            _ => Err(ApiError::not_found()),
        }
    }

    fn open_load(&mut self) -> Result<Reply, ApiError> {
        let members = self.members()?;
        let text = |name: &str| members.get(name).and_then(Json::as_str).unwrap_or_default();
        let asked = text("operation");
        let operation = OPERATIONS.into_iter().find(|known| *known == asked);
        let operation = operation.ok_or_else(|| invalid_value(asked, "operation"))?;
        let form = Form::read(&members)?;
        let name = text("object");
        let unknown = || invalid_job(&format!("Unable to find object: {name}"));
        let mut object = self.object(name).ok_or_else(unknown)?;
        let external = match (operation, members.get("externalIdFieldName").and_then(Json::as_str)) {
            ("upsert", None) => {
                let name = &object.name;
                let message =
                    format!("External ID was blank for {name}. An External ID must be specified for upsert.");
                return Err(invalid_job(&message));
            }
            ("upsert", Some(field)) if field.eq_ignore_ascii_case("Id") => Some("Id".to_owned()),
            ("upsert", Some(field)) => match external_id(&mut object, self, field, &Value::Null) {
                Ok(found) => Some(found.name),
                Err(_) => {
                    let name = &object.name;
                    let message =
                        format!("Field name provided, {field} does not match an External ID for {name}");
                    return Err(invalid_job(&message));
                }
            },
            _ => None,
        };
        let work = Work::Load(Load::new(external));
        let shown = self.open_job(object.name, operation, form, work);
        Ok(Reply::json(200, shown.to_string()))
    }

    fn upload(&mut self, id: &str) -> Result<Reply, ApiError> {
        let kind = self.request.header("content-type").unwrap_or_default();
        if !kind.to_ascii_lowercase().starts_with("text/csv") {
            let message = "content-type of an upload has to be text/csv";
            return Err(ApiError::new(415, "UNSUPPORTED_MEDIA_TYPE", message));
        }
        let body = &self.request.body;
        if body.len() > UPLOAD_MAX {
            let message = "The content of a job is limited to 150 MB of base64";
            return Err(ApiError::new(413, "REQUEST_ENTITY_TOO_LARGE", message));
        }
        let rows = self.with_job(id, true, |job| {
            let Work::Load(load) = &mut job.work else { return Err(ApiError::not_found()) };
            if load.data.is_some() {
                let short = job.id.get(..15).unwrap_or_default();
                // The spelling is the real service's.
                let message = format!(
                    "Found multipe contents for job: <{short}>, please 'Close' / 'Abort' / 'Delete' the current Job then create a new Job and make sure you only do 'PUT' once on a given Job."
                );
                return Err(ApiError::new(400, "BULK_API_ERROR", message));
            }
            if job.state != State::Open {
                let message = format!("Uploading to a Job in state {:?} not allowed", job.state);
                return Err(ApiError::new(400, "INVALIDJOBSTATE", message));
            }
            load.data = Some(body.clone());
            // For the log of arrivals only: what can't be read fails later, with the job.
            Ok(job.form.reader(body).byte_records().count().saturating_sub(1))
        })?;
        self.luck.records = rows;
        Ok(Reply::empty(201))
    }

    fn results_of(&mut self, id: &str, which: Which) -> Result<Reply, ApiError> {
        let seed = self.org.seed;
        self.with_job(id, true, |job| {
            if !job.state.is_over() {
                return Err(not_ready(job.state));
            }
            let Work::Load(load) = &job.work else { return Err(ApiError::not_found()) };
            let body = results(load, job.form, which, seed)
                .map_err(|error| ApiError::new(500, "UNKNOWN_EXCEPTION", error.to_string()))?;
            let headers = vec![("content-type".to_owned(), "text/csv".to_owned())];
            Ok(Reply { status: 200, headers, body, ..Reply::default() })
        })
    }
}
