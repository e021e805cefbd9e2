//! Reading: whole lists, or what changed since the last stamp.
//!
//! Invariant: only the service's own clock moves a cursor (`rest/position.rs`). A pass whose records do not
//! come in the order of their stamps is followed by one that begins where this one began.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::super::rest::{Position, RawReply, ServerClock};
use super::super::{Call, End, Listing, Page, Source, StreamSpec};
use super::pages::{Step, Turn, Walk};
use super::service::Service;
use super::settings::{Changes, Deletions, List, Stream};
use super::wire::{self, Decoder, StampFormat};
use crate::engine::fault::{Fault, FaultCode};
use crate::engine::reading::{Overlap, Reach};
use crate::engine::record::{Change, Cursor, Timestamp};

/// How far behind its stamp a change may come to light where the description does not say, in milliseconds.
const OVERLAP_MS: u64 = 5_000;

/// The reading end of one stream.
pub struct ApiSource {
    pub(super) service: Arc<Service>,
    pub(super) name: String,
    pub(super) stream: Arc<Stream>,
    pub(super) key: Vec<String>,
    /// The request for changes, with what it takes from `list`.
    changes: Option<(Changes, List)>,
    decoder: Decoder,
    clock: ServerClock,
}

impl ApiSource {
    /// Opens the end; calls nothing.
    pub fn new(service: Arc<Service>, stream: Arc<Stream>, spec: &StreamSpec) -> Self {
        let fields = spec.fields.iter().flatten().map(String::as_str);
        Self {
            service,
            name: spec.stream.clone(),
            key: spec.key.clone(),
            changes: stream.changes.clone().map(|changes| {
                let list = changes.list(&stream.list);
                (changes, list)
            }),
            decoder: Decoder::new(Arc::clone(&stream), &spec.key, fields),
            stream,
            clock: ServerClock::default(),
        }
    }

    /// The configured overlap.
    pub(super) fn least(&self) -> Duration {
        let told = self.changes.as_ref().and_then(|(changes, _)| changes.overlap_ms);
        Duration::from_millis(told.unwrap_or(OVERLAP_MS))
    }

    fn parse(&self, cursor: &Cursor) -> Result<Position, Fault> {
        Position::parse(cursor, "REST stream")
    }

    /// Reads one page of the whole list.
    pub(super) async fn whole(
        &mut self,
        operation: &str,
        step: Option<&Step>,
        limit: usize,
        call: &Call,
    ) -> Result<Turn, Fault> {
        let walk = Walk {
            service: &self.service,
            stream: &self.stream,
            list: &self.stream.list,
            operation,
            stamp: None,
        };
        let mut turn = or_anew(&walk, step, limit, &mut self.decoder, call).await?;
        // What is marked as deleted is not there.
        turn.listed.changes.retain(|change| !matches!(change, Change::Delete(_)));
        Ok(turn)
    }

    /// Reads one page of what changed.
    pub(super) async fn since(
        &mut self,
        from: i64,
        step: Option<&Step>,
        limit: usize,
        call: &Call,
    ) -> Result<Turn, Fault> {
        let Some((changes, list)) = &self.changes else {
            return Err(Fault::fatal(
                FaultCode::Configuration,
                format!("{} has a position, and no way to read from it", self.name),
                "describe `changes`, or read the link anew",
            ));
        };
        let operation = format!("read what changed in {}", self.name);
        let stamp = asked_stamp(
            changes.format.as_ref().unwrap_or(&self.stream.stamp_format),
            from,
            changes.exclusive,
        );
        let walk = Walk {
            service: &self.service,
            stream: &self.stream,
            list,
            operation: &operation,
            stamp: Some(&stamp),
        };
        or_anew(&walk, step, limit, &mut self.decoder, call).await
    }

    /// Returns a moment at the service that was not after the request to which this is the reply.
    fn asked_at(&mut self, reply: &RawReply) -> Option<i64> {
        self.clock.asked_at(wire::server_time(reply), self.service.timeout())
    }

    /// Goes on from the last stamp where the service shows no more for one question.
    fn jump(&self, position: &mut Position, turn: &mut Turn) -> Result<(), Fault> {
        let most = self
            .changes
            .as_ref()
            .and_then(|(changes, list)| Some(changes.records_max?.saturating_sub(list.page.size as u64)));
        let reached = turn.next.as_ref().zip(most).is_some_and(|(step, most)| step.shown >= most.max(1));
        if position.from.is_none() || !reached {
            return Ok(());
        }
        turn.next = None;
        let high = position.high.max(turn.listed.latest.map(|latest| latest.0));
        let to = high.map(|high| position.hold.map_or(high, |hold| hold.min(high)));
        if to <= position.from {
            return Err(Fault::fatal(
                FaultCode::Configuration,
                format!("{}: more records than one question shows carry one stamp", self.name),
                "raise records_max where the service allows it, or leave `changes` out",
            ));
        }
        position.from = to;
        Ok(())
    }
}

/// Reads a page; where its cursor is no longer honoured, the first one: records are shown once more.
async fn or_anew(
    walk: &Walk<'_>,
    step: Option<&Step>,
    limit: usize,
    decoder: &mut Decoder,
    call: &Call,
) -> Result<Turn, Fault> {
    match walk.page(step, limit, decoder, call).await {
        Err(fault) if step.is_some() && fault.code == FaultCode::Validation => {
            walk.page(None, limit, decoder, call).await
        }
        other => other,
    }
}

/// Writes the moment that is asked for, inclusive.
fn asked_stamp(format: &StampFormat, from: i64, exclusive: bool) -> String {
    let from = if exclusive { from.saturating_sub(format.grain_ms()) } else { from };
    format.write(Timestamp(from)).unwrap_or_else(|| Timestamp(0).to_string())
}

fn step_of(cursor: Option<&str>, name: &str) -> Result<Option<Step>, Fault> {
    let Some(text) = cursor else { return Ok(None) };
    serde_json::from_str(text).map(Some).map_err(|_| {
        Fault::fatal(
            FaultCode::Configuration,
            format!("the stored position of {name} can't be read"),
            "the state was written by another connector or a newer version; read the link anew",
        )
    })
}

fn text_of(step: Option<&Step>) -> Option<String> {
    step.and_then(|step| serde_json::to_string(step).ok())
}

#[async_trait]
impl Source for ApiSource {
    async fn read(&mut self, after: Option<&Cursor>, limit: usize, call: &Call) -> Result<Page, Fault> {
        let mut position = after.map_or_else(|| Ok(Position::default()), |cursor| self.parse(cursor))?;
        let step = step_of(position.next.as_deref(), &self.name)?;
        let is_first = step.is_none();
        let (mut turn, is_whole) = match position.from {
            Some(from) => (self.since(from, step.as_ref(), limit, call).await?, false),
            None => {
                let operation = format!("read {}", self.name);
                (self.whole(&operation, step.as_ref(), limit, call).await?, true)
            }
        };
        if self.stream.deletions() == Deletions::Scanned {
            let end = if turn.next.is_some() { End::More } else { End::Complete };
            let position = Position { next: text_of(turn.next.as_ref()), ..Position::default() };
            return Ok(Page { changes: turn.listed.changes, cursor: position.cursor(), end });
        }
        let latest = turn.listed.latest;
        let told = wire::server_time(&turn.reply);
        if is_first {
            self.check_restored(&mut position, &turn, told, call).await?;
            position.leave_out_decided(&mut turn.listed.changes);
        }
        position.see(&turn.listed.changes);
        let asked_at = self.asked_at(&turn.reply);
        let is_ordered = !is_whole && self.changes.as_ref().is_some_and(|(changes, _)| changes.ordered);
        if is_first && !is_ordered {
            // Whatever changes while the pass goes on may stand on a page that is gone by.
            let began = asked_at.or(latest.map(|latest| latest.0));
            position.hold = began.map(|began| began.saturating_sub(position.overlap_ms(self.least())));
        }
        let more_of_this = turn.next.is_some();
        self.jump(&mut position, &mut turn)?;
        let jumped = more_of_this && turn.next.is_none();
        let next = text_of(turn.next.as_ref());
        let position = match jumped {
            true => {
                Position { high: position.high.max(latest.map(|latest| latest.0)), next: None, ..position }
            }
            false => position.past(latest.map(|latest| latest.0), asked_at, next, self.least()),
        };
        let end = match (more_of_this, is_whole, self.stream.deletions()) {
            (true, ..) => End::More,
            (false, true, Deletions::Reported) => End::Complete,
            (false, ..) => End::CaughtUp,
        };
        Ok(Page { changes: turn.listed.changes, cursor: position.cursor(), end })
    }

    /// Shows the whole list, which no stamp can mislead.
    async fn audit(&mut self, after: Option<&Cursor>, limit: usize, call: &Call) -> Result<Page, Fault> {
        let operation = format!("audit {}", self.name);
        let step = step_of(after.map(|cursor| cursor.0.as_str()), &self.name)?;
        let turn = self.whole(&operation, step.as_ref(), limit, call).await?;
        let end = if turn.next.is_some() { End::More } else { End::Complete };
        Ok(Page { changes: turn.listed.changes, cursor: text_of(turn.next.as_ref()).map(Cursor), end })
    }

    fn audits(&self) -> bool {
        self.stream.deletions() != Deletions::Scanned
    }

    fn reach(&self, cursor: &Cursor) -> Option<Reach> {
        self.parse(cursor).ok()?.reach(self.least())
    }

    fn with_overlap(&self, cursor: &Cursor, overlap: Overlap) -> Option<Cursor> {
        Position { overlap, ..self.parse(cursor).ok()? }.cursor()
    }

    /// Lists the keys of the whole list; a record without a key was never part of a pair.
    async fn list(&mut self, after: Option<&Cursor>, limit: usize, call: &Call) -> Result<Listing, Fault> {
        let operation = format!("list {}", self.name);
        let step = step_of(after.map(|cursor| cursor.0.as_str()), &self.name)?;
        let turn = self.whole(&operation, step.as_ref(), limit, call).await?;
        let mut keys = Vec::with_capacity(turn.listed.changes.len());
        for change in turn.listed.changes {
            match change {
                Change::Upsert(record) => keys.extend(wire::key_of(&record, &self.key)),
                Change::Delete(_) => {}
                // It is there, whatever it is: without its key its pair would count as deleted.
                Change::Malformed(malformed) => keys.push(malformed.key.ok_or_else(|| {
                    Fault::transient(FaultCode::Protocol, format!("{operation}: {}", malformed.reason))
                })?),
            }
        }
        let end = if turn.next.is_some() { End::More } else { End::Complete };
        Ok(Listing { keys, cursor: text_of(turn.next.as_ref()).map(Cursor), end })
    }
}
