//! Push in: changes that an application hands in, one or up to a thousand a request.
//!
//! Invariant: of a request with one bad change nothing is taken; what is answered 202 is durable.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::with;
use crate::connectors::{Call, Class, Wanted};
use crate::engine::record::{value_from_raw, value_to_json};
use crate::http::input::{Correlation, CustomerQuery, Query, Raw, parse};
use crate::http::once::Named;
use crate::http::problem::Problem;
use crate::http::server::App;
use crate::runtime::operate::{Push, PushProblem, key};
use crate::store::Once;

/// Changes of one request.
const RECORDS_MAX: usize = 1000;
/// Pushes go before what polls bring.
const PRIORITY: i32 = 1;

/// What to do with a record at a CRM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    Create,
    Read,
    Update,
    Delete,
}

impl Operation {
    fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Read => "read",
            Self::Update => "update",
            Self::Delete => "delete",
        }
    }
}

/// A change that an application hands in; `POST /v1/sync` also takes an array of them, or
/// `{"records": […]}`, up to 1,000.
#[derive(Debug, serde::Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PushRequest {
    pub operation: Operation,
    #[schema(value_type = serde_json::Value)]
    pub record_id: RecordId,
    /// Fields by their names at the source of the link.
    #[schema(value_type = Option<serde_json::Value>)]
    pub data: Option<Box<RawValue>>,
    /// The destination: a system's name, or a connector's.
    #[serde(alias = "provider")]
    pub crm: String,
    pub customer_id: Option<String>,
}

/// A record id: text or a whole number.
#[derive(Debug, serde::Deserialize)]
#[serde(untagged)]
pub enum RecordId {
    Text(String),
    Number(i64),
}

impl RecordId {
    pub fn text(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Number(number) => number.to_string(),
        }
    }
}

/// Many changes.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Records {
    records: Vec<Box<RawValue>>,
}

/// Takes changes in: durable before the answer, delivered through the rules of the link to that CRM.
#[utoipa::path(post, path = "/v1/sync", tag = "sync", request_body = PushRequest, params(CustomerQuery),
    responses((status = 202, description = "accepted, with the job, or with the jobs of all"),
        (status = 200, description = "the record, for read"), (status = 404, body = Problem),
        (status = 409, body = Problem), (status = 413, description = "too many at once", body = Problem),
        (status = 422, description = "nothing is taken; `index` says which one is wrong", body = Problem),
        (status = 429, description = "the queue is full; Retry-After says when to come again", body = Problem)))]
pub async fn push(
    State(app): State<App>,
    Query(query): Query<CustomerQuery>,
    correlation: Correlation,
    Named(once): Named,
    Raw(body): Raw,
) -> Result<Response, Problem> {
    match many(&body)? {
        Some(records) => push_all(&app, &query, correlation, once, &records).await,
        None => {
            let request: PushRequest = parse(&body)?;
            if request.operation == Operation::Read {
                let customer = request.customer_id.clone().unwrap_or_else(|| query.id().to_owned());
                return read(&app, &customer, &request, correlation).await;
            }
            push_one(&app, &query, correlation, once, request).await
        }
    }
}

/// Finds the changes of a body that holds many; `None` where it holds one.
fn many(body: &[u8]) -> Result<Option<Vec<Box<RawValue>>>, Problem> {
    let first = body.iter().find(|byte| !byte.is_ascii_whitespace());
    let records: Vec<Box<RawValue>> = match first {
        Some(b'[') => parse(body)?,
        Some(b'{') => {
            let names: BTreeMap<String, serde::de::IgnoredAny> = parse(body)?;
            if !names.contains_key("records") {
                return Ok(None);
            }
            parse::<Records>(body)?.records
        }
        _ => return Ok(None),
    };
    match records.len() {
        0 => Err(Problem::invalid("there are no records").remedy("send at least one change")),
        1..=RECORDS_MAX => Ok(Some(records)),
        count => {
            Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, format!("{count} changes at once are too many"))
                .remedy(format!("send at most {RECORDS_MAX} a request"))
                .with("records_max", RECORDS_MAX))
        }
    }
}

async fn push_one(
    app: &App,
    query: &CustomerQuery,
    correlation: Correlation,
    once: Option<Once>,
    request: PushRequest,
) -> Result<Response, Problem> {
    let push = checked(query, &correlation, request)?;
    let pushed = app.runtime.push(vec![push], once).await.map_err(|problem| problem_of(problem, false))?;
    let Some(pushed) = pushed.into_iter().next() else {
        return Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the push gave no job"));
    };
    let place = format!("/v1/sync/status/{}", pushed.record_id);
    Ok((StatusCode::ACCEPTED, [(header::LOCATION, place)], Json(pushed.shown())).into_response())
}

async fn push_all(
    app: &App,
    query: &CustomerQuery,
    correlation: Correlation,
    once: Option<Once>,
    records: &[Box<RawValue>],
) -> Result<Response, Problem> {
    let mut pushes = Vec::with_capacity(records.len());
    for (index, record) in records.iter().enumerate() {
        let at = |problem: Problem| indexed(problem, index);
        // Where it stands in the body says its index; its own line and column would mislead.
        let request: PushRequest = parse(record.get().as_bytes()).map_err(|mut problem| {
            problem.more.clear();
            at(problem)
        })?;
        if request.operation == Operation::Read {
            return Err(at(Problem::invalid("a read can't be one of many").remedy("send it by itself")));
        }
        pushes.push(checked(query, &correlation, request).map_err(at)?);
    }
    let pushed = app.runtime.push(pushes, once).await.map_err(|problem| problem_of(problem, true))?;
    let items: Vec<Value> =
        pushed.iter().enumerate().map(|(index, pushed)| with(pushed.shown(), "index", index)).collect();
    Ok((StatusCode::ACCEPTED, Json(json!({ "accepted": items.len(), "items": items }))).into_response())
}

fn indexed(mut problem: Problem, index: usize) -> Problem {
    problem.status = if problem.status == 400 { 422 } else { problem.status };
    problem.detail = format!("change {index}: {}", problem.detail);
    problem.with("index", index)
}

fn problem_of(problem: PushProblem, many: bool) -> Problem {
    match problem {
        PushProblem::At(index, error) if many => indexed(error.into(), index),
        PushProblem::At(_, error) => error.into(),
        PushProblem::Full { link, direction, mark, retry_after } => Problem::new(
            StatusCode::TOO_MANY_REQUESTS,
            format!("the queue {direction} of link {link} holds {mark} jobs or more, as many as it may"),
        )
        .remedy("come again later, or raise the link's queue_max")
        .retry_after(retry_after)
        .with("retry_after_seconds", retry_after),
    }
}

/// Checks one change as far as that goes without a link.
fn checked(query: &CustomerQuery, correlation: &Correlation, request: PushRequest) -> Result<Push, Problem> {
    let data = match request.data {
        Some(data) if data.get().trim_start().starts_with('{') => {
            readable(&data)?;
            data
        }
        Some(_) => return Err(Problem::invalid("data must be an object of fields")),
        None if request.operation == Operation::Delete => {
            RawValue::from_string("{}".to_owned()).map_err(|error| Problem::invalid(error.to_string()))?
        }
        None => {
            return Err(Problem::invalid("data is missing").remedy("give the record's fields as an object"));
        }
    };
    Ok(Push {
        customer: request.customer_id.unwrap_or_else(|| query.id().to_owned()),
        crm: request.crm,
        operation: request.operation.as_str().to_owned(),
        record_id: request.record_id.text(),
        data,
        correlation_id: correlation.0.clone(),
        priority: PRIORITY,
    })
}

/// Refuses data that no destination could ever take: half a surrogate pair, a name that stands twice.
fn readable(data: &RawValue) -> Result<(), Problem> {
    let problem = |error: &dyn std::fmt::Display| Problem::invalid(format!("data: {error}"));
    let members: BTreeMap<String, &RawValue> =
        serde_json::from_str(data.get()).map_err(|error| problem(&error))?;
    for (name, raw) in members {
        value_from_raw(raw).map_err(|error| problem(&format!("{name}: {error}")))?;
    }
    value_from_raw(data).map(|_| ()).map_err(|error| problem(&error))
}

/// Looks a record up at the CRM, now.
async fn read(
    app: &App,
    customer: &str,
    request: &PushRequest,
    correlation: Correlation,
) -> Result<Response, Problem> {
    let (link, direction) = app.runtime.towards(customer, &request.crm)?;
    let running = app.runtime.start_link(customer, &link).await?;
    let ctx = running.context.load_full().ok_or_else(|| {
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, format!("the link {link} is not open"))
            .remedy("see GET /v1/links for why")
    })?;
    let key = key(&request.record_id.text())?;
    let call = Call::new(Class::Interactive, correlation.0);
    let known = app.runtime.store.known(ctx.id, vec![key.clone()]).await?;
    let id = known.into_iter().flatten().next().and_then(|pair| pair.side(direction.to()).id.clone());
    let wanted = [Wanted { key, id }];
    let found = ctx.end(direction.to()).destination.look_up(&wanted, &call).await?;
    let Some(record) = found.into_iter().flatten().next() else {
        return Err(Problem::not_found(format!(
            "{} has no record {}",
            request.crm,
            request.record_id.text()
        )));
    };
    let fields: serde_json::Map<String, serde_json::Value> = record
        .schema
        .names()
        .zip(&record.values)
        .filter(|(_, value)| !value.is_missing())
        .map(|(name, value)| (name.to_owned(), value_to_json(value)))
        .collect();
    let body = serde_json::json!({ "record_id": request.record_id.text(), "crm": request.crm,
        "id": record.meta.id.as_deref(), "revision": record.meta.revision.as_deref(), "data": fields });
    Ok(Json(body).into_response())
}
