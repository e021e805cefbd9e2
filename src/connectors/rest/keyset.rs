//! Where a read by (stamp, id) goes on, for services whose stamps have a grain of a second.
//!
//! Invariant: every moment in it comes from the service, never from the local clock.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::connectors::End;
use crate::engine::fault::{Fault, FaultCode};
use crate::engine::reading::{Overlap, Reach, Witnesses, went_back};
use crate::engine::record::{Cursor, Timestamp};

/// Where a keyset read goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After<'p> {
    /// From this moment on, it included.
    From(Timestamp),
    /// Behind this row.
    Row(Timestamp, &'p str),
}

/// A read in three phases: the first one shows live records only; later passes begin a little
/// before the end of the last one and show deletions, too; between passes it rests.
///
/// Moments are seconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Keyset {
    pub phase: Phase,
    /// The stamp of the last row; at rest, the moment from which the next pass reads.
    pub stamp: i64,
    /// The id of the last row; nothing at rest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The server's time when the pass began, where it tells it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub began: Option<i64>,
    /// Deletions before this happened before the first read and are nobody's business.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted_since: Option<i64>,
    /// The newest rows that were shown.
    #[serde(default, skip_serializing_if = "Witnesses::is_empty")]
    pub witnesses: Witnesses,
    #[serde(default, skip_serializing_if = "Overlap::is_none")]
    pub overlap: Overlap,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    First,
    Pass,
    Rest,
}

impl Keyset {
    /// Starts a first read; `now` is the service's time. Deletions that happened `skew` before it are still told.
    pub fn first(now: Option<i64>, skew: Duration) -> Self {
        let skew = i64::try_from(skew.as_secs()).unwrap_or(0);
        Self {
            phase: Phase::First,
            stamp: 0,
            id: None,
            began: None,
            deleted_since: now.map(|now| now.saturating_sub(skew)),
            witnesses: Witnesses::default(),
            overlap: Overlap::default(),
        }
    }

    /// Reads a cursor.
    pub fn decode(cursor: &Cursor) -> Result<Self, Fault> {
        serde_json::from_str(&cursor.0).map_err(|_| {
            Fault::fatal(
                FaultCode::Protocol,
                "the stored cursor is none of this connector",
                "read the stream from the beginning",
            )
        })
    }

    /// Writes a cursor.
    pub fn encode(&self) -> Cursor {
        // A struct of numbers and text can't fail to serialise; an empty cursor would be refused.
        Cursor(serde_json::to_string(self).unwrap_or_default())
    }

    /// Returns where the query goes on.
    pub fn after(&self) -> After<'_> {
        let at = Timestamp(self.stamp.saturating_mul(1000));
        match &self.id {
            Some(id) => After::Row(at, id),
            None => After::From(at),
        }
    }

    /// Returns the position behind a row.
    pub fn behind(&self, stamp: Timestamp, id: &str) -> Self {
        let phase = if self.phase == Phase::First { Phase::First } else { Phase::Pass };
        Self { phase, stamp: stamp.0.div_euclid(1000), id: Some(id.to_owned()), ..self.clone() }
    }

    /// Takes note where the server's clock was set back: what is deleted from now on is stamped before the
    /// first read.
    pub fn follow_clock(&mut self, overlap: Duration) {
        let overlap = i64::try_from(overlap.as_secs()).unwrap_or(i64::MAX);
        if let (Some(began), Some(since)) = (self.began, self.deleted_since)
            && began < since
        {
            self.deleted_since = Some(began.saturating_sub(overlap));
        }
    }

    /// Says what the end of the pass proves. The first one has shown all that lives: whatever was
    /// deleted before it began, and was known from an earlier first pass, is missing in it.
    pub fn end_of_pass(&self) -> End {
        if self.phase == Phase::First { End::Complete } else { End::CaughtUp }
    }

    /// Tells how far a cursor at rest has read; `least` is the configured overlap.
    pub fn reach(&self, least: Duration) -> Option<Reach> {
        let newest = self.witnesses.newest().filter(|_| self.phase == Phase::Rest)?.max(self.stamp);
        let moment = |seconds: i64| Timestamp(seconds.saturating_mul(1000));
        Some(Reach { newest: moment(newest), from: moment(self.stamp), overlap: self.overlap, least })
    }

    /// Tells whether a page reaches beyond where a witness has to stand, and does not show it. `last` is the
    /// page's last row; `done` says that there is none behind it.
    pub fn misses_one(&self, shown: impl Fn(&str) -> bool, last: Option<(i64, &str)>, done: bool) -> bool {
        self.witnesses
            .iter()
            .filter(|&place| place.0 >= self.stamp && (done || Some(place) <= last))
            .any(|(_, id)| !shown(id))
    }

    /// Says why the service looks put back to an older state; `None` where it does not. `stands` gives the
    /// stamps under which witnesses stand now, `now` is the service's time, `is_empty`: the pass shows nothing.
    pub fn went_back(
        &self,
        stands: impl Fn(&str) -> Option<i64>,
        now: Option<i64>,
        is_empty: bool,
        least: Duration,
    ) -> Option<&'static str> {
        let overlap = i64::try_from(self.overlap.length(least).as_secs()).unwrap_or(i64::MAX);
        let fates = self.witnesses.fates(overlap, stands);
        // Under a clock that stands behind, whatever is edited has an older stamp.
        let newest = self.witnesses.newest().unwrap_or(i64::MIN);
        went_back(&fates, is_empty).filter(|_| now.is_none_or(|now| now >= newest))
    }

    /// Ends the pass. The next one begins at the last row's second, and the overlap before the
    /// moment at which this one began where that is earlier: a save that began before may show later
    /// under an older stamp. It never begins behind the last row, whatever the server's clock says,
    /// so that a page that wrongly came empty loses nothing.
    pub fn at_rest(&self, least: Duration) -> Self {
        let overlap =
            i64::try_from(self.overlap.length(least).as_millis().div_ceil(1000)).unwrap_or(i64::MAX);
        let known_until = self.began.unwrap_or(self.stamp);
        let stamp = self.stamp.min(known_until.saturating_sub(overlap));
        Self { phase: Phase::Rest, stamp, id: None, began: None, ..self.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pass_begins_where_nothing_can_be_missed() {
        let row = |stamp, began| Keyset {
            phase: Phase::Pass,
            stamp,
            id: Some("003".into()),
            began,
            deleted_since: Some(5),
            witnesses: Witnesses::default(),
            overlap: Overlap::default(),
        };
        // (last row, pass began, next pass begins, why)
        let cases = [
            (1000, Some(5000), 1000, "a quiet stream is read from its last second"),
            (1000, Some(1010), 950, "a busy one from before the pass"),
            (1000, Some(900), 840, "rows that came while the pass ran"),
            (1000, None, 940, "a server without a clock"),
        ];
        for (stamp, began, next, why) in cases {
            let rest = row(stamp, began).at_rest(Duration::from_secs(60));
            assert_eq!((rest.stamp, &rest.id, rest.phase), (next, &None, Phase::Rest), "{why}");
            assert_eq!(Keyset::decode(&rest.encode()), Ok(rest));
        }
        for text in ["", "}{", "\0", "{\"foreign\":1}", "null", "[]"] {
            assert!(Keyset::decode(&Cursor(text.into())).is_err(), "{text:?}");
        }
    }
}
