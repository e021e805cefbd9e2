//! What a page says, and how far to go with it.

use super::filling::Filling;
use crate::engine::plan::{Pick, Projected};
use crate::engine::record::{Cursor, Key, Malformed, RemoteId, Side, Timestamp};

/// What a page says of one key.
#[derive(Clone, Debug)]
pub enum Fact {
    Seen(Projected),
    /// Deleted; where an id is named, only the record under that id.
    Gone(Option<Timestamp>, Option<RemoteId>),
    /// Nothing new was seen, but the rules mean something else now.
    Replan,
    /// Nothing new was seen; plan it as it is known.
    Plan,
    /// A person settled a conflict.
    Pick(Vec<Pick>),
    Malformed(Malformed),
}

/// What a page says of an id: before that fact of the list whose place this is.
#[derive(Clone, Debug)]
pub struct OfId {
    pub place: usize,
    pub id: RemoteId,
    /// When the record was deleted, where it was and that is known; else it stands in the list.
    pub at: Option<Timestamp>,
}

/// How far to go with a page.
#[derive(Clone, Copy)]
pub enum Mode<'l> {
    /// Only note what is there: the other side has still to be read.
    Note,
    /// Note what is there, and leave it to the queue: a job stands for it already, or is made.
    Ask,
    /// Plan and deliver.
    Plan,
    /// Plan, and stage what is new in a bulk load.
    Load(&'l Filling),
}

impl Mode<'_> {
    /// Tells whether the caller keeps the link quiet already.
    pub fn is_quiet(self) -> bool {
        matches!(self, Self::Load(..))
    }
}

/// Whatever is news now was overlooked.
pub const NOTHING_EXPECTED: Timestamp = Timestamp(i64::MAX);

/// What became of a page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub facts: u64,
    pub changed: u64,
    pub delivered: u64,
    pub queued: u64,
    pub skipped: u64,
    pub failed: u64,
    /// News that was not to be expected any more, and the oldest stamp of it.
    pub late: u64,
    pub oldest: Option<Timestamp>,
}

impl Tally {
    /// Adds another page's figures.
    pub fn add(&mut self, other: Self) {
        self.facts += other.facts;
        self.changed += other.changed;
        self.delivered += other.delivered;
        self.queued += other.queued;
        self.skipped += other.skipped;
        self.failed += other.failed;
        self.late += other.late;
        self.oldest = [self.oldest, other.oldest].into_iter().flatten().min();
    }
}

/// What a page of one side says.
pub struct Facts {
    pub side: Side,
    pub list: Vec<(Key, Fact)>,
    /// What it says of ids, still to be named: under which keys they are known is settled while nothing else
    /// moves them.
    pub ids: Vec<OfId>,
    /// No key comes twice.
    pub keys_once: bool,
    /// What it has to write may go straight to a remote end, while nothing else is on its way.
    pub straight: bool,
    /// The fuse has judged it already.
    pub judged: bool,
    /// When its reading began.
    pub read_at: Timestamp,
    /// News under older stamps comes late: it was not to be expected any more.
    pub expected_from: Option<Timestamp>,
    /// Where the source goes on behind it; `None` where that is not to be stored.
    pub cursor: Option<Option<Cursor>>,
    /// What became of the part of it that arrived before it was overtaken.
    pub arrived: Tally,
}

impl Facts {
    /// Tells whether it is nothing but sights of records, none of which it shows twice: what is gone, or no sight of a
    /// record, may stand under a key that is shown.
    pub fn are_sights(&self) -> bool {
        self.keys_once && self.list.iter().all(|(_, fact)| matches!(fact, Fact::Seen(_)))
    }

    /// Makes a page that moves no cursor.
    pub fn of(side: Side, list: Vec<(Key, Fact)>, read_at: Timestamp) -> Self {
        Self {
            side,
            list,
            ids: Vec::new(),
            keys_once: false,
            straight: false,
            read_at,
            judged: true,
            expected_from: None,
            cursor: None,
            arrived: Tally::default(),
        }
    }
}
