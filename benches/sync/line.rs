//! A line of the table, and of the report.

use super::measure::Run;

/// What was measured of one workload: medians.
pub struct Line {
    pub name: &'static str,
    pub what: String,
    /// Records, jobs, changes.
    pub count: usize,
    pub sync: Run,
    /// The bare loop of the same work, where there is one.
    pub bare: Option<Run>,
    /// What else there is to say.
    pub more: String,
}

pub const HEAD: &str = "| workload | a second | bare | ratio | CPU s | bare | peak MiB | bare | |\n\
                        |---|---|---|---|---|---|---|---|---|";

impl Line {
    /// Returns how many times the bare loop's time it took.
    pub fn ratio(&self) -> Option<f64> {
        Some(self.sync.elapsed.as_secs_f64() / self.bare?.elapsed.as_secs_f64())
    }

    /// Writes the line for people.
    pub fn text(&self) -> String {
        let rate = |run: Run| format!("{:.0}", self.count as f64 / run.elapsed.as_secs_f64());
        let cpu = |run: Run| match run.cpu.as_secs_f64() {
            0.0 => String::new(),
            cpu => format!("{cpu:.2}"),
        };
        let mib = |run: Run| match run.peak_kib {
            0 => String::new(),
            kib => (kib / 1024).to_string(),
        };
        let bare = |tell: &dyn Fn(Run) -> String| self.bare.map(tell).unwrap_or_default();
        let ratio = self.ratio().map(|ratio| format!("{ratio:.2}")).unwrap_or_default();
        let Self { name, what, sync, more, .. } = self;
        [
            format!("{name} {what}"),
            rate(*sync),
            bare(&rate),
            ratio,
            cpu(*sync),
            bare(&cpu),
            mib(*sync),
            bare(&mib),
            more.clone(),
        ]
        .iter()
        .fold("|".to_owned(), |line, cell| format!("{line} {cell} |"))
    }

    /// Writes the line for programs.
    pub fn json(&self) -> serde_json::Value {
        let run = |run: Run| {
            serde_json::json!({
                "seconds": run.elapsed.as_secs_f64(), "cpu_seconds": run.cpu.as_secs_f64(), "peak_kib": run.peak_kib,
            })
        };
        serde_json::json!({
            "workload": self.name, "what": self.what, "count": self.count, "ratio": self.ratio(),
            "record_sync": run(self.sync), "bare": self.bare.map(run), "more": self.more,
        })
    }
}

/// Tells how far a workload is, on standard error.
pub fn tell_round(name: &str, round: usize, sync: &Run, bare: Option<&Run>) {
    let bare = bare.map(|run| format!(", bare {:.2} s", run.elapsed.as_secs_f64())).unwrap_or_default();
    eprintln!("{name} round {}: {:.2} s{bare}", round + 1, sync.elapsed.as_secs_f64());
}
