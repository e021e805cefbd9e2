//! Reading in the order of `updatedAt`, and listing what is there.
//!
//! Invariant: only the service's own clock moves a cursor. A change becomes visible at most
//! `overlap_ms` after its stamp; whatever was read sooner after its stamp than that is read again.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::super::rest::RawReply;
use super::super::{Call, End, Listing, Page, Source, StreamSpec};
use super::refuses_the_query;
use super::service::Service;
use super::wire::{self, Decoder, Query, Resource};
use crate::engine::fault::{Fault, FaultCode};
use crate::engine::reading::{Overlap, Reach, Witnesses};
use crate::engine::record::{Change, Cursor, Timestamp};

/// Bytes of a `links.next` that are believed.
const NEXT_BYTES_MAX: usize = 16 * 1024;

/// Where a pass stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Position {
    /// `updatedAt` in milliseconds from which this pass reads, inclusive; from the first where missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<i64>,
    /// The latest stamp of this pass.
    #[serde(skip_serializing_if = "Option::is_none")]
    high: Option<i64>,
    /// The stamp from which the next pass has to read again.
    #[serde(skip_serializing_if = "Option::is_none")]
    hold: Option<i64>,
    /// The query of the next page of this pass.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// The latest records that were shown.
    #[serde(default, skip_serializing_if = "Witnesses::is_empty")]
    pub witnesses: Witnesses,
    #[serde(default, skip_serializing_if = "Overlap::is_none")]
    pub overlap: Overlap,
}

impl Position {
    /// Moves past a page. `latest` is its latest stamp, `asked_at` a moment at the service that was
    /// not after the request.
    fn past(
        mut self,
        latest: Option<i64>,
        asked_at: Option<i64>,
        next: Option<String>,
        least: Duration,
    ) -> Self {
        let overlap = self.overlap.length(least);
        let overlap = i64::try_from(overlap.as_millis()).unwrap_or(i64::MAX);
        self.high = self.high.max(latest);
        if let (Some(latest), Some(asked_at)) = (latest, asked_at) {
            let settled = asked_at.saturating_sub(overlap);
            // Up to here nothing can come to light any more; the page reached further.
            if latest >= settled && self.hold.is_none() {
                self.hold = Some(settled);
            }
        }
        if next.is_some() {
            return Self { next, ..self };
        }
        let after_high = self.high.map(|high| match asked_at {
            // That record once more: one that is no longer there tells of an older state.
            Some(_) => high,
            None => high.saturating_sub(overlap),
        });
        let from = match (after_high, self.hold) {
            (Some(after), Some(hold)) => Some(after.min(hold)),
            (after, _) => after,
        };
        // Never back behind where this pass began: that was settled before. Unless the service's clock
        // stands behind that itself.
        let settled = asked_at.map(|asked_at| asked_at.saturating_sub(overlap));
        let began = self.from.map(|from| settled.map_or(from, |settled| settled.min(from)));
        Self { from: from.max(began), witnesses: self.witnesses, overlap: self.overlap, ..Self::default() }
    }

    /// Tells how far a cursor at rest has read.
    fn reach(&self, least: Duration) -> Option<Reach> {
        let from = self.from.filter(|_| self.next.is_none())?;
        let newest = self.witnesses.newest()?.max(from);
        Some(Reach { newest: Timestamp(newest), from: Timestamp(from), overlap: self.overlap, least })
    }

    fn parse(cursor: &Cursor) -> Result<Self, Fault> {
        serde_json::from_str(&cursor.0).map_err(|_| foreign())
    }

    fn cursor(&self) -> Option<Cursor> {
        if *self == Self::default() {
            return None;
        }
        serde_json::to_string(self).ok().map(Cursor)
    }
}

fn foreign() -> Fault {
    Fault::fatal(
        FaultCode::Configuration,
        "the stored position of this Outreach stream can't be read",
        "the state was written by another connector or a newer version; read the link anew",
    )
}

/// The reading end of one resource.
pub struct OutreachSource {
    pub(super) service: Arc<Service>,
    pub(super) resource: Resource,
    pub(super) key: Vec<String>,
    fields: Option<Vec<String>>,
    decoder: Decoder,
    /// The service's time in its last reply.
    told: Option<Timestamp>,
}

impl OutreachSource {
    /// Opens the end; calls nothing.
    pub fn new(service: Arc<Service>, resource: Resource, spec: &StreamSpec) -> Self {
        let fields = spec.fields.iter().flatten().map(String::as_str);
        Self {
            service,
            resource,
            key: spec.key.clone(),
            fields: spec.fields.clone(),
            decoder: Decoder::new(&spec.key, fields),
            told: None,
        }
    }

    /// The configured overlap.
    pub(super) fn least(&self) -> Duration {
        Duration::from_millis(self.service.settings.overlap_ms)
    }

    fn page_size(&self, limit: usize) -> usize {
        limit.clamp(1, self.service.settings.page_size)
    }

    fn first(&self, from: Option<i64>, limit: usize) -> Query {
        let mut query = Query::new(self.resource.path());
        if let Some(from) = from {
            query = query.with("filter[updatedAt]", &format!("{}..inf", Timestamp(from)));
        }
        self.ordered(query, "updatedAt,id", limit)
    }

    /// Asks for a page of what the rules read, in an order.
    fn ordered(&self, mut query: Query, order: &str, limit: usize) -> Query {
        if let Some(fields) = &self.fields {
            let names = fields.iter().chain(&self.key).map(String::as_str);
            query = query.with_fields(&self.resource, names, self.always());
        }
        query
            .with("sort", order)
            .with("page[size]", &self.page_size(limit).to_string())
            .with("count", "false")
    }

    fn always(&self) -> &'static [&'static str] {
        match self.resource.singular.as_str() {
            // Only prospects are deleted softly.
            "prospect" => &["updatedAt", "trashedAt"],
            _ => &["updatedAt"],
        }
    }

    fn following(&self, next: &str, limit: usize) -> Query {
        Query::following(self.resource.path(), next, self.page_size(limit))
    }

    /// Returns a moment at the service that was not after the request to which this is the reply.
    fn asked_at(&mut self, reply: &RawReply) -> Option<i64> {
        let told = wire::server_time(reply);
        // A clock that was set back tells nothing of when that was.
        let before = self.told.filter(|before| told.is_none_or(|told| *before <= told));
        self.told = told.or(before);
        // A request takes no longer than its time-out.
        let timeout = i64::try_from(self.service.settings.timeout_ms).unwrap_or(i64::MAX);
        told.map(|told| told.0.saturating_sub(timeout).max(before.map_or(i64::MIN, |before| before.0)))
    }
}

/// Keeps the query of a next link.
fn next_of(operation: &str, link: Option<&str>) -> Result<Option<String>, Fault> {
    let Some(link) = link else { return Ok(None) };
    match wire::query_of_link(link) {
        Some(query) if query.len() <= NEXT_BYTES_MAX => Ok(Some(query.to_owned())),
        _ => Err(Fault::transient(FaultCode::Protocol, format!("{operation}: links.next leads nowhere"))),
    }
}

#[async_trait]
impl Source for OutreachSource {
    async fn read(&mut self, after: Option<&Cursor>, limit: usize, call: &Call) -> Result<Page, Fault> {
        let operation = format!("read {}", self.resource.plural);
        let mut position = after.map_or_else(|| Ok(Position::default()), Position::parse)?;
        let reply = match &position.next {
            None => self.service.get(&operation, self.first(position.from, limit), call).await?,
            Some(next) => match self.service.get(&operation, self.following(next, limit), call).await {
                // A link that is no longer honoured: go on from the last stamp, its records once more.
                Err(fault) if refuses_the_query(&fault) => {
                    position.from = position.high.or(position.from);
                    self.service.get(&operation, self.first(position.from, limit), call).await?
                }
                other => other?,
            },
        };
        let mut page = self.decoder.page(&operation, &reply.body)?;
        let next = next_of(&operation, page.next.as_deref())?;
        let end = if next.is_some() { End::More } else { End::CaughtUp };
        if position.next.is_none() {
            let now = wire::server_time(&reply);
            self.check_restored(&mut position, &page, now, call).await?;
            position.leave_out_decided(&mut page.changes);
        }
        position.see(&page.changes);
        let asked_at = self.asked_at(&reply);
        let position = position.past(page.latest.map(|latest| latest.0), asked_at, next, self.least());
        Ok(Page { changes: page.changes, cursor: position.cursor(), end })
    }

    /// Shows all records in the order of ids: an order that no stamp can mislead.
    async fn audit(&mut self, after: Option<&Cursor>, limit: usize, call: &Call) -> Result<Page, Fault> {
        let operation = format!("audit {}", self.resource.plural);
        let query = match after {
            Some(Cursor(next)) => self.following(next, limit),
            None => self.ordered(Query::new(self.resource.path()), "id", limit),
        };
        let reply = self.service.get(&operation, query, call).await?;
        let page = self.decoder.page(&operation, &reply.body)?;
        let next = next_of(&operation, page.next.as_deref())?;
        let end = if next.is_some() { End::More } else { End::Complete };
        Ok(Page { changes: page.changes, cursor: next.map(Cursor), end })
    }

    fn audits(&self) -> bool {
        true
    }

    fn reach(&self, cursor: &Cursor) -> Option<Reach> {
        Position::parse(cursor).ok()?.reach(self.least())
    }

    fn with_overlap(&self, cursor: &Cursor, overlap: Overlap) -> Option<Cursor> {
        Position { overlap, ..Position::parse(cursor).ok()? }.cursor()
    }

    /// Lists the keys in the order of ids; a record without a key was never part of a pair.
    async fn list(&mut self, after: Option<&Cursor>, limit: usize, call: &Call) -> Result<Listing, Fault> {
        let operation = format!("list {}", self.resource.plural);
        let query = match after {
            Some(Cursor(next)) => self.following(next, limit),
            None => Query::new(self.resource.path())
                .with_fields(&self.resource, self.key.iter().map(String::as_str), self.always())
                .with("sort", "id")
                .with("page[size]", &self.page_size(limit).to_string())
                .with("count", "false"),
        };
        let reply = self.service.get(&operation, query, call).await?;
        let page = Decoder::new(&self.key, []).page(&operation, &reply.body)?;
        let next = next_of(&operation, page.next.as_deref())?;
        let mut keys = Vec::with_capacity(page.changes.len());
        for change in page.changes {
            match change {
                Change::Upsert(record) => keys.extend(wire::key_of(&record, &self.key)),
                Change::Delete(_) => {}
                // It is there, whatever it is: without its key its pair would count as deleted.
                Change::Malformed(malformed) => keys.push(malformed.key.ok_or_else(|| {
                    Fault::transient(FaultCode::Protocol, format!("{operation}: {}", malformed.reason))
                })?),
            }
        }
        let end = if next.is_some() { End::More } else { End::Complete };
        Ok(Listing { keys, cursor: next.map(Cursor), end })
    }
}
