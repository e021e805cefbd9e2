//! Writes whose answers are not known: remembered before they go out, and until they are answered.
//!
//! Invariant: no write of the planner goes out before what it is stands in the store, but for what is staged in a
//! bulk load. Whatever stands there is looked at by the next job of its record before anything else is written,
//! unless a page has shown it before; and it stands there until what the answer means is stored.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use super::link::{LinkContext, at, lock};
use super::page::{Entry, storage};
use super::tell;
use super::wanted::sync_job;
use crate::engine::fault::{Fault, FaultCode};
use crate::engine::plan::sent::{self, Going, Sent, Slip};
use crate::engine::plan::{Pair, Seen, Status, recognise};
use crate::engine::record::{Direction, Key, RemoteId, Side, Timestamp};
use crate::planted::{Bug, planted};
use crate::store::{Answered, Commit};

/// How often they are read again because pairs move on.
const ROUNDS_MAX: usize = 16;
/// Writes that are taken up with one reading of the store.
const TAKEN_UP_AT_ONCE: usize = 1000;

/// What a link has sent and nobody has answered.
#[derive(Default)]
pub struct Unanswered {
    open: Mutex<Open>,
    /// How many writes are open, so that whoever has none to do with asks nobody.
    count: AtomicUsize,
}

#[derive(Default)]
struct Open {
    writes: [HashMap<Key, Write>; 2],
    keys: HashMap<Answered, (Direction, Key)>,
}

struct Write {
    sent: Sent,
    /// What answers it, and every one before it that it took the place of.
    by: Vec<Answered>,
    /// It went out after that.
    since: Timestamp,
}

impl Open {
    fn of(&mut self, direction: Direction) -> &mut HashMap<Key, Write> {
        let [a_to_b, b_to_a] = &mut self.writes;
        match direction {
            Direction::AToB => a_to_b,
            Direction::BToA => b_to_a,
        }
    }
}

impl Unanswered {
    fn is_empty(&self) -> bool {
        self.count.load(Ordering::Acquire) == 0
    }

    /// Tells whether a write of this key in this direction is open.
    pub fn has(&self, key: &Key, direction: Direction) -> bool {
        !self.is_empty() && lock(&self.open).of(direction).contains_key(key)
    }

    /// Gives the key of the open write that was made of the record with this id.
    pub(super) fn key_of(&self, id: &RemoteId, direction: Direction) -> Option<Key> {
        if self.is_empty() {
            return None;
        }
        let mut open = lock(&self.open);
        let made_of = open.of(direction).values().find(|write| write.sent.id.as_ref() == Some(id));
        made_of.map(|write| write.sent.key.clone())
    }

    /// Gives what is answered where the open write of this key is.
    pub(super) fn by(&self, key: &Key, direction: Direction) -> Vec<Answered> {
        if self.is_empty() {
            return Vec::new();
        }
        lock(&self.open).of(direction).get(key).map(|write| write.by.clone()).unwrap_or_default()
    }

    /// Takes in what was sent. Of a record there is one at a time: before another goes out, a look has told
    /// what became of the first.
    fn put(&self, batch: i64, sent: impl Iterator<Item = (u32, Sent)>, since: Timestamp) {
        self.change(|open| {
            for (place, sent) in sent {
                let answered = Answered { batch, place: Some(place) };
                let (direction, key) = (sent.direction, sent.key.clone());
                let mut by = open.of(direction).remove(&key).map(|earlier| earlier.by).unwrap_or_default();
                if !by.contains(&answered) {
                    by.push(answered);
                }
                open.keys.insert(answered, (direction, key.clone()));
                open.of(direction).insert(key, Write { sent, by, since });
            }
        });
    }

    /// Forgets writes whose answers are stored.
    pub(super) fn forget(&self, answered: &[Answered]) {
        if self.is_empty() || answered.is_empty() {
            return;
        }
        self.change(|open| {
            for answer in answered {
                let Some((direction, key)) = open.keys.remove(answer) else { continue };
                let of_direction = open.of(direction);
                if let Some(write) = of_direction.get_mut(&key) {
                    write.by.retain(|by| by != answer);
                    if write.by.is_empty() {
                        of_direction.remove(&key);
                    }
                }
            }
        });
    }

    fn change(&self, change: impl FnOnce(&mut Open)) {
        let mut open = lock(&self.open);
        change(&mut open);
        self.count.store(open.keys.len(), Ordering::Release);
    }
}

/// A batch on its way, as the store remembers it.
pub(super) struct OnItsWay {
    pub(super) batch: i64,
    slip: Arc<Vec<u8>>,
    /// When it was remembered, before it went out.
    since: Timestamp,
}

impl OnItsWay {
    /// Reads what it holds.
    pub(super) fn writes(&self) -> Result<Vec<Sent>, sent::Unreadable> {
        sent::read(&self.slip)
    }
}

impl LinkContext {
    /// Remembers writes before they go out; `None` where there is none.
    ///
    /// # Errors
    /// They can't be remembered: they must not go out.
    pub(super) async fn remember<'w>(
        &self,
        direction: Direction,
        writes: impl Iterator<Item = Going<'w>>,
    ) -> Result<Option<OnItsWay>, Fault> {
        let mut slip =
            Slip::new(direction, self.rules.shape(direction.from()), self.rules.shape(direction.to()));
        writes.for_each(|going| slip.add(&going));
        let Some((slip, writes)) = slip.close().filter(|_| !planted(Bug::SentUnremembered)) else {
            return Ok(None);
        };
        let (slip, since) = (Arc::new(slip), self.now());
        let batch = self.store.remember(self.id, Arc::clone(&slip), writes).await.map_err(storage)?;
        Ok(Some(OnItsWay { batch, slip, since }))
    }

    /// Keeps a batch in mind whose answers are not stored yet.
    pub(super) fn keep_in_mind(&self, sent: &OnItsWay) {
        match sent.writes() {
            Ok(writes) => self.unanswered.put(sent.batch, (0..).zip(writes), sent.since),
            // What we have just written can be read: this tells of a defect of ours.
            Err(_) => {
                tracing::error!(event = "sent.unreadable", customer = %self.customer, link = %self.name,
                batch = sent.batch, "what was sent can't be read back; its records are looked at by no job")
            }
        }
    }

    /// Takes what a side shows for our own write, where it is one that nobody answered: that answers it.
    pub(super) fn recognise(&self, entry: &mut Entry) {
        if self.unanswered.is_empty() || planted(Bug::SentUnrecognised) {
            return;
        }
        let mut open = lock(&self.unanswered.open);
        for direction in Direction::BOTH {
            let Some(Write { sent, by, since }) = open.of(direction).get(&entry.pair.key) else { continue };
            if by.iter().all(|by| entry.answered.contains(by)) {
                // It is known to have arrived, and taken up.
                continue;
            }
            let noted = self.as_noted_since(sent, &entry.pair, *since);
            let mut pair = noted.unwrap_or_else(|| entry.pair.clone());
            let Some(before) = recognise(&mut pair, &self.rules, sent) else { continue };
            entry.pair = pair;
            tracing::info!(event = "delivery.recognised", customer = %self.customer, link = %self.name,
                direction = direction.as_str(), key = %entry.pair.key,
                "a write whose answer was lost stands at its destination");
            entry.answered.extend(by);
            entry.history.extend(tell::recognised(self, &before, sent));
        }
    }

    /// Notes in a pair what an open write was made of at a side that seems never to have been seen: only the page that
    /// was to note it came to nothing.
    pub(super) fn note_source(&self, pair: &mut Pair, side: Side) {
        if self.unanswered.is_empty() || pair.side(side).seen != Seen::Never {
            return;
        }
        let mut open = lock(&self.unanswered.open);
        let write = open.of(side.outward()).get(&pair.key);
        if let Some(noted) = write.and_then(|write| self.as_noted_since(&write.sent, pair, write.since)) {
            *pair = noted;
        }
    }

    /// Tells whether a write of this record is open, and nothing that was learnt with this entry answers it.
    pub(super) fn is_open(&self, entry: &Entry, direction: Direction) -> bool {
        let by = self.unanswered.by(&entry.pair.key, direction);
        by.iter().any(|by| !entry.answered.contains(by))
    }

    /// Takes up what an earlier process, or an earlier run of the link, has left unanswered. Each has a job
    /// that finds out, and a pair that says what is known of its source.
    pub(super) async fn take_up(&self) -> Result<(), Fault> {
        let mut left: Vec<Sent> = Vec::new();
        for remembered in self.store.unanswered(self.id).await.map_err(storage)? {
            let Ok(sent) = sent::read(&remembered.slip) else {
                tracing::error!(event = "sent.unreadable", customer = %self.customer, link = %self.name,
                    "the state holds a batch of writes that can't be read; it is forgotten");
                let all = Answered { batch: remembered.batch, place: None };
                let commit = Commit { answered: vec![all], ..Commit::default() };
                self.store.commit(self.id, commit, self.now()).await.map_err(storage)?;
                continue;
            };
            let open = (0..).zip(sent).filter(|(place, _)| !remembered.answered.contains(place));
            let open: Vec<(u32, Sent)> = open.collect();
            left.extend(open.iter().map(|(_, sent)| sent.clone()));
            self.unanswered.put(remembered.batch, open.into_iter(), self.now());
        }
        for sent in left.chunks(TAKEN_UP_AT_ONCE) {
            self.note(sent).await?;
        }
        Ok(())
    }

    /// Makes jobs of what was sent, and pairs where there are none.
    async fn note(&self, sent: &[Sent]) -> Result<(), Fault> {
        for _ in 0..ROUNDS_MAX {
            if self.is_noted(sent).await? {
                return Ok(());
            }
        }
        Err(Fault::transient(FaultCode::Conflict, "pairs kept moving while unanswered writes were taken up"))
    }

    /// The same, unless a pair has moved on meanwhile.
    async fn is_noted(&self, sent: &[Sent]) -> Result<bool, Fault> {
        let keys = sent.iter().map(|sent| sent.key.clone()).collect();
        let known = self.store.known(self.id, keys).await.map_err(storage)?;
        let mut commit = Commit::default();
        let mut noted: Vec<(Key, Side)> = Vec::new();
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
            let is_noted = noted.iter().any(|(key, _)| *key == sent.key);
            let known = known.unwrap_or_else(|| Pair::new(sent.key.clone()));
            if let Some(pair) = self.as_noted(sent, &known).filter(|_| !is_noted) {
                noted.push((sent.key.clone(), direction.from()));
                commit.pairs.push(pair);
            }
        }
        if !commit.is_worth_storing() {
            return Ok(true);
        }
        let committed = self.store.commit(self.id, commit, self.now()).await.map_err(storage)?;
        if !committed.stale.is_empty() {
            return Ok(false);
        }
        noted.iter().for_each(|(key, side)| lock(at(&self.presence, *side)).shift(false, true, key));
        Ok(true)
    }

    /// The same, unless the pair was forgotten since.
    fn as_noted_since(&self, sent: &Sent, known: &Pair, since: Timestamp) -> Option<Pair> {
        let was_forgotten = || self.forgotten_at(&known.key).is_some_and(|at| at >= since);
        self.as_noted(sent, known).filter(|_| !was_forgotten())
    }

    /// The pair as a page would have noted it that had been stored before its writes went out; `None` where
    /// its source is known, or was: then it was forgotten since, and is gone.
    fn as_noted(&self, sent: &Sent, known: &Pair) -> Option<Pair> {
        let side = sent.direction.from();
        let was_known = sent.is_known && !planted(Bug::ForgottenNoted);
        if known.side(side).seen != Seen::Never || was_known {
            return None;
        }
        let made_from = sent.made_from.clone()?;
        let mut pair = known.clone();
        let state = pair.side_mut(side);
        state.seen = Seen::Changed(made_from);
        state.id.clone_from(&sent.id);
        (state.seen_at, state.epoch) = (self.now(), self.epoch(side));
        let way = pair.way_mut(sent.direction);
        (way.status, way.queued_at) = (Status::Queued, Some(self.now()));
        Some(pair)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::plan::sent::Effect;

    fn sent(text: &str, direction: Direction) -> Sent {
        let key = Key::from_text(text).expect("a key");
        Sent { key, direction, id: None, made_from: None, is_known: true, effect: Effect::Gone }
    }

    fn answered(batch: i64, place: u32) -> Answered {
        Answered { batch, place: Some(place) }
    }

    #[test]
    fn a_write_is_open_until_every_answer_that_it_waits_for_is_stored() {
        use Direction::{AToB, BToA};
        // (batches as (number, first place, writes), answers, what is left open with what answers it, why)
        type Batch = (i64, u32, Vec<Sent>);
        type Left<'t> = Vec<(&'t str, Direction, Vec<Answered>)>;
        let two = || (1, 0, vec![sent("p", AToB), sent("q", AToB)]);
        let cases: [(Vec<Batch>, Vec<Answered>, Left, &str); 6] = [
            (vec![], vec![answered(1, 0)], vec![], "nothing went out"),
            (vec![two()], vec![answered(1, 0)], vec![("q", AToB, vec![answered(1, 1)])], "one of two"),
            (vec![two()], vec![answered(1, 0), answered(1, 1), answered(1, 1)], vec![], "both"),
            (
                vec![(1, 4, vec![sent("p", AToB)]), (2, 0, vec![sent("p", BToA)])],
                vec![answered(2, 0)],
                vec![("p", AToB, vec![answered(1, 4)])],
                "each direction by itself, under the place that is left",
            ),
            (
                vec![(1, 0, vec![sent("p", AToB)]), (2, 0, vec![sent("p", AToB)])],
                vec![],
                vec![("p", AToB, vec![answered(1, 0), answered(2, 0)])],
                "what answers the later one answers the earlier one",
            ),
            (
                vec![(1, 0, vec![sent("p", AToB)]), (2, 0, vec![sent("p", AToB)])],
                vec![answered(1, 0), answered(2, 0)],
                vec![],
                "and then nothing is left",
            ),
        ];
        for (batches, answers, left, why) in cases {
            let unanswered = Unanswered::default();
            for (batch, first, writes) in batches {
                unanswered.put(batch, (first..).zip(writes), Timestamp(0));
            }
            unanswered.forget(&answers);
            for name in ["p", "q"] {
                for direction in Direction::BOTH {
                    let key = Key::from_text(name).expect("a key");
                    let wanted = left.iter().find(|(of, at, _)| (*of, *at) == (name, direction));
                    let by = wanted.map(|(.., by)| by.clone()).unwrap_or_default();
                    assert_eq!(unanswered.by(&key, direction), by, "{why}: {name}");
                    assert_eq!(unanswered.has(&key, direction), wanted.is_some(), "{why}: {name}");
                }
            }
            assert_eq!(unanswered.is_empty(), left.is_empty(), "{why}");
        }
    }
}
