//! One link at work: everything that its pollers and workers share.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::busy::Busy;
use super::circle::Circles;
use super::fuse::Fuses;
use super::gate::GateKeeper;
use super::look;
use super::unanswered::Unanswered;
use crate::config::{FuseConfig, Sizes};
use crate::connectors::{Call, Class, Clock, Destination, Features, StreamSpec, System};
use crate::engine::fault::{Fault, FaultCode, FaultKind};
use crate::engine::flow::BreakerState;
use crate::engine::job::RetryPolicy;
use crate::engine::record::{Cursor, Direction, Key, Presence, Side, Timestamp};
use crate::engine::rules::LinkRules;
use crate::store::{LinkId, Store, Sums};

/// One end of a link, opened.
pub struct End {
    pub spec: StreamSpec,
    pub system_name: String,
    pub system: Arc<dyn System>,
    pub features: Features,
    /// Calls leave this machine.
    pub remote: bool,
    pub destination: Arc<dyn Destination>,
    pub retry: RetryPolicy,
    pub tuning: Arc<ArcSwap<Tuning>>,
    /// Every call to it passes here; `None` where none ever did.
    pub gate: Option<Arc<GateKeeper>>,
    /// Records that go out together at most, unless a batch is larger.
    pub together_max: usize,
}

/// How records go in calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Calls {
    /// Records that a call writes at most.
    pub write: usize,
    /// Records that a call looks up at most.
    pub look: usize,
    /// Calls under way at once at most.
    pub at_once: usize,
}

/// Calls of a direction under way at once at most, whatever its system stands.
const CALLS_AT_ONCE_MAX: usize = 64;

impl End {
    /// Tells of a fault that the whole system fails with, as its breaker sees it: until when it is left alone.
    pub fn outage(&self, fault: &Fault, now: Timestamp) -> Option<Timestamp> {
        let at_large = matches!(fault.code, FaultCode::Connect | FaultCode::Timeout | FaultCode::Unavailable);
        if fault.kind != FaultKind::Transient || !at_large {
            return None;
        }
        let breaker = self.gate.as_ref()?.view().gate.breaker;
        match breaker.state {
            BreakerState::Closed => None,
            BreakerState::Open | BreakerState::HalfOpen => {
                Some(breaker.next_try.unwrap_or_else(|| now.plus(self.retry.usual.base)))
            }
        }
    }

    /// Returns how many records a batch may hold now: as many as are configured and as the
    /// destination takes, and fewer while it answers late.
    pub fn batch_limit(&self) -> usize {
        let most = self.tuning.load().batch_size.clamp(1, self.features.batch_max.max(1));
        self.gate.as_ref().map_or(most, |gate| gate.batch_limit(most))
    }

    /// Returns how many records a worker claims in one turn where no backlog goes in bulk: a batch for each call that
    /// may go out without waiting for the window, a look before it counted. Who waits for that comes after fewer.
    pub fn claim_limit(&self) -> usize {
        let batch = self.batch_limit();
        if self.features.bulk.is_some() {
            // What is too little for that is through in a few calls; taken faster, no backlog would ever form.
            return batch;
        }
        let turns = self.gate.as_ref().map_or(usize::MAX, |gate| gate.room() / 2 / self.requests(batch));
        batch.saturating_mul(turns.max(1)).min(self.turn_max())
    }

    /// Returns how many records go out together at most: a batch for each call that may be under way.
    pub fn turn_max(&self) -> usize {
        let batch = self.batch_limit();
        batch * self.at_once(batch).min(self.together_max / batch).max(1)
    }

    /// Returns how so many records that wait go in calls.
    pub fn calls(&self, waiting: usize) -> Calls {
        match self.features.bulk {
            // A job of the service is one call, and no other writes there meanwhile.
            Some(bulk) if waiting >= bulk.from => {
                Calls { write: bulk.max.max(1), look: bulk.look_max.max(1), at_once: 1 }
            }
            _ => {
                let write = self.batch_limit();
                let look = self.features.batch_max.clamp(1, look::CHUNK_MAX);
                Calls { write, look, at_once: self.at_once(write) }
            }
        }
    }

    /// Tells whether so many records may be looked up and written now without waiting for the window.
    pub fn has_room(&self, records: usize) -> bool {
        let Calls { write, look, .. } = self.calls(records);
        let requests = records.div_ceil(look) + records.div_ceil(write) * self.requests(write.min(records));
        self.gate.as_ref().is_none_or(|gate| gate.room() >= requests)
    }

    /// Returns how many calls with so many records may be under way at once: those that make several requests make
    /// them at once by themselves.
    fn at_once(&self, records: usize) -> usize {
        let stands = self.gate.as_ref().map_or(usize::MAX, |gate| gate.calls_limit());
        (self.features.in_flight_max.min(stands) / self.requests(records)).clamp(1, CALLS_AT_ONCE_MAX)
    }

    /// Returns how many requests a call with so many records makes.
    fn requests(&self, records: usize) -> usize {
        records.div_ceil(self.features.request_max.max(1)).max(1)
    }
}

/// What may change while a link runs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tuning {
    pub batch_size: usize,
    pub flush_interval: Duration,
}

/// By the hashes of their keys: one that is met by chance costs a look-up.
#[derive(Default)]
struct Forgotten {
    at: HashMap<u64, Timestamp>,
    tidy_at: usize,
}

/// What a running link shares.
pub struct LinkContext {
    pub customer: String,
    pub name: String,
    pub id: LinkId,
    pub store: Arc<dyn Store>,
    pub rules: Arc<LinkRules>,
    pub ends: [End; 2],
    pub clock: Clock,
    pub poll_interval: Duration,
    /// Zero for never.
    pub audit_interval: Duration,
    /// How long a claim on a job holds, unless it is renewed.
    pub lease: Duration,
    /// Jobs that a direction holds at most before its source waits.
    pub queue_max: u64,
    pub sizes: Sizes,
    pub fuse: FuseConfig,
    pub stop: CancellationToken,
    /// Where the sources go on.
    pub cursors: [Mutex<Option<Cursor>>; 2],
    pub epochs: [AtomicU32; 2],
    pub presence: [Mutex<Presence>; 2],
    /// Held by whoever delivers in a direction: deliveries of one pair are one at a time.
    pub delivery: [tokio::sync::Mutex<()>; 2],
    /// There may be due jobs in this direction.
    pub due: [Notify; 2],
    /// This side may have news.
    pub bells: [Arc<Notify>; 2],
    /// What guards against implausible data.
    pub fuses: Fuses,
    /// The sums of present keys may be off: the next generation adds them up anew.
    pub unsure: AtomicBool,
    /// Counts what was handed in and written to a side: once before it goes out, and once behind its answer. Whoever
    /// reads the same before and after has read all of it.
    pub(super) pushed: [AtomicU64; 2],
    /// Pairs that were forgotten lately: a page that was read before shows them still.
    forgotten: Mutex<Forgotten>,
    pub circles: Circles,
    pub(super) busy: Busy,
    pub(super) unanswered: Unanswered,
    pub view: Arc<LinkView>,
    /// The names of the passes that are under way, a side each.
    pub runs: [Mutex<Arc<str>>; 2],
    names: AtomicU64,
}

/// What others may read of a link while it runs and afterwards.
#[derive(Debug, Default)]
pub struct LinkView {
    pub phase: Mutex<Phase>,
    /// When each side was last read to its end, in milliseconds; 0 for never.
    pub polled_at: [AtomicI64; 2],
    /// The time up to which each side that is watched was taken in, in milliseconds; 0 for never.
    pub complete_to: [AtomicI64; 2],
    pub last_success: AtomicI64,
    pub last_failure: AtomicI64,
    /// The last fault of each side's reads and each direction's writes.
    pub trouble: [Mutex<Option<String>>; 4],
    /// Passes that were completed, a side each: whoever waits for one counts.
    pub passes: [AtomicU64; 2],
    /// Passes that somebody asked for, a side each.
    pub wanted: [AtomicU64; 2],
    pub passed: Notify,
    /// What the next pass is to be called, where somebody asked for it, a side each.
    pub asked_as: [Mutex<Option<Arc<str>>>; 2],
    pub seen: [AtomicU64; 2],
    /// What the last audit of each side came to.
    pub audits: [Mutex<Option<Audited>>; 2],
    /// How far back each side's reads begin, in milliseconds; 0 where they don't go by stamps.
    pub overlap_ms: [AtomicU64; 2],
}

/// What an audit came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Audited {
    /// When it ended.
    pub at: Timestamp,
    /// Records that stand there.
    pub records: u64,
    /// Records that no read from the cursor would have shown.
    pub missed: u64,
    /// Records that were known and are not there any more.
    pub gone: u64,
}

/// What a link is doing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// Opening systems and looking at streams.
    #[default]
    Connecting,
    /// It can't work until something outside is mended; it tries again by itself.
    Blocked(String),
    /// Reading both sides to match them, before or while the first writes go out.
    Matching,
    /// Watching both sides.
    Live,
    Paused,
    Stopped,
}

impl Phase {
    /// Returns the word that users read.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::Blocked(_) => "blocked",
            Self::Matching => "matching",
            Self::Live => "live",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
        }
    }
}

/// Locks a mutex that guards plain data: a panic elsewhere leaves it readable.
pub fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Picks a side's part.
pub fn at<T>(pair: &[T; 2], side: Side) -> &T {
    let [a, b] = pair;
    match side {
        Side::A => a,
        Side::B => b,
    }
}

/// Picks a direction's part.
pub fn along<T>(pair: &[T; 2], direction: Direction) -> &T {
    let [a_to_b, b_to_a] = pair;
    match direction {
        Direction::AToB => a_to_b,
        Direction::BToA => b_to_a,
    }
}

/// The same, to change it.
pub fn along_mut<T>(pair: &mut [T; 2], direction: Direction) -> &mut T {
    let [a_to_b, b_to_a] = pair;
    match direction {
        Direction::AToB => a_to_b,
        Direction::BToA => b_to_a,
    }
}

/// What [`LinkContext::new`] starts from.
pub struct LinkParts {
    pub customer: String,
    pub name: String,
    pub id: LinkId,
    pub store: Arc<dyn Store>,
    pub rules: Arc<LinkRules>,
    pub ends: [End; 2],
    pub clock: Clock,
    pub poll_interval: Duration,
    pub audit_interval: Duration,
    pub lease: Duration,
    pub queue_max: u64,
    pub sizes: Sizes,
    pub fuse: FuseConfig,
    pub stop: CancellationToken,
    pub cursors: [Option<Cursor>; 2],
    pub epochs: [u32; 2],
    pub bells: [Arc<Notify>; 2],
    pub view: Arc<LinkView>,
}

impl LinkContext {
    /// Puts a link together.
    pub fn new(parts: LinkParts) -> Self {
        Self {
            customer: parts.customer,
            name: parts.name,
            id: parts.id,
            store: parts.store,
            rules: parts.rules,
            ends: parts.ends,
            clock: parts.clock,
            poll_interval: parts.poll_interval,
            audit_interval: parts.audit_interval,
            lease: parts.lease,
            queue_max: parts.queue_max,
            sizes: parts.sizes,
            fuse: parts.fuse,
            stop: parts.stop,
            cursors: parts.cursors.map(Mutex::new),
            epochs: parts.epochs.map(AtomicU32::new),
            presence: Default::default(),
            delivery: Default::default(),
            due: Default::default(),
            bells: parts.bells,
            fuses: Default::default(),
            unsure: AtomicBool::new(false),
            pushed: Default::default(),
            forgotten: Default::default(),
            circles: Default::default(),
            busy: Default::default(),
            unanswered: Default::default(),
            view: parts.view,
            runs: [Mutex::new("".into()), Mutex::new("".into())],
            names: AtomicU64::new(0),
        }
    }

    /// Returns one end.
    pub fn end(&self, side: Side) -> &End {
        at(&self.ends, side)
    }

    /// Tells the time.
    pub fn now(&self) -> Timestamp {
        (self.clock)()
    }

    /// Makes the particulars of a call; its correlation id names the link and counts.
    pub fn call(&self, class: Class) -> Call {
        let number = self.names.fetch_add(1, Ordering::Relaxed);
        let correlation_id = format!("{}-{}-{:x}-{number}", self.customer, self.name, self.now().0);
        Call { stop: self.stop.clone(), ..Call::new(class, correlation_id).of(&self.name) }
    }

    /// Returns the number of the scan of a side that is under way, or was last.
    pub fn epoch(&self, side: Side) -> u32 {
        at(&self.epochs, side).load(Ordering::Relaxed)
    }

    /// Returns the sums as they stand.
    pub fn sums(&self) -> Sums {
        Sums {
            presence: Side::BOTH.map(|side| *lock(at(&self.presence, side))),
            epochs: Side::BOTH.map(|side| self.epoch(side)),
        }
    }

    /// Begins a new scan of a side.
    pub fn next_epoch(&self, side: Side) -> u32 {
        at(&self.epochs, side).fetch_add(1, Ordering::Relaxed).wrapping_add(1)
    }

    /// Remembers that a pair was forgotten, for longer than any page is on its way.
    pub fn forget(&self, key: &Key) -> Option<Timestamp> {
        const KEPT: Duration = Duration::from_secs(3600);
        const TIDY_MIN: usize = 4096;
        let now = self.now();
        let mut forgotten = lock(&self.forgotten);
        if forgotten.at.len() >= forgotten.tidy_at.max(TIDY_MIN) {
            forgotten.at.retain(|_, at| now.since(*at) < KEPT);
            // Twice as many as are left, so that tidying costs a little each and not a lot.
            forgotten.tidy_at = forgotten.at.len() * 2;
        }
        forgotten.at.insert(key.hash64(), now)
    }

    /// Takes back that a pair was forgotten: it stands, and was last forgotten then.
    pub(super) fn not_forgotten(&self, key: &Key, before: Option<Timestamp>) {
        let at = &mut lock(&self.forgotten).at;
        match before {
            Some(before) => at.insert(key.hash64(), before),
            None => at.remove(&key.hash64()),
        };
    }

    /// Tells when a pair was forgotten, if that was lately.
    pub fn forgotten_at(&self, key: &Key) -> Option<Timestamp> {
        lock(&self.forgotten).at.get(&key.hash64()).copied()
    }

    /// Says what the link is doing.
    pub fn enter(&self, phase: Phase) {
        *lock(&self.view.phase) = phase;
    }
}
