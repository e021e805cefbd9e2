//! The reading end: a keyset over (SystemModstamp, Id).
//!
//! Stamps have a grain of one second, and one second may hold any number of rows; the id settles
//! their order, so a page may end anywhere. Every pass reads the end of the last one again; what was
//! shown and decided just so is not shown a second time.

use std::sync::Arc;

use async_trait::async_trait;

use super::extract::Extract;
use super::graves::Graves;
use super::org::{Ask, CLOCK_SKEW, Org, key_text, protocol};
use super::wire::{self, Columns, Row};
use crate::connectors::rest::{Keyset, Phase, Shown, malformed, server_time};
use crate::connectors::{Call, End, Page, Source, StreamSpec};
use crate::engine::fault::Fault;
use crate::engine::reading::{Overlap, Reach};
use crate::engine::record::{Change, Cursor, Key, Malformed, Record, Timestamp, Tombstone};

/// A reading end of one object type.
pub struct SalesforceSource {
    pub(super) org: Arc<Org>,
    pub(super) stream: StreamSpec,
    pub(super) columns: Option<Columns>,
    /// Rows within reach of the overlap that are decided.
    shown: Shown,
    /// Where rows come by a bulk job.
    pub(super) extract: Option<Extract>,
    /// No bulk job for this read: it is short, or one did not work.
    pub(super) left_for_pages: bool,
    pub(super) graves: Graves,
}

/// A page as it came.
pub(super) struct Fetched {
    pub rows: Vec<Result<Row, Malformed>>,
    /// The last row that could be placed.
    pub last: Option<(Timestamp, String)>,
    pub done: bool,
    pub server_time: Option<Timestamp>,
}

impl SalesforceSource {
    pub fn new(org: Arc<Org>, stream: StreamSpec) -> Self {
        Self {
            org,
            stream,
            columns: None,
            shown: Shown::default(),
            extract: None,
            left_for_pages: false,
            graves: Graves::default(),
        }
    }

    /// Asks for the rows that the end of a query names.
    pub(super) async fn fetch(
        &self,
        rest: &str,
        with_deleted: bool,
        limit: usize,
        call: &Call,
    ) -> Result<Fetched, Fault> {
        let Some(columns) = &self.columns else { return Err(defect()) };
        let object = &self.stream.stream;
        let operation = format!("query {object}");
        let soql = wire::select(object, &columns.names, rest);
        let verb = if with_deleted { "queryAll" } else { "query" };
        let query = url::form_urlencoded::Serializer::new(String::new()).append_pair("q", &soql).finish();
        let path = format!("{verb}?{query}");
        let ask = Ask { batch_size: Some(limit), ..Ask::get(&operation, &path) };
        let reply = self.org.ask(ask, call).await?;
        let page = wire::decode_page(&reply.body).map_err(|error| protocol(&operation, &error))?;
        let mut last = None;
        let mut rows = Vec::with_capacity(page.records.len());
        for raw in &page.records {
            let row = columns.decode(raw).map_err(|reason| malformed(raw.get(), reason));
            if let Ok(row) = &row {
                last = Some((row.stamp, row.id.clone()));
            }
            rows.push(row);
        }
        let full = rows.len() >= limit;
        Ok(Fetched { rows, last, done: page.done && !full, server_time: server_time(&reply) })
    }

    /// Turns rows into changes; gives what is to be remembered beside them.
    fn changes(
        &self,
        rows: Vec<Result<Row, Malformed>>,
        deleted_since: Option<i64>,
        user: &str,
    ) -> (Vec<Change>, Vec<(String, i64, u64)>) {
        let mut changes = Vec::with_capacity(rows.len());
        let mut shown = Vec::with_capacity(rows.len());
        for row in rows {
            let row = match row {
                Ok(row) => row,
                Err(malformed) => {
                    changes.push(Change::Malformed(malformed));
                    continue;
                }
            };
            let seconds = row.stamp.0.div_euclid(1000);
            if self.shown.is_known(&row.id, seconds, row.hash) {
                continue;
            }
            shown.push((row.id.clone(), seconds, row.hash));
            if let Some((reason, raw)) = row.problem {
                let key = key_of(&row.record, &self.stream.key);
                changes.push(Change::Malformed(Malformed { key, ..malformed(&raw, reason) }));
                continue;
            }
            if !row.deleted {
                changes.push(Change::Upsert(self.record(row, user)));
                continue;
            }
            let before = deleted_since.is_some_and(|since| row.stamp.0.div_euclid(1000) < since);
            if !before {
                changes.push(Change::Delete(self.tombstone(row)));
            }
        }
        (changes, shown)
    }

    fn record(&self, row: Row, user: &str) -> Record {
        let Row { mut record, stamp, modified_by, .. } = row;
        record.meta.ours = modified_by == user
            && key_text(&record, &self.stream.key)
                .is_some_and(|key| self.org.footprints.is_one(&self.stream.stream, &key, stamp));
        record
    }

    fn tombstone(&self, row: Row) -> Tombstone {
        let key = key_of(&row.record, &self.stream.key);
        Tombstone { key, id: Some(row.id.into()), at: Some(row.stamp) }
    }
}

#[async_trait]
impl Source for SalesforceSource {
    async fn read(&mut self, after: Option<&Cursor>, limit: usize, call: &Call) -> Result<Page, Fault> {
        let position = after.map(Keyset::decode).transpose()?;
        if position.is_none() {
            self.shown.clear();
            self.left_for_pages = false;
        }
        let new_pass = position.as_ref().is_none_or(|position| position.id.is_none());
        // Where all fields are asked for, new ones may have come since the last pass.
        let all_fields = self.stream.fields.is_none();
        if self.columns.is_none() || new_pass && all_fields {
            self.columns = Some(self.org.columns(&self.stream, all_fields, call).await?);
        }
        let limit = limit.clamp(1, self.org.settings.page_size);
        // The first read is about what there is; what went before it is nobody's business.
        let first = position.as_ref().is_none_or(|position| position.phase == Phase::First);
        let rest = wire::keyset(position.as_ref().map(Keyset::after), limit);
        let after_row = position.as_ref().map(Keyset::after);
        let fetched = match first {
            true => self.extracted(after_row, &rest, limit, call).await,
            false => Ok(None),
        };
        let fetched = match fetched {
            Ok(None) => self.fetch(&rest, !first, limit, call).await,
            Ok(Some(fetched)) => Ok(fetched),
            Err(fault) => Err(fault),
        };
        let fetched = match fetched {
            Ok(fetched) => fetched,
            Err(fault) => {
                // A field may have gone or come: look again next time.
                self.columns = None;
                self.extract = None;
                return Err(fault);
            }
        };
        let user = self.org.user_id(call).await?;
        let seconds = |at: Timestamp| at.0.div_euclid(1000);
        let now = fetched.server_time.map(seconds);
        let mut here = position.unwrap_or_else(|| Keyset::first(now, CLOCK_SKEW));
        // Before the rows: one that lives again has the last word.
        let mut changes = Vec::new();
        // The first page of a pass tells when it began.
        if here.id.is_none() {
            here.began = now;
            here.follow_clock(self.org.settings.overlap);
            self.check_restored(&mut here, &fetched, call).await?;
            changes = self.purged(&here, &fetched, limit, call).await?;
        }
        for row in fetched.rows.iter().flatten() {
            here.witnesses.see(seconds(row.stamp), &row.id);
        }
        let Some((stamp, id)) = &fetched.last else {
            // Nothing moves, unless the service's clock stands behind what was read.
            let cursor = after.map(|_| here.at_rest(self.org.settings.overlap).encode());
            let end = if after.is_some() { here.end_of_pass() } else { End::CaughtUp };
            if let Some(cursor) = &cursor {
                self.graves.stage(cursor);
            }
            changes.extend(self.changes(fetched.rows, None, &user).0);
            return Ok(Page { changes, cursor, end });
        };
        let behind = here.behind(*stamp, id);
        let (next, end) = match fetched.done {
            true => (behind.at_rest(self.org.settings.overlap), here.end_of_pass()),
            false => (behind, End::More),
        };
        let (shown_now, shown) = self.changes(fetched.rows, here.deleted_since, &user);
        changes.extend(shown_now);
        let cursor = next.encode();
        self.graves.stage(&cursor);
        self.shown.stage(cursor.clone(), shown);
        Ok(Page { changes, cursor: Some(cursor), end })
    }

    /// Shows what lives, in the order of ids: a keyset that no stamp can mislead.
    async fn audit(&mut self, after: Option<&Cursor>, limit: usize, call: &Call) -> Result<Page, Fault> {
        if self.columns.is_none() {
            self.columns = Some(self.org.columns(&self.stream, false, call).await?);
        }
        let limit = limit.clamp(1, self.org.settings.page_size);
        let condition = after.map(|Cursor(id)| format!(" WHERE Id > {}", wire::quoted(id)));
        let rest = format!("{} ORDER BY Id ASC LIMIT {limit}", condition.unwrap_or_default());
        let fetched = self.fetch(&rest, false, limit, call).await?;
        let user = self.org.user_id(call).await?;
        let (end, cursor) = match (&fetched.last, fetched.done) {
            (_, true) => (End::Complete, None),
            (Some((_, id)), false) => (End::More, Some(Cursor(id.clone()))),
            (None, false) => {
                let what = format!("auditing {}: no row of a whole page can be read", self.stream.stream);
                return Err(Fault::transient(crate::engine::fault::FaultCode::Protocol, what));
            }
        };
        let change = |row: Result<Row, Malformed>| match row {
            Ok(Row { problem: Some((reason, raw)), record, .. }) => {
                let key = key_of(&record, &self.stream.key);
                Change::Malformed(Malformed { key, ..malformed(&raw, reason) })
            }
            Ok(row) => Change::Upsert(self.record(row, &user)),
            Err(malformed) => Change::Malformed(malformed),
        };
        let changes = fetched.rows.into_iter().map(change).collect();
        Ok(Page { changes, cursor, end })
    }

    fn audits(&self) -> bool {
        true
    }

    fn reach(&self, cursor: &Cursor) -> Option<Reach> {
        Keyset::decode(cursor).ok()?.reach(self.org.settings.overlap)
    }

    fn with_overlap(&self, cursor: &Cursor, overlap: Overlap) -> Option<Cursor> {
        Some(Keyset { overlap, ..Keyset::decode(cursor).ok()? }.encode())
    }

    async fn ack(&mut self, through: &Cursor) -> Result<(), Fault> {
        let position = Keyset::decode(through)?;
        self.graves.ack(through);
        let at_rest = position.phase == Phase::Rest;
        // Older rows are out of the next pass's reach.
        let from = if at_rest { position.stamp } else { position.at_rest(self.org.settings.overlap).stamp };
        self.shown.ack(through, at_rest, |_, stamp| stamp >= from);
        Ok(())
    }
}

fn key_of(record: &Record, key: &[String]) -> Option<Key> {
    Key::from_values(key.iter().map(|field| record.get(field))).ok()
}

pub(super) fn defect() -> Fault {
    Fault::transient(crate::engine::fault::FaultCode::Protocol, "the columns were not resolved")
}
