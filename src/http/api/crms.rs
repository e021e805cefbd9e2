//! The connectors, and the door to the built-in mocks.

use axum::Json;
use axum::extract::{Path, State};
use serde_json::value::RawValue;

use crate::connectors::{self, CONNECTORS};
use crate::engine::record::{Meta, Record, Schema, Value, value_from_raw};
use crate::http::input::{Body, CustomerQuery, Query};
use crate::http::problem::Problem;
use crate::http::server::App;

/// Lists the connectors that this build knows.
#[utoipa::path(get, path = "/v1/crms/available", tag = "crms", responses((status = 200, description = "the connectors")))]
pub async fn available() -> Json<serde_json::Value> {
    let items: Vec<serde_json::Value> = CONNECTORS
        .iter()
        .map(|connector| {
            serde_json::json!({ "name": connector.name, "about": connector.about, "remote": connector.remote,
                "mock": connector.mock.is_some() })
        })
        .collect();
    Json(serde_json::json!({ "items": items, "next_cursor": null }))
}

/// Gives the JSON Schema of a connector's settings.
#[utoipa::path(get, path = "/v1/crms/{crm}/schema", tag = "crms",
    params(("crm" = String, Path, description = "a connector's name")),
    responses((status = 200, description = "JSON Schema"), (status = 404, body = Problem)))]
pub async fn schema(Path(crm): Path<String>) -> Result<Json<serde_json::Value>, Problem> {
    let connector = connectors::find(&crm).ok_or_else(|| {
        Problem::not_found(format!("there is no connector {crm}")).remedy("see /v1/crms/available")
    })?;
    Ok(Json((connector.settings_schema)()))
}

type Fields = std::collections::BTreeMap<String, Box<RawValue>>;

/// Puts a record into the customer's mock Salesforce, as if someone had edited it there.
#[utoipa::path(post, path = "/v1/crms/mock/salesforce/push", tag = "crms", params(CustomerQuery),
    request_body = serde_json::Value,
    responses((status = 201, description = "stored"), (status = 404, body = Problem), (status = 422, body = Problem)))]
pub async fn push_salesforce(
    State(app): State<App>,
    Query(query): Query<CustomerQuery>,
    Body(fields): Body<Fields>,
) -> Result<(axum::http::StatusCode, Json<serde_json::Value>), Problem> {
    push(&app, query.id(), "salesforce", &fields)
}

/// Puts a record into the customer's mock Outreach, as if someone had edited it there.
#[utoipa::path(post, path = "/v1/crms/mock/outreach/push", tag = "crms", params(CustomerQuery),
    request_body = serde_json::Value,
    responses((status = 201, description = "stored"), (status = 404, body = Problem), (status = 422, body = Problem)))]
pub async fn push_outreach(
    State(app): State<App>,
    Query(query): Query<CustomerQuery>,
    Body(fields): Body<Fields>,
) -> Result<(axum::http::StatusCode, Json<serde_json::Value>), Problem> {
    push(&app, query.id(), "outreach", &fields)
}

/// Puts a record into the customer's mock ServiceNow, as if someone had edited it there.
#[utoipa::path(post, path = "/v1/crms/mock/servicenow/push", tag = "crms", params(CustomerQuery),
    request_body = serde_json::Value,
    responses((status = 201, description = "stored"), (status = 404, body = Problem), (status = 422, body = Problem)))]
pub async fn push_servicenow(
    State(app): State<App>,
    Query(query): Query<CustomerQuery>,
    Body(fields): Body<Fields>,
) -> Result<(axum::http::StatusCode, Json<serde_json::Value>), Problem> {
    push(&app, query.id(), "servicenow", &fields)
}

fn push(
    app: &App,
    customer_id: &str,
    connector: &str,
    fields: &Fields,
) -> Result<(axum::http::StatusCode, Json<serde_json::Value>), Problem> {
    let config = app.runtime.config();
    let customer = config.customer(customer_id).map_err(|error| Problem::invalid(error.to_string()))?;
    let systems = customer.systems.iter().filter(|(_, system)| system.connector == connector);
    let found = systems.filter_map(|(name, _)| Some((name, app.mocks.get(customer_id, name)?))).next();
    let (system, mock) = found.ok_or_else(|| {
        Problem::not_found(format!("customer {customer_id} has no mock {connector}"))
            .remedy(format!("give a system connector = \"{connector}\" and base_url = \"mock\""))
    })?;
    let ends = customer.links.values().flat_map(|link| [&link.a, &link.b]);
    let end = ends.into_iter().find(|end| end.system == *system);
    let key = end.and_then(|end| end.key.first()).map_or("record_id", String::as_str);
    let values: Result<Vec<Value>, Problem> = fields
        .iter()
        .map(|(name, raw)| value_from_raw(raw).map_err(|error| Problem::invalid(format!("{name}: {error}"))))
        .collect();
    let record = Record { schema: Schema::new(fields.keys()), values: values?.into(), meta: Meta::default() };
    let id = mock
        .push(end.map(|end| end.stream.as_str()), key, &record, (app.runtime.clock)())
        .map_err(Problem::invalid)?;
    Ok((
        axum::http::StatusCode::CREATED,
        Json(serde_json::json!({ "id": id, "crm": connector, "customer_id": customer_id })),
    ))
}
