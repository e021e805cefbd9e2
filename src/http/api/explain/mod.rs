//! The whole story of one record: seen, judged, decided, tried, and why it is not where one looks for it.
//!
//! The rules are asked now, of what is known of the record now; history tells what was decided then.

mod facts;
mod story;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde_json::{Value, json};

use self::facts::Known;
use crate::engine::record::{Direction, Side};
use crate::http::input::{Correlation, Query};
use crate::http::problem::Problem;
use crate::http::server::App;
use crate::runtime::operate::key;

/// Events that are told where nobody says how many.
const EVENTS: usize = 50;
const EVENTS_MAX: usize = 1000;

/// Of whom, and how much of the past.
#[derive(Debug, Default, serde::Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ExplainQuery {
    /// The customer; `default` where left out.
    pub customer_id: Option<String>,
    /// At most so many events of the history; 50 where left out.
    pub limit: Option<usize>,
    /// Only events before this one: `next_cursor` of an earlier answer.
    pub cursor: Option<i64>,
}

/// Tells the whole story of a record on a link, in words and as data; also why it was not synced.
#[utoipa::path(get, path = "/v1/explain/{link}/{key}", tag = "status",
    params(("link" = String, Path, description = "a link"), ("key" = String, Path, description = "a record's key"), ExplainQuery),
    responses((status = 200, description = "`story` in plain words; sides, verdicts of every rule, decision, jobs, history"),
        (status = 404, description = "no such link, or neither side has such a record", body = Problem)))]
pub async fn explain(
    State(app): State<App>,
    Path((link, record)): Path<(String, String)>,
    Query(query): Query<ExplainQuery>,
    correlation: Correlation,
) -> Result<Json<Value>, Problem> {
    let customer = query.customer_id.as_deref().unwrap_or(crate::http::input::DEFAULT_CUSTOMER);
    let limit = query.limit.unwrap_or(EVENTS).clamp(1, EVENTS_MAX);
    let known = Known::gather(&app, customer, &link, key(&record)?, (limit, query.cursor)).await?;
    let looked = if known.is_unheard_of() { Some(known.look(correlation.0).await) } else { None };
    let story = story::tell(&known, looked.as_ref());
    if looked.as_ref().is_some_and(facts::Looked::is_nowhere) {
        return Err(Problem::new(StatusCode::NOT_FOUND, story.join(" "))
            .with("record_id", record)
            .with("link", link)
            .with("status", "unknown")
            .with("story", story));
    }
    let history: Vec<Value> = known.history.iter().map(|recorded| known.event(recorded)).collect();
    let next = known.history.last().filter(|_| known.history.len() == limit).map(|last| last.id);
    Ok(Json(json!({
        "customer": customer, "link": link, "key": known.key.to_string(), "known": known.pair.is_some(),
        "story": story,
        "state": known.state_word(),
        "rules_version": known.ctx.as_ref().map(|ctx| ctx.rules.version),
        "a": known.side(Side::A, looked.as_ref()), "b": known.side(Side::B, looked.as_ref()),
        "a_to_b": known.way(Direction::AToB), "b_to_a": known.way(Direction::BToA),
        "history": history, "next_cursor": next,
    })))
}
