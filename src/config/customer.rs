//! A customer: `[default]` with the customer's own table laid over it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::fields::{Fields, Reading};
use super::link::{self, LinkConfig};
use super::system::{self, SystemConfig};
use super::tree::Table;
use super::tuning::{self, Tuning};

/// One customer's systems and links. Paths in settings may still hold `{customer}`.
#[derive(Clone, Debug, PartialEq)]
pub struct Customer {
    pub id: String,
    /// Its own rules; `None` shares `[service] rules`.
    pub rules: Option<PathBuf>,
    /// Starts with the process instead of when first triggered. Always true of `default`.
    pub autostart: bool,
    pub systems: BTreeMap<String, SystemConfig>,
    pub links: BTreeMap<String, LinkConfig>,
}

/// What stands for the customer's id in a path.
pub const CUSTOMER_PLACE: &str = "{customer}";

impl Customer {
    /// Returns the batch size and flush interval of a link's deliveries to one of its systems.
    pub fn batching(&self, link: &LinkConfig, system: &str) -> (usize, Duration) {
        let (batch_size, flush_interval) = self.systems.get(system).map_or_else(
            || (Tuning::default().batch_size, Tuning::default().flush_interval),
            |system| (system.batch_size, system.flush_interval),
        );
        (link.batch_size.unwrap_or(batch_size), link.flush_interval.unwrap_or(flush_interval))
    }
}

/// Reads a customer's merged table. `rules` keeps its `{customer}`: [`with_id`] fills it in.
pub(super) fn read(reading: &Reading<'_>, table: &Table, span: std::ops::Range<usize>) -> Customer {
    let fields = Fields::new(reading, table, span);
    let tuning = tuning::read(&fields, &Tuning::default());
    let rules = fields.text("rules").map(|(path, _)| reading.base_dir.join(path));
    let autostart = fields.flag("autostart").unwrap_or(false);
    let tables = fields.named_tables("systems", "crm");
    let names: Vec<String> = tables.iter().map(|(name, _, _)| name.clone()).collect();
    let mut systems = BTreeMap::new();
    for (name, key_span, fields) in &tables {
        if !super::is_plain_name(name) {
            let remedy = "use letters, digits, _ and -, at most 64";
            fields.refuse(key_span, format!("a system can't be called `{name}`"), remedy);
        }
        if let Some(system) = system::read(name, fields, &tuning) {
            systems.insert(name.clone(), system);
        }
    }
    let mut links = BTreeMap::new();
    for (name, key_span, fields) in &fields.named_tables("links", "app-to-crm") {
        if let Some(link) = link::read(name, key_span, fields, &systems, &names) {
            links.insert(name.clone(), link);
        }
    }
    // Not by the customer's name: what stands in [default] comes up with every customer.
    fields.refuse_unknown("a customer's settings", &[]);
    Customer { id: String::new(), rules, autostart, systems, links }
}

/// Gives a customer its id, in its rules' path too.
pub(super) fn with_id(mut customer: Customer, id: &str) -> Customer {
    customer.rules = customer.rules.map(|path| match path.to_str() {
        Some(text) => PathBuf::from(text.replace(CUSTOMER_PLACE, id)),
        None => path,
    });
    id.clone_into(&mut customer.id);
    customer
}
