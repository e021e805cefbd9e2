//! Statuses that tell the truth: of the service, of a link, of a record.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::engine::job::{Job, JobState};
use crate::engine::plan::{Pair, SideState, Status};
use crate::engine::record::{Direction, Image, Key, Side, Timestamp};
use crate::http::problem::Problem;
use crate::http::server::App;
use crate::runtime::fuse;
use crate::runtime::link::{Phase, along, at, lock};
use crate::runtime::operate::key;
use crate::store::{JobFilter, LinkId, LinkState};

/// Jobs of one record that are looked at for its status.
const JOBS_MAX: usize = 50;

/// Tells how the service is doing.
#[utoipa::path(get, path = "/v1/sync/status", tag = "status", responses((status = 200, description = "figures and links")))]
pub async fn service(State(app): State<App>) -> Result<Json<Value>, Problem> {
    let now = (app.runtime.clock)();
    let mut links = Vec::new();
    let (mut queue, mut retries, mut dead, mut synced, mut failed, mut pollers) = (0, 0, 0, 0, 0, 0);
    let (mut last_success, mut last_failure) = (0, 0);
    for state in app.runtime.store.links().await? {
        for depth in app.runtime.store.depth(state.id).await? {
            queue += depth.pending + depth.leased + depth.retrying + depth.waiting;
            retries += depth.retrying;
            dead += depth.dead;
        }
        synced += state.counters.delivered;
        failed += state.counters.dead;
        if let Some(running) = app.runtime.running(&state.customer, &state.link) {
            last_success = last_success.max(running.view.last_success.load(Ordering::Relaxed));
            last_failure = last_failure.max(running.view.last_failure.load(Ordering::Relaxed));
            if let Some(ctx) = running.context.load_full()
                && *lock(&running.view.phase) == Phase::Live
            {
                pollers += Side::BOTH.iter().filter(|side| ctx.rules.way(side.outward()).is_some()).count();
            }
        }
        links.push(link_view(&app, &state).await?);
    }
    Ok(Json(json!({
        "uptime_seconds": now.since(app.runtime.started_at).as_secs_f64(),
        "stats": {
            "queue_size": queue, "retries_pending": retries, "total_synced": synced, "total_failed": failed,
            "dead_letters": dead, "last_sync_success": moment(last_success), "last_sync_failed": moment(last_failure),
            "pollers_active": pollers,
        },
        "config_error": app.runtime.config_problem(),
        "rules": rules(&app).await,
        "links": links,
    })))
}

/// What every rules file in use has in force, and why a newer text was refused.
async fn rules(app: &App) -> Vec<Value> {
    app.runtime
        .all_books()
        .await
        .into_iter()
        .map(|book| {
            let refusal = book.refusal();
            json!({ "file": book.path, "version": book.current().version,
                "last_reload_successful": refusal.is_none(), "error": refusal })
        })
        .collect()
}

/// What users read of a link.
pub async fn link_view(app: &App, state: &LinkState) -> Result<Value, Problem> {
    let depth = app.runtime.store.depth(state.id).await?;
    let running = app.runtime.running(&state.customer, &state.link);
    let phase = running.as_ref().map_or(Phase::Stopped, |running| lock(&running.view.phase).clone());
    let now = (app.runtime.clock)();
    let trouble = |place: usize| {
        running
            .as_ref()
            .and_then(|running| running.view.trouble.get(place).and_then(|text| lock(text).clone()))
    };
    let polled = |side: Side| {
        running.as_ref().map_or(0, |running| at(&running.view.polled_at, side).load(Ordering::Relaxed))
    };
    let lag = |side: Side| {
        let running = running.as_ref()?;
        let complete_to = at(&running.view.complete_to, side).load(Ordering::Relaxed);
        (complete_to > 0).then(|| now.since(Timestamp(complete_to)).as_secs_f64())
    };
    let overlap = |side: Side| {
        let overlap_ms = at(&running.as_ref()?.view.overlap_ms, side).load(Ordering::Relaxed);
        (overlap_ms > 0).then(|| std::time::Duration::from_millis(overlap_ms).as_secs_f64())
    };
    let audited = |side: Side| *lock(at(&running.as_ref()?.view.audits, side));
    let config = app.runtime.config();
    let link =
        config.customer(&state.customer).ok().and_then(|customer| customer.links.get(&state.link).cloned());
    let end = |side: Side| {
        let end = link.as_ref().map(|link| match side {
            Side::A => &link.a,
            Side::B => &link.b,
        });
        json!({
            "system": end.map(|end| &end.system), "stream": end.map(|end| &end.stream),
            "polled_at": moment(polled(side)), "lag_seconds": lag(side),
            "error": trouble(usize::from(side == Side::B)),
            "overlap_seconds": overlap(side), "audited": audited(side),
            "gate": end.and_then(|end| app.runtime.gate_view(&state.customer, &end.system)),
        })
    };
    let now = (app.runtime.clock)();
    let mut held = [None, None];
    for (place, direction) in held.iter_mut().zip(Direction::BOTH) {
        if along(&state.frozen, direction).is_some() {
            *place = fuse::held(app.runtime.store.as_ref(), state.id, direction, now).await?;
        }
    }
    let way = |direction: Direction| {
        let depth = along(&depth, direction);
        json!({
            "backlog": depth.pending + depth.leased + depth.retrying + depth.waiting, "jobs": depth,
            "frozen": along(&state.frozen, direction),
            "held_back": super::links::held_view(along(&held, direction).as_ref()),
            "error": trouble(if direction == Direction::AToB { 2 } else { 3 }),
        })
    };
    let ctx = running.as_ref().and_then(|running| running.context.load_full());
    Ok(json!({
        "customer": state.customer, "link": state.link,
        "state": if state.paused { "paused" } else { phase.as_str() },
        "error": match &phase { Phase::Blocked(reason) => Some(reason), _ => None },
        "pairs": app.runtime.store.count_pairs(state.id).await?,
        "rules_version": ctx.as_ref().map(|ctx| ctx.rules.version),
        "a": end(Side::A), "b": end(Side::B),
        "a_to_b": way(Direction::AToB), "b_to_a": way(Direction::BToA),
        "counters": state.counters,
    }))
}

/// Tells where a record stands, in every link that knows it.
#[utoipa::path(get, path = "/v1/sync/status/{record_id}", tag = "status",
    params(("record_id" = String, Path, description = "a record's key"), RecordQuery),
    responses((status = 200, description = "where it stands"), (status = 404, body = Problem)))]
pub async fn record(
    State(app): State<App>,
    Path(record_id): Path<String>,
    crate::http::input::Query(query): crate::http::input::Query<RecordQuery>,
) -> Result<Json<Value>, Problem> {
    let unknown = || {
        Problem::new(StatusCode::NOT_FOUND, format!("no link has ever seen the record {record_id}"))
            .with("record_id", record_id.clone())
            .with("status", "unknown")
    };
    let key = key(&record_id)?;
    let mut known: BTreeMap<LinkId, (Option<Pair>, Vec<Job>)> = BTreeMap::new();
    // The jobs first: a pair that is stored between both readings is found, and a job of the planner without its pair
    // would look as if nothing were left to do.
    let filter = JobFilter { key: Some(key.clone()), limit: JOBS_MAX, ..JobFilter::default() };
    for (id, job) in app.runtime.store.jobs(filter).await? {
        known.entry(id).or_default().1.push(job);
    }
    for (id, pair) in app.runtime.store.find(&key).await? {
        known.entry(id).or_default().0 = Some(pair);
    }
    let names: BTreeMap<LinkId, (String, String)> = app
        .runtime
        .store
        .links()
        .await?
        .into_iter()
        .map(|state| (state.id, (state.customer, state.link)))
        .collect();
    let mut links = Vec::new();
    let mut all = Vec::new();
    for (id, (pair, jobs)) in known {
        let Some((customer, link)) = names.get(&id) else { continue };
        let wanted = query.link.as_ref().is_none_or(|wanted| wanted == link)
            && query.customer_id.as_ref().is_none_or(|wanted| wanted == customer);
        if wanted {
            links.push(record_view(customer, link, &key, pair.as_ref(), &jobs, &mut all));
        }
    }
    if links.is_empty() {
        return Err(unknown());
    }
    Ok(Json(json!({ "record_id": record_id, "status": overall(&all), "links": links })))
}

/// Which links to look at.
#[derive(Debug, Default, serde::Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct RecordQuery {
    pub link: Option<String>,
    pub customer_id: Option<String>,
}

fn record_view(
    customer: &str,
    link: &str,
    key: &Key,
    pair: Option<&Pair>,
    jobs: &[Job],
    all: &mut Vec<Status>,
) -> Value {
    let side = |side: Side| pair.map_or(Value::Null, |pair| side_view(pair.side(side)));
    let mut way = |direction: Direction| {
        let state = pair.map(|pair| pair.way(direction));
        let job = jobs.iter().filter(|job| job.direction == direction);
        // What was asked for and is under way, or was the only thing ever done, speaks for the direction.
        let push =
            job.filter(|job| job.origin.is_kept() && job.scheduled_at.is_none()).max_by_key(|job| job.id);
        let push = push.filter(|push| push.state.is_active() || state.is_none());
        let status =
            push.map_or_else(|| state.map_or(Status::None, |state| state.status), |push| of_job(push.state));
        all.push(status);
        json!({
            "status": status.as_str(),
            "attempts": push.map_or_else(|| state.map_or(0, |state| state.attempts), |push| push.attempts),
            "error": push.map_or_else(|| state.and_then(|state| state.error.clone()),
                |push| push.error.as_ref().map(|error| error.message.clone())),
            "rules_version": state.map(|state| state.rules_version),
            "queued_at": push.map_or_else(|| state.and_then(|state| state.queued_at), |push| Some(push.created_at)),
            "synced_at": state.and_then(|state| state.synced_at),
        })
    };
    let (a_to_b, b_to_a) = (way(Direction::AToB), way(Direction::BToA));
    json!({ "customer": customer, "link": link, "key": key.to_string(), "a": side(Side::A), "b": side(Side::B),
        "a_to_b": a_to_b, "b_to_a": b_to_a })
}

fn side_view(state: &SideState) -> Value {
    let revision =
        state.revision.as_ref().map(ToString::to_string).or_else(|| state.now().map(Image::data_hash));
    let seen = state.seen_at != Timestamp::default();
    json!({ "id": state.id.as_deref(), "present": state.now().is_some(), "revision": revision,
        "seen_at": seen.then_some(state.seen_at), "modified_at": state.modified_at })
}

fn of_job(state: JobState) -> Status {
    match state {
        JobState::Pending | JobState::Leased => Status::Queued,
        JobState::Retrying => Status::Retrying,
        JobState::Waiting => Status::Waiting,
        JobState::Conflict => Status::Conflict,
        JobState::Synced => Status::Synced,
        JobState::Dead => Status::Dead,
        JobState::Cancelled => Status::Cancelled,
    }
}

/// The word for all directions together: whatever most needs somebody's eye.
fn overall(all: &[Status]) -> &'static str {
    const BY_URGENCY: [Status; 8] = [
        Status::Dead,
        Status::Conflict,
        Status::Retrying,
        Status::Queued,
        Status::Waiting,
        Status::Cancelled,
        Status::Synced,
        Status::SkippedByRule,
    ];
    BY_URGENCY.into_iter().find(|status| all.contains(status)).unwrap_or(Status::Synced).as_str()
}

fn moment(at: i64) -> Option<Timestamp> {
    (at > 0).then_some(Timestamp(at))
}
