//! Pages of a source, one call each.
//!
//! Invariant: a pass that has come some way is not given up for one call that failed: what reads a whole stream would
//! begin from nothing each time.

use std::time::Duration;

use super::link::LinkContext;
use crate::connectors::{Class, Page, Source};
use crate::engine::fault::{Fault, FaultKind};
use crate::engine::record::{Cursor, Side};

/// Records of a page: enough for one cheap commit, few enough for flat memory.
pub(super) const PAGE_LOCAL: usize = 1000;
pub(super) const PAGE_REMOTE: usize = 2000;

/// The waits before a page is asked for again, where nobody says how long to wait.
const PAUSES: [Duration; 5] = [
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
    Duration::from_secs(8),
];
/// Who is asked for more patience than this is asked again by another pass.
const PATIENCE: Duration = Duration::from_secs(60);

/// Reads a page.
pub(super) async fn page(
    ctx: &LinkContext,
    side: Side,
    source: &mut Box<dyn Source>,
    after: Option<&Cursor>,
) -> Result<Page, Fault> {
    let limit = if ctx.end(side).remote { PAGE_REMOTE } else { PAGE_LOCAL };
    unless_stopped(ctx, source.read(after, limit, &ctx.call(Class::Backfill))).await
}

/// Reads a page behind others of the same pass: a remote system that fails is asked again, and the status says so
/// meanwhile.
pub(super) async fn next_page(
    ctx: &LinkContext,
    side: Side,
    source: &mut Box<dyn Source>,
    after: Option<&Cursor>,
) -> Result<Page, Fault> {
    let mut pauses = PAUSES.iter().filter(|_| ctx.end(side).remote);
    let mut asked_again = false;
    loop {
        let fault = match page(ctx, side, source, after).await {
            Err(fault) if !fault.is_stopping() => fault,
            read => {
                if asked_again {
                    ctx.trouble_reading(side, None);
                }
                return read;
            }
        };
        let Some(wait) = pauses.next().and_then(|pause| wait(&fault, *pause)) else { return Err(fault) };
        tracing::info!(event = "poll.again", customer = %ctx.customer, link = %ctx.name, side = side.as_str(),
            error = %fault, "a page is asked for again in {} ms", wait.as_millis());
        ctx.trouble_reading(side, Some(fault.to_string()));
        asked_again = true;
        let waiting = async {
            tokio::time::sleep(wait).await;
            Ok(())
        };
        unless_stopped(ctx, waiting).await?;
    }
}

/// Says how long to wait before a page is asked for again; `None` where that does not help.
fn wait(fault: &Fault, pause: Duration) -> Option<Duration> {
    let wait = match fault.kind {
        FaultKind::Transient => pause,
        FaultKind::Throttled { retry_after } => retry_after.unwrap_or_default().max(pause),
        FaultKind::Stale | FaultKind::Rejected | FaultKind::Fatal => return None,
    };
    (wait <= PATIENCE).then_some(wait)
}

/// Gives up waiting for what only reads when the link stops.
pub(super) async fn unless_stopped<T>(
    ctx: &LinkContext,
    reading: impl Future<Output = Result<T, Fault>>,
) -> Result<T, Fault> {
    tokio::select! {
        biased;
        () = ctx.stop.cancelled() => Err(Fault::stopping()),
        read = reading => read,
    }
}
