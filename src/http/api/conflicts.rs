//! Conflicts that wait for a person: both values, and the pick.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Path, State};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::engine::history::{Contested, Resolution};
use crate::engine::record::{Direction, Side};
use crate::http::input::{Body, Correlation, Query};
use crate::http::problem::Problem;
use crate::http::server::App;
use crate::runtime::operate::key;
use crate::runtime::resolve::{Conflict, ConflictFilter, Resolve, Resolved};

const LIMIT: usize = 100;
const LIMIT_MAX: usize = 1000;

/// Which conflicts to list.
#[derive(Debug, Default, serde::Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ConflictQuery {
    /// Only this customer's; all where left out.
    pub customer_id: Option<String>,
    pub link: Option<String>,
    /// Only this record's.
    pub record_id: Option<String>,
    /// At most so many; 100 where left out.
    pub limit: Option<usize>,
    /// `next_cursor` of the answer before.
    pub cursor: Option<i64>,
}

/// Lists records that both sides changed and that wait for somebody to pick, newest first.
#[utoipa::path(get, path = "/v1/conflicts", tag = "conflicts", params(ConflictQuery),
    responses((status = 200, description = "conflicts with both values of every field")))]
pub async fn list(
    State(app): State<App>,
    Query(query): Query<ConflictQuery>,
) -> Result<Json<Value>, Problem> {
    let filter = ConflictFilter {
        customer: query.customer_id,
        link: query.link,
        key: query.record_id.as_deref().map(key).transpose()?,
        before: query.cursor,
        limit: query.limit.unwrap_or(LIMIT).clamp(1, LIMIT_MAX),
    };
    let (conflicts, next) = app.runtime.conflicts(&filter).await?;
    let items: Vec<Value> = conflicts.iter().map(item).collect();
    Ok(Json(json!({ "items": items, "next_cursor": next })))
}

/// What is to stand: one side's values, one field's, or values of one's own.
#[derive(Debug, serde::Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ResolveRequest {
    /// `a` or `b`, for all fields that are not named.
    pub pick: Option<PickedSide>,
    /// `a` or `b` by field, under its name at either side.
    #[serde(default)]
    pub fields: BTreeMap<String, PickedSide>,
    /// A value by field, as the field at `a` has it; written to both sides.
    #[serde(default)]
    #[schema(value_type = BTreeMap<String, serde_json::Value>)]
    pub values: BTreeMap<String, Box<RawValue>>,
}

/// One side of a link.
#[derive(Clone, Copy, Debug, serde::Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PickedSide {
    A,
    B,
}

impl From<PickedSide> for Side {
    fn from(picked: PickedSide) -> Self {
        match picked {
            PickedSide::A => Self::A,
            PickedSide::B => Self::B,
        }
    }
}

/// Settles a conflict; what was picked then travels like any other change.
#[utoipa::path(post, path = "/v1/conflicts/{id}/resolve", tag = "conflicts", request_body = ResolveRequest,
    params(("id" = i64, Path, description = "a conflict of GET /v1/conflicts")),
    responses((status = 200, description = "what was settled, and what remains"),
        (status = 404, description = "no such conflict, or it is settled already", body = Problem),
        (status = 422, description = "no such field is in conflict", body = Problem)))]
pub async fn resolve(
    State(app): State<App>,
    Path(id): Path<i64>,
    correlation: Correlation,
    Body(request): Body<ResolveRequest>,
) -> Result<Json<Value>, Problem> {
    let wanted = Resolve {
        pick: request.pick.map(Side::from),
        fields: request.fields.into_iter().map(|(name, side)| (name, side.into())).collect(),
        values: request.values,
    };
    let resolved = app.runtime.resolve(id, wanted, &correlation.0).await?;
    Ok(Json(answer(id, &resolved)))
}

fn answer(id: i64, resolved: &Resolved) -> Value {
    let settled: Vec<Value> = resolved.resolutions.iter().map(settled).collect();
    let remaining: Vec<Value> = resolved.remaining.iter().map(field).collect();
    let status = |direction: Direction| {
        resolved.pair.as_ref().map_or("none", |pair| pair.way(direction).status.as_str())
    };
    json!({ "id": id, "customer": resolved.link.0, "link": resolved.link.1, "key": resolved.key.to_string(),
        "resolved": settled, "remaining": remaining,
        "a_to_b": status(Direction::AToB), "b_to_a": status(Direction::BToA) })
}

fn settled(resolution: &Resolution) -> Value {
    json!({ "a_field": resolution.a_field, "b_field": resolution.b_field, "pick": resolution.pick,
        "value": resolution.value.as_ref().map(crate::engine::history::Cell::shown) })
}

fn field(contested: &Contested) -> Value {
    json!({ "a_field": contested.a_field, "b_field": contested.b_field,
        "a": contested.a.shown(), "b": contested.b.shown() })
}

fn item(conflict: &Conflict) -> Value {
    let fields: Vec<Value> = conflict.fields.iter().map(field).collect();
    let side = |side: Side| {
        conflict.pair.as_ref().map(|pair| pair.side(side)).map(|state| {
            json!({ "id": state.id.as_deref(), "seen_at": state.seen_at, "modified_at": state.modified_at })
        })
    };
    json!({ "id": conflict.job.id, "customer": conflict.link.0, "link": conflict.link.1,
        "key": conflict.job.key.to_string(), "fields": fields, "a": side(Side::A), "b": side(Side::B),
        "since": conflict.job.created_at, "rules_version": conflict.job.rules_version,
        "error": conflict.job.error.as_ref().map(|error| &error.message) })
}
