//! Conflicts that wait for a person: listed, and settled.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::value::RawValue;

use super::link::{LinkContext, along};
use super::operate::OperateError;
use super::page::{self, Fact, Facts, Mode};
use super::restore;
use super::supervisor::{LinkKey, Runtime};
use super::tell;
use crate::engine::history::{Cell, Contested, Operation, Resolution, Restore, What};
use crate::engine::job::{Job, JobState};
use crate::engine::plan::{Action, ConflictField, Occasion, Pair, Pick, reconcile};
use crate::engine::record::{Direction, Key, Side, Value, value_from_raw};
use crate::store::{Commit, HistoryFilter, JobFilter, LinkId, StoreError};

/// A conflict that waits.
pub struct Conflict {
    pub job: Job,
    pub link: LinkKey,
    pub pair: Option<Pair>,
    pub fields: Vec<Contested>,
}

/// Which conflicts to list.
#[derive(Debug, Default)]
pub struct ConflictFilter {
    pub customer: Option<String>,
    pub link: Option<String>,
    pub key: Option<Key>,
    /// Only ids below this one.
    pub before: Option<i64>,
    pub limit: usize,
}

/// What a person decided.
#[derive(Debug, Default)]
pub struct Resolve {
    /// For all fields that are not named.
    pub pick: Option<Side>,
    /// By the name of a field at either side.
    pub fields: BTreeMap<String, Side>,
    /// A value of its own, in terms of the field at `a`.
    pub values: BTreeMap<String, Box<RawValue>>,
}

/// What became of it.
pub struct Resolved {
    pub link: LinkKey,
    pub key: Key,
    pub resolutions: Vec<Resolution>,
    /// What has still to be decided before anything is written.
    pub remaining: Vec<Contested>,
    pub pair: Option<Pair>,
}

impl Runtime {
    /// Lists conflicts, newest first, one a record; the second part is where the next page begins.
    pub async fn conflicts(
        &self,
        filter: &ConflictFilter,
    ) -> Result<(Vec<Conflict>, Option<i64>), StoreError> {
        let states = self.store.links().await?;
        let mut jobs: Vec<(LinkKey, LinkId, Job)> = Vec::new();
        let wanted = states.into_iter().filter(|state| {
            filter.customer.as_ref().is_none_or(|customer| *customer == state.customer)
                && filter.link.as_ref().is_none_or(|link| *link == state.link)
        });
        for state in wanted {
            let of_link = JobFilter {
                link: Some(state.id),
                state: Some(JobState::Conflict),
                key: filter.key.clone(),
                before: filter.before,
                limit: filter.limit.saturating_add(1),
                ..JobFilter::default()
            };
            let link: LinkKey = (state.customer, state.link);
            let found = self.store.jobs(of_link).await?.into_iter();
            jobs.extend(found.map(|(id, job)| (link.clone(), id, job)));
        }
        jobs.sort_by_key(|(_, _, job)| std::cmp::Reverse(job.id));
        let more = jobs.len() > filter.limit;
        jobs.truncate(filter.limit);
        let next = jobs.last().filter(|_| more).map(|(_, _, job)| job.id);
        let mut conflicts: Vec<Conflict> = Vec::with_capacity(jobs.len());
        for (link, id, job) in jobs {
            // Both directions of a record may say that it is in conflict.
            if conflicts.iter().any(|known| known.link == link && known.job.key == job.key) {
                continue;
            }
            let pair = self.store.known(id, vec![job.key.clone()]).await?.into_iter().flatten().next();
            let fields = self.contested(&link, id, pair.as_ref(), &job.key).await?;
            conflicts.push(Conflict { job, link, pair, fields });
        }
        Ok((conflicts, next))
    }

    /// Which fields of a record are contested: by its rules now, or as it was told where the link is at rest.
    async fn contested(
        &self,
        (customer, link): &LinkKey,
        id: LinkId,
        pair: Option<&Pair>,
        key: &Key,
    ) -> Result<Vec<Contested>, StoreError> {
        let ctx = self.running(customer, link).and_then(|running| running.context.load_full());
        if let (Some(ctx), Some(pair)) = (ctx, pair) {
            return Ok(conflicting(&ctx, pair).iter().map(Contested::from).collect());
        }
        let filter =
            HistoryFilter { link: Some(id), key: Some(key.clone()), limit: 100, ..HistoryFilter::default() };
        let told = self.store.history(filter).await?.into_iter().find_map(|recorded| {
            if let What::Conflict(fields) = recorded.event.what { Some(fields) } else { None }
        });
        Ok(told.unwrap_or_default())
    }

    /// Settles a conflict; what is decided then travels like any other change.
    pub async fn resolve(
        self: &Arc<Self>,
        id: i64,
        wanted: Resolve,
        correlation_id: &str,
    ) -> Result<Resolved, OperateError> {
        let found = self.store.job(id).await?.filter(|(_, job)| job.state == JobState::Conflict);
        let (link_id, job) = found.ok_or(OperateError::NoConflict(id))?;
        let link = self.link_names(link_id).await?.ok_or(OperateError::NoConflict(id))?;
        let running = self.running(&link.0, &link.1);
        let ctx = running.and_then(|running| running.context.load_full());
        let ctx = ctx.ok_or_else(|| OperateError::NotOpen(link.1.clone()))?;
        let key = job.key;
        let pair = known(&ctx, &key).await?.ok_or(OperateError::NoConflict(id))?;
        let fields = conflicting(&ctx, &pair);
        if fields.is_empty() {
            return Err(OperateError::NoConflict(id));
        }
        let decided = decide(&fields, &wanted)?;
        let picks: Vec<Pick> = decided.iter().filter_map(Decided::pick).collect();
        if !picks.is_empty() {
            let facts = Facts::of(Side::A, vec![(key.clone(), Fact::Pick(picks))], ctx.now());
            page::take(&ctx, facts, Mode::Plan).await?;
        }
        if decided.iter().any(|decided| decided.value.is_some()) {
            set(&ctx, &key, &pair, &decided, correlation_id).await?;
        }
        let pair = known(&ctx, &key).await?;
        let valued = |field: &Contested| {
            decided.iter().any(|decided| decided.field.a_field == field.a_field && decided.value.is_some())
        };
        let remaining = pair.as_ref().map(|pair| conflicting(&ctx, pair)).unwrap_or_default();
        let remaining = remaining.iter().map(Contested::from).filter(|field| !valued(field)).collect();
        let resolutions = decided.iter().map(Decided::resolution).collect();
        Ok(Resolved { link, key, resolutions, remaining, pair })
    }
}

async fn known(ctx: &LinkContext, key: &Key) -> Result<Option<Pair>, StoreError> {
    Ok(ctx.store.known(ctx.id, vec![key.clone()]).await?.into_iter().flatten().next())
}

fn conflicting(ctx: &LinkContext, pair: &Pair) -> Vec<ConflictField> {
    match reconcile(&mut pair.clone(), &ctx.rules, Occasion::Change).a_to_b {
        Action::Conflict(fields) => fields,
        _ => Vec::new(),
    }
}

/// What was decided for one field.
struct Decided {
    field: ConflictField,
    side: Option<Side>,
    value: Option<Value>,
}

impl Decided {
    fn pick(&self) -> Option<Pick> {
        let (a_field, b_field) = (self.field.a_field.clone(), self.field.b_field.clone());
        self.side.map(|side| Pick { a_field, b_field, side })
    }

    fn resolution(&self) -> Resolution {
        Resolution {
            a_field: self.field.a_field.clone(),
            b_field: self.field.b_field.clone(),
            pick: self.side.map(|side| side.as_str().to_owned()),
            value: self.value.as_ref().map(Cell::from),
        }
    }
}

/// Lays what a person said beside what is contested.
fn decide(fields: &[ConflictField], wanted: &Resolve) -> Result<Vec<Decided>, OperateError> {
    let contested = || {
        let names: Vec<&str> = fields.iter().map(|field| field.a_field.as_str()).collect();
        names.join(", ")
    };
    let is_contested =
        |name: &String| fields.iter().any(|field| field.a_field == *name || field.b_field == *name);
    if let Some(name) = wanted.fields.keys().chain(wanted.values.keys()).find(|name| !is_contested(name)) {
        return Err(OperateError::BadPick(format!("{name} is not in conflict; {} is", contested())));
    }
    let mut decided = Vec::new();
    for field in fields {
        let named = |name: &String| *name == field.a_field || *name == field.b_field;
        let value = wanted.values.iter().find(|(name, _)| named(name)).map(|(_, raw)| raw);
        let value = value
            .map(|raw| value_from_raw(raw))
            .transpose()
            .map_err(|error| OperateError::BadPick(format!("{}: {error}", field.a_field)))?;
        let side = wanted.fields.iter().find(|(name, _)| named(name)).map(|(_, side)| *side).or(wanted.pick);
        let side = side.filter(|_| value.is_none());
        if side.is_some() || value.is_some() {
            decided.push(Decided { field: field.clone(), side, value });
        }
    }
    if decided.is_empty() {
        return Err(OperateError::BadPick(format!("nothing is picked; in conflict is {}", contested())));
    }
    Ok(decided)
}

/// Writes values that neither side has to both of them.
async fn set(
    ctx: &LinkContext,
    key: &Key,
    pair: &Pair,
    decided: &[Decided],
    correlation_id: &str,
) -> Result<(), OperateError> {
    let now = ctx.now();
    let mut image = match pair.a.now() {
        Some(image) => image.clone().reshaped(ctx.rules.shape(Side::A)),
        None => return Ok(()),
    };
    let mut at_a = BTreeMap::new();
    for Decided { field, value, .. } in decided {
        let (Some(value), Some(at)) = (value, image.shape.position(&field.a_field)) else { continue };
        if let Some(place) = image.values.get_mut(at) {
            place.clone_from(value);
        }
        at_a.insert(field.a_field.clone(), Cell(value.clone()));
    }
    let mapped = ctx.rules.way(Direction::AToB).map(|way| way.map(&image)).transpose();
    let mapped = mapped.map_err(|invalid| {
        OperateError::BadPick(format!("{}: {} ({})", invalid.field, invalid.reason, invalid.rule))
    })?;
    let shape = ctx.rules.shape(Side::B);
    let mut at_b = BTreeMap::new();
    for Decided { field, .. } in decided.iter().filter(|decided| decided.value.is_some()) {
        let value =
            mapped.as_ref().zip(shape.position(&field.b_field)).and_then(|(mapped, at)| mapped.get(at));
        at_b.extend(value.map(|value| (field.b_field.clone(), Cell::from(value))));
    }
    let job = |direction, data| {
        let restore = Restore {
            direction,
            operation: Operation::Update,
            data,
            expect: BTreeMap::new(),
            events: Vec::new(),
        };
        restore::job(key, &restore, ctx.rules.version, correlation_id, now)
    };
    let valued = decided.iter().filter(|decided| decided.value.is_some()).map(Decided::resolution).collect();
    let commit = Commit {
        jobs: vec![job(Direction::AToB, at_b), job(Direction::BToA, at_a)],
        history: vec![tell::resolved(ctx, key, correlation_id, valued)],
        ..Commit::default()
    };
    ctx.store.commit(ctx.id, commit, now).await?;
    Direction::BOTH.iter().for_each(|&direction| along(&ctx.due, direction).notify_one());
    Ok(())
}
