//! Bugs planted on purpose, one after the other: which of them the simulation catches, by which check, and
//! how fast.

use std::collections::BTreeMap;
use std::time::Instant;

use record_sync::planted::{Bug, plant};

use crate::run::{self, Many, Wanted};

/// A bug that lives longer than that was not caught.
const SECONDS: u64 = 60;

/// Seeds that met the rarer ones when they were planted last: played first, so that a slow machine does not
/// need the whole minute. Where one of them has moved on, the search finds another.
const MET_BY: &[(Bug, u64)] = &[
    (Bug::UnfinishedForgotten, 381),
    (Bug::WritesUnlooked, 479),
    (Bug::CreatesUnlooked, 479),
    (Bug::PushSentAgain, 1484),
    (Bug::PutOffLate, 180),
    (Bug::RevivesUnasked, 963),
    (Bug::SentUnlooked, 289),
    (Bug::ProbesUnbounded, 774),
    (Bug::LoadsLookAway, 33_675),
    (Bug::ForgottenForgotten, 3097),
    (Bug::RevisionIsProof, 2509),
    (Bug::ArrivalsForgotten, 117),
    (Bug::LostUnnoted, 773),
    (Bug::TouchedForgotten, 21_294),
    (Bug::ForgottenNoted, 21_715),
    (Bug::ReplanUnmarked, 21_751),
];

/// Bugs that thousands of histories do not meet since pages go straight to remote systems: jobs have become rare where
/// they show. They are played and told, and fail nothing until seeds are known that meet them.
const UNMET: &[Bug] = &[Bug::DoubtOneWay];

/// Plants the bug that `BUG` names, for one history that is told with its trace.
pub fn plant_named() {
    let only = std::env::var("BUG").ok().filter(|name| !name.is_empty());
    plant(Bug::ALL.iter().map(|(bug, _)| *bug).find(|bug| only == Some(format!("{bug:?}"))));
}

/// Plants each bug and plays histories until one of them breaks a promise. `BUG` names one, `WITHIN` other
/// seconds.
pub fn bugs() {
    let only = std::env::var("BUG").ok().filter(|name| !name.is_empty());
    let read = Wanted::read();
    let seconds = if read.seconds == u64::MAX { SECONDS } else { read.seconds };
    let wanted = Wanted { failures: 1, histories: u64::MAX, seconds, shrunk: 0, ..read };
    let mut uncaught = Vec::new();
    let mut checks: BTreeMap<&str, usize> = BTreeMap::new();
    let bugs: Vec<_> = Bug::ALL
        .iter()
        .filter(|(bug, _)| only.as_ref().is_none_or(|name| *name == format!("{bug:?}")))
        .collect();
    println!("planted bugs, and what caught them");
    for (bug, about) in &bugs {
        let began = Instant::now();
        plant(Some(*bug));
        let met_by = MET_BY.iter().find(|(met, _)| met == bug).map(|(_, seed)| *seed);
        let first = met_by.map(|first| run::many(&Wanted { first, histories: 1, ..wanted }));
        let Many { histories, failed, .. } =
            first.filter(|first| !first.failed.is_empty()).unwrap_or_else(|| run::many(&wanted));
        plant(None);
        let seconds = began.elapsed().as_secs_f64();
        let name = format!("{bug:?}");
        let Some((seed, first)) = failed.first().and_then(|(seed, broken)| Some((seed, broken.first()?)))
        else {
            println!("  {name:<22} NOT CAUGHT in {histories} histories, {seconds:.0} s: {about}");
            if !UNMET.contains(bug) {
                uncaught.push(name);
            }
            continue;
        };
        *checks.entry(first.check).or_default() += 1;
        println!(
            "  {name:<22} {:<15} seed {seed:<4}, {histories:>4} played, {seconds:>4.1} s: {about}",
            first.check
        );
        if only.is_some() {
            println!("    {}", first.text);
        }
    }
    println!("{} of {} planted bugs caught: {checks:?}", checks.values().sum::<usize>(), bugs.len());
    assert!(!bugs.is_empty(), "there is no such bug");
    assert!(uncaught.is_empty(), "not caught: {uncaught:?}");
}
