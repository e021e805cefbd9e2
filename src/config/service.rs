//! `[service]`: what the process as a whole is told.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::fields::Fields;
use super::memory::{self, Memory};

/// The process: where it listens, keeps its state, finds its rules, writes its log. Paths are
/// complete: relative ones began at the folder of the configuration file.
#[derive(Clone, Debug, PartialEq)]
pub struct Service {
    pub listen: SocketAddr,
    /// `sqlite:PATH`.
    pub state: String,
    pub rules: PathBuf,
    pub log_dir: PathBuf,
    /// `error`, `warn`, `info`, `debug`, `trace`, or an `EnvFilter` directive.
    pub log_level: String,
    /// A log file that grew to this many bytes is put aside.
    pub log_bytes_max: u64,
    /// This many log files that were put aside are kept.
    pub log_files_max: usize,
    /// The folder where built-in mocks keep their records across restarts; in memory where `None`.
    pub mock_data: Option<PathBuf>,
    /// How long a shutdown waits for work under way.
    pub drain_timeout: Duration,
    /// How long a claim on a job holds when its process can't renew it any more.
    pub lease: Duration,
    /// A request body of the API holds at most this many bytes.
    pub body_bytes_max: usize,
    /// What happened to records is forgotten after so many days.
    pub history_days: u64,
    /// All of it together takes at most about so many bytes; the oldest goes first.
    pub history_bytes_max: u64,
    pub memory: Memory,
}

/// Every key of `[service]`, to tell when one stands in the wrong table.
pub(super) const KEYS: &[&str] = &[
    "listen",
    "state",
    "log_dir",
    "log_level",
    "log_bytes_max",
    "log_files_max",
    "mock_data",
    "drain_timeout",
    "lease",
    "body_bytes_max",
    "history_days",
    "history_bytes_max",
    "memory_budget",
    "page_records_max",
    "page_bytes_max",
    "together_records_max",
    "scan_keys_max",
    "state_cache_bytes_max",
    "stream_cache_bytes_max",
];

impl Service {
    /// Returns the state's file.
    pub fn state_path(&self) -> PathBuf {
        PathBuf::from(self.state.strip_prefix("sqlite:").unwrap_or(&self.state))
    }
}

/// Reads `[service]`; flags and environment beat what stands there.
pub(super) fn read(fields: &Fields<'_>) -> Service {
    let base_dir = fields.reading.base_dir;
    let state = read_state(fields, base_dir);
    let mock_data = match setting(fields, "mock_data") {
        Some(Setting { value, .. }) if value == "memory" => None,
        Some(Setting { value, variable: None }) => Some(base_dir.join(value)),
        Some(Setting { value, variable: Some(_) }) => Some(from_outside(base_dir, &value)),
        // Mocks that forget while the state remembers would look like systems that lost everything.
        None => state.parent().map(|folder| folder.join("mock")),
    };
    let service = Service {
        listen: read_listen(fields),
        state: format!("sqlite:{}", state.display()),
        rules: path(fields, "rules", "rules.json"),
        log_dir: path(fields, "log_dir", "logs"),
        log_level: setting(fields, "log_level").map_or_else(|| "info".to_owned(), |level| level.value),
        log_bytes_max: fields.count("log_bytes_max", 4_096..=1 << 40).unwrap_or(64 << 20),
        log_files_max: as_usize(fields.count("log_files_max", 1..=10_000).unwrap_or(14)),
        mock_data,
        drain_timeout: fields.seconds("drain_timeout", 0.0..=3_600.0).unwrap_or(Duration::from_secs(20)),
        lease: fields.seconds("lease", 1.0..=3_600.0).unwrap_or(Duration::from_secs(300)),
        body_bytes_max: as_usize(fields.count("body_bytes_max", 1_024..=1 << 30).unwrap_or(1 << 20)),
        history_days: fields.count("history_days", 0..=36_500).unwrap_or(30),
        history_bytes_max: fields.count("history_bytes_max", 0..=1 << 44).unwrap_or(256 << 20),
        memory: memory::read(fields),
    };
    fields.refuse_unknown("[service]", &[]);
    service
}

pub(super) fn as_usize(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// A text setting and, where it is not the file's, the variable or flag that it came from.
pub(super) struct Setting {
    pub value: String,
    pub variable: Option<String>,
}

pub(super) fn setting(fields: &Fields<'_>, name: &'static str) -> Option<Setting> {
    // The file's value is read even where it is beaten, so that a wrong one does not stay hidden.
    let in_file = fields.text(name).map(|(value, _)| value);
    let variable = format!("RECORD_SYNC_{}", name.to_uppercase());
    match (fields.reading.env)(&variable) {
        Some(value) if !value.is_empty() => Some(Setting { value, variable: Some(variable) }),
        _ => in_file.map(|value| Setting { value, variable: None }),
    }
}

fn path(fields: &Fields<'_>, name: &'static str, default: &str) -> PathBuf {
    let base_dir = fields.reading.base_dir;
    match setting(fields, name) {
        Some(Setting { value, variable: Some(_) }) => from_outside(base_dir, &value),
        Some(Setting { value, variable: None }) => base_dir.join(value),
        None => base_dir.join(default),
    }
}

/// Completes a path from a flag or the environment. It starts at the configuration's folder like
/// every other; where only the working folder has it, that is what the person at the shell meant.
fn from_outside(base_dir: &Path, value: &str) -> PathBuf {
    let beside = base_dir.join(value);
    if !beside.exists() && Path::new(value).exists() { PathBuf::from(value) } else { beside }
}

fn read_state(fields: &Fields<'_>, base_dir: &Path) -> PathBuf {
    let default = "data/state.sqlite";
    let Some(setting) = setting(fields, "state") else { return base_dir.join(default) };
    let refusal = match setting.value.split_once(':') {
        Some(("sqlite", path)) if !path.trim_start_matches('/').is_empty() => {
            return base_dir.join(path.strip_prefix("//").unwrap_or(path));
        }
        _ => format!("the state can't be kept in `{}`", super::secret::strike_out(&setting.value.into())),
    };
    let remedy = format!("write \"sqlite:PATH\", such as \"sqlite:{default}\"");
    match (setting.variable, fields.node("state")) {
        (Some(variable), _) => fields.reading.refuse_variable(&variable, refusal, remedy),
        (None, node) => fields.refuse(node.map_or(&fields.span, |node| &node.span), refusal, remedy),
    }
    base_dir.join(default)
}

fn read_listen(fields: &Fields<'_>) -> SocketAddr {
    let default = SocketAddr::from(([127, 0, 0, 1], 8000));
    let Some(setting) = setting(fields, "listen") else { return default };
    let numeric = setting.value.replace("localhost", "127.0.0.1");
    let Ok(listen) = numeric.parse() else {
        let refusal = format!("`{}` is no address to listen on", setting.value);
        let remedy = "write an IP address and a port, such as \"127.0.0.1:8000\"";
        match (setting.variable, fields.node("listen")) {
            (Some(variable), _) => fields.reading.refuse_variable(&variable, refusal, remedy),
            (None, node) => fields.refuse(node.map_or(&fields.span, |node| &node.span), refusal, remedy),
        }
        return default;
    };
    listen
}
