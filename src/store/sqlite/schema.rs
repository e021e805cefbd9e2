//! The tables, and the steps that bring an older state to them.
//!
//! Invariant: a step that has been released never changes; a new one is added at the end.
//!
//! Absent on purpose: a hash of the key (pairs stand under the key itself, in the source's order; a random
//! one would cost more than all the rest of the row), foreign keys (the writer is the only one who writes),
//! triggers.

use std::ops::RangeInclusive;

use rusqlite::Connection;

mod bind;

/// Marks the file as ours in its header: "recS".
pub(super) const APPLICATION_ID: i32 = 0x7265_6353;

/// Tables, and the schemas that have them.
const TABLES: [(&str, RangeInclusive<u32>); 15] = [
    ("jobs", 1..=LAST),
    ("kv", 1..=LAST),
    ("links", 1..=LAST),
    ("loads", 1..=LAST),
    ("pairs", 1..=8),
    ("rules_versions", 1..=LAST),
    ("shapes", 1..=LAST),
    ("history", 2..=LAST),
    ("history_size", 2..=LAST),
    ("attempts", 5..=LAST),
    ("sent", 6..=LAST),
    ("depths", 8..=LAST),
    ("last_job", 8..=LAST),
    ("sheaves", SHEAVES..=LAST),
    ("pair_ids", SHEAVES..=LAST),
];

const STEPS: [&str; 9] = [V1, V2, V3, V4, V5, V6, V7, V8, V9];

/// The schema of today, and of whatever comes.
const LAST: u32 = u32::MAX;

/// From this step on pairs stand in sheaves: it moves them there.
const SHEAVES: u32 = 9;

/// `pairs` holds its rarer and never searched parts in small blobs, whose form `row.rs` owns; NULL
/// stands for the usual: no id of its own, seen as its base, nothing ever to be done.
/// State codes of `jobs` follow `JobState::ALL`: 0 pending, 1 leased, 2 retrying, 3 waiting,
/// 4 conflict (up to here: active), 5 synced, 6 dead, 7 cancelled.
const V1: &str = "
CREATE TABLE links (
    id            INTEGER PRIMARY KEY,
    customer      TEXT NOT NULL,
    link          TEXT NOT NULL,
    cursor_a      TEXT,
    cursor_b      TEXT,
    epoch_a       INTEGER NOT NULL DEFAULT 0,
    epoch_b       INTEGER NOT NULL DEFAULT 0,
    matched       INTEGER NOT NULL DEFAULT 0,
    planned_under BLOB,
    paused        INTEGER NOT NULL DEFAULT 0,
    started       INTEGER NOT NULL DEFAULT 0,
    frozen_ab     TEXT,
    frozen_ba     TEXT,
    pairs         INTEGER NOT NULL DEFAULT 0,
    accepted      INTEGER NOT NULL DEFAULT 0,
    delivered     INTEGER NOT NULL DEFAULT 0,
    superseded    INTEGER NOT NULL DEFAULT 0,
    cancelled     INTEGER NOT NULL DEFAULT 0,
    dead          INTEGER NOT NULL DEFAULT 0,
    skipped       INTEGER NOT NULL DEFAULT 0,
    echoes        INTEGER NOT NULL DEFAULT 0,
    UNIQUE (customer, link)
) STRICT;

CREATE TABLE shapes (
    id    INTEGER PRIMARY KEY,
    names TEXT NOT NULL UNIQUE
) STRICT;

CREATE TABLE pairs (
    link          INTEGER NOT NULL,
    key           BLOB NOT NULL,
    hash          BLOB NOT NULL,
    version       INTEGER NOT NULL,
    rules_version INTEGER NOT NULL,
    load          INTEGER,
    a_id          TEXT,
    b_id          TEXT,
    a_base        BLOB,
    b_base        BLOB,
    a_seen        BLOB,
    b_seen        BLOB,
    a_meta        BLOB,
    b_meta        BLOB,
    ab            BLOB,
    ba            BLOB,
    PRIMARY KEY (link, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX pairs_a_id ON pairs (link, a_id) WHERE a_id IS NOT NULL;
CREATE INDEX pairs_b_id ON pairs (link, b_id) WHERE b_id IS NOT NULL;

CREATE TABLE loads (
    id        INTEGER PRIMARY KEY AUTOINCREMENT,
    link      INTEGER NOT NULL,
    direction INTEGER NOT NULL
) STRICT;

CREATE TABLE jobs (
    id             INTEGER PRIMARY KEY AUTOINCREMENT,
    link           INTEGER NOT NULL,
    direction      INTEGER NOT NULL,
    key            BLOB NOT NULL,
    state          INTEGER NOT NULL,
    origin         INTEGER NOT NULL,
    attempts       INTEGER NOT NULL,
    attempts_max   INTEGER NOT NULL,
    priority       INTEGER NOT NULL,
    due_at         INTEGER NOT NULL,
    created_at     INTEGER NOT NULL,
    updated_at     INTEGER NOT NULL,
    rules_version  INTEGER NOT NULL,
    correlation_id TEXT NOT NULL,
    error_code     TEXT,
    error          TEXT,
    payload        TEXT,
    replay_of      INTEGER,
    owner          TEXT,
    until          INTEGER,
    fence          INTEGER NOT NULL,
    dirty          INTEGER NOT NULL,
    sync_after     INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX jobs_active ON jobs (link, direction, key) WHERE state < 5;
CREATE INDEX jobs_ready ON jobs (link, direction, priority, due_at, id) WHERE state IN (0, 2, 3);
CREATE INDEX jobs_leased ON jobs (until) WHERE state = 1;
CREATE INDEX jobs_ended ON jobs (updated_at) WHERE state IN (5, 7);
CREATE INDEX jobs_state ON jobs (link, direction, state);
CREATE INDEX jobs_key ON jobs (link, key);

CREATE TABLE rules_versions (
    file    TEXT NOT NULL,
    version INTEGER NOT NULL,
    text    TEXT NOT NULL,
    at      INTEGER NOT NULL,
    PRIMARY KEY (file, version)
) STRICT, WITHOUT ROWID;

CREATE TABLE kv (
    space      TEXT NOT NULL,
    key        TEXT NOT NULL,
    value      TEXT NOT NULL,
    expires_at INTEGER,
    PRIMARY KEY (space, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX kv_expiry ON kv (expires_at) WHERE expires_at IS NOT NULL;
";

/// Kind codes of `history` follow `What::KINDS`; `direction` is NULL where an event concerns the pair as
/// a whole. `history_size` is one row, kept up with every event.
const V2: &str = "
CREATE TABLE history (
    id            INTEGER PRIMARY KEY AUTOINCREMENT,
    link          INTEGER NOT NULL,
    key           BLOB NOT NULL,
    at            INTEGER NOT NULL,
    kind          INTEGER NOT NULL,
    direction     INTEGER,
    rules_version INTEGER NOT NULL,
    run           TEXT NOT NULL,
    attempt       INTEGER NOT NULL,
    bytes         INTEGER NOT NULL,
    body          TEXT NOT NULL
) STRICT;
CREATE INDEX history_key ON history (link, key);

CREATE TABLE history_size (
    bytes INTEGER NOT NULL
) STRICT;
INSERT INTO history_size (bytes) VALUES (0);
";

/// From here on `b_base` may hold its shape only: then its values are those of `a_base`.
const V3: &str = "
ALTER TABLE pairs DROP COLUMN hash;
ALTER TABLE links DROP COLUMN echoes;
";

/// `forgotten` is the highest version of all pairs of the link that were ever forgotten: one that is made
/// anew begins above it, so that no version ever stands for two pairs.
const V4: &str = "
ALTER TABLE links ADD COLUMN forgotten INTEGER NOT NULL DEFAULT 0;
";

/// Tries of jobs; `outcome` is the place in `AttemptEnd::ALL`, `number` the fence that the lease had. A dead
/// letter that another job replays is answered: `replayed_by` names that job.
const V5: &str = "
CREATE TABLE attempts (
    job            INTEGER NOT NULL,
    number         INTEGER NOT NULL,
    started_at     INTEGER NOT NULL,
    duration_ms    INTEGER NOT NULL,
    outcome        INTEGER NOT NULL,
    error_code     TEXT,
    error          TEXT,
    correlation_id TEXT NOT NULL,
    PRIMARY KEY (job, number)
) STRICT, WITHOUT ROWID;

ALTER TABLE jobs ADD COLUMN replay_attempt INTEGER;
ALTER TABLE jobs ADD COLUMN replayed_by INTEGER;
ALTER TABLE jobs ADD COLUMN scheduled_at INTEGER;
CREATE INDEX jobs_letters ON jobs (id) WHERE state = 6;
CREATE INDEX jobs_answered ON jobs (link, direction) WHERE state = 6 AND replayed_by IS NOT NULL;

ALTER TABLE links ADD COLUMN retries INTEGER NOT NULL DEFAULT 0;
ALTER TABLE links ADD COLUMN attempts INTEGER NOT NULL DEFAULT 0;
ALTER TABLE links ADD COLUMN attempts_ms INTEGER NOT NULL DEFAULT 0;
";

/// Writes whose answers are not known, a row a batch, in the form that `engine/plan/sent.rs` owns. A number is
/// never given again: who is late with an answer must not answer another batch. `answered` has a bit for each write,
/// the first in the lowest bit of the first byte; missing bytes are zero.
const V6: &str = "
CREATE TABLE sent (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    link     INTEGER NOT NULL,
    slip     BLOB NOT NULL,
    writes   INTEGER NOT NULL,
    answered BLOB NOT NULL DEFAULT x''
) STRICT;
CREATE INDEX sent_link ON sent (link);
";

/// `mark` tells a load from others at its destination, in the connector's words. A link whose load was broken off
/// is not matched any more; which rules its pairs were planned under is known all the same.
const V7: &str = "
ALTER TABLE loads ADD COLUMN mark TEXT;
UPDATE links SET matched = 0 WHERE planned_under IS NULL;
";

/// Each index of `jobs` stands on a column of its own, which is NULL where the index has nothing to find: a move
/// writes only the indexes whose columns change. SQLite evaluates a partial index's condition at every change of a
/// column in it; one on `state` would be looked at in every move.
///
/// - `active` is 1 until the job has ended. Of several NULLs none equals another, so that a key has one active job
///   and any number of ended ones. `jobs_key` finds the one that stands for a key, and all of a key.
/// - `ready_at` is `due_at` while the job can be leased.
/// - `until` belongs to the lease, as before.
/// - `resting` is the state, where it is one that few jobs are in and that people look for: 2, 3, 4, 6, 7.
/// - `ended_at` is `updated_at` of what is pruned one day: delivered, cancelled, answered.
///
/// `depths` counts the jobs of each state but 5 and 7, and no answered letters. `last_job` is the last number that
/// a job was given: one row, instead of a row of `sqlite_sequence` that every new job looks for.
const V8: &str = "
CREATE TABLE last_job (
    id INTEGER NOT NULL
) STRICT;
INSERT INTO last_job (id) SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'jobs';

CREATE TABLE depths (
    link      INTEGER NOT NULL,
    direction INTEGER NOT NULL,
    state     INTEGER NOT NULL,
    jobs      INTEGER NOT NULL,
    PRIMARY KEY (link, direction, state)
) STRICT, WITHOUT ROWID;
INSERT INTO depths (link, direction, state, jobs)
SELECT link, direction, state, count(*) FROM jobs
WHERE state < 5 OR state = 6 AND replayed_by IS NULL GROUP BY link, direction, state;

CREATE TABLE jobs_of_8 (
    id             INTEGER PRIMARY KEY,
    link           INTEGER NOT NULL,
    direction      INTEGER NOT NULL,
    key            BLOB NOT NULL,
    state          INTEGER NOT NULL,
    active         INTEGER,
    ready_at       INTEGER,
    resting        INTEGER,
    ended_at       INTEGER,
    origin         INTEGER NOT NULL,
    attempts       INTEGER NOT NULL,
    attempts_max   INTEGER NOT NULL,
    priority       INTEGER NOT NULL,
    due_at         INTEGER NOT NULL,
    created_at     INTEGER NOT NULL,
    updated_at     INTEGER NOT NULL,
    rules_version  INTEGER NOT NULL,
    correlation_id TEXT NOT NULL,
    error_code     TEXT,
    error          TEXT,
    payload        TEXT,
    replay_of      INTEGER,
    owner          TEXT,
    until          INTEGER,
    fence          INTEGER NOT NULL,
    dirty          INTEGER NOT NULL,
    sync_after     INTEGER NOT NULL,
    replay_attempt INTEGER,
    replayed_by    INTEGER,
    scheduled_at   INTEGER
) STRICT;
INSERT INTO jobs_of_8
SELECT id, link, direction, key, state, iif(state < 5, 1, NULL), iif(state IN (0, 2, 3), due_at, NULL),
       iif(state IN (2, 3, 4, 6, 7), state, NULL),
       iif(state IN (5, 7) OR state = 6 AND replayed_by IS NOT NULL, updated_at, NULL),
       origin, attempts, attempts_max, priority, due_at, created_at, updated_at, rules_version, correlation_id,
       error_code, error, payload, replay_of, iif(state = 1, owner, NULL), iif(state = 1, until, NULL), fence,
       dirty, sync_after, replay_attempt, replayed_by, scheduled_at
FROM jobs;
DROP TABLE jobs;
ALTER TABLE jobs_of_8 RENAME TO jobs;

CREATE UNIQUE INDEX jobs_key ON jobs (key, link, direction, active);
CREATE INDEX jobs_ready ON jobs (link, direction, priority, ready_at) WHERE ready_at IS NOT NULL;
CREATE INDEX jobs_leased ON jobs (until) WHERE until IS NOT NULL;
CREATE INDEX jobs_resting ON jobs (resting) WHERE resting IS NOT NULL;
CREATE INDEX jobs_ended ON jobs (ended_at) WHERE ended_at IS NOT NULL;
";

/// A row of `sheaves` holds the pairs of a link from the key `first` on, in the form that `sheaf.rs` and `pair_row.rs`
/// own. `pair_ids` says which of them have an id of their own at a side (0 is A).
const V9: &str = "
CREATE TABLE sheaves (
    id    INTEGER PRIMARY KEY,
    link  INTEGER NOT NULL,
    first BLOB NOT NULL,
    body  BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX sheaves_first ON sheaves (link, first);

CREATE TABLE pair_ids (
    link INTEGER NOT NULL,
    side INTEGER NOT NULL,
    id   TEXT NOT NULL,
    key  BLOB NOT NULL,
    PRIMARY KEY (link, side, id, key)
) STRICT, WITHOUT ROWID;
";

/// What has to be there in a state of this schema.
pub(super) fn tables(found: u32) -> impl Iterator<Item = &'static str> {
    TABLES.into_iter().filter(move |(_, schemas)| schemas.contains(&found)).map(|(name, _)| name)
}

/// The schema that this program writes.
pub(super) fn version() -> u32 {
    STEPS.len() as u32
}

/// Brings a state from the schema that it has to [`version`], each step in a transaction of its own.
pub(super) fn migrate(db: &mut Connection, found: u32) -> rusqlite::Result<()> {
    for (number, step) in (1u32..).zip(STEPS).skip(found as usize) {
        let change = db.transaction()?;
        change.execute_batch(step)?;
        if number == SHEAVES {
            bind::all(&change)?;
        }
        change.pragma_update(None, "application_id", APPLICATION_ID)?;
        change.pragma_update(None, "user_version", number)?;
        change.commit()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
