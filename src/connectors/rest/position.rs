//! Where the reading of a stream stands that goes by the service's own stamps.
//!
//! Invariant: only the service's own clock moves a position. A change becomes visible at most an overlap
//! after its stamp; whatever was read sooner after its stamp than that is read again.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::engine::fault::{Fault, FaultCode};
use crate::engine::reading::{Overlap, Reach, Witnesses};
use crate::engine::record::{Change, Cursor, Timestamp};

/// Where a pass stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Position {
    /// The stamp in milliseconds from which this pass reads, inclusive; from the first where missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<i64>,
    /// The latest stamp of this pass.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub high: Option<i64>,
    /// The stamp from which the next pass has to read again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hold: Option<i64>,
    /// The next page of this pass, in the connector's own words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// The latest records that were shown.
    #[serde(default, skip_serializing_if = "Witnesses::is_empty")]
    pub witnesses: Witnesses,
    #[serde(default, skip_serializing_if = "Overlap::is_none")]
    pub overlap: Overlap,
}

impl Position {
    /// Moves past a page of records in the order of their stamps. `latest` is its latest stamp, `asked_at`
    /// a moment at the service that was not after the request.
    #[must_use]
    pub fn past(
        mut self,
        latest: Option<i64>,
        asked_at: Option<i64>,
        next: Option<String>,
        least: Duration,
    ) -> Self {
        let overlap = self.overlap_ms(least);
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

    /// Returns the overlap in force, in milliseconds.
    pub fn overlap_ms(&self, least: Duration) -> i64 {
        i64::try_from(self.overlap.length(least).as_millis()).unwrap_or(i64::MAX)
    }

    /// Tells how far a cursor at rest has read.
    pub fn reach(&self, least: Duration) -> Option<Reach> {
        let from = self.from.filter(|_| self.next.is_none())?;
        let newest = self.witnesses.newest()?.max(from);
        Some(Reach { newest: Timestamp(newest), from: Timestamp(from), overlap: self.overlap, least })
    }

    /// Reads a cursor; `stream` is whose it should be, in the words of messages.
    pub fn parse(cursor: &Cursor, stream: &str) -> Result<Self, Fault> {
        serde_json::from_str(&cursor.0).map_err(|_| {
            Fault::fatal(
                FaultCode::Configuration,
                format!("the stored position of this {stream} can't be read"),
                "the state was written by another connector or a newer version; read the link anew",
            )
        })
    }

    /// Writes the cursor; none where nothing was read.
    pub fn cursor(&self) -> Option<Cursor> {
        if *self == Self::default() {
            return None;
        }
        serde_json::to_string(self).ok().map(Cursor)
    }

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

    /// Tells whether a first page reaches beyond where a witness has to stand, and does not show it. `whole`
    /// says that nothing follows the page, `latest` is its latest stamp.
    pub fn is_one_missing(&self, changes: &[Change], whole: bool, latest: Option<Timestamp>) -> bool {
        let Some(from) = self.from else { return false };
        let shown = |wanted: &str| changes.iter().any(|change| id_of(change) == Some(wanted));
        self.witnesses
            .iter()
            .filter(|(stamp, _)| *stamp >= from && (whole || latest.is_some_and(|at| *stamp < at.0)))
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

/// Tells the service's time from reply to reply.
#[derive(Debug, Default)]
pub struct ServerClock {
    /// The time in the last reply.
    told: Option<Timestamp>,
}

impl ServerClock {
    /// Returns a moment at the service that was not after the request to which this is the reply; `told` is
    /// the time in it, `timeout` the longest that it can have taken.
    pub fn asked_at(&mut self, told: Option<Timestamp>, timeout: Duration) -> Option<i64> {
        // A clock that was set back tells nothing of when that was.
        let before = self.told.filter(|before| told.is_none_or(|told| *before <= told));
        self.told = told.or(before);
        let timeout = i64::try_from(timeout.as_millis()).unwrap_or(i64::MAX);
        told.map(|told| told.0.saturating_sub(timeout).max(before.map_or(i64::MIN, |before| before.0)))
    }
}
