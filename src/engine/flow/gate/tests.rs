//! The gate, moment by moment.

use super::*;
use crate::engine::flow::BreakerState;

fn at(ms: i64) -> Timestamp {
    Timestamp(1_800_000_000_000 + ms)
}

fn policy(max: u32, window_ms: u64) -> GatePolicy {
    let limits = Limits { max, window: Duration::from_millis(window_ms), ..Limits::default() };
    GatePolicy {
        limits,
        breaker: BreakerPolicy { consecutive_max: 2, ..BreakerPolicy::default() },
        ..GatePolicy::default()
    }
}

const FINE: Facts =
    Facts { ended: Ended::Ok, retry_after: None, budget: None, throttled: false, write: false };

fn go(gate: &mut Gate, now: Timestamp) -> u64 {
    match gate.poll(Urgency::Live, now) {
        Admission::Go(ticket) => ticket,
        other => panic!("held back: {other:?}"),
    }
}

fn call(gate: &mut Gate, facts: Facts, now: Timestamp) {
    let ticket = go(gate, now);
    assert!(gate.leave(ticket, facts, now));
}

fn budget(limit: u64, remaining: u64, resets_in: Option<u64>) -> Facts {
    let resets_in = resets_in.map(Duration::from_secs);
    Facts { budget: Some(Budget { limit, remaining, resets_in }), ..FINE }
}

#[test]
fn the_window_makes_wait() {
    let mut gate = Gate::new(policy(1, 1_000), at(0));
    call(&mut gate, FINE, at(10));
    assert_eq!(gate.poll(Urgency::Live, at(20)), Admission::Wait(Again::At(at(1_012)), Why::Window));
    let view = gate.view(at(20));
    assert_eq!((view.used, view.max, view.in_flight), (1, 1, 0));
    assert!(matches!(gate.poll(Urgency::Live, at(1_012)), Admission::Go(_)));
}

#[test]
fn room_is_what_goes_out_without_waiting() {
    let failed = Facts { ended: Ended::Failed, ..FINE };
    let told = Facts { retry_after: Some(Duration::from_secs(1)), ..FINE };
    // (limit, calls before, room, room a window later, why)
    let cases: [(u32, Vec<Facts>, usize, usize, &str); 6] = [
        (10, vec![], 10, 10, "the whole window"),
        (10, vec![FINE; 4], 6, 10, "what is left of it"),
        (3, vec![FINE; 3], 0, 3, "nothing of it"),
        (10, vec![budget(100, 8, Some(60))], 8, 8, "no more than the server has left"),
        (10, vec![told], 0, 10, "the server asked for patience"),
        (10, vec![failed, failed], 0, 0, "the breaker is open"),
    ];
    for (max, calls, room, later, why) in cases {
        let mut gate = Gate::new(policy(max, 1_000), at(0));
        calls.into_iter().for_each(|facts| call(&mut gate, facts, at(0)));
        assert_eq!(gate.room(Urgency::Live, at(1)), room, "{why}");
        assert_eq!(gate.room(Urgency::Live, at(1_500)), later, "{why}, later");
    }
}

#[test]
fn an_open_breaker_sends_jobs_home() {
    let mut gate = Gate::new(policy(100, 1_000), at(0));
    let failed = Facts { ended: Ended::Failed, ..FINE };
    call(&mut gate, failed, at(0));
    call(&mut gate, failed, at(0));
    let until = at(0).plus(gate.policy.breaker.open);
    assert_eq!(gate.poll(Urgency::Interactive, at(1)), Admission::Blocked(until, Why::Breaker));
    assert_eq!(gate.view(at(1)).breaker.state, BreakerState::Open);
    let probe = go(&mut gate, until);
    assert_eq!(gate.poll(Urgency::Live, until), Admission::Wait(Again::AfterReply, Why::Breaker));
    gate.leave(probe, FINE, until);
    call(&mut gate, FINE, until);
    assert_eq!(gate.view(until).breaker.state, BreakerState::Closed);
}

#[test]
fn the_servers_word_holds_everybody_back() {
    // (told in seconds, asked after ms, answer, why)
    let cases = [
        (2, 1_999, Admission::Wait(Again::At(at(2_000)), Why::RetryAfter), "waits here"),
        (2, 2_000, Admission::Go(2), "as told"),
        (120, 1_000, Admission::Blocked(at(120_000), Why::RetryAfter), "too long to wait here"),
        (120, 90_000, Admission::Wait(Again::At(at(120_000)), Why::RetryAfter), "now it is short enough"),
        (1_000_000, 0, Admission::Blocked(at(3_600_000), Why::RetryAfter), "an hour is the most"),
    ];
    for (told, asked, answer, why) in cases {
        let mut gate = Gate::new(policy(100, 1_000), at(0));
        call(&mut gate, Facts { retry_after: Some(Duration::from_secs(told)), ..FINE }, at(0));
        assert_eq!(gate.poll(Urgency::Interactive, at(asked)), answer, "{why}");
    }
}

#[test]
fn a_shorter_word_does_not_take_back_a_longer_one() {
    let mut gate = Gate::new(policy(100, 1_000), at(0));
    let (first, second) = (go(&mut gate, at(0)), go(&mut gate, at(0)));
    gate.leave(first, Facts { retry_after: Some(Duration::from_secs(30)), ..FINE }, at(0));
    gate.leave(second, Facts { retry_after: Some(Duration::from_secs(1)), ..FINE }, at(0));
    assert_eq!(gate.view(at(0)).paused_until, Some(at(30_000)));
}

#[test]
fn a_budget_that_runs_out_slows_down_and_then_pauses() {
    use Urgency::{Backfill, Live};
    let go = |ticket| Admission::Go(ticket);
    let wait = |ms| Admission::Wait(Again::At(at(ms)), Why::Quota);
    // (the server's budget, urgency, asked after ms, answer, why)
    let cases = [
        (budget(1_000, 500, Some(40)), Backfill, 1, go(2), "plenty"),
        (budget(1_000, 20, Some(40)), Backfill, 1, wait(40_000), "backfill leaves the rest"),
        (budget(1_000, 20, Some(40)), Live, 1, wait(2_000), "20 calls over 40 s"),
        (budget(1_000, 20, Some(40)), Live, 2_000, go(2), "paced"),
        (budget(1_000, 20, None), Live, 1, go(2), "no pace without an end"),
        (budget(1_000, 0, Some(40)), Live, 1, wait(40_000), "spent"),
        (budget(1_000, 0, Some(40)), Live, 40_000, go(2), "and back"),
        (budget(1_000, 0, None), Live, 1, wait(60_000), "asks again after a minute"),
        (budget(1_000, 0, Some(9_999)), Live, 240_000, wait(300_000), "and every five minutes"),
        (budget(1_000, 0, Some(9_999)), Live, 1, Admission::Blocked(at(300_000), Why::Quota), "sent home"),
    ];
    for (facts, urgency, asked, answer, why) in cases {
        let mut gate = Gate::new(policy(100, 1_000), at(0));
        call(&mut gate, facts, at(0));
        let answered = gate.poll(urgency, at(asked));
        match (&answered, &answer) {
            // The pace is counted from what is left of the 40 s.
            (Admission::Wait(Again::At(is), Why::Quota), Admission::Wait(Again::At(wanted), Why::Quota)) => {
                assert!(wanted.since(*is) <= Duration::from_millis(2), "{why}: {answered:?}");
            }
            _ => assert_eq!(answered, answer, "{why}"),
        }
    }
}

#[test]
fn a_call_given_up_counts_a_little_longer_and_says_nothing_of_the_service() {
    let mut gate = Gate::new(policy(1, 1_000), at(0));
    let ticket = go(&mut gate, at(0));
    gate.leave(ticket, Facts { ended: Ended::Dropped, ..FINE }, at(10));
    let wait = Admission::Wait(Again::At(at(5_000 + 1_012)), Why::Window);
    assert_eq!(gate.poll(Urgency::Live, at(20)), wait, "it may still be on its way");
    assert_eq!(gate.view(at(20)).breaker.consecutive, 0);
}

#[test]
fn a_call_that_never_comes_back_is_a_failure() {
    let mut gate = Gate::new(policy(1, 1_000), at(0));
    let ticket = go(&mut gate, at(0));
    assert_eq!(gate.view(at(300_000)).breaker.consecutive, 1);
    assert!(!gate.leave(ticket, FINE, at(300_001)), "too late");
}

#[test]
fn a_durable_gate_stores_before_it_lets_through() {
    let mut gate = Gate::durable(policy(20, 10_000), None, at(0));
    let Admission::Store(tail) = gate.poll(Urgency::Live, at(0)) else { panic!("stores first") };
    assert_eq!((tail.unsure, tail.unsure_until), (2, at(2_000).0), "a tenth ahead, for two seconds");
    gate.stored(&tail, at(3));
    call(&mut gate, FINE, at(4));
    call(&mut gate, FINE, at(5));
    assert!(matches!(gate.poll(Urgency::Live, at(6)), Admission::Store(_)), "what was granted is used");

    gate.stored(&tail, at(7));
    assert!(matches!(gate.poll(Urgency::Live, at(2_000)), Admission::Store(_)), "or has run out");
}

#[test]
fn whenever_a_process_dies_the_next_one_counts_every_call() {
    // Kills the process after any number of calls: what it left behind counts at least them.
    let policy = policy(20, 10_000);
    for calls in 0..20usize {
        let mut gate = Gate::durable(policy, None, at(0));
        let mut durable = None;
        let mut sent = 0;
        let mut now = 0;
        while sent < calls {
            now += 7;
            match gate.poll(Urgency::Live, at(now)) {
                Admission::Store(tail) => {
                    gate.stored(&tail, at(now));
                    durable = Some(tail);
                }
                Admission::Go(ticket) => {
                    sent += 1;
                    // Every third is still under way when the process dies.
                    if sent % 3 != 0 {
                        gate.leave(ticket, FINE, at(now));
                    }
                }
                other => panic!("{other:?}"),
            }
        }
        let mut next = Gate::durable(policy, durable.as_ref(), at(now + 1));
        let used = next.view(at(now + 1)).used;
        assert!((calls..=calls + 2).contains(&used), "{used} counted after {calls} calls");
    }
}

#[test]
fn a_clean_end_leaves_the_exact_window() {
    let policy = policy(20, 10_000);
    let mut gate = Gate::durable(policy, None, at(0));
    let Admission::Store(tail) = gate.poll(Urgency::Live, at(0)) else { panic!("stores first") };
    gate.stored(&tail, at(0));
    call(&mut gate, FINE, at(0));
    let rest = gate.tail_at_rest(at(100));
    let mut next = Gate::durable(policy, Some(&rest), at(200));
    assert_eq!(next.view(at(200)).used, 1);
    assert_eq!(next.view(at(10_200)).used, 0);
}

#[test]
fn a_slow_disk_gets_longer_tails() {
    let mut gate = Gate::durable(policy(20, 10_000), None, at(0));
    let Admission::Store(tail) = gate.poll(Urgency::Live, at(0)) else { panic!("stores first") };
    gate.stored(&tail, at(2_500));
    let Admission::Store(tail) = gate.poll(Urgency::Live, at(2_500)) else { panic!("had run out") };
    gate.stored(&tail, at(5_000));
    assert!(matches!(gate.poll(Urgency::Live, at(5_000)), Admission::Go(_)), "10 s this time");
}

#[test]
fn the_stricter_of_the_servers_word_and_our_limits_wins() {
    let told = |seconds| Facts { retry_after: Some(Duration::from_secs(seconds)), ..FINE };
    let wait = |ms, why| Admission::Wait(Again::At(at(ms)), why);
    // (our limit over ten seconds, what the server said to the first call, answer, why)
    let cases = [
        (100, FINE, Admission::Go(2), "nothing in the way"),
        (1, FINE, wait(10_011, Why::Window), "our window"),
        (100, told(30), wait(30_000, Why::RetryAfter), "its word, with room in our window"),
        (1, told(30), wait(30_000, Why::RetryAfter), "its word outlasts our window"),
        (100, budget(100, 0, Some(40)), wait(40_000, Why::Quota), "its budget, with room in ours"),
        (1, budget(100, 90, Some(40)), wait(10_011, Why::Window), "our window, with room in its budget"),
    ];
    for (max, facts, answer, why) in cases {
        let mut gate = Gate::new(policy(max, 10_000), at(0));
        call(&mut gate, facts, at(0));
        assert_eq!(gate.poll(Urgency::Live, at(0)), answer, "{why}");
    }
    // Whatever the server says, its word is never a way around our window.
    let mut gate = Gate::new(policy(1, 10_000), at(0));
    call(&mut gate, told(2), at(0));
    assert_eq!(
        gate.poll(Urgency::Live, at(2_000)),
        wait(10_011, Why::Window),
        "its word is over, our window is not"
    );
}

const HOUR: i64 = 3_600_000;

#[test]
fn a_day_has_its_own_limit_over_any_24_hours() {
    let policy = GatePolicy { per_day: Some(3), ..policy(100, 1_000) };
    let mut gate = Gate::new(policy, at(0));
    for hour in [0, 5, 10] {
        call(&mut gate, FINE, at(hour * HOUR));
    }
    let view = gate.view(at(11 * HOUR));
    assert_eq!((view.used_day, view.max_per_day, view.paused_by), (3, Some(3), Some(Why::Day)));
    // A day, a thousandth of it, and a millisecond after the first reply.
    let free = at(24 * HOUR + 86_401);
    assert_eq!(view.paused_until, Some(free));
    // (asked at, answer, why)
    let cases = [
        (
            at(11 * HOUR),
            Admission::Blocked(at(11 * HOUR + 60_000), Why::Day),
            "home, to ask again in a minute",
        ),
        (Timestamp(free.0 - 30_000), Admission::Wait(Again::At(free), Why::Day), "soon enough to wait here"),
        (free, Admission::Go(4), "the first call is a day old"),
    ];
    for (asked, answer, why) in cases {
        assert_eq!(gate.clone().poll(Urgency::Live, asked), answer, "{why}");
    }
    gate.set_policy(GatePolicy { per_day: Some(4), ..policy }, at(11 * HOUR));
    call(&mut gate, FINE, at(11 * HOUR));
    gate.set_policy(GatePolicy { per_day: None, ..policy }, at(11 * HOUR));
    (0..50).for_each(|_| call(&mut gate, FINE, at(11 * HOUR)));
    gate.set_policy(policy, at(12 * HOUR));
    assert_eq!(gate.view(at(12 * HOUR)).used_day, 54, "one that is set at noon counts the morning");
}

#[test]
fn a_day_outlives_its_processes() {
    let policy = GatePolicy { per_day: Some(100), ..policy(100, 1_000) };
    let mut durable: Option<Tail> = None;
    let mut sent = 0;
    for process in 0..10i64 {
        // Each goes on where the last was killed or ended, two hours later.
        let start = at(process * 2 * HOUR);
        let mut gate = Gate::durable(policy, durable.as_ref(), start);
        for _ in 0..5 {
            match gate.poll(Urgency::Live, start) {
                Admission::Store(tail) => {
                    let text = tail.to_json();
                    assert!(text.len() < 8_192, "{}", text.len());
                    durable = Tail::from_json(&text);
                    gate.stored(&tail, start);
                }
                Admission::Go(ticket) => {
                    sent += 1;
                    gate.leave(ticket, FINE, start);
                }
                other => panic!("{other:?}"),
            }
        }
        if process % 2 == 0 {
            durable = Tail::from_json(&gate.tail_at_rest(start).to_json());
        }
    }
    let now = at(19 * HOUR);
    let used = Gate::durable(policy, durable.as_ref(), now).view(now).used_day;
    assert!((sent..=sent + 10).contains(&used), "{used} counted after {sent} calls");
}

#[test]
fn calls_under_way_have_a_bound_and_fewer_are_let_out_while_there_is_trouble() {
    let policy = GatePolicy { concurrency: Some(4), ..policy(100, 1_000) };
    let mut gate = Gate::new(policy, at(0));
    let tickets = [(); 4].map(|()| go(&mut gate, at(0)));
    let full = Admission::Wait(Again::AfterReply, Why::Concurrency);
    assert_eq!(gate.poll(Urgency::Interactive, at(1)), full);
    assert_eq!(gate.view(at(1)).concurrency, 4);
    gate.leave(tickets[0], Facts { throttled: true, ..FINE }, at(10));
    assert_eq!(gate.poll(Urgency::Live, at(10)), full, "two may be under way now, and three are");
    gate.leave(tickets[1], FINE, at(11));
    gate.leave(tickets[2], FINE, at(12));
    assert!(matches!(gate.poll(Urgency::Live, at(12)), Admission::Go(_)));
    gate.set_policy(GatePolicy { concurrency: Some(1), ..policy }, at(13));
    assert_eq!(gate.poll(Urgency::Live, at(13)), full, "lower limits hold from the next call on");
}

#[test]
fn late_writes_make_batches_smaller() {
    let mut gate = Gate::new(policy(100, 1_000), at(0));
    assert_eq!(gate.batch_limit(200), 200);
    let ticket = go(&mut gate, at(0));
    gate.leave(ticket, Facts { write: true, ..FINE }, at(31_000));
    assert_eq!(gate.batch_limit(200), 100);
    assert_eq!(gate.view(at(31_000)).batch_part, 0.5);
}

#[test]
fn slow_answers_open_the_breaker_too() {
    let mut gate = Gate::new(policy(1_000, 1_000), at(0));
    let mut now = 0;
    while let Admission::Go(ticket) = gate.poll(Urgency::Live, at(now)) {
        now += 30_000;
        gate.leave(ticket, FINE, at(now));
        assert!(now < 10_000_000, "it never opened");
    }
    let view = gate.view(at(now)).breaker;
    let reason = view.reason.expect("open").to_string();
    assert_eq!((view.state, &*reason), (BreakerState::Open, "20 of the last 20 calls took longer than 30 s"));
}

#[test]
fn an_open_breaker_is_stored_before_anybody_is_sent_home() {
    let policy = policy(100, 1_000);
    let mut gate = Gate::durable(policy, None, at(0));
    let mut durable = None;
    let mut failed = 0;
    let blocked = loop {
        match gate.poll(Urgency::Live, at(0)) {
            Admission::Store(tail) => {
                gate.stored(&tail, at(0));
                durable = Tail::from_json(&tail.to_json());
            }
            Admission::Go(ticket) => {
                failed += 1;
                gate.leave(ticket, Facts { ended: Ended::Failed, ..FINE }, at(0));
            }
            other => break other,
        }
    };
    let until = at(0).plus(policy.breaker.open);
    assert_eq!((failed, blocked), (2, Admission::Blocked(until, Why::Breaker)));
    // Killed: the next process leaves it alone until the same moment, and then tries with one call.
    let mut next = Gate::durable(policy, durable.as_ref(), at(100));
    assert_eq!(next.poll(Urgency::Interactive, at(100)), Admission::Blocked(until, Why::Breaker));
    let Admission::Store(tail) = next.poll(Urgency::Live, until) else { panic!("stores first") };
    next.stored(&tail, until);
    go(&mut next, until);
    assert_eq!(next.poll(Urgency::Live, until), Admission::Wait(Again::AfterReply, Why::Breaker));
}
