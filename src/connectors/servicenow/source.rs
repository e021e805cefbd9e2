//! The reading end: a keyset over (sys_updated_on, sys_id), deletions from `sys_audit_delete` before it.
//!
//! Stamps have a grain of one second, and one second may hold any number of rows; the id settles their order, so
//! a page may end anywhere. Every pass reads the end of the last one again; what was shown and decided just so is
//! not shown a second time.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::instance::Instance;
use super::place::{Gone, Place};
use super::table::{Ask, Fetched, TableView};
use super::wire::{self, Decoder, Encoded, Row, format_moment, parse_moment};
use crate::connectors::rest::{After, Phase, Shown};
use crate::connectors::{Call, Deletes, End, Listing, Page, Source, StreamSpec};
use crate::engine::fault::{Fault, FaultCode};
use crate::engine::reading::{Overlap, Reach, WITNESSES};
use crate::engine::record::{Change, Cursor, Malformed, Timestamp, Tombstone};

/// Where deletions are told.
pub const GRAVEYARD: &str = "sys_audit_delete";
/// What is read of them.
const GRAVE_FIELDS: [&str; 4] = ["sys_id", "documentkey", "sys_created_on", "sys_updated_on"];

/// A row that was shown: its id, stamp and hash.
type ShownRow = (String, i64, u64);

/// A reading end of one table.
pub struct ServiceNowSource {
    view: TableView,
    deletes: Deletes,
    decoder: Decoder,
    shown: Shown,
}

impl ServiceNowSource {
    /// Opens the end; calls nothing.
    pub fn new(instance: Arc<Instance>, deletes: Deletes, spec: &StreamSpec) -> Self {
        let view = TableView::new(instance, spec);
        let decoder = view.decoder();
        Self { view, deletes, decoder, shown: Shown::default() }
    }

    fn least(&self) -> Duration {
        self.view.instance.settings.overlap()
    }

    fn limit(&self, limit: usize) -> usize {
        limit.clamp(1, self.view.instance.settings.page_size)
    }

    /// Reads a page of deletions; gives tombstones, what is to be remembered, and the place behind them.
    async fn read_gone(
        &self,
        gone: &Gone,
        limit: usize,
        call: &Call,
    ) -> Result<(Vec<Change>, Vec<ShownRow>, Gone), Fault> {
        let operation = format!("read deletions of {}", self.view.table);
        let classes = self.view.instance.classes(&self.view.table, call).await?;
        let classes: Vec<&str> = classes.iter().map(String::as_str).collect();
        let query = Encoded::new().any("tablename", &classes).unwrap_or_default();
        let query = following(query, "sys_created_on", Some(gone.after()));
        let graves = TableView {
            table: GRAVEYARD.to_owned(),
            key: Vec::new(),
            fields: None,
            instance: Arc::clone(&self.view.instance),
        };
        let fields = GRAVE_FIELDS.map(str::to_owned);
        let ask = Ask { operation: &operation, query: &query, limit, counted: gone.id.is_none() };
        let mut decoder = Decoder::new(&[], GRAVE_FIELDS);
        let fetched = graves.page(&mut decoder, Some(&fields), ask, call).await?;
        let mut behind = gone.clone();
        if behind.id.is_none() {
            behind.began = fetched.server_time.map(seconds);
        }
        let (mut changes, mut shown) = (Vec::new(), Vec::new());
        for row in fetched.rows {
            let Ok(row) = row else { continue };
            let at = row.record.get("sys_created_on").as_text().and_then(parse_moment);
            let (Some(at), Some(document)) = (at, row.record.get("documentkey").as_text()) else { continue };
            (behind.stamp, behind.id) = (seconds(at), Some(row.id.clone()));
            let name = format!("{GRAVEYARD} {}", row.id);
            if self.shown.is_known(&name, seconds(at), 0) {
                continue;
            }
            shown.push((name, seconds(at), 0));
            changes.push(Change::Delete(Tombstone { key: None, id: Some(document.into()), at: Some(at) }));
        }
        behind.done = fetched.done;
        if !fetched.done && behind == *gone {
            return Err(Fault::transient(FaultCode::Protocol, format!("{operation}: a page leads nowhere")));
        }
        Ok((changes, shown, behind))
    }

    /// Reads a page of records.
    async fn read_rows(&mut self, place: &Place, limit: usize, call: &Call) -> Result<Fetched, Fault> {
        let operation = format!("read {}", self.view.table);
        let first = place.rows.phase == Phase::First && place.rows.id.is_none();
        let after = (!first).then(|| place.rows.after());
        let query = following(self.view.with_key(), "sys_updated_on", after);
        let fields = self.view.asked_fields();
        let ask = Ask { operation: &operation, query: &query, limit, counted: place.is_new_pass() };
        self.view.page(&mut self.decoder, fields.as_deref(), ask, call).await
    }

    /// Turns rows into changes; gives what is to be remembered beside them.
    fn changes(&self, rows: Vec<Result<Row, Malformed>>) -> (Vec<Change>, Vec<ShownRow>) {
        let mut changes = Vec::with_capacity(rows.len());
        let mut shown = Vec::with_capacity(rows.len());
        for row in rows {
            match row {
                Err(malformed) => changes.push(Change::Malformed(malformed)),
                Ok(row) => {
                    let stamp = row.stamp.unwrap_or(i64::MIN);
                    if self.shown.is_known(&row.id, stamp, row.hash) {
                        continue;
                    }
                    shown.push((row.id, stamp, row.hash));
                    changes.push(Change::Upsert(row.record));
                }
            }
        }
        (changes, shown)
    }

    /// Refuses to go on at an instance that stands before its cursor; `fetched` is the first page of a pass.
    async fn check_restored(&self, place: &mut Place, fetched: &Fetched, call: &Call) -> Result<(), Fault> {
        let here = &mut place.rows;
        let shown = |id: &str| fetched.rows.iter().flatten().any(|row| row.id == id);
        if here.phase != Phase::Rest || !here.misses_one(shown, fetched.last(), fetched.done) {
            return Ok(());
        }
        let ids: Vec<&str> = here.witnesses.iter().map(|(_, id)| id).collect();
        let query = Encoded::new().any("sys_id", &ids).unwrap_or_default();
        let now = self.peek(&query, WITNESSES, call).await?;
        let stands: HashMap<&str, i64> =
            now.rows.iter().flatten().filter_map(|row| Some((row.id.as_str(), row.stamp?))).collect();
        let time = fetched.server_time.map(seconds);
        let stamp = |id: &str| stands.get(id).copied();
        let told = here.went_back(stamp, time, fetched.rows.is_empty(), self.least());
        // A table that shows no record at all is the fuse's business.
        match told {
            Some(what) if !self.peek(&Encoded::new(), 1, call).await?.rows.is_empty() => {
                Err(Fault::restored(&self.view.table, what))
            }
            _ => {
                here.witnesses.keep(|id| stands.contains_key(id));
                Ok(())
            }
        }
    }

    /// Looks at ids and stamps.
    async fn peek(&self, query: &Encoded, limit: usize, call: &Call) -> Result<Fetched, Fault> {
        let operation = format!("look whether {} was put back", self.view.table);
        let fields = ["sys_id", "sys_updated_on"].map(str::to_owned);
        let ask = Ask { operation: &operation, query, limit, counted: true };
        self.view.page(&mut Decoder::new(&[], []), Some(&fields), ask, call).await
    }

    /// Walks the table in the order of ids, which no stamp can mislead.
    async fn walk(
        &mut self,
        operation: &str,
        fields: Option<&[String]>,
        after: Option<&Cursor>,
        limit: usize,
        call: &Call,
    ) -> Result<(Fetched, Option<Cursor>, End), Fault> {
        let mut query = self.view.with_key();
        if let Some(Cursor(id)) = after {
            if !wire::is_sys_id(id) {
                return Err(Fault::fatal(
                    FaultCode::Protocol,
                    format!("{operation}: this is no place of a walk"),
                    "walk from the beginning",
                ));
            }
            query = query.after("sys_id", id);
        }
        let query = query.ordered_by(&["sys_id"]);
        let ask = Ask { operation, query: &query, limit: self.limit(limit), counted: after.is_none() };
        let fetched = self.view.page(&mut self.decoder, fields, ask, call).await?;
        let last = fetched.rows.iter().rev().flatten().map(|row| row.id.clone()).next();
        match (fetched.done, last) {
            (true, _) => Ok((fetched, None, End::Complete)),
            (false, Some(id)) => Ok((fetched, Some(Cursor(id)), End::More)),
            (false, None) => Err(Fault::transient(
                FaultCode::Protocol,
                format!("{operation}: no row of a whole page can be read"),
            )),
        }
    }
}

/// Adds where a keyset read goes on, and its order.
fn following(query: Encoded, stamp_field: &str, after: Option<After<'_>>) -> Encoded {
    let query = match after {
        None => query,
        Some(After::From(at)) => query.from(stamp_field, &format_moment(at)),
        Some(After::Row(at, id)) => query.behind(stamp_field, &format_moment(at), id),
    };
    query.ordered_by(&[stamp_field, "sys_id"])
}

fn seconds(at: Timestamp) -> i64 {
    at.0.div_euclid(1000)
}

#[async_trait]
impl Source for ServiceNowSource {
    async fn read(&mut self, after: Option<&Cursor>, limit: usize, call: &Call) -> Result<Page, Fault> {
        let known = after.map(Place::decode).transpose()?;
        if known.is_none() {
            self.shown.clear();
        }
        let limit = self.limit(limit);
        let mut place = known.clone().unwrap_or_else(|| Place::first(None));
        let mut remembered = Vec::new();
        if let Some(gone) = place.unread_gone().cloned() {
            let (changes, shown, behind) = self.read_gone(&gone, limit, call).await?;
            place.gone = Some(behind);
            if !changes.is_empty() || place.unread_gone().is_some() {
                let cursor = place.encode();
                self.shown.stage(cursor.clone(), shown);
                return Ok(Page { changes, cursor: Some(cursor), end: End::More });
            }
            remembered = shown;
        }
        let fetched = self.read_rows(&place, limit, call).await?;
        let now = fetched.server_time.map(seconds);
        if known.is_none() {
            place = Place::first(now);
        }
        // The first page of a pass tells when it began.
        if place.is_new_pass() {
            place.rows.began = now;
            place.rows.follow_clock(self.least());
            self.check_restored(&mut place, &fetched, call).await?;
        }
        for row in fetched.rows.iter().flatten() {
            if let Some(stamp) = row.stamp {
                place.rows.witnesses.see(stamp, &row.id);
            }
        }
        let ends = place.rows.end_of_pass();
        if let Some((stamp, id)) = fetched.last() {
            place.rows = place.rows.behind(Timestamp(stamp.saturating_mul(1000)), id);
        }
        let (done, is_empty) = (fetched.done, fetched.rows.is_empty());
        let (changes, shown) = self.changes(fetched.rows);
        remembered.extend(shown);
        if !done {
            let cursor = place.encode();
            self.shown.stage(cursor.clone(), remembered);
            return Ok(Page { changes, cursor: Some(cursor), end: End::More });
        }
        // A first read that shows nothing begins anew, unless the service's time tells where deletions begin.
        if known.is_none() && is_empty {
            return Ok(Page { changes, cursor: None, end: End::CaughtUp });
        }
        let cursor = place.at_rest(self.least(), self.deletes == Deletes::Reported).encode();
        self.shown.stage(cursor.clone(), remembered);
        Ok(Page { changes, cursor: Some(cursor), end: ends })
    }

    async fn list(&mut self, after: Option<&Cursor>, limit: usize, call: &Call) -> Result<Listing, Fault> {
        let operation = format!("list {}", self.view.table);
        let fields = self.view.with_own([]);
        let (fetched, cursor, end) = self.walk(&operation, Some(&fields), after, limit, call).await?;
        let mut keys = Vec::with_capacity(fetched.rows.len());
        for row in fetched.rows {
            match row {
                Ok(row) => keys.extend(wire::key_of(&row.record, &self.view.key)),
                // It is there, whatever it is: without its key its pair would count as deleted.
                Err(malformed) => keys.push(malformed.key.ok_or_else(|| {
                    Fault::transient(FaultCode::Protocol, format!("{operation}: {}", malformed.reason))
                })?),
            }
        }
        Ok(Listing { keys, cursor, end })
    }

    async fn audit(&mut self, after: Option<&Cursor>, limit: usize, call: &Call) -> Result<Page, Fault> {
        let operation = format!("audit {}", self.view.table);
        let fields = self.view.asked_fields();
        let (fetched, cursor, end) = self.walk(&operation, fields.as_deref(), after, limit, call).await?;
        let change = |row: Result<Row, Malformed>| match row {
            Ok(row) => Change::Upsert(row.record),
            Err(malformed) => Change::Malformed(malformed),
        };
        Ok(Page { changes: fetched.rows.into_iter().map(change).collect(), cursor, end })
    }

    fn audits(&self) -> bool {
        true
    }

    fn reach(&self, cursor: &Cursor) -> Option<Reach> {
        Place::decode(cursor).ok()?.reach(self.least())
    }

    fn with_overlap(&self, cursor: &Cursor, overlap: Overlap) -> Option<Cursor> {
        Some(Place::decode(cursor).ok()?.with_overlap(overlap).encode())
    }

    async fn ack(&mut self, through: &Cursor) -> Result<(), Fault> {
        let place = Place::decode(through)?;
        let at_rest =
            place.rows.phase == Phase::Rest && place.gone.as_ref().is_none_or(|gone| gone.id.is_none());
        // Older rows are out of the next pass's reach.
        let rest = if at_rest { place } else { place.at_rest(self.least(), false) };
        let (rows, graves) = (rest.rows.stamp, rest.gone.map_or(0, |gone| gone.stamp));
        let from = |id: &str| if id.starts_with(GRAVEYARD) { graves } else { rows };
        self.shown.ack(through, at_rest, |id, stamp| stamp >= from(id));
        Ok(())
    }
}
