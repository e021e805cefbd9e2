//! Opening a system over HTTP: its settings read, its address found, its client made.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret, SecretString};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_path_to_error::Segment;

use super::client::{RestClient, RestOptions};
use crate::connectors::{MemoryVault, Open, SettingsError, Vault};
use crate::engine::fault::{Fault, FaultCode};

/// The base URL that stands for the built-in mock.
pub const MOCK: &str = "mock";

/// A connection that takes longer than this will not come, in milliseconds.
const CONNECT_MS_MAX: u64 = 10_000;

/// Reads a system's table; what does not fit is named by its keys.
pub fn read_settings<T: DeserializeOwned>(table: &serde_json::Value) -> Result<T, SettingsError> {
    serde_path_to_error::deserialize(table).map_err(|error| {
        let keys = error.path().iter().filter_map(|segment| match segment {
            Segment::Map { key } => Some(key.clone()),
            Segment::Enum { variant } => Some(variant.clone()),
            _ => None,
        });
        SettingsError { path: keys.collect(), message: error.inner().to_string() }
    })
}

/// Reads a secret so that it never shows in a `Debug` text.
pub fn secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SecretString>, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.map(SecretString::from))
}

/// Builds the fault of settings that are wrong at the moment of opening.
pub fn wrong_settings(open: &Open, error: SettingsError) -> Fault {
    let place = format!("system {}: {}", open.system, error.path.join("."));
    Fault::fatal(FaultCode::Configuration, place, error.message)
}

/// Finds where a system answers, without a slash at the end.
pub fn address(base_url: &str, open: &Open) -> Result<String, Fault> {
    match (base_url == MOCK, &open.mock_url) {
        (false, _) => Ok(base_url.trim_end_matches('/').to_owned()),
        (true, Some(url)) => Ok(url.trim_end_matches('/').to_owned()),
        (true, None) => Err(Fault::fatal(
            FaultCode::Configuration,
            format!("system {}: no built-in mock is being served here", open.system),
            "start the daemon, or write the URL of a mock that runs as a server of its own",
        )),
    }
}

/// Finds where a system keeps the secrets that its service changes. The built-in mock takes each for ever: nothing
/// of it is worth the state.
pub fn vault(open: &Open) -> Arc<dyn Vault> {
    match open.settings.get("base_url").and_then(serde_json::Value::as_str) {
        Some(MOCK) => Arc::new(MemoryVault::default()),
        _ => Arc::clone(&open.vault),
    }
}

/// Makes the client of a system, whose requests may take so many milliseconds; calls nobody.
pub fn client(
    address: &str,
    timeout_ms: u64,
    options: RestOptions,
    open: &Open,
) -> Result<Arc<RestClient>, Fault> {
    let options = RestOptions {
        timeout: Duration::from_millis(timeout_ms),
        connect_timeout: Duration::from_millis(timeout_ms.min(CONNECT_MS_MAX)),
        ..options
    };
    let (gate, clock) = (Arc::clone(&open.gate), Arc::clone(&open.clock));
    RestClient::new(address, gate, clock, options).map(Arc::new)
}

/// Writes user name and password as HTTP does.
pub fn basic(username: &str, password: &SecretString) -> String {
    format!("Basic {}", STANDARD.encode(format!("{username}:{}", password.expose_secret())))
}
