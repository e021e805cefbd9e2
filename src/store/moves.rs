//! What both stores decide in the same way: the moves of a job, and how a staged pair reads. Pure.
//!
//! Invariant: accepted = delivered + superseded + cancelled + dead + active, after every move.

use super::tries::counted;
use super::{Counters, LinkId, NewJob, Retried, Transition};
use crate::engine::fault::FaultCode;
use crate::engine::job::{self, Attempt, AttemptEnd, Job, JobError, JobState, Lease, Origin};
use crate::engine::plan::{DirectionState, Pair, Seen, SideState, Status};
use crate::engine::record::{Direction, Timestamp};
use crate::planted::{Bug, planted};

/// A job as it is stored.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Row {
    pub link: LinkId,
    pub job: Job,
    /// Counts the leases; outlives them.
    pub fence: u64,
    /// What came in while the job was leased.
    pub dirty: Dirty,
    /// The planner wants a sync: once this push has ended, or should what was asked for come to nothing.
    pub sync_after: bool,
}

/// What came in while a job was leased.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Dirty {
    #[default]
    Clean,
    /// Newer work: the job has to run again.
    Newer,
    /// Only the planner's wish, for what somebody asked for: whoever settles the job with its pair knows of it, because
    /// the pair would have moved on.
    Wished,
}

/// What a move means for the rest of the store.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Moved {
    pub counted: Counters,
    /// The row has no more to tell: remove it.
    pub gone: bool,
    /// What the stored pair has to say from now on.
    pub mark: Option<Mark>,
    /// The mark holds even against the status that the caller passed: the caller didn't know.
    pub overrules: bool,
    /// A job that is born from the end of this one.
    pub next: Option<Row>,
    /// The try that ended, where the row stays.
    pub attempt: Option<Attempt>,
}

/// A status to be noted in a pair.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Mark {
    pub status: Status,
    pub attempts: u32,
    pub error: Option<String>,
    pub queued_at: Option<Timestamp>,
    /// Only where the pair says that something is still to come.
    pub if_due: bool,
}

impl Mark {
    /// Notes the status; tells whether that changed anything.
    pub fn apply(self, state: &mut DirectionState) -> bool {
        let is_due = matches!(state.status, Status::Queued | Status::Retrying | Status::Waiting);
        if self.if_due && !is_due {
            return false;
        }
        let before = state.clone();
        state.status = self.status;
        state.attempts = self.attempts;
        state.error = self.error;
        state.queued_at = self.queued_at.or(state.queued_at);
        *state != before
    }

    fn queued(now: Timestamp) -> Self {
        Self { status: Status::Queued, attempts: 0, error: None, queued_at: Some(now), if_due: false }
    }
}

impl Row {
    /// Makes a job of wanted work.
    pub fn born(link: LinkId, new: NewJob, now: Timestamp) -> (Self, Counters) {
        let state = birth_state(new.state);
        let job = Job {
            id: 0,
            direction: new.direction,
            key: new.key,
            state,
            origin: new.origin,
            attempts: 0,
            attempts_max: new.attempts_max,
            priority: new.priority,
            due_at: new.due_at,
            created_at: now,
            updated_at: now,
            rules_version: new.rules_version,
            correlation_id: new.correlation_id,
            error: new.error,
            payload: new.payload,
            replay_of: new.replay_of,
            replay_attempt: None,
            replayed_by: None,
            scheduled_at: scheduled(new.origin, new.due_at, now),
            lease: None,
        };
        let counted =
            Counters { accepted: 1, dead: u64::from(state == JobState::Dead), ..Counters::default() };
        (Self { link, job, fence: 0, dirty: Dirty::Clean, sync_after: false }, counted)
    }

    /// Lets newer work for the same (direction, key) take over.
    pub fn coalesce(&mut self, new: NewJob, now: Timestamp) -> Counters {
        let superseded = u64::from(!planted(Bug::SupersededUncounted));
        let mut counted = Counters { accepted: 1, superseded, ..Counters::default() };
        let job = &mut self.job;
        if job.state != JobState::Leased {
            job.updated_at = now;
        }
        if job.origin.is_kept() && new.origin == Origin::Sync {
            self.sync_after = true;
            if job.origin == Origin::Asked {
                if job.state == JobState::Leased && self.dirty == Dirty::Clean {
                    self.dirty = Dirty::Wished;
                }
                job.due_at = job.due_at.min(new.due_at);
                if planted(Bug::ScheduleHoldsBack) {
                    job.due_at = job.scheduled_at.unwrap_or(job.due_at);
                }
                let is_parked = job.state == JobState::Conflict && new.state == JobState::Pending;
                if is_parked || job.state == JobState::Waiting {
                    job.state = JobState::Pending;
                }
            }
            return counted;
        }
        // Whoever takes the planner's job over does not do the planner's work with it.
        let takes_over =
            job.origin == Origin::Sync && new.origin == Origin::Push && !planted(Bug::PushTakesAll);
        self.sync_after |= takes_over || job.origin == Origin::Asked || new.origin == Origin::Asked;
        let are_pushes = job.origin == Origin::Push && new.origin == Origin::Push;
        let is_under_way = job.state == JobState::Leased;
        let payload = match (job.payload.take(), new.payload) {
            (Some(standing), Some(newer)) if are_pushes && is_under_way => {
                Some(job::merged_under_way(&standing, &newer))
            }
            (Some(standing), Some(newer)) if are_pushes => Some(job::merged(&standing, &newer)),
            (_, Some(newer)) if new.origin == Origin::Push && is_under_way => Some(job::instead(&newer)),
            (standing, newer) => newer.or(standing),
        };
        job.scheduled_at = scheduled(new.origin, new.due_at, now);
        job.origin = new.origin;
        job.rules_version = new.rules_version;
        job.correlation_id = new.correlation_id;
        job.payload = payload;
        job.error = new.error.or(job.error.take());
        job.replay_of = new.replay_of.or(job.replay_of);
        job.due_at = job.due_at.min(new.due_at);
        job.priority = job.priority.max(new.priority);
        if new.attempts_max > 0 {
            job.attempts_max = new.attempts_max;
        }
        if job.state == JobState::Leased {
            self.dirty = Dirty::Newer;
        } else {
            job.state = birth_state(new.state);
            counted.dead = u64::from(job.state == JobState::Dead);
        }
        counted
    }

    /// Lets what somebody asks for take over the planner's own job.
    pub fn take_over(&mut self, new: NewJob, now: Timestamp) -> Counters {
        let counted = self.coalesce(new, now);
        if self.job.state != JobState::Leased {
            // The planner's own part is not to wait for the time that was asked for.
            self.job.state = JobState::Pending;
            self.job.attempts = 0;
            self.job.error = None;
        }
        counted
    }

    /// Lets a newer dead letter take the place of this one.
    pub fn bury_again(&mut self, new: NewJob, now: Timestamp) -> Counters {
        let job = &mut self.job;
        job.updated_at = now;
        job.rules_version = new.rules_version;
        job.correlation_id = new.correlation_id;
        job.payload = new.payload.or(job.payload.take());
        job.error = new.error.or(job.error.take());
        Counters { accepted: 1, superseded: 1, ..Counters::default() }
    }

    /// Claims the job and counts the attempt.
    pub fn lease(&mut self, owner: &str, until: Timestamp, now: Timestamp) {
        self.fence += 1;
        self.dirty = Dirty::Clean;
        if self.job.origin == Origin::Push {
            self.job.payload = self.job.payload.take().map(job::whole);
        }
        self.job.state = JobState::Leased;
        self.job.attempts = self.job.attempts.saturating_add(1);
        self.job.updated_at = now;
        self.job.lease = Some(Lease { owner: owner.to_owned(), until, fence: self.fence });
    }

    /// Tells whether the job can be leased once it is due.
    pub fn is_ready(&self) -> bool {
        matches!(self.job.state, JobState::Pending | JobState::Retrying | JobState::Waiting)
    }

    /// Tells whether what somebody asked for waits for the end of a conflict.
    pub fn is_parked(&self) -> bool {
        self.job.origin == Origin::Asked && self.job.state == JobState::Conflict
    }

    /// Tells whether a claim under this fence still holds.
    pub fn is_held_under(&self, fence: u64) -> bool {
        let is_ours = self.job.state == JobState::Leased
            || planted(Bug::CancelUnfenced) && self.job.state == JobState::Cancelled;
        is_ours && self.fence == fence
    }

    /// Ends a lease; `knows`: with its pair as it stands. Where newer work came in meanwhile, nothing is final.
    pub fn settle(
        &mut self,
        transition: Transition,
        reason: Option<JobError>,
        knows: bool,
        now: Timestamp,
    ) -> Moved {
        let attempt = self.attempt(&transition, reason, now);
        let is_final = matches!(
            transition,
            Transition::Synced | Transition::Obsolete | Transition::Conflict { .. } | Transition::Dead { .. }
        );
        let is_newer = match self.dirty {
            Dirty::Clean => false,
            Dirty::Newer => true,
            Dirty::Wished => !knows,
        };
        let overrules = is_newer && is_final;
        if overrules && matches!(transition, Transition::Synced | Transition::Obsolete) {
            self.job.payload = self.job.payload.take().map(job::rest);
        }
        let transition = if overrules { Transition::Again { due_at: now } } else { transition };
        self.dirty = Dirty::Clean;
        self.job.lease = None;
        self.job.updated_at = now;
        let counted = counted(attempt.as_ref());
        let mut moved = match self.too_early(&transition, now) {
            Some(due_at) => {
                let again = Moved { mark: None, ..self.carry_out(Transition::Again { due_at }, now) };
                self.job.state = JobState::Waiting;
                self.sync_after = false;
                again
            }
            None => self.carry_out(transition, now),
        };
        moved.overrules = overrules;
        moved.counted += counted;
        if !self.job.state.is_active() || moved.gone {
            // What was asked for, and is through, has carried the planner's wish out as well.
            self.sync_after &= !(self.job.origin == Origin::Asked && self.job.state == JobState::Synced);
            self.follow(&mut moved, now);
        }
        moved.attempt = attempt.filter(|_| !moved.gone);
        moved
    }

    /// Says when an asked job has to run again that was through only because the planner hurried it.
    fn too_early(&self, transition: &Transition, now: Timestamp) -> Option<Timestamp> {
        let is_through = match transition {
            Transition::Synced | Transition::Obsolete => true,
            Transition::Dead { error, .. } => error.code == FaultCode::NotFound,
            _ => false,
        };
        self.job.scheduled_at.filter(|&at| is_through && self.job.origin == Origin::Asked && at > now)
    }

    fn carry_out(&mut self, transition: Transition, now: Timestamp) -> Moved {
        let mut moved = Moved::default();
        let job = &mut self.job;
        let mut noted = None;
        match transition {
            Transition::Synced | Transition::Obsolete => {
                let through = transition == Transition::Synced;
                moved.counted.delivered = u64::from(through);
                moved.counted.superseded = u64::from(!through);
                moved.gone = !job.origin.is_kept();
                job.state = JobState::Synced;
                job.error = None;
            }
            Transition::Snoozed { due_at } => {
                job.attempts = job.attempts.saturating_sub(1);
                job.state = if job.attempts > 0 { JobState::Retrying } else { JobState::Pending };
                job.due_at = due_at;
            }
            Transition::Retrying { due_at, error } => {
                job.state = JobState::Retrying;
                job.due_at = due_at;
                job.error = Some(error);
                noted = Some(Status::Retrying);
            }
            Transition::Again { due_at } => {
                job.state = JobState::Pending;
                job.attempts = 0;
                job.due_at = due_at;
                job.error = None;
                moved.mark = Some(Mark::queued(now));
            }
            Transition::Waiting { due_at, error } => {
                job.attempts = job.attempts.saturating_sub(1);
                job.state = JobState::Waiting;
                job.due_at = due_at;
                job.error = Some(error);
                noted = Some(Status::Waiting);
            }
            Transition::Conflict { error } => {
                job.state = JobState::Conflict;
                job.error = Some(error);
                noted = Some(Status::Conflict);
            }
            Transition::Dead { error, payload } => {
                job.state = JobState::Dead;
                job.error = Some(error);
                job.payload = payload.or(job.payload.take());
                moved.counted.dead = 1;
                noted = Some(Status::Dead);
            }
        }
        if let Some(status) = noted {
            moved.mark = Some(self.mark(status));
        }
        moved.mark = moved.mark.filter(|mark| mark.status == Status::Dead || self.speaks());
        moved
    }

    /// Takes an expired lease back; the attempt stays counted.
    pub fn rescue(&mut self, now: Timestamp) -> Moved {
        let attempt = self.ended(AttemptEnd::Lost, None, now);
        self.job.attempts -= u32::from(planted(Bug::RescueUncounted) && self.job.attempts > 0);
        self.dirty = Dirty::Clean;
        self.job.lease = None;
        self.job.state = JobState::Pending;
        self.job.updated_at = now;
        let mark = self.speaks().then(|| self.mark(Status::Queued));
        Moved { mark, attempt, ..Moved::default() }
    }

    /// Tells whether [`Self::retry`] is for this job; a dead one also needs its place to be free.
    pub fn can_retry(&self) -> bool {
        matches!(self.job.state, JobState::Retrying | JobState::Waiting | JobState::Dead)
            && !self.is_answered()
    }

    /// Says why [`Self::retry`] is not for this job, where another one may stand in its place.
    pub fn why_not_retry(&self, standing: Option<i64>) -> Option<Retried> {
        match self.job.state {
            JobState::Dead => self.job.replayed_by.or(standing).map(Retried::Standing),
            _ => (!self.can_retry()).then_some(Retried::Not(self.job.state)),
        }
    }

    /// Tells whether it is a dead letter that another job has replayed.
    pub fn is_answered(&self) -> bool {
        self.job.state == JobState::Dead && self.job.replayed_by.is_some()
    }

    /// Makes the job due now with a full number of attempts.
    pub fn retry(&mut self, now: Timestamp) -> Moved {
        let accepted = u64::from(self.job.state == JobState::Dead);
        self.job.state = JobState::Pending;
        self.job.attempts = 0;
        self.job.due_at = now;
        self.job.scheduled_at = None;
        self.job.updated_at = now;
        self.job.error = None;
        Moved {
            counted: Counters { accepted, ..Counters::default() },
            mark: self.speaks().then(|| Mark::queued(now)),
            ..Moved::default()
        }
    }

    /// Ends an active job unfinished.
    pub fn cancel(&mut self, now: Timestamp) -> Moved {
        let attempt = self.ended(AttemptEnd::Cancelled, None, now);
        self.dirty = Dirty::Clean;
        self.job.lease = None;
        self.job.state = JobState::Cancelled;
        self.job.updated_at = now;
        self.sync_after &= !planted(Bug::CancelTakesAll);
        // The pair of what was asked for may stand as the planner left it.
        let mark = Mark { error: None, if_due: self.job.origin.is_kept(), ..self.mark(Status::Cancelled) };
        let mut moved = Moved {
            counted: Counters { cancelled: 1, ..Counters::default() },
            mark: Some(mark),
            attempt,
            ..Moved::default()
        };
        self.follow(&mut moved, now);
        moved
    }

    /// Lets the sync that waited for this push be born.
    fn follow(&mut self, moved: &mut Moved, now: Timestamp) {
        if !std::mem::take(&mut self.sync_after) {
            return;
        }
        let wanted = NewJob {
            direction: self.job.direction,
            key: self.job.key.clone(),
            origin: Origin::Sync,
            priority: self.job.priority,
            due_at: now,
            attempts_max: 0,
            rules_version: self.job.rules_version,
            correlation_id: self.job.correlation_id.clone(),
            payload: None,
            replay_of: None,
            state: JobState::Pending,
            error: None,
        };
        let (next, counted) = Self::born(self.link, wanted, now);
        moved.next = Some(next);
        moved.counted += counted;
        moved.mark = Some(Mark::queued(now));
        moved.overrules = true;
    }

    /// Tells whether the job says how its pair stands: what was asked for or handed in does not, it has a
    /// state of its own that is shown.
    fn speaks(&self) -> bool {
        self.job.origin == Origin::Sync || self.sync_after || planted(Bug::AskedSpeaks)
    }

    fn mark(&self, status: Status) -> Mark {
        Mark {
            status,
            attempts: self.job.attempts,
            error: self.job.error.as_ref().map(|error| error.message.clone()),
            queued_at: None,
            if_due: false,
        }
    }
}

/// Says since when something was asked for that is not to be done at once.
fn scheduled(origin: Origin, due_at: Timestamp, now: Timestamp) -> Option<Timestamp> {
    (origin == Origin::Asked && due_at > now).then_some(due_at)
}

fn birth_state(wanted: JobState) -> JobState {
    match wanted {
        JobState::Pending | JobState::Waiting | JobState::Conflict | JobState::Dead => wanted,
        JobState::Leased | JobState::Retrying | JobState::Synced | JobState::Cancelled => {
            debug_assert!(false, "a job can't be born {}", wanted.as_str());
            JobState::Pending
        }
    }
}

/// Makes a staged pair read as if nothing had reached the destination of its load.
pub(super) fn unload(pair: &mut Pair, direction: Direction) {
    let source = pair.side_mut(direction.from());
    let base = source.base.take();
    if let (Seen::AsBase, Some(image)) = (&source.seen, base) {
        source.seen = Seen::Changed(image);
    }
    *pair.side_mut(direction.to()) = SideState::default();
    let way = pair.way_mut(direction);
    if way.status == Status::Synced {
        way.status = Status::Queued;
        way.synced_at = None;
    }
}
