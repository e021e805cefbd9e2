//! Deletions that the bin shows no more: purged from it before it was looked at, or deleted past it.
//!
//! The service keeps a log of deletions apart from the bin, 15 days long (`/deleted`, getDeleted). It is asked at the
//! first page of a pass, now and then: `queryAll` tells of most deletions by then, and of all that have a key.
//!
//! Invariant: an id becomes a tombstone only when the record was looked for after the log told of it, and was not
//! there. The log may still hold what was taken out of the bin again.
//!
//! Where the last question ended stands in memory only: a cursor keeps the form that older and newer binaries
//! read, and the first question after a start reaches back behind where the cursor stands instead.

use std::collections::{HashMap, HashSet, VecDeque};

use super::lookup::rows;
use super::org::{Ask, protocol};
use super::source::{Fetched, SalesforceSource, defect};
use super::wire::{self, Gone, Unheard};
use crate::connectors::Call;
use crate::connectors::rest::{Keyset, Phase};
use crate::engine::fault::{Fault, FaultCode, FaultKind};
use crate::engine::record::{Change, Cursor, Timestamp, Tombstone};

/// How often the log is asked, in seconds of the service's clock.
const EVERY: i64 = 600;
/// How often where it does not tell of the object at all.
const EVERY_UNHEARD: i64 = 24 * 3600;
/// How far a question reaches back into the one before, in seconds: whole minutes are cut off, and a deletion may be
/// committed long after its date.
const MARGIN: i64 = 600;
/// How far back the service tells, in seconds, less an hour for its clocks.
const REACH: i64 = 15 * 24 * 3600 - 3600;
/// Ids that are taken from one answer; the service itself gives up at 600,000.
const IDS_MAX: usize = 100_000;

/// What is known of the log of an object's deletions. Moments are seconds since 1970 by the service's clock.
#[derive(Default)]
pub struct Graves {
    /// Until when it is told; nothing before the first question.
    until: Option<i64>,
    asked_at: i64,
    due_at: i64,
    /// Told, and not looked for yet.
    waiting: VecDeque<Gone>,
    /// Of the last answer, what is decided.
    decided: HashMap<String, Timestamp>,
    /// The page on its way.
    page: Option<Portion>,
    /// The log said once that there was no answer.
    has_said: bool,
}

/// What one page takes from the front of those that wait.
struct Portion {
    /// Nothing until the page is complete.
    cursor: Option<Cursor>,
    taken: usize,
    /// Those of them that need no second look.
    decided: Vec<Gone>,
}

impl Graves {
    /// Starts with a first read: what went before it is nobody's business.
    fn begin(&mut self, now: i64) {
        let has_said = self.has_said;
        *self = Self { until: Some(now), asked_at: now, due_at: now + EVERY, has_said, ..Self::default() };
    }

    /// Tells whether to ask; at once where the clock was set back, since what is deleted now has older dates.
    fn is_due(&self, now: i64) -> bool {
        self.waiting.is_empty() && (now >= self.due_at || now < self.asked_at)
    }

    /// Returns the span to ask for, in whole minutes, at least two of them.
    fn span(&self, here: &Keyset, now: i64) -> (i64, i64) {
        let minute = |at: i64| at.div_euclid(60) * 60;
        let end = minute(now);
        // An earlier process asked last at most so long before its last pass.
        let until = self.until.unwrap_or(here.stamp.saturating_sub(EVERY));
        let start = until.min(end).saturating_sub(MARGIN);
        let start = start.max(now - REACH).max(here.deleted_since.unwrap_or(i64::MIN));
        (minute(start).min(end - 120), end)
    }

    /// Takes an answer in.
    fn take(&mut self, told: Vec<Gone>, covered: Option<Timestamp>, end: i64, since: Option<i64>) {
        let told: HashMap<String, Timestamp> = told.into_iter().map(|gone| (gone.id, gone.at)).collect();
        self.decided.retain(|id, at| told.get(id) == Some(at));
        let is_news = |(id, at): &(String, Timestamp)| {
            !self.decided.contains_key(id) && since.is_none_or(|since| seconds(*at) >= since)
        };
        let mut news: Vec<Gone> = told.into_iter().filter(is_news).map(|(id, at)| Gone { id, at }).collect();
        news.sort_by(|one, other| (one.at, &one.id).cmp(&(other.at, &other.id)));
        self.waiting = news.into();
        self.until = Some(covered.map_or(end, seconds).min(end));
    }

    /// Keeps in mind what a page has taken, until its cursor is acknowledged.
    pub fn stage(&mut self, cursor: &Cursor) {
        if let Some(page) = &mut self.page
            && page.cursor.is_none()
        {
            page.cursor = Some(cursor.clone());
        }
    }

    /// Forgets what a page has taken: it is decided.
    pub fn ack(&mut self, through: &Cursor) {
        let Some(page) = self.page.take_if(|page| page.cursor.as_ref() == Some(through)) else { return };
        self.waiting.drain(..page.taken.min(self.waiting.len()));
        self.decided.extend(page.decided.into_iter().map(|gone| (gone.id, gone.at)));
    }
}

impl SalesforceSource {
    /// Gives the deletions that the log tells of, on the first page of a pass; `fetched` are the page's rows.
    pub(super) async fn purged(
        &mut self,
        here: &Keyset,
        fetched: &Fetched,
        limit: usize,
        call: &Call,
    ) -> Result<Vec<Change>, Fault> {
        self.graves.page = None;
        // Without the service's clock nothing can be asked.
        let Some(now) = fetched.server_time.map(seconds) else { return Ok(Vec::new()) };
        if here.phase == Phase::First {
            self.graves.begin(now);
            return Ok(Vec::new());
        }
        if self.graves.is_due(now) {
            self.ask_for_deleted(here, now, call).await?;
        }
        self.take_portion(fetched, limit, call).await
    }

    async fn ask_for_deleted(&mut self, here: &Keyset, now: i64, call: &Call) -> Result<(), Fault> {
        let object = &self.stream.stream;
        let operation = format!("ask for deleted {object}");
        let (start, end) = self.graves.span(here, now);
        if !self.org.described(object, false, call).await?.replicateable {
            self.go_without(Unheard::Object, "the object is not replicateable", (start, end), now);
            return Ok(());
        }
        let moment = |at: i64| Timestamp(at.saturating_mul(1000));
        let path = wire::deleted_path(object, moment(start), moment(end));
        let reply = match self.org.ask_whether(Ask::get(&operation, &path), wire::unheard, call).await {
            Ok(Ok(reply)) => reply,
            Ok(Err((why, fault))) => {
                self.go_without(why, &fault.to_string(), (start, end), now);
                return Ok(());
            }
            // Longer than any reply may be.
            Err(fault) if fault.kind == FaultKind::Fatal && fault.code == FaultCode::Protocol => {
                self.go_without(Unheard::Span, &fault.to_string(), (start, end), now);
                return Ok(());
            }
            Err(fault) => return Err(fault),
        };
        let (told, covered) =
            wire::decode_deleted(&reply.body).map_err(|error| protocol(&operation, &error))?;
        if told.len() > IDS_MAX {
            let reason = format!("{} ids are more than {IDS_MAX}", told.len());
            self.go_without(Unheard::Span, &reason, (start, end), now);
            return Ok(());
        }
        self.graves.take(told, covered, end, here.deleted_since);
        (self.graves.asked_at, self.graves.due_at) = (now, now + EVERY);
        Ok(())
    }

    /// Goes on reading without an answer. Of a span that was refused the older half is left to the audit: after a few
    /// questions it begins late enough, or is short enough.
    fn go_without(&mut self, why: Unheard, reason: &str, (start, end): (i64, i64), now: i64) {
        let every = match why {
            Unheard::Span => EVERY,
            Unheard::Object => EVERY_UNHEARD,
        };
        self.graves.until = Some(start + (end - start) / 2);
        (self.graves.asked_at, self.graves.due_at) = (now, now + every);
        if !std::mem::replace(&mut self.graves.has_said, true) {
            tracing::info!(event = "salesforce.deleted_unheard", object = %self.stream.stream, error = reason,
                "the log of deletions gave no answer; what was purged is left to the audit");
        }
    }

    /// Takes some of those that wait, and looks which of them are there.
    async fn take_portion(
        &mut self,
        fetched: &Fetched,
        limit: usize,
        call: &Call,
    ) -> Result<Vec<Change>, Fault> {
        let portion: Vec<Gone> = self.graves.waiting.iter().take(limit).cloned().collect();
        if portion.is_empty() {
            return Ok(Vec::new());
        }
        // The page was read before the log was asked. What it shows alive may be gone since, and then the next
        // question tells; what it shows deleted has a key there.
        let on_page: HashMap<&str, bool> =
            fetched.rows.iter().flatten().map(|row| (row.id.as_str(), row.deleted)).collect();
        let taken = portion.len();
        let decided: Vec<Gone> =
            portion.into_iter().filter(|gone| on_page.get(gone.id.as_str()) != Some(&false)).collect();
        let unshown: Vec<&Gone> =
            decided.iter().filter(|gone| !on_page.contains_key(gone.id.as_str())).collect();
        let living = self.living(&unshown, call).await?;
        let tombstone = |gone: &&Gone| {
            let there = living.contains(gone.id.as_str());
            (!there).then(|| {
                let id = Some(gone.id.as_str().into());
                Change::Delete(Tombstone { key: None, id, at: Some(gone.at) })
            })
        };
        let changes = unshown.iter().filter_map(tombstone).collect();
        self.graves.page = Some(Portion { cursor: None, taken, decided });
        Ok(changes)
    }

    /// Looks which records are there now, by one call.
    async fn living<'g>(&self, all: &[&'g Gone], call: &Call) -> Result<HashSet<&'g str>, Fault> {
        if all.is_empty() {
            return Ok(HashSet::new());
        }
        let columns = self.columns.as_ref().ok_or_else(defect)?;
        let operation = format!("look for {}", self.stream.stream);
        let ids: Vec<&str> = all.iter().map(|gone| gone.id.as_str()).collect();
        let wanted = |name: &&String| matches!(name.as_str(), "Id" | "SystemModstamp" | "IsDeleted");
        let fields: Vec<String> = columns.names.iter().filter(wanted).cloned().collect();
        let reply = self.org.retrieve(&operation, &self.stream.stream, &ids, &fields, call).await?;
        let rows = rows(&operation, &reply, ids.len())?;
        // A row that can't be read is there.
        let is_there =
            |raw: &serde_json::value::RawValue| columns.decode(raw).map_or(true, |row| !row.deleted);
        let there = ids.into_iter().zip(rows).filter(|(_, row)| row.is_some_and(is_there));
        Ok(there.map(|(id, _)| id).collect())
    }
}

fn seconds(at: Timestamp) -> i64 {
    at.0.div_euclid(1000)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// A whole minute.
    const NOW: i64 = 1_769_853_600;
    const DAY: i64 = 24 * 3600;

    #[test]
    fn a_question_reaches_back_far_enough_and_no_further_than_is_told() {
        // (told until, cursor, first read, start, why): all of them seconds before now, and now is 30 s into a minute.
        let cases = [
            (Some(600), 0, None, 1200, "a margin into the last span"),
            (None, 3600, None, 4800, "after a start: what an earlier process may not have asked for"),
            (None, 40 * DAY, None, 15 * DAY - 3600, "no further than the service tells"),
            (None, 3600, Some(4000), 4020, "nothing from before the first read"),
            (Some(-5000), 0, None, 600, "a clock that was set back"),
            (Some(0), 0, Some(0), 120, "two minutes at least"),
        ];
        for (until, stamp, since, start, why) in cases {
            let graves = Graves { until: until.map(|ago| NOW - ago), ..Graves::default() };
            let mut here = Keyset::first(since.map(|ago| NOW - ago), Duration::ZERO);
            here.stamp = NOW - stamp;
            let (from, to) = graves.span(&here, NOW + 30);
            assert_eq!((NOW - from, to), (start, NOW), "{why}");
        }
    }

    #[test]
    fn what_is_decided_is_no_news_until_it_is_deleted_again() {
        let gone = |id: &str, at: i64| Gone { id: id.to_owned(), at: Timestamp(at * 1000) };
        let mut graves = Graves::default();
        let ids = |graves: &Graves| graves.waiting.iter().map(|gone| gone.id.clone()).collect::<Vec<_>>();
        graves.take(vec![gone("b", 7), gone("a", 7), gone("c", 3)], None, 60, Some(5));
        assert_eq!(ids(&graves), ["a", "b"], "in order, and none from before the first read");
        let cursor = Cursor("one".to_owned());
        graves.page = Some(Portion { cursor: None, taken: 1, decided: vec![gone("a", 7)] });
        graves.stage(&cursor);
        graves.ack(&Cursor("another".to_owned()));
        assert_eq!(ids(&graves), ["a", "b"], "another page's cursor decides nothing");
        graves.ack(&cursor);
        assert_eq!(ids(&graves), ["b"]);
        graves.take(vec![gone("a", 7), gone("b", 7)], None, 120, None);
        assert_eq!(ids(&graves), ["b"]);
        graves.take(vec![gone("a", 90)], Some(Timestamp(100_000)), 180, None);
        assert_eq!((ids(&graves), graves.until), (vec!["a".to_owned()], Some(100)), "deleted anew");
    }
}
