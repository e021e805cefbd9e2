//! The housekeeping that nobody waits for.

use std::sync::Arc;
use std::time::Duration;

use super::supervisor::Runtime;
use crate::engine::record::Direction;

const EVERY: Duration = Duration::from_secs(30);
const UPKEEP_EVERY: Duration = Duration::from_secs(5);

/// Takes expired leases back, prunes what ended long ago, and measures the queue, until everything stops.
pub async fn run(runtime: Arc<Runtime>) {
    loop {
        tokio::select! {
            () = runtime.stopping().cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
        let now = (runtime.clock)();
        match runtime.store.rescue(now, false).await {
            Ok(0) => {}
            Ok(count) => {
                tracing::warn!(event = "lease.rescued", count, "took back leases that ran out");
            }
            Err(error) => {
                tracing::error!(event = "lease.rescue_failed", error = %error, "can't look for leases")
            }
        }
        if let Err(error) = runtime.store.tidy(now, false).await {
            tracing::error!(event = "state.tidy_failed", error = %error, "the state was not tidied");
        }
        measure(&runtime).await;
    }
}

/// Lets the metrics tidy up, until everything stops.
pub async fn upkeep(runtime: Arc<Runtime>, tidy: impl Fn() + Send + 'static) {
    loop {
        tokio::select! {
            () = runtime.stopping().cancelled() => return,
            () = tokio::time::sleep(UPKEEP_EVERY) => tidy(),
        }
    }
}

/// Sets the gauges that are measured rather than counted.
pub async fn measure(runtime: &Runtime) {
    let Ok(links) = runtime.store.links().await else { return };
    for link in links {
        let Ok(depth) = runtime.store.depth(link.id).await else { continue };
        for (direction, depth) in Direction::BOTH.into_iter().zip(depth) {
            let labels = [
                ("customer", link.customer.clone()),
                ("link", link.link.clone()),
                ("direction", direction.as_str().to_owned()),
            ];
            let active = depth.pending + depth.leased + depth.retrying + depth.waiting;
            metrics::gauge!("record_sync_queue_depth", &labels).set(active as f64);
            metrics::gauge!("record_sync_dead_letters", &labels).set(depth.dead as f64);
            metrics::gauge!("record_sync_conflicts", &labels).set(depth.conflict as f64);
        }
    }
}
