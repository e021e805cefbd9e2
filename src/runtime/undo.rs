//! Takes writes of ours back: finds them in the history, and brings back what they overwrote.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::link::{LinkContext, along};
use super::operate::OperateError;
use super::restore;
use super::supervisor::{LinkKey, Runtime};
use crate::engine::history::{self, Kept, Restore};
use crate::engine::job::Origin;
use crate::engine::plan::Pair;
use crate::engine::record::{Direction, Key, Timestamp};
use crate::store::{Commit, HistoryFilter, JobFilter, LinkId, LinkState, NewJob, StoreError};

/// Events that one call takes back at most; what is older waits for the next call.
pub const EVENTS_MAX: usize = 10_000;
/// Events of one record that are looked at.
const RECORD_EVENTS_MAX: usize = 1_000;
const PAGE: usize = 1_000;

/// What is to be undone: all that is named has to hold.
#[derive(Debug, Default)]
pub struct Undo {
    pub customer: String,
    pub link: Option<String>,
    pub record: Option<Key>,
    pub run: Option<String>,
    pub rules_version: Option<u32>,
    pub from: Option<Timestamp>,
    pub to: Option<Timestamp>,
    /// Only say what would be done.
    pub dry_run: bool,
    pub correlation_id: String,
}

/// What was brought back, and what was left for review.
#[derive(Debug, Default)]
pub struct Undone {
    pub restored: Vec<Restored>,
    pub kept: Vec<(LinkKey, Key, Kept)>,
    /// There are more events than one call takes back.
    pub more: bool,
}

/// One write that brings something back.
#[derive(Debug)]
pub struct Restored {
    pub link: LinkKey,
    pub key: Key,
    pub restore: Restore,
    /// `None` on a dry run.
    pub job_id: Option<i64>,
}

impl Runtime {
    /// Brings back what we overwrote, where our value still stands.
    pub async fn undo(self: &Arc<Self>, wanted: Undo) -> Result<Undone, OperateError> {
        let mut undone = Undone::default();
        let mut left = EVENTS_MAX;
        let states: Vec<LinkState> = self.store.links().await?;
        let is_meant = |state: &LinkState| {
            state.customer == wanted.customer && wanted.link.as_ref().is_none_or(|link| *link == state.link)
        };
        for state in states.into_iter().filter(is_meant) {
            let link: LinkKey = (state.customer, state.link);
            let running = self.running(&link.0, &link.1);
            let ctx = running.and_then(|running| running.context.load_full());
            let chosen = self.chosen(state.id, &wanted, &mut left, &mut undone.more).await?;
            let keys: Vec<Key> = chosen.keys().cloned().collect();
            for keys in keys.chunks(PAGE) {
                let pairs = self.store.known(state.id, keys.to_vec()).await?;
                let mut jobs = Vec::new();
                let first = undone.restored.len();
                for (key, pair) in keys.iter().zip(pairs) {
                    let Some(events) = chosen.get(key) else { continue };
                    let plan = self.plan(state.id, ctx.as_deref(), key, events, pair.as_ref()).await?;
                    undone.kept.extend(plan.kept.into_iter().map(|kept| (link.clone(), key.clone(), kept)));
                    for restore in plan.restores {
                        let version = ctx.as_ref().map_or(0, |ctx| ctx.rules.version);
                        let now = (self.clock)();
                        jobs.push(restore::job(key, &restore, version, &wanted.correlation_id, now));
                        undone.restored.push(Restored {
                            link: link.clone(),
                            key: key.clone(),
                            restore,
                            job_id: None,
                        });
                    }
                }
                if !wanted.dry_run && !jobs.is_empty() {
                    let ids = self.send(state.id, ctx.as_deref(), jobs).await?;
                    for (restored, id) in undone.restored.iter_mut().skip(first).zip(ids) {
                        restored.job_id = Some(id);
                    }
                }
            }
        }
        Ok(undone)
    }

    /// Finds the writes that are meant, by their records.
    async fn chosen(
        &self,
        link: LinkId,
        wanted: &Undo,
        left: &mut usize,
        more: &mut bool,
    ) -> Result<BTreeMap<Key, BTreeSet<i64>>, StoreError> {
        let mut chosen: BTreeMap<Key, BTreeSet<i64>> = BTreeMap::new();
        let mut before = None;
        loop {
            let limit = PAGE.min(left.saturating_add(1));
            let filter = HistoryFilter {
                link: Some(link),
                key: wanted.record.clone(),
                run: wanted.run.clone(),
                rules_version: wanted.rules_version,
                from: wanted.from,
                to: wanted.to,
                written: true,
                before,
                limit,
            };
            let found = self.store.history(filter).await?;
            let full = found.len() == limit;
            before = found.last().map(|last| last.id);
            for recorded in found {
                if *left == 0 {
                    *more = true;
                    return Ok(chosen);
                }
                *left -= 1;
                chosen.entry(recorded.event.key).or_default().insert(recorded.id);
            }
            if !full {
                return Ok(chosen);
            }
        }
    }

    async fn plan(
        &self,
        link: LinkId,
        ctx: Option<&LinkContext>,
        key: &Key,
        chosen: &BTreeSet<i64>,
        pair: Option<&Pair>,
    ) -> Result<history::Plan, StoreError> {
        let filter = HistoryFilter {
            link: Some(link),
            key: Some(key.clone()),
            written: true,
            limit: RECORD_EVENTS_MAX,
            ..HistoryFilter::default()
        };
        let all = self.store.history(filter).await?;
        let events: Vec<history::Chosen<'_>> = all
            .iter()
            .rev()
            .map(|recorded| (recorded.id, &recorded.event, chosen.contains(&recorded.id)))
            .collect();
        // Where the link is at rest, its rules are asked when the write is made.
        let knows = |direction: Direction, name: &str| {
            ctx.is_none_or(|ctx| ctx.rules.shape(direction.to()).position(name).is_some())
        };
        let mut plan = history::plan(&events, pair, &knows);
        let filter =
            JobFilter { link: Some(link), key: Some(key.clone()), limit: 50, ..JobFilter::default() };
        let jobs = self.store.jobs(filter).await?;
        let (fine, busy): (Vec<Restore>, Vec<Restore>) = plan.restores.into_iter().partition(|restore| {
            let stands = |direction| {
                jobs.iter().any(|(_, job)| {
                    job.direction == direction && job.origin == Origin::Push && job.state.is_active()
                })
            };
            !stands(restore.direction) && ctx.is_none_or(|ctx| ctx.rules.way(restore.direction).is_some())
        });
        plan.restores = fine;
        plan.kept.extend(busy.into_iter().map(|restore| Kept {
            direction: restore.direction,
            field: None,
            reason: "another write is on its way to it, or nothing travels there any more",
            before: None,
            now: None,
            events: restore.events,
        }));
        Ok(plan)
    }

    async fn send(
        &self,
        link: LinkId,
        ctx: Option<&LinkContext>,
        jobs: Vec<NewJob>,
    ) -> Result<Vec<i64>, StoreError> {
        let commit = Commit { jobs, ..Commit::default() };
        let committed = self.store.commit(link, commit, (self.clock)()).await?;
        if let Some(ctx) = ctx {
            Direction::BOTH.iter().for_each(|&direction| along(&ctx.due, direction).notify_one());
        }
        Ok(committed.jobs)
    }
}
