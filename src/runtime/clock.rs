//! The only real clock.
//!
//! Invariant: within a process it never steps back nor ahead. It is set once from the system's
//! time and then runs with the steady clock, so that a corrected system time can't open a window
//! or an expired lease early. After the machine slept it is late by the time asleep: that costs
//! waits, never a promise, and cursors don't depend on it.

use std::sync::{Arc, LazyLock};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::connectors::Clock;
use crate::engine::record::Timestamp;

static ANCHOR: LazyLock<(Instant, Timestamp)> = LazyLock::new(|| {
    #[expect(clippy::disallowed_methods, reason = "this is the only real clock")]
    let (steady, system) = (instant(), SystemTime::now());
    let epoch_ms = system.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    (steady, Timestamp(i64::try_from(epoch_ms).unwrap_or(i64::MAX)))
});

/// Returns the real time, the same for the whole process.
pub fn real() -> Clock {
    LazyLock::force(&ANCHOR);
    Arc::new(|| {
        let (steady, epoch) = *ANCHOR;
        epoch.plus(steady.elapsed())
    })
}

/// Returns the steady clock's time, for deadlines within the process.
#[expect(clippy::disallowed_methods, reason = "this is the only real clock")]
pub fn instant() -> Instant {
    Instant::now()
}

/// Returns a time that begins at `start` and runs with the timers of the async runtime, which a
/// test can stop and wind forward.
pub fn simulated(start: Timestamp) -> Clock {
    let anchor = tokio::time::Instant::now();
    Arc::new(move || start.plus(anchor.elapsed()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn it_is_the_time_of_day_and_only_goes_forward() {
        let clock = real();
        let first = clock();
        let year_2024 = Timestamp::parse_rfc3339("2024-01-01T00:00:00Z").expect("a time");
        assert!(first > year_2024);
        std::thread::sleep(Duration::from_millis(5));
        let second = real()();
        assert!(second.since(first) >= Duration::from_millis(4), "{first} {second}");
        assert!(second.since(first) < Duration::from_secs(60), "both clocks have one anchor");
    }
}
