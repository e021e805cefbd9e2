//! Bugs of the kind this field makes, planted on purpose to prove the proofs: the simulation has to catch
//! each of them.
//!
//! Only a build with the feature `planted` holds them, and only one at a time; in what ships every question
//! for one is a constant no, and nothing is left of it.

macro_rules! bugs {
    ($($name:ident: $about:literal,)*) => {
        /// A bug that can be planted; its place in the code asks for it by this name.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub enum Bug { $(#[doc = $about] $name,)* }

        #[cfg(feature = "planted")]
        impl Bug {
            /// All of them, each with what it does wrong.
            pub const ALL: &[(Self, &'static str)] = &[$((Self::$name, $about),)*];
        }
    };
}

bugs! {
    // Reading.
    CursorBeforeCommit: "a cursor is stored before what its page decided",
    CursorMovesOnFault: "a cursor moves on although its page failed",
    CursorByLocalClock: "a source makes its cursor of our clock",
    CursorWithoutOverlap: "a source does not read again what may have been committed late",
    CursorSkipsEqualStamps: "a source goes on behind a stamp, not behind a stamp and an id",
    UnfinishedForgotten: "a pass that was cut short is not begun again",
    StaleReadBelieved: "a page is believed although we wrote the record after it was read",
    ForgottenForgotten: "a page may bring a record back whose pair was forgotten after it was read",
    PlacesForGood: "values are taken from where their columns stood in the first page",
    EchoByTimeOut: "what changes soon after a write of ours is taken for its echo",
    // Deletes.
    SpansUnlooked: "what is gone from a scan that does not remember its keys is not looked for",
    DeletesUnlooked: "what a scan has not shown is deleted without a look",
    TombstoneByKey: "an old tombstone deletes the record that has come to stand under its key",
    ForgetsEarly: "a pair is forgotten before its deletion has travelled",
    DeleteWins: "a deletion wins against an edit",
    DeleteNeverWins: "a deletion is taken for a gap to be filled",
    RevivesUnasked: "a deleted record is made again without a look whether its source still stands",
    // Merging.
    LastWriteWins: "both sides' edits of a field overwrite each other",
    WholeRecordWritten: "an update writes all fields, not those that changed",
    PolicyBackwards: "a conflict goes to the wrong side",
    NullIsNothing: "a null does not travel",
    EmptyIsNull: "an empty text and a null are the same",
    AbsentIsNull: "a field that an update leaves out is written as null",
    FloatNumbers: "integers pass through a float",
    FieldsKnownForGood: "new rules may only name fields that were there when the link was opened",
    RulesNotReplanned: "new rules are for new changes only",
    ReplanUnmarked: "pairs that are planned anew are not remembered to be unfinished",
    // Bases.
    BaseStays: "a delivery does not move the base",
    BaseMovesEarly: "the base moves when a write is decided, not when it arrived",
    BaseFromNow: "a delivery settles what came in since as well: the dirty counter is zeroed",
    RevisionIsProof: "a revision counts as ours where another edit may have slipped into it",
    OtherWayForgotten: "what a look brought up for the other direction makes no job",
    // Writing.
    LookNotCut: "a look-up that is refused as a whole fails for all of its records",
    BatchNotCut: "a batch that is refused as a whole becomes dead letters as a whole",
    WritesUnlooked: "a destination that can't compare is overwritten without a look",
    CreatesUnlooked: "a record is made without a look whether it is there",
    UpdateUncompared: "an update is sent without what it expects",
    DeleteUncompared: "a delete is sent without what it expects",
    StaleIsThrough: "a write that met another version counts as delivered",
    FaultIsSuccess: "a call that failed counts as delivered",
    BatchIsThrough: "a batch counts as delivered where one of its records was",
    ForgottenNoted: "what is known of a write that went out makes a pair again that was forgotten before",
    TouchedForgotten: "a scan leaves what was touched meanwhile, and not shown, to the next one, which may never come",
    ArrivalsForgotten: "what a page knows to have arrived is forgotten where its pair moved on meanwhile",
    LostUnnoted: "what arrived for a job that was cancelled meanwhile is not known",
    OutcomesMixedUp: "outcomes are laid to the wrong records",
    SentUnremembered: "what is about to be sent is not remembered before it goes out",
    SentUnrecognised: "what stands at the destination is not laid beside what was sent",
    LoadsUnread: "a bulk load begins with what stood there when it was read, whatever was written since then",
    LoadsUnmarked: "a bulk load that became visible just before the process died counts as one that never did",
    LoadsLookAway: "what a source shows again of records that are being loaded in bulk is planned as if they were not",
    DoubtOneWay: "a write in doubt is looked for by jobs of its own direction only",
    SentUnlooked: "where a write was not answered, the next one goes out without a look",
    TransientIsFinal: "a fault that passes ends in a dead letter",
    // Storing.
    TwoTransactions: "pairs and cursor are stored before their jobs",
    VersionIgnored: "a pair that moved on is overwritten",
    OvertakenDropped: "a page that was overtaken is not planned again",
    LeasesNotRescued: "what a process held when it died stays held",
    PagesUnlocked: "a page is taken in while deliveries to its side are under way",
    PresenceUncounted: "a settled delivery does not count among what a side has",
    SyncedWhenQueued: "what is queued is said to be synced",
    SupersededUncounted: "work that another took over is not counted",
    DeliveredUncounted: "what is delivered at once is not counted",
    AskedSpeaks: "work that somebody asked for says how a pair stands that it has nothing to do with",
    CancelTakesAll: "who cancels what was asked for cancels the planner's work with it",
    CancelUnfenced: "a running job that is cancelled may still become a success",
    RescueUncounted: "what a process tried when it died counts for nothing",
    LeaseNotRenewed: "a claim is not renewed while its work goes on",
    PutOffLate: "what has to wait for a write is put off once its batch is through, and its claim has run out",
    ScheduleHoldsBack: "an edit waits for the time for which somebody asked for its record",
    // Pushes.
    PushUnstored: "a push is answered before it is stored",
    PushTakesAll: "a push that takes over the planner's job does that job's work away",
    PushMakesAgain: "a push that deletes makes the record again where it is gone",
    PushSentAgain: "a push that has arrived is sent once more, with what came while it was under way",
    PushWritesAll: "a push writes all fields, not those that it names",
    PushIsEcho: "what was pushed is taken for a write of the planner, and goes no further",
    PushesNotMerged: "a push takes the place of one that is still to be delivered, with all that it names",
    // Calling.
    WindowFromSending: "a slot is free a window after its call was sent",
    WindowForgotten: "a restart forgets the calls of the window",
    BreakerShut: "the breaker never opens",
    ProbesUnbounded: "everybody tries at once whether a system is back",
    ReadsUncounted: "reads do not count for the window",
}

/// Tells whether a bug is planted: in what ships, never.
#[cfg(not(feature = "planted"))]
#[inline(always)]
pub const fn planted(_bug: Bug) -> bool {
    false
}

#[cfg(feature = "planted")]
mod ground {
    use std::sync::atomic::{AtomicU8, Ordering};

    use super::Bug;

    const NONE: u8 = u8::MAX;
    static PLANTED: AtomicU8 = AtomicU8::new(NONE);

    /// Tells whether a bug is planted.
    pub fn planted(bug: Bug) -> bool {
        PLANTED.load(Ordering::Relaxed) == bug as u8
    }

    /// Plants one bug in the whole process, or none.
    pub fn plant(bug: Option<Bug>) {
        PLANTED.store(bug.map_or(NONE, |bug| bug as u8), Ordering::Relaxed);
    }
}

#[cfg(feature = "planted")]
pub use ground::{plant, planted};
