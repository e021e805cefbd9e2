//! The promises of window and day, over a million arrivals that a simulated server counts by its own
//! clock, and by code that knows nothing of the gate.
//!
//! The histories have what breaks such promises: replies that take long, clocks that drift apart,
//! processes that are killed with calls under way, limits that change, and callers of all urgencies
//! who always have work.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::*;

/// A small generator (splitmix64), so that every history can be repeated from its seed.
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

/// One kind of history.
#[derive(Clone, Copy)]
struct History {
    max: u32,
    window_ms: u64,
    per_day: Option<u32>,
    /// Delays on the way there and back, each drawn below this; one call in fifty takes ten times
    /// as long. No call arrives later than five seconds after its process died: that is assumed.
    delay_us: u64,
    /// How fast our clock runs beside the server's, in parts per million.
    drift_ppm: i64,
    /// Every so many calls the process is killed, on average.
    killed_every: u64,
    /// Every so many calls the limits change, on average.
    changed_every: u64,
    why: &'static str,
}

const CALM: History = History {
    max: 60,
    window_ms: 60_000,
    per_day: None,
    delay_us: 2_000,
    drift_ppm: 0,
    killed_every: 0,
    changed_every: 0,
    why: "",
};
const SLOW_ONE_IN: u64 = 50;
const DAY_MS: u64 = 86_400_000;

/// What the server knows: arrivals, and the limits that were in force when each was sent.
#[derive(Default)]
struct Server {
    /// (arrival in microseconds, number of the limits).
    arrivals: Vec<(u64, usize)>,
    /// (most, window in milliseconds, in force from).
    limits: Vec<(u32, u64, u64)>,
}

impl Server {
    /// Counts the windows that saw more than they may. In a window that ends under certain limits
    /// nobody may go beyond them, whatever was sent under earlier ones.
    fn exceeded(&self, per_day: Option<u32>) -> usize {
        let mut exceeded = 0;
        for (number, &(max, window_ms, from)) in self.limits.iter().enumerate() {
            let since = from.saturating_sub(20_000_000 + window_ms * 1_000);
            let sent = self.arrivals.iter().filter(|(at, of)| *of <= number && *at >= since);
            let mut sent: Vec<(u64, usize)> = sent.copied().collect();
            sent.sort_unstable();
            exceeded += over(&sent, max, window_ms, |of| of == number);
        }
        let mut all = self.arrivals.clone();
        all.sort_unstable();
        exceeded + per_day.map_or(0, |most| over(&all, most, DAY_MS, |_| true))
    }
}

/// Counts the windows of one more call than may be that are no longer than one window.
fn over(sent: &[(u64, usize)], max: u32, window_ms: u64, counts: impl Fn(usize) -> bool) -> usize {
    let max = usize::try_from(max).expect("small");
    let close = sent.windows(max + 1).filter(|calls| calls[max].0 - calls[0].0 <= window_ms * 1_000);
    close.filter(|calls| calls.iter().any(|(_, of)| counts(*of))).count()
}

struct Played {
    server: Server,
    kills: usize,
    /// The part of the allowance that was used.
    used: f64,
}

struct World {
    draw: Draw,
    history: History,
    gate: Gate,
    policy: GatePolicy,
    /// What the disk holds.
    durable: Option<Tail>,
    replies: BinaryHeap<Reverse<(u64, u64)>>,
    true_us: u64,
}

impl World {
    fn new(history: History, seed: u64) -> Self {
        let limits = Limits {
            max: history.max,
            window: Duration::from_millis(history.window_ms),
            ..Limits::default()
        };
        let policy = GatePolicy {
            limits,
            per_day: history.per_day,
            concurrency: Some(100_000),
            breaker: BreakerPolicy::default(),
        };
        let mut world = Self {
            draw: Draw(seed),
            history,
            gate: Gate::new(policy, Timestamp(0)),
            policy,
            durable: None,
            replies: BinaryHeap::new(),
            true_us: 0,
        };
        world.restart();
        world
    }

    /// Our clock: milliseconds, rounded down, and drifting.
    fn now(&self) -> Timestamp {
        let us = i64::try_from(self.true_us).expect("a short history");
        let drifted = i128::from(us) * i128::from(1_000_000 + self.history.drift_ppm) / 1_000_000;
        Timestamp(1_800_000_000_000 + i64::try_from(drifted / 1_000).expect("a short history"))
    }

    /// The true time of a moment of our clock.
    fn true_at(&self, at: Timestamp) -> u64 {
        let ours = i128::from(at.0 - 1_800_000_000_000) * 1_000;
        let true_us = ours * 1_000_000 / i128::from(1_000_000 + self.history.drift_ppm);
        u64::try_from(true_us).expect("later than the start") + 1_000
    }

    /// Begins a process with what the disk holds.
    fn restart(&mut self) {
        self.replies.clear();
        let read_back = self.durable.as_ref().and_then(|tail| Tail::from_json(&tail.to_json()));
        self.gate = Gate::durable(self.policy, read_back.as_ref(), self.now());
    }

    /// Waits for the next reply, or for the moment that the gate named.
    fn wait(&mut self, until: Option<Timestamp>) {
        let reply = self.replies.peek().map(|Reverse((at, _))| *at);
        let named = until.map(|at| self.true_at(at));
        let next = [reply, named].into_iter().flatten().min().expect("something happens next");
        assert!(next > self.true_us, "asking again at once would spin");
        self.true_us = next;
    }

    fn take_replies(&mut self) {
        while let Some(&Reverse((at, ticket))) = self.replies.peek() {
            if at > self.true_us {
                break;
            }
            self.replies.pop();
            let facts =
                Facts { ended: Ended::Ok, retry_after: None, budget: None, throttled: false, write: false };
            assert!(self.gate.leave(ticket, facts, self.now()));
        }
    }

    /// Other limits: a half to double the calls, in a half to double the window.
    fn change(&mut self) {
        let halves = |draw: &mut Draw| 1 + draw.below(4);
        let max = (u64::from(self.history.max) * halves(&mut self.draw) / 2).max(1);
        self.policy.limits.max = u32::try_from(max).expect("small");
        let window_ms = self.history.window_ms * halves(&mut self.draw) / 2;
        self.policy.limits.window = Duration::from_millis(window_ms);
        let now = self.now();
        self.gate.set_policy(self.policy, now);
    }
}

fn play(history: History, seed: u64, calls: usize) -> Played {
    let mut world = World::new(history, seed);
    let mut server = Server::default();
    let (mut kills, mut allowance) = (0, 0.0);
    let mut since_us = 0;
    let in_force = |world: &World| {
        let limits = world.policy.limits;
        (limits.max, u64::try_from(limits.window.as_millis()).expect("short"), world.true_us)
    };
    let per_us = |(max, window_ms, _): (u32, u64, u64)| f64::from(max) / (window_ms as f64 * 1_000.0);
    server.limits.push(in_force(&world));
    while server.arrivals.len() < calls {
        world.take_replies();
        if history.killed_every > 0 && world.draw.below(history.killed_every) == 0 {
            kills += 1;
            world.restart();
        }
        if history.changed_every > 0 && world.draw.below(history.changed_every) == 0 {
            let last = server.limits[server.limits.len() - 1];
            allowance += per_us(last) * (world.true_us - since_us) as f64;
            since_us = world.true_us;
            world.change();
            server.limits.push(in_force(&world));
        }
        let urgency = Urgency::ALL[usize::try_from(world.draw.below(3)).expect("small")];
        let now = world.now();
        let admission = match world.gate.poll(urgency, now) {
            // Others have work too.
            Admission::Wait(..) | Admission::Blocked(..) if urgency == Urgency::Backfill => {
                world.gate.poll(Urgency::Live, now)
            }
            admission => admission,
        };
        match admission {
            Admission::Store(tail) => {
                world.gate.stored(&tail, now);
                world.durable = Some(tail);
            }
            Admission::Go(ticket) => {
                let slow = if world.draw.below(SLOW_ONE_IN) == 0 { 10 } else { 1 };
                let arrives = world.true_us + world.draw.below((history.delay_us * slow).min(4_900_000));
                let answered = arrives + 1 + world.draw.below(history.delay_us * slow);
                server.arrivals.push((arrives, server.limits.len() - 1));
                world.replies.push(Reverse((answered, ticket)));
            }
            Admission::Wait(again, _) => world.wait(again.at()),
            Admission::Blocked(until, _) => world.wait(Some(until)),
        }
    }
    let last = server.limits[server.limits.len() - 1];
    // The first window's worth goes out at time zero.
    let start = f64::from(history.max);
    allowance += per_us(last) * (world.true_us - since_us) as f64;
    if let Some(day) = history.per_day {
        allowance = allowance.min(f64::from(day) * world.true_us as f64 / (DAY_MS as f64 * 1_000.0));
    }
    let start = history.per_day.map_or(start, f64::from);
    let used = (server.arrivals.len() as f64 - start) / allowance;
    Played { server, kills, used }
}

const HISTORIES: [History; 12] = [
    History { why: "a minute's window, quick replies", ..CALM },
    History { max: 10, window_ms: 10_000, why: "few calls", ..CALM },
    History { max: 1_000, window_ms: 1_000, why: "a fast system", ..CALM },
    History { max: 60, window_ms: 60_000, drift_ppm: 500, why: "our clock runs fast", ..CALM },
    History { max: 60, window_ms: 60_000, drift_ppm: -500, why: "our clock runs slow", ..CALM },
    History { max: 1, window_ms: 1_000, delay_us: 300_000, why: "one at a time", ..CALM },
    History {
        max: 100,
        window_ms: 1_000,
        delay_us: 900_000,
        why: "replies as slow as the window is long",
        ..CALM
    },
    History { max: 50, window_ms: 200, delay_us: 1_000_000, why: "replies slower than the window", ..CALM },
    History {
        max: 5_000,
        window_ms: 10_000,
        delay_us: 900_000,
        why: "so many that they are counted in steps",
        ..CALM
    },
    History {
        max: 25,
        window_ms: 1_000,
        delay_us: 50_000,
        changed_every: 4_000,
        why: "limits that change",
        ..CALM
    },
    History {
        max: 100,
        window_ms: 2_000,
        delay_us: 400_000,
        drift_ppm: 400,
        killed_every: 500,
        changed_every: 4_000,
        why: "all of it, and killed again and again",
        ..CALM
    },
    History {
        max: 100,
        window_ms: 10_000,
        per_day: Some(5_000),
        killed_every: 2_000,
        why: "a day's limit",
        ..CALM
    },
];

#[test]
fn a_million_arrivals_and_no_window_exceeded() {
    const CALLS: usize = 30_000;
    const ROUNDS: u64 = 3;
    let (mut arrivals, mut kills, mut changes, mut least) = (0, 0, 0, f64::MAX);
    for round in 0..ROUNDS {
        for (number, history) in (0u64..).zip(HISTORIES) {
            let seed = 7_919 * (round * 100 + number);
            let played = play(history, seed, CALLS);
            let exceeded = played.server.exceeded(history.per_day);
            assert_eq!(exceeded, 0, "{} (seed {seed})", history.why);
            if history.delay_us == CALM.delay_us && history.killed_every == 0 {
                assert!(played.used >= 0.95, "{}: {} used (seed {seed})", history.why, played.used);
                least = least.min(played.used);
            }
            arrivals += played.server.arrivals.len();
            kills += played.kills;
            changes += played.server.limits.len() - 1;
        }
    }
    println!(
        "{arrivals} arrivals, {kills} processes killed, {changes} changes of limits: 0 windows exceeded, \
         and with quick replies at least {:.1} % of the allowance used",
        100.0 * least
    );
    assert!(arrivals >= 1_000_000, "{arrivals}");
}

#[test]
fn the_server_would_notice() {
    // The check above must be able to fail: slots that are freed a window after the sending.
    let mut draw = Draw(1);
    let mut server = Server { limits: vec![(100, 1_000, 0)], ..Server::default() };
    for call in 0..10_000u64 {
        server.arrivals.push(((call / 100) * 1_001_000 + draw.below(900_000), 0));
    }
    assert!(server.exceeded(None) > 0);
    let day = |calls: u64| Server {
        arrivals: (0..calls).map(|call| (call * 3_600_000_000, 0)).collect(),
        limits: vec![(100, 1_000, 0)],
    };
    assert_eq!(day(48).exceeded(Some(25)), 0, "one an hour, both ends of the day among them");
    assert!(day(48).exceeded(Some(24)) > 0);
}
