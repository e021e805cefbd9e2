//! The breaker, played through moment by moment.

use super::*;

const POLICY: BreakerPolicy = BreakerPolicy {
    calls_window: 10,
    calls_min: 6,
    failure_rate: 0.5,
    consecutive_max: 4,
    slow_after: Duration::from_secs(5),
    slow_rate: 0.5,
    open: Duration::from_secs(10),
    open_max: Duration::from_secs(35),
    probes: 1,
    probes_needed: 2,
};

fn at(seconds: i64) -> Timestamp {
    Timestamp(1_800_000_000_000 + seconds * 1_000)
}

fn call(breaker: &mut Breaker, ended: Ended, now: Timestamp) {
    breaker.may_call(now).expect("lets it through");
    let permit = breaker.begin();
    breaker.record(permit, ended, now);
}

fn opened(now: Timestamp) -> Breaker {
    let mut breaker = Breaker::new(POLICY);
    for _ in 0..4 {
        call(&mut breaker, Ended::Failed, now);
    }
    assert_eq!(breaker.view(now).state, BreakerState::Open);
    breaker
}

#[test]
fn it_opens_by_rate_or_by_failures_in_a_row() {
    // (results: o ok, f failed, s slow, d dropped; open at the end, why)
    let cases = [
        ("ffff", true, "four in a row"),
        ("fff", false, "three in a row of only three calls"),
        ("fofofo", false, "half of six failed, but the last one is fine again"),
        ("ofofof", true, "half of six failed"),
        ("ofof", false, "half of four says nothing yet"),
        ("fffooooofo", false, "four of nine"),
        ("fffoooooooof", false, "the first failures left the window"),
        ("fdfdfdd", false, "calls that were dropped count as nothing"),
        ("fdfdfdf", true, "not even as an interruption"),
        ("sssss", false, "five slow ones say nothing yet"),
        ("ssssss", true, "six of six slow"),
        ("ooosos", false, "two of six slow"),
        ("osooss", true, "three of six slow"),
        ("fffsff", true, "slow is an answer: it ends the row, and five of six failed"),
        ("ffsosf", true, "three of six failed; slow ones are counted by themselves"),
        ("oooooooooo", false, "all fine"),
    ];
    for (results, open, why) in cases {
        let mut breaker = Breaker::new(POLICY);
        for result in results.chars() {
            let ended = match result {
                'o' => Ended::Ok,
                'f' => Ended::Failed,
                's' => Ended::Slow,
                _ => Ended::Dropped,
            };
            let permit = breaker.begin();
            breaker.record(permit, ended, at(0));
        }
        assert_eq!(breaker.open_until(at(0)).is_some(), open, "{results}: {why}");
    }
}

#[test]
fn an_open_one_lets_nothing_through_and_then_one_probe() {
    let mut breaker = opened(at(0));
    let view = breaker.view(at(3));
    assert_eq!((view.since, view.next_try), (Some(at(0)), Some(at(10))));
    assert_eq!(breaker.may_call(at(9)), Err(Again::At(at(10))));
    assert_eq!(breaker.view(at(10)).state, BreakerState::HalfOpen);
    assert_eq!(breaker.may_call(at(10)), Ok(()));
    let probe = breaker.begin();
    assert_eq!(breaker.may_call(at(11)), Err(Again::AfterReply), "one probe at a time");
    breaker.record(probe, Ended::Dropped, at(11));
    assert_eq!(breaker.may_call(at(11)), Ok(()), "a dropped probe frees its place");
    assert_eq!(breaker.view(at(11)).state, BreakerState::HalfOpen, "and proves nothing");
    call(&mut breaker, Ended::Ok, at(12));
    assert_eq!(breaker.view(at(12)).state, BreakerState::HalfOpen, "one success is not enough");
    call(&mut breaker, Ended::Ok, at(13));
    assert_eq!(breaker.view(at(13)).state, BreakerState::Closed);
    assert_eq!(breaker.view(at(13)).since, Some(at(13)));
}

#[test]
fn probes_are_as_many_as_configured_and_one_that_fails_ends_the_trial() {
    for probes in [1, 2, 5] {
        let mut breaker = opened(at(0));
        breaker.set_policy(BreakerPolicy { probes, ..POLICY });
        let mut under_way = Vec::new();
        while breaker.may_call(at(10)).is_ok() {
            under_way.push(breaker.begin());
            assert!(under_way.len() <= 5, "no bound");
        }
        assert_eq!(under_way.len(), probes as usize);
        breaker.record(under_way[0], Ended::Failed, at(11));
        assert_eq!(breaker.may_call(at(11)), Err(Again::At(at(31))), "twice as long");
        for late in &under_way[1..] {
            breaker.record(*late, Ended::Ok, at(12));
        }
        assert_eq!(breaker.view(at(12)).state, BreakerState::Open, "the other probes are old news");
    }
}

#[test]
fn open_periods_grow_up_to_the_cap_and_start_small_again_after_recovery() {
    let mut breaker = opened(at(0));
    let mut now = at(0);
    for seconds in [10, 20, 35, 35] {
        let next = breaker.view(now).next_try.expect("open");
        assert_eq!(next, now.plus(Duration::from_secs(seconds)));
        now = next;
        call(&mut breaker, Ended::Failed, now);
    }
    let next = breaker.view(now).next_try.expect("open");
    for _ in 0..100 {
        call(&mut breaker, Ended::Ok, next);
    }
    for _ in 0..5 {
        let permit = breaker.begin();
        breaker.record(permit, Ended::Failed, next);
    }
    assert_eq!(breaker.open_until(next), Some(next.plus(POLICY.open)));
}

#[test]
fn no_burst_follows_when_it_closes() {
    let mut breaker = opened(at(0));
    call(&mut breaker, Ended::Ok, at(10));
    call(&mut breaker, Ended::Ok, at(10));
    let mut rounds = Vec::new();
    for _ in 0..6 {
        let mut under_way = Vec::new();
        while under_way.len() < 1_000 && breaker.may_call(at(10)).is_ok() {
            under_way.push(breaker.begin());
        }
        rounds.push(under_way.len());
        for permit in under_way {
            breaker.record(permit, Ended::Ok, at(10));
        }
    }
    assert_eq!(rounds, [2, 4, 8, 16, 32, 1_000], "each answer makes room for one more");
}

#[test]
fn a_failure_while_ramping_up_halves_the_room() {
    let mut breaker = opened(at(0));
    for _ in 0..2 + 6 {
        call(&mut breaker, Ended::Ok, at(10));
    }
    let eight: Vec<Permit> = (0..8).map(|_| breaker.begin()).collect();
    assert_eq!(breaker.may_call(at(10)), Err(Again::AfterReply));
    breaker.record(eight[0], Ended::Failed, at(10));
    for permit in &eight[1..5] {
        breaker.record(*permit, Ended::Dropped, at(10));
    }
    assert_eq!(breaker.may_call(at(10)), Ok(()), "three under way, four allowed");
}

#[test]
fn old_news_changes_nothing() {
    let mut breaker = Breaker::new(POLICY);
    let early = breaker.begin();
    for _ in 0..4 {
        call(&mut breaker, Ended::Failed, at(0));
    }
    breaker.record(early, Ended::Ok, at(1));
    assert_eq!(breaker.view(at(1)).state, BreakerState::Open, "a late answer does not close it");

    let slow = opened(at(0)).begin();
    let mut breaker = opened(at(0));
    breaker.may_call(at(10)).expect("half open");
    let probe = breaker.begin();
    breaker.record(slow, Ended::Failed, at(10));
    assert_eq!(breaker.view(at(10)).state, BreakerState::HalfOpen, "nor does it open it again");
    breaker.record(probe, Ended::Ok, at(11));
    assert_eq!(breaker.view(at(11)).state, BreakerState::HalfOpen);
}

#[test]
fn it_says_why_it_opened_and_tells_every_turn_once() {
    // (results, reason)
    let cases = [
        ("ffff", "4 calls in a row failed"),
        ("ofofof", "3 of the last 6 calls failed"),
        ("ossoss", "4 of the last 6 calls took longer than 5 s"),
    ];
    for (results, reason) in cases {
        let mut breaker = Breaker::new(POLICY);
        for result in results.chars() {
            let ended = match result {
                'o' => Ended::Ok,
                'f' => Ended::Failed,
                _ => Ended::Slow,
            };
            call(&mut breaker, ended, at(0));
        }
        assert_eq!(breaker.view(at(0)).reason.expect("open").to_string(), reason, "{results}");
    }

    let mut breaker = opened(at(0));
    let told = |breaker: &mut Breaker| {
        let turns = breaker.take_turns();
        turns.iter().map(|turn| (turn.to, turn.next_try)).collect::<Vec<_>>()
    };
    assert_eq!(told(&mut breaker), [(BreakerState::Open, Some(at(10)))]);
    assert!(breaker.may_call(at(9)).is_err() && told(&mut breaker).is_empty(), "nothing new");
    call(&mut breaker, Ended::Slow, at(10));
    let slow = [(BreakerState::HalfOpen, None), (BreakerState::Open, Some(at(30)))];
    assert_eq!(told(&mut breaker), slow, "a slow probe proves nothing good");
    call(&mut breaker, Ended::Ok, at(30));
    call(&mut breaker, Ended::Ok, at(30));
    assert_eq!(told(&mut breaker), [(BreakerState::HalfOpen, None), (BreakerState::Closed, None)]);
    assert_eq!(breaker.view(at(30)).reason, None);
}

#[test]
fn a_restart_neither_forgets_nor_bursts() {
    let wide_open = |breaker: &mut Breaker, now| {
        (0..1_000).take_while(|_| breaker.may_call(now).map(|()| breaker.begin()).is_ok()).count()
    };
    // (what the last process left, when the next one starts, calls at once, next try, why)
    let left = opened(at(0)).memory();
    let cases = [
        (None, 0, 2, None, "nothing known: a few at a time"),
        (left, 3, 0, Some(at(10)), "open stays open, until the same moment"),
        (left, 10, 1, None, "the period is over: a probe"),
        (left, 9_999, 1, None, "long over: a probe all the same"),
        (left, -9_999, 0, Some(at(-9_999 + 35)), "a clock set back: not for longer than ever"),
    ];
    for (memory, moment, calls, next_try, why) in cases {
        let mut breaker = Breaker::resume(POLICY, memory, at(moment));
        assert_eq!(breaker.view(at(moment)).next_try, next_try, "{why}");
        assert_eq!(wide_open(&mut breaker, at(moment)), calls, "{why}");
    }

    let mut breaker = Breaker::resume(POLICY, left, at(10));
    call(&mut breaker, Ended::Failed, at(10));
    assert_eq!(
        breaker.view(at(10)).next_try,
        Some(at(30)),
        "the next period is twice the last, as if nothing had been"
    );
    assert_eq!(Breaker::new(POLICY).memory(), None, "a closed one leaves nothing");
}
