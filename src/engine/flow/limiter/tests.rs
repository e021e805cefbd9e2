//! The window's promise, counted at a simulated server.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::*;

fn limits(max: u32, window_ms: u64) -> Limits {
    Limits { max, window: Duration::from_millis(window_ms), time_out: Duration::from_secs(300) }
}

fn at(ms: i64) -> Timestamp {
    Timestamp(1_800_000_000_000 + ms)
}

/// A small generator (splitmix64), so that every run can be repeated from its seed.
struct Draw(u64);

impl Draw {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound.max(1)
    }
}

/// One simulated history: callers always have work, the network delays in both directions.
struct History {
    seed: u64,
    limits: Limits,
    /// Delays on the way there and back, each drawn below this; now and then ten times as long.
    delay_us: u64,
    calls: usize,
    /// Changes limits, dies and restarts now and then.
    rough: bool,
}

#[derive(Default)]
struct Seen {
    /// Arrivals at the server in microseconds.
    arrivals: Vec<u64>,
    /// The strictest limits that held all along.
    span_us: u64,
    sent: usize,
}

const SLOW_ONE_IN: u64 = 50;

fn play(history: &History) -> Seen {
    let mut draw = Draw(history.seed);
    let mut seen = Seen::default();
    let mut limiter = Limiter::new(history.limits);
    let mut replies: BinaryHeap<Reverse<(u64, SlotId)>> = BinaryHeap::new();
    // The true time runs in microseconds; the limiter sees milliseconds, rounded down.
    let mut true_us = 0u64;
    let clock = |true_us: u64| at(i64::try_from(true_us / 1_000).expect("a short history"));
    while seen.sent < history.calls {
        while let Some(&Reverse((reply_us, slot))) = replies.peek() {
            if reply_us > true_us {
                break;
            }
            replies.pop();
            limiter.release(slot, clock(true_us));
        }
        if history.rough && draw.below(1_000) == 0 {
            limiter = rough_moment(limiter, &mut replies, &mut draw, history, clock(true_us));
        }
        let urgency = Urgency::ALL[usize::try_from(draw.below(3)).expect("small")];
        match limiter.try_take(urgency, clock(true_us)) {
            Ok(slot) => {
                let slow = if draw.below(SLOW_ONE_IN) == 0 { 10 } else { 1 };
                let arrives = true_us + draw.below(history.delay_us * slow);
                let answered = arrives + 1 + draw.below(history.delay_us * slow);
                seen.arrivals.push(arrives);
                seen.sent += 1;
                replies.push(Reverse((answered, slot)));
            }
            Err(again) => {
                let reply = replies.peek().map(|Reverse((reply_us, _))| *reply_us);
                let freed = again
                    .at()
                    .map(|at| u64::try_from(at.0 - clock(0).0).expect("later than the start") * 1_000);
                let next = [reply, freed].into_iter().flatten().min().expect("something happens next");
                assert!(next > true_us, "asking again at once would spin");
                true_us = next;
            }
        }
    }
    seen.span_us = true_us;
    seen
}

/// Dies and restarts from what was stored, or changes the limits to something stricter and back.
fn rough_moment(
    mut limiter: Limiter,
    replies: &mut BinaryHeap<Reverse<(u64, SlotId)>>,
    draw: &mut Draw,
    history: &History,
    now: Timestamp,
) -> Limiter {
    if draw.below(2) == 0 {
        let tail = limiter.tail(now, 0, Duration::ZERO);
        replies.clear();
        let read_back = Tail::from_json(&tail.to_json()).expect("its own text");
        return Limiter::restore(history.limits, &read_back, now);
    }
    let max = u32::try_from(1 + draw.below(u64::from(history.limits.max))).expect("small");
    let window = history.limits.window.saturating_mul(u32::try_from(1 + draw.below(3)).expect("small"));
    limiter.set_limits(Limits { max, window, ..history.limits }, now);
    limiter.set_limits(history.limits, now);
    limiter
}

/// Counts the windows that saw more than they may: a closed interval of exactly `window`.
fn breaches(seen: &mut Seen, limits: Limits) -> usize {
    seen.arrivals.sort_unstable();
    let window_us = u64::try_from(limits.window.as_micros()).expect("short");
    let max = usize::try_from(limits.max).expect("small");
    seen.arrivals.windows(max + 1).filter(|calls| calls[max] - calls[0] <= window_us).count()
}

#[test]
fn no_window_is_ever_exceeded_at_the_server() {
    // (limits, delay in µs, rough, why)
    let cases = [
        (limits(10, 10_000), 2_000, false, "few calls, quick replies"),
        (limits(60, 60_000), 500_000, false, "replies that take seconds now and then"),
        (limits(1, 1_000), 300_000, false, "one at a time"),
        (limits(100, 1_000), 900_000, false, "delays as long as the window"),
        (limits(1_000, 1_000), 20_000, false, "a fast system"),
        (limits(50, 200), 1_000_000, false, "delays longer than the window"),
        (limits(5_000, 10_000), 900_000, false, "so many that they are counted in steps"),
        (limits(25, 1_000), 50_000, true, "limits that change, restarts"),
        (limits(100, 2_000), 400_000, true, "the same with long delays"),
    ];
    let mut arrivals = 0;
    for (round, (limits, delay_us, rough, why)) in cases.into_iter().cycle().take(27).enumerate() {
        let seed = 7_919 * u64::try_from(round).expect("small");
        let history = History { seed, limits, delay_us, calls: 40_000, rough };
        let mut seen = play(&history);
        assert_eq!(breaches(&mut seen, limits), 0, "{why} (seed {seed})");
        arrivals += seen.arrivals.len();
    }
    assert!(arrivals >= 1_000_000, "{arrivals}");
}

#[test]
fn counting_from_the_moment_of_sending_would_be_caught() {
    // The check above must be able to fail: the same history with slots freed after sending.
    let limits = limits(100, 1_000);
    let mut draw = Draw(1);
    let mut seen = Seen::default();
    for call in 0..10_000u64 {
        seen.arrivals.push((call / 100) * 1_001_000 + draw.below(900_000));
    }
    assert!(breaches(&mut seen, limits) > 0);
}

#[test]
fn nearly_the_whole_allowance_is_used_when_replies_are_quick() {
    for (limits, calls) in [
        (limits(10, 10_000), 2_000),
        (limits(60, 60_000), 12_000),
        (limits(10, 1_000), 2_000),
        (limits(1_000, 1_000), 50_000),
    ] {
        let seen = play(&History { seed: 3, limits, delay_us: 2_000, calls, rough: false });
        let windows = seen.span_us as f64 / limits.window.as_micros() as f64;
        // The first window's worth is admitted at time zero.
        let share = (seen.sent as f64 / f64::from(limits.max) - 1.0) / windows;
        assert!(share >= 0.95, "{limits:?} used {share}");
    }
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
