//! The shell of the gate: order, cancellation, shutdown, restarts. The promise itself is proven in
//! `engine/flow`.

use std::collections::BTreeMap;

use tokio::task::JoinSet;

use super::*;
use crate::engine::flow::{BreakerPolicy, BreakerState, Limits};
use crate::runtime::clock;

/// Tails that outlive a "process".
#[derive(Default)]
struct Disk {
    tails: Mutex<BTreeMap<String, String>>,
    saves: Mutex<usize>,
    broken: Mutex<bool>,
}

#[async_trait]
impl Tails for Disk {
    async fn load(&self, gate: &str, _now: Timestamp) -> Result<Option<String>, Fault> {
        tokio::task::yield_now().await;
        Ok(self.tails.lock().unwrap().get(gate).cloned())
    }

    async fn save(&self, gate: &str, tail: &str, expires_at: Timestamp) -> Result<(), Fault> {
        tokio::task::yield_now().await;
        if *self.broken.lock().unwrap() {
            return Err(Fault::throttled(None, "disk full"));
        }
        assert!(expires_at > clock::real()(), "kept for as long as it says something");
        self.tails.lock().unwrap().insert(gate.to_owned(), tail.to_owned());
        *self.saves.lock().unwrap() += 1;
        Ok(())
    }
}

fn of(max: u32, window_ms: u64) -> GatePolicy {
    let limits = Limits { max, window: Duration::from_millis(window_ms), ..Limits::default() };
    GatePolicy {
        limits,
        breaker: BreakerPolicy { consecutive_max: 2, ..BreakerPolicy::default() },
        ..GatePolicy::default()
    }
}

fn gates(tails: Option<Arc<dyn Tails>>) -> (Gates, CancellationToken) {
    let stop = CancellationToken::new();
    (Gates::new(clock::real(), tails, stop.clone()), stop)
}

fn gate(policy: GatePolicy) -> Arc<GateKeeper> {
    gates(None).0.gate("default", "crm", policy)
}

async fn call(gate: &GateKeeper, class: Class) -> Timestamp {
    let ticket = gate.enter(class).await.expect("admitted");
    let arrived = clock::real()();
    gate.leave(ticket, Report::default());
    arrived
}

/// Lets everybody who was started come to rest.
async fn settle() {
    tokio::time::sleep(Duration::from_millis(10)).await;
}

fn breaches(mut arrivals: Vec<Timestamp>, max: usize, window_ms: u64) -> usize {
    arrivals.sort_unstable();
    let window = Duration::from_millis(window_ms);
    arrivals.windows(max + 1).filter(|calls| calls[max].since(calls[0]) <= window).count()
}

#[tokio::test]
async fn many_callers_share_one_window() {
    let gate = gate(of(10, 100));
    let began = clock::real()();
    let mut callers = JoinSet::new();
    for caller in 0..60 {
        let gate = Arc::clone(&gate);
        let class = if caller % 2 == 0 { Class::Live } else { Class::Backfill };
        callers.spawn(async move { call(&gate, class).await });
    }
    let arrivals = callers.join_all().await;
    assert_eq!(arrivals.len(), 60, "nobody is dropped");
    assert_eq!(breaches(arrivals, 10, 100), 0);
    let took = clock::real()().since(began);
    assert!(took >= Duration::from_millis(500), "{took:?} for six windows");
    assert_eq!((gate.view().waiting, gate.view().gate.in_flight), (0, 0));
}

#[tokio::test]
async fn the_urgent_go_first_and_equals_in_order() {
    let gate = gate(of(1, 300));
    call(&gate, Class::Live).await;
    let order = Arc::new(Mutex::new(Vec::new()));
    let mut callers = JoinSet::new();
    let wishes = [
        (Class::Live, "live 1"),
        (Class::Backfill, "backfill"),
        (Class::Live, "live 2"),
        (Class::Interactive, "click"),
        (Class::Live, "live 3"),
    ];
    for (class, name) in wishes {
        let (gate, order) = (Arc::clone(&gate), Arc::clone(&order));
        callers.spawn(async move {
            // All of them come within the first window, one after the other.
            call(&gate, class).await;
            order.lock().unwrap().push(name);
        });
        tokio::task::yield_now().await;
    }
    callers.join_all().await;
    let order = order.lock().unwrap().clone();
    let first: Vec<&str> = order.iter().filter(|name| **name != "backfill").copied().collect();
    assert_eq!(first, ["click", "live 1", "live 2", "live 3"]);
    assert_ne!(order.first(), Some(&"backfill"));
}

#[tokio::test]
async fn backfill_that_waited_long_is_served_among_endless_live_calls() {
    let gate = gate(of(1, 20));
    let stop = CancellationToken::new();
    let mut callers = JoinSet::new();
    for _ in 0..4 {
        let (gate, stop) = (Arc::clone(&gate), stop.clone());
        callers.spawn(async move {
            while !stop.is_cancelled() {
                call(&gate, Class::Live).await;
            }
        });
    }
    settle().await;
    let served = tokio::time::timeout(Duration::from_secs(5), call(&gate, Class::Backfill)).await;
    stop.cancel();
    callers.join_all().await;
    assert!(served.is_ok(), "it waits, but not for ever");
}

#[tokio::test]
async fn a_waiter_that_goes_away_loses_nothing_for_the_others() {
    let gate = gate(of(1, 50));
    let ticket = gate.enter(Class::Live).await.expect("free");
    let mut callers = JoinSet::new();
    for _ in 0..3 {
        let gate = Arc::clone(&gate);
        callers.spawn(async move { call(&gate, Class::Live).await });
    }
    let first = Arc::clone(&gate);
    let gone = tokio::time::timeout(Duration::from_millis(10), first.enter(Class::Interactive)).await;
    assert!(gone.is_err(), "the foremost gave up");
    assert_eq!(gate.view().waiting, 3);
    gate.leave(ticket, Report::default());
    let arrivals = tokio::time::timeout(Duration::from_secs(5), callers.join_all()).await.expect("in time");
    assert_eq!(breaches(arrivals, 1, 50), 0);
}

#[tokio::test]
async fn larger_limits_let_waiters_through_at_once() {
    let gate = gate(of(1, 60_000));
    call(&gate, Class::Live).await;
    let waiting = Arc::clone(&gate);
    let mut callers = JoinSet::new();
    callers.spawn(async move { call(&waiting, Class::Live).await });
    settle().await;
    assert_eq!(gate.view().waiting, 1);
    gate.set_limits(2, Duration::from_secs(60));
    tokio::time::timeout(Duration::from_secs(1), callers.join_all()).await.expect("let through");
}

#[tokio::test]
async fn shutdown_sends_waiters_home_at_no_cost() {
    let (gates, stop) = gates(None);
    let gate = gates.gate("default", "crm", of(1, 60_000));
    call(&gate, Class::Live).await;
    let waiting = Arc::clone(&gate);
    let mut callers = JoinSet::new();
    callers.spawn(async move { waiting.enter(Class::Live).await });
    settle().await;
    stop.cancel();
    let ends = callers.join_all().await;
    let fault = ends.into_iter().next().expect("one").expect_err("sent home");
    assert_eq!(fault.kind, FaultKind::Throttled { retry_after: None });
}

#[tokio::test]
async fn an_open_breaker_sends_waiters_home_and_says_when_to_come_back() {
    let gate = gate(of(3, 60_000));
    let tickets =
        [gate.enter(Class::Live).await, gate.enter(Class::Live).await, gate.enter(Class::Live).await];
    let waiting = Arc::clone(&gate);
    let mut callers = JoinSet::new();
    callers.spawn(async move { waiting.enter(Class::Live).await });
    settle().await;
    for ticket in tickets {
        gate.leave(ticket.expect("free"), Report { failed: true, ..Report::default() });
    }
    let ends = callers.join_all().await;
    let fault = ends.into_iter().next().expect("one").expect_err("sent home");
    assert_eq!(fault.code, FaultCode::Unavailable);
    assert!(matches!(fault.kind, FaultKind::Throttled { retry_after: Some(wait) } if wait.as_secs() >= 4));
    assert_eq!(gate.view().gate.breaker.state, BreakerState::Open);
}

#[tokio::test]
async fn customers_and_systems_do_not_touch_each_other() {
    let (gates, _stop) = gates(None);
    for (customer, system) in [("a", "crm"), ("a", "other"), ("b", "crm")] {
        let gate = gates.gate(customer, system, of(1, 60_000));
        call(&gate, Class::Live).await;
    }
    assert_eq!(gates.views().len(), 3);
    let again = gates.gate("a", "crm", of(1, 60_000));
    assert_eq!(again.view().gate.used, 1, "the same gate as before");
}

#[tokio::test]
async fn whatever_dies_the_promise_survives() {
    // The same window over processes that die (dropped) or end (closed) at any moment.
    let disk = Arc::new(Disk::default());
    let policy = of(4, 300);
    let mut arrivals = Vec::new();
    for process in 0..6 {
        let (gates, _stop) = gates(Some(Arc::clone(&disk) as Arc<dyn Tails>));
        let gate = gates.gate("default", "crm", policy);
        for _ in 0..=process % 4 {
            let entered = tokio::time::timeout(Duration::from_millis(700), gate.enter(Class::Live)).await;
            // What is unsure counts for five seconds longer: some processes do nothing but wait.
            let Ok(ticket) = entered else { break };
            arrivals.push(clock::real()());
            if process % 2 == 0 {
                gate.leave(ticket.expect("admitted"), Report::default());
            }
        }
        if process % 3 == 0 {
            gates.close().await.expect("stored");
            assert!(gate.enter(Class::Live).await.is_err(), "closed is closed");
        }
    }
    assert!(arrivals.len() >= 4, "{arrivals:?}");
    assert_eq!(breaches(arrivals, 4, 300), 0);
}

#[tokio::test]
async fn a_clean_restart_loses_no_time() {
    let disk = Arc::new(Disk::default());
    let policy = of(10, 60_000);
    for process in 0..3 {
        let (gates, _stop) = gates(Some(Arc::clone(&disk) as Arc<dyn Tails>));
        let gate = gates.gate("default", "crm", policy);
        for _ in 0..3 {
            call(&gate, Class::Live).await;
        }
        assert_eq!(gate.view().gate.used, 3 * (process + 1));
        gates.close().await.expect("stored");
    }
}

#[tokio::test]
async fn storing_is_rare_under_load() {
    let disk = Arc::new(Disk::default());
    let (gates, _stop) = gates(Some(Arc::clone(&disk) as Arc<dyn Tails>));
    let gate = gates.gate("default", "crm", of(1_000, 60_000));
    for _ in 0..1_000 {
        call(&gate, Class::Interactive).await;
    }
    assert!(*disk.saves.lock().unwrap() <= 12, "{}", disk.saves.lock().unwrap());
}

#[tokio::test]
async fn no_call_goes_out_that_a_restart_would_forget() {
    let disk = Arc::new(Disk::default());
    *disk.broken.lock().unwrap() = true;
    let (gates, _stop) = gates(Some(Arc::clone(&disk) as Arc<dyn Tails>));
    let gate = gates.gate("default", "crm", of(10, 1_000));
    assert!(gate.enter(Class::Live).await.is_err());
    *disk.broken.lock().unwrap() = false;
    call(&gate, Class::Live).await;
}

#[tokio::test]
async fn a_tail_that_cannot_be_read_counts_as_a_full_window() {
    let disk = Arc::new(Disk::default());
    disk.tails.lock().unwrap().insert("default/crm".into(), "{".into());
    let (gates, _stop) = gates(Some(Arc::clone(&disk) as Arc<dyn Tails>));
    let gate = gates.gate("default", "crm", of(3, 60_000));
    let entered = tokio::time::timeout(Duration::from_millis(50), gate.enter(Class::Interactive)).await;
    assert!(entered.is_err(), "it waits");
    assert_eq!(gate.view().gate.used, 3);
}

#[tokio::test]
async fn a_link_with_a_backlog_does_not_starve_another() {
    let gate = gate(of(1, 20));
    call(&gate, Class::Live).await;
    let order = Arc::new(Mutex::new(String::new()));
    let mut callers = JoinSet::new();
    let backlog = std::iter::repeat_n(("long", 'l'), 30);
    for (link, letter) in backlog.chain([("short", 's'), ("short", 's')]) {
        let (gate, order) = (Arc::clone(&gate), Arc::clone(&order));
        callers.spawn(async move {
            let ticket = gate.enter_for(Class::Live, Some(link)).await.expect("admitted");
            order.lock().unwrap().push(letter);
            gate.leave(ticket, Report::default());
        });
        tokio::task::yield_now().await;
    }
    callers.join_all().await;
    let order = order.lock().unwrap().clone();
    let last = order.rfind('s').expect("served");
    assert!(last < 6, "in turn, whatever waits before it: {order}");
}

#[tokio::test]
async fn a_breaker_that_opened_is_remembered_after_a_kill() {
    let disk = Arc::new(Disk::default());
    let start = || gates(Some(Arc::clone(&disk) as Arc<dyn Tails>)).0.gate("default", "crm", of(100, 1_000));
    let first = start();
    for _ in 0..2 {
        let ticket = first.enter(Class::Live).await.expect("admitted");
        first.leave(ticket, Report { failed: true, ..Report::default() });
    }
    let sent_home = first.enter(Class::Live).await.expect_err("open");
    let left = first.view().gate.breaker;
    drop(first);

    let next = start();
    let fault = next.enter(Class::Interactive).await.expect_err("still open");
    assert_eq!(fault.code, sent_home.code);
    let view = next.view().gate.breaker;
    assert_eq!((view.state, view.next_try), (BreakerState::Open, left.next_try));
    assert_eq!(view.reason.expect("told").to_string(), "it was open when the service stopped");
}

#[tokio::test]
async fn calls_under_way_have_a_bound_of_their_own() {
    let gate = gate(GatePolicy { concurrency: Some(2), ..of(100, 60_000) });
    let first = gate.enter(Class::Live).await.expect("admitted");
    gate.enter(Class::Live).await.expect("admitted");
    let waiting = Arc::clone(&gate);
    let mut callers = JoinSet::new();
    callers.spawn(async move { waiting.enter(Class::Interactive).await });
    settle().await;
    assert_eq!((gate.view().waiting, gate.view().gate.in_flight), (1, 2));
    gate.leave(first, Report::default());
    let entered = tokio::time::timeout(Duration::from_secs(1), callers.join_all()).await.expect("let in");
    assert!(entered[0].is_ok());
}

#[tokio::test]
async fn the_connector_bounds_what_the_settings_allow() {
    // (settings, connector, bound, why)
    let cases = [
        (None, Some(4), 4, "nobody has set anything"),
        (Some(2), Some(4), 2, "somebody wants fewer"),
        (Some(9), Some(4), 4, "nobody gets more than the system stands"),
        (Some(9), None, 9, "the system was never opened"),
    ];
    for (concurrency, at_once, bound, why) in cases {
        let gate = gate(GatePolicy::default());
        at_once.into_iter().for_each(|at_once| gate.bound(at_once));
        gate.set_policy(GatePolicy { concurrency, ..of(100, 60_000) });
        assert_eq!(gate.view().gate.concurrency, bound, "{why}");
        assert_eq!(gate.policy().concurrency, concurrency, "{why}: what was set stays to be read");
    }
}
