//! Limits that a person sets while the service runs.

use axum::Json;
use axum::extract::State;

use crate::http::input::{Body, Query};
use crate::http::problem::Problem;
use crate::http::server::App;
use crate::runtime::overrides::Override;

/// What is asked for.
#[derive(Debug, serde::Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OverrideRequest {
    /// A system's name, or a connector's.
    pub crm: String,
    /// All customers where left out.
    pub customer_id: Option<String>,
    pub batch_size: Option<usize>,
    /// Seconds.
    pub flush_interval: Option<f64>,
    pub rate_limit_per_minute: Option<u32>,
    pub max_requests: Option<u32>,
    /// Seconds.
    pub window_size: Option<f64>,
    /// Calls in any 24 hours.
    pub max_per_day: Option<u32>,
    /// Calls under way at once.
    pub concurrency: Option<u32>,
    /// Seconds from now; for ever where left out.
    pub expires_in: Option<f64>,
}

impl OverrideRequest {
    fn check(&self) -> Result<(), Problem> {
        let positive = |name: &str, good: bool| {
            if good { Ok(()) } else { Err(Problem::invalid(format!("{name} must be above zero"))) }
        };
        positive("batch_size", self.batch_size != Some(0))?;
        positive("max_requests", self.max_requests != Some(0))?;
        positive("rate_limit_per_minute", self.rate_limit_per_minute != Some(0))?;
        positive("max_per_day", self.max_per_day != Some(0))?;
        positive("concurrency", self.concurrency != Some(0))?;
        positive("window_size", self.window_size.is_none_or(|value| value > 0.0))?;
        positive("expires_in", self.expires_in.is_none_or(|value| value > 0.0))?;
        let finite = self.flush_interval.is_none_or(|value| (0.0..=86_400.0).contains(&value));
        if !finite {
            return Err(Problem::invalid("flush_interval must be from 0 to 86,400 seconds"));
        }
        let nothing = self.batch_size.is_none()
            && self.flush_interval.is_none()
            && self.rate_limit_per_minute.is_none()
            && self.max_requests.is_none()
            && self.window_size.is_none()
            && self.max_per_day.is_none()
            && self.concurrency.is_none();
        if nothing {
            return Err(Problem::invalid("nothing to override").remedy(
                "give batch_size, flush_interval, rate_limit_per_minute, max_requests, window_size, max_per_day or concurrency",
            ));
        }
        Ok(())
    }
}

/// Sets an override; it takes effect on the next call and outlives a restart.
#[utoipa::path(post, path = "/v1/sync/config-override", tag = "overrides", request_body = OverrideRequest,
    responses((status = 200, description = "in force"), (status = 404, body = Problem), (status = 422, body = Problem)))]
pub async fn set(
    State(app): State<App>,
    Body(request): Body<OverrideRequest>,
) -> Result<Json<Override>, Problem> {
    request.check()?;
    known(&app, request.customer_id.as_deref(), &request.crm)?;
    let expires = request.expires_in.map(|seconds| {
        let wait = std::time::Duration::try_from_secs_f64(seconds).unwrap_or(std::time::Duration::MAX);
        (app.runtime.clock)().plus(wait).0
    });
    let wanted = Override {
        crm: request.crm,
        customer_id: request.customer_id,
        batch_size: request.batch_size,
        flush_interval: request.flush_interval,
        rate_limit_per_minute: request.rate_limit_per_minute,
        max_requests: request.max_requests,
        window_size: request.window_size,
        max_per_day: request.max_per_day,
        concurrency: request.concurrency,
        expires_at_ms: expires,
    };
    app.runtime.overrides.set(wanted.clone()).await?;
    app.runtime.apply_limits();
    tracing::info!(event = "override.set", customer = wanted.customer_id.as_deref().unwrap_or("*"),
        system = %wanted.crm, "limits were overridden");
    Ok(Json(wanted))
}

fn known(app: &App, customer: Option<&str>, crm: &str) -> Result<(), Problem> {
    let config = app.runtime.config();
    let has = |customer: &crate::config::Customer| {
        customer.systems.iter().any(|(name, system)| name == crm || system.connector == crm)
    };
    let found = match customer {
        Some(id) => has(&config.customer(id).map_err(|error| Problem::invalid(error.to_string()))?),
        None => config.customers.values().chain([&config.default]).any(has),
    };
    if found { Ok(()) } else { Err(Problem::not_found(format!("there is no system {crm}"))) }
}

/// Lists what is in force.
#[utoipa::path(get, path = "/v1/sync/config-override", tag = "overrides",
    responses((status = 200, description = "all overrides in force")))]
pub async fn list(State(app): State<App>) -> Json<serde_json::Value> {
    let items = app.runtime.overrides.list((app.runtime.clock)());
    Json(serde_json::json!({ "items": items, "next_cursor": null }))
}

/// Which override to remove.
#[derive(Debug, serde::Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct RemoveQuery {
    pub crm: String,
    pub customer_id: Option<String>,
}

/// Removes an override: what the file says holds again.
#[utoipa::path(delete, path = "/v1/sync/config-override", tag = "overrides", params(RemoveQuery),
    responses((status = 200, description = "removed"), (status = 404, body = Problem)))]
pub async fn remove(
    State(app): State<App>,
    Query(query): Query<RemoveQuery>,
) -> Result<Json<serde_json::Value>, Problem> {
    let removed = app.runtime.overrides.remove(query.customer_id.as_deref(), &query.crm).await?;
    if !removed {
        return Err(Problem::not_found(format!("nothing overrides {}", query.crm)));
    }
    app.runtime.apply_limits();
    Ok(Json(serde_json::json!({ "removed": true })))
}
