//! How long a service's answers take: a mock that is asked to be lifelike answers as late as the real one.

use std::time::Duration;

/// What a call costs in time; drawn evenly between the two bounds, and more for what it carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Milliseconds of any call, from, to.
    pub call_ms: (u64, u64),
    /// Microseconds for each KiB of request and reply.
    pub kib_us: u64,
}

impl Pace {
    /// Gives the time of one call; `draw` is from [0, 1), `bytes` of both bodies.
    pub fn takes(&self, draw: f64, bytes: usize) -> Duration {
        let (least, most) = self.call_ms;
        let spread = most.saturating_sub(least) as f64 * draw;
        let carried = (bytes as u64).saturating_mul(self.kib_us) / 1024;
        Duration::from_millis(least.saturating_add(spread as u64)) + Duration::from_micros(carried)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_takes_its_time_and_what_it_carries_takes_more() {
        let pace = Pace { call_ms: (50, 200), kib_us: 6_500 };
        // (draw, bytes, milliseconds, why)
        let cases = [
            (0.0, 0, 50, "never less"),
            (0.5, 0, 125, "evenly between"),
            (0.0, 1_024, 56, "a KiB more"),
            (0.0, 1_024 * 1_000, 6_550, "a thousand"),
        ];
        for (draw, bytes, wanted, why) in cases {
            assert_eq!(pace.takes(draw, bytes).as_millis(), wanted, "{why}");
        }
    }
}
