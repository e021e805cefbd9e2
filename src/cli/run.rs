//! `record-sync run`: the daemon.

use std::net::SocketAddr;
use std::sync::Arc;

use clap::Args;
use serde_json::json;

use super::service::{self, Service, Wanted};
use super::signals::{self, Signals};
use super::{Exit, Globals, output};
use crate::http::server::{self, App};
use crate::runtime::janitor;
use crate::telemetry::Stderr;

/// Runs the service.
#[derive(Debug, Args)]
pub struct Run {
    /// Where the API listens, instead of what the configuration says
    #[arg(long, value_name = "ADDR", env = "RECORD_SYNC_LISTEN")]
    listen: Option<SocketAddr>,
    /// Memory that the process should stay within, such as 64MB: pages, caches and lists become smaller
    #[arg(long, value_name = "SIZE", env = "RECORD_SYNC_MEMORY_BUDGET")]
    memory_budget: Option<String>,
}

impl Run {
    pub(super) fn run(&self, globals: &Globals) -> Exit {
        let listen = self.listen.map(|address| ("RECORD_SYNC_LISTEN", address.to_string()));
        let budget = self.memory_budget.clone().map(|budget| ("RECORD_SYNC_MEMORY_BUDGET", budget));
        let flags: Vec<(&'static str, String)> = listen.into_iter().chain(budget).collect();
        let config = match globals.load(&flags) {
            Ok(config) => config,
            Err(exit) => return exit,
        };
        let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => return output::failed(format!("no threads can be started: {error}")),
        };
        let listen = config.service.listen;
        let stderr = if globals.quiet { Stderr::HumanWarnings } else { Stderr::Human };
        runtime.block_on(async {
            match service::open(globals, config, Wanted { listen, stderr, vault: None }).await {
                Ok(opened) => serve(opened, globals, &flags).await,
                Err(exit) => exit,
            }
        })
    }
}

async fn serve(opened: Service, globals: &Globals, flags: &[(&'static str, String)]) -> Exit {
    let Service { runtime, mocks, metrics, listener, address, log, .. } = opened;
    let mut signals = Signals::listen();
    let upkeep = metrics.clone();
    let app = App {
        runtime: Arc::clone(&runtime),
        mocks,
        once: Arc::default(),
        metrics: Arc::new(move || metrics.render()),
    };
    let stop = runtime.stopping().clone();
    let router = server::router(app);
    runtime.spawn(async move {
        let served = axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await;
        if let Err(error) = served {
            tracing::error!(event = "http.died", error = %error, "the API has stopped answering");
        }
    });
    if globals.json {
        output::data(json!({ "listen": address.to_string() }));
    }
    tracing::info!(event = "service.started", listen = %address, version = env!("CARGO_PKG_VERSION"),
        "record-sync answers on http://{address}, its page of the API is http://{address}/docs");
    if let Err(error) = runtime.start().await {
        tracing::error!(event = "service.not_started", error = %error, "the service can't start");
        output::failed(error);
        runtime.drain(std::time::Duration::from_secs(1)).await;
        return Exit::CouldNotRun;
    }
    runtime.spawn(janitor::run(Arc::clone(&runtime)));
    runtime.spawn(janitor::upkeep(Arc::clone(&runtime), move || upkeep.upkeep()));
    let config_path = std::path::absolute(&globals.config).unwrap_or_else(|_| globals.config.clone());
    runtime.spawn(Arc::clone(&runtime).follow(config_path, service::reader(globals, flags)));
    signals.wait().await;
    tracing::info!(event = "service.stopping", "finishing what is under way; a second signal ends at once");
    let drained = tokio::select! {
        drained = runtime.drain(runtime.config().service.drain_timeout) => drained,
        () = signals.wait() => false,
    };
    tracing::info!(event = "service.stopped", drained, "bye");
    drop(log);
    if !drained {
        // What was in flight is leased or unsettled in the state, and is taken up at the next start.
        signals::leave();
    }
    Exit::Fine
}
