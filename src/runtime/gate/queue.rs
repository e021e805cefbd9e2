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

/// What a caller wants.
pub(super) struct Wish<'w> {
    pub urgency: Urgency,
    /// Whose turn it takes.
    pub link: Option<&'w str>,
}

struct Waiter {
    id: WaiterId,
    since: Timestamp,
    bell: Arc<Notify>,
}

/// The waiters of one link, the first first.
struct Lane {
    link: Option<Arc<str>>,
    waiters: VecDeque<Waiter>,
}

/// The links that wait, the one whose turn it is first. No lane is empty.
#[derive(Default)]
struct Line {
    lanes: VecDeque<Lane>,
}

/// A line for each urgency, and a lane for each link in it.
///
/// Links take turns: one with a thousand waiters is served as often as one with a single waiter.
/// Backfill that waited for [`LONG`] windows stands among the live ones by its time of arrival:
/// urgent calls that fill the window for ever must not starve it for ever.
#[derive(Default)]
pub(super) struct Queue {
    lines: [Line; 3],
    next: u64,
}

const LONG: u32 = 2;

impl Line {
    fn front(&self) -> Option<&Waiter> {
        self.lanes.front().and_then(|lane| lane.waiters.front())
    }

    fn push(&mut self, link: Option<&str>, waiter: Waiter) {
        match self.lanes.iter_mut().find(|lane| lane.link.as_deref() == link) {
            Some(lane) => lane.waiters.push_back(waiter),
            None => self.lanes.push_back(Lane { link: link.map(Arc::from), waiters: [waiter].into() }),
        }
    }

    /// Takes a waiter out; where `served`, its link goes behind the others. Gives whether it was here.
    fn take(&mut self, id: WaiterId, served: bool) -> bool {
        let found = self.lanes.iter_mut().enumerate().find_map(|(at, lane)| {
            // Nearly always it is the first of the first.
            let place = lane.waiters.iter().position(|waiter| waiter.id == id)?;
            lane.waiters.remove(place);
            Some((at, lane.waiters.is_empty()))
        });
        let Some((at, is_empty)) = found else { return false };
        if served || is_empty {
            let lane = self.lanes.remove(at);
            self.lanes.extend(lane.filter(|_| !is_empty));
        }
        true
    }

    fn waiters(&self) -> impl Iterator<Item = &Waiter> {
        self.lanes.iter().flat_map(|lane| &lane.waiters)
    }
}

impl Queue {
    /// Counts the waiters.
    pub(super) fn len(&self) -> usize {
        self.all().count()
    }

    /// Stands in line, where one does not yet, and gives the bell to wait for.
    pub(super) fn stand(
        &mut self,
        place: &mut Option<WaiterId>,
        wish: &Wish<'_>,
        since: Timestamp,
    ) -> Arc<Notify> {
        let standing = place.and_then(|id| self.all().find(|waiter| waiter.id == id));
        if let Some(waiter) = standing {
            return Arc::clone(&waiter.bell);
        }
        self.next += 1;
        let id = WaiterId(self.next);
        let bell = Arc::new(Notify::new());
        let waiter = Waiter { id, since, bell: Arc::clone(&bell) };
        self.line(wish.urgency).push(wish.link, waiter);
        *place = Some(id);
        bell
    }

    /// Leaves the line without having been served.
    pub(super) fn leave(&mut self, place: Option<WaiterId>) {
        self.take(place, false);
    }

    /// Leaves the line for a call: the next one is another link's.
    pub(super) fn serve(&mut self, place: Option<WaiterId>) {
        self.take(place, true);
    }

    fn take(&mut self, place: Option<WaiterId>, served: bool) {
        if let Some(id) = place {
            let _ = self.lines.iter_mut().any(|line| line.take(id, served));
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
        self.lines.iter().flat_map(Line::waiters)
    }

    fn line(&mut self, urgency: Urgency) -> &mut Line {
        let [interactive, live, backfill] = &mut self.lines;
        match urgency {
            Urgency::Interactive => interactive,
            Urgency::Live => live,
            Urgency::Backfill => backfill,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_secs(10);

    fn at(seconds: i64) -> Timestamp {
        Timestamp(1_800_000_000_000 + seconds * 1_000)
    }

    /// Lets waiters come, each a link's letter (small: backfill, capital: live) and then serves all of
    /// them; gives the order.
    fn served(waiters: &str, now: Timestamp) -> String {
        let mut queue = Queue::default();
        let mut places = Vec::new();
        for (second, letter) in (0..).zip(waiters.chars()) {
            let link = letter.to_ascii_lowercase().to_string();
            let urgency = if letter.is_ascii_uppercase() { Urgency::Live } else { Urgency::Backfill };
            let mut place = None;
            queue.stand(&mut place, &Wish { urgency, link: Some(&link) }, at(second));
            places.push((place.expect("stands"), letter));
        }
        let mut order = String::new();
        while let Some((_, first)) = queue.foremost(WINDOW, now) {
            let id = first.id;
            order.extend(places.iter().filter(|(place, _)| *place == id).map(|(_, letter)| letter));
            queue.serve(Some(id));
        }
        order
    }

    #[test]
    fn links_take_turns_within_a_class() {
        // (waiters as they came, now, order, why)
        let cases = [
            ("AAAA", 4, "AAAA", "one link, in order"),
            ("AAAAAB", 6, "ABAAAA", "a backlog of five lets the other one in after one"),
            ("AAABBC", 6, "ABCABA", "three in turn"),
            ("aaB", 3, "Baa", "live goes before backfill, whoever's it is"),
            ("aaabAB", 6, "ABabaa", "turns are taken in each class"),
            ("aAB", 25, "aAB", "backfill that waited for two windows stands by its arrival"),
        ];
        for (waiters, now, order, why) in cases {
            assert_eq!(served(waiters, at(now)), order, "{why}: {waiters}");
        }
    }

    #[test]
    fn who_leaves_unserved_takes_no_turn() {
        let mut queue = Queue::default();
        let mut stand = |link: &'static str| {
            let mut place = None;
            queue.stand(&mut place, &Wish { urgency: Urgency::Live, link: Some(link) }, at(0));
            place
        };
        let [gone, first, second] = [stand("a"), stand("a"), stand("b")];
        queue.leave(gone);
        let front = |queue: &Queue| queue.foremost(WINDOW, at(1)).map(|(_, waiter)| waiter.id);
        assert_eq!(front(&queue), first, "the link keeps its turn");
        queue.serve(first);
        assert_eq!(front(&queue), second);
        queue.serve(second);
        assert_eq!((queue.len(), front(&queue)), (0, None));
    }
}
