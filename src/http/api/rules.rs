//! The rules: read, replaced, rolled back.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::http::input::{CustomerQuery, Query};
use crate::http::problem::Problem;
use crate::http::server::App;
use crate::runtime::book::RuleBook;

async fn book(app: &App, customer: &str) -> Result<Arc<RuleBook>, Problem> {
    let config = app.runtime.config();
    let customer = config.customer(customer).map_err(|error| Problem::invalid(error.to_string()))?;
    app.runtime
        .book(&customer)
        .await
        .map_err(|error| Problem::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string()))
}

/// Reads the rules in force, with their version, and why a newer file was refused, if it was.
#[utoipa::path(get, path = "/v1/sync/rules", tag = "rules", params(CustomerQuery),
    responses((status = 200, description = "the rules in force, under an ETag")))]
pub async fn read(State(app): State<App>, Query(query): Query<CustomerQuery>) -> Result<Response, Problem> {
    let book = book(&app, query.id()).await?;
    let current = book.current();
    let rules: serde_json::Value = serde_json::from_str(&current.text).unwrap_or_default();
    let refusal = book.refusal();
    let body = serde_json::json!({
        "version": current.version,
        "file": book.path,
        "loaded_at": current.loaded_at,
        "last_reload_successful": refusal.is_none(),
        "error": refusal,
        "rules": rules,
    });
    Ok(([(header::ETAG, current.etag())], Json(body)).into_response())
}

/// How to replace.
#[derive(Debug, Default, serde::Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ReplaceQuery {
    pub customer_id: Option<String>,
    /// Only say what would change.
    #[serde(default)]
    pub dry_run: bool,
}

/// Replaces the rules: checked as a whole, written to the file atomically, in force at once.
#[utoipa::path(post, path = "/v1/sync/rules", tag = "rules", params(ReplaceQuery), request_body = serde_json::Value,
    responses((status = 200, description = "in force, or what would change"),
        (status = 412, description = "the rules have changed since they were read", body = Problem),
        (status = 422, description = "no good; the last rules stay", body = Problem)))]
pub async fn replace(
    State(app): State<App>,
    Query(query): Query<ReplaceQuery>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    let customer = CustomerQuery { customer_id: query.customer_id };
    let book = book(&app, customer.id()).await?;
    if let Some(wanted) = headers.get(header::IF_MATCH).and_then(|value| value.to_str().ok())
        && wanted != "*"
        && wanted != book.current().etag()
    {
        return Err(Problem::new(
            StatusCode::PRECONDITION_FAILED,
            "the rules have changed since they were read",
        )
        .remedy("read them again and lay your change over them"));
    }
    let text = String::from_utf8(body.to_vec()).map_err(|_| Problem::invalid("the body is not UTF-8"))?;
    if query.dry_run {
        let (_, report) = app
            .runtime
            .check_rules(&book, &text)
            .await
            .map_err(|error| Problem::from(crate::runtime::reload::ReloadError::Rules(error)))?;
        return Ok(Json(serde_json::json!({ "dry_run": true, "changed": report.changed,
            "unchanged": report.unchanged }))
        .into_response());
    }
    let report = app.runtime.replace_rules(&book, text).await?;
    Ok(([(header::ETAG, book.current().etag())], Json(report)).into_response())
}

/// Lists the versions that were ever in force, newest first.
#[utoipa::path(get, path = "/v1/sync/rules/versions", tag = "rules", params(CustomerQuery),
    responses((status = 200, description = "the versions")))]
pub async fn versions(
    State(app): State<App>,
    Query(query): Query<CustomerQuery>,
) -> Result<Json<serde_json::Value>, Problem> {
    let book = book(&app, query.id()).await?;
    let current = book.current().version;
    let versions = app.runtime.store.rules_versions(&book.name()).await?;
    let items: Vec<serde_json::Value> = versions
        .into_iter()
        .map(|version| {
            serde_json::json!({ "version": version.version, "at": version.at, "current": version.version == current,
                "rules": serde_json::from_str::<serde_json::Value>(&version.text).unwrap_or_default() })
        })
        .collect();
    Ok(Json(serde_json::json!({ "items": items, "next_cursor": null })))
}

/// Puts an earlier version in force again, in the file as well.
#[utoipa::path(post, path = "/v1/sync/rules/rollback/{version}", tag = "rules",
    params(("version" = u32, Path, description = "a version that was in force"), CustomerQuery),
    responses((status = 200, description = "in force again"), (status = 404, body = Problem)))]
pub async fn rollback(
    State(app): State<App>,
    Path(version): Path<u32>,
    Query(query): Query<CustomerQuery>,
) -> Result<Response, Problem> {
    let book = book(&app, query.id()).await?;
    let versions = app.runtime.store.rules_versions(&book.name()).await?;
    let wanted = versions
        .into_iter()
        .find(|known| known.version == version)
        .ok_or_else(|| Problem::not_found(format!("there never was a version {version}")))?;
    let report = app.runtime.replace_rules(&book, wanted.text).await?;
    Ok(([(header::ETAG, book.current().etag())], Json(report)).into_response())
}
