//! The gates: who wants to call a system waits here, in order.
//!
//! Invariant: only the foremost waiter asks the gate, so calls go out by urgency and, within one,
//! by links in turn, each link's in the order in which they came. A waiter that is dropped loses nothing for the others. A slot is
//! durable before its call goes out, so the window's promise survives `kill -9`.

mod queue;
mod registry;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use self::queue::{Queue, WaiterId, Wish};
pub use self::registry::{GateEntry, Gates, StoredTails, Tails, policy};
use crate::connectors::{Class, Clock, Gate, Report};
use crate::engine::fault::{Fault, FaultCode, FaultKind};
use crate::engine::flow::{
    self, Admission, Again, BreakerState, Budget, Ended, Facts, GatePolicy, GateView, Tail, Turn, Urgency,
    Why,
};
use crate::engine::record::Timestamp;
use crate::planted::{Bug, planted};
use crate::telemetry::metrics::{
    BATCH_PART, BREAKER_STATE, BREAKER_TURNS, CALL_WAIT, CALLS, CALLS_DAY, CALLS_LIMIT, WINDOW_UTILISATION,
};

/// The gate of one (customer, system).
pub struct GateKeeper {
    customer: String,
    system: String,
    clock: Clock,
    /// `None` where nothing has to survive.
    tails: Option<Arc<dyn Tails>>,
    stop: CancellationToken,
    inner: Mutex<Inner>,
    /// Rung when a load or a store has ended.
    written: Notify,
}

struct Inner {
    gate: flow::Gate,
    policy: GatePolicy,
    /// Calls under way at once that the system's connector allows, once it is known.
    at_once: Option<u32>,
    queue: Queue,
    /// What the last process left behind was taken over.
    loaded: bool,
    /// Somebody loads or stores; nobody else goes meanwhile.
    busy: bool,
    /// The tail at rest is stored: no more calls.
    closed: bool,
}

impl Inner {
    /// Puts the policy in force, within what the connector allows.
    fn enforce(&mut self, now: Timestamp) {
        let concurrency = self.policy.concurrency.into_iter().chain(self.at_once).min();
        self.gate.set_policy(GatePolicy { concurrency, ..self.policy }, now);
        self.queue.ring_foremost(self.policy.limits.window, now);
    }
}

/// What one who wants to call does next.
enum Step {
    Go(u64),
    Refused(Fault),
    Load,
    Store(Tail),
    /// Not before this moment, or when the bell rings.
    Sleep(Duration, Arc<Notify>),
}

/// Should a bell ever not be rung, the foremost looks again.
const LOOK_AGAIN: Duration = Duration::from_secs(10);
/// When to come back after the state could not be written.
const STORE_AGAIN: Duration = Duration::from_secs(2);

#[async_trait]
impl Gate for GateKeeper {
    async fn enter(&self, class: Class) -> Result<u64, Fault> {
        self.enter_for(class, None).await
    }

    async fn enter_for(&self, class: Class, link: Option<&str>) -> Result<u64, Fault> {
        if planted(Bug::ReadsUncounted) && class == Class::Backfill {
            return Ok(u64::MAX);
        }
        let wish = Wish { urgency: urgency(class), link };
        let began = (self.clock)();
        let mut place = Place { keeper: self, id: None };
        let result = loop {
            match self.step(&wish, began, &mut place.id) {
                Step::Go(ticket) => break Ok(ticket),
                Step::Refused(fault) => break Err(fault),
                Step::Load => self.load().await?,
                Step::Store(tail) => self.store(tail).await?,
                Step::Sleep(wait, bell) => {
                    tokio::select! {
                        biased;
                        () = self.stop.cancelled() => break Err(Fault::stopping()),
                        () = bell.notified() => {}
                        () = tokio::time::sleep(wait) => {}
                    }
                }
            }
        };
        drop(place);
        self.measure_wait(class, began);
        result
    }

    fn leave(&self, ticket: u64, report: Report) {
        let now = (self.clock)();
        let facts = facts(&report);
        let mut inner = self.lock();
        if !inner.gate.leave(ticket, facts, now) {
            return;
        }
        inner.queue.ring_foremost(inner.policy.limits.window, now);
        let view = inner.gate.view(now);
        let turns = inner.gate.take_turns();
        drop(inner);
        turns.iter().for_each(|turn| self.tell(turn));
        self.measure_call(facts.ended, &view);
    }
}

impl GateKeeper {
    fn new(
        (customer, system): (&str, &str),
        policy: GatePolicy,
        clock: Clock,
        tails: Option<Arc<dyn Tails>>,
        stop: CancellationToken,
    ) -> Self {
        let inner = Inner {
            gate: flow::Gate::new(policy, clock()),
            policy,
            at_once: None,
            queue: Queue::default(),
            loaded: tails.is_none(),
            busy: false,
            closed: false,
        };
        Self {
            customer: customer.to_owned(),
            system: system.to_owned(),
            clock,
            tails,
            stop,
            inner: Mutex::new(inner),
            written: Notify::new(),
        }
    }

    /// Changes limits and breaker from the next call on.
    pub fn set_policy(&self, policy: GatePolicy) {
        let now = (self.clock)();
        let mut inner = self.lock();
        if inner.policy == policy {
            return;
        }
        inner.policy = policy;
        inner.enforce(now);
    }

    /// Lets no more calls be under way at once than the system's connector says that it stands.
    pub fn bound(&self, at_once: usize) {
        let now = (self.clock)();
        let at_once = Some(u32::try_from(at_once).unwrap_or(u32::MAX).max(1));
        let mut inner = self.lock();
        if inner.at_once != at_once {
            inner.at_once = at_once;
            inner.enforce(now);
        }
    }

    /// Changes the limits from the next call on.
    pub fn set_limits(&self, max: u32, window: Duration) {
        let mut policy = self.policy();
        policy.limits.max = max;
        policy.limits.window = window;
        self.set_policy(policy);
    }

    /// Returns how many records a call may carry now, of `most`.
    pub fn batch_limit(&self, most: usize) -> usize {
        self.lock().gate.batch_limit(most)
    }

    /// Returns how many calls may be under way at once now.
    pub fn calls_limit(&self) -> usize {
        self.lock().gate.calls_limit()
    }

    /// Returns how many calls of a link's daily work may go out from now on that wait for nothing but the answers of
    /// others; none where nobody has asked what the last process left behind.
    pub fn room(&self) -> usize {
        let now = (self.clock)();
        let mut inner = self.lock();
        if inner.closed || !inner.loaded { 0 } else { inner.gate.room(Urgency::Live, now) }
    }

    /// Returns the policy in force.
    pub fn policy(&self) -> GatePolicy {
        self.lock().policy
    }

    /// Describes the gate for the status.
    pub fn view(&self) -> GateEntry {
        let now = (self.clock)();
        let mut inner = self.lock();
        let view = inner.gate.view(now);
        let waiting = inner.queue.len();
        drop(inner);
        self.measure_state(&view);
        GateEntry { customer: self.customer.clone(), system: self.system.clone(), waiting, gate: view }
    }

    /// Lets no more calls through and stores the window as it is, for the next process.
    pub async fn close(&self) -> Result<(), Fault> {
        let Some(tails) = &self.tails else { return Ok(()) };
        loop {
            let written = self.written.notified();
            if !self.lock().busy {
                break;
            }
            written.await;
        }
        let now = (self.clock)();
        let tail = {
            let mut inner = self.lock();
            inner.closed = true;
            if !inner.loaded {
                // Nothing went out: what the last process left behind still stands.
                return Ok(());
            }
            inner.gate.tail_at_rest(now)
        };
        tails.save(&self.name(), &tail.to_json(), self.expiry(now)).await
    }

    fn name(&self) -> String {
        format!("{}/{}", self.customer, self.system)
    }

    /// Decides, under the lock, what the one who asks does next.
    fn step(&self, wish: &Wish<'_>, began: Timestamp, place: &mut Option<WaiterId>) -> Step {
        let urgency = wish.urgency;
        let now = (self.clock)();
        let mut inner = self.lock();
        let inner = &mut *inner;
        if inner.closed || self.stop.is_cancelled() {
            return Step::Refused(Fault::stopping());
        }
        let window = inner.policy.limits.window;
        let foremost = inner.queue.is_foremost(*place, urgency, window, now);
        if inner.busy || !foremost {
            let bell = inner.queue.stand(place, wish, began);
            if !foremost && !inner.busy {
                // The foremost may have become so by waiting long: nobody else would tell it.
                inner.queue.ring_foremost(window, now);
            }
            return Step::Sleep(LOOK_AGAIN, bell);
        }
        if !inner.loaded {
            inner.queue.stand(place, wish, began);
            inner.busy = true;
            return Step::Load;
        }
        let admission = inner.gate.poll(inner.queue.standing(*place, urgency, window, now), now);
        inner.gate.take_turns().iter().for_each(|turn| self.tell(turn));
        match admission {
            Admission::Go(ticket) => {
                inner.queue.serve(place.take());
                inner.queue.ring_foremost(window, now);
                Step::Go(ticket)
            }
            Admission::Blocked(until, why) => Step::Refused(self.blocked(until, why, now)),
            Admission::Store(tail) => {
                inner.queue.stand(place, wish, began);
                inner.busy = true;
                Step::Store(tail)
            }
            Admission::Wait(again, _) => {
                let wait = match again {
                    Again::At(at) => at.since(now).min(LOOK_AGAIN),
                    Again::AfterReply => LOOK_AGAIN,
                };
                Step::Sleep(wait, inner.queue.stand(place, wish, began))
            }
        }
    }

    /// Takes over what the last process left behind.
    async fn load(&self) -> Result<(), Fault> {
        let busy = Busy { keeper: self };
        if let Some(tails) = &self.tails {
            let text = tails.load(&self.name(), (self.clock)()).await?;
            let now = (self.clock)();
            let mut inner = self.lock();
            let max = inner.policy.limits.max;
            // A tail that can't be read is no reason to break the promise.
            let tail = text.map(|text| Tail::from_json(&text).unwrap_or_else(|| Tail::unknown(max, now)));
            inner.gate = flow::Gate::durable(inner.policy, tail.as_ref(), now);
            inner.loaded = true;
            let breaker = inner.gate.view(now).breaker;
            drop(inner);
            if breaker.state != BreakerState::Closed {
                self.tell(&Turn { to: breaker.state, reason: breaker.reason, next_try: breaker.next_try });
            }
        }
        drop(busy);
        Ok(())
    }

    async fn store(&self, tail: Tail) -> Result<(), Fault> {
        let busy = Busy { keeper: self };
        if let Some(tails) = &self.tails {
            let expiry = self.expiry(Timestamp(tail.unsure_until));
            tails.save(&self.name(), &tail.to_json(), expiry).await?;
            let now = (self.clock)();
            self.lock().gate.stored(&tail, now);
        }
        drop(busy);
        Ok(())
    }

    /// Returns when a tail has nothing to say any more.
    fn expiry(&self, last_sent: Timestamp) -> Timestamp {
        const MARGIN: Duration = Duration::from_secs(3_600);
        last_sent.plus(self.lock().gate.span()).plus(MARGIN)
    }

    fn blocked(&self, until: Timestamp, why: Why, now: Timestamp) -> Fault {
        let (system, customer) = (&self.system, &self.customer);
        let (code, message) = match why {
            Why::Breaker => {
                (FaultCode::Unavailable, format!("{system} of {customer} fails; calls rest until {until}"))
            }
            Why::Day => (
                FaultCode::RateLimited,
                format!(
                    "the calls that {system} of {customer} may get in 24 hours are made; asking again at {until}"
                ),
            ),
            Why::RetryAfter | Why::Window | Why::Concurrency => {
                (FaultCode::RateLimited, format!("{system} of {customer} asked to wait until {until}"))
            }
            Why::Quota => (
                FaultCode::RateLimited,
                format!("the quota of {system} of {customer} is spent; calls rest until {until}"),
            ),
        };
        Fault::new(FaultKind::Throttled { retry_after: Some(until.since(now)) }, code, message)
    }

    /// Logs a change of the breaker's state, once.
    fn tell(&self, turn: &Turn) {
        let (customer, system) = (self.customer.as_str(), self.system.as_str());
        let reason = turn.reason.map(|reason| reason.to_string()).unwrap_or_default();
        let next_try_at = turn.next_try.map(|at| at.to_string()).unwrap_or_default();
        metrics::counter!(BREAKER_TURNS, "customer" => self.customer.clone(), "system" => self.system.clone(),
            "to" => turn.to.as_str())
        .increment(1);
        match turn.to {
            BreakerState::Open => {
                tracing::warn!(event = "breaker.opened", customer, system, %reason, %next_try_at,
                "the system is left alone for a while")
            }
            BreakerState::HalfOpen => tracing::info!(event = "breaker.half_open", customer, system, %reason,
                "a few calls try whether the system is back"),
            BreakerState::Closed => tracing::info!(event = "breaker.closed", customer, system, %reason,
                "the system is back; calls grow one by one"),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn measure_wait(&self, class: Class, began: Timestamp) {
        let waited = (self.clock)().since(began).as_secs_f64();
        let class = match class {
            Class::Interactive => "interactive",
            Class::Live => "live",
            Class::Backfill => "backfill",
        };
        metrics::histogram!(CALL_WAIT, "customer" => self.customer.clone(), "system" => self.system.clone(),
            "class" => class)
        .record(waited);
    }

    fn measure_call(&self, ended: Ended, view: &GateView) {
        let outcome = match ended {
            Ended::Ok | Ended::Slow => "answered",
            Ended::Failed => "failed",
            Ended::Dropped => "dropped",
        };
        metrics::counter!(CALLS, "customer" => self.customer.clone(), "system" => self.system.clone(),
            "outcome" => outcome)
        .increment(1);
        self.measure_state(view);
    }

    fn measure_state(&self, view: &GateView) {
        let labels = [("customer", self.customer.clone()), ("system", self.system.clone())];
        let used = view.used as f64 / f64::from(view.max.max(1));
        metrics::gauge!(WINDOW_UTILISATION, &labels).set(used);
        metrics::gauge!(CALLS_DAY, &labels).set(view.used_day as f64);
        metrics::gauge!(CALLS_LIMIT, &labels).set(f64::from(view.concurrency));
        metrics::gauge!(BATCH_PART, &labels).set(view.batch_part);
        metrics::gauge!(BREAKER_STATE, &labels).set(match view.breaker.state {
            BreakerState::Closed => 0.0,
            BreakerState::HalfOpen => 1.0,
            BreakerState::Open => 2.0,
        });
    }
}

/// One place in the queue; given up when its holder goes away.
struct Place<'k> {
    keeper: &'k GateKeeper,
    id: Option<WaiterId>,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let Some(id) = self.id.take() else { return };
        let now = (self.keeper.clock)();
        let mut inner = self.keeper.lock();
        inner.queue.leave(Some(id));
        let window = inner.policy.limits.window;
        inner.queue.ring_foremost(window, now);
    }
}

/// A load or a store under way; over when it ends or is given up.
struct Busy<'k> {
    keeper: &'k GateKeeper,
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        let now = (self.keeper.clock)();
        let mut inner = self.keeper.lock();
        inner.busy = false;
        let window = inner.policy.limits.window;
        inner.queue.ring_foremost(window, now);
        drop(inner);
        self.keeper.written.notify_waiters();
    }
}

fn urgency(class: Class) -> Urgency {
    match class {
        Class::Interactive => Urgency::Interactive,
        Class::Live => Urgency::Live,
        Class::Backfill => Urgency::Backfill,
    }
}

fn facts(report: &Report) -> Facts {
    let ended = match (report.dropped, report.failed) {
        (true, _) => Ended::Dropped,
        (false, true) => Ended::Failed,
        (false, false) => Ended::Ok,
    };
    let budget = report.quota.map(|quota| Budget {
        limit: quota.limit,
        remaining: quota.remaining,
        resets_in: quota.resets_in,
    });
    Facts { ended, retry_after: report.retry_after, budget, throttled: report.throttled, write: report.write }
}

#[cfg(test)]
mod tests;
