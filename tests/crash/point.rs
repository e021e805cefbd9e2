//! A point: the call at which something happens, and what.
//!
//! Written as `scene:fault:call:target:n`, so that `POINT=…` plays it again.

use std::collections::BTreeMap;
use std::fmt;

use crate::trace::{ANY, Call, Injection, SOCKET};

/// What happens at a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// The process dies before the call does anything.
    Kill,
    /// No space left on the device.
    Enospc,
    /// The device fails.
    Eio,
    /// Too many open files.
    Emfile,
    /// No space from then on, until the restart.
    Full,
}

impl Fault {
    pub const ALL: [Self; 5] = [Self::Kill, Self::Enospc, Self::Eio, Self::Emfile, Self::Full];

    pub fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Enospc => "enospc",
            Self::Eio => "eio",
            Self::Emfile => "emfile",
            Self::Full => "full",
        }
    }

    fn what(self) -> &'static str {
        match self {
            Self::Kill => "signal=KILL",
            Self::Enospc | Self::Full => "error=ENOSPC",
            Self::Eio => "error=EIO",
            Self::Emfile => "error=EMFILE",
        }
    }

    /// Whether it makes sense at this call. Dying before a descriptor is opened is dying before the
    /// next call that changes something; a disk that stays full keeps the run waiting, so it is taken
    /// at fewer and fewer calls.
    fn fits(self, call: &Call, nth: usize) -> bool {
        match self {
            Self::Kill => call.target != ANY,
            Self::Enospc | Self::Eio | Self::Emfile => true,
            Self::Full => call.target != ANY && call.target != SOCKET && nth.is_power_of_two(),
        }
    }
}

/// One point of one scene.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Point {
    pub scene: String,
    pub fault: Fault,
    pub call: Call,
    /// The n-th such call of a thread.
    pub nth: usize,
}

impl Point {
    pub fn injection(&self) -> Injection<'_> {
        Injection { call: &self.call, nth: self.nth, what: self.fault.what(), on: self.fault == Fault::Full }
    }

    /// Reads what `Display` writes.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.trim().split(':');
        let scene = parts.next()?.to_owned();
        let fault = parts.next()?;
        let fault = Fault::ALL.into_iter().find(|known| known.name() == fault)?;
        let call = Call { name: parts.next()?.to_owned(), target: parts.next()?.to_owned() };
        let nth = parts.next()?.parse().ok()?;
        Some(Self { scene, fault, call, nth })
    }
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { scene, fault, call, nth } = self;
        write!(f, "{scene}:{}:{}:{}:{nth}", fault.name(), call.name, call.target)
    }
}

/// How often each call was made in a reference run.
pub fn count(log: &[(u32, Call)]) -> BTreeMap<Call, usize> {
    let mut counts = BTreeMap::new();
    for (_, call) in log {
        *counts.entry(call.clone()).or_default() += 1;
    }
    counts
}

/// All points of a reference run.
pub fn points(scene: &str, log: &[(u32, Call)]) -> Vec<Point> {
    let mut by_thread: BTreeMap<(u32, &Call), usize> = BTreeMap::new();
    for (thread, call) in log {
        *by_thread.entry((*thread, call)).or_default() += 1;
    }
    let mut most: BTreeMap<&Call, usize> = BTreeMap::new();
    for ((_, call), count) in by_thread {
        let known = most.entry(call).or_default();
        *known = count.max(*known);
    }
    let mut points = Vec::new();
    for fault in Fault::ALL {
        for (&call, &count) in &most {
            let counted = (1..=count).filter(|&nth| fault.fits(call, nth));
            let all = counted.map(|nth| Point { scene: scene.to_owned(), fault, call: call.clone(), nth });
            points.extend(all);
        }
    }
    points
}

#[test]
fn a_point_is_read_as_it_is_written() {
    let text = "file-edits:enospc:pwrite64:data/state.sqlite-wal:17";
    assert_eq!(Point::parse(text).unwrap().to_string(), text);
    assert_eq!(Point::parse("file-edits:melts:write:-:1"), None);
}

#[test]
fn points_are_counted_by_thread() {
    let call = |target: &str| Call { name: "write".to_owned(), target: target.to_owned() };
    let log = [(1, call("x")), (2, call("x")), (2, call("x")), (1, call("y")), (1, call(ANY))];
    let points = points("s", &log);
    let kills: Vec<_> =
        points.iter().filter(|point| point.fault == Fault::Kill).map(ToString::to_string).collect();
    assert_eq!(kills, ["s:kill:write:x:1", "s:kill:write:x:2", "s:kill:write:y:1"]);
    assert_eq!(points.len(), 3 + 3 * 4 + 3, "an error everywhere, the rest where something changes");
}
