//! One history from its first step to its last: lives of the service, and deaths between them.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use record_sync::cli;
use record_sync::config;
use record_sync::runtime::gate::{Gates, StoredTails};
use record_sync::runtime::janitor;
use record_sync::runtime::overrides::Overrides;
use record_sync::runtime::supervisor::{Runtime, RuntimeParts};
use record_sync::runtime::watch::FileWatcher;
use record_sync::store::Store;
use record_sync::store::sqlite::{Durability, Pace, SqliteOptions, SqliteStore};
use tokio_util::sync::CancellationToken;

use crate::asks;
use crate::connector::{self, CONNECTORS};
use crate::leases;
use crate::oracle;
use crate::pushes;
use crate::rest;
use crate::setup::{Rules, Setup};
use crate::steps::Step;
use crate::world::{Figures, Violation, World};

/// What became of a history.
pub struct Played {
    pub figures: Figures,
    pub violations: Vec<Violation>,
    pub trace: Vec<String>,
}

/// How a life ended.
enum End {
    /// The steps are through, or a promise was broken.
    Over,
    /// The process is gone; so many steps pass before the next one.
    Dead { down: u8 },
}

const CUSTOMER: &str = "default";
pub const LINK: &str = "sim";
/// A crash that was to come at some await comes then at the latest.
const CRASH_WITHIN: Duration = Duration::from_secs(4);

/// Plays a history.
pub fn play(setup: Setup, steps: &[Step], traced: bool) -> Played {
    let folder = folder();
    let path = folder.path();
    std::fs::write(path.join("customer_settings.toml"), setup.settings()).expect("the settings");
    std::fs::write(path.join("rules.json"), setup.rules.text()).expect("the rules");
    let world = World::new(setup, traced);
    connector::enter(Some(Arc::clone(&world)));
    let mut at = 0;
    while at < steps.len() && world.lock().violations.is_empty() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("an async runtime");
        let end = runtime.block_on(async {
            world.born();
            let end = live(&world, path, steps, &mut at).await;
            world.buried();
            end
        });
        // Here everything dies that was under way.
        drop(runtime);
        let End::Dead { down } = end else { break };
        for _ in 0..down {
            if matches!(steps.get(at), Some(Step::Quiet) | None) {
                break;
            }
            apply(&world, &steps[at]);
            at += 1;
        }
        world.sleep(1);
    }
    connector::enter(None);
    let mut state = world.lock();
    Played {
        figures: state.figures,
        violations: std::mem::take(&mut state.violations),
        trace: state.trace.take().unwrap_or_default(),
    }
}

/// Memory where the machine has a file system for that: nothing here has to survive it.
fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a folder")
}

/// Does what needs no process.
fn apply(world: &Arc<World>, step: &Step) {
    let mut state = world.lock();
    state.figures.steps += 1;
    match *step {
        Step::Insert(side, key) => state.insert(side, key),
        Step::Edit(side, key, field, fill) => state.edit(side, key, field, fill),
        Step::Delete(side, key) => state.delete(side, key),
        Step::Trouble(side, trouble, share) => {
            state.note(|| format!("{} begins to make trouble: {trouble:?} {share} %", side.as_str()));
            let troubles = &mut state.system(side).troubles;
            troubles.retain(|(known, _)| *known != trouble);
            troubles.push((trouble, share));
        }
        Step::Wait(ms) => {
            drop(state);
            world.sleep(ms);
        }
        Step::Reshape(side, reshape) => state.reshape(side, reshape),
        Step::Rules(_)
        | Step::Wish(_)
        | Step::Push(_)
        | Step::StandStill(_)
        | Step::Crash { .. }
        | Step::Restart { .. }
        | Step::Quiet => {}
    }
}

async fn live(world: &Arc<World>, path: &Path, steps: &[Step], at: &mut usize) -> End {
    let started = tokio::select! {
        biased;
        () = world.died.notified() => return End::Dead { down: 0 },
        started = start(world, path) => started,
    };
    let runtime = match started {
        Ok(runtime) => runtime,
        Err(error) => {
            world.lock().violated("starts", error);
            return End::Over;
        }
    };
    while let Some(step) = steps.get(*at) {
        *at += 1;
        let dead = tokio::select! {
            biased;
            () = world.died.notified() => Some(End::Dead { down: 0 }),
            dead = go(world, path, &runtime, step, *at == steps.len()) => dead,
        };
        if let Some(end) = dead {
            return end;
        }
        if !world.lock().violations.is_empty() {
            return End::Over;
        }
    }
    End::Over
}

/// Takes one step of a living process.
async fn go(
    world: &Arc<World>,
    path: &Path,
    runtime: &Arc<Runtime>,
    step: &Step,
    is_last: bool,
) -> Option<End> {
    match *step {
        Step::Wait(ms) => {
            world.lock().figures.steps += 1;
            tokio::time::sleep(Duration::from_millis(ms)).await;
        }
        Step::Rules(rules) => {
            world.lock().figures.steps += 1;
            renew(world, path, runtime, rules).await;
        }
        Step::Wish(wish) => {
            world.lock().figures.steps += 1;
            asks::wish(world, runtime, wish).await;
        }
        Step::StandStill(ms) => {
            world.lock().figures.steps += 1;
            leases::stand_still(world, ms).await;
        }
        Step::Push(push) => {
            world.lock().figures.steps += 1;
            pushes::push(world, runtime, push).await;
        }
        Step::Crash { after, down } => {
            {
                let mut state = world.lock();
                state.figures.steps += 1;
                state.figures.crashes += 1;
                state.note(|| format!("the process is to die after {after} awaits"));
            }
            world.lock().die_after(after);
            tokio::select! {
                biased;
                () = world.died.notified() => {}
                () = tokio::time::sleep(CRASH_WITHIN) => world.lock().die(),
            }
            return Some(End::Dead { down });
        }
        Step::Restart { down } => {
            {
                let mut state = world.lock();
                state.figures.steps += 1;
                state.figures.restarts += 1;
                state.note(|| "the process ends in order".to_owned());
            }
            runtime.drain(Duration::from_secs(60)).await;
            return Some(End::Dead { down });
        }
        Step::Quiet => {
            world.lock().figures.steps += 1;
            if rest::reach(world, runtime, is_last).await {
                asks::look(world, runtime).await;
                pushes::look(world, runtime).await;
                oracle::look(world, runtime).await;
            }
        }
        _ => apply(world, step),
    }
    None
}

/// Puts new rules in force as `POST /v1/sync/rules` does.
async fn renew(world: &Arc<World>, path: &Path, runtime: &Arc<Runtime>, rules: Rules) {
    world.lock().note(|| format!("new rules: {rules:?}"));
    {
        let mut state = world.lock();
        if state.rules.wide != rules.wide {
            state.ledgers.values_mut().for_each(|ledger| ledger.blurred[2] = true);
            state.blurs = true;
        }
        if state.rules != rules {
            state.ledgers.values_mut().for_each(|ledger| ledger.fuzzy = true);
        }
        // Whether they came into force is seen in the file, should the process die meanwhile.
        state.wanted = Some(rules);
    }
    let Ok(customer) = runtime.config().customer(CUSTOMER) else { return };
    let replaced = match runtime.book(&customer).await {
        Ok(book) => runtime.replace_rules(&book, rules.text()).await.map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    let mut state = world.lock();
    match replaced {
        // A column that is gone can't be mapped; nor one that came back to a system that does not answer.
        Err(error) if state.lacks(rules) || error.contains("can't be asked now") => {
            state.note(|| format!("refused: {error}"))
        }
        Err(error) => state.violated("rules", error),
        Ok(_) => {}
    }
    drop(state);
    read_rules(world, path);
}

/// Finds out which rules are in force.
fn read_rules(world: &Arc<World>, path: &Path) {
    let text = std::fs::read_to_string(path.join("rules.json")).expect("the rules");
    let mut state = world.lock();
    if let Some(wanted) = state.wanted.take()
        && wanted.text() == text
    {
        state.rules = wanted;
    }
}

async fn start(world: &Arc<World>, path: &Path) -> Result<Arc<Runtime>, String> {
    world.lock().note(|| "the process starts".to_owned());
    read_rules(world, path);
    let settings = path.join("customer_settings.toml");
    let catalogue = cli::catalogue_of(CONNECTORS);
    let config = config::load_file(&settings, &|_| None, &catalogue).map_err(|error| error.to_string())?;
    let options = SqliteOptions { durability: Durability::Process, ..SqliteOptions::default() };
    let pace: Arc<dyn Pace> = Arc::clone(world) as Arc<dyn Pace>;
    let state = SqliteStore::open_inline(&path.join("state.sqlite"), options, pace);
    let store: Arc<dyn Store> = Arc::new(state.map_err(|error| error.to_string())?);
    world.lock().losses.born(Arc::clone(&store));
    let clock = world.clock();
    let stop = CancellationToken::new();
    let tails = Arc::new(StoredTails(Arc::clone(&store)));
    let overrides = Overrides::open(Arc::clone(&store), clock()).await.map_err(|error| error.to_string())?;
    let runtime = Runtime::new(RuntimeParts {
        gates: Gates::new(Arc::clone(&clock), Some(tails), stop.clone()),
        overrides,
        store,
        clock,
        connectors: CONNECTORS,
        config,
        rules: None,
        vault: None,
        mock_url: Arc::new(|_, _, _| None),
        watcher: FileWatcher::still(),
        stop,
    });
    runtime.spawn(janitor::run(Arc::clone(&runtime)));
    runtime.start().await.map_err(|error| error.to_string())?;
    Ok(runtime)
}
