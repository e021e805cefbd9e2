//! Dead letters: what could not be delivered, looked through, replayed and deleted in bulk.

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use super::jobs::{Way, code_of, moment, with_payload};
use super::with;
use crate::http::input::{Correlation, Query, Raw, parse};
use crate::http::problem::Problem;
use crate::http::server::App;
use crate::runtime::letters::{BULK_MAX, Bulk, Deed, Letters};
use crate::runtime::operate::key;
use crate::store::JobFilter;

const LIMIT: usize = 100;
const LIMIT_MAX: usize = 1000;
/// So many ids and reasons are listed; the figures count all.
const LISTED_MAX: usize = 1000;

/// Which dead letters.
#[derive(Clone, Debug, Default, serde::Deserialize, utoipa::IntoParams, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct LettersQuery {
    /// Only this customer's; all where left out.
    pub customer_id: Option<String>,
    pub link: Option<String>,
    /// `forward` or `reverse`.
    pub direction: Option<Way>,
    /// The code of the error, such as `validation`.
    pub code: Option<String>,
    /// Only this record's.
    pub key: Option<String>,
    /// Those that died before this moment, in RFC 3339.
    pub before: Option<String>,
    /// Those that died at this moment or later.
    pub after: Option<String>,
    /// At most so many; 100 where left out. Only for the list.
    pub limit: Option<usize>,
    /// `next_cursor` of the answer before.
    pub cursor: Option<i64>,
    /// All of them, for want of any other filter. Only in bulk.
    #[serde(default)]
    pub all: bool,
    /// Says how many and which, and does nothing. Only in bulk.
    #[serde(default)]
    pub dry_run: bool,
}

impl LettersQuery {
    fn letters(&self) -> Result<Letters, Problem> {
        let filter = JobFilter {
            direction: self.direction.map(Into::into),
            code: self.code.as_deref().map(code_of).transpose()?,
            key: self.key.as_deref().map(key).transpose()?,
            to: self.before.as_deref().map(|text| moment("before", text)).transpose()?,
            from: self.after.as_deref().map(|text| moment("after", text)).transpose()?,
            before: self.cursor,
            limit: self.limit.unwrap_or(LIMIT).clamp(1, LIMIT_MAX),
            ..JobFilter::letters()
        };
        Ok(Letters { customer: self.customer_id.clone(), link: self.link.clone(), filter })
    }

    /// Tells whether something narrows it down.
    fn is_filtered(&self) -> bool {
        let texts = [&self.customer_id, &self.link, &self.code, &self.key, &self.before, &self.after];
        texts.iter().any(|text| text.is_some()) || self.direction.is_some()
    }

    /// Refuses to work on everything that nobody named.
    fn in_bulk(&self) -> Result<Letters, Problem> {
        if self.limit.is_some() {
            return Err(Problem::invalid("limit is for the list").remedy("leave it out in bulk"));
        }
        if !self.is_filtered() && !self.all {
            return Err(Problem::invalid("nothing says which dead letters are meant")
                .remedy("give customer_id, link, direction, code, key, before or after, or \"all\": true"));
        }
        self.letters()
    }
}

/// Lists dead letters with what they carry and why they died, newest first. Those that a job has replayed are
/// left out.
#[utoipa::path(get, path = "/v1/dead-letters", tag = "dead letters", params(LettersQuery),
    responses((status = 200, description = "dead letters"), (status = 422, body = Problem)))]
pub async fn list(State(app): State<App>, Query(query): Query<LettersQuery>) -> Result<Json<Value>, Problem> {
    let letters = query.letters()?;
    let place = (letters.customer.as_deref(), letters.link.as_deref());
    let (found, next) = app.runtime.list_jobs(place, letters.filter).await?;
    let items: Vec<Value> = found.iter().map(with_payload).collect();
    Ok(Json(json!({ "items": items, "next_cursor": next })))
}

/// Replays all dead letters of a filter, each as a new job that names it.
#[utoipa::path(post, path = "/v1/dead-letters/replay", tag = "dead letters", params(LettersQuery),
    request_body(content = LettersQuery, description = "the filter, where it does not stand in the query"),
    responses((status = 200, description = "how many, and which"),
        (status = 422, description = "no filter", body = Problem)))]
pub async fn replay(
    State(app): State<App>,
    Query(query): Query<LettersQuery>,
    correlation: Correlation,
    Raw(body): Raw,
) -> Result<Json<Value>, Problem> {
    in_bulk(&app, query, &body, Deed::Replay, &correlation).await
}

/// Deletes all dead letters of a filter. What they were about stays as it is on both sides.
#[utoipa::path(delete, path = "/v1/dead-letters", tag = "dead letters", params(LettersQuery),
    responses((status = 200, description = "how many, and which"),
        (status = 422, description = "no filter", body = Problem)))]
pub async fn delete(
    State(app): State<App>,
    Query(query): Query<LettersQuery>,
    correlation: Correlation,
    Raw(body): Raw,
) -> Result<Json<Value>, Problem> {
    in_bulk(&app, query, &body, Deed::Delete, &correlation).await
}

async fn in_bulk(
    app: &App,
    query: LettersQuery,
    body: &[u8],
    deed: Deed,
    correlation: &Correlation,
) -> Result<Json<Value>, Problem> {
    let wanted = if body.trim_ascii().is_empty() {
        query
    } else {
        let wanted: LettersQuery = parse(body)?;
        LettersQuery {
            customer_id: wanted.customer_id.or(query.customer_id),
            dry_run: wanted.dry_run || query.dry_run,
            ..wanted
        }
    };
    let letters = wanted.in_bulk()?;
    let done = if wanted.dry_run { Deed::Look } else { deed };
    let bulk = app.runtime.answer_letters(&letters, done, &correlation.0).await?;
    Ok(Json(told(&bulk, deed, wanted.dry_run)))
}

fn told(bulk: &Bulk, deed: Deed, dry_run: bool) -> Value {
    let ids: Vec<i64> = bulk.done.iter().take(LISTED_MAX).copied().collect();
    let left: Vec<Value> =
        bulk.left.iter().take(LISTED_MAX).map(|(id, reason)| json!({ "id": id, "reason": reason })).collect();
    let body = json!({ "dry_run": dry_run, "matched": bulk.matched, "more": bulk.next.is_some(),
        "next_cursor": bulk.next });
    let (count, list) = match deed {
        _ if dry_run => ("would_do", "ids"),
        Deed::Delete => ("deleted", "ids"),
        Deed::Replay | Deed::Look => ("replayed", "jobs"),
    };
    let mut body = with(with(body, count, bulk.done.len()), list, ids);
    if !dry_run && deed == Deed::Replay {
        body = with(body, "left", left);
    }
    if let Some(next) = bulk.next {
        let remedy = format!("{BULK_MAX} at once are the most; ask again with cursor={next} for the rest");
        body = with(body, "remedy", remedy);
    }
    body
}
