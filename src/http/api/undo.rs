//! Undo: what we overwrote comes back, where our value still stands.

use axum::Json;
use axum::extract::State;
use serde_json::{Map, Value, json};

use crate::engine::history::{Cell, Kept, Operation};
use crate::engine::record::{Key, Timestamp};
use crate::http::input::{Body, Correlation, CustomerQuery, DEFAULT_CUSTOMER, Query};
use crate::http::problem::Problem;
use crate::http::server::App;
use crate::runtime::operate::key;
use crate::runtime::supervisor::LinkKey;
use crate::runtime::undo::{Restored, Undo};

use super::push::RecordId;

/// Which writes to take back: all that is named has to hold.
#[derive(Debug, serde::Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UndoRequest {
    pub customer_id: Option<String>,
    /// Only this link; all of the customer's where left out.
    pub link: Option<String>,
    /// A record's key.
    #[schema(value_type = Option<serde_json::Value>)]
    pub record: Option<RecordId>,
    /// A run, as `POST /v1/sync/{link}` answers it and as events name it.
    pub run: Option<String>,
    /// What was written under this version of the rules.
    pub rules_version: Option<u32>,
    /// Not before this moment (RFC 3339).
    pub from: Option<String>,
    /// Before this moment (RFC 3339).
    pub to: Option<String>,
    /// Only say what would be done.
    #[serde(default)]
    pub dry_run: bool,
}

/// Brings back what we overwrote, only where our value still stands there; all else is listed for review.
#[utoipa::path(post, path = "/v1/undo", tag = "undo", request_body = UndoRequest, params(CustomerQuery),
    responses((status = 200, description = "`restored` (queued, or what would be), and `review`"),
        (status = 422, description = "nothing says what to undo", body = Problem)))]
pub async fn undo(
    State(app): State<App>,
    Query(query): Query<CustomerQuery>,
    correlation: Correlation,
    Body(request): Body<UndoRequest>,
) -> Result<Json<Value>, Problem> {
    let says_what = request.record.is_some()
        || request.run.is_some()
        || request.rules_version.is_some()
        || request.from.is_some()
        || request.to.is_some();
    if !says_what {
        return Err(Problem::invalid("nothing says what to undo")
            .remedy("give a record, a run, a rules_version, or from and to"));
    }
    let customer = request.customer_id.or(query.customer_id).unwrap_or_else(|| DEFAULT_CUSTOMER.to_owned());
    if let Some(link) = &request.link {
        let config = app.runtime.config();
        let known = config.customer(&customer).map_err(|error| Problem::invalid(error.to_string()))?;
        if !known.links.contains_key(link) {
            return Err(Problem::not_found(format!("there is no link {link:?}")));
        }
    }
    let wanted = Undo {
        customer,
        link: request.link,
        record: request.record.map(|record| key(&record.text())).transpose()?,
        run: request.run,
        rules_version: request.rules_version,
        from: moment("from", request.from.as_deref())?,
        to: moment("to", request.to.as_deref())?,
        dry_run: request.dry_run,
        correlation_id: correlation.0.clone(),
    };
    let dry_run = wanted.dry_run;
    let undone = app.runtime.undo(wanted).await?;
    let restored: Vec<Value> = undone.restored.iter().map(restored).collect();
    let review: Vec<Value> = undone.kept.iter().map(|(link, key, kept)| review(link, key, kept)).collect();
    Ok(Json(json!({ "dry_run": dry_run, "run": correlation.0, "restored_count": restored.len(),
        "review_count": review.len(), "restored": restored, "review": review, "more": undone.more })))
}

fn moment(name: &str, text: Option<&str>) -> Result<Option<Timestamp>, Problem> {
    text.map(|text| {
        Timestamp::parse_rfc3339(text).ok_or_else(|| {
            Problem::invalid(format!("{name}: {text:?} is no moment"))
                .remedy("write it as RFC 3339 with a zone, such as 2026-01-31T10:00:00Z")
        })
    })
    .transpose()
}

fn restored(restored: &Restored) -> Value {
    let Restored { link, key, restore, job_id } = restored;
    let fields: Map<String, Value> = restore
        .data
        .iter()
        .map(|(name, to)| {
            let from = restore.expect.get(name).map(Cell::shown);
            (name.clone(), json!({ "from": from, "to": to.shown() }))
        })
        .collect();
    let operation = if restore.operation == Operation::Create { "create" } else { "update" };
    json!({ "customer": link.0, "link": link.1, "key": key.to_string(),
        "side": restore.direction.to().as_str(), "operation": operation, "fields": fields,
        "events": restore.events, "job_id": job_id })
}

fn review((customer, link): &LinkKey, key: &Key, kept: &Kept) -> Value {
    json!({ "customer": customer, "link": link, "key": key.to_string(), "side": kept.direction.to().as_str(),
        "field": kept.field, "reason": kept.reason, "before": kept.before.as_ref().map(Cell::shown),
        "now": kept.now.as_ref().map(Cell::shown), "events": kept.events })
}
