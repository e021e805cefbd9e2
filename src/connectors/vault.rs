//! Where a system keeps a secret that changes while it is in use.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use secrecy::SecretString;
use tokio::sync::OwnedMutexGuard;

use crate::engine::fault::Fault;

/// The place of one system's secret; a restart finds it there. What stands in it is the connector's affair.
#[async_trait]
pub trait Vault: Send + Sync {
    /// Reads what was saved last.
    async fn load(&self) -> Result<Option<SecretString>, Fault>;
    /// Saves in the place of what was there; durable, also through a power failure, once it returns.
    async fn save(&self, secret: &SecretString) -> Result<(), Fault>;
    /// Carries an exchange to its end, also where whoever asked for it goes away or the service is told to
    /// stop: half of one is a lost secret.
    fn carry(&self, exchange: BoxFuture<'static, ()>);
    /// Says which opening of the system this is.
    fn opening(&self) -> &Opening;
}

/// One opening of a system among those that work with the same place: while its settings change, an earlier one
/// may still be at the end of its work.
#[derive(Default)]
pub struct Opening {
    number: u64,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    newest: AtomicU64,
    turn: Arc<tokio::sync::Mutex<()>>,
}

impl Opening {
    /// Makes the next opening of the same system.
    #[must_use]
    pub fn next(&self) -> Self {
        let number = self.shared.newest.fetch_add(1, Ordering::AcqRel) + 1;
        Self { number, shared: Arc::clone(&self.shared) }
    }

    /// Tells whether no later one has been made.
    pub fn is_newest(&self) -> bool {
        self.shared.newest.load(Ordering::Acquire) == self.number
    }

    /// Waits until none of them works with the place; the others wait until this is dropped.
    pub async fn turn(&self) -> OwnedMutexGuard<()> {
        Arc::clone(&self.shared.turn).lock_owned().await
    }
}

/// A vault that lasts as long as the process, for systems whose secrets do not change, or end with it.
#[derive(Default)]
pub struct MemoryVault {
    secret: Mutex<Option<SecretString>>,
    opening: Opening,
}

#[async_trait]
impl Vault for MemoryVault {
    async fn load(&self) -> Result<Option<SecretString>, Fault> {
        Ok(self.secret.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }

    async fn save(&self, secret: &SecretString) -> Result<(), Fault> {
        *self.secret.lock().unwrap_or_else(PoisonError::into_inner) = Some(secret.clone());
        Ok(())
    }

    fn carry(&self, exchange: BoxFuture<'static, ()>) {
        let here = tokio::runtime::Handle::current();
        tokio::task::spawn_blocking(move || here.block_on(exchange));
    }

    fn opening(&self) -> &Opening {
        &self.opening
    }
}
