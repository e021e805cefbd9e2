//! The reference model: the store as maps behind a lock, to compare the real one with and to run
//! simulations on.
//!
//! Invariant: obviously right before fast. Nothing survives the process but what [`MemoryStore`]
//! itself keeps.

mod state;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use self::state::State;
use super::moves::Row;
use super::{
    Commit, Committed, Counters, Depth, ENDED_KEPT, Enqueued, HistoryFilter, JobFilter, LeaseRequest, Leased,
    LinkId, LinkState, LinkWord, LoadId, NewJob, Once, OpenLoad, Recorded, Remembered, Retried, RulesVersion,
    Settled, Settlement, Store, StoreError,
};
use crate::engine::job::{Attempt, Job, JobState};
use crate::engine::plan::Pair;
use crate::engine::record::{Direction, Key, RemoteId, Side, Timestamp};

/// A store that lives as long as its value.
#[derive(Default)]
pub struct MemoryStore(Mutex<State>);

impl MemoryStore {
    /// Does what closing and opening a durable store does.
    pub fn reopen(&self) {
        let mut state = self.state();
        let State { loads_open, pairs, .. } = &mut *state;
        loads_open.retain(|open, (link, _)| is_of_some(pairs, *link, *open));
        let voided: Vec<LinkId> = state.loads_open.values().map(|(link, _)| *link).collect();
        for link in state.links.iter_mut().filter(|link| voided.contains(&link.id)) {
            link.matched = false;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells whether a load has pairs that were not stored anew since.
fn is_of_some(pairs: &BTreeMap<(LinkId, Key), (Pair, Option<LoadId>)>, link: LinkId, load: LoadId) -> bool {
    pairs.iter().any(|((of, _), (_, staged))| *of == link && *staged == Some(load))
}

#[async_trait]
impl Store for MemoryStore {
    async fn link(&self, customer: &str, link: &str) -> Result<LinkState, StoreError> {
        let mut state = self.state();
        let known = state.links.iter().find(|known| known.customer == customer && known.link == link);
        if let Some(known) = known {
            return Ok(known.clone());
        }
        let made = LinkState {
            id: LinkId(u32::try_from(state.links.len()).unwrap_or(u32::MAX).saturating_add(1)),
            customer: customer.to_owned(),
            link: link.to_owned(),
            cursors: [None, None],
            epochs: [0, 0],
            matched: false,
            planned_under: None,
            paused: false,
            started: false,
            frozen: [None, None],
            counters: Counters::default(),
        };
        state.links.push(made.clone());
        Ok(made)
    }

    async fn links(&self) -> Result<Vec<LinkState>, StoreError> {
        Ok(self.state().links.clone())
    }

    async fn tell_link(&self, link: LinkId, words: Vec<LinkWord>) -> Result<(), StoreError> {
        let mut state = self.state();
        let link = state.link(link)?;
        let [frozen_ab, frozen_ba] = &mut link.frozen;
        for word in words {
            match word {
                LinkWord::Matched => link.matched = true,
                LinkWord::PlannedUnder(rules) => link.planned_under = Some(rules),
                LinkWord::Paused(paused) => link.paused = paused,
                LinkWord::Started => link.started = true,
                LinkWord::Frozen(Direction::AToB, reason) => *frozen_ab = reason,
                LinkWord::Frozen(Direction::BToA, reason) => *frozen_ba = reason,
            }
        }
        Ok(())
    }

    async fn known(&self, link: LinkId, keys: Vec<Key>) -> Result<Vec<Option<Pair>>, StoreError> {
        let state = self.state();
        Ok(keys.iter().map(|key| state.pair(link, key)).collect())
    }

    async fn commit(&self, link: LinkId, commit: Commit, now: Timestamp) -> Result<Committed, StoreError> {
        let mut state = self.state();
        let mut next = state.clone();
        let committed = next.commit(link, commit, now)?;
        if committed.stale.is_empty() {
            *state = next;
        }
        Ok(committed)
    }

    async fn lease(&self, link: LinkId, request: LeaseRequest) -> Result<Vec<Leased>, StoreError> {
        let mut state = self.state();
        let is_due = |row: &&Row| {
            row.link == link
                && row.job.direction == request.direction
                && row.is_ready()
                && row.job.due_at <= request.now
        };
        let mut due: Vec<Row> = state.jobs.values().filter(is_due).cloned().collect();
        due.sort_by_key(|row| (std::cmp::Reverse(row.job.priority), row.job.due_at, row.job.id));
        due.truncate(request.limit);
        let mut leased = Vec::new();
        for mut row in due {
            row.lease(&request.owner, request.until, request.now);
            let pair = state.pair(link, &row.job.key);
            leased.push(Leased { job: row.job.clone(), pair });
            state.jobs.insert(row.job.id, row);
        }
        Ok(leased)
    }

    async fn settle(
        &self,
        link: LinkId,
        settlements: Vec<Settlement>,
        now: Timestamp,
    ) -> Result<Settled, StoreError> {
        let mut state = self.state();
        let mut settled = Settled::default();
        for settlement in settlements {
            state.settle_one(link, settlement, now, &mut settled);
        }
        Ok(settled)
    }

    async fn renew(
        &self,
        link: LinkId,
        leases: Vec<(i64, u64)>,
        until: Timestamp,
    ) -> Result<Vec<i64>, StoreError> {
        let mut state = self.state();
        let mut lost = Vec::new();
        for (id, fence) in leases {
            let row = state.jobs.get_mut(&id).filter(|row| row.link == link && row.fence == fence);
            match row.and_then(|row| row.job.lease.as_mut()) {
                Some(lease) => lease.until = lease.until.max(until),
                None => lost.push(id),
            }
        }
        Ok(lost)
    }

    async fn rescue(&self, now: Timestamp, all: bool) -> Result<u64, StoreError> {
        let mut state = self.state();
        let has_expired = |row: &&Row| row.job.lease.as_ref().is_some_and(|lease| all || lease.until <= now);
        let expired: Vec<Row> = state.jobs.values().filter(has_expired).cloned().collect();
        let rescued = expired.len() as u64;
        for mut row in expired {
            let moved = row.rescue(now);
            state.carry_out(row, moved);
        }
        Ok(rescued)
    }

    async fn remember(&self, link: LinkId, slip: Arc<Vec<u8>>, writes: u32) -> Result<i64, StoreError> {
        let mut state = self.state();
        state.link(link)?;
        state.batches_made += 1;
        let batch = state.batches_made;
        let remembered = Remembered { batch, slip: slip.to_vec(), answered: BTreeSet::new() };
        state.sent.insert(batch, (link, writes, remembered));
        Ok(batch)
    }

    async fn unanswered(&self, link: LinkId) -> Result<Vec<Remembered>, StoreError> {
        let state = self.state();
        let of_link = state.sent.values().filter(|(of, ..)| *of == link);
        Ok(of_link.map(|(.., remembered)| remembered.clone()).collect())
    }

    async fn keys_by_id(
        &self,
        link: LinkId,
        side: Side,
        ids: Vec<RemoteId>,
    ) -> Result<Vec<Option<Key>>, StoreError> {
        let state = self.state();
        let key_of = |id: &RemoteId| {
            let has_id = |pair: &Pair| pair.side(side).id.as_ref() == Some(id);
            state
                .pairs
                .iter()
                .find(|((of, _), stored)| *of == link && has_id(&state.read(stored)))
                .map(|((_, key), _)| key.clone())
        };
        Ok(ids.iter().map(key_of).collect())
    }

    async fn walk(&self, link: LinkId, after: Option<Key>, limit: usize) -> Result<Vec<Pair>, StoreError> {
        let state = self.state();
        let comes_after = |key: &Key| after.as_ref().is_none_or(|after| key > after);
        let walked = state.pairs.iter().filter(|((of, key), _)| *of == link && comes_after(key));
        Ok(walked.take(limit).map(|(_, stored)| state.read(stored)).collect())
    }

    async fn find(&self, key: &Key) -> Result<Vec<(LinkId, Pair)>, StoreError> {
        let state = self.state();
        let found = state.pairs.iter().filter(|((_, of), _)| of == key);
        Ok(found.map(|((link, _), stored)| (*link, state.read(stored))).collect())
    }

    async fn count_pairs(&self, link: LinkId) -> Result<u64, StoreError> {
        Ok(self.state().pairs.keys().filter(|(of, _)| *of == link).count() as u64)
    }

    async fn begin_load(
        &self,
        link: LinkId,
        direction: Direction,
        mark: Option<String>,
    ) -> Result<LoadId, StoreError> {
        let mut state = self.state();
        state.link(link)?;
        let State { loads_open, pairs, .. } = &mut *state;
        loads_open.retain(|open, (of, _)| *of != link || is_of_some(pairs, link, *open));
        state.loads_made += 1;
        let id = LoadId(state.loads_made);
        state.loads_open.insert(id, (link, OpenLoad { id, direction, mark }));
        Ok(id)
    }

    async fn loads(&self, link: LinkId) -> Result<Vec<OpenLoad>, StoreError> {
        let state = self.state();
        let open = state.loads_open.values().filter(|(of, _)| *of == link);
        Ok(open.map(|(_, load)| load.clone()).collect())
    }

    async fn end_load(&self, load: LoadId) -> Result<(), StoreError> {
        self.state().loads_open.remove(&load);
        Ok(())
    }

    async fn job(&self, id: i64) -> Result<Option<(LinkId, Job)>, StoreError> {
        Ok(self.state().jobs.get(&id).map(|row| (row.link, row.job.clone())))
    }

    async fn jobs(&self, filter: JobFilter) -> Result<Vec<(LinkId, Job)>, StoreError> {
        let state = self.state();
        let is_wanted = |row: &&Row| {
            filter.link.is_none_or(|link| row.link == link)
                && filter.direction.is_none_or(|direction| row.job.direction == direction)
                && filter.state.is_none_or(|state| row.job.state == state)
                && filter.key.as_ref().is_none_or(|key| row.job.key == *key)
                && filter.links.as_ref().is_none_or(|links| links.contains(&row.link))
                && filter.code.is_none_or(|code| row.job.error.as_ref().is_some_and(|it| it.code == code))
                && (!filter.unanswered || row.job.replayed_by.is_none())
                && filter.from.is_none_or(|from| row.job.updated_at >= from)
                && filter.to.is_none_or(|to| row.job.updated_at < to)
                && filter.before.is_none_or(|before| row.job.id < before)
        };
        let wanted = state.jobs.values().rev().filter(is_wanted).take(filter.limit);
        Ok(wanted.map(|row| (row.link, row.job.clone())).collect())
    }

    async fn depth(&self, link: LinkId) -> Result<[Depth; 2], StoreError> {
        let state = self.state();
        Ok(Direction::BOTH.map(|direction| {
            let count = |wanted: JobState| {
                let is_wanted = |row: &&Row| {
                    row.link == link
                        && row.job.direction == direction
                        && row.job.state == wanted
                        && !row.is_answered()
                };
                state.jobs.values().filter(is_wanted).count() as u64
            };
            Depth {
                pending: count(JobState::Pending),
                leased: count(JobState::Leased),
                retrying: count(JobState::Retrying),
                waiting: count(JobState::Waiting),
                conflict: count(JobState::Conflict),
                dead: count(JobState::Dead),
            }
        }))
    }

    async fn next_due(&self, link: LinkId, direction: Direction) -> Result<Option<Timestamp>, StoreError> {
        let state = self.state();
        let ready = state
            .jobs
            .values()
            .filter(|row| row.link == link && row.job.direction == direction && row.is_ready());
        Ok(ready.map(|row| row.job.due_at).min())
    }

    async fn enqueue(
        &self,
        link: LinkId,
        job: NewJob,
        once: Option<Once>,
        now: Timestamp,
    ) -> Result<Enqueued, StoreError> {
        let mut state = self.state();
        let enqueued = state.enqueue(link, job, now)?;
        if let Enqueued::Job(id) = enqueued {
            state.keep(once, &[id]);
        }
        Ok(enqueued)
    }

    async fn attempts(&self, job: i64) -> Result<Vec<Attempt>, StoreError> {
        Ok(self.state().attempts.get(&job).cloned().unwrap_or_default())
    }

    async fn retry_job(&self, id: i64, now: Timestamp) -> Result<Retried, StoreError> {
        let mut state = self.state();
        let Some(mut row) = state.jobs.get(&id).cloned() else { return Ok(Retried::Unknown) };
        let standing = state.active(row.link, row.job.direction, &row.job.key).map(|row| row.job.id);
        let refused = row.why_not_retry(standing);
        if refused.is_none() {
            let moved = row.retry(now);
            state.carry_out(row, moved);
        }
        Ok(refused.unwrap_or(Retried::Due))
    }

    async fn forget_letters(&self, ids: Vec<i64>) -> Result<u64, StoreError> {
        let mut state = self.state();
        let before = state.jobs.len();
        for id in ids {
            if state.jobs.get(&id).is_some_and(|row| row.job.state == JobState::Dead) {
                state.remove_job(id);
            }
        }
        Ok((before - state.jobs.len()) as u64)
    }

    async fn retry_now(&self, link: LinkId, key: &Key, now: Timestamp) -> Result<Vec<i64>, StoreError> {
        let mut state = self.state();
        let is_meant = |row: &&Row| row.link == link && row.job.key == *key && row.can_retry();
        let meant: Vec<Row> = state.jobs.values().rev().filter(is_meant).cloned().collect();
        let mut hurried = Vec::new();
        for mut row in meant {
            let is_dead = row.job.state == JobState::Dead;
            if is_dead && state.active(link, row.job.direction, key).is_some() {
                continue;
            }
            hurried.push(row.job.id);
            let moved = row.retry(now);
            state.carry_out(row, moved);
        }
        hurried.sort_unstable();
        Ok(hurried)
    }

    async fn cancel(&self, id: i64, now: Timestamp) -> Result<bool, StoreError> {
        let mut state = self.state();
        let Some(mut row) = state.jobs.get(&id).filter(|row| row.job.state.is_active()).cloned() else {
            return Ok(false);
        };
        let moved = row.cancel(now);
        state.carry_out(row, moved);
        Ok(true)
    }

    async fn history(&self, filter: HistoryFilter) -> Result<Vec<Recorded>, StoreError> {
        Ok(self.state().listed(&filter))
    }

    async fn prune_history(&self, before: Timestamp, bytes_max: u64) -> Result<u64, StoreError> {
        Ok(self.state().prune_history(before, bytes_max))
    }

    async fn rules_version(&self, file: &str, text: &str, now: Timestamp) -> Result<u32, StoreError> {
        let mut state = self.state();
        let of_file = state.rules.iter().filter(|known| known.file == file);
        if let Some(known) = of_file.clone().find(|known| known.text == text) {
            return Ok(known.version);
        }
        let version = of_file.map(|known| known.version).max().unwrap_or(0) + 1;
        let (file, text) = (file.to_owned(), text.to_owned());
        state.rules.push(RulesVersion { version, file, text, at: now });
        Ok(version)
    }

    async fn rules_versions(&self, file: &str) -> Result<Vec<RulesVersion>, StoreError> {
        let state = self.state();
        Ok(state.rules.iter().rev().filter(|known| known.file == file).cloned().collect())
    }

    async fn get(&self, space: &str, key: &str, now: Timestamp) -> Result<Option<String>, StoreError> {
        let state = self.state();
        let value = state.values.get(&(space.to_owned(), key.to_owned()));
        Ok(value.filter(|(_, expires_at)| lasts(*expires_at, now)).map(|(value, _)| value.clone()))
    }

    async fn put(
        &self,
        space: &str,
        key: &str,
        value: &str,
        expires_at: Option<Timestamp>,
    ) -> Result<(), StoreError> {
        let place = (space.to_owned(), key.to_owned());
        self.state().values.insert(place, (value.to_owned(), expires_at));
        Ok(())
    }

    async fn list(&self, space: &str, now: Timestamp) -> Result<Vec<(String, String)>, StoreError> {
        let state = self.state();
        let lasting =
            state.values.iter().filter(|((of, _), (_, expires_at))| of == space && lasts(*expires_at, now));
        Ok(lasting.map(|((_, key), (value, _))| (key.clone(), value.clone())).collect())
    }

    async fn remove(&self, space: &str, key: &str) -> Result<bool, StoreError> {
        Ok(self.state().values.remove(&(space.to_owned(), key.to_owned())).is_some())
    }

    async fn tidy(&self, now: Timestamp, _force: bool) -> Result<(), StoreError> {
        let mut state = self.state();
        state.values.retain(|_, (_, expires_at)| lasts(*expires_at, now));
        let State { jobs, attempts, .. } = &mut *state;
        jobs.retain(|_, row| {
            let has_ended =
                matches!(row.job.state, JobState::Synced | JobState::Cancelled) || row.is_answered();
            !(has_ended && row.job.updated_at.plus(ENDED_KEPT) < now)
        });
        attempts.retain(|id, _| jobs.contains_key(id));
        Ok(())
    }
}

fn lasts(expires_at: Option<Timestamp>, now: Timestamp) -> bool {
    expires_at.is_none_or(|at| at > now)
}
