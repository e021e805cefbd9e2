//! The durable memory: pairs, jobs, cursors, statuses.
//!
//! Invariant: what one call changes, it changes in one transaction or not at all. Pairs carry a
//! version and jobs a fence; a write that expects another one changes nothing and says so.

mod counts;
mod filters;
mod looks;
pub mod memory;
mod moves;
mod once;
mod remembered;
pub mod sqlite;
mod sums;
mod tries;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

pub use self::counts::{Counters, Depth};
pub use self::filters::{HistoryFilter, JobFilter};
pub use self::looks::{Known, Looks};
pub use self::once::Once;
pub use self::remembered::{Answered, Remembered};
pub use self::sums::Sums;
use crate::engine::history::Event;
use crate::engine::job::{Attempt, Job, JobError, JobState, Origin};
use crate::engine::plan::Pair;
use crate::engine::record::{Cursor, Direction, Key, RemoteId, Side, Timestamp};

/// For how long a push that was delivered and a job that was cancelled can still be asked for.
pub const ENDED_KEPT: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// What one call of [`Store::prune_history`] forgets at most of either kind.
pub const HISTORY_PRUNED_MAX: usize = 10_000;

/// Counts the bytes of an event: its own and what a row costs.
pub fn history_bytes(event: &Event, body: &str) -> u64 {
    const ROW: usize = 64;
    (body.len() + event.key.as_bytes().len() + event.run.len() + ROW) as u64
}

/// A link of one customer, as the store numbers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LinkId(pub u32);

/// A bulk load, as the store numbers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LoadId(pub u32);

/// A bulk load that has not ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenLoad {
    pub id: LoadId,
    pub direction: Direction,
    /// What tells it from others at its destination.
    pub mark: Option<String>,
}

/// Why the store could not do it.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    #[error("the state {path} is in use by another record-sync; stop it, or name another [service] state")]
    Locked { path: String },
    #[error(
        "the state {path} was written by a newer record-sync (schema {found}, this one knows {known}); upgrade record-sync or restore an older state"
    )]
    Newer { path: String, found: u32, known: u32 },
    #[error(
        "the state {path} is damaged: {detail}; restore it from a backup, or move it away to start with first contact"
    )]
    Corrupt { path: String, detail: String },
    #[error("the disk of the state is full: {0}")]
    Full(String),
    #[error("the state can't be used: {0}")]
    Io(String),
}

/// What the store knows of a link.
#[derive(Clone, Debug, PartialEq)]
pub struct LinkState {
    pub id: LinkId,
    pub customer: String,
    pub link: String,
    /// Cursors of the sources at `a` and at `b`.
    pub cursors: [Option<Cursor>; 2],
    /// Numbers of the last scans begun at `a` and at `b`.
    pub epochs: [u32; 2],
    /// Both sides were matched by key.
    pub matched: bool,
    /// [`crate::engine::rules::LinkRules::fingerprint`] of the rules under which all pairs were planned that have
    /// been planned at all.
    pub planned_under: Option<u128>,
    pub paused: bool,
    /// The link was triggered once and stays started.
    pub started: bool,
    /// Why a direction is frozen (`a_to_b`, `b_to_a`), with what it holds back.
    pub frozen: [Option<String>; 2],
    pub counters: Counters,
}

/// One thing that is said of a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkWord {
    Matched,
    PlannedUnder(u128),
    Paused(bool),
    Started,
    /// Why a direction is frozen; `None` where it runs.
    Frozen(Direction, Option<String>),
}

/// Wanted work, from the planner or from a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewJob {
    pub direction: Direction,
    pub key: Key,
    pub origin: Origin,
    pub priority: i32,
    pub due_at: Timestamp,
    pub attempts_max: u32,
    pub rules_version: u32,
    pub correlation_id: String,
    pub payload: Option<String>,
    pub replay_of: Option<i64>,
    /// The job is born in this state: `Pending`, `Waiting`, `Conflict`, or `Dead` (a record that can
    /// never be delivered as it is) with its error.
    pub state: JobState,
    pub error: Option<JobError>,
}

/// Everything that one page, or one push, decided.
#[derive(Clone, Debug, Default)]
pub struct Commit {
    /// Pairs with the version that was read (0: not stored); stored with that version plus one.
    pub pairs: Vec<Pair>,
    /// Pairs to forget, with the version that was read.
    pub forgotten: Vec<(Key, u32)>,
    /// Where an active job stands for the same (direction, key), it takes over the new rules
    /// version, correlation, payload (if any), the earlier `due_at` and the new state, keeps id and
    /// attempts, and `superseded` counts one; a leased one stays leased, marked dirty: settled as
    /// through, dead or in conflict, it is pending [`Transition::Again`].
    /// An `Origin::Sync` job changes nothing of a standing `Push` job: it is remembered, and becomes
    /// a job of its own when the push has ended. A standing `Asked` job carries it out as well, at once
    /// even where it is scheduled for later, and once more where it was leased and is settled without its pair; where
    /// it comes to nothing the sync becomes a job of its own. A
    /// `Push` job that takes over a sync is followed by it as well.
    /// A sync job that is born dead replaces the dead sync letter that stands for its (direction, key).
    pub jobs: Vec<NewJob>,
    /// Active sync jobs that have become senseless: the difference is gone. Leased ones, and what somebody
    /// asked for, are left alone, but for asked ones that were parked in conflict: they are through. They count as superseded. Dead sync letters of the same (direction, key) go too,
    /// they are counted already. Comes before `jobs`.
    pub obsolete: Vec<(Direction, Key)>,
    pub cursor: Option<(Side, Option<Cursor>)>,
    /// A new scan of a side began under this number.
    pub epoch: Option<(Side, u32)>,
    /// Added to the link's counters, beside what this commit itself counts.
    pub counted: Counters,
    /// These pairs were staged in a bulk load: until it ends, they do not count as delivered
    /// (see [`Store::end_load`]).
    pub load: Option<LoadId>,
    /// What happened to these pairs, in order.
    pub history: Vec<Event>,
    /// Writes that are answered by this.
    pub answered: Vec<Answered>,
    /// The numbers of the jobs are kept under this name.
    pub once: Option<Once>,
}

impl Commit {
    /// Tells whether it would leave more behind than the number of a scan.
    pub fn is_worth_storing(&self) -> bool {
        !self.pairs.is_empty()
            || !self.jobs.is_empty()
            || !self.forgotten.is_empty()
            || !self.obsolete.is_empty()
            || !self.history.is_empty()
            || !self.answered.is_empty()
            || self.cursor.is_some()
    }
}

/// What became of a commit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Committed {
    /// Pairs whose version had moved on. If there is one, nothing at all was changed: plan again.
    pub stale: Vec<Key>,
    /// Ids of the jobs that now stand for `Commit::jobs`, in order.
    pub jobs: Vec<i64>,
}

/// Which jobs to claim.
#[derive(Clone, Debug)]
pub struct LeaseRequest {
    pub direction: Direction,
    pub owner: String,
    pub now: Timestamp,
    pub until: Timestamp,
    pub limit: usize,
}

/// A claimed job with its pair (`None` for a push to a record that was never seen).
#[derive(Clone, Debug, PartialEq)]
pub struct Leased {
    pub job: Job,
    pub pair: Option<Pair>,
}

/// What happens to a claimed job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transition {
    /// Delivered. A sync job goes away, a push job stays as `synced` for whoever asks.
    Synced,
    /// Put off at no cost: the attempt is given back.
    Snoozed {
        due_at: Timestamp,
    },
    /// Another try later; the attempt counts.
    Retrying {
        due_at: Timestamp,
        error: JobError,
    },
    /// A difference remains although this delivery is through: pending again, attempts from zero.
    Again {
        due_at: Timestamp,
    },
    /// Held for a parent or for hours, at no cost: the attempt is given back.
    Waiting {
        due_at: Timestamp,
        error: JobError,
    },
    Conflict {
        error: JobError,
    },
    Dead {
        error: JobError,
        payload: Option<String>,
    },
    /// There turned out to be nothing to do. Counts as superseded; a push job stays as `synced`.
    Obsolete,
}

/// The end of one lease.
#[derive(Clone, Debug)]
pub struct Settlement {
    pub job_id: i64,
    /// The fence that the lease gave; under an older one nothing changes.
    pub fence: u64,
    pub transition: Transition,
    /// The pair as it is now, with the version that was read. Without one, a transition to retrying,
    /// waiting, conflict, dead or pending again is noted in the stored pair's status.
    pub pair: Option<Pair>,
    /// That pair is to be forgotten (both sides gone), not stored.
    pub forget: bool,
    /// What happened, in order; stored only where the settlement holds.
    pub history: Vec<Event>,
    /// Why it was snoozed, for whoever asks for the attempt; one without a reason is not remembered.
    pub reason: Option<JobError>,
    /// Writes that are answered by this; only where the settlement holds.
    pub answered: Vec<Answered>,
}

/// What became of work that somebody asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Enqueued {
    /// This job does it: a new one, or the planner's own, which was taken over.
    Job(i64),
    /// Nothing was changed: this one stands already, and the planner did not make it.
    Standing(i64),
}

/// What became of a wish to have one job due now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retried {
    Due,
    /// There is no such job.
    Unknown,
    /// It is in a state that waits for nothing.
    Not(JobState),
    /// It is dead, and this job stands in its place or has replayed it.
    Standing(i64),
}

/// What became of settlements.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settled {
    /// Jobs whose fence was old or that had been cancelled meanwhile: nothing changed for them.
    pub lost: Vec<i64>,
    /// Jobs whose pair had moved on: nothing changed for them, read the pair and settle again.
    pub stale: Vec<i64>,
}

/// An event as it is stored; ids grow with every event.
#[derive(Clone, Debug, PartialEq)]
pub struct Recorded {
    pub id: i64,
    pub link: LinkId,
    pub event: Event,
}

/// A version of the rules that was once in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RulesVersion {
    pub version: u32,
    /// Which file: the customers that share it share its versions.
    pub file: String,
    pub text: String,
    pub at: Timestamp,
}

/// The store. Every call is one transaction.
#[async_trait]
pub trait Store: Send + Sync {
    // Links.
    /// Finds or makes a link.
    async fn link(&self, customer: &str, link: &str) -> Result<LinkState, StoreError>;
    /// Lists all links ever made.
    async fn links(&self) -> Result<Vec<LinkState>, StoreError>;
    /// Says things of a link. What is not said stays as it is: several parts of the service speak of one link at
    /// the same time, and none knows what the others have just said.
    async fn tell_link(&self, link: LinkId, words: Vec<LinkWord>) -> Result<(), StoreError>;

    // The five verbs.
    /// Reads pairs by key, in order; `None` where there is none. Fast for keys that lie together.
    async fn known(&self, link: LinkId, keys: Vec<Key>) -> Result<Vec<Option<Pair>>, StoreError>;
    /// Reads pairs by key as [`Self::known`] does, without those that look on one side just as said. A
    /// key that is asked for twice is always told in full.
    async fn known_beside(
        &self,
        link: LinkId,
        keys: Vec<Key>,
        looks: Looks,
    ) -> Result<Vec<Known>, StoreError> {
        let known = self.known(link, keys.clone()).await?;
        let beside = known.into_iter().zip(&keys).enumerate().map(|(at, (pair, key))| {
            let once = keys.iter().filter(|other| *other == key).count() == 1;
            Known::beside(pair, looks.at(at).filter(|_| once), &looks)
        });
        Ok(beside.collect())
    }
    /// Stores what was decided, all or nothing.
    async fn commit(&self, link: LinkId, commit: Commit, now: Timestamp) -> Result<Committed, StoreError>;
    /// Claims due jobs (pending, retrying, waiting), by priority, then by how long they have been due;
    /// counts the attempt.
    async fn lease(&self, link: LinkId, request: LeaseRequest) -> Result<Vec<Leased>, StoreError>;
    /// Extends leases, told by job and fence; gives the jobs whose lease holds no more.
    async fn renew(
        &self,
        link: LinkId,
        leases: Vec<(i64, u64)>,
        until: Timestamp,
    ) -> Result<Vec<i64>, StoreError>;
    /// Ends leases, one by one: some may be lost or stale while the others hold.
    async fn settle(
        &self,
        link: LinkId,
        settlements: Vec<Settlement>,
        now: Timestamp,
    ) -> Result<Settled, StoreError>;
    /// Takes expired leases back, of all links; `all` takes every lease, after a restart. Gives how many.
    async fn rescue(&self, now: Timestamp, all: bool) -> Result<u64, StoreError>;

    // Pairs at large.
    /// Finds the keys of pairs by their remote ids at one side, in order.
    async fn keys_by_id(
        &self,
        link: LinkId,
        side: Side,
        ids: Vec<RemoteId>,
    ) -> Result<Vec<Option<Key>>, StoreError>;
    /// Walks all pairs of a link in key order, `limit` at a time, after a key.
    async fn walk(&self, link: LinkId, after: Option<Key>, limit: usize) -> Result<Vec<Pair>, StoreError>;
    /// Adds up the next `limit` pairs of a link in key order, after a key; gives the last of them where there may be
    /// more.
    async fn sums(
        &self,
        link: LinkId,
        after: Option<Key>,
        limit: usize,
    ) -> Result<(Sums, Option<Key>), StoreError> {
        let pairs = self.walk(link, after, limit).await?;
        let mut sums = Sums::default();
        pairs.iter().for_each(|pair| sums.add(pair));
        let last = pairs.into_iter().skip(limit.saturating_sub(1)).next_back();
        Ok((sums, last.map(|pair| pair.key)))
    }
    /// Finds the pairs of a key in all links of all customers, in the order of the links.
    async fn find(&self, key: &Key) -> Result<Vec<(LinkId, Pair)>, StoreError>;
    /// Counts the pairs of a link; costs nothing.
    async fn count_pairs(&self, link: LinkId) -> Result<u64, StoreError>;

    // Writes whose answers are not known.
    /// Remembers a batch of so many writes before it goes out, in a form of the caller's; gives its number, which
    /// none had before.
    async fn remember(&self, link: LinkId, slip: Arc<Vec<u8>>, writes: u32) -> Result<i64, StoreError>;
    /// Lists the batches of a link that are not all answered, oldest first.
    async fn unanswered(&self, link: LinkId) -> Result<Vec<Remembered>, StoreError>;

    // Bulk loads.
    /// Begins a bulk load of one direction's destination, with what tells it from others there. A link has one at a
    /// time: those of its loads that no pair waits for any more are forgotten.
    async fn begin_load(
        &self,
        link: LinkId,
        direction: Direction,
        mark: Option<String>,
    ) -> Result<LoadId, StoreError>;
    /// Lists the loads of a link that have not ended, oldest first.
    async fn loads(&self, link: LinkId) -> Result<Vec<OpenLoad>, StoreError>;
    /// Ends it: from now on its pairs are read as they were staged. Until then, and for ever where a
    /// load never ends, they are read as if nothing had reached the destination: the source's base is
    /// `None` and what was seen there is `Changed`, the destination was never seen, and a direction
    /// that says `Synced` is `Queued`. A store that is opened with such loads left over takes
    /// [`LinkState::matched`] from their links: those pairs have to be planned again.
    async fn end_load(&self, load: LoadId) -> Result<(), StoreError>;

    // Jobs.
    /// Reads a job.
    async fn job(&self, id: i64) -> Result<Option<(LinkId, Job)>, StoreError>;
    /// Lists jobs.
    async fn jobs(&self, filter: JobFilter) -> Result<Vec<(LinkId, Job)>, StoreError>;
    /// Counts the jobs of a link by state, a direction each.
    async fn depth(&self, link: LinkId) -> Result<[Depth; 2], StoreError>;
    /// Says when the next job of a direction is due; `None` where there is none.
    async fn next_due(&self, link: LinkId, direction: Direction) -> Result<Option<Timestamp>, StoreError>;
    /// Makes a job that somebody asked for, unless such a one stands for its (direction, key): all at once,
    /// so that of many who ask at the same moment one is told that it is theirs. What it replays is
    /// answered by it. Its number is kept under the name, should there be one.
    async fn enqueue(
        &self,
        link: LinkId,
        job: NewJob,
        once: Option<Once>,
        now: Timestamp,
    ) -> Result<Enqueued, StoreError>;
    /// Lists the last attempts of a job, oldest first.
    async fn attempts(&self, job: i64) -> Result<Vec<Attempt>, StoreError>;
    /// Makes one job due now that is retrying, waiting or dead; attempts from zero.
    async fn retry_job(&self, id: i64, now: Timestamp) -> Result<Retried, StoreError>;
    /// Removes jobs that are dead letters; gives how many.
    async fn forget_letters(&self, ids: Vec<i64>) -> Result<u64, StoreError>;
    /// Makes retrying, waiting and dead jobs of a key due now, attempts from zero (a dead one becomes
    /// pending again, unless an active one stands there). Gives the ids.
    async fn retry_now(&self, link: LinkId, key: &Key, now: Timestamp) -> Result<Vec<i64>, StoreError>;
    /// Cancels an active job; a leased one is fenced off. Gives whether it was active.
    async fn cancel(&self, id: i64, now: Timestamp) -> Result<bool, StoreError>;

    // History.
    /// Lists events.
    async fn history(&self, filter: HistoryFilter) -> Result<Vec<Recorded>, StoreError>;
    /// Forgets events from before a moment, then the oldest ones until the rest has at most `bytes_max`
    /// bytes, as [`history_bytes`] counts them; of either at most some thousands a call. Gives how many.
    async fn prune_history(&self, before: Timestamp, bytes_max: u64) -> Result<u64, StoreError>;

    // Small things.
    /// Finds or stores a version of the rules by its text; a text that was in force before keeps
    /// its old number. Versions count up a file, from 1.
    async fn rules_version(&self, file: &str, text: &str, now: Timestamp) -> Result<u32, StoreError>;
    /// Lists the versions of a file, newest first.
    async fn rules_versions(&self, file: &str) -> Result<Vec<RulesVersion>, StoreError>;
    /// Reads a small durable value: overrides, tokens, idempotency records, gate tails.
    async fn get(&self, space: &str, key: &str, now: Timestamp) -> Result<Option<String>, StoreError>;
    /// Stores one, for ever or until `expires_at`.
    async fn put(
        &self,
        space: &str,
        key: &str,
        value: &str,
        expires_at: Option<Timestamp>,
    ) -> Result<(), StoreError>;
    /// Stores one for ever, so that it outlives a power failure once this returns; the others survive the
    /// process at once, and the machine a little later.
    async fn put_for_good(&self, space: &str, key: &str, value: &str) -> Result<(), StoreError> {
        self.put(space, key, value, None).await
    }
    /// Lists a space by key, expired ones left out.
    async fn list(&self, space: &str, now: Timestamp) -> Result<Vec<(String, String)>, StoreError>;
    /// Removes one; gives whether it was there.
    async fn remove(&self, space: &str, key: &str) -> Result<bool, StoreError>;
    /// Does the housekeeping: prunes what expired and ended long ago, checkpoints. `force` on the way out.
    async fn tidy(&self, now: Timestamp, force: bool) -> Result<(), StoreError>;
}
