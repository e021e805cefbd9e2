//! What changed and what went between two moments: `/deleted` and `/updated`.

use serde_json::json;

use super::errors::ApiError;
use super::objects::ObjectType;
use super::{Visit, bin, rows};
use crate::connectors::mock::{Object, Reply};
use crate::connectors::salesforce::wire::{format_datetime, parse_datetime};
use crate::engine::record::{Timestamp, Value};

const MINUTE_MS: i64 = 60_000;
/// How far back deletions are known.
pub const REACH_MS: i64 = 15 * 24 * 60 * MINUTE_MS;

impl Visit<'_> {
    pub(super) fn deleted(&mut self, object: &ObjectType) -> Result<Reply, ApiError> {
        let (start, end) = self.span()?;
        bin::forget(self.table, &object.name, self.now);
        let earliest = Timestamp(self.now.0.saturating_sub(REACH_MS));
        let start = start.max(earliest);
        let binned =
            self.between(&object.name, "SystemModstamp", start, end).filter(|(_, row)| rows::is_deleted(row));
        let purged = bin::purged(&object.name);
        let records: Vec<_> = binned
            .chain(self.between(&purged, "SystemModstamp", start, end))
            .map(|(id, row)| json!({ "id": id, "deletedDate": text(row, "SystemModstamp") }))
            .collect();
        let answer = json!({
            "deletedRecords": records,
            "earliestDateAvailable": format_datetime(earliest),
            "latestDateCovered": format_datetime(end.min(self.now)),
        });
        Ok(Reply::json(200, answer.to_string()))
    }

    pub(super) fn updated(&self, object: &ObjectType) -> Result<Reply, ApiError> {
        let (start, end) = self.span()?;
        let ids: Vec<&str> = self
            .between(&object.name, "LastModifiedDate", start, end)
            .filter(|(_, row)| !rows::is_deleted(row))
            .map(|(id, _)| id)
            .collect();
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

    fn between<'r>(
        &'r self,
        stream: &str,
        field: &'static str,
        start: Timestamp,
        end: Timestamp,
    ) -> impl Iterator<Item = (&'r str, &'r Object)> {
        // The stored form sorts as text.
        let (start, end) = (format_datetime(start), format_datetime(end));
        self.table.rows(stream).filter(move |(_, row)| {
            let stamp = text(row, field);
            start.as_str() <= stamp && stamp < end.as_str()
        })
    }
}

fn text<'r>(row: &'r Object, field: &str) -> &'r str {
    row.get(field).and_then(Value::as_text).unwrap_or_default()
}
