//! The service's own HTTP: correlation, limits, routes.

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::normalize_path::NormalizePath;

use super::api;
use super::input::Correlation;
use super::mocks::Mocks;
use super::once::{Turns, once};
use super::problem::Problem;
use crate::runtime::supervisor::Runtime;

/// What handlers share.
#[derive(Clone)]
pub struct App {
    pub runtime: Arc<Runtime>,
    pub mocks: Mocks,
    /// Whose turn it is among requests under one Idempotency-Key.
    pub once: Arc<Turns>,
    /// Renders the metrics as Prometheus text.
    pub metrics: Arc<dyn Fn() -> String + Send + Sync>,
}

const CORRELATION: HeaderName = HeaderName::from_static("x-correlation-id");
const CORRELATION_BYTES_MAX: usize = 128;

/// Returns all routes.
pub fn router(app: App) -> Router {
    let body_max = app.runtime.config().service.body_bytes_max;
    let mocks = app.mocks.router();
    let (routes, page) = api::routers(app.clone());
    let routes = routes
        .layer(middleware::from_fn_with_state(app, once))
        .fallback(async || Problem::not_found("there is no such path").remedy("see /docs"))
        .method_not_allowed_fallback(async || {
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "the path knows other methods").remedy("see /docs")
        })
        .layer(DefaultBodyLimit::max(body_max))
        .layer(middleware::map_response(problems_only))
        .layer(CatchPanicLayer::custom(|_: Box<dyn std::any::Any + Send>| {
            tracing::error!(event = "http.panicked", "a request handler broke down");
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the request could not be handled")
                .into_response()
        }))
        .layer(middleware::from_fn(correlate));
    let page = page.layer(middleware::from_fn(correlate));
    // The mocks see paths as they were sent, and the page sends `/docs` on to `/docs/`; the API does not
    // care for a slash at the end.
    mocks.merge(page).fallback_service(NormalizePath::trim_trailing_slash(routes))
}

/// Gives every request a correlation id and every answer the same one.
async fn correlate(mut request: Request, next: Next) -> Response {
    let given = request.headers().get(&CORRELATION).and_then(|value| value.to_str().ok());
    let fit = |text: &&str| {
        !text.is_empty()
            && text.len() <= CORRELATION_BYTES_MAX
            && text.chars().all(|letter| letter.is_ascii_graphic())
    };
    let id = given.filter(fit).map_or_else(|| uuid::Uuid::new_v4().to_string(), str::to_owned);
    request.extensions_mut().insert(Correlation(id.clone()));
    let mut response = next.run(request).await;
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(CORRELATION, value);
    }
    response
}

/// Errors that the framework made (a path segment that is no UTF-8) become problems too.
async fn problems_only(response: Response) -> Response {
    let plain = response
        .headers()
        .get(axum::http::header::CONTENT_TYPE)
        .is_none_or(|kind| kind.as_bytes().starts_with(b"text/plain"));
    if response.status().is_client_error() && plain {
        return Problem::new(response.status(), "the request can't be understood").into_response();
    }
    response
}
