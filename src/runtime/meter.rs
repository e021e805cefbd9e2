//! What the metrics say of links: counted as it happens, or measured when somebody reads them.
//!
//! Invariant: whatever changes while nothing happens (lag, backlog, windows) is measured at the
//! reading, so that no old value is ever shown.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::time::Duration;

use metrics::{counter, gauge, histogram};

use super::link::{Audited, LinkContext, along, at};
use super::supervisor::Runtime;
use crate::engine::plan::Status;
use crate::engine::record::{Direction, Side, Timestamp};
use crate::store::{Depth, LinkState};
use crate::telemetry::metrics::{
    ATTEMPT_DURATION, AUDIT_FOUND, AUDIT_RECORDS, CONFIG_RELOAD, CONFLICTS, DEAD_LETTERS, ECHO_WRITES,
    FUSE_BLOWN, LAG, OVERLAP, POLL_DURATION, QUEUE_DEPTH, RECORDS, RULES_RELOAD, RULES_VERSION,
};

/// The statuses that are counted as outcomes.
const OUTCOMES: [Status; 5] =
    [Status::Synced, Status::SkippedByRule, Status::Conflict, Status::Retrying, Status::Dead];

/// How often each outcome came about, to be counted once it is stored.
#[derive(Default)]
pub struct Outcomes(BTreeMap<(Direction, Status), u64>);

impl Outcomes {
    /// Adds one record.
    pub fn note(&mut self, direction: Direction, outcome: Status) {
        *self.0.entry((direction, outcome)).or_default() += 1;
    }

    /// Counts all that was noted.
    pub fn count(self, ctx: &LinkContext) {
        self.0.into_iter().for_each(|((direction, outcome), count)| records(ctx, direction, outcome, count));
    }
}

/// Makes the counters of a link known at zero: a rate needs a point to start from.
pub fn begin(ctx: &LinkContext) {
    for direction in Direction::BOTH.into_iter().filter(|&direction| ctx.rules.way(direction).is_some()) {
        OUTCOMES.iter().for_each(|&outcome| records(ctx, direction, outcome, 0));
        echoes(ctx, direction, 0);
    }
}

/// Counts a write that was made before and came round again.
pub fn echo(ctx: &LinkContext, direction: Direction) {
    echoes(ctx, direction, 1);
}

fn echoes(ctx: &LinkContext, direction: Direction, count: u64) {
    counter!(ECHO_WRITES, "customer" => ctx.customer.clone(), "link" => ctx.name.clone(),
        "direction" => direction.as_str())
    .increment(count);
}

/// Counts records of one outcome.
pub fn records(ctx: &LinkContext, direction: Direction, outcome: Status, count: u64) {
    counter!(RECORDS, "customer" => ctx.customer.clone(), "link" => ctx.name.clone(),
        "direction" => direction.as_str(), "outcome" => outcome.as_str())
    .increment(count);
}

/// Counts what an audit found.
pub fn audited(ctx: &LinkContext, side: Side, audited: Audited) {
    for (what, count) in [("missed", audited.missed), ("gone", audited.gone)] {
        counter!(AUDIT_FOUND, "customer" => ctx.customer.clone(), "link" => ctx.name.clone(),
            "side" => side.as_str(), "what" => what)
        .increment(count);
    }
    gauge!(AUDIT_RECORDS, "customer" => ctx.customer.clone(), "link" => ctx.name.clone(),
        "side" => side.as_str())
    .set(audited.records as f64);
}

/// Notes how long one delivery attempt of a batch took, with the look before it.
pub fn attempted(ctx: &LinkContext, direction: Direction, took: Duration) {
    histogram!(ATTEMPT_DURATION, "customer" => ctx.customer.clone(), "link" => ctx.name.clone(),
        "direction" => direction.as_str())
    .record(took);
}

/// Notes how long one poll took.
pub fn polled(ctx: &LinkContext, side: Side, took: Duration) {
    histogram!(POLL_DURATION, "customer" => ctx.customer.clone(), "link" => ctx.name.clone(),
        "side" => side.as_str())
    .record(took);
}

/// Writes a duration as the log shows it: milliseconds, to the microsecond.
pub fn millis(took: Duration) -> f64 {
    (took.as_secs_f64() * 1e6).round() / 1e3
}

/// Sets the gauges that are measured when somebody reads.
pub async fn measure(runtime: &Runtime) {
    runtime.gates.measure();
    gauge!(CONFIG_RELOAD).set(flag(runtime.config_problem().is_none()));
    measure_rules(runtime).await;
    measure_lags(runtime);
    let Ok(links) = runtime.store.links().await else { return };
    for link in links {
        if let Ok(depth) = runtime.store.depth(link.id).await {
            measure_queue(&link, &depth);
        }
    }
}

async fn measure_rules(runtime: &Runtime) {
    let config = runtime.config();
    let books = runtime.all_books().await;
    let customers: BTreeSet<String> =
        runtime.all_running().into_iter().map(|((customer, _), _)| customer).collect();
    for id in customers {
        let Ok(customer) = config.customer(&id) else { continue };
        let path = runtime.rules_path(&customer);
        let Some(book) = books.iter().find(|book| book.path == path) else { continue };
        gauge!(RULES_VERSION, "customer" => id.clone()).set(book.current().version);
        gauge!(RULES_RELOAD, "customer" => id).set(flag(book.refusal().is_none()));
    }
}

fn measure_lags(runtime: &Runtime) {
    let now = (runtime.clock)();
    for ((customer, link), running) in runtime.all_running() {
        for side in Side::BOTH {
            let complete_to = at(&running.view.complete_to, side).load(Ordering::Relaxed);
            if complete_to > 0 {
                gauge!(LAG, "customer" => customer.clone(), "link" => link.clone(), "side" => side.as_str())
                    .set(now.since(Timestamp(complete_to)).as_secs_f64());
            }
            let overlap_ms = at(&running.view.overlap_ms, side).load(Ordering::Relaxed);
            if overlap_ms > 0 {
                gauge!(OVERLAP, "customer" => customer.clone(), "link" => link.clone(), "side" => side.as_str())
                    .set(Duration::from_millis(overlap_ms).as_secs_f64());
            }
        }
    }
}

fn measure_queue(link: &LinkState, depth: &[Depth; 2]) {
    for direction in Direction::BOTH {
        let depth = along(depth, direction);
        let labels = [
            ("customer", link.customer.clone()),
            ("link", link.link.clone()),
            ("direction", direction.as_str().to_owned()),
        ];
        let states = [
            ("pending", depth.pending),
            ("leased", depth.leased),
            ("retrying", depth.retrying),
            ("waiting", depth.waiting),
        ];
        for (state, count) in states {
            let [customer, name, way] = labels.clone();
            gauge!(QUEUE_DEPTH, &[customer, name, way, ("state", state.to_owned())]).set(count as f64);
        }
        gauge!(DEAD_LETTERS, &labels).set(depth.dead as f64);
        gauge!(CONFLICTS, &labels).set(depth.conflict as f64);
        gauge!(FUSE_BLOWN, &labels).set(flag(along(&link.frozen, direction).is_some()));
    }
}

fn flag(is: bool) -> f64 {
    if is { 1.0 } else { 0.0 }
}
