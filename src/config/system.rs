//! `[….systems.NAME]`: one product with its settings.

use std::fmt;
use std::time::Duration;

use serde_json::Value;

use super::catalogue::ConnectorFacts;
use super::fields::Fields;
use super::problem::nearest;
use super::secret::Shown;
use super::tree::{Entry, Kind};
use super::tuning::{self, BreakerConfig, Limits, RetryConfig, Tuning};

/// One configured product. Its `Debug` shows no secrets.
#[derive(Clone, PartialEq)]
pub struct SystemConfig {
    /// The connector's name; it exists.
    pub connector: String,
    /// The rest of the table, interpolated and checked: what only the connector understands.
    pub settings: Value,
    pub limits: Limits,
    pub batch_size: usize,
    /// How long a job waits for company.
    pub flush_interval: Duration,
    pub breaker: BreakerConfig,
    pub retry: RetryConfig,
}

impl fmt::Debug for SystemConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SystemConfig")
            .field("connector", &self.connector)
            .field("settings", &Shown(&self.settings))
            .field("limits", &self.limits)
            .field("batch_size", &self.batch_size)
            .field("flush_interval", &self.flush_interval)
            .field("breaker", &self.breaker)
            .field("retry", &self.retry)
            .finish()
    }
}

/// Reads one system; `None` where its connector is unknown.
pub(super) fn read(name: &str, fields: &Fields<'_>, inherited: &Tuning) -> Option<SystemConfig> {
    let connector = read_connector(name, fields)?;
    let Tuning { limits, batch_size, flush_interval, breaker, retry } = tuning::read(fields, inherited);
    let settings = read_settings(name, fields, connector);
    let connector = connector.name.to_owned();
    Some(SystemConfig { connector, settings, limits, batch_size, flush_interval, breaker, retry })
}

fn read_connector<'a>(name: &str, fields: &Fields<'a>) -> Option<&'a ConnectorFacts> {
    let catalogue = fields.reading.catalogue;
    let known = || catalogue.names().collect::<Vec<_>>().join(", ");
    if fields.node("connector").is_none() {
        fields.refuse(
            &fields.span,
            format!("system `{name}` has no `connector`"),
            format!("add connector = \"…\", one of: {}", known()),
        );
        return None;
    }
    let (word, node) = fields.text("connector")?;
    let found = catalogue.find(&word);
    if found.is_none() {
        let remedy = match nearest(&word, catalogue.names()) {
            Some(near) => format!("did you mean \"{near}\"?"),
            None => format!("write one of: {}", known()),
        };
        fields.refuse(&node.span, format!("unknown connector \"{word}\""), remedy);
    }
    found
}

/// Copies what the common keys leave, and has the connector check it.
fn read_settings(name: &str, fields: &Fields<'_>, connector: &ConnectorFacts) -> Value {
    let others = fields.others();
    let settings: Value =
        others.iter().map(|(name, entry)| ((*name).to_owned(), entry.node.to_json())).collect();
    if let Some(known) = connector.known_settings()
        && others.iter().any(|(name, _)| !known.contains(name))
    {
        // The connector would complain of the first of them only.
        let what = format!("system `{name}` (connector \"{}\")", connector.name);
        fields.refuse_unknown(&what, &known);
        return settings;
    }
    if let Err(problem) = (connector.check_settings)(&settings) {
        let span = place(&others, &problem.path).unwrap_or_else(|| fields.span.clone());
        let (message, remedy) = match problem.message.split_once("; ") {
            Some((message, remedy)) => (message.to_owned(), remedy.to_owned()),
            None => {
                let schema = format!("GET /v1/crms/{}/schema lists the settings", connector.name);
                (problem.message, schema)
            }
        };
        fields.refuse(&span, format!("system `{name}`: {message}"), remedy);
    }
    settings
}

/// Finds where a setting stands; as near as the file goes.
fn place(others: &[(&str, &Entry)], path: &[String]) -> Option<std::ops::Range<usize>> {
    let (first, rest) = path.split_first()?;
    let (_, entry) = others.iter().find(|(name, _)| name == first)?;
    let mut node = &entry.node;
    for step in rest {
        let Kind::Table(table) = &node.kind else { break };
        let Some(entry) = table.entries.get(step) else { break };
        node = &entry.node;
    }
    Some(node.span.clone())
}
