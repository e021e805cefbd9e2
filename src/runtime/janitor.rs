//! The housekeeping that nobody waits for.

use std::sync::Arc;
use std::time::Duration;

use super::supervisor::Runtime;

const EVERY: Duration = Duration::from_secs(30);
const UPKEEP_EVERY: Duration = Duration::from_secs(5);

/// Takes expired leases back, and prunes what ended long ago, until everything stops.
pub async fn run(runtime: Arc<Runtime>) {
    loop {
        tokio::select! {
            biased;
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
    }
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
