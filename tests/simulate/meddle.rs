//! Pairs that move on while their records are on their way, and jobs that are called off: whoever stores what became
//! of those has to tell it again.

use std::sync::Arc;

use record_sync::connectors::Delivery;
use record_sync::engine::job::{Job, JobState, Origin};
use record_sync::engine::record::{Direction, Key, Side};
use record_sync::store::{Commit, JobFilter, Store};

use crate::chance::Chance;
use crate::setup::FIELDS;
use crate::steps::Fill;
use crate::system::key_in;
use crate::world::World;

/// In how many of a hundred cases a pair moves.
const MOVED_PERCENT: u64 = 30;
/// In how many of those somebody works on what was just written, before anybody is told that it was.
const WORKED_PERCENT: u64 = 20;
/// How often in a history.
const WORKS_MAX: u32 = 10;

/// Who meddles. All of it by a chance of its own, so that the other histories stay as they are.
#[derive(Debug)]
pub struct Meddling {
    chance: Chance,
    /// What is still to be worked on what was just written, so that it comes to rest.
    left: u32,
}

impl Meddling {
    pub fn new(seed: u64) -> Self {
        Self { chance: Chance::new(seed ^ 0x3ED1), left: WORKS_MAX }
    }

    fn works(&mut self) -> bool {
        let works = self.left > 0 && self.chance.percent(WORKED_PERCENT);
        self.left -= u32::from(works);
        works
    }
}

/// Moves pairs, as somebody does who tries a job again: what they say stays as it is. What was asked for and is under
/// way is called off as well.
pub async fn meddle(world: &Arc<World>, to: Side, deliveries: &[Delivery]) {
    let direction = to.other().outward();
    let store = {
        let state = world.lock();
        state.losses.store().filter(|_| state.setup.is_meddled())
    };
    let Some(store) = store else { return };
    for link in store.links().await.unwrap_or_default() {
        for delivery in deliveries {
            if !world.lock().meddling.chance.percent(MOVED_PERCENT) {
                continue;
            }
            let known = store.known(link.id, vec![delivery.key.clone()]).await.unwrap_or_default();
            let commit = Commit { pairs: known.into_iter().flatten().collect(), ..Commit::default() };
            let now = world.clock()();
            // Where it can't, nobody has moved anything.
            let _ = store.commit(link.id, commit, now).await;
            let calls_off = work(world, to, &delivery.key);
            if calls_off {
                call_off(world, &store, direction, &delivery.key).await;
            }
        }
    }
}

/// Works on a record just after it was written, or not; tells whether its job is to be called off.
fn work(world: &Arc<World>, side: Side, key: &Key) -> bool {
    let mut state = world.lock();
    let calls_off = state.meddling.chance.flip();
    let Some(key) = key_in(key).filter(|_| state.meddling.works()) else { return calls_off };
    if state.meddling.chance.flip() {
        state.delete(side, key);
    } else {
        let field = state.meddling.chance.below(FIELDS.len() as u64);
        state.edit(side, key, u8::try_from(field).expect("a few fields"), Fill::Token);
    }
    calls_off
}

async fn call_off(world: &Arc<World>, store: &Arc<dyn Store>, direction: Direction, key: &Key) {
    let filter =
        JobFilter { direction: Some(direction), key: Some(key.clone()), limit: 20, ..JobFilter::default() };
    let jobs = store.jobs(filter).await.unwrap_or_default();
    let asked = jobs.iter().map(|(_, job)| job).find(|job| job.origin == Origin::Asked);
    // Whoever calls it off has been told of it.
    let is_known = |job: &&Job| world.lock().promises.are_of(job.id);
    let Some(job) = asked.filter(|job| job.state == JobState::Leased).filter(is_known) else { return };
    world.lock().promises.may_call_off(job.id);
    let now = world.clock()();
    let called_off = store.cancel(job.id, now).await;
    let mut state = world.lock();
    match called_off {
        Ok(true) => {
            state.note(|| format!("somebody calls job {} of {} off", job.id, job.key));
            state.promises.call_off(job.id);
        }
        Ok(false) => state.promises.not_called_off(job.id),
        Err(_) => {}
    }
}
