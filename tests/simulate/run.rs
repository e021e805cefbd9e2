//! Many histories: which, how long, on how many threads; and what is printed of them.

use std::panic::AssertUnwindSafe;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crate::life::{Played, play};
use crate::setup::Setup;
use crate::steps::{self, Step};
use crate::world::{Figures, Violation};

/// Steps of a history.
const STEPS: usize = 200;

/// What `make sim` was asked for.
pub struct Wanted {
    pub seed: Option<u64>,
    pub first: u64,
    pub histories: u64,
    pub steps: usize,
    /// Seconds after which no more histories are begun.
    pub seconds: u64,
    /// Failures after which no more histories are begun.
    pub failures: usize,
    /// Failures that are shrunk.
    pub shrunk: usize,
}

/// What came of many histories.
#[derive(Default)]
pub struct Many {
    pub histories: u64,
    /// So many of them were played twice.
    pub twice: u64,
    pub figures: Figures,
    /// Seeds with the promises that they broke.
    pub failed: Vec<(u64, Vec<Violation>)>,
}

impl Wanted {
    pub fn read() -> Self {
        let number = |name: &str| std::env::var(name).ok().and_then(|text| text.trim().parse::<u64>().ok());
        Self {
            seed: number("SEED"),
            first: number("FIRST").unwrap_or(1),
            histories: number("HISTORIES").unwrap_or(150),
            steps: number("STEPS").map_or(STEPS, |steps| steps as usize),
            seconds: number("WITHIN").unwrap_or(u64::MAX),
            failures: number("FAILURES").unwrap_or(3) as usize,
            shrunk: number("SHRUNK").unwrap_or(1) as usize,
        }
    }
}

/// One history in so many is played twice and compared.
const TWICE_EVERY: u64 = 20;

pub fn histories() {
    let wanted = Wanted::read();
    if let Some(seed) = wanted.seed {
        crate::planted::plant_named();
        return one(seed, wanted.steps);
    }
    let began = Instant::now();
    let Many { histories, twice, figures, failed } = many(&wanted);
    println!(
        "simulation: {histories} histories ({twice} played twice), {} violations in {:.1} s\n  {figures:?}",
        failed.len(),
        began.elapsed().as_secs_f64()
    );
    for (number, (seed, violations)) in failed.iter().enumerate() {
        explain(*seed, wanted.steps, violations, number < wanted.shrunk);
    }
    assert!(failed.is_empty(), "{} histories broke a promise", failed.len());
}

/// Plays histories on all cores, until there are enough of them or of failures.
pub fn many(wanted: &Wanted) -> Many {
    let began = Instant::now();
    let (next, sum) = (AtomicU64::new(0), Mutex::new(Many::default()));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let enough = began.elapsed().as_secs() >= wanted.seconds
                        || sum.lock().unwrap().failed.len() >= wanted.failures;
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if enough || number >= wanted.histories {
                        return;
                    }
                    let seed = wanted.first + number;
                    let twice = number % TWICE_EVERY == 0;
                    let played = history(seed, wanted.steps, twice);
                    let mut sum = sum.lock().unwrap();
                    sum.histories += 1;
                    sum.twice += u64::from(twice);
                    sum.figures += played.figures;
                    if !played.violations.is_empty() {
                        sum.failed.push((seed, played.violations));
                    }
                }
            });
        }
    });
    sum.into_inner().unwrap()
}

/// Plays one history; a share of them a second time, which has to go the same way.
fn history(seed: u64, count: usize, twice: bool) -> Played {
    let setup = Setup::draw(seed);
    let steps = steps::draw(&setup, count);
    let mut played = guarded(setup, &steps, twice);
    if twice && played.violations.is_empty() {
        let again = guarded(setup, &steps, true);
        let differs = played.trace.iter().zip(&again.trace).find(|(first, second)| first != second);
        let text = match differs {
            Some((first, second)) => format!("first {first:?}, then {second:?}"),
            None if played.trace.len() != again.trace.len() => "one goes on longer".to_owned(),
            None => return played,
        };
        played.violations.push(Violation { check: "repeatable", text });
    }
    played
}

/// A panic of the history itself is a violation like others.
fn guarded(setup: Setup, steps: &[Step], traced: bool) -> Played {
    std::panic::catch_unwind(AssertUnwindSafe(|| play(setup, steps, traced))).unwrap_or_else(|panic| {
        let text = panic
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
            .unwrap_or_default();
        let violations = vec![Violation { check: "panic", text }];
        Played { figures: Figures::default(), violations, trace: Vec::new() }
    })
}

/// Plays one history with its trace.
fn one(seed: u64, count: usize) {
    let setup = Setup::draw(seed);
    let played = guarded(setup, &steps::draw(&setup, count), true);
    println!("{}", played.trace.join("\n"));
    println!("seed {seed}: {:?}\n{setup:#?}", played.figures);
    if !played.violations.is_empty() {
        explain(seed, count, &played.violations, true);
        panic!("seed {seed} breaks a promise");
    }
}

/// Prints the shortest history that was found to break the same promise.
fn explain(seed: u64, count: usize, violations: &[Violation], shrinks: bool) {
    let setup = Setup::draw(seed);
    println!("\nseed {seed} breaks a promise; `make sim SEED={seed} STEPS={count}` plays it again");
    for violation in violations {
        println!("  {}: {}", violation.check, violation.text);
    }
    let Some(first) = violations.first().filter(|violation| shrinks && violation.check != "repeatable")
    else {
        return;
    };
    let steps = shrink(setup, steps::draw(&setup, count), first.check);
    let played = guarded(setup, &steps, true);
    println!("shrunk to {} steps on\n{setup:#?}\n{steps:?}", steps.len());
    println!("{}", played.trace.join("\n"));
    for violation in &played.violations {
        println!("  {}: {}", violation.check, violation.text);
    }
}

/// Leaves steps out as long as the same promise is broken.
fn shrink(setup: Setup, mut steps: Vec<Step>, check: &str) -> Vec<Step> {
    const TRIES_MAX: usize = 600;
    let breaks = |steps: &[Step]| {
        guarded(setup, steps, false).violations.iter().any(|violation| violation.check == check)
    };
    let (mut tries, mut size) = (0, steps.len().div_ceil(2));
    loop {
        let mut at = 0;
        let before = steps.len();
        while at < steps.len() && tries < TRIES_MAX {
            let mut fewer = steps.clone();
            fewer.drain(at..(at + size).min(steps.len()));
            tries += 1;
            if breaks(&fewer) { steps = fewer } else { at += size }
        }
        if tries >= TRIES_MAX || (size == 1 && steps.len() == before) {
            return steps;
        }
        size = (size / 2).max(1);
    }
}
