//! What a limiter leaves behind for the next process.

use std::time::Duration;

use super::BreakerMemory;
use super::limiter::round_up;
use crate::engine::record::Timestamp;

/// The taken slots of a window, small enough to be stored before calls go out.
///
/// A process that dies leaves behind which slots it had certainly used and how many more it may
/// have used (`unsure`: those in flight and those it had granted itself ahead) until when. So a
/// crash costs the next process a few slots for a moment, and never the promise.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Tail {
    /// When it was made, in milliseconds since 1970.
    pub at: i64,
    /// Replies that still count: (rounded up time of the reply, how many).
    pub spent: Vec<(i64, u32)>,
    /// Calls that may have been sent although no reply is known.
    pub unsure: u32,
    /// No unsure call was sent later than this.
    pub unsure_until: i64,
    /// How many of the unsure calls may still go out once this is stored.
    #[serde(skip)]
    pub ahead: u32,
    /// The same of the day's limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub day: Option<Box<Tail>>,
    /// The breaker, where it is not closed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub breaker: Option<BreakerMemory>,
}

/// How long after the death of a process a call that it had sent may still arrive at the server.
pub(super) const STRAY: Duration = Duration::from_secs(5);
/// The steps of a window to which reply times are rounded up, so that a tail has a bound.
const STEPS: u128 = 200;

impl Tail {
    pub(super) fn new(
        replies: impl Iterator<Item = (Timestamp, usize)>,
        span: Duration,
        at: Timestamp,
        in_flight: usize,
        ahead: u32,
        unsure_until: Timestamp,
    ) -> Self {
        let step = i64::try_from((span.as_millis() / STEPS).max(1)).unwrap_or(i64::MAX);
        let mut spent: Vec<(i64, u32)> = Vec::new();
        for (reply, calls) in replies {
            let rounded = round_up(reply.0, step);
            let calls = u32::try_from(calls).unwrap_or(u32::MAX);
            match spent.last_mut() {
                Some((last, count)) if *last == rounded => *count = count.saturating_add(calls),
                _ => spent.push((rounded, calls)),
            }
        }
        let unsure = u32::try_from(in_flight).unwrap_or(u32::MAX).saturating_add(ahead);
        Self { at: at.0, spent, unsure, unsure_until: unsure_until.0, ahead, ..Self::default() }
    }

    /// Returns from when how many slots count, at most `room` slots, the latest.
    pub(super) fn replies(&self, now: Timestamp, room: usize) -> Vec<(Timestamp, usize)> {
        let unsure = Timestamp(self.unsure_until.min(now.0)).plus(STRAY);
        // A clock that was set back since would let old stamps count for ever.
        let latest = |at: i64| Timestamp(at).min(now.plus(STRAY));
        let mut left = room;
        let mut replies = Vec::with_capacity(self.spent.len() + 1);
        for (at, calls) in std::iter::once((unsure, self.unsure))
            .chain(self.spent.iter().rev().map(|&(at, calls)| (latest(at), calls)))
        {
            let calls = usize::try_from(calls).unwrap_or(usize::MAX).min(left);
            left -= calls;
            if calls > 0 {
                replies.push((at, calls));
            }
        }
        replies
    }

    /// Writes it for the store.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Reads what [`Self::to_json`] wrote; `None` where it can't be read.
    pub fn from_json(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    /// Makes the tail of a past that nobody knows: every slot of the window may have been used just
    /// now. Of the day nothing is assumed: it would be a day's standstill.
    pub fn unknown(max: u32, now: Timestamp) -> Self {
        Self { at: now.0, unsure: max, unsure_until: now.0, ..Self::default() }
    }
}
