//! All gates of the process, by (customer, system).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use super::{GateKeeper, STORE_AGAIN};
use crate::config::{BreakerConfig, Limits};
use crate::connectors::Clock;
use crate::engine::fault::{Fault, FaultCode, FaultKind};
use crate::engine::flow::{self, BreakerPolicy, GatePolicy, GateView};
use crate::engine::record::Timestamp;
use crate::planted::{Bug, planted};
use crate::store::{Store, StoreError};

/// A gate for the status.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct GateEntry {
    pub customer: String,
    pub system: String,
    /// Calls that wait.
    pub waiting: usize,
    #[serde(flatten)]
    pub gate: GateView,
}

/// Where the tails of the windows are kept.
#[async_trait]
pub trait Tails: Send + Sync {
    /// Reads the tail of a gate (`customer/system`).
    async fn load(&self, gate: &str, now: Timestamp) -> Result<Option<String>, Fault>;
    /// Stores it durably before it returns.
    async fn save(&self, gate: &str, tail: &str, expires_at: Timestamp) -> Result<(), Fault>;
}

/// The tails in the state, as small values of the space `gate`.
pub struct StoredTails(pub Arc<dyn Store>);

const SPACE: &str = "gate";

#[async_trait]
impl Tails for StoredTails {
    async fn load(&self, gate: &str, now: Timestamp) -> Result<Option<String>, Fault> {
        let tail = self.0.get(SPACE, gate, now).await.map_err(|error| not_stored(&error))?;
        Ok(tail.filter(|_| !planted(Bug::WindowForgotten)))
    }

    async fn save(&self, gate: &str, tail: &str, expires_at: Timestamp) -> Result<(), Fault> {
        self.0.put(SPACE, gate, tail, Some(expires_at)).await.map_err(|error| not_stored(&error))
    }
}

fn not_stored(error: &StoreError) -> Fault {
    let wait = FaultKind::Throttled { retry_after: Some(STORE_AGAIN) };
    Fault::new(wait, FaultCode::Storage, format!("no call goes out that a restart would forget: {error}"))
}

/// Makes a gate's policy of what the configuration says.
pub fn policy(limits: &Limits, breaker: &BreakerConfig) -> GatePolicy {
    GatePolicy {
        limits: flow::Limits {
            max: limits.max_requests,
            window: limits.window_size,
            reserve: limits.reserve,
            ..flow::Limits::default()
        },
        per_day: limits.max_per_day,
        concurrency: limits.concurrency,
        breaker: BreakerPolicy {
            consecutive_max: breaker.failures,
            calls_window: breaker.calls as usize,
            calls_min: breaker.calls_min as usize,
            failure_rate: breaker.failure_rate,
            slow_after: breaker.slow_after,
            slow_rate: breaker.slow_rate,
            open: breaker.open_for,
            open_max: breaker.open_max,
            probes: breaker.probes,
            ..BreakerPolicy::default()
        },
    }
}

/// The registry. Gates live as long as the process: a customer that is removed and added again
/// meets the same window. Cheap to clone.
#[derive(Clone)]
pub struct Gates {
    clock: Clock,
    tails: Option<Arc<dyn Tails>>,
    stop: CancellationToken,
    gates: Arc<Mutex<Keepers>>,
}

/// By customer and system.
type Keepers = BTreeMap<(String, String), Arc<GateKeeper>>;

impl Gates {
    /// Makes an empty registry. Without `tails` nothing survives the process. When `stop` is
    /// cancelled, whoever waits is sent home.
    pub fn new(clock: Clock, tails: Option<Arc<dyn Tails>>, stop: CancellationToken) -> Self {
        Self { clock, tails, stop, gates: Arc::default() }
    }

    /// Returns the gate of a customer's system under this policy, made on first use.
    pub fn gate(&self, customer: &str, system: &str, policy: GatePolicy) -> Arc<GateKeeper> {
        let mut gates = self.gates.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (customer.to_owned(), system.to_owned());
        let keeper = gates.entry(key).or_insert_with(|| {
            let (clock, tails) = (Arc::clone(&self.clock), self.tails.clone());
            Arc::new(GateKeeper::new((customer, system), policy, clock, tails, self.stop.clone()))
        });
        let keeper = Arc::clone(keeper);
        drop(gates);
        keeper.set_policy(policy);
        keeper
    }

    /// Returns a gate that was made.
    pub fn get(&self, customer: &str, system: &str) -> Option<Arc<GateKeeper>> {
        let gates = self.gates.lock().unwrap_or_else(PoisonError::into_inner);
        gates.get(&(customer.to_owned(), system.to_owned())).cloned()
    }

    /// Describes all gates, by customer and system.
    pub fn views(&self) -> Vec<GateEntry> {
        self.all().iter().map(|keeper| keeper.view()).collect()
    }

    /// Sets the metrics of windows and breakers: both move on while no call is made.
    pub fn measure(&self) {
        self.all().iter().for_each(|keeper| keeper.measure_state(&keeper.view().gate));
    }

    /// Lets no more calls through and stores all windows exactly; gives the first failure.
    pub async fn close(&self) -> Result<(), Fault> {
        let mut result = Ok(());
        for keeper in self.all() {
            result = result.and(keeper.close().await);
        }
        result
    }

    fn all(&self) -> Vec<Arc<GateKeeper>> {
        let gates = self.gates.lock().unwrap_or_else(PoisonError::into_inner);
        gates.values().cloned().collect()
    }
}
