//! Random histories, the same on the model and on SQLite: every answer and everything stored agrees,
//! and nothing accepted gets lost. A failure names its seed, which repeats it.

use std::path::PathBuf;

use record_sync::engine::history::{Event, What};
use record_sync::engine::job::{JobState, Origin};
use record_sync::engine::plan::{DirectionState, Pair, Seen, Status};
use record_sync::engine::record::{Cursor, Direction, Side};
use record_sync::store::memory::MemoryStore;
use record_sync::store::sqlite::SqliteStore;
use record_sync::store::{
    Commit, Counters, HistoryFilter, JobFilter, LinkWord, LoadId, NewJob, Settlement, Store, StoreError,
    Transition,
};

use super::*;

const SEEDS: u64 = 12;
const STEPS: usize = 250;
const KEYS: u64 = 7;
/// The same of histories whose pairs fill many rows of the state.
const MANY_SEEDS: u64 = 6;
const MANY_KEYS: u64 = 400;

/// A small xorshift: the same seed, the same history.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }

    fn one_in(&mut self, of: u64) -> bool {
        self.below(of) == 0
    }

    fn pick<'t, T>(&mut self, of: &'t [T]) -> &'t T {
        &of[self.below(of.len() as u64) as usize]
    }
}

struct History {
    model: MemoryStore,
    store: Option<SqliteStore>,
    path: PathBuf,
    dice: Dice,
    keys: u64,
    now: i64,
    links: Vec<LinkId>,
    loads: Vec<LoadId>,
    leased: Vec<(LinkId, Leased)>,
}

#[tokio::test]
async fn random_histories_agree_with_the_model() {
    for seed in 1..=SEEDS {
        play(seed, KEYS).await;
    }
}

#[tokio::test]
async fn random_histories_of_many_pairs_agree_with_the_model() {
    for seed in 1..=MANY_SEEDS {
        play(seed, MANY_KEYS).await;
    }
}

async fn play(seed: u64, keys: u64) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.sqlite");
    let mut history = History {
        model: MemoryStore::default(),
        store: Some(open(&path)),
        path,
        dice: Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15)),
        keys,
        now: 10,
        links: Vec::new(),
        loads: Vec::new(),
        leased: Vec::new(),
    };
    for name in ["people", "firms"] {
        let id = history.store().link("customer1", name).await.unwrap().id;
        assert_eq!(history.model.link("customer1", name).await.unwrap().id, id);
        history.links.push(id);
    }
    for step in 0..STEPS {
        let why = format!("seed {seed}, step {step}");
        history.step(&why).await;
        if step % 5 == 0 {
            history.compare(&why).await;
        }
    }
    history.compare(&format!("seed {seed}, in the end")).await;
}

/// Asks both stores the same and returns the answer they agree on.
macro_rules! both {
    ($history:ident, $why:ident, $verb:ident($($argument:expr),*)) => {{
        let model = $history.model.$verb($(same(&$argument)),*).await;
        let store = $history.store().$verb($($argument),*).await;
        let (model, store) = (shown(model), shown(store));
        assert_eq!(model, store, "{}: {}", $why, stringify!($verb));
        store
    }};
}

fn same<T: Clone>(argument: &T) -> T {
    argument.clone()
}

fn shown<T>(answer: Result<T, StoreError>) -> T {
    answer.expect("no store fails here")
}

impl History {
    fn store(&self) -> &SqliteStore {
        self.store.as_ref().expect("open")
    }

    fn link(&mut self) -> LinkId {
        *self.dice.pick(&self.links)
    }

    fn direction(&mut self) -> Direction {
        *self.dice.pick(&Direction::BOTH)
    }

    fn name(&mut self) -> String {
        self.dice.below(self.keys).to_string()
    }

    async fn step(&mut self, why: &str) {
        self.now += self.dice.below(30) as i64;
        let now = at(self.now);
        match self.dice.below(24) {
            0..=6 => self.commit(why).await,
            7..=9 => self.lease(why).await,
            10..=13 => self.settle(why).await,
            14 => {
                let all = self.dice.one_in(3);
                both!(self, why, rescue(now, all));
            }
            15 => {
                let id = self.dice.below(40) as i64;
                both!(self, why, cancel(id, now));
            }
            16 => {
                let (link, key) = (self.link(), key(&self.name()));
                both!(self, why, retry_now(link, &key, now));
            }
            17 => self.load(why).await,
            18 => self.reopen(),
            19 => self.renew(why).await,
            21..=23 => self.ask(why).await,
            _ => self.small_things(why).await,
        }
    }

    async fn commit(&mut self, why: &str) {
        let link = self.link();
        let mut commit = Commit::default();
        let at_most = if self.keys > KEYS { 40 } else { 4 };
        for _ in 0..self.dice.below(at_most) {
            let name = self.name();
            if commit.pairs.iter().any(|pair| pair.key == key(&name)) {
                continue;
            }
            let known = both!(self, why, known(link, vec![key(&name)])).pop().flatten();
            if known.is_some() && self.dice.one_in(6) {
                commit.forgotten.push((key(&name), known.map_or(0, |pair| pair.version)));
                continue;
            }
            let mut pair = known.unwrap_or_else(|| Pair::new(key(&name)));
            self.change(&mut pair);
            if self.dice.one_in(15) {
                pair.version += 1;
            }
            commit.pairs.push(pair);
        }
        for _ in 0..self.dice.below(3) {
            commit.jobs.push(self.job());
        }
        if self.dice.one_in(4) {
            commit.obsolete.push((self.direction(), key(&self.name())));
        }
        if self.dice.one_in(3) {
            commit.cursor = Some((*self.dice.pick(&Side::BOTH), Some(Cursor(self.now.to_string()))));
            commit.epoch = Some((*self.dice.pick(&Side::BOTH), self.now as u32));
            commit.counted = Counters { skipped: 1, ..Counters::default() };
        }
        if self.dice.one_in(4) {
            commit.load = self.loads.last().copied();
        }
        commit.history = self.happened();
        both!(self, why, commit(link, commit, at(self.now)));
    }

    fn change(&mut self, pair: &mut Pair) {
        for side in Side::BOTH {
            let length = if self.keys > KEYS { self.dice.below(600) as usize } else { 0 };
            let number = format!("{:length$}", self.dice.below(1000));
            let state = pair.side_mut(side);
            match self.dice.below(6) {
                0 => state.seen = Seen::Changed(image("1", &number)),
                1 => state.seen = Seen::Deleted(Some(at(self.now))),
                2 => {
                    state.base = Some(image("2", &number));
                    state.seen = Seen::AsBase;
                    state.id = Some(self.dice.below(3).to_string().into());
                }
                3 => state.revision = Some(number.into()),
                4 => state.modified_at = Some(at(self.now)),
                _ => state.epoch += 1,
            }
        }
        let direction = self.direction();
        *pair.way_mut(direction) = DirectionState {
            status: *self.dice.pick(&Status::ALL),
            attempts: self.dice.below(3) as u32,
            error: None,
            rules_version: 1,
            queued_at: None,
            synced_at: Some(at(self.now)),
        };
    }

    fn happened(&mut self) -> Vec<Event> {
        let rule = "x".repeat(self.dice.below(20) as usize);
        let what = if self.dice.one_in(2) { What::Held { rule } } else { What::Forgotten };
        let event = history::happened(&self.name(), self.now, what);
        vec![event; self.dice.below(3) as usize]
    }

    fn job(&mut self) -> NewJob {
        let states =
            [JobState::Pending, JobState::Pending, JobState::Waiting, JobState::Conflict, JobState::Dead];
        let state = *self.dice.pick(&states);
        let origin = if self.dice.one_in(4) { Origin::Push } else { Origin::Sync };
        NewJob {
            direction: self.direction(),
            origin,
            priority: self.dice.below(3) as i32,
            due_at: at(self.now + self.dice.below(40) as i64),
            rules_version: self.dice.below(9) as u32,
            correlation_id: self.now.to_string(),
            payload: (origin == Origin::Push).then(|| self.now.to_string()),
            state,
            error: (state != JobState::Pending).then(|| error("born with it")),
            ..wanted(&self.name())
        }
    }

    async fn ask(&mut self, why: &str) {
        let (link, now) = (self.link(), at(self.now));
        let id = self.dice.below(40) as i64;
        match self.dice.below(4) {
            0 => {
                both!(self, why, retry_job(id, now));
            }
            1 if self.dice.one_in(4) => {
                both!(self, why, forget_letters(vec![id, id + 1]));
            }
            _ => {
                let replay_of = self.dice.one_in(3).then_some(id);
                let state = if self.dice.one_in(3) { JobState::Waiting } else { JobState::Pending };
                let job = NewJob { origin: Origin::Asked, state, error: None, replay_of, ..self.job() };
                let once = None;
                both!(self, why, enqueue(link, job, once, now));
            }
        }
    }

    async fn lease(&mut self, why: &str) {
        let link = self.link();
        let request = LeaseRequest {
            direction: self.direction(),
            owner: "w1".into(),
            now: at(self.now),
            until: at(self.now + 60),
            limit: self.dice.below(4) as usize,
        };
        let leased = both!(self, why, lease(link, request));
        self.leased.extend(leased.into_iter().map(|leased| (link, leased)));
    }

    async fn renew(&mut self, why: &str) {
        let link = self.link();
        let until = at(self.now + 60 + self.dice.below(60) as i64);
        let fences = self.leased.iter().filter(|_| self.dice.one_in(2));
        let leases: Vec<(i64, u64)> = fences
            .map(|(_, leased)| (leased.job.id, leased.job.lease.as_ref().expect("a lease").fence))
            .collect();
        both!(self, why, renew(link, leases, until));
    }

    async fn settle(&mut self, why: &str) {
        let link = self.link();
        let mut settlements = Vec::new();
        for _ in 0..self.dice.below(4) {
            if self.leased.is_empty() {
                break;
            }
            let at = self.dice.below(self.leased.len() as u64) as usize;
            let (of, leased) = self.leased[at].clone();
            // What is settled twice, or under another link, has to be told so.
            if of == link && !self.dice.one_in(10) {
                self.leased.swap_remove(at);
            }
            let mut settlement = end(&leased, self.transition());
            match self.dice.below(4) {
                0 => settlement.pair = leased.pair,
                1 | 2 => {
                    let known = both!(self, why, known(link, vec![leased.job.key.clone()])).pop().flatten();
                    let mut pair = known.unwrap_or_else(|| Pair::new(leased.job.key.clone()));
                    self.change(&mut pair);
                    settlement.forget = self.dice.one_in(5);
                    settlement.pair = Some(pair);
                }
                _ => {}
            }
            settlement.history = self.happened();
            settlement.reason = self.dice.one_in(2).then(|| error("patience"));
            settlements.push(settlement);
        }
        let settlements: Vec<Settlement> = settlements;
        both!(self, why, settle(link, settlements, at(self.now)));
    }

    fn transition(&mut self) -> Transition {
        let due_at = at(self.now + self.dice.below(40) as i64);
        let error = error(&self.now.to_string());
        match self.dice.below(9) {
            0..=2 => Transition::Synced,
            3 => Transition::Snoozed { due_at },
            4 => Transition::Retrying { due_at, error },
            5 => Transition::Again { due_at },
            6 => Transition::Waiting { due_at, error },
            7 if self.dice.one_in(2) => Transition::Conflict { error },
            7 => Transition::Obsolete,
            _ => Transition::Dead { error, payload: Some("raw".into()) },
        }
    }

    async fn load(&mut self, why: &str) {
        if self.dice.one_in(2) {
            let (link, direction) = (self.link(), self.direction());
            let mark = self.dice.one_in(2).then(|| format!("mark {}", self.loads.len()));
            let load = both!(self, why, begin_load(link, direction, mark.clone()));
            self.loads.push(load);
        } else if !self.loads.is_empty() {
            let at = self.dice.below(self.loads.len() as u64) as usize;
            let load = self.loads.swap_remove(at);
            both!(self, why, end_load(load));
        }
        let link = self.link();
        both!(self, why, loads(link));
    }

    fn reopen(&mut self) {
        self.store = None;
        self.store = Some(open(&self.path));
        self.model.reopen();
        self.loads.clear();
    }

    async fn small_things(&mut self, why: &str) {
        let now = at(self.now);
        let (name, expires_at) = (self.name(), at(self.now + 20));
        let link = self.link();
        both!(self, why, links());
        let frozen = self.dice.one_in(2).then(|| "too many deletes".to_owned());
        let direction = if self.dice.one_in(2) { Direction::AToB } else { Direction::BToA };
        let words = vec![
            LinkWord::PlannedUnder(u128::from(self.dice.below(99))),
            LinkWord::Paused(self.dice.one_in(2)),
            LinkWord::Frozen(direction, frozen),
        ];
        both!(self, why, tell_link(link, words.clone()));
        both!(self, why, put("s", name.as_str(), "v", Some(expires_at)));
        both!(self, why, list("s", now));
        both!(self, why, remove("s", name.as_str()));
        let far = if self.dice.one_in(5) { now.plus(record_sync::store::ENDED_KEPT) } else { now };
        both!(self, why, tidy(far, true));
        let (before, bytes_max) = (at(self.now - 100), 400 + self.dice.below(4000));
        both!(self, why, prune_history(before, bytes_max));
    }

    async fn compare(&mut self, why: &str) {
        both!(self, why, links());
        both!(self, why, history(HistoryFilter { limit: 1000, ..HistoryFilter::default() }));
        both!(self, why, jobs(JobFilter { limit: 1000, ..JobFilter::default() }));
        both!(self, why, jobs(JobFilter { limit: 1000, ..JobFilter::letters() }));
        for state in JobState::ALL {
            both!(self, why, jobs(JobFilter { state: Some(state), limit: 1000, ..JobFilter::default() }));
        }
        let of_key = JobFilter { key: Some(key(&self.name())), limit: 1000, ..JobFilter::default() };
        both!(self, why, jobs(of_key.clone()));
        self.assert_rows_agree(why);
        for id in 0..40 {
            both!(self, why, attempts(id));
        }
        let ids: Vec<_> = (0..3).map(|id| id.to_string().into()).collect();
        for link in self.links.clone() {
            both!(self, why, walk(link, None, 1000));
            let some: Vec<Key> = (0..self.dice.below(30)).map(|_| key(&self.name())).collect();
            both!(self, why, walk(link, some.first().cloned(), 17));
            both!(self, why, known(link, some.clone()));
            both!(self, why, sums(link, None, 1000));
            both!(self, why, sums(link, None, 2));
            both!(self, why, count_pairs(link));
            both!(self, why, depth(link));
            for direction in Direction::BOTH {
                both!(self, why, next_due(link, direction));
            }
            for side in Side::BOTH {
                both!(self, why, keys_by_id(link, side, ids.clone()));
            }
            assert_conserved(self.store(), link, why).await;
        }
    }

    /// Checks that the columns which the indexes of `jobs` stand on say what the state says.
    fn assert_rows_agree(&self, why: &str) {
        let db = rusqlite::Connection::open(&self.path).unwrap();
        let wrong = "SELECT count(*) FROM jobs WHERE active IS NOT iif(state < 5, 1, NULL) \
             OR ready_at IS NOT iif(state IN (0, 2, 3), due_at, NULL) OR (until IS NULL) IS (state = 1) \
             OR resting IS NOT iif(state IN (2, 3, 4, 6, 7), state, NULL) \
             OR ended_at IS NOT iif(state IN (5, 7) OR state = 6 AND replayed_by IS NOT NULL, updated_at, NULL)";
        let wrong: i64 = db.query_row(wrong, [], |row| row.get(0)).unwrap();
        assert_eq!(wrong, 0, "{why}: jobs that are indexed for what they are not");
    }
}
