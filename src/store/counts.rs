//! What a link has done, and what it still has to do, in figures.

/// The conservation count of invariant 11: `accepted = delivered + cancelled + superseded + dead`
/// plus what is still active.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Counters {
    pub accepted: u64,
    pub delivered: u64,
    pub superseded: u64,
    pub cancelled: u64,
    /// Failures that ended in a dead letter, ever; replayed and deleted ones included.
    pub dead: u64,
    pub skipped: u64,
    /// Attempts that failed and were made again.
    pub retries: u64,
    /// Attempts of jobs that came to an end of their own, and how long they took together.
    pub attempts: u64,
    pub attempts_ms: u64,
}

impl Counters {
    /// Counts the jobs that have not ended; what is in conflict among them.
    pub fn active(&self) -> u64 {
        let ended = self.delivered + self.superseded + self.cancelled + self.dead;
        self.accepted.saturating_sub(ended)
    }
}

impl std::ops::AddAssign for Counters {
    fn add_assign(&mut self, more: Self) {
        self.accepted = self.accepted.saturating_add(more.accepted);
        self.delivered = self.delivered.saturating_add(more.delivered);
        self.superseded = self.superseded.saturating_add(more.superseded);
        self.cancelled = self.cancelled.saturating_add(more.cancelled);
        self.dead = self.dead.saturating_add(more.dead);
        self.skipped = self.skipped.saturating_add(more.skipped);
        self.retries = self.retries.saturating_add(more.retries);
        self.attempts = self.attempts.saturating_add(more.attempts);
        self.attempts_ms = self.attempts_ms.saturating_add(more.attempts_ms);
    }
}

/// How many jobs of a link are in which state, a direction each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Depth {
    pub pending: u64,
    pub leased: u64,
    pub retrying: u64,
    pub waiting: u64,
    pub conflict: u64,
    /// Dead letters that no job has replayed.
    pub dead: u64,
}

impl std::ops::AddAssign for Depth {
    fn add_assign(&mut self, more: Self) {
        self.pending += more.pending;
        self.leased += more.leased;
        self.retrying += more.retrying;
        self.waiting += more.waiting;
        self.conflict += more.conflict;
        self.dead += more.dead;
    }
}

impl Depth {
    /// Counts the jobs that still stand for work.
    pub fn active(&self) -> u64 {
        self.pending + self.leased + self.retrying + self.waiting + self.conflict
    }
}
