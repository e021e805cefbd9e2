//! What a history is played on: two systems with their habits, the settings, and the rules.

use record_sync::connectors::{Bulk, Deletes, Features};

use crate::breaker::{FAILURES, OPEN_MS};
use crate::chance::Chance;

/// The fields of every record beside its key.
pub const FIELDS: [&str; 3] = ["x", "y", "z"];
/// Keys that a history plays with.
pub const KEYS: u8 = 14;

/// How a destination stores text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Canon {
    AsSent,
    Trimmed,
    Lower,
    TrimmedLower,
}

impl Canon {
    pub fn of(self, text: &str) -> String {
        match self {
            Self::AsSent => text.to_owned(),
            Self::Trimmed => text.trim().to_owned(),
            Self::Lower => text.to_lowercase(),
            Self::TrimmedLower => text.trim().to_lowercase(),
        }
    }
}

/// How one simulated system behaves.
#[derive(Clone, Copy, Debug)]
pub struct Nature {
    /// Calls take time, pass the gate and may fail on the way.
    pub remote: bool,
    pub deletes: Deletes,
    pub compare_and_set: bool,
    pub upsert_by_key: bool,
    pub batch_max: usize,
    /// Records a page of a read holds at most.
    pub page_max: usize,
    /// Keys a page of a listing holds at most.
    pub list_max: usize,
    pub canon: Canon,
    /// A write answers with the record as it was stored.
    pub tells_stored: bool,
    /// Records carry a revision.
    pub revisions: bool,
    /// Records carry a stamp of their last change.
    pub stamps: bool,
    /// Tombstones name the id only.
    pub graves_by_id: bool,
    /// A transaction commits so much later than its stamp says, at most, in milliseconds.
    pub late_ms: u64,
    /// Its clock is so far off.
    pub skew_ms: i64,
    pub latency_ms: (u64, u64),
    /// It refuses a whole call that carries what it can't stomach, and some questions.
    pub chokes: bool,
    /// The window that it keeps us to.
    pub max_requests: u32,
    pub window_s: u32,
    /// It is filled in one go, as files are.
    pub loads: bool,
}

impl Nature {
    pub fn draw(chance: &mut Chance) -> Self {
        let remote = chance.percent(60);
        let compare_and_set = if remote { chance.percent(40) } else { true };
        let deletes = match remote {
            true => chance.pick(&[Deletes::Reported, Deletes::Listed, Deletes::Scanned]),
            false => chance.pick(&[Deletes::Reported, Deletes::Scanned, Deletes::Scanned]),
        };
        Self {
            remote,
            deletes,
            compare_and_set,
            upsert_by_key: compare_and_set || chance.flip(),
            batch_max: chance.pick(&[1, 3, 10, 200]),
            page_max: chance.pick(&[1, 2, 5, 100]),
            list_max: chance.pick(&[1_000, 1_000, 1_000, 8]),
            canon: chance.weighted(&[
                (5, Canon::AsSent),
                (1, Canon::Trimmed),
                (1, Canon::Lower),
                (1, Canon::TrimmedLower),
            ]),
            tells_stored: chance.flip(),
            revisions: chance.flip(),
            stamps: deletes == Deletes::Listed || chance.flip(),
            graves_by_id: chance.flip(),
            late_ms: chance.pick(&[0, 0, 500, 5_000]),
            skew_ms: chance.pick(&[0, 0, -3_600_000, 3_600_000, 1_500]),
            latency_ms: if remote { chance.pick(&[(1, 20), (20, 300), (5, 2_000)]) } else { (0, 2) },
            chokes: remote && chance.percent(40),
            max_requests: chance.pick(&[12, 30, 1_000]),
            window_s: chance.pick(&[5, 20]),
            loads: false,
        }
    }

    /// The same as a file: nobody gives its records ids, and it is filled in one go.
    fn as_file(self) -> Self {
        Self {
            remote: false,
            deletes: Deletes::Scanned,
            compare_and_set: true,
            upsert_by_key: true,
            canon: Canon::AsSent,
            revisions: false,
            graves_by_id: false,
            latency_ms: (0, 2),
            chokes: false,
            loads: true,
            ..self
        }
    }

    pub fn features(&self) -> Features {
        Features {
            deletes: self.deletes,
            compare_and_set: self.compare_and_set,
            upsert_by_key: self.upsert_by_key,
            batch_max: self.batch_max,
            request_max: self.batch_max,
            in_flight_max: self.in_flight_max(),
            loads: self.loads,
            bulk: self.bulk(),
        }
    }

    /// Requests that it stands at once; as many as pages are large, so that nothing is drawn for it.
    fn in_flight_max(&self) -> usize {
        match self.page_max {
            few @ 1..=5 => few,
            _ => 256,
        }
    }

    /// Some systems take a backlog in one call that stands for a job, and are looked at in many.
    fn bulk(&self) -> Option<Bulk> {
        (self.remote && self.batch_max == 3).then_some(Bulk { from: 4, max: 50, look_max: 2 })
    }

    /// Records that a call takes at most.
    pub fn call_max(&self) -> usize {
        self.bulk().map_or(self.batch_max, |bulk| bulk.max)
    }

    pub fn connector(&self) -> &'static str {
        if self.remote { "sim-remote" } else { "sim-local" }
    }
}

/// Who wins a field that both sides changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    Newest,
    A,
    B,
}

impl Policy {
    fn word(self) -> &'static str {
        match self {
            Self::Newest => "newest",
            Self::A => "a",
            Self::B => "b",
        }
    }
}

/// The rules of a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    pub policy: Policy,
    /// The field `z` travels as well.
    pub wide: bool,
}

impl Rules {
    pub fn text(&self) -> String {
        let third = if self.wide { r#", "z": "z""# } else { "" };
        format!(
            r#"{{"links": {{"sim": {{"fields": {{"id": "id", "x": "x", "y": "y"{third}}}, "conflict": "{}"}}}}}}"#,
            self.policy.word()
        )
    }

    /// How many of [`FIELDS`] travel.
    pub fn width(&self) -> usize {
        if self.wide { 3 } else { 2 }
    }
}

/// One history in so many begins with the filling of an empty file.
const FILES_EVERY: u64 = 7;
const FILES_AT: u64 = 5;
/// In one history in so many, scans remember but two keys one by one.
const SHORT_MEMORY_EVERY: u64 = 3;
/// In one history in so many, somebody moves the pairs of records that are on their way.
const MEDDLED_EVERY: u64 = 8;
const MEDDLED_AT: u64 = 5;

/// All that stands before the first step.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    pub seed: u64,
    pub natures: [Nature; 2],
    pub rules: Rules,
    pub poll_interval_ms: u64,
    pub flush_ms: u64,
    pub batch_size: usize,
    /// Records at `a`, at `b`, before the first start.
    pub filled: [u8; 2],
    /// Few losses at once blow a fuse, and somebody approves them; else no fuse ever blows.
    pub fused: bool,
    /// A claim on a job holds so long where it can't be renewed.
    pub lease_s: u32,
    /// A side that is read from a cursor is compared as a whole so often.
    pub audit_ms: u64,
    pub filling: Filling,
}

/// What comes in the way of the first filling of an empty file.
#[derive(Clone, Copy, Debug, Default)]
pub struct Filling {
    /// Somebody makes a record there just before it begins.
    pub meets: bool,
    /// Nobody says that it is through.
    pub loses_reply: bool,
    /// The process dies so many awaits behind it.
    pub dies_after: Option<u32>,
}

impl Setup {
    pub fn draw(seed: u64) -> Self {
        let mut chance = Chance::new(seed);
        let chance = &mut chance;
        let drawn = Self {
            seed,
            natures: [Nature::draw(chance), Nature::draw(chance)],
            rules: Rules {
                policy: chance.pick(&[Policy::Newest, Policy::A, Policy::B]),
                wide: chance.percent(30),
            },
            poll_interval_ms: chance.pick(&[500, 2_000, 5_000, 60_000]),
            flush_ms: chance.pick(&[0, 200, 2_000]),
            batch_size: chance.pick(&[1, 4, 100]),
            filled: [chance.below(8) as u8, chance.below(8) as u8],
            fused: chance.percent(30),
            lease_s: chance.pick(&[300, 300, 2]),
            audit_ms: chance.pick(&[86_400_000, 86_400_000, 86_400_000, 3_000, 20_000]),
            filling: Filling::default(),
        };
        if seed % FILES_EVERY == FILES_AT { drawn.with_empty_file() } else { drawn }
    }

    /// The same with an empty file at `b`, which is filled first of all.
    fn with_empty_file(self) -> Self {
        let [a, b] = self.natures;
        let [filled, _] = self.filled;
        let chance = &mut Chance::new(self.seed ^ 0xF17E);
        let dies_after = chance.percent(80).then(|| chance.below(8) as u32);
        let filling = Filling { meets: chance.percent(30), loses_reply: chance.percent(30), dies_after };
        Self { natures: [a, b.as_file()], filled: [filled.max(1), 0], filling, ..self }
    }

    /// Tells whether pairs move on while their records are on their way.
    pub fn is_meddled(&self) -> bool {
        self.seed % MEDDLED_EVERY == MEDDLED_AT
    }

    /// The configuration file.
    pub fn settings(&self) -> String {
        let system = |name: &str, nature: &Nature| {
            format!(
                "[default.systems.{name}]\nconnector = \"{}\"\nside = \"{name}\"\nmax_requests = {}\n\
                 window_size = {}\nbreaker = {{ failures = {FAILURES}, open_for = {:.1}, open_max = 8.0 }}\n\
                 retry = {{ base = 0.5, max = 4.0, attempts_max = 100000 }}\n",
                nature.connector(),
                nature.max_requests,
                nature.window_s,
                OPEN_MS as f64 / 1e3
            )
        };
        let [a, b] = &self.natures;
        let least = if self.fused { 3 } else { 1000 };
        format!(
            "[service]\nstate = \"sqlite:state.sqlite\"\nrules = \"rules.json\"\nlease = {}\n{}\
             [default]\nflush_interval = {:.3}\nbatch_size = {}\n{}{}\
             [default.links.sim]\na = {{ system = \"a\", stream = \"t\", key = \"id\" }}\n\
             b = {{ system = \"b\", stream = \"t\", key = \"id\" }}\ndirection = \"both\"\n\
             poll_interval = {:.3}\naudit_interval = {:.3}\nfuse = {{ deletes_min = {least}, emptied_min = {least}, empty_min = {least} }}\n",
            self.lease_s,
            if self.seed.is_multiple_of(SHORT_MEMORY_EVERY) { "scan_keys_max = 2\n" } else { "" },
            self.flush_ms as f64 / 1e3,
            self.batch_size,
            system("a", a),
            system("b", b),
            self.poll_interval_ms as f64 / 1e3,
            self.audit_ms as f64 / 1e3,
        )
    }
}
