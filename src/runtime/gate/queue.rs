//! Who waits at a gate, in which order.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use crate::engine::flow::Urgency;
use crate::engine::record::Timestamp;

/// One waiter, by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct WaiterId(u64);

struct Waiter {
    id: WaiterId,
    since: Timestamp,
    bell: Arc<Notify>,
}

/// A line for each urgency.
///
/// Backfill that waited for [`LONG`] windows stands among the live ones by its time of arrival:
/// urgent calls that fill the window for ever must not starve it for ever.
#[derive(Default)]
pub(super) struct Queue {
    lines: [VecDeque<Waiter>; 3],
    next: u64,
}

const LONG: u32 = 2;

impl Queue {
    /// Counts the waiters.
    pub(super) fn len(&self) -> usize {
        self.lines.iter().map(VecDeque::len).sum()
    }

    /// Stands in line, where one does not yet, and gives the bell to wait for.
    pub(super) fn stand(
        &mut self,
        place: &mut Option<WaiterId>,
        urgency: Urgency,
        since: Timestamp,
    ) -> Arc<Notify> {
        let standing = place.and_then(|id| self.all().find(|waiter| waiter.id == id));
        if let Some(waiter) = standing {
            return Arc::clone(&waiter.bell);
        }
        self.next += 1;
        let id = WaiterId(self.next);
        let bell = Arc::new(Notify::new());
        self.line(urgency).push_back(Waiter { id, since, bell: Arc::clone(&bell) });
        *place = Some(id);
        bell
    }

    /// Leaves the line.
    pub(super) fn leave(&mut self, place: Option<WaiterId>) {
        let Some(id) = place else { return };
        for line in &mut self.lines {
            // Nearly always it is the first.
            if let Some(at) = line.iter().position(|waiter| waiter.id == id) {
                line.remove(at);
                return;
            }
        }
    }

    /// Tells whether nobody goes before the holder of a place, or before a newcomer.
    pub(super) fn is_foremost(
        &self,
        place: Option<WaiterId>,
        urgency: Urgency,
        window: Duration,
        now: Timestamp,
    ) -> bool {
        match (self.foremost(window, now), place) {
            (None, _) => true,
            (Some((_, first)), Some(id)) => first.id == id,
            (Some((standing, _)), None) => urgency < standing,
        }
    }

    /// Returns the urgency that a holder has by now.
    pub(super) fn standing(
        &self,
        place: Option<WaiterId>,
        urgency: Urgency,
        window: Duration,
        now: Timestamp,
    ) -> Urgency {
        match self.foremost(window, now) {
            Some((standing, first)) if Some(first.id) == place => standing,
            _ => urgency,
        }
    }

    /// Wakes the foremost.
    pub(super) fn ring_foremost(&self, window: Duration, now: Timestamp) {
        if let Some((_, first)) = self.foremost(window, now) {
            first.bell.notify_one();
        }
    }

    fn foremost(&self, window: Duration, now: Timestamp) -> Option<(Urgency, &Waiter)> {
        let [interactive, live, backfill] = &self.lines;
        if let Some(first) = interactive.front() {
            return Some((Urgency::Interactive, first));
        }
        let long = window.saturating_mul(LONG);
        let patient = backfill.front().filter(|first| now.since(first.since) >= long);
        match (live.front(), patient) {
            (Some(first), Some(patient)) if patient.since < first.since => Some((Urgency::Live, patient)),
            (Some(first), _) | (None, Some(first)) => Some((Urgency::Live, first)),
            (None, None) => backfill.front().map(|first| (Urgency::Backfill, first)),
        }
    }

    fn all(&self) -> impl Iterator<Item = &Waiter> {
        self.lines.iter().flatten()
    }

    fn line(&mut self, urgency: Urgency) -> &mut VecDeque<Waiter> {
        let [interactive, live, backfill] = &mut self.lines;
        match urgency {
            Urgency::Interactive => interactive,
            Urgency::Live => live,
            Urgency::Backfill => backfill,
        }
    }
}
