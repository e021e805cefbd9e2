//! The links with the states of their directions.

use axum::Json;
use axum::extract::{Path, State};

use super::status::link_view;
use crate::engine::record::Timestamp;
use crate::http::input::{CustomerQuery, Query};
use crate::http::problem::Problem;
use crate::http::server::App;
use crate::runtime::fuse::{Held, Word};

/// Lists all links that were ever started.
#[utoipa::path(get, path = "/v1/links", tag = "links", params(CustomerQuery),
    responses((status = 200, description = "links with their directions")))]
pub async fn list(
    State(app): State<App>,
    Query(query): Query<CustomerQuery>,
) -> Result<Json<serde_json::Value>, Problem> {
    let mut items = Vec::new();
    for state in app.runtime.store.links().await? {
        if query.customer_id.as_ref().is_none_or(|customer| *customer == state.customer) {
            items.push(link_view(&app, &state).await?);
        }
    }
    Ok(Json(serde_json::json!({ "items": items, "next_cursor": null })))
}

/// Stops a link until it is resumed; durable.
#[utoipa::path(post, path = "/v1/links/{link}/pause", tag = "links",
    params(("link" = String, Path, description = "a link"), CustomerQuery),
    responses((status = 200, description = "paused"), (status = 404, body = Problem)))]
pub async fn pause(
    State(app): State<App>,
    Path(link): Path<String>,
    Query(query): Query<CustomerQuery>,
) -> Result<Json<serde_json::Value>, Problem> {
    app.runtime.pause(query.id(), &link, true).await?;
    one(&app, query.id(), &link).await
}

/// Lets a paused link run on.
#[utoipa::path(post, path = "/v1/links/{link}/resume", tag = "links",
    params(("link" = String, Path, description = "a link"), CustomerQuery),
    responses((status = 200, description = "running"), (status = 404, body = Problem)))]
pub async fn resume(
    State(app): State<App>,
    Path(link): Path<String>,
    Query(query): Query<CustomerQuery>,
) -> Result<Json<serde_json::Value>, Problem> {
    app.runtime.pause(query.id(), &link, false).await?;
    one(&app, query.id(), &link).await
}

/// Lets what frozen directions hold back through, once.
///
/// Only as much as was listed: should the stream have lost more by then, the fuse blows again. Where the
/// stream was restored from a backup, what stands there now counts, and is read from the beginning.
#[utoipa::path(post, path = "/v1/links/{link}/approve", tag = "links",
    params(("link" = String, Path, description = "a link"), CustomerQuery),
    responses((status = 200, description = "approved: the directions, and what they held back"),
        (status = 404, body = Problem), (status = 409, body = Problem)))]
pub async fn approve(
    State(app): State<App>,
    Path(link): Path<String>,
    Query(query): Query<CustomerQuery>,
) -> Result<Json<serde_json::Value>, Problem> {
    answer(&app, query.id(), &link, Word::Approve, "approved").await
}

/// Puts aside what frozen directions hold back: deleted records are made again, and emptied fields filled
/// again, from the other side.
///
/// Where no way leads back, both sides stay as they are. Where the stream was restored from a backup, whatever
/// looks otherwise than both sides agreed is filled again.
#[utoipa::path(post, path = "/v1/links/{link}/discard", tag = "links",
    params(("link" = String, Path, description = "a link"), CustomerQuery),
    responses((status = 200, description = "discarded: the directions, and what they held back"),
        (status = 404, body = Problem), (status = 409, body = Problem)))]
pub async fn discard(
    State(app): State<App>,
    Path(link): Path<String>,
    Query(query): Query<CustomerQuery>,
) -> Result<Json<serde_json::Value>, Problem> {
    answer(&app, query.id(), &link, Word::Discard, "discarded").await
}

async fn answer(
    app: &App,
    customer: &str,
    link: &str,
    word: Word,
    said: &str,
) -> Result<Json<serde_json::Value>, Problem> {
    let answered = app.runtime.answer(customer, link, word).await?;
    if answered.is_empty() {
        return Err(Problem::not_found(format!("no direction of {link} is frozen")));
    }
    let directions: Vec<&str> = answered.iter().map(|(direction, _)| direction.as_str()).collect();
    let held: serde_json::Map<String, serde_json::Value> = answered
        .iter()
        .map(|(direction, held)| (direction.as_str().to_owned(), held_view(held.as_ref())))
        .collect();
    Ok(Json(serde_json::json!({ said: directions, "held_back": held })))
}

/// What a frozen direction holds back.
pub fn held_view(held: Option<&Held>) -> serde_json::Value {
    held.map_or(serde_json::Value::Null, |held| {
        serde_json::json!({ "since": Timestamp(held.since_ms), "findings": held.findings, "records": held.records,
            "answer": held.answer })
    })
}

async fn one(app: &App, customer: &str, link: &str) -> Result<Json<serde_json::Value>, Problem> {
    let state = app.runtime.store.link(customer, link).await?;
    Ok(Json(link_view(app, &state).await?))
}
