//! Whether the org was put back to an older state.
//!
//! Every pass begins where the newest rows stand that were read, so it shows them, changed or not. One that
//! it does not show is asked for, with the others; that costs a call, and only then.

use std::collections::HashMap;

use super::source::{Fetched, SalesforceSource};
use super::wire;
use crate::connectors::Call;
use crate::connectors::rest::{Keyset, Phase};
use crate::engine::fault::Fault;
use crate::engine::reading::WITNESSES;
use crate::engine::record::Timestamp;

impl SalesforceSource {
    /// Refuses to go on in an org that stands before its cursor; `fetched` is the first page of a pass.
    pub(super) async fn check_restored(
        &self,
        here: &mut Keyset,
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
        let now_there = fetched.server_time.map(seconds);
        let least = self.org.settings.overlap;
        let is_empty = fetched.last.is_none();
        let what = match here.went_back(|id| stands.get(id).copied(), now_there, is_empty, least) {
            Some(what) if !self.is_empty(call).await? => Some(what),
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

fn is_one_missing(here: &Keyset, fetched: &Fetched) -> bool {
    let last = fetched.last.as_ref().map(|(stamp, id)| (seconds(*stamp), id.as_str()));
    let shown = |id: &str| fetched.rows.iter().flatten().any(|row| row.id == id);
    here.misses_one(shown, last, fetched.done)
}

fn seconds(at: Timestamp) -> i64 {
    at.0.div_euclid(1000)
}
