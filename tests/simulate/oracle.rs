//! What must be true at every quiet point. Knows nothing of the engine: it looks at both systems, at
//! what people did, and at what the service says of itself.

use std::sync::Arc;

use record_sync::connectors::Deletes;
use record_sync::engine::plan::{Pair, Status};
use record_sync::engine::record::{Direction, Side, Value};
use record_sync::runtime::supervisor::Runtime;
use record_sync::store::{Counters, Depth, JobFilter};

use crate::ledger::{Fate, Ledger, plain};
use crate::life::LINK;
use crate::setup::{FIELDS, KEYS, Policy};
use crate::system::{Row, key_in};
use crate::world::{State, World, is_poison, shown, word};

/// Looks at everything, and begins a new epoch.
pub async fn look(world: &Arc<World>, runtime: &Arc<Runtime>) {
    let link = match runtime.store.link("default", LINK).await {
        Ok(link) => link,
        Err(error) => return world.lock().violated("store", error.to_string()),
    };
    let depth = runtime.store.depth(link.id).await.unwrap_or_default();
    let pairs = runtime.store.walk(link.id, None, 10_000).await.unwrap_or_default();
    if !is_well(&mut world.lock(), &link.counters, &depth, &pairs) {
        tell_jobs(world, runtime).await;
    }
}

/// Judges what stands there, and begins a new epoch.
fn is_well(state: &mut State, counted: &Counters, depth: &[Depth; 2], pairs: &[Pair]) -> bool {
    for key in 0..KEYS {
        if !is_stuck(state, key) {
            record(state, key);
        }
    }
    let active: u64 = depth.iter().map(|d| d.pending + d.leased + d.retrying + d.waiting + d.conflict).sum();
    let ended = counted.delivered + counted.superseded + counted.cancelled + counted.dead;
    if counted.accepted != ended + active {
        state.violated("count", format!("{counted:?} with {active} active"));
    }
    statuses(state, pairs);
    let is_well = state.violations.is_empty();
    if is_well {
        state.note(|| "all is well".to_owned());
    } else {
        pairs.iter().for_each(|pair| state.note(|| format!("known: {pair:?}")));
    }
    begin(state);
    is_well
}

/// Notes what still waits, where something is wrong. Only then: a question to the state takes its time.
async fn tell_jobs(world: &Arc<World>, runtime: &Arc<Runtime>) {
    let jobs =
        runtime.store.jobs(JobFilter { limit: 1_000, ..JobFilter::default() }).await.unwrap_or_default();
    let mut state = world.lock();
    for (_, job) in jobs.iter().filter(|(_, job)| job.state.is_active()) {
        state.note(|| format!("waits: {job:?}"));
    }
}

/// The rows of a key on both sides.
fn rows(state: &State, key: u8) -> [Vec<&Row>; 2] {
    let of = |at: usize| state.systems[at].rows.values().filter(|row| row.key == key).collect();
    [of(0), of(1)]
}

/// Tells whether a value of this record can't travel: the other system chokes on it.
fn is_stuck(state: &State, key: u8) -> bool {
    let of = |at: usize| state.systems[at].rows.values().filter(move |row| row.key == key);
    let poisoned = |at: usize| of(at).any(|row| row.values.iter().any(is_poison));
    [0, 1].into_iter().any(|at| poisoned(at) && state.systems[1 - at].nature.chokes)
}

fn record(state: &mut State, key: u8) {
    let mut broken: Vec<(&'static str, String)> = Vec::new();
    let width = state.rules.width();
    let empty = Ledger::default();
    let ledger = state.ledgers.get(&key).unwrap_or(&empty);
    let [a, b] = rows(state, key);
    if a.len() > 1 || b.len() > 1 {
        broken.push(("effect_twice", format!("k{key} is there {} times at a, {} at b", a.len(), b.len())));
    }
    match (a.first(), b.first()) {
        (Some(a), Some(b)) => {
            if ledger.fate(width) == Fate::Gone {
                broken.push(("delete_undone", format!("k{key} is there, although it was deleted")));
            }
            for field in 0..width {
                fields(state, ledger, key, field, [&a.values[field], &b.values[field]], &mut broken);
            }
        }
        (None, None) => {
            if ledger.fate(width) == Fate::Lives {
                broken.push(("record_lost", format!("k{key} is gone on both sides")));
            }
        }
        (a, b) => {
            let at = |row: Option<&&Row>| row.map_or("nothing".to_owned(), |row| shown(&row.values));
            broken.push(("converges", format!("k{key}: {} at a, {} at b", at(a), at(b))));
        }
    }
    for (check, text) in broken {
        state.violated(check, text);
    }
}

fn fields(
    state: &State,
    ledger: &Ledger,
    key: u8,
    field: usize,
    [a, b]: [&Value; 2],
    broken: &mut Vec<(&'static str, String)>,
) {
    let name = format!("k{key}.{}", FIELDS[field]);
    if plain(a) != plain(b) {
        broken.push(("converges", format!("{name} is {} at a and {} at b", word(a), word(b))));
        return;
    }
    if ledger.blurred[field] || ledger.unsure {
        return;
    }
    let candidates = ledger.candidates(field);
    let is = |value: &Option<Value>| value.as_ref().is_some_and(|value| plain(value) == plain(a));
    let allowed = candidates.iter().any(|event| is(&event.values[field]));
    // New rules map a field anew on which nobody worked; who edits it in the moment of that write may lose.
    let raced = ledger.fuzzy && candidates.iter().all(|event| event.raced);
    if !allowed && !candidates.is_empty() && !raced {
        let tops: Vec<String> = candidates
            .iter()
            .map(|event| {
                let side = event.side.map_or("both", Side::as_str);
                format!("{} of {side}", event.values[field].as_ref().map_or_else(String::new, word))
            })
            .collect();
        broken.push(("edit_lost", format!("{name} is {}, should be {}", word(a), tops.join(" or "))));
        return;
    }
    let winner = match state.rules.policy {
        Policy::Newest => return,
        Policy::A => Side::A,
        Policy::B => Side::B,
    };
    // A system that can't compare may lose the race between look and write.
    let compares = state.setup.natures.iter().all(|nature| nature.compare_and_set) || !ledger.any_raced();
    if ledger.fuzzy || !ledger.only_edits() || !compares {
        return;
    }
    if let Some(due) = candidates.iter().find(|event| event.side == Some(winner))
        && !is(&due.values[field])
    {
        let due = due.values[field].as_ref().map_or_else(String::new, word);
        broken.push(("policy", format!("{name} is {}, but {} wins with {due}", word(a), winner.as_str())));
    }
}

/// Every status tells the truth, and what the store knows is so.
fn statuses(state: &mut State, pairs: &[Pair]) {
    let width = state.rules.width();
    let mut broken: Vec<(&'static str, String)> = Vec::new();
    let mut known = [false; KEYS as usize];
    for pair in pairs {
        let Some(key) = key_in(&pair.key) else {
            broken.push(("store", format!("a pair {} that nobody made", pair.key)));
            continue;
        };
        known[usize::from(key)] = true;
        for (side, rows) in Side::BOTH.into_iter().zip(rows(state, key)) {
            let now = pair.side(side).now();
            match (now, rows.first()) {
                (None, None) => {}
                (Some(image), Some(row)) => {
                    for (field, name) in FIELDS.iter().enumerate().take(width) {
                        let (known, stands) = (image.get(name), &row.values[field]);
                        if plain(known) != plain(stands) {
                            let text = format!(
                                "k{key}.{name} is known as {} at {}, is {}",
                                word(known),
                                side.as_str(),
                                word(stands)
                            );
                            broken.push(("store", text));
                        }
                    }
                }
                (now, _) => {
                    let text = format!(
                        "k{key} is {} at {}",
                        if now.is_some() { "not" } else { "there" },
                        side.as_str()
                    );
                    broken.push(("store", text));
                }
            }
        }
        let stuck = is_stuck(state, key);
        for direction in Direction::BOTH {
            let way = pair.way(direction);
            if stuck && way.status == Status::Dead {
                continue;
            }
            // What somebody handed in and could not be done, or called off, is said where it was to go.
            if matches!(way.status, Status::Dead | Status::Cancelled)
                && state.pushes.explain(direction.to(), key)
            {
                continue;
            }
            // A direction in which nothing had to go yet has nothing to say.
            if !matches!(way.status, Status::Synced | Status::None) {
                let text = format!("k{key} {} is {:?} {:?}", direction.as_str(), way.status, way.error);
                broken.push(("status", text));
            }
        }
    }
    for key in 0..KEYS {
        let [a, b] = rows(state, key);
        if !known[usize::from(key)] && (!a.is_empty() || !b.is_empty()) {
            broken.push(("store", format!("k{key} is not known")));
        }
    }
    for (check, text) in broken {
        state.violated(check, text);
    }
}

/// From here on only what comes next counts.
fn begin(state: &mut State) {
    // What can't travel goes on being a story of its own.
    let stuck: Vec<u8> = (0..KEYS).filter(|&key| is_stuck(state, key)).collect();
    state.ledgers.retain(|key, _| stuck.contains(key));
    state.writes = 0;
    state.blurs = false;
    state.without_doubt();
    for key in (0..KEYS).filter(|key| !stuck.contains(key)) {
        let [a, b] = rows(state, key);
        let values = [a.first().map(|row| &row.values), b.first().map(|row| &row.values)];
        if values.iter().any(Option::is_some) {
            let ledger = Ledger::begin(values);
            state.ledgers.insert(key, ledger);
        }
    }
    for system in &mut state.systems {
        system.looked.clear();
        system.rows.values_mut().for_each(|row| row.echoed = Default::default());
        if system.nature.deletes != Deletes::Reported {
            system.graves.clear();
        }
    }
}
