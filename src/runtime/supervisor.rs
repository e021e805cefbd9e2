//! Starts and stops links, and answers for all of them.
//!
//! A link is restarted as a whole whenever something that it was opened with changes: rules,
//! configuration, a pause. It stops between two pages and goes on where its cursors stand; so a change
//! is atomic for it and needs no further thought anywhere below.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::book::{BookError, RuleBook};
use super::gate::Gates;
use super::link::{LinkContext, LinkView, Phase, Tuning, lock};
use super::open;
use super::overrides::Overrides;
use super::vault::VaultStore;
use super::watch::FileWatcher;
use crate::config::Config;
use crate::connectors::{Clock, Connector, Opening, System};
use crate::engine::rules::{Flow, LinkFacts};
use crate::store::{LinkWord, Store, StoreError, Sums};

/// A customer and one of its links.
pub type LinkKey = (String, String);

/// Gives the address of the built-in mock of a customer's system.
pub type MockUrl = Arc<dyn Fn(&str, &str, &str) -> Option<String> + Send + Sync>;

/// What the runtime is made of; shared by everybody who answers for it.
pub struct Runtime {
    pub store: Arc<dyn Store>,
    pub clock: Clock,
    pub gates: Gates,
    pub overrides: Overrides,
    pub started_at: crate::engine::record::Timestamp,
    pub(super) connectors: &'static [&'static Connector],
    pub(super) config: ArcSwap<Config>,
    pub(super) config_problem: Mutex<Option<String>>,
    pub(super) rules_override: Option<PathBuf>,
    pub(super) mock_url: MockUrl,
    pub(super) vault: VaultStore,
    pub(super) watcher: FileWatcher,
    pub(super) books: tokio::sync::Mutex<BTreeMap<PathBuf, Arc<RuleBook>>>,
    pub(super) systems: Mutex<BTreeMap<LinkKey, OpenedSystem>>,
    pub(super) links: Mutex<BTreeMap<LinkKey, Arc<Running>>>,
    /// What flows where on the links that are open, so that no ring of them runs for ever.
    pub(super) flows: Mutex<BTreeMap<LinkKey, Vec<Flow>>>,
    /// One restart at a time.
    pub(super) moves: tokio::sync::Mutex<()>,
    pub(super) tracker: TaskTracker,
    pub(super) stop: CancellationToken,
}

/// A system that was opened once for all links of its customer.
pub(super) struct OpenedSystem {
    pub made_from: (String, serde_json::Value),
    pub system: Arc<dyn System>,
    pub opening: Arc<Opening>,
}

/// One link that was started.
pub struct Running {
    pub view: Arc<LinkView>,
    /// The link as it runs now; `None` while it is being opened.
    pub context: ArcSwapOption<LinkContext>,
    pub tunings: [Arc<ArcSwap<Tuning>>; 2],
    pub(super) facts: Mutex<Option<LinkFacts>>,
    /// What the link's last generation knew of its keys and scans when it ended.
    pub(super) sums: Mutex<Option<Sums>>,
    generation: Mutex<Generation>,
}

#[derive(Default)]
struct Generation {
    stop: CancellationToken,
    task: Option<tokio::task::JoinHandle<()>>,
}

/// What [`Runtime::new`] starts from.
pub struct RuntimeParts {
    pub store: Arc<dyn Store>,
    pub clock: Clock,
    pub gates: Gates,
    /// What systems can be opened with: [`crate::connectors::CONNECTORS`], or a test's own.
    pub connectors: &'static [&'static Connector],
    pub config: Config,
    /// `--rules`: instead of what the configuration names for all customers.
    pub rules: Option<PathBuf>,
    pub mock_url: MockUrl,
    /// Where secrets stand that services change; in the state where left out.
    pub vault: Option<VaultStore>,
    pub watcher: FileWatcher,
    pub overrides: Overrides,
    pub stop: CancellationToken,
}

/// Why a link can't be started at all.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("{0:?} is no customer id; use 1 to 64 letters, digits, _ and -")]
    BadCustomer(String),
    #[error("there is no link {link:?}; this customer has {known}")]
    UnknownLink { link: String, known: String },
    #[error(transparent)]
    Book(#[from] BookError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Runtime {
    /// Puts the runtime together; nothing runs yet.
    pub fn new(parts: RuntimeParts) -> Arc<Self> {
        let vault = parts.vault.unwrap_or_else(|| {
            let store = Arc::clone(&parts.store);
            Arc::new(move |_| Ok(Some(Arc::clone(&store))))
        });
        Arc::new(Self {
            started_at: (parts.clock)(),
            vault,
            store: parts.store,
            clock: parts.clock,
            gates: parts.gates,
            overrides: parts.overrides,
            connectors: parts.connectors,
            config: ArcSwap::from_pointee(parts.config),
            config_problem: Mutex::new(None),
            rules_override: parts.rules,
            mock_url: parts.mock_url,
            watcher: parts.watcher,
            books: tokio::sync::Mutex::default(),
            systems: Mutex::default(),
            links: Mutex::default(),
            flows: Mutex::default(),
            moves: tokio::sync::Mutex::default(),
            tracker: TaskTracker::new(),
            stop: parts.stop,
        })
    }

    /// Finds a connector by the name that stands in the configuration.
    pub(super) fn connector(&self, name: &str) -> Option<&'static Connector> {
        self.connectors.iter().copied().find(|connector| connector.name == name)
    }

    /// Returns the configuration in force.
    pub fn config(&self) -> Arc<Config> {
        self.config.load_full()
    }

    /// Takes back what the last process held, and starts what starts by itself. Once in a process: a
    /// claim that is taken back while its worker lives would be delivered twice.
    pub async fn start(self: &Arc<Self>) -> Result<(), StartError> {
        let rescued = self.store.rescue((self.clock)(), true).await?;
        if rescued > 0 {
            tracing::warn!(event = "lease.rescued", count = rescued, "took back what the last process left");
        }
        self.start_all().await
    }

    /// Starts what starts by itself and does not run yet: the default customer's links, those of
    /// customers with `autostart`, and all that were triggered once.
    pub(super) async fn start_all(self: &Arc<Self>) -> Result<(), StartError> {
        let config = self.config();
        let mut keys: Vec<LinkKey> = Vec::new();
        for customer in config.autostarted() {
            keys.extend(customer.links.keys().map(|link| (customer.id.clone(), link.clone())));
        }
        for state in self.store.links().await? {
            let key = (state.customer, state.link);
            let known = config.customer(&key.0).is_ok_and(|customer| customer.links.contains_key(&key.1));
            if state.started && known && !keys.contains(&key) {
                keys.push(key);
            }
        }
        for (customer, link) in keys {
            self.start_link(&customer, &link).await?;
        }
        Ok(())
    }

    /// Starts a link where it does not run yet; it stays started over restarts.
    pub async fn start_link(
        self: &Arc<Self>,
        customer: &str,
        link: &str,
    ) -> Result<Arc<Running>, StartError> {
        self.begin(customer, link, true).await
    }

    /// Starts a link for this process only.
    pub async fn start_link_once(
        self: &Arc<Self>,
        customer: &str,
        link: &str,
    ) -> Result<Arc<Running>, StartError> {
        self.begin(customer, link, false).await
    }

    async fn begin(
        self: &Arc<Self>,
        customer: &str,
        link: &str,
        stays: bool,
    ) -> Result<Arc<Running>, StartError> {
        let config = self.config();
        let known = config.customer(customer).map_err(|_| StartError::BadCustomer(customer.to_owned()))?;
        if !known.links.contains_key(link) {
            let names: Vec<&str> = known.links.keys().map(String::as_str).collect();
            let known = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
            return Err(StartError::UnknownLink { link: link.to_owned(), known });
        }
        let key = (customer.to_owned(), link.to_owned());
        let _one = self.moves.lock().await;
        if let Some(running) = lock(&self.links).get(&key) {
            return Ok(Arc::clone(running));
        }
        self.book(&known).await?;
        let state = self.store.link(customer, link).await?;
        if stays && !state.started {
            self.store.tell_link(state.id, vec![LinkWord::Started]).await?;
        }
        let running = Arc::new(Running {
            view: Arc::default(),
            context: ArcSwapOption::empty(),
            tunings: std::array::from_fn(|_| {
                Arc::new(ArcSwap::from_pointee(Tuning { batch_size: 100, flush_interval: Duration::ZERO }))
            }),
            facts: Mutex::new(None),
            sums: Mutex::new(None),
            generation: Mutex::default(),
        });
        lock(&self.links).insert(key.clone(), Arc::clone(&running));
        self.launch(&key, &running);
        Ok(running)
    }

    /// Returns a started link.
    pub fn running(&self, customer: &str, link: &str) -> Option<Arc<Running>> {
        lock(&self.links).get(&(customer.to_owned(), link.to_owned())).cloned()
    }

    /// Lists the started links.
    pub fn all_running(&self) -> Vec<(LinkKey, Arc<Running>)> {
        lock(&self.links).iter().map(|(key, running)| (key.clone(), Arc::clone(running))).collect()
    }

    fn launch(self: &Arc<Self>, key: &LinkKey, running: &Arc<Running>) {
        let stop = self.stop.child_token();
        let task =
            self.tracker.spawn(open::keep(Arc::clone(self), key.clone(), Arc::clone(running), stop.clone()));
        *lock(&running.generation) = Generation { stop, task: Some(task) };
    }

    /// Stops a link between two pages and opens it again.
    pub async fn restart(self: &Arc<Self>, key: &LinkKey) {
        let _one = self.moves.lock().await;
        let Some(running) = lock(&self.links).get(key).cloned() else { return };
        halt(&running).await;
        if !self.stop.is_cancelled() {
            self.launch(key, &running);
        }
    }

    /// Stops a link for good, until it is started again.
    pub async fn retire(self: &Arc<Self>, key: &LinkKey) {
        let _one = self.moves.lock().await;
        let Some(running) = lock(&self.links).remove(key) else { return };
        halt(&running).await;
        lock(&self.flows).remove(key);
        *lock(&running.view.phase) = Phase::Stopped;
    }

    /// Runs a task that the shutdown waits for.
    pub fn spawn<F>(&self, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.tracker.spawn(task);
    }

    /// Returns the token that ends everything.
    pub fn stopping(&self) -> &CancellationToken {
        &self.stop
    }

    /// Stops everything: what is in flight ends or is handed back within the deadline.
    pub async fn drain(&self, deadline: Duration) -> bool {
        self.stop.cancel();
        self.tracker.close();
        let drained = tokio::time::timeout(deadline, self.tracker.wait()).await.is_ok();
        if let Err(fault) = self.gates.close().await {
            tracing::warn!(event = "gate.not_stored", error = %fault, "the next start waits for a full window");
        }
        if let Err(error) = self.store.tidy((self.clock)(), true).await {
            tracing::error!(event = "state.tidy_failed", error = %error, "the state was not tidied");
        }
        drained
    }
}

/// Ends the generation that runs and waits for it.
async fn halt(running: &Running) {
    let Generation { stop, task } = std::mem::take(&mut *lock(&running.generation));
    stop.cancel();
    if let Some(task) = task
        && let Err(error) = task.await
    {
        tracing::error!(event = "link.died", error = %error, "a link's task ended badly");
    }
}
