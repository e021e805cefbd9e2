//! Jobs: one record brought in step on request, and every piece of work shown, cancelled, tried again, replayed.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::push::RecordId;
use super::with;
use crate::engine::fault::FaultCode;
use crate::engine::job::{self, Attempt, AttemptEnd, JobError, JobState, Origin};
use crate::engine::record::{Direction, Timestamp};
use crate::http::input::{Body, Correlation, CustomerQuery, Query};
use crate::http::once::Named;
use crate::http::problem::Problem;
use crate::http::server::App;
use crate::runtime::jobs::{Ask, Listed, PAYLOAD_VERSION};
use crate::runtime::operate::key;
use crate::store::JobFilter;

const LIMIT: usize = 100;
const LIMIT_MAX: usize = 1000;
/// Each priority in the queue costs a look of its own.
const PRIORITIES: std::ops::RangeInclusive<i32> = -100..=100;
/// What somebody asks for goes before what polls bring.
const PRIORITY: i32 = 1;
const RETRIES_MAX: u32 = 1000;

/// Which way.
#[derive(Clone, Copy, Debug, Default, serde::Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    #[default]
    #[serde(alias = "a_to_b")]
    Forward,
    #[serde(alias = "b_to_a")]
    Reverse,
}

impl From<Way> for Direction {
    fn from(way: Way) -> Self {
        match way {
            Way::Forward => Self::AToB,
            Way::Reverse => Self::BToA,
        }
    }
}

/// A record that is to be brought in step.
#[derive(Debug, serde::Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct JobRequest {
    /// The record's key.
    #[schema(value_type = serde_json::Value)]
    pub entity_id: RecordId,
    /// `forward` (a to b, where left out) or `reverse`.
    #[serde(default)]
    pub direction: Way,
    /// -100 to 100; higher goes first; 1 where left out.
    pub priority: Option<i32>,
    /// RFC 3339 with a zone; at once where left out.
    pub scheduled_at: Option<String>,
    /// Attempts after the first; as the retry policy says where left out.
    pub max_retries: Option<u32>,
    /// 1 is known.
    pub payload_version: Option<u32>,
}

/// Makes a durable job for one record: it is looked at where it comes from when the job runs, and planned under
/// the rules like a change that a poll brought.
#[utoipa::path(post, path = "/v1/jobs/{id}", tag = "jobs", request_body = JobRequest,
    params(("id" = String, Path, description = "a link of the configuration"), CustomerQuery),
    responses((status = 202, description = "the job"), (status = 404, description = "no such link", body = Problem),
        (status = 409, description = "one stands already: `job_id`", body = Problem), (status = 422, body = Problem)))]
pub async fn ask(
    State(app): State<App>,
    Path(link): Path<String>,
    Query(query): Query<CustomerQuery>,
    correlation: Correlation,
    Named(once): Named,
    Body(request): Body<JobRequest>,
) -> Result<Response, Problem> {
    let ask = Ask { once, ..wanted(&request, query.id(), link, correlation)? };
    Ok(made(&app.runtime.ask_for(ask).await?))
}

/// Checks what can be checked at the door.
fn wanted(
    request: &JobRequest,
    customer: &str,
    link: String,
    correlation: Correlation,
) -> Result<Ask, Problem> {
    if let Some(version) = request.payload_version.filter(|&version| version != PAYLOAD_VERSION) {
        return Err(Problem::invalid(format!("payload_version {version} is not known"))
            .remedy(format!("use {PAYLOAD_VERSION}, or leave it out")));
    }
    let scheduled_at = match &request.scheduled_at {
        None => None,
        Some(text) => Some(moment("scheduled_at", text)?),
    };
    let priority = request.priority.unwrap_or(PRIORITY);
    if !PRIORITIES.contains(&priority) {
        return Err(Problem::invalid(format!("priority {priority} is out of range")).remedy(format!(
            "use {} to {}",
            PRIORITIES.start(),
            PRIORITIES.end()
        )));
    }
    if let Some(retries) = request.max_retries.filter(|&retries| retries > RETRIES_MAX) {
        return Err(Problem::invalid(format!("max_retries {retries} is out of range"))
            .remedy(format!("use 0 to {RETRIES_MAX}")));
    }
    Ok(Ask {
        customer: customer.to_owned(),
        link,
        key: key(&request.entity_id.text())?,
        direction: request.direction.into(),
        priority,
        scheduled_at,
        // The first attempt is none of the retries.
        attempts_max: request.max_retries.map_or(0, |retries| retries.saturating_add(1)),
        correlation_id: correlation.0,
        once: None,
    })
}

/// Reads a moment of a request.
pub fn moment(name: &str, text: &str) -> Result<Timestamp, Problem> {
    Timestamp::parse_rfc3339(text).ok_or_else(|| {
        Problem::invalid(format!("{name} {text:?} is no moment"))
            .remedy("write RFC 3339 with a zone, such as 2026-01-31T10:00:00Z")
    })
}

/// Answers that a job was made.
fn made(made: &Listed) -> Response {
    let place = format!("/v1/jobs/{}", made.job.id);
    let body = with(shown(made), "job_id", made.job.id);
    (StatusCode::ACCEPTED, [(header::LOCATION, place)], Json(body)).into_response()
}

/// Which jobs to list.
#[derive(Debug, Default, serde::Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct JobsQuery {
    /// Only this customer's; all where left out.
    pub customer_id: Option<String>,
    pub link: Option<String>,
    /// `pending`, `leased`, `retrying`, `waiting`, `conflict`, `synced`, `dead` or `cancelled`.
    pub state: Option<String>,
    /// `forward` or `reverse`.
    pub direction: Option<Way>,
    /// Only this record's.
    pub key: Option<String>,
    /// At most so many; 100 where left out.
    pub limit: Option<usize>,
    /// `next_cursor` of the answer before.
    pub cursor: Option<i64>,
}

/// Lists jobs, newest first. What was delivered for a poll leaves none.
#[utoipa::path(get, path = "/v1/jobs", tag = "jobs", params(JobsQuery),
    responses((status = 200, description = "jobs"), (status = 422, body = Problem)))]
pub async fn list(State(app): State<App>, Query(query): Query<JobsQuery>) -> Result<Json<Value>, Problem> {
    let filter = JobFilter {
        state: query.state.as_deref().map(state_of).transpose()?,
        direction: query.direction.map(Into::into),
        key: query.key.as_deref().map(key).transpose()?,
        before: query.cursor,
        limit: query.limit.unwrap_or(LIMIT).clamp(1, LIMIT_MAX),
        ..JobFilter::default()
    };
    let place = (query.customer_id.as_deref(), query.link.as_deref());
    let (jobs, next) = app.runtime.list_jobs(place, filter).await?;
    let items: Vec<Value> = jobs.iter().map(shown).collect();
    Ok(Json(json!({ "items": items, "next_cursor": next })))
}

fn state_of(word: &str) -> Result<JobState, Problem> {
    JobState::ALL.into_iter().find(|state| state.as_str() == word).ok_or_else(|| {
        let words: Vec<&str> = JobState::ALL.iter().map(|state| state.as_str()).collect();
        Problem::invalid(format!("there is no state {word}"))
            .remedy(format!("use one of {}", words.join(", ")))
    })
}

/// Shows a job, with what it carries.
#[utoipa::path(get, path = "/v1/jobs/{id}", tag = "jobs",
    params(("id" = i64, Path, description = "a job")),
    responses((status = 200, description = "the job"), (status = 404, body = Problem)))]
pub async fn read(State(app): State<App>, Path(id): Path<i64>) -> Result<Json<Value>, Problem> {
    let (listed, attempts) = app.runtime.attempts(id).await?;
    let body = with_payload(&listed);
    let idle = attempts.last().is_some_and(|attempt| attempt.end == AttemptEnd::NothingToDo);
    let idle = idle && listed.job.state == JobState::Synced;
    Ok(Json(if idle { with(body, "note", "nothing was to do") } else { body }))
}

/// Lists the last attempts of a job, oldest first.
#[utoipa::path(get, path = "/v1/jobs/{id}/attempts", tag = "jobs",
    params(("id" = i64, Path, description = "a job")),
    responses((status = 200, description = "attempts: number, start, duration, outcome, error, correlation id"),
        (status = 404, body = Problem)))]
pub async fn attempts(State(app): State<App>, Path(id): Path<i64>) -> Result<Json<Value>, Problem> {
    let (_, attempts) = app.runtime.attempts(id).await?;
    let items: Vec<Value> = attempts.iter().map(attempt).collect();
    Ok(Json(json!({ "job_id": id, "items": items })))
}

/// Cancels an active job. One that runs is never taken for a success: what its call did is seen by the next look.
#[utoipa::path(post, path = "/v1/jobs/{id}/cancel", tag = "jobs",
    params(("id" = i64, Path, description = "a job")),
    responses((status = 200, description = "the cancelled job"), (status = 404, body = Problem),
        (status = 409, description = "it has ended", body = Problem)))]
pub async fn cancel(State(app): State<App>, Path(id): Path<i64>) -> Result<Json<Value>, Problem> {
    Ok(Json(shown(&app.runtime.cancel_job(id).await?)))
}

/// Makes a dead, retrying or waiting job due now, with all its attempts.
#[utoipa::path(post, path = "/v1/jobs/{id}/retry", tag = "jobs",
    params(("id" = i64, Path, description = "a job")),
    responses((status = 202, description = "due now"), (status = 404, body = Problem),
        (status = 409, description = "it waits for nothing, or another one stands in its place", body = Problem)))]
pub async fn retry(State(app): State<App>, Path(id): Path<i64>) -> Result<Response, Problem> {
    Ok(made(&app.runtime.retry_job(id).await?))
}

/// Does what an ended job did again, as a new job that names it and its last attempt.
#[utoipa::path(post, path = "/v1/jobs/{id}/replay", tag = "jobs",
    params(("id" = i64, Path, description = "a job")),
    responses((status = 202, description = "the new job"), (status = 404, body = Problem),
        (status = 409, description = "one stands already: `job_id`", body = Problem)))]
pub async fn replay(
    State(app): State<App>,
    Path(id): Path<i64>,
    correlation: Correlation,
    Named(once): Named,
) -> Result<Response, Problem> {
    Ok(made(&app.runtime.replay_job(id, &correlation.0, once).await?))
}

/// Which links to add up.
#[derive(Debug, Default, serde::Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct SummaryQuery {
    /// Only this customer's; all where left out.
    pub customer_id: Option<String>,
    pub link: Option<String>,
}

/// Adds up what became of all work, that of polls included.
#[utoipa::path(get, path = "/v1/jobs/summary", tag = "jobs", params(SummaryQuery),
    responses((status = 200, description = "totals, success rate, retries, mean duration of an attempt")))]
pub async fn summary(
    State(app): State<App>,
    Query(query): Query<SummaryQuery>,
) -> Result<Json<Value>, Problem> {
    let summary = app.runtime.summary(query.customer_id.as_deref(), query.link.as_deref()).await?;
    let (counted, depth) = (summary.counters, summary.depth);
    let finished = counted.delivered + counted.superseded + counted.cancelled + counted.dead;
    let tried = counted.delivered + counted.dead;
    let ratio = |part: u64, of: u64| (of > 0).then(|| part as f64 / of as f64);
    Ok(Json(json!({
        "total": counted.accepted,
        "active": { "total": depth.active(), "pending": depth.pending, "leased": depth.leased,
            "retrying": depth.retrying, "waiting": depth.waiting, "conflict": depth.conflict },
        "finished": { "total": finished, "delivered": counted.delivered, "superseded": counted.superseded,
            "cancelled": counted.cancelled, "dead": counted.dead },
        "dead_letters": depth.dead,
        "success_rate": ratio(counted.delivered, tried),
        "retries": counted.retries,
        "mean_duration_ms": ratio(counted.attempts_ms, counted.attempts),
    })))
}

/// Writes a job as users read it, without what it carries.
pub fn shown(listed: &Listed) -> Value {
    let Listed { link: (customer, link), job } = listed;
    let origin = match job.origin {
        Origin::Sync => "poll",
        Origin::Push => "push",
        Origin::Asked => "request",
    };
    json!({ "id": job.id, "customer": customer, "link": link, "direction": job.direction.as_str(),
        "entity_id": job.key.to_string(), "key": job.key.to_string(), "state": job.state.as_str(),
        "origin": origin, "attempts": job.attempts,
        "max_retries": job.attempts_max.checked_sub(1), "priority": job.priority, "due_at": job.due_at,
        "scheduled_at": job.scheduled_at, "created_at": job.created_at, "updated_at": job.updated_at,
        "rules_version": job.rules_version, "correlation_id": job.correlation_id,
        "error": job.error.as_ref().map(error), "replay_of": job.replay_of,
        "replay_of_attempt": job.replay_attempt, "replayed_by": job.replayed_by })
}

/// The same with the payload, as JSON where it is some.
pub fn with_payload(listed: &Listed) -> Value {
    // How much of it is under way is the store's own matter.
    let payload = listed.job.payload.clone().map(job::whole);
    let payload = payload
        .map_or(Value::Null, |text| serde_json::from_str(&text).unwrap_or_else(|_| Value::String(text)));
    with(shown(listed), "payload", payload)
}

fn error(error: &JobError) -> Value {
    json!({ "code": error.code.as_str(), "message": error.message })
}

fn attempt(attempt: &Attempt) -> Value {
    json!({ "number": attempt.number, "started_at": attempt.started_at, "duration_ms": attempt.duration_ms,
        "outcome": attempt.end.as_str(), "error": attempt.error.as_ref().map(error),
        "correlation_id": attempt.correlation_id })
}

/// Reads the code of an error.
pub fn code_of(word: &str) -> Result<FaultCode, Problem> {
    FaultCode::from_word(word).ok_or_else(|| {
        let words: Vec<&str> = FaultCode::ALL.iter().map(|code| code.as_str()).collect();
        Problem::invalid(format!("there is no error code {word}"))
            .remedy(format!("use one of {}", words.join(", ")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_not_be_done_is_refused_at_the_door() {
        // (request, what is refused, why)
        let cases = [
            (r#"{"entity_id": 7}"#, None, "a key is enough"),
            (
                r#"{"entity_id": "7", "payload_version": 1, "max_retries": 0, "priority": -100}"#,
                None,
                "all of it",
            ),
            (r#"{"entity_id": 7, "scheduled_at": "2026-01-31T10:00:00+01:00"}"#, None, "any zone"),
            (r#"{"entity_id": 7, "payload_version": 2}"#, Some("payload_version"), "of a newer client"),
            (r#"{"entity_id": 7, "scheduled_at": "tomorrow"}"#, Some("scheduled_at"), "no moment"),
            (r#"{"entity_id": 7, "scheduled_at": "2026-01-31T10:00:00"}"#, Some("scheduled_at"), "no zone"),
            (r#"{"entity_id": 7, "priority": 101}"#, Some("priority"), "out of range"),
            (r#"{"entity_id": 7, "max_retries": 1001}"#, Some("max_retries"), "out of range"),
        ];
        for (request, refused, why) in cases {
            let request: JobRequest = serde_json::from_str(request).unwrap();
            let answer = wanted(&request, "default", "l".into(), Correlation("c".into()));
            match (answer, refused) {
                (Ok(_), None) => {}
                (Err(problem), Some(word)) => {
                    assert_eq!(problem.status, 422, "{why}: {problem:?}");
                    assert!(problem.detail.contains(word), "{why}: {problem:?}");
                }
                (answer, _) => panic!("{why}: {answer:?}"),
            }
        }
    }

    #[test]
    fn retries_come_after_the_first_attempt() {
        for (retries, attempts) in [("", 0), (", \"max_retries\": 0", 1), (", \"max_retries\": 4", 5)] {
            let request: JobRequest =
                serde_json::from_str(&format!("{{\"entity_id\": 7{retries}}}")).unwrap();
            let ask = wanted(&request, "default", "l".into(), Correlation(String::new())).unwrap();
            assert_eq!(ask.attempts_max, attempts, "{retries:?}");
        }
    }
}
