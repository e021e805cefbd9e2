//! The service itself, running beside the benchmark; it ends with this.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::measure::{cpu_of, peak_kib};

pub struct Daemon {
    child: Child,
}

impl Daemon {
    /// Starts it with a configuration.
    pub fn start(config: &Path) -> Self {
        let child = Command::new(env!("CARGO_BIN_EXE_record-sync"))
            .args(["run", "--config"])
            .arg(config)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("record-sync starts");
        Self { child }
    }

    /// Returns what it has worked so far.
    pub fn cpu(&self) -> Duration {
        cpu_of(self.child.id())
    }

    /// Returns its peak memory, in KiB.
    pub fn peak_kib(&self) -> u64 {
        peak_kib(&self.child.id().to_string())
    }

    /// Waits until something is so; fails where the process ends or it takes too long.
    pub fn until(&mut self, what: &str, patience: Duration, is_so: impl Fn() -> bool) {
        let begun = Instant::now();
        while !is_so() {
            assert!(self.child.try_wait().expect("the process").is_none(), "record-sync has ended");
            assert!(begun.elapsed() < patience, "{what}: not after {patience:?}");
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
