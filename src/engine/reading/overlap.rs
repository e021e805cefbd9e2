//! How far back a read begins again, because records show late under older stamps.
//!
//! A transaction carries the stamp of its beginning and shows at its end; what was read between the two lies
//! before it. Every pass therefore begins an overlap before the newest stamp that was read. The overlap
//! follows what is met: twice the latest record of late, never less than what is configured.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The longest overlap that is taken by ourselves: whatever is later is an import or a slip, and re-reading
/// hours at every poll would not find the next one either. The audit does.
pub const OVERLAP_MAX: Duration = Duration::from_secs(3600);

/// What a cursor remembers of lateness.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Overlap {
    /// What was learnt, in milliseconds; less than the configured one where nothing was.
    pub learnt_ms: u64,
    /// The latest record since the last audit, in milliseconds.
    pub late_ms: u64,
}

/// How far a cursor has read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reach {
    /// The newest stamp that was read.
    pub newest: crate::engine::record::Timestamp,
    /// The next read shows everything from this stamp on.
    pub from: crate::engine::record::Timestamp,
    pub overlap: Overlap,
    /// The configured overlap.
    pub least: Duration,
}

impl Overlap {
    /// Tells whether nothing was learnt.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// Returns how far back reads begin.
    pub fn length(&self, least: Duration) -> Duration {
        Duration::from_millis(self.learnt_ms).max(least)
    }

    /// Learns that a record was met so late.
    #[must_use]
    pub fn met(self, late_by: Duration) -> Self {
        if late_by > OVERLAP_MAX {
            return self;
        }
        let late_ms = millis(late_by).max(self.late_ms);
        Self { learnt_ms: self.learnt_ms.max(wanted(late_ms)), late_ms }
    }

    /// Learns that an audit came to its end: the only proof that nothing later was overlooked. What is longer
    /// than the latest record asks for gives way by a quarter.
    #[must_use]
    pub fn audited(self, least: Duration) -> Self {
        let wanted = wanted(self.late_ms);
        let excess = self.learnt_ms.saturating_sub(wanted);
        let learnt_ms = self.learnt_ms - excess.div_ceil(4);
        let is_worth_it = learnt_ms > millis(least);
        Self { learnt_ms: if is_worth_it { learnt_ms } else { 0 }, late_ms: 0 }
    }
}

/// Twice as late, for the next one may be later.
fn wanted(late_ms: u64) -> u64 {
    late_ms.saturating_mul(2).min(millis(OVERLAP_MAX))
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEAST: Duration = Duration::from_secs(5);

    fn seconds(overlap: Overlap) -> f64 {
        overlap.length(LEAST).as_secs_f64()
    }

    #[test]
    fn the_overlap_grows_with_what_is_met_and_is_bounded() {
        // (seconds late one after the other, overlap in seconds, why)
        let cases: [(&[u64], f64, &str); 8] = [
            (&[], 5.0, "what is configured"),
            (&[1, 2], 5.0, "that is enough"),
            (&[4], 8.0, "twice the lateness"),
            (&[30, 10], 60.0, "the latest counts"),
            (&[30, 40], 80.0, "and a later one more"),
            (&[2000], 3600.0, "an hour at most"),
            (&[3600], 3600.0, "a clock that steps back by an hour"),
            (&[3601], 5.0, "an import teaches nothing"),
        ];
        for (met, expected, why) in cases {
            let overlap =
                met.iter().fold(Overlap::default(), |overlap, &late| overlap.met(Duration::from_secs(late)));
            assert_eq!(seconds(overlap), expected, "{why}");
        }
    }

    #[test]
    fn audits_that_find_nothing_take_it_back_slowly() {
        let mut overlap = Overlap::default().met(Duration::from_secs(30));
        let mut lengths = Vec::new();
        for _ in 0..12 {
            overlap = overlap.audited(LEAST);
            lengths.push(seconds(overlap));
        }
        assert_eq!(lengths[0], 60.0, "30 s were late since the last audit");
        assert_eq!(lengths[1], 45.0, "nothing was: by a quarter");
        assert_eq!(lengths[2], 33.75);
        assert!(lengths.is_sorted_by(|left, right| left >= right), "{lengths:?}");
        assert_eq!(lengths[11], 5.0, "never less than what is configured");
        assert!(overlap.is_none(), "and nothing is left to be remembered");
        let again = Overlap { learnt_ms: 60_000, late_ms: 0 }.met(Duration::from_secs(25)).audited(LEAST);
        assert_eq!(seconds(again), 57.5, "not below twice the latest: 50 s");
    }
}
