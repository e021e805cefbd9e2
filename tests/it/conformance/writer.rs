//! A writer that knows the ids it was given.

use super::*;

/// The writing end with the ids that it gave out.
pub struct Writer<'h, H: Harness> {
    harness: &'h H,
    pub destination: Arc<dyn Destination>,
    pub shape: Arc<Schema>,
}

impl<'h, H: Harness> Writer<'h, H> {
    pub fn new(harness: &'h H) -> Self {
        let destination = harness.system().destination(&harness.spec()).expect("a destination");
        Self { harness, destination, shape: shape(harness) }
    }

    pub async fn write(&self, deliveries: Vec<Delivery>) -> Vec<Outcome> {
        let count = deliveries.len();
        let batch = Batch { shape: Arc::clone(&self.shape), deliveries };
        let outcomes = self.destination.write(&batch, &call()).await.expect("the call itself works");
        assert_eq!(outcomes.len(), count, "one outcome a delivery");
        self.harness.settle().await;
        outcomes
    }

    /// Looks the record up and fills its id in, as the worker does from the pair.
    pub async fn delivery(&self, key: &str, write: Write) -> Delivery {
        let found = self.look_up(key).await;
        let (id, revision) = found.map(|record| (record.meta.id, record.meta.revision)).unwrap_or_default();
        Delivery { key: key_of(key), id, write, expected: None, revision }
    }

    pub async fn look_up(&self, key: &str) -> Option<Record> {
        let wanted = [Wanted { key: key_of(key), id: None }];
        let mut found = self.destination.look_up(&wanted, &call()).await.expect("the call itself works");
        assert_eq!(found.len(), 1, "one answer a question");
        found.pop().flatten()
    }
}

pub fn create(row: &Row) -> Delivery {
    Delivery {
        key: key_of(&row.key),
        id: None,
        write: Write::Create(row.values().into()),
        expected: None,
        revision: None,
    }
}

pub fn delivered(outcomes: &[Outcome]) {
    for (at, outcome) in outcomes.iter().enumerate() {
        assert!(matches!(outcome, Outcome::Delivered { .. }), "delivery {at}: {outcome:?}");
    }
}
