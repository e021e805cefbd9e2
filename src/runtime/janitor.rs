//! The housekeeping that nobody waits for.

use std::sync::Arc;
use std::time::Duration;

use super::supervisor::Runtime;
use crate::engine::record::Timestamp;
use crate::store::{HISTORY_PRUNED_MAX, StoreError};

const EVERY: Duration = Duration::from_secs(30);
/// Whoever works on a claim that has run out, because the whole process stood still, renews it meanwhile.
const GRACE: Duration = Duration::from_secs(1);
const DAY_MS: i64 = 24 * 60 * 60 * 1000;
const UPKEEP_EVERY: Duration = Duration::from_secs(5);

/// Takes expired leases back, and prunes what ended long ago, until everything stops.
pub async fn run(runtime: Arc<Runtime>) {
    loop {
        let now = tokio::select! {
            biased;
            () = runtime.stopping().cancelled() => return,
            now = due(&runtime) => now,
        };
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
        if let Err(error) = prune_history(&runtime, now).await {
            tracing::error!(event = "state.tidy_failed", error = %error, "the history was not pruned");
        }
    }
}

/// Waits for the next round; gives the moment until which a claim must have run out to be taken back.
async fn due(runtime: &Runtime) -> Timestamp {
    tokio::time::sleep(EVERY).await;
    let now = (runtime.clock)();
    let mut since = now;
    loop {
        tokio::time::sleep(GRACE).await;
        let woke = (runtime.clock)();
        if woke.since(since) < GRACE * 2 {
            return now;
        }
        // It stood still once more, and so did whoever was about to renew.
        since = woke;
    }
}

/// Forgets what happened too long ago, or no longer has room.
async fn prune_history(runtime: &Runtime, now: Timestamp) -> Result<(), StoreError> {
    let config = runtime.config();
    let kept_ms = i64::try_from(config.service.history_days).unwrap_or(i64::MAX).saturating_mul(DAY_MS);
    let before = Timestamp(now.0.saturating_sub(kept_ms));
    // Some thousands a call: whoever wants to write comes in between.
    while runtime.store.prune_history(before, config.service.history_bytes_max).await?
        >= HISTORY_PRUNED_MAX as u64
    {
        if runtime.stopping().is_cancelled() {
            break;
        }
    }
    Ok(())
}

/// Lets the metrics tidy up, until everything stops.
pub async fn upkeep(runtime: Arc<Runtime>, tidy: impl Fn() + Send + 'static) {
    loop {
        tokio::select! {
            biased;
            () = runtime.stopping().cancelled() => return,
            () = tokio::time::sleep(UPKEEP_EVERY) => tidy(),
        }
    }
}
