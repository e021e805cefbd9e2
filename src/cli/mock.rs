//! `record-sync mock SYSTEM`: one built-in mock as a server of its own, mounted at the root.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use clap::builder::PossibleValuesParser;
use serde_json::json;

use super::{Exit, Globals, output};
use crate::connectors::mock::{Faults, MockSettings};
use crate::connectors::{CONNECTORS, find};
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
    /// Answer list reads with an empty page
    #[arg(long)]
    empty_pages: bool,
    /// Store text trimmed and in lower case
    #[arg(long)]
    normalise_text: bool,
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
            empty_pages: flags.empty_pages,
            normalise_text: flags.normalise_text,
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
        let Some(make) = find(&self.system).and_then(|connector| connector.mock) else {
            return output::failed(format!("{} has no mock; one of: {}", self.system, mocked().join(", ")));
        };
        let mock = make(MockSettings {
            seed: self.seed,
            strict: self.strict,
            data: self.data.clone(),
            faults: (&self.faults).into(),
        });
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
        let served = runtime.and_then(|runtime| runtime.block_on(self.serve(mock, globals)));
        served.unwrap_or_else(|error| {
            output::failed(format!(
                "the mock can't serve on {}: {error}; choose another --listen",
                self.listen
            ))
        })
    }

    async fn serve(
        &self,
        mock: std::sync::Arc<dyn crate::connectors::mock::Mock>,
        globals: &Globals,
    ) -> std::io::Result<Exit> {
        let listener = tokio::net::TcpListener::bind(self.listen).await?;
        let url = format!("http://{}", listener.local_addr()?);
        if globals.json {
            output::data(json!({"system": self.system, "url": url}));
        } else {
            output::data(format!("mock {} on {url}", self.system));
        }
        output::note(
            globals.quiet,
            "arrivals at /__admin/arrivals, misbehaviour at /__admin/faults; Ctrl-C ends",
        );
        mocks::serve(mock, clock::real(), listener, asked_to_stop()).await?;
        Ok(Exit::Fine)
    }
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
