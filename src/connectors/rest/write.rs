//! What connectors share that write record by record: when a batch stops, and what stands there already.

use std::sync::{Mutex, MutexGuard, PoisonError};

use futures_util::StreamExt as _;

use crate::connectors::Outcome;
use crate::engine::fault::{Fault, FaultKind};
use crate::engine::record::{Record, RemoteId, Schema, Value};

/// After so many failures in a row the rest of a batch waits instead of knocking on.
const FAILURES_IN_A_ROW_MAX: usize = 3;

/// Watches the requests of a batch, and stops it where going on would only do harm.
#[derive(Debug, Default)]
pub struct Stopper {
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    stopped: Option<Fault>,
    failures_in_a_row: usize,
}

impl Stopper {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns what the rest of the batch meets; `None` where it goes on.
    pub fn stopped(&self) -> Option<Fault> {
        self.seen().stopped.clone()
    }

    /// Learns that a request got its answer.
    pub fn worked(&self) {
        self.seen().failures_in_a_row = 0;
    }

    /// Learns of the fault of a request.
    pub fn met(&self, fault: &Fault) {
        let mut seen = self.seen();
        seen.failures_in_a_row =
            if fault.kind == FaultKind::Transient { seen.failures_in_a_row + 1 } else { 0 };
        // Of several that are under way, the first that stops the batch says why.
        let verdict = verdict(fault, seen.failures_in_a_row);
        seen.stopped = seen.stopped.take().or(verdict);
    }

    /// Makes one request of the batch, unless that is stopped.
    async fn watch(&self, request: impl Future<Output = Result<Outcome, Fault>>) -> Outcome {
        if let Some(fault) = self.stopped() {
            return Outcome::Failed(fault);
        }
        match request.await {
            Ok(outcome) => {
                self.worked();
                outcome
            }
            Err(fault) => {
                self.met(&fault);
                match fault.kind {
                    FaultKind::Stale => Outcome::Stale(None),
                    _ => Outcome::Failed(fault),
                }
            }
        }
    }

    /// Makes the requests of a batch, at most so many `at_once`; gives their outcomes in order. Those that have not
    /// begun when the batch stops are not made.
    pub async fn each<F>(&self, requests: Vec<F>, at_once: usize) -> Vec<Outcome>
    where
        F: Future<Output = Result<Outcome, Fault>>,
    {
        let watched: Vec<_> = requests.into_iter().map(|request| self.watch(request)).collect();
        futures_util::stream::iter(watched).buffered(at_once.max(1)).collect().await
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

    #[tokio::test(start_paused = true)]
    async fn requests_go_out_a_few_at_once_and_answer_in_order() {
        use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
        const AT_ONCE: usize = 4;
        let (begun, under_way, most) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
        let request = async |at: u64, fails: bool| {
            begun.fetch_add(1, SeqCst);
            most.fetch_max(under_way.fetch_add(1, SeqCst) + 1, SeqCst);
            // The later ones are answered first.
            tokio::time::sleep(std::time::Duration::from_millis(100 - at)).await;
            under_way.fetch_sub(1, SeqCst);
            match fails {
                true => Err(Fault::throttled(None, format!("429 for {at}"))),
                false => Ok(gone(Some(at.to_string().into()))),
            }
        };
        let outcomes = Stopper::default().each((0..20).map(|at| request(at, false)).collect(), AT_ONCE).await;
        let id = |outcome: &Outcome| match outcome {
            Outcome::Delivered { id, .. } => id.as_deref().map(str::to_owned),
            other => panic!("{other:?}"),
        };
        let expected: Vec<Option<String>> = (0..20).map(|at| Some(at.to_string())).collect();
        assert_eq!(outcomes.iter().map(id).collect::<Vec<_>>(), expected);
        assert_eq!(most.swap(0, SeqCst), AT_ONCE);
        begun.store(0, SeqCst);
        let outcomes = Stopper::default().each((0..20).map(|at| request(at, true)).collect(), AT_ONCE).await;
        assert!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::Failed(_))), "{outcomes:?}");
        assert!(begun.load(SeqCst) <= 2 * AT_ONCE, "the rest is not asked for: {begun:?}");
    }

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
