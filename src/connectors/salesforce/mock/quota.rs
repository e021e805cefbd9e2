//! The calls of a day, which slides: those of the last 24 hours count.

use std::collections::VecDeque;

use crate::engine::record::Timestamp;

const MINUTE_MS: i64 = 60_000;
const DAY_MINUTES: i64 = 24 * 60;

/// Counts calls by minutes.
#[derive(Default)]
pub struct Quota {
    /// A minute and its calls, the oldest first.
    minutes: VecDeque<(i64, u64)>,
    sum: u64,
}

impl Quota {
    /// Counts a call, unless the day has had its share; gives the calls that count now.
    pub fn call(&mut self, max: u64, now: Timestamp) -> Result<u64, u64> {
        let minute = now.0.div_euclid(MINUTE_MS);
        while let Some((_, calls)) = self.minutes.pop_front_if(|(old, _)| *old <= minute - DAY_MINUTES) {
            self.sum -= calls;
        }
        if self.sum >= max {
            return Err(self.sum);
        }
        self.sum += 1;
        match self.minutes.back_mut() {
            Some((last, calls)) if *last >= minute => *calls += 1,
            _ => self.minutes.push_back((minute, 1)),
        }
        Ok(self.sum)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_counts_for_a_day() {
        let mut quota = Quota::default();
        let hour = |hours: i64| Timestamp(hours * 60 * MINUTE_MS);
        // (hours, what is told, why)
        let cases = [
            (0, Ok(1), "the first"),
            (12, Ok(2), "the second"),
            (23, Err(2), "the day is spent"),
            (24, Ok(2), "the first no longer counts"),
            (35, Err(2), "spent again"),
            (36, Ok(2), "the second no longer counts"),
        ];
        for (hours, told, why) in cases {
            assert_eq!(quota.call(2, hour(hours)), told, "{why}");
        }
    }
}
