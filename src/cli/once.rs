//! `record-sync once`: one full two-way pass of one link.

use std::io::IsTerminal;
use std::sync::atomic::Ordering;
use std::time::Duration;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use super::service::{self, Service, Wanted};
use super::{Exit, Globals, output};
use crate::engine::record::Side;
use crate::runtime::link::{Phase, at, lock};
use crate::runtime::supervisor::Running;
use crate::telemetry::Stderr;

/// Runs one full two-way pass of a link and ends.
#[derive(Debug, Args)]
pub struct Once {
    /// The link
    #[arg(long, value_name = "LINK")]
    link: String,
    /// The customer
    #[arg(long, value_name = "ID", default_value = "default")]
    customer: String,
    /// Give up waiting after so many seconds; what is left stays queued
    #[arg(long, value_name = "SECONDS", default_value_t = 3600)]
    timeout: u64,
}

/// How often the progress is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// A link that stays blocked for so long will not mend itself while somebody waits.
const BLOCKED_MAX: Duration = Duration::from_secs(10);
/// A stream that can't be read for so long won't be either; shorter troubles are ridden out.
const UNREADABLE_MAX: Duration = Duration::from_secs(60);

impl Once {
    pub(super) fn run(&self, globals: &Globals) -> Exit {
        let config = match globals.load(&[]) {
            Ok(config) => config,
            Err(exit) => return exit,
        };
        let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => return output::failed(format!("no threads can be started: {error}")),
        };
        let stderr = if globals.quiet { Stderr::Nothing } else { Stderr::HumanWarnings };
        runtime.block_on(async {
            let listen = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
            match service::open(globals, config, Wanted { listen, stderr, vault: None }).await {
                Ok(opened) => self.pass(opened, globals).await,
                Err(exit) => exit,
            }
        })
    }

    async fn pass(&self, opened: Service, globals: &Globals) -> Exit {
        let Service { runtime, mocks, listener, log, .. } = opened;
        let stop = runtime.stopping().clone();
        let router = mocks.router();
        runtime.spawn(async move {
            let served = axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await;
            if let Err(error) = served {
                tracing::error!(event = "http.died", error = %error, "the mocks have stopped answering");
            }
        });
        if let Err(error) = runtime.store.rescue((runtime.clock)(), true).await {
            return output::failed(error);
        }
        let before = match runtime.store.link(&self.customer, &self.link).await {
            Ok(state) => state.counters,
            Err(error) => return output::failed(error),
        };
        let running = match runtime.start_link_once(&self.customer, &self.link).await {
            Ok(running) => running,
            Err(error) => return output::failed(error),
        };
        let bar = progress(globals);
        let began = (runtime.clock)();
        let deadline = Duration::from_secs(self.timeout);
        let asked = runtime.ask(&running, &Side::BOTH);
        let mut blocked = Duration::ZERO;
        let (report, problem) = loop {
            let passed = runtime.wait(&self.customer, &self.link, &asked, LOOK_EVERY, before).await;
            let report = match passed {
                Ok(report) => report,
                Err(error) => break (None, Some(error.to_string())),
            };
            let seen: u64 =
                Side::BOTH.iter().map(|&side| at(&running.view.seen, side).load(Ordering::Relaxed)).sum();
            bar.set_position(seen);
            if report.complete {
                break (Some(report), None);
            }
            match obstacle(&running) {
                Some((reason, patience)) => {
                    blocked += LOOK_EVERY;
                    if blocked >= patience {
                        break (Some(report), Some(reason));
                    }
                }
                None => blocked = Duration::ZERO,
            }
            if (runtime.clock)().since(began) >= deadline {
                break (Some(report), Some("the pass took too long; what is left stays queued".to_owned()));
            }
        };
        bar.finish_and_clear();
        let took = (runtime.clock)().since(began);
        runtime.drain(runtime.config().service.drain_timeout).await;
        let report = report.unwrap_or_default();
        let read: u64 =
            Side::BOTH.iter().map(|&side| at(&running.view.seen, side).load(Ordering::Relaxed)).sum();
        if globals.json {
            output::data(json!({ "link": self.link, "customer": self.customer, "complete": report.complete,
                "records_read": read, "synced": report.synced, "failed": report.failed, "skipped": report.skipped,
                "duration_ms": u64::try_from(took.as_millis()).unwrap_or(u64::MAX), "peak_kib": peak_kib(),
                "error": problem }));
        } else {
            output::data(format!(
                "{}: read {read}, synced {}, failed {}, skipped {} in {:.1} s",
                self.link,
                report.synced,
                report.failed,
                report.skipped,
                took.as_secs_f64()
            ));
        }
        drop(log);
        match problem {
            Some(problem) => output::failed(problem),
            None if report.failed > 0 => Exit::Problems,
            None => Exit::Fine,
        }
    }
}

/// What keeps the pass from going on, with how long to hope.
fn obstacle(running: &Running) -> Option<(String, Duration)> {
    if let Phase::Blocked(reason) = &*lock(&running.view.phase) {
        return Some((reason.clone(), BLOCKED_MAX));
    }
    let [a, b, ..] = &running.view.trouble;
    [a, b].into_iter().find_map(|trouble| lock(trouble).clone()).map(|reason| (reason, UNREADABLE_MAX))
}

/// A bar on a terminal, nothing elsewhere.
fn progress(globals: &Globals) -> ProgressBar {
    if globals.quiet || globals.json || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {human_pos} records read, {per_sec}") {
        bar.set_style(style);
    }
    bar
}

/// The most memory that the process ever held, in KiB, where the system tells it.
fn peak_kib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}
