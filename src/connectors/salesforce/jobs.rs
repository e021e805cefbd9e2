//! Bulk jobs, from their opening to their end.
//!
//! Invariant: while a bulk job of ours may still be writing to an object, nothing else is written there by us: what
//! it has taken in is older than what would come after it.

use std::time::Duration;

use reqwest::Method;

use super::at_work::Held;
use super::org::{Ask, Org, protocol};
use super::wire::{self, JobInfo};
use crate::connectors::Call;
use crate::connectors::rest::RawReply;
use crate::engine::fault::{Fault, FaultCode, FaultKind};

/// The first look at a job comes so soon, the later ones at twice the distance each, up to the second.
const LOOK_FIRST: Duration = Duration::from_millis(500);
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// Looks in a row that may fail; about as many minutes.
const FAILED_LOOKS_MAX: u32 = 6;
/// Rows that go in for longer are left to themselves: meanwhile nothing is taken in from the other side. They are
/// looked at when the job is over.
const PATIENCE: Duration = Duration::from_secs(5 * 60);
/// A job that gives rows out for longer is not worth the wait.
const PATIENCE_QUERY: Duration = Duration::from_secs(30 * 60);
/// When to ask again for a job that stands in the way.
const COME_BACK: Duration = Duration::from_secs(15);
/// Pages of the org's list of jobs that are read; a page holds about a hundred or more.
const LIST_PAGES_MAX: usize = 1_000;

/// What a bulk job does.
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
        let reply = self.ask(ask, call).await?;
        read(operation, &reply)
    }

    /// Hands a job its rows and lets it begin. An error says whether it may have begun all the same.
    pub(super) async fn feed_job(
        &self,
        operation: &str,
        job: &Held<'_>,
        csv: &str,
        call: &Call,
    ) -> Result<(), Fault> {
        let path = format!("jobs/ingest/{}/batches", job.id);
        let upload = Ask { method: Method::PUT, body: Some(csv), is_csv: true, ..Ask::get(operation, &path) };
        if let Err(fault) = self.ask(upload, call).await {
            // One that stays open does nothing and ends by itself.
            let _ = self.change_job(operation, &job.id, "Aborted", call).await;
            job.end();
            // What was never begun has changed nothing.
            return Err(Fault { may_have_happened: false, ..fault });
        }
        let Err(fault) = self.change_job(operation, &job.id, "UploadComplete", call).await else {
            return Ok(());
        };
        if fault.is_stopping() {
            // It did not go out.
            job.end();
            return Err(Fault { may_have_happened: false, ..fault });
        }
        // It may have begun all the same: the job itself knows.
        match self.look_at_job(operation, Work::Ingest, &job.id, call).await {
            Ok(Some(now)) if now.is_open() && fault.kind == FaultKind::Transient => {
                self.change_job(operation, &job.id, "UploadComplete", call).await.map_err(unknown)
            }
            Ok(Some(now)) if now.is_open() => {
                let _ = self.change_job(operation, &job.id, "Aborted", call).await;
                Err(unknown(fault))
            }
            Ok(Some(_)) => Ok(()),
            Ok(None) => {
                job.end();
                Err(gone(operation, &job.id))
            }
            Err(_) => Err(unknown(fault)),
        }
    }

    /// Asks a job that takes rows in to go over into another state.
    async fn change_job(&self, operation: &str, id: &str, state: &str, call: &Call) -> Result<(), Fault> {
        let path = format!("jobs/ingest/{id}");
        let body = format!(r#"{{"state":"{state}"}}"#);
        let ask = Ask { method: Method::PATCH, body: Some(&body), ..Ask::get(operation, &path) };
        self.ask(ask, call).await.map(drop)
    }

    /// Lets the org forget a query job that nobody reads any more; one that is at work is stopped. Where neither can
    /// be done, it ends by itself and is kept for a week.
    pub(super) async fn drop_query(&self, operation: &str, id: &str, call: &Call) {
        let path = format!("jobs/query/{id}");
        let delete = Ask { method: Method::DELETE, ..Ask::get(operation, &path) };
        if self.ask(delete, call).await.is_err() {
            let body = Some(r#"{"state":"Aborted"}"#);
            let _ = self.ask(Ask { method: Method::PATCH, body, ..Ask::get(operation, &path) }, call).await;
        }
    }

    /// Waits until a job is over. One that takes rows in is `held`; where its end can't be told, what it does may
    /// have happened. The end of the link ends the wait, too.
    pub(super) async fn finish_job(
        &self,
        operation: &str,
        (id, held): (&str, Option<&Held<'_>>),
        call: &Call,
    ) -> Result<JobInfo, Fault> {
        let (mut pause, mut waited, mut failed) = (LOOK_FIRST, Duration::ZERO, 0);
        let work = if held.is_some() { Work::Ingest } else { Work::Query };
        let unknown = |fault: Fault| if held.is_some() { unknown(fault) } else { fault };
        loop {
            tokio::select! {
                biased;
                () = call.stop.cancelled() => return Err(unknown(Fault::stopping())),
                () = tokio::time::sleep(pause) => {}
            }
            waited += pause;
            pause = (pause * 2).min(LOOK_EVERY);
            match self.look_at_job(operation, work, id, call).await {
                Ok(Some(now)) if now.is_over() => {
                    held.iter().for_each(|held| held.end());
                    return Ok(now);
                }
                Ok(Some(_)) => failed = 0,
                Ok(None) => {
                    held.iter().for_each(|held| held.end());
                    return Err(unknown(gone(operation, id)));
                }
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
            let told = || format!("{operation}: the bulk job {id} is still at work");
            match work {
                Work::Ingest if waited >= PATIENCE => {
                    return Err(unknown(Fault::throttled(Some(COME_BACK), told())));
                }
                Work::Query if waited >= PATIENCE_QUERY => {
                    return Err(Fault::transient(FaultCode::Timeout, told()));
                }
                _ => {}
            }
        }
    }

    /// Asks how a job is; `None` where the org has none of that id any more.
    async fn look_at_job(
        &self,
        operation: &str,
        work: Work,
        id: &str,
        call: &Call,
    ) -> Result<Option<JobInfo>, Fault> {
        let path = format!("{}/{id}", work.path());
        let reply = self.ask_for(Ask::get(operation, &path), call).await?;
        reply.map(|reply| read(operation, &reply)).transpose()
    }

    /// Refuses to write to an object while a job of ours may be writing there. The first time since the start it
    /// asks for those of an earlier process, too.
    pub(super) async fn no_job_at_work(&self, object: &str, call: &Call) -> Result<(), Fault> {
        let operation = format!("look for bulk jobs at work on {object}");
        if !self.at_work.has_earlier() {
            let found = self.earlier_jobs(&operation, call).await?;
            self.at_work.take_up(found);
        }
        let mut standing = None;
        for (id, is_held) in self.at_work.of(object) {
            let now = self.look_at_job(&operation, Work::Ingest, &id, call).await?;
            let is_in_the_way = match now {
                // Its rows have been looked at, or will be, as those of which nobody knows.
                None => false,
                Some(job) if job.is_open() && is_held => true,
                // Nobody waits for it, and the word to begin may still be on its way.
                Some(job) if job.is_open() => {
                    self.change_job(&operation, &id, "Aborted", call).await?;
                    false
                }
                Some(job) => !job.is_over(),
            };
            match is_in_the_way {
                true => standing = standing.or(Some(id)),
                // Its maker still asks for the results of its own.
                false if is_held => {}
                false => self.at_work.end(object, &id),
            }
        }
        match standing {
            Some(id) => {
                let told = format!("the bulk job {id} is still writing to {object}");
                Err(Fault::throttled(Some(COME_BACK), told))
            }
            None => Ok(()),
        }
    }

    /// Lists the jobs that an earlier process under our user has left at work, each with its object.
    async fn earlier_jobs(&self, operation: &str, call: &Call) -> Result<Vec<(String, String)>, Fault> {
        let user = self.user_id(call).await?;
        let mut path = "jobs/ingest?jobType=V2Ingest".to_owned();
        let mut found = Vec::new();
        for _ in 0..LIST_PAGES_MAX {
            let reply = match self.ask(Ask::get(operation, &path), call).await {
                Ok(reply) => reply,
                // Who may not see jobs has made none.
                Err(fault) if matches!(fault.code, FaultCode::Auth | FaultCode::Configuration) => {
                    return Ok(Vec::new());
                }
                Err(fault) => return Err(fault),
            };
            let (jobs, next) =
                JobInfo::decode_list(&reply.body).map_err(|error| protocol(operation, &error))?;
            let ours = jobs.into_iter().filter(|job| job.is_at_work() && job.created_by_id == user);
            found.extend(ours.map(|job| (job.object, job.id)));
            match next {
                Some(next) if next != path => path = next,
                Some(_) => break,
                None => return Ok(found),
            }
        }
        let told = format!("{operation}: the list of bulk jobs has no end");
        Err(Fault::transient(FaultCode::Protocol, told))
    }
}

fn read(operation: &str, reply: &RawReply) -> Result<JobInfo, Fault> {
    JobInfo::decode(&reply.body).map_err(|error| protocol(operation, &error))
}

/// Marks what nobody knows of a job: no record of it is to blame, and all are looked at before they are sent again.
fn unknown(fault: Fault) -> Fault {
    let kind = if fault.kind == FaultKind::Rejected { FaultKind::Transient } else { fault.kind };
    Fault { kind, may_have_happened: true, ..fault }
}

/// Builds the fault of a job that the org does not know any more.
pub(super) fn gone(operation: &str, id: &str) -> Fault {
    let told = format!("{operation}: the bulk job {id} is gone, and nobody knows what became of its rows");
    unknown(Fault::transient(FaultCode::NotFound, told))
}

/// Builds the fault of a bulk job that failed as a whole.
pub fn failed(operation: &str, job: &JobInfo) -> Fault {
    let message = job.error_message.as_deref().unwrap_or_default();
    let (code, _) = message.split_once(':').unwrap_or((message, ""));
    let said = format!(
        "{operation}: the bulk job {} ended as {}, {}",
        job.id,
        job.state,
        wire::job_trouble(message)
    );
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
