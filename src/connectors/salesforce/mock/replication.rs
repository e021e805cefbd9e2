//! What changed and what went between two moments: `/deleted` and `/updated`.

use serde_json::json;

use super::errors::ApiError;
use super::found::{BINNED, keep_binned, keep_order};
use super::objects::ObjectType;
use super::soql::STAMP;
use super::{Visit, bin, rows};
use crate::connectors::mock::{Id, Object, Order, Reply};
use crate::connectors::salesforce::wire::{format_datetime, parse_datetime};
use crate::engine::record::Timestamp;

const MINUTE_MS: i64 = 60_000;
/// How far back deletions are known.
pub const REACH_MS: i64 = 15 * 24 * 60 * MINUTE_MS;

impl Visit<'_> {
    pub(super) fn deleted(&mut self, object: &ObjectType) -> Result<Reply, ApiError> {
        let (start, end) = self.span()?;
        bin::forget(self.table, &object.name, self.now);
        let earliest = Timestamp(self.now.0.saturating_sub(REACH_MS));
        let start = start.max(earliest);
        let purged = bin::purged(&object.name);
        keep_binned(self.table, &object.name);
        keep_order(self.table, &purged, STAMP);
        let mut records = Vec::new();
        for (stream, order) in [(&object.name, BINNED), (&purged, STAMP)] {
            let order = self.table.order(stream, order).into_iter();
            let ids: Vec<Id> = order.flat_map(|order| between(order, start, end)).collect();
            let gone = ids.iter().filter_map(|id| self.table.entry(stream, id));
            records.extend(gone.map(|(id, row)| json!({ "id": &**id, "deletedDate": text(row, STAMP) })));
        }
        let answer = json!({
            "deletedRecords": records,
            "earliestDateAvailable": format_datetime(earliest),
            "latestDateCovered": format_datetime(end.min(self.now)),
        });
        Ok(Reply::json(200, answer.to_string()))
    }

    pub(super) fn updated(&mut self, object: &ObjectType) -> Result<Reply, ApiError> {
        let (start, end) = self.span()?;
        let ids = self.changed(&object.name, start, end);
        let stands = |id: &&Id| self.table.get(&object.name, id).is_some_and(|row| !rows::is_deleted(row));
        let ids: Vec<&str> = ids.iter().filter(stands).map(|id| &**id).collect();
        let answer = json!({ "ids": ids, "latestDateCovered": format_datetime(end.min(self.now)) });
        Ok(Reply::json(200, answer.to_string()))
    }

    /// Reads `start` and `end`, cut to minutes as the real service does.
    fn span(&self) -> Result<(Timestamp, Timestamp), ApiError> {
        let wrong = |message: &str| ApiError::new(400, "INVALID_REPLICATION_DATE", message);
        let read = |name: &str| {
            let moment = self.request.query_value(name).and_then(|text| parse_datetime(&text));
            let moment = moment.ok_or_else(|| wrong(&format!("{name} has to be a date with time and zone")));
            moment.map(|at| Timestamp(at.0.div_euclid(MINUTE_MS) * MINUTE_MS))
        };
        let (start, end) = (read("start")?, read("end")?);
        if end.0.saturating_sub(start.0) < MINUTE_MS {
            return Err(wrong("startDate must be at least one minute before endDate"));
        }
        if self.now.0.saturating_sub(start.0) > 2 * REACH_MS {
            return Err(wrong("startDate is too far back"));
        }
        Ok((start, end))
    }

    /// Lists the ids of the rows that were changed from `start` on and before `end`, in order.
    fn changed(&mut self, stream: &str, start: Timestamp, end: Timestamp) -> Vec<Id> {
        let field = "LastModifiedDate";
        keep_order(self.table, stream, field);
        if let Some(order) = self.table.order(stream, field).filter(|order| order.is_whole()) {
            return between(order, start, end);
        }
        // The stored form sorts as text.
        let (start, end) = (format_datetime(start), format_datetime(end));
        let within = |row: &Object| (start.as_str()..end.as_str()).contains(&text(row, field));
        self.table.rows(stream).filter(|(_, row)| within(row)).map(|(id, _)| Id::clone(id)).collect()
    }
}

/// Lists the ids whose mark is a moment from `start` on and before `end`, in order.
fn between(order: &Order, start: Timestamp, end: Timestamp) -> Vec<Id> {
    let places = order.from(start.0, "").take_while(|(at, _)| *at < end.0);
    let mut ids: Vec<Id> = places.map(|(_, id)| Id::clone(id)).collect();
    ids.sort_unstable();
    ids
}

fn text<'r>(row: &'r Object, field: &str) -> &'r str {
    row.text(field).unwrap_or_default()
}
