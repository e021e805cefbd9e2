//! How long to wait before another try.

use std::time::Duration;

/// Draws the wait before try number `attempt + 1` of a job: between nothing and
/// `base * 2^(attempt - 1)`, at most `max`, at least a millisecond.
///
/// The whole range is drawn from ("full jitter"), because jobs that failed together would
/// otherwise come back together. The draw is the hash of job and attempt: the same run waits the
/// same time again.
pub fn full_jitter(base: Duration, max: Duration, job_id: i64, attempt: u32) -> Duration {
    let ceiling = ceiling_ms(base, max, attempt);
    let mut seed = [0u8; 12];
    let (job, tries) = seed.split_at_mut(8);
    job.copy_from_slice(&job_id.to_le_bytes());
    tries.copy_from_slice(&attempt.to_le_bytes());
    let draw = xxhash_rust::xxh3::xxh3_64(&seed);
    // The high half of the product is the draw scaled to 0..ceiling, without the bias of a remainder.
    let scaled = (u128::from(draw) * u128::from(ceiling)) >> 64;
    Duration::from_millis(u64::try_from(scaled).unwrap_or(ceiling).saturating_add(1).min(ceiling))
}

fn ceiling_ms(base: Duration, max: Duration, attempt: u32) -> u64 {
    let base = u64::try_from(base.as_millis()).unwrap_or(u64::MAX).max(1);
    let max = u64::try_from(max.as_millis()).unwrap_or(u64::MAX).max(1);
    let doublings = attempt.saturating_sub(1);
    // Beyond 63 doublings the shift would wrap; long before that `max` rules.
    let factor = 1u64.checked_shl(doublings.min(63)).unwrap_or(u64::MAX);
    base.saturating_mul(factor).min(max)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: Duration = Duration::from_secs(1);
    const MAX: Duration = Duration::from_secs(60);

    #[test]
    fn waits_stay_under_a_ceiling_that_doubles() {
        // (attempt, ceiling in seconds, why)
        let cases = [
            (0, 1, "a job that was never tried counts as its first try"),
            (1, 1, "the base"),
            (2, 2, "doubled"),
            (6, 32, "doubled five times"),
            (7, 60, "64 is over the maximum"),
            (u32::MAX, 60, "no overflow"),
        ];
        for (attempt, ceiling, why) in cases {
            for job in 0..2_000 {
                let wait = full_jitter(BASE, MAX, job, attempt);
                assert!(wait >= Duration::from_millis(1), "{why}");
                assert!(wait <= Duration::from_secs(ceiling), "{why}: {wait:?}");
            }
        }
    }

    #[test]
    fn waits_are_spread_over_the_whole_range() {
        let mut tenths = [0u32; 10];
        for job in 0..10_000 {
            let wait = full_jitter(BASE, MAX, job, 7).as_millis();
            tenths[usize::try_from(wait * 10 / 60_001).expect("a tenth")] += 1;
        }
        assert!(tenths.iter().all(|count| (800..1_200).contains(count)), "{tenths:?}");
    }

    #[test]
    fn the_same_try_waits_the_same_time() {
        assert_eq!(full_jitter(BASE, MAX, 7, 3), full_jitter(BASE, MAX, 7, 3));
        assert_ne!(full_jitter(BASE, MAX, 7, 3), full_jitter(BASE, MAX, 8, 3), "another job");
        assert_ne!(full_jitter(BASE, MAX, 7, 3), full_jitter(BASE, MAX, 7, 4), "another attempt");
    }

    #[test]
    fn senseless_settings_still_give_a_wait() {
        let wait = full_jitter(Duration::ZERO, Duration::ZERO, 1, 1);
        assert_eq!(wait, Duration::from_millis(1));
    }
}
