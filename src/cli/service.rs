//! Puts the service together: log, state, mocks, gates, links.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use tokio_util::sync::CancellationToken;

use super::{Exit, Globals, catalogue, output};
use crate::config::{self, Config, Memory};
use crate::connectors::mock::MockSettings;
use crate::connectors::{CONNECTORS, Clock, find};
use crate::http::mocks::Mocks;
use crate::runtime::clock;
use crate::runtime::gate::{Gates, StoredTails};
use crate::runtime::overrides::Overrides;
use crate::runtime::supervisor::{Runtime, RuntimeParts};
use crate::runtime::vault::VaultStore;
use crate::runtime::watch::FileWatcher;
use crate::store::Store;
use crate::store::sqlite::{SqliteOptions, SqliteStore};
use crate::telemetry::{self, LogSettings, Stderr, Telemetry};

/// A service that is ready to be started.
pub(super) struct Service {
    pub runtime: Arc<Runtime>,
    pub mocks: Mocks,
    pub metrics: telemetry::metrics::Metrics,
    pub listener: tokio::net::TcpListener,
    pub address: SocketAddr,
    /// Writes out what is still queued when it goes.
    pub log: Telemetry,
}

/// What differs between the daemon and a single pass.
pub(super) struct Wanted {
    pub listen: SocketAddr,
    pub stderr: Stderr,
    /// Where refresh tokens stand; in the state where left out.
    pub vault: Option<VaultStore>,
}

/// Opens everything that a service needs; prints why where it can't.
pub(super) async fn open(globals: &Globals, config: Config, wanted: Wanted) -> Result<Service, Exit> {
    let clock = clock::real();
    let settings = LogSettings {
        folder: Some(config.service.log_dir.clone()),
        level: config.service.log_level.clone(),
        bytes_max: config.service.log_bytes_max,
        files_max: config.service.log_files_max,
        stderr: wanted.stderr,
    };
    let log = telemetry::start(&settings, &clock).map_err(output::failed)?;
    let metrics = telemetry::metrics::install(log.dropped.clone()).map_err(output::failed)?;
    let path = config.service.state_path();
    let sizes = config.sizes();
    warn_of_memory(&config);
    let options = SqliteOptions { cache_bytes: sizes.state_cache_bytes, ..SqliteOptions::default() };
    let store = SqliteStore::open(&path, options).map_err(output::failed)?;
    let store: Arc<dyn Store> = Arc::new(store);
    let listener = tokio::net::TcpListener::bind(wanted.listen).await.map_err(|error| {
        output::failed(format!("can't listen on {}: {error}; choose another --listen", wanted.listen))
    })?;
    let address = listener.local_addr().map_err(output::failed)?;
    let stop = CancellationToken::new();
    let slot: Arc<OnceLock<Arc<Runtime>>> = Arc::default();
    let mocks = mocks(&clock, &slot);
    let origin = format!("http://{}", reachable(address));
    let overrides = Overrides::open(Arc::clone(&store), clock()).await.map_err(output::failed)?;
    let runtime = Runtime::new(RuntimeParts {
        gates: Gates::new(Arc::clone(&clock), Some(Arc::new(StoredTails(Arc::clone(&store)))), stop.clone()),
        store,
        clock: Arc::clone(&clock),
        connectors: CONNECTORS,
        config,
        rules: globals.rules.clone().map(absolute),
        mock_url: Arc::new(move |customer, system, connector| {
            let mocked = find(connector).is_some_and(|connector| connector.mock.is_some());
            mocked.then(|| Mocks::url(&origin, customer, system))
        }),
        vault: wanted.vault,
        watcher: FileWatcher::new(),
        overrides,
        stop,
    });
    // The mocks look their settings up in the configuration that is in force when one is first used.
    let _ = slot.set(Arc::clone(&runtime));
    Ok(Service { runtime, mocks, metrics, listener, address, log })
}

/// Tells of a budget that so many links can't be kept within.
fn warn_of_memory(config: &Config) {
    let (links, budget) = (config.links_at_start(), config.service.memory.budget());
    let least = Memory::least(links);
    if least > budget {
        let megabytes = |bytes: u64| bytes.div_ceil(1_000_000);
        tracing::warn!(
            event = "memory.too_small",
            budget,
            links,
            "{links} links take about {} MB at the least, more than the memory budget of {} MB",
            megabytes(least),
            megabytes(budget)
        );
    }
}

fn absolute(path: PathBuf) -> PathBuf {
    std::path::absolute(&path).unwrap_or(path)
}

/// A listener on all addresses is reached on this machine by the loopback one.
pub(super) fn reachable(address: SocketAddr) -> SocketAddr {
    let mut address = address;
    if address.ip().is_unspecified() {
        address.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
    }
    address
}

fn mocks(clock: &Clock, slot: &Arc<OnceLock<Arc<Runtime>>>) -> Mocks {
    let slot = Arc::clone(slot);
    Mocks::new(Arc::clone(clock), move |customer, system| {
        let config = slot.get()?.config();
        let known = config.customer(customer).ok()?;
        let wanted = known.systems.get(system)?;
        if wanted.settings.get("base_url").and_then(serde_json::Value::as_str) != Some("mock") {
            return None;
        }
        let make = find(&wanted.connector)?.mock?;
        let data = config
            .service
            .mock_data
            .as_ref()
            .map(|folder| folder.join(format!("{customer}-{system}.sqlite")));
        let description = wanted.settings.clone();
        Some(make(MockSettings { seed: 1, strict: false, data, description, ..MockSettings::default() }))
    })
}

/// Returns what reads a changed configuration text as at the start: the same file, flags and
/// environment.
pub(super) fn reader(
    globals: &Globals,
    flags: &[(&'static str, String)],
) -> crate::runtime::reload::LoadConfig {
    let environment = globals.environment(flags);
    let path = globals.config.clone();
    Box::new(move |text| {
        config::load(text, &path, &environment, &catalogue()).map_err(|problems| problems.to_string())
    })
}
