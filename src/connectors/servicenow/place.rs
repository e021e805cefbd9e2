//! Where a read goes on: among the deletions first, then among the records.
//!
//! Invariant: a record that was deleted and made anew under its key is shown after the deletion of the old one.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::connectors::rest::{After, Keyset, Phase};
use crate::engine::fault::{Fault, FaultCode};
use crate::engine::reading::{Overlap, Reach};
use crate::engine::record::{Cursor, Timestamp};

/// The service's clocks agree within this.
pub const CLOCK_SKEW: Duration = Duration::from_secs(5);

/// A read's place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Place {
    pub rows: Keyset,
    /// The deletions; nothing in a first read, which shows what there is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gone: Option<Gone>,
}

/// A place among the rows of `sys_audit_delete`. Moments are seconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gone {
    /// The stamp of the last row; at rest, the moment from which the next pass reads.
    pub stamp: i64,
    /// The id of the last row; nothing at rest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The server's time when the pass began, where it tells it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub began: Option<i64>,
    /// This pass has shown them all.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub done: bool,
}

impl Gone {
    /// Returns where the query goes on.
    pub fn after(&self) -> After<'_> {
        let at = Timestamp(self.stamp.saturating_mul(1000));
        match &self.id {
            Some(id) => After::Row(at, id),
            None => After::From(at),
        }
    }

    /// Ends the pass: the next one begins at the last row, and before the overlap where that is earlier.
    fn at_rest(&self, overlap: i64) -> Self {
        let known_until = self.began.unwrap_or(self.stamp);
        let stamp = self.stamp.min(known_until.saturating_sub(overlap));
        Self { stamp, id: None, began: None, done: false }
    }
}

impl Place {
    /// Reads a cursor.
    pub fn decode(cursor: &Cursor) -> Result<Self, Fault> {
        serde_json::from_str(&cursor.0).map_err(|_| {
            Fault::fatal(
                FaultCode::Protocol,
                "the stored cursor is not one of the ServiceNow connector",
                "read the stream from the beginning",
            )
        })
    }

    /// Writes a cursor.
    pub fn encode(&self) -> Cursor {
        // A struct of numbers and text can't fail to serialise; an empty cursor would be refused.
        Cursor(serde_json::to_string(self).unwrap_or_default())
    }

    /// Starts a first read; `now` is the service's time.
    pub fn first(now: Option<i64>) -> Self {
        Self { rows: Keyset::first(now, CLOCK_SKEW), gone: None }
    }

    /// Ends the pass. `reported`: deletions are to be read from where the first read began.
    pub fn at_rest(&self, least: Duration, reported: bool) -> Self {
        let overlap = self.rows.overlap.length(least);
        let overlap = i64::try_from(overlap.as_secs()).unwrap_or(i64::MAX);
        let gone = match &self.gone {
            Some(gone) => Some(gone.at_rest(overlap)),
            None => reported.then(|| Gone {
                stamp: self.rows.deleted_since.unwrap_or(0),
                id: None,
                began: None,
                done: false,
            }),
        };
        Self { rows: self.rows.at_rest(least), gone }
    }

    /// Returns the deletions of this pass, where they have still to be read.
    pub fn unread_gone(&self) -> Option<&Gone> {
        self.gone.as_ref().filter(|gone| !gone.done)
    }

    /// The pass has not shown a record yet.
    pub fn is_new_pass(&self) -> bool {
        self.rows.id.is_none()
    }

    /// Tells how far a cursor at rest has read.
    pub fn reach(&self, least: Duration) -> Option<Reach> {
        let at_rest = self.gone.as_ref().is_none_or(|gone| !gone.done && gone.id.is_none());
        self.rows.reach(least).filter(|_| at_rest && self.rows.phase == Phase::Rest)
    }

    /// Remembers another overlap.
    pub fn with_overlap(mut self, overlap: Overlap) -> Self {
        self.rows.overlap = overlap;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deletions_are_read_from_where_none_can_be_missed() {
        let minute = Duration::from_secs(60);
        let first = Place::first(Some(1_000));
        let rest = first.at_rest(minute, true);
        let gone = rest.gone.clone().expect("deletions");
        assert_eq!(
            gone.stamp, 995,
            "whatever was deleted while the first read went on is told by the next pass"
        );
        assert_eq!(first.at_rest(minute, false).gone, None, "where listing finds them");
        // (last one, pass began, next pass begins, why)
        let cases = [
            (995, Some(5_000), 995, "nothing was deleted"),
            (4_000, Some(5_000), 4_000, "a quiet stream is read from its last one"),
            (4_990, Some(5_000), 4_940, "one that was deleted just now"),
            (4_990, None, 4_930, "a server without a clock"),
        ];
        for (stamp, began, next, why) in cases {
            let place = Place {
                gone: Some(Gone { stamp, id: Some("0f".into()), began, done: true }),
                ..rest.clone()
            };
            let after = place.at_rest(minute, true);
            assert_eq!(after.gone, Some(Gone { stamp: next, id: None, began: None, done: false }), "{why}");
            assert_eq!(Place::decode(&after.encode()), Ok(after));
        }
        for text in ["", "}{", "\0", "{\"foreign\":1}", "null", "[]"] {
            assert!(Place::decode(&Cursor(text.into())).is_err(), "{text:?}");
        }
    }
}
