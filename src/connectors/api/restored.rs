//! Whether the service was put back to an older state.
//!
//! Every pass begins at the latest record that was read, so it shows that one, changed or not. Where it does
//! not, the latest ones are read by their ids; that costs a request each, and only then. Without `get`
//! nothing can be told.

use std::collections::BTreeMap;

use super::super::Call;
use super::super::rest::Position;
use super::lookup::Lookup;
use super::pages::Turn;
use super::source::ApiSource;
use crate::engine::fault::Fault;
use crate::engine::reading::went_back;
use crate::engine::record::{RemoteId, Timestamp};

impl ApiSource {
    /// Refuses to go on where the service stands before the cursor; `turn` is the first page of a pass.
    pub(super) async fn check_restored(
        &mut self,
        position: &mut Position,
        turn: &Turn,
        now: Option<Timestamp>,
        call: &Call,
    ) -> Result<(), Fault> {
        let changes = &turn.listed.changes;
        let missing = position.is_one_missing(changes, turn.next.is_none(), turn.listed.latest);
        if !missing || self.stream.get.is_none() {
            return Ok(());
        }
        let lookup = Lookup::of(
            std::sync::Arc::clone(&self.service),
            std::sync::Arc::clone(&self.stream),
            &self.name,
            &self.key,
        );
        let ids: Vec<&str> = position.witnesses.iter().map(|(_, id)| id).collect();
        let found = lookup.find_ids(&ids, call).await?;
        let stands: BTreeMap<RemoteId, i64> =
            found.into_iter().filter_map(|(id, record)| Some((id, record.meta.modified_at?.0))).collect();
        let fates = position.witnesses.fates(position.overlap_ms(self.least()), |id| stands.get(id).copied());
        // Under a clock that stands behind, whatever is edited has an older stamp. The header has a grain of a
        // second.
        let newest = position.witnesses.newest().unwrap_or(i64::MIN);
        let clock_is_right = now.is_none_or(|now| now.0.saturating_add(1000) > newest);
        let is_empty = changes.is_empty() && turn.next.is_none();
        match went_back(&fates, is_empty) {
            Some(what) if clock_is_right && !self.is_empty(call).await? => {
                Err(Fault::restored(&self.name, what))
            }
            _ => {
                position.witnesses.keep(|id| stands.contains_key(id));
                Ok(())
            }
        }
    }

    /// A stream that shows no record at all is the fuse's business.
    async fn is_empty(&mut self, call: &Call) -> Result<bool, Fault> {
        let operation = format!("look whether {} is empty", self.name);
        let turn = self.whole(&operation, None, 1, call).await?;
        Ok(turn.listed.changes.is_empty() && turn.next.is_none())
    }
}
