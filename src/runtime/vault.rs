//! Secrets of systems that change while they are in use, in the state.
//!
//! Invariant: what is saved outlives a power failure, and is told to nobody but the system that saved it.

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use secrecy::{ExposeSecret, SecretString};
use tokio_util::task::TaskTracker;

use super::page::storage;
use crate::connectors::{Clock, Opening, Vault};
use crate::engine::fault::{Fault, FaultCode};
use crate::store::{Store, StoreError};

/// The store's space for them; nothing lists it.
const SPACE: &str = "vault";

/// Gives the state that the secrets stand in; `None` where there is no state, and nothing is to be saved yet. A
/// check opens it only where a system has any.
pub type VaultStore = Arc<dyn Fn(Purpose) -> Result<Option<Arc<dyn Store>>, StoreError> + Send + Sync>;

/// What the state is wanted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    Load,
    Save,
}

/// The secret of one customer's system.
pub struct StoredVault {
    store: VaultStore,
    clock: Clock,
    tracker: TaskTracker,
    key: String,
    opening: Arc<Opening>,
}

impl StoredVault {
    /// Names the place; nothing is opened yet.
    pub fn new(
        store: VaultStore,
        clock: Clock,
        tracker: TaskTracker,
        (customer, system): (&str, &str),
        opening: Arc<Opening>,
    ) -> Self {
        // No customer's id holds a slash.
        Self { store, clock, tracker, key: format!("{customer}/{system}"), opening }
    }

    fn store(&self, purpose: Purpose) -> Result<Option<Arc<dyn Store>>, Fault> {
        (self.store)(purpose).map_err(|error| self.closed(error))
    }

    /// Where the daemon has the state, it has the only good token, too.
    fn closed(&self, error: StoreError) -> Fault {
        match error {
            StoreError::Locked { .. } => Fault::fatal(
                FaultCode::Storage,
                format!("the refresh token of {} is in use by a record-sync that runs", self.key),
                "ask that one how the system is (GET /v1/sync/status), or stop it for the check",
            ),
            error => storage(error),
        }
    }
}

#[async_trait]
impl Vault for StoredVault {
    async fn load(&self) -> Result<Option<SecretString>, Fault> {
        let Some(store) = self.store(Purpose::Load)? else { return Ok(None) };
        let found = store.get(SPACE, &self.key, (self.clock)()).await.map_err(storage)?;
        Ok(found.map(SecretString::from))
    }

    async fn save(&self, secret: &SecretString) -> Result<(), Fault> {
        let nowhere = || Fault::transient(FaultCode::Storage, "there is no state to keep a refresh token in");
        let store = self.store(Purpose::Save)?.ok_or_else(nowhere)?;
        store.put_for_good(SPACE, &self.key, secret.expose_secret()).await.map_err(storage)
    }

    fn carry(&self, exchange: BoxFuture<'static, ()>) {
        // The drain waits for it.
        self.tracker.spawn(exchange);
    }

    fn opening(&self) -> &Opening {
        &self.opening
    }
}
