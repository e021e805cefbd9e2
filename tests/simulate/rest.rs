//! The way to a quiet point: faults end, and time passes until nothing moves any more.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use record_sync::connectors::Deletes;
use record_sync::engine::record::{Side, Timestamp};
use record_sync::runtime::fuse::Word;
use record_sync::runtime::link::Phase;
use record_sync::runtime::supervisor::{Running, Runtime};

use crate::layout::Reshape;
use crate::life::LINK;
use crate::world::World;

/// Whoever has not come to rest by then never will.
const WITHIN: Duration = Duration::from_secs(2 * 3600);
/// Longer than any wait between two tries.
const REST: Duration = Duration::from_secs(8);
/// Longer than anything sleeps that nobody calls; it costs as much as the steps before it.
const LONG_REST: Duration = Duration::from_secs(40);
const LOOK_EVERY: Duration = Duration::from_millis(400);

/// Waits until nothing moves, and for some time more; false where it always moves.
pub async fn reach(world: &Arc<World>, runtime: &Arc<Runtime>, is_last: bool) -> bool {
    let rounds = {
        let mut state = world.lock();
        state.figures.quiet_points += 1;
        state.note(|| "faults end; quiet is awaited".to_owned());
        for system in &mut state.systems {
            system.troubles.clear();
            system.layout.change(Reshape::PutBack);
        }
        // A listing of several calls is made only now and then.
        let slow = |nature: &crate::setup::Nature| nature.deletes == Deletes::Listed && nature.list_max < 100;
        if state.setup.natures.iter().any(slow) { 24 } else { 2 }
    };
    let began = tokio::time::Instant::now();
    let (mut still, mut last) = (0, 0);
    while still < rounds {
        let passed = pass(world, runtime).await;
        let writes = world.lock().figures.writes;
        still = if passed && writes == last { still + 1 } else { 0 };
        last = writes;
        if !world.lock().violations.is_empty() {
            return false;
        }
        if began.elapsed() > WITHIN {
            let text = doing(runtime).await;
            world.lock().violated("comes_to_rest", text);
            return false;
        }
    }
    // Nothing that sleeps wakes up and writes again.
    tokio::time::sleep(if is_last { LONG_REST } else { REST }).await;
    pass(world, runtime).await;
    let writes = world.lock().figures.writes;
    if writes != last {
        let text = format!("{} writes although nothing had changed", writes - last);
        world.lock().violated("stays_at_rest", text);
        return false;
    }
    true
}

/// One whole pass of both sides; true where nothing is left to be delivered behind it.
async fn pass(world: &Arc<World>, runtime: &Arc<Runtime>) -> bool {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(120);
    let Some(running) = runtime.running("default", LINK) else {
        tokio::time::sleep(LOOK_EVERY).await;
        return false;
    };
    if approve(runtime).await {
        tokio::time::sleep(LOOK_EVERY).await;
        return false;
    }
    let asked = runtime.ask(&running, &Side::BOTH);
    let read = |running: &Running| {
        asked.iter().all(|(side, number)| {
            let passes = match side {
                Side::A => &running.view.passes[0],
                Side::B => &running.view.passes[1],
            };
            passes.load(Ordering::Acquire) >= *number
        })
    };
    while !(read(&running) && is_live(&running) && queued(runtime).await == 0) {
        if tokio::time::Instant::now() > deadline || !world.lock().violations.is_empty() {
            return false;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    true
}

/// Somebody says that what blew a fuse is meant; false where none has blown.
async fn approve(runtime: &Arc<Runtime>) -> bool {
    let answered = runtime.answer("default", LINK, Word::Approve).await;
    answered.map_or(true, |answered| !answered.is_empty())
}

fn is_live(running: &Running) -> bool {
    matches!(*running.view.phase.lock().expect("nobody panics"), Phase::Live)
}

async fn queued(runtime: &Arc<Runtime>) -> u64 {
    let Ok(state) = runtime.store.link("default", LINK).await else { return 1 };
    let Ok(depth) = runtime.store.depth(state.id).await else { return 1 };
    // What is to be done on another day is not waited for.
    depth.iter().map(|depth| depth.pending + depth.leased + depth.retrying).sum()
}

/// Says what goes on, for whoever has to find out why it does not end.
async fn doing(runtime: &Arc<Runtime>) -> String {
    let Some(running) = runtime.running("default", LINK) else { return "the link does not run".to_owned() };
    let phase = format!("{:?}", running.view.phase.lock().expect("nobody panics"));
    let trouble: Vec<String> = running
        .view
        .trouble
        .iter()
        .filter_map(|trouble| trouble.lock().expect("nobody panics").clone())
        .collect();
    let filter = record_sync::store::JobFilter { limit: 5, ..record_sync::store::JobFilter::default() };
    let jobs = runtime.store.jobs(filter).await.unwrap_or_default();
    let jobs: Vec<String> = jobs
        .iter()
        .map(|(_, job)| {
            let due: Timestamp = job.due_at;
            format!("{} {} {:?} due {due} {:?}", job.direction.as_str(), job.key, job.state, job.error)
        })
        .collect();
    format!("phase {phase}, trouble {trouble:?}, jobs {jobs:?}")
}
