//! What the model holds, and how it moves.

use std::collections::BTreeMap;

use crate::engine::history::{Event, What};
use crate::engine::job::{ATTEMPTS_KEPT, Attempt, JobState, Origin};
use crate::engine::plan::Pair;
use crate::engine::record::{Direction, Key, Side, Timestamp};
use crate::store::moves::{self, Mark, Moved, Row};
use crate::store::{
    Answered, Commit, Committed, Counters, Enqueued, HISTORY_PRUNED_MAX, HistoryFilter, LinkId, LinkState,
    LoadId, NewJob, Once, OpenLoad, Recorded, Remembered, RulesVersion, Settled, Settlement, StoreError,
    Transition, history_bytes, once,
};

#[derive(Clone, Default)]
pub(super) struct State {
    pub links: Vec<LinkState>,
    pub pairs: BTreeMap<(LinkId, Key), (Pair, Option<LoadId>)>,
    pub jobs: BTreeMap<i64, Row>,
    pub attempts: BTreeMap<i64, Vec<Attempt>>,
    jobs_made: i64,
    /// The highest version that was ever forgotten in a link.
    forgotten: BTreeMap<LinkId, u32>,
    pub loads_open: BTreeMap<LoadId, (LinkId, OpenLoad)>,
    pub loads_made: u32,
    pub rules: Vec<RulesVersion>,
    pub values: BTreeMap<(String, String), (String, Option<Timestamp>)>,
    pub history: Vec<Recorded>,
    events_made: i64,
    /// Batches of writes whose answers are not known, and how many writes each has.
    pub sent: BTreeMap<i64, (LinkId, u32, Remembered)>,
    pub batches_made: i64,
}

impl State {
    pub fn link(&mut self, id: LinkId) -> Result<&mut LinkState, StoreError> {
        let missing = || StoreError::Io(format!("there is no link {}", id.0));
        self.links.iter_mut().find(|link| link.id == id).ok_or_else(missing)
    }

    fn count(&mut self, id: LinkId, counted: Counters) {
        if let Ok(link) = self.link(id) {
            link.counters += counted;
        }
    }

    fn version(&self, link: LinkId, key: &Key) -> u32 {
        self.pairs.get(&(link, key.clone())).map_or(0, |(pair, _)| pair.version)
    }

    fn put_pair(&mut self, link: LinkId, pair: &Pair, load: Option<LoadId>) -> bool {
        if self.version(link, &pair.key) != pair.version {
            return false;
        }
        let forgotten = self.forgotten.get(&link).copied().unwrap_or(0);
        let before = if pair.version == 0 { forgotten } else { pair.version };
        let stored = Pair { version: before + 1, ..pair.clone() };
        self.pairs.insert((link, pair.key.clone()), (stored, load));
        true
    }

    fn forget_pair(&mut self, link: LinkId, key: &Key, version: u32) -> bool {
        if self.version(link, key) != version {
            return false;
        }
        self.pairs.remove(&(link, key.clone()));
        let forgotten = self.forgotten.entry(link).or_default();
        *forgotten = version.max(*forgotten);
        true
    }

    /// Returns the direction of the load that a stored pair still waits for.
    fn staged(&self, load: Option<LoadId>) -> Option<Direction> {
        load.and_then(|load| self.loads_open.get(&load)).map(|(_, load)| load.direction)
    }

    pub fn read(&self, stored: &(Pair, Option<LoadId>)) -> Pair {
        let (mut pair, load) = stored.clone();
        if let Some(direction) = self.staged(load) {
            moves::unload(&mut pair, direction);
        }
        pair
    }

    pub fn pair(&self, link: LinkId, key: &Key) -> Option<Pair> {
        self.pairs.get(&(link, key.clone())).map(|stored| self.read(stored))
    }

    fn mark(&mut self, link: LinkId, key: &Key, direction: Direction, mark: Option<Mark>) {
        let stored = self.pairs.get_mut(&(link, key.clone()));
        if let (Some(mark), Some((pair, _))) = (mark, stored)
            && mark.apply(pair.way_mut(direction))
        {
            pair.version += 1;
        }
    }

    fn insert_job(&mut self, mut row: Row) -> i64 {
        self.jobs_made += 1;
        row.job.id = self.jobs_made;
        self.jobs.insert(row.job.id, row);
        self.jobs_made
    }

    /// Finds the newest job of a (direction, key) that is as wanted.
    fn find_job(
        &self,
        link: LinkId,
        direction: Direction,
        key: &Key,
        is_wanted: impl Fn(&Row) -> bool,
    ) -> Option<Row> {
        let stands_there = |row: &&Row| {
            row.link == link && row.job.direction == direction && row.job.key == *key && is_wanted(row)
        };
        self.jobs.values().rev().find(stands_there).cloned()
    }

    pub fn active(&self, link: LinkId, direction: Direction, key: &Key) -> Option<Row> {
        self.find_job(link, direction, key, |row| row.job.state.is_active())
    }

    fn put_job(&mut self, link: LinkId, new: NewJob, now: Timestamp) -> (i64, Counters) {
        if let Some(mut row) = self.active(link, new.direction, &new.key) {
            let counted = row.coalesce(new, now);
            let id = row.job.id;
            self.jobs.insert(id, row);
            return (id, counted);
        }
        if new.state == JobState::Dead
            && new.origin == Origin::Sync
            && let Some(mut row) = self.find_job(link, new.direction, &new.key, is_planners_letter)
        {
            let counted = row.bury_again(new, now);
            let id = row.job.id;
            self.jobs.insert(id, row);
            return (id, counted);
        }
        let (row, counted) = Row::born(link, new, now);
        (self.insert_job(row), counted)
    }

    pub fn enqueue(&mut self, link: LinkId, new: NewJob, now: Timestamp) -> Result<Enqueued, StoreError> {
        self.link(link)?;
        let replays = new.replay_of;
        let (mut row, counted) = match self.active(link, new.direction, &new.key) {
            Some(row) if row.job.origin.is_kept() => return Ok(Enqueued::Standing(row.job.id)),
            Some(mut row) => {
                let counted = row.take_over(new, now);
                (row, counted)
            }
            None => Row::born(link, new, now),
        };
        row.job.replay_attempt = replays.and_then(|id| self.attempts.get(&id)?.last()).map(|it| it.number);
        let id = if row.job.id == 0 { self.insert_job(row) } else { self.put_row(row) };
        if let Some(replayed) = replays.and_then(|id| self.jobs.get_mut(&id)) {
            replayed.job.replayed_by = Some(id);
        }
        self.count(link, counted);
        Ok(Enqueued::Job(id))
    }

    /// Keeps the numbers of jobs under the name of their request.
    pub fn keep(&mut self, wanted: Option<Once>, jobs: &[i64]) {
        if let Some(Once { name, until }) = wanted {
            self.values.insert((once::SPACE.to_owned(), name), (once::kept(jobs), Some(until)));
        }
    }

    fn put_row(&mut self, row: Row) -> i64 {
        let id = row.job.id;
        self.jobs.insert(id, row);
        id
    }

    pub fn remove_job(&mut self, id: i64) {
        self.jobs.remove(&id);
        self.attempts.remove(&id);
    }

    fn remember(&mut self, job: i64, attempt: Option<Attempt>) {
        let Some(attempt) = attempt else { return };
        let attempts = self.attempts.entry(job).or_default();
        attempts.push(attempt);
        let too_many = attempts.len().saturating_sub(ATTEMPTS_KEPT);
        attempts.drain(..too_many);
    }

    /// Stores a moved job with all that the move means; the mark only where it is given.
    pub fn carry_out(&mut self, row: Row, moved: Moved) {
        let (link, direction, key) = (row.link, row.job.direction, row.job.key.clone());
        self.count(link, moved.counted);
        if moved.gone {
            self.remove_job(row.job.id);
        } else {
            self.remember(row.job.id, moved.attempt);
            self.jobs.insert(row.job.id, row);
        }
        if let Some(next) = moved.next {
            self.insert_job(next);
        }
        self.mark(link, &key, direction, moved.mark);
    }

    pub fn commit(&mut self, link: LinkId, commit: Commit, now: Timestamp) -> Result<Committed, StoreError> {
        self.link(link)?;
        let mut stale = Vec::new();
        for pair in &commit.pairs {
            if !self.put_pair(link, pair, commit.load) {
                stale.push(pair.key.clone());
            }
        }
        for (key, version) in &commit.forgotten {
            if !self.forget_pair(link, key, *version) {
                stale.push(key.clone());
            }
        }
        if !stale.is_empty() {
            return Ok(Committed { stale, jobs: Vec::new() });
        }
        let mut counted = commit.counted;
        for (direction, key) in &commit.obsolete {
            if let Some(mut row) = self.active(link, *direction, key) {
                if row.job.origin == Origin::Sync && row.job.state != JobState::Leased {
                    self.remove_job(row.job.id);
                    counted.superseded += 1;
                } else if row.is_parked() {
                    let moved = row.settle(Transition::Obsolete, None, true, now);
                    self.carry_out(row, moved);
                }
            }
            while let Some(letter) = self.find_job(link, *direction, key, is_planners_letter) {
                self.remove_job(letter.job.id);
            }
        }
        let mut jobs = Vec::new();
        for new in commit.jobs {
            let (id, more) = self.put_job(link, new, now);
            jobs.push(id);
            counted += more;
        }
        self.keep(commit.once, &jobs);
        self.tell(link, commit.history);
        self.answer(&commit.answered);
        let state = self.link(link)?;
        state.counters += counted;
        let index = |side: Side| usize::from(side == Side::B);
        if let Some((side, cursor)) = commit.cursor
            && let Some(place) = state.cursors.get_mut(index(side))
        {
            *place = cursor;
        }
        if let Some((side, epoch)) = commit.epoch
            && let Some(place) = state.epochs.get_mut(index(side))
        {
            *place = epoch;
        }
        Ok(Committed { stale, jobs })
    }

    pub fn settle_one(
        &mut self,
        link: LinkId,
        settlement: Settlement,
        now: Timestamp,
        settled: &mut Settled,
    ) {
        let held = |row: &&Row| row.link == link && row.is_held_under(settlement.fence);
        let Some(mut row) = self.jobs.get(&settlement.job_id).filter(held).cloned() else {
            settled.lost.push(settlement.job_id);
            return;
        };
        let knows = settlement.pair.is_some();
        let mut moved = row.settle(settlement.transition, settlement.reason, knows, now);
        if let Some(mut pair) = settlement.pair {
            // The caller's own status stands, but for what it could not know.
            if let Some(mark) = moved.mark.take().filter(|_| moved.overrules) {
                mark.apply(pair.way_mut(row.job.direction));
            }
            let holds = if settlement.forget {
                self.forget_pair(link, &pair.key, pair.version)
            } else {
                self.put_pair(link, &pair, None)
            };
            if !holds {
                settled.stale.push(settlement.job_id);
                return;
            }
        }
        self.tell(link, settlement.history);
        self.answer(&settlement.answered);
        self.carry_out(row, moved);
    }

    fn answer(&mut self, answered: &[Answered]) {
        for Answered { batch, place } in answered {
            let Some((_, writes, remembered)) = self.sent.get_mut(batch) else { continue };
            remembered.answered.extend(place.filter(|place| place < writes));
            if place.is_none() || remembered.answered.len() >= *writes as usize {
                self.sent.remove(batch);
            }
        }
    }

    fn tell(&mut self, link: LinkId, events: Vec<Event>) {
        for event in events {
            self.events_made += 1;
            self.history.push(Recorded { id: self.events_made, link, event });
        }
    }

    pub fn listed(&self, filter: &HistoryFilter) -> Vec<Recorded> {
        let is_wanted = |recorded: &&Recorded| {
            let event = &recorded.event;
            filter.link.is_none_or(|link| recorded.link == link)
                && filter.key.as_ref().is_none_or(|key| event.key == *key)
                && filter.run.as_ref().is_none_or(|run| event.run == *run)
                && filter.rules_version.is_none_or(|version| event.rules_version == version)
                && filter.from.is_none_or(|from| event.at >= from)
                && filter.to.is_none_or(|to| event.at < to)
                && (!filter.written || matches!(event.what, What::Written(_)))
                && filter.before.is_none_or(|before| recorded.id < before)
        };
        self.history.iter().rev().filter(is_wanted).take(filter.limit).cloned().collect()
    }

    pub fn prune_history(&mut self, before: Timestamp, bytes_max: u64) -> u64 {
        let bytes = |recorded: &Recorded| history_bytes(&recorded.event, &recorded.event.what.encode());
        let mut size: u64 = self.history.iter().map(bytes).sum();
        let mut pruned = 0;
        for recorded in self.history.iter().take(HISTORY_PRUNED_MAX) {
            if recorded.event.at >= before && size <= bytes_max {
                break;
            }
            size -= bytes(recorded);
            pruned += 1;
        }
        self.history.drain(..pruned);
        pruned as u64
    }
}

/// A dead letter that the planner left and that nobody has answered.
fn is_planners_letter(row: &Row) -> bool {
    row.job.state == JobState::Dead && row.job.origin == Origin::Sync && !row.is_answered()
}
