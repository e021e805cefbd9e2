//! Reads that are made again at once: a look at what a stream is made of takes several, and would begin anew for each
//! that failed.

use std::time::Duration;

use crate::connectors::Call;
use crate::engine::fault::{Fault, FaultCode};

/// The waits before a read is made again, where nobody says how long to wait.
const PAUSES: [Duration; 3] =
    [Duration::from_millis(100), Duration::from_millis(300), Duration::from_millis(900)];
/// Who is asked for more patience than this comes back later as a whole.
const PATIENCE: Duration = Duration::from_secs(5);

/// How patient a reader still is.
pub struct Patience<'c> {
    call: &'c Call,
    pauses: std::slice::Iter<'static, Duration>,
}

impl<'c> Patience<'c> {
    /// Begins with all of it.
    pub fn new(call: &'c Call) -> Self {
        Self { call, pauses: PAUSES.iter() }
    }

    /// Waits until a read that failed may be made again; gives the fault back where that does not help, or was done
    /// often enough.
    pub async fn wait(&mut self, fault: Fault) -> Result<(), Fault> {
        let Some(wait) = self.pauses.next().and_then(|pause| wait(&fault, *pause)) else { return Err(fault) };
        tokio::select! {
            biased;
            () = self.call.stop.cancelled() => Err(fault),
            () = tokio::time::sleep(wait) => Ok(()),
        }
    }
}

fn wait(fault: &Fault, pause: Duration) -> Option<Duration> {
    // Who could not answer in time would be asked the same again.
    let is_worth_it = !fault.is_stopping() && fault.code != FaultCode::Timeout;
    fault.wait(pause).filter(|wait| is_worth_it && *wait <= PATIENCE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connectors::Class;

    #[tokio::test(start_paused = true)]
    async fn a_read_is_made_again_while_that_may_help() {
        let unavailable = || Fault::transient(FaultCode::Unavailable, "503");
        let throttled = |seconds| Fault::throttled(Some(Duration::from_secs(seconds)), "429");
        let wrong = || Fault::fatal(FaultCode::Auth, "401", "log in");
        // (faults of the first reads, reads made, fine in the end, why)
        let cases: [(Vec<Fault>, usize, bool, &str); 7] = [
            (vec![], 1, true, "the usual case"),
            (vec![unavailable()], 2, true, "one failed"),
            (vec![unavailable(), throttled(1), unavailable()], 4, true, "all but the last failed"),
            (vec![unavailable(); 4], 4, false, "that is enough"),
            (vec![throttled(60)], 1, false, "longer than anybody waits here"),
            (vec![wrong()], 1, false, "that does not help"),
            (vec![Fault::transient(FaultCode::Timeout, "504")], 1, false, "it would take as long again"),
        ];
        for (faults, wanted, is_fine, why) in cases {
            let call = Call {
                class: Class::Live,
                correlation_id: String::new(),
                link: None,
                stop: Default::default(),
            };
            let (mut patience, mut reads) = (Patience::new(&call), 1);
            let mut faults = faults.into_iter();
            let fine = loop {
                match faults.next() {
                    None => break true,
                    Some(fault) => match patience.wait(fault).await {
                        Ok(()) => reads += 1,
                        Err(_) => break false,
                    },
                }
            };
            assert_eq!((fine, reads), (is_fine, wanted), "{why}");
        }
    }
}
