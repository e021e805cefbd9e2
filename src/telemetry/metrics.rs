//! The metrics: their names, what they mean, and how they are read.
//!
//! Names begin with `record_sync_`, carry base units, and end in `_total` where they only grow.
//! Labels are customers, links, systems and fixed words; never a record.

use std::sync::OnceLock;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

use super::Dropped;

/// Labels `customer`, `link`, `direction`, `outcome`: the status that the record took up, or met again.
pub const RECORDS: &str = "record_sync_records_total";
/// Labels `customer`, `link`, `direction`, `state`.
pub const QUEUE_DEPTH: &str = "record_sync_queue_depth";
/// Labels `customer`, `link`, `side`.
pub const LAG: &str = "record_sync_lag_seconds";
/// Labels `customer`, `link`, `side`.
pub const POLL_DURATION: &str = "record_sync_poll_duration_seconds";
/// Labels `customer`, `link`, `direction`.
pub const ATTEMPT_DURATION: &str = "record_sync_attempt_duration_seconds";
/// Labels `customer`, `system`, `outcome`.
pub const CALLS: &str = "record_sync_calls_total";
/// Labels `customer`, `system`, `class`.
pub const CALL_WAIT: &str = "record_sync_call_wait_seconds";
/// Labels `customer`, `system`.
pub const WINDOW_UTILISATION: &str = "record_sync_window_utilisation_ratio";
/// Labels `customer`, `system`; 0 closed, 1 half open, 2 open.
pub const BREAKER_STATE: &str = "record_sync_breaker_state";
/// Labels `customer`, `system`, `to`: `open`, `half_open` or `closed`.
pub const BREAKER_TURNS: &str = "record_sync_breaker_transitions_total";
/// Labels `customer`, `system`; of the last 24 hours.
pub const CALLS_DAY: &str = "record_sync_calls_last_day";
/// Labels `customer`, `system`.
pub const CALLS_LIMIT: &str = "record_sync_calls_concurrency_limit";
/// Labels `customer`, `system`; 1 is a whole batch.
pub const BATCH_PART: &str = "record_sync_batch_ratio";
/// Labels `customer`, `link`, `direction`.
pub const DEAD_LETTERS: &str = "record_sync_dead_letters";
/// Labels `customer`, `link`, `direction`.
pub const CONFLICTS: &str = "record_sync_conflicts";
/// Labels `customer`, `link`, `direction`.
pub const ECHO_WRITES: &str = "record_sync_echo_writes_total";
/// Labels `customer`, `link`, `direction`; 1 while frozen.
pub const FUSE_BLOWN: &str = "record_sync_fuse_blown";
/// Labels `customer`, `link`, `side`, `what`: `missed` or `gone`.
pub const AUDIT_FOUND: &str = "record_sync_audit_found_total";
/// Labels `customer`, `link`, `side`.
pub const AUDIT_RECORDS: &str = "record_sync_audit_records";
/// Labels `customer`, `link`, `side`.
pub const OVERLAP: &str = "record_sync_overlap_seconds";
/// 1 where the last change of the configuration was taken over, 0 where it was refused.
pub const CONFIG_RELOAD: &str = "record_sync_config_last_reload_successful";
/// Label `customer`; the same of the rules.
pub const RULES_RELOAD: &str = "record_sync_rules_last_reload_successful";
/// Label `customer`.
pub const RULES_VERSION: &str = "record_sync_rules_version";
pub const LOG_LINES_DROPPED: &str = "record_sync_log_lines_dropped_total";
/// Label `version`; always 1.
pub const BUILD_INFO: &str = "record_sync_build_info";

/// From a local write to a slow remote call, in seconds.
const DURATION_BUCKETS: &[f64] = &[0.001, 0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];
/// From no wait to a long window, in seconds.
const WAIT_BUCKETS: &[f64] = &[0.001, 0.01, 0.1, 1.0, 5.0, 15.0, 60.0, 300.0, 3_600.0];

/// Reads the process's metrics. Cheap to clone.
#[derive(Clone)]
pub struct Metrics {
    handle: PrometheusHandle,
    dropped: Dropped,
}

impl Metrics {
    /// Writes all metrics in Prometheus' text format.
    pub fn render(&self) -> String {
        ::metrics::counter!(LOG_LINES_DROPPED).absolute(self.dropped.count());
        self.handle.render()
    }

    /// Tidies up what histograms gathered; to be called every few seconds, whether or not anybody
    /// reads the metrics.
    pub fn upkeep(&self) {
        self.handle.run_upkeep();
    }
}

/// Installs the process's recorder, once; later calls give the same one.
pub fn install(dropped: Dropped) -> Result<Metrics, String> {
    static HANDLE: OnceLock<Result<PrometheusHandle, String>> = OnceLock::new();
    let handle = HANDLE.get_or_init(|| install_recorder().map_err(|error| error.to_string()));
    handle.clone().map(|handle| Metrics { handle, dropped })
}

fn install_recorder() -> Result<PrometheusHandle, Box<dyn std::error::Error>> {
    let waits = Matcher::Full(CALL_WAIT.to_owned());
    let recorder = PrometheusBuilder::new()
        .set_buckets(DURATION_BUCKETS)?
        .set_buckets_for_metric(waits, WAIT_BUCKETS)?
        .build_recorder();
    let handle = recorder.handle();
    ::metrics::set_global_recorder(recorder).map_err(|error| error.to_string())?;
    describe();
    ::metrics::gauge!(BUILD_INFO, "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    Ok(handle)
}

/// Says what each metric means, for the `# HELP` lines.
fn describe() {
    use ::metrics::{describe_counter, describe_gauge, describe_histogram};
    describe_counter!(RECORDS, "Records that were decided on or sent, by link, direction and outcome");
    describe_gauge!(QUEUE_DEPTH, "Jobs that are not done yet, by link, direction and state");
    describe_gauge!(LAG, "Seconds between now and the time up to which a stream is complete");
    describe_histogram!(POLL_DURATION, "Seconds that one poll of a stream took");
    describe_histogram!(ATTEMPT_DURATION, "Seconds that one delivery attempt of a batch took");
    describe_counter!(CALLS, "Calls to a system, by outcome");
    describe_histogram!(CALL_WAIT, "Seconds that a call waited at the gate");
    describe_gauge!(WINDOW_UTILISATION, "Part of the window's allowance that is in use");
    describe_gauge!(BREAKER_STATE, "Circuit breaker of a system: 0 closed, 1 half open, 2 open");
    describe_counter!(BREAKER_TURNS, "Changes of a circuit breaker's state, by the new one");
    describe_gauge!(CALLS_DAY, "Calls to a system in the last 24 hours");
    describe_gauge!(
        CALLS_LIMIT,
        "Calls to a system that may be under way at once: fewer while it has trouble"
    );
    describe_gauge!(
        BATCH_PART,
        "Part of the configured batch size that is sent: less while a system answers late"
    );
    describe_gauge!(DEAD_LETTERS, "Dead letters that nobody has replayed or dropped");
    describe_gauge!(CONFLICTS, "Conflicts that wait for a person");
    describe_counter!(
        ECHO_WRITES,
        "Writes that were made before and undone by the other side: none where all is well"
    );
    describe_gauge!(FUSE_BLOWN, "Whether a direction is frozen by a fuse");
    describe_counter!(
        AUDIT_FOUND,
        "Records that an audit found: missed by every read from the cursor, or gone without a word"
    );
    describe_gauge!(AUDIT_RECORDS, "Records that the last audit of a stream was shown");
    describe_gauge!(OVERLAP, "Seconds before the newest stamp at which each read of a stream begins again");
    describe_gauge!(CONFIG_RELOAD, "Whether the last change of the configuration was taken over");
    describe_gauge!(RULES_RELOAD, "Whether the last change of the rules was taken over");
    describe_gauge!(RULES_VERSION, "Version of the rules in force");
    describe_counter!(LOG_LINES_DROPPED, "Log lines that could not be written");
    describe_gauge!(BUILD_INFO, "The running version");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_rendered_with_help() {
        let metrics = install(Dropped::default()).unwrap();
        let again = install(Dropped::default());
        assert!(again.is_ok(), "a second daemon in one process shares the recorder");
        ::metrics::counter!(RECORDS, "customer" => "default", "outcome" => "synced").increment(2);
        ::metrics::histogram!(POLL_DURATION).record(0.2);
        metrics.upkeep();
        let text = metrics.render();
        for expected in [
            "# HELP record_sync_records_total Records that",
            "record_sync_records_total{customer=\"default\",outcome=\"synced\"} 2",
            "record_sync_poll_duration_seconds_bucket{le=\"0.25\"} 1",
            "record_sync_log_lines_dropped_total 0",
            "record_sync_build_info{version=\"",
        ] {
            assert!(text.contains(expected), "{expected} is missing in\n{text}");
        }
    }
}
