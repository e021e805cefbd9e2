//! Sync on demand: run a link, poll a system, try again.

use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::engine::record::Side;
use crate::http::input::{Correlation, CustomerQuery, DEFAULT_CUSTOMER, Query};
use crate::http::problem::Problem;
use crate::http::server::App;
use crate::runtime::link::at;

/// The longest time that a request may wait for a pass.
const WAIT_MAX: Duration = Duration::from_secs(600);
/// How long a one-way pass is waited for.
const MANUAL_WAIT: Duration = Duration::from_secs(60);
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
