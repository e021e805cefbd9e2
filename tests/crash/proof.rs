//! Which points are taken, and the figures.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::play::{Played, play, reference};
use crate::point::{Fault, Point, count, points};
use crate::scene::{Prepared, SCENES, Scene};
use crate::trace::{self, ANY, Call};

/// How long the sample takes.
const BUDGET: Duration = Duration::from_secs(60);
/// Points of the sample that are taken at a time; .config/nextest.toml keeps the cores free.
const SAMPLE_JOBS: usize = 2;
/// Failures that are shown in full.
const SHOWN_MAX: usize = 12;
const MISSED_MAX: usize = 60;
const DAY_SECONDS: u64 = 86_400;

/// What the environment asks for.
enum Wanted {
    Sample,
    All,
    One(Point),
}

fn wanted() -> Option<Wanted> {
    if let Ok(text) = std::env::var("POINT") {
        let point = Point::parse(&text);
        let form = "POINT is scene:fault:call:target:n, as a failure prints it";
        return Some(Wanted::One(point.unwrap_or_else(|| panic!("{form}, not {text:?}"))));
    }
    match std::env::var("CRASH").as_deref() {
        Ok("skip") => {
            eprintln!("\n*** KILL POINTS ARE NOT PROVEN: skipped by CRASH=skip ***\n");
            None
        }
        Ok("all") => Some(Wanted::All),
        Ok("") | Err(_) => Some(Wanted::Sample),
        Ok(other) => panic!("CRASH is all or skip, not {other:?}"),
    }
}

/// Takes the points that are asked for, and fails where one is not well.
pub fn take() {
    let Some(wanted) = wanted() else { return };
    if let Err(reason) = trace::usable() {
        panic!("\n*** KILL POINTS CAN'T BE PROVEN HERE: {reason}; CRASH=skip goes on without ***\n");
    }
    match wanted {
        Wanted::One(point) => replay(&point),
        Wanted::All => Proof::new().run(budget()),
        Wanted::Sample => Proof::new().run(budget().or(Some(BUDGET))),
    }
}

/// Seconds that the environment allows.
fn budget() -> Option<Duration> {
    let seconds = std::env::var("BUDGET").ok().filter(|text| !text.is_empty())?;
    Some(Duration::from_secs(
        seconds.parse().unwrap_or_else(|_| panic!("BUDGET is in seconds, not {seconds:?}")),
    ))
}

fn replay(point: &Point) {
    let scene = Scene::find(&point.scene).unwrap_or_else(|| panic!("there is no scene {:?}", point.scene));
    let Played { hit, verdict, tail } = play(&scene.prepare(), point);
    println!("{tail}\n\n{point}: hit {hit:?}, {verdict}");
    assert!(verdict.is_well(), "POINT={point}: {verdict}");
}

/// All scenes with their points, and what came of them.
struct Proof {
    scenes: Vec<(Prepared, BTreeMap<Call, usize>)>,
    points: Vec<(usize, Point)>,
    seed: u64,
    /// The folders are made within the budget as well.
    began: Instant,
    sums: Mutex<Sums>,
}

#[derive(Default)]
struct Sums {
    taken: usize,
    reached: usize,
    by_fault: BTreeMap<&'static str, usize>,
    /// The very calls at which the process was killed: scene, call, place.
    killed_at: BTreeSet<(usize, Call, usize)>,
    lost: usize,
    duplicated: usize,
    manual: usize,
    failures: Vec<String>,
}

impl Proof {
    fn new() -> Self {
        let began = Instant::now();
        let only = std::env::var("SCENE").ok();
        let mut scenes = Vec::new();
        let mut all = Vec::new();
        for scene in SCENES.iter().filter(|scene| only.as_deref().is_none_or(|name| scene.name == name)) {
            let prepared = scene.prepare();
            let log = reference(&prepared).log;
            all.extend(points(scene.name, &log).into_iter().map(|point| (scenes.len(), point)));
            scenes.push((prepared, count(&log)));
        }
        if let Ok(names) = std::env::var("FAULT") {
            all.retain(|(_, point)| names.split(',').any(|name| point.fault.name() == name));
        }
        let day = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() / DAY_SECONDS;
        let seed = std::env::var("SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(day);
        shuffle(&mut all, seed);
        Self { scenes, points: all, seed, began, sums: Mutex::default() }
    }

    fn run(&self, budget: Option<Duration>) {
        let began = self.began;
        let next = AtomicUsize::new(0);
        let workers = std::env::var("JOBS").ok().and_then(|text| text.parse().ok());
        let workers = workers.unwrap_or_else(|| match budget {
            Some(_) => SAMPLE_JOBS,
            None => std::thread::available_parallelism().map_or(SAMPLE_JOBS, usize::from),
        });
        std::thread::scope(|scope| {
            for _ in 0..workers {
                scope.spawn(|| {
                    while budget.is_none_or(|budget| began.elapsed() < budget) {
                        let Some((scene, point)) = self.points.get(next.fetch_add(1, Ordering::Relaxed))
                        else {
                            break;
                        };
                        self.take(*scene, point);
                    }
                });
            }
        });
        self.tell(began.elapsed());
        let sums = self.sums.lock().unwrap();
        assert!(sums.failures.is_empty(), "{} points are not well", sums.failures.len());
    }

    fn take(&self, scene: usize, point: &Point) {
        let played = play(&self.scenes[scene].0, point);
        let mut sums = self.sums.lock().unwrap();
        sums.taken += 1;
        *sums.by_fault.entry(point.fault.name()).or_default() += 1;
        if let Some(place) = played.hit {
            sums.reached += 1;
            if point.fault == Fault::Kill {
                sums.killed_at.insert((scene, point.call.clone(), place));
            }
        }
        let verdict = &played.verdict;
        sums.lost += verdict.lost;
        sums.duplicated += verdict.duplicated;
        sums.manual += usize::from(verdict.manual);
        if !verdict.is_well() {
            eprintln!("not well: POINT={point} {verdict}");
            sums.failures.push(format!("POINT={point} {verdict}\n{}", played.tail));
        }
        if sums.taken.is_multiple_of(200) {
            eprintln!(
                "{} of {} points taken, {} not well",
                sums.taken,
                self.points.len(),
                sums.failures.len()
            );
        }
    }

    fn tell(&self, took: Duration) {
        let sums = self.sums.lock().unwrap();
        for failure in sums.failures.iter().take(SHOWN_MAX) {
            println!("\n{failure}");
        }
        println!("\nkill points, seed {}, {} s", self.seed, took.as_secs());
        for (scene, (prepared, counts)) in self.scenes.iter().enumerate() {
            let mut missed = Vec::new();
            let mut calls = 0;
            for (call, &count) in counts.iter().filter(|(call, _)| call.target != ANY) {
                calls += count;
                let places =
                    (1..=count).filter(|place| !sums.killed_at.contains(&(scene, call.clone(), *place)));
                missed.extend(places.map(|place| format!("{} {} {place}", call.name, call.target)));
            }
            let name = prepared.scene.name;
            println!(
                "  {name}: {calls} calls that change something, killed at {} of them",
                calls - missed.len()
            );
            // A sample misses nearly all.
            if sums.taken == self.points.len() && sums.by_fault.contains_key(Fault::Kill.name()) {
                missed.iter().take(MISSED_MAX).for_each(|call| println!("    not killed at: {call}"));
            }
        }
        println!(
            "  points found {}, taken {} ({:?}), reached {}; lost {}, duplicated {}, manual steps {}, not well {}",
            self.points.len(),
            sums.taken,
            sums.by_fault,
            sums.reached,
            sums.lost,
            sums.duplicated,
            sums.manual,
            sums.failures.len()
        );
    }
}

/// Puts the points in an order that depends on the seed alone.
fn shuffle(points: &mut [(usize, Point)], seed: u64) {
    let mut dice = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    for last in (1..points.len()).rev() {
        dice ^= dice << 13;
        dice ^= dice >> 7;
        dice ^= dice << 17;
        points.swap(last, usize::try_from(dice % (last as u64 + 1)).unwrap());
    }
}
