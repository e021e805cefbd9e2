//! Bulk API 2.0: jobs that take CSV in or give it out, and work while the client waits.
//!
//! A job works in steps. Each step takes [`STEP_MS`] of the mock's time, and every look at the job
//! is a step as well, so that a test whose clock stands still sees the job end after a few looks.

mod extract;
mod form;
mod ingest;
mod load;
mod results;

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};

use super::errors::ApiError;
use super::{Visit, ids, lock};
use crate::connectors::mock::Reply;
use crate::connectors::salesforce::wire::format_datetime;
use crate::engine::record::Timestamp;
use extract::Extract;
use form::Form;
use load::Load;

/// Milliseconds that one step takes.
const STEP_MS: i64 = 100;
/// Rows that a job takes in by one step: the batches of the real service.
const BATCH_ROWS: usize = 10_000;
/// Jobs that are remembered; the oldest that are over go first.
const JOBS_MAX: usize = 1_000;
/// Jobs on a page of their list.
const LIST_MAX: usize = 100;
/// Bytes that the jobs may hold together, uploads and results; the oldest that are over go first.
const JOBS_BYTES_MAX: usize = 1 << 30;
/// Batches of a day, shared with the older bulk API.
pub(super) const BATCHES_MAX: u64 = 15_000;
/// Query jobs of a day.
pub(super) const QUERY_JOBS_MAX: u64 = 10_000;

/// The jobs of an org.
#[derive(Default)]
pub(super) struct Jobs {
    all: BTreeMap<String, Job>,
    serial: u64,
    /// Batches that were worked on, and query jobs that were made.
    pub batches: u64,
    pub queries: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    UploadComplete,
    InProgress,
    JobComplete,
    Failed,
    Aborted,
}

impl State {
    fn is_over(self) -> bool {
        matches!(self, Self::JobComplete | Self::Failed | Self::Aborted)
    }
}

struct Job {
    id: String,
    object: String,
    operation: &'static str,
    form: Form,
    version: u32,
    user: String,
    created: Timestamp,
    changed: Timestamp,
    /// Up to when time has been turned into steps.
    paced: Timestamp,
    steps: i64,
    state: State,
    /// Why the job failed as a whole.
    message: Option<String>,
    work: Work,
}

enum Work {
    Load(Load),
    Extract(Extract),
}

impl Job {
    /// Writes what is known of the job; `whole` adds what a look at it gives.
    fn shown(&self, whole: bool) -> Json {
        let mut shown = json!({
            "id": self.id, "operation": self.operation, "object": self.object, "createdById": self.user,
            "createdDate": format_datetime(self.created), "systemModstamp": format_datetime(self.changed),
            "state": format!("{:?}", self.state), "concurrencyMode": "Parallel", "contentType": "CSV",
            "apiVersion": f64::from(self.version), "lineEnding": self.form.line_ending(),
            "columnDelimiter": self.form.delimiter_name(),
        });
        let mut add = |name: &str, value: Json| {
            if let Some(members) = shown.as_object_mut() {
                members.insert(name.to_owned(), value);
            }
        };
        let spent = self.steps.saturating_mul(STEP_MS);
        match &self.work {
            Work::Load(load) => {
                if let Some(field) = &load.external_id {
                    add("externalIdFieldName", json!(field));
                }
                if self.state == State::Open {
                    let version = self.version;
                    let place = format!("services/data/v{version}.0/jobs/ingest/{}/batches", self.id);
                    add("contentUrl", json!(place));
                }
                if whole {
                    add("jobType", json!("V2Ingest"));
                    add("apiActiveProcessingTime", json!(spent));
                    add("apexProcessingTime", json!(0));
                    add("numberRecordsFailed", json!(load.failed()));
                    add("numberRecordsProcessed", json!(load.done.len()));
                }
            }
            Work::Extract(extract) if whole => {
                add("jobType", json!("V2Query"));
                add("numberRecordsProcessed", json!(extract.count()));
                add("isPkChunkingSupported", json!(true));
            }
            Work::Extract(_) => {}
        }
        if whole {
            add("retries", json!(0));
            add("totalProcessingTime", json!(spent));
            if let Some(message) = &self.message {
                add("errorMessage", json!(message));
            }
        }
        shown
    }

    /// Counts what the job holds.
    fn bytes(&self) -> usize {
        match &self.work {
            Work::Load(load) => load.data().len(),
            Work::Extract(extract) => extract.bytes(),
        }
    }

    fn fail(&mut self, message: String) {
        self.state = State::Failed;
        self.message = Some(message);
    }

    /// Turns the time that has passed into steps.
    fn steps_until(&mut self, now: Timestamp) -> i64 {
        let steps = now.0.saturating_sub(self.paced.0).max(0) / STEP_MS;
        self.paced = Timestamp(self.paced.0.saturating_add(steps * STEP_MS));
        steps
    }
}

impl Jobs {
    /// Takes a new job in; gives its id.
    fn insert(&mut self, mut job: Job) -> String {
        self.serial += 1;
        job.id = ids::make("750", self.serial);
        let mut held: usize = self.all.values().map(Job::bytes).sum();
        while self.all.len() >= JOBS_MAX || held > JOBS_BYTES_MAX {
            // Ids sort in the order in which they were made.
            let oldest = self.all.values().find(|job| job.state.is_over()).map(|job| job.id.clone());
            let Some(gone) = oldest.and_then(|oldest| self.all.remove(&oldest)) else { break };
            held -= gone.bytes();
        }
        let id = job.id.clone();
        self.all.insert(id.clone(), job);
        id
    }
}

impl Visit<'_> {
    /// Answers below `/jobs`.
    pub(super) fn jobs(&mut self, rest: &[&str]) -> Result<Reply, ApiError> {
        match rest {
            ["ingest", rest @ ..] => self.ingest(rest),
            ["query", rest @ ..] => self.query_jobs(rest),
            _ => Err(ApiError::not_found()),
        }
    }

    /// Lets the jobs work by the time that has passed.
    pub(super) fn work_on_jobs(&mut self) {
        let busy = |job: &&mut Job| matches!(job.state, State::UploadComplete | State::InProgress);
        let now = self.now;
        let due: Vec<(String, i64)> = lock(&self.org.jobs)
            .all
            .values_mut()
            .filter(busy)
            .map(|job| (job.id.clone(), job.steps_until(now)))
            .filter(|(_, steps)| *steps > 0)
            .collect();
        for (id, steps) in due {
            self.work(&id, steps);
        }
    }

    /// Lets a job go on by some steps.
    fn work(&mut self, id: &str, steps: i64) {
        if self.luck.jobs_stand() {
            return;
        }
        // Taken out while it works: what it does needs the visit as a whole.
        let Some(mut job) = lock(&self.org.jobs).all.remove(id) else { return };
        for _ in 0..steps {
            if job.state.is_over() || job.state == State::Open {
                break;
            }
            job.steps += 1;
            job.changed = self.now;
            let begins = job.state == State::UploadComplete;
            job.state = State::InProgress;
            match (&job.work, begins) {
                (Work::Load(_), true) => self.begin_load(&mut job),
                (Work::Load(_), false) => self.go_on_loading(&mut job),
                (Work::Extract(_), true) => {}
                (Work::Extract(_), false) => self.extract(&mut job),
            }
        }
        lock(&self.org.jobs).all.insert(job.id.clone(), job);
    }

    /// Works with a job of the kind that the path names.
    fn with_job<T>(
        &self,
        id: &str,
        loads: bool,
        work: impl FnOnce(&mut Job) -> Result<T, ApiError>,
    ) -> Result<T, ApiError> {
        let id = ids::long(id).ok_or_else(ApiError::not_found)?;
        let mut jobs = lock(&self.org.jobs);
        let job = jobs.all.get_mut(&id).filter(|job| matches!(job.work, Work::Load(_)) == loads);
        work(job.ok_or_else(ApiError::not_found)?)
    }

    /// Answers `GET /jobs/{kind}/{id}`: a look that lets the job go on.
    fn show_job(&mut self, id: &str, loads: bool) -> Result<Reply, ApiError> {
        let id = self.with_job(id, loads, |job| Ok(job.id.clone()))?;
        self.work(&id, 1);
        self.with_job(&id, loads, |job| Ok(Reply::json(200, job.shown(true).to_string())))
    }

    /// Answers `GET /jobs/{kind}`: a page of the list, which begins behind the job that its locator names.
    fn list_jobs(&self, loads: bool) -> Reply {
        let behind = self.request.query_value("queryLocator").unwrap_or_default();
        let jobs = lock(&self.org.jobs);
        let of_kind = |job: &&Job| matches!(job.work, Work::Load(_)) == loads && job.id > behind;
        let mut listed: Vec<&Job> = jobs.all.values().filter(of_kind).take(LIST_MAX + 1).collect();
        let is_done = listed.len() <= LIST_MAX;
        listed.truncate(LIST_MAX);
        let kind = if loads { "ingest" } else { "query" };
        let next = listed.last().filter(|_| !is_done);
        let next = next.map(|last| format!("{}/jobs/{kind}?queryLocator={}", self.root(), last.id));
        let records: Vec<Json> = listed.into_iter().map(|job| job.shown(true)).collect();
        let answer = json!({ "done": is_done, "nextRecordsUrl": next, "records": records });
        Reply::json(200, answer.to_string())
    }

    /// Answers `PATCH /jobs/{kind}/{id}`: closes a job that is open, or aborts one that is not over.
    fn change_job(&mut self, id: &str, loads: bool) -> Result<Reply, ApiError> {
        let members = self.members()?;
        let wanted = members.get("state").and_then(Json::as_str).unwrap_or_default().to_owned();
        let now = self.now;
        self.with_job(id, loads, |job| {
            let closing = match wanted.as_str() {
                "UploadComplete" if loads => true,
                "Aborted" => false,
                _ => return Err(invalid_value(&wanted, "state")),
            };
            let told = match job.state {
                State::JobComplete => Some("Completed"),
                State::Failed => Some("Failed"),
                State::Aborted => Some("Aborted"),
                State::UploadComplete | State::InProgress if closing => Some("Closed"),
                _ => None,
            };
            if let Some(told) = told {
                let verb = if closing { "Closing" } else { "Aborting" };
                let message = format!("{verb} already {told} Job not allowed");
                return Err(ApiError::new(400, "INVALIDJOBSTATE", message));
            }
            job.state = if closing { State::UploadComplete } else { State::Aborted };
            (job.changed, job.paced) = (now, now);
            Ok(Reply::json(200, job.shown(false).to_string()))
        })
    }

    fn delete_job(&mut self, id: &str, loads: bool) -> Result<Reply, ApiError> {
        let id = self.with_job(id, loads, |job| match job.state.is_over() {
            true => Ok(job.id.clone()),
            false => {
                let message = format!("Deleting a Job in state {:?} not allowed", job.state);
                Err(ApiError::new(400, "INVALIDJOBSTATE", message))
            }
        })?;
        lock(&self.org.jobs).all.remove(&id);
        Ok(Reply::empty(204))
    }

    /// Makes a job of what a request asks for.
    fn open_job(&mut self, object: String, operation: &'static str, form: Form, work: Work) -> Json {
        let job = Job {
            id: String::new(),
            object,
            operation,
            form,
            version: self.version,
            user: self.user.clone(),
            created: self.now,
            changed: self.now,
            paced: self.now,
            steps: 0,
            state: if matches!(work, Work::Load(_)) { State::Open } else { State::UploadComplete },
            message: None,
            work,
        };
        let mut jobs = lock(&self.org.jobs);
        let id = jobs.insert(job);
        jobs.all.get(&id).map(|job| job.shown(false)).unwrap_or_default()
    }

    /// Reads the body as a JSON object.
    fn members(&self) -> Result<serde_json::Map<String, Json>, ApiError> {
        match serde_json::from_slice(&self.request.body) {
            Ok(Json::Object(members)) => Ok(members),
            Ok(_) => Err(ApiError::json("an object is expected")),
            Err(error) => Err(ApiError::json(&error.to_string())),
        }
    }
}

fn invalid_job(message: &str) -> ApiError {
    ApiError::new(400, "INVALIDJOB", format!("InvalidJob : {message}"))
}

fn invalid_value(value: &str, property: &str) -> ApiError {
    let message = format!("Invalid value: '{value}' supplied for property: '{property}'");
    ApiError::new(400, "API_ERROR", message)
}

fn not_ready(state: State) -> ApiError {
    let message = format!("Results of a Job in state {state:?} are not available");
    ApiError::new(400, "INVALIDJOBSTATE", message)
}
