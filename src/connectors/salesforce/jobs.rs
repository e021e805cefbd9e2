//! Jobs of the bulk API, from their opening to their end.
//!
//! Invariant: while a job of ours may still be writing to an object, nothing else is written there by us: what it
//! has taken in is older than what would come after it.

use std::time::Duration;

use reqwest::Method;

use super::org::{Ask, Org, lock, protocol};
use super::wire::{self, JobInfo};
use crate::connectors::Call;
use crate::engine::fault::{Fault, FaultCode, FaultKind};

/// The first look at a job comes so soon, the later ones at twice the distance each, up to the second.
const LOOK_FIRST: Duration = Duration::from_millis(500);
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// Looks in a row that may fail; about as many minutes.
const FAILED_LOOKS_MAX: u32 = 6;
/// A job that is at work for longer is left to itself; whoever comes later waits for it.
const PATIENCE: Duration = Duration::from_secs(30 * 60);
/// When to ask again for a job that stands in the way.
const COME_BACK: Duration = Duration::from_secs(15);

/// What a job does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    Ingest,
    Query,
}

impl Work {
    fn path(self) -> &'static str {
        match self {
            Self::Ingest => "jobs/ingest",
            Self::Query => "jobs/query",
        }
    }
}

impl Org {
    /// Opens a job.
    pub(super) async fn open_job(
        &self,
        operation: &str,
        work: Work,
        body: &str,
        call: &Call,
    ) -> Result<JobInfo, Fault> {
        // Nobody hears of a job whose reply is lost; without rows it does nothing and ends by itself.
        let ask = Ask { method: Method::POST, body: Some(body), ..Ask::get(operation, work.path()) };
        self.job(ask, call).await
    }

    /// Hands a job its rows and lets it begin. An error means that it never will.
    pub(super) async fn feed_job(
        &self,
        operation: &str,
        job: &JobInfo,
        csv: &str,
        call: &Call,
    ) -> Result<(), Fault> {
        let path = format!("jobs/ingest/{}/batches", job.id);
        let upload = Ask { method: Method::PUT, body: Some(csv), is_csv: true, ..Ask::get(operation, &path) };
        if let Err(fault) = self.ask(upload, call).await {
            self.abort_job(operation, job, call).await;
            // What was never begun has changed nothing.
            return Err(Fault { may_have_happened: false, ..fault });
        }
        let path = format!("jobs/ingest/{}", job.id);
        let begin = Ask {
            method: Method::PATCH,
            body: Some(r#"{"state":"UploadComplete"}"#),
            ..Ask::get(operation, &path)
        };
        let mut begun = self.ask(begin.clone(), call).await;
        if let Err(fault) = &begun
            && fault.kind == FaultKind::Transient
        {
            // It may have begun all the same: the job itself knows.
            begun = match self.look_at_job(operation, Work::Ingest, &job.id, call).await {
                Ok(now) if now.state == "Open" => self.ask(begin, call).await,
                Ok(_) => return Ok(()),
                Err(fault) => Err(fault),
            };
        }
        match begun {
            Ok(_) => Ok(()),
            Err(fault) if fault.kind == FaultKind::Transient => {
                // Nobody can tell: it is waited for before anything else is written.
                lock(&self.at_work).insert(job.object.clone(), job.id.clone());
                Err(fault.and_may_have_happened())
            }
            Err(fault) => {
                self.abort_job(operation, job, call).await;
                Err(Fault { may_have_happened: false, ..fault })
            }
        }
    }

    async fn abort_job(&self, operation: &str, job: &JobInfo, call: &Call) {
        let path = format!("jobs/ingest/{}", job.id);
        let body = Some(r#"{"state":"Aborted"}"#);
        // One that stays open does nothing and ends by itself.
        let _ = self.ask(Ask { method: Method::PATCH, body, ..Ask::get(operation, &path) }, call).await;
    }

    /// Waits until a job is over. Where that can't be told, an ingest job is remembered as one at work.
    pub(super) async fn finish_job(
        &self,
        operation: &str,
        work: Work,
        job: &JobInfo,
        call: &Call,
    ) -> Result<JobInfo, Fault> {
        let (mut pause, mut waited, mut failed) = (LOOK_FIRST, Duration::ZERO, 0);
        if work == Work::Ingest {
            lock(&self.at_work).insert(job.object.clone(), job.id.clone());
        }
        let unknown = |fault: Fault| if work == Work::Ingest { fault.and_may_have_happened() } else { fault };
        loop {
            tokio::time::sleep(pause).await;
            waited += pause;
            pause = (pause * 2).min(LOOK_EVERY);
            match self.look_at_job(operation, work, &job.id, call).await {
                Ok(now) if now.is_over() => {
                    if work == Work::Ingest {
                        lock(&self.at_work).remove(&job.object);
                    }
                    return Ok(now);
                }
                Ok(_) => failed = 0,
                Err(fault) if fault.is_stopping() || fault.kind == FaultKind::Fatal => {
                    return Err(unknown(fault));
                }
                Err(fault) => {
                    failed += 1;
                    if failed >= FAILED_LOOKS_MAX {
                        return Err(unknown(fault));
                    }
                }
            }
            if waited >= PATIENCE {
                let told = format!("{operation}: the job {} is still at work", job.id);
                return Err(unknown(Fault::transient(FaultCode::Timeout, told)));
            }
        }
    }

    async fn look_at_job(
        &self,
        operation: &str,
        work: Work,
        id: &str,
        call: &Call,
    ) -> Result<JobInfo, Fault> {
        let path = format!("{}/{id}", work.path());
        self.job(Ask::get(operation, &path), call).await
    }

    async fn job(&self, ask: Ask<'_>, call: &Call) -> Result<JobInfo, Fault> {
        let operation = ask.operation;
        let reply = self.ask(ask, call).await?;
        JobInfo::decode(&reply.body).map_err(|error| protocol(operation, &error))
    }

    /// Refuses to write to an object while a job of ours may be writing there. The first time since the start it
    /// asks for those of an earlier process, too.
    pub(super) async fn no_job_at_work(&self, object: &str, call: &Call) -> Result<(), Fault> {
        let operation = format!("look for jobs at work on {object}");
        let known = lock(&self.at_work).get(object).cloned();
        let now = match known {
            Some(id) => Some(self.look_at_job(&operation, Work::Ingest, &id, call).await?),
            None if lock(&self.looked_for_jobs).contains(object) => None,
            None => {
                let found = self.earlier_job(&operation, object, call).await?;
                lock(&self.looked_for_jobs).insert(object.to_owned());
                found
            }
        };
        match now {
            Some(job) if job.is_at_work() => {
                lock(&self.at_work).insert(object.to_owned(), job.id.clone());
                let told = format!("the job {} is still writing to {object}", job.id);
                Err(Fault::throttled(Some(COME_BACK), told))
            }
            _ => {
                lock(&self.at_work).remove(object);
                Ok(())
            }
        }
    }

    async fn earlier_job(
        &self,
        operation: &str,
        object: &str,
        call: &Call,
    ) -> Result<Option<JobInfo>, Fault> {
        let user = self.user_id(call).await?;
        let reply = match self.ask(Ask::get(operation, "jobs/ingest?jobType=V2Ingest"), call).await {
            Ok(reply) => reply,
            // Who may not see jobs has made none.
            Err(fault) if matches!(fault.code, FaultCode::Auth | FaultCode::Configuration) => {
                return Ok(None);
            }
            Err(fault) => return Err(fault),
        };
        let jobs = JobInfo::decode_list(&reply.body).map_err(|error| protocol(operation, &error))?;
        let ours = |job: &JobInfo| {
            job.is_at_work() && job.created_by_id == user && job.object.eq_ignore_ascii_case(object)
        };
        Ok(jobs.into_iter().find(ours))
    }
}

/// Builds the fault of a job that failed as a whole.
pub fn failed(operation: &str, job: &JobInfo) -> Fault {
    let message = job.error_message.as_deref().unwrap_or_default();
    let (code, _) = message.split_once(':').unwrap_or((message, ""));
    let said =
        format!("{operation}: the job {} ended as {}, {}", job.id, job.state, wire::job_trouble(message));
    match code.trim() {
        "ExceededQuota" => Fault::throttled(None, said),
        "InvalidBatch" | "InvalidJob" | "FeatureNotEnabled" => Fault::fatal(
            FaultCode::Configuration,
            said,
            "write bulk = \"never\" at this system to save record by record, which says what is wrong with which",
        ),
        _ => Fault::transient(FaultCode::Unavailable, said),
    }
}
