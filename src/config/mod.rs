//! `customer_settings.toml` with environment and per-customer overlay, checked once.
//!
//! A file is parsed, its `${…}` filled in, each customer laid over `[default]`, and all of it read
//! into types; every problem is found in one go and told with its place and a remedy. Everything
//! compares, so that a reload can tell what changed.
//!
//! Invariant: a [`Config`] that exists is valid. Nothing that prints one shows a secret.

mod catalogue;
mod customer;
mod fields;
mod interpolate;
mod link;
mod memory;
mod problem;
mod secret;
mod service;
mod system;
mod tree;
mod tuning;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

pub use catalogue::{Catalogue, CheckSettings, ConnectorFacts, SettingsProblem};
pub use customer::{CUSTOMER_PLACE, Customer};
pub use link::{EndConfig, FuseConfig, LinkConfig};
pub use memory::{Memory, Sizes};
pub use problem::{Place, Problem, Problems};
pub use service::Service;
pub use system::SystemConfig;
pub use tuning::{BreakerConfig, Limits, RetryConfig};

use fields::{Fields, Reading};
use interpolate::Interpolation;
use tree::{Kind, Node, Table};

/// The customer that everybody is who is not named.
pub const DEFAULT_CUSTOMER: &str = "default";

/// A configuration file is written by hand; a larger one is most likely the wrong one.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// A valid configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    pub service: Service,
    /// The customer `default`; others that are not listed get its settings.
    pub default: Customer,
    /// The customers that have a table of their own.
    pub customers: BTreeMap<String, Customer>,
    /// The folder of the configuration file: relative paths start here.
    pub base_dir: PathBuf,
    /// What an unlisted customer gets, its id not yet filled in.
    unlisted: Customer,
}

/// A name that can be no customer's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a customer id has 1 to 64 letters, digits, _ or -, and is not `service`; change the id")]
pub struct BadCustomerId;

impl Config {
    /// Returns a customer's settings; those of `[default]` where it has no table of its own.
    pub fn customer(&self, id: &str) -> Result<Customer, BadCustomerId> {
        if !is_customer_id(id) {
            return Err(BadCustomerId);
        }
        if id == DEFAULT_CUSTOMER {
            return Ok(self.default.clone());
        }
        let listed = self.customers.get(id).cloned();
        Ok(listed.unwrap_or_else(|| customer::with_id(self.unlisted.clone(), id)))
    }

    /// Returns the bounds of what is in memory, for the links that start with the process.
    pub fn sizes(&self) -> Sizes {
        self.service.memory.sizes(self.links_at_start())
    }

    /// Counts the links that start with the process.
    pub fn links_at_start(&self) -> usize {
        self.autostarted().map(|customer| customer.links.len()).sum()
    }

    /// Returns the customers that start with the process, `default` first.
    pub fn autostarted(&self) -> impl Iterator<Item = &Customer> {
        let named = self.customers.values().filter(|customer| customer.autostart);
        std::iter::once(&self.default).chain(named)
    }
}

/// Tells whether this may be a customer's id: `[A-Za-z0-9_-]{1,64}`, and no table with a meaning of
/// its own.
pub fn is_customer_id(id: &str) -> bool {
    is_plain_name(id) && id != "service"
}

/// Tells whether a name is safe in paths, URLs and metrics.
pub(crate) fn is_plain_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    (1..=64).contains(&name.len()) && name.chars().all(plain)
}

/// Reads the environment; the one place that does.
pub fn process_env(name: &str) -> Option<String> {
    #[expect(clippy::disallowed_methods, reason = "this is the one lawful place")]
    std::env::var(name).ok()
}

/// Reads and checks a configuration file. See [`load`].
pub fn load_file(
    path: &Path,
    env: &dyn Fn(&str) -> Option<String>,
    catalogue: &Catalogue,
) -> Result<Config, Problems> {
    match read_text(path) {
        Ok(text) => load(&text, path, env, catalogue),
        Err(error) => {
            let problem = Problem {
                place: Place::File,
                message: format!("the configuration can't be read: {error}"),
                remedy: "make the file, or name another with --config".to_owned(),
            };
            Err(Problems::new(path.display().to_string(), "", vec![problem]))
        }
    }
}

fn read_text(path: &Path) -> std::io::Result<String> {
    let size = std::fs::metadata(path)?.len();
    if size > FILE_BYTES_MAX {
        return Err(std::io::Error::other(format!("{size} bytes are more than {FILE_BYTES_MAX}")));
    }
    std::fs::read_to_string(path)
}

/// Checks a configuration. `env` answers `${NAME}` and, under `RECORD_SYNC_KEY`, every text key of
/// `[service]`; a caller with flags lets it answer with them first. Flags beat environment beat file.
pub fn load(
    text: &str,
    path: &Path,
    env: &dyn Fn(&str) -> Option<String>,
    catalogue: &Catalogue,
) -> Result<Config, Problems> {
    let file = path.display().to_string();
    let base_dir = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    let interpolation = Interpolation { env, base_dir };
    let (root, problems) =
        tree::parse(text, &interpolation).map_err(|problems| Problems::new(file.clone(), text, problems))?;
    let reading = Reading { catalogue, env, base_dir, problems: RefCell::new(problems) };
    let config = read(&reading, &root);
    let problems = reading.problems.into_inner();
    if problems.is_empty() { Ok(config) } else { Err(Problems::new(file, text, problems)) }
}

fn read(reading: &Reading<'_>, root: &Table) -> Config {
    let none = Node { span: 0..0, kind: Kind::Table(Table::default()) };
    let section = |name: &str| root.entries.get(name).map_or(&none, |entry| &entry.node);
    let empty = Table::default();
    let as_table = |node: &'_ Node| match &node.kind {
        Kind::Table(table) => Some(table.clone()),
        _ => None,
    };
    for (name, entry) in &root.entries {
        if as_table(&entry.node).is_none() {
            let remedy = format!(
                "move it under [default], or under [service] if it is one of: {}",
                service::KEYS.join(", ")
            );
            reading.refuse(&entry.key_span, format!("`{name}` stands outside of every table"), remedy);
        }
    }
    let service_node = section("service");
    let service_table = as_table(service_node).unwrap_or_default();
    let service = service::read(&Fields::new(reading, &service_table, service_node.span.clone()));

    let default_node = section(DEFAULT_CUSTOMER);
    let default_table = as_table(default_node).unwrap_or(empty);
    let unlisted = customer::read(reading, &default_table, default_node.span.clone());
    let mut default = customer::with_id(unlisted.clone(), DEFAULT_CUSTOMER);
    default.autostart = true;

    let mut customers = BTreeMap::new();
    for (id, entry) in &root.entries {
        let Some(table) = as_table(&entry.node) else { continue };
        if id == "service" || id == DEFAULT_CUSTOMER {
            continue;
        }
        if !is_customer_id(id) {
            let remedy = "use letters, digits, _ and -, at most 64";
            reading.refuse(&entry.key_span, format!("`{id}` can't be a customer's id"), remedy);
        }
        let merged = tree::lay_over(&default_table, &table);
        let customer = customer::read(reading, &merged, entry.node.span.clone());
        customers.insert(id.clone(), customer::with_id(customer, id));
    }
    Config { service, default, customers, base_dir: reading.base_dir.to_owned(), unlisted }
}
