//! Sync on demand: push a record in, run a link, poll a system, try again.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::value::RawValue;

use crate::connectors::{Call, Class, Wanted};
use crate::engine::record::{Side, value_from_raw, value_to_json};
use crate::http::input::{Body, Correlation, CustomerQuery, DEFAULT_CUSTOMER, Query};
use crate::http::problem::Problem;
use crate::http::server::App;
use crate::runtime::link::at;
use crate::runtime::operate::{Push, key};

/// The longest time that a request may wait for a pass.
const WAIT_MAX: Duration = Duration::from_secs(600);
/// How long a one-way pass is waited for.
const MANUAL_WAIT: Duration = Duration::from_secs(60);
const IDEMPOTENCY_KEY: &str = "idempotency-key";
const IDEMPOTENCY_SPACE: &str = "idempotency";
const IDEMPOTENCY_KEPT: Duration = Duration::from_secs(24 * 3600);

/// What to do with a record at a CRM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    Create,
    Read,
    Update,
    Delete,
}

/// A change that an application hands in.
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

/// Takes a change in: durable before the answer, delivered through the rules of the link to that CRM.
#[utoipa::path(post, path = "/v1/sync", tag = "sync", request_body = PushRequest, params(CustomerQuery),
    responses((status = 202, description = "accepted, with the job"), (status = 200, description = "the record, for read"),
        (status = 404, body = Problem), (status = 409, body = Problem), (status = 422, body = Problem)))]
pub async fn push(
    State(app): State<App>,
    Query(query): Query<CustomerQuery>,
    correlation: Correlation,
    headers: axum::http::HeaderMap,
    Body(request): Body<PushRequest>,
) -> Result<Response, Problem> {
    let customer = request.customer_id.clone().unwrap_or_else(|| query.id().to_owned());
    if request.operation == Operation::Read {
        return read(&app, &customer, &request, correlation).await;
    }
    let data = match (&request.data, request.operation) {
        (Some(data), _) if data.get().trim_start().starts_with('{') => {
            readable(data)?;
            data.clone()
        }
        (Some(_), _) => return Err(Problem::invalid("data must be an object of fields")),
        (None, Operation::Delete) => {
            RawValue::from_string("{}".to_owned()).map_err(|error| Problem::invalid(error.to_string()))?
        }
        (None, _) => {
            return Err(Problem::invalid("data is missing").remedy("give the record's fields as an object"));
        }
    };
    let operation = match request.operation {
        Operation::Create | Operation::Read => "create",
        Operation::Update => "update",
        Operation::Delete => "delete",
    };
    let keyed = headers.contains_key(IDEMPOTENCY_KEY);
    let _alone = if keyed { Some(app.once.lock().await) } else { None };
    let once = Once::begin(&app, &customer, &headers, &request).await?;
    if let Some(answer) = once.answer {
        return Ok((StatusCode::ACCEPTED, Json(answer)).into_response());
    }
    let push = Push {
        customer: customer.clone(),
        crm: request.crm.clone(),
        operation: operation.to_owned(),
        record_id: request.record_id.text(),
        data,
        correlation_id: correlation.0,
        priority: 1,
    };
    let pushed = app.runtime.push(push).await?;
    let answer = serde_json::json!({
        "job_id": pushed.job_id, "status": "queued", "record_id": request.record_id.text(),
        "customer_id": customer, "link": pushed.link, "direction": pushed.direction,
    });
    once.end(&app, &answer).await?;
    let place = format!("/v1/sync/status/{}", request.record_id.text());
    Ok((StatusCode::ACCEPTED, [(header::LOCATION, place)], Json(answer)).into_response())
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

/// A request that is carried out once, however often it comes.
struct Once {
    name: Option<String>,
    print: String,
    answer: Option<serde_json::Value>,
}

impl Once {
    async fn begin(
        app: &App,
        customer: &str,
        headers: &axum::http::HeaderMap,
        request: &PushRequest,
    ) -> Result<Self, Problem> {
        let print = format!(
            "{:032x}",
            xxhash_rust::xxh3::xxh3_128(
                format!(
                    "{:?}/{}/{}/{:?}",
                    request.operation,
                    request.record_id.text(),
                    request.crm,
                    request.data
                )
                .as_bytes()
            )
        );
        let Some(given) = headers.get(IDEMPOTENCY_KEY).and_then(|value| value.to_str().ok()) else {
            return Ok(Self { name: None, print, answer: None });
        };
        let name = format!("{customer}/{given}");
        let now = (app.runtime.clock)();
        let Some(stored) = app.runtime.store.get(IDEMPOTENCY_SPACE, &name, now).await? else {
            return Ok(Self { name: Some(name), print, answer: None });
        };
        let stored: serde_json::Value = serde_json::from_str(&stored).unwrap_or_default();
        if stored.get("print").and_then(serde_json::Value::as_str) != Some(&print) {
            return Err(Problem::invalid("this Idempotency-Key came with another request before")
                .remedy("use a new key for a new request"));
        }
        Ok(Self { name: Some(name), print, answer: stored.get("answer").cloned() })
    }

    async fn end(&self, app: &App, answer: &serde_json::Value) -> Result<(), Problem> {
        let Some(name) = &self.name else { return Ok(()) };
        let text = serde_json::json!({ "print": self.print, "answer": answer }).to_string();
        let expires = (app.runtime.clock)().plus(IDEMPOTENCY_KEPT);
        Ok(app.runtime.store.put(IDEMPOTENCY_SPACE, name, &text, Some(expires)).await?)
    }
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

/// How to run a link.
#[derive(Debug, Default, serde::Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct RunQuery {
    pub customer_id: Option<String>,
    /// Wait so many seconds for the pass to be through.
    pub wait: Option<f64>,
}

/// Runs one two-way pass of a link for a customer now, and keeps the link running.
#[utoipa::path(post, path = "/v1/sync/{link}", tag = "sync",
    params(("link" = String, Path, description = "a link of the configuration"), RunQuery),
    responses((status = 202, description = "under way, or through where waited for"), (status = 404, body = Problem)))]
pub async fn link(
    State(app): State<App>,
    Path(link): Path<String>,
    Query(query): Query<RunQuery>,
    correlation: Correlation,
) -> Result<Response, Problem> {
    let customer = query.customer_id.clone().unwrap_or_else(|| DEFAULT_CUSTOMER.to_owned());
    let running = app.runtime.start_link(&customer, &link).await?;
    let before = app.runtime.store.link(&customer, &link).await?.counters;
    let asked = app.runtime.ask_as(&running, &Side::BOTH, Some(&correlation.0));
    tracing::info!(event = "run.started", customer = %customer, link = %link,
        correlation_id = %correlation.0, "a pass was asked for");
    let mut body = serde_json::json!({
        "run_id": correlation.0, "customer_id": customer, "link": link, "status": "running",
    });
    if let Some(seconds) = query.wait {
        let limit = Duration::try_from_secs_f64(seconds)
            .map_err(|_| Problem::invalid("wait must be seconds, from 0 on"))?
            .min(WAIT_MAX);
        let report = app.runtime.wait(&customer, &link, &asked, limit, before).await?;
        if let Some(body) = body.as_object_mut() {
            let status = if report.complete { "complete" } else { "running" };
            body.insert("status".into(), status.into());
            body.insert("synced".into(), report.synced.into());
            body.insert("failed".into(), report.failed.into());
            body.insert("skipped".into(), report.skipped.into());
        }
    }
    let place = format!("/v1/links?customer_id={customer}");
    Ok((StatusCode::ACCEPTED, [(header::LOCATION, place)], Json(body)).into_response())
}

/// Which way to run.
#[derive(Debug, serde::Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ManualQuery {
    /// The link; the customer's first where left out.
    pub link: Option<String>,
    /// `forward` (a to b) or `reverse` (b to a).
    pub direction: Option<ManualDirection>,
    pub customer_id: Option<String>,
}

/// Which side to read.
#[derive(Clone, Copy, Debug, Default, serde::Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ManualDirection {
    #[default]
    #[serde(alias = "a_to_b")]
    Forward,
    #[serde(alias = "b_to_a")]
    Reverse,
}

/// Runs one one-way pass and waits for it.
#[utoipa::path(post, path = "/v1/sync/manual", tag = "sync", params(ManualQuery),
    responses((status = 200, description = "what the pass did"), (status = 404, body = Problem)))]
pub async fn manual(
    State(app): State<App>,
    Query(query): Query<ManualQuery>,
) -> Result<Json<serde_json::Value>, Problem> {
    let customer = query.customer_id.unwrap_or_else(|| DEFAULT_CUSTOMER.to_owned());
    let link = match query.link {
        Some(link) => link,
        None => first_link(&app, &customer)?,
    };
    let side = match query.direction.unwrap_or_default() {
        ManualDirection::Forward => Side::A,
        ManualDirection::Reverse => Side::B,
    };
    let running = app.runtime.start_link(&customer, &link).await?;
    let before = app.runtime.store.link(&customer, &link).await?.counters;
    let asked = app.runtime.ask(&running, &[side]);
    let report = app.runtime.wait(&customer, &link, &asked, MANUAL_WAIT, before).await?;
    Ok(Json(serde_json::json!({ "synced": report.synced, "failed": report.failed, "skipped": report.skipped,
        "complete": report.complete, "link": link, "customer_id": customer })))
}

fn first_link(app: &App, customer: &str) -> Result<String, Problem> {
    let config = app.runtime.config();
    let known = config.customer(customer).map_err(|error| Problem::invalid(error.to_string()))?;
    let first = known.links.keys().next().cloned();
    first.ok_or_else(|| Problem::not_found(format!("customer {customer} has no links")))
}

/// Polls a system once, on every running link of the customer that has it.
#[utoipa::path(post, path = "/v1/sync/poll/{system}", tag = "sync",
    params(("system" = String, Path, description = "a system's name, or a connector's"), CustomerQuery),
    responses((status = 200, description = "polled"), (status = 404, body = Problem)))]
pub async fn poll(
    State(app): State<App>,
    Path(system): Path<String>,
    Query(query): Query<CustomerQuery>,
) -> Result<Json<serde_json::Value>, Problem> {
    let asked = app.runtime.poll_system(query.id(), &system);
    if asked.is_empty() {
        return Err(Problem::not_found(format!(
            "no running link of customer {} has the system {system}",
            query.id()
        ))
        .remedy("start one with POST /v1/sync/{link}"));
    }
    let mut read = 0;
    let mut links = Vec::new();
    for ((customer, link), sides) in asked {
        let seen = |app: &App| {
            app.runtime.running(&customer, &link).map_or(0, |running| {
                sides
                    .iter()
                    .map(|(side, _)| at(&running.view.seen, *side).load(std::sync::atomic::Ordering::Relaxed))
                    .sum::<u64>()
            })
        };
        let before = seen(&app);
        let counters = app.runtime.store.link(&customer, &link).await?.counters;
        app.runtime.wait(&customer, &link, &sides, MANUAL_WAIT, counters).await?;
        read += seen(&app) - before;
        links.push(link);
    }
    Ok(Json(serde_json::json!({ "polled": system, "links": links, "records_read": read })))
}

/// Tries the dead, retrying and waiting jobs of a record again, now.
#[utoipa::path(post, path = "/v1/sync/retry/{record_id}", tag = "sync",
    params(("record_id" = String, Path, description = "a record's key")),
    responses((status = 202, description = "due now, with the jobs"), (status = 404, body = Problem)))]
pub async fn retry(
    State(app): State<App>,
    Path(record_id): Path<String>,
) -> Result<(StatusCode, Json<serde_json::Value>), Problem> {
    let jobs = app.runtime.retry(&record_id).await?;
    if jobs.is_empty() {
        return Err(Problem::not_found(format!(
            "no dead, retrying or waiting job stands for record {record_id}"
        )));
    }
    Ok((StatusCode::ACCEPTED, Json(serde_json::json!({ "record_id": record_id, "jobs": jobs }))))
}
