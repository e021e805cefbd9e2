//! Whether the service was put back to an older state.
//!
//! Every pass begins at the latest record that was read, so it shows that one, changed or not. Where it does
//! not, the latest ones are asked for by their ids; that costs a request, and only then.

use std::collections::BTreeMap;

use super::super::{Call, StreamSpec};
use super::lookup::Lookup;
use super::source::{OutreachSource, Position};
use super::wire::{Page, Query};
use crate::engine::fault::Fault;
use crate::engine::reading::went_back;
use crate::engine::record::{Change, RemoteId, Timestamp};

impl Position {
    /// Remembers the latest of these.
    pub fn see(&mut self, changes: &[Change]) {
        for change in changes {
            if let Change::Upsert(record) = change
                && let (Some(id), Some(at)) = (&record.meta.id, record.meta.modified_at)
            {
                self.witnesses.see(at.0, id);
            }
        }
    }

    /// Takes out what is shown only so that it can be missed: it stands as it was decided.
    pub fn leave_out_decided(&self, changes: &mut Vec<Change>) {
        changes.retain(|change| match change {
            Change::Upsert(record) => !self.witnesses.iter().any(|(stamp, id)| {
                Some(stamp) == self.from
                    && record.meta.modified_at == Some(Timestamp(stamp))
                    && record.meta.id.as_deref() == Some(id)
            }),
            Change::Delete(_) | Change::Malformed(_) => true,
        });
    }

    /// The page reaches beyond where a witness has to stand, and does not show it.
    fn is_one_missing(&self, page: &Page) -> bool {
        let Some(from) = self.from else { return false };
        let shown = |wanted: &str| page.changes.iter().any(|change| id_of(change) == Some(wanted));
        let whole = page.next.is_none();
        self.witnesses
            .iter()
            .filter(|(stamp, _)| *stamp >= from && (whole || page.latest.is_some_and(|at| *stamp < at.0)))
            .any(|(_, id)| !shown(id))
    }
}

fn id_of(change: &Change) -> Option<&str> {
    match change {
        Change::Upsert(record) => record.meta.id.as_deref(),
        Change::Delete(tombstone) => tombstone.id.as_deref(),
        Change::Malformed(_) => None,
    }
}

impl OutreachSource {
    /// Refuses to go on where the service stands before the cursor; `page` is the first one of a pass.
    pub(super) async fn check_restored(
        &self,
        position: &mut Position,
        page: &Page,
        now: Option<Timestamp>,
        call: &Call,
    ) -> Result<(), Fault> {
        if !position.is_one_missing(page) {
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
        let overlap = position.overlap.length(self.least());
        let overlap = i64::try_from(overlap.as_millis()).unwrap_or(i64::MAX);
        let fates = position.witnesses.fates(overlap, |id| stands.get(id).copied());
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
