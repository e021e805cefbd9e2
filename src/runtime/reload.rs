//! Takes in changes of the rules and of the configuration while everything runs.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::book::RuleBook;
use super::link::lock;
use super::open;
use super::supervisor::{LinkKey, Running, Runtime};
use crate::config::{Config, Customer, LinkConfig};
use crate::connectors::{Call, Class};
use crate::engine::fault::{Fault, FaultCode, FaultKind};
use crate::engine::rules::{LinkFacts, RulesError, RulesFile};
use crate::planted::{Bug, planted};
use crate::store::StoreError;

/// Whoever changes the rules does not wait longer for what a system says of its fields.
const LOOK_WITHIN: Duration = Duration::from_secs(5);
const LOOKS_MAX: u32 = 4;
const LOOK_AGAIN_IN: Duration = Duration::from_millis(300);

/// Why new rules were not put in force.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    #[error("{0}")]
    Rules(#[from] RulesError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("can't write {path}: {error}")]
    Write { path: String, error: std::io::Error },
}

/// What new rules would do, or did.
#[derive(Clone, Debug, serde::Serialize)]
pub struct ReloadReport {
    pub version: u32,
    /// Links for which the rules mean something else now.
    pub changed: Vec<String>,
    pub unchanged: Vec<String>,
}

impl Runtime {
    /// Checks a text as a whole: on its own, and compiled for every link that runs under the book.
    pub async fn check_rules(
        self: &Arc<Self>,
        book: &RuleBook,
        text: &str,
    ) -> Result<(RulesFile, ReloadReport), RulesError> {
        let file = RulesFile::parse(text)?;
        let (links, systems) = self.names();
        file.check_names(&links, &systems)?;
        let mut report = ReloadReport { version: book.current().version, changed: vec![], unchanged: vec![] };
        for (key, running) in self.under(book) {
            let Some(known) = lock(&running.facts).clone() else { continue };
            let name = format!("{}/{}", key.0, key.1);
            let rules = match file.compile(0, &known) {
                // A field may have come up since the link was opened: look again before the rules are blamed.
                Err(error) if planted(Bug::FieldsKnownForGood) => return Err(error),
                Err(error) => {
                    let looked = self.look_again(&key).await;
                    let facts = looked.as_ref().unwrap_or(&known);
                    match (file.compile(0, facts), &looked) {
                        (Ok(rules), _) => rules,
                        // It stands still under the rules in force for the same reason: other links need not wait.
                        (Err(error), _) if stands_still(book, &running, facts, &error) => {
                            report.unchanged.push(name);
                            continue;
                        }
                        (Err(_), Err(fault)) => return Err(error.under_doubt(fault)),
                        (Err(error), Ok(_)) => return Err(error),
                    }
                }
                Ok(rules) => rules,
            };
            let same =
                running.context.load_full().is_some_and(|ctx| ctx.rules.fingerprint == rules.fingerprint);
            if same { report.unchanged.push(name) } else { report.changed.push(name) }
        }
        Ok((file, report))
    }

    /// Puts a text in force where it is good; a bad one changes nothing but what is said about it. The
    /// caller holds [`RuleBook::changing`].
    async fn reload_rules(
        self: &Arc<Self>,
        book: &Arc<RuleBook>,
        text: String,
    ) -> Result<ReloadReport, ReloadError> {
        let now = (self.clock)();
        if let Some(report) = in_force(book, &text) {
            return Ok(report);
        }
        match self.check_rules(book, &text).await {
            Ok(checked) => self.adopt(book, text, checked).await,
            Err(error) => {
                book.refuse(&error, now);
                tracing::error!(event = "rules.refused", error = %error.in_file(&book.path.display().to_string()),
                    rules_version = book.current().version, "the last good rules stay in force");
                Err(error.into())
            }
        }
    }

    /// Puts a text in force that was checked.
    async fn adopt(
        self: &Arc<Self>,
        book: &Arc<RuleBook>,
        text: String,
        (file, mut report): (RulesFile, ReloadReport),
    ) -> Result<ReloadReport, ReloadError> {
        let now = (self.clock)();
        report.version = book.adopt(file, text, self.store.as_ref(), now).await?;
        tracing::info!(
            event = "rules.reloaded",
            rules_version = report.version,
            changed = report.changed.len(),
            "new rules are in force"
        );
        for (key, _) in self.under(book) {
            self.restart(&key).await;
        }
        Ok(report)
    }

    /// Replaces the rules file itself, atomically, and puts it in force.
    pub async fn replace_rules(
        self: &Arc<Self>,
        book: &Arc<RuleBook>,
        text: String,
    ) -> Result<ReloadReport, ReloadError> {
        let _one = book.changing.lock().await;
        let checked = self.check_rules(book, &text).await?;
        write_atomically(&book.path, &text)
            .map_err(|error| ReloadError::Write { path: book.path.display().to_string(), error })?;
        if let Some(report) = in_force(book, &text) {
            return Ok(report);
        }
        // What was good before it was written is not asked for again: a system may have gone since.
        self.adopt(book, text, checked).await
    }

    /// Follows the rules files and the configuration file until everything stops.
    pub async fn follow(self: Arc<Self>, config_path: PathBuf, load: LoadConfig) {
        let mut config_text = self.watcher.content(&config_path);
        loop {
            tokio::select! {
                biased;
                () = self.stopping().cancelled() => return,
                changed = config_text.changed() => {
                    if changed.is_err() {
                        return;
                    }
                }
            }
            let Some(text) = config_text.borrow_and_update().clone() else { continue };
            match load(&text) {
                Ok(config) => self.reload_config(config).await,
                Err(problems) => {
                    tracing::error!(event = "config.refused", error = %problems,
                        "the last good configuration stays in force");
                    *lock(&self.config_problem) = Some(problems);
                }
            }
        }
    }

    /// Follows one rules file.
    pub(super) fn follow_book(self: &Arc<Self>, book: Arc<RuleBook>) {
        let runtime = Arc::clone(self);
        self.spawn(async move {
            let mut text = runtime.watcher.content(&book.path);
            loop {
                tokio::select! {
                    biased;
                    () = runtime.stopping().cancelled() => return,
                    changed = text.changed() => {
                        if changed.is_err() {
                            return;
                        }
                    }
                }
                // A file that is gone for a moment is being saved; the last good rules stay.
                let Some(now) = text.borrow_and_update().clone() else { continue };
                let _one = book.changing.lock().await;
                // Written anew since it was read here: that is told as well, or has told itself already.
                if std::fs::read_to_string(&book.path).is_ok_and(|written| written != now) {
                    continue;
                }
                if let Err(ReloadError::Store(error)) = runtime.reload_rules(&book, now).await {
                    tracing::error!(event = "rules.not_stored", error = %error, "new rules could not be stored");
                }
            }
        });
    }

    /// Says why the configuration file as it stands was refused, if it was.
    pub fn config_problem(&self) -> Option<String> {
        lock(&self.config_problem).clone()
    }

    /// Lays a good configuration over the running links: limits at once, all else by a restart of the
    /// links that it touches.
    async fn reload_config(self: &Arc<Self>, new: Config) {
        let old = self.config();
        *lock(&self.config_problem) = None;
        if *old == new {
            return;
        }
        self.config.store(Arc::new(new));
        let new = self.config();
        self.apply_limits();
        let mut restarted = 0;
        for (key, _) in self.all_running() {
            let find = |config: &Config| {
                config.customer(&key.0).ok().and_then(|customer| depends(&customer, &key.1))
            };
            match (find(&old), find(&new)) {
                (_, None) => self.retire(&key).await,
                (before, after) if before != after => {
                    restarted += 1;
                    self.restart(&key).await;
                }
                _ => {}
            }
        }
        if let Err(error) = self.start_all().await {
            *lock(&self.config_problem) = Some(error.to_string());
            tracing::error!(event = "config.not_started", error = %error, "a new link could not be started");
        }
        tracing::info!(event = "config.reloaded", restarted, "a new configuration is in force");
    }

    /// Gives every gate and every running link the limits and batch sizes that hold now.
    pub fn apply_limits(&self) {
        let config = self.config();
        for ((customer_id, link), running) in self.all_running() {
            let Ok(customer) = config.customer(&customer_id) else { continue };
            let Some(link) = customer.links.get(&link) else { continue };
            for (end, tuning) in [&link.a, &link.b].into_iter().zip(&running.tunings) {
                tuning.store(Arc::new(self.tuning(&customer, link, &end.system)));
                if let Some(system) = customer.systems.get(&end.system) {
                    self.set_limits(&customer, &end.system, system);
                }
            }
        }
    }

    /// Asks both systems of a link what their streams look like now.
    async fn look_again(self: &Arc<Self>, (customer, link): &LinkKey) -> Result<LinkFacts, Fault> {
        let config = self.config();
        let gone = || Fault::fatal(FaultCode::Configuration, "the link is gone", "put it back");
        let customer = config.customer(customer).map_err(|_| gone())?;
        let wanted = customer.links.get(link).ok_or_else(gone)?;
        let systems = [self.system(&customer, &wanted.a)?, self.system(&customer, &wanted.b)?];
        let correlation_id = format!("{}-{link}-rules", customer.id);
        let call = Call::new(Class::Interactive, correlation_id);
        let late =
            || Fault::transient(FaultCode::Timeout, format!("no answer in {} s", LOOK_WITHIN.as_secs()));
        let mut tries = LOOKS_MAX;
        let looked = tokio::time::timeout(LOOK_WITHIN, async {
            loop {
                tries -= 1;
                match open::look(&customer, wanted, &systems, None, &call).await {
                    Err(fault) if fault.kind == FaultKind::Transient && tries > 0 => {
                        tokio::time::sleep(LOOK_AGAIN_IN).await;
                    }
                    looked => return looked,
                }
            }
        });
        looked.await.map_err(|_| late())?
    }

    fn under(&self, book: &RuleBook) -> Vec<(LinkKey, Arc<Running>)> {
        let config = self.config();
        let mut all = self.all_running();
        all.retain(|((customer, _), _)| {
            config.customer(customer).is_ok_and(|customer| self.rules_path(&customer) == book.path)
        });
        all
    }

    /// All links and systems that any customer has.
    fn names(&self) -> (Vec<String>, Vec<String>) {
        let config = self.config();
        let (mut links, mut systems) = (Vec::new(), Vec::new());
        for customer in config.customers.values().chain([&config.default]) {
            links.extend(customer.links.keys().cloned());
            for (name, system) in &customer.systems {
                systems.extend([name.clone(), system.connector.clone()]);
            }
        }
        (links, systems)
    }
}

/// Tells of rules that are the ones in force.
fn in_force(book: &RuleBook, text: &str) -> Option<ReloadReport> {
    if book.current().text != text {
        return None;
    }
    book.content();
    Some(ReloadReport { version: book.current().version, changed: vec![], unchanged: vec![] })
}

/// Reads a text as configuration; the error is ready to be shown.
pub type LoadConfig = Box<dyn Fn(&str) -> Result<Config, String> + Send + Sync>;

/// What a link depends on, limits left out: they apply live.
#[derive(PartialEq)]
struct Depends {
    link: LinkConfig,
    rules: Option<PathBuf>,
    /// Connector and settings of both ends.
    systems: Vec<(String, serde_json::Value)>,
}

fn depends(customer: &Customer, link: &str) -> Option<Depends> {
    let link = customer.links.get(link)?.clone();
    let systems = [&link.a, &link.b]
        .iter()
        .filter_map(|end| customer.systems.get(&end.system))
        .map(|system| (system.connector.clone(), system.settings.clone()))
        .collect();
    Some(Depends { link, rules: customer.rules.clone(), systems })
}

/// Tells whether a link can't open under the rules in force either, with the same words.
fn stands_still(book: &RuleBook, running: &Running, facts: &LinkFacts, error: &RulesError) -> bool {
    let same = |known: RulesError| known.message == error.message;
    running.context.load().is_none() && book.current().file.compile(0, facts).is_err_and(same)
}

/// Writes a file so that nobody ever sees half of it; a link is followed to the file behind it.
fn write_atomically(path: &Path, text: &str) -> std::io::Result<()> {
    use std::io::Write;
    let target = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let folder = target.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(text.as_bytes())?;
    file.as_file().sync_all()?;
    if let Ok(existing) = std::fs::metadata(&target) {
        std::fs::set_permissions(file.path(), existing.permissions())?;
    }
    file.persist(&target).map_err(|error| error.error)?;
    Ok(())
}
