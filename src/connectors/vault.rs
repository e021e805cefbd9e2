//! Where a system keeps a secret that changes while it is in use.

use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use secrecy::SecretString;

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
}

/// A vault that lasts as long as the process, for systems whose secrets do not change, or end with it.
#[derive(Default)]
pub struct MemoryVault(Mutex<Option<SecretString>>);

#[async_trait]
impl Vault for MemoryVault {
    async fn load(&self) -> Result<Option<SecretString>, Fault> {
        Ok(self.0.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }

    async fn save(&self, secret: &SecretString) -> Result<(), Fault> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(secret.clone());
        Ok(())
    }

    fn carry(&self, exchange: BoxFuture<'static, ()>) {
        let here = tokio::runtime::Handle::current();
        tokio::task::spawn_blocking(move || here.block_on(exchange));
    }
}
