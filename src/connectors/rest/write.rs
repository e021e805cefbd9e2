//! What connectors share that write record by record: when a batch stops, and what stands there already.

use crate::connectors::Outcome;
use crate::engine::fault::{Fault, FaultKind};
use crate::engine::record::{Record, RemoteId, Schema, Value};

/// After so many failures in a row the rest of a batch waits instead of knocking on.
const FAILURES_IN_A_ROW_MAX: usize = 3;

/// Watches the requests of a batch, and stops it where going on would only do harm.
#[derive(Debug, Default)]
pub struct Stopper {
    stopped: Option<Fault>,
    failures_in_a_row: usize,
}

impl Stopper {
    /// Returns what the rest of the batch meets; `None` where it goes on.
    pub fn stopped(&self) -> Option<&Fault> {
        self.stopped.as_ref()
    }

    /// Learns that a request got its answer.
    pub fn worked(&mut self) {
        self.failures_in_a_row = 0;
    }

    /// Learns of the fault of a request.
    pub fn met(&mut self, fault: &Fault) {
        self.failures_in_a_row =
            if fault.kind == FaultKind::Transient { self.failures_in_a_row + 1 } else { 0 };
        self.stopped = verdict(fault, self.failures_in_a_row);
    }
}

/// Tells what the rest of a batch meets after this fault; `None` where it may go on.
fn verdict(fault: &Fault, failures_in_a_row: usize) -> Option<Fault> {
    let rest = |fault: &Fault| Fault { may_have_happened: false, ..fault.clone() };
    match fault.kind {
        FaultKind::Throttled { .. } | FaultKind::Fatal => Some(rest(fault)),
        FaultKind::Transient if failures_in_a_row >= FAILURES_IN_A_ROW_MAX => {
            // The record was not tried, so it costs no attempt.
            let kind = FaultKind::Throttled { retry_after: None };
            Some(Fault { kind, ..rest(fault) })
        }
        _ => None,
    }
}

/// Answers a create whose record is there already: our own earlier try, where it holds all that is
/// to be written; else somebody else's record, which is to be planned with. `is_ours` tells the fields that a
/// create writes.
pub fn standing(
    shape: &Schema,
    values: &[Value],
    record: &Record,
    is_ours: impl Fn(&str) -> bool,
) -> Outcome {
    standing_as(shape, values, record, is_ours, Value::agrees)
}

/// The same for a service that holds values in a form of its own: `same` tells whether one stands there as it
/// was to be written.
pub fn standing_as(
    shape: &Schema,
    values: &[Value],
    record: &Record,
    is_ours: impl Fn(&str) -> bool,
    same: impl Fn(&Value, &Value) -> bool,
) -> Outcome {
    let all = shape
        .names()
        .zip(values)
        .all(|(name, value)| !is_ours(name) || value.is_missing() || same(record.get(name), value));
    if !all {
        return Outcome::Stale(Some(record.clone()));
    }
    delivered(record)
}

/// Answers a write of which the reply shows what stands there now.
pub fn delivered(record: &Record) -> Outcome {
    Outcome::Delivered {
        id: record.meta.id.clone(),
        revision: record.meta.revision.clone(),
        stored: Some(record.clone()),
    }
}

/// Answers a delete after which nothing is there.
pub fn gone(id: Option<RemoteId>) -> Outcome {
    Outcome::Delivered { id, revision: None, stored: None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::fault::FaultCode;

    #[test]
    fn a_batch_stops_where_going_on_would_only_do_harm() {
        let throttled = Fault::throttled(Some(std::time::Duration::from_secs(3)), "429");
        let rest = verdict(&throttled, 0).expect("stopped");
        assert_eq!(rest.kind, throttled.kind, "all wait as told");
        let lost = Fault::transient(FaultCode::Timeout, "lost").and_may_have_happened();
        assert_eq!(verdict(&lost, 1), None, "one failure is the record's own");
        let rest = verdict(&lost, 3).expect("stopped");
        assert_eq!(rest.kind, FaultKind::Throttled { retry_after: None }, "untried, so at no cost");
        assert!(!rest.may_have_happened, "nothing was sent for the rest");
        assert_eq!(verdict(&Fault::rejected(FaultCode::Validation, "422"), 0), None, "a neighbour's poison");
        let fatal = Fault::fatal(FaultCode::Auth, "401", "log in");
        assert_eq!(verdict(&fatal, 0), Some(fatal));
    }
}
