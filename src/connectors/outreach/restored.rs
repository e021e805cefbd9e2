//! Whether the service was put back to an older state.
//!
//! Every pass begins at the latest record that was read, so it shows that one, changed or not. Where it does
//! not, the latest ones are asked for by their ids; that costs a request, and only then.

use std::collections::BTreeMap;

use super::super::rest::Position;
use super::super::{Call, StreamSpec};
use super::lookup::Lookup;
use super::source::OutreachSource;
use super::wire::{Page, Query};
use crate::engine::fault::Fault;
use crate::engine::reading::went_back;
use crate::engine::record::{RemoteId, Timestamp};

impl OutreachSource {
    /// Refuses to go on where the service stands before the cursor; `page` is the first one of a pass.
    pub(super) async fn check_restored(
        &self,
        position: &mut Position,
        page: &Page,
        now: Option<Timestamp>,
        call: &Call,
    ) -> Result<(), Fault> {
        if !position.is_one_missing(&page.changes, page.next.is_none(), page.latest) {
            return Ok(());
        }
        let spec = StreamSpec {
            stream: self.resource.plural.clone(),
            key: self.key.clone(),
            options: serde_json::Map::new(),
            fields: None,
            consumer: String::new(),
        };
        let lookup = Lookup::new(std::sync::Arc::clone(&self.service), self.resource.clone(), &spec);
        let ids: Vec<&str> = position.witnesses.iter().map(|(_, id)| id).collect();
        let found = lookup.find_ids(&ids, Some(&["updatedAt"]), call).await?;
        let stands: BTreeMap<RemoteId, i64> =
            found.into_iter().filter_map(|(id, record)| Some((id, record.meta.modified_at?.0))).collect();
        let fates = position.witnesses.fates(position.overlap_ms(self.least()), |id| stands.get(id).copied());
        // Under a clock that stands behind, whatever is edited has an older stamp. The header has a grain of a
        // second.
        let newest = position.witnesses.newest().unwrap_or(i64::MIN);
        let clock_is_right = now.is_none_or(|now| now.0.saturating_add(1000) > newest);
        let is_empty = page.changes.is_empty() && page.next.is_none();
        let what = match went_back(&fates, is_empty) {
            Some(what) if clock_is_right && !self.is_empty(call).await? => Some(what),
            _ => None,
        };
        match what {
            Some(what) => Err(Fault::restored(&self.resource.plural, what)),
            None => {
                position.witnesses.keep(|id| stands.contains_key(id));
                Ok(())
            }
        }
    }

    /// A stream that shows no record at all is the fuse's business.
    async fn is_empty(&self, call: &Call) -> Result<bool, Fault> {
        let operation = format!("look whether {} is empty", self.resource.plural);
        let query = Query::new(self.resource.path())
            .with("sort", "id")
            .with("page[size]", "1")
            .with("count", "false");
        let reply = self.service.get(&operation, query, call).await?;
        let page = super::wire::Decoder::new(&self.key, []).page(&operation, &reply.body)?;
        Ok(page.changes.is_empty())
    }
}
