//! Limits, batches, breaker, retries: told once for a customer, or once more for a system.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::fields::Fields;
use super::service::as_usize;
use crate::engine::fault::FaultCode;
use crate::engine::job::{Patience, RetryPolicy};

/// The window's promise: no interval of `window_size` sees more than `max_requests` calls.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    pub max_requests: u32,
    pub window_size: Duration,
    /// Calls in any 24 hours; `None` for as many as fit.
    pub max_per_day: Option<u32>,
    /// Calls under way at once; `None` for as many as the gate ever lets out.
    pub concurrency: Option<u32>,
    /// The part of the window, of 1, that backfill leaves to urgent calls at most.
    pub reserve: Option<f64>,
}

/// When a system is left alone because it fails.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BreakerConfig {
    /// Failures in a row that open the breaker.
    pub failures: u32,
    /// The last calls that the rates are of.
    pub calls: u32,
    /// Fewer calls say nothing about a rate.
    pub calls_min: u32,
    /// The part of failed calls, of 1, that opens it.
    pub failure_rate: f64,
    /// Answers that took longer are slow.
    pub slow_after: Duration,
    /// The part of slow answers, of 1, that opens it.
    pub slow_rate: f64,
    /// How long it stays open at first; each failed probe doubles it.
    pub open_for: Duration,
    /// … up to this.
    pub open_max: Duration,
    /// Calls that may try at once whether the system is back.
    pub probes: u32,
}

/// How a failed delivery is tried again.
///
/// `usual` holds where `faults` has nothing of its own for what went wrong.
pub type RetryConfig = RetryPolicy;

/// All of them, as one table says it over another.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Tuning {
    pub limits: Limits,
    pub batch_size: usize,
    pub flush_interval: Duration,
    pub breaker: BreakerConfig,
    pub retry: RetryConfig,
}

/// The keys of a [`Tuning`]: every system may have them, whatever its connector.
pub(super) const KEYS: &[&str] = &[
    "max_requests",
    "window_size",
    "max_per_day",
    "concurrency",
    "reserve",
    "batch_size",
    "flush_interval",
    "breaker",
    "retry",
];

/// A day: whoever means more has most likely written milliseconds.
const DAY: f64 = 86_400.0;
/// What a rate of calls may be; 0 would open at nothing.
const RATES: RangeInclusive<f64> = 0.01..=1.0;
/// Shorter times can't be kept.
const LEAST: f64 = 0.001;
pub(super) const BATCH_SIZES: RangeInclusive<u64> = 1..=100_000;
pub(super) const FLUSH_INTERVALS: RangeInclusive<f64> = 0.0..=3_600.0;

impl Default for Tuning {
    fn default() -> Self {
        Self {
            limits: Limits {
                max_requests: 60,
                window_size: Duration::from_secs(60),
                max_per_day: None,
                concurrency: None,
                reserve: None,
            },
            batch_size: 100,
            flush_interval: Duration::from_secs(2),
            breaker: BreakerConfig {
                failures: 5,
                calls: 50,
                calls_min: 20,
                failure_rate: 0.5,
                slow_after: Duration::from_secs(30),
                slow_rate: 0.8,
                open_for: Duration::from_secs(10),
                open_max: Duration::from_secs(300),
                probes: 1,
            },
            retry: RetryConfig::default(),
        }
    }
}

/// Reads what a customer's or a system's table says over what it inherits.
pub(super) fn read(fields: &Fields<'_>, inherited: &Tuning) -> Tuning {
    let limits = Limits {
        max_requests: count(fields, "max_requests", 1_000_000_000, inherited.limits.max_requests),
        window_size: fields.seconds("window_size", LEAST..=DAY).unwrap_or(inherited.limits.window_size),
        max_per_day: none_or_count(fields, "max_per_day", 1_000_000_000, inherited.limits.max_per_day),
        concurrency: none_or_count(fields, "concurrency", 10_000, inherited.limits.concurrency),
        reserve: fields.part("reserve", 0.0..=0.9).or(inherited.limits.reserve),
    };
    Tuning {
        limits,
        batch_size: fields.count("batch_size", BATCH_SIZES).map_or(inherited.batch_size, as_usize),
        flush_interval: fields.seconds("flush_interval", FLUSH_INTERVALS).unwrap_or(inherited.flush_interval),
        breaker: read_breaker(fields, inherited.breaker),
        retry: read_retry(fields, &inherited.retry),
    }
}

fn count(fields: &Fields<'_>, name: &'static str, most: u32, inherited: u32) -> u32 {
    let number = fields.count(name, 1..=u64::from(most));
    number.and_then(|number| u32::try_from(number).ok()).unwrap_or(inherited)
}

/// Reads a limit that 0 takes away.
fn none_or_count(fields: &Fields<'_>, name: &'static str, most: u64, inherited: Option<u32>) -> Option<u32> {
    match fields.count(name, 0..=most) {
        None => inherited,
        Some(number) => u32::try_from(number).ok().filter(|number| *number > 0),
    }
}

fn read_breaker(fields: &Fields<'_>, inherited: BreakerConfig) -> BreakerConfig {
    let Some(fields) = fields.table("breaker") else { return inherited };
    let open_for = fields.seconds("open_for", LEAST..=DAY).unwrap_or(inherited.open_for);
    let read = BreakerConfig {
        failures: count(&fields, "failures", 1_000_000, inherited.failures),
        calls: count(&fields, "calls", 10_000, inherited.calls),
        calls_min: count(&fields, "calls_min", 10_000, inherited.calls_min),
        failure_rate: fields.part("failure_rate", RATES).unwrap_or(inherited.failure_rate),
        slow_after: fields.seconds("slow_after", LEAST..=DAY).unwrap_or(inherited.slow_after),
        slow_rate: fields.part("slow_rate", RATES).unwrap_or(inherited.slow_rate),
        open_for,
        open_max: fields.seconds("open_max", LEAST..=DAY).unwrap_or(inherited.open_max.max(open_for)),
        probes: count(&fields, "probes", 1_000, inherited.probes),
    };
    if read.calls < read.calls_min {
        fields.refuse(&fields.span, "`calls` is less than `calls_min`", "make it at least as many");
    }
    if read.open_max < read.open_for {
        fields.refuse(&fields.span, "`open_max` is shorter than `open_for`", "make it at least as long");
    }
    fields.refuse_unknown("`breaker`", &[]);
    read
}

fn read_retry(fields: &Fields<'_>, inherited: &RetryConfig) -> RetryConfig {
    let Some(fields) = fields.table("retry") else { return inherited.clone() };
    let usual = read_patience(&fields, inherited.usual);
    let mut faults = inherited.faults.clone();
    // A table of its own for each fault that it names.
    for code in RETRIED {
        if let Some(own) = fields.table(code.as_str()) {
            let inherited = faults.get(&code).copied().unwrap_or(usual);
            faults.insert(code, read_patience(&own, inherited));
            own.refuse_unknown("a fault of `retry`", &[]);
        }
    }
    fields.refuse_unknown("`retry`", &[]);
    RetryConfig { usual, faults }
}

/// The faults after which a job is tried again at the cost of an attempt.
const RETRIED: [FaultCode; 6] = [
    FaultCode::Timeout,
    FaultCode::Connect,
    FaultCode::Unavailable,
    FaultCode::Conflict,
    FaultCode::Protocol,
    FaultCode::Storage,
];

fn read_patience(fields: &Fields<'_>, inherited: Patience) -> Patience {
    let base = fields.seconds("base", LEAST..=DAY).unwrap_or(inherited.base);
    let read = Patience {
        base,
        max: fields.seconds("max", LEAST..=DAY).unwrap_or(inherited.max.max(base)),
        attempts_max: count(fields, "attempts_max", 1_000_000, inherited.attempts_max),
    };
    if read.max < read.base {
        fields.refuse(&fields.span, "`max` is shorter than `base`", "make it at least as long");
    }
    read
}
