//! `record-sync check`: configuration, rules and every system, before anything runs.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use clap::Args;
use serde_json::json;

use super::service::{self, Service, Wanted};
use super::{Exit, Globals, output};
use crate::config::Customer;
use crate::connectors::{Call, Class};
use crate::engine::rules::{Flow, RulesFile, restless};
use crate::runtime::link::lock;
use crate::runtime::open;
use crate::runtime::supervisor::Runtime;
use crate::runtime::vault::{Purpose, VaultStore};
use crate::store::sqlite::{SqliteOptions, SqliteStore};
use crate::store::{Store, StoreError};
use crate::telemetry::Stderr;

/// Checks configuration and rules, and connects to every system.
#[derive(Debug, Args)]
pub struct Check {
    /// Only this customer; all where left out
    #[arg(long, value_name = "ID")]
    customer: Option<String>,
}

/// What was found.
#[derive(Default)]
struct Findings {
    problems: Vec<String>,
    /// How each link reads its rules, in words.
    links: Vec<(String, Vec<String>)>,
}

impl Check {
    pub(super) fn run(&self, globals: &Globals) -> Exit {
        let environment = globals.environment(&[]);
        let config = match crate::config::load_file(&globals.config, &environment, &super::catalogue()) {
            Ok(config) => config,
            Err(problems) => {
                return report(globals, &Findings { problems: lines(&problems), links: Vec::new() });
            }
        };
        let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => return output::failed(format!("no threads can be started: {error}")),
        };
        runtime.block_on(async {
            // A state of its own that is thrown away: the daemon may be running beside.
            let folder = match tempfile::tempdir() {
                Ok(folder) => folder,
                Err(error) => return output::failed(format!("no temporary folder can be made: {error}")),
            };
            let mut config = config;
            let vault = Some(vault(config.service.state_path()));
            config.service.state = format!("sqlite:{}", folder.path().join("check.sqlite").display());
            config.service.log_dir = folder.path().to_owned();
            let listen = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
            match service::open(globals, config, Wanted { listen, stderr: Stderr::Nothing, vault }).await {
                Ok(opened) => {
                    let findings = self.look(opened).await;
                    report(globals, &findings)
                }
                Err(exit) => exit,
            }
        })
    }

    async fn look(&self, opened: Service) -> Findings {
        let Service { runtime, mocks, listener, .. } = opened;
        let stop = runtime.stopping().clone();
        let router = mocks.router();
        runtime.spawn(async move {
            // The mocks end with the check; how is of no interest.
            let _ = axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await;
        });
        let config = runtime.config();
        let mut findings = Findings::default();
        let mut customers: Vec<Customer> = vec![config.default.clone()];
        customers.extend(config.customers.values().cloned());
        if let Some(wanted) = &self.customer {
            customers.retain(|customer| customer.id == *wanted);
            if customers.is_empty() {
                match config.customer(wanted) {
                    Ok(customer) => customers.push(customer),
                    Err(error) => findings.problems.push(error.to_string()),
                }
            }
        }
        for customer in &customers {
            look_at(&runtime, customer, &mut findings).await;
        }
        runtime.drain(std::time::Duration::from_secs(5)).await;
        findings
    }
}

/// Opens the real state where a system has a refresh token in it: the check's own login may use that up, and the
/// next one has to be there for the daemon. A state is left as it is but for that, and none is made before
/// there is one to keep.
fn vault(path: PathBuf) -> VaultStore {
    let opened: Mutex<Option<Arc<dyn Store>>> = Mutex::default();
    Arc::new(move |purpose| {
        let mut opened = lock(&opened);
        if let Some(store) = &*opened {
            return Ok(Some(Arc::clone(store)));
        }
        let is_there = std::fs::metadata(&path).is_ok_and(|found| found.len() > 0);
        if !is_there && purpose == Purpose::Load {
            // The service asks for a token next, and what it gives in its place must not be lost.
            return can_be_made(&path).map(|()| None);
        }
        let options = SqliteOptions { as_it_is: is_there, ..SqliteOptions::default() };
        let store: Arc<dyn Store> = Arc::new(SqliteStore::open(&path, options)?);
        Ok(Some(Arc::clone(opened.insert(store))))
    })
}

/// Sees whether a state could be made where there is none.
fn can_be_made(path: &Path) -> Result<(), StoreError> {
    let folder = path.ancestors().skip(1).find(|folder| folder.is_dir()).unwrap_or(Path::new("."));
    let refused = |error| StoreError::Io(format!("{}: it can't be made: {error}", path.display()));
    tempfile::tempfile_in(folder).map(drop).map_err(refused)
}

async fn look_at(runtime: &Arc<Runtime>, customer: &Customer, findings: &mut Findings) {
    let path = runtime.rules_path(customer);
    let file = match rules(&path) {
        Ok(file) => file,
        Err(problem) => {
            if !findings.problems.contains(&problem) {
                findings.problems.push(problem);
            }
            return;
        }
    };
    let mut flows: Vec<Flow> = Vec::new();
    for link in customer.links.values() {
        let name = format!("{}/{}", customer.id, link.name);
        let call = Call::new(Class::Interactive, format!("check-{name}"));
        let systems =
            runtime.system(customer, &link.a).and_then(|a| Ok([a, runtime.system(customer, &link.b)?]));
        let looked = match systems {
            Ok(systems) => open::look(customer, link, &systems, None, &call).await,
            Err(fault) => Err(fault),
        };
        match looked {
            Err(fault) => findings.problems.push(format!("{name}: {fault}")),
            Ok(facts) => match file.compile(0, &facts) {
                Err(error) => findings
                    .problems
                    .push(format!("{} (for {name})", error.in_file(&path.display().to_string()))),
                Ok(rules) => {
                    let barred = rules.barred(&facts).into_iter().map(|why| format!("{name}: {why}"));
                    findings.problems.extend(barred);
                    let own = rules.flows(&facts);
                    findings.problems.extend(restless(&own, &flows).map(|ring| format!("{name}: {ring}")));
                    flows.extend(own);
                    findings.links.push((name, rules.describe().to_vec()));
                }
            },
        }
    }
}

fn rules(path: &Path) -> Result<RulesFile, String> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| format!("{}: can't read the rules: {error}; make the file", path.display()))?;
    RulesFile::parse(&text).map_err(|error| error.in_file(&path.display().to_string()))
}

fn lines(problems: &crate::config::Problems) -> Vec<String> {
    problems.to_string().lines().map(str::to_owned).collect()
}

fn report(globals: &Globals, findings: &Findings) -> Exit {
    let Findings { problems, links } = findings;
    if globals.json {
        let links: serde_json::Map<String, serde_json::Value> =
            links.iter().map(|(name, words)| (name.clone(), json!(words))).collect();
        output::data(json!({ "ok": problems.is_empty(), "problems": problems, "links": links }));
    } else {
        for problem in problems {
            output::data(problem);
        }
        if !globals.quiet {
            for (name, words) in links {
                output::data(name);
                words.iter().for_each(|line| {
                    output::data(format!("  {line}"));
                });
            }
        }
    }
    if problems.is_empty() { Exit::Fine } else { Exit::Problems }
}
