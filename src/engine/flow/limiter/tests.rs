//! The window, moment by moment. What it promises is proven in `gate/proof.rs`.

use super::*;

fn limits(max: u32, window_ms: u64) -> Limits {
    Limits { max, window: Duration::from_millis(window_ms), ..Limits::default() }
}

fn at(ms: i64) -> Timestamp {
    Timestamp(1_800_000_000_000 + ms)
}

#[test]
fn backfill_alone_uses_nearly_everything_too() {
    for max in [1, 2, 10, 24, 60, 1_000] {
        let mut limiter = Limiter::new(limits(max, 1_000));
        let taken = (0..max).filter(|_| limiter.try_take(Urgency::Backfill, at(0)).is_ok()).count();
        assert!(taken as f64 >= 0.95 * f64::from(max), "{taken} of {max}");
    }
}

#[test]
fn backfill_leaves_room_for_what_urgent_calls_use() {
    let mut limiter = Limiter::new(limits(20, 1_000));
    // One urgent call a window, two windows long.
    for window in 0..2 {
        let slot = limiter.try_take(Urgency::Live, at(window * 1_002)).expect("room");
        limiter.release(slot, at(window * 1_002));
    }
    let now = at(2_004);
    while let Ok(slot) = limiter.try_take(Urgency::Backfill, now) {
        limiter.release(slot, now);
    }
    assert!(limiter.try_take(Urgency::Interactive, now).is_ok(), "a click finds room at once");
    assert!(limiter.try_take(Urgency::Interactive, now).is_err(), "but the window is the window");
}

#[test]
fn the_reserve_follows_the_demand_up_to_what_is_configured() {
    // (configured, urgent calls in each of the last two windows of 100, left free by backfill, why)
    let cases = [
        (None, 0, 4, "a twenty-fifth stands by, so that 96 % are used"),
        (None, 7, 7, "as many as were taken lately"),
        (None, 50, 10, "a tenth at most"),
        (Some(0.3), 0, 4, "a larger reserve lies no more idle"),
        (Some(0.3), 20, 20, "it follows the demand"),
        (Some(0.3), 50, 30, "up to what is configured"),
        (Some(0.02), 50, 2, "a small one stays small"),
        (Some(0.0), 50, 0, "none at all"),
    ];
    for (reserve, urgent, free, why) in cases {
        let mut limiter = Limiter::new(Limits { reserve, ..limits(100, 1_000) });
        for moment in [500, 1_003] {
            for _ in 0..urgent {
                let slot = limiter.try_take(Urgency::Live, at(moment)).expect("room");
                limiter.release(slot, at(moment));
            }
        }
        let now = at(2_005);
        let taken = (0..200).filter(|_| limiter.try_take(Urgency::Backfill, now).is_ok()).count();
        assert_eq!(100 - taken, free, "{why}");
    }
}

#[test]
fn a_slot_is_free_again_after_its_reply_and_not_before() {
    let mut limiter = Limiter::new(limits(1, 1_000));
    let slot = limiter.try_take(Urgency::Live, at(0)).expect("free");
    assert_eq!(limiter.try_take(Urgency::Live, at(5_000)), Err(Again::AfterReply), "still under way");
    assert!(limiter.release(slot, at(5_000)));
    assert!(!limiter.release(slot, at(5_001)), "once only");
    let again = limiter.try_take(Urgency::Live, at(5_001)).expect_err("counts from the reply");
    assert_eq!(again, Again::At(at(6_002)), "window, a thousandth of it, one millisecond");
    assert!(limiter.try_take(Urgency::Live, at(6_001)).is_err());
    assert!(limiter.try_take(Urgency::Live, at(6_002)).is_ok());
}

#[test]
fn a_call_that_never_reports_back_counts_until_its_time_out() {
    let mut limiter = Limiter::new(limits(1, 1_000));
    limiter.try_take(Urgency::Live, at(0)).expect("free");
    let end = at(300_000);
    assert_eq!(limiter.try_take(Urgency::Live, end), Err(Again::At(end.plus(limiter.limits().span()))));
    assert_eq!(limiter.in_flight(), 0);
}

#[test]
fn limits_change_with_the_next_call() {
    let mut limiter = Limiter::new(limits(4, 1_000));
    for step in 0..4 {
        let slot = limiter.try_take(Urgency::Live, at(step * 100)).expect("free");
        limiter.release(slot, at(step * 100));
    }
    // (limits, moment, takes, why)
    let cases = [
        (limits(2, 1_000), 500, Err(Again::At(at(200 + 1_002))), "three of four have to go first"),
        (limits(5, 1_000), 500, Ok(()), "room for one more"),
        (limits(0, 1_000), 90_000, Err(Again::AfterReply), "nothing passes"),
        (limits(4, 10_000), 5_000, Err(Again::At(at(10_011))), "what was over counts again"),
        (limits(4, 1_000), 5_000, Ok(()), "and is over again"),
    ];
    for (changed, moment, takes, why) in cases {
        let mut limiter = limiter.clone();
        limiter.set_limits(changed, at(moment));
        assert_eq!(limiter.try_take(Urgency::Live, at(moment)).map(|_| ()), takes, "{why}");
    }
}

#[test]
fn a_restart_keeps_the_promise() {
    let limits = limits(4, 10_000);
    let mut limiter = Limiter::new(limits);
    let slot = limiter.try_take(Urgency::Live, at(0)).expect("free");
    limiter.release(slot, at(20));
    limiter.try_take(Urgency::Live, at(100)).expect("free");
    // Stored at 100 ms with one more granted ahead for two seconds, then killed at some time.
    let tail = limiter.tail(at(100), 1, Duration::from_secs(2));
    assert_eq!((tail.unsure, tail.unsure_until), (2, at(2_100).0));

    // (restart at, free slots, why)
    let cases = [
        (200, 1, "one answered, one under way, one granted ahead"),
        (10_200, 2, "the answered one is over, the unsure ones may have arrived later"),
        (17_200, 4, "no unsure call was sent after 2.1 s, nor arrived after 7.1 s"),
        (-50_000, 1, "a clock that was set back frees nothing"),
    ];
    for (moment, free, why) in cases {
        let mut restored = Limiter::restore(limits, &tail, at(moment));
        let taken = (0..10).filter(|_| restored.try_take(Urgency::Live, at(moment)).is_ok()).count();
        assert_eq!(taken, free, "{why}");
    }
}

#[test]
fn a_tail_stays_small_and_never_forgets() {
    let limits = limits(100_000, 60_000);
    let mut limiter = Limiter::new(limits);
    for call in 0..100_000 {
        let slot = limiter.try_take(Urgency::Live, at(call / 2)).expect("free");
        limiter.release(slot, at(call / 2));
    }
    let now = at(50_000);
    let tail = limiter.tail(now, 0, Duration::ZERO);
    assert!(tail.to_json().len() < 8_192, "{}", tail.to_json().len());
    let mut restored = Limiter::restore(limits, &tail, now);
    assert_eq!(restored.used_at(now), 100_000);
    assert!(restored.try_take(Urgency::Live, now).is_err());
}

#[test]
fn an_unknown_past_counts_as_a_full_window() {
    let limits = limits(3, 1_000);
    let mut limiter = Limiter::restore(limits, &Tail::unknown(3, at(0)), at(0));
    assert_eq!(limiter.try_take(Urgency::Live, at(0)), Err(Again::At(at(6_002))));
}
