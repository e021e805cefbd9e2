//! Plays a point: the run with its fault, a restart without one, and a look at everything.

use crate::point::{Fault, Point};
use crate::scene::{LINK, Prepared, Stage};
use crate::trace::{self, Traced};
use crate::verdict::{self, Verdict};

/// Seconds after which the run with the fault gives up waiting.
const PATIENCE: &str = "20";

/// Where tokio itself panics when it finds no descriptors at the start, before anything was opened.
const SIGNALS: &str = "src/signal/unix.rs";

/// How a point went.
pub struct Played {
    /// The place of the call that was hit, among all of its kind; `None`: never reached.
    pub hit: Option<usize>,
    pub verdict: Verdict,
    /// Where the faults were, and the end of the log of that run.
    pub tail: String,
}

/// Plays one point in a copy of the prepared folder.
pub fn play(prepared: &Prepared, point: &Point) -> Played {
    let home = prepared.home.copied();
    let mock = prepared.scene.other.connect(&home);
    let mut verdict = Verdict::default();

    let injection = point.injection();
    let patience = if point.fault == Fault::Full { "3" } else { PATIENCE };
    let traced = trace::run(&home, &prepared.scene.arguments(patience), Some(&injection));
    let hit = traced.hit(&injection);
    judge_end(point, &traced, hit.is_some(), &mut verdict);
    if home.path("files").exists() {
        verdict::look_at_file(&home, &mut verdict);
    }

    // What a supervisor does by itself: start it again.
    let again = home.run(&["once", "--link", LINK, "--json", "--timeout", "60"]);
    let summary: serde_json::Value = serde_json::from_slice(&again.stdout).unwrap_or_default();
    if !again.status.success() || summary["complete"] != true {
        verdict.manual = true;
        verdict.complain(format!("the restart: {again:?}"));
    }
    // Nothing may be left to do after that.
    let quiet = home.run(&["once", "--link", LINK, "--json", "--timeout", "60"]);
    let summary: serde_json::Value = serde_json::from_slice(&quiet.stdout).unwrap_or_default();
    if !quiet.status.success() || summary["synced"] != 0 {
        verdict.complain(format!("not at rest: {quiet:?}"));
    }
    let mock = mock.or_else(|| prepared.scene.other.open(&home));
    verdict::look_at_all(prepared, &home, mock.as_ref(), &mut verdict);
    if let Some(mock) = mock {
        mock.terminate();
    }
    verdict::check_integrity(&home, &mut verdict);
    Played { hit, verdict, tail: tail(&traced) }
}

/// How the run with the fault may end: killed where it should be, else by itself and with a word.
fn judge_end(point: &Point, traced: &Traced, hit: bool, verdict: &mut Verdict) {
    use std::os::unix::process::ExitStatusExt;
    if traced.hung {
        verdict.complain("the run with the fault never ended");
        return;
    }
    if traced.stderr.contains("panicked at") && !traced.stderr.contains(SIGNALS) {
        verdict.complain(format!("a panic instead of a clear error: {}", traced.stderr));
    }
    // One error of the state's disk is ridden out or said; nobody is kept waiting for a lease to run out.
    if point.fault != Fault::Full && traced.stderr.contains("took too long") {
        verdict.complain(format!("kept waiting: {}", traced.stderr));
    }
    match (point.fault, traced.status.code()) {
        (Fault::Kill, _) if hit => {
            if traced.status.signal() != Some(9) {
                verdict.complain(format!("was to be killed, and ended with {}", traced.status));
            }
        }
        (_, Some(0)) => {}
        (_, Some(_)) if !traced.stderr.trim().is_empty() => {}
        (_, Some(1)) => {}
        (_, code) => verdict.complain(format!("ended with {code:?} ({}): {}", traced.status, traced.stderr)),
    }
}

fn tail(traced: &Traced) -> String {
    let lines: Vec<&str> = traced.raw.lines().collect();
    let from = lines.len().saturating_sub(25);
    let injected = lines.iter().filter(|line| line.ends_with("(INJECTED)")).copied();
    let shown: Vec<&str> = injected.chain(lines.get(from..).unwrap_or_default().iter().copied()).collect();
    format!("{}\n{}", shown.join("\n"), traced.stderr)
}

/// The reference run: without a fault it must end well by itself.
pub fn reference(prepared: &Prepared) -> Traced {
    let home = prepared.home.copied();
    let mut mock = prepared.scene.other.connect(&home);
    let traced = trace::run(&home, &prepared.scene.arguments(PATIENCE), None);
    assert!(!traced.hung, "{}", tail(&traced));
    let mut verdict = Verdict::default();
    if prepared.scene.stage != Stage::State {
        assert!(traced.status.success(), "{}", tail(&traced));
        mock = mock.or_else(|| prepared.scene.other.open(&home));
        mock = mock.or_else(|| prepared.scene.other.open(&home));
        verdict::look_at_all(prepared, &home, mock.as_ref(), &mut verdict);
    }
    if let Some(mock) = mock {
        mock.terminate();
    }
    verdict::check_integrity(&home, &mut verdict);
    assert!(verdict.is_well(), "{}: {verdict}", prepared.scene.name);
    traced
}
