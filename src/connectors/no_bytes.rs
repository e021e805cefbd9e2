//! Destinations that hold text, numbers and JSON, but no bytes.
//!
//! Written as hex, bytes would come back as text and take the place of the bytes that they were made from.
//! So a record with bytes is refused before the connector sees it; whoever wants hex says so in the rules.

use std::sync::Arc;

use async_trait::async_trait;

use super::{Batch, Call, Delivery, Destination, Load, Outcome, Wanted, Write};
use crate::engine::fault::{Fault, FaultCode};
use crate::engine::record::{Record, Schema, Value};

/// A destination behind the check.
pub struct NoBytes<D> {
    inner: D,
    /// What can't hold bytes, for messages: `a CSV file`.
    holder: &'static str,
}

impl<D: Destination> NoBytes<D> {
    /// Puts the check before a destination.
    pub fn new(inner: D, holder: &'static str) -> Self {
        Self { inner, holder }
    }
}

/// Returns the first place where a delivery carries bytes.
fn bytes_at(delivery: &Delivery) -> Option<usize> {
    let (Write::Create(values) | Write::Update(values)) = &delivery.write else { return None };
    values.iter().position(|value| matches!(value, Value::Bytes(_)))
}

/// Refuses a delivery that carries bytes.
fn refusal(shape: &Schema, delivery: &Delivery, holder: &str) -> Option<Outcome> {
    let at = bytes_at(delivery)?;
    let field = shape.name(at).unwrap_or_default();
    Some(Outcome::Failed(Fault {
        remedy: Some("leave it out of the mapping, or map it with `to_string`, which writes hex".to_owned()),
        ..Fault::rejected(
            FaultCode::Validation,
            format!("the field {field} is to hold bytes, which {holder} can't"),
        )
    }))
}

/// What is refused, by place; `None` where everything may go on as it is.
fn refusals(shape: &Schema, deliveries: &[Delivery], holder: &str) -> Option<Vec<Option<Outcome>>> {
    let any = deliveries.iter().any(|delivery| bytes_at(delivery).is_some());
    any.then(|| deliveries.iter().map(|delivery| refusal(shape, delivery, holder)).collect())
}

/// Takes the deliveries out that may go on.
fn good(deliveries: &[Delivery], refused: &[Option<Outcome>]) -> Vec<Delivery> {
    let kept = deliveries.iter().zip(refused).filter(|(_, refused)| refused.is_none());
    kept.map(|(delivery, _)| delivery.clone()).collect()
}

/// Puts what became of the others between the refusals.
fn merged(refused: Vec<Option<Outcome>>, told: Vec<Outcome>) -> Vec<Outcome> {
    let mut told = told.into_iter();
    refused.into_iter().filter_map(|refused| refused.or_else(|| told.next())).collect()
}

#[async_trait]
impl<D: Destination> Destination for NoBytes<D> {
    async fn write(&self, batch: &Batch, call: &Call) -> Result<Vec<Outcome>, Fault> {
        let Some(refused) = refusals(&batch.shape, &batch.deliveries, self.holder) else {
            return self.inner.write(batch, call).await;
        };
        let rest = Batch { shape: Arc::clone(&batch.shape), deliveries: good(&batch.deliveries, &refused) };
        let told = match rest.deliveries.is_empty() {
            true => Vec::new(),
            false => self.inner.write(&rest, call).await?,
        };
        Ok(merged(refused, told))
    }

    async fn look_up(&self, wanted: &[Wanted], call: &Call) -> Result<Vec<Option<Record>>, Fault> {
        self.inner.look_up(wanted, call).await
    }

    async fn open_load(&self, shape: &Arc<Schema>) -> Result<Box<dyn Load>, Fault> {
        let inner = self.inner.open_load(shape).await?;
        Ok(Box::new(NoBytesLoad { inner, shape: Arc::clone(shape), holder: self.holder }))
    }

    async fn holds_load(&self, mark: &str) -> Result<bool, Fault> {
        self.inner.holds_load(mark).await
    }
}

/// A bulk load behind the check.
struct NoBytesLoad {
    inner: Box<dyn Load>,
    shape: Arc<Schema>,
    holder: &'static str,
}

#[async_trait]
impl Load for NoBytesLoad {
    fn mark(&self) -> Option<String> {
        self.inner.mark()
    }

    async fn stage(&mut self, deliveries: &[Delivery]) -> Result<Vec<Outcome>, Fault> {
        let Some(refused) = refusals(&self.shape, deliveries, self.holder) else {
            return self.inner.stage(deliveries).await;
        };
        let told = self.inner.stage(&good(deliveries, &refused)).await?;
        Ok(merged(refused, told))
    }

    async fn finish(self: Box<Self>) -> Result<(), Fault> {
        self.inner.finish().await
    }
}
