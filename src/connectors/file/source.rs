//! The reading end: whole passes over one handle.
//!
//! Every pass starts at nothing. What is not there and never was is an empty stream; what was
//! there and is gone, has no bytes, or ends in the middle is a fault, never an empty stream. After
//! a restart nothing is known of before: there the fuses guard against an emptied file.
//!
//! Invariant: a page is handed out only after a look that shows the file in hand untouched since
//! it was opened. A pass is [`End::Complete`] only where every record's key was read: with one
//! that can't be read, nobody can say which records are gone.

use std::fs::File;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;

use crate::connectors::{Call, End, Page, Source};
use crate::engine::fault::{Fault, FaultCode};
use crate::engine::record::{Change, Cursor, Meta, Record, Timestamp};

use super::broken::Broken;
use super::overlay::Overlay;
use super::reader::{Item, Reader};
use super::replace::Temp;
use super::settings::Target;
use super::snapshot::{Place, Snapshot, Stamp, stamp_at};
use super::trail::Trail;

/// How often the first page is tried before a fault is told: writers are mostly done by then.
const TRIES_MAX: u32 = 5;
const FIRST_PAUSE: Duration = Duration::from_millis(25);

/// What one end of a link needs to know of its file.
pub(super) struct Plan {
    pub(super) target: Target,
    pub(super) key: Vec<String>,
    pub(super) fields: Option<Vec<String>>,
    /// Bytes of values that a page shows, but for its last record.
    pub(super) page_bytes: u64,
    pub(super) trail: Trail,
}

impl Plan {
    /// Puts a replacement in the place of `old`, and tells whoever has to know; `is_told`: outcomes speak of every record
    /// that looks otherwise now.
    pub(super) fn replace(
        &self,
        place: &Place,
        old: Option<&Snapshot>,
        new: Temp,
        is_told: bool,
    ) -> Result<(), Broken> {
        let stamp = new.publish(old)?;
        place.shared.publish(stamp);
        self.trail.go_on(old.map(|old| old.stamp), stamp, is_told);
        Ok(())
    }
}

/// The reading end of one file.
pub(super) struct FileSource {
    plan: Arc<Plan>,
    pass: Option<Pass>,
    /// What the last pass that came to its end has read; the inner `None`: no file.
    ended: Option<Option<Stamp>>,
}

impl FileSource {
    pub(super) fn new(plan: Arc<Plan>) -> Self {
        Self { plan, pass: None, ended: None }
    }
}

#[async_trait]
impl Source for FileSource {
    async fn read(&mut self, after: Option<&Cursor>, limit: usize, _call: &Call) -> Result<Page, Fault> {
        let (plan, pass, after) = (Arc::clone(&self.plan), self.pass.take(), after.cloned());
        let work = move || read_page(&plan, pass, after.as_ref(), limit.max(1));
        let (pass, page) = tokio::task::spawn_blocking(work).await.map_err(|_| interrupted())??;
        match page.end {
            End::More => self.pass = Some(pass),
            End::CaughtUp | End::Complete => self.ended = Some(pass.stamp()),
        }
        Ok(page)
    }

    fn may_have_changed(&mut self) -> bool {
        self.ended != Some(stamp_at(&self.plan.target.path))
    }

    async fn only_ours(&mut self) -> bool {
        let now = stamp_at(&self.plan.target.path);
        let is_ours = self.ended.is_some_and(|ended| ended == now || self.plan.trail.leads(ended, now));
        if is_ours {
            self.ended = Some(now);
            self.plan.trail.begin(now);
        }
        is_ours
    }
}

/// The blocking work was cut off by a shutdown.
pub(super) fn interrupted() -> Fault {
    Fault::transient(FaultCode::Unavailable, "the work on a file was interrupted")
}

/// Sleeps a little longer before each further try.
pub(super) fn pause(tries: u32) {
    std::thread::sleep(FIRST_PAUSE * 2u32.saturating_pow(tries.min(4)));
}

fn read_page(
    plan: &Plan,
    mut pass: Option<Pass>,
    after: Option<&Cursor>,
    limit: usize,
) -> Result<(Pass, Page), Fault> {
    let path = &plan.target.path;
    let mut tries = 0;
    loop {
        let open = match (pass.take(), after) {
            (Some(pass), Some(after)) if pass.cursor().as_ref() == Some(after) => Ok(pass),
            (_, Some(after)) => match Pass::resume(plan, after) {
                Some(resumed) => resumed,
                None => return Err(foreign_cursor()),
            },
            (_, None) => Pass::open(plan),
        };
        let page = open.and_then(|mut pass| pass.page(limit, plan.page_bytes).map(|page| (pass, page)));
        tries += 1;
        match page {
            Ok(done) => return Ok(done),
            // Later pages have been handed out: only a new pass can mend what is wrong there.
            Err(broken) if broken.passes() && after.is_none() && tries < TRIES_MAX => pause(tries - 1),
            Err(broken) => return Err(broken.into_fault(path)),
        }
    }
}

fn foreign_cursor() -> Fault {
    Fault {
        remedy: Some("start the pass again from the beginning".to_owned()),
        ..Fault::transient(FaultCode::Protocol, "the cursor is not one of this file")
    }
}

/// One read from beginning to end.
struct Pass {
    /// `None`: there is no file, which is an empty stream.
    open: Option<(Snapshot, Reader<File>)>,
    /// Our own writes since the pass began.
    overlay: Arc<Mutex<Overlay>>,
    modified_at: Option<Timestamp>,
    /// Items handed out.
    shown: u64,
    /// Some item was no record, and nobody knows which.
    unkeyed: bool,
}

impl Pass {
    fn open(plan: &Plan) -> Result<Self, Broken> {
        let place = Place::find(&plan.target.path)?;
        let snapshot = Snapshot::open(&plan.target, &place)?;
        plan.trail.begin(snapshot.as_ref().map(|snapshot| snapshot.stamp));
        let overlay = place.shared.follow(&plan.key);
        let mut pass = Self { open: None, overlay, modified_at: None, shown: 0, unkeyed: false };
        let Some(snapshot) = snapshot else { return Ok(pass) };
        snapshot.verify()?;
        let Target { format, delimiter, .. } = plan.target;
        let reader = Reader::open(snapshot.reader()?, format, delimiter, &plan.key, plan.fields.as_deref())?;
        pass.modified_at = Some(snapshot.stamp.modified_at());
        pass.open = Some((snapshot, reader));
        Ok(pass)
    }

    /// Takes a pass up where another reader of the same content left it; `None` for a cursor that
    /// is none of ours.
    fn resume(plan: &Plan, after: &Cursor) -> Option<Result<Self, Broken>> {
        let (stamp, shown) = after.0.split_once(':')?;
        let shown: u64 = shown.parse().ok()?;
        if stamp.split('-').count() < 5 {
            return None;
        }
        Some(Self::open(plan).and_then(|mut pass| {
            if pass.stamp().is_none_or(|now| now.to_text() != stamp) {
                return Err(Broken::Changed);
            }
            while pass.shown < shown {
                let Some((_, reader)) = &mut pass.open else { break };
                let Some(item) = reader.next()? else { return Err(Broken::Changed) };
                pass.count(&item);
            }
            Ok(pass)
        }))
    }

    fn stamp(&self) -> Option<Stamp> {
        self.open.as_ref().map(|(snapshot, _)| snapshot.stamp)
    }

    fn cursor(&self) -> Option<Cursor> {
        self.stamp().map(|stamp| Cursor(format!("{}:{}", stamp.to_text(), self.shown)))
    }

    fn count(&mut self, item: &Item) {
        self.shown += 1;
        self.unkeyed |= matches!(item, Item::Malformed(malformed) if malformed.key.is_none());
    }

    fn page(&mut self, limit: usize, bytes_max: u64) -> Result<Page, Broken> {
        let mut changes = Vec::with_capacity(limit.min(10_000));
        let (mut ended, mut bytes) = (false, 0);
        while changes.len() < limit && bytes < bytes_max && !ended {
            let item = match &mut self.open {
                Some((_, reader)) => reader.next()?,
                None => None,
            };
            let Some(item) = item else {
                ended = true;
                continue;
            };
            self.count(&item);
            let change = match item {
                Item::Record { schema, values } => {
                    let meta = Meta { modified_at: self.modified_at, ..Meta::default() };
                    Change::Upsert(Record { schema, values: values.into(), meta })
                }
                Item::Malformed(malformed) => Change::Malformed(malformed),
            };
            bytes += change.bytes();
            changes.push(change);
        }
        if let Some((snapshot, reader)) = &self.open {
            reader.check_header()?;
            snapshot.verify_in_hand()?;
        }
        let overlay = self.overlay.lock().unwrap_or_else(PoisonError::into_inner);
        if overlay.is_lost() {
            return Err(Broken::Changed);
        }
        if !overlay.is_empty() {
            changes = changes.into_iter().filter_map(|change| renew(&overlay, change)).collect();
        }
        let end = match (ended, self.unkeyed) {
            (false, _) => End::More,
            (true, false) => End::Complete,
            (true, true) => End::CaughtUp,
        };
        let cursor = if ended { None } else { self.cursor() };
        Ok(Page { changes, cursor, end })
    }
}

/// Brings a change up to what we have written since.
fn renew(overlay: &Overlay, change: Change) -> Option<Change> {
    match change {
        Change::Upsert(record) => overlay.apply(record).map(Change::Upsert),
        other => Some(other),
    }
}
