//! The links with the states of their directions.

use axum::Json;
use axum::extract::{Path, State};

use super::status::link_view;
use crate::engine::record::Direction;
use crate::http::input::{CustomerQuery, Query};
use crate::http::problem::Problem;
use crate::http::server::App;

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

/// Lets frozen directions apply, once, what they hold back.
#[utoipa::path(post, path = "/v1/links/{link}/approve", tag = "links",
    params(("link" = String, Path, description = "a link"), CustomerQuery),
    responses((status = 200, description = "approved"), (status = 404, body = Problem)))]
pub async fn approve(
    State(app): State<App>,
    Path(link): Path<String>,
    Query(query): Query<CustomerQuery>,
) -> Result<Json<serde_json::Value>, Problem> {
    let mut approved = Vec::new();
    for direction in Direction::BOTH {
        if app.runtime.approve(query.id(), &link, direction).await? {
            approved.push(direction.as_str());
        }
    }
    if approved.is_empty() {
        return Err(Problem::not_found(format!("no direction of {link} is frozen")));
    }
    Ok(Json(serde_json::json!({ "approved": approved })))
}

async fn one(app: &App, customer: &str, link: &str) -> Result<Json<serde_json::Value>, Problem> {
    let state = app.runtime.store.link(customer, link).await?;
    Ok(Json(link_view(app, &state).await?))
}
