//! Reading in the order of `updatedAt`, and listing what is there.
//!
//! Invariant: only the service's own clock moves a cursor (`rest/position.rs`).

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::super::rest::{Position, RawReply, ServerClock};
use super::super::{Call, End, Listing, Page, Source, StreamSpec};
use super::refuses_the_query;
use super::service::Service;
use super::wire::{self, Decoder, Query, Resource};
use crate::engine::fault::{Fault, FaultCode};
use crate::engine::reading::{Overlap, Reach};
use crate::engine::record::{Change, Cursor, Timestamp};

/// Bytes of a `links.next` that are believed.
const NEXT_BYTES_MAX: usize = 16 * 1024;

/// Whose positions these are, in the words of messages.
const STREAM: &str = "Outreach stream";

/// The reading end of one resource.
pub struct OutreachSource {
    pub(super) service: Arc<Service>,
    pub(super) resource: Resource,
    pub(super) key: Vec<String>,
    fields: Option<Vec<String>>,
    decoder: Decoder,
    clock: ServerClock,
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
            clock: ServerClock::default(),
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
        let timeout = Duration::from_millis(self.service.settings.timeout_ms);
        self.clock.asked_at(wire::server_time(reply), timeout)
    }
}

fn parse(cursor: &Cursor) -> Result<Position, Fault> {
    Position::parse(cursor, STREAM)
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
        let mut position = after.map_or_else(|| Ok(Position::default()), parse)?;
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
        parse(cursor).ok()?.reach(self.least())
    }

    fn with_overlap(&self, cursor: &Cursor, overlap: Overlap) -> Option<Cursor> {
        Position { overlap, ..parse(cursor).ok()? }.cursor()
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
