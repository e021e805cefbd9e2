//! Limits and batch sizes that a person sets while the service runs: live, durable, removable.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::link::lock;
use crate::config::{Limits, SystemConfig};
use crate::engine::record::Timestamp;
use crate::store::{Store, StoreError};

const SPACE: &str = "override";

/// One override, as it is stored and shown.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Override {
    /// A system's name, or a connector's for all its systems.
    pub crm: String,
    /// All customers where left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub customer_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch_size: Option<usize>,
    /// Seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flush_interval: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_limit_per_minute: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_requests: Option<u32>,
    /// Seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window_size: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_per_day: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u32>,
    /// Milliseconds since 1970; for ever where left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at_ms: Option<i64>,
}

impl Override {
    /// Returns the name under which it is kept: one for a customer and a CRM.
    pub fn id(&self) -> String {
        id(self.customer_id.as_deref(), &self.crm)
    }
}

fn id(customer: Option<&str>, crm: &str) -> String {
    format!("{}/{crm}", customer.unwrap_or("*"))
}

/// What the overrides in force say of one system.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Overridden {
    pub batch_size: Option<usize>,
    pub flush_interval: Option<Duration>,
    pub max_requests: Option<u32>,
    pub window_size: Option<Duration>,
    pub max_per_day: Option<u32>,
    pub concurrency: Option<u32>,
}

impl Overridden {
    /// Lays the overrides over configured limits.
    pub fn limits(&self, configured: &Limits) -> Limits {
        Limits {
            max_requests: self.max_requests.unwrap_or(configured.max_requests),
            window_size: self.window_size.unwrap_or(configured.window_size),
            max_per_day: self.max_per_day.or(configured.max_per_day),
            concurrency: self.concurrency.or(configured.concurrency),
            reserve: configured.reserve,
        }
    }
}

/// All overrides.
pub struct Overrides {
    store: Arc<dyn Store>,
    known: Mutex<BTreeMap<String, Override>>,
}

impl Overrides {
    /// Reads what was stored.
    pub async fn open(store: Arc<dyn Store>, now: Timestamp) -> Result<Self, StoreError> {
        let stored = store.list(SPACE, now).await?;
        let known = stored
            .into_iter()
            .filter_map(|(id, text)| serde_json::from_str(&text).ok().map(|value| (id, value)))
            .collect();
        Ok(Self { store, known: Mutex::new(known) })
    }

    /// Lists what is in force.
    pub fn list(&self, now: Timestamp) -> Vec<Override> {
        let live = |wanted: &&Override| wanted.expires_at_ms.is_none_or(|at| at > now.0);
        lock(&self.known).values().filter(live).cloned().collect()
    }

    /// Sets one; it takes the place of the one for the same customer and CRM.
    pub async fn set(&self, wanted: Override) -> Result<(), StoreError> {
        let text = serde_json::to_string(&wanted).map_err(|error| StoreError::Io(error.to_string()))?;
        self.store.put(SPACE, &wanted.id(), &text, wanted.expires_at_ms.map(Timestamp)).await?;
        lock(&self.known).insert(wanted.id(), wanted);
        Ok(())
    }

    /// Removes one; gives whether it was there.
    pub async fn remove(&self, customer: Option<&str>, crm: &str) -> Result<bool, StoreError> {
        let id = id(customer, crm);
        let stored = self.store.remove(SPACE, &id).await?;
        Ok(lock(&self.known).remove(&id).is_some() || stored)
    }

    /// Returns what holds for one system of one customer: by its own name before its connector's, and
    /// for this customer before for all.
    pub fn of(
        &self,
        customer: &str,
        system: &str,
        config: Option<&SystemConfig>,
        now: Timestamp,
    ) -> Overridden {
        let known = lock(&self.known);
        let connector = config.map_or("", |config| config.connector.as_str());
        let ids = [
            id(None, connector),
            id(None, system),
            id(Some(customer), connector),
            id(Some(customer), system),
        ];
        let mut all = Overridden::default();
        for wanted in ids.iter().filter_map(|id| known.get(id)) {
            if wanted.expires_at_ms.is_some_and(|at| at <= now.0) {
                continue;
            }
            let seconds = |value: f64| Duration::try_from_secs_f64(value).ok();
            all.batch_size = wanted.batch_size.or(all.batch_size);
            all.flush_interval = wanted.flush_interval.and_then(seconds).or(all.flush_interval);
            if let Some(rate) = wanted.rate_limit_per_minute {
                (all.max_requests, all.window_size) = (Some(rate), Some(Duration::from_secs(60)));
            }
            all.max_requests = wanted.max_requests.or(all.max_requests);
            all.window_size = wanted.window_size.and_then(seconds).or(all.window_size);
            all.max_per_day = wanted.max_per_day.or(all.max_per_day);
            all.concurrency = wanted.concurrency.or(all.concurrency);
        }
        all
    }
}
