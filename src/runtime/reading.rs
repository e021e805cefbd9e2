//! Reading from a source, a call at a time.
//!
//! Invariant: what has come some way at a remote system is not given up for one call that failed: what reads a whole
//! stream, or lists its keys, would begin from nothing each time.

use std::time::Duration;

use super::link::LinkContext;
use super::straight;
use crate::connectors::{Class, Page, Source};
use crate::engine::fault::Fault;
use crate::engine::record::{Cursor, Side};

/// The waits before a call is made again, where nobody says how long to wait.
const PAUSES: [Duration; 5] = [
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
    Duration::from_secs(8),
];
/// Who is asked for more patience than this is asked again by another pass.
const PATIENCE: Duration = Duration::from_secs(60);

/// Returns how many records a page holds: enough for one cheap commit, few enough for flat memory.
pub(super) fn page_records(ctx: &LinkContext, side: Side) -> usize {
    if ctx.end(side).remote { ctx.sizes.remote_page_records } else { ctx.sizes.page_records }
}

/// Reads a page.
pub(super) async fn page(
    ctx: &LinkContext,
    side: Side,
    source: &mut Box<dyn Source>,
    after: Option<&Cursor>,
) -> Result<Page, Fault> {
    let usual = page_records(ctx, side);
    // What goes straight on keeps as many calls under way as the other end stands.
    let onward = straight::may_be(ctx, side.outward()).then(|| ctx.end(side.other()).turn_max());
    let limit = usual.max(onward.unwrap_or_default());
    unless_stopped(ctx, source.read(after, limit, &ctx.call(Class::Backfill))).await
}

/// How patient a reader still is with a remote system.
pub(super) struct Patience<'l> {
    ctx: &'l LinkContext,
    side: Side,
    pauses: std::slice::Iter<'static, Duration>,
    /// The status shows a call that failed.
    is_told: bool,
}

impl<'l> Patience<'l> {
    pub fn new(ctx: &'l LinkContext, side: Side) -> Self {
        let pauses: &[Duration] = if ctx.end(side).remote { &PAUSES } else { &[] };
        Self { ctx, side, pauses: pauses.iter(), is_told: false }
    }

    /// Waits until a call that failed may be made again; gives the fault back where that does not help, or was done
    /// often enough.
    pub async fn wait(&mut self, fault: Fault) -> Result<(), Fault> {
        let (ctx, side) = (self.ctx, self.side);
        if fault.is_stopping() {
            return Err(fault);
        }
        let wait = self.pauses.next().and_then(|pause| fault.wait(*pause));
        let Some(wait) = wait.filter(|wait| *wait <= PATIENCE) else { return Err(fault) };
        tracing::info!(event = "poll.again", customer = %ctx.customer, link = %ctx.name, side = side.as_str(),
            error = %fault, "a call is made again in {} ms", wait.as_millis());
        ctx.trouble_reading(side, Some(fault.to_string()));
        self.is_told = true;
        rest(ctx, wait).await
    }

    /// The call went well: the next one is met with all the patience again.
    pub fn renew(&mut self) {
        if self.is_told {
            self.ctx.trouble_reading(self.side, None);
            *self = Self::new(self.ctx, self.side);
        }
    }
}

/// Waits, unless the link stops.
pub(super) async fn rest(ctx: &LinkContext, wait: Duration) -> Result<(), Fault> {
    let waiting = async {
        tokio::time::sleep(wait).await;
        Ok(())
    };
    unless_stopped(ctx, waiting).await
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
