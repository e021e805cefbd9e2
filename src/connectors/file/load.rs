//! The bulk load: the old content copied once, creates streamed behind it, one rename at the end.
//!
//! Invariant: nothing is visible before [`Load::finish`]; dropped before, the copy is removed. What becomes visible
//! is the very file that was staged, which is how a later process knows it again.

use std::sync::Arc;

use async_trait::async_trait;

use crate::connectors::{Batch, Delivery, Load, Outcome, Write};
use crate::engine::fault::{Fault, FaultCode};
use crate::engine::record::Schema;

use super::append::Appender;
use super::broken::Broken;
use super::edits::Edits;
use super::replace::{Sink, Temp};
use super::rewrite::rewrite;
use super::settings::Target;
use super::snapshot::{Place, Snapshot};
use super::source::{Plan, interrupted};

/// Staged bytes that are worth a trip to a blocking thread.
const FLUSH_BYTES: usize = 1 << 20;

/// A load under way.
pub(super) struct FileLoad {
    plan: Arc<Plan>,
    shape: Arc<Schema>,
    old: Option<Snapshot>,
    /// `None` only while a blocking thread has it.
    temp: Option<Temp>,
    appender: Appender,
    staged: bool,
}

impl FileLoad {
    /// Copies the old content, with columns for all fields that the rules know.
    pub(super) fn open(plan: &Arc<Plan>, shape: &Arc<Schema>) -> Result<Self, Broken> {
        let place = Place::find(&plan.target.path)?;
        let Target { format, delimiter, .. } = plan.target;
        let old = Snapshot::open(&plan.target, &place)?;
        let mut temp = Temp::create(&place.real, old.as_ref().map(|old| &old.meta))?;
        let nothing = Batch { shape: Arc::clone(shape), deliveries: Vec::new() };
        let mut edits = Edits::new(&nothing, format, &[]);
        let input = old.as_ref().map(Snapshot::reader).transpose()?;
        let added = vec![true; shape.len()];
        let mut appender = rewrite(input, (format, delimiter), &plan.key, &added, &mut edits, &mut temp)?;
        appender.end_line(&mut temp);
        let (plan, shape) = (Arc::clone(plan), Arc::clone(shape));
        Ok(Self { plan, shape, old, temp: Some(temp), appender, staged: false })
    }

    /// Publishes what was staged.
    fn publish(mut self) -> Result<(), Broken> {
        let Some(mut temp) = self.temp.take().filter(|_| self.staged) else { return Ok(()) };
        let place = Place::find(&self.plan.target.path)?;
        let _turn = place.shared.writer();
        self.appender.close(&mut temp);
        // Given up where anybody has written there meanwhile, another link of ours too: it may have made a record
        // that is staged here.
        self.plan.replace(&place, self.old.as_ref(), temp, !self.appender.is_wider())
    }
}

#[async_trait]
impl Load for FileLoad {
    fn mark(&self) -> Option<String> {
        self.temp.as_ref().and_then(Temp::mark)
    }

    async fn stage(&mut self, deliveries: &[Delivery]) -> Result<Vec<Outcome>, Fault> {
        let Some(temp) = &mut self.temp else { return Err(interrupted()) };
        let mut outcomes = Vec::with_capacity(deliveries.len());
        for delivery in deliveries {
            outcomes.push(match &delivery.write {
                Write::Create(values) => {
                    self.appender.push(values, temp);
                    self.staged = true;
                    self.appender.outcome(&self.shape, values)
                }
                Write::Update(_) | Write::Delete => {
                    Outcome::Failed(Fault::rejected(FaultCode::Protocol, "a bulk load takes creates only"))
                }
            });
        }
        if temp.buffer().len() >= FLUSH_BYTES
            && let Some(mut temp) = self.temp.take()
        {
            let work = move || temp.drain().map(|()| temp);
            let flushed = tokio::task::spawn_blocking(work).await.map_err(|_| interrupted())?;
            self.temp = Some(flushed.map_err(|broken| broken.into_fault(&self.plan.target.path))?);
        }
        Ok(outcomes)
    }

    async fn finish(self: Box<Self>) -> Result<(), Fault> {
        // What was staged can be published once only: a second try needs a new load.
        let path = self.plan.target.path.clone();
        let work = move || self.publish().map_err(|broken| broken.into_fault(&path));
        tokio::task::spawn_blocking(work).await.map_err(|_| interrupted())?
    }
}
