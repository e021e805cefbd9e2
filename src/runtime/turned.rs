//! The pages of a pass, read and turned into facts.

use super::link::LinkContext;
use super::reading;
use super::shown::Shown;
use super::sights::Sights;
use crate::connectors::{Deletes, End, Page, Source};
use crate::engine::fault::Fault;
use crate::engine::plan::Projector;
use crate::engine::record::{Cursor, Side};

/// A page whose changes are turned into facts.
pub(super) struct Turned {
    pub sights: Result<Sights, Fault>,
    pub cursor: Option<Cursor>,
    pub end: End,
}

impl Turned {
    pub fn of(page: Page, deletes: Deletes, projector: &mut Projector, shown: Option<&mut Shown>) -> Self {
        let sights = Sights::of(page.changes, deletes, projector, shown);
        Self { sights, cursor: page.cursor, end: page.end }
    }
}

/// Reads pages one after the other; those of a scan of a local end while the one before is turned into facts. Elsewhere
/// the source is told first that the page before is stored, or a call would be held that others wait for.
pub(super) struct Turning {
    side: Side,
    deletes: Deletes,
    reads_ahead: bool,
    ahead: Option<Result<Page, Fault>>,
}

impl Turning {
    pub fn of(ctx: &LinkContext, side: Side) -> Self {
        let end = ctx.end(side);
        let deletes = end.features.deletes;
        Self { side, deletes, reads_ahead: deletes == Deletes::Scanned && !end.remote, ahead: None }
    }

    /// Gives the page behind a cursor.
    pub async fn page(
        &mut self,
        ctx: &LinkContext,
        (source, projector): (&mut Box<dyn Source>, &mut Projector),
        shown: Option<&mut Shown>,
        after: Option<&Cursor>,
    ) -> Result<Turned, Fault> {
        let page = match self.ahead.take() {
            Some(read) => read?,
            None => reading::page(ctx, self.side, source, after).await?,
        };
        if !self.reads_ahead || page.end != End::More {
            return Ok(Turned::of(page, self.deletes, projector, shown));
        }
        let after = page.cursor.clone().or_else(|| after.cloned());
        // The first is begun before the second is done.
        let (ahead, turned) = tokio::join!(
            biased;
            reading::page(ctx, self.side, source, after.as_ref()),
            async { Turned::of(page, self.deletes, projector, shown) },
        );
        self.ahead = Some(ahead);
        Ok(turned)
    }
}
