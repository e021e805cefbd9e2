//! Alive, ready, metrics.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;

use crate::http::problem::Problem;
use crate::http::server::App;
use crate::runtime::meter;

/// Tells that the process answers.
#[utoipa::path(get, path = "/healthz", tag = "health", responses((status = 200, description = "alive")))]
pub async fn alive() -> Json<serde_json::Value> {
    Json(serde_json::json!({ "status": "ok" }))
}

/// Tells whether the state can be used and rules are in force.
#[utoipa::path(get, path = "/readyz", tag = "health",
    responses((status = 200, description = "ready"), (status = 503, description = "not ready", body = Problem)))]
pub async fn ready(State(app): State<App>) -> Result<Json<serde_json::Value>, Problem> {
    app.runtime.store.links().await?;
    if app.runtime.stopping().is_cancelled() {
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "the service is shutting down"));
    }
    Ok(Json(serde_json::json!({ "status": "ready" })))
}

/// Renders the metrics as Prometheus text.
#[utoipa::path(get, path = "/metrics", tag = "health",
    responses((status = 200, description = "Prometheus text", content_type = "text/plain")))]
pub async fn metrics(State(app): State<App>) -> impl IntoResponse {
    meter::measure(&app.runtime).await;
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], (app.metrics)())
}
