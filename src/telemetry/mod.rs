//! The JSON log, the lines for people, and the metrics.
//!
//! Invariant: nothing here ever stops or slows the sync. A full queue, a full disk or a folder that
//! can't be written drops lines, and [`Dropped`] counts them.

mod line;
pub mod metrics;
mod rolling;

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tracing::Subscriber;
use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{EnvFilter, Layer};

use crate::engine::record::Timestamp;
use line::{Lines, Shape};
pub use rolling::LOG_FILE;

/// The time, for log lines and for naming files; whoever starts the log hands in the real one.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// Lines waiting to be written. A line takes about 300 bytes, so a stuck disk holds 5 MB.
const QUEUED_LINES_MAX: usize = 16_384;

/// Libraries that tell more than a user of record-sync wants to read.
const QUIET_LIBRARIES: &str =
    "hyper=warn,hyper_util=warn,reqwest=warn,rustls=warn,h2=warn,tower_http=warn,notify=warn";

/// How to log.
#[derive(Clone, Debug)]
pub struct LogSettings {
    /// Where `record_sync.log` is written; `None` writes no file.
    pub folder: Option<PathBuf>,
    /// `info`, or an `EnvFilter` directive.
    pub level: String,
    /// A file of this size is put aside.
    pub bytes_max: u64,
    /// So many files that were put aside are kept.
    pub files_max: usize,
    pub stderr: Stderr,
}

/// What goes to standard error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stderr {
    Nothing,
    /// Lines for people.
    Human,
    /// Lines for people, warnings and errors only.
    HumanWarnings,
    /// The same lines as in the file, for containers.
    Json,
}

/// Lines that could not be written.
#[derive(Clone, Debug, Default)]
pub struct Dropped {
    unwritten: Arc<AtomicU64>,
    unqueued: Vec<ErrorCounter>,
}

impl Dropped {
    /// Returns how many lines were lost since the start.
    pub fn count(&self) -> u64 {
        let unqueued: usize = self.unqueued.iter().map(ErrorCounter::dropped_lines).sum();
        self.unwritten.load(Ordering::Relaxed).saturating_add(u64::try_from(unqueued).unwrap_or(u64::MAX))
    }
}

/// The running log. Dropping it writes out what is still queued.
pub struct Telemetry {
    pub dropped: Dropped,
    _writers: Vec<WorkerGuard>,
}

/// Starts the process's log. `Err` says what is wrong with the settings, or that a log runs already.
pub fn start(settings: &LogSettings, clock: &Clock) -> Result<Telemetry, String> {
    let (subscriber, telemetry) = subscriber(settings, clock)?;
    tracing::subscriber::set_global_default(subscriber)
        .map_err(|_| "the log was started already; start it once a process".to_owned())?;
    log_panics();
    Ok(telemetry)
}

/// Builds a log without making it the process's.
pub fn subscriber(
    settings: &LogSettings,
    clock: &Clock,
) -> Result<(impl Subscriber + Send + Sync + use<>, Telemetry), String> {
    let mut telemetry = Telemetry { dropped: Dropped::default(), _writers: Vec::new() };
    let mut layers = Vec::new();
    if let Some(folder) = &settings.folder {
        let file = rolling::RollingFile::new(rolling::Policy {
            folder: folder.clone(),
            bytes_max: settings.bytes_max,
            files_max: settings.files_max,
            clock: clock.clone(),
            lost: telemetry.dropped.unwritten.clone(),
        });
        layers.push(layer(file, "record-sync-log", Shape::Json, &settings.level, clock, &mut telemetry)?);
    }
    let (shape, level) = match settings.stderr {
        Stderr::Nothing => (None, ""),
        Stderr::Human => (Some(Shape::Human), settings.level.as_str()),
        Stderr::HumanWarnings => (Some(Shape::Human), "warn"),
        Stderr::Json => (Some(Shape::Json), settings.level.as_str()),
    };
    if let Some(shape) = shape {
        // Drops colours where standard error is no terminal or NO_COLOR is set.
        let stderr = anstream::stderr();
        layers.push(layer(stderr, "record-sync-stderr", shape, level, clock, &mut telemetry)?);
    }
    Ok((tracing_subscriber::registry().with(layers), telemetry))
}

fn layer<S>(
    writer: impl Write + Send + 'static,
    thread_name: &str,
    shape: Shape,
    level: &str,
    clock: &Clock,
    telemetry: &mut Telemetry,
) -> Result<Box<dyn Layer<S> + Send + Sync>, String>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let directives = format!("{QUIET_LIBRARIES},{level}");
    let filter = EnvFilter::builder().parse(&directives).map_err(|error| {
        format!("`{level}` is no log level: {error}; write error, warn, info, debug or trace")
    })?;
    let (writer, guard) = NonBlockingBuilder::default()
        .lossy(true)
        .buffered_lines_limit(QUEUED_LINES_MAX)
        .thread_name(thread_name)
        .finish(writer);
    telemetry.dropped.unqueued.push(writer.error_counter());
    telemetry._writers.push(guard);
    Ok(Lines::new(writer, shape, clock.clone()).with_filter(filter).boxed())
}

/// Puts panics into the log, where whoever looks for the reason will look.
fn log_panics() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        tracing::error!(event = "process.panicked", error = %panic, "a thread panicked; this is a defect");
        before(panic);
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_reach_the_file_with_the_fields_of_their_spans() {
        let folder = tempfile::tempdir().unwrap();
        let settings = LogSettings {
            folder: Some(folder.path().join("logs")),
            level: "info".to_owned(),
            bytes_max: 1 << 20,
            files_max: 2,
            stderr: Stderr::Nothing,
        };
        let clock: Clock = Arc::new(|| Timestamp(1_700_000_000_000));
        let (subscriber, telemetry) = subscriber(&settings, &clock).unwrap();
        tracing::subscriber::with_default(subscriber, || {
            let outer = tracing::info_span!("link", customer = "surya", link = "l", attempt = 1);
            let _outer = outer.enter();
            let inner = tracing::info_span!("job", job_id = tracing::field::Empty);
            let _inner = inner.enter();
            inner.record("job_id", 7);
            tracing::info!(event = "job.delivered", attempt = 2, duration_ms = 1.5, "delivered {}", 1);
            tracing::debug!(event = "job.noise", "not at this level");
            tracing::info!(target: "hyper::client", "not of this library");
        });
        let dropped = telemetry.dropped.clone();
        drop(telemetry);
        let text = std::fs::read_to_string(folder.path().join("logs").join(LOG_FILE)).unwrap();
        assert_eq!(
            text,
            "{\"timestamp\":\"2023-11-14T22:13:20.000Z\",\"level\":\"info\",\"event\":\"job.delivered\",\
             \"message\":\"delivered 1\",\"customer\":\"surya\",\"link\":\"l\",\"job_id\":7,\"attempt\":2,\
             \"duration_ms\":1.5}\n"
        );
        assert_eq!(dropped.count(), 0);
    }

    #[test]
    fn a_wrong_level_is_refused_with_a_remedy() {
        let settings = LogSettings {
            folder: None,
            level: "a=b=c".to_owned(),
            bytes_max: 1,
            files_max: 1,
            stderr: Stderr::Human,
        };
        let clock: Clock = Arc::new(|| Timestamp(0));
        let error = subscriber(&settings, &clock).err().unwrap();
        assert!(error.contains("write error, warn, info, debug or trace"), "{error}");
    }
}
