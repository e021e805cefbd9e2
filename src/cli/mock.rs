//! `record-sync mock SYSTEM`: one built-in mock as a server of its own, mounted at the root.
//!
//! A mock that is made from a description takes it from the configuration; where that has several such
//! systems, each is mounted below its name.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use clap::builder::PossibleValuesParser;
use serde_json::json;

use super::{Exit, Globals, output};
use crate::connectors::mock::{Faults, Mock as Played, MockSettings};
use crate::connectors::{CONNECTORS, Connector, find};
use crate::http::mocks;
use crate::runtime::clock;

/// Serves a built-in mock by itself.
#[derive(Debug, Args)]
pub struct Mock {
    /// The system to play
    #[arg(value_parser = PossibleValuesParser::new(mocked()))]
    system: String,
    /// Where to listen; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8100")]
    listen: SocketAddr,
    /// Whose systems are played, where the mock is made from the configuration
    #[arg(long, value_name = "ID", default_value = "default")]
    customer: String,
    /// What chance is drawn from
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Refuse unknown fields, as the real service does
    #[arg(long)]
    strict: bool,
    /// Keep the records in this SQLite file
    #[arg(long, value_name = "FILE")]
    data: Option<PathBuf>,
    #[command(flatten)]
    faults: FaultFlags,
}

/// How the mock misbehaves. Rates are parts of 1. `PUT /__admin/faults` changes them live.
#[derive(Debug, Args)]
#[command(next_help_heading = "Misbehaviour")]
struct FaultFlags {
    /// Part of the requests answered with 429
    #[arg(long, value_name = "RATE", default_value_t = 0.0, value_parser = rate)]
    rate_429: f64,
    /// `Retry-After` of those answers
    #[arg(long, value_name = "SECONDS", default_value_t = 1)]
    retry_after_seconds: u64,
    /// Part of the requests answered with 503
    #[arg(long, value_name = "RATE", default_value_t = 0.0, value_parser = rate)]
    rate_503: f64,
    /// Part of the requests that are applied and never answered
    #[arg(long, value_name = "RATE", default_value_t = 0.0, value_parser = rate)]
    rate_lost_reply: f64,
    /// Part of the records of a batch that are refused
    #[arg(long, value_name = "RATE", default_value_t = 0.0, value_parser = rate)]
    rate_record_failure: f64,
    /// How long every answer takes
    #[arg(long, value_name = "MS", default_value_t = 0)]
    latency_ms: u64,
    /// Answer as late as the real service does, by published figures
    #[arg(long)]
    lifelike: bool,
    /// Answer list reads with an empty page
    #[arg(long)]
    empty_pages: bool,
    /// Store text trimmed and in lower case
    #[arg(long)]
    normalise_text: bool,
    /// Take each refresh token once, where the service gives another one with every use
    #[arg(long)]
    single_use_tokens: bool,
    /// How long access tokens live (Salesforce)
    #[arg(long, value_name = "SECONDS")]
    token_seconds: Option<u64>,
    /// Calls of a day, the last 24 hours (Salesforce)
    #[arg(long, value_name = "N")]
    daily_calls: Option<u64>,
}

impl From<&FaultFlags> for Faults {
    fn from(flags: &FaultFlags) -> Self {
        Self {
            rate_429: flags.rate_429,
            retry_after_seconds: flags.retry_after_seconds,
            rate_503: flags.rate_503,
            rate_lost_reply: flags.rate_lost_reply,
            rate_record_failure: flags.rate_record_failure,
            latency_ms: flags.latency_ms,
            lifelike: flags.lifelike,
            empty_pages: flags.empty_pages,
            normalise_text: flags.normalise_text,
            single_use_tokens: flags.single_use_tokens,
            token_seconds: flags.token_seconds,
            daily_calls: flags.daily_calls,
            ..Self::default()
        }
    }
}

fn mocked() -> Vec<&'static str> {
    CONNECTORS.iter().filter(|connector| connector.mock.is_some()).map(|connector| connector.name).collect()
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(rate) if (0.0..=1.0).contains(&rate) => Ok(rate),
        _ => Err("write a part of 1, from 0.0 to 1.0".to_owned()),
    }
}

impl Mock {
    pub(super) fn run(&self, globals: &Globals) -> Exit {
        let Some(connector) = find(&self.system).filter(|connector| connector.mock.is_some()) else {
            return output::failed(format!("{} has no mock; one of: {}", self.system, mocked().join(", ")));
        };
        let played = match is_described(connector) {
            false => {
                Ok(BTreeMap::from([(String::new(), self.make(connector, None, serde_json::Value::Null))]))
            }
            true => self.described(connector, globals),
        };
        let played = match played {
            Ok(played) => played.into_iter().filter_map(|(name, mock)| Some((name, mock?))).collect(),
            Err(exit) => return exit,
        };
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
        let served = runtime.and_then(|runtime| runtime.block_on(self.serve(played, globals)));
        served.unwrap_or_else(|error| {
            output::failed(format!(
                "the mock can't serve on {}: {error}; choose another --listen",
                self.listen
            ))
        })
    }

    /// Makes the mocks of all systems of this kind that the configuration has for the customer, by name.
    fn described(
        &self,
        connector: &'static Connector,
        globals: &Globals,
    ) -> Result<BTreeMap<String, Option<Arc<dyn Played>>>, Exit> {
        let config = globals.load(&[])?;
        let customer = config.customer(&self.customer).map_err(output::failed)?;
        let systems: Vec<_> =
            customer.systems.iter().filter(|(_, system)| system.connector == connector.name).collect();
        if systems.is_empty() {
            return Err(output::failed(format!(
                "{} has no system with connector = \"{}\" for {}; name another file with --config",
                globals.config.display(),
                connector.name,
                self.customer
            )));
        }
        let alone = systems.len() == 1;
        let make = |name: &str, settings: &serde_json::Value| {
            self.make(connector, (!alone).then_some(name), settings.clone())
        };
        Ok(systems
            .into_iter()
            .map(|(name, system)| {
                let mock = make(name, &system.settings);
                (if alone { String::new() } else { name.clone() }, mock)
            })
            .collect())
    }

    /// Makes one mock; of several, each has a file of its own.
    fn make(
        &self,
        connector: &'static Connector,
        name: Option<&str>,
        description: serde_json::Value,
    ) -> Option<Arc<dyn Played>> {
        let data = self.data.as_deref().map(|path| match name {
            Some(name) => beside(path, name),
            None => path.to_owned(),
        });
        let faults = (&self.faults).into();
        let settings = MockSettings { seed: self.seed, strict: self.strict, data, faults, description };
        connector.mock.map(|make| make(settings))
    }

    async fn serve(
        &self,
        mut played: BTreeMap<String, Arc<dyn Played>>,
        globals: &Globals,
    ) -> std::io::Result<Exit> {
        let listener = tokio::net::TcpListener::bind(self.listen).await?;
        let url = format!("http://{}", listener.local_addr()?);
        let places: BTreeMap<&str, String> = played
            .keys()
            .filter(|name| !name.is_empty())
            .map(|name| (name.as_str(), format!("{url}/{name}")))
            .collect();
        if globals.json {
            let said = match places.is_empty() {
                true => json!({"system": self.system, "url": url}),
                false => json!({"system": self.system, "url": url, "systems": places}),
            };
            output::data(said);
        } else if places.is_empty() {
            output::data(format!("mock {} on {url}", self.system));
        }
        for (name, url) in places.iter().filter(|_| !globals.json) {
            output::data(format!("mock {} {name} on {url}", self.system));
        }
        let logins = played.values().flat_map(|played| played.logins());
        let logins: Vec<String> = logins.map(|(key, value)| format!("{key} = {value:?}")).collect();
        if !logins.is_empty() {
            output::note(globals.quiet, format!("settings to log in with: {}", logins.join(", ")));
        }
        output::note(
            globals.quiet,
            "arrivals at /__admin/arrivals, misbehaviour at /__admin/faults; Ctrl-C ends",
        );
        let routes = match played.remove("") {
            Some(only) => mocks::router(only, clock::real()),
            None => mocks::router_of_many(played, clock::real()),
        };
        mocks::serve_routes(routes, listener, asked_to_stop()).await?;
        Ok(Exit::Fine)
    }
}

/// Tells whether a mock is made from a description: every other one is fine with nothing but its place.
fn is_described(connector: &Connector) -> bool {
    (connector.check_settings)(&json!({"base_url": "mock"})).is_err()
}

/// Names a file after a system.
fn beside(path: &Path, name: &str) -> PathBuf {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let ending = path.extension().map(|ending| format!(".{}", ending.to_string_lossy())).unwrap_or_default();
    path.with_file_name(format!("{stem}-{name}{ending}"))
}

/// Waits for Ctrl-C or SIGTERM.
async fn asked_to_stop() {
    let interrupt = tokio::signal::ctrl_c();
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminate) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = interrupt => {}
                _ = terminate.recv() => {}
            }
            return;
        }
    }
    let _ = tokio::signal::ctrl_c().await;
}
