//! Whether the org was put back to an older state.
//!
//! Every pass begins where the newest rows stand that were read, so it shows them, changed or not. One that
//! it does not show is asked for, with the others; that costs a call, and only then.

use std::collections::HashMap;

use super::cursor::{Phase, Position};
use super::source::{Fetched, SalesforceSource};
use super::wire;
use crate::connectors::Call;
use crate::engine::fault::Fault;
use crate::engine::reading::{WITNESSES, went_back};
use crate::engine::record::Timestamp;

impl SalesforceSource {
    /// Refuses to go on in an org that stands before its cursor; `fetched` is the first page of a pass.
    pub(super) async fn check_restored(
        &self,
        here: &mut Position,
        fetched: &Fetched,
        call: &Call,
    ) -> Result<(), Fault> {
        if here.phase != Phase::Rest || !is_one_missing(here, fetched) {
            return Ok(());
        }
        let ids: Vec<String> = here.witnesses.iter().map(|(_, id)| wire::quoted(id)).collect();
        let rest = format!(" WHERE Id IN ({})", ids.join(","));
        let now = self.fetch(&rest, true, WITNESSES + 1, call).await?;
        let stands: HashMap<&str, i64> =
            now.rows.iter().flatten().map(|row| (row.id.as_str(), seconds(row.stamp))).collect();
        let overlap = here.overlap.length(self.org.settings.overlap);
        let overlap = i64::try_from(overlap.as_secs()).unwrap_or(i64::MAX);
        let fates = here.witnesses.fates(overlap, |id| stands.get(id).copied());
        // Under a clock that stands behind, whatever is edited has an older stamp.
        let newest = here.witnesses.newest().unwrap_or(i64::MIN);
        let clock_is_right = fetched.server_time.is_none_or(|now| seconds(now) >= newest);
        let what = match went_back(&fates, fetched.last.is_none()) {
            Some(what) if clock_is_right && !self.is_empty(call).await? => Some(what),
            _ => None,
        };
        match what {
            Some(what) => Err(Fault::restored(&self.stream.stream, what)),
            None => {
                here.witnesses.keep(|id| stands.contains_key(id));
                Ok(())
            }
        }
    }

    /// An object that shows no row at all is the fuse's business.
    async fn is_empty(&self, call: &Call) -> Result<bool, Fault> {
        Ok(self.fetch(" LIMIT 1", true, 1, call).await?.rows.is_empty())
    }
}

/// The page reaches beyond where a witness has to stand, and does not show it.
fn is_one_missing(here: &Position, fetched: &Fetched) -> bool {
    let last = fetched.last.as_ref().map(|(stamp, id)| (seconds(*stamp), id.as_str()));
    let shown = |id: &str| fetched.rows.iter().flatten().any(|row| row.id == id);
    here.witnesses
        .iter()
        .filter(|&place| place.0 >= here.stamp && (fetched.done || Some(place) <= last))
        .any(|(_, id)| !shown(id))
}

fn seconds(at: Timestamp) -> i64 {
    at.0.div_euclid(1000)
}
