//! Writes whose answers are not known: remembered before they go out, and until they are answered.
//!
//! Invariant: no write of the planner goes out before what it is stands in the store, but for what is staged in a
//! bulk load. Whatever stands there is looked at by the next job of its record before anything else is written.

use std::collections::{BTreeSet, HashMap};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::link::{LinkContext, at, lock};
use super::page::storage;
use super::presence::shift;
use super::wanted::sync_job;
use crate::engine::fault::Fault;
use crate::engine::plan::sent::{self, Letter, Sent};
use crate::engine::plan::{Action, Pair, Seen, Status, recognise};
use crate::engine::record::{Direction, Image, Key, RemoteId, Side};
use crate::planted::{Bug, planted};
use crate::store::Commit;

/// What a link has sent and nobody has answered.
#[derive(Default)]
pub struct Unanswered {
    open: Mutex<Open>,
    /// How many writes are open, so that whoever has none to do with asks nobody.
    count: AtomicUsize,
}

#[derive(Default)]
struct Open {
    writes: HashMap<(Key, Direction), Write>,
    /// Batches of which something was answered: the store holds more of them than is open.
    touched: BTreeSet<i64>,
}

struct Write {
    sent: Sent,
    batch: i64,
}

impl Unanswered {
    /// Tells whether a write of this key in this direction is open.
    pub fn has(&self, key: &Key, direction: Direction) -> bool {
        self.count.load(Ordering::Acquire) > 0
            && lock(&self.open).writes.contains_key(&(key.clone(), direction))
    }

    /// Takes in what was sent. Of a record there is one at a time: before another goes out, a look has told
    /// what became of the first.
    fn put(&self, batch: i64, sent: Vec<Sent>) {
        self.change(|Open { writes, touched }| {
            for sent in sent {
                let place = (sent.key.clone(), sent.direction);
                let earlier = writes.insert(place, Write { sent, batch });
                touched.extend(earlier.map(|earlier| earlier.batch).filter(|earlier| *earlier != batch));
            }
        });
    }

    /// Forgets the writes of these keys.
    fn forget(&self, keys: &[Key], direction: Direction) {
        if self.count.load(Ordering::Acquire) == 0 {
            return;
        }
        self.change(|Open { writes, touched }| {
            for key in keys {
                touched.extend(writes.remove(&(key.clone(), direction)).map(|write| write.batch));
            }
        });
    }

    /// Forgets whole batches, whose answers are stored.
    pub(super) fn forget_batches(&self, batches: &[i64]) {
        if batches.is_empty() || self.count.load(Ordering::Acquire) == 0 {
            return;
        }
        self.change(|Open { writes, touched }| {
            writes.retain(|_, write| !batches.contains(&write.batch));
            touched.retain(|batch| !batches.contains(batch));
        });
    }

    /// Gives the batches that were touched, with what is left of each.
    fn touched(&self) -> Vec<(i64, Option<Vec<u8>>)> {
        let mut open = lock(&self.open);
        let touched = std::mem::take(&mut open.touched);
        let left = |batch: i64| -> Vec<Sent> {
            let of_batch = open.writes.values().filter(|write| write.batch == batch);
            of_batch.map(|write| write.sent.clone()).collect()
        };
        touched.into_iter().map(|batch| (batch, Letter::of(&left(batch)))).collect()
    }

    fn change(&self, change: impl FnOnce(&mut Open)) {
        let mut open = lock(&self.open);
        change(&mut open);
        self.count.store(open.writes.len(), Ordering::Release);
    }
}

/// A batch on its way, as the store remembers it.
pub(super) struct OnItsWay {
    pub(super) batch: i64,
    bytes: Vec<u8>,
}

impl LinkContext {
    /// Remembers writes before they go out; `None` where there is none.
    ///
    /// # Errors
    /// They can't be remembered: they must not go out.
    pub(super) async fn send<'w>(
        &self,
        direction: Direction,
        writes: impl Iterator<Item = (&'w Key, Option<&'w RemoteId>, Option<&'w Image>, &'w Action)>,
    ) -> Result<Option<OnItsWay>, Fault> {
        let mut letter =
            Letter::new(direction, self.rules.shape(direction.from()), self.rules.shape(direction.to()));
        writes.for_each(|(key, id, made_from, action)| letter.add(key, id, made_from, action));
        let Some(bytes) = letter.close().filter(|_| !planted(Bug::SentUnremembered)) else { return Ok(None) };
        let batch = self.store.send(self.id, bytes.clone()).await.map_err(storage)?;
        Ok(Some(OnItsWay { batch, bytes }))
    }

    /// Keeps a batch in mind whose answers are not all stored.
    pub(super) fn keep_in_mind(&self, sent: &OnItsWay) {
        // What we have just written can be read.
        self.unanswered.put(sent.batch, sent::read(&sent.bytes).unwrap_or_default());
    }

    /// The writes of these keys are answered, and what that means is stored.
    pub(super) async fn answered(&self, direction: Direction, keys: &[Key]) -> Result<(), Fault> {
        self.unanswered.forget(keys, direction);
        for (batch, left) in self.unanswered.touched() {
            self.store.answered(batch, left).await.map_err(storage)?;
        }
        Ok(())
    }

    /// Takes what a side shows for our own write, where it is one that nobody answered.
    pub(super) fn recognise(&self, pair: &mut Pair) {
        if self.unanswered.count.load(Ordering::Acquire) == 0 || planted(Bug::SentUnrecognised) {
            return;
        }
        let open = lock(&self.unanswered.open);
        for direction in Direction::BOTH {
            if let Some(write) = open.writes.get(&(pair.key.clone(), direction))
                && recognise(pair, &self.rules, &write.sent)
            {
                tracing::info!(event = "delivery.recognised", customer = %self.customer, link = %self.name,
                    direction = direction.as_str(), key = %pair.key,
                    "a write whose answer was lost stands at its destination");
            }
        }
    }

    /// Takes up what an earlier process, or an earlier run of the link, has left unanswered. Each has a job
    /// that finds out, and a pair that says what is known of its source.
    pub(super) async fn take_up(&self) -> Result<(), Fault> {
        let mut left: Vec<Sent> = Vec::new();
        for (batch, bytes) in self.store.unanswered(self.id).await.map_err(storage)? {
            let Ok(sent) = sent::read(&bytes) else {
                tracing::error!(event = "sent.unreadable", customer = %self.customer, link = %self.name,
                    "the state holds a batch of writes that can't be read; it is forgotten");
                self.store.answered(batch, None).await.map_err(storage)?;
                continue;
            };
            left.extend(sent.iter().cloned());
            self.unanswered.put(batch, sent);
        }
        for sent in left.chunks(TAKEN_UP_AT_ONCE) {
            let keys = sent.iter().map(|sent| sent.key.clone()).collect();
            let known = self.store.known(self.id, keys).await.map_err(storage)?;
            let mut commit = Commit::default();
            for (sent, known) in sent.iter().zip(known) {
                let direction = sent.direction;
                let stands = |pair: &Pair| {
                    let status = pair.way(direction).status;
                    // What ended otherwise stays so until there is news of it.
                    !matches!(status, Status::None | Status::Synced | Status::SkippedByRule)
                };
                if self.rules.way(direction).is_none() || known.as_ref().is_some_and(stands) {
                    continue;
                }
                commit.jobs.push(sync_job(self, direction, sent.key.clone(), self.now()));
                let is_noted = commit.pairs.iter().any(|noted: &Pair| noted.key == sent.key);
                commit.pairs.extend(self.as_noted(sent, known).filter(|_| !is_noted));
            }
            self.note(commit).await?;
        }
        Ok(())
    }

    /// The pair as a page would have noted it that had been stored before its writes went out; `None` where
    /// its source is known.
    fn as_noted(&self, sent: &Sent, known: Option<Pair>) -> Option<Pair> {
        let mut pair = known.unwrap_or_else(|| Pair::new(sent.key.clone()));
        let side = sent.direction.from();
        let state = pair.side_mut(side);
        if state.seen != Seen::Never {
            return None;
        }
        state.seen = Seen::Changed(sent.made_from.clone()?);
        state.id.clone_from(&sent.id);
        (state.seen_at, state.epoch) = (self.now(), self.epoch(side));
        let way = pair.way_mut(sent.direction);
        (way.status, way.queued_at) = (Status::Queued, Some(self.now()));
        Some(pair)
    }

    /// Stores pairs of which only one side is known, and jobs.
    async fn note(&self, commit: Commit) -> Result<(), Fault> {
        if !commit.is_worth_storing() {
            return Ok(());
        }
        let noted: Vec<(Key, Side)> = commit
            .jobs
            .iter()
            .map(|job| (job.key.clone(), job.direction.from()))
            .filter(|(key, _)| commit.pairs.iter().any(|pair| pair.key == *key))
            .collect();
        let committed = self.store.commit(self.id, commit, self.now()).await.map_err(storage)?;
        for (key, side) in noted.iter().filter(|_| committed.stale.is_empty()) {
            shift(&mut lock(at(&self.presence, *side)), false, true, key);
        }
        Ok(())
    }
}

/// Writes that are taken up with one reading of the store.
const TAKEN_UP_AT_ONCE: usize = 1000;
